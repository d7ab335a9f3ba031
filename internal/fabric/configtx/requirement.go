package configtx

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Answer is whether signatures suffice.
type Answer int

// The answers. Unknown means that it depends on what is not known of a signer.
const (
	No Answer = iota
	Yes
	Unknown
)

// String gives "no", "yes" or "unknown".
func (a Answer) String() string { return [...]string{"no", "yes", "unknown"}[a] }

// Signer is somebody who signs an update, or could.
type Signer struct {
	// MSPID is the MSP to which the signer belongs.
	MSPID string
	// Role is what the signer is known to be when CertificatePEM is empty; "" and policy.RoleMember when
	// no more is known than that it is a member.
	Role policy.Role
	// CertificatePEM is the enrolment certificate, one PEM block. With it the role is what the MSP in the
	// channel makes of the certificate, whatever Role says.
	CertificatePEM string
}

// SignerFrom gives an identity as a Signer.
func SignerFrom(identity *msp.Identity) Signer {
	return Signer{MSPID: identity.ID, CertificatePEM: string(identity.CertificatePEM)}
}

// Requirement is a policy of the channel that an update falls under.
type Requirement struct {
	// Policy is the path of the policy, such as /Channel/Application/Admins.
	Policy string
	// Rule is its text, such as "MAJORITY Admins" (policy.DescribeConfigPolicy); empty when the channel
	// does not have the policy, which then nobody can meet.
	Rule string
	// Paths are the elements whose change falls under the policy, sorted.
	Paths []string

	rule rule
	msps map[string]*membership
}

// Requirements gives the policies that the signatures of an update must meet, as ordering nodes evaluate
// them (common/configtx, verifyDeltaSet): for each element of the channel that the update changes, that
// element's mod_policy as it is now. A group is changed when a member comes or goes or its own
// mod_policy changes; what is new falls under the mod_policy of the group that it joins and is not
// evaluated itself. They are sorted by path.
//
// The errors are those of Apply.
func Requirements(base *Config, update *common.ConfigUpdate) ([]Requirement, error) {
	d, err := deltaOf(base, update)
	if err != nil {
		return nil, fmt.Errorf("unable to tell who must sign the update of the channel %s: %w", base.Channel, err)
	}
	paths := map[string][]string{}
	for _, key := range sortedKeys(d.changed) {
		if now, ok := d.base[key]; ok {
			paths[now.governedBy()] = append(paths[now.governedBy()], key.path)
		}
	}
	msps := memberships(base.Proto)
	var out []Requirement
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		requirement := requirementOf(base, path, msps)
		requirement.Paths = slices.Compact(paths[path])
		out = append(out, requirement)
	}
	return out, nil
}

// Submission gives what the one who sends a transaction to the channel must meet: /Channel/Writers
// (orderer/common/msgprocessor, SigFilter). Only the signature of the envelope counts, and its
// certificate must not have expired; see CanSubmit.
func Submission(base *Config) Requirement {
	return requirementOf(base, rootPath+"/"+policyWriters, memberships(base.Proto))
}

