package provider

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"slices"
	"strconv"
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
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// raftModel are the timers and limits of Raft.
type raftModel struct {
	TickInterval         types.String `tfsdk:"tick_interval"`
	ElectionTick         types.Int64  `tfsdk:"election_tick"`
	HeartbeatTick        types.Int64  `tfsdk:"heartbeat_tick"`
	MaxInflightBlocks    types.Int64  `tfsdk:"max_inflight_blocks"`
	SnapshotIntervalSize types.Int64  `tfsdk:"snapshot_interval_size"`
}

var raftTypes = map[string]attr.Type{
	"tick_interval": types.StringType, "election_tick": types.Int64Type, "heartbeat_tick": types.Int64Type,
	"max_inflight_blocks": types.Int64Type, "snapshot_interval_size": types.Int64Type,
}

func raftAttribute() schema.Attribute {
	defaults := configtx.DefaultRaftOptions()
	number := func(value uint32, what string) schema.Int64Attribute {
		return schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(int64(value)),
			MarkdownDescription: what, Validators: []validator.Int64{int64validator.Between(1, 1<<31)},
		}
	}
	return schema.SingleNestedAttribute{
		Optional: true, Computed: true,
		MarkdownDescription: "Timers and limits of Raft, on every channel of the cluster; with `consensus = \"raft\"` only. A follower that hears nothing of the leader asks for an election after `election_tick` to twice `election_tick` ticks; that long nothing is ordered when a leader dies or is rolled: 5 to 10 s by default, 1 to 2 s with a `tick_interval` of `100ms`. " +
			"Shorter timers cost more heartbeats, and elections for nothing where the network or a disk is slower than they are. " +
			"Changing them sends a config update to each channel and, but for `snapshot_interval_size` which takes effect at once, rolls the nodes, because Fabric reads them when a node starts.",
		Attributes: map[string]schema.Attribute{
			"tick_interval": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(defaults.TickInterval.String()),
				MarkdownDescription: "Unit of the two below, as a duration. Defaults to `500ms`.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"election_tick":          number(defaults.ElectionTick, "Ticks without a message of the leader until a follower asks for an election; more than `heartbeat_tick`. Defaults to 10."),
			"heartbeat_tick":         number(defaults.HeartbeatTick, "Ticks between two heartbeats of the leader. Defaults to 1."),
			"max_inflight_blocks":    number(defaults.MaxInflightBlocks, "How many blocks may be on their way to followers before the leader accepts no more. Defaults to 5. More of them order faster, and are lost together with a leader that dies."),
			"snapshot_interval_size": number(defaults.SnapshotIntervalSize, "Bytes of blocks after which a node takes a snapshot and shortens its log. Defaults to 16777216 (16 MiB). Smaller ones save disk space, and make nodes that were down fetch blocks instead of log entries."),
		},
	}
}

func raftValue(o configtx.RaftOptions) types.Object {
	return types.ObjectValueMust(raftTypes, map[string]attr.Value{
		"tick_interval": types.StringValue(o.TickInterval.String()), "election_tick": types.Int64Value(int64(o.ElectionTick)),
		"heartbeat_tick": types.Int64Value(int64(o.HeartbeatTick)), "max_inflight_blocks": types.Int64Value(int64(o.MaxInflightBlocks)),
		"snapshot_interval_size": types.Int64Value(int64(o.SnapshotIntervalSize)),
	})
}

