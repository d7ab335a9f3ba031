package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// chaincodeApprovalResource is fabric_chaincode for an organization that approves and does not commit. What
// is configured is the same.
type chaincodeApprovalResource struct{ chaincodeResource }

var (
	_ resource.ResourceWithConfigure      = &chaincodeApprovalResource{}
	_ resource.ResourceWithImportState    = &chaincodeApprovalResource{}
	_ resource.ResourceWithModifyPlan     = &chaincodeApprovalResource{}
	_ resource.ResourceWithValidateConfig = &chaincodeApprovalResource{}
)

func newChaincodeApprovalResource() resource.Resource { return &chaincodeApprovalResource{} }

// approvalPending is what status says of an approval of a definition that nobody has committed yet.
const approvalPending = "approved"

func (r *chaincodeApprovalResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_chaincode_approval"
}

// Schema is that of fabric_chaincode; the words differ where they must.
func (r *chaincodeApprovalResource) Schema(ctx context.Context, req resource.SchemaRequest, resp *resource.SchemaResponse) {
	r.chaincodeResource.Schema(ctx, req, resp)
	resp.Schema.MarkdownDescription = "One organization's own approval of a chaincode that another state commits: the package is installed on the peers of its `fabric_channel_membership`, a server runs beside each, and the organization approves the definition. " +
		"The sequence is found by itself: the next one for what the channel does not have, the one in force for what it has, also after the fact. Fabric compares what organizations approve byte by byte: write policies and collections as the others do. " +
		"Before the channel commits a changed definition, the servers of the earlier package go on; once it has, the next apply removes them. " +
		"Somebody else's commit of another definition shows as drift: take it over to approve it, or leave it, and the plan is to approve this one again with the next sequence. " +
		"Destroying it removes the servers; the approval stays on the ledger, because Fabric cannot take it away, and the organization's peers then endorse no calls."
	on := handleInput("Handle of the organization's `fabric_channel_membership`. Changing it replaces the approval.", network.KindChannelMembership)
	on.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	resp.Schema.Attributes["channel"] = on
	say := func(name, what string) {
		switch a := resp.Schema.Attributes[name].(type) {
		case schema.StringAttribute:
			a.MarkdownDescription = what
			resp.Schema.Attributes[name] = a
		case schema.Int64Attribute:
			a.MarkdownDescription = what
			resp.Schema.Attributes[name] = a
		}
	}
	say("name", "Name on the channel. Changing it replaces the approval.")
	say("version", "Version of the definition. Changing it approves a definition with the next sequence.")
	say("label", "Label of the package. Defaults to `NAME_VERSION`. The package is the organization's own: changing it is approved anew, with the same sequence.")
	say("sequence", "Sequence of the definition that is approved.")
	say("status", "`running` when the definition is in force, a server runs beside every peer of the membership and every peer that runs has the package; `approved` when all is so but that nobody has committed it yet; "+
		"`superseded` while servers of an earlier package run beside those of one that is in force; else `altered`, `detached`, `stopped` or `absent`, as for a node. The next apply repairs what is not as it should be.")
	resp.Schema.Attributes["handle"] = handleOutput("approval")
}

