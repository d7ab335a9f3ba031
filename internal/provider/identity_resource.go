package provider

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
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

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type identityResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &identityResource{}
	_ resource.ResourceWithImportState = &identityResource{}
	_ resource.ResourceWithModifyPlan  = &identityResource{}
)

func newIdentityResource() resource.Resource { return &identityResource{} }

// identityModel is a fabric_identity.
type identityModel struct {
	renewalModel
	RenewBefore  types.String   `tfsdk:"renew_before"`
	Organization types.Object   `tfsdk:"organization"`
	Name         types.String   `tfsdk:"name"`
	Type         types.String   `tfsdk:"type"`
	Affiliation  types.String   `tfsdk:"affiliation"`
	Attributes   types.Map      `tfsdk:"attributes"`
	Validity     types.String   `tfsdk:"validity"`
	Directory    types.String   `tfsdk:"directory"`
	Certificate  types.String   `tfsdk:"certificate"`
	NotAfter     types.String   `tfsdk:"not_after"`
	Handle       types.Object   `tfsdk:"handle"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

func (m *identityModel) held() map[string]*types.String {
	return map[string]*types.String{network.CertificateEnrollment: &m.Certificate}
}

func (r *identityResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_identity"
}

func (r *identityResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` that the identity is a member of. Changing it replaces the identity.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An identity of an organization, registered at the organization's CA and enrolled. Its private key lives in the organization's key volume on the engine, or in a local directory; never in the state.",
		Attributes: merge(renewalAttributes("identity", "It gets a new key and certificate, and what the CA issued for the old key is revoked; a `fabric_crl` makes the network refuse it. Nothing restarts, but applications must read the new key."), map[string]schema.Attribute{
			"renew_before": renewBeforeAttribute(),
			"organization": of,
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Enrolment ID, the common name of the certificate. Changing it replaces the identity.",
				Validators: []validator.String{
					check{wants: "an enrolment ID", summary: "Not an enrolment ID", problem: ca.ValidateID},
					stringvalidator.NoneOf("admin", "registrar"),
				},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"type": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("client"),
				MarkdownDescription: "`client` (default), `admin`, `peer` or `orderer`: the role that NodeOUs give the identity.",
				Validators:          []validator.String{stringvalidator.OneOf("client", "admin", "peer", "orderer")},
			},
			"affiliation": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Affiliation, for example `org1.sales`. It is added at the CA when it is not there.",
				Validators:          []validator.String{check{wants: "an affiliation", summary: "Not an affiliation", problem: ca.ValidateAffiliation}},
			},
			"attributes": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Attributes that go into the certificate, for chaincode that decides on them. Values are not empty.",
				Validators: []validator.Map{
					mapvalidator.KeysAre(check{wants: "the name of an attribute", summary: "Not an attribute", problem: attributeName}),
					mapvalidator.ValueStringsAre(stringvalidator.LengthAtLeast(1)),
				},
			},
			"validity": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How long the certificate is valid, as a duration: one of `identity_validities` of the `fabric_ca`. Defaults to its `certificate_validity`. A change enrols the identity again, with the same key.",
				Validators:          []validator.String{validityText},
			},
			"directory": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Local directory that receives the identity as an MSP folder (`signcerts`, `keystore`, …), for applications and the `peer` command. The key is then there and nowhere else. Changing it replaces the identity.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"certificate": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Enrolment certificate, in PEM.",
			},
			"not_after": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "When the certificate expires (RFC 3339, UTC).",
			},
			"handle":   handleOutput("identity"),
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// ModifyPlan computes the handle, and carries the certificate unless the registration changes.
func (r *identityResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan, state identityModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Handle = planHandle(ctx, plan.Organization, network.KindIdentity, plan.Name, handleMember(plan.Organization, "msp_id"), &resp.Diagnostics)
	if !req.State.Raw.IsNull() {
		var names []string
		if changed(state.Type, plan.Type, state.Affiliation, plan.Affiliation, state.Attributes, plan.Attributes, state.Validity, plan.Validity) {
			names = []string{network.CertificateEnrollment}
		}
		planCertificates(&plan, &state, changed(state.RenewBefore, plan.RenewBefore), "nothing restarts", names...)
		if plan.NotAfter = state.NotAfter; plan.Certificate.IsUnknown() {
			plan.NotAfter = types.StringUnknown()
		}
	} else {
		planNewCertificates(&plan)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !req.State.Raw.IsNull() && changed(state.Organization, plan.Organization, state.Directory, plan.Directory) {
		return // it is planned anew
	}
	r.session.claims.name(ctx, network.KindIdentity, plan.Organization, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	r.session.claims.validity(plan.Organization, plan.Validity, &resp.Diagnostics)
	r.claimDirectory(&plan, &resp.Diagnostics)
}

// claimDirectory refuses two identities in one directory: an MSP folder holds one.
func (r *identityResource) claimDirectory(m *identityModel, diags *diag.Diagnostics) {
	if m.Directory.IsNull() || m.Directory.IsUnknown() || m.Name.IsUnknown() {
		return
	}
	holder := handleMember(m.Handle, "network").ValueString() + "/" + handleMember(m.Handle, "msp_id").ValueString() + "/" + m.Name.ValueString()
	if other := r.session.claims.exclusive("directory "+filepath.Clean(m.Directory.ValueString()), holder); other != "" {
		diags.AddAttributeError(path.Root("directory"), "Directory used twice",
			fmt.Sprintf("Directory %s is that of identity %s too, and an MSP folder holds one identity. Give each a directory of its own.", m.Directory.ValueString(), other))
	}
}

// attributeName refuses names that the CA or this provider gives to every identity.
func attributeName(name string) error {
	if name == "" {
		return errors.New("an attribute must have a name")
	}
	if network.ReservedAttribute(name) {
		return fmt.Errorf("the attribute %q is given by the CA itself: choose another name", name)
	}
	return nil
}

func (m *identityModel) spec(ctx context.Context, diags *diag.Diagnostics) network.IdentitySpec {
	org := handleFrom(ctx, m.Organization, diags)
	return network.IdentitySpec{
		Handle: org.With(network.KindIdentity, m.Name.ValueString(), org.MSPID), Type: m.Type.ValueString(),
		Affiliation: m.Affiliation.ValueString(), Attributes: stringMap(ctx, m.Attributes, diags), Directory: m.Directory.ValueString(),
		Validity: durationOf(m.Validity), Renewal: firstKeys(m),
	}
}

// merge takes the certificate that an apply found.
func (m *identityModel) merge(s network.IdentityState, h network.Handle) {
	takeCertificates(m, map[string]string{network.CertificateEnrollment: s.Certificate}, h, m.RenewBefore)
	m.dated()
}

// dated tells when the certificate expires. An empty one says that the key is gone.
func (m *identityModel) dated() {
	m.NotAfter = types.StringValue("")
	if facts, err := certificate.ReadFacts([]byte(m.Certificate.ValueString())); err == nil {
		m.NotAfter = types.StringValue(facts.NotAfter)
	}
}

// addIdentityError reports an error, at the attribute that it is about where there is one.
func addIdentityError(diags *diag.Diagnostics, summary string, err error) {
	if errors.Is(err, network.ErrNoValidity) {
		diags.AddAttributeError(path.Root("validity"), summary, explain(err)+"\n\nChoose one of these, or add it to identity_validities of the fabric_ca.")
		return
	}
	addError(diags, summary, err)
}

func (r *identityResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan identityModel
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
	if err := f.PreflightIdentity(ctx, spec); err != nil {
		addIdentityError(&resp.Diagnostics, "Unable to create identity "+plan.Name.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.CreateIdentity(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to create identity "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state, spec.Handle)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *identityResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state identityModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	known := network.IdentityState{
		Certificate: state.Certificate.ValueString(), Registered: true, Type: state.Type.ValueString(),
		Affiliation: state.Affiliation.ValueString(), Attributes: stringMap(ctx, state.Attributes, &resp.Diagnostics),
		Validity: durationOf(state.Validity), KeyVersion: firstKeys(&state).KeyVersion,
	}
	h := handleFrom(ctx, state.Handle, &resp.Diagnostics)
	found, err := f.ReadIdentity(ctx, h, state.Directory.ValueString(), known)
	switch {
	case errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrForeign):
		addError(&resp.Diagnostics, "Unable to read identity "+state.Name.ValueString(), err)
		return
	case err != nil: // the apply that starts the CA again must be able to run
		resp.Diagnostics.AddWarning("Unable to ask the CA about identity "+state.Name.ValueString(), explain(err))
	case !found.Registered:
		resp.State.RemoveResource(ctx)
		return
	}
	state.Certificate = types.StringValue(found.Certificate)
	state.dated()
	readCertificates(ctx, &state, h, state.RenewBefore, nil, &resp.Diagnostics)
	state.Type, state.KeyVersion = types.StringValue(found.Type), keyVersion(found.KeyVersion)
	if durationOf(state.Validity) != found.Validity { // the same may be written in another way
		state.Validity = durationOrNull(found.Validity)
	}
	if found.Affiliation != "" || !state.Affiliation.IsNull() {
		state.Affiliation = types.StringValue(found.Affiliation)
	}
	if len(found.Attributes) > 0 || len(state.Attributes.Elements()) > 0 { // none may be null or empty
		state.Attributes = mapOf(ctx, found.Attributes, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *identityResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, state identityModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec, before := plan.spec(ctx, &resp.Diagnostics), stringMap(ctx, state.Attributes, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	spec.Renewal = renewalOf(&plan, &state)
	found, err := f.UpdateIdentity(ctx, spec, before)
	if err != nil {
		addIdentityError(&resp.Diagnostics, "Unable to update identity "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(found, spec.Handle)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *identityResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state identityModel
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
	if err := f.DeleteIdentity(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics), state.Directory.ValueString()); err != nil {
		addError(&resp.Diagnostics, "Unable to delete identity "+state.Name.ValueString(), err)
	}
}
