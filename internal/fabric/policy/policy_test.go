package policy

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// vector is what Fabric 3.1.1's common/policydsl made of a text.
type vector struct {
	Text string `json:"text"`
	// Envelope is the marshalled common.SignaturePolicyEnvelope, Application the marshalled
	// peer.ApplicationPolicy around it, both in hexadecimal.
	Envelope    string `json:"envelope"`
	Application string `json:"application"`
	Refused     bool   `json:"refused"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/policydsl.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []vector
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if len(out) < 40 {
		t.Fatalf("only %d vectors", len(out))
	}
	return out
}

func mustParse(t testing.TB, text string) Policy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return p
}

func TestParseAgreesWithFabric(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Text, func(t *testing.T) {
			p, err := Parse(v.Text)
			if v.Refused {
				var syntax *SyntaxError
				if !errors.As(err, &syntax) {
					t.Fatalf("Fabric refuses it; Parse gave %v and %v", p, err)
				}
				if !p.IsZero() {
					t.Error("a policy came with the error")
				}
				return
			}
			if err != nil {
				t.Fatalf("Fabric accepts it: %v", err)
			}
			got, err := proto.Marshal(p.Envelope())
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(got) != v.Envelope {
				t.Errorf("envelope\n got %x\nwant %s", got, v.Envelope)
			}
			application, err := ApplicationPolicy{Signature: p}.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if hex.EncodeToString(application) != v.Application {
				t.Errorf("application policy\n got %x\nwant %s", application, v.Application)
			}
			back, err := UnmarshalApplicationPolicy(application)
			if err != nil || !back.Equal(ApplicationPolicy{Signature: p}) {
				t.Errorf("read back as %s, %v", back, err)
			}
		})
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "at column 1: the policy is empty; write for example OR('Org1MSP.peer')"},
		{"'A.peer'", "at column 1: a policy starts with a gate; for a single principal write OR('A.peer')"},
		{"'A.peer", "at column 1: a policy starts with a gate; for a single principal write OR('A.peer)"},
		{"A.peer", "at column 1: a principal stands in quotes; write 'A.peer'"},
		{"AND('A.peer', B.peer)", "at column 15: a principal stands in quotes; write 'B.peer'"},
		{"AND('A.peer', 'B.Peer')", `at column 15: unknown role "Peer"; roles are written in lower case: "peer"`},
		{"AND('A.peer', 'B.boss')", `at column 15: unknown role "boss"; the roles are admin, client, member, orderer and peer`},
		{"AND('A.peer', 'Bpeer')", `at column 15: "Bpeer" is not a principal; write an MSP ID and a role, as in 'Org1MSP.peer'`},
		{"AND('A_1.peer')", `at column 5: the MSP ID "A_1" holds '_'; in a policy Fabric allows letters, digits, dots and hyphens only`},
		{"AND('.peer')", `at column 5: ".peer" has no MSP ID before the role`},
		{"aNd('A.peer')", `at column 1: Fabric does not know the gate "aNd"; write AND`},
		{"XOR('A.peer')", `at column 1: unknown gate "XOR"; the gates are AND, OR and OutOf`},
		{"AND()", "at column 1: AND has no arguments"},
		{"AND(,'A.peer')", "at column 5: unexpected ','; expected a principal or a gate"},
		{"AND('A.peer',)", "at column 14: unexpected ')'; expected a principal or a gate"},
		{"AND('A.peer'", "at column 13: AND( is not closed; a ) is missing"},
		{"AND('A.peer',", "at column 14: the policy ends where a principal or a gate is expected"},
		{"AND('A.peer' 'B.peer')", `at column 14: unexpected '\''; expected a comma or )`},
		{"AND('A.peer'))", "at column 14: unexpected ')' after the end of the policy"},
		{"AND('A.peer)", "at column 5: the quote is not closed"},
		{`AND('A.peer", 'B.peer')`, "at column 5: the quotes do not match: what starts with ' must end with '"},
		{"OutOf(1)", "at column 1: OutOf wants a number and at least one principal or gate, as in OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')"},
		{"OutOf(x, 'A.peer')", `at column 7: OutOf wants a whole number first, not "x"`},
		{"OutOf(1.5, 'A.peer')", "at column 7: OutOf wants a whole number first, as in OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')"},
		{"OutOf(3, 'A.peer')", "at column 7: OutOf wants 3 of 1; Fabric allows 0 to 2"},
		{"OutOf(99999999999999999999, 'A.peer')", `at column 7: OutOf wants a whole number first, not "99999999999999999999"`},
		{"OutOf(+1, 'A.peer')", `at column 7: OutOf wants a whole number first, not "+1"`},
		{"AND('A.peer',\n    'B.boss')", `at line 2, column 5: unknown role "boss"; the roles are admin, client, member, orderer and peer`},
		{"OR('Ä.peer')", `at column 4: the MSP ID "Ä" holds 'Ä'; in a policy Fabric allows letters, digits, dots and hyphens only`},
		{"Ä\u00a0('A.peer', ?)", `at column 1: unknown gate "Ä"; the gates are AND, OR and OutOf`},
		{"OR('A.peer', ?)", `at column 14: unexpected '?'; expected AND, OR, OutOf or a principal in quotes`},
		{strings.Repeat("OR(", 65) + "'A.peer'" + strings.Repeat(")", 65), "at column 193: gates nest more than 64 deep"},
	} {
		_, err := Parse(c.text)
		if err == nil || err.Error() != c.want {
			t.Errorf("Parse(%q)\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	for _, c := range []struct {
		want  string
		texts []string
	}{
		{"OR('A.peer')", []string{"OR('A.peer')", "AND('A.peer')", "OutOf(1, 'A.peer')", "OR('A.peer', 'A.peer')", "AND(OR(\"A.peer\"))", "OR(AND('A.peer'), 'A.peer')"}},
		{"AND('A.peer', 'B.peer')", []string{"and('B.peer','A.peer')", "OutOf(2, 'A.peer', 'B.peer')", "AND(OR('B.peer'), AND('A.peer'))", "OUTOF('2', 'B.peer', 'A.peer')"}},
		{"AND('A.peer', 'A.peer')", []string{"OutOf(2, 'A.peer', 'A.peer')"}},
		{"AND('A.peer', 'A.peer', 'B.peer')", []string{"AND('A.peer', AND('B.peer', 'A.peer'))"}},
		{"OR('A.peer', 'B.peer', 'C.peer')", []string{"OR('C.peer', OR('B.peer', 'A.peer'))", "OR(OR('A.peer', 'C.peer'), OR('B.peer', 'C.peer'))", "AND(OR('A.peer', 'B.peer', 'C.peer'))"}},
		{"OR('A.peer', 'C.peer', AND('A.peer', 'B.peer'))", []string{"OR(AND('B.peer', 'A.peer'), 'C.peer', 'A.peer', AND('A.peer', 'B.peer'))"}},
		{"OutOf(2, 'A.peer', 'B.peer', 'B.peer')", []string{"OutOf(2, 'B.peer', 'A.peer', 'B.peer')"}},
		{"OutOf(0, 'A.peer')", []string{"OutOf(0, 'A.peer')"}},
		{"OutOf(2, 'A.peer')", []string{"OutOf(2, AND('A.peer'))"}},
		// Roles from the particular to the general, and MSP IDs before roles.
		{"AND('A.admin', 'A.client', 'A.orderer', 'A.peer', 'A.member', 'B.admin')", []string{"AND('A.member', 'B.admin', 'A.peer', 'A.orderer', 'A.client', 'A.admin')"}},
		// A gate that wants one of one is both kinds; what it holds keeps its own.
		{"OR('A.peer', 'B.peer')", []string{"AND(OR('A.peer', 'B.peer'))", "OR(OutOf(1, OR('B.peer', 'A.peer')))"}},
		{"AND('C.peer', OR('A.peer', 'B.peer'))", []string{"AND(AND(OR('A.peer', 'B.peer')), 'C.peer')"}},
	} {
		for _, text := range append(c.texts, c.want) {
			p := mustParse(t, text)
			if got := p.String(); got != c.want {
				t.Errorf("%q is %s, want %s", text, got, c.want)
			}
			if !p.Equal(mustParse(t, c.want)) {
				t.Errorf("%q is not equal to %s", text, c.want)
			}
		}
	}
	for _, c := range [][2]string{
		{"AND('A.peer', 'B.peer')", "OR('A.peer', 'B.peer')"},
		{"AND('A.peer', 'A.peer')", "AND('A.peer')"},
		{"OR('A.peer')", "OR('A.member')"},
		{"OutOf(2, 'A.peer', 'B.peer', 'C.peer')", "OutOf(3, 'A.peer', 'B.peer', 'C.peer')"},
	} {
		if mustParse(t, c[0]).Equal(mustParse(t, c[1])) {
			t.Errorf("%s equals %s", c[0], c[1])
		}
	}
	if (Policy{}).Equal(mustParse(t, "OR('A.peer')")) || !(Policy{}).Equal(Policy{}) || (Policy{}).String() != "" || !(Policy{}).IsZero() {
		t.Error("the zero value")
	}
}

func TestAlternatives(t *testing.T) {
	for text, want := range map[string]bool{
		"OR('A.member', 'B.member')": true, "OR('A.member', OutOf(1, 'B.member', 'C.member'))": true, "AND('A.member')": true,
		"AND('A.member', 'B.member')": false, "OR('A.member', AND('B.member', 'C.member'))": false,
	} {
		if got := mustParse(t, text).Alternatives(); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func TestPrincipalsAndMSPIDs(t *testing.T) {
	p := mustParse(t, "AND('B.peer', OR('A.member', 'B.peer', 'C.admin', 'A.admin'))")
	if got, want := fmt.Sprint(p.Principals()), "[A.admin A.member B.peer C.admin]"; got != want {
		t.Errorf("principals %s, want %s", got, want)
	}
	if got := p.MSPIDs(); !slices.Equal(got, []string{"A", "B", "C"}) {
		t.Errorf("MSP IDs %v", got)
	}
	if (Policy{}).MSPIDs() != nil {
		t.Error("the zero value names MSPs")
	}
}

func signers(t *testing.T, text string) []Principal {
	t.Helper()
	var out []Principal
	for _, word := range strings.Fields(text) {
		p, err := parsePrincipal(word)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestSatisfiableBy(t *testing.T) {
	for _, c := range []struct {
		policy, signers string
		want            bool
	}{
		{"OR('A.peer', 'B.peer')", "B.peer", true},
		{"OR('A.peer', 'B.peer')", "C.peer", false},
		{"OR('A.peer', 'B.peer')", "A.client B.admin", false},
		{"AND('A.peer', 'B.peer')", "A.peer", false},
		{"AND('A.peer', 'B.peer')", "A.peer B.peer", true},
		{"AND('A.member', 'B.member')", "A.peer B.client", true},
		{"AND('A.peer', 'A.peer')", "A.peer", false},
		{"AND('A.peer', 'A.peer')", "A.peer A.peer", true},
		{"AND('A.member', 'A.peer')", "A.peer", false},
		{"AND('A.member', 'A.peer')", "A.peer A.client", true},
		{"AND('A.member', 'A.peer')", "A.client A.admin", false},
		{"OutOf(2, 'A.peer', 'B.peer', 'C.peer')", "A.peer C.peer", true},
		{"OutOf(2, 'A.peer', 'A.peer', 'C.peer')", "A.peer", false},
		{"OutOf(2, 'A.peer', 'A.peer', 'C.peer')", "A.peer C.peer", true},
		{"AND(OR('A.peer', 'B.peer'), 'A.peer')", "A.peer", false},
		{"AND(OR('A.peer', 'B.peer'), 'A.peer')", "A.peer B.peer", true},
		{"OutOf(0, 'A.peer')", "", true},
		{"OutOf(2, 'A.peer')", "A.peer A.peer", false},
		{"OR('A.peer', OutOf(2, 'A.peer'))", "A.peer", true},
		{"OR('A.peer')", "", false},
	} {
		if got := mustParse(t, c.policy).SatisfiableBy(signers(t, c.signers)); got != c.want {
			t.Errorf("%s by %q: %v", c.policy, c.signers, got)
		}
	}
	if (Policy{}).SatisfiableBy(signers(t, "A.peer")) || (Policy{}).Satisfiable() {
		t.Error("the zero value is satisfiable")
	}
	for text, want := range map[string]bool{"OutOf(2, 'A.peer')": false, "AND('A.peer', OutOf(3, 'B.peer', 'B.peer'))": false, "OR('B.peer', OutOf(2, 'A.peer'))": true, "AND('A.peer', 'A.peer')": true} {
		if got := mustParse(t, text).Satisfiable(); got != want {
			t.Errorf("Satisfiable of %s: %v", text, got)
		}
	}
}

// TestSatisfiableByHardCase would run for years if every way to meet the policy were followed.
func TestSatisfiableByHardCase(t *testing.T) {
	var gates []string
	var have []Principal
	for i := range 40 {
		var args []string
		for j := range 6 {
			args = append(args, fmt.Sprintf("AND('O%d.peer', 'O%d.member')", (i+j)%40, (i*7+j)%40))
		}
		gates = append(gates, "OutOf(3, "+strings.Join(args, ", ")+")")
		have = append(have, Principal{fmt.Sprintf("O%d", i), RolePeer}, Principal{fmt.Sprintf("O%d", i), RoleClient})
	}
	p := mustParse(t, "OutOf(20, "+strings.Join(gates, ", ")+")")
	done := make(chan bool, 1)
	go func() { done <- p.SatisfiableBy(have) }()
	select {
	case <-done:
	case <-t.Context().Done():
		t.Fatal("no answer")
	}
}

// randomNode builds small trees, so that brute force can judge them.
func randomNode(r *rand.Rand, leaves *int, depth int) *node {
	if *leaves <= 1 || depth == 0 || r.IntN(3) == 0 {
		*leaves--
		p := Principal{string(rune('A' + r.IntN(3))), roles[2+r.IntN(3)]}
		return &node{principal: &p}
	}
	n := &node{}
	for range 1 + r.IntN(3) {
		if *leaves > 0 {
			n.children = append(n.children, randomNode(r, leaves, depth-1))
		}
	}
	switch r.IntN(3) {
	case 0:
		n.n = 1
	case 1:
		n.n = len(n.children)
	default:
		n.n = r.IntN(len(n.children) + 2)
	}
	return n
}

func randomPolicy(r *rand.Rand) Policy {
	leaves := 7
	root := randomNode(r, &leaves, 3)
	if root.principal != nil {
		root = &node{n: 1, children: []*node{root}}
	}
	return Policy{root: root}
}

// bruteForce tries every set of principals of the policy and every way to give each a signer of its own.
func bruteForce(p Policy, have []Principal) bool {
	var leaves []*node
	p.root.walk(func(n *node) {
		if n.principal != nil {
			leaves = append(leaves, n)
		}
	})
	var met func(n *node, in map[*node]bool) bool
	met = func(n *node, in map[*node]bool) bool {
		if n.principal != nil {
			return in[n]
		}
		count := 0
		for _, c := range n.children {
			if met(c, in) {
				count++
			}
		}
		return count >= n.n
	}
	var assign func(wanted []*node, used []bool) bool
	assign = func(wanted []*node, used []bool) bool {
		if len(wanted) == 0 {
			return true
		}
		for i, s := range have {
			if used[i] || s.MSPID != wanted[0].principal.MSPID || wanted[0].principal.Role != RoleMember && s.Role != wanted[0].principal.Role {
				continue
			}
			used[i] = true
			if assign(wanted[1:], used) {
				return true
			}
			used[i] = false
		}
		return false
	}
	for set := range 1 << len(leaves) {
		in := map[*node]bool{}
		var wanted []*node
		for i, leaf := range leaves {
			if set>>i&1 == 1 {
				in[leaf] = true
				wanted = append(wanted, leaf)
			}
		}
		if met(p.root, in) && assign(wanted, make([]bool, len(have))) {
			return true
		}
	}
	return false
}

func TestSatisfiableByAgainstBruteForceAndCanonicalFormKeepsMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	yes := 0
	for range 3000 {
		p := randomPolicy(r)
		canonical := mustParse(t, p.String())
		if canonical.String() != p.String() {
			t.Fatalf("canonical form is not stable: %s, then %s", p, canonical)
		}
		for range 4 {
			var have []Principal
			for range r.IntN(6) {
				have = append(have, Principal{string(rune('A' + r.IntN(3))), roles[1+r.IntN(3)]})
			}
			want := bruteForce(p, have)
			if want {
				yes++
			}
			if got := p.SatisfiableBy(have); got != want {
				t.Fatalf("%s by %v: %v, brute force says %v", p.root.text(), have, got, want)
			}
			if got := canonical.SatisfiableBy(have); got != want {
				t.Fatalf("%s by %v is %v, its canonical form %s is %v", p.root.text(), have, want, canonical, got)
			}
		}
	}
	if yes < 1000 {
		t.Errorf("only %d positive cases", yes)
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Reason == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		canonical, err := Parse(p.String())
		if err != nil || canonical.String() != p.String() {
			t.Fatalf("%q has the canonical form %q, which reads as %q, %v", text, p, canonical, err)
		}
		back, err := FromEnvelope(p.Envelope())
		if err != nil || !back.Equal(p) || !proto.Equal(back.Envelope(), p.Envelope()) {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
		if Describe(p.Envelope()) != p.String() {
			t.Fatalf("described as %q", Describe(p.Envelope()))
		}
		p.SatisfiableBy(p.Principals())
	})
}
