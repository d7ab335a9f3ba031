package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type crlResource struct{ configured }

var (
	_ resource.ResourceWithConfigure   = &crlResource{}
	_ resource.ResourceWithImportState = &crlResource{}
	_ resource.ResourceWithModifyPlan  = &crlResource{}
)

func newCRLResource() resource.Resource { return &crlResource{} }

// crlModel is a fabric_crl.
type crlModel struct {
	Organization types.Object   `tfsdk:"organization"`
	Revoke       types.Map      `tfsdk:"revoke"`
	Triggers     types.Map      `tfsdk:"triggers"`
	RenewBefore  types.String   `tfsdk:"renew_before"`
	CRL          types.String   `tfsdk:"crl"`
	Serials      types.List     `tfsdk:"serials"`
	ThisUpdate   types.String   `tfsdk:"this_update"`
	NextUpdate   types.String   `tfsdk:"next_update"`
	RenewalDue   types.Bool     `tfsdk:"renewal_due"`
	RenewalAt    types.String   `tfsdk:"renewal_at"`
	Reaches      types.List     `tfsdk:"reaches"`
	Pending      types.List     `tfsdk:"pending"`
	LastChange   types.String   `tfsdk:"last_change"`
	Timeouts     timeouts.Value `tfsdk:"timeouts"`
}

// revocationModel is one entry of what is to be revoked.
type revocationModel struct {
	Identity types.String `tfsdk:"identity"`
	Serial   types.String `tfsdk:"serial"`
	Reason   types.String `tfsdk:"reason"`
}

func (r *crlResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_crl"
}

