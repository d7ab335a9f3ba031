package provider

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// approvalsModel is who has to approve a release.
type approvalsModel struct {
	Proposal types.String `tfsdk:"proposal"`
	Required types.Int64  `tfsdk:"required"`
	Given    types.Map    `tfsdk:"given"`
	Audit    types.Object `tfsdk:"audit"`
}

// auditModel is a chaincode that keeps records.
type auditModel struct {
	Chaincode types.Object `tfsdk:"chaincode"`
	Identity  types.Object `tfsdk:"identity"`
	Put       types.String `tfsdk:"put_function"`
	Get       types.String `tfsdk:"get_function"`
}

// approvalsPath is where a chaincode says who has to approve its releases.
var approvalsPath = path.Root("approvals")

func approvalsAttribute() schema.SingleNestedAttribute {
	function := func(name, what string) schema.StringAttribute {
		return schema.StringAttribute{
			Optional: true, Computed: true, Default: stringdefault.StaticString(name), MarkdownDescription: what + " Defaults to `" + name + "`.",
			Validators: []validator.String{stringvalidator.LengthAtLeast(1)},
		}
	}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "Who has to approve a release: of a new definition, and of another image of the servers, which takes the next sequence too. What is released must be what was proposed. " +
			"Who proposed it and who approves are looked up in the configuration of the channel: members of its organizations whose certificates are valid and not revoked, and not nodes. " +
			"One person (an enrolment ID of an MSP) counts once, whatever certificates there are, and never for an own proposal. Before anything is installed the record of the release is written to the ledger by an audit chaincode, and read back; " +
			"if that fails, the release does not happen. `command`, `env` and `limits` of `server` are not part of a proposal. What restores a release that was approved, such as a lost server, needs no new approval.",
		Attributes: map[string]schema.Attribute{
			"proposal": proposalInput(),
			"required": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(2),
				MarkdownDescription: "How many people have to approve, beside who proposes. Defaults to 2.",
				Validators:          []validator.Int64{int64validator.AtLeast(1)},
			},
			"given": schema.MapAttribute{
				Required: true, ElementType: types.StringType,
				MarkdownDescription: "The approvals, as `fabric_release_approval` gives them, by a name of your choice. One that does not count is refused, also when there are enough others.",
				Validators: []validator.Map{mapvalidator.ValueStringsAre(check{wants: "the approval of a release", summary: "Not an approval", problem: func(text string) error {
					_, err := signoff.ParseApproval(text)
					return err
				}})},
			},
			"audit": schema.SingleNestedAttribute{
				Required: true,
				MarkdownDescription: "The chaincode that keeps the records, on this channel or another one. Each is a JSON object: `digest`, `release` (what was proposed, by whom), `proposal` (the proposer's signature), " +
					"`approvals` (their signatures), `approvers` and `at`. Its key is `record_key` of the `fabric_release_proposal`. A release that fails after its record was written is recorded again when it is tried again.",
				Attributes: map[string]schema.Attribute{
					"chaincode":    handleInput("Handle of the `fabric_chaincode` that keeps the records, or of a `fabric_chaincode_approval` of it.", network.KindChaincode, network.KindChaincodeApproval),
					"identity":     handleInput("Handle of the `fabric_identity` that writes and reads them, or of a `fabric_organization`, whose admin then does. The organization must have a peer on the channel of the records.", network.KindIdentity, network.KindOrganization),
					"put_function": function("put", "Function of the chaincode that stores a record: its arguments are the key and the record."),
					"get_function": function("get", "Function of the chaincode that gives a record, byte for byte: its argument is the key. For a key that it does not have it gives nothing, or an error."),
				},
			},
		},
	}
}

