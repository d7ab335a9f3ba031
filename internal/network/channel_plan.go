package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// ChannelBasis is what the plan of a change to a channel rests on. Read keeps it beside the state, so
// that a plan needs no node.
type ChannelBasis struct {
	// Config is the configuration in force, a marshalled common.Config; Block the number of its block.
	Config []byte `json:"config"`
	Block  uint64 `json:"block"`
	// Admins are the MSP IDs of the organizations whose admins sign here.
	Admins []string `json:"admins"`
	// Endpoints are the addresses of the channel's peers, by the names of the peers.
	Endpoints map[string]configtx.Address `json:"endpoints"`
	// Before3 are the nodes of the channel that run a release before 3.0, with their releases.
	Before3 map[string]string `json:"before_3,omitempty"`
}

// ReadChannelBasis reads it from the ordering nodes, and from the engine what they do not know.
func (f *Fabric) ReadChannelBasis(ctx context.Context, spec ChannelSpec) (ChannelBasis, error) {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return ChannelBasis{}, err
	}
	config, err := f.latestConfig(ctx, spec.Handle, orderers)
	if err != nil {
		return ChannelBasis{}, err
	}
	basis := ChannelBasis{Block: config.Block, Endpoints: map[string]configtx.Address{}}
	if basis.Config, err = (proto.MarshalOptions{Deterministic: true}).Marshal(config.Proto); err != nil {
		return ChannelBasis{}, err
	}
	for _, admin := range spec.admins(orderers) {
		if _, err := f.identity(ctx, admin); err == nil { // a partner's admin signs elsewhere
			basis.Admins = append(basis.Admins, admin.MSPID)
		}
	}
	slices.Sort(basis.Admins)
	for _, p := range peersOf(spec.Organizations) {
		if address, err := f.endpoint(ctx, p); err == nil { // one that is gone has the address of its name
			basis.Endpoints[p.Name] = address
		}
	}
	basis.Before3, err = f.before3(ctx, slices.Concat(orderers, peersOf(spec.Organizations)))
	return basis, err
}

// before3 finds nodes that do not know the channel capability V3_0, by the releases on their labels.
func (f *Fabric) before3(ctx context.Context, nodes []Handle) (map[string]string, error) {
	found := map[string]string{}
	for _, h := range nodes {
		n, err := f.engine.Node(ctx, h.Object())
		if errors.Is(err, engine.ErrNotFound) { // what needs the node tells that it is not there
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("unable to read %s: %w", h, err)
		}
		if _, version, err := memberOf(n); err == nil && !version.SupportsChannelV3() {
			found[h.Name] = version.String()
		}
	}
	return found, nil
}

// admins are those whose signatures an update of the channel may need: of the organizations that run its
// ordering nodes, and of its members.
func (s ChannelSpec) admins(orderers []Handle) []Handle {
	admins := []Handle{s.Orderers.Organization()}
	for _, o := range orderers {
		if org := o.Organization(); !slices.Contains(admins, org) {
			admins = append(admins, org)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.Organizations)) {
		if org := s.Organizations[key].Organization; !slices.Contains(admins, org) {
			admins = append(admins, org)
		}
	}
	return admins
}

// config gives the configuration of the basis.
func (b ChannelBasis) config(channel string) (*configtx.Config, error) {
	return configFrom(channel, b.Block, b.Config)
}

// configFrom reads a configuration that was kept.
func configFrom(channel string, block uint64, raw []byte) (*configtx.Config, error) {
	config := &common.Config{}
	err := proto.Unmarshal(raw, config)
	if err == nil && config.GetChannelGroup() == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("unable to read the configuration that was kept of channel %s: %w", channel, err)
	}
	return &configtx.Config{Channel: channel, Block: block, Proto: config}, nil
}

// Summary gives the configuration of the basis in the terms of this provider.
func (b ChannelBasis) Summary(channel string) (configtx.Summary, error) {
	config, err := b.config(channel)
	if err != nil {
		return configtx.Summary{}, err
	}
	return configtx.Summarize(config)
}

