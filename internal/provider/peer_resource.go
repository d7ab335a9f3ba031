package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type peerResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &peerResource{}
	_ resource.ResourceWithImportState = &peerResource{}
	_ resource.ResourceWithModifyPlan  = &peerResource{}
)

func newPeerResource() resource.Resource { return &peerResource{} }

// peerModel is a fabric_peer.
type peerModel struct {
	runModel
	memberCertificates
	Organization      types.Object  `tfsdk:"organization"`
	Name              types.String  `tfsdk:"name"`
	Container         types.String  `tfsdk:"container"`
	MaterialDirectory types.String  `tfsdk:"material_directory"`
	FabricVersion     types.String  `tfsdk:"fabric_version"`
	Config            types.Dynamic `tfsdk:"config"`
	StateDatabase     types.Object  `tfsdk:"state_database"`
	AdvertisedAddress types.String  `tfsdk:"advertised_address"`
	SANs              types.List    `tfsdk:"sans"`
	Port              types.Int64   `tfsdk:"port"`
	OperationsPort    types.Int64   `tfsdk:"operations_port"`
	MaxUnavailable    types.Int64   `tfsdk:"max_unavailable"`
	Endpoint          types.String  `tfsdk:"endpoint"`
	RenewBefore       types.String  `tfsdk:"renew_before"`
}

const peerHolds = "a ledger"

// defaultMaxUnavailable is how many peers of an organization may be down at a time when nothing is said.
const defaultMaxUnavailable = 1

func (r *peerResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_peer"
}

