package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
)

// MembershipSpec is one organization's own part of a channel that another state owns.
type MembershipSpec struct {
	// Handle is of kind channel_membership: its name is the channel's, its MSP ID the organization's.
	Handle Handle `json:"-"`
	// Definition is the organization's, as the channel is to have it.
	Definition msp.Definition `json:"-"`
	// Peers join the channel, by a name of the user's choice.
	Peers map[string]Handle `json:"peers"`
	// AnchorPeers are names of Peers; empty means the first one.
	AnchorPeers []string `json:"anchor_peers,omitempty"`
	// Orderers are the channel's ordering nodes, or some of them.
	Orderers map[string]RemoteOrderer `json:"orderers"`
	// FromSnapshot has peers that join later begin with a snapshot of one that has the channel.
	FromSnapshot bool `json:"-"`
}

// MembershipState is what is known of a membership.
type MembershipState struct {
	// Joined are the names of the peers that have joined; those that could not be asked are in Unanswered.
	Joined, Unanswered []string
	// Excluded tells why the organization is no member of the channel, nil when it is one.
	Excluded *AdmissionError
}

// AdmissionError tells that an organization is not a member of a channel, as far as its ordering nodes
// say.
type AdmissionError struct {
	Channel, MSPID string
	// Unknown tells that the ordering nodes have no channel of that name.
	Unknown bool
	// Expired is when the certificate of the organization's admin expired; zero when it has not.
	Expired time.Time
}

