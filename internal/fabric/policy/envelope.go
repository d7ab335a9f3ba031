package policy

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// ErrNotExpressible marks an envelope that is sound but that Fabric's policy language has no words
// for, such as one that names single identities (the BlockValidation policy of a SmartBFT channel)
// or organizational units. Describe renders those for a reader.
var ErrNotExpressible = errors.New("the policy cannot be written in Fabric's policy language")

var roleOf = map[msp.MSPRole_MSPRoleType]Role{
	msp.MSPRole_MEMBER:  RoleMember,
	msp.MSPRole_ADMIN:   RoleAdmin,
	msp.MSPRole_CLIENT:  RoleClient,
	msp.MSPRole_PEER:    RolePeer,
	msp.MSPRole_ORDERER: RoleOrderer,
}

// RoleOf gives the role that Fabric's number stands for, "" for a number that it does not know.
func RoleOf(role msp.MSPRole_MSPRoleType) Role { return roleOf[role] }

// Envelope gives the policy as Fabric stores and evaluates it. For a parsed text it holds exactly
// what Fabric's policydsl makes of the same text, so that approvals of organizations that use other
// tools agree byte for byte: the principals of inner gates come first, and a principal that stands
// twice in the text stands twice in the list. The zero Policy gives nil.
func (p Policy) Envelope() *common.SignaturePolicyEnvelope {
	if p.root == nil {
		return nil
	}
	envelope := &common.SignaturePolicyEnvelope{}
	envelope.Rule = p.root.rule(envelope)
	return envelope
}

func (n *node) rule(envelope *common.SignaturePolicyEnvelope) *common.SignaturePolicy {
	rules := make([]*common.SignaturePolicy, len(n.children))
	for i, child := range n.children {
		if child.principal == nil {
			rules[i] = child.rule(envelope)
		}
	}
	for i, child := range n.children {
		if child.principal != nil {
			rules[i] = &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(len(envelope.Identities))}}
			envelope.Identities = append(envelope.Identities, child.principal.proto())
		}
	}
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: int32(n.n), Rules: rules}}}
}

func (p Principal) proto() *msp.MSPPrincipal {
	role := &msp.MSPRole{MspIdentifier: p.MSPID}
	for value, name := range roleOf {
		if name == p.Role {
			role.Role = value
		}
	}
	// The only error of Marshal would be text that is not UTF-8; an MSP ID in a Policy is ASCII.
	bytes, _ := proto.Marshal(role)
	return &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: bytes}
}

// FromEnvelope reads a signature policy as Fabric stores it. An envelope that is sound but has no
// words in the language gives an error that wraps ErrNotExpressible; any other error means that
// Fabric could not evaluate the envelope either.
func FromEnvelope(envelope *common.SignaturePolicyEnvelope) (Policy, error) {
	if envelope.GetRule() == nil {
		return Policy{}, errors.New("unable to read the signature policy: it has no rule")
	}
	if envelope.GetVersion() != 0 {
		return Policy{}, fmt.Errorf("unable to read the signature policy: version %d is unknown, Fabric evaluates version 0 only", envelope.GetVersion())
	}
	root, err := fromRule(envelope.GetRule(), envelope.GetIdentities(), 1)
	if err != nil {
		return Policy{}, fmt.Errorf("unable to read the signature policy: %w", err)
	}
	if root.principal != nil {
		root = &node{n: 1, children: []*node{root}}
	}
	return Policy{root: root}, nil
}

func fromRule(rule *common.SignaturePolicy, identities []*msp.MSPPrincipal, depth int) (*node, error) {
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(identities) {
			return nil, fmt.Errorf("it names identity %d of %d", t.SignedBy, len(identities))
		}
		principal, err := fromPrincipal(identities[t.SignedBy])
		if err != nil {
			return nil, err
		}
		return &node{principal: &principal}, nil
	case *common.SignaturePolicy_NOutOf_:
		if depth > maxDepth {
			return nil, fmt.Errorf("its gates nest more than %d deep", maxDepth)
		}
		gate := &node{n: int(t.NOutOf.GetN())}
		for _, sub := range t.NOutOf.GetRules() {
			child, err := fromRule(sub, identities, depth+1)
			if err != nil {
				return nil, err
			}
			gate.children = append(gate.children, child)
		}
		if len(gate.children) == 0 || gate.n < 0 || gate.n > len(gate.children)+1 {
			return nil, fmt.Errorf("%w: a gate wants %d of %d", ErrNotExpressible, gate.n, len(gate.children))
		}
		return gate, nil
	default:
		return nil, errors.New("it holds an empty rule")
	}
}

