package network

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// certificateOf makes a certificate of a life that ends after an instant by what is left of it.
func certificateOf(t *testing.T, now time.Time, life, left time.Duration) string {
	t.Helper()
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "root", Validity: 20 * year, Now: now.Add(-5 * year)})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := issuePair(root, certificate.LeafRequest{CommonName: "peer0", Client: true, Now: now.Add(left - life), Validity: life})
	if err != nil {
		t.Fatal(err)
	}
	return string(pair.CertificatePEM())
}

func TestRenewalTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name                 string
		life, before, window time.Duration
	}{
		{"a year", year, 45 * day, 45 * day},
		{"a year, renewed early", year, 300 * day, year / 3},
		{"a month", 30 * day, 45 * day, 10 * day},
		{"minutes", 6 * time.Minute, 45 * day, 2 * time.Minute},
		{"minutes, renewed late", 6 * time.Minute, 30 * time.Second, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			held := map[string]string{CertificateTLS: certificateOf(t, now, c.life, c.life)}
			end := now.Add(c.life)
			var first, last time.Time
			for i := range 30 {
				name := fmt.Sprintf("peer%d", i)
				rule := Handle{Network: "dev", Name: name}.Rule(c.before)
				due := rule.Time(held)
				if due.Before(end.Add(-c.window)) || due.After(end.Add(-c.window/2)) {
					t.Errorf("%s falls due %s before its end, want between %s and %s", name, end.Sub(due), c.window, c.window/2)
				}
				if again := rule.Time(held); !again.Equal(due) {
					t.Errorf("%s falls due at %s, and asked again at %s", name, due, again)
				}
				if first.IsZero() || due.Before(first) {
					first = due
				}
				if due.After(last) {
					last = due
				}
				if got := rule.Due(held, due.Add(-time.Second)); got != nil {
					t.Errorf("%s is due before its time", name)
				}
				if got := rule.Due(held, due); !slices.Equal(got, []string{CertificateTLS}) {
					t.Errorf("%s at its time: due are %v", name, got)
				}
			}
			if last.Sub(first) < c.window/4 {
				t.Errorf("thirty things fall due within %s", last.Sub(first))
			}
		})
	}
}

// What a node has is renewed together, as far as its window has begun.
func TestDueTogether(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	rule := RenewalRule{Holder: "dev-peer0.org1/Org1MSP", Before: DefaultRenewBefore}
	held := map[string]string{
		CertificateEnrollment: certificateOf(t, now, year, 20*day),
		CertificateTLS:        certificateOf(t, now, year, 44*day),
		CertificateOperations: certificateOf(t, now, year, 46*day),
	}
	if got := rule.Due(held, now); !slices.Equal(got, []string{CertificateEnrollment, CertificateTLS}) {
		t.Errorf("due are %v", got)
	}
	held[CertificateEnrollment] = certificateOf(t, now, year, -day)
	if got := rule.Due(held, now); !slices.Equal(got, []string{CertificateEnrollment, CertificateTLS}) {
		t.Errorf("with an expired one, due are %v", got)
	}
	delete(held, CertificateEnrollment)
	held[CertificateTLS] = certificateOf(t, now, year, 100*day)
	if got := rule.Due(held, now); got != nil {
		t.Errorf("due are %v", got)
	}
	if got := rule.Due(map[string]string{CertificateTLS: "", CertificateListener: "no certificate"}, now); got != nil || !rule.Time(nil).IsZero() {
		t.Errorf("of nothing, due are %v", got)
	}
}

// sameKeys compares the keys of the certificates of two sets of files, by name.
func sameKeys(t *testing.T, a, b map[string][]byte, file string) bool {
	t.Helper()
	var keys []string
	for _, files := range []map[string][]byte{a, b} {
		cert, err := certificate.ParseOne(firstBlock(files[file]))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		keys = append(keys, certificate.PublicKeyFingerprint(cert))
	}
	return keys[0] == keys[1]
}

