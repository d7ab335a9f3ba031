package provider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// renewalModel is what everything says whose certificates are renewed. Read looks at the clock and
// stores what is due; the plan follows from the state alone.
type renewalModel struct {
	KeyVersion  types.Int64  `tfsdk:"key_version"`
	RenewalDue  types.List   `tfsdk:"renewal_due"`
	RenewalAt   types.String `tfsdk:"renewal_at"`
	LastRenewal types.String `tfsdk:"last_renewal"`
}

var renewalTypes = map[string]attr.Type{
	"key_version": types.Int64Type, "renewal_due": types.ListType{ElemType: types.StringType},
	"renewal_at": types.StringType, "last_renewal": types.StringType,
}

// renewalAttributes is the schema of renewalModel. Rotation tells what a new key means.
func renewalAttributes(what, rotation string) map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"key_version": schema.Int64Attribute{
			Optional: true, Computed: true, Default: int64default.StaticInt64(1),
			MarkdownDescription: "Counts the keys of the " + what + ". Change it when a key may be known to somebody else. " + rotation + " Defaults to `1`.",
			Validators:          []validator.Int64{int64validator.AtLeast(1)},
		},
		"renewal_due": schema.ListAttribute{
			Computed: true, ElementType: types.StringType,
			MarkdownDescription: "Which certificates the next apply renews, as of the last refresh. Usually empty.",
		},
		"renewal_at": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "When the first certificate falls due (RFC 3339, UTC): within the first half of the window of `renew_before`, at a time that depends on the name, so that what was issued together is not renewed together. What else has its window begun is renewed with it.",
		},
		"last_renewal": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "What was renewed last, why, and what that restarted. In a plan: what is about to be.",
		},
	}
}

// renewBeforeAttribute is how long before its end a certificate is renewed.
func renewBeforeAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true, Computed: true, Default: stringdefault.StaticString(defaultRenewBefore().ValueString()),
		MarkdownDescription: "How long before their end certificates are renewed, as a duration. Never more than a third of a certificate's own life, so that short-lived ones are not renewed all the time. " +
			"Defaults to `" + durationText(network.DefaultRenewBefore) + "` (45 days). A change of it counts from the next plan on.",
		Validators: []validator.String{check{wants: "a duration", summary: "Not a duration", problem: positiveDuration}},
	}
}

// validityText accepts a life that Fabric CA can give a certificate.
var validityText = check{wants: "a duration in whole minutes", summary: "Not a validity", problem: func(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return err
	case d < shortestValidity || d > longestValidity:
		return fmt.Errorf("a validity is between %s and %s, not %s", durationText(shortestValidity), durationText(longestValidity), s)
	case d%time.Minute != 0:
		return errors.New("a validity is a number of whole minutes")
	}
	return nil
}}

// Fabric CA rounds the end of a certificate to a minute, so that one of a minute may be half as long.
const (
	shortestValidity = 2 * time.Minute
	longestValidity  = 10 * 365 * day
)

// durationOf reads a duration that has been validated; zero when there is none.
func durationOf(text types.String) time.Duration {
	d, err := time.ParseDuration(text.ValueString())
	if err != nil {
		return 0
	}
	return d
}

// durationOrNull writes a duration; zero is none.
func durationOrNull(d time.Duration) types.String {
	if d == 0 {
		return types.StringNull()
	}
	return types.StringValue(durationText(d))
}

// certificateHolder is a model with certificates that are renewed, by their names.
type certificateHolder interface {
	renewal() *renewalModel
	held() map[string]*types.String
}

func (m *renewalModel) renewal() *renewalModel { return m }

// memberCertificates are those of a peer or an ordering node.
type memberCertificates struct {
	renewalModel
	EnrollmentCertificate types.String `tfsdk:"enrollment_certificate"`
	TLSCertificate        types.String `tfsdk:"tls_certificate"`
	OperationsCertificate types.String `tfsdk:"operations_certificate"`
}

func (m *memberCertificates) held() map[string]*types.String {
	return map[string]*types.String{
		network.CertificateEnrollment: &m.EnrollmentCertificate, network.CertificateTLS: &m.TLSCertificate, network.CertificateOperations: &m.OperationsCertificate,
	}
}

var memberCertificatesTypes = mergeTypes(renewalTypes, map[string]attr.Type{
	"enrollment_certificate": types.StringType, "tls_certificate": types.StringType, "operations_certificate": types.StringType,
})

// memberCertificatesAttributes is the schema of memberCertificates.
func memberCertificatesAttributes(what, rotation string) map[string]schema.Attribute {
	computed := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	return merge(renewalAttributes(what, rotation), map[string]schema.Attribute{
		"enrollment_certificate": computed("Enrolment certificate of the " + what + ", in PEM."),
		"tls_certificate":        computed("TLS certificate of the " + what + ", in PEM."),
		"operations_certificate": computed("Certificate of the operations endpoint of the " + what + ", in PEM. Its root is the provider's own."),
	})
}

func mergeTypes(parts ...map[string]attr.Type) map[string]attr.Type {
	out := map[string]attr.Type{}
	for _, part := range parts {
		for name, kind := range part {
			out[name] = kind
		}
	}
	return out
}

