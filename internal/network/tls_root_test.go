package network

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// rolled checks that the organization has one TLS root, another one than before, from which its CA issues.
func (h *house) rolled(server *fakeCA, before string, version int) {
	h.t.Helper()
	org := h.organization("Org1MSP")
	h.restart()
	state, err := h.fabric.ReadOrganization(h.ctx(), org)
	h.must(err)
	roots := state.Definition.TLSRootCertificates
	if len(roots) != 1 || roots[0] == before || state.TLSRootVersion != version || state.Superseded {
		h.t.Fatalf("it has %d TLS roots, version %d", len(roots), state.TLSRootVersion)
	}
	for what, leaf := range map[string][]byte{"listener": server.file("listener/cert.pem"), "node": h.issue(nil)["tls/cert.pem"]} {
		if err := certificate.VerifyChain(certificate.VerifyRequest{Leaf: leaf, Roots: [][]byte{[]byte(roots[0])}}); err != nil {
			h.t.Errorf("the certificate of the %s: %v", what, err)
		}
	}
	files := h.keyFiles("dev-ca.org1-keys")
	for _, name := range []string{nextTLSRoot, nextTLSRootKey, tlsCA + caKey} {
		if files[name] != "" {
			h.t.Errorf("%s is left in the key volume", name)
		}
	}
	if files[tlsCA+caCertificate] != roots[0] {
		h.t.Error("the CA has another TLS root")
	}
}

func TestTLSRoot(t *testing.T) {
	h, server := orgHouse(t)
	org := h.organization("Org1MSP")
	first, err := h.fabric.ReadOrganization(h.ctx(), org)
	h.must(err)
	have := h.issue(nil)
	before := first.Definition.TLSRootCertificates[0]
	h.must(h.fabric.RollTLSRoot(h.ctx(), org, 0))
	if again, err := h.fabric.ReadOrganization(h.ctx(), org); err != nil || again.Definition.TLSRootCertificates[0] != before {
		t.Errorf("a version that it has changed it: %v", err)
	}
	h.restart()
	state, err := h.fabric.UpdateOrganization(h.ctx(), OrganizationSpec{Handle: org, TLSRootVersion: 2})
	h.must(err)
	if state.AdminCertificate != first.AdminCertificate || !slices.Equal(state.Definition.RootCertificates, first.Definition.RootCertificates) {
		t.Error("more than the TLS root is another")
	}
	h.rolled(server, before, 2)
	// What a node had from the old root is stale, and is replaced for its key.
	if stale := h.stale(have); !slices.Equal(stale, []string{CertificateTLS}) {
		t.Errorf("stale are %v", stale)
	}
	if got := fileNames(h.issue(have)); got != "msp/tlscacerts/ca-0.pem tls/cert.pem tls/root.pem" {
		t.Errorf("issued are %s", got)
	}
	second := h.keyFiles("dev-ca.org1-keys")[tlsCA+caCertificate]
	h.must(h.fabric.RollTLSRoot(h.ctx(), org, 3))
	h.rolled(server, second, 3)
}

// Whatever it is cut short by, the next apply goes on, with the same new root.
func TestTLSRootIsResumed(t *testing.T) {
	broken := errors.New("the engine's disk is full")
	steps := func() int {
		h, _ := orgHouse(t)
		before := h.fake.Mutations()
		h.must(h.fabric.RollTLSRoot(h.ctx(), h.organization("Org1MSP"), 2))
		return h.fake.Mutations() - before
	}()
	if steps < 4 {
		t.Fatalf("only %d calls change something", steps)
	}
	for _, when := range []enginetest.When{enginetest.Before, enginetest.After} {
		for k := 1; k <= steps; k++ {
			t.Run(fmt.Sprintf("call %d fails, %d", k, when), func(t *testing.T) {
				h, server := orgHouse(t)
				org := h.organization("Org1MSP")
				before := h.keyFiles("dev-ca.org1-keys")[tlsCA+caCertificate]
				h.fake.FailAt(k, when, broken)
				if err := h.fabric.RollTLSRoot(h.ctx(), org, 2); !errors.Is(err, broken) {
					t.Fatalf("the failure was not reported: %v", err)
				}
				h.restart()
				state, err := h.fabric.ReadOrganization(h.ctx(), org)
				h.must(err)
				if n := len(state.Definition.TLSRootCertificates); n == 2 && state.TLSRootVersion != -1 {
					t.Errorf("with two roots it reads as version %d", state.TLSRootVersion)
				}
				h.must(h.fabric.RollTLSRoot(h.ctx(), org, 2))
				h.rolled(server, before, 2)
			})
		}
	}
}

func TestTLSRootOfAnIntermediate(t *testing.T) {
	h, _, _ := started(t, "ca.root")
	h.serveCA("ca.org1")
	parent := h.ca("ca.root")
	spec := h.caSpec("ca.org1")
	spec.Parent = &parent
	_, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	_, err = h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
	h.must(err)
	if err := h.fabric.RollTLSRoot(h.ctx(), h.organization("Org1MSP"), 2); err == nil || !strings.Contains(err.Error(), "its TLS root is that of CA ca.root") {
		t.Errorf("rolled: %v", err)
	}
}
