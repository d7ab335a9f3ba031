package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type ordererClusterResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &ordererClusterResource{}
	_ resource.ResourceWithImportState    = &ordererClusterResource{}
	_ resource.ResourceWithModifyPlan     = &ordererClusterResource{}
	_ resource.ResourceWithValidateConfig = &ordererClusterResource{}
)

func newOrdererClusterResource() resource.Resource { return &ordererClusterResource{} }

// ordererClusterModel is a fabric_orderer_cluster.
type ordererClusterModel struct {
	runModel
	Organization  types.Object  `tfsdk:"organization"`
	Name          types.String  `tfsdk:"name"`
	Consensus     types.String  `tfsdk:"consensus"`
	FabricVersion types.String  `tfsdk:"fabric_version"`
	Config        types.Dynamic `tfsdk:"config"`
	Raft          types.Object  `tfsdk:"raft"`
	BFT           types.Object  `tfsdk:"bft"`
	Admins        types.Map     `tfsdk:"admins"`
	External      types.Map     `tfsdk:"external_consenters"`
	Nodes         types.Map     `tfsdk:"nodes"`
	Channels      types.Map     `tfsdk:"channels"`
	LastChange    types.List    `tfsdk:"last_change"`
	RenewBefore   types.String  `tfsdk:"renew_before"`
}

// ordererModel is one node of a cluster.
type ordererModel struct {
	memberCertificates
	Organization      types.Object `tfsdk:"organization"`
	Container         types.String `tfsdk:"container"`
	MaterialDirectory types.String `tfsdk:"material_directory"`
	AdvertisedAddress types.String `tfsdk:"advertised_address"`
	SANs              types.List   `tfsdk:"sans"`
	Port              types.Int64  `tfsdk:"port"`
	AdminPort         types.Int64  `tfsdk:"admin_port"`
	OperationsPort    types.Int64  `tfsdk:"operations_port"`
	Endpoint          types.String `tfsdk:"endpoint"`
	Status            types.String `tfsdk:"status"`
}

// certified tells whether a CA here certifies the node.
func (m *ordererModel) certified() bool {
	return m.Container.IsNull() && m.MaterialDirectory.IsNull()
}

var ordererType = types.ObjectType{AttrTypes: mergeTypes(memberCertificatesTypes, map[string]attr.Type{
	"organization": handleType, "container": types.StringType, "material_directory": types.StringType, "advertised_address": types.StringType, "sans": types.ListType{ElemType: types.StringType},
	"port": types.Int64Type, "admin_port": types.Int64Type, "operations_port": types.Int64Type,
	"endpoint": types.StringType, "status": types.StringType,
})}

const clusterHolds = "the blocks of a channel"

func (r *ordererClusterResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_orderer_cluster"
}

