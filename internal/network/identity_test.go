package network

import (
	"crypto"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

func (h *house) identitySpec(name string) IdentitySpec {
	return IdentitySpec{
		Handle: h.identity(name, "Org1MSP"), Type: "client", Affiliation: "org1.sales", Attributes: map[string]string{"rank": "high", "desk": "7"},
	}
}

// orgHouse makes a house with an organization.
func orgHouse(t *testing.T) (*house, *fakeCA) {
	t.Helper()
	h := newHouse(t)
	server := h.serveCA("ca.org1")
	h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
	spec := h.caSpec("ca.org1")
	spec.Validities = []time.Duration{30 * 24 * time.Hour}
	_, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	from := spec.Handle
	_, err = h.fabric.CreateOrganization(h.ctx(), OrganizationSpec{Handle: h.organization("Org1MSP"), CA: &from})
	h.must(err)
	return h, server
}

func (h *house) createIdentity(spec IdentitySpec) (IdentityState, error) {
	if err := h.fabric.PreflightIdentity(h.ctx(), spec); err != nil {
		return IdentityState{}, err
	}
	return h.fabric.CreateIdentity(h.ctx(), spec)
}

func TestIdentityReadsAsItWasMade(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	spec.Validity = 30 * 24 * time.Hour
	made, err := h.createIdentity(spec)
	h.must(err)
	h.restart()
	read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{})
	h.must(err)
	if read.Certificate != made.Certificate || !read.Registered || read.Type != "client" || read.Affiliation != "org1.sales" ||
		!maps.Equal(read.Attributes, spec.Attributes) || read.Validity != spec.Validity {
		t.Errorf("read %+v", read)
	}
	cert, err := certificate.ParseOne([]byte(made.Certificate))
	h.must(err)
	if left := time.Until(cert.NotAfter); left > spec.Validity || left < spec.Validity-time.Hour {
		t.Errorf("valid for %s", left)
	}
	for _, a := range server.registered("alice").Attributes {
		if _, user := spec.Attributes[a.Name]; a.ECert != user {
			t.Errorf("attribute %s goes into the certificate: %t", a.Name, a.ECert)
		}
	}

	// What somebody changed at the CA shows.
	server.mu.Lock()
	for _, r := range server.registries {
		if id := r.identities["alice"]; id != nil {
			id.Type, id.Attributes = "admin", slices.DeleteFunc(id.Attributes, func(a ca.Attribute) bool { return a.Name == "rank" })
		}
	}
	server.mu.Unlock()
	read, err = h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{})
	h.must(err)
	if read.Type != "admin" || !maps.Equal(read.Attributes, map[string]string{"desk": "7"}) {
		t.Errorf("read %+v", read)
	}
}

func TestIdentityUpdateKeepsTheKey(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	_, err := h.createIdentity(spec)
	h.must(err)
	key := func() crypto.PublicKey {
		t.Helper()
		identity, err := h.fabric.readIdentity(h.ctx(), spec.Handle, "")
		h.must(err)
		return identity.Key.Public()
	}
	before := key()
	changed := spec
	changed.Type, changed.Affiliation, changed.Attributes, changed.Validity = "admin", "", map[string]string{"rank": "low"}, 30*24*time.Hour
	h.restart()
	state, err := h.fabric.UpdateIdentity(h.ctx(), changed, spec.Attributes)
	h.must(err)
	if !before.(interface{ Equal(crypto.PublicKey) bool }).Equal(key()) {
		t.Error("the key is another one")
	}
	cert, err := certificate.ParseOne([]byte(state.Certificate))
	h.must(err)
	if !slices.Contains(cert.Subject.OrganizationalUnit, "admin") || time.Until(cert.NotAfter) > 31*24*time.Hour {
		t.Errorf("certificate of %v until %s", cert.Subject, cert.NotAfter)
	}
	found := server.registered("alice")
	if found.Affiliation != "" || attributeOf(found.Attributes, "rank") != "low" || attributeOf(found.Attributes, "desk") != "" {
		t.Errorf("registered as %+v", found)
	}

	// A key that is gone is made again.
	h.must(h.fabric.eraseKeys(h.ctx(), h.organization("Org1MSP"), identitiesFolder+"alice/key.pem"))
	read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{Certificate: state.Certificate})
	h.must(err)
	if read.Certificate != "" {
		t.Error("an identity without its key reads as whole")
	}
	_, err = h.fabric.UpdateIdentity(h.ctx(), changed, changed.Attributes)
	h.must(err)
	if before.(interface{ Equal(crypto.PublicKey) bool }).Equal(key()) {
		t.Error("the key that was gone is back")
	}
}