// raftOptions reads options that are known.
func raftOptions(ctx context.Context, value types.Object, diags *diag.Diagnostics) configtx.RaftOptions {
	if value.IsNull() || value.IsUnknown() {
		return configtx.DefaultRaftOptions()
	}
	var m raftModel
	diags.Append(value.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	interval, _ := time.ParseDuration(m.TickInterval.ValueString()) // the attribute's own validator says what is wrong
	return configtx.RaftOptions{
		TickInterval: interval, ElectionTick: uint32(m.ElectionTick.ValueInt64()), HeartbeatTick: uint32(m.HeartbeatTick.ValueInt64()),
		MaxInflightBlocks: uint32(m.MaxInflightBlocks.ValueInt64()), SnapshotIntervalSize: uint32(m.SnapshotIntervalSize.ValueInt64()),
	}
}

// handlesOf checks each handle of a map as far as it is known.
type handlesOf struct{ handleKind }

func (v handlesOf) ValidateMap(ctx context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for key, element := range req.ConfigValue.Elements() {
		if object, ok := element.(types.Object); ok && !object.IsNull() {
			if err := v.check(ctx, object); err != nil {
				addNested(&resp.Diagnostics, req.Path.AtMapKey(key), "Wrong kind of handle", sentence(err))
			}
		}
	}
}

// adminHandles gives those who sign, in the order of their names; nil when the configuration names none.
func (m *ordererClusterModel) adminHandles(ctx context.Context, diags *diag.Diagnostics) []network.Handle {
	var out []network.Handle
	elements := m.Admins.Elements()
	for _, key := range slices.Sorted(maps.Keys(elements)) {
		if object, ok := elements[key].(types.Object); ok {
			out = append(out, handleFrom(ctx, object, diags))
		}
	}
	return out
}

// signing gives those who sign changes of the channels: the ones that the configuration names, or the
// organizations of the nodes.
func (m *ordererClusterModel) signing(ctx context.Context, diags *diag.Diagnostics) []network.Handle {
	if !m.Admins.IsNull() {
		return m.adminHandles(ctx, diags)
	}
	return m.organizations(ctx, diags)
}

// organizations gives those of the nodes.
func (m *ordererClusterModel) organizations(ctx context.Context, diags *diag.Diagnostics) []network.Handle {
	all := []network.Handle{handleFrom(ctx, m.Organization, diags)}
	for _, n := range m.nodes(ctx, diags) {
		if org := handleFrom(ctx, m.organizationOf(n), diags); !slices.Contains(all, org) {
			all = append(all, org)
		}
	}
	return all
}

// clusterAdminsKey is the private state entry that holds those who sign and whose keys are on the engine.
const clusterAdminsKey = "admins"

// rememberAdmins keeps who can sign here.
func (m *ordererClusterModel) rememberAdmins(ctx context.Context, f *network.Fabric, private privateStateWriter, diags *diag.Diagnostics) {
	raw, err := json.Marshal(f.AbleToSign(ctx, m.signing(ctx, diags)))
	if err != nil {
		addError(diags, "Unable to keep who signs for ordering cluster "+m.Name.ValueString(), err)
		return
	}
	diags.Append(private.SetKey(ctx, clusterAdminsKey, raw)...)
}

// signers gives the MSP IDs of those who sign a change; unless the configuration names them, nodes that
// leave have an admin too. One that was there at the last Read and could not sign is left out, one that is
// new is taken at its word.
func (m *ordererClusterModel) signers(ctx context.Context, prior *ordererClusterModel, private privateState, diags *diag.Diagnostics) []string {
	raw, d := private.GetKey(ctx, clusterAdminsKey)
	diags.Append(d...)
	var able []network.Handle
	if len(raw) > 0 {
		if err := unmarshal(raw, &able); err != nil {
			addError(diags, "Unable to read who signs for ordering cluster "+m.Name.ValueString(), err)
		}
	}
	admins := m.signing(ctx, diags)
	var looked []network.Handle
	if exists := !prior.Nodes.IsNull(); exists {
		if m.Admins.IsNull() {
			admins = append(admins, prior.organizations(ctx, diags)...)
		}
		if len(raw) > 0 {
			looked = prior.signing(ctx, diags)
		}
	}
	signs := map[network.Handle]bool{}
	for _, h := range admins {
		signs[h] = !slices.Contains(looked, h) || slices.Contains(able, h)
	}
	var out []string
	for h, does := range signs {
		if does {
			out = append(out, h.MSPID)
		}
	}
	slices.Sort(out)
	return out
}

// clusterChannelType is what channels says of one.
var clusterChannelType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"consenters": types.ListType{ElemType: types.StringType}, "endpoints": types.ListType{ElemType: types.StringType},
}}