func (r *ordererClusterResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` that the ordering nodes belong to, but for those that name another one. Changing it replaces the cluster.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	ofNode := handleInput("Handle of the `fabric_organization` that this node belongs to. Defaults to the one of the cluster. A node that is to belong to another organization needs another name.", network.KindOrganization)
	ofNode.Required, ofNode.Optional = false, true
	computed := func(what string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A cluster of ordering nodes, started at once. It is created when each of them answers; channels are made on it by `fabric_channel`.\n\n" +
			"It alone writes the consenters and the endpoints of its nodes, on every channel that it orders. A node that is added joins each channel as a follower, catches up, becomes a consenter by a config update of its own, and then an endpoint; " +
			"one that is removed leaves in the opposite order. What needs other containers (image, release, limits, configuration, timers, certificates) is rolled: one node at a time, followers first, the leader last, each when every channel can spare it and the one before it has caught up. " +
			"A plan that would leave a channel without its quorum is refused. An apply that fails or is killed leaves a cluster that works; the next one goes on from there.\n\n" +
			"With SmartBFT the channels also list the enrolment certificate of each node, byte by byte: before a node restarts with a renewed one, each channel is told by a config update.",
		Attributes: merge(runAttributes(ctx, "ordering cluster", clusterHolds, "hyperledger/fabric-orderer:FABRIC_VERSION"), map[string]schema.Attribute{
			"organization": of,
			"name": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("orderers"),
				MarkdownDescription: "Name of the cluster on its network. Defaults to `orderers`. Changing it replaces the cluster.",
				Validators:          []validator.String{nodeName},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"consensus": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(consensusRaft),
				MarkdownDescription: "Consensus of the channels on this cluster: `raft`, or `bft` (SmartBFT) with Fabric 3.0 or later and four nodes or more. Defaults to `raft`. " +
					"Raft goes on as long as more than half of the nodes work; SmartBFT as long as no more than f = (n-1)/3 of n nodes, rounded down, fail or lie, whatever they do. Changing it replaces the cluster, and is refused while the cluster has channels.",
				Validators:    []validator.String{stringvalidator.OneOf(consensusRaft, consensusBFT)},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"fabric_version": versionAttribute(),
			"config":         overlayAttribute("orderer.yaml"),
			"renew_before":   renewBeforeAttribute(),
			"raft":           raftAttribute(),
			"bft":            bftAttribute(),
			"admins": schema.MapAttribute{
				Optional: true, ElementType: handleType,
				MarkdownDescription: "Who signs changes of consenters, endpoints and options of the consensus on the channels: handles of `fabric_organization`s, for their admins, or of admin `fabric_identity`s, by a name of your choice. Defaults to the admins of the organizations of the nodes. " +
					"Consenters fall under the Admins of the ordering organizations together (a majority of them), endpoints under the Admins of their own organization.",
				Validators: []validator.Map{mapvalidator.SizeAtLeast(1), handlesOf{handleKind{[]network.Kind{network.KindOrganization, network.KindIdentity}}}},
			},
			"external_consenters": externalConsentersAttribute(),
			"channels": schema.MapAttribute{
				Computed: true, ElementType: clusterChannelType,
				MarkdownDescription: "Channels that the cluster orders, by name, each with the addresses of its `consenters` and its orderer `endpoints` as the ledger has them. What differs from `nodes` is brought to it by the next apply.",
			},
			"last_change": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What the last change of the cluster came to, step by step, in words. In a plan: what it will come to; nodes that lead channels by then come later in the roll.",
			},
			"nodes": schema.MapNestedAttribute{
				Required: true,
				MarkdownDescription: "The ordering nodes by name, for example `{ orderer0 = {}, orderer1 = {}, orderer2 = {} }`; with the domain of the network behind it, a name is a host name. " +
					"With Raft a cluster of an even number of nodes survives no more failures than one with a node less. SmartBFT needs four nodes to survive the failure of one, and seven for two.",
				Validators: []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.KeysAre(nodeName)},
				NestedObject: schema.NestedAttributeObject{
					Attributes: merge(addressAttributes("ordering node", 7050), memberCertificatesAttributes("node", ordererRotation), map[string]schema.Attribute{
						"organization":       ofNode,
						"container":          containerAttribute("node", "NETWORK/NAME@NODE=CONTAINER"),
						"material_directory": materialAttribute("node"),
						"port":               portAttribute("node's gRPC services"),
						"admin_port":         portAttribute("channel participation endpoint, which wants a client certificate"),
						"operations_port":    portAttribute("operations endpoint, which wants a client certificate"),
						"endpoint":           computed("Address (`host:port`) of the node on the network, or the advertised one."),
						"status":             computed("What the engine says of the node: `running`, `detached`, `stopped`, `absent`, `lost` or `removed`; `unlisted` when it runs and is no consenter of a channel of the cluster."),
					}),
				},
			},
		}),
	}
}

// ValidateConfig says what an even number of consenters means, and refuses a consensus that the
// release does not have.
func (r *ordererClusterResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config ordererClusterModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	for name, element := range config.Nodes.Elements() {
		if element.IsNull() {
			resp.Diagnostics.AddAttributeError(path.Root("nodes").AtMapKey(name), "Not a node", "Write "+name+" = {} for a node with nothing special about it.")
		}
	}
	config.validateOrdering(&resp.Diagnostics)
	if n := len(config.Nodes.Elements()); !config.Nodes.IsUnknown() && config.External.IsNull() && n > 0 && n%2 == 0 && config.Consensus.ValueString() != consensusBFT && !config.Consensus.IsUnknown() {
		resp.Diagnostics.AddAttributeWarning(path.Root("nodes"), "Even number of ordering nodes",
			fmt.Sprintf("A cluster of %d nodes goes on after the loss of %d, and so does one of %d. Use an odd number.", n, (n-1)/2, n-1))
	}
}

func (r *ordererClusterResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan, config ordererClusterModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		for _, ports := range prior.wantedPorts(ctx, &resp.Diagnostics) {
			r.session.ports.leave(ports.handle)
		}
		prior.protect(ctx, req.Private, "ordering cluster", clusterHolds, &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if config.FabricVersion.IsNull() {
		plan.FabricVersion = r.session.config.FabricVersion
	}
	var before *runModel
	if !req.State.Raw.IsNull() {
		staying := prior.staying(ctx, &plan, &resp.Diagnostics)
		before = &staying
	}
	plan.runModel.plan(before, &config.runModel, r.session.image("hyperledger/fabric-orderer", plan.FabricVersion), &resp.Diagnostics)
	plan.Handle = planHandle(ctx, plan.Organization, network.KindOrdererCluster, plan.Name, handleMember(plan.Organization, "msp_id"), &resp.Diagnostics)
	plan.planOrdering(&config)
	plan.planNodes(ctx, &r.configured, &prior, before != nil, &resp.Diagnostics)
	plan.refuseAdopted(ctx, &prior, before != nil, &resp.Diagnostics)
	plan.validate(ctx, &resp.Diagnostics)
	if before != nil {
		plan.refuseConversion(&prior, clusterFacts(ctx, req.Private, &resp.Diagnostics), &resp.Diagnostics)
	}
	replaced := before != nil && changed(prior.Organization, plan.Organization, prior.Name, plan.Name, prior.Consensus, plan.Consensus)
	if before == nil || replaced {
		prior.Nodes, prior.Channels, prior.LastChange = types.MapNull(ordererType), types.MapNull(clusterChannelType), types.ListNull(types.StringType)
	}
	plan.refuseExternal(ctx, &prior, &resp.Diagnostics)
	plan.planChange(ctx, &prior, req.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if replaced {
		prior.protect(ctx, req.Private, "ordering cluster", clusterHolds, &resp.Diagnostics)
		return // Terraform plans it once more, as a new one
	}
	r.session.claims.name(ctx, network.KindOrdererCluster, plan.Organization, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	r.session.claims.release(plan.Handle, prior.FabricVersion, plan.FabricVersion)
	r.session.claims.consensus(plan.Handle, plan.Consensus)
	if before != nil {
		nodes := slices.SortedStableFunc(maps.Values(prior.handles(ctx, &resp.Diagnostics)), func(a, b network.Handle) int { return strings.Compare(a.Name, b.Name) })
		r.refuseRelease(ctx, prior.FabricVersion, plan.FabricVersion, nodes, nil, &resp.Diagnostics)
	}
	for _, node := range plan.wantedPorts(ctx, &resp.Diagnostics) {
		name := handleMember(node.handle, "name")
		r.session.claims.name(ctx, network.KindOrderer, plan.Organization, name, path.Root("nodes").AtMapKey(name.ValueString()), req, &resp.Diagnostics)
		r.session.ports.want(node.handle, node.ports, &resp.Diagnostics)
	}
}

// nodePorts are the host ports of one node of a cluster.
type nodePorts struct {
	handle types.Object
	ports  []portWish
}

// wantedPorts are the host ports of every node, in the order of their names.
func (m *ordererClusterModel) wantedPorts(ctx context.Context, diags *diag.Diagnostics) []nodePorts {
	var out []nodePorts
	nodes := m.nodes(ctx, diags)
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		n, at := nodes[name], path.Root("nodes").AtMapKey(name)
		if !n.Container.IsNull() { // whose ports are held by what it stands for
			out = append(out, nodePorts{handle: m.planNodeHandle(ctx, name, n, diags)})
			continue
		}
		out = append(out, nodePorts{
			handle: m.planNodeHandle(ctx, name, n, diags),
			ports: wantedPorts(m.BindAddress, plannedAt{n.Port, at.AtName("port")},
				plannedAt{n.AdminPort, at.AtName("admin_port")}, plannedAt{n.OperationsPort, at.AtName("operations_port")}),
		})
	}
	return out
}

// portPaths tells where each host port of the cluster is set.
func (m *ordererClusterModel) portPaths(ctx context.Context, diags *diag.Diagnostics) map[int]path.Path {
	out := map[int]path.Path{}
	for _, node := range m.wantedPorts(ctx, diags) {
		maps.Copy(out, portPaths(node.ports))
	}
	return out
}

// planNodeHandle is what is known of the handle of a node.
func (m *ordererClusterModel) planNodeHandle(ctx context.Context, name string, n ordererModel, diags *diag.Diagnostics) types.Object {
	return planHandle(ctx, m.Organization, network.KindOrderer, types.StringValue(name), handleMember(m.organizationOf(n), "msp_id"), diags)
}

// organizationOf gives the organization of a node.
func (m *ordererClusterModel) organizationOf(n ordererModel) types.Object {
	if n.Organization.IsNull() {
		return m.Organization
	}
	return n.Organization
}

// planNodes computes what is known of each node.
func (m *ordererClusterModel) planNodes(ctx context.Context, c *configured, prior *ordererClusterModel, exists bool, diags *diag.Diagnostics) {
	if m.Nodes.IsUnknown() {
		return
	}
	nodes, before := m.nodes(ctx, diags), map[string]ordererModel{}
	if exists {
		before = prior.nodes(ctx, diags)
	}
	for name, n := range nodes {
		handle := m.planNodeHandle(ctx, name, n, diags)
		n.Endpoint = planEndpoint(n.AdvertisedAddress, handle, 7050)
		n.Status = m.DesiredState
		planNewCertificates(&n)
		was, ok := before[name]
		stays := ok && !beginsAnew(was.Status, &m.runModel)
		switch {
		case ok && !n.Container.IsNull():
			planAdopted(&n, &was)
		case !n.MaterialDirectory.IsNull() && n.Container.IsNull():
			g := given{
				plan: &n, directory: n.MaterialDirectory, before: was.MaterialDirectory, handle: handle, at: path.Root("nodes").AtMapKey(name),
				options: givenOptions(n.AdvertisedAddress, n.SANs, n.MaterialDirectory, stays),
			}
			if stays {
				g.prior, g.keeps, g.renamed = &was, true, changed(was.AdvertisedAddress, n.AdvertisedAddress, was.SANs, n.SANs)
			}
			c.planGiven(ctx, g, diags)
		case stays:
			planCertificates(&n, &was, changed(prior.RenewBefore, m.RenewBefore), restarts("ordering node", types.StringValue(name)),
				reissued(was.AdvertisedAddress, n.AdvertisedAddress, was.SANs, n.SANs)...)
		}
		nodes[name] = n
	}
	m.setNodes(ctx, nodes, diags)
}

// refuseAdopted refuses what adopted nodes of the cluster cannot be.
func (m *ordererClusterModel) refuseAdopted(ctx context.Context, prior *ordererClusterModel, exists bool, diags *diag.Diagnostics) {
	before := map[string]ordererModel{}
	if exists {
		before = prior.nodes(ctx, diags)
	}
	whole := false
	for name, n := range m.nodes(ctx, diags) {
		was, there := before[name]
		at := path.Root("nodes").AtMapKey(name)
		if there && changed(was.Container, n.Container) {
			diags.AddAttributeError(at.AtName("container"), "Another container", "A node that was adopted stays in its container, and one that was not adopted has its own. Give the new one another name.")
			continue
		}
		if n.Container.IsNull() || n.Container.IsUnknown() {
			continue
		}
		whole = true
		refuseAdopted(at, there, []kept{
			{"sans", was.SANs, n.SANs}, {"port", was.Port, n.Port}, {"admin_port", was.AdminPort, n.AdminPort}, {"operations_port", was.OperationsPort, n.OperationsPort},
			{"key_version", was.KeyVersion, n.KeyVersion}, {"material_directory", was.MaterialDirectory, n.MaterialDirectory}, {"advertised_address", was.AdvertisedAddress, n.AdvertisedAddress},
		}, diags)
	}
	if whole && exists {
		m.runModel.refuseAdopted(&prior.runModel, exists, []kept{{"config", prior.Config, m.Config}}, diags)
	}
}

func (m *ordererClusterModel) validate(ctx context.Context, diags *diag.Diagnostics) {
	if m.FabricVersion.IsUnknown() {
		return
	}
	version, err := nodeconfig.ParseVersion(m.FabricVersion.ValueString())
	if err != nil {
		return // the attribute's own validator says so
	}
	if m.Consensus.ValueString() == consensusBFT && !version.SupportsBFT() {
		diags.AddAttributeError(path.Root("consensus"), "SmartBFT needs Fabric 3",
			fmt.Sprintf("Fabric %s orders by Raft only. Set consensus = \"raft\", or fabric_version to 3.0 or later.", version))
	}
	validateOrdererConfig(ctx, m.Config, m.FabricVersion, diags)
}

func (m *ordererClusterModel) nodes(ctx context.Context, diags *diag.Diagnostics) map[string]ordererModel {
	out := map[string]ordererModel{}
	for name, element := range m.Nodes.Elements() {
		if element.IsUnknown() {
			out[name] = unknownOrderer()
			continue
		}
		var n ordererModel
		if object, ok := element.(types.Object); ok {
			diags.Append(object.As(ctx, &n, basetypes.ObjectAsOptions{})...)
		}
		out[name] = n
	}
	return out
}

// unknownOrderer is a node of which only the name is known.
func unknownOrderer() ordererModel {
	return ordererModel{
		memberCertificates: unknownCertificates(), Organization: types.ObjectUnknown(handleTypes), Container: types.StringUnknown(), MaterialDirectory: types.StringUnknown(), AdvertisedAddress: types.StringUnknown(), SANs: types.ListUnknown(types.StringType),
		Port: types.Int64Unknown(), AdminPort: types.Int64Unknown(), OperationsPort: types.Int64Unknown(),
		Endpoint: types.StringUnknown(), Status: types.StringUnknown(),
	}
}

func (m *ordererClusterModel) setNodes(ctx context.Context, nodes map[string]ordererModel, diags *diag.Diagnostics) {
	value, d := types.MapValueFrom(ctx, ordererType, nodes)
	diags.Append(d...)
	m.Nodes = value
}

func (m *ordererClusterModel) spec(ctx context.Context, diags *diag.Diagnostics) network.ClusterSpec {
	version, err := nodeconfig.ParseVersion(m.FabricVersion.ValueString())
	if err != nil {
		addError(diags, "Unsupported Fabric version", err)
	}
	overlay, _, err := overlayFrom(ctx, m.Config)
	if err != nil {
		addError(diags, "Unable to read config", err)
	}
	org := handleFrom(ctx, m.Organization, diags)
	spec := network.ClusterSpec{
		Handle: org.With(network.KindOrdererCluster, m.Name.ValueString(), org.MSPID), Nodes: map[string]network.OrdererSpec{},
		Ordering: m.ordering(ctx, diags), Admins: m.adminHandles(ctx, diags), External: m.external(ctx, diags),
	}
	for name, n := range m.nodes(ctx, diags) {
		options := m.options(ctx, diags)
		options.AdvertisedAddress, options.Hosts = n.AdvertisedAddress.ValueString(), stringList(ctx, n.SANs, diags)
		options.HostPorts = map[string]int{
			"grpc": int(n.Port.ValueInt64()), "admin": int(n.AdminPort.ValueInt64()), "operations": int(n.OperationsPort.ValueInt64()),
		}
		options.Renewal, options.Container, options.MaterialDirectory = firstKeys(&n), n.Container.ValueString(), n.MaterialDirectory.ValueString()
		spec.Nodes[name] = network.OrdererSpec{
			Handle: org.With(network.KindOrderer, name, handleMember(m.organizationOf(n), "msp_id").ValueString()), NodeOptions: options, Version: version, Config: overlay, Cluster: m.Name.ValueString(),
		}
	}
	return spec
}

// handles gives the handles of the nodes by name.
func (m *ordererClusterModel) handles(ctx context.Context, diags *diag.Diagnostics) map[string]network.Handle {
	cluster, out := handleFrom(ctx, m.Handle, diags), map[string]network.Handle{}
	for name, n := range m.nodes(ctx, diags) {
		out[name] = cluster.With(network.KindOrderer, name, handleMember(m.organizationOf(n), "msp_id").ValueString())
	}
	return out
}

// merge takes what was found of the nodes; the cluster's status is that of the node which is worst off.
func (m *ordererClusterModel) merge(ctx context.Context, states map[string]network.MemberState, diags *diag.Diagnostics) {
	nodes, handles := m.nodes(ctx, diags), m.handles(ctx, diags)
	for name, s := range states {
		n, ok := nodes[name]
		if !ok {
			continue
		}
		if !n.Container.IsNull() {
			s.NodeState = s.Unrecorded()
		}
		n.Status = statusOf(s.NodeState)
		if s.HostPorts != nil {
			n.Port, n.AdminPort, n.OperationsPort = portOf(s.HostPorts, "grpc"), portOf(s.HostPorts, "admin"), portOf(s.HostPorts, "operations")
		}
		if s.Certificates != nil {
			if takeCertificates(&n, s.Certificates, handles[name], m.RenewBefore); !n.certified() {
				nothingFallsDue(&n)
			}
		}
		nodes[name] = n
	}
	m.setNodes(ctx, nodes, diags)
	m.Status = worst(nodes)
}

func (m *ordererClusterModel) readCertificates(ctx context.Context, f *network.Fabric, handles map[string]network.Handle, diags *diag.Diagnostics) {
	nodes := m.nodes(ctx, diags)
	for name, n := range nodes {
		if readNodeCertificates(ctx, f, &n, handles[name], m.RenewBefore, diags); !n.certified() {
			nothingFallsDue(&n)
		}
		nodes[name] = n
	}
	m.setNodes(ctx, nodes, diags)
}

func ledgers(states map[string]network.MemberState) []network.Ledger {
	var out []network.Ledger
	for _, s := range states {
		out = append(out, s.Ledger)
	}
	return out
}

// held asks the nodes whether one of them has joined a channel.
func held(ctx context.Context, f *network.Fabric, handles map[string]network.Handle) (bool, error) {
	states, err := f.ReadOrdererCluster(ctx, handles)
	return slices.Contains(ledgers(states), network.LedgerHeld), err
}

func worst(nodes map[string]ordererModel) types.String {
	for _, status := range []string{statusLost, statusRemoved, string(engine.Absent), string(engine.Stopped), string(network.Detached), string(network.Altered), string(network.Unhealthy), string(network.Unlisted)} {
		for _, n := range nodes {
			if n.Status.ValueString() == status {
				return types.StringValue(status)
			}
		}
	}
	return types.StringValue(string(engine.Running))
}

func (r *ordererClusterResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan ordererClusterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	spec := plan.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.PreflightOrdererCluster(ctx, spec); err != nil {
		plan.addError(ctx, &resp.Diagnostics, "create", err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	r.apply(ctx, f, &plan, spec, "create", &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

func (m *ordererClusterModel) addError(ctx context.Context, diags *diag.Diagnostics, action string, err error) {
	summary := "Unable to " + action + " ordering cluster " + m.Name.ValueString()
	if errors.Is(err, network.ErrExists) || errors.Is(err, engine.ErrForeign) { // it is a node that has the name
		diags.AddAttributeError(path.Root("nodes"), summary, explain(err))
		return
	}
	addNodeError(diags, summary, err, m.portPaths(ctx, diags))
}

func (r *ordererClusterResource) apply(ctx context.Context, f *network.Fabric, plan *ordererClusterModel, spec network.ClusterSpec, action string, diags *diag.Diagnostics) {
	states, err := f.EnsureOrdererCluster(ctx, spec)
	if err != nil {
		plan.addError(ctx, diags, action, err)
		return
	}
	plan.merge(ctx, states, diags)
	for _, s := range states {
		plan.ImageID = types.StringValue(s.ImageID)
	}
}

func (r *ordererClusterResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state ordererClusterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	handles := state.handles(ctx, &resp.Diagnostics)
	states, err := f.ReadOrdererCluster(ctx, handles)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read ordering cluster "+state.Name.ValueString(), err)
		return
	}
	state.merge(ctx, states, &resp.Diagnostics)
	state.readChannels(ctx, f, req.Private, resp.Private, &resp.Diagnostics)
	state.rememberAdmins(ctx, f, resp.Private, &resp.Diagnostics)
	state.readCertificates(ctx, f, handles, &resp.Diagnostics)
	state.forgetLostImage(ctx, f, state.Status, &resp.Diagnostics)
	setProtection(ctx, resp.Private, ledgers(states), &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *ordererClusterResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state ordererClusterModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := plan.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	planned, before := plan.nodes(ctx, &resp.Diagnostics), state.nodes(ctx, &resp.Diagnostics)
	var leaving []network.Handle
	for name := range state.Nodes.Elements() {
		if node, stays := spec.Nodes[name]; stays {
			now, was := planned[name], before[name]
			node.Existing, node.Renewal = true, renewalOf(&now, &was)
			spec.Nodes[name] = node
		} else {
			leaving = append(leaving, state.handles(ctx, &resp.Diagnostics)[name])
		}
	}
	r.apply(ctx, f, &plan, spec, "update", &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	unregister(ctx, f, &resp.Diagnostics, leaving...)
	plan.rememberChannels(ctx, f, true, req.Private, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *ordererClusterResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state ordererClusterModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, state.Timeouts.Delete, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	handles := state.handles(ctx, &resp.Diagnostics)
	state.protectLedger(ctx, req.Private, "ordering cluster", clusterHolds, func() (bool, error) { return held(ctx, f, handles) }, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteOrdererCluster(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics), handles, state.keepVolumes()); err != nil {
		addError(&resp.Diagnostics, "Unable to delete ordering cluster "+state.Name.ValueString(), err)
	} else if !state.keepVolumes() {
		unregister(ctx, f, &resp.Diagnostics, slices.Collect(maps.Values(handles))...)
	}
}
