package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &channelResource{}
	_ resource.ResourceWithImportState    = &channelResource{}
	_ resource.ResourceWithModifyPlan     = &channelResource{}
	_ resource.ResourceWithValidateConfig = &channelResource{}
)

func newChannelResource() resource.Resource { return &channelResource{} }

// channelModel is a fabric_channel.
type channelModel struct {
	Name                  types.String   `tfsdk:"name"`
	Orderers              types.Object   `tfsdk:"orderers"`
	Organizations         types.Map      `tfsdk:"organizations"`
	AnchorPeers           types.Map      `tfsdk:"anchor_peers"`
	BatchTimeout          types.String   `tfsdk:"batch_timeout"`
	MaxMessageCount       types.Int64    `tfsdk:"max_message_count"`
	AbsoluteMaxBytes      types.Int64    `tfsdk:"absolute_max_bytes"`
	PreferredMaxBytes     types.Int64    `tfsdk:"preferred_max_bytes"`
	ChannelCapability     types.String   `tfsdk:"channel_capability"`
	ApplicationCapability types.String   `tfsdk:"application_capability"`
	ACLs                  types.Map      `tfsdk:"acls"`
	ApplicationPolicies   types.Map      `tfsdk:"application_policies"`
	SelfManaged           types.Set      `tfsdk:"self_managed_organizations"`
	CapabilityAttestation types.String   `tfsdk:"capability_attestation"`
	JoinFrom              types.String   `tfsdk:"join_from"`
	DeletionProtection    types.Bool     `tfsdk:"deletion_protection"`
	AcceptDataLoss        types.Bool     `tfsdk:"accept_data_loss"`
	Status                types.String   `tfsdk:"status"`
	LastChange            types.List     `tfsdk:"last_change"`
	Handle                types.Object   `tfsdk:"handle"`
	Timeouts              timeouts.Value `tfsdk:"timeouts"`
}

// channelOrganizationModel is a member of a channel.
type channelOrganizationModel struct {
	Organization types.Object `tfsdk:"organization"`
	Definition   types.Object `tfsdk:"definition"`
	Peers        types.Map    `tfsdk:"peers"`
}

var channelOrganizationType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"organization": handleType, "definition": types.ObjectType{AttrTypes: definitionTypes}, "peers": types.MapType{ElemType: handleType},
}}

const channelHolds = "its blocks on every node"

// What status says of a channel, beside statusLost.
const (
	channelActive     = "active"
	channelUnrecorded = "unrecorded"
)

func (r *channelResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel"
}

