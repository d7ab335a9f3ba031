package network

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// ClusterChannel is what is known of a channel that a cluster orders.
type ClusterChannel struct {
	// Consenters and Endpoints are the addresses (host:port) that the ledger lists, sorted; the endpoints
	// are those of the organizations that have nodes in the cluster.
	Consenters []string `json:"consenters"`
	Endpoints  []string `json:"endpoints"`
	// Organizations are the MSP IDs of the ordering organizations.
	Organizations []string `json:"organizations"`
	// Unlisted are the nodes of the cluster that are no consenters of the channel, by name.
	Unlisted []string `json:"unlisted,omitempty"`
	// Rekeyed are those that are listed with the key that they are about to have: an attempt to replace it
	// was cut short, and they take part again when they have restarted.
	Rekeyed []string `json:"rekeyed,omitempty"`
	// Leader is the name of the node that leads; empty when it is none of them, or unknown.
	Leader string `json:"leader,omitempty"`
	Ordering
	// Batch are the limits of its blocks.
	Batch configtx.Batch `json:"batch"`
	// Capabilities are those of the channel.
	Capabilities []string `json:"capabilities"`
	// Config is the whole configuration, a marshalled common.Config: it says who must sign a change.
	Config []byte `json:"config,omitempty"`
}

// ReadClusterChannels asks the nodes of a cluster for the channels that they order. Of those in known of
// which no node says anything, what is known stays, unless every node was asked. A cluster whose removal was cut
// short has none: they go with it.
func (f *Fabric) ReadClusterChannels(ctx context.Context, cluster Handle, nodes map[string]Handle, known map[string]ClusterChannel) (map[string]ClusterChannel, error) {
	handles := slices.SortedStableFunc(maps.Values(nodes), compareNames)
	if going, err := f.going(ctx, cluster, handles); err != nil || going {
		return nil, err
	}
	views, silent, err := f.surveyAll(ctx, handles)
	if err != nil {
		return nil, err
	}
	out := map[string]ClusterChannel{}
	if silent {
		maps.Copy(out, known)
	}
	for _, c := range views {
		if c.summary != nil { // a channel that no node hands out is as it was
			facts := c.facts()
			if err := f.tellRekeyed(ctx, c, nodes, &facts); err != nil {
				return nil, err
			}
			out[c.channel.Name] = facts
		} else if before, ok := known[c.channel.Name]; ok {
			out[c.channel.Name] = before
		}
	}
	return out, nil
}

// tellRekeyed finds nodes that lack nothing but a restart among those that are no consenters.
func (f *Fabric) tellRekeyed(ctx context.Context, c channelView, nodes map[string]Handle, facts *ClusterChannel) error {
	var unlisted []string
	for _, name := range facts.Unlisted {
		next, err := f.nextKey(ctx, nodes[name])
		if err != nil {
			return err
		}
		if c.lists(next) {
			facts.Rekeyed = append(facts.Rekeyed, name)
		} else {
			unlisted = append(unlisted, name)
		}
	}
	facts.Unlisted = unlisted
	return nil
}

// facts gives what is kept of a channel whose configuration is known.
func (c channelView) facts() ClusterChannel {
	facts := ClusterChannel{
		Ordering: Ordering{Consensus: c.summary.ConsensusType, Raft: c.summary.Raft, BFT: c.summary.BFT},
		Batch:    c.summary.Batch, Capabilities: c.summary.ChannelCapabilities,
	}
	if c.config != nil { // without it nothing is said of signatures
		facts.Config, _ = proto.MarshalOptions{Deterministic: true}.Marshal(c.config.Proto)
	}
	for _, entry := range c.summary.Consenters {
		facts.Consenters = append(facts.Consenters, addressOf(entry.Consenter))
	}
	for _, org := range c.summary.OrdererOrganizations {
		facts.Organizations = append(facts.Organizations, org.Definition.ID)
		if slices.ContainsFunc(c.nodes, func(v ordererView) bool { return v.node.MSPID == org.Definition.ID }) {
			facts.Endpoints = append(facts.Endpoints, org.Endpoints...)
		}
	}
	slices.Sort(facts.Consenters)
	slices.Sort(facts.Endpoints)
	for _, v := range c.nodes { // a leader that was taken off takes part for an election's time yet
		if v.trouble == nil && (!v.consents() || !c.listsAddress(v.address)) {
			facts.Unlisted = append(facts.Unlisted, v.node.Name)
		}
	}
	if leader, ok := c.leader(); ok {
		facts.Leader = leader.Name
	}
	return facts
}