func (e *AdmissionError) Error() string {
	switch {
	case e.Unknown:
		return fmt.Sprintf("the ordering nodes have no channel %s", e.Channel)
	case !e.Expired.IsZero():
		return fmt.Sprintf("the ordering nodes refuse the admin of %s, whose certificate expired at %s", e.MSPID, e.Expired.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is not a member of channel %s", e.MSPID, e.Channel)
}

// outside tells whether an error says that an organization is no member of a channel. One whose admin's
// certificate has expired may be.
func outside(err error) bool {
	refused := new(AdmissionError)
	return errors.As(err, &refused) && refused.Expired.IsZero()
}

func (h Handle) channel() Handle { return h.With(KindChannel, h.Name, "") }

// lockName is for work on one membership at a time.
func (s MembershipSpec) lockName() string {
	return s.Handle.Organization().keys() + "/" + membershipFile(s.Handle)
}

func (s MembershipSpec) orderers() []Handle {
	return remoteOrderers(s.Handle.Organization(), s.Orderers)
}

// member is the organization in the terms of a channel.
func (s MembershipSpec) member() ChannelOrganization {
	return ChannelOrganization{Organization: s.Handle.Organization(), Definition: s.Definition, Peers: s.Peers, AnchorPeers: s.AnchorPeers}
}

// members is the membership as a channel that has one member.
func (s MembershipSpec) members() map[string]ChannelOrganization {
	return map[string]ChannelOrganization{s.Handle.MSPID: s.member()}
}

// PreflightMembership finds what would fail before anything is made.
func (f *Fabric) PreflightMembership(ctx context.Context, spec MembershipSpec) error {
	if _, err := f.identity(ctx, spec.Handle.Organization()); err != nil {
		return fmt.Errorf("unable to act as the admin of %s: %w", spec.Handle.Organization(), err)
	}
	for _, p := range peersOf(spec.members()) {
		if _, err := f.engine.Node(ctx, p.Object()); err != nil {
			return fmt.Errorf("unable to read %s: %w", p, err)
		}
	}
	return nil
}

// CreateMembership waits until the organization is a member of the channel, has its peers join, and
// sets its anchor peers and its definition. It fails with *NotMadeError when nothing of it is left.
func (f *Fabric) CreateMembership(ctx context.Context, spec MembershipSpec) error {
	defer f.locks.lock(spec.lockName())()
	genesis, err := f.awaitAdmission(ctx, spec)
	if err != nil {
		return &NotMadeError{Channel: spec.Handle.channel(), Cause: err, Existed: true}
	}
	if err := f.writeMembership(ctx, spec); err != nil {
		return err
	}
	err = f.joinMember(ctx, spec, genesis, peersOf(spec.members()))
	if err == nil {
		err = f.setOwnPart(ctx, spec)
	}
	if err == nil {
		return nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if undo := f.leaveMembership(back, spec.Handle, peersOf(spec.members())); undo != nil {
		return fmt.Errorf("%w\n\nTaking the peers out of the channel again failed too: %w", err, undo)
	}
	return &NotMadeError{Channel: spec.Handle.channel(), Cause: fmt.Errorf("%w\n\nThe peers have left the channel again", err), Existed: true}
}

// awaitAdmission waits until the organization is an application member of the channel, and gives the
// block that the channel began with. It fails with *AdmissionError when that does not happen.
func (f *Fabric) awaitAdmission(ctx context.Context, spec MembershipSpec) (genesis []byte, err error) {
	var denied *AdmissionError
	refused := patience{}
	err = poll(ctx, func(ctx context.Context) error {
		block, err := f.asMember(ctx, spec)
		if err == nil {
			genesis, err = proto.MarshalOptions{Deterministic: true}.Marshal(block)
			return err
		}
		if admission := f.admission(ctx, spec.Handle.Name, spec.Handle.Organization(), err); admission != nil {
			denied = admission
			return admission
		}
		return refused.bear(err)
	})
	if err != nil && denied != nil && ctx.Err() != nil { // the last question was cut short
		err = fmt.Errorf("%w (waited until the deadline: %w)", denied, context.Cause(ctx))
	}
	return genesis, err
}

// asMember fetches the block that the channel began with, if the organization is an application member.
func (f *Fabric) asMember(ctx context.Context, spec MembershipSpec) (block *common.Block, err error) {
	config, err := f.latestConfig(ctx, spec.Handle.channel(), spec.orderers())
	if err != nil {
		return nil, err
	}
	if _, err := spec.present(config); err != nil {
		return nil, err
	}
	for _, o := range spec.orderers() {
		if block, err = f.firstBlock(ctx, o, spec.Handle.Name); err == nil {
			break
		}
	}
	return block, err
}

// admission tells what the refusal of ordering nodes says of an organization's membership; nil when they
// said nothing of it.
func (f *Fabric) admission(ctx context.Context, channel string, org Handle, cause error) *AdmissionError {
	status, admission := new(orderer.StatusError), new(AdmissionError)
	if errors.As(cause, &admission) {
		return admission
	}
	if !errors.As(cause, &status) || status.Transient() {
		return nil
	}
	admission = &AdmissionError{Channel: channel, MSPID: org.MSPID, Unknown: errors.Is(cause, orderer.ErrChannelNotFound)}
	if admin, err := f.identity(ctx, org); err == nil {
		if cert, err := certificate.ParseOne(admin.CertificatePEM); err == nil && time.Now().After(cert.NotAfter) {
			admission.Expired = cert.NotAfter
		}
	}
	return admission
}

// present gives the organization as the channel has it, or an *AdmissionError.
func (s MembershipSpec) present(config *configtx.Config) (configtx.OrganizationSummary, error) {
	summary, err := configtx.Summarize(config)
	if err != nil {
		return configtx.OrganizationSummary{}, err
	}
	for _, o := range summary.ApplicationOrganizations {
		if o.Definition.ID == s.Handle.MSPID {
			return o, nil
		}
	}
	return configtx.OrganizationSummary{}, &AdmissionError{Channel: s.Handle.Name, MSPID: s.Handle.MSPID}
}

// joinMember has peers of the membership join the channel.
func (f *Fabric) joinMember(ctx context.Context, spec MembershipSpec, genesis []byte, peers []Handle) error {
	j := channelEntry{channel: spec.Handle.channel(), genesis: genesis, orderers: spec.orderers()}
	return f.join(ctx, j, peersOf(spec.members()), peers, spec.FromSnapshot)
}

// edit makes the organization's part of the channel what the spec says. Revocation lists are
// fabric_crl's.
func (s MembershipSpec) edit(address func(Handle) (configtx.Address, error)) func(*configtx.Config) error {
	return func(config *configtx.Config) error {
		present, err := s.present(config)
		if err != nil {
			return err
		}
		wanted := configtx.ApplicationOrganization{Definition: s.Definition}
		wanted.Definition.RevocationLists = present.Definition.RevocationLists
		for _, p := range s.member().anchors() {
			a, err := address(p)
			if err != nil {
				return err
			}
			wanted.AnchorPeers = append(wanted.AnchorPeers, a)
		}
		return config.SetApplicationOrganization(wanted)
	}
}

// setOwnPart sets anchor peers and definition. Both fall under the organization's own Admins.
func (f *Fabric) setOwnPart(ctx context.Context, spec MembershipSpec) error {
	_, err := f.updateChannel(ctx, configUpdate{
		channel: spec.Handle.channel(), orderers: spec.orderers(), admins: []Handle{spec.Handle.Organization()},
		edit: spec.edit(func(p Handle) (configtx.Address, error) { return f.endpoint(ctx, p) }),
	})
	return err
}

// PlanMembership computes what the spec changes on the channel, from what is kept of it alone.
func PlanMembership(spec MembershipSpec, basis ChannelBasis) (ChannelPlan, error) {
	config, err := basis.config(spec.Handle.Name)
	if err != nil {
		return ChannelPlan{}, err
	}
	edit := spec.edit(func(p Handle) (configtx.Address, error) { return basis.address(p), nil })
	return basis.plan(config, true, []func(*configtx.Config) error{edit})
}

// ReadMembership asks the peers whether they have joined, and the ordering nodes for the channel's
// configuration; while these do not answer, a peer. It fails with *UnansweredError when nobody does.
func (f *Fabric) ReadMembership(ctx context.Context, spec MembershipSpec) (MembershipState, ChannelBasis, error) {
	state, basis := MembershipState{}, ChannelBasis{Admins: []string{spec.Handle.MSPID}, Endpoints: map[string]configtx.Address{}}
	names := map[Handle]string{}
	for name, p := range spec.Peers {
		names[p] = name
		if address, err := f.endpoint(ctx, p); err == nil { // one that is gone has the address of its name
			basis.Endpoints[p.Name] = address
		}
	}
	var joined []Handle
	for _, a := range f.askForChannel(ctx, spec.Handle.Name, peersOf(spec.members())) {
		switch {
		case errors.Is(a.err, engine.ErrUnreachable) || ctx.Err() != nil:
			return state, basis, errors.Join(a.err, ctx.Err())
		case a.err != nil:
			state.Unanswered = append(state.Unanswered, names[a.node])
		case a.has:
			state.Joined, joined = append(state.Joined, names[a.node]), append(joined, a.node)
		}
	}
	config, err := f.latestConfig(ctx, spec.Handle.channel(), spec.orderers())
	state.Excluded = f.admission(ctx, spec.Handle.Name, spec.Handle.Organization(), err)
	switch {
	case state.Excluded != nil:
		return state, basis, nil //nolint:nilerr // the state tells
	case err != nil:
		if config, _ = f.latestConfig(ctx, spec.Handle.channel(), joined); config == nil {
			return state, basis, err
		}
	}
	if _, err := spec.present(config); err != nil && !errors.As(err, &state.Excluded) {
		return state, basis, err
	}
	basis.Block = config.Block
	basis.Config, err = (proto.MarshalOptions{Deterministic: true}).Marshal(config.Proto)
	return state, basis, err
}

// UpdateMembership brings a membership to what the spec says: peers that are no longer wanted leave, the
// organization's part of the configuration is set, the others join.
func (f *Fabric) UpdateMembership(ctx context.Context, spec MembershipSpec) error {
	defer f.locks.lock(spec.lockName())()
	before, err := f.membershipRecord(ctx, spec.Handle)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	genesis, err := f.awaitAdmission(ctx, spec)
	if err != nil {
		return err
	}
	peers := peersOf(spec.members())
	leaving := slices.DeleteFunc(peersOf(before.members()), func(p Handle) bool { return slices.Contains(peers, p) })
	if err := f.leavePeers(ctx, spec.Handle.Name, leaving, unjoinOptions{inTurn: true}); err != nil {
		return err
	}
	for _, p := range leaving {
		if err := f.removeServersBeside(ctx, spec.Handle, p, peers); err != nil {
			return err
		}
	}
	if err := f.writeMembership(ctx, spec); err != nil {
		return err
	}
	if err := f.setOwnPart(ctx, spec); err != nil {
		return err
	}
	if err := f.joinMember(ctx, spec, genesis, f.unjoined(ctx, spec, before)); err != nil {
		return err
	}
	return f.extendChaincodes(ctx, spec.Handle)
}

// unjoined gives the peers that have yet to join. One that belonged to the channel before and does not
// answer, because it is stopped, has joined.
func (f *Fabric) unjoined(ctx context.Context, spec, before MembershipSpec) []Handle {
	belonged := peersOf(before.members())
	var out []Handle
	for _, a := range f.askForChannel(ctx, spec.Handle.Name, peersOf(spec.members())) {
		if silent := a.err != nil && slices.Contains(belonged, a.node); !a.has && !silent {
			out = append(out, a.node)
		}
	}
	return out
}

// farewellTime is how long the ordering nodes of somebody else may take to let an organization take its
// anchor peers out of a channel that its peers leave.
const farewellTime = 20 * time.Second

// DeleteMembership has the peers leave the channel, with their ledgers of it. Before that it takes the
// anchor peers out of the configuration, unless the ordering nodes do not let it: remain then says why
// they stay. The organization itself stays a member: taking it out is up to the others.
func (f *Fabric) DeleteMembership(ctx context.Context, spec MembershipSpec) (remain, err error) {
	defer f.locks.lock(spec.lockName())()
	peers := peersOf(spec.members())
	if record, err := f.membershipRecord(ctx, spec.Handle); err == nil {
		// An apply that was killed may have joined more than the state knows of.
		peers = append(peers, slices.DeleteFunc(peersOf(record.members()), func(p Handle) bool { return slices.Contains(peers, p) })...)
	}
	farewell, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	_, remain = f.updateChannel(farewell, configUpdate{
		channel: spec.Handle.channel(), orderers: spec.orderers(), admins: []Handle{spec.Handle.Organization()},
		edit: func(config *configtx.Config) error {
			present, err := spec.present(config)
			if err != nil {
				return err
			}
			return config.SetApplicationOrganization(configtx.ApplicationOrganization{Definition: present.Definition})
		},
	})
	if f.admission(ctx, spec.Handle.Name, spec.Handle.Organization(), remain) != nil {
		remain = nil // what is no member has no anchor peers
	}
	return remain, f.leaveMembership(ctx, spec.Handle, peers)
}

// leaveMembership takes peers out of the channel and forgets the membership.
func (f *Fabric) leaveMembership(ctx context.Context, h Handle, peers []Handle) error {
	if err := f.leavePeers(ctx, h.Name, peers, unjoinOptions{}); err != nil {
		return err
	}
	if err := f.removeAllServers(ctx, h); err != nil {
		return err
	}
	if _, err := f.membershipRecord(ctx, h); errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		return nil
	}
	return f.eraseKeys(ctx, h.Organization(), membershipFile(h))
}

// leavePeers takes peers out of a channel, each for itself.
func (f *Fabric) leavePeers(ctx context.Context, channel string, peers []Handle, options unjoinOptions) error {
	var jobs together
	for _, p := range peers {
		jobs.do(func() error { return f.unjoin(ctx, p, channel, options) })
	}
	return jobs.wait()
}

// membershipsFolder is where the key volume of an organization tells of its memberships.
const membershipsFolder = "memberships/"

func membershipFile(h Handle) string { return membershipsFolder + h.Name + ".json" }

// pledged tells whether a membership of its organization has a peer.
func (f *Fabric) pledged(ctx context.Context, p Handle) bool {
	memberships, err := f.membershipsWith(ctx, p)
	return err == nil && len(memberships) > 0
}

// membershipsWith gives the memberships of its organization that have a peer.
func (f *Fabric) membershipsWith(ctx context.Context, p Handle) ([]MembershipSpec, error) {
	org, err := f.organizationKeys(ctx, p.Organization())
	if errors.Is(err, ErrLost) || errors.Is(err, ErrNotFound) { // the organization's business
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(org.memberships(), func(m MembershipSpec) bool { return !slices.Contains(peersOf(m.members()), p) }), nil
}

// memberships gives the memberships of the organization, by the names of their channels. One that cannot
// be read is its own resource's business.
func (k *organizationKeys) memberships() []MembershipSpec {
	var out []MembershipSpec
	for _, name := range slices.Sorted(maps.Keys(k.files)) {
		channel, ok := strings.CutPrefix(name, membershipsFolder)
		if !ok || len(k.files[name]) == 0 {
			continue
		}
		spec := MembershipSpec{Handle: k.handle.With(KindChannelMembership, strings.TrimSuffix(channel, ".json"), k.handle.MSPID), Definition: k.Definition}
		if json.Unmarshal(k.files[name], &spec) == nil {
			out = append(out, spec)
		}
	}
	return out
}

// writeMembership writes down what others must know of a membership, with the organization whose it is.
func (f *Fabric) writeMembership(ctx context.Context, spec MembershipSpec) error {
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return f.writeKeys(ctx, spec.Handle.Organization(), map[string][]byte{membershipFile(spec.Handle): raw})
}

// membershipRecord reads it. ErrNotFound when there is none.
func (f *Fabric) membershipRecord(ctx context.Context, h Handle) (MembershipSpec, error) {
	spec := MembershipSpec{Handle: h}
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return spec, err
	}
	raw := org.files[membershipFile(h)]
	if len(raw) == 0 {
		return spec, fmt.Errorf("no membership of %s in channel %s: %w", h.MSPID, h.Name, ErrNotFound)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, fmt.Errorf("unable to read the membership of %s in channel %s: %w", h.MSPID, h.Name, err)
	}
	spec.Definition = org.Definition
	return spec, nil
}

// FindMembership finds a membership as it was asked for.
func (f *Fabric) FindMembership(ctx context.Context, network, mspID, channel string) (MembershipSpec, error) {
	org, err := f.findOrganization(ctx, network, mspID)
	if err != nil {
		return MembershipSpec{}, err
	}
	return f.membershipRecord(ctx, org.With(KindChannelMembership, channel, mspID))
}
