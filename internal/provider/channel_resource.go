package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &channelResource{}
	_ resource.ResourceWithImportState = &channelResource{}
	_ resource.ResourceWithModifyPlan  = &channelResource{}
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
	DeletionProtection    types.Bool     `tfsdk:"deletion_protection"`
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
			"A create that fails goes on until its timeout, and then takes everything back.",
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
				MarkdownDescription: "Members of the channel by a name of your choice. Each has the `organization` (the handle of a `fabric_organization`), its `definition`, and `peers`: handles of the `fabric_peer`s that join, by name. Peers can be added and taken out later.",
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1), channelMembers{}},
			},
			"anchor_peers": schema.MapAttribute{
				Optional: true, ElementType: types.ListType{ElemType: types.StringType},
				MarkdownDescription: "Names of the peers, by organization, that peers of other organizations contact first. Defaults to the first peer of each organization.",
			},
			"batch_timeout": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("2s"),
				MarkdownDescription: "How long after its first transaction a block is cut, as a duration. Defaults to `2s`.",
				Validators:          []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
			},
			"max_message_count":   size("How many transactions a block may hold.", int64(configtx.DefaultBatch().MaxMessageCount)),
			"absolute_max_bytes":  size("How many bytes the transactions of a block may have.", int64(configtx.DefaultBatch().AbsoluteMaxBytes)),
			"preferred_max_bytes": size("How many bytes the transactions of a block should have.", int64(configtx.DefaultBatch().PreferredMaxBytes)),
			"channel_capability": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString(configtx.ChannelCapabilityV2_0),
				MarkdownDescription: "Capability of the channel: `V2_0` (default), or `V3_0`, which every node of every member must be able to serve (Fabric 3.0 or later).",
				Validators:          []validator.String{stringvalidator.OneOf(configtx.ChannelCapabilityV2_0, configtx.ChannelCapabilityV3_0)},
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
			},
			"deletion_protection": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Refuse to destroy or replace the channel. Defaults to `true`.",
			},
			"handle":   handleOutput("channel"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

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
	for _, key := range slices.Sorted(maps.Keys(elements)) {
		object, ok := elements[key].(types.Object)
		if !ok || object.IsNull() || object.IsUnknown() {
			continue
		}
		at := req.Path.AtMapKey(key)
		organization, _ := object.Attributes()["organization"].(types.Object)
		if err := (handleKind{[]network.Kind{network.KindOrganization}}).check(ctx, organization); err != nil {
			resp.Diagnostics.AddAttributeError(at.AtName("organization"), "Wrong kind of handle", sentence(err))
		}
		mspID := handleMember(organization, "msp_id")
		if definition, ok := object.Attributes()["definition"].(types.Object); ok {
			sameMSP(at.AtName("definition"), "definition", mspID, handleMember(definition, "msp_id"), &resp.Diagnostics)
		}
		peers, _ := object.Attributes()["peers"].(types.Map)
		for _, name := range slices.Sorted(maps.Keys(peers.Elements())) {
			peer, ok := peers.Elements()[name].(types.Object)
			if !ok {
				continue
			}
			if err := (handleKind{[]network.Kind{network.KindPeer}}).check(ctx, peer); err != nil {
				resp.Diagnostics.AddAttributeError(at.AtName("peers").AtMapKey(name), "Wrong kind of handle", sentence(err))
			}
			sameMSP(at.AtName("peers").AtMapKey(name), "peer", mspID, handleMember(peer, "msp_id"), &resp.Diagnostics)
		}
	}
}

// sameMSP refuses what belongs to another organization.
func sameMSP(at path.Path, what string, organization, other types.String, diags *diag.Diagnostics) {
	if organization.ValueString() == "" || other.ValueString() == "" || organization.Equal(other) {
		return
	}
	diags.AddAttributeError(at, "Another organization's", fmt.Sprintf("The %s belongs to %s, and the organization is %s.", what, other.ValueString(), organization.ValueString()))
}

