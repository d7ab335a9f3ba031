package provider

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelSignatureResource struct{ configured }

var (
	_ resource.ResourceWithConfigure  = &channelSignatureResource{}
	_ resource.ResourceWithModifyPlan = &channelSignatureResource{}
)

func newChannelSignatureResource() resource.Resource { return &channelSignatureResource{} }

// channelSignatureModel is a fabric_channel_signature.
type channelSignatureModel struct {
	accessModel
	factsModel
	Update         types.String   `tfsdk:"update"`
	ExpectedDigest types.String   `tfsdk:"expected_digest"`
	Signature      types.String   `tfsdk:"signature"`
	Timeouts       timeouts.Value `tfsdk:"timeouts"`
}

func (r *channelSignatureResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel_signature"
}

func (r *channelSignatureResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	signer := handleInput("Handle of the `fabric_organization` whose admin signs.", network.KindOrganization)
	signer.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The signature of one organization's admin under a config update that somebody proposed. The plan shows what the update writes; apply signs exactly these bytes, with the key in the organization's key volume, " +
			"unless the update has expired or the channel has moved on since it was made. The signature is public: hand it to whoever submits the update (`fabric_channel_submission`). Destroying this resource takes no signature back.",
		Attributes: merge(accessAttributes(), factAttributes(), map[string]schema.Attribute{
			"organization": signer,
			"update":       updateInput(),
			"expected_digest": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "SHA-256 of the update, in hexadecimal, as you were told it on another way than the update. Another update is then refused.",
			},
			"signature": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The signature: a `common.ConfigSignature` in base64.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// ModifyPlan says what is going to be signed, and refuses an update that is not the expected one.
func (r *channelSignatureResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan channelSignatureModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || plan.Update.IsUnknown() {
		return
	}
	update, err := readUpdate(plan.Update.ValueString())
	if err != nil { // the validator has told already
		return
	}
	if wanted := plan.ExpectedDigest; !wanted.IsNull() && !wanted.IsUnknown() && wanted.ValueString() != update.Digest {
		resp.Diagnostics.AddAttributeError(path.Root("expected_digest"), "Another update",
			fmt.Sprintf("The update has the digest %s. Ask whoever proposed it which one is meant; nothing was signed.", update.Digest))
	}
	if !req.State.Raw.IsNull() {
		return // it is signed
	}
	refuseUpdate(update, plan.Channel, &resp.Diagnostics)
	plan.take(ctx, update, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

func (r *channelSignatureResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan channelSignatureModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	update, err := readUpdate(plan.Update.ValueString())
	if err != nil {
		resp.Diagnostics.AddAttributeError(path.Root("update"), "Not a config update", sentence(err))
		return
	}
	if wanted := plan.ExpectedDigest; !wanted.IsNull() && wanted.ValueString() != update.Digest {
		resp.Diagnostics.AddAttributeError(path.Root("expected_digest"), "Another update", "The update has the digest "+update.Digest+".")
	}
	access := plan.access(ctx, update.Channel, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	signature, err := f.SignProposal(ctx, access, access.Organization, update)
	if err != nil {
		addUpdateError(&resp.Diagnostics, "Unable to sign the update of channel "+update.Channel, err)
		return
	}
	plan.take(ctx, update, &resp.Diagnostics)
	plan.Signature = types.StringValue(base64.StdEncoding.EncodeToString(signature))
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// Read keeps the state: what was signed stays signed, also when the channel has moved on.
func (r *channelSignatureResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {
}

// Update changes how the channel is reached; everything else replaces the signature.
func (r *channelSignatureResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the signature; who was given it still has it.
func (r *channelSignatureResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}
