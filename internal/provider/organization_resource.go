package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/objectvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type organizationResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &organizationResource{}
	_ resource.ResourceWithImportState = &organizationResource{}
	_ resource.ResourceWithModifyPlan  = &organizationResource{}
)

func newOrganizationResource() resource.Resource { return &organizationResource{} }

// organizationModel is a fabric_organization.
type organizationModel struct {
	renewalModel
	RenewBefore      types.String   `tfsdk:"renew_before"`
	TLSRootVersion   types.Int64    `tfsdk:"tls_root_version"`
	MSPID            types.String   `tfsdk:"msp_id"`
	CA               types.Object   `tfsdk:"ca"`
	Network          types.Object   `tfsdk:"network"`
	Certificates     types.Object   `tfsdk:"certificates"`
	AdminDirectory   types.String   `tfsdk:"admin_directory"`
	Definition       types.Object   `tfsdk:"definition"`
	AdminCertificate types.String   `tfsdk:"admin_certificate"`
	Handle           types.Object   `tfsdk:"handle"`
	Timeouts         timeouts.Value `tfsdk:"timeouts"`
}

func (m *organizationModel) held() map[string]*types.String {
	return map[string]*types.String{network.CertificateAdmin: &m.AdminCertificate}
}

// definitionModel is an MSP definition.
type definitionModel struct {
	MSPID            types.String `tfsdk:"msp_id"`
	Roots            types.List   `tfsdk:"root_certificates"`
	Intermediates    types.List   `tfsdk:"intermediate_certificates"`
	TLSRoots         types.List   `tfsdk:"tls_root_certificates"`
	TLSIntermediates types.List   `tfsdk:"tls_intermediate_certificates"`
	RevocationLists  types.List   `tfsdk:"revocation_lists"`
}

var pemList = types.ListType{ElemType: types.StringType}

var definitionTypes = map[string]attr.Type{
	"msp_id": types.StringType, "root_certificates": pemList, "intermediate_certificates": pemList,
	"tls_root_certificates": pemList, "tls_intermediate_certificates": pemList, "revocation_lists": pemList,
}

// certificatesModel is what a partner hands over.
type certificatesModel struct {
	Roots            types.List `tfsdk:"root"`
	Intermediates    types.List `tfsdk:"intermediate"`
	TLSRoots         types.List `tfsdk:"tls_root"`
	TLSIntermediates types.List `tfsdk:"tls_intermediate"`
}

func (r *organizationResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_organization"
}

