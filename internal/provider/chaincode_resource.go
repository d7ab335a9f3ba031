package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
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
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

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
	Package           types.Object   `tfsdk:"package"`
	EndorsementPolicy types.String   `tfsdk:"endorsement_policy"`
	InitRequired      types.Bool     `tfsdk:"init_required"`
	Collections       types.Map      `tfsdk:"collections"`
	Indexes           types.Map      `tfsdk:"indexes"`
	Verification      types.Object   `tfsdk:"verification"`
	Approvals         types.Object   `tfsdk:"approvals"`
	Canary            types.Object   `tfsdk:"canary"`
	PackageID         types.String   `tfsdk:"package_id"`
	Sequence          types.Int64    `tfsdk:"sequence"`
	ImageID           types.String   `tfsdk:"image_id"`
	Status            types.String   `tfsdk:"status"`
	RenewalAt         types.String   `tfsdk:"renewal_at"`
	RenewalDue        types.List     `tfsdk:"renewal_due"`
	Handle            types.Object   `tfsdk:"handle"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
}

// serverModel is how the servers of a chaincode run.
type serverModel struct {
	Image   types.String `tfsdk:"image"`
	Env     types.Map    `tfsdk:"env"`
	Command types.List   `tfsdk:"command"`
	Limits  types.Object `tfsdk:"limits"`
	// SecretEnvWO is in the configuration only.
	SecretEnvWO        types.Map    `tfsdk:"secret_env_wo"`
	SecretEnvWOVersion types.String `tfsdk:"secret_env_wo_version"`
	Per                types.String `tfsdk:"per"`
	// MutualTLS has peer and server authenticate each other.
	MutualTLS types.Bool `tfsdk:"mutual_tls"`
}

// What one server is for.
const (
	perPeer         = "peer"
	perOrganization = "organization"
)

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
	"limits": types.ObjectType{AttrTypes: limitsTypes}, "mutual_tls": types.BoolType, "per": types.StringType,
	"secret_env_wo": types.MapType{ElemType: types.StringType}, "secret_env_wo_version": types.StringType,
}

var collectionType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"member_policy": types.StringType, "endorsement_policy": types.StringType, "required_peer_count": types.Int64Type,
	"max_peer_count": types.Int64Type, "block_to_live": types.Int64Type, "member_only_read": types.BoolType, "member_only_write": types.BoolType,
}}

// The checks of policies. Fabric takes for members whom one signature alone admits.
var (
	endorsementPolicyCheck = check{wants: "an endorsement policy", summary: "Policy that does not parse", problem: func(text string) error {
		_, err := policy.ParseApplicationPolicy(text)
		return err
	}}
	memberPolicyCheck = check{wants: "a signature policy of alternatives", summary: "Not a member policy", problem: func(text string) error {
		members, err := policy.Parse(text)
		if err == nil && !members.Alternatives() {
			err = fmt.Errorf("the member policy %s asks for several signatures at once, and members are those whom one admits: join them with OR", members)
		}
		return err
	}}
)

func (r *chaincodeResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_chaincode"
}

func (r *chaincodeResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	on := handleInput("Handle of the `fabric_channel` that the chaincode is committed on; or of the organization's `fabric_channel_membership`, where another state owns the channel. Changing it replaces the chaincode.", network.KindChannel, network.KindChannelMembership)
	on.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	count := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(0), MarkdownDescription: what,
			Validators: []validator.Int64{int64validator.Between(0, math.MaxInt32)},
		}
	}
	flag := func(what string) schema.BoolAttribute {
		return schema.BoolAttribute{Optional: true, Computed: true, Default: booldefault.StaticBool(false), MarkdownDescription: what}
	}
	limits := runAttributes(ctx, "server", "", "")["limits"]
	resp.Schema = schema.Schema{
		MarkdownDescription: "A chaincode on a channel, run as a service: one server beside each peer of the channel; or, with `package`, built and run by the peers, or served by somebody else. Its package is made by the provider, the same bytes for the same input, so that its package ID is known at plan. " +
			"It is installed on every peer that runs (on a stopped one when its `fabric_peer` is started again), approved by every organization in one block, committed, and created when a query would be served. A changed `version`, package or policy is an upgrade with the next sequence. " +
			"Organizations that run their peers in states of their own approve it by `fabric_chaincode_approval`: the plan warns whose approval is missing, and the apply waits, until its timeout, until those that the channel's policy `LifecycleEndorsement` wants are there. " +
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
				MarkdownDescription: "Label of the package. Defaults to `NAME_VERSION`, or to that of `package.archive`. Changing it is an upgrade.",
				Validators:          []validator.String{check{wants: "a package label", summary: "Not a package label", problem: lifecycle.ValidateLabel}},
			},
			"server": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "The chaincode server that runs beside each peer, or for each organization (`per`), hardened like the nodes. Needed without `package`; not allowed for chaincode that peers build.",
				Attributes: map[string]schema.Attribute{
					"image": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Image of the server, by tag or digest. It listens at `CHAINCODE_SERVER_ADDRESS` and serves as `CHAINCODE_ID`; both are set in its environment. Changing it replaces the servers without a new definition, as changing `env`, `command` or `limits` does: one after the other, each only when the one before serves. The old one serves until the new one answers. One that does not come up ends that, and is put back as it was; the others have not been touched.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
					"env": schema.MapAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Further environment variables. They are in the state: put no secrets here.",
					},
					"secret_env_wo": schema.MapAttribute{
						Optional: true, WriteOnly: true, Sensitive: true, ElementType: types.StringType,
						MarkdownDescription: "Further environment variables whose values are secret. Write-only: they are in no state, plan or log, but in the environment of the servers' containers, where whoever may ask the engine (`docker inspect`) or is root on its host reads them, as the chaincode does. Change `secret_env_wo_version` to have the servers replaced by others with new values; a server that is replaced for any other reason gets the values that the configuration has then.",
						Validators:          []validator.Map{mapvalidator.SizeAtLeast(1)},
					},
					"secret_env_wo_version": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Version of `secret_env_wo`, a text of your choice.",
					},
					"per": schema.StringAttribute{
						Optional: true, Computed: true, Default: stringdefault.StaticString(perPeer),
						MarkdownDescription: "`peer`: one server beside each peer of the channel. `organization`: one server of each organization serves all its peers of the channel, which saves memory, and when it fails they fail together. The package is the same, so that changing it is no upgrade: the new servers come up, and then the others hand over to them, one by one. Defaults to `peer`.",
						Validators:          []validator.String{stringvalidator.OneOf(perPeer, perOrganization)},
					},
					"command": schema.ListAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Command, where the image's own one does not serve.",
					},
					"limits": limits,
					"mutual_tls": schema.BoolAttribute{
						Optional: true, Computed: true, Default: booldefault.StaticBool(false),
						MarkdownDescription: "Peer and server reach each other by mutual TLS, with certificates of a root of their own that signs nothing else and whose key is not kept. Keys are on the volumes of the two, never in the package, so that a renewal is no upgrade; changing `mutual_tls` itself is one, because the package says whether there is TLS. " +
							"The image finds its files as Fabric's samples for Go do (`CHAINCODE_TLS_KEY`, `CHAINCODE_TLS_CERT`, `CHAINCODE_CLIENT_CA_CERT`), and as the libraries for Node and Java do. It must serve TLS then: peers speak nothing else to it. Defaults to `false`.",
					},
				},
			},
			"package": packageAttribute(),
			"endorsement_policy": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Endorsement policy, for example `AND('Org1MSP.peer', 'Org2MSP.peer')`, or the path of a policy of the channel. Defaults to the channel's `/Channel/Application/Endorsement`.",
				Validators:          []validator.String{endorsementPolicyCheck},
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
						Validators:          []validator.String{memberPolicyCheck},
					},
					"endorsement_policy": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Endorsement policy of writes to the collection. Defaults to the chaincode's.",
						Validators:          []validator.String{endorsementPolicyCheck},
					},
					"required_peer_count": count("How many other peers must have received the data before an endorsement is given. Defaults to 0."),
					"max_peer_count":      count("How many other peers the data is sent to at endorsement. Defaults to 0."),
					"block_to_live":       count("After how many blocks the data is purged; 0, the default, keeps it."),
					"member_only_read":    flag("Only clients of members may read. Defaults to `false`."),
					"member_only_write":   flag("Only clients of members may write. Defaults to `false`."),
				}},
			},
			"indexes": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "CouchDB indexes, in JSON by file name: `FILE.json`, or `COLLECTION/FILE.json` for one of a private data collection, each for example `jsonencode({ index = { fields = [\"owner\"] }, ddoc = \"owner\", name = \"owner\", type = \"json\" })`. " +
					"They are part of the package, so that changing one is an upgrade, but for its spacing. Peers whose state database is goleveldb pass over them.",
			},
			"verification": verificationAttribute(),
			"approvals":    approvalsAttribute(),
			"canary":       canaryAttribute(),
			"package_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Package ID (`LABEL:SHA256`), known at plan when the channel's name is, and the folder or file of `package`.",
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
				MarkdownDescription: "`running` when a server runs beside every peer of the channel, or of its organization, where it has servers, and every peer that runs has the package, else `altered` (also when servers differ, because a roll did not come to its end), `detached`, `stopped` or `absent`, as for a node. The next apply repairs what is not.",
			},
			"renewal_at": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "When the first certificate of a server with `mutual_tls` falls due (RFC 3339, UTC). Absent without.",
			},
			"renewal_due": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "The peers whose servers the next apply gives new certificates, as of the last refresh. Each is replaced. Usually empty.",
			},
			"handle":   handleOutput("chaincode"),
			"timeouts": operationTimeouts(ctx),
		},
	}
}

