package policy

import "slices"

// Satisfiable tells whether anybody at all could meet the policy, given any number of identities.
// OutOf(3, 'A.peer', 'B.peer') can be met by nobody, though Fabric accepts it.
func (p Policy) Satisfiable() bool {
	return p.root.satisfiable(func(Principal) bool { return true })
}

// SatisfiableBy tells whether these identities together could meet the policy. Every element is one
// identity, which signs once: AND('A.peer', 'A.peer') wants two peers of A in the list. An identity
// meets principals of its own role and, whatever its role, of the role member.
//
// SatisfiableBy(nil) is true for a policy that wants no signature, such as OutOf(0, 'A.peer').
//
// The answer is exact as long as few MSPs have fewer identities than the policy names of them; when
// there are so many ways to spend too few identities that following them all would take long, the
// answer may be true although it is false, and never the other way round.
func (p Policy) SatisfiableBy(signers []Principal) bool {
	if p.root == nil {
		return false
	}
	has := func(wanted Principal) bool {
		return slices.ContainsFunc(signers, func(s Principal) bool {
			return s.MSPID == wanted.MSPID && (wanted.Role == RoleMember || s.Role == wanted.Role)
		})
	}
	if !p.root.satisfiable(has) {
		return false
	}
	s := newSpending(p, signers, has)
	ways := s.ways(p.root)
	return s.budget <= 0 || len(ways) > 0
}

// satisfiable looks only at whether each principal is there at all, however often it is wanted.
func (n *node) satisfiable(has func(Principal) bool) bool {
	if n == nil {
		return false
	}
	if n.principal != nil {
		return has(*n.principal)
	}
	met := 0
	for _, child := range n.children {
		if child.satisfiable(has) {
			met++
		}
	}
	return met >= n.n
}

// maxSteps bounds how many pairs of ways are compared: enough for any policy that a person wrote, and
// done within a few hundredths of a second.
const maxSteps = 1 << 20

// spending answers whether single-use identities suffice. Only the MSPs that could run short matter:
// those of which the policy names, all in all, more than there are.
type spending struct {
	has    func(Principal) bool
	budget int               // comparisons left
	scant  []Principal       // the principals of MSPs that could run short; a way counts these
	index  map[Principal]int // where a principal stands in scant
	stock  map[Principal]int // identities per MSP and role
	total  map[string]int    // identities per MSP
	msps   map[string][]int  // per scant MSP, where its principals stand in scant
}

// way is how many identities of each scant principal are spent.
type way []int

func newSpending(p Policy, signers []Principal, has func(Principal) bool) *spending {
	s := &spending{has: has, budget: maxSteps, index: map[Principal]int{}, stock: map[Principal]int{}, total: map[string]int{}, msps: map[string][]int{}}
	for _, signer := range signers {
		s.stock[signer]++
		s.total[signer.MSPID]++
	}
	wanted, all := map[Principal]int{}, map[string]int{}
	p.root.walk(func(n *node) {
		if n.principal != nil && has(*n.principal) {
			wanted[*n.principal]++
			all[n.principal.MSPID]++
		}
	})
	short := map[string]bool{}
	for principal, count := range wanted {
		if all[principal.MSPID] > s.total[principal.MSPID] || principal.Role != RoleMember && count > s.stock[principal] {
			short[principal.MSPID] = true
		}
	}
	for _, principal := range p.Principals() {
		if short[principal.MSPID] && wanted[principal] > 0 {
			s.index[principal] = len(s.scant)
			s.msps[principal.MSPID] = append(s.msps[principal.MSPID], len(s.scant))
			s.scant = append(s.scant, principal)
		}
	}
	return s
}

// ways gives the cheapest ways to meet a node, none when it cannot be met. When the budget is spent,
// some are missing.
func (s *spending) ways(n *node) []way {
	if n.principal != nil {
		if !s.has(*n.principal) {
			return nil
		}
		one := make(way, len(s.scant))
		if i, ok := s.index[*n.principal]; ok {
			one[i] = 1
		}
		return []way{one}
	}
	// byCount[k] are the cheapest ways to meet k of the children seen so far.
	byCount := make([][]way, n.n+1)
	byCount[0] = []way{make(way, len(s.scant))}
	for _, child := range n.children {
		more := s.ways(child)
		for k := n.n; k >= 1 && s.budget > 0; k-- {
			for _, before := range byCount[k-1] {
				for _, then := range more {
					byCount[k] = s.with(byCount[k], before, then)
				}
			}
		}
	}
	return byCount[n.n]
}

// with adds the sum of two ways to a list, unless it is beyond what there is or spends at least what
// another way of the list spends; ways that spend at least what it spends leave the list.
func (s *spending) with(list []way, a, b way) []way {
	s.budget -= len(list) + 1
	if s.budget <= 0 {
		return list
	}
	sum := make(way, len(a))
	for i := range a {
		sum[i] = a[i] + b[i]
	}
	if !s.affordable(sum) || slices.ContainsFunc(list, func(w way) bool { return noMore(w, sum) }) {
		return list
	}
	list = slices.DeleteFunc(list, func(w way) bool { return noMore(sum, w) })
	return append(list, sum)
}

func (s *spending) affordable(w way) bool {
	for id, places := range s.msps {
		spent := 0
		for _, i := range places {
			if s.scant[i].Role != RoleMember && w[i] > s.stock[s.scant[i]] {
				return false
			}
			spent += w[i]
		}
		if spent > s.total[id] {
			return false
		}
	}
	return true
}

// noMore tells whether a spends at most what b spends of everything.
func noMore(a, b way) bool {
	for i := range a {
		if a[i] > b[i] {
			return false
		}
	}
	return true
}