// Registrations of somebody else, or for something else, are neither taken over nor removed.
func TestIdentityLeavesOthersAlone(t *testing.T) {
	h, server := orgHouse(t)
	h.must(h.registerByHand("bob"))
	_, err := h.fabric.enrollNew(h.ctx(), h.ca("ca.org1"), enrollmentCA, ca.Registration{ID: "peer0.org1", Type: "peer"}, ca.EnrollRequest{})
	h.must(err)
	for id, says := range map[string]string{"bob": "not by this provider", "peer0.org1": "registered at CA ca.org1", "admin": "registered at CA ca.org1", "registrar": "registered at CA ca.org1"} {
		before := *server.registered(id)
		spec := h.identitySpec(id)
		err := h.fabric.PreflightIdentity(h.ctx(), spec)
		if !errors.Is(err, engine.ErrForeign) || !strings.Contains(err.Error(), says) {
			t.Errorf("preflight of %s: %v", id, err)
		}
		if _, err := h.fabric.CreateIdentity(h.ctx(), spec); !errors.Is(err, engine.ErrForeign) {
			t.Errorf("create of %s: %v", id, err)
		}
		if _, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", IdentityState{}); !errors.Is(err, engine.ErrForeign) {
			t.Errorf("read of %s: %v", id, err)
		}
		h.must(h.fabric.DeleteIdentity(h.ctx(), spec.Handle, ""))
		after := server.registered(id)
		if after == nil || after.Type != before.Type || len(after.Attributes) != len(before.Attributes) {
			t.Errorf("%s was %+v and is %+v", id, before, after)
		}
	}
	// And a node does not take over an identity.
	_, err = h.createIdentity(h.identitySpec("alice"))
	h.must(err)
	if _, err := h.fabric.enrollNew(h.ctx(), h.ca("ca.org1"), enrollmentCA, ca.Registration{ID: "alice", Type: "peer"}, ca.EnrollRequest{}); !errors.Is(err, engine.ErrForeign) || !strings.Contains(err.Error(), "identity") {
		t.Errorf("a peer with the name of an identity: %v", err)
	}
}

func TestIdentityThatIsThere(t *testing.T) {
	h, _ := orgHouse(t)
	spec := h.identitySpec("alice")
	made, err := h.createIdentity(spec)
	h.must(err)
	if err := h.fabric.PreflightIdentity(h.ctx(), spec); !errors.Is(err, ErrExists) {
		t.Errorf("the same name again: %v", err)
	}
	h.restart()
	other := spec
	other.Attributes = map[string]string{"role": "auditor"}
	if err := h.fabric.PreflightIdentity(h.ctx(), other); !errors.Is(err, ErrExists) {
		t.Errorf("the same name for another identity: %v", err)
	}
	// After an apply that was killed before Terraform heard of it.
	h.must(h.fabric.PreflightIdentity(h.ctx(), spec))
	// After a lost state, with the owner_id given.
	h.fabric.Adopt(h.network.Owner)
	taken, err := h.createIdentity(spec)
	h.must(err)
	before, err := certificate.ReadFacts([]byte(made.Certificate))
	h.must(err)
	after, err := certificate.ReadFacts([]byte(taken.Certificate))
	h.must(err)
	if before.PublicKeyFingerprint != after.PublicKeyFingerprint {
		t.Error("the identity that was taken back has another key")
	}
	// One that was registered, whose key never reached the engine, is nobody's.
	h.restart()
	h.must(h.fabric.eraseKeys(h.ctx(), h.organization("Org1MSP"), identitiesFolder+"alice/key.pem", identitiesFolder+"alice/cert.pem"))
	_, err = h.createIdentity(spec)
	h.must(err)
}

