// Package policy speaks Fabric's policies: the signature policies of chaincodes and channels in
// their text language, the implicit meta policies of channel configurations, and the application
// policy that a chaincode definition carries.
//
// Source: Fabric's common/policydsl (the language and the envelope it makes), common/cauthdsl (how a
// peer evaluates an envelope), common/policies (implicit meta policies), and the protos
// common/policies.proto, msp/msp_principal.proto and peer/policy.proto.
//
// The language has gates and principals:
//
//	AND('Org1MSP.peer', OR('Org2MSP.admin', 'Org3MSP.member'), OutOf(2, 'A.peer', 'B.peer', 'C.peer'))
//
// A principal is an MSP ID (letters, digits, dots, hyphens) and a role: admin, client, member,
// orderer or peer. A member is any identity of the MSP, whatever its role.
package policy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Role is the part of a principal behind the last dot.
type Role string

// The roles that Fabric's policy language knows. All but RoleMember need NodeOUs in the MSP.
const (
	RoleAdmin   Role = "admin"
	RoleClient  Role = "client"
	RoleMember  Role = "member"
	RoleOrderer Role = "orderer"
	RolePeer    Role = "peer"
)

// roles is in the order of the canonical form. Member comes last because a peer evaluates a gate
// from left to right and lets each signature count once: were the least particular principal
// first, it could take the signature that a later, more particular one needs.
var roles = []Role{RoleAdmin, RoleClient, RoleOrderer, RolePeer, RoleMember}

// Principal is who may sign: an identity of an MSP in a role.
type Principal struct {
	MSPID string
	Role  Role
}

// String gives the principal as the language writes it between quotes, for example "Org1MSP.peer".
func (p Principal) String() string { return p.MSPID + "." + string(p.Role) }

func comparePrincipals(a, b Principal) int {
	return cmp.Or(cmp.Compare(a.MSPID, b.MSPID), cmp.Compare(slices.Index(roles, a.Role), slices.Index(roles, b.Role)))
}

// Policy is a signature policy. Its zero value is no policy at all (IsZero). A Policy never changes.
type Policy struct {
	root *node
}

// node is a principal, or a gate that wants n of its children.
type node struct {
	principal *Principal
	n         int
	children  []*node
}

// IsZero tells whether this is the zero value, which no text and no envelope stands for.
func (p Policy) IsZero() bool { return p.root == nil }

// String gives the canonical form, which Parse reads back as an equal policy. Two policies have the
// same canonical form when they differ only by the order of a gate's arguments, by gates written
// another way (OutOf(2, a, b) is AND(a, b), OutOf(1, a, b) is OR(a, b)), by gates of one kind nested
// in each other, by gates around a single argument, or by repetitions inside an OR. Repetitions
// inside AND and OutOf stay: AND('A.peer', 'A.peer') wants two different peers of A.
//
// In the canonical form principals come before gates; principals are ordered by MSP ID, then admin,
// client, orderer, peer, member; gates by their text. Quotes are single; a policy of one principal
// is OR('Org1MSP.peer').
//
// The canonical form is for reading and comparing. Organizations that approve a chaincode must send
// the same bytes, which depend on the order of the text: give all of them one text.
func (p Policy) String() string {
	if p.root == nil {
		return ""
	}
	root := normalize(p.root)
	if root.principal != nil {
		root = &node{n: 1, children: []*node{root}}
	}
	var b strings.Builder
	root.write(&b)
	return b.String()
}

// Equal tells whether both policies have the same canonical form.
func (p Policy) Equal(other Policy) bool { return p.String() == other.String() }

// Alternatives tells whether any one of the principals meets the policy: it is made of ORs alone.
func (p Policy) Alternatives() bool {
	all := !p.IsZero()
	p.root.walk(func(n *node) { all = all && (n.principal != nil || n.n == 1) })
	return all
}

// Principals gives every principal that the policy names, once, in canonical order.
func (p Policy) Principals() []Principal {
	var all []Principal
	p.root.walk(func(n *node) {
		if n.principal != nil {
			all = append(all, *n.principal)
		}
	})
	slices.SortStableFunc(all, comparePrincipals)
	return slices.Compact(all)
}

// MSPIDs gives the ID of every MSP that the policy names, once, sorted.
func (p Policy) MSPIDs() []string {
	var ids []string
	for _, principal := range p.Principals() {
		ids = append(ids, principal.MSPID)
	}
	return slices.Compact(ids)
}

func (n *node) walk(visit func(*node)) {
	if n == nil {
		return
	}
	visit(n)
	for _, child := range n.children {
		child.walk(visit)
	}
}

func (n *node) isOr() bool { return n.principal == nil && n.n == 1 && len(n.children) > 0 }

func (n *node) isAnd() bool {
	return n.principal == nil && len(n.children) > 0 && n.n == len(n.children)
}

func (n *node) write(b *strings.Builder) {
	if n.principal != nil {
		b.WriteString("'" + n.principal.String() + "'")
		return
	}
	switch {
	case n.isOr():
		b.WriteString("OR(")
	case n.isAnd():
		b.WriteString("AND(")
	default:
		b.WriteString("OutOf(" + strconv.Itoa(n.n) + ", ")
	}
	for i, child := range n.children {
		if i > 0 {
			b.WriteString(", ")
		}
		child.write(b)
	}
	b.WriteString(")")
}

func (n *node) text() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

// normalize gives the tree of the canonical form; its root may be a bare principal.
func normalize(n *node) *node {
	if n.principal != nil {
		return n
	}
	if n.n == 1 && len(n.children) == 1 {
		return normalize(n.children[0])
	}
	out := &node{n: n.n}
	for _, child := range n.children {
		child = normalize(child)
		switch {
		case n.isOr() && child.isOr():
			out.children = append(out.children, child.children...)
		case n.isAnd() && child.isAnd():
			out.children = append(out.children, child.children...)
		default:
			out.children = append(out.children, child)
		}
	}
	if n.isAnd() {
		out.n = len(out.children)
	}
	texts := make(map[*node]string, len(out.children))
	for _, child := range out.children {
		texts[child] = child.text()
	}
	slices.SortStableFunc(out.children, func(a, b *node) int {
		switch {
		case a.principal != nil && b.principal != nil:
			return comparePrincipals(*a.principal, *b.principal)
		case a.principal != nil:
			return -1
		case b.principal != nil:
			return 1
		default:
			return cmp.Compare(texts[a], texts[b])
		}
	})
	if n.isOr() {
		out.children = slices.CompactFunc(out.children, func(a, b *node) bool { return texts[a] == texts[b] })
	}
	if n.isOr() && len(out.children) == 1 {
		return out.children[0]
	}
	return out
}
