package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
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
	renewalModel
	RenewBefore           types.String `tfsdk:"renew_before"`
	Network               types.Object `tfsdk:"network"`
	Name                  types.String `tfsdk:"name"`
	Organization          types.String `tfsdk:"organization"`
	CommonName            types.String `tfsdk:"common_name"`
	KeyAlgorithm          types.String `tfsdk:"key_algorithm"`
	ValidityYears         types.Int64  `tfsdk:"validity_years"`
	CertificateValidity   types.String `tfsdk:"certificate_validity"`
	IdentityValidities    types.Set    `tfsdk:"identity_validities"`
	CRLValidity           types.String `tfsdk:"crl_validity"`
	Affiliations          types.List   `tfsdk:"affiliations"`
	Parent                types.Object `tfsdk:"parent"`
	AdvertisedAddress     types.String `tfsdk:"advertised_address"`
	SANs                  types.List   `tfsdk:"sans"`
	Port                  types.Int64  `tfsdk:"port"`
	OperationsPort        types.Int64  `tfsdk:"operations_port"`
	Endpoint              types.String `tfsdk:"endpoint"`
	Certificate           types.String `tfsdk:"certificate"`
	TLSCertificate        types.String `tfsdk:"tls_certificate"`
	ListenerCertificate   types.String `tfsdk:"listener_certificate"`
	OperationsCertificate types.String `tfsdk:"operations_certificate"`
}

// held are the certificates of the listeners: those of the CAs are not renewed.
func (m *caModel) held() map[string]*types.String {
	return map[string]*types.String{network.CertificateListener: &m.ListenerCertificate, network.CertificateOperations: &m.OperationsCertificate}
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
	resp.Schema = schema.Schema{
		MarkdownDescription: "A Fabric CA server. It holds two CAs, one for enrolment certificates and one for TLS certificates, each with a root and a registry of its own. " +
			"Their registrars' secrets are generated and live in a key volume on the engine, never in the state; so does a small root of the provider's own, for the admin and operations endpoints of the organization's nodes.\n\n" +
			"A CA has two volumes, one for its database and its own keys and one for the registrars. A container that is gone is made again with both. When a volume is gone the plan fails; " +
			"with `accept_data_loss = true` a new CA with new roots takes the place of the lost one. What the old one certified goes on working, and the organization keeps the old roots until it is replaced, " +
			"because channels know its members by them: replace the `fabric_organization`, its nodes and its identities, and update the channels, to use the new CA.",
		Attributes: merge(runAttributes(ctx, "CA", caHolds, "hyperledger/fabric-ca:"+defaultCAVersion), addressAttributes("CA", 7054), renewalAttributes("CA's listeners", "They get new keys and certificates, and the server restarts. The keys of the two CAs stay."), map[string]schema.Attribute{
			"renew_before": renewBeforeAttribute(),
			"network":      on,
			"name":         nameAttribute("CA", "ca.org1"),
			"organization": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Organization (O) in the subject of the CA certificates; that of an intermediate has none, because its parent certifies no such name. Changing it replaces the CA.",
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
				Optional: true, Computed: true,
				MarkdownDescription: "Validity of the CA certificates in years. Defaults to 15. With a `parent`, which decides that, it must not be set, and is null. Changing it replaces the CA.",
				Validators:          []validator.Int64{int64validator.Between(1, 50), int64validator.ConflictsWith(path.MatchRoot("parent"))},
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.RequiresReplace()},
			},
			"certificate_validity": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("8760h"),
				MarkdownDescription: "How long the certificates that the CAs issue are valid, as a duration in whole minutes, the listener's own among them. Defaults to `8760h` (a year). A change restarts the CA and counts for certificates that are issued from then on.",
				Validators:          []validator.String{validityText},
			},
			"identity_validities": schema.SetAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Further validities that a `fabric_identity` may choose from by its `validity`. Fabric CA issues certificates of validities that its configuration names only. A change restarts the CA.",
				Validators:          []validator.Set{setvalidator.ValueStringsAre(validityText)},
			},
			"crl_validity": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("8760h"),
				MarkdownDescription: "How long a revocation list is current, as a duration in whole minutes: a `fabric_crl` renews it in time. Defaults to `8760h` (a year). A change restarts the CA.",
				Validators:          []validator.String{validityText},
			},
			"affiliations": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Affiliations that both CAs know, in lower case, for example `org1.sales`. `fabric_identity` adds the ones that it needs by itself. A change restarts the CA. One that is taken out stays known to the CA while it has members.",
				Validators:          []validator.List{listvalidator.UniqueValues(), listvalidator.ValueStringsAre(check{wants: "an affiliation in lower case", summary: "Not an affiliation", problem: lowerAffiliation})},
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
			"listener_certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Certificate of the REST API, in PEM, issued by the TLS CA.",
			},
			"operations_certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Certificate of the operations endpoint, in PEM. Its root is the provider's own.",
			},
		}),
	}
}

