package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
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
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type chaincodeResource struct{ configured }

var (
	_ resource.ResourceWithConfigure      = &chaincodeResource{}
	_ resource.ResourceWithImportState    = &chaincodeResource{}
	_ resource.ResourceWithModifyPlan     = &chaincodeResource{}
	_ resource.ResourceWithValidateConfig = &chaincodeResource{}
)

func newChaincodeResource() resource.Resource { return &chaincodeResource{} }

// chaincodeModel is a fabric_chaincode.
type chaincodeModel struct {
	Channel           types.Object   `tfsdk:"channel"`
	Name              types.String   `tfsdk:"name"`
	Version           types.String   `tfsdk:"version"`
	Label             types.String   `tfsdk:"label"`
	Server            types.Object   `tfsdk:"server"`
	EndorsementPolicy types.String   `tfsdk:"endorsement_policy"`
	InitRequired      types.Bool     `tfsdk:"init_required"`
	Collections       types.Map      `tfsdk:"collections"`
	PackageID         types.String   `tfsdk:"package_id"`
	Sequence          types.Int64    `tfsdk:"sequence"`
	ImageID           types.String   `tfsdk:"image_id"`
	Status            types.String   `tfsdk:"status"`
	Handle            types.Object   `tfsdk:"handle"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

// serverModel is how the servers of a chaincode run.
type serverModel struct {
	Image   types.String `tfsdk:"image"`
	Env     types.Map    `tfsdk:"env"`
	Command types.List   `tfsdk:"command"`
	Limits  types.Object `tfsdk:"limits"`
}

// collectionModel is a private data collection.
type collectionModel struct {
	MemberPolicy      types.String `tfsdk:"member_policy"`
	EndorsementPolicy types.String `tfsdk:"endorsement_policy"`
	RequiredPeerCount types.Int64  `tfsdk:"required_peer_count"`
	MaxPeerCount      types.Int64  `tfsdk:"max_peer_count"`
	BlockToLive       types.Int64  `tfsdk:"block_to_live"`
	MemberOnlyRead    types.Bool   `tfsdk:"member_only_read"`
	MemberOnlyWrite   types.Bool   `tfsdk:"member_only_write"`
}

var serverTypes = map[string]attr.Type{
	"image": types.StringType, "env": types.MapType{ElemType: types.StringType}, "command": types.ListType{ElemType: types.StringType},
	"limits": types.ObjectType{AttrTypes: limitsTypes},
}

var collectionType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"member_policy": types.StringType, "endorsement_policy": types.StringType, "required_peer_count": types.Int64Type,
	"max_peer_count": types.Int64Type, "block_to_live": types.Int64Type, "member_only_read": types.BoolType, "member_only_write": types.BoolType,
}}

func (r *chaincodeResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_chaincode"
}

func (r *chaincodeResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	on := handleInput("Handle of the `fabric_channel` that the chaincode is committed on. Changing it replaces the chaincode.", network.KindChannel)
	on.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	endorsementPolicy := check{wants: "an endorsement policy", summary: "Policy that does not parse", problem: func(text string) error {
		_, err := policy.ParseApplicationPolicy(text)
		return err
	}}
	memberPolicy := check{wants: "a signature policy", summary: "Policy that does not parse", problem: func(text string) error {
		_, err := policy.Parse(text)
		return err
	}}
	count := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Optional: true, MarkdownDescription: what, Validators: []validator.Int64{int64validator.AtLeast(0)}}
	}
	flag := func(what string) schema.BoolAttribute {
		return schema.BoolAttribute{Optional: true, MarkdownDescription: what}
	}
	limits := runAttributes(ctx, "server", "", "")["limits"]
	resp.Schema = schema.Schema{
		MarkdownDescription: "A chaincode on a channel, run as a service: one server beside each peer of the channel. Its package is made by the provider, the same bytes for the same input, so that its package ID is known at plan. " +
			"It is installed on every peer, approved by every organization in one block, committed, and created when a query would be served. A changed `version`, package or policy is an upgrade with the next sequence. " +
			"Destroying it removes the servers; the definition stays on the ledger, because Fabric cannot take it away.",
		Attributes: map[string]schema.Attribute{
			"channel": on,
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name on the channel. Changing it replaces the chaincode.",
				Validators:          []validator.String{check{wants: "a chaincode name", summary: "Not a chaincode name", problem: lifecycle.ValidateName}},
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"version": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Version of the definition. Changing it is an upgrade.",
				Validators:          []validator.String{check{wants: "a chaincode version", summary: "Not a chaincode version", problem: lifecycle.ValidateVersion}},
			},
			"label": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Label of the package. Defaults to `NAME_VERSION`. Changing it is an upgrade.",
				Validators:          []validator.String{check{wants: "a package label", summary: "Not a package label", problem: lifecycle.ValidateLabel}},
			},
			"server": schema.SingleNestedAttribute{
				Required:            true,
				MarkdownDescription: "The chaincode server that runs beside each peer, hardened like the nodes.",
				Attributes: map[string]schema.Attribute{
					"image": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Image of the server, by tag or digest. It listens at `CHAINCODE_SERVER_ADDRESS` and serves as `CHAINCODE_ID`; both are set in its environment. Changing it replaces the servers, without a new definition.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
					"env": schema.MapAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Further environment variables. They are in the state: put no secrets here.",
					},
					"command": schema.ListAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Command, where the image's own one does not serve.",
					},
					"limits": limits,
				},
			},
			"endorsement_policy": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Endorsement policy, for example `AND('Org1MSP.peer', 'Org2MSP.peer')`, or the path of a policy of the channel. Defaults to the channel's `/Channel/Application/Endorsement`.",
				Validators:          []validator.String{endorsementPolicy},
			},
			"init_required": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Refuse calls before a `fabric_transaction` with `init = true`. Defaults to `false`.",
			},
			"collections": schema.MapNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Private data collections by name.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"member_policy": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Who may hold the data, for example `OR('Org1MSP.member', 'Org2MSP.member')`. Needed.",
						Validators:          []validator.String{memberPolicy},
					},
					"endorsement_policy": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Endorsement policy of writes to the collection. Defaults to the chaincode's.",
						Validators:          []validator.String{endorsementPolicy},
					},
					"required_peer_count": count("How many other peers must have received the data before an endorsement is given. Defaults to 0."),
					"max_peer_count":      count("How many other peers the data is sent to at endorsement. Defaults to 0."),
					"block_to_live":       count("After how many blocks the data is purged; 0, the default, keeps it."),
					"member_only_read":    flag("Only clients of members may read. Defaults to `false`."),
					"member_only_write":   flag("Only clients of members may write. Defaults to `false`."),
				}},
			},
			"package_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Package ID (`LABEL:SHA256`), known at plan when the channel's name is.",
			},
			"sequence": schema.Int64Attribute{
				Computed:            true,
				MarkdownDescription: "Sequence of the definition in force.",
			},
			"image_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The content that the server's image was resolved to (`sha256:…`). It is kept until `image` changes.",
			},
			"status": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "`running` when a server runs beside every peer of the channel. The next apply repairs what does not.",
			},
			"handle":   handleOutput("chaincode"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// ValidateConfig refuses collections without members.
func (r *chaincodeResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config chaincodeModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	for _, name := range slices.Sorted(maps.Keys(config.Collections.Elements())) {
		at := path.Root("collections").AtMapKey(name)
		if err := lifecycle.ValidateCollectionName(name); err != nil {
			resp.Diagnostics.AddAttributeError(at, "Not a collection name", sentence(err))
		}
		object, ok := config.Collections.Elements()[name].(types.Object)
		if ok && !object.IsUnknown() && object.Attributes()["member_policy"].IsNull() {
			resp.Diagnostics.AddAttributeError(at.AtName("member_policy"), "Missing member policy", "A collection needs a member_policy that says who may hold its data.")
		}
	}
}

// ModifyPlan computes label, package ID and handle, and whether there will be a new definition.
func (r *chaincodeResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var prior, plan, config chaincodeModel
	exists := !req.State.Raw.IsNull()
	if exists {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if config.Label.IsNull() {
		plan.Label = types.StringUnknown()
		if !plan.Name.IsUnknown() && !plan.Version.IsUnknown() {
			plan.Label = types.StringValue(plan.Name.ValueString() + "_" + plan.Version.ValueString())
		}
	}
	plan.planPackage(ctx, &resp.Diagnostics)
	plan.Status, plan.Sequence, plan.ImageID = types.StringValue(string(engine.Running)), types.Int64Unknown(), types.StringUnknown()
	if exists {
		if !changed(prior.Version, plan.Version, prior.Label, plan.Label, prior.PackageID, plan.PackageID,
			prior.EndorsementPolicy, plan.EndorsementPolicy, prior.InitRequired, plan.InitRequired, prior.Collections, plan.Collections) {
			plan.Sequence = prior.Sequence
		}
		if plan.image().Equal(prior.image()) {
			plan.ImageID = prior.ImageID
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
}

func (m *chaincodeModel) planPackage(ctx context.Context, diags *diag.Diagnostics) {
	m.PackageID, m.Handle = types.StringUnknown(), types.ObjectUnknown(handleTypes)
	channel := handleMember(m.Channel, "name")
	if channel.IsUnknown() {
		return
	}
	if !m.Name.IsUnknown() {
		name := types.StringValue(channel.ValueString() + "/" + m.Name.ValueString())
		m.Handle = planHandle(ctx, m.Channel, network.KindChaincode, name, types.StringNull(), diags)
	}
	if m.Label.IsUnknown() {
		return
	}
	_, id, err := network.ChaincodePackage(channel.ValueString(), m.Label.ValueString(), nil)
	if err != nil {
		diags.AddAttributeError(path.Root("label"), "Not a package label", sentence(err))
		return
	}
	m.PackageID = types.StringValue(id)
}

func (m *chaincodeModel) image() attr.Value {
	if m.Server.IsNull() || m.Server.IsUnknown() {
		return types.StringUnknown()
	}
	return m.Server.Attributes()["image"]
}

func (m *chaincodeModel) spec(ctx context.Context, diags *diag.Diagnostics) network.ChaincodeSpec {
	var s serverModel
	diags.Append(m.Server.As(ctx, &s, basetypes.ObjectAsOptions{})...)
	options := (&runModel{Image: s.Image, ImageID: m.ImageID, Limits: s.Limits}).options(ctx, diags)
	spec := network.ChaincodeSpec{
		Channel: handleFrom(ctx, m.Channel, diags), Name: m.Name.ValueString(), Version: m.Version.ValueString(), Label: m.Label.ValueString(),
		InitRequired: m.InitRequired.ValueBool(),
		Server:       network.ChaincodeServer{NodeOptions: options, Env: stringMap(ctx, s.Env, diags), Command: stringList(ctx, s.Command, diags)},
	}
	if text := m.EndorsementPolicy.ValueString(); text != "" {
		parsed, err := policy.ParseApplicationPolicy(text)
		if err == nil {
			spec.ValidationParameter, err = parsed.Marshal()
		}
		if err != nil {
			diags.AddAttributeError(path.Root("endorsement_policy"), "Policy that does not parse", sentence(err))
		}
		spec.PolicyMembers = parsed.Signature.MSPIDs()
	}
	spec.Collections = m.collections(ctx, diags)
	return spec
}

// collections gives the collections in the form of a definition, in the order of their names.
func (m *chaincodeModel) collections(ctx context.Context, diags *diag.Diagnostics) *peer.CollectionConfigPackage {
	if len(m.Collections.Elements()) == 0 {
		return nil
	}
	out := &peer.CollectionConfigPackage{}
	for _, name := range slices.Sorted(maps.Keys(m.Collections.Elements())) {
		object, ok := m.Collections.Elements()[name].(types.Object)
		if !ok {
			continue
		}
		var c collectionModel
		diags.Append(object.As(ctx, &c, basetypes.ObjectAsOptions{})...)
		members, err := policy.Parse(c.MemberPolicy.ValueString())
		if err != nil {
			diags.AddAttributeError(path.Root("collections").AtMapKey(name).AtName("member_policy"), "Policy that does not parse", sentence(err))
			continue
		}
		config := &peer.StaticCollectionConfig{
			Name:              name,
			MemberOrgsPolicy:  &peer.CollectionPolicyConfig{Payload: &peer.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: members.Envelope()}},
			RequiredPeerCount: int32(c.RequiredPeerCount.ValueInt64()), MaximumPeerCount: int32(c.MaxPeerCount.ValueInt64()),
			BlockToLive: uint64(c.BlockToLive.ValueInt64()), MemberOnlyRead: c.MemberOnlyRead.ValueBool(), MemberOnlyWrite: c.MemberOnlyWrite.ValueBool(),
		}
		if text := c.EndorsementPolicy.ValueString(); text != "" {
			endorsement, err := policy.ParseApplicationPolicy(text)
			if err != nil {
				diags.AddAttributeError(path.Root("collections").AtMapKey(name).AtName("endorsement_policy"), "Policy that does not parse", sentence(err))
				continue
			}
			config.EndorsementPolicy = endorsement.Proto()
		}
		out.Config = append(out.Config, &peer.CollectionConfig{Payload: &peer.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: config}})
	}
	return out
}

// takeCollections writes the collections of a definition.
func takeCollections(ctx context.Context, collections *peer.CollectionConfigPackage, diags *diag.Diagnostics) types.Map {
	if len(collections.GetConfig()) == 0 {
		return types.MapNull(collectionType)
	}
	count := func(n int64) types.Int64 {
		if n == 0 {
			return types.Int64Null()
		}
		return types.Int64Value(n)
	}
	flag := func(b bool) types.Bool {
		if !b {
			return types.BoolNull()
		}
		return types.BoolValue(true)
	}
	models := map[string]collectionModel{}
	for _, config := range collections.GetConfig() {
		c := config.GetStaticCollectionConfig()
		m := collectionModel{
			MemberPolicy:      types.StringValue(policy.Describe(c.GetMemberOrgsPolicy().GetSignaturePolicy())),
			RequiredPeerCount: count(int64(c.GetRequiredPeerCount())), MaxPeerCount: count(int64(c.GetMaximumPeerCount())),
			BlockToLive: count(int64(c.GetBlockToLive())), MemberOnlyRead: flag(c.GetMemberOnlyRead()), MemberOnlyWrite: flag(c.GetMemberOnlyWrite()),
		}
		if endorsement, err := policy.ApplicationPolicyFromProto(c.GetEndorsementPolicy()); err == nil && !endorsement.IsZero() {
			m.EndorsementPolicy = types.StringValue(endorsement.String())
		}
		models[c.GetName()] = m
	}
	value, d := types.MapValueFrom(ctx, collectionType, models)
	diags.Append(d...)
	return value
}

func (r *chaincodeResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan chaincodeModel
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
	if err := f.PreflightChaincode(ctx, spec); err != nil {
		addChaincodeError(&resp.Diagnostics, "Unable to create chaincode "+plan.Name.ValueString(), err)
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	state, err := f.ReleaseChaincode(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to create chaincode "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// addChaincodeError names the attribute where it is known.
func addChaincodeError(diags *diag.Diagnostics, summary string, err error) {
	switch unknown := new(network.UnknownMSPError); {
	case errors.As(err, &unknown):
		diags.AddAttributeError(path.Root("endorsement_policy"), "Policy that names an unknown MSP", sentence(err))
	case errors.Is(err, engine.ErrNoImage):
		diags.AddAttributeError(path.Root("server").AtName("image"), summary, explain(err))
	default:
		addError(diags, summary, err)
	}
}

func (m *chaincodeModel) merge(s network.ChaincodeState) {
	m.Sequence, m.PackageID = types.Int64Value(s.Committed.Sequence), types.StringValue(s.PackageID)
	m.ImageID, m.Status = types.StringValue(s.ImageID), types.StringValue(string(s.Status))
}

func (r *chaincodeResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state chaincodeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadChaincode(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics))
	if unanswered := new(network.UnansweredError); errors.As(err, &unanswered) {
		resp.Diagnostics.AddWarning("Chaincode "+state.Name.ValueString()+" could not be read from the ledger",
			explain(err)+"\n\nWhat the state holds of it is kept.")
		state.Status = types.StringValue(string(found.Status))
		resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
		return
	}
	if err != nil {
		addError(&resp.Diagnostics, "Unable to read chaincode "+state.Name.ValueString(), err)
		return
	}
	if found.Committed == nil {
		resp.State.RemoveResource(ctx)
		return
	}
	state.compare(ctx, found, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// compare takes what the ledger says where it differs from what the state says.
func (m *chaincodeModel) compare(ctx context.Context, found network.ChaincodeState, diags *diag.Diagnostics) {
	m.Status = types.StringValue(string(found.Status))
	known := m.spec(ctx, diags)
	committed := found.Committed
	m.Sequence, m.Version = types.Int64Value(committed.Sequence), types.StringValue(committed.Version)
	m.InitRequired = types.BoolValue(committed.InitRequired)
	if found.PackageID != "" {
		m.PackageID = types.StringValue(found.PackageID)
	}
	same := *committed
	same.ValidationParameter = known.ValidationParameter
	if len(same.Diff(*committed)) > 0 {
		m.EndorsementPolicy = types.StringNull()
		if ledger, err := policy.UnmarshalApplicationPolicy(committed.ValidationParameter); err == nil && !ledger.IsZero() {
			m.EndorsementPolicy = types.StringValue(ledger.String())
		}
	}
	same = *committed
	same.Collections = known.Collections
	if len(same.Diff(*committed)) > 0 {
		m.Collections = types.MapNull(collectionType) // the plan shows all of ours as to be set again
	}
}

func (r *chaincodeResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan chaincodeModel
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
	err := f.PreflightChaincode(ctx, spec)
	if err != nil {
		addChaincodeError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(), err)
		return
	}
	state, err := f.ReleaseChaincode(ctx, spec)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(), err)
		return
	}
	if !plan.Sequence.IsUnknown() && plan.Sequence.ValueInt64() != state.Committed.Sequence {
		addError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(),
			fmt.Errorf("the plan was made for sequence %d, and the channel is at %d now: plan again", plan.Sequence.ValueInt64(), state.Committed.Sequence))
		return
	}
	plan.merge(state)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

func (r *chaincodeResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var state chaincodeModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, state.Timeouts.Delete, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := f.DeleteChaincode(ctx, handleFrom(ctx, state.Handle, &resp.Diagnostics)); err != nil {
		addError(&resp.Diagnostics, "Unable to delete chaincode "+state.Name.ValueString(), err)
	}
}
