package provider

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
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
	Organization types.Object   `tfsdk:"organization"`
	Name         types.String   `tfsdk:"name"`
	Type         types.String   `tfsdk:"type"`
	Affiliation  types.String   `tfsdk:"affiliation"`
	Attributes   types.Map      `tfsdk:"attributes"`
	ValidityDays types.Int64    `tfsdk:"validity_days"`
	Directory    types.String   `tfsdk:"directory"`
	Certificate  types.String   `tfsdk:"certificate"`
	NotAfter     types.String   `tfsdk:"not_after"`
	Handle       types.Object   `tfsdk:"handle"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

func (r *identityResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_identity"
}

func (r *identityResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` that the identity is a member of. Changing it replaces the identity.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An identity of an organization, registered at the organization's CA and enrolled. Its private key lives in the organization's key volume on the engine, or in a local directory; never in the state.",
		Attributes: map[string]schema.Attribute{
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
			"validity_days": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Validity of the certificate in days: one of `identity_validity_days` of the `fabric_ca`. Defaults to its `certificate_validity_days`. A change enrols the identity again, with the same key.",
				Validators:          []validator.Int64{int64validator.Between(1, 3650)},
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
		},
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
		gone := state.Certificate.ValueString() == ""
		if gone || changed(state.Type, plan.Type, state.Affiliation, plan.Affiliation, state.Attributes, plan.Attributes, state.ValidityDays, plan.ValidityDays) {
			plan.Certificate, plan.NotAfter = types.StringUnknown(), types.StringUnknown()
		} else {
			plan.Certificate, plan.NotAfter = state.Certificate, state.NotAfter
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !req.State.Raw.IsNull() && changed(state.Organization, plan.Organization, state.Directory, plan.Directory) {
		return // it is planned anew
	}
	r.session.claims.name(ctx, network.KindIdentity, plan.Organization, plan.Name, path.Root("name"), req, &resp.Diagnostics)
	r.session.claims.validity(plan.Organization, plan.ValidityDays, &resp.Diagnostics)
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
		Validity: time.Duration(m.ValidityDays.ValueInt64()) * day,
	}
}

// merge takes the certificate; an empty one says that the key is gone.
func (m *identityModel) merge(s network.IdentityState) {
	m.Certificate, m.NotAfter = types.StringValue(s.Certificate), types.StringValue("")
	if facts, err := certificate.ReadFacts([]byte(s.Certificate)); err == nil {
		m.NotAfter = types.StringValue(facts.NotAfter)
	}
}

// addIdentityError reports an error, at the attribute that it is about where there is one.
func addIdentityError(diags *diag.Diagnostics, summary string, err error) {
	if errors.Is(err, network.ErrNoValidity) {
		diags.AddAttributeError(path.Root("validity_days"), summary, explain(err)+"\n\nChoose one of these, or add it to identity_validity_days of the fabric_ca.")
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
	plan.merge(state)
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
		Validity: time.Duration(state.ValidityDays.ValueInt64()) * day,
	}
	found, err := f.ReadIdentity(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics), state.Directory.ValueString(), known)
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
	state.merge(found)
	state.Type, state.ValidityDays = types.StringValue(found.Type), daysOrNull(found.Validity)
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
	found, err := f.UpdateIdentity(ctx, spec, before)
	if err != nil {
		addIdentityError(&resp.Diagnostics, "Unable to update identity "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(found)
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