// ValidateConfig refuses collections without members, indexes that no peer would make, and what
// nobody could ever meet.
func (r *chaincodeResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var config chaincodeModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	config.validateDefinition(ctx, &resp.Diagnostics)
	config.validateIndexes(&resp.Diagnostics)
	config.validatePackage(ctx, &resp.Diagnostics)
	config.validateVerification(ctx, &resp.Diagnostics)
	config.validateCanary(ctx, &resp.Diagnostics)
	config.validateServer(ctx, &resp.Diagnostics)
}

// validateDefinition refuses policies and collections that no channel would take.
func (m *chaincodeModel) validateDefinition(ctx context.Context, diags *diag.Diagnostics) {
	refuseUnsatisfiable(path.Root("endorsement_policy"), m.EndorsementPolicy, diags)
	for _, name := range slices.Sorted(maps.Keys(m.Collections.Elements())) {
		at := path.Root("collections").AtMapKey(name)
		if err := lifecycle.ValidateCollectionName(name); err != nil {
			addNested(diags, at, "Not a collection name", sentence(err))
		}
		object, ok := m.Collections.Elements()[name].(types.Object)
		if !ok || object.IsUnknown() || object.IsNull() {
			continue
		}
		var c collectionModel
		diags.Append(object.As(ctx, &c, basetypes.ObjectAsOptions{})...)
		if c.MemberPolicy.IsNull() {
			addNested(diags, at.AtName("member_policy"), "Missing member policy", "A collection needs a member_policy that says who may hold its data.")
		}
		refuseUnsatisfiable(at.AtName("endorsement_policy"), c.EndorsementPolicy, diags)
		if !c.RequiredPeerCount.IsUnknown() && !c.MaxPeerCount.IsUnknown() && c.MaxPeerCount.ValueInt64() < c.RequiredPeerCount.ValueInt64() {
			addNested(diags, at.AtName("max_peer_count"), "Fewer peers than required",
				fmt.Sprintf("The data is sent to %d other peers at most, and %d must have it. Set max_peer_count to required_peer_count or more.", c.MaxPeerCount.ValueInt64(), c.RequiredPeerCount.ValueInt64()))
		}
	}
}