func (r *organizationResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	from := handleInput("Handle of the `fabric_ca` that issues the organization's certificates. Changing it replaces the organization.", network.KindCA)
	from.Required, from.Optional = false, true
	from.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	from.Validators = append(from.Validators, objectvalidator.ExactlyOneOf(path.MatchRoot("ca"), path.MatchRoot("certificates")))
	on := handleInput("Handle of the `fabric_network`, for a partner's organization. One with a `ca` is on the network of its CA.", network.KindNetwork)
	on.Required, on.Optional = false, true
	on.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	on.Validators = append(on.Validators, objectvalidator.AlsoRequires(path.MatchRoot("certificates")))
	list := func(required bool, what string) schema.ListAttribute {
		return schema.ListAttribute{Required: required, Optional: !required, ElementType: types.StringType, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An organization: an MSP whose certificates come from a CA of this network, or a partner's, given by its certificates. " +
			"The organization's admin is enrolled, and lives in a key volume of the organization on the engine.",
		Attributes: merge(renewalAttributes("organization's admin", "The admin gets a new key and certificate, and what the CA issued for the old key is revoked; a `fabric_crl` makes the network refuse it. Nothing restarts."), map[string]schema.Attribute{
			"renew_before": renewBeforeAttribute(),
			"tls_root_version": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(1),
				MarkdownDescription: "Counts the TLS roots of the organization. A change makes a new one, while the network runs: it is trusted beside the old one by the nodes of the organization and on its channels, also those of others in which it has a `fabric_channel_membership`; its CA issues from it, and every node gets a certificate of it for the key that it has; " +
					"the consenters of its channels get theirs on the ledger, one after the other; and the old root is trusted no more. The organization's nodes restart three times for that, one after the other, which takes a while: raise `timeouts`. An apply that was cut short goes on where it stopped. " +
					"Applications and nodes of others must know the new root, by the connection profile or the channel, before the old one goes. Not for a CA with a `parent`, and not while the organization runs the only consenter of a channel. Defaults to `1`.",
				Validators: []validator.Int64{int64validator.AtLeast(1)},
			},
			"msp_id": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "MSP ID, for example `Org1MSP`. Changing it replaces the organization.",
				Validators:          []validator.String{check{wants: "an MSP ID", summary: "Not an MSP ID", problem: configtx.ValidateMSPID}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"ca":      from,
			"network": on,
			"certificates": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Certificates of a partner's organization, each in PEM. Changing them replaces the organization.",
				PlanModifiers:       []planmodifier.Object{objectplanmodifier.RequiresReplace()},
				Validators:          []validator.Object{objectvalidator.AlsoRequires(path.MatchRoot("network"))},
				Attributes: map[string]schema.Attribute{
					"root":             list(true, "Roots of the enrolment certificates."),
					"intermediate":     list(false, "Intermediates of the enrolment certificates."),
					"tls_root":         list(true, "Roots of the TLS certificates."),
					"tls_intermediate": list(false, "Intermediates of the TLS certificates."),
				},
			},
			"admin_directory": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Local directory with the admin of an organization that is given by its `certificates`, for a network that something else made: an MSP folder, or the folder of a user as cryptogen makes it (`users/Admin@org1.example.com`), with the MSP folder in `msp` and, for an ordering organization, the TLS client certificate for its admin endpoints in `tls`. With it the organization acts here: it signs, joins and approves. The key is copied to the organization's key volume, and never to the state. It is read when the organization is made, and again when its certificate or `key_version` changes.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1), stringvalidator.AlsoRequires(path.MatchRoot("certificates"))},
			},
			"definition": schema.ObjectAttribute{
				Computed: true, AttributeTypes: definitionTypes,
				MarkdownDescription: "The public part of the organization, as channels carry it: `msp_id`, and in PEM `root_certificates`, `intermediate_certificates`, `tls_root_certificates`, `tls_intermediate_certificates` and `revocation_lists`.",
				PlanModifiers:       []planmodifier.Object{objectplanmodifier.UseStateForUnknown()},
			},
			"admin_certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Enrolment certificate of the organization's admin, in PEM; null for a partner's organization.",
			},
			"handle":   handleOutput("organization"),
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// ModifyPlan computes the handle.
func (r *organizationResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan organizationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	var state organizationModel
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	plan.Handle = planHandle(ctx, plan.place(), network.KindOrganization, plan.MSPID, plan.MSPID, &resp.Diagnostics)
	plan.planAdmin(ctx, &state, !req.State.Raw.IsNull(), &resp.Diagnostics)
	if req.State.Raw.IsNull() {
		plan.foretell(ctx, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !req.State.Raw.IsNull() {
		if changed(state.CA, plan.CA, state.Network, plan.Network, state.Certificates, plan.Certificates) {
			return // it is planned anew
		}
	} else {
		plan.verify(ctx, &resp.Diagnostics)
	}
	r.session.claims.name(ctx, network.KindOrganization, plan.Handle, plan.MSPID, path.Root("msp_id"), req, &resp.Diagnostics)
	if !plan.CA.IsNull() {
		r.session.claims.caOf(plan.CA, plan.MSPID, &resp.Diagnostics)
	}
}

// foretell computes what is known of a partner's organization before it is made: all of it.
func (m *organizationModel) foretell(ctx context.Context, diags *diag.Diagnostics) {
	if m.Certificates.IsNull() || m.Certificates.IsUnknown() || m.MSPID.IsUnknown() {
		return
	}
	if definition, known := m.partner(ctx, diags); known {
		m.Definition = definitionValue(ctx, definition, diags)
	}
}

// planAdmin plans the admin's certificate. A partner's organization has no admin here.
func (m *organizationModel) planAdmin(ctx context.Context, prior *organizationModel, exists bool, diags *diag.Diagnostics) {
	switch {
	case m.CA.IsNull():
		m.planGivenAdmin(ctx, prior, exists, diags)
		m.renewNothing()
	case exists:
		planCertificates(m, prior, changed(prior.RenewBefore, m.RenewBefore), "nothing restarts")
		m.planTLSRoot(prior)
	default:
		planNewCertificates(m)
	}
}

// planGivenAdmin plans the certificate of an admin that comes from a directory: the one that is there.
func (m *organizationModel) planGivenAdmin(ctx context.Context, prior *organizationModel, exists bool, diags *diag.Diagnostics) {
	if m.AdminDirectory.IsNull() {
		m.AdminCertificate = types.StringNull()
		return
	}
	m.AdminCertificate = types.StringUnknown()
	if m.AdminDirectory.IsUnknown() || m.Certificates.IsUnknown() || m.MSPID.IsUnknown() {
		return
	}
	definition, known := m.partner(ctx, diags)
	if !known || definition.Validate() != nil {
		return // verify tells what is wrong
	}
	admin, err := network.ReadAdmin(ctx, m.AdminDirectory.ValueString(), definition)
	switch {
	case err == nil:
		m.AdminCertificate = types.StringValue(network.AdminCertificate(admin))
	case exists && m.AdminDirectory.Equal(prior.AdminDirectory) && !changed(prior.KeyVersion, m.KeyVersion):
		m.AdminCertificate = prior.AdminCertificate // it was read once; a plan elsewhere need not have it
	default:
		diags.AddAttributeError(path.Root("admin_directory"), "No admin of the organization there", sentence(err))
	}
}

// renewNothing: no CA here could renew the certificates of an organization that is given by its own.
func (m *organizationModel) renewNothing() {
	m.RenewalAt, m.LastRenewal, m.RenewalDue = types.StringNull(), types.StringNull(), nothingDue()
}

// planTLSRoot says what another TLS root means.
func (m *organizationModel) planTLSRoot(prior *organizationModel) {
	if prior.TLSRootVersion.IsNull() || !changed(prior.TLSRootVersion, m.TLSRootVersion) {
		return
	}
	m.Definition = types.ObjectUnknown(definitionTypes)
	words := "a new TLS root, trusted beside the old one by the nodes and on the channels of " + m.MSPID.ValueString() +
		"; then certificates of it for every node, and for its consenters on the ledger, one in each config update; then the old root goes. Its nodes restart three times, one after the other"
	if changed(prior.LastRenewal, m.LastRenewal) {
		words = m.LastRenewal.ValueString() + "; " + words
	}
	m.LastRenewal = types.StringValue(words)
}

// verify refuses certificates of a partner that make no MSP. It is asked of a new organization only:
// certificates of an old one that expired are no reason to refuse a plan.
func (m *organizationModel) verify(ctx context.Context, diags *diag.Diagnostics) {
	if m.Certificates.IsNull() || m.Certificates.IsUnknown() || m.MSPID.IsUnknown() {
		return
	}
	if definition, known := m.partner(ctx, diags); known {
		if err := definition.Validate(); err != nil {
			diags.AddAttributeError(path.Root("certificates"), "Certificates that make no MSP", sentence(err))
		}
	}
}

// place is a handle of something on the organization's network.
func (m *organizationModel) place() types.Object {
	if m.CA.IsNull() {
		return m.Network
	}
	return m.CA
}

// partner reads a partner's definition; it is not known while any of its certificates is not.
func (m *organizationModel) partner(ctx context.Context, diags *diag.Diagnostics) (msp.Definition, bool) {
	var c certificatesModel
	diags.Append(m.Certificates.As(ctx, &c, basetypes.ObjectAsOptions{})...)
	for _, l := range []types.List{c.Roots, c.Intermediates, c.TLSRoots, c.TLSIntermediates} {
		for _, e := range l.Elements() {
			if e.IsUnknown() {
				return msp.Definition{}, false
			}
		}
		if l.IsUnknown() {
			return msp.Definition{}, false
		}
	}
	return msp.Definition{
		ID: m.MSPID.ValueString(), RootCertificates: stringList(ctx, c.Roots, diags), IntermediateCertificates: stringList(ctx, c.Intermediates, diags),
		TLSRootCertificates: stringList(ctx, c.TLSRoots, diags), TLSIntermediateCertificates: stringList(ctx, c.TLSIntermediates, diags),
	}, true
}

// definitionValue writes an MSP definition.
func definitionValue(ctx context.Context, d msp.Definition, diags *diag.Diagnostics) types.Object {
	list := func(l []string) types.List {
		value, more := types.ListValueFrom(ctx, types.StringType, append([]string{}, l...))
		diags.Append(more...)
		return value
	}
	return types.ObjectValueMust(definitionTypes, map[string]attr.Value{
		"msp_id": types.StringValue(d.ID), "root_certificates": list(d.RootCertificates), "intermediate_certificates": list(d.IntermediateCertificates),
		"tls_root_certificates": list(d.TLSRootCertificates), "tls_intermediate_certificates": list(d.TLSIntermediateCertificates),
		"revocation_lists": list(d.RevocationLists),
	})
}

// definitionFrom reads an MSP definition.
func definitionFrom(ctx context.Context, object types.Object, diags *diag.Diagnostics) msp.Definition {
	if object.IsNull() || object.IsUnknown() {
		return msp.Definition{}
	}
	var m definitionModel
	diags.Append(object.As(ctx, &m, basetypes.ObjectAsOptions{UnhandledNullAsEmpty: true})...)
	return msp.Definition{
		ID: m.MSPID.ValueString(), RootCertificates: stringList(ctx, m.Roots, diags), IntermediateCertificates: stringList(ctx, m.Intermediates, diags),
		TLSRootCertificates: stringList(ctx, m.TLSRoots, diags), TLSIntermediateCertificates: stringList(ctx, m.TLSIntermediates, diags),
		RevocationLists: stringList(ctx, m.RevocationLists, diags),
	}
}

func (r *organizationResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan organizationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	spec := network.OrganizationSpec{
		Handle: handleFrom(ctx, plan.place(), &resp.Diagnostics).With(network.KindOrganization, plan.MSPID.ValueString(), plan.MSPID.ValueString()),
		Image:  r.session.caImage().ValueString(), Renewal: firstKeys(&plan),
		TLSRootVersion: laterVersion(plan.TLSRootVersion), AdminDirectory: plan.AdminDirectory.ValueString(),
	}
	if !plan.CA.IsNull() {
		from := handleFrom(ctx, plan.CA, &resp.Diagnostics)
		spec.CA = &from
	} else {
		spec.Definition, _ = plan.partner(ctx, &resp.Diagnostics)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.PreflightOrganization(ctx, spec); err != nil {
		addError(&resp.Diagnostics, "Unable to create organization "+plan.MSPID.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.CreateOrganization(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to create organization "+plan.MSPID.ValueString(), err)
		return
	}
	plan.merge(ctx, state, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (m *organizationModel) merge(ctx context.Context, s network.OrganizationState, diags *diag.Diagnostics) {
	if m.TLSRootVersion.IsNull() {
		m.TLSRootVersion = keyVersion(s.TLSRootVersion)
	}
	m.Definition = definitionValue(ctx, s.Definition, diags)
	takeCertificates(m, map[string]string{network.CertificateAdmin: s.AdminCertificate}, s.Handle, m.RenewBefore)
	if m.CA.IsNull() {
		m.renewNothing()
	}
}

func (r *organizationResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state organizationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadOrganization(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics))
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read organization "+state.MSPID.ValueString(), err)
		return
	}
	if found.Lost {
		resp.Diagnostics.AddWarning("The keys of organization "+state.MSPID.ValueString()+" are gone",
			"Its key volume is not on the engine any more, and with it the keys of its admin and of its identities. Restore the volume under its name. "+
				"If it is gone for good, have new keys made: terraform apply -replace=ADDRESS of this organization, and a second apply for its identities. What is in the state is kept.")
		return
	}
	if found.Definition.ID == "" {
		return // its create failed: what is in the state is all there is
	}
	if found.Superseded {
		resp.Diagnostics.AddWarning("Organization "+state.MSPID.ValueString()+" has the roots of a CA that is gone",
			"Its CA was begun anew and has other roots than the organization's definition. Its nodes and members go on with the certificates that they have, and what the new CA issues is not recognised on its channels. "+
				"Replace the organization (terraform apply -replace=ADDRESS) and what has certificates of it.")
	}
	state.Definition, state.AdminCertificate = definitionValue(ctx, found.Definition, &resp.Diagnostics), nullable(found.AdminCertificate)
	state.KeyVersion = keyVersion(found.KeyVersion)
	if readCertificates(ctx, &state, found.Handle, state.RenewBefore, nil, &resp.Diagnostics); state.CA.IsNull() {
		state.renewNothing()
	}
	if state.TLSRootVersion = keyVersion(found.TLSRootVersion); found.TLSRootVersion < 0 { // differs from every configuration
		state.TLSRootVersion = types.Int64Value(0)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// Update renews the admin: every other change of an organization replaces it.
func (r *organizationResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior organizationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if plan.CA.IsNull() && plan.AdminDirectory.IsNull() && prior.AdminDirectory.IsNull() {
		resp.State.Raw = req.Plan.Raw
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	h := handleFrom(ctx, plan.Handle, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	state, err := f.UpdateOrganization(ctx, network.OrganizationSpec{
		Handle: h, Renewal: renewalOf(&plan, &prior), TLSRootVersion: laterVersion(plan.TLSRootVersion), AdminDirectory: plan.AdminDirectory.ValueString(),
	})
	if err != nil {
		addError(&resp.Diagnostics, "Unable to update organization "+plan.MSPID.ValueString(), err)
		return
	}
	plan.merge(ctx, state, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *organizationResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state organizationModel
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
	if !state.CA.IsNull() {
		unregister(ctx, f, &resp.Diagnostics, h)
	}
	if err := f.DeleteOrganization(ctx, h); err != nil {
		addError(&resp.Diagnostics, "Unable to delete organization "+state.MSPID.ValueString(), err)
	}
}

var certificatesTypes = map[string]attr.Type{"root": pemList, "intermediate": pemList, "tls_root": pemList, "tls_intermediate": pemList}

// certificatesValue writes what a partner handed over.
func certificatesValue(ctx context.Context, d msp.Definition, diags *diag.Diagnostics) types.Object {
	return types.ObjectValueMust(certificatesTypes, map[string]attr.Value{
		"root": listOf(ctx, d.RootCertificates, diags), "intermediate": listOf(ctx, d.IntermediateCertificates, diags),
		"tls_root": listOf(ctx, d.TLSRootCertificates, diags), "tls_intermediate": listOf(ctx, d.TLSIntermediateCertificates, diags),
	})
}
