package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// AdoptChannel makes the record of a channel that somebody else made, from its configuration and from
// what the nodes of the network say. Nothing of the channel changes. Its organizations go by their MSP
// IDs, its peers by their names.
func (f *Fabric) AdoptChannel(ctx context.Context, network, name string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("unable to adopt channel %s: %w", name, fmt.Errorf(format, args...))
	}
	orderers, cluster, err := f.ordering(ctx, network, name)
	if err != nil {
		return fail("%w", err)
	}
	spec := ChannelSpec{Handle: cluster.With(KindChannel, name, ""), Orderers: cluster, Organizations: map[string]ChannelOrganization{}, adopted: true}
	config, err := f.latestConfig(ctx, spec.Handle, orderers)
	if err != nil {
		return fail("%w", err)
	}
	summary, err := configtx.Summarize(config)
	if err != nil {
		return fail("%w", err)
	}
	if spec.Config, err = adoptedConfig(summary); err != nil {
		return fail("%w", err)
	}
	for _, member := range summary.ApplicationOrganizations {
		org, err := f.findOrganization(ctx, network, member.Definition.ID)
		if errors.Is(err, ErrNotFound) {
			return fail("%s is on it, and there is no such organization on network %s; next: apply a fabric_organization of it, with its certificates, and with admin_directory where it is to act here", member.Definition.ID, network)
		}
		if err != nil {
			return fail("%w", err)
		}
		if spec.Organizations[org.MSPID], err = f.adoptedMember(ctx, org, member, name); err != nil {
			return fail("%w", err)
		}
	}
	if _, err := f.restoreRecord(ctx, spec); err != nil {
		return fail("%w", err)
	}
	return nil
}

// ordering finds the ordering nodes of a network that have a channel, and their cluster.
func (f *Fabric) ordering(ctx context.Context, network, channel string) (orderers []Handle, cluster Handle, err error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{engine.LabelKind: string(KindOrderer), engine.LabelNetwork: network})
	if err != nil {
		return nil, cluster, err
	}
	names := map[Handle]string{}
	for _, n := range nodes {
		if n.Labels[labelOnce] == "" {
			names[handleOf(n.Labels)] = n.Labels[labelCluster]
		}
	}
	var failures error
	for _, a := range f.askForChannel(ctx, channel, slices.SortedStableFunc(maps.Keys(names), compareNames)) {
		if a.err != nil {
			failures = errors.Join(failures, fmt.Errorf("%s: %w", a.node, a.err))
		}
		if a.has {
			orderers, cluster = append(orderers, a.node), a.node.With(KindOrdererCluster, names[a.node], a.node.MSPID)
		}
	}
	if len(orderers) > 0 {
		record, err := f.clusterRecord(ctx, orderers)
		if record.MSPID != "" {
			cluster.MSPID = record.MSPID
		}
		return orderers, cluster, err
	}
	if failures != nil {
		return nil, cluster, &UnansweredError{Thing: Handle{Kind: KindChannel, Name: channel}, Cause: failures}
	}
	return nil, cluster, fmt.Errorf("no ordering node of network %s has it: %w; next: import its fabric_orderer_cluster first", network, ErrNotFound)
}

// adoptedConfig is what would have been asked for, had we made the channel.
func adoptedConfig(s configtx.Summary) (configtx.Channel, error) {
	config := configtx.Channel{Batch: s.Batch, ACLs: s.ACLs, ApplicationPolicies: s.ApplicationPolicies}
	if s.System || !s.NewLifecycle() {
		return config, errors.New("it has the configuration of a channel of Fabric 1; next: bring its capabilities to V2_0 with the tools that it was made with")
	}
	config.ChannelCapability, config.ApplicationCapability = last(s.ChannelCapabilities), last(s.ApplicationCapabilities)
	return config, nil
}

// withdrawOurs takes the organizations that have their certificates from a CA of ours out of a channel that
// somebody else made: their keys are about to go, and the others go on without them. It does nothing to a
// channel of ours.
func (f *Fabric) withdrawOurs(ctx context.Context, channel Handle) (adopted bool, err error) {
	record, err := f.channelRecord(ctx, channel)
	if errors.Is(err, ErrLost) {
		return false, nil
	}
	if err != nil || !record.Adopted {
		return false, err
	}
	for _, key := range slices.Sorted(maps.Keys(record.Organizations)) {
		org := record.Organizations[key].Organization
		keys, err := f.organizationKeys(ctx, org)
		if err != nil || keys.CA == "" { // what cannot be told is left as it is
			continue
		}
		if err := f.withdrawFrom(ctx, org, channel); err != nil {
			return true, fmt.Errorf("unable to take %s out of %s: %w", org, channel, err)
		}
	}
	return true, nil
}

// last gives the last text, empty when there is none.
func last(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return texts[len(texts)-1]
}

// adoptedMember finds the peers of an organization that are on a channel, and which of them are anchors.
func (f *Fabric) adoptedMember(ctx context.Context, org Handle, member configtx.OrganizationSummary, channel string) (ChannelOrganization, error) {
	out := ChannelOrganization{Organization: org, Definition: member.Definition, Peers: map[string]Handle{}}
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: org.Owner, engine.LabelKind: string(KindPeer), engine.LabelNetwork: org.Network, labelMSPID: org.MSPID,
	})
	if err != nil {
		return out, err
	}
	peers, endpoints := []Handle{}, map[Handle]string{}
	for _, n := range nodes {
		if n.Labels[labelOnce] == "" {
			h := handleOf(n.Labels)
			peers, endpoints[h] = append(peers, h), n.Labels[labelEndpoint]
		}
	}
	for _, a := range f.askForChannel(ctx, channel, peers) {
		if a.err != nil {
			return out, fmt.Errorf("unable to ask %s whether it is on channel %s: %w", a.node, channel, a.err)
		}
		if !a.has {
			continue
		}
		out.Peers[a.node.Name] = a.node
		if slices.ContainsFunc(member.AnchorPeers, func(anchor configtx.Address) bool {
			return net.JoinHostPort(anchor.Host, strconv.Itoa(anchor.Port)) == endpoints[a.node]
		}) {
			out.AnchorPeers = append(out.AnchorPeers, a.node.Name)
		}
	}
	slices.Sort(out.AnchorPeers)
	if len(out.Peers) > 0 && slices.Equal(out.AnchorPeers, slices.Sorted(maps.Keys(out.Peers))[:1]) {
		out.AnchorPeers = nil // as it is unless something else is asked for
	}
	return out, nil
}