// address is where others reach a peer. One that is not there yet has the address of its name.
func (b ChannelBasis) address(p Handle) configtx.Address {
	if address, ok := b.Endpoints[p.Name]; ok {
		return address
	}
	return configtx.Address{Host: p.Host(), Port: peerPort}
}

// ChannelPlan says what a change of a channel comes to.
type ChannelPlan struct {
	// Changes are its parts in words, each with the policy that it falls under.
	Changes []string
	// Missing are the parts for which the admins here do not suffice, with who is missing.
	Missing []string
}

// PlanChannel computes what the spec changes on a channel, from what is kept of it alone.
func PlanChannel(spec ChannelSpec, basis ChannelBasis) (ChannelPlan, error) {
	config, err := basis.config(spec.Handle.Name)
	if err != nil {
		return ChannelPlan{}, err
	}
	undefined, err := spec.standIn(config)
	if err != nil {
		return ChannelPlan{}, err
	}
	edits := spec.edits(func(p Handle) (configtx.Address, error) { return basis.address(p), nil })
	return basis.plan(config, !undefined, edits)
}

// plan says what edits of the channel's configuration come to, one after the other. They are held to
// what Fabric accepts, unless definitions are not whole yet.
func (b ChannelBasis) plan(config *configtx.Config, whole bool, edits []func(*configtx.Config) error) (ChannelPlan, error) {
	signers := make([]configtx.Signer, 0, len(b.Admins))
	for _, id := range b.Admins {
		signers = append(signers, configtx.Signer{MSPID: id, Role: policy.RoleAdmin})
	}
	plan := ChannelPlan{}
	for _, edit := range edits {
		wanted := config.Clone()
		if err := edit(wanted); err != nil {
			return ChannelPlan{}, err
		}
		if whole {
			if err := configtx.ValidateUpdate(config, wanted); err != nil {
				return ChannelPlan{}, err
			}
		}
		update, err := configtx.ComputeUpdate(config.Channel, config.Proto, wanted.Proto)
		if errors.Is(err, configtx.ErrNoChange) {
			continue
		}
		if err != nil {
			return ChannelPlan{}, err
		}
		if err := plan.add(config, update, signers); err != nil {
			return ChannelPlan{}, err
		}
		config = wanted
	}
	return plan, nil
}

// standIn gives organizations that join, and whose definitions are not known yet, that of a member
// under their own name: the words of the change and the policies it falls under are the same. It tells
// whether there were such.
func (s *ChannelSpec) standIn(config *configtx.Config) (undefined bool, err error) {
	summary, err := configtx.Summarize(config)
	if err != nil {
		return false, err
	}
	organizations := maps.Clone(s.Organizations)
	for key, o := range organizations {
		if len(o.Definition.RootCertificates) > 0 || len(summary.ApplicationOrganizations) == 0 {
			continue
		}
		undefined = true
		o.Definition = summary.ApplicationOrganizations[0].Definition
		o.Definition.ID = o.Organization.MSPID
		organizations[key] = o
	}
	s.Organizations = organizations
	return undefined, nil
}

// add puts the parts of an update into the plan, those of one policy together.
func (p *ChannelPlan) add(base *configtx.Config, update *common.ConfigUpdate, signers []configtx.Signer) error {
	duties, err := obligations(base, update)
	if err != nil {
		return err
	}
	for _, d := range duties {
		p.Changes = append(p.Changes, fmt.Sprintf("%s [%s: %s]", d.words, d.Policy, d.Rule))
		if d.Met(signers) == configtx.No {
			p.Missing = append(p.Missing, d.missing(signers)+".")
		}
	}
	return nil
}

// edits gives the updates that bring a channel to what the spec says, in their order: capabilities
// come last and by themselves, because nodes that do not know one end when they meet it.
func (s ChannelSpec) edits(address func(Handle) (configtx.Address, error)) []func(*configtx.Config) error {
	return []func(*configtx.Config) error{
		func(config *configtx.Config) error {
			channel, summary, err := s.wanted(config, address)
			if err != nil {
				return err
			}
			channel.ChannelCapability, channel.ApplicationCapability = capability(summary.ChannelCapabilities, channel.ChannelCapability), capability(summary.ApplicationCapabilities, channel.ApplicationCapability)
			return revise(config, channel)
		},
		func(config *configtx.Config) error {
			channel, _, err := s.wanted(config, address)
			if err != nil {
				return err
			}
			return revise(config, channel)
		},
	}
}

