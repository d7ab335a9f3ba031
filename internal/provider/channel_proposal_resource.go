package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/objectvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelProposalResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &channelProposalResource{}
	_ resource.ResourceWithModifyPlan     = &channelProposalResource{}
	_ resource.ResourceWithValidateConfig = &channelProposalResource{}
)

func newChannelProposalResource() resource.Resource { return &channelProposalResource{} }

// channelProposalModel is a fabric_channel_proposal.
type channelProposalModel struct {
	accessModel
	factsModel
	ChannelName types.String   `tfsdk:"channel_name"`
	Change      types.Object   `tfsdk:"change"`
	Given       types.String   `tfsdk:"given_update"`
	ValidFor    types.String   `tfsdk:"valid_for"`
	Update      types.String   `tfsdk:"update"`
	Required    types.List     `tfsdk:"required"`
	Timeouts    timeouts.Value `tfsdk:"timeouts"`
}

// channelChangeModel is what is proposed.
type channelChangeModel struct {
	BatchTimeout          types.String `tfsdk:"batch_timeout"`
	MaxMessageCount       types.Int64  `tfsdk:"max_message_count"`
	AbsoluteMaxBytes      types.Int64  `tfsdk:"absolute_max_bytes"`
	PreferredMaxBytes     types.Int64  `tfsdk:"preferred_max_bytes"`
	ChannelCapability     types.String `tfsdk:"channel_capability"`
	ApplicationCapability types.String `tfsdk:"application_capability"`
	ACLs                  types.Map    `tfsdk:"acls"`
	ApplicationPolicies   types.Map    `tfsdk:"application_policies"`
	AddOrganizations      types.Map    `tfsdk:"add_organizations"`
	RemoveOrganizations   types.List   `tfsdk:"remove_organizations"`
	AddOrderers           types.Map    `tfsdk:"add_orderer_organizations"`
	RemoveOrderers        types.List   `tfsdk:"remove_orderer_organizations"`
	OrdererEndpoints      types.Map    `tfsdk:"orderer_endpoints"`
	AddConsenter          types.Object `tfsdk:"add_consenter"`
	RemoveConsenter       types.String `tfsdk:"remove_consenter"`
}

// consenterModel is an ordering node that takes part in the consensus.
type consenterModel struct {
	Address     types.String `tfsdk:"address"`
	Certificate types.String `tfsdk:"tls_certificate"`
}

// ordererOrganizationModel is an organization that runs ordering nodes.
type ordererOrganizationModel struct {
	Definition types.Object `tfsdk:"definition"`
	Endpoints  types.List   `tfsdk:"endpoints"`
}

var (
	definitionType          = types.ObjectType{AttrTypes: definitionTypes}
	ordererOrganizationType = types.ObjectType{AttrTypes: map[string]attr.Type{"definition": definitionType, "endpoints": types.ListType{ElemType: types.StringType}}}
)

func (r *channelProposalResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel_proposal"
}

func (r *channelProposalResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	reader := handleInput("Handle of the `fabric_organization` whose admin reads the channel. It must be given with `orderers`.", network.KindOrganization)
	reader.Required, reader.Optional = false, true
	facts := factAttributes()
	changes, _ := facts["changes"].(schema.ListAttribute)
	changes.MarkdownDescription = "What the update changes, in words."
	facts["changes"] = changes
	access := accessAttributes()
	channel, _ := access["channel"].(schema.ObjectAttribute)
	channel.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	access["channel"] = channel
	resp.Schema = schema.Schema{
		MarkdownDescription: "A config update of a channel that several organizations must sign, as exact bytes. Whoever can read the channel makes it from the configuration that the channel has, and hands `update` to the others: " +
			"they sign it with `fabric_channel_signature`, and one of them submits it with `fabric_channel_submission`. The update holds its base and its expiry, which everybody signs with it. " +
			"A proposal is made once and stays as it is, also after the channel has moved on. To make it anew from the configuration of today: `terraform apply -replace=ADDRESS`. Destroying it changes nothing on the channel.",
		Attributes: merge(access, facts, map[string]schema.Attribute{
			"organization": reader,
			"channel_name": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name of the channel, which must be given with `orderers`. Changing it replaces the proposal.",
				Validators:          []validator.String{check{wants: "a channel name", summary: "Not a channel name", problem: configtx.ValidateChannelName}, stringvalidator.AlsoRequires(path.MatchRoot("orderers"))},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"change": changeAttribute(),
			"given_update": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "An update that another tool made, in place of `change`: a `common.ConfigUpdate` in base64. Its bytes are kept as they are; it has no expiry. Changing it replaces the proposal.",
				Validators:          []validator.String{check{wants: "a config update in base64", summary: "Not a config update", problem: isUpdate}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"valid_for": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How long the update may be signed and submitted, as a duration. Defaults to `168h`, a week. Changing it replaces the proposal.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}, stringvalidator.ConflictsWith(path.MatchRoot("given_update"))},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"update": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The update: a `common.ConfigUpdate` in base64. It is public; hand it to whoever signs.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"required": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "The policies of the channel that the update falls under, each with whose signatures it wants.",
				PlanModifiers:       []planmodifier.List{listplanmodifier.UseStateForUnknown()},
			},
			"timeouts": operationTimeouts(ctx),
		}),
	}
}

