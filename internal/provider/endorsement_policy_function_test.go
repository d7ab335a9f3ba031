package provider

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"
)

func TestEndorsementPolicy(t *testing.T) {
	for _, c := range []struct {
		name, text, canonical string
		principals, mspIDs    []string
		satisfiable           bool
		reference             bool
	}{
		{
			"a signature policy", "OutOf(2, 'Org2MSP.peer', 'Org1MSP.peer')", "AND('Org1MSP.peer', 'Org2MSP.peer')",
			[]string{"Org1MSP.peer", "Org2MSP.peer"}, []string{"Org1MSP", "Org2MSP"}, true, false,
		},
		{
			"one MSP in two roles", "OR('Org1MSP.peer','Org1MSP.admin')", "OR('Org1MSP.admin', 'Org1MSP.peer')",
			[]string{"Org1MSP.admin", "Org1MSP.peer"}, []string{"Org1MSP"}, true, false,
		},
		{
			"what nobody can meet", "OutOf(3, 'A.peer', 'B.peer')", "OutOf(3, 'A.peer', 'B.peer')",
			[]string{"A.peer", "B.peer"}, []string{"A", "B"}, false, false,
		},
		{"a reference", " /Channel/Application/Endorsement ", "/Channel/Application/Endorsement", []string{}, []string{}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, failure := callFunction(t, newEndorsementPolicyFunction(), types.StringValue(c.text))
			if failure != nil {
				t.Fatal(failure)
			}
			if text := resultMember[types.String](t, got, "canonical").ValueString(); text != c.canonical {
				t.Errorf("the canonical form is %s, want %s", text, c.canonical)
			}
			if names := stringsOf(t, resultMember[types.List](t, got, "principals")); !slices.Equal(names, c.principals) {
				t.Errorf("the principals are %v, want %v", names, c.principals)
			}
			if ids := stringsOf(t, resultMember[types.List](t, got, "msp_ids")); !slices.Equal(ids, c.mspIDs) {
				t.Errorf("the MSPs are %v, want %v", ids, c.mspIDs)
			}
			if is := resultMember[types.Bool](t, got, "satisfiable").ValueBool(); is != c.satisfiable {
				t.Errorf("satisfiable is %v", is)
			}
			if is := resultMember[types.Bool](t, got, "is_reference").ValueBool(); is != c.reference {
				t.Errorf("is_reference is %v", is)
			}
		})
	}
}

func TestEndorsementPolicyRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"an unknown role", "AND('Org1MSP.peer', 'Org2MSP.boss')", "column 21"},
		{"no end", "AND('Org1MSP.peer'", "not closed"},
		{"nothing", "", "empty"},
		{"an implicit policy", "MAJORITY Endorsement", "/Channel/Application/Endorsement"},
		{"a path outside the channel", "/Application/Endorsement", "below /Channel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, failure := callFunction(t, newEndorsementPolicyFunction(), types.StringValue(c.text))
			if text := refusedAt(t, failure, 0); !strings.Contains(text, c.says) {
				t.Errorf("the error is %q, want one that says %q", text, c.says)
			}
		})
	}
}
