package provider

import (
	"context"
	"errors"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/mapplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type transactionResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &transactionResource{}
	_ resource.ResourceWithImportState = &transactionResource{}
)

func newTransactionResource() resource.Resource { return &transactionResource{} }

// transactionModel is a fabric_transaction.
type transactionModel struct {
	Chaincode              types.Object   `tfsdk:"chaincode"`
	Identity               types.Object   `tfsdk:"identity"`
	Function               types.String   `tfsdk:"function"`
	Arguments              types.List     `tfsdk:"arguments"`
	TransientWO            types.Map      `tfsdk:"transient_wo"`
	TransientWOVersion     types.String   `tfsdk:"transient_wo_version"`
	EndorsingOrganizations types.List     `tfsdk:"endorsing_organizations"`
	ExpectedStatus         types.String   `tfsdk:"expected_status"`
	Init                   types.Bool     `tfsdk:"init"`
	Triggers               types.Map      `tfsdk:"triggers"`
	Result                 types.String   `tfsdk:"result"`
	TransactionID          types.String   `tfsdk:"transaction_id"`
	Block                  types.Int64    `tfsdk:"block"`
	Timeouts               timeouts.Value `tfsdk:"timeouts"`
}

func (r *transactionResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_transaction"
}

func (r *transactionResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_chaincode` to call, or of a `fabric_chaincode_approval`.", network.KindChaincode, network.KindChaincodeApproval)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	by := handleInput("Handle of the `fabric_identity` that signs, or of a `fabric_organization`, whose admin then does.", network.KindIdentity, network.KindOrganization)
	by.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A transaction: submitted once, and again when anything of it or one of its `triggers` changes. It is created when it is committed and valid. " +
			"Destroying it does nothing, because a ledger forgets nothing. An apply that is killed before it could write its state submits the transaction again: let the chaincode take a repetition. " +
			"In the apply that restores a network from a backup, or takes one back by its `owner_id`, a transaction that is on the ledger is found there, and not submitted again. " +
			"A transaction of which only the ledger knows is imported by its ID. The ledger does not tell `triggers`, `transient_wo_version`, `endorsing_organizations` and `expected_status`: the first apply after the import takes them up as they are, and submits nothing.",
		Attributes: map[string]schema.Attribute{
			"chaincode": of,
			"identity":  by,
			"function": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Function of the chaincode.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"arguments": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Arguments of the function.",
				PlanModifiers:       []planmodifier.List{listplanmodifier.RequiresReplaceIf(otherArguments, submitsAgain, submitsAgain)},
			},
			"transient_wo": schema.MapAttribute{
				Optional: true, WriteOnly: true, Sensitive: true, ElementType: types.StringType,
				MarkdownDescription: "Transient data by name, which the chaincode sees and neither the ledger nor the state holds. Write-only: change `transient_wo_version` to submit again.",
			},
			"transient_wo_version": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Version of `transient_wo`, a text of your choice.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplaceIf(otherText, submitsAgain, submitsAgain)},
			},
			"endorsing_organizations": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "MSP IDs of the organizations whose peers endorse. Defaults to every organization that has peers of this network on the channel; of a `fabric_channel_membership`, to those whom the endorsement policy asks for. Peers of organizations that run theirs elsewhere are found by gossip.",
				PlanModifiers:       []planmodifier.List{listplanmodifier.RequiresReplaceIf(otherList, submitsAgain, submitsAgain)},
			},
			"expected_status": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Validation code that the transaction must get. Defaults to `VALID`. Another one, such as `ENDORSEMENT_POLICY_FAILURE` with too few `endorsing_organizations`, shows that the channel refuses what it should: " +
					"the transaction is on the ledger and changes nothing, and a valid one is an error.",
				Validators:    []validator.String{stringvalidator.OneOf(validationCodes...)},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(otherText, submitsAgain, submitsAgain)},
			},
			"init": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "This is the call that initialises a chaincode with `init_required`. Defaults to `false`.",
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.RequiresReplace()},
			},
			"triggers": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Values of your choice; a change of any submits the transaction again.",
				PlanModifiers:       []planmodifier.Map{mapplanmodifier.RequiresReplaceIf(otherMap, submitsAgain, submitsAgain)},
			},
			"result": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "What the chaincode returned.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"transaction_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Transaction ID.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"block": schema.Int64Attribute{
				Computed:            true,
				MarkdownDescription: "Number of the block that holds it.",
				PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// validationCodes are those that a transaction can end with by what it is.
var validationCodes = []string{"VALID", "ENDORSEMENT_POLICY_FAILURE", "MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"}

// importedKey is the private state entry of a transaction that was imported, until the next apply of
// it: what no ledger tells is taken from the configuration then, and submits nothing.
const importedKey = "imported"

// submitsAgain describes the plan modifiers of what a transaction is made of.
const submitsAgain = "A change submits the transaction again."

// adopted tells whether an attribute is taken up from the configuration: nothing is known of it yet,
// because the transaction was imported.
func adopted(ctx context.Context, private privateState, state attr.Value, diags *diag.Diagnostics) bool {
	raw, d := private.GetKey(ctx, importedKey)
	diags.Append(d...)
	return len(raw) > 0 && state.IsNull()
}

func otherText(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = !adopted(ctx, req.Private, req.StateValue, &resp.Diagnostics)
}

func otherList(ctx context.Context, req planmodifier.ListRequest, resp *listplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = !adopted(ctx, req.Private, req.StateValue, &resp.Diagnostics)
}

func otherMap(ctx context.Context, req planmodifier.MapRequest, resp *mapplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = !adopted(ctx, req.Private, req.StateValue, &resp.Diagnostics)
}

// otherArguments takes no arguments and none given for the same call.
func otherArguments(_ context.Context, req planmodifier.ListRequest, resp *listplanmodifier.RequiresReplaceIfFuncResponse) {
	resp.RequiresReplace = req.PlanValue.IsUnknown() || len(req.PlanValue.Elements()) > 0 || len(req.StateValue.Elements()) > 0
}

func (m *transactionModel) call(ctx context.Context, diags *diag.Diagnostics) network.Call {
	return network.Call{
		Chaincode: handleFrom(ctx, m.Chaincode, diags), Identity: handleFrom(ctx, m.Identity, diags),
		Function: m.Function.ValueString(), Arguments: stringList(ctx, m.Arguments, diags),
		Organizations: stringList(ctx, m.EndorsingOrganizations, diags), Init: m.Init.ValueBool(),
		Expected: m.ExpectedStatus.ValueString(),
	}
}

func (r *transactionResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan, config transactionModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	call := plan.call(ctx, &resp.Diagnostics)
	call.Transient = stringMap(ctx, config.TransientWO, &resp.Diagnostics)
	call.Occasion = plan.occasion()
	if resp.Diagnostics.HasError() {
		return
	}
	result, err := f.SubmitTransaction(ctx, call)
	if err != nil {
		plan.addError(&resp.Diagnostics, err)
		return
	}
	plan.take(result)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// occasion is what submits the same call again when it changes.
func (m *transactionModel) occasion() string {
	return m.Triggers.String() + " " + m.TransientWOVersion.String()
}

func (m *transactionModel) take(result network.TransactionResult) {
	m.Result, m.TransactionID = types.StringValue(string(result.Payload)), types.StringValue(result.TxID)
	m.Block = types.Int64Value(int64(result.Block))
}

// addError names the attribute where it is known.
func (m *transactionModel) addError(diags *diag.Diagnostics, err error) {
	summary := "Unable to submit transaction " + m.Function.ValueString()
	if noPeer := new(network.NoPeerError); errors.As(err, &noPeer) {
		diags.AddAttributeError(path.Root("endorsing_organizations"), summary, sentence(err))
		return
	}
	addError(diags, summary, err)
}

// Read keeps the state: a committed transaction does not change.
func (r *transactionResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {}

// Update changes timeouts, and takes up what an import could not tell; everything else replaces the
// transaction.
func (r *transactionResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, nil)...)
}

// Delete forgets the transaction; the ledger does not.
func (r *transactionResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}