// lowerAffiliation accepts affiliations of the server's configuration, which it makes lower case.
func lowerAffiliation(name string) error {
	if err := ca.ValidateAffiliation(name); err != nil {
		return err
	}
	if name != strings.ToLower(name) {
		return fmt.Errorf("affiliation %q must be in lower case: the CA makes those of its configuration so", name)
	}
	return nil
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
		r.session.ports.leave(prior.Handle)
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
	switch {
	case plan.Parent.IsUnknown():
	case !plan.Parent.IsNull():
		plan.ValidityYears = types.Int64Null()
	case config.ValidityYears.IsNull():
		plan.ValidityYears = types.Int64Value(defaultValidityYears)
	}
	plan.validate(&resp.Diagnostics)
	var before *runModel
	if !req.State.Raw.IsNull() {
		before = &prior.runModel
	}
	switch {
	case before == nil:
		planNewCertificates(&plan)
	case beginsAnew(before.Status, &plan.runModel):
		plan.Certificate, plan.TLSCertificate = types.StringUnknown(), types.StringUnknown()
		planNewCertificates(&plan)
	default:
		var names []string
		if changed(prior.AdvertisedAddress, plan.AdvertisedAddress, prior.SANs, plan.SANs) {
			names = []string{network.CertificateListener, network.CertificateOperations}
		}
		planCertificates(&plan, &prior, changed(prior.RenewBefore, plan.RenewBefore), restarts("CA", plan.Name), names...)
	}
	plan.plan(before, &config.runModel, r.session.caImage(), &resp.Diagnostics)
	plan.Handle = planHandle(ctx, plan.Network, network.KindCA, plan.Name, types.StringNull(), &resp.Diagnostics)
	plan.Endpoint = planEndpoint(plan.AdvertisedAddress, plan.Handle, 7054)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if before != nil && changed(prior.Network, plan.Network, prior.Name, plan.Name, prior.Organization, plan.Organization,
		prior.CommonName, plan.CommonName, prior.KeyAlgorithm, plan.KeyAlgorithm, prior.ValidityYears, plan.ValidityYears,
		prior.Parent, plan.Parent) {
		prior.protect(ctx, req.Private, "CA", caHolds, &resp.Diagnostics)
		return
	}
	r.session.claims.name(ctx, network.KindCA, plan.Network, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	r.session.ports.want(plan.Handle, plan.wantedPorts(), &resp.Diagnostics)
	r.session.claims.validities(plan.Handle, plan.CertificateValidity, plan.IdentityValidities)
}

func (m *caModel) wantedPorts() []portWish {
	return wantedPorts(m.BindAddress, plannedAt{m.Port, path.Root("port")}, plannedAt{m.OperationsPort, path.Root("operations_port")})
}

const defaultValidityYears = 15

// validate finds combinations that cannot be.
func (m *caModel) validate(diags *diag.Diagnostics) {
	if m.ValidityYears.IsNull() || m.ValidityYears.IsUnknown() {
		return
	}
	most := time.Duration(m.ValidityYears.ValueInt64()) * 365 * day
	refuse := func(at path.Path, validity types.String) {
		if durationOf(validity) > most {
			diags.AddAttributeError(at, "Validity beyond that of the CA",
				fmt.Sprintf("Certificates of %s would outlive the CA, whose validity_years = %d are %s. Choose a shorter validity, or more years.", validity.ValueString(), m.ValidityYears.ValueInt64(), durationText(most)))
		}
	}
	refuse(path.Root("certificate_validity"), m.CertificateValidity)
	for _, e := range m.IdentityValidities.Elements() {
		if validity, ok := e.(types.String); ok {
			refuse(path.Root("identity_validities"), validity)
		}
	}
}

// beginsAnew tells that an apply begins with an empty volume.
func beginsAnew(status types.String, plan *runModel) bool {
	return status.ValueString() == statusLost && plan.AcceptDataLoss.ValueBool() || status.ValueString() == statusRemoved
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
		CertificateValidity: durationOf(m.CertificateValidity), CRLValidity: durationOf(m.CRLValidity),
		Affiliations: stringList(ctx, m.Affiliations, diags),
		Validities:   durationsOf(m.IdentityValidities),
	}
	if !m.Parent.IsNull() {
		parent := handleFrom(ctx, m.Parent, diags)
		spec.Parent = &parent
		spec.RootValidity = defaultValidityYears * 365 * 24 * time.Hour // of the operations root, which has no parent
	}
	return spec
}