func fromPrincipal(principal *msp.MSPPrincipal) (Principal, error) {
	if class := principal.GetPrincipalClassification(); class != msp.MSPPrincipal_ROLE {
		return Principal{}, fmt.Errorf("%w: it has a principal of class %s", ErrNotExpressible, class)
	}
	role := &msp.MSPRole{}
	if err := proto.Unmarshal(principal.GetPrincipal(), role); err != nil {
		return Principal{}, fmt.Errorf("a principal is damaged: %w", err)
	}
	name, ok := roleOf[role.GetRole()]
	if !ok {
		return Principal{}, fmt.Errorf("a principal has the unknown role %d", role.GetRole())
	}
	id := role.GetMspIdentifier()
	if id == "" || strings.ContainsFunc(id, func(c rune) bool { return !isMSPIDChar(c) }) {
		return Principal{}, fmt.Errorf("%w: the MSP ID %q", ErrNotExpressible, id)
	}
	return Principal{MSPID: id, Role: name}, nil
}

// Describe gives any envelope as text for a reader: the canonical form where the language has words
// for it, otherwise a rendering in its style, such as
// OutOf(3, identity('OrdererMSP', 'CN=orderer0, serial 1f'), …). Rendered again, the same envelope gives the
// same text; but that text is not for Parse.
func Describe(envelope *common.SignaturePolicyEnvelope) string {
	if p, err := FromEnvelope(envelope); err == nil {
		return p.String()
	}
	return describeRule(envelope.GetRule(), envelope.GetIdentities(), 1)
}

func describeRule(rule *common.SignaturePolicy, identities []*msp.MSPPrincipal, depth int) string {
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(identities) {
			return fmt.Sprintf("unknown identity %d", t.SignedBy)
		}
		return DescribePrincipal(identities[t.SignedBy])
	case *common.SignaturePolicy_NOutOf_:
		if depth > maxDepth {
			return "…"
		}
		parts := []string{strconv.Itoa(int(t.NOutOf.GetN()))}
		for _, sub := range t.NOutOf.GetRules() {
			parts = append(parts, describeRule(sub, identities, depth+1))
		}
		return "OutOf(" + strings.Join(parts, ", ") + ")"
	default:
		return "empty rule"
	}
}

// DescribePrincipal gives a principal as text for a reader, as Describe has it within a policy, such as
// 'Org1MSP.admin'.
func DescribePrincipal(principal *msp.MSPPrincipal) string {
	class := principal.GetPrincipalClassification()
	switch class {
	case msp.MSPPrincipal_ROLE:
		role := &msp.MSPRole{}
		if proto.Unmarshal(principal.GetPrincipal(), role) == nil {
			name := cmp.Or(string(roleOf[role.GetRole()]), role.GetRole().String())
			return "'" + role.GetMspIdentifier() + "." + name + "'"
		}
	case msp.MSPPrincipal_ORGANIZATION_UNIT:
		unit := &msp.OrganizationUnit{}
		if proto.Unmarshal(principal.GetPrincipal(), unit) == nil {
			return "unit('" + unit.GetMspIdentifier() + "', '" + unit.GetOrganizationalUnitIdentifier() + "')"
		}
	case msp.MSPPrincipal_IDENTITY:
		identity := &msp.SerializedIdentity{}
		if proto.Unmarshal(principal.GetPrincipal(), identity) == nil {
			return "identity('" + identity.GetMspid() + "', '" + subject(identity.GetIdBytes()) + "')"
		}
	}
	return "principal of class " + class.String()
}

func subject(certificate []byte) string {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return "unreadable certificate"
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "unreadable certificate"
	}
	return fmt.Sprintf("CN=%s, serial %x", parsed.Subject.CommonName, parsed.SerialNumber)
}