// unknownCertificates are those of a node of which only the name is known.
func unknownCertificates() memberCertificates {
	m := memberCertificates{renewalModel: renewalModel{
		KeyVersion: types.Int64Unknown(), RenewalDue: types.ListUnknown(types.StringType), RenewalAt: types.StringUnknown(), LastRenewal: types.StringUnknown(),
	}}
	for _, value := range m.held() {
		*value = types.StringUnknown()
	}
	return m
}

// What a change of key_version does.
const (
	memberRotation = "It gets new keys and certificates and restarts, and what its CA issued for the old keys is revoked; a `fabric_crl` makes the network refuse them."
	// Its TLS key is what the channels know it by.
	ordererRotation = "The node gets new keys and certificates and restarts, its channels are told its new TLS key by a config update each, and what its CA issued for the old keys is revoked; a `fabric_crl` makes the network refuse them. Not for the only consenter of a channel."
)

// restarts says what a renewal restarts.
func restarts(what string, name types.String) string {
	return what + " " + name.ValueString() + " restarts"
}

// reissued names the certificates that hold the names of a node, when one of the pairs differs.
func reissued(pairs ...attr.Value) []string {
	if !changed(pairs...) {
		return nil
	}
	return []string{network.CertificateTLS, network.CertificateOperations}
}

// renews tells whether a plan has certificates of a node made anew.
func renews(plan certificateHolder) bool {
	for _, value := range plan.held() {
		if value.IsUnknown() {
			return true
		}
	}
	return false
}

// nothingDue is what renewal_due says after every apply.
func nothingDue() types.List { return types.ListValueMust(types.StringType, []attr.Value{}) }

// planNewCertificates plans the certificates of something that is to be made.
func planNewCertificates(plan certificateHolder) {
	r := plan.renewal()
	r.RenewalDue, r.RenewalAt, r.LastRenewal = nothingDue(), types.StringUnknown(), types.StringNull()
	for _, value := range plan.held() {
		*value = types.StringUnknown()
	}
}

// planCertificates plans the certificates of something that is there: those which are due, or whose
// keys are to be replaced, become unknown, and so do the reissued ones, which change for another
// reason; the others stay. Rescheduled tells that renew_before changes; who is what a renewal
// restarts, in words.
func planCertificates(plan, prior certificateHolder, rescheduled bool, who string, reissued ...string) {
	r, was := plan.renewal(), prior.renewal()
	due := dueNames(was.RenewalDue)
	rotated := !was.KeyVersion.IsNull() && changed(was.KeyVersion, r.KeyVersion)
	stays := !rescheduled
	for name, value := range plan.held() {
		before := *prior.held()[name]
		*value = before
		if rotated || before.ValueString() == "" || slices.Contains(due, name) || slices.Contains(reissued, name) {
			*value, stays = types.StringUnknown(), false
		}
	}
	r.RenewalDue, r.RenewalAt, r.LastRenewal = nothingDue(), was.RenewalAt, was.LastRenewal
	if !stays || was.RenewalAt.IsNull() {
		r.RenewalAt = types.StringUnknown()
	}
	switch {
	case rotated && r.KeyVersion.IsUnknown():
		r.LastRenewal = types.StringUnknown()
	case rotated:
		r.LastRenewal = types.StringValue(fmt.Sprintf("new keys and certificates, because key_version is %d; what the CA issued for the old keys is revoked; %s", r.KeyVersion.ValueInt64(), who))
	case len(due) > 0:
		r.LastRenewal = types.StringValue(renewalText(prior, due) + "; " + who)
	}
}

// renewalText says which certificates are renewed, and until when those before them are valid.
func renewalText(prior certificateHolder, due []string) string {
	parts := make([]string, len(due))
	for i, name := range due {
		parts[i] = name
		if value := prior.held()[name]; value != nil {
			if cert, err := firstCertificate(value.ValueString()); err == nil {
				parts[i] += " (valid until " + cert.NotAfter + ")"
			}
		}
	}
	noun := "certificate"
	if len(due) > 1 {
		noun = "certificates"
	}
	return "new " + noun + " for the keys that are there: " + strings.Join(parts, ", ")
}

// firstCertificate reads the facts of a certificate, which intermediates may follow.
func firstCertificate(text string) (certificate.Facts, error) {
	certs, err := certificate.ParseCertificates([]byte(text))
	if err != nil {
		return certificate.Facts{}, err
	}
	return certificate.FactsOf(certs[0])
}

func dueNames(list types.List) []string {
	var names []string
	for _, e := range list.Elements() {
		if name, ok := e.(types.String); ok {
			names = append(names, name.ValueString())
		}
	}
	return names
}

// renewalOf tells an update which certificates to replace: those that the plan does not know.
func renewalOf(plan, prior certificateHolder) network.Renewal {
	out := firstKeys(plan)
	out.KeyVersionBefore = laterVersion(prior.renewal().KeyVersion)
	rotated := !prior.renewal().KeyVersion.IsNull() && changed(prior.renewal().KeyVersion, plan.renewal().KeyVersion)
	for name, value := range plan.held() {
		before := prior.held()[name].ValueString()
		switch {
		case before == "" || !value.IsUnknown():
		case rotated:
			out.Revoke = append(out.Revoke, before)
		default:
			out.Retire = append(out.Retire, before)
		}
	}
	return out
}

