package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type caResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &caResource{}
	_ resource.ResourceWithImportState = &caResource{}
	_ resource.ResourceWithModifyPlan  = &caResource{}
)

func newCAResource() resource.Resource { return &caResource{} }

// caModel is a fabric_ca.
type caModel struct {
	runModel
	Network                 types.Object `tfsdk:"network"`
	Name                    types.String `tfsdk:"name"`
	Organization            types.String `tfsdk:"organization"`
	CommonName              types.String `tfsdk:"common_name"`
	KeyAlgorithm            types.String `tfsdk:"key_algorithm"`
	ValidityYears           types.Int64  `tfsdk:"validity_years"`
	CertificateValidityDays types.Int64  `tfsdk:"certificate_validity_days"`
	Affiliations            types.List   `tfsdk:"affiliations"`
	Parent                  types.Object `tfsdk:"parent"`
	AdvertisedAddress       types.String `tfsdk:"advertised_address"`
	SANs                    types.List   `tfsdk:"sans"`
	Port                    types.Int64  `tfsdk:"port"`
	OperationsPort          types.Int64  `tfsdk:"operations_port"`
	Endpoint                types.String `tfsdk:"endpoint"`
	Certificate             types.String `tfsdk:"certificate"`
	TLSCertificate          types.String `tfsdk:"tls_certificate"`
}

const caHolds = "a registry of issued certificates and the keys of two CAs"

func (r *caResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_ca"
}

func (r *caResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	parent := handleInput("Handle of the `fabric_ca` that certifies the two CAs of this server, which then are intermediates. Without it they are roots.", network.KindCA)
	parent.Required, parent.Optional = false, true
	parent.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	on := handleInput("Handle of the `fabric_network` that the CA is on.", network.KindNetwork)
	on.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	address := addressAttributes("CA", 7054)
	address["advertised_address"] = replaceString(address["advertised_address"])
	address["sans"] = replaceList(address["sans"])
	resp.Schema = schema.Schema{
		MarkdownDescription: "A Fabric CA server. It holds two CAs, one for enrolment certificates and one for TLS certificates, each with a root and a registry of its own. " +
			"Their registrars' secrets are generated and live in a key volume on the engine, never in the state; so does a small root of the provider's own, for the admin and operations endpoints of the organization's nodes.",
		Attributes: merge(runAttributes(ctx, "CA", caHolds, "hyperledger/fabric-ca:"+defaultCAVersion), address, map[string]schema.Attribute{
			"network": on,
			"name":    nameAttribute("CA", "ca.org1"),
			"organization": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Organization (O) in the subject of the CA certificates. Changing it replaces the CA.",
				Validators:          []validator.String{stringvalidator.LengthBetween(1, 64)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"common_name": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Common name (CN) of the enrolment CA; that of the TLS CA has `tls` before it. Defaults to `name`. Changing it replaces the CA.",
				Validators:          []validator.String{stringvalidator.LengthBetween(1, 61)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"key_algorithm": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(string(certificate.DefaultKeyAlgorithm)),
				MarkdownDescription: "Key algorithm of the two CAs: `ecdsa-p256` (default) or `ecdsa-p384`. Changing it replaces the CA.",
				Validators:          []validator.String{stringvalidator.OneOf(string(certificate.ECDSAP256), string(certificate.ECDSAP384))},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"validity_years": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(15),
				MarkdownDescription: "Validity of the CA certificates in years. Defaults to 15. Changing it replaces the CA.",
				Validators:          []validator.Int64{int64validator.Between(1, 50)},
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.RequiresReplace()},
			},
			"certificate_validity_days": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(365),
				MarkdownDescription: "Validity of the certificates that the CAs issue, in days. Defaults to 365. Changing it replaces the CA.",
				Validators:          []validator.Int64{int64validator.Between(1, 3650)},
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.RequiresReplace()},
			},
			"affiliations": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Affiliations that both CAs know from the beginning, for example `org1.sales`. `fabric_identity` adds the ones that it needs by itself. Changing it replaces the CA.",
				Validators:          []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(check{wants: "an affiliation", summary: "Not an affiliation", problem: ca.ValidateAffiliation})},
				PlanModifiers:       []planmodifier.List{listplanmodifier.RequiresReplace()},
			},
			"parent":          parent,
			"port":            portAttribute("CA's REST API"),
			"operations_port": portAttribute("operations endpoint, which wants a client certificate"),
			"endpoint": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Address (`host:port`) of the CA on the network, or the advertised one.",
			},
			"certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Certificate of the enrolment CA, in PEM.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"tls_certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Certificate of the TLS CA, in PEM. Applications verify nodes and the CA itself by it.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
		}),
	}
}

// replaceString and replaceList make a change of an attribute replace the resource.
func replaceString(a schema.Attribute) schema.Attribute {
	s, _ := a.(schema.StringAttribute)
	s.PlanModifiers = append(s.PlanModifiers, stringplanmodifier.RequiresReplace())
	s.MarkdownDescription += " Changing it replaces the resource."
	return s
}

