package provider

import (
	"context"
	"math"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type commitReadinessDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &commitReadinessDataSource{}

func newCommitReadinessDataSource() datasource.DataSource { return &commitReadinessDataSource{} }

// commitReadinessModel is the data source fabric_commit_readiness.
type commitReadinessModel struct {
	Channel           types.Object `tfsdk:"channel"`
	Name              types.String `tfsdk:"name"`
	Version           types.String `tfsdk:"version"`
	Sequence          types.Int64  `tfsdk:"sequence"`
	EndorsementPolicy types.String `tfsdk:"endorsement_policy"`
	InitRequired      types.Bool   `tfsdk:"init_required"`
	Collections       types.Map    `tfsdk:"collections"`
	Committed         types.Bool   `tfsdk:"committed"`
	Ready             types.Bool   `tfsdk:"ready"`
	Rule              types.String `tfsdk:"rule"`
	Approvals         types.Map    `tfsdk:"approvals"`
	Missing           types.List   `tfsdk:"missing"`
	Mismatches        types.Map    `tfsdk:"mismatches"`
}

func (d *commitReadinessDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_commit_readiness"
}

func (d *commitReadinessDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	count := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Optional: true, MarkdownDescription: what, Validators: []validator.Int64{int64validator.Between(0, math.MaxInt32)}}
	}
	flag := func(what string) schema.BoolAttribute {
		return schema.BoolAttribute{Optional: true, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Who has approved a chaincode definition, and who is missing before it can be committed. Organizations count that approved exactly this definition: Fabric compares byte by byte, so write policies and collections as they do." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"channel": handleArgument("Handle of the `fabric_channel`, or of a `fabric_channel_membership` in it.", network.KindChannel, network.KindChannelMembership),
			"name": schema.StringAttribute{
				Required: true, MarkdownDescription: "Name of the chaincode.",
				Validators: []validator.String{check{wants: "a chaincode name", summary: "Not a chaincode name", problem: lifecycle.ValidateName}},
			},
			"version": schema.StringAttribute{
				Required: true, MarkdownDescription: "Version of the definition.",
				Validators: []validator.String{check{wants: "a chaincode version", summary: "Not a chaincode version", problem: lifecycle.ValidateVersion}},
			},
			"sequence": schema.Int64Attribute{
				Optional: true, Computed: true, MarkdownDescription: "Sequence of the definition. Defaults to the one in force, where that means the same, and to the next one otherwise.",
				Validators: []validator.Int64{int64validator.AtLeast(1)},
			},
			"endorsement_policy": schema.StringAttribute{Optional: true, MarkdownDescription: "Endorsement policy, as in `fabric_chaincode`.", Validators: []validator.String{endorsementPolicyCheck}},
			"init_required":      flag("Whether an initialising call is required. Defaults to `false`."),
			"collections": schema.MapNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Private data collections by name, as in `fabric_chaincode`.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"member_policy":       schema.StringAttribute{Required: true, MarkdownDescription: "Who may hold the data.", Validators: []validator.String{memberPolicyCheck}},
					"endorsement_policy":  schema.StringAttribute{Optional: true, MarkdownDescription: "Endorsement policy of writes to the collection.", Validators: []validator.String{endorsementPolicyCheck}},
					"required_peer_count": count("How many other peers must have received the data. Defaults to 0."),
					"max_peer_count":      count("How many other peers the data is sent to. Defaults to 0."),
					"block_to_live":       count("After how many blocks the data is purged; 0, the default, keeps it."),
					"member_only_read":    flag("Only clients of members may read. Defaults to `false`."),
					"member_only_write":   flag("Only clients of members may write. Defaults to `false`."),
				}},
			},
			"committed": schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the definition is in force."},
			"ready":     schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether those who approved suffice for a commit by `rule`, or the definition is in force."},
			"rule":      schema.StringAttribute{Computed: true, MarkdownDescription: "The channel's policy `LifecycleEndorsement`, such as `MAJORITY Endorsement`; null when the definition is in force."},
			"approvals": schema.MapAttribute{
				Computed: true, ElementType: types.BoolType,
				MarkdownDescription: "By MSP ID, whether the organization has approved exactly this definition.",
			},
			"missing": schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "MSP IDs of the organizations that have not, sorted."},
			"mismatches": schema.MapAttribute{
				Computed: true, ElementType: types.ListType{ElemType: types.StringType},
				MarkdownDescription: "By MSP ID, in which fields an organization approved something else. Only peers from Fabric 3.1 on tell; it is empty otherwise.",
			},
		},
	}
}

func (d *commitReadinessDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model commitReadinessModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	spec := (&chaincodeModel{
		Channel: model.Channel, Name: model.Name, Version: model.Version, EndorsementPolicy: model.EndorsementPolicy,
		InitRequired: model.InitRequired, Collections: model.Collections,
	}).definition(ctx, &resp.Diagnostics)
	spec.Sequence = model.Sequence.ValueInt64()
	if resp.Diagnostics.HasError() {
		return
	}
	readiness, err := f.CommitReadiness(ctx, spec)
	if err != nil {
		argument := "channel"
		if lifecycle.ClassOf(err) == lifecycle.ClassOutOfStep {
			argument = "sequence"
		}
		addReadError(&resp.Diagnostics, argument, "Unable to read who approved chaincode "+spec.Name, err)
		return
	}
	model.Sequence, model.Committed, model.Ready = types.Int64Value(readiness.Sequence), types.BoolValue(readiness.Committed), types.BoolValue(readiness.Ready)
	model.Rule, model.Missing = nullable(readiness.Rule), texts(ctx, readiness.Missing(), &resp.Diagnostics)
	model.Approvals = valuesByName(ctx, types.BoolType, readiness.Approvals, &resp.Diagnostics)
	model.Mismatches = valuesByName(ctx, types.ListType{ElemType: types.StringType}, readiness.Mismatches, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}