// CanSubmit tells whether the ordering nodes would take an envelope of the signer at the instant, and
// why not: it must meet /Channel/Writers and its certificate must be valid still.
func CanSubmit(base *Config, signer Signer, at time.Time) (Answer, error) {
	writers := Submission(base)
	answer := writers.Met([]Signer{signer})
	if answer == No {
		return No, fmt.Errorf("a member of %s with this certificate does not meet %s (%s) of the channel %s", signer.MSPID, writers.Policy, writers.Rule, base.Channel)
	}
	if cert, err := certificate.ParseOne([]byte(signer.CertificatePEM)); err == nil && at.After(cert.NotAfter) {
		return No, fmt.Errorf("the certificate of %s of %s expired at %s", cert.Subject.CommonName, signer.MSPID, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return answer, nil
}

// ConsenterChange gives what a change of the consenters must meet, or of the options of the consensus: the
// mod_policy of the value that holds both.
func ConsenterChange(base *Config) Requirement {
	group := base.Proto.GetChannelGroup().GetGroups()[groupOrderer]
	path := rootPath + "/" + groupOrderer
	return governing(base, element{kind: KindValue, path: path + "/" + keyConsensusType, value: group.GetValues()[keyConsensusType]})
}

// OrdererOrganizationChange gives what must be met for an orderer organization to come or to go.
func OrdererOrganizationChange(base *Config) Requirement {
	group := base.Proto.GetChannelGroup().GetGroups()[groupOrderer]
	return governing(base, element{kind: KindGroup, path: rootPath + "/" + groupOrderer, group: group})
}

func governing(base *Config, e element) Requirement {
	return requirementOf(base, e.governedBy(), memberships(base.Proto))
}

// PolicyOf gives the policy at the path as a Requirement: to ask who could meet it.
func PolicyOf(base *Config, path string) Requirement {
	return requirementOf(base, path, memberships(base.Proto))
}

func requirementOf(base *Config, path string, msps map[string]*membership) Requirement {
	r := Requirement{Policy: path, msps: msps}
	r.Rule, r.rule = ruleAt(base.Proto.GetChannelGroup(), path)
	return r
}

// Met tells whether the signers together meet the requirement. Their order is that of the signatures:
// Fabric lets each count once within a signature policy, and takes the first that fits.
func (r Requirement) Met(signers []Signer) Answer {
	identities := r.identities(signers)
	switch {
	case r.rule.met(identities, false):
		return Yes
	case r.rule.met(identities, true):
		return Unknown
	default:
		return No
	}
}

// Missing says what is still wanting, one line for each part of the requirement that is not met, such as
// "2 of 3 of Org1MSP admin, Org2MSP admin, Org3MSP admin; have Org1MSP admin". It is empty when the
// signers meet the requirement. A signer of whom too little is known counts as one who does not sign.
func (r Requirement) Missing(signers []Signer) []string {
	identities := r.identities(signers)
	if r.rule.met(identities, false) {
		return nil
	}
	return r.rule.missing(identities)
}

// identity is a signer as the policies look at it.
type identity struct {
	Signer
	cert *x509.Certificate
	msp  *membership
}

// identities resolves signers, each once (common/policies, SignatureSetToValidIdentities).
func (r Requirement) identities(signers []Signer) []*identity {
	var out []*identity
	seen := map[string]bool{}
	for _, signer := range signers {
		i := &identity{Signer: signer, msp: r.msps[signer.MSPID]}
		if i.msp == nil {
			continue
		}
		if signer.CertificatePEM != "" {
			cert, err := certificate.ParseOne([]byte(signer.CertificatePEM))
			if err != nil || seen[signer.MSPID+string(cert.Raw)] {
				continue
			}
			seen[signer.MSPID+string(cert.Raw)] = true
			i.cert = cert
		}
		out = append(out, i)
	}
	return out
}

// satisfies tells whether the signer is one that the principal means. What is not known counts as yes
// when hopeful.
func (i *identity) satisfies(principal *mspproto.MSPPrincipal, hopeful bool) bool {
	id, role := principalOf(principal)
	switch {
	case id != "" && id != i.MSPID:
		return false
	case i.msp.opaque != nil:
		return hopeful
	case i.cert != nil:
		return i.msp.satisfies(i.MSPID, i.cert, principal)
	case role == "":
		return hopeful
	case role == policy.RoleMember:
		return true
	case !i.msp.nodeOUs:
		// Without NodeOUs there are no roles but member and admin, and who is an admin only the list of
		// admin certificates tells.
		return hopeful && role == policy.RoleAdmin
	case i.Role == "" || i.Role == policy.RoleMember:
		return hopeful
	default:
		return i.Role == role
	}
}

// principalOf gives the MSP ID and the role of a principal, as far as it has them.
func principalOf(principal *mspproto.MSPPrincipal) (id string, role policy.Role) {
	switch principal.GetPrincipalClassification() {
	case mspproto.MSPPrincipal_ROLE:
		m := &mspproto.MSPRole{}
		_ = proto.Unmarshal(principal.GetPrincipal(), m) // a damaged one names nobody
		return m.GetMspIdentifier(), policy.RoleOf(m.GetRole())
	case mspproto.MSPPrincipal_IDENTITY:
		m := &mspproto.SerializedIdentity{}
		_ = proto.Unmarshal(principal.GetPrincipal(), m)
		return m.GetMspid(), ""
	case mspproto.MSPPrincipal_ORGANIZATION_UNIT:
		m := &mspproto.OrganizationUnit{}
		_ = proto.Unmarshal(principal.GetPrincipal(), m)
		return m.GetMspIdentifier(), ""
	default:
		return "", ""
	}
}

// rule is a policy of a channel, ready to be asked.
type rule interface {
	// met tells whether the signers meet the policy; what is not known of them counts as yes when hopeful.
	met(signers []*identity, hopeful bool) bool
	// missing says what is wanting of a policy that is not met.
	missing(signers []*identity) []string
	// text names the rule within a list.
	text() string
	// leaves counts the principals in it: more signers of one MSP than that are never of use.
	leaves() int
}

// ruleAt gives the policy at an absolute path with its text.
func ruleAt(channel *common.ConfigGroup, path string) (text string, r rule) {
	group := channel
	parts := pathParts(path)
	if len(parts) < 2 || "/"+parts[0] != rootPath {
		return "", noRule{fmt.Sprintf("the channel has no policy %q", path)}
	}
	for _, name := range parts[1 : len(parts)-1] {
		group = group.GetGroups()[name]
	}
	name := parts[len(parts)-1]
	stored, ok := group.GetPolicies()[name]
	if !ok {
		return "", noRule{fmt.Sprintf("the channel has no policy %s", path)}
	}
	text, err := policy.DescribeConfigPolicy(stored.GetPolicy())
	if err != nil {
		return "", noRule{fmt.Sprintf("the policy %s is damaged", path)}
	}
	return text, compileRule(group, path, stored.GetPolicy(), 1)
}

func compileRule(group *common.ConfigGroup, path string, stored *common.Policy, depth int) rule {
	damaged := noRule{fmt.Sprintf("the policy %s is damaged", path)}
	switch common.Policy_PolicyType(stored.GetType()) {
	case common.Policy_IMPLICIT_META:
		meta := &common.ImplicitMetaPolicy{}
		if proto.Unmarshal(stored.GetValue(), meta) != nil {
			return damaged
		}
		parsed, err := policy.ImplicitMetaFromProto(meta)
		if err != nil || depth > maxGroupDepth {
			return damaged
		}
		out := &gate{wanted: parsed.Threshold(len(group.GetGroups()))}
		for _, name := range slices.Sorted(maps.Keys(group.GetGroups())) {
			sub := group.GetGroups()[name]
			at := parentOf(path) + "/" + name + "/" + parsed.SubPolicy
			if p, ok := sub.GetPolicies()[parsed.SubPolicy]; ok {
				out.of = append(out.of, compileRule(sub, at, p.GetPolicy(), depth+1))
			} else {
				out.of = append(out.of, noRule{fmt.Sprintf("the channel has no policy %s", at)})
			}
		}
		return out
	case common.Policy_SIGNATURE:
		envelope := &common.SignaturePolicyEnvelope{}
		if proto.Unmarshal(stored.GetValue(), envelope) != nil || envelope.GetVersion() != 0 {
			return damaged
		}
		if _, err := policy.FromEnvelope(envelope); err != nil && !errors.Is(err, policy.ErrNotExpressible) {
			return damaged
		}
		return &signatures{envelope: envelope}
	default:
		return damaged
	}
}

// noRule is a policy that nobody meets, and why.
type noRule struct{ reason string }

func (noRule) met([]*identity, bool) bool     { return false }
func (n noRule) missing([]*identity) []string { return []string{n.reason} }
func (n noRule) text() string                 { return "nobody, as " + n.reason }
func (noRule) leaves() int                    { return 0 }

// gate is an implicit meta policy: so many of the groups below must agree, each with all signatures.
type gate struct {
	wanted int
	of     []rule
}

func (g *gate) met(signers []*identity, hopeful bool) bool {
	met := 0
	for _, sub := range g.of {
		if sub.met(signers, hopeful) {
			met++
		}
	}
	return met >= g.wanted
}

func (g *gate) missing(signers []*identity) []string {
	if g.wanted == len(g.of) {
		var out []string
		for _, sub := range g.of {
			if !sub.met(signers, false) {
				out = append(out, sub.missing(signers)...)
			}
		}
		return out
	}
	var have []string
	for _, sub := range g.of {
		if sub.met(signers, false) {
			have = append(have, sub.text())
		}
	}
	return []string{withHave(g.text(), have)}
}

func (g *gate) text() string {
	var texts []string
	for _, sub := range g.of {
		texts = append(texts, sub.text())
	}
	return someOf(g.wanted, texts)
}

func (g *gate) leaves() int {
	most := 0
	for _, sub := range g.of {
		most = max(most, sub.leaves())
	}
	return most
}

// signatures is a signature policy.
type signatures struct {
	envelope *common.SignaturePolicyEnvelope
}

func (s *signatures) met(signers []*identity, hopeful bool) bool {
	return s.evaluate(s.envelope.GetRule(), signers, make([]bool, len(signers)), hopeful)
}

// evaluate mirrors Fabric's evaluation (common/cauthdsl, compile): from left to right, each signer
// counts once, the first that fits is taken and never given back, unless the gate around it fails.
func (s *signatures) evaluate(rule *common.SignaturePolicy, signers []*identity, used []bool, hopeful bool) bool {
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_NOutOf_:
		met := int32(0)
		for _, sub := range t.NOutOf.GetRules() {
			trial := slices.Clone(used)
			if s.evaluate(sub, signers, trial, hopeful) {
				met++
				copy(used, trial)
			}
		}
		return met >= t.NOutOf.GetN()
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(s.envelope.GetIdentities()) {
			return false
		}
		for i, signer := range signers {
			if !used[i] && signer.satisfies(s.envelope.GetIdentities()[t.SignedBy], hopeful) {
				used[i] = true
				return true
			}
		}
	}
	return false
}

func (s *signatures) missing(signers []*identity) []string {
	var have []string
	for _, principal := range s.envelope.GetIdentities() {
		if slices.ContainsFunc(signers, func(i *identity) bool { return i.satisfies(principal, false) }) {
			have = append(have, personOf(principal))
		}
	}
	slices.Sort(have)
	return []string{withHave(s.text(), slices.Compact(have))}
}

func (s *signatures) text() string { return s.textOf(s.envelope.GetRule()) }

func (s *signatures) textOf(rule *common.SignaturePolicy) string {
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_NOutOf_:
		var texts []string
		for _, sub := range t.NOutOf.GetRules() {
			texts = append(texts, s.textOf(sub))
		}
		return someOf(int(t.NOutOf.GetN()), texts)
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy >= 0 && int(t.SignedBy) < len(s.envelope.GetIdentities()) {
			return personOf(s.envelope.GetIdentities()[t.SignedBy])
		}
	}
	return "nobody"
}