func TestMemberRenewal(t *testing.T) {
	h, server := employ(t)
	have := h.issue(nil)
	renew := func(have map[string][]byte, r Renewal) map[string][]byte {
		t.Helper()
		h.restart()
		files, err := h.fabric.memberMaterial(h.member(), "peer", NodeOptions{Renewal: r})(h.ctx(), have)
		h.must(err)
		return files
	}
	all := slices.Collect(maps.Values(certificatesIn(have)))

	retired := renew(have, Renewal{Retire: all})
	if got := fileNames(retired); got != "msp/signcerts/cert.pem operations/cert.pem tls/cert.pem" {
		t.Errorf("renewed are %s", got)
	}
	for _, file := range memberCertificates {
		if !sameKeys(t, have, with(have, retired), file) {
			t.Errorf("the key of %s is another one", file)
		}
	}
	if got := fileNames(renew(have, Renewal{Retire: []string{string(have["tls/cert.pem"])}})); got != "tls/cert.pem" {
		t.Errorf("with one retired, renewed are %s", got)
	}
	// An attempt that was cut short goes on, and renews nothing twice.
	after := with(have, retired)
	if got := fileNames(renew(after, Renewal{Retire: all})); got != "" {
		t.Errorf("renewed again are %s", got)
	}

	// The key that is compromised is that of the certificates from before the renewal, too.
	rotated := renew(after, Renewal{Revoke: all, KeyVersion: 2})
	if got := fileNames(rotated); got != "msp/keystore/key.pem msp/signcerts/cert.pem operations/cert.pem operations/key.pem tls/cert.pem tls/key.pem" {
		t.Errorf("rotated are %s", got)
	}
	for _, file := range memberCertificates {
		if sameKeys(t, after, with(after, rotated), file) {
			t.Errorf("the key of %s is the old one", file)
		}
	}
	if got := fileNames(renew(with(after, rotated), Renewal{Revoke: all, KeyVersion: 2})); got != "" {
		t.Errorf("rotated again are %s", got)
	}

	h.must(h.fabric.revoke(h.ctx(), h.organization("Org1MSP"), all))
	for _, c := range []struct {
		what, ca string
		files    map[string][]byte
		file     string
		want     string
	}{
		{"the first enrolment certificate", enrollmentCA, have, enrollmentFile, ca.ReasonKeyCompromise},
		{"the renewed one", enrollmentCA, after, enrollmentFile, ca.ReasonKeyCompromise},
		{"the first TLS certificate", tlsCA, have, "tls/cert.pem", ca.ReasonKeyCompromise},
		{"the new enrolment certificate", enrollmentCA, rotated, enrollmentFile, ""},
		{"the new TLS certificate", tlsCA, rotated, "tls/cert.pem", ""},
	} {
		if got := server.revoked(c.ca, string(c.files[c.file])); got != c.want {
			t.Errorf("%s is revoked for %q, want %q", c.what, got, c.want)
		}
	}
	h.must(h.fabric.revoke(h.ctx(), h.organization("Org1MSP"), all)) // twice is once
	h.must(h.fabric.revoke(h.ctx(), h.organization("Org1MSP"), nil))
}

// The operations certificate falls due with the others.
func TestOperationsCertificateLivesAsLongAsTLS(t *testing.T) {
	h, _ := employ(t)
	have := h.issue(nil)
	var ends []time.Time
	for _, name := range []string{"tls/cert.pem", "operations/cert.pem"} {
		cert, err := certificate.ParseOne(firstBlock(have[name]))
		h.must(err)
		ends = append(ends, cert.NotAfter)
	}
	if apart := ends[0].Sub(ends[1]).Abs(); apart > 2*time.Second {
		t.Errorf("they end %s apart", apart)
	}
}