// defaultValidity is how long a proposal may be signed when nothing is said.
const defaultValidity = 7 * day

func changeAttribute() schema.SingleNestedAttribute {
	size := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Optional: true, MarkdownDescription: what, Validators: []validator.Int64{int64validator.Between(1, 1<<31)}}
	}
	names := func(what string) schema.ListAttribute {
		return schema.ListAttribute{
			Optional: true, ElementType: types.StringType, MarkdownDescription: what,
			Validators: []validator.List{listvalidator.ValueStringsAre(check{wants: "an MSP ID", summary: "Not an MSP ID", problem: configtx.ValidateMSPID})},
		}
	}
	return schema.SingleNestedAttribute{
		Optional:            true,
		MarkdownDescription: "What to change; what is not named stays as it is. Changing it replaces the proposal. Exactly one of `change` and `given_update` must be given.",
		Validators:          []validator.Object{objectvalidator.ExactlyOneOf(path.MatchRoot("change"), path.MatchRoot("given_update"))},
		PlanModifiers:       []planmodifier.Object{objectplanmodifier.RequiresReplace()},
		Attributes: map[string]schema.Attribute{
			"batch_timeout": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "How long after its first transaction a block is cut, as a duration.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"max_message_count":   size("How many transactions a block may hold."),
			"absolute_max_bytes":  size("How many bytes the transactions of a block may have."),
			"preferred_max_bytes": size("How many bytes the transactions of a block should have."),
			"channel_capability": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Capability of the channel: `V3_0`. Who signs it attests that every node of the own organization can serve it (Fabric 3.0 or later).",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ChannelCapabilityV3_0)},
			},
			"application_capability": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Capability of the application: `V2_5`.",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ApplicationCapabilityV2_5)},
			},
			"acls": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Policies by the resources of peers that they guard, added to those that the channel has or in their place.",
			},
			"application_policies": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Policies of the application by name, added to those that the channel has or in their place.",
				Validators:          []validator.Map{mapvalidator.ValueStringsAre(configPolicy)},
			},
			"add_organizations": schema.MapAttribute{
				Optional: true, ElementType: definitionType,
				MarkdownDescription: "Definitions of organizations that become members, by a name of your choice: `definition` of the partner's `fabric_organization`. A member gets the definition in place of the one that it has.",
			},
			"remove_organizations": names("MSP IDs of members that leave."),
			"add_orderer_organizations": schema.MapAttribute{
				Optional: true, ElementType: ordererOrganizationType,
				MarkdownDescription: "Organizations that run ordering nodes from now on, by a name of your choice: each with its `definition` and the `endpoints` (`host:port`) of its nodes. One that does already gets both in place of those that it has.",
			},
			"remove_orderer_organizations": names("MSP IDs of organizations that run no ordering nodes any more. Their consenters must be gone before."),
			"orderer_endpoints": schema.MapAttribute{
				Optional: true, ElementType: types.ListType{ElemType: types.StringType},
				MarkdownDescription: "Endpoints (`host:port`) of organizations that run ordering nodes, by MSP ID, in place of those that they have.",
			},
			"add_consenter": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "An ordering node that takes part in the consensus from now on. Raft takes one at a time. Its node must have joined the channel and caught up before.",
				Attributes: map[string]schema.Attribute{
					"address": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Address (`host:port`) at which the other ordering nodes reach it.",
						Validators:          []validator.String{hostPort},
					},
					"tls_certificate": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Its TLS certificate, in PEM.",
					},
				},
			},
			"remove_consenter": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Address (`host:port`) of an ordering node that takes no part in the consensus any more.",
				Validators:          []validator.String{hostPort},
			},
		},
	}
}

