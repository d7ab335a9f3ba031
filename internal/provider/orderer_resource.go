package provider

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type ordererResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &ordererResource{}
	_ resource.ResourceWithImportState    = &ordererResource{}
	_ resource.ResourceWithModifyPlan     = &ordererResource{}
	_ resource.ResourceWithValidateConfig = &ordererResource{}
)

func newOrdererResource() resource.Resource { return &ordererResource{} }

// joinedOrdererModel is a fabric_orderer.
type joinedOrdererModel struct {
	runModel
	memberCertificates
	Organization      types.Object  `tfsdk:"organization"`
	Name              types.String  `tfsdk:"name"`
	FabricVersion     types.String  `tfsdk:"fabric_version"`
	Config            types.Dynamic `tfsdk:"config"`
	AdvertisedAddress types.String  `tfsdk:"advertised_address"`
	SANs              types.List    `tfsdk:"sans"`
	Port              types.Int64   `tfsdk:"port"`
	AdminPort         types.Int64   `tfsdk:"admin_port"`
	OperationsPort    types.Int64   `tfsdk:"operations_port"`
	Channels          types.Set     `tfsdk:"channels"`
	Orderers          types.Map     `tfsdk:"orderers"`
	Relations         types.Map     `tfsdk:"relations"`
	Endpoint          types.String  `tfsdk:"endpoint"`
	RenewBefore       types.String  `tfsdk:"renew_before"`
}

// joinedRotation says what another key means.
const joinedRotation = "The node gets new keys and certificates, and the CA revokes its old enrolment certificate. Where it is a consenter, it takes part again when the owner of the cluster lists its new `tls_certificate`."

func (r *ordererResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_orderer"
}

