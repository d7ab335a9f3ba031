package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// What consensus says.
const (
	consensusRaft = "raft"
	consensusBFT  = "bft"
)

// bftOption is a timer or a limit of SmartBFT: one of the two functions says where it is kept.
type bftOption struct {
	name, text string
	timer      func(*configtx.BFTOptions) *time.Duration
	limit      func(*configtx.BFTOptions) *uint64
}

// The options, as Fabric calls them.
var bftOptions = []bftOption{
	{name: "request_batch_max_interval", text: "How long after its first transaction a block is cut, as a duration. SmartBFT does not look at the `batch_timeout` of the channel.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.RequestBatchMaxInterval }},
	{name: "request_forward_timeout", text: "After how long a node that does not lead forwards a transaction to the leader.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.RequestForwardTimeout }},
	{name: "request_complain_timeout", text: "How long after that the node complains about a leader that does not order it; not less than `request_forward_timeout`.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.RequestComplainTimeout }},
	{name: "request_auto_remove_timeout", text: "How long after that the node drops the transaction; not less than `request_complain_timeout`.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.RequestAutoRemoveTimeout }},
	{name: "view_change_resend_interval", text: "After how long a node repeats its vote for another leader; not more than `view_change_timeout`.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.ViewChangeResendInterval }},
	{name: "view_change_timeout", text: "After how long the leader after the next one is tried.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.ViewChangeTimeout }},
	{name: "leader_heartbeat_timeout", text: "How long a leader may be silent until the others choose another one. Nothing is ordered meanwhile when transactions do not have them complain earlier.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.LeaderHeartbeatTimeout }},
	{name: "leader_heartbeat_count", text: "How many heartbeats a leader sends in that time.", limit: func(o *configtx.BFTOptions) *uint64 { return &o.LeaderHeartbeatCount }},
	{name: "collect_timeout", text: "How long a node that has missed something waits for what the others say.", timer: func(o *configtx.BFTOptions) *time.Duration { return &o.CollectTimeout }},
	{name: "incoming_message_buffer_size", text: "How many messages of other nodes may wait at a node.", limit: func(o *configtx.BFTOptions) *uint64 { return &o.IncomingMessageBufferSize }},
	{name: "request_pool_size", text: "How many transactions may wait at a node. A node reads it when it starts, so that a change rolls the nodes.", limit: func(o *configtx.BFTOptions) *uint64 { return &o.RequestPoolSize }},
	{name: "request_max_bytes", text: "How many bytes a transaction may have; `0` is as many as a block (`absolute_max_bytes` of the channel).", limit: func(o *configtx.BFTOptions) *uint64 { return &o.RequestMaxBytes }},
}

var bftTypes = func() map[string]attr.Type {
	out := map[string]attr.Type{}
	for _, o := range bftOptions {
		if out[o.name] = types.Int64Type; o.timer != nil {
			out[o.name] = types.StringType
		}
	}
	return out
}()

func bftAttribute() schema.Attribute {
	defaults := configtx.DefaultBFTOptions()
	attributes := map[string]schema.Attribute{}
	for _, o := range bftOptions {
		if o.timer != nil {
			value := durationText(*o.timer(&defaults))
			attributes[o.name] = schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(value),
				MarkdownDescription: o.text + " Defaults to `" + value + "`.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			}
			continue
		}
		value, least := int64(*o.limit(&defaults)), int64(1)
		if o.name == "request_max_bytes" {
			least = 0
		}
		attributes[o.name] = schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(value),
			MarkdownDescription: fmt.Sprintf("%s Defaults to %d.", o.text, value),
			Validators:          []validator.Int64{int64validator.Between(least, 1<<31)},
		}
	}
	return schema.SingleNestedAttribute{
		Optional: true, Computed: true, Attributes: attributes,
		MarkdownDescription: "Timers and limits of SmartBFT, on every channel of the cluster; with `consensus = \"bft\"` only. A leader that dies, or restarts under load, is missed as soon as transactions have waited for `request_forward_timeout` and `request_complain_timeout` together, 25 s by default, or after `leader_heartbeat_timeout` when there are none; nothing is ordered until then. " +
			"Changing them sends a config update to each channel, which takes effect at once; only for `request_pool_size` the nodes are rolled. The leader does not rotate: Fabric refuses that.",
	}
}

func bftValue(options configtx.BFTOptions) types.Object {
	values := map[string]attr.Value{}
	for _, o := range bftOptions {
		if o.timer != nil {
			values[o.name] = types.StringValue(durationText(*o.timer(&options)))
		} else {
			values[o.name] = types.Int64Value(int64(*o.limit(&options)))
		}
	}
	return types.ObjectValueMust(bftTypes, values)
}

// bftOptionsFrom reads options that are known.
func bftOptionsFrom(value types.Object) configtx.BFTOptions {
	options := configtx.DefaultBFTOptions()
	for _, o := range bftOptions {
		switch v := value.Attributes()[o.name].(type) {
		case types.String:
			*o.timer(&options) = durationOf(v)
		case types.Int64:
			*o.limit(&options) = uint64(v.ValueInt64())
		}
	}
	return options
}

// ordering gives how the nodes agree. The options of the other consensus are zero.
func (m *ordererClusterModel) ordering(ctx context.Context, diags *diag.Diagnostics) network.Ordering {
	if m.Consensus.ValueString() == consensusBFT {
		return network.Ordering{Consensus: configtx.ConsensusBFT, BFT: bftOptionsFrom(m.BFT)}
	}
	return network.Ordering{Consensus: configtx.ConsensusRaft, Raft: raftOptions(ctx, m.Raft, diags)}
}

// setOrdering writes how the nodes agree.
func (m *ordererClusterModel) setOrdering(o network.Ordering) {
	m.Consensus, m.Raft, m.BFT = types.StringValue(consensusRaft), raftValue(o.Raft), types.ObjectNull(bftTypes)
	if o.Consensus == configtx.ConsensusBFT {
		m.Consensus, m.Raft, m.BFT = types.StringValue(consensusBFT), types.ObjectNull(raftTypes), bftValue(o.BFT)
	}
}

// planOrdering gives the options of the consensus their defaults, and the other consensus none.
func (m *ordererClusterModel) planOrdering(config *ordererClusterModel) {
	raft, bft := raftValue(configtx.DefaultRaftOptions()), bftValue(configtx.DefaultBFTOptions())
	switch {
	case m.Consensus.IsUnknown():
		raft, bft = types.ObjectUnknown(raftTypes), types.ObjectUnknown(bftTypes)
	case m.Consensus.ValueString() == consensusBFT:
		raft = types.ObjectNull(raftTypes)
	default:
		bft = types.ObjectNull(bftTypes)
	}
	if config.Raft.IsNull() {
		m.Raft = raft
	}
	if config.BFT.IsNull() {
		m.BFT = bft
	}
}

// validateOrdering refuses options of the other consensus, and what SmartBFT cannot do with so few nodes or
// with nodes that it knows too little of.
func (m *ordererClusterModel) validateOrdering(diags *diag.Diagnostics) {
	switch {
	case m.Consensus.IsUnknown():
		return
	case m.Consensus.ValueString() != consensusBFT:
		if !m.BFT.IsNull() {
			diags.AddAttributeError(path.Root("bft"), "Options of another consensus", "The channels of this cluster are ordered by Raft. Set consensus = \"bft\", or use raft instead of bft.")
		}
		return
	case !m.Raft.IsNull():
		diags.AddAttributeError(path.Root("raft"), "Options of another consensus", "The channels of this cluster are ordered by SmartBFT. Set consensus = \"raft\", or use bft instead of raft.")
	}
	if n := len(m.Nodes.Elements()); !m.Nodes.IsUnknown() && n < network.LeastBFT {
		diags.AddAttributeError(path.Root("nodes"), "Too few ordering nodes for SmartBFT", sentence(&network.FewNodesError{Nodes: n})+" Add nodes, or set consensus = \"raft\".")
	}
	if !m.External.IsNull() {
		diags.AddAttributeError(path.Root("external_consenters"), "SmartBFT with nodes of other states",
			"SmartBFT knows each node by its enrolment certificate, which external_consenters does not have. Run all nodes of the cluster here, each with the organization that it belongs to, or set consensus = \"raft\".")
	}
}

// refuseOptions refuses options that SmartBFT cannot work with, on the channels that there are.
func (m *ordererClusterModel) refuseOptions(facts map[string]network.ClusterChannel, diags *diag.Diagnostics) {
	if m.Consensus.ValueString() != consensusBFT {
		return
	}
	options := bftOptionsFrom(m.BFT)
	seen := map[string]bool{}
	refuse := func(on string, problems []configtx.Problem) {
		for _, p := range problems {
			if name, ok := strings.CutPrefix(p.Field, "bft."); ok && !seen[name] {
				seen[name] = true
				diags.AddAttributeError(path.Root("bft").AtName(name), "Options that cannot work", "At bft."+name+": "+p.Reason+on+".")
			}
		}
	}
	// Without a channel it is not known how large blocks may be.
	refuse("", options.Problems(configtx.Batch{AbsoluteMaxBytes: 1<<32 - 1}))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		refuse(" on channel "+name, options.Problems(facts[name].Batch))
	}
}

// refuseConversion refuses another consensus for channels that there are.
func (m *ordererClusterModel) refuseConversion(prior *ordererClusterModel, facts map[string]network.ClusterChannel, diags *diag.Diagnostics) {
	if len(facts) == 0 || m.Consensus.IsUnknown() || !changed(prior.Consensus, m.Consensus) {
		return
	}
	names := strings.Join(slices.Sorted(maps.Keys(facts)), ", ")
	diags.AddAttributeError(path.Root("consensus"), "The consensus of a channel cannot be changed",
		fmt.Sprintf("The cluster orders channels by %s: %s. Another consensus would need a new cluster, which would not have them. Keep consensus = %q and add a second fabric_orderer_cluster with consensus = %q, whose channels begin anew; or destroy these channels in an apply of its own first.",
			prior.Consensus.ValueString(), names, prior.Consensus.ValueString(), m.Consensus.ValueString()))
}