func TestCAListenerRenewal(t *testing.T) {
	h, server, _ := started(t, "ca.org1")
	state, err := h.update(h.caSpec("ca.org1"))
	h.must(err)
	read, err := h.fabric.ReadCertificates(h.ctx(), h.ca("ca.org1"))
	h.must(err)
	if len(state.Certificates) != 2 || !maps.Equal(read, state.Certificates) {
		t.Errorf("the CA has %d certificates, and %d are read", len(state.Certificates), len(read))
	}
	files := func() map[string][]byte {
		out := map[string][]byte{}
		for _, name := range []string{"listener/cert.pem", "listener/key.pem", "operations/cert.pem"} {
			out[name] = server.file(name)
		}
		return out
	}
	before := files()
	spec := h.caSpec("ca.org1")
	spec.Retire = []string{state.Certificates[CertificateListener]}
	renewed, err := h.update(spec)
	h.must(err)
	if renewed.Certificates[CertificateListener] == state.Certificates[CertificateListener] || renewed.Certificates[CertificateOperations] != state.Certificates[CertificateOperations] {
		t.Error("not the listener's certificate alone was renewed")
	}
	if !sameKeys(t, before, files(), "listener/cert.pem") {
		t.Error("the listener's key is another one")
	}
	again, err := h.update(spec)
	h.must(err)
	if !maps.Equal(again.Certificates, renewed.Certificates) {
		t.Error("it was renewed twice")
	}
	spec.Retire, spec.Revoke, spec.KeyVersion = nil, slices.Collect(maps.Values(renewed.Certificates)), 2
	rotated, err := h.update(spec)
	h.must(err)
	if sameKeys(t, before, files(), "listener/cert.pem") || rotated.Enrollment != state.Enrollment || server.registered(registrarName) == nil {
		t.Error("not the listener's key alone is another one")
	}
	found, err := h.fabric.FindCA(h.ctx(), "dev", "ca.org1")
	h.must(err)
	if found.KeyVersion != 2 {
		t.Errorf("it is found with key version %d", found.KeyVersion)
	}
}

func TestAdminRenewal(t *testing.T) {
	h, server := orgHouse(t)
	org := h.organization("Org1MSP")
	first, err := h.fabric.ReadOrganization(h.ctx(), org)
	h.must(err)
	admin := func() map[string][]byte {
		return map[string][]byte{"cert": []byte(h.keyFiles("dev-Org1MSP-keys")["admin/cert.pem"])}
	}
	before := admin()
	update := func(r Renewal) OrganizationState {
		t.Helper()
		h.restart()
		state, err := h.fabric.UpdateOrganization(h.ctx(), OrganizationSpec{Handle: org, Renewal: r})
		h.must(err)
		return state
	}
	if same := update(Renewal{}); same.AdminCertificate != first.AdminCertificate {
		t.Error("the admin was enrolled again for nothing")
	}
	renewed := update(Renewal{Retire: []string{first.AdminCertificate}})
	if renewed.AdminCertificate == first.AdminCertificate || !sameKeys(t, before, admin(), "cert") {
		t.Error("the admin's certificate is not a new one for the same key")
	}
	rotated := update(Renewal{Revoke: []string{renewed.AdminCertificate}, KeyVersion: 2})
	if sameKeys(t, before, admin(), "cert") || rotated.KeyVersion != 2 {
		t.Errorf("the admin's key is the old one, or key version %d", rotated.KeyVersion)
	}
	for what, text := range map[string]string{"first": first.AdminCertificate, "renewed": renewed.AdminCertificate} {
		if server.revoked(enrollmentCA, text) != ca.ReasonKeyCompromise {
			t.Errorf("the %s certificate is not revoked", what)
		}
	}
	h.verifyMember(rotated.Definition, []byte(rotated.AdminCertificate))
	if same := update(Renewal{KeyVersion: 2}); same.AdminCertificate != rotated.AdminCertificate || same.CA != "ca.org1" {
		t.Errorf("changed once more: %+v", same)
	}
}