const day = 24 * time.Hour

// durationsOf reads a set of durations, in ascending order.
func durationsOf(set types.Set) []time.Duration {
	var out []time.Duration
	for _, e := range set.Elements() {
		if text, ok := e.(types.String); ok {
			out = append(out, durationOf(text))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// durationsValue writes a set of durations; an empty one is null.
func durationsValue(durations []time.Duration) types.Set {
	if len(durations) == 0 {
		return types.SetNull(types.StringType)
	}
	texts := make([]attr.Value, len(durations))
	for i, d := range durations {
		texts[i] = types.StringValue(durationText(d))
	}
	return types.SetValueMust(types.StringType, texts)
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
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.PreflightCA(ctx, spec); err != nil {
		addNodeError(&resp.Diagnostics, "Unable to create CA "+plan.Name.ValueString(), err, portPaths(plan.wantedPorts()))
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.EnsureCA(ctx, spec)
	if err != nil {
		addNodeError(&resp.Diagnostics, "Unable to create CA "+plan.Name.ValueString(), err, portPaths(plan.wantedPorts()))
		return
	}
	beginProtection(ctx, resp.Private, &resp.Diagnostics)
	plan.merge(state)
	takeCertificates(&plan, state.Certificates, spec.Handle, plan.RenewBefore)
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
	h := handleFrom(ctx, state.Handle, &resp.Diagnostics)
	found, err := f.ReadCA(ctx, h)
	if errors.Is(err, network.ErrNotFound) {
		resp.State.RemoveResource(ctx)
		return
	}
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read CA "+state.Name.ValueString(), err)
		return
	}
	state.Status = statusOf(found.NodeState)
	if found.HostPorts != nil {
		state.Port, state.OperationsPort = portOf(found.HostPorts, "api"), portOf(found.HostPorts, "operations")
	}
	if found.TLS != "" {
		state.Certificate, state.TLSCertificate = types.StringValue(found.Enrollment), types.StringValue(found.TLS)
	}
	readNodeCertificates(ctx, f, &state, h, state.RenewBefore, &resp.Diagnostics)
	state.forgetLostImage(ctx, f, state.Status, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *caResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior caModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := plan.spec(ctx, &resp.Diagnostics)
	spec.Renewal = renewalOf(&plan, &prior)
	spec.Former = stringList(ctx, prior.Affiliations, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Existing = true
	state, err := f.EnsureCA(ctx, spec)
	if err != nil {
		addNodeError(&resp.Diagnostics, "Unable to update CA "+plan.Name.ValueString(), err, portPaths(plan.wantedPorts()))
		return
	}
	if len(state.Kept) > 0 {
		resp.Diagnostics.AddAttributeWarning(path.Root("affiliations"), "Affiliations with members stay",
			"CA "+plan.Name.ValueString()+" goes on to know the affiliations "+strings.Join(state.Kept, ", ")+", because identities belong to them. They are no longer managed here.")
	}
	plan.merge(state)
	takeCertificates(&plan, state.Certificates, spec.Handle, plan.RenewBefore)
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