func revise(config *configtx.Config, channel configtx.Channel) error {
	revised, err := configtx.Revise(config, channel)
	if err != nil {
		return err
	}
	config.Proto = revised.Proto
	return nil
}

// capability gives the capability that a group has, or the wanted one where it has none of ours.
func capability(has []string, wanted string) string {
	if len(has) == 1 {
		return has[0]
	}
	return wanted
}

// wanted gives what the channel is to be. What others own is as the configuration has it: revocation
// lists, and of an organization that manages itself its definition and its anchor peers.
func (s ChannelSpec) wanted(config *configtx.Config, address func(Handle) (configtx.Address, error)) (configtx.Channel, configtx.Summary, error) {
	summary, err := configtx.Summarize(config)
	if err != nil {
		return configtx.Channel{}, summary, err
	}
	has := map[string]configtx.OrganizationSummary{}
	for _, o := range summary.ApplicationOrganizations {
		has[o.Definition.ID] = o
	}
	channel := s.Config
	channel.Name = s.Handle.Name
	for _, key := range slices.Sorted(maps.Keys(s.Organizations)) {
		member := s.Organizations[key]
		org := configtx.ApplicationOrganization{Definition: member.Definition}
		present, isMember := has[member.Definition.ID]
		if isMember {
			org.Definition.RevocationLists = present.Definition.RevocationLists
		}
		if isMember && member.SelfManaged {
			org.Definition, org.AnchorPeers = present.Definition, present.AnchorPeers
		} else {
			for _, p := range member.anchors() {
				a, err := address(p)
				if err != nil {
					return channel, summary, err
				}
				org.AnchorPeers = append(org.AnchorPeers, a)
			}
		}
		channel.ApplicationOrganizations = append(channel.ApplicationOrganizations, org)
	}
	return channel, summary, nil
}

// reconfigure sends the config updates that bring the channel to what the spec says. Organizations
// that belonged to it before may sign too.
func (f *Fabric) reconfigure(ctx context.Context, spec ChannelSpec, before channelRecord) error {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	admins := spec.admins(orderers)
	for _, admin := range (ChannelSpec{Orderers: before.Orderers, Organizations: before.Organizations}).admins(nil) {
		if !slices.Contains(admins, admin) {
			admins = append(admins, admin)
		}
	}
	for _, edit := range spec.edits(func(p Handle) (configtx.Address, error) { return f.endpoint(ctx, p) }) {
		if _, err := f.updateChannel(ctx, configUpdate{channel: spec.Handle, orderers: orderers, admins: admins, edit: edit}); err != nil {
			return err
		}
	}
	return nil
}

// PeersMoved says in words which peers join and which leave.
func PeersMoved(before, now map[string]ChannelOrganization) []string {
	was, is := peersOf(before), peersOf(now)
	var words []string
	for _, p := range is {
		if !slices.Contains(was, p) {
			words = append(words, p.String()+" joins")
		}
	}
	for _, p := range was {
		if !slices.Contains(is, p) {
			words = append(words, p.String()+" leaves")
		}
	}
	return words
}

// NamesOf gives the names of an organization's anchor peers as the configuration has them, nil when
// they are those that are wanted. One that is none of its peers goes by its address.
func (b ChannelBasis) NamesOf(org ChannelOrganization, found []configtx.Address) []string {
	wanted := map[configtx.Address]bool{}
	for _, p := range org.anchors() {
		wanted[b.address(p)] = true
	}
	have := map[configtx.Address]bool{}
	for _, a := range found {
		have[a] = true
	}
	if maps.Equal(wanted, have) {
		return nil
	}
	byAddress := map[configtx.Address]string{}
	for name, p := range org.Peers {
		byAddress[b.address(p)] = name
	}
	names := []string{}
	for _, a := range found {
		name := byAddress[a]
		if name == "" {
			name = net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