func clusterChannelValue(consenters, endpoints []string) attr.Value {
	list := func(texts []string) types.List {
		values := make([]attr.Value, len(texts))
		for i, text := range texts {
			values[i] = types.StringValue(text)
		}
		return types.ListValueMust(types.StringType, values)
	}
	return types.ObjectValueMust(clusterChannelType.AttrTypes, map[string]attr.Value{"consenters": list(consenters), "endpoints": list(endpoints)})
}

// clusterFactsKey is the private state entry that holds what Read saw of the channels, for the plan.
const clusterFactsKey = "channels"

func clusterFacts(ctx context.Context, private privateState, diags *diag.Diagnostics) map[string]network.ClusterChannel {
	raw, d := private.GetKey(ctx, clusterFactsKey)
	diags.Append(d...)
	facts := map[string]network.ClusterChannel{}
	if len(raw) > 0 {
		if err := unmarshal(raw, &facts); err != nil {
			addError(diags, "Unable to read what was kept of the cluster's channels", err)
		}
	}
	return facts
}

// rememberChannels asks the nodes for their channels, and keeps what the next plan rests on; after an
// apply no more than was planned.
func (m *ordererClusterModel) rememberChannels(ctx context.Context, f *network.Fabric, planned bool, before privateState, after privateStateWriter, diags *diag.Diagnostics) map[string]network.ClusterChannel {
	facts, err := f.ReadClusterChannels(ctx, handleFrom(ctx, m.Handle, diags), m.handles(ctx, diags), clusterFacts(ctx, before, diags))
	if err != nil {
		addError(diags, "Unable to read the channels of ordering cluster "+m.Name.ValueString(), err)
		return nil
	}
	if !m.Channels.IsNull() && !m.Channels.IsUnknown() && planned {
		// What this apply found beyond its plan is taken up with the next Read, together with the state.
		maps.DeleteFunc(facts, func(name string, _ network.ClusterChannel) bool { _, ok := m.Channels.Elements()[name]; return !ok })
	}
	raw, err := json.Marshal(facts)
	if err != nil {
		addError(diags, "Unable to keep the channels of ordering cluster "+m.Name.ValueString(), err)
		return nil
	}
	diags.Append(after.SetKey(ctx, clusterFactsKey, raw)...)
	return facts
}

// readChannels takes over what the ledgers of the channels say.
func (m *ordererClusterModel) readChannels(ctx context.Context, f *network.Fabric, before privateState, after privateStateWriter, diags *diag.Diagnostics) {
	facts := m.rememberChannels(ctx, f, false, before, after, diags)
	if diags.HasError() {
		return
	}
	nodes, channels := m.nodes(ctx, diags), map[string]attr.Value{}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		fact := facts[name]
		channels[name] = clusterChannelValue(fact.Consenters, fact.Endpoints)
		for _, node := range slices.Concat(fact.Unlisted, fact.Rekeyed) {
			if n := nodes[node]; n.Status.ValueString() == string(engine.Running) {
				n.Status = types.StringValue(string(network.Unlisted))
				nodes[node] = n
			}
		}
		if has := m.ordering(ctx, diags); fact.Raft != has.Raft || fact.BFT != has.BFT {
			m.setOrdering(fact.Ordering)
		}
	}
	m.Channels = types.MapValueMust(clusterChannelType, channels)
	m.setNodes(ctx, nodes, diags)
	m.Status = worst(nodes)
}

// takeChannels writes back what import found of the cluster beside its nodes. Channels themselves are read
// right after.
func (m *ordererClusterModel) takeChannels(ctx context.Context, found network.ClusterSpec, diags *diag.Diagnostics) {
	m.setOrdering(found.Ordering)
	m.Admins, m.External = types.MapNull(handleType), externalValue(ctx, found.External, diags)
	m.Channels, m.LastChange = types.MapNull(clusterChannelType), types.ListValueMust(types.StringType, []attr.Value{})
	admins := map[string]attr.Value{}
	for _, h := range found.Admins {
		admins[h.Name] = handleValue(h)
	}
	if len(admins) > 0 {
		m.Admins = types.MapValueMust(handleType, admins)
	}
}