func TestIdentityValidity(t *testing.T) {
	h, server := orgHouse(t)
	spec := h.identitySpec("alice")
	spec.Validity = 90 * 24 * time.Hour
	err := h.fabric.PreflightIdentity(h.ctx(), spec)
	wrong := new(ValidityError)
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "CA ca.org1 issues no certificates of 2160h, but of 8760h, 720h") {
		t.Errorf("preflight: %v", err)
	}
	if server.registered("alice") != nil {
		t.Error("it was registered")
	}
	for _, validity := range []time.Duration{year, 30 * 24 * time.Hour, 0} {
		spec.Validity = validity
		if err := h.fabric.PreflightIdentity(h.ctx(), spec); err != nil {
			t.Errorf("%s: %v", validity, err)
		}
	}
	spec.Validity = 90 * 24 * time.Hour
	if _, err := h.fabric.UpdateIdentity(h.ctx(), spec, nil); !errors.Is(err, ErrNoValidity) {
		t.Errorf("update: %v", err)
	}
}

func TestIdentityInADirectory(t *testing.T) {
	h, _ := orgHouse(t)
	spec := h.identitySpec("alice")
	spec.Directory = filepath.Join(t.TempDir(), "alice")
	made, err := h.createIdentity(spec)
	h.must(err)
	files := map[string][]byte{}
	h.must(filepath.WalkDir(spec.Directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(spec.Directory, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	}))
	definition, identity, err := msp.ParseFolder("Org1MSP", files)
	h.must(err)
	if identity == nil || string(identity.CertificatePEM) != made.Certificate {
		t.Fatal("the folder holds no identity, or another one")
	}
	h.verifyMember(definition, identity.CertificatePEM)
	for name := range h.keyFiles("dev-Org1MSP-keys") {
		if strings.Contains(name, "alice") {
			t.Errorf("%s is in the key volume as well", name)
		}
	}
	h.restart()
	read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, spec.Directory, IdentityState{})
	h.must(err)
	if read.Certificate != made.Certificate {
		t.Error("it reads as another one")
	}

	bob := h.identitySpec("bob")
	bob.Directory = spec.Directory
	if err := h.fabric.PreflightIdentity(h.ctx(), bob); err == nil || !strings.Contains(err.Error(), "alice") {
		t.Errorf("another identity in the directory: %v", err)
	}

	foreign := filepath.Join(spec.Directory, "keystore", "other_sk")
	h.must(os.WriteFile(foreign, []byte("theirs"), 0o600))
	h.must(os.WriteFile(filepath.Join(spec.Directory, "notes.txt"), []byte("mine"), 0o600))
	h.must(h.fabric.DeleteIdentity(h.ctx(), spec.Handle, spec.Directory))
	var left []string
	h.must(filepath.WalkDir(spec.Directory, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			left = append(left, filepath.Base(path))
		}
		return err
	}))
	if !slices.Equal(left, []string{"other_sk", "notes.txt"}) {
		t.Errorf("left: %v", left)
	}
}