func (r *channelResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	orderers := handleInput("Handle of the `fabric_orderer_cluster` that orders the channel. Changing it replaces the channel.", network.KindOrdererCluster)
	orderers.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	size := func(what string, value int64) schema.Int64Attribute {
		return schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(value),
			MarkdownDescription: fmt.Sprintf("%s Defaults to %d.", what, value),
			Validators:          []validator.Int64{int64validator.Between(1, 1<<31)},
		}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "An application channel. It is created as a whole or not at all: the genesis block, with the anchor peers in it, is kept on the engine before the first node joins; ordering nodes and peers join; a leader is awaited. " +
			"A create that fails goes on until its timeout, and then takes everything back. A running channel is changed by config updates, which the admins whose keys are on the engine sign: those of the organizations here and of the ordering cluster. What somebody else changed on the channel shows as drift.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Channel name: lower-case letters, digits, `.` and `-`, beginning with a letter. Changing it replaces the channel.",
				Validators:          []validator.String{check{wants: "a channel name", summary: "Not a channel name", problem: configtx.ValidateChannelName}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"orderers": orderers,
			"organizations": schema.MapAttribute{
				Required: true, ElementType: channelOrganizationType,
				MarkdownDescription: "Members of the channel by a name of your choice. Each has the `organization` (the handle of a `fabric_organization`), its `definition`, and `peers`: handles of the `fabric_peer`s that join, by name. Organizations and peers can be added and taken out later.",
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1), channelMembers{}},
			},
			"anchor_peers": schema.MapAttribute{
				Optional: true, ElementType: types.ListType{ElemType: types.StringType},
				MarkdownDescription: "Names of the peers, by organization, that peers of other organizations contact first. Defaults to the first peer of each organization.",
			},
			"self_managed_organizations": schema.SetAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Names of organizations whose own states keep their definition and anchor peers (`fabric_channel_membership`). The channel takes them in with the `definition` given here, and then leaves both alone.",
			},
			"join_from": joinFrom(),
			"batch_timeout": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("2s"),
				MarkdownDescription: "How long after its first transaction a block is cut, as a duration. Defaults to `2s`. SmartBFT does not look at it, but at `request_batch_max_interval` of the ordering cluster.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"max_message_count":   size("How many transactions a block may hold.", int64(configtx.DefaultBatch().MaxMessageCount)),
			"absolute_max_bytes":  size("How many bytes the transactions of a block may have.", int64(configtx.DefaultBatch().AbsoluteMaxBytes)),
			"preferred_max_bytes": size("How many bytes the transactions of a block should have.", int64(configtx.DefaultBatch().PreferredMaxBytes)),
			"channel_capability": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Capability of the channel: `V2_0`, or `V3_0`, which every node of every member must be able to serve (Fabric 3.0 or later). Defaults to `V2_0` for a new channel ordered by Raft, and to `V3_0`, which SmartBFT needs, for one ordered by it; a channel that is there keeps what it has. `fabric_version` never raises it, and nothing lowers it.",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ChannelCapabilityV2_0, configtx.ChannelCapabilityV3_0)},
			},
			"capability_attestation": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "`V3_0` attests that every node of every member can serve that capability: those of other organizations cannot be looked at from here. A running channel is raised to `V3_0` only with it.",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ChannelCapabilityV3_0)},
			},
			"application_capability": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(configtx.ApplicationCapabilityV2_5),
				MarkdownDescription: "Capability of the application: `V2_5` (default) or `V2_0`.",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ApplicationCapabilityV2_5, configtx.ApplicationCapabilityV2_0)},
			},
			"acls": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Policies that guard resources of peers, for example `{ \"peer/Propose\" = \"/Channel/Application/Writers\" }`. What is not here keeps Fabric's default.",
			},
			"application_policies": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Policies of the application by name, for example `{ LifecycleEndorsement = \"ANY Endorsement\" }`. They are added to Fabric's defaults or replace them.",
				Validators:          []validator.Map{mapvalidator.ValueStringsAre(configPolicy)},
			},
			"deletion_protection": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Refuse to destroy or replace the channel. Defaults to `true`.",
			},
			"accept_data_loss": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Make the channel anew when its ordering nodes have lost it, although peers still hold its blocks: they lose them, and its chaincodes are released again by the apply after that. Defaults to `false`.",
			},
			"status": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "`active`; `lost` when no ordering node has the channel any more while peers hold blocks of it; `unrecorded` when the volume is gone that names its members, which the next apply makes again.",
			},
			"last_change": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What the last change of the channel did, in words, each with the policy that it fell under. The plan shows it beforehand.",
			},
			"handle":   handleOutput("channel"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// What join_from may be.
const (
	joinFromGenesis  = "genesis"
	joinFromSnapshot = "snapshot"
)

// joinFrom says how peers join a channel that has blocks.
func joinFrom() schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true,
		MarkdownDescription: "What a peer begins with that joins when the channel has blocks already: `genesis` (default), its first block, so that the peer builds up the state from all blocks; or `snapshot`, the state as a peer that has the channel hands it over, one of the same organization where there is one, so that a long ledger takes minutes. " +
			"A peer that began with a snapshot has no blocks from before it and no history of keys, and gets private data from other peers. The one that hands the snapshot over commits no blocks while it writes it, and has room for it.",
		Validators: []validator.String{stringvalidator.OneOf(joinFromGenesis, joinFromSnapshot)},
	}
}

// configPolicy holds a text to being a policy of a channel.
var configPolicy = check{wants: "a policy of a channel", summary: "Policy that does not parse", problem: func(text string) error {
	_, err := policy.ParseConfigPolicy(text)
	return err
}}

func positiveDuration(s string) error {
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("the duration must be positive")
	}
	return err
}

// channelMembers checks the handles in a map of organizations as far as they are known.
type channelMembers struct{}