// staying is how the cluster runs but for the nodes that leave: what is lost with them hinders nobody.
func (m *ordererClusterModel) staying(ctx context.Context, plan *ordererClusterModel, diags *diag.Diagnostics) runModel {
	run := m.runModel
	if plan.Nodes.IsUnknown() {
		return run
	}
	nodes := m.nodes(ctx, diags)
	maps.DeleteFunc(nodes, func(name string, _ ordererModel) bool {
		_, stays := plan.Nodes.Elements()[name]
		return !stays
	})
	run.Status = worst(nodes)
	return run
}

// planChange says in words what an update comes to, and refuses one that would cost a channel its
// quorum. It computes from the state and the configuration alone.
func (m *ordererClusterModel) planChange(ctx context.Context, prior *ordererClusterModel, private privateState, diags *diag.Diagnostics) {
	m.Channels, m.LastChange = types.MapUnknown(clusterChannelType), types.ListUnknown(types.StringType)
	if diags.HasError() || !m.foreseeable() {
		return
	}
	facts := clusterFacts(ctx, private, diags)
	if prior.Nodes.IsNull() {
		facts = nil
	}
	external := m.external(ctx, diags)
	change := network.ClusterChange{
		Admins: m.signers(ctx, prior, private, diags),
		Before: prior.planned(ctx, nil, diags), After: m.planned(ctx, prior, diags), Channels: facts, Ordering: m.ordering(ctx, diags),
		External: map[string]network.PlannedExternal{},
	}
	for name, e := range external {
		change.External[name] = network.PlannedExternal{Address: net.JoinHostPort(e.Address.Host, strconv.Itoa(e.Address.Port)), MSPID: e.Definition.ID, Consenter: e.Consenter}
	}
	m.Channels = m.channelsAfter(ctx, change, diags)
	plan := change.Plan()
	if m.DesiredState.ValueString() == "stopped" {
		m.planStopped(change, facts, diags)
		plan = network.ClusterPlan{}
	}
	m.LastChange = prior.LastChange
	if len(plan.Steps) > 0 {
		m.LastChange = listOf(ctx, plan.Steps, diags)
	} else if m.LastChange.IsNull() || m.LastChange.IsUnknown() {
		m.LastChange = types.ListValueMust(types.StringType, []attr.Value{})
	}
	for _, err := range plan.Refusals {
		at, summary := path.Root("nodes"), "An address is not free yet"
		switch {
		case network.IsQuorum(err):
			summary = "A channel would lose its quorum"
		case errors.As(err, new(*network.UnsignedStepError)):
			at, summary = path.Root("admins"), "Signatures are missing for a change of who orders"
		}
		diags.AddAttributeError(at, summary, explain(err))
	}
	if len(plan.Outages) > 0 {
		diags.AddAttributeWarning(path.Root("nodes"), "Ordering stops for a while", strings.Join(plan.Outages, "; ")+". With three nodes or more it would go on.")
	}
	m.refuseTimers(ctx, prior, facts, diags)
	m.refuseOptions(facts, diags)
	m.refuseMoves(ctx, prior, diags)
	m.refuseLoneKeys(ctx, prior, facts, diags)
}

// refuseLoneKeys refuses new keys for the only consenter of a channel, which could not order the change.
func (m *ordererClusterModel) refuseLoneKeys(ctx context.Context, prior *ordererClusterModel, facts map[string]network.ClusterChannel, diags *diag.Diagnostics) {
	before := prior.nodes(ctx, diags)
	for name, n := range m.nodes(ctx, diags) {
		was, existed := before[name]
		if !existed || was.KeyVersion.IsNull() || !changed(was.KeyVersion, n.KeyVersion) {
			continue
		}
		for channel, facts := range facts {
			if slices.Equal(facts.Consenters, []string{was.Endpoint.ValueString()}) {
				diags.AddAttributeError(path.Root("nodes").AtMapKey(name).AtName("key_version"), "Keys of a lone consenter",
					sentence(&network.LoneConsenterError{Node: network.Handle{Kind: network.KindOrderer, Name: name}, Channel: channel}))
			}
		}
	}
}

