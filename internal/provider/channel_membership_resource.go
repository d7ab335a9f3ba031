package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelMembershipResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &channelMembershipResource{}
	_ resource.ResourceWithImportState    = &channelMembershipResource{}
	_ resource.ResourceWithModifyPlan     = &channelMembershipResource{}
	_ resource.ResourceWithValidateConfig = &channelMembershipResource{}
)

func newChannelMembershipResource() resource.Resource { return &channelMembershipResource{} }

// channelMembershipModel is a fabric_channel_membership.
type channelMembershipModel struct {
	Channel            types.String   `tfsdk:"channel"`
	Organization       types.Object   `tfsdk:"organization"`
	Definition         types.Object   `tfsdk:"definition"`
	Peers              types.Map      `tfsdk:"peers"`
	AnchorPeers        types.List     `tfsdk:"anchor_peers"`
	Orderers           types.Map      `tfsdk:"orderers"`
	JoinFrom           types.String   `tfsdk:"join_from"`
	DeletionProtection types.Bool     `tfsdk:"deletion_protection"`
	Status             types.String   `tfsdk:"status"`
	LastChange         types.List     `tfsdk:"last_change"`
	Handle             types.Object   `tfsdk:"handle"`
	Timeouts           timeouts.Value `tfsdk:"timeouts"`
}

const membershipHolds = "the channel's blocks on its peers"

// membershipExcluded is what status says when the channel does not have the organization, beside channelActive.
const membershipExcluded = "excluded"

func (r *channelMembershipResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel_membership"
}

func (r *channelMembershipResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	member := handleInput("Handle of the `fabric_organization` whose membership this is. Its admin signs. Changing it replaces the membership.", network.KindOrganization)
	member.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	orderers := remoteOrderers("Ordering nodes of the channel, which another state runs, or some of them.")
	orderers.Optional, orderers.Required = false, true
	resp.Schema = schema.Schema{
		MarkdownDescription: "One organization's own part of a channel that another state owns: its peers join, and its anchor peers and its definition are set by config updates that its own admin signs. " +
			"The owner of the channel lists the organization under `organizations` and `self_managed_organizations` of `fabric_channel`, with the `definition` that it was given; a create waits for that until its timeout, and leaves nothing behind when it does not come. " +
			"Chaincode is not part of it: `fabric_chaincode_approval` approves what another state commits and runs its servers, and `fabric_chaincode` on the membership commits.",
		Attributes: map[string]schema.Attribute{
			"channel": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the channel. Changing it replaces the membership.",
				Validators:          []validator.String{check{wants: "a channel name", summary: "Not a channel name", problem: configtx.ValidateChannelName}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"organization": member,
			"definition": schema.ObjectAttribute{
				Required: true, AttributeTypes: definitionTypes,
				MarkdownDescription: "Definition of the organization, as the channel is to have it: `definition` of the `fabric_organization`. Its revocation lists are left alone.",
			},
			"peers": schema.MapAttribute{
				Required: true, ElementType: handleType,
				MarkdownDescription: "Handles of the organization's `fabric_peer`s that join the channel, by a name of your choice. One that is taken out leaves, with its ledger of the channel.",
			},
			"anchor_peers": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Names of the peers that peers of other organizations contact first. Defaults to the first one.",
			},
			"orderers":  orderers,
			"join_from": joinFrom(),
			"deletion_protection": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Refuse to destroy or replace the membership: its peers leave the channel then, with their ledgers of it. Defaults to `true`.",
			},
			"status": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "`active`, or `excluded` when the channel does not have the organization any more: the next apply waits for it to come back.",
			},
			"last_change": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "What the last change did, in words, each with the policy that it fell under. The plan shows it beforehand.",
			},
			"handle":   handleOutput("membership"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// ValidateConfig refuses what belongs to another organization, and anchor peers that do not join.
func (r *channelMembershipResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config channelMembershipModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	mspID := handleMember(config.Organization, "msp_id")
	sameMSP(path.Root("definition"), "definition", mspID, handleMember(config.Definition, "msp_id"), &resp.Diagnostics)
	joined := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(config.Peers.Elements())) {
		peer, ok := config.Peers.Elements()[name].(types.Object)
		if !ok {
			continue
		}
		at := path.Root("peers").AtMapKey(name)
		if err := (handleKind{[]network.Kind{network.KindPeer}}).check(ctx, peer); err != nil {
			addNested(&resp.Diagnostics, at, "Wrong kind of handle", sentence(err))
		}
		sameMSP(at, "peer", mspID, handleMember(peer, "msp_id"), &resp.Diagnostics)
		once(at, "peer", handleMember(peer, "name"), name, joined, &resp.Diagnostics)
	}
	if config.Peers.IsUnknown() {
		return
	}
	for i, element := range config.AnchorPeers.Elements() {
		name, _ := element.(types.String)
		if _, ok := config.Peers.Elements()[name.ValueString()]; !ok && !name.IsUnknown() {
			addNested(&resp.Diagnostics, path.Root("anchor_peers").AtListIndex(i), "Unknown anchor peer",
				fmt.Sprintf("There is no peer %q in peers, which are: %s.", name.ValueString(), strings.Join(slices.Sorted(maps.Keys(config.Peers.Elements())), ", ")))
		}
	}
}