func (m *chaincodeModel) validateIndexes(diags *diag.Diagnostics) {
	for _, name := range slices.Sorted(maps.Keys(m.Indexes.Elements())) {
		at := path.Root("indexes").AtMapKey(name)
		if _, err := lifecycle.IndexPath(name); err != nil {
			diags.AddAttributeError(at, "Not the name of an index", sentence(err))
			continue
		}
		if collection, _, ok := strings.Cut(name, "/"); ok && !m.Collections.IsUnknown() && m.Collections.Elements()[collection] == nil {
			diags.AddAttributeError(at, "Index of no collection", fmt.Sprintf("There is no %s in collections, so there is nothing to make an index for.", collection))
		}
		if content, ok := m.Indexes.Elements()[name].(types.String); ok && !content.IsUnknown() {
			if _, err := lifecycle.ParseIndex([]byte(content.ValueString())); err != nil {
				diags.AddAttributeError(at, "Not a CouchDB index", sentence(err))
			}
		}
	}
}

// refuseUnsatisfiable refuses a policy that no number of signatures meets, although Fabric takes it.
func refuseUnsatisfiable(at path.Path, text types.String, diags *diag.Diagnostics) {
	if text.IsNull() || text.IsUnknown() {
		return
	}
	parsed, err := policy.ParseApplicationPolicy(text.ValueString())
	if err != nil || parsed.Signature.IsZero() || parsed.Signature.Satisfiable() {
		return // what does not parse is the validator's to tell
	}
	diags.AddAttributeError(at, "Policy that nobody can meet", fmt.Sprintf("The policy %s asks for more signatures than it names principals. Fabric takes it, and then refuses every transaction.", parsed))
}

// beginPlan plans what a chaincode and an approval of one have alike: label, package ID and handle, signatures,
// who has to approve, and servers. Prior is the zero value where there is none yet; ok is false where there is
// nothing more to plan.
func beginPlan(ctx context.Context, kind network.Kind, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) (plan, prior chaincodeModel, exists, ok bool) {
	if req.Plan.Raw.IsNull() {
		return plan, prior, false, false
	}
	var config chaincodeModel
	exists = !req.State.Raw.IsNull()
	if exists {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return plan, prior, exists, false
	}
	plan.planLabel(&config)
	plan.planPackage(ctx, kind, &resp.Diagnostics)
	plan.planVerification(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return plan, prior, exists, false
	}
	if exists {
		plan.planApprovals(ctx, &prior, &resp.Diagnostics)
	} else {
		plan.planApprovals(ctx, nil, &resp.Diagnostics)
	}
	plan.Status, plan.Sequence = types.StringUnknown(), types.Int64Unknown()
	plan.planServers(&prior)
	return plan, prior, exists, true
}