// ModifyPlan computes the handle, and refuses what a running channel cannot become yet.
func (r *channelResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan channelModel
	exists := !req.State.Raw.IsNull()
	if exists {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if req.Plan.Raw.IsNull() {
		prior.protect(ctx, req.Private, &resp.Diagnostics)
		return
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Handle = planHandle(ctx, plan.Orderers, network.KindChannel, plan.Name, types.StringNull(), &resp.Diagnostics)
	r.refuseCapability(&plan, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	switch {
	case !exists:
	case changed(prior.Name, plan.Name, prior.Orderers, plan.Orderers):
		prior.protect(ctx, req.Private, &resp.Diagnostics)
	default:
		plan.refuseUpdate(ctx, &prior, &resp.Diagnostics)
	}
}

func (r *channelResource) refuseCapability(plan *channelModel, diags *diag.Diagnostics) {
	release := r.session.config.FabricVersion
	if plan.ChannelCapability.ValueString() != configtx.ChannelCapabilityV3_0 || release.IsUnknown() {
		return
	}
	version, err := nodeconfig.ParseVersion(release.ValueString())
	if err == nil && !version.SupportsChannelV3() {
		diags.AddAttributeError(path.Root("channel_capability"), "V3_0 needs Fabric 3",
			fmt.Sprintf("Nodes of Fabric %s stop at a channel with this capability. Use V2_0, or a fabric_version of 3.0 or later.", version))
	}
}

// refuseUpdate refuses changes that need a config update of the channel.
func (m *channelModel) refuseUpdate(ctx context.Context, prior *channelModel, diags *diag.Diagnostics) {
	for _, a := range []struct {
		name        string
		before, now attr.Value
	}{
		{"anchor_peers", prior.AnchorPeers, m.AnchorPeers}, {"batch_timeout", prior.BatchTimeout, m.BatchTimeout},
		{"max_message_count", prior.MaxMessageCount, m.MaxMessageCount}, {"absolute_max_bytes", prior.AbsoluteMaxBytes, m.AbsoluteMaxBytes},
		{"preferred_max_bytes", prior.PreferredMaxBytes, m.PreferredMaxBytes}, {"channel_capability", prior.ChannelCapability, m.ChannelCapability},
		{"application_capability", prior.ApplicationCapability, m.ApplicationCapability}, {"acls", prior.ACLs, m.ACLs},
		{"application_policies", prior.ApplicationPolicies, m.ApplicationPolicies},
	} {
		if !a.before.Equal(a.now) {
			diags.AddAttributeError(path.Root(a.name), "Not changeable on a running channel yet",
				"This release of the provider sets it when the channel is created, and does not send config updates. Keep the value that the channel has.")
		}
	}
	if m.Organizations.IsUnknown() {
		return
	}
	before, now := prior.members(ctx, diags), m.members(ctx, diags)
	if !slices.Equal(slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(now))) {
		diags.AddAttributeError(path.Root("organizations"), "Not changeable on a running channel yet",
			"This release of the provider adds no organization to a running channel and removes none. Their peers can be added and taken out.")
	}
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

func (m *channelModel) spec(ctx context.Context, diags *diag.Diagnostics) network.ChannelSpec {
	orderers := handleFrom(ctx, m.Orderers, diags)
	timeout, err := time.ParseDuration(m.BatchTimeout.ValueString())
	if err != nil {
		addError(diags, "Unable to read batch_timeout", err)
	}
	anchors := map[string][]string{}
	if !m.AnchorPeers.IsNull() {
		diags.Append(m.AnchorPeers.ElementsAs(ctx, &anchors, false)...)
	}
	spec := network.ChannelSpec{
		Handle: orderers.With(network.KindChannel, m.Name.ValueString(), ""), Orderers: orderers,
		Organizations: map[string]network.ChannelOrganization{},
		Config: configtx.Channel{
			ChannelCapability: m.ChannelCapability.ValueString(), ApplicationCapability: m.ApplicationCapability.ValueString(),
			Batch: configtx.Batch{
				Timeout: timeout, MaxMessageCount: uint32(m.MaxMessageCount.ValueInt64()),
				AbsoluteMaxBytes: uint32(m.AbsoluteMaxBytes.ValueInt64()), PreferredMaxBytes: uint32(m.PreferredMaxBytes.ValueInt64()),
			},
			ACLs: stringMap(ctx, m.ACLs, diags), ApplicationPolicies: stringMap(ctx, m.ApplicationPolicies, diags),
		},
	}
	for key, o := range m.members(ctx, diags) {
		member := network.ChannelOrganization{
			Organization: handleFrom(ctx, o.Organization, diags), Definition: definitionFrom(ctx, o.Definition, diags), AnchorPeers: anchors[key],
		}
		for name, element := range o.Peers.Elements() {
			if object, ok := element.(types.Object); ok {
				if member.Peers == nil {
					member.Peers = map[string]network.Handle{}
				}
				member.Peers[name] = handleFrom(ctx, object, diags)
			}
		}
		for _, name := range member.AnchorPeers {
			if _, ok := member.Peers[name]; !ok {
				diags.AddAttributeError(path.Root("anchor_peers").AtMapKey(key), "Unknown anchor peer", fmt.Sprintf("There is no peer %q among the peers of %s.", name, key))
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
	spec := plan.spec(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.PreflightChannel(ctx, spec); err != nil {
		addError(&resp.Diagnostics, "Unable to create channel "+plan.Name.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	if err := f.CreateChannel(ctx, spec); err != nil {
		addError(&resp.Diagnostics, "Unable to create channel "+plan.Name.ValueString(), err)
		return
	}
	beginProtection(ctx, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
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
	if unanswered := new(network.UnansweredError); errors.As(err, &unanswered) {
		resp.Diagnostics.AddWarning("Channel "+state.Name.ValueString()+" could not be read as a whole",
			explain(err)+"\n\nWhat the state holds of it is kept.")
	} else if err != nil {
		addError(&resp.Diagnostics, "Unable to read channel "+state.Name.ValueString(), err)
		return
	}
	if found.Absent {
		resp.State.RemoveResource(ctx)
		return
	}
	state.drop(ctx, found, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// drop takes peers out of the state that answered and have not joined, so that the plan shows them
// as joining.
func (m *channelModel) drop(ctx context.Context, found network.ChannelState, diags *diag.Diagnostics) {
	organizations := m.members(ctx, diags)
	for key, o := range organizations {
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
		addError(&resp.Diagnostics, "Unable to update channel "+plan.Name.ValueString(), err)
		return
	}
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
		addError(&resp.Diagnostics, "Unable to delete channel "+state.Name.ValueString(), err)
	}
}