func replaceList(a schema.Attribute) schema.Attribute {
	l, _ := a.(schema.ListAttribute)
	l.PlanModifiers = append(l.PlanModifiers, listplanmodifier.RequiresReplace())
	l.MarkdownDescription += " Changing it replaces the resource."
	return l
}

// ModifyPlan computes what follows from the configuration, and refuses to lose a protected CA.
func (r *caResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan, config caModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		prior.protect(ctx, req.Private, "CA", caHolds, &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if config.CommonName.IsNull() {
		plan.CommonName = plan.Name
	}
	var before *runModel
	if !req.State.Raw.IsNull() {
		before = &prior.runModel
		if lostWillBeNew(before, &plan.runModel) {
			plan.Certificate, plan.TLSCertificate = types.StringUnknown(), types.StringUnknown()
		}
	}
	plan.plan(before, &config.runModel, r.session.caImage(), &resp.Diagnostics)
	plan.Handle = planHandle(ctx, plan.Network, network.KindCA, plan.Name, types.StringNull(), &resp.Diagnostics)
	plan.Endpoint = planEndpoint(plan.AdvertisedAddress, plan.Handle, 7054)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if before != nil && changed(prior.Network, plan.Network, prior.Name, plan.Name, prior.Organization, plan.Organization,
		prior.CommonName, plan.CommonName, prior.KeyAlgorithm, plan.KeyAlgorithm, prior.ValidityYears, plan.ValidityYears,
		prior.CertificateValidityDays, plan.CertificateValidityDays, prior.Affiliations, plan.Affiliations, prior.Parent, plan.Parent,
		prior.AdvertisedAddress, plan.AdvertisedAddress, prior.SANs, plan.SANs) {
		prior.protect(ctx, req.Private, "CA", caHolds, &resp.Diagnostics)
	}
}

// lostWillBeNew tells that an apply begins with an empty volume.
func lostWillBeNew(prior, plan *runModel) bool {
	return prior.Status.ValueString() == statusLost && plan.AcceptDataLoss.ValueBool()
}

func (m *caModel) spec(ctx context.Context, diags *diag.Diagnostics) network.CASpec {
	options := m.options(ctx, diags)
	options.AdvertisedAddress, options.Hosts = m.AdvertisedAddress.ValueString(), stringList(ctx, m.SANs, diags)
	options.HostPorts = map[string]int{"api": int(m.Port.ValueInt64()), "operations": int(m.OperationsPort.ValueInt64())}
	spec := network.CASpec{
		Handle: handleFrom(ctx, m.Network, diags).With(network.KindCA, m.Name.ValueString(), ""), NodeOptions: options,
		Organization: m.Organization.ValueString(), CommonName: m.CommonName.ValueString(),
		KeyAlgorithm:        certificate.KeyAlgorithm(m.KeyAlgorithm.ValueString()),
		RootValidity:        time.Duration(m.ValidityYears.ValueInt64()) * 365 * 24 * time.Hour,
		CertificateValidity: time.Duration(m.CertificateValidityDays.ValueInt64()) * 24 * time.Hour,
		Affiliations:        stringList(ctx, m.Affiliations, diags),
	}
	if !m.Parent.IsNull() {
		parent := handleFrom(ctx, m.Parent, diags)
		spec.Parent = &parent
	}
	return spec
}

func (m *caModel) merge(s network.CAState) {
	m.Status, m.ImageID = statusOf(s.NodeState), types.StringValue(s.ImageID)
	m.Port, m.OperationsPort = portOf(s.HostPorts, "api"), portOf(s.HostPorts, "operations")
	m.Certificate, m.TLSCertificate = types.StringValue(s.Enrollment), types.StringValue(s.TLS)
}

func (r *caResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan caModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	spec := plan.spec(ctx, &resp.Diagnostics)
	if err := f.PreflightCA(ctx, spec); err != nil {
		addError(&resp.Diagnostics, "Unable to create CA "+plan.Name.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.EnsureCA(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to create CA "+plan.Name.ValueString(), err)
		return
	}
	beginProtection(ctx, resp.Private, &resp.Diagnostics)
	plan.merge(state)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *caResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state caModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadCA(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics))
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read CA "+state.Name.ValueString(), err)
		return
	}
	state.Status = statusOf(found.NodeState)
	if found.HostPorts != nil {
		state.Port, state.OperationsPort = portOf(found.HostPorts, "api"), portOf(found.HostPorts, "operations")
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *caResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan caModel
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
	spec.Existing = true
	state, err := f.EnsureCA(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to update CA "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *caResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state caModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, state.Timeouts.Delete, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	state.protect(ctx, req.Private, "CA", caHolds, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteCA(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics), state.keepVolumes()); err != nil {
		addError(&resp.Diagnostics, "Unable to delete CA "+state.Name.ValueString(), err)
	}
}
