package network

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// employ makes a house with an organization whose CA answers.
func employ(t *testing.T) (*house, *fakeCA) {
	t.Helper()
	h, server, _ := started(t, "ca.org1")
	_, err := h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
	h.must(err)
	return h, server
}

func (h *house) member() Handle { return h.network.With(KindPeer, "peer0.org1", "Org1MSP") }

// issue gives what a member needs beside what it has.
func (h *house) issue(have map[string][]byte, hosts ...string) map[string][]byte {
	h.t.Helper()
	options := NodeOptions{Hosts: hosts}
	files, err := h.fabric.memberMaterial(h.member(), "peer", options)(h.ctx(), have)
	h.must(err)
	return files
}

// certificatesIn gives the certificates among the files of a member.
func certificatesIn(have map[string][]byte) map[string]string {
	out := map[string]string{}
	for name, file := range memberCertificates {
		out[name] = string(have[file])
	}
	return out
}

func (h *house) stale(have map[string][]byte) []string {
	return h.fabric.Stale(h.ctx(), h.member(), certificatesIn(have))
}

func with(have, added map[string][]byte) map[string][]byte {
	out := maps.Clone(have)
	maps.Copy(out, added)
	return out
}

func without(have map[string][]byte, names ...string) map[string][]byte {
	out := maps.Clone(have)
	for _, name := range names {
		delete(out, name)
	}
	return out
}

func fileNames(files map[string][]byte) string {
	return strings.Join(slices.Sorted(maps.Keys(files)), " ")
}

func TestMemberMaterial(t *testing.T) {
	h, server := employ(t)
	before := server.enrolled
	have := h.issue(nil, "peer.example.net", "192.0.2.7")
	if issued := server.enrolled - before; issued != 2 {
		t.Errorf("%d certificates were enrolled, want 2", issued)
	}
	for _, name := range []string{enrollmentFile, enrollmentKeyFile, "msp/config.yaml", "tls/cert.pem", "tls/key.pem", "tls/root.pem", "operations/cert.pem", "operations/key.pem", "operations/root.pem"} {
		if len(have[name]) == 0 {
			t.Errorf("there is no %s", name)
		}
	}
	hosts := NodeOptions{Hosts: []string{"peer.example.net", "192.0.2.7"}}.hosts(h.member())
	for _, folder := range []string{"tls", "operations"} {
		if !names(have[folder+"/cert.pem"], hosts) {
			t.Errorf("the %s certificate is not for %v", folder, hosts)
		}
	}
	keys, err := h.fabric.organizationKeys(h.ctx(), h.organization("Org1MSP"))
	h.must(err)
	h.verifyMember(keys.Definition, have[enrollmentFile])

	const tlsAndOperations = "operations/cert.pem tls/cert.pem"
	for _, c := range []struct {
		name  string
		have  map[string][]byte
		hosts []string
		want  string
	}{
		{"nothing is missing", have, []string{"peer.example.net", "192.0.2.7"}, ""},
		{"the order of names does not matter", have, []string{"192.0.2.7", "peer.example.net"}, ""},
		{"a name more", have, []string{"peer.example.net", "192.0.2.7", "other.example.net"}, tlsAndOperations},
		{"a name less", have, []string{"peer.example.net"}, tlsAndOperations},
		{"no TLS key", without(have, "tls/key.pem"), []string{"peer.example.net", "192.0.2.7"}, "tls/cert.pem tls/key.pem"},
		{"no TLS certificate", without(have, "tls/cert.pem"), []string{"peer.example.net", "192.0.2.7"}, "tls/cert.pem"},
		{"no enrolment key", without(have, enrollmentKeyFile), []string{"peer.example.net", "192.0.2.7"}, enrollmentKeyFile + " " + enrollmentFile},
		{"another's key", with(have, map[string][]byte{enrollmentKeyFile: have["tls/key.pem"]}), []string{"peer.example.net", "192.0.2.7"}, enrollmentKeyFile + " " + enrollmentFile},
		{"a public file of the MSP is gone", without(have, "msp/config.yaml"), []string{"peer.example.net", "192.0.2.7"}, "msp/config.yaml"},
		{"another operations root", with(have, map[string][]byte{"operations/root.pem": have["tls/root.pem"]}), []string{"peer.example.net", "192.0.2.7"}, "operations/cert.pem operations/root.pem"},
		{"an operations key of another", with(have, map[string][]byte{"operations/key.pem": have["tls/key.pem"]}), []string{"peer.example.net", "192.0.2.7"}, "operations/cert.pem operations/key.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fileNames(h.issue(c.have, c.hosts...)); got != c.want {
				t.Errorf("issued are %q, want %q", got, c.want)
			}
		})
	}
	changed := h.issue(have, "other.example.net")
	was, err := certificate.ParseKeyPair(have["tls/cert.pem"], have["tls/key.pem"])
	h.must(err)
	if is, err := certificate.ParseOne(changed["tls/cert.pem"]); err != nil || !certificate.KeyMatches(is, was.Key) {
		t.Errorf("the new TLS certificate is not for the old key: %v", err)
	}
}