func (s *signatures) leaves() int { return countLeaves(s.envelope.GetRule()) }

func countLeaves(rule *common.SignaturePolicy) int {
	if gate := rule.GetNOutOf(); gate != nil {
		count := 0
		for _, sub := range gate.GetRules() {
			count += countLeaves(sub)
		}
		return count
	}
	return 1
}

// personOf names who a principal means, such as "Org1MSP admin".
func personOf(principal *mspproto.MSPPrincipal) string {
	if id, role := principalOf(principal); role != "" {
		return id + " " + string(role)
	}
	return policy.DescribePrincipal(principal)
}

// someOf says that so many of the parts are wanted.
func someOf(wanted int, parts []string) string {
	switch {
	case wanted <= 0:
		return "nobody's signature"
	case wanted > len(parts):
		return fmt.Sprintf("nobody, as it wants %d of %d", wanted, len(parts))
	case len(parts) == 1:
		return parts[0]
	}
	for i, part := range parts {
		if strings.Contains(part, ", ") {
			parts[i] = "(" + part + ")"
		}
	}
	list := strings.Join(parts, ", ")
	switch wanted {
	case len(parts):
		return "all of " + list
	case 1:
		return "one of " + list
	default:
		return fmt.Sprintf("%d of %d of %s", wanted, len(parts), list)
	}
}

func withHave(text string, have []string) string {
	if len(have) == 0 {
		return text
	}
	return text + "; have " + strings.Join(have, ", ")
}