// ModifyPlan plans whether there will be a new definition.
func (r *chaincodeResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	plan, prior, exists, ok := beginPlan(ctx, network.KindChaincode, req, resp)
	if !ok {
		return
	}
	plan.Status = types.StringValue(string(engine.Running))
	same := false
	if exists {
		same = plan.keepMeaning(ctx, &prior, &resp.Diagnostics)
		if same && isAdopted(ctx, req.Private, &resp.Diagnostics) && plan.sameRelease(ctx, &prior) {
			plan.PackageID = prior.PackageID // it was packed by something else, and runs
		}
		// A release that is not whole may take another sequence to mend.
		approved := plan.Approvals.IsNull() || plan.image().Equal(prior.image()) // else the image takes a release
		if same && approved && prior.Status.Equal(plan.Status) && !changed(prior.Version, plan.Version, prior.Label, plan.Label, prior.PackageID, plan.PackageID, prior.InitRequired, plan.InitRequired) {
			plan.Sequence = prior.Sequence
		}
		if plan.sameIndexes(ctx, &prior) {
			plan.Indexes = prior.Indexes
		}
	}
	if exists && prior.Status.Equal(plan.Status) && plan.otherDefinition(&prior, same) {
		plan.Sequence = types.Int64Value(prior.Sequence.ValueInt64() + 1)
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !same {
		r.checkPolicies(ctx, &plan, &resp.Diagnostics)
	}
	if !exists || !plan.Sequence.Equal(prior.Sequence) {
		r.warnOfMissingApprovals(ctx, &plan, &resp.Diagnostics)
	}
}

// planServers plans what is known of the servers. Prior is the model of the state; its zero value when there
// is none.
func (m *chaincodeModel) planServers(prior *chaincodeModel) {
	m.ImageID, m.RenewalAt, m.RenewalDue = types.StringUnknown(), types.StringUnknown(), types.ListValueMust(types.StringType, nil)
	switch {
	case m.Server.IsNull():
		m.ImageID, m.RenewalAt = types.StringNull(), types.StringNull()
		return
	case m.image().Equal(prior.image()) && !prior.ImageID.IsNull():
		m.ImageID = prior.ImageID
	}
	if wanted, ok := m.mutualTLS(); ok && !wanted {
		m.RenewalAt = types.StringNull()
		return
	}
	stay := m.Server.Equal(prior.Server) && m.PackageID.Equal(prior.PackageID) && prior.Status.ValueString() == string(engine.Running)
	if stay && len(prior.RenewalDue.Elements()) == 0 {
		m.RenewalAt = prior.RenewalAt
	}
}

// planLabel makes the label where none is given.
func (m *chaincodeModel) planLabel(config *chaincodeModel) {
	if !config.Label.IsNull() {
		return
	}
	m.Label = types.StringUnknown()
	if !m.Name.IsUnknown() && !m.Version.IsUnknown() && !m.fromArchive() {
		m.Label = types.StringValue(m.Name.ValueString() + "_" + m.Version.ValueString())
	}
}

// otherDefinition tells whether it is known that this takes another definition than there was, or another
// package, which every organization approves with the next one. Same are policies and collections.
func (m *chaincodeModel) otherDefinition(prior *chaincodeModel, same bool) bool {
	if m.Version.IsUnknown() || m.PackageID.IsUnknown() || m.InitRequired.IsUnknown() || m.EndorsementPolicy.IsUnknown() || m.Collections.IsUnknown() {
		return false
	}
	return !same || changed(prior.Version, m.Version, prior.PackageID, m.PackageID, prior.InitRequired, m.InitRequired)
}

// sameRelease tells whether package, servers and definition are what they were, but for the policies.
func (m *chaincodeModel) sameRelease(ctx context.Context, prior *chaincodeModel) bool {
	return !changed(prior.Version, m.Version, prior.Label, m.Label, prior.InitRequired, m.InitRequired, prior.Server, m.Server, prior.Package, m.Package) &&
		(m.Indexes.Equal(prior.Indexes) || m.sameIndexes(ctx, prior))
}

// keepMeaning keeps the prior text of policies that only changed their spelling, and tells whether
// policy and collections mean what they meant before. Changes that Fabric refuses are problems.
func (m *chaincodeModel) keepMeaning(ctx context.Context, prior *chaincodeModel, problems *diag.Diagnostics) bool {
	if !known(ctx, m.EndorsementPolicy, m.Collections) {
		return false
	}
	var diags diag.Diagnostics // validators have told already
	before, now := prior.definition(ctx, &diags), m.definition(ctx, &diags)
	if diags.HasError() {
		return false
	}
	addPolicyErrors(problems, network.CheckCollections(before.Collections, now.Collections))
	policies := network.SamePolicy(before.ValidationParameter, now.ValidationParameter)
	if policies && !prior.EndorsementPolicy.IsNull() && !m.EndorsementPolicy.IsNull() {
		m.EndorsementPolicy = prior.EndorsementPolicy
	}
	collections := network.SameCollections(before.Collections, now.Collections)
	if collections && !prior.Collections.IsNull() && !m.Collections.IsNull() {
		m.Collections = prior.Collections
	}
	return policies && collections
}

// checkPolicies holds the policies to the members of the channel: those that this plan gives it, or else
// those that it has, where it is there already. What it finds is only told: nothing in the plan depends
// on it. What cannot be asked is asked at apply.
func (r *chaincodeResource) checkPolicies(ctx context.Context, plan *chaincodeModel, diags *diag.Diagnostics) {
	if r.session == nil || !known(ctx, plan.Channel, plan.Name, plan.EndorsementPolicy, plan.Collections) {
		return
	}
	members, planned := r.session.claims.membersOf(plan.Channel)
	if !planned {
		f, err := r.session.open()
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		found, ok, err := f.ChannelMembers(ctx, handleFrom(ctx, plan.Channel, diags))
		if err != nil || !ok {
			return
		}
		members = &found
	}
	if members != nil {
		addPolicyErrors(diags, members.CheckPolicies(plan.definition(ctx, diags)))
	}
}

// addPolicyErrors reports what is wrong with policies, each at its attribute, and tells whether
// there was anything.
func addPolicyErrors(diags *diag.Diagnostics, err error) bool {
	unknown, unsatisfiable, noPolicy := new(network.UnknownMSPError), new(network.UnsatisfiableError), new(network.UnknownPolicyError)
	collection, tooFew := new(network.CollectionError), new(network.TooFewPeersError)
	switch joined, ok := err.(interface{ Unwrap() []error }); {
	case ok:
		found := false
		for _, one := range joined.Unwrap() {
			found = addPolicyErrors(diags, one) || found
		}
		return found
	case errors.As(err, &unknown):
		diags.AddAttributeError(policyAttribute(unknown.Whose), "Policy that names an unknown MSP", sentence(err))
	case errors.As(err, &unsatisfiable):
		diags.AddAttributeError(policyAttribute(unsatisfiable.Whose), "Policy that the peers cannot meet", sentence(err))
	case errors.As(err, &noPolicy):
		diags.AddAttributeError(policyAttribute(noPolicy.Whose), "Policy that the channel does not have", sentence(err))
	case errors.As(err, &tooFew):
		diags.AddAttributeError(path.Root("collections").AtMapKey(tooFew.Collection).AtName("required_peer_count"), "More peers than the members have", sentence(err))
	case errors.As(err, &collection):
		at := path.Root("collections")
		if !collection.Gone {
			at = at.AtMapKey(collection.Collection).AtName("block_to_live")
		}
		diags.AddAttributeError(at, "Collection that cannot be changed so", sentence(err)+"\n\nKeep it as it is on the ledger, beside any new ones.")
	default:
		return false
	}
	return true
}

func policyAttribute(whose network.Whose) path.Path {
	if whose.Collection == "" {
		return path.Root("endorsement_policy")
	}
	at := path.Root("collections").AtMapKey(whose.Collection)
	if whose.Members {
		return at.AtName("member_policy")
	}
	return at.AtName("endorsement_policy")
}

func (m *chaincodeModel) planPackage(ctx context.Context, kind network.Kind, diags *diag.Diagnostics) {
	m.PackageID, m.Handle = types.StringUnknown(), types.ObjectUnknown(handleTypes)
	channel := handleMember(m.Channel, "name")
	if !m.Package.IsNull() {
		m.planGivenPackage(ctx, channel, diags)
	}
	if channel.IsUnknown() {
		return
	}
	if !m.Name.IsUnknown() {
		name := types.StringValue(channel.ValueString() + "/" + m.Name.ValueString())
		m.Handle = planHandle(ctx, m.Channel, kind, name, handleMember(m.Channel, "msp_id"), diags)
	}
	if !m.Package.IsNull() || m.Label.IsUnknown() || !known(ctx, m.Indexes) {
		return
	}
	indexes := m.indexes(ctx, diags)
	if diags.HasError() {
		return
	}
	mutualTLS, ok := m.mutualTLS()
	if !ok {
		return
	}
	_, id, err := network.ChaincodePackage(channel.ValueString(), m.Label.ValueString(), indexes, mutualTLS)
	switch {
	case err == nil:
		m.PackageID = types.StringValue(id)
	case lifecycle.ValidateLabel(m.Label.ValueString()) != nil:
		diags.AddAttributeError(path.Root("label"), "Not a package label", sentence(err))
	default:
		diags.AddAttributeError(path.Root("indexes"), "Indexes that make no package", sentence(err))
	}
}

// indexes reads the indexes, by their path below META-INF and in one form each.
func (m *chaincodeModel) indexes(ctx context.Context, diags *diag.Diagnostics) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range stringMap(ctx, m.Indexes, diags) {
		at, err := lifecycle.IndexPath(name)
		if err == nil {
			out[at], err = lifecycle.ParseIndex([]byte(text))
		}
		if err != nil {
			diags.AddAttributeError(path.Root("indexes").AtMapKey(name), "Not a CouchDB index", sentence(err))
		}
	}
	return out
}