// ModifyPlan computes the handle and says what a change comes to.
func (r *channelMembershipResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if r.session == nil {
		return
	}
	var prior, plan channelMembershipModel
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
	plan.Handle = planHandle(ctx, plan.Organization, network.KindChannelMembership, plan.Channel, handleMember(plan.Organization, "msp_id"), &resp.Diagnostics)
	plan.Status = types.StringValue(channelActive)
	plan.LastChange = types.ListNull(types.StringType)
	replaced := exists && changed(prior.Channel, plan.Channel, prior.Organization, plan.Organization)
	switch {
	case replaced:
		prior.protect(ctx, req.Private, &resp.Diagnostics)
	case exists:
		plan.planChange(ctx, &prior, req.Private, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !replaced {
		r.session.claims.name(ctx, network.KindChannelMembership, plan.Organization, plan.Channel, path.Root("channel"), req, &resp.Diagnostics)
	}
}

// planChange says in words what an update changes. It computes from the state and the configuration alone.
func (m *channelMembershipModel) planChange(ctx context.Context, prior *channelMembershipModel, private privateState, diags *diag.Diagnostics) {
	m.LastChange = prior.LastChange
	if !changed(prior.Definition, m.Definition, prior.Peers, m.Peers, prior.AnchorPeers, m.AnchorPeers, prior.Status, m.Status) {
		return
	}
	m.LastChange = types.ListUnknown(types.StringType)
	basis, ok := basisFrom(ctx, private, diags)
	if !ok || !known(ctx, m.Definition, m.Peers, m.AnchorPeers) || prior.Status.ValueString() != channelActive || diags.HasError() {
		return
	}
	spec := m.spec(ctx, diags)
	plan, err := network.PlanMembership(spec, basis)
	if err != nil {
		m.addError(diags, "plan the change of", err)
		return
	}
	if len(plan.Missing) > 0 {
		diags.AddAttributeError(path.Root("organization"), "Signatures are missing for the change of the membership in channel "+m.Channel.ValueString(),
			strings.Join(plan.Missing, "\n")+"\n\nThe channel lets "+spec.Handle.MSPID+" change its own part only together with others: make the update with fabric_channel_proposal, have each of them sign it with fabric_channel_signature in its own state, and submit it with fabric_channel_submission.")
		return
	}
	words := append(plan.Changes, network.PeersMoved(prior.members(ctx, diags), m.members(ctx, diags))...)
	if len(words) == 0 { // only the spelling changed
		m.LastChange = prior.LastChange
		return
	}
	value, d := types.ListValueFrom(ctx, types.StringType, words)
	diags.Append(d...)
	m.LastChange = value
}

func (m *channelMembershipModel) protect(ctx context.Context, private privateState, diags *diag.Diagnostics) {
	(&runModel{DeletionProtection: m.DeletionProtection}).protect(ctx, private, "membership", membershipHolds, diags)
}

// members is the membership as a channel that has one member.
func (m *channelMembershipModel) members(ctx context.Context, diags *diag.Diagnostics) map[string]network.ChannelOrganization {
	spec := m.spec(ctx, diags)
	return map[string]network.ChannelOrganization{spec.Handle.MSPID: {Organization: spec.Handle.Organization(), Peers: spec.Peers}}
}

func (m *channelMembershipModel) spec(ctx context.Context, diags *diag.Diagnostics) network.MembershipSpec {
	org := handleFrom(ctx, m.Organization, diags)
	spec := network.MembershipSpec{
		Handle:     org.With(network.KindChannelMembership, m.Channel.ValueString(), org.MSPID),
		Definition: definitionFrom(ctx, m.Definition, diags), Peers: map[string]network.Handle{},
		AnchorPeers: stringList(ctx, m.AnchorPeers, diags), Orderers: orderersFrom(ctx, m.Orderers, diags),
		FromSnapshot: m.JoinFrom.ValueString() == joinFromSnapshot,
	}
	for name, element := range m.Peers.Elements() {
		if peer, ok := element.(types.Object); ok {
			spec.Peers[name] = handleFrom(ctx, peer, diags)
		}
	}
	return spec
}

func (r *channelMembershipResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan channelMembershipModel
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
	if err := f.PreflightMembership(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "create", err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	if err := f.CreateMembership(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "create", err)
		if errors.As(err, new(*network.NotMadeError)) { // nothing of it is there that the state would have to hold
			resp.State.RemoveResource(ctx)
		}
		return
	}
	beginProtection(ctx, resp.Private, &resp.Diagnostics)
	r.lookBack(ctx, f, spec, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// lookBack keeps what the next plan rests on. When the nodes do not give it, the next Read will.
func (r *channelMembershipResource) lookBack(ctx context.Context, f *network.Fabric, spec network.MembershipSpec, private privateStateWriter, diags *diag.Diagnostics) {
	if state, basis, err := f.ReadMembership(ctx, spec); err == nil && state.Excluded == nil {
		rememberBasis(ctx, private, basis, diags)
	}
}

func (m *channelMembershipModel) addError(diags *diag.Diagnostics, action string, err error) {
	summary := fmt.Sprintf("Unable to %s the membership in channel %s", action, m.Channel.ValueString())
	switch admission := new(network.AdmissionError); {
	case errors.As(err, &admission) && admission.Unknown:
		diags.AddAttributeError(path.Root("channel"), summary, explain(err))
	case errors.As(err, &admission):
		diags.AddAttributeError(path.Root("organization"), summary, explain(err))
	default:
		addUpdateError(diags, summary, err)
	}
}

func (r *channelMembershipResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state channelMembershipModel
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
	found, basis, err := f.ReadMembership(ctx, spec)
	switch {
	case errors.As(err, new(*network.UnansweredError)):
		resp.Diagnostics.AddWarning("The configuration of channel "+state.Channel.ValueString()+" could not be read", explain(err)+"\n\nWhat the state holds of it is kept.")
	case err != nil:
		state.addError(&resp.Diagnostics, "read", err)
		return
	case found.Excluded != nil:
		state.Status = types.StringValue(membershipExcluded)
		resp.Diagnostics.AddWarning("Channel "+state.Channel.ValueString()+" does not have "+spec.Handle.MSPID, explain(found.Excluded))
	default:
		rememberBasis(ctx, resp.Private, basis, &resp.Diagnostics)
		state.Status = types.StringValue(channelActive)
		state.takeConfiguration(ctx, spec, basis, &resp.Diagnostics)
	}
	state.drop(ctx, found, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// takeConfiguration puts into the state what the channel says of the organization, where that is not what
// the state says in other words.
func (m *channelMembershipModel) takeConfiguration(ctx context.Context, spec network.MembershipSpec, basis network.ChannelBasis, diags *diag.Diagnostics) {
	summary, err := basis.Summary(spec.Handle.Name)
	if err != nil {
		m.addError(diags, "read", err)
		return
	}
	at := slices.IndexFunc(summary.ApplicationOrganizations, func(o configtx.OrganizationSummary) bool { return o.Definition.ID == spec.Handle.MSPID })
	if at < 0 {
		return
	}
	has := summary.ApplicationOrganizations[at]
	has.Definition.RevocationLists = spec.Definition.RevocationLists // they are fabric_crl's
	if !configtx.SameDefinition(spec.Definition, has.Definition) {
		m.Definition = definitionValue(ctx, has.Definition, diags)
	}
	member := network.ChannelOrganization{Organization: spec.Handle.Organization(), Peers: spec.Peers, AnchorPeers: spec.AnchorPeers}
	if names := basis.NamesOf(member, has.AnchorPeers); names != nil {
		value, d := types.ListValueFrom(ctx, types.StringType, names)
		diags.Append(d...)
		m.AnchorPeers = value
	}
}

// drop takes peers out of the state that answered and have not joined, so that the plan shows them
// as joining.
func (m *channelMembershipModel) drop(ctx context.Context, found network.MembershipState, diags *diag.Diagnostics) {
	peers := map[string]attr.Value{}
	for name, peer := range m.Peers.Elements() {
		if slices.Contains(found.Joined, name) || slices.Contains(found.Unanswered, name) {
			peers[name] = peer
		}
	}
	value, d := types.MapValue(handleType, peers)
	diags.Append(d...)
	m.Peers = value
}

func (r *channelMembershipResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan channelMembershipModel
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
	if err := f.UpdateMembership(ctx, spec); err != nil {
		plan.addError(&resp.Diagnostics, "update", err)
		return
	}
	if plan.LastChange.IsUnknown() { // nothing was known of the channel when it was planned
		plan.LastChange = types.ListNull(types.StringType)
	}
	r.lookBack(ctx, f, spec, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *channelMembershipResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state channelMembershipModel
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
	remain, err := f.DeleteMembership(ctx, spec)
	if err != nil {
		state.addError(&resp.Diagnostics, "delete", err)
		return
	}
	if remain != nil {
		resp.Diagnostics.AddWarning("Anchor peers of "+spec.Handle.MSPID+" remain in channel "+spec.Handle.Name,
			"The peers have left, and the ordering nodes did not let the admin take the anchor peers out of the configuration: "+sentence(remain)+" The owner of the channel can take the organization out.")
	}
}

// ImportState takes NETWORK/MSP_ID/CHANNEL.
func (r *channelMembershipResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &channelMembershipModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		spec, err := f.FindMembership(ctx, parts[0], parts[1], parts[2])
		if err != nil {
			return err
		}
		m.adopt(ctx, spec, &resp.Diagnostics)
		beginProtection(ctx, resp.Private, &resp.Diagnostics)
		return nil
	})
}

func (m *channelMembershipModel) adopt(ctx context.Context, spec network.MembershipSpec, diags *diag.Diagnostics) {
	m.Channel, m.Organization = types.StringValue(spec.Handle.Name), handleValue(spec.Handle.Organization())
	m.Handle, m.Definition = handleValue(spec.Handle), definitionValue(ctx, spec.Definition, diags)
	m.AnchorPeers, m.LastChange = listOf(ctx, spec.AnchorPeers, diags), types.ListNull(types.StringType)
	m.DeletionProtection, m.Status, m.Timeouts = types.BoolValue(true), types.StringValue(channelActive), noTimeouts()
	peers := map[string]attr.Value{}
	for name, p := range spec.Peers {
		peers[name] = handleValue(p)
	}
	value, d := types.MapValue(handleType, peers)
	diags.Append(d...)
	m.Peers, m.Orderers = value, remoteOrderersValue(ctx, spec.Orderers, diags)
}