// approvals reads who has to approve; nil when nobody has to.
func (m *chaincodeModel) approvals(ctx context.Context, diags *diag.Diagnostics) *network.Approvals {
	if m.Approvals.IsNull() {
		return nil
	}
	var a approvalsModel
	diags.Append(m.Approvals.As(ctx, &a, basetypes.ObjectAsOptions{})...)
	var audit auditModel
	diags.Append(a.Audit.As(ctx, &audit, basetypes.ObjectAsOptions{UnhandledUnknownAsEmpty: true})...)
	out := &network.Approvals{
		Required: int(a.Required.ValueInt64()), Given: map[string]signoff.Approval{},
		Audit: network.Audit{
			Chaincode: handleFrom(ctx, audit.Chaincode, diags), Identity: handleFrom(ctx, audit.Identity, diags),
			Put: audit.Put.ValueString(), Get: audit.Get.ValueString(),
		},
	}
	var err error
	if out.Proposal, err = signoff.Parse(a.Proposal.ValueString()); err != nil {
		diags.AddAttributeError(proposalPath, "Not a proposal", sentence(err))
	}
	given := stringMap(ctx, a.Given, diags)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		approval, err := signoff.ParseApproval(given[name])
		if err != nil {
			diags.AddAttributeError(approvalsPath.AtName("given").AtMapKey(name), "Not an approval", sentence(err))
		}
		out.Given[name] = approval
	}
	return out
}

// planApprovals refuses, before anything is done, a release that was not proposed so or that too few people
// approved, as far as the plan knows. Whose certificates are good is the channel's to say, at apply.
func (m *chaincodeModel) planApprovals(ctx context.Context, prior *chaincodeModel, diags *diag.Diagnostics) {
	if m.Approvals.IsNull() || !known(ctx, m.Approvals) || prior != nil && !m.releases(prior) {
		return
	}
	var unreadable diag.Diagnostics // the validators have told
	a := m.approvals(ctx, &unreadable)
	if unreadable.HasError() {
		return
	}
	const summary = "Release that was not approved"
	if prior != nil { // what is new here may have been released, and be on record
		addApprovalError(diags, summary, a.Proposal.RefuseExpired(time.Now()))
	}
	if _, err := a.Proposal.Approvers(a.Required, a.Given, nil); err != nil {
		addApprovalError(diags, summary, err)
	}
	if !known(ctx, m.Channel, m.Name, m.Version, m.PackageID, m.EndorsementPolicy, m.InitRequired, m.Collections) {
		return
	}
	if spec := m.definition(ctx, &unreadable); !unreadable.HasError() {
		addApprovalError(diags, summary, a.RequireProposedDefinition(spec, m.PackageID.ValueString()))
	}
}

// releases tells whether anything changed that people have to approve.
func (m *chaincodeModel) releases(prior *chaincodeModel) bool {
	return changed(prior.Version, m.Version, prior.PackageID, m.PackageID, prior.InitRequired, m.InitRequired,
		prior.EndorsementPolicy, m.EndorsementPolicy, prior.Collections, m.Collections) || !m.image().Equal(prior.image())
}

// addApprovalError reports what keeps a release from being made, each at its attribute, and tells whether
// there was anything.
func addApprovalError(diags *diag.Diagnostics, summary string, err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		found := false
		for _, one := range joined.Unwrap() {
			found = addApprovalError(diags, summary, one) || found
		}
		return found
	}
	approval := new(signoff.ApprovalError)
	var at path.Path
	switch {
	case errors.As(err, new(*network.OtherReleaseError)), errors.As(err, new(*signoff.ExpiredError)):
		at = proposalPath
	case errors.As(err, &approval):
		at = approvalsPath.AtName("given").AtMapKey(approval.Name)
	case errors.As(err, new(*signoff.TooFewError)):
		at = approvalsPath.AtName("given")
	case errors.As(err, new(*signoff.ProposerError)):
		at = proposalPath
	case errors.As(err, new(*network.RecordError)):
		at = approvalsPath.AtName("audit")
	default:
		return false
	}
	diags.AddAttributeError(at, summary, explain(err)+"\n\nNothing was released.")
	return true
}