// refuseMoves refuses nodes that are to belong to another organization: they would be other nodes.
func (m *ordererClusterModel) refuseMoves(ctx context.Context, prior *ordererClusterModel, diags *diag.Diagnostics) {
	before := prior.nodes(ctx, diags)
	for name, n := range m.nodes(ctx, diags) {
		was, existed := before[name]
		if !existed {
			continue
		}
		from, to := handleMember(prior.organizationOf(was), "msp_id"), handleMember(m.organizationOf(n), "msp_id")
		if !to.IsUnknown() && !from.Equal(to) {
			diags.AddAttributeError(path.Root("nodes").AtMapKey(name), "A node cannot change its organization",
				"The node "+name+" belongs to "+from.ValueString()+". Take it out and add one with another name for "+to.ValueString()+".")
		}
	}
}

// planStopped refuses what a cluster that stands still cannot do.
func (m *ordererClusterModel) planStopped(change network.ClusterChange, facts map[string]network.ClusterChannel, diags *diag.Diagnostics) {
	if len(facts) > 0 && !slices.Equal(slices.Sorted(maps.Keys(change.Before)), slices.Sorted(maps.Keys(change.After))) {
		diags.AddAttributeError(path.Root("nodes"), "The cluster is to stand still",
			"Nodes that come or go need config updates of the channels, which only a cluster that runs can order. Change nodes first, and set desired_state = \"stopped\" in another apply.")
	}
}

// foreseeable tells whether everything is known that the words depend on.
func (m *ordererClusterModel) foreseeable() bool {
	for _, value := range []attr.Value{
		m.Nodes, m.External, m.Admins, m.Organization, m.Image, m.FabricVersion, m.Consensus, m.Raft, m.BFT, m.Limits, m.Labels, m.Log, m.BindAddress, m.DesiredState, m.Config, m.AcceptDataLoss,
	} {
		if !fullyKnown(value) {
			return false
		}
	}
	return true
}

// fullyKnown tells whether a value and everything that a user may write in it is known. Computed
// attributes of nodes are not looked at, but for the endpoint.
func fullyKnown(value attr.Value) bool {
	switch v := value.(type) {
	case types.Map:
		return !v.IsUnknown() && !slices.ContainsFunc(slices.Collect(maps.Values(v.Elements())), func(e attr.Value) bool { return !fullyKnown(e) })
	case types.List:
		return !v.IsUnknown() && !slices.ContainsFunc(v.Elements(), func(e attr.Value) bool { return !fullyKnown(e) })
	case types.Object:
		if v.IsUnknown() {
			return false
		}
		for name, member := range v.Attributes() {
			switch name {
			case "port", "admin_port", "operations_port", "status", "enrollment_certificate", "tls_certificate", "operations_certificate", "renewal_at", "last_renewal":
				continue
			}
			if !fullyKnown(member) {
				return false
			}
		}
		return true
	case types.Dynamic:
		return !v.IsUnknown() && !v.IsUnderlyingValueUnknown() && (v.IsNull() || v.IsUnderlyingValueNull() || fullyKnown(v.UnderlyingValue()))
	default:
		return !value.IsUnknown()
	}
}