// sameIndexes tells whether the indexes are the same but for their spelling.
func (m *chaincodeModel) sameIndexes(ctx context.Context, prior *chaincodeModel) bool {
	if !known(ctx, m.Indexes) || m.Indexes.IsNull() || prior.Indexes.IsNull() {
		return false
	}
	var diags diag.Diagnostics // what does not parse is another one
	same := maps.EqualFunc(m.indexes(ctx, &diags), prior.indexes(ctx, &diags), bytes.Equal)
	return same && !diags.HasError()
}

// takeIndexes writes the indexes of a package.
func (m *chaincodeModel) takeIndexes(ctx context.Context, indexes map[string][]byte, diags *diag.Diagnostics) {
	texts := map[string]string{}
	for at, content := range indexes {
		if name, ok := lifecycle.IndexName(at); ok {
			texts[name] = string(content)
		}
	}
	m.Indexes = mapOf(ctx, texts, diags)
}

func (m *chaincodeModel) image() attr.Value {
	if m.Server.IsNull() || m.Server.IsUnknown() {
		return types.StringUnknown()
	}
	return m.Server.Attributes()["image"]
}

// mutualTLS tells whether peers and servers speak TLS; false when that is not known yet.
func (m *chaincodeModel) mutualTLS() (wanted, known bool) {
	if m.Server.IsNull() || m.Server.IsUnknown() {
		return false, false
	}
	value, ok := m.Server.Attributes()["mutual_tls"].(types.Bool)
	return value.ValueBool(), ok && !value.IsUnknown()
}