func (r *peerResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` that the peer belongs to. Changing it replaces the peer.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	run := runAttributes(ctx, "peer", peerHolds, "hyperledger/fabric-peer:FABRIC_VERSION")
	addToDescription(run, "on_destroy", "A peer that is destroyed leaves its channels, so what is kept are its keys, and no ledger.")
	addToDescription(run, "accept_data_loss", "It also lets a peer be destroyed that is the last one to hold a private data collection.")
	resp.Schema = schema.Schema{
		MarkdownDescription: "A peer of an organization, with its ledgers and, where asked for, a CouchDB beside it for their state. It is created when its endorser answers. Its keys are made by the provider, certified by the organization's CA, and live in the peer's own volume.\n\n" +
			"A change replaces the container and keeps its volume. When several peers of an organization change, they take turns (`max_unavailable`). " +
			"A peer that is to run a newer `fabric_version` waits until the ordering nodes of its channels run it. " +
			"A peer that is destroyed leaves its channels by itself; the last peer that runs of those that hold a private data collection is not destroyed unless `accept_data_loss` was applied before.",
		Attributes: merge(run, addressAttributes("peer", 7051), memberCertificatesAttributes("peer", memberRotation), map[string]schema.Attribute{
			"renew_before":       renewBeforeAttribute(),
			"organization":       of,
			"name":               nameAttribute("peer", "peer0.org1"),
			"container":          containerAttribute("peer", "NETWORK/NAME@NAME=CONTAINER"),
			"material_directory": materialAttribute("peer"),
			"fabric_version":     versionAttribute(),
			"config":             overlayAttribute("core.yaml"),
			"state_database":     stateDatabaseAttribute(ctx),
			"port":               portAttribute("peer's gRPC services"),
			"operations_port":    portAttribute("operations endpoint, which wants a client certificate"),
			"max_unavailable": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(defaultMaxUnavailable),
				MarkdownDescription: "How many peers of the organization may be down at a time while this one is changed, itself included: it waits for its turn, also for peers of other provider aliases and other states on the same engine. " +
					"When as many are down and nobody is at work on them, because their own change failed, it is not changed, and the apply fails for it. A peer that is down is always changed at once. Defaults to `1`.",
				Validators: []validator.Int64{int64validator.AtLeast(1)},
			},
			"endpoint": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Address (`host:port`) of the peer on the network, or the advertised one.",
			},
		}),
	}
}

// ModifyPlan computes what follows from the configuration, refuses a configuration that the peer
// could not run with, and refuses to lose a protected ledger.
func (r *peerResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan, config peerModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		r.session.ports.leave(prior.Handle)
		prior.protect(ctx, req.Private, "peer", peerHolds, &resp.Diagnostics)
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
		before = &prior.runModel
	}
	plan.runModel.plan(before, &config.runModel, r.session.image("hyperledger/fabric-peer", plan.FabricVersion), &resp.Diagnostics)
	plan.Handle = planHandle(ctx, plan.Organization, network.KindPeer, plan.Name, handleMember(plan.Organization, "msp_id"), &resp.Diagnostics)
	plan.Endpoint = planEndpoint(plan.AdvertisedAddress, plan.Handle, 7051)
	plan.StateDatabase = planStateDatabase(prior.StateDatabase, config.StateDatabase, r.session.image("couchdb", types.StringValue(couchVersion)))
	adopts := !plan.Container.IsNull()
	switch {
	case adopts && before != nil:
		planAdopted(&plan, &prior)
	case !plan.MaterialDirectory.IsNull():
		r.planGiven(ctx, plan.given(&prior, before != nil && !beginsAnew(before.Status, &plan.runModel)), &resp.Diagnostics)
	case before == nil || beginsAnew(before.Status, &plan.runModel):
		planNewCertificates(&plan)
	default:
		planCertificates(&plan, &prior, changed(prior.RenewBefore, plan.RenewBefore), restarts("peer", plan.Name),
			reissued(prior.AdvertisedAddress, plan.AdvertisedAddress, prior.SANs, plan.SANs)...)
	}
	if adopts {
		plan.refuseAdopted(&prior, before != nil, &resp.Diagnostics)
	} else {
		plan.validate(ctx, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	kind, was := stateDatabaseKind(plan.StateDatabase), stateDatabaseKind(prior.StateDatabase)
	if before != nil && changed(was, kind) {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("state_database"))
	}
	if before != nil && changed(prior.Container, plan.Container) {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("container"))
	}
	if before != nil && changed(prior.Organization, plan.Organization, prior.Name, plan.Name, prior.Container, plan.Container, was, kind) {
		prior.protect(ctx, req.Private, "peer", peerHolds, &resp.Diagnostics)
		return // Terraform plans it once more, as a new one
	}
	r.session.claims.name(ctx, network.KindPeer, plan.Organization, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	if !adopts { // whose ports are held by what it stands for
		r.session.ports.want(plan.Handle, plan.wantedPorts(), &resp.Diagnostics)
	}
	r.session.claims.release(plan.Handle, prior.FabricVersion, plan.FabricVersion)
	if before != nil {
		r.refuseRelease(ctx, prior.FabricVersion, plan.FabricVersion, []network.Handle{handleFrom(ctx, prior.Handle, &resp.Diagnostics)}, nil, &resp.Diagnostics)
	}
}

// given is a peer whose certificates come from a directory.
func (m *peerModel) given(prior *peerModel, exists bool) given {
	g := given{
		plan: m, directory: m.MaterialDirectory, before: prior.MaterialDirectory, handle: m.Handle, at: path.Empty(),
		options: givenOptions(m.AdvertisedAddress, m.SANs, m.MaterialDirectory, exists),
	}
	if exists {
		g.prior, g.renamed = prior, changed(prior.AdvertisedAddress, m.AdvertisedAddress, prior.SANs, m.SANs)
	}
	return g
}

// certified tells whether a CA here certifies the peer.
func (m *peerModel) certified() bool { return m.Container.IsNull() && m.MaterialDirectory.IsNull() }

// refuseAdopted refuses what an adopted peer cannot be.
func (m *peerModel) refuseAdopted(prior *peerModel, exists bool, diags *diag.Diagnostics) {
	m.runModel.refuseAdopted(&prior.runModel, exists, []kept{
		{"config", prior.Config, m.Config}, {"sans", prior.SANs, m.SANs}, {"state_database", prior.StateDatabase, m.StateDatabase},
		{"port", prior.Port, m.Port}, {"operations_port", prior.OperationsPort, m.OperationsPort}, {"key_version", prior.KeyVersion, m.KeyVersion},
		{"material_directory", prior.MaterialDirectory, m.MaterialDirectory}, {"advertised_address", prior.AdvertisedAddress, m.AdvertisedAddress},
	}, diags)
}

func (m *peerModel) wantedPorts() []portWish {
	return wantedPorts(m.BindAddress, plannedAt{m.Port, path.Root("port")}, plannedAt{m.OperationsPort, path.Root("operations_port")})
}

// portPaths tells where each host port is set.
func portPaths(ports []portWish) map[int]path.Path {
	out := map[int]path.Path{}
	for _, p := range ports {
		out[int(p.port)] = p.at
	}
	return out
}

// validate renders core.yaml as far as it is known.
func (m *peerModel) validate(ctx context.Context, diags *diag.Diagnostics) {
	overlay, known, err := overlayFrom(ctx, m.Config)
	if err != nil {
		refuseOverlay("core.yaml", err, diags)
		return
	}
	if !known || m.FabricVersion.IsUnknown() {
		return
	}
	version, err := nodeconfig.ParseVersion(m.FabricVersion.ValueString())
	if err != nil {
		return // the attribute's own validator says so
	}
	kind := stateDatabaseKind(m.StateDatabase)
	if kind.IsUnknown() {
		refuse(nodeconfig.Validate(nodeconfig.KindPeer, version, overlay), diags)
		return
	}
	refuse(network.ValidatePeerConfig(version, overlay, kind.ValueString() == couchDB), diags)
}

func (m *peerModel) spec(ctx context.Context, diags *diag.Diagnostics) network.PeerSpec {
	org := handleFrom(ctx, m.Organization, diags)
	options := m.options(ctx, diags)
	options.AdvertisedAddress, options.Hosts = m.AdvertisedAddress.ValueString(), stringList(ctx, m.SANs, diags)
	options.HostPorts = map[string]int{"grpc": int(m.Port.ValueInt64()), "operations": int(m.OperationsPort.ValueInt64())}
	options.Renewal, options.Container, options.MaterialDirectory = firstKeys(m), m.Container.ValueString(), m.MaterialDirectory.ValueString()
	version, err := nodeconfig.ParseVersion(m.FabricVersion.ValueString())
	if err != nil {
		addError(diags, "Unsupported Fabric version", err)
	}
	overlay, _, err := overlayFrom(ctx, m.Config)
	if err != nil {
		addError(diags, "Unable to read config", err)
	}
	return network.PeerSpec{
		Handle: org.With(network.KindPeer, m.Name.ValueString(), org.MSPID), NodeOptions: options, Version: version, Config: overlay,
		StateDatabase: m.stateDatabaseSpec(ctx, diags), MaxUnavailable: int(m.MaxUnavailable.ValueInt64()),
	}
}

func (m *peerModel) merge(s network.MemberState) {
	m.Status, m.ImageID = statusOf(s.NodeState), types.StringValue(s.ImageID)
	m.Port, m.OperationsPort = portOf(s.HostPorts, "grpc"), portOf(s.HostPorts, "operations")
	if s.StateDatabase != nil {
		m.setStateDatabaseImage(nullable(s.StateDatabase.ImageID))
	}
}

func (r *peerResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan peerModel
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
	if err := f.PreflightPeer(ctx, spec); err != nil {
		plan.addNodeError(&resp.Diagnostics, "Unable to create peer "+plan.Name.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.EnsurePeer(ctx, spec)
	if err != nil {
		plan.addNodeError(&resp.Diagnostics, "Unable to create peer "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state)
	if takeCertificates(&plan, state.Certificates, spec.Handle, plan.RenewBefore); !plan.certified() {
		nothingFallsDue(&plan)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *peerResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state peerModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	h := handleFrom(ctx, state.Handle, &resp.Diagnostics)
	found, err := f.ReadPeer(ctx, h)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read peer "+state.Name.ValueString(), err)
		return
	}
	if state.readStateDatabase(ctx, f, h, &found, &resp.Diagnostics); resp.Diagnostics.HasError() {
		return
	}
	if !state.Container.IsNull() {
		found.NodeState = found.Unrecorded()
	}
	state.Status = statusOf(found.NodeState)
	if found.HostPorts != nil {
		state.Port, state.OperationsPort = portOf(found.HostPorts, "grpc"), portOf(found.HostPorts, "operations")
	}
	if readNodeCertificates(ctx, f, &state, h, state.RenewBefore, &resp.Diagnostics); !state.certified() {
		nothingFallsDue(&state)
	}
	state.forgetLostImage(ctx, f, state.Status, &resp.Diagnostics)
	setProtection(ctx, resp.Private, []network.Ledger{found.Ledger}, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *peerResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior peerModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := plan.spec(ctx, &resp.Diagnostics)
	limit, diags := plan.Timeouts.Update(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Existing, spec.Timeout = true, limit
	if !beginsAnew(prior.Status, &plan.runModel) { // else what is gone is made, and what is there is kept
		spec.Renewal = renewalOf(&plan, &prior)
	}
	state, err := f.EnsurePeer(ctx, spec)
	if err != nil {
		plan.addNodeError(&resp.Diagnostics, "Unable to update peer "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state)
	if takeCertificates(&plan, state.Certificates, spec.Handle, plan.RenewBefore); !plan.certified() {
		nothingFallsDue(&plan)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *peerResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state peerModel
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
	h := handleFrom(ctx, state.Handle, &resp.Diagnostics)
	state.protectLedger(ctx, req.Private, "peer", peerHolds, func() (bool, error) {
		found, err := f.ReadPeer(ctx, h)
		return found.Ledger == network.LedgerHeld, err
	}, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	err := f.DeletePeer(ctx, h, network.Removal{KeepVolumes: state.keepVolumes(), AcceptDataLoss: state.AcceptDataLoss.ValueBool()})
	if err != nil {
		state.addNodeError(&resp.Diagnostics, "Unable to delete peer "+state.Name.ValueString(), err)
	} else if !state.keepVolumes() && state.Container.IsNull() {
		unregister(ctx, f, &resp.Diagnostics, h)
	}
}