// TestMemberOfNewCA: after its CA was lost and begun anew, everything of a member is issued again,
// and its TLS key stays.
func TestMemberOfNewCA(t *testing.T) {
	h, _ := employ(t)
	have := h.issue(nil)
	if stale := h.stale(have); len(stale) > 0 {
		t.Errorf("stale at once: %v", stale)
	}
	for _, volume := range []string{"dev-ca.org1", "dev-ca.org1-keys"} {
		h.fake.VanishNode(volume)
		h.fake.VanishVolume(volume)
	}
	spec := h.caSpec("ca.org1")
	spec.AcceptDataLoss = true
	_, err := h.update(spec)
	h.must(err)
	_, err = h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
	if err != nil && !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	if errors.Is(err, ErrExists) { // what the organization's resource does when its CA is another one
		_, err = h.fabric.CreateOrganization(h.ctx(), h.organizationSpec("Org1MSP", "ca.org1"))
		h.must(err)
	}
	h.restart()
	if stale := h.stale(have); len(stale) != 3 {
		t.Errorf("stale are %v, want all", stale)
	}
	issued := h.issue(have)
	for _, name := range []string{enrollmentFile, "tls/cert.pem", "tls/root.pem", "operations/cert.pem", "operations/root.pem"} {
		if len(issued[name]) == 0 {
			t.Errorf("%s was not issued again", name)
		}
	}
	for _, name := range []string{enrollmentKeyFile, "tls/key.pem", "operations/key.pem"} {
		if _, again := issued[name]; again {
			t.Errorf("%s is another one", name)
		}
	}
	if got := fileNames(h.issue(with(have, issued))); got != "" {
		t.Errorf("and once more %s", got)
	}
}

// TestMemberOfIntermediate: those who verify a node know the roots only.
func TestMemberOfIntermediate(t *testing.T) {
	h, _, root := started(t, "ca.root")
	h.serveCA("ca.org1")
	parent := h.ca("ca.root")
	spec := h.caSpec("ca.org1")
	spec.Parent = &parent
	_, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	_, err = h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
	h.must(err)
	have := h.issue(nil)
	err = certificate.VerifyChain(certificate.VerifyRequest{
		Leaf: have["tls/cert.pem"], Roots: [][]byte{[]byte(root.TLS)}, Host: h.member().Host(), Usage: certificate.UsageServer,
	})
	if err != nil {
		t.Error(err)
	}
	if string(have["tls/root.pem"]) != root.TLS {
		t.Error("the node trusts something else than the root")
	}
	if stale := h.stale(have); len(stale) > 0 {
		t.Errorf("stale at once: %v", stale)
	}
	if got := fileNames(h.issue(have)); got != "" {
		t.Errorf("issued again are %s", got)
	}
	// Without its intermediate nobody could verify it.
	alone := with(have, map[string][]byte{"tls/cert.pem": firstBlock(have["tls/cert.pem"])})
	if got := fileNames(h.issue(alone)); got != "tls/cert.pem" {
		t.Errorf("issued are %q, want the TLS certificate", got)
	}
}

// TestMemberWithoutCA: what is missing cannot be issued while the CA does not answer, and what is
// there is enough to start.
func TestMemberWithoutCA(t *testing.T) {
	h, _ := employ(t)
	have := h.issue(nil)
	h.fake.SetStatus("dev-ca.org1", engine.Stopped, 0)
	h.restart()
	if got := fileNames(h.issue(have)); got != "" {
		t.Errorf("issued are %s", got)
	}
	_, err := h.fabric.memberMaterial(h.member(), "peer", NodeOptions{})(h.ctx(), nil)
	if err == nil || !strings.Contains(err.Error(), "CA ca.org1") {
		t.Errorf("the error is %v, want the CA named", err)
	}
}

func TestExpiredCertificate(t *testing.T) {
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "root", Validity: year, Now: time.Now().Add(-3 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := issuePair(root, certificate.LeafRequest{
		CommonName: "peer0", Client: true, Server: true, Hosts: []string{"peer0"}, Now: time.Now().Add(-2 * time.Hour), Validity: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := msp.Definition{RootCertificates: []string{string(root.CertificatePEM())}, TLSRootCertificates: []string{string(root.CertificatePEM())}}
	if text := string(pair.CertificatePEM()); certifies(d, text) || chains(text, nil, d.TLSRootCertificates) {
		t.Error("it counts as valid")
	}
}

// TestLedgerOfNodes: what runs is asked, what does not is looked up in the records of the channels.
func TestLedgerOfNodes(t *testing.T) {
	s := newSketch(t)
	s.servePeer(s.peer("peer0.org1", "Org1MSP"), &sketchPeer{height: 5, config: s.genesis})
	read := func(h Handle) Ledger {
		t.Helper()
		state, err := s.fabric.ReadPeer(t.Context(), h)
		s.must(err)
		return state.Ledger
	}
	if got := read(s.peer("peer0.org1", "Org1MSP")); got != LedgerHeld {
		t.Errorf("a peer that says so has ledger %d", got)
	}
	for _, name := range []string{"peer1.org1", "peer0.org2"} {
		s.fake.SetStatus(s.peer(name, "").Object(), engine.Stopped, 0)
	}
	if got := read(s.peer("peer1.org1", "Org1MSP")); got != LedgerHeld {
		t.Errorf("a stopped peer of the channel has ledger %d", got)
	}
	if got := read(s.peer("peer9.org1", "Org1MSP")); got != LedgerUnknown {
		t.Errorf("a peer that is not there has ledger %d", got)
	}
	s.fake.SetStatus(s.orderer("orderer0").Object(), engine.Stopped, 0)
	states, err := s.fabric.ReadOrdererCluster(t.Context(), map[string]Handle{"orderer0": s.orderer("orderer0")})
	s.must(err)
	if got := states["orderer0"].Ledger; got != LedgerHeld {
		t.Errorf("a stopped orderer of the channel has ledger %d", got)
	}
}