// ValidateConfig asks for what orderers that were typed by hand need beside them.
func (r *channelProposalResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config channelProposalModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() || config.Orderers.IsNull() || config.Orderers.IsUnknown() {
		return
	}
	if config.ChannelName.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("channel_name"), "No channel", "Ordering nodes serve many channels: name the channel beside orderers.")
	}
	if config.Organization.IsNull() {
		resp.Diagnostics.AddAttributeError(path.Root("organization"), "No organization", "Ordering nodes let members read only: name beside orderers the organization whose admin asks them.")
	}
}

// ModifyPlan refuses definitions that make no MSP, and a change that does not fit the channel as it is. It is
// asked of a new proposal only.
func (r *channelProposalResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || !req.State.Raw.IsNull() {
		return
	}
	var plan channelProposalModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if plan.refuseDefinitions(ctx, &resp.Diagnostics); !resp.Diagnostics.HasError() {
		r.refuseChange(ctx, &plan, &resp.Diagnostics)
	}
}

// refuseChange tries the proposal, with the configuration that the channel has right now. One that cannot be
// tried, because something is not known or nobody answers, holds up no plan: it is made when it is applied.
func (r *channelProposalResource) refuseChange(ctx context.Context, plan *channelProposalModel, diags *diag.Diagnostics) {
	if !known(ctx, plan.Channel, plan.Orderers, plan.Organization, plan.ChannelName, plan.Change, plan.Given, plan.ValidFor) {
		return
	}
	f, err := r.session.open()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, planPatience)
	defer cancel()
	_, err = plan.propose(ctx, f, plan.access(ctx, plan.channel(), diags), diags)
	if errors.As(err, new(*network.ChangeError)) {
		plan.addError(diags, plan.channel(), err)
	}
}

// channel is the name of the channel.
func (m *channelProposalModel) channel() string {
	if !m.Channel.IsNull() {
		return handleMember(m.Channel, "name").ValueString()
	}
	return m.ChannelName.ValueString()
}

func (m *channelProposalModel) refuseDefinitions(ctx context.Context, diags *diag.Diagnostics) {
	if m.Change.IsNull() || m.Change.IsUnknown() {
		return
	}
	var change channelChangeModel
	diags.Append(m.Change.As(ctx, &change, basetypes.ObjectAsOptions{})...)
	at := path.Root("change")
	refuse := func(at path.Path, definition types.Object) {
		if !known(ctx, definition) {
			return
		}
		if err := definitionFrom(ctx, definition, diags).Validate(); err != nil {
			addNested(diags, at, "Definition that makes no MSP", sentence(err))
		}
	}
	for name, element := range change.AddOrganizations.Elements() {
		if definition, ok := element.(types.Object); ok {
			refuse(at.AtName("add_organizations").AtMapKey(name), definition)
		}
	}
	for name, element := range change.AddOrderers.Elements() {
		if organization, ok := element.(types.Object); ok && !organization.IsUnknown() {
			if definition, ok := organization.Attributes()["definition"].(types.Object); ok {
				refuse(at.AtName("add_orderer_organizations").AtMapKey(name).AtName("definition"), definition)
			}
		}
	}
}

// change reads what is proposed.
func (m *channelProposalModel) change(ctx context.Context, diags *diag.Diagnostics) network.ChannelChange {
	var c channelChangeModel
	diags.Append(m.Change.As(ctx, &c, basetypes.ObjectAsOptions{})...)
	timeout, _ := time.ParseDuration(c.BatchTimeout.ValueString()) // the validator has told already; none is zero
	change := network.ChannelChange{
		Batch: configtx.Batch{
			Timeout: timeout, MaxMessageCount: uint32(c.MaxMessageCount.ValueInt64()),
			AbsoluteMaxBytes: uint32(c.AbsoluteMaxBytes.ValueInt64()), PreferredMaxBytes: uint32(c.PreferredMaxBytes.ValueInt64()),
		},
		ChannelCapability: c.ChannelCapability.ValueString(), ApplicationCapability: c.ApplicationCapability.ValueString(),
		ACLs: stringMap(ctx, c.ACLs, diags), ApplicationPolicies: stringMap(ctx, c.ApplicationPolicies, diags),
		RemoveOrganizations: stringList(ctx, c.RemoveOrganizations, diags), RemoveOrdererOrganizations: stringList(ctx, c.RemoveOrderers, diags),
	}
	for _, name := range slices.Sorted(maps.Keys(c.AddOrganizations.Elements())) {
		if definition, ok := c.AddOrganizations.Elements()[name].(types.Object); ok {
			change.SetOrganizations = append(change.SetOrganizations, definitionFrom(ctx, definition, diags))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.AddOrderers.Elements())) {
		var o ordererOrganizationModel
		if organization, ok := c.AddOrderers.Elements()[name].(types.Object); ok {
			diags.Append(organization.As(ctx, &o, basetypes.ObjectAsOptions{})...)
		}
		change.SetOrdererOrganizations = append(change.SetOrdererOrganizations, configtx.OrdererOrganization{
			Definition: definitionFrom(ctx, o.Definition, diags), Endpoints: stringList(ctx, o.Endpoints, diags),
		})
	}
	if !c.OrdererEndpoints.IsNull() {
		diags.Append(c.OrdererEndpoints.ElementsAs(ctx, &change.OrdererEndpoints, false)...)
	}
	if !c.AddConsenter.IsNull() {
		var consenter consenterModel
		diags.Append(c.AddConsenter.As(ctx, &consenter, basetypes.ObjectAsOptions{})...)
		address := addressOf(consenter.Address)
		change.AddConsenter = &configtx.Consenter{
			Host: address.Host, Port: address.Port, ClientTLSCertPEM: consenter.Certificate.ValueString(), ServerTLSCertPEM: consenter.Certificate.ValueString(),
		}
	}
	if !c.RemoveConsenter.IsNull() {
		address := addressOf(c.RemoveConsenter)
		change.RemoveConsenter = &address
	}
	return change
}