// Half of what an identity is signs nothing, and the next apply makes it whole.
func TestIdentityInAHalfEmptyDirectory(t *testing.T) {
	for name, harm := range map[string]func(dir string) error{
		"key gone":         func(dir string) error { return os.Remove(filepath.Join(dir, "keystore", "key.pem")) },
		"certificate gone": func(dir string) error { return os.Remove(filepath.Join(dir, "signcerts", "cert.pem")) },
		"key of another":   func(dir string) error { return writeOtherKey(filepath.Join(dir, "keystore", "key.pem")) },
		"everything gone":  os.RemoveAll,
		"roots gone":       func(dir string) error { return os.RemoveAll(filepath.Join(dir, "cacerts")) },
		"certificate spoilt": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "signcerts", "cert.pem"), []byte("x"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := orgHouse(t)
			spec := h.identitySpec("alice")
			spec.Directory = filepath.Join(t.TempDir(), "alice")
			made, err := h.createIdentity(spec)
			h.must(err)
			h.must(harm(spec.Directory))
			read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, spec.Directory, IdentityState{Certificate: made.Certificate})
			h.must(err)
			if name != "roots gone" && read.Certificate != "" {
				t.Error("it reads as whole")
			}
			_, err = h.fabric.UpdateIdentity(h.ctx(), spec, spec.Attributes)
			h.must(err)
			identity, err := h.fabric.readIdentity(h.ctx(), spec.Handle, spec.Directory)
			h.must(err)
			cert, err := certificate.ParseOne(identity.CertificatePEM)
			h.must(err)
			if !certificate.KeyMatches(cert, identity.Key) {
				t.Error("the key is not that of the certificate")
			}
			h.must(harm(spec.Directory))
			h.must(h.fabric.DeleteIdentity(h.ctx(), spec.Handle, spec.Directory))
			if _, err := os.Stat(filepath.Join(spec.Directory, "keystore", "key.pem")); err == nil {
				t.Error("the key is left")
			}
		})
	}
}

func writeOtherKey(path string) error {
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		return err
	}
	text, err := certificate.EncodeKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// A CA that is gone lets its identities go; one that merely does not answer does not.
func TestIdentityWithoutItsCA(t *testing.T) {
	for name, test := range map[string]struct {
		harm func(h *house, server *fakeCA)
		says []string
	}{
		"database gone": {func(h *house, _ *fakeCA) { h.fake.VanishNode("dev-ca.org1"); h.fake.VanishVolume("dev-ca.org1") }, nil},
		"keys gone": {func(h *house, _ *fakeCA) {
			h.fake.VanishNode("dev-ca.org1-keys")
			h.fake.VanishVolume("dev-ca.org1-keys")
		}, nil},
		"all gone": {func(h *house, _ *fakeCA) {
			for _, name := range []string{"dev-ca.org1", "dev-ca.org1-keys", "dev-Org1MSP-keys"} {
				h.fake.VanishNode(name)
				h.fake.VanishVolume(name)
			}
		}, nil},
		"stopped":        {func(h *house, _ *fakeCA) { h.fake.SetStatus("dev-ca.org1", engine.Stopped, 0) }, []string{"CA ca.org1", "stopped", "apply its fabric_ca"}},
		"removed":        {func(h *house, _ *fakeCA) { h.fake.VanishNode("dev-ca.org1") }, []string{"CA ca.org1", "absent"}},
		"out of order":   {func(_ *house, server *fakeCA) { server.refuse = http.StatusInternalServerError }, []string{"CA ca.org1", "HTTP status 500"}},
		"engine is gone": {func(h *house, _ *fakeCA) { h.fake.SetUnreachable(true) }, []string{"does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			h, server := orgHouse(t)
			spec := h.identitySpec("alice")
			made, err := h.createIdentity(spec)
			h.must(err)
			test.harm(h, server)
			h.restart()
			err = h.fabric.DeleteIdentity(h.ctx(), spec.Handle, "")
			if test.says == nil {
				h.must(err)
				return
			}
			if err == nil {
				t.Fatal("it was destroyed")
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %s", err, text)
				}
			}
			known := IdentityState{Certificate: made.Certificate, Registered: true, Type: "client"}
			read, err := h.fabric.ReadIdentity(h.ctx(), spec.Handle, "", known)
			if err == nil || read.Certificate != made.Certificate || !read.Registered {
				t.Errorf("read %+v, %v", read, err)
			}
		})
	}
}