func (channelMembers) Description(context.Context) string {
	return "organizations with peers of their own"
}
func (v channelMembers) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (channelMembers) ValidateMap(ctx context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	elements := req.ConfigValue.Elements()
	organizations, joined := map[string]string{}, map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(elements)) {
		object, ok := elements[key].(types.Object)
		if !ok || object.IsNull() || object.IsUnknown() {
			continue
		}
		at := req.Path.AtMapKey(key)
		organization, _ := object.Attributes()["organization"].(types.Object)
		if err := (handleKind{[]network.Kind{network.KindOrganization}}).check(ctx, organization); err != nil {
			addNested(&resp.Diagnostics, at.AtName("organization"), "Wrong kind of handle", sentence(err))
		}
		mspID := handleMember(organization, "msp_id")
		once(at.AtName("organization"), "organization", mspID, key, organizations, &resp.Diagnostics)
		if definition, ok := object.Attributes()["definition"].(types.Object); ok {
			sameMSP(at.AtName("definition"), "definition", mspID, handleMember(definition, "msp_id"), &resp.Diagnostics)
		}
		peers, _ := object.Attributes()["peers"].(types.Map)
		for _, name := range slices.Sorted(maps.Keys(peers.Elements())) {
			peer, ok := peers.Elements()[name].(types.Object)
			if !ok {
				continue
			}
			at := at.AtName("peers").AtMapKey(name)
			if err := (handleKind{[]network.Kind{network.KindPeer}}).check(ctx, peer); err != nil {
				addNested(&resp.Diagnostics, at, "Wrong kind of handle", sentence(err))
			}
			sameMSP(at, "peer", mspID, handleMember(peer, "msp_id"), &resp.Diagnostics)
			once(at, "peer", handleMember(peer, "name"), key+"."+name, joined, &resp.Diagnostics)
		}
	}
}

// addNested reports an error inside a map, and says where: Terraform shows the place of a whole
// attribute only.
func addNested(diags *diag.Diagnostics, at path.Path, summary, detail string) {
	diags.AddAttributeError(at, summary, "At "+at.String()+": "+detail)
}

// once refuses what is in a channel by two names.
func once(at path.Path, what string, value types.String, name string, seen map[string]string, diags *diag.Diagnostics) {
	if value.ValueString() == "" {
		return
	}
	if other, ok := seen[value.ValueString()]; ok {
		addNested(diags, at, "Twice in the channel", fmt.Sprintf("The %s %s is in the channel as %s already. Keep one of the two.", what, value.ValueString(), other))
		return
	}
	seen[value.ValueString()] = name
}

// sameMSP refuses what belongs to another organization.
func sameMSP(at path.Path, what string, organization, other types.String, diags *diag.Diagnostics) {
	if organization.ValueString() == "" || other.ValueString() == "" || organization.Equal(other) {
		return
	}
	addNested(diags, at, "Another organization's", fmt.Sprintf("The %s belongs to %s, and the organization is %s.", what, other.ValueString(), organization.ValueString()))
}

// ValidateConfig refuses anchor peers that are not in the channel.
func (r *channelResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config channelModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() || config.Organizations.IsUnknown() {
		return
	}
	config.refuseStrangers(ctx, &resp.Diagnostics)
	organizations := config.Organizations.Elements()
	for _, key := range slices.Sorted(maps.Keys(config.AnchorPeers.Elements())) {
		at := path.Root("anchor_peers").AtMapKey(key)
		element, ok := organizations[key]
		if !ok {
			addNested(&resp.Diagnostics, at, "Unknown organization", fmt.Sprintf("There is no organization %q in organizations: the keys of both maps must be the same.", key))
			continue
		}
		organization, _ := element.(types.Object)
		peers, _ := organization.Attributes()["peers"].(types.Map)
		names, _ := config.AnchorPeers.Elements()[key].(types.List)
		if organization.IsUnknown() || peers.IsUnknown() {
			continue
		}
		for i, value := range names.Elements() {
			name, _ := value.(types.String)
			if _, ok := peers.Elements()[name.ValueString()]; !ok && !name.IsUnknown() {
				addNested(&resp.Diagnostics, at.AtListIndex(i), "Unknown anchor peer",
					fmt.Sprintf("There is no peer %q among the peers of %s, which are: %s.", name.ValueString(), key, strings.Join(slices.Sorted(maps.Keys(peers.Elements())), ", ")))
			}
		}
	}
}