func TestIdentityKeyVersion(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	made, err := h.createIdentity(spec)
	h.must(err)
	rotated := spec
	rotated.KeyVersion, rotated.Revoke = 2, []string{made.Certificate}
	h.restart()
	state, err := h.fabric.UpdateIdentity(h.ctx(), rotated, spec.Attributes)
	h.must(err)
	if sameKeys(t, map[string][]byte{"c": []byte(made.Certificate)}, map[string][]byte{"c": []byte(state.Certificate)}, "c") {
		t.Error("the key is the old one")
	}
	if server.revoked(enrollmentCA, made.Certificate) == "" || server.revoked(enrollmentCA, state.Certificate) != "" {
		t.Error("not the old certificate alone is revoked")
	}
	read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{})
	h.must(err)
	if read.KeyVersion != 2 || !maps.Equal(read.Attributes, spec.Attributes) {
		t.Errorf("read %+v", read)
	}
	_, err = h.fabric.UpdateIdentity(h.ctx(), spec, spec.Attributes)
	h.must(err)
	if read, err = h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{}); err != nil || read.KeyVersion != 0 {
		t.Errorf("read %+v, %v", read, err)
	}
}

// A key that is left of an identity which was removed at the CA is not certified again.
func TestIdentityRemovedAtTheCA(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	first, err := h.createIdentity(spec)
	h.must(err)
	same := func(certPEM string) bool {
		return sameKeys(t, map[string][]byte{"c": []byte(first.Certificate)}, map[string][]byte{"c": []byte(certPEM)}, "c")
	}
	h.restart()
	taken, err := h.fabric.CreateIdentity(h.ctx(), spec)
	h.must(err)
	if !same(taken.Certificate) {
		t.Error("an identity that is taken back has another key")
	}
	server.mu.Lock()
	for _, r := range server.registries {
		delete(r.identities, "alice")
	}
	server.mu.Unlock()
	h.restart()
	again, err := h.fabric.CreateIdentity(h.ctx(), spec)
	h.must(err)
	if same(again.Certificate) {
		t.Error("an identity that was removed at the CA has its old key")
	}
}

func TestUnregister(t *testing.T) {
	h, server := employ(t)
	h.issue(nil)
	org := h.organization("Org1MSP")
	for _, id := range []string{"peer0.org1", "admin"} {
		if server.registered(id) == nil {
			t.Fatalf("%s is not registered", id)
		}
	}
	spec := h.identitySpec("alice")
	_, err := h.createIdentity(spec)
	h.must(err)
	h.restart()
	h.must(h.fabric.Unregister(h.ctx(), h.member(), org, h.network.With(KindPeer, "alice", "Org1MSP"), h.network.With(KindPeer, "never", "Org1MSP")))
	for id, stays := range map[string]bool{"peer0.org1": false, "admin": false, "alice": true, registrarName: true} {
		if there := server.registered(id) != nil; there != stays {
			t.Errorf("%s is registered: %t", id, there)
		}
	}
	h.fake.SetStatus("dev-ca.org1", engine.Stopped, 0)
	h.restart()
	if err := h.fabric.Unregister(h.ctx(), h.member()); err == nil || !strings.Contains(err.Error(), "CA ca.org1 does not answer, its container is stopped") {
		t.Errorf("while the CA is stopped: %v", err)
	}
	for _, volume := range []string{"dev-ca.org1", "dev-ca.org1-keys"} {
		h.fake.VanishNode(volume)
		h.fake.VanishVolume(volume)
	}
	h.restart()
	h.must(h.fabric.Unregister(h.ctx(), h.member()))
	h.must(h.fabric.Unregister(h.ctx(), h.network.With(KindPeer, "peer0", "Org7MSP")))
}

// A record of a channel that has another owner is not read.
func TestRecordOfAnotherNetwork(t *testing.T) {
	s := newSketch(t)
	_, err := s.fabric.channelRecord(t.Context(), s.channel)
	s.must(err)
	other := New(s.fake)
	t.Cleanup(func() { _ = other.Close() })
	foreign := s.channel
	foreign.Owner = "another"
	if _, err := other.channelRecord(t.Context(), foreign); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("read: %v", err)
	}
}