func (r *ordererResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` that the node belongs to. Changing it replaces the node.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "One ordering node of an organization, in a cluster that another state owns. It joins the channels that let its organization read them, each with the latest config block, and follows them with all their blocks. " +
			"Whether it is a consenter is up to the owner of the cluster, who lists it under `external_consenters` of the `fabric_orderer_cluster`: hand over `endpoint`, `tls_certificate` and the organization's `definition`. " +
			"An apply does not wait for that: `relations` says what the node is to each channel, and the next apply joins those that it has been let into meanwhile.\n\n" +
			"It is made anew on its volume only when each channel of which it is a consenter can spare it, and removed only when none counts on it any more. For a cluster of your own use `fabric_orderer_cluster`.",
		Attributes: merge(runAttributes(ctx, "ordering node", clusterHolds, "hyperledger/fabric-orderer:FABRIC_VERSION"), addressAttributes("ordering node", 7050), memberCertificatesAttributes("ordering node", joinedRotation), map[string]schema.Attribute{
			"organization":    of,
			"name":            nameAttribute("ordering node", "orderer0.org1"),
			"fabric_version":  versionAttribute(),
			"config":          overlayAttribute("orderer.yaml"),
			"port":            portAttribute("node's gRPC services"),
			"admin_port":      portAttribute("channel participation endpoint, which wants a client certificate"),
			"operations_port": portAttribute("operations endpoint, which wants a client certificate"),
			"channels": schema.SetAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Names of the channels that the node joins. It leaves those that are taken out, unless it is a consenter there.",
				Validators: []validator.Set{setvalidator.ValueStringsAre(
					check{wants: "a channel name", summary: "Not a channel name", problem: configtx.ValidateChannelName},
				)},
			},
			"orderers": remoteOrderers("Ordering nodes of the cluster, from which the node gets to know its channels."),
			"relations": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What the node is to each channel: `consenter`; `follower`, which has the blocks and hands out none; `waiting` while the channel does not let the organization read it or none of `orderers` answers; `admitted` when it does since the last apply, and the next one will join it; `silent` while the node does not answer.",
			},
			"renew_before": renewBeforeAttribute(),
			"endpoint": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Address (`host:port`) of the node on the network, or the advertised one.",
			},
		}),
	}
}

// ValidateConfig refuses channels that nobody would hand out.
func (r *ordererResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config joinedOrdererModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if !resp.Diagnostics.HasError() && len(config.Channels.Elements()) > 0 && config.Orderers.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("orderers"), "Nobody to ask for the channels", "Give an ordering node of the cluster in orderers: the channels are fetched from there.")
	}
}

// ModifyPlan computes what follows from the configuration, refuses a configuration that the node could
// not run with, and refuses to lose protected blocks.
func (r *ordererResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan, config joinedOrdererModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		r.session.ports.leave(prior.Handle)
		prior.protect(ctx, req.Private, "ordering node", clusterHolds, &resp.Diagnostics)
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
	plan.runModel.plan(before, &config.runModel, r.session.image("hyperledger/fabric-orderer", plan.FabricVersion), &resp.Diagnostics)
	plan.Handle = planHandle(ctx, plan.Organization, network.KindOrderer, plan.Name, handleMember(plan.Organization, "msp_id"), &resp.Diagnostics)
	plan.Endpoint = planEndpoint(plan.AdvertisedAddress, plan.Handle, 7050)
	if before == nil || beginsAnew(before.Status, &plan.runModel) {
		planNewCertificates(&plan)
	} else {
		planCertificates(&plan, &prior, changed(prior.RenewBefore, plan.RenewBefore), restarts("ordering node", plan.Name),
			reissued(prior.AdvertisedAddress, plan.AdvertisedAddress, prior.SANs, plan.SANs)...)
	}
	plan.planRelations(&prior)
	validateOrdererConfig(ctx, plan.Config, plan.FabricVersion, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if before != nil && changed(prior.Organization, plan.Organization, prior.Name, plan.Name) {
		prior.protect(ctx, req.Private, "ordering node", clusterHolds, &resp.Diagnostics)
		return // Terraform plans it once more, as a new one
	}
	r.session.claims.name(ctx, network.KindOrderer, plan.Organization, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	r.session.ports.want(plan.Handle, plan.wantedPorts(), &resp.Diagnostics)
	if before != nil {
		r.refuseRelease(ctx, prior.FabricVersion, plan.FabricVersion, []network.Handle{handleFrom(ctx, prior.Handle, &resp.Diagnostics)}, orderersFrom(ctx, prior.Orderers, &resp.Diagnostics), &resp.Diagnostics)
	}
}

// validateOrdererConfig refuses an overlay that an ordering node could not run with, as far as it is known.
func validateOrdererConfig(ctx context.Context, config types.Dynamic, release types.String, diags *diag.Diagnostics) {
	overlay, known, err := overlayFrom(ctx, config)
	if err != nil {
		refuseOverlay("orderer.yaml", err, diags)
		return
	}
	if version, err := nodeconfig.ParseVersion(release.ValueString()); err == nil && known && !release.IsUnknown() {
		refuse(nodeconfig.Validate(nodeconfig.KindOrderer, version, overlay), diags)
	}
}

// planRelations keeps what the node is to its channels where nothing changes that. Others decide when it
// comes to be a consenter.
func (m *joinedOrdererModel) planRelations(prior *joinedOrdererModel) {
	m.Relations = types.MapUnknown(types.StringType)
	if m.Channels.IsUnknown() || prior.Relations.IsNull() || prior.Relations.IsUnknown() || changed(prior.Channels, m.Channels, prior.Orderers, m.Orderers) {
		return
	}
	for _, element := range prior.Relations.Elements() {
		if relation, _ := element.(types.String); relation.ValueString() == network.ChannelAdmitted {
			return
		}
	}
	m.Relations = prior.Relations
}

func (m *joinedOrdererModel) wantedPorts() []portWish {
	return wantedPorts(m.BindAddress, plannedAt{m.Port, path.Root("port")}, plannedAt{m.AdminPort, path.Root("admin_port")}, plannedAt{m.OperationsPort, path.Root("operations_port")})
}

func (m *joinedOrdererModel) spec(ctx context.Context, diags *diag.Diagnostics) network.JoinedOrdererSpec {
	org := handleFrom(ctx, m.Organization, diags)
	options := m.options(ctx, diags)
	options.AdvertisedAddress, options.Hosts, options.Renewal = m.AdvertisedAddress.ValueString(), stringList(ctx, m.SANs, diags), firstKeys(m)
	options.HostPorts = map[string]int{"grpc": int(m.Port.ValueInt64()), "admin": int(m.AdminPort.ValueInt64()), "operations": int(m.OperationsPort.ValueInt64())}
	version, err := nodeconfig.ParseVersion(m.FabricVersion.ValueString())
	if err != nil {
		addError(diags, "Unsupported Fabric version", err)
	}
	overlay, _, err := overlayFrom(ctx, m.Config)
	if err != nil {
		addError(diags, "Unable to read config", err)
	}
	spec := network.JoinedOrdererSpec{
		OrdererSpec: network.OrdererSpec{Handle: org.With(network.KindOrderer, m.Name.ValueString(), org.MSPID), NodeOptions: options, Version: version, Config: overlay},
		Orderers:    orderersFrom(ctx, m.Orderers, diags),
	}
	for _, element := range m.Channels.Elements() {
		if name, ok := element.(types.String); ok {
			spec.Channels = append(spec.Channels, name.ValueString())
		}
	}
	slices.Sort(spec.Channels)
	return spec
}

// merge takes what was found of the node.
func (m *joinedOrdererModel) merge(s network.JoinedOrdererState) {
	m.Status = statusOf(s.NodeState)
	if s.HostPorts != nil {
		m.Port, m.AdminPort, m.OperationsPort = portOf(s.HostPorts, "grpc"), portOf(s.HostPorts, "admin"), portOf(s.HostPorts, "operations")
	}
	relations := map[string]attr.Value{}
	for name, relation := range s.Channels {
		relations[name] = types.StringValue(relation)
	}
	m.Relations = types.MapValueMust(types.StringType, relations)
}

func (m *joinedOrdererModel) addError(diags *diag.Diagnostics, action string, err error) {
	summary := "Unable to " + action + " orderer " + m.Name.ValueString()
	if errors.As(err, new(*network.StillConsenterError)) {
		diags.AddAttributeError(path.Root("channels"), summary, explain(err))
		return
	}
	addNodeError(diags, summary, err, portPaths(m.wantedPorts()))
}

func (r *ordererResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan joinedOrdererModel
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
	if err := f.PreflightJoinedOrderer(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "create", err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	r.apply(ctx, f, &plan, spec, "create", &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

func (r *ordererResource) apply(ctx context.Context, f *network.Fabric, plan *joinedOrdererModel, spec network.JoinedOrdererSpec, action string, diags *diag.Diagnostics) {
	state, err := f.EnsureJoinedOrderer(ctx, spec)
	if err != nil {
		plan.addError(diags, action, err)
		return
	}
	// What the plan has kept stays as it was planned: others may have changed it since, and Read will say so.
	planned := plan.Relations
	plan.merge(state)
	plan.ImageID = types.StringValue(state.ImageID)
	takeCertificates(plan, state.Certificates, spec.Handle, plan.RenewBefore)
	if !planned.IsUnknown() {
		plan.Relations = planned
	}
}

func (r *ordererResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state joinedOrdererModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadJoinedOrderer(ctx, state.spec(ctx, &resp.Diagnostics))
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read orderer "+state.Name.ValueString(), err)
		return
	}
	keepSilent(found.Channels, state.Relations)
	state.merge(found)
	readNodeCertificates(ctx, f, &state, handleFrom(ctx, state.Handle, &resp.Diagnostics), state.RenewBefore, &resp.Diagnostics)
	state.forgetLostImage(ctx, f, state.Status, &resp.Diagnostics)
	setProtection(ctx, resp.Private, []network.Ledger{found.Ledger}, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// keepSilent keeps what was known of channels about which the node does not answer.
func keepSilent(relations map[string]string, known types.Map) {
	for _, name := range slices.Collect(maps.Keys(relations)) {
		before, _ := known.Elements()[name].(types.String)
		if relations[name] == network.ChannelSilent && before.ValueString() != "" {
			relations[name] = before.ValueString()
		}
	}
}

func (r *ordererResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior joinedOrdererModel
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
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
	spec.Existing, spec.Renewal = true, renewalOf(&plan, &prior)
	r.apply(ctx, f, &plan, spec, "update", &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

func (r *ordererResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state joinedOrdererModel
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
	state.protectLedger(ctx, req.Private, "ordering node", clusterHolds, func() (bool, error) {
		found, err := f.ReadJoinedOrderer(ctx, state.spec(ctx, &resp.Diagnostics))
		return found.Ledger == network.LedgerHeld, err
	}, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteJoinedOrderer(ctx, state.spec(ctx, &resp.Diagnostics), state.keepVolumes()); err != nil {
		state.addError(&resp.Diagnostics, "delete", err)
	} else if !state.keepVolumes() {
		unregister(ctx, f, &resp.Diagnostics, handleFrom(ctx, state.Handle, &resp.Diagnostics))
	}
}

// ImportState takes NETWORK/NAME.
func (r *ordererResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &joinedOrdererModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		spec, err := f.FindJoinedOrderer(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		state, err := f.ReadJoinedOrderer(ctx, spec)
		if err != nil {
			return err
		}
		if state.Certificates, err = f.ReadCertificates(ctx, spec.Handle); err != nil {
			return err
		}
		m.take(ctx, spec.NodeOptions, &resp.Diagnostics)
		m.FabricVersion, m.Config, m.ImageID = types.StringValue(spec.Version.String()), overlayValue(ctx, spec.Config), types.StringValue(spec.ImageID)
		m.Name, m.Handle, m.Organization, m.Timeouts = types.StringValue(spec.Handle.Name), handleValue(spec.Handle), handleValue(spec.Handle.Organization()), noTimeouts()
		m.AdvertisedAddress, m.SANs = orNull(spec.AdvertisedAddress), listOf(ctx, spec.Hosts, &resp.Diagnostics)
		m.Endpoint = planEndpoint(m.AdvertisedAddress, m.Handle, 7050)
		m.Orderers, m.Channels = remoteOrderersValue(ctx, spec.Orderers, &resp.Diagnostics), types.SetNull(types.StringType)
		if len(spec.Channels) > 0 {
			names, d := types.SetValueFrom(ctx, types.StringType, spec.Channels)
			resp.Diagnostics.Append(d...)
			m.Channels = names
		}
		m.merge(state)
		m.memberCertificates, m.RenewBefore = importedCertificates(spec.KeyVersion), defaultRenewBefore()
		takeCertificates(m, state.Certificates, spec.Handle, m.RenewBefore)
		return nil
	})
}