// definition reads what goes to the ledger.
func (m *chaincodeModel) definition(ctx context.Context, diags *diag.Diagnostics) network.ChaincodeSpec {
	spec := network.ChaincodeSpec{
		Channel: handleFrom(ctx, m.Channel, diags), Name: m.Name.ValueString(), Version: m.Version.ValueString(), Label: m.Label.ValueString(),
		InitRequired: m.InitRequired.ValueBool(),
	}
	if text := m.EndorsementPolicy.ValueString(); text != "" {
		parsed, err := policy.ParseApplicationPolicy(text)
		if err == nil {
			spec.ValidationParameter, err = parsed.Marshal()
		}
		if err != nil {
			diags.AddAttributeError(path.Root("endorsement_policy"), "Policy that does not parse", sentence(err))
		}
	}
	collections, err := network.CollectionPackage(m.collections(ctx, diags))
	if err != nil {
		diags.AddAttributeError(path.Root("collections"), "Policy that does not parse", sentence(err))
	}
	spec.Collections = collections
	return spec
}

// spec reads the whole of a known model.
func (m *chaincodeModel) spec(ctx context.Context, diags *diag.Diagnostics) network.ChaincodeSpec {
	spec := m.definition(ctx, diags)
	spec.Indexes = m.indexes(ctx, diags)
	spec.Verification, spec.Approvals, spec.Canary = m.verification(ctx, diags), m.approvals(ctx, diags), m.canary(ctx, diags)
	spec.Package, spec.PackageID, spec.Sequence = m.packageSource(ctx, diags), m.PackageID.ValueString(), m.Sequence.ValueInt64()
	if m.Server.IsNull() {
		return spec
	}
	var s serverModel
	diags.Append(m.Server.As(ctx, &s, basetypes.ObjectAsOptions{})...)
	options := (&runModel{Image: s.Image, ImageID: m.ImageID, Limits: s.Limits}).options(ctx, diags)
	spec.Server = network.ChaincodeServer{NodeOptions: options, Env: stringMap(ctx, s.Env, diags), Command: stringList(ctx, s.Command, diags), MutualTLS: s.MutualTLS.ValueBool()}
	spec.Server.PerOrganization, spec.Server.SecretVersion = s.Per.ValueString() == perOrganization, s.SecretEnvWOVersion.ValueString()
	return spec
}

// takeSecrets reads the secrets of the servers and of their canary, which the configuration alone has.
func takeSecrets(ctx context.Context, config tfsdk.Config, spec *network.ChaincodeSpec, diags *diag.Diagnostics) {
	takeToken(ctx, config, spec.Canary, diags)
	var given chaincodeModel
	diags.Append(config.Get(ctx, &given)...)
	if given.Server.IsNull() || diags.HasError() {
		return
	}
	var s serverModel
	diags.Append(given.Server.As(ctx, &s, basetypes.ObjectAsOptions{})...)
	spec.Server.SecretEnv = stringMap(ctx, s.SecretEnvWO, diags)
	spec.Server.SecretNames = slices.Sorted(maps.Keys(spec.Server.SecretEnv))
}

