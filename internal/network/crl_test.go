package network

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

func (h *house) serial(certPEM string) string {
	h.t.Helper()
	cert, err := certificate.ParseOne([]byte(certPEM))
	h.must(err)
	return cert.SerialNumber.Text(16)
}

func TestCRL(t *testing.T) {
	h, server := orgHouse(t)
	org := h.organization("Org1MSP")
	spec := CRLSpec{Organization: org}
	ensure := func() CRLState {
		t.Helper()
		h.restart()
		state, err := h.fabric.EnsureCRL(h.ctx(), spec)
		h.must(err)
		return state
	}
	lists := func() []string {
		t.Helper()
		keys, err := h.fabric.organizationKeys(h.ctx(), org)
		h.must(err)
		return keys.revocationLists()
	}
	if none, err := h.fabric.ReadCRL(h.ctx(), org); err != nil || none.List != "" || !none.RenewalTime(org, time.Hour).IsZero() {
		t.Errorf("before the first: %+v, %v", none, err)
	}
	empty := ensure()
	if empty.List == "" || len(empty.Serials) != 0 || empty.Behind || lists() != nil {
		t.Errorf("nothing is revoked: %+v, %v", empty, lists())
	}

	alice, err := h.createIdentity(h.identitySpec("alice"))
	h.must(err)
	bob, err := h.createIdentity(h.identitySpec("bob"))
	h.must(err)
	spec.Revoke = map[string]Revocation{
		"all of alice": {Identity: "alice", Reason: ca.ReasonKeyCompromise}, "one of bob": {Serial: strings.ToUpper(h.serial(bob.Certificate))},
	}
	first := ensure()
	want := []string{h.serial(alice.Certificate), h.serial(bob.Certificate)}
	slices.SortFunc(want, func(a, b string) int { return len(a) - len(b) })
	got := slices.Clone(first.Serials)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || first.Behind || len(lists()) != 1 || lists()[0] != first.List {
		t.Errorf("revoked are %v, want %v", got, want)
	}
	if server.revoked(enrollmentCA, alice.Certificate) != ca.ReasonKeyCompromise || server.revoked(enrollmentCA, bob.Certificate) != "unspecified" {
		t.Error("the CA did not revoke them")
	}
	at := first.RenewalTime(org, DefaultRenewBefore)
	if left := first.NextUpdate.Sub(at); left > 8*time.Hour || left < 4*time.Hour {
		t.Errorf("the list of a day falls due %s before its end", left)
	}
	if again := ensure(); again.List != first.List {
		t.Error("a list that says all was made anew")
	}
	spec.Retire = first.List
	second := ensure()
	if second.List == first.List {
		t.Error("a list that is due was not made anew")
	}
	if again := ensure(); again.List != second.List {
		t.Error("it was made anew twice")
	}

	// What is revoked by other means puts the list behind, until the next update.
	h.must(h.fabric.DeleteIdentity(h.ctx(), h.identity("bob", "Org1MSP"), ""))
	carol, err := h.createIdentity(h.identitySpec("carol"))
	h.must(err)
	h.must(h.fabric.revoke(h.ctx(), org, []string{carol.Certificate}))
	read, err := h.fabric.ReadCRL(h.ctx(), org)
	h.must(err)
	if !read.Behind || read.List != second.List {
		t.Errorf("read %+v", read)
	}
	if third := ensure(); third.Behind || !slices.Contains(third.Serials, h.serial(carol.Certificate)) {
		t.Errorf("after the next update: %+v", third)
	}

	// A node that is made, or made again, has the list of today.
	h.restart()
	have := h.issue(nil)
	if string(have["msp/crls/ca-0.pem"]) != lists()[0] {
		t.Error("the node has another list")
	}
	if got := fileNames(h.issue(with(have, map[string][]byte{"msp/crls/ca-0.pem": []byte(first.List)}))); got != "msp/crls/ca-0.pem" {
		t.Errorf("of a node with an old list, %q is written", got)
	}
	state, err := h.fabric.ReadOrganization(h.ctx(), org)
	h.must(err)
	if len(state.Definition.RevocationLists) != 0 {
		t.Error("the definition, which others take, changes with the list")
	}
}

func TestCRLRefusals(t *testing.T) {
	h, _ := orgHouse(t)
	org := h.organization("Org1MSP")
	for name, c := range map[string]struct {
		revoke Revocation
		kind   error
		says   string
	}{
		"an identity that is not there":   {Revocation{Identity: "nobody"}, ErrNotFound, "unable to revoke it: CA ca.org1 knows nothing of it"},
		"a certificate that is not there": {Revocation{Serial: "abc123"}, ErrNotFound, "unable to revoke it: CA ca.org1 knows nothing of it"},
		"what is no serial number":        {Revocation{Serial: "xyz"}, nil, `"xyz" is not a serial number in hex`},
	} {
		_, err := h.fabric.EnsureCRL(h.ctx(), CRLSpec{Organization: org, Revoke: map[string]Revocation{"it": c.revoke}})
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := h.fabric.EnsureCRL(h.ctx(), CRLSpec{Organization: org})
	h.must(err)
	h.fake.SetStatus("dev-ca.org1", engine.Stopped, 0)
	h.restart()
	state, err := h.fabric.ReadCRL(h.ctx(), org)
	if err == nil || state.List == "" || !strings.Contains(err.Error(), "CA ca.org1 does not answer, its container is stopped") {
		t.Errorf("while its CA is stopped: %+v, %v", state, err)
	}
}
