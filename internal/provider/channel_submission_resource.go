package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelSubmissionResource struct{ configured }

var (
	_ resource.ResourceWithConfigure  = &channelSubmissionResource{}
	_ resource.ResourceWithModifyPlan = &channelSubmissionResource{}
)

func newChannelSubmissionResource() resource.Resource { return &channelSubmissionResource{} }

// channelSubmissionModel is a fabric_channel_submission.
type channelSubmissionModel struct {
	accessModel
	factsModel
	Update     types.String   `tfsdk:"update"`
	Signatures types.Map      `tfsdk:"signatures"`
	Sequence   types.Int64    `tfsdk:"sequence"`
	Block      types.Int64    `tfsdk:"block"`
	Timeouts   timeouts.Value `tfsdk:"timeouts"`
}

func (r *channelSubmissionResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel_submission"
}

func (r *channelSubmissionResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	number := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: what, PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()}}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A config update with the signatures of several organizations, sent to the ordering nodes once. It is created when the channel has the new configuration. " +
			"Each signature is held to the update beforehand, and all together to the policies of the channel. An update that is in force already, because another state submitted it or an apply was cut short, is success. " +
			"Afterwards the resource stays as it is, however the channel moves on. Destroying it changes nothing on the channel. " +
			"In the state that owns the channel, `fabric_channel` shows what the update changed as drift: say the same there in the next apply, or leave an argument to proposals with `lifecycle { ignore_changes = [...] }`.",
		Attributes: merge(accessAttributes(), factAttributes(), map[string]schema.Attribute{
			"organization": handleInput("Handle of the `fabric_organization` whose admin submits the update, and signs it too.", network.KindOrganization),
			"update":       updateInput(),
			"signatures": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Signatures of the other organizations by a name of your choice, as `fabric_channel_signature` gives them. Needed are those that `required` of the `fabric_channel_proposal` names.",
			},
			"sequence": number("Sequence of the configuration that the update made."),
			"block":    number("Number of the block that holds it."),
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// ModifyPlan says what is going to be submitted, and refuses signatures of something else.
func (r *channelSubmissionResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || !req.State.Raw.IsNull() {
		return
	}
	var plan channelSubmissionModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() || plan.Update.IsUnknown() {
		return
	}
	update, err := readUpdate(plan.Update.ValueString())
	if err != nil { // the validator has told already
		return
	}
	refuseUpdate(update, plan.Channel, &resp.Diagnostics)
	plan.verify(update, &resp.Diagnostics)
	plan.take(ctx, update, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

// verify reads the signatures that are known, and refuses those that are none of the update.
func (m *channelSubmissionModel) verify(update network.Update, diags *diag.Diagnostics) map[string][]byte {
	signatures := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(m.Signatures.Elements())) {
		text, _ := m.Signatures.Elements()[name].(types.String)
		if text.IsUnknown() {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(text.ValueString())
		if err == nil {
			_, err = network.VerifySignatures(update.Raw, map[string][]byte{name: raw})
		}
		if err != nil {
			addNested(diags, path.Root("signatures").AtMapKey(name), "Not a signature of this update",
				sentence(err)+"\n\nLet that organization sign the very update that is submitted here, whose digest is "+update.Digest+".")
		}
		signatures[name] = raw
	}
	return signatures
}

func (r *channelSubmissionResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan channelSubmissionModel
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
	signatures := plan.verify(update, &resp.Diagnostics)
	access := plan.access(ctx, update.Channel, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	done, err := f.SubmitProposal(ctx, access, access.Organization, update, signatures)
	if err != nil {
		plan.addError(&resp.Diagnostics, update.Channel, err)
		return
	}
	plan.take(ctx, update, &resp.Diagnostics)
	plan.Sequence, plan.Block = types.Int64Value(int64(done.Sequence)), types.Int64Value(int64(done.Block))
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// addError names the attribute where it is known.
func (m *channelSubmissionModel) addError(diags *diag.Diagnostics, channel string, err error) {
	summary := fmt.Sprintf("Unable to submit the update of channel %s", channel)
	if errors.As(err, new(*network.UnsignedError)) {
		diags.AddAttributeError(path.Root("signatures"), summary, explain(err))
		return
	}
	addUpdateError(diags, summary, err)
}

// Read keeps the state: the ledger has the update, and forgets nothing.
func (r *channelSubmissionResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {
}

// Update takes what does not matter any more; another update replaces the submission.
func (r *channelSubmissionResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the submission; the ledger does not.
func (r *channelSubmissionResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}