func (r *crlResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	of := handleInput("Handle of the `fabric_organization` whose certificates the list revokes. Changing it replaces the resource.", network.KindOrganization)
	of.PlanModifiers = []planmodifier.Object{objectplanmodifier.RequiresReplace()}
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	list := func(description string) schema.ListAttribute {
		return schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: description}
	}
	renewBefore := renewBeforeAttribute()
	renewBefore.MarkdownDescription = "How long before its next update the list is made anew, as a duration. Never more than a third of the list's own life, which is `crl_validity` of the `fabric_ca`. Defaults to `1080h` (45 days). A change of it counts from the next plan on."
	resp.Schema = schema.Schema{
		MarkdownDescription: "The revocation list of an organization: what its CA has revoked, made known to whoever decides by it. Fabric CA itself tells nobody.\n\n" +
			"The list holds everything that the enrolment CA has revoked: what `revoke` names, keys that a `key_version` replaced, and members that were removed. It is put into the organization's MSP in every channel that the organization belongs to: those that this engine has a record of, and those of others in which it has a `fabric_channel_membership`, " +
			"among the application and among the orderer organizations, signed by the organization's own admin; and into the local MSP of each of its peers and ordering nodes, which restart for that: peers one after the other, ordering clusters as they are rolled. " +
			"As long as nothing has been revoked, nothing is touched. A channel in which the organization only runs ordering nodes of somebody else's cluster (`fabric_orderer`) is not reached. A revocation list does not end TLS connections: what was revoked can still connect, and is refused what it asks for.\n\n" +
			"A revocation cannot be taken back. Destroying the resource leaves the list in force. There is one for each organization.",
		Attributes: map[string]schema.Attribute{
			"organization": of,
			"revoke": schema.MapNestedAttribute{
				Optional:            true,
				MarkdownDescription: "What the CA is to revoke, by names of your choice. An entry that is taken out again stays revoked.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"identity": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Enrolment ID: all certificates of the identity are revoked, and it cannot enrol again.",
						Validators: []validator.String{
							stringvalidator.ExactlyOneOf(path.MatchRelative().AtParent().AtName("serial")),
							check{wants: "an enrolment ID", summary: "Not an enrolment ID", problem: ca.ValidateID},
							check{wants: "an identity that the organization can do without", summary: "The organization could not go on", problem: notOwn},
						},
					},
					"serial": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Serial number, in hex, of one enrolment certificate. The function `certificate` tells it.",
						Validators:          []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[0-9a-fA-F]{1,40}$`), "must be a number in hex")},
					},
					"reason": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "Reason that the CA records: `unspecified` (default), `keycompromise`, `cacompromise`, `affiliationchanged`, `superseded`, `cessationofoperation` or `privilegewithdrawn`.",
						Validators: []validator.String{stringvalidator.OneOf(ca.ReasonUnspecified, ca.ReasonKeyCompromise, ca.ReasonCACompromise,
							ca.ReasonAffiliationChanged, ca.ReasonSuperseded, ca.ReasonCessationOfOperation, ca.ReasonPrivilegeWithdrawn)},
					},
				}},
			},
			"triggers": schema.MapAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Values of your choice; a change of any has the list compared with the CA in the same apply, after what the values come from. With the `key_version` of a peer here, one apply replaces its key and makes the old one known as revoked. Without, the next plan does. " +
					"So it is with a peer or an identity that is destroyed: Terraform destroys what something referred to after it has updated that, so that its certificates come into the list with the next plan.",
			},
			"renew_before": renewBefore,
			"crl":          computed("The list, in PEM."),
			"serials":      list("Serial numbers of the certificates that it revokes, in hex."),
			"this_update":  computed("When the list was made (RFC 3339, UTC)."),
			"next_update":  computed("Until when the list is current (RFC 3339, UTC). Fabric itself goes on with an older one."),
			"renewal_due": schema.BoolAttribute{
				Computed:            true,
				MarkdownDescription: "Whether the next apply makes a new list, as of the last refresh: because the CA has revoked more than it says, or because its next update is near.",
			},
			"renewal_at":  computed("When the list falls due for its next update (RFC 3339, UTC)."),
			"reaches":     list("The nodes and the channels of the organization, as of the last refresh."),
			"pending":     list("Those among them that have another list, as of the last refresh, to which the next apply brings it. Usually empty."),
			"last_change": computed("What was revoked or renewed last, and what that restarted and updated. In a plan: what is about to be."),
			"timeouts":    operationTimeouts(ctx),
		},
	}
}

// notOwn refuses the two identities by which the organization itself acts: an identity that was revoked
// cannot enrol again.
func notOwn(id string) error {
	switch id {
	case "admin":
		return errors.New("admin is the organization's own admin, without whom nobody could sign for it here any more; make a new key of it with key_version of the fabric_organization, or name one certificate by its serial")
	case "registrar":
		return errors.New("registrar is who registers and revokes at the CA, this revocation too; revoke single certificates by their serial")
	}
	return nil
}

// ModifyPlan says what becomes of the list, from what Read stored.
func (r *crlResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		return
	}
	var plan, prior crlModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	exists := !req.State.Raw.IsNull()
	if exists {
		resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	plan.plan(ctx, &prior, exists, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if exists && changed(prior.Organization, plan.Organization) {
		return // it is planned anew
	}
	r.session.claims.name(ctx, network.KindCRL, plan.Organization, handleMember(plan.Organization, "msp_id"), path.Root("organization"), req, &resp.Diagnostics)
}

func (m *crlModel) plan(ctx context.Context, prior *crlModel, exists bool, diags *diag.Diagnostics) {
	m.RenewalDue, m.Pending = types.BoolValue(false), nothingDue()
	if !exists {
		m.unknownList()
		m.Reaches = types.ListUnknown(types.StringType)
		m.LastChange = types.StringUnknown()
		return
	}
	added, removed, known := m.revocations(ctx, prior, diags)
	if len(removed) > 0 {
		diags.AddAttributeWarning(path.Root("revoke"), "Revoked for good",
			"A revocation cannot be taken back: "+strings.Join(removed, ", ")+" stays revoked, and in the list.")
	}
	m.CRL, m.Serials, m.ThisUpdate, m.NextUpdate = prior.CRL, prior.Serials, prior.ThisUpdate, prior.NextUpdate
	m.RenewalAt, m.Reaches, m.LastChange = prior.RenewalAt, prior.Reaches, prior.LastChange
	anew := prior.RenewalDue.ValueBool() || len(added) > 0 || !known || changed(prior.Triggers, m.Triggers)
	if anew {
		m.unknownList()
	} else if changed(prior.RenewBefore, m.RenewBefore) {
		m.RenewalAt = types.StringUnknown()
	}
	if anew || len(prior.Pending.Elements()) > 0 {
		m.LastChange = types.StringValue(crlWords(slices.Sorted(maps.Keys(added)), anew, dueNames(prior.Reaches), dueNames(prior.Pending)))
	}
}

func (m *crlModel) unknownList() {
	m.CRL, m.Serials, m.ThisUpdate, m.NextUpdate = types.StringUnknown(), types.ListUnknown(types.StringType), types.StringUnknown(), types.StringUnknown()
	m.RenewalAt = types.StringUnknown()
}

// crlWords says what an update does. A list that says the same as before is brought to nobody.
func crlWords(added []string, anew bool, reaches, pending []string) string {
	var words []string
	if len(added) > 0 {
		words = append(words, "revokes "+strings.Join(added, ", "))
	}
	whom := pending
	if anew {
		words, whom = append(words, "a list of what the CA has revoked"), reaches
	}
	var nodes, channels []string
	for _, name := range whom {
		if strings.HasPrefix(name, "channel ") {
			channels = append(channels, name)
		} else {
			nodes = append(nodes, name)
		}
	}
	if len(nodes) > 0 {
		words = append(words, "local MSPs of "+strings.Join(nodes, ", ")+", which restart one after the other")
	}
	if len(channels) > 0 {
		words = append(words, "config updates of "+strings.Join(channels, ", "))
	}
	return strings.Join(words, "; ")
}

// revocations compares what is to be revoked with what has been: entries that are new, or say something
// else than before, and the names of those that are gone. It is not known while any of them is not.
func (m *crlModel) revocations(ctx context.Context, prior *crlModel, diags *diag.Diagnostics) (added map[string]network.Revocation, removed []string, known bool) {
	added = map[string]network.Revocation{}
	if m.Revoke.IsUnknown() {
		return added, nil, false
	}
	before, now := prior.Revoke.Elements(), m.Revoke.Elements()
	for name, entry := range now {
		if was, ok := before[name]; ok && was.Equal(entry) {
			continue
		}
		added[name] = network.Revocation{}
	}
	for name := range before {
		if _, stays := now[name]; !stays {
			removed = append(removed, name)
		}
	}
	slices.Sort(removed)
	entries := map[string]revocationModel{}
	diags.Append(m.Revoke.ElementsAs(ctx, &entries, false)...)
	for name := range added {
		e := entries[name]
		added[name] = network.Revocation{Identity: e.Identity.ValueString(), Serial: e.Serial.ValueString(), Reason: e.Reason.ValueString()}
	}
	return added, removed, true
}

// take takes what is known of the list, but what the plan knew before: Terraform holds a provider to that.
func (m *crlModel) take(ctx context.Context, s network.CRLState, h network.Handle, added []string, diags *diag.Diagnostics) {
	texts := func(list *types.List, values []string) {
		if !list.IsUnknown() && !list.IsNull() {
			return
		}
		value, d := types.ListValueFrom(ctx, types.StringType, append([]string{}, values...))
		diags.Append(d...)
		*list = value
	}
	text := func(value *types.String, found string) {
		if value.IsUnknown() || value.IsNull() {
			*value = nullable(found)
		}
	}
	texts(&m.Serials, s.Serials)
	texts(&m.Reaches, s.Reaches)
	texts(&m.Pending, s.Pending)
	text(&m.CRL, s.List)
	text(&m.ThisUpdate, stamp(s.ThisUpdate))
	text(&m.NextUpdate, stamp(s.NextUpdate))
	text(&m.RenewalAt, stamp(s.RenewalTime(h, durationOf(m.RenewBefore))))
	if m.LastChange.IsUnknown() {
		m.LastChange = types.StringValue(crlWords(added, true, s.Reaches, nil))
	}
}

// stamp writes an instant, nothing for none.
func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

func (r *crlResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var plan crlModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := bounded(ctx, plan.Timeouts.Create, &resp.Diagnostics)
	defer cancel()
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.State = stateFromPlan(req.Plan, &resp.Diagnostics)
	r.apply(ctx, f, &plan, &crlModel{}, &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

func (r *crlResource) apply(ctx context.Context, f *network.Fabric, plan, prior *crlModel, diags *diag.Diagnostics) {
	h := handleFrom(ctx, plan.Organization, diags)
	added, _, _ := plan.revocations(ctx, prior, diags)
	if diags.HasError() {
		return
	}
	spec := network.CRLSpec{Organization: h, Revoke: added}
	if prior.RenewalDue.ValueBool() {
		spec.Retire = prior.CRL.ValueString()
	}
	state, err := f.EnsureCRL(ctx, spec)
	if err != nil {
		addError(diags, "Unable to bring up to date the revocation list of "+h.MSPID, err)
		return
	}
	plan.take(ctx, state, h, slices.Sorted(maps.Keys(added)), diags)
}

func (r *crlResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var state crlModel
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	f := r.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	verifyEngine(ctx, f, req.Private, &resp.Diagnostics)
	h := handleFrom(ctx, state.Organization, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.ReadCRL(ctx, h)
	switch {
	case errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrForeign):
		addError(&resp.Diagnostics, "Unable to read the revocation list of "+h.MSPID, err)
		return
	case err != nil: // the apply that starts again what does not answer must be able to run
		resp.Diagnostics.AddWarning("Unable to compare the revocation list of "+h.MSPID, explain(err))
		return
	}
	state.Serials, state.Reaches, state.Pending = types.ListNull(types.StringType), types.ListNull(types.StringType), types.ListNull(types.StringType)
	state.CRL, state.ThisUpdate, state.NextUpdate, state.RenewalAt = types.StringNull(), types.StringNull(), types.StringNull(), types.StringNull()
	state.take(ctx, found, h, nil, &resp.Diagnostics)
	at := found.RenewalTime(h, durationOf(state.RenewBefore))
	state.RenewalDue = types.BoolValue(found.Behind || at.IsZero() || !clock().Before(at))
	resp.Diagnostics.Append(resp.State.Set(ctx, &state)...)
}

func (r *crlResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var plan, prior crlModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &prior)...)
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
	r.apply(ctx, f, &plan, &prior, &resp.Diagnostics)
	if !resp.Diagnostics.HasError() {
		resp.Diagnostics.Append(resp.State.Set(ctx, &plan)...)
	}
}

// Delete takes nothing back: what was revoked stays so, and the list in force.
func (r *crlResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// ImportState takes NETWORK/MSP_ID. What was revoked by name is not told by the list.
func (r *crlResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &crlModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		h, _, err := f.FindOrganization(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		found, err := f.ReadCRL(ctx, h)
		if err != nil {
			return err
		}
		if found.List == "" {
			return fmt.Errorf("organization %s has no revocation list: %w", h.MSPID, network.ErrNotFound)
		}
		m.Organization, m.RenewBefore, m.Timeouts = handleValue(h), defaultRenewBefore(), noTimeouts()
		m.Revoke, m.Triggers = types.MapNull(revocationType), types.MapNull(types.StringType)
		m.Serials, m.Reaches, m.Pending = types.ListNull(types.StringType), types.ListNull(types.StringType), types.ListNull(types.StringType)
		m.RenewalDue = types.BoolValue(found.Behind)
		m.take(ctx, found, h, nil, &resp.Diagnostics)
		return nil
	})
}

var revocationType = types.ObjectType{AttrTypes: map[string]attr.Type{"identity": types.StringType, "serial": types.StringType, "reason": types.StringType}}