// ModifyPlan computes the handle and says what a change comes to. It refuses what a channel cannot
// have, and what nobody here can sign.
func (r *channelResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan, config channelModel
	exists := !req.State.Raw.IsNull()
	if exists {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		prior.protect(ctx, req.Private, &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if config.ChannelCapability.IsNull() {
		// What a new channel needs is up to its cluster, which a plan of this resource alone is told nothing of.
		if plan.ChannelCapability = types.StringUnknown(); exists && !changed(prior.Name, plan.Name, prior.Orderers, plan.Orderers) {
			plan.ChannelCapability = prior.ChannelCapability
		}
	}
	plan.Handle = planHandle(ctx, plan.Orderers, network.KindChannel, plan.Name, types.StringNull(), &resp.Diagnostics)
	plan.Status = types.StringValue(channelActive)
	if exists {
		plan.keepMeaning(ctx, &prior)
	}
	r.session.claims.capabilityServed(plan.ChannelCapability, plan.Orderers, plan.members(ctx, &resp.Diagnostics), &resp.Diagnostics)
	plan.refuseConfig(ctx, r.session.claims.consensusOf(plan.Orderers), &resp.Diagnostics)
	r.session.claims.orderersFirst(plan.Orderers, plan.members(ctx, &resp.Diagnostics), &resp.Diagnostics)
	r.session.claims.members(plan.Handle, plan.plannedMembers(ctx, &resp.Diagnostics))
	plan.LastChange = types.ListNull(types.StringType)
	switch {
	case !exists:
	case changed(prior.Name, plan.Name, prior.Orderers, plan.Orderers):
		prior.protect(ctx, req.Private, &resp.Diagnostics)
	default:
		plan.refuseRaise(&prior, &resp.Diagnostics)
		plan.refuseLowering(&prior, &resp.Diagnostics)
		plan.refuseLoss(&prior, &resp.Diagnostics)
		if !resp.Diagnostics.HasError() {
			rejoining := r.session.claims.nodesMade(plan.peersOf(ctx, &prior, &resp.Diagnostics))
			plan.planChange(ctx, &prior, rejoining, req.Private, &resp.Diagnostics)
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

// keepMeaning keeps the prior text of what only changed its spelling.
func (m *channelModel) keepMeaning(ctx context.Context, prior *channelModel) {
	before, err := time.ParseDuration(prior.BatchTimeout.ValueString())
	if now, nowErr := time.ParseDuration(m.BatchTimeout.ValueString()); err == nil && nowErr == nil && before == now {
		m.BatchTimeout = prior.BatchTimeout
	}
	if !known(ctx, m.ApplicationPolicies) || m.ApplicationPolicies.IsNull() || prior.ApplicationPolicies.IsNull() {
		return
	}
	var diags diag.Diagnostics // validators have told already
	same := maps.EqualFunc(stringMap(ctx, prior.ApplicationPolicies, &diags), stringMap(ctx, m.ApplicationPolicies, &diags), samePolicy)
	if same {
		m.ApplicationPolicies = prior.ApplicationPolicies
	}
}

// refuseLoss refuses to make a channel anew over what peers still hold of it.
func (m *channelModel) refuseLoss(prior *channelModel, diags *diag.Diagnostics) {
	if prior.Status.ValueString() != statusLost || m.AcceptDataLoss.IsUnknown() {
		return
	}
	if !m.AcceptDataLoss.ValueBool() {
		diags.AddAttributeError(path.Root("accept_data_loss"), "The ordering nodes have lost the channel",
			"No ordering node has this channel any more, while peers hold blocks of it. Restore the volumes of the ordering nodes, or set accept_data_loss = true to make the channel anew: the peers then lose its ledger. To forget the channel instead: terraform state rm ADDRESS.")
		return
	}
	diags.AddAttributeWarning(path.Root("accept_data_loss"), "The channel will be made anew",
		"Its peers lose the ledger that they have of it. Its chaincodes are not on the new one: the plan after this apply releases them again.")
}

// refuseConfig refuses a configuration that Fabric would refuse, as far as it is known.
func (m *channelModel) refuseConfig(ctx context.Context, consensus string, diags *diag.Diagnostics) {
	if !known(ctx, m.BatchTimeout, m.MaxMessageCount, m.AbsoluteMaxBytes, m.PreferredMaxBytes, m.ApplicationCapability, m.ACLs, m.ApplicationPolicies) {
		return
	}
	var unreadable diag.Diagnostics // validators have told already
	channel := m.config(ctx, &unreadable)
	if unreadable.HasError() {
		return
	}
	if consensus == consensusBFT {
		channel.Consensus = configtx.ConsensusBFT
		if m.ChannelCapability.IsUnknown() {
			channel.ChannelCapability = configtx.ChannelCapabilityV3_0
		}
	}
	// Policies and ACLs are held to the organizations, where those are known.
	orderers := handleMember(m.Orderers, "msp_id")
	whole := !m.Organizations.IsUnknown() && !orderers.IsUnknown()
	channel.OrdererOrganizations = make([]configtx.OrdererOrganization, 1)
	channel.OrdererOrganizations[0].Definition.ID = orderers.ValueString()
	for _, o := range m.members(ctx, diags) {
		id := handleMember(o.Organization, "msp_id")
		whole = whole && !id.IsUnknown() && !id.IsNull()
		organization := configtx.ApplicationOrganization{}
		organization.Definition.ID = id.ValueString()
		channel.ApplicationOrganizations = append(channel.ApplicationOrganizations, organization)
	}
	invalid := new(configtx.InvalidError)
	if !errors.As(channel.Validate(), &invalid) {
		return
	}
	for _, p := range invalid.Problems {
		at := channelAttribute(p.Field)
		name := at.String()
		if strings.HasPrefix(name, "organizations") || strings.HasPrefix(name, "orderers") || name == "name" {
			continue // their nodes and definitions are looked at when the channel is made
		}
		if whole || !strings.HasPrefix(name, "acls") && !strings.HasPrefix(name, "application_policies") {
			diags.AddAttributeError(at, "Channel configuration refused", sentence(errors.New(p.Reason)))
		}
	}
}

// known tells whether values are known, with everything in them.
func known(ctx context.Context, values ...attr.Value) bool {
	for _, v := range values {
		raw, err := v.ToTerraformValue(ctx)
		if err != nil || !raw.IsFullyKnown() {
			return false
		}
	}
	return true
}

// channelAttribute gives the attribute that a field of configtx.Channel comes from.
func channelAttribute(field string) path.Path {
	head, rest, indexed := strings.Cut(field, "[")
	key, _, _ := strings.Cut(rest, "]")
	switch head {
	case "acls", "application_policies":
		if indexed {
			return path.Root(head).AtMapKey(key)
		}
		return path.Root(head)
	case "batch.timeout":
		return path.Root("batch_timeout")
	case "batch.preferred_max_bytes", "batch.absolute_max_bytes", "batch.max_message_count":
		return path.Root(strings.TrimPrefix(head, "batch."))
	case "name", "channel_capability", "application_capability":
		return path.Root(head)
	case "application_organizations":
		return path.Root("organizations")
	}
	return path.Root("orderers")
}

func (m *channelModel) protect(ctx context.Context, private privateState, diags *diag.Diagnostics) {
	(&runModel{DeletionProtection: m.DeletionProtection}).protect(ctx, private, "channel", channelHolds, diags)
}

func (m *channelModel) members(ctx context.Context, diags *diag.Diagnostics) map[string]channelOrganizationModel {
	out := map[string]channelOrganizationModel{}
	for key, element := range m.Organizations.Elements() {
		var o channelOrganizationModel
		if object, ok := element.(types.Object); ok && !object.IsNull() && !object.IsUnknown() {
			diags.Append(object.As(ctx, &o, basetypes.ObjectAsOptions{})...)
		}
		out[key] = o
	}
	return out
}

// peersOf gives the handles of the peers that the channel has before and after.
func (m *channelModel) peersOf(ctx context.Context, prior *channelModel, diags *diag.Diagnostics) []types.Object {
	var out []types.Object
	before, now := prior.members(ctx, diags), m.members(ctx, diags)
	for _, key := range slices.Sorted(maps.Keys(now)) {
		was, is := before[key].Peers.Elements(), now[key].Peers.Elements()
		for _, name := range slices.Sorted(maps.Keys(is)) {
			if handle, ok := is[name].(types.Object); ok && was[name] != nil && handle.Equal(was[name]) {
				out = append(out, handle)
			}
		}
	}
	return out
}

// plannedMembers is what chaincodes of the channel have to know of its members; nil while that is unknown.
func (m *channelModel) plannedMembers(ctx context.Context, diags *diag.Diagnostics) *network.ChannelMembers {
	if m.Organizations.IsUnknown() || m.ApplicationPolicies.IsUnknown() {
		return nil
	}
	members := &network.ChannelMembers{Peers: map[string]int{}}
	for name := range m.ApplicationPolicies.Elements() {
		members.Policies = append(members.Policies, name)
	}
	for _, o := range m.members(ctx, diags) {
		mspID := handleMember(o.Organization, "msp_id")
		if mspID.IsUnknown() || mspID.IsNull() || o.Peers.IsUnknown() {
			return nil
		}
		members.Peers[mspID.ValueString()] = len(o.Peers.Elements())
	}
	return members
}

// config reads what the channel configuration takes from the attributes alone.
func (m *channelModel) config(ctx context.Context, diags *diag.Diagnostics) configtx.Channel {
	timeout, err := time.ParseDuration(m.BatchTimeout.ValueString())
	if err != nil {
		diags.AddAttributeError(path.Root("batch_timeout"), "Not a duration", sentence(err))
	}
	return configtx.Channel{
		ChannelCapability: m.ChannelCapability.ValueString(), ApplicationCapability: m.ApplicationCapability.ValueString(),
		Batch: configtx.Batch{
			Timeout: timeout, MaxMessageCount: uint32(m.MaxMessageCount.ValueInt64()),
			AbsoluteMaxBytes: uint32(m.AbsoluteMaxBytes.ValueInt64()), PreferredMaxBytes: uint32(m.PreferredMaxBytes.ValueInt64()),
		},
		ACLs: stringMap(ctx, m.ACLs, diags), ApplicationPolicies: stringMap(ctx, m.ApplicationPolicies, diags),
	}
}

func (m *channelModel) spec(ctx context.Context, diags *diag.Diagnostics) network.ChannelSpec {
	orderers := handleFrom(ctx, m.Orderers, diags)
	anchors := map[string][]string{}
	if !m.AnchorPeers.IsNull() {
		diags.Append(m.AnchorPeers.ElementsAs(ctx, &anchors, false)...)
	}
	spec := network.ChannelSpec{
		Handle: orderers.With(network.KindChannel, m.Name.ValueString(), ""), Orderers: orderers,
		Organizations: map[string]network.ChannelOrganization{}, Config: m.config(ctx, diags), AcceptDataLoss: m.AcceptDataLoss.ValueBool(),
		FromSnapshot: m.JoinFrom.ValueString() == joinFromSnapshot,
	}
	selfManaged := m.selfManaged()
	for key, o := range m.members(ctx, diags) {
		member := network.ChannelOrganization{
			Organization: handleFrom(ctx, o.Organization, diags), Definition: definitionFrom(ctx, o.Definition, diags),
			AnchorPeers: anchors[key], SelfManaged: selfManaged[key],
		}
		for name, element := range o.Peers.Elements() {
			if object, ok := element.(types.Object); ok {
				if member.Peers == nil {
					member.Peers = map[string]network.Handle{}
				}
				member.Peers[name] = handleFrom(ctx, object, diags)
			}
		}
		spec.Organizations[key] = member
	}
	return spec
}

func (r *channelResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan channelModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	if plan.ChannelCapability.IsUnknown() {
		capability, err := f.ChannelCapability(ctx, handleFrom(ctx, plan.Orderers, &resp.Diagnostics))
		if err != nil {
			plan.addError(&resp.Diagnostics, "create", err)
			return
		}
		plan.ChannelCapability = types.StringValue(capability)
	}
	spec := plan.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.PreflightChannel(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "create", err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("channel_capability"), plan.ChannelCapability)...)
	if err := f.CreateChannel(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "create", err)
		if errors.As(err, new(*network.NotMadeError)) { // nothing of it is there that state would have to hold
			resp.State.RemoveResource(ctx)
		}
		return
	}
	beginProtection(ctx, resp.Private, &resp.Diagnostics)
	r.lookBack(ctx, f, spec, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// lookBack keeps what the next plan rests on. When the nodes do not give it, the next Read will.
func (r *channelResource) lookBack(ctx context.Context, f *network.Fabric, spec network.ChannelSpec, private privateStateWriter, diags *diag.Diagnostics) {
	if basis, err := f.ReadChannelBasis(ctx, spec); err == nil {
		rememberBasis(ctx, private, basis, diags)
	}
}

// addError names the attribute where it is known.
func (m *channelModel) addError(diags *diag.Diagnostics, action string, err error) {
	summary := "Unable to " + action + " channel " + m.Name.ValueString()
	invalid, recorded, lost, capability := new(configtx.InvalidError), new(network.RecordedError), new(network.LostChannelError), new(network.CapabilityError)
	switch {
	case errors.As(err, &invalid):
		for _, p := range invalid.Problems {
			diags.AddAttributeError(channelAttribute(p.Field), summary, sentence(fmt.Errorf("%s: %s", p.Field, p.Reason)))
		}
	case errors.As(err, &recorded):
		diags.AddAttributeError(path.Root("name"), summary, sentence(err)+
			"\n\nGo back to the configuration that it was made from, or choose another name. To manage or destroy it as it is, import it: terraform import ADDRESS NETWORK/"+m.Name.ValueString())
	case errors.As(err, &lost):
		diags.AddAttributeError(path.Root("accept_data_loss"), summary, explain(err))
	case errors.As(err, &capability):
		diags.AddAttributeError(path.Root("channel_capability"), summary, sentence(err)+"\n\nUse V2_0, which SmartBFT cannot, or another fabric_version for that node.")
	default:
		addError(diags, summary, err)
	}
}

func (r *channelResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state channelModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := state.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
	unanswered := errors.As(err, new(*network.UnansweredError))
	if unanswered {
		resp.Diagnostics.AddWarning("Channel "+state.Name.ValueString()+" could not be read as a whole",
			explain(err)+"\n\nWhat the state holds of it is kept.")
	} else if err != nil {
		state.addError(&resp.Diagnostics, "read", err)
		return
	}
	if found.Absent {
		resp.State.RemoveResource(ctx)
		return
	}
	for _, name := range found.Without {
		resp.Diagnostics.AddWarning("Ordering node "+name+" does not have channel "+state.Name.ValueString(),
			"The others have it. A consenter that lost its volume must not begin with an empty one under its old identity: take it out of the cluster, and add another one.")
	}
	switch {
	case found.Lost:
		state.Status = types.StringValue(statusLost)
	case found.Unrecorded:
		state.Status = types.StringValue(channelUnrecorded)
	case !unanswered || state.Status.IsNull():
		state.Status = types.StringValue(channelActive)
	}
	state.drop(ctx, found, &resp.Diagnostics)
	if state.Status.ValueString() != statusLost {
		r.readConfiguration(ctx, f, &state, spec, resp.Private, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// readConfiguration takes the channel's configuration into the state. Nodes that do not give it leave
// the state as it is.
func (r *channelResource) readConfiguration(ctx context.Context, f *network.Fabric, state *channelModel, spec network.ChannelSpec, private privateStateWriter, diags *diag.Diagnostics) {
	basis, err := f.ReadChannelBasis(ctx, spec)
	if err != nil {
		diags.AddWarning("The configuration of channel "+state.Name.ValueString()+" could not be read", explain(err)+"\n\nWhat the state holds of it is kept.")
		return
	}
	summary, err := basis.Summary(spec.Handle.Name)
	if err != nil {
		addError(diags, "Unable to read the configuration of channel "+state.Name.ValueString(), err)
		return
	}
	rememberBasis(ctx, private, basis, diags)
	state.takeConfiguration(ctx, summary, basis, diags)
}

// drop takes peers out of the state that answered and have not joined, so that the plan shows them
// as joining.
func (m *channelModel) drop(ctx context.Context, found network.ChannelState, diags *diag.Diagnostics) {
	organizations := m.members(ctx, diags)
	for key, o := range organizations {
		if o.Peers.IsNull() {
			continue
		}
		peers := maps.Clone(o.Peers.Elements())
		for name := range peers {
			if !slices.Contains(found.Joined[key], name) && !slices.Contains(found.Unanswered[key], name) {
				delete(peers, name)
			}
		}
		value, d := types.MapValue(handleType, peers)
		diags.Append(d...)
		o.Peers = value
		organizations[key] = o
	}
	value, d := types.MapValueFrom(ctx, channelOrganizationType, organizations)
	diags.Append(d...)
	m.Organizations = value
}

func (r *channelResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan channelModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := plan.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.UpdateChannel(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "update", err)
		return
	}
	r.lookBack(ctx, f, spec, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *channelResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state channelModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, state.Timeouts.Delete, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	state.protect(ctx, req.Private, &resp.Diagnostics)
	spec := state.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations); err != nil {
		state.addError(&resp.Diagnostics, "delete", err)
	}
}