// addressOf reads host:port, which a validator has looked at.
func addressOf(text types.String) configtx.Address {
	host, port, _ := net.SplitHostPort(text.ValueString())
	number, _ := strconv.Atoi(port)
	return configtx.Address{Host: host, Port: number}
}

func (r *channelProposalResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan channelProposalModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	name := plan.channel()
	access := plan.access(ctx, name, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	proposal, err := plan.propose(ctx, f, access, &resp.Diagnostics)
	if err != nil {
		plan.addError(&resp.Diagnostics, name, err)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	plan.merge(ctx, proposal, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// propose makes the update, or looks at the one that was given.
func (m *channelProposalModel) propose(ctx context.Context, f *network.Fabric, access network.ChannelAccess, diags *diag.Diagnostics) (network.Proposal, error) {
	if !m.Given.IsNull() {
		update, err := readUpdate(m.Given.ValueString())
		if err != nil {
			return network.Proposal{}, err
		}
		return f.Examine(ctx, access, update)
	}
	validity := defaultValidity
	if !m.ValidFor.IsNull() {
		validity, _ = time.ParseDuration(m.ValidFor.ValueString()) // the validator has told already
	}
	change := m.change(ctx, diags)
	if diags.HasError() {
		return network.Proposal{}, nil
	}
	return f.Propose(ctx, access, change, time.Now().Add(validity))
}

func (m *channelProposalModel) merge(ctx context.Context, p network.Proposal, diags *diag.Diagnostics) {
	m.Update = types.StringValue(base64.StdEncoding.EncodeToString(p.Update))
	update, err := network.ReadUpdate(p.Update)
	if err != nil {
		addError(diags, "Unable to read the update that was made", err)
		return
	}
	update.Writes = p.Changes
	m.take(ctx, update, diags)
	m.BaseSequence = types.Int64Value(int64(p.Base)) // known of an update without terms too
	required, d := types.ListValueFrom(ctx, types.StringType, p.Required)
	diags.Append(d...)
	m.Required = required
}

// addError names the attribute where it is known.
func (m *channelProposalModel) addError(diags *diag.Diagnostics, channel string, err error) {
	summary := fmt.Sprintf("Unable to propose the change of channel %s", channel)
	at := path.Root("change")
	if !m.Given.IsNull() {
		at = path.Root("given_update")
	}
	invalid := new(configtx.InvalidError)
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			diags.AddAttributeError(at, summary+": "+p.Field, sentence(errors.New(p.Reason)))
		}
	case errors.As(err, new(*network.ChangeError)):
		diags.AddAttributeError(at, summary, explain(err))
	default:
		addError(diags, summary, err)
	}
}

// Read keeps the state: a proposal is what it was made as, whatever has become of the channel.
func (r *channelProposalResource) Read(context.Context, resource.ReadRequest, *resource.ReadResponse) {
}

// Update changes how the channel is reached; everything else replaces the proposal.
func (r *channelProposalResource) Update(_ context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.State.Raw = req.Plan.Raw
}

// Delete forgets the proposal; who was given it still has it.
func (r *channelProposalResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}
