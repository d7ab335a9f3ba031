package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/mapplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type releaseProposalResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &releaseProposalResource{}
	_ resource.ResourceWithValidateConfig = &releaseProposalResource{}
)

func newReleaseProposalResource() resource.Resource { return &releaseProposalResource{} }

// releaseProposalModel is a fabric_release_proposal.
type releaseProposalModel struct {
	Channel           types.Object   `tfsdk:"channel"`
	Name              types.String   `tfsdk:"name"`
	Version           types.String   `tfsdk:"version"`
	PackageID         types.String   `tfsdk:"package_id"`
	Image             types.String   `tfsdk:"image"`
	EndorsementPolicy types.String   `tfsdk:"endorsement_policy"`
	InitRequired      types.Bool     `tfsdk:"init_required"`
	Collections       types.Map      `tfsdk:"collections"`
	Proposer          types.Object   `tfsdk:"proposer"`
	ValidFor          types.String   `tfsdk:"valid_for"`
	Proposal          types.String   `tfsdk:"proposal"`
	Digest            types.String   `tfsdk:"digest"`
	Sequence          types.Int64    `tfsdk:"sequence"`
	ImageID           types.String   `tfsdk:"image_id"`
	ExpiresAt         types.String   `tfsdk:"expires_at"`
	RecordKey         types.String   `tfsdk:"record_key"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

func (r *releaseProposalResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_release_proposal"
}

func (r *releaseProposalResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	proposer := handleInput("Handle of the `fabric_identity` of who proposes, or of a `fabric_organization`, whose admin then does. Who proposes cannot approve. Changing it replaces the proposal.", network.KindIdentity, network.KindOrganization)
	proposer.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	given := func(what string) schema.StringAttribute {
		return schema.StringAttribute{
			Required: true, MarkdownDescription: what + " Changing it replaces the proposal.",
			Validators:    []validator.String{stringvalidator.LengthAtLeast(1)},
			PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
		}
	}
	stays := func(what string) schema.StringAttribute {
		return schema.StringAttribute{
			Computed: true, MarkdownDescription: what,
			PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A release of a chaincode that people have to approve, as exact bytes: what is released as which sequence of the channel, and until when. Who proposes it signs it, and hands `proposal` to the others: " +
			"they approve it with `fabric_release_approval`, each in a state of their own, and `approvals` of the `fabric_chaincode` takes both. The channel, its `endorsement_policy` and `collections` must be those of the `fabric_chaincode`. " +
			"A proposal is made once and stays as it is. When something of it changes it is made anew, with the sequence that is next by then, and so it is with `terraform apply -replace=ADDRESS`, after it expired for example. Destroying it changes nothing on the channel.",
		Attributes: merge(definitionAttributes(ctx), map[string]schema.Attribute{
			"package_id": given("Package ID, as the function `package_id` gives it before there is a package."),
			"image": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Image of the chaincode's servers, as in `server`. The content that the engine has under that name is proposed. Leave it out where there is no `server`. Changing it replaces the proposal.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"proposer": proposer,
			"valid_for": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How long the release may be approved and made, as a duration. Defaults to `168h`, a week. Changing it replaces the proposal.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"proposal":   stays("The proposal, in JSON, with the signature of who proposes. It is public; hand it on as it is."),
			"digest":     stays("SHA-256 of what is signed, in hexadecimal."),
			"image_id":   stays("The content of the image that is proposed (`sha256:…`); absent without one."),
			"expires_at": stays("When the proposal expires (RFC 3339)."),
			"record_key": stays("Under which the audit chaincode keeps the record of the release: `release/CHANNEL/CHAINCODE/SEQUENCE/DIGEST`."),
			"sequence": schema.Int64Attribute{
				Computed: true, MarkdownDescription: "The sequence of the definition that is proposed: the next one of the channel when the proposal was made.",
				PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// definitionAttributes are those that say what goes to the ledger of a chaincode; each of them replaces
// whatever else has them.
func definitionAttributes(ctx context.Context) map[string]schema.Attribute {
	var of resource.SchemaResponse
	(&chaincodeResource{}).Schema(ctx, resource.SchemaRequest{}, &of)
	out := map[string]schema.Attribute{}
	for _, name := range []string{"channel", "name", "version", "endorsement_policy", "init_required", "collections"} {
		switch a := of.Schema.Attributes[name].(type) {
		case schema.ObjectAttribute:
			a.MarkdownDescription = "Handle of the `fabric_channel` of the chaincode. Changing it replaces the proposal."
			out[name] = a
		case schema.StringAttribute:
			a.MarkdownDescription, a.PlanModifiers = "As in `fabric_chaincode`. Changing it replaces the proposal.", []planmodifier.String{stringplanmodifier.RequiresReplace()}
			out[name] = a
		case schema.BoolAttribute:
			a.MarkdownDescription, a.PlanModifiers = "As in `fabric_chaincode`. Changing it replaces the proposal.", []planmodifier.Bool{boolplanmodifier.RequiresReplace()}
			out[name] = a
		case schema.MapNestedAttribute:
			a.MarkdownDescription, a.PlanModifiers = "As in `fabric_chaincode`. Changing them replaces the proposal.", []planmodifier.Map{mapplanmodifier.RequiresReplace()}
			out[name] = a
		}
	}
	return out
}

// chaincode gives what is proposed as far as a fabric_chaincode has it too.
func (m *releaseProposalModel) chaincode() *chaincodeModel {
	return &chaincodeModel{
		Channel: m.Channel, Name: m.Name, Version: m.Version, EndorsementPolicy: m.EndorsementPolicy, InitRequired: m.InitRequired, Collections: m.Collections,
	}
}

// ValidateConfig refuses what a fabric_chaincode would refuse.
func (r *releaseProposalResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config releaseProposalModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	config.chaincode().validateDefinition(ctx, &resp.Diagnostics)
}

func (r *releaseProposalResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan releaseProposalModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	spec := plan.chaincode().definition(ctx, &resp.Diagnostics)
	spec.Server.Image = plan.Image.ValueString()
	proposer := handleFrom(ctx, plan.Proposer, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	validity := defaultValidity
	if !plan.ValidFor.IsNull() {
		validity = durationOf(plan.ValidFor)
	}
	text, err := f.ProposeRelease(ctx, spec, plan.PackageID.ValueString(), proposer, time.Now().Add(validity))
	if err != nil {
		addError(&resp.Diagnostics, "Unable to propose the release of chaincode "+plan.Name.ValueString(), err)
		return
	}
	plan.take(text, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (m *releaseProposalModel) take(text string, diags *diag.Diagnostics) {
	p, err := signoff.Parse(text)
	if err != nil {
		addError(diags, "Unable to read the proposal that was made", err)
		return
	}
	m.Proposal, m.Digest, m.Sequence = types.StringValue(text), types.StringValue(p.Digest), types.Int64Value(p.Sequence)
	m.ImageID, m.ExpiresAt, m.RecordKey = nullable(p.ImageID), types.StringValue(p.Expires.Format(time.RFC3339)), types.StringValue(p.RecordKey())
}

// Read keeps the state: a proposal is what it was made as, whatever has become of the channel.
func (r *releaseProposalResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {
}

// Update changes timeouts; everything else replaces the proposal.
func (r *releaseProposalResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the proposal; who was given it still has it.
func (r *releaseProposalResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}

// isProposal is the check of a proposal that is handed over.
var isProposal = check{wants: "the proposal of a release", summary: "Not a proposal", problem: func(text string) error {
	_, err := signoff.Parse(text)
	return err
}}

// proposalInput is the attribute that takes a proposal.
func proposalInput(modifiers ...planmodifier.String) schema.StringAttribute {
	return schema.StringAttribute{
		Required:            true,
		MarkdownDescription: "The proposal, as `fabric_release_proposal` gives it.",
		Validators:          []validator.String{isProposal},
		PlanModifiers:       modifiers,
	}
}

// proposalPath is where a fabric_chaincode takes the proposal.
var proposalPath = path.Root("approvals").AtName("proposal")
