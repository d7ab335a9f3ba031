package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type releaseApprovalResource struct{ configured }

var (
	_ resource.ResourceWithConfigure  = &releaseApprovalResource{}
	_ resource.ResourceWithModifyPlan = &releaseApprovalResource{}
)

func newReleaseApprovalResource() resource.Resource { return &releaseApprovalResource{} }

// releaseApprovalModel is a fabric_release_approval.
type releaseApprovalModel struct {
	Proposal       types.String   `tfsdk:"proposal"`
	Approver       types.Object   `tfsdk:"approver"`
	ExpectedDigest types.String   `tfsdk:"expected_digest"`
	Release        types.List     `tfsdk:"release"`
	Digest         types.String   `tfsdk:"digest"`
	ExpiresAt      types.String   `tfsdk:"expires_at"`
	Approval       types.String   `tfsdk:"approval"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`
}

func (r *releaseApprovalResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_release_approval"
}

func (r *releaseApprovalResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	approver := handleInput("Handle of the `fabric_identity` of who approves, or of a `fabric_organization`, whose admin then does. Changing it replaces the approval.", network.KindIdentity, network.KindOrganization)
	approver.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	proposal := proposalInput(stringplanmodifier.RequiresReplace())
	proposal.MarkdownDescription += " Changing it replaces the approval."
	stays := func(what string) schema.StringAttribute {
		return schema.StringAttribute{
			Computed: true, MarkdownDescription: what,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The approval of a release by one person, who must not be the one who proposed it. The plan shows what is approved; apply signs exactly that, with the key in the organization's key volume, unless the proposal has expired. " +
			"The approval is public: hand it to whoever releases the chaincode (`approvals` of `fabric_chaincode`). Destroying this resource takes no approval back; what revokes it is the revocation of the certificate (`fabric_crl`), or the expiry of the proposal.",
		Attributes: map[string]schema.Attribute{
			"proposal": proposal,
			"approver": approver,
			"expected_digest": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "SHA-256 of the release, in hexadecimal, as you were told it on another way than the proposal. Another release is then refused.",
			},
			"release": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What is released, in words.",
				PlanModifiers:       []planmodifier.List{listplanmodifier.UseStateForUnknown()},
			},
			"digest":     stays("SHA-256 of the release, in hexadecimal."),
			"expires_at": stays("When the proposal expires (RFC 3339)."),
			"approval":   stays("The approval, in JSON. It is public; hand it back as it is."),
			"timeouts":   operationTimeouts(ctx),
		},
	}
}

// ModifyPlan says what is going to be approved, and refuses a proposal that is not the expected one.
func (r *releaseApprovalResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan releaseApprovalModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || plan.Proposal.IsUnknown() {
		return
	}
	p, err := signoff.Parse(plan.Proposal.ValueString())
	if err != nil { // the validator has told already
		return
	}
	plan.refuseUnexpected(p, &resp.Diagnostics)
	if !plan.Approval.IsUnknown() {
		return // it is signed
	}
	if err := p.RefuseExpired(time.Now()); err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("proposal"), "Expired proposal", explain(err))
	}
	plan.take(ctx, p, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

func (m *releaseApprovalModel) refuseUnexpected(p signoff.Proposal, diags *diag.Diagnostics) {
	if wanted := m.ExpectedDigest; !wanted.IsNull() && !wanted.IsUnknown() && wanted.ValueString() != p.Digest {
		diags.AddAttributeError(path.Root("expected_digest"), "Another release",
			fmt.Sprintf("The release has the digest %s. Ask whoever proposed it which one is meant; nothing was approved.", p.Digest))
	}
}

func (m *releaseApprovalModel) take(ctx context.Context, p signoff.Proposal, diags *diag.Diagnostics) {
	words, d := types.ListValueFrom(ctx, types.StringType, p.Words())
	diags.Append(d...)
	m.Release, m.Digest, m.ExpiresAt = words, types.StringValue(p.Digest), types.StringValue(p.Expires.Format(time.RFC3339))
}

func (r *releaseApprovalResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan releaseApprovalModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	p, err := signoff.Parse(plan.Proposal.ValueString())
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("proposal"), "Not a proposal", sentence(err))
		return
	}
	plan.refuseUnexpected(p, &resp.Diagnostics)
	approver := handleFrom(ctx, plan.Approver, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	text, err := f.ApproveRelease(ctx, p, approver)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to approve the release of chaincode "+p.Chaincode, err)
		return
	}
	plan.take(ctx, p, &resp.Diagnostics)
	plan.Approval = types.StringValue(text)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// Read keeps the state: what was approved stays approved, also when the channel has moved on.
func (r *releaseApprovalResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {
}

// Update changes timeouts and what was expected; everything else replaces the approval.
func (r *releaseApprovalResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the approval; who was given it still has it.
func (r *releaseApprovalResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}