// planned gives the nodes in the terms of a plan. Prior tells which of them are made anew.
func (m *ordererClusterModel) planned(ctx context.Context, prior *ordererClusterModel, diags *diag.Diagnostics) map[string]network.PlannedOrderer {
	out, before := map[string]network.PlannedOrderer{}, map[string]ordererModel{}
	all := false
	if prior != nil && !prior.Nodes.IsNull() {
		before = prior.nodes(ctx, diags)
		all = prior.ImageID.IsNull() || changed(prior.Image, m.Image, prior.FabricVersion, m.FabricVersion, prior.Limits, m.Limits, prior.Labels, m.Labels,
			prior.Log, m.Log, prior.BindAddress, m.BindAddress, prior.Config, m.Config) ||
			boots(prior.ordering(ctx, diags)) != boots(m.ordering(ctx, diags))
	}
	for name, n := range m.nodes(ctx, diags) {
		planned := network.PlannedOrderer{
			Address: n.Endpoint.ValueString(), MSPID: handleMember(m.organizationOf(n), "msp_id").ValueString(), Status: engine.Status(n.Status.ValueString()),
		}
		for _, port := range []types.Int64{n.Port, n.AdminPort, n.OperationsPort} {
			if !port.IsNull() && !port.IsUnknown() {
				planned.Ports = append(planned.Ports, int(port.ValueInt64()))
			}
		}
		if was, ok := before[name]; ok {
			planned.Rekeyed = !was.KeyVersion.IsNull() && changed(was.KeyVersion, n.KeyVersion)
			planned.Renewed = n.EnrollmentCertificate.IsUnknown() || n.TLSCertificate.IsUnknown()
			planned.Restart = all || renews(&n) ||
				changed(was.AdvertisedAddress, n.AdvertisedAddress, was.SANs, n.SANs, was.Port, n.Port, was.AdminPort, n.AdminPort, was.OperationsPort, n.OperationsPort)
		}
		out[name] = planned
	}
	return out
}

// boots are the options that a node reads when it starts.
func boots(o network.Ordering) network.Ordering {
	o.Raft.SnapshotIntervalSize = 0
	o.BFT = configtx.BFTOptions{RequestPoolSize: o.BFT.RequestPoolSize}
	return o
}

// channelsAfter gives what the ledgers are to list: endpoints are those of organizations with nodes here.
func (m *ordererClusterModel) channelsAfter(ctx context.Context, change network.ClusterChange, diags *diag.Diagnostics) types.Map {
	var consenters []string
	organizations := map[string]bool{}
	for _, n := range change.After {
		consenters = append(consenters, n.Address)
	}
	for _, n := range m.nodes(ctx, diags) {
		organizations[handleMember(m.organizationOf(n), "msp_id").ValueString()] = true
	}
	endpoints := slices.Clone(consenters)
	for _, e := range change.External {
		if organizations[e.MSPID] {
			endpoints = append(endpoints, e.Address)
		}
	}
	slices.Sort(endpoints)
	channels := map[string]attr.Value{}
	for name, now := range change.Channels {
		all := slices.Clone(consenters)
		for _, e := range change.External {
			if e.Consenter || slices.Contains(now.Consenters, e.Address) { // what others decided stays
				all = append(all, e.Address)
			}
		}
		slices.Sort(all)
		channels[name] = clusterChannelValue(all, endpoints)
	}
	return types.MapValueMust(clusterChannelType, channels)
}

// refuseTimers refuses options that Raft cannot work with, and a leap that would have nodes with the new
// timers call for elections while the leader still has the old ones.
func (m *ordererClusterModel) refuseTimers(ctx context.Context, prior *ordererClusterModel, facts map[string]network.ClusterChannel, diags *diag.Diagnostics) {
	if m.Consensus.ValueString() != consensusRaft {
		return
	}
	wanted := raftOptions(ctx, m.Raft, diags)
	at := path.Root("raft")
	if wanted.ElectionTick <= wanted.HeartbeatTick {
		diags.AddAttributeError(at.AtName("election_tick"), "Timers that cannot work", "election_tick must be more than heartbeat_tick: otherwise every follower asks for an election before the leader's next heartbeat.")
		return
	}
	if len(facts) == 0 || prior.Raft.IsNull() {
		return
	}
	before := raftOptions(ctx, prior.Raft, diags)
	heartbeat, election := time.Duration(before.HeartbeatTick)*before.TickInterval, time.Duration(wanted.ElectionTick)*wanted.TickInterval
	if election < 2*heartbeat {
		diags.AddAttributeError(at, "Too far in one step",
			"The leader sends a heartbeat every "+heartbeat.String()+" until it is rolled, and nodes with the new timers would ask for elections after "+election.String()+". Go there in several applies, each with an election timeout (election_tick times tick_interval) of at least twice the heartbeat interval before it.")
	}
}