// firstKeys is the renewal of something new: there is nothing to replace.
func firstKeys(plan certificateHolder) network.Renewal {
	return network.Renewal{KeyVersion: laterVersion(plan.renewal().KeyVersion)}
}

// laterVersion gives a version from the second one on. The first is what everything has that never
// heard of versions.
func laterVersion(version types.Int64) int {
	if version.ValueInt64() <= 1 {
		return 0
	}
	return int(version.ValueInt64())
}

// importedCertificates are what an import knows of a node's before it has read them.
func importedCertificates(version int) memberCertificates {
	m := unknownCertificates()
	m.KeyVersion, m.LastRenewal = keyVersion(version), types.StringNull()
	return m
}

func defaultRenewBefore() types.String {
	return types.StringValue(durationText(network.DefaultRenewBefore))
}

// keyVersion writes the number of keys that something has had.
func keyVersion(version int) types.Int64 { return types.Int64Value(int64(max(version, 1))) }

// takeCertificates takes the certificates that an apply or an import found. Terraform holds a provider
// to what it planned: one that was to stay is told as it was, and should it be another by now, the
// next refresh finds the old one due and the next apply tells the new one.
func takeCertificates(m certificateHolder, found map[string]string, h network.Handle, before types.String) {
	for name, value := range m.held() {
		if value.IsUnknown() || value.IsNull() {
			*value = nullable(found[name])
		}
	}
	r := m.renewal()
	if r.RenewalAt.IsUnknown() || r.RenewalAt.IsNull() {
		r.RenewalAt = renewalTime(m, h, before)
	}
	if r.RenewalDue.IsUnknown() || r.RenewalDue.IsNull() {
		r.RenewalDue = nothingDue()
	}
	if r.KeyVersion.IsNull() {
		r.KeyVersion = types.Int64Value(1)
	}
}

// clock is what Read looks at.
var clock = time.Now

// readCertificates stores when the certificates of something fall due, and which of them are, by the
// clock of this refresh. Stale are those that are no good for another reason.
func readCertificates(ctx context.Context, m certificateHolder, h network.Handle, before types.String, stale []string, diags *diag.Diagnostics) {
	due := h.Rule(durationOf(before)).Due(heldTexts(m), clock())
	for _, name := range stale {
		if !slices.Contains(due, name) {
			due = append(due, name)
		}
	}
	slices.Sort(due)
	list, d := types.ListValueFrom(ctx, types.StringType, append([]string{}, due...))
	diags.Append(d...)
	r := m.renewal()
	r.RenewalDue, r.RenewalAt = list, renewalTime(m, h, before)
}

// readNodeCertificates does so for a node. It looks at what the node has by now, where that is something
// else or something is due: somebody may have replaced or removed it, or an update that failed later has. The
// state may be older than the keys, too.
func readNodeCertificates(ctx context.Context, f *network.Fabric, m certificateHolder, h network.Handle, before types.String, diags *diag.Diagnostics) {
	version, err := f.KeyVersion(ctx, h)
	if err != nil {
		addError(diags, "Unable to read the keys of "+h.String(), err)
		return
	}
	if version > 0 {
		m.renewal().KeyVersion = keyVersion(version)
	}
	readCertificates(ctx, m, h, before, f.Stale(ctx, h, heldTexts(m)), diags)
	if len(m.renewal().RenewalDue.Elements()) == 0 && f.KeepsCertificates(ctx, h, heldTexts(m)) {
		return
	}
	found, err := f.ReadCertificates(ctx, h)
	if err != nil || len(found) == 0 { // a node without a container cannot be looked at
		return
	}
	var missing []string
	for name, value := range m.held() {
		if text := found[name]; text != "" {
			*value = types.StringValue(text)
		} else if value.ValueString() != "" {
			missing = append(missing, name)
		}
	}
	readCertificates(ctx, m, h, before, append(f.Stale(ctx, h, heldTexts(m)), missing...), diags)
}

// renewalTime is when the first certificate falls due, null when there is none.
func renewalTime(m certificateHolder, h network.Handle, before types.String) types.String {
	at := h.Rule(durationOf(before)).Time(heldTexts(m))
	if at.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(at.UTC().Format(time.RFC3339))
}

func heldTexts(m certificateHolder) map[string]string {
	out := map[string]string{}
	for name, value := range m.held() {
		if text := value.ValueString(); text != "" {
			out[name] = text
		}
	}
	return out
}

// unregister takes what was destroyed out of the CA's registries. What was destroyed is gone whatever
// the CA says.
func unregister(ctx context.Context, f *network.Fabric, diags *diag.Diagnostics, things ...network.Handle) {
	if err := f.Unregister(ctx, things...); err != nil {
		diags.AddWarning("Registrations stay at the CA", "What was destroyed is gone, but its CA goes on to know it, and its certificates are not revoked. "+explain(err))
	}
}