// ModifyPlan computes label, package ID and handle, and with which sequence something else is approved.
func (r *chaincodeApprovalResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
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
	plan.planLabel(&config)
	plan.planPackage(ctx, network.KindChaincodeApproval, &resp.Diagnostics)
	plan.planVerification(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.Status, plan.Sequence = types.StringUnknown(), types.Int64Unknown()
	plan.planServers(&prior)
	same := false
	if exists {
		same = plan.keepMeaning(ctx, &prior, &resp.Diagnostics)
		plan.planApproval(ctx, &prior, same)
		if plan.sameIndexes(ctx, &prior) {
			plan.Indexes = prior.Indexes
		}
	}
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if !same {
		r.checkPolicies(ctx, &plan, &resp.Diagnostics)
	}
}

// planApproval plans sequence and status. Another package is approved with the same sequence. What becomes of
// a definition that is not in force depends on what is, which shows at apply.
func (m *chaincodeModel) planApproval(ctx context.Context, prior *chaincodeModel, same bool) {
	switch {
	case prior.Sequence.IsNull() || !known(ctx, m.Version, m.InitRequired, m.EndorsementPolicy, m.Collections):
		return
	case same && !changed(prior.Version, m.Version, prior.InitRequired, m.InitRequired):
		m.Sequence = prior.Sequence
		if prior.Status.ValueString() == approvalPending || prior.Status.ValueString() == string(engine.Running) {
			m.Status = prior.Status
		}
	case prior.Status.ValueString() == string(engine.Running):
		m.Sequence = types.Int64Value(prior.Sequence.ValueInt64() + 1)
	}
}

func (r *chaincodeApprovalResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan chaincodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	plan.approve(ctx, f, "create", req.Config, func() {
		rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
		resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	}, &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

func (r *chaincodeApprovalResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan chaincodeModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Update, &resp.Diagnostics)
	defer cancel()
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.approve(ctx, f, "update", req.Config, func() {}, &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

// approve brings the approval to what is planned; begun is called when nothing stands in the way.
func (m *chaincodeModel) approve(ctx context.Context, f *network.Fabric, action string, config tfsdk.Config, begun func(), diags *diag.Diagnostics) {
	spec := m.spec(ctx, diags)
	takeSecrets(ctx, config, &spec, diags)
	spec.ApproveOnly = true
	if diags.HasError() {
		return
	}
	summary := fmt.Sprintf("Unable to %s the approval of chaincode %s", action, m.Name.ValueString())
	if err := f.PreflightChaincode(ctx, spec); err != nil {
		addChaincodeError(diags, summary, err)
		return
	}
	begun()
	state, err := f.ReleaseChaincode(ctx, spec)
	if err != nil {
		addChaincodeError(diags, summary, err)
		return
	}
	status := approvalStatus(state)
	state.Committed = state.Approved
	m.merge(state)
	m.Status = status
	warnOfResting(diags, m, state)
}

// approvalStatus is the status of an approval.
func approvalStatus(s network.ChaincodeState) types.String {
	inForce := s.Committed != nil && s.Approved != nil && s.Committed.Sequence == s.Approved.Sequence
	if s.Approved != nil && !inForce && s.Status == engine.Running {
		return types.StringValue(approvalPending)
	}
	return types.StringValue(string(s.Status))
}

func (r *chaincodeApprovalResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
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
	h := handleFrom(ctx, state.Handle, &resp.Diagnostics)
	found, err := f.ReadApproval(ctx, h, state.Sequence.ValueInt64())
	unread := "The approval of chaincode " + state.Name.ValueString() + " could not be read from the ledger"
	switch {
	case errors.As(err, new(*network.UnansweredError)) || errors.Is(err, network.ErrLost):
		resp.Diagnostics.AddWarning(unread, sentence(err)+"\n\nWhat the state holds of it is kept.")
		state.Status = types.StringValue(string(found.Status))
	case err != nil:
		addError(&resp.Diagnostics, "Unable to read the approval of chaincode "+state.Name.ValueString(), err)
		return
	default:
		state.compareApproval(ctx, found, h.MSPID, &resp.Diagnostics)
		state.forgetLostImage(ctx, f, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

// compareApproval takes what the ledger says where it differs from what the state says. Once the channel has
// committed what the organization did not approve, that is what it lacks the approval of.
func (m *chaincodeModel) compareApproval(ctx context.Context, found network.ChaincodeState, mspID string, diags *diag.Diagnostics) {
	found.Status = engine.Status(approvalStatus(found).ValueString())
	inForce := found.Committed
	if found.Approved != nil {
		found.Committed = found.Approved
	}
	switch {
	case found.Committed == nil: // the ledger has neither: it is approved anew
		m.Sequence, m.PackageID, m.Status = types.Int64Null(), types.StringValue(""), types.StringValue(string(found.Status))
		return
	case found.Committed.Sequence < m.Sequence.ValueInt64(): // a ledger never goes back
		diags.AddWarning("The approval of chaincode "+m.Name.ValueString()+" could not be read from the ledger",
			fmt.Sprintf("The peers that answer know of sequence %d, and there was an approval of %d before: they do not have all blocks yet.\n\nWhat the state holds of it is kept.", found.Committed.Sequence, m.Sequence.ValueInt64()))
		return
	case found.Approved == nil:
		diags.AddWarning(mspID+" has not approved what is in force of chaincode "+m.Name.ValueString(),
			fmt.Sprintf("The channel has version %s with sequence %d, and the peers of %s endorse no calls of it. Set version, policies and collections to what it has, to approve that; the plan shows where they differ.", inForce.Version, inForce.Sequence, mspID))
	}
	if p := found.Pending; p != nil {
		diags.AddWarning(mspID+" has also approved another definition of chaincode "+m.Name.ValueString(),
			fmt.Sprintf("Version %s with sequence %d, which this configuration does not ask for: the others can commit it. The next change of this approval takes its place.", p.Version, p.Sequence))
	}
	m.compare(ctx, found, diags)
}

func (r *chaincodeApprovalResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
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
		addError(&resp.Diagnostics, "Unable to delete the approval of chaincode "+state.Name.ValueString(), err)
	}
}

// ImportState takes NETWORK/MSP_ID/CHANNEL/NAME.
func (r *chaincodeApprovalResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &chaincodeModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		spec, err := f.FindApproval(ctx, parts[0], parts[1], parts[2], parts[3])
		if err != nil {
			return err
		}
		h := network.ApprovalHandle(spec.Channel, spec.Name)
		state, err := f.ReadApproval(ctx, h, 0)
		if err != nil {
			return err
		}
		if state.Approved == nil {
			return fmt.Errorf("%s has approved no chaincode %s on channel %s: %w", parts[1], parts[3], parts[2], network.ErrNotFound)
		}
		state.Committed, state.Status = state.Approved, engine.Status(approvalStatus(state).ValueString())
		m.takeImported(ctx, h, spec, state, &resp.Diagnostics)
		return nil
	})
}

// warnOfMissingApprovals tells whose approvals the commit of a planned definition waits for: of organizations
// that run their peers elsewhere. What cannot be asked shows at apply.
func (r *chaincodeResource) warnOfMissingApprovals(ctx context.Context, plan *chaincodeModel, diags *diag.Diagnostics) {
	if r.session == nil || diags.HasError() || !known(ctx, plan.Channel, plan.Name, plan.Version, plan.InitRequired, plan.EndorsementPolicy, plan.Collections) {
		return
	}
	f, err := r.session.open()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	spec := plan.definition(ctx, diags)
	members, ok, err := f.ChannelMembers(ctx, spec.Channel)
	if err != nil || !ok || !members.Elsewhere() {
		return
	}
	readiness, err := f.AwaitedApprovals(ctx, spec)
	if err != nil || readiness.Ready {
		return
	}
	missing := &network.UnapprovedError{Chaincode: spec.Name, Channel: spec.Channel.Name, CommitReadiness: readiness}
	diags.AddAttributeWarning(path.Root("channel"), "Approvals are missing for the commit of chaincode "+spec.Name, explain(missing))
}