// validateServer refuses variables that are given twice, and secrets of which nobody could tell when they change.
func (m *chaincodeModel) validateServer(ctx context.Context, diags *diag.Diagnostics) {
	if m.Server.IsNull() || m.Server.IsUnknown() {
		return
	}
	var s serverModel
	diags.Append(m.Server.As(ctx, &s, basetypes.ObjectAsOptions{})...)
	at := path.Root("server")
	for _, name := range slices.Sorted(maps.Keys(s.SecretEnvWO.Elements())) {
		if s.Env.Elements()[name] != nil {
			diags.AddAttributeError(at.AtName("secret_env_wo").AtMapKey(name), "Variable given twice", name+" is in env, too, where it is no secret: leave it out of one of them.")
		}
	}
	if !s.SecretEnvWO.IsNull() && s.SecretEnvWOVersion.IsNull() {
		diags.AddAttributeError(at.AtName("secret_env_wo_version"), "Missing version of secrets", "Nothing that is kept tells when secret_env_wo changes: set a version, and change it with the values.")
	}
}

// collections reads the collections, in the order of their names.
func (m *chaincodeModel) collections(ctx context.Context, diags *diag.Diagnostics) []network.Collection {
	var out []network.Collection
	for _, name := range slices.Sorted(maps.Keys(m.Collections.Elements())) {
		object, ok := m.Collections.Elements()[name].(types.Object)
		if !ok {
			continue
		}
		var c collectionModel
		diags.Append(object.As(ctx, &c, basetypes.ObjectAsOptions{})...)
		out = append(out, network.Collection{
			Name: name, MemberPolicy: c.MemberPolicy.ValueString(), EndorsementPolicy: c.EndorsementPolicy.ValueString(),
			RequiredPeerCount: c.RequiredPeerCount.ValueInt64(), MaxPeerCount: c.MaxPeerCount.ValueInt64(), BlockToLive: c.BlockToLive.ValueInt64(),
			MemberOnlyRead: c.MemberOnlyRead.ValueBool(), MemberOnlyWrite: c.MemberOnlyWrite.ValueBool(),
		})
	}
	return out
}

// takeCollections writes the collections of a definition.
func (m *chaincodeModel) takeCollections(ctx context.Context, collections []network.Collection, diags *diag.Diagnostics) {
	m.Collections = types.MapNull(collectionType)
	if len(collections) == 0 {
		return
	}
	models := map[string]collectionModel{}
	for _, c := range collections {
		models[c.Name] = collectionModel{
			MemberPolicy: types.StringValue(c.MemberPolicy), EndorsementPolicy: nullable(c.EndorsementPolicy),
			RequiredPeerCount: types.Int64Value(c.RequiredPeerCount), MaxPeerCount: types.Int64Value(c.MaxPeerCount), BlockToLive: types.Int64Value(c.BlockToLive),
			MemberOnlyRead: types.BoolValue(c.MemberOnlyRead), MemberOnlyWrite: types.BoolValue(c.MemberOnlyWrite),
		}
	}
	value, d := types.MapValueFrom(ctx, collectionType, models)
	diags.Append(d...)
	m.Collections = value
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
	takeSecrets(ctx, req.Config, &spec, &resp.Diagnostics)
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
		addChaincodeError(&resp.Diagnostics, "Unable to create chaincode "+plan.Name.ValueString(), err)
		return
	}
	plan.merge(state)
	warnOfResting(&resp.Diagnostics, &plan, state)
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// addChaincodeError names the attribute where it is known.
func addChaincodeError(diags *diag.Diagnostics, summary string, err error) {
	switch label, stopped := new(network.LabelTakenError), new(network.NotRunningError); {
	case err == nil || addPolicyErrors(diags, err) || addVerificationError(diags, summary, err) || addApprovalError(diags, summary, err):
	case errors.As(err, &label):
		diags.AddAttributeError(path.Root("label"), summary, sentence(err)+"\n\nSet another label, or another version, from which it is made.")
	case errors.As(err, new(*network.PackageChangedError)):
		diags.AddAttributeError(path.Root("package"), summary, sentence(err)+"\n\nPlan again, and leave the files alone until it is applied.")
	case errors.As(err, &stopped):
		diags.AddAttributeError(path.Root("channel"), summary, sentence(err)+"\n\nEvery organization of the channel approves a chaincode, which takes a peer of its own: start one, or take the organization's peers out of the channel.")
	case errors.Is(err, engine.ErrNoImage):
		diags.AddAttributeError(path.Root("server").AtName("image"), summary, explain(err))
	default:
		addError(diags, summary, err)
	}
}

func (m *chaincodeModel) merge(s network.ChaincodeState) {
	m.Sequence, m.PackageID = types.Int64Value(s.Committed.Sequence), types.StringValue(s.PackageID)
	m.ImageID, m.Status = nullable(s.ImageID), types.StringValue(string(s.Status))
	m.takeRenewal(s)
}

// takeRenewal writes when servers are to have new certificates.
func (m *chaincodeModel) takeRenewal(s network.ChaincodeState) {
	m.RenewalAt, m.RenewalDue = types.StringNull(), types.ListValueMust(types.StringType, nil)
	if s.RenewalAt.IsZero() {
		return
	}
	m.RenewalAt = types.StringValue(s.RenewalAt.UTC().Format(time.RFC3339))
	due := make([]attr.Value, len(s.RenewalDue))
	for i, peer := range s.RenewalDue {
		due[i] = types.StringValue(peer)
	}
	m.RenewalDue = types.ListValueMust(types.StringType, due)
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
	if errors.As(err, new(*network.UnansweredError)) || errors.Is(err, network.ErrLost) {
		resp.Diagnostics.AddWarning("Chaincode "+state.Name.ValueString()+" could not be read from the ledger",
			sentence(err)+"\n\nWhat the state holds of it is kept.")
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
	if known := state.Sequence.ValueInt64(); found.Committed.Sequence < known { // a ledger never goes back
		resp.Diagnostics.AddWarning("Chaincode "+state.Name.ValueString()+" could not be read from the ledger",
			fmt.Sprintf("The peers that answer know the definition with sequence %d, and there was one with %d before: they do not have all blocks yet.\n\nWhat the state holds of it is kept.", found.Committed.Sequence, known))
		resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
		return
	}
	adopted := isAdopted(ctx, req.Private, &resp.Diagnostics)
	if otherImage := !state.ImageID.IsNull() && found.ImageID != "" && found.ImageID != state.ImageID.ValueString(); otherImage && !adopted && found.Status == engine.Running {
		found.Status = network.Altered // an apply that was killed has replaced it
	}
	state.compare(ctx, found, &resp.Diagnostics)
	state.forgetLostImage(ctx, f, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// forgetLostImage has the image resolved again by its reference, when servers are to be made anew
// and the content that they ran is gone from the engine.
func (m *chaincodeModel) forgetLostImage(ctx context.Context, f *network.Fabric, diags *diag.Diagnostics) {
	run := &runModel{Image: types.StringValue("of chaincode " + m.Name.ValueString()), ImageID: m.ImageID}
	run.forgetLostImage(ctx, f, m.Status, diags)
	m.ImageID = run.ImageID
}

// compare takes what the ledger says where it differs from what the state says.
func (m *chaincodeModel) compare(ctx context.Context, found network.ChaincodeState, diags *diag.Diagnostics) {
	m.Status = types.StringValue(string(found.Status))
	m.takeRenewal(found)
	var unreadable diag.Diagnostics // after an import there is nothing to compare with yet
	before := m.definition(ctx, &unreadable)
	committed := found.Committed
	m.Sequence, m.Version = types.Int64Value(committed.Sequence), types.StringValue(committed.Version)
	m.InitRequired, m.PackageID = types.BoolValue(committed.InitRequired), types.StringValue(found.PackageID)
	if !network.SamePolicy(before.ValidationParameter, committed.ValidationParameter) {
		m.takePolicy(committed.ValidationParameter)
	}
	if !network.SameCollections(before.Collections, committed.Collections) {
		m.takeCollections(ctx, network.Collections(committed.Collections), diags)
	}
}

// takePolicy writes the endorsement policy of a definition; the channel's default is none.
func (m *chaincodeModel) takePolicy(parameter []byte) {
	m.EndorsementPolicy = types.StringNull()
	if network.SamePolicy(parameter, nil) {
		return
	}
	if ledger, err := policy.UnmarshalApplicationPolicy(parameter); err == nil {
		m.EndorsementPolicy = types.StringValue(ledger.String())
	}
}

func (r *chaincodeResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior chaincodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	spec := plan.spec(ctx, &resp.Diagnostics)
	takeSecrets(ctx, req.Config, &spec, &resp.Diagnostics)
	stays := isAdopted(ctx, req.Private, &resp.Diagnostics) && plan.PackageID.Equal(prior.PackageID)
	if resp.Diagnostics.HasError() {
		return
	}
	release := f.ReleaseChaincode
	if stays {
		release = func(ctx context.Context, _ network.ChaincodeSpec) (network.ChaincodeState, error) {
			return f.StartAdoptedChaincode(ctx, handleFrom(ctx, plan.Handle, &resp.Diagnostics))
		}
	} else if err := f.PreflightChaincode(ctx, spec); err != nil {
		addChaincodeError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(), err)
		return
	}
	state, err := release(ctx, spec)
	if err != nil {
		addChaincodeError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(), err)
		return
	}
	if !plan.Sequence.IsUnknown() && plan.Sequence.ValueInt64() != state.Committed.Sequence {
		addError(&resp.Diagnostics, "Unable to update chaincode "+plan.Name.ValueString(),
			fmt.Errorf("the plan was made for sequence %d, and the channel is at %d now: plan again", plan.Sequence.ValueInt64(), state.Committed.Sequence))
		return
	}
	plan.merge(state)
	warnOfResting(&resp.Diagnostics, &plan, state)
	if !stays { // what runs is ours from now on
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, adoptedKey, nil)...)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
}

// warnOfResting tells of the peers that a release passed over.
func warnOfResting(diags *diag.Diagnostics, m *chaincodeModel, state network.ChaincodeState) {
	for _, p := range state.Resting {
		diags.AddAttributeWarning(path.Root("channel"), "Chaincode "+m.Name.ValueString()+" is not installed on "+p.String(),
			"The peer is not running. The package is installed when the fabric_peer is started again.")
	}
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
