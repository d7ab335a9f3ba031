package network

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// started makes a house with one CA.
func started(t *testing.T, name string) (*house, *fakeCA, CAState) {
	t.Helper()
	h := newHouse(t)
	server := h.serveCA(name)
	h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
	state, err := h.fabric.EnsureCA(h.ctx(), h.caSpec(name))
	h.must(err)
	return h, server, state
}

// update is what a later run does.
func (h *house) update(spec CASpec) (CAState, error) {
	h.restart()
	spec.Existing = true
	return h.fabric.EnsureCA(h.ctx(), spec)
}

func (h *house) keyFiles(volume string) map[string]string {
	out := map[string]string{}
	for name, file := range h.fake.Files(volume) {
		if len(file.Content) > 0 {
			out[strings.TrimPrefix(name, "store/")] = string(file.Content)
		}
	}
	return out
}

func TestCAKeepsItsKeysApart(t *testing.T) {
	h, _, state := started(t, "ca.org1")
	keys := h.keyFiles("dev-ca.org1-keys")
	for _, name := range []string{enrollmentCA, tlsCA} {
		if _, there := keys[name+caKey]; there {
			t.Errorf("the key of CA %s is in the key volume after the start", name)
		}
		for _, part := range []string{registrarSecret, registrarCertificate, registrarKey, caCertificate} {
			if keys[name+part] == "" {
				t.Errorf("%s%s is not in the key volume", name, part)
			}
		}
	}
	if keys[enrollmentCA+registrarSecret] == keys[tlsCA+registrarSecret] {
		t.Error("both registrars have one secret")
	}
	if state.Enrollment != keys[enrollmentCA+caCertificate] || state.TLS != keys[tlsCA+caCertificate] || state.Enrollment == state.TLS {
		t.Error("the state has other certificates than the key volume")
	}
	for name, file := range h.fake.Files("dev-ca.org1") {
		if file.Mode != 0o600 || file.UID != 1000 {
			t.Errorf("%s has mode %o and belongs to %d", name, file.Mode, file.UID)
		}
		if bytes.Contains(file.Content, []byte(keys[operationsKey])) {
			t.Errorf("%s holds the key of the operations root", name)
		}
	}
	spec, _ := h.fake.Spec("dev-ca.org1")
	for _, text := range append(slices.Collect(maps.Values(spec.Env)), slices.Collect(maps.Values(spec.Labels))...) {
		if strings.Contains(text, keys[enrollmentCA+registrarSecret]) {
			t.Error("a secret is in the environment or a label of the container")
		}
	}
}

func TestCAIsMadeOnce(t *testing.T) {
	h, server, before := started(t, "ca.org1")
	keys, enrolled := h.keyFiles("dev-ca.org1-keys"), server.enrolled
	container, err := h.fake.Node(h.ctx(), "dev-ca.org1")
	h.must(err)
	after, err := h.update(h.caSpec("ca.org1"))
	h.must(err)
	if after.Enrollment != before.Enrollment || after.TLS != before.TLS || !maps.Equal(keys, h.keyFiles("dev-ca.org1-keys")) {
		t.Error("the second time changed keys")
	}
	if again, err := h.fake.Node(h.ctx(), "dev-ca.org1"); err != nil || again.ID != container.ID {
		t.Errorf("the second time made another container: %v", err)
	}
	if server.enrolled != enrolled {
		t.Error("the second time enrolled again")
	}
}

// A CA whose container goes comes back as it was.
func TestCAOutlivesItsContainer(t *testing.T) {
	for name, harm := range map[string]func(h *house){
		"stopped":                 func(h *house) { h.fake.SetStatus("dev-ca.org1", engine.Stopped, 137) },
		"removed":                 func(h *house) { h.fake.VanishNode("dev-ca.org1") },
		"removed, its keeper too": func(h *house) { h.fake.VanishNode("dev-ca.org1"); h.fake.VanishNode("dev-ca.org1-keys") },
		"its network removed":     func(h *house) { h.fake.SetStatus("dev-ca.org1", engine.Stopped, 0); h.fake.VanishNetwork("dev") },
		"everything but the volumes": func(h *house) {
			for _, n := range []string{"dev-ca.org1", "dev-ca.org1-keys"} {
				h.fake.VanishNode(n)
			}
			h.fake.VanishNetwork("dev")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, server, before := started(t, "ca.org1")
			h.must(h.registerByHand("someone"))
			keys, ports := h.keyFiles("dev-ca.org1-keys"), before.HostPorts
			harm(h)
			h.restart()
			state, err := h.fabric.ReadCA(h.ctx(), h.ca("ca.org1"))
			h.must(err)
			if state.Lost {
				t.Error("it reads as lost")
			}
			h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
			spec := h.caSpec("ca.org1")
			spec.HostPorts = ports
			after, err := h.update(spec)
			h.must(err)
			if after.Enrollment != before.Enrollment || !maps.Equal(keys, h.keyFiles("dev-ca.org1-keys")) {
				t.Error("keys changed")
			}
			if !maps.Equal(after.HostPorts, ports) {
				t.Errorf("ports %v, were %v", after.HostPorts, ports)
			}
			if server.registered("someone") == nil {
				t.Error("the registry was lost")
			}
		})
	}
}

// registerByHand is what somebody does with another client.
func (h *house) registerByHand(id string, attributes ...ca.Attribute) error {
	client, registrar, err := h.fabric.registrar(h.ctx(), h.ca("ca.org1"), enrollmentCA)
	if err == nil {
		_, err = client.Register(h.ctx(), registrar, ca.Registration{ID: id, Type: "client", Attributes: attributes})
	}
	return err
}

func TestCALoss(t *testing.T) {
	for name, test := range map[string]struct {
		gone   []string
		volume string
	}{
		"database": {gone: []string{"dev-ca.org1"}, volume: "dev-ca.org1"},
		"keys":     {gone: []string{"dev-ca.org1-keys"}, volume: "dev-ca.org1-keys"},
		"both":     {gone: []string{"dev-ca.org1", "dev-ca.org1-keys"}, volume: "dev-ca.org1-keys"},
	} {
		t.Run(name, func(t *testing.T) {
			h, server, before := started(t, "ca.org1")
			_, err := h.createOrganization(h.organizationSpec("Org1MSP", "ca.org1"))
			h.must(err)
			h.must(h.registerByHand("someone"))
			for _, volume := range test.gone {
				h.fake.VanishNode(volume)
				h.fake.VanishVolume(volume)
			}
			h.restart()
			state, err := h.fabric.ReadCA(h.ctx(), h.ca("ca.org1"))
			if err != nil || !state.Lost {
				t.Errorf("it reads as %+v, %v", state, err)
			}

			mutations := h.fake.Mutations()
			_, err = h.update(h.caSpec("ca.org1"))
			lost := new(LostError)
			if !errors.As(err, &lost) || lost.Volume != test.volume {
				t.Fatalf("without consent: %v", err)
			}
			for _, volume := range test.gone {
				if _, err := h.fake.Volume(h.ctx(), volume); !errors.Is(err, engine.ErrNotFound) {
					t.Errorf("volume %s was made again: %v", volume, err)
				}
			}
			if did := h.fake.Mutations() - mutations; did != 0 {
				t.Errorf("%d calls changed something without consent", did)
			}

			spec := h.caSpec("ca.org1")
			spec.AcceptDataLoss = true
			after, err := h.update(spec)
			h.must(err)
			if after.Enrollment == before.Enrollment || after.TLS == before.TLS {
				t.Error("the new CA has certificates of the old one")
			}
			if server.registered("someone") != nil {
				t.Error("the new CA has the registry of the old one")
			}
			h.must(h.registerByHand("another")) // its registrar works
			again, err := h.update(spec)
			h.must(err)
			if again.Enrollment != after.Enrollment {
				t.Error("consent that stays in the configuration made yet another CA")
			}
		})
	}
}

// What changes in place leaves both CAs as they are.
func TestCAChangesInPlace(t *testing.T) {
	h, server, before := started(t, "ca.org1")
	h.must(h.registerByHand("someone"))
	listener := func() *x509.Certificate {
		t.Helper()
		certs, err := certificate.ParseCertificates(server.file("listener/cert.pem"))
		h.must(err)
		return certs[0]
	}
	first := listener()
	keys := server.file("ca-key.pem")

	spec := h.caSpec("ca.org1")
	spec.AdvertisedAddress, spec.Hosts = "ca.public.example.com:7054", []string{"10.1.2.3", "other"}
	spec.CertificateValidity, spec.Validities = 30*24*time.Hour, []time.Duration{24 * time.Hour, 7 * 24 * time.Hour}
	spec.Affiliations = []string{"org1.sales", "org1.hr"}
	after, err := h.update(spec)
	h.must(err)
	second := listener()
	for _, host := range []string{"ca.public.example.com", "10.1.2.3", "other", "ca.org1.example.com", "ca.org1", "localhost", "127.0.0.1"} {
		if err := second.VerifyHostname(host); err != nil {
			t.Errorf("%v", err)
		}
	}
	config := string(server.file("fabric-ca-server-config.yaml"))
	for _, text := range []string{"enrolment-1440m", "enrolment-10080m", "sales", "720h0m0s"} {
		if !strings.Contains(config, text) {
			t.Errorf("the configuration lacks %s", text)
		}
	}
	if after.Enrollment != before.Enrollment || after.TLS != before.TLS || !bytes.Equal(keys, server.file("ca-key.pem")) || server.registered("someone") == nil {
		t.Error("the CA is another one")
	}

	unchanged, err := h.update(spec)
	h.must(err)
	if !listener().Equal(second) || unchanged.Enrollment != after.Enrollment {
		t.Error("the listener's certificate was issued again for nothing")
	}
	spec = h.caSpec("ca.org1")
	spec.Former = []string{"org1.sales", "org1.hr"}
	_, err = h.update(spec)
	h.must(err)
	third := listener()
	if third.VerifyHostname("other") == nil || !slices.Equal(third.DNSNames, first.DNSNames) {
		t.Errorf("the listener serves %v, served %v at first", third.DNSNames, first.DNSNames)
	}
}

// Members leave an affiliation only after the CA was updated: until then it stays, and that is said.
func TestCAKeepsAffiliationsWithMembers(t *testing.T) {
	h, _ := orgHouse(t)
	_, err := h.createIdentity(h.identitySpec("alice")) // of org1.sales
	h.must(err)
	spec := h.caSpec("ca.org1")
	spec.Affiliations, spec.Former = []string{"org1.hr"}, []string{"org1", "org1.sales", "org1.it"}
	state, err := h.update(spec)
	h.must(err)
	if !slices.Equal(state.Kept, []string{"org1.sales"}) {
		t.Errorf("kept %v", state.Kept)
	}
}

func TestCAIntermediate(t *testing.T) {
	h, root, above := started(t, "ca.root")
	h.serveCA("ca.org1")
	parent := h.ca("ca.root")
	spec := h.caSpec("ca.org1")
	spec.Parent = &parent
	h.must(h.fabric.PreflightCA(h.ctx(), spec))
	state, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	for _, chain := range []struct{ leaf, root string }{{state.Enrollment, above.Enrollment}, {state.TLS, above.TLS}} {
		if err := certificate.VerifyChain(certificate.VerifyRequest{Leaf: []byte(chain.leaf), Roots: [][]byte{[]byte(chain.root)}, Usage: certificate.UsageCA}); err != nil {
			t.Error(err)
		}
	}
	keys, err := h.fabric.caKeys(h.ctx(), spec.Handle)
	h.must(err)
	definition, err := keys.definition("Org1MSP")
	h.must(err)
	if want := []string{above.Enrollment}; !slices.Equal(definition.RootCertificates, want) || !slices.Equal(definition.IntermediateCertificates, []string{state.Enrollment}) {
		t.Errorf("the definition has %d roots and %d intermediates", len(definition.RootCertificates), len(definition.IntermediateCertificates))
	}
	if root.registered("ca.org1") == nil {
		t.Error("the intermediate is not registered at its parent")
	}

	h.restart()
	below := h.caSpec("ca.below")
	middle := spec.Handle
	below.Parent = &middle
	if err := h.fabric.PreflightCA(h.ctx(), below); err == nil || !strings.Contains(err.Error(), "intermediate itself") {
		t.Errorf("a CA below an intermediate: %v", err)
	}
}

func TestCAPreflight(t *testing.T) {
	other := map[string]string{engine.LabelOwner: "another"}
	ours := map[string]string{engine.LabelOwner: "0123456789abcdef", engine.LabelKind: string(KindPeer), engine.LabelName: "ca.org1-keys"}
	for name, test := range map[string]struct {
		prepare func(h *house, spec *CASpec)
		kind    error
		says    []string
	}{
		"foreign container":     {func(h *house, _ *CASpec) { h.fake.AddNode(engine.Node{Name: "dev-ca.org1"}) }, engine.ErrForeign, []string{"container", "dev-ca.org1", "did not make"}},
		"container of another":  {func(h *house, _ *CASpec) { h.fake.AddNode(engine.Node{Name: "dev-ca.org1", Labels: other}) }, engine.ErrForeign, []string{"dev-ca.org1", "another"}},
		"foreign volume":        {func(h *house, _ *CASpec) { h.fake.AddVolume(engine.Volume{Name: "dev-ca.org1", Labels: other}) }, engine.ErrForeign, []string{"volume", "dev-ca.org1", "another"}},
		"foreign key volume":    {func(h *house, _ *CASpec) { h.fake.AddVolume(engine.Volume{Name: "dev-ca.org1-keys", Labels: other}) }, engine.ErrForeign, []string{"volume", "dev-ca.org1-keys", "another"}},
		"foreign keeper":        {func(h *house, _ *CASpec) { h.fake.AddNode(engine.Node{Name: "dev-ca.org1-keys", Labels: other}) }, engine.ErrForeign, []string{"container", "dev-ca.org1-keys"}},
		"a peer with the name":  {func(h *house, _ *CASpec) { h.fake.AddVolume(engine.Volume{Name: "dev-ca.org1-keys", Labels: ours}) }, engine.ErrForeign, []string{"peer ca.org1-keys", "this network"}},
		"image that is nowhere": {func(_ *house, spec *CASpec) { spec.Image = enginetest.AbsentImage }, engine.ErrNoImage, []string{enginetest.AbsentImage, "127.0.0.1:1"}},
		"host port that is taken": {func(h *house, spec *CASpec) {
			h.fake.TakePort("127.0.0.1", 7054)
			spec.HostPorts = map[string]int{"api": 7054}
		}, engine.ErrPortTaken, []string{"127.0.0.1:7054"}},
		"network that is not there": {func(h *house, _ *CASpec) { h.fake.VanishNetwork("dev") }, engine.ErrNotFound, []string{"network dev"}},
		"parent that is not there":  {func(h *house, spec *CASpec) { p := h.ca("ca.root"); spec.Parent = &p }, ErrLost, []string{"dev-ca.root-keys"}},
		"engine that is gone":       {func(h *house, _ *CASpec) { h.fake.SetUnreachable(true) }, engine.ErrUnreachable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
			spec := h.caSpec("ca.org1")
			test.prepare(h, &spec)
			before := h.fake.Mutations()
			err := h.fabric.PreflightCA(h.ctx(), spec)
			if !errors.Is(err, test.kind) {
				t.Fatalf("%v, want %v", err, test.kind)
			}
			for _, text := range test.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %s", err, text)
				}
			}
			if h.fake.Mutations() != before {
				t.Error("something was made")
			}
		})
	}
}

func TestCATakesUpWhatWasKept(t *testing.T) {
	h, _, before := started(t, "ca.org1")
	h.must(h.fabric.DeleteCA(h.ctx(), h.ca("ca.org1"), true))
	if _, err := h.fake.Node(h.ctx(), "dev-ca.org1"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the container is left: %v", err)
	}
	for _, volume := range []string{"dev-ca.org1", "dev-ca.org1-keys"} {
		if _, err := h.fake.Volume(h.ctx(), volume); err != nil {
			t.Errorf("%v", err)
		}
	}
	if err := h.fake.RemoveVolume(h.ctx(), "dev-ca.org1-keys", h.network.Owner); err == nil {
		t.Error("a prune would take the keys that are kept")
	}

	h.restart()
	for name, change := range map[string]func(*CASpec){
		"common name":  func(s *CASpec) { s.CommonName = "other" },
		"organization": func(s *CASpec) { s.Organization = "org2" },
	} {
		spec := h.caSpec("ca.org1")
		change(&spec)
		if _, err := h.fabric.EnsureCA(h.ctx(), spec); err == nil || !strings.Contains(err.Error(), `"ca.org1"`) || !strings.Contains(err.Error(), "dev-ca.org1-keys") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	spec := h.caSpec("ca.org1")
	h.must(h.fabric.PreflightCA(h.ctx(), spec))
	after, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	if after.Enrollment != before.Enrollment {
		t.Error("the CA is another one")
	}
}

// The registrar's certificate lives as long as what the CA issues; the registrar itself longer.
func TestRegistrarEnrolsAgain(t *testing.T) {
	h, server, _ := started(t, "ca.org1")
	of := func(left time.Duration) { // the registrar's certificate, an hour long, has this much left
		h.t.Helper()
		root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "long ago", Validity: year, Now: time.Now().Add(-2 * time.Hour)})
		h.must(err)
		key, err := certificate.ParseKey([]byte(h.keyFiles("dev-ca.org1-keys")[enrollmentCA+registrarKey]))
		h.must(err)
		pair, err := issueFor(key, root, certificate.LeafRequest{CommonName: registrarName, Client: true, Now: time.Now().Add(left - time.Hour), Validity: time.Hour})
		h.must(err)
		h.must(h.fabric.writeKeys(h.ctx(), h.ca("ca.org1"), map[string][]byte{enrollmentCA + registrarCertificate: pair.CertificatePEM()}))
	}
	for left, again := range map[time.Duration]bool{30 * time.Minute: false, 10 * time.Minute: true, -time.Minute: true} {
		of(left)
		before, enrolled := h.keyFiles("dev-ca.org1-keys"), server.enrolled
		_, pair, err := h.fabric.registrar(h.ctx(), h.ca("ca.org1"), enrollmentCA)
		h.must(err)
		after := h.keyFiles("dev-ca.org1-keys")
		if did := server.enrolled == enrolled+1 && after[enrollmentCA+registrarCertificate] != before[enrollmentCA+registrarCertificate]; did != again {
			t.Errorf("with %s left the registrar enrolled again: %t", left, did)
		}
		if string(pair.CertificatePEM()) != after[enrollmentCA+registrarCertificate] {
			t.Errorf("with %s left another certificate is used than is kept", left)
		}
		if after[enrollmentCA+registrarKey] != before[enrollmentCA+registrarKey] || after[tlsCA+registrarCertificate] != before[tlsCA+registrarCertificate] {
			t.Errorf("with %s left more changed than the certificate", left)
		}
	}
}

func TestStoppedCAIsNoRegistrar(t *testing.T) {
	h := newHouse(t)
	h.serveCA("ca.org1")
	h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
	spec := h.caSpec("ca.org1")
	spec.Stopped = true
	state, err := h.fabric.EnsureCA(h.ctx(), spec)
	h.must(err)
	if state.Status != engine.Stopped || state.Enrollment == "" {
		t.Errorf("state %+v", state)
	}
	if _, _, err := h.fabric.registrar(h.ctx(), spec.Handle, enrollmentCA); err == nil || !strings.Contains(err.Error(), "CA ca.org1") {
		t.Errorf("registrar of a CA that never ran: %v", err)
	}
	spec.Stopped = false
	after, err := h.update(spec)
	h.must(err)
	if after.Status != engine.Running || after.Enrollment != state.Enrollment {
		t.Errorf("state %+v", after.NodeState)
	}
	_, _, err = h.fabric.registrar(h.ctx(), spec.Handle, enrollmentCA)
	h.must(err)
}

// everything makes all that this file is about, as an apply does.
func (h *house) everything() error {
	f, ctx := h.fabric, h.ctx()
	if err := f.EnsureNetwork(ctx, h.network, false); err != nil {
		return err
	}
	if _, err := f.EnsureCA(ctx, h.caSpec("ca.org1")); err != nil {
		return err
	}
	from := h.ca("ca.org1")
	if _, err := f.CreateOrganization(ctx, OrganizationSpec{Handle: h.organization("Org1MSP"), CA: &from, Image: "fabric-ca:1.5.13"}); err != nil {
		return err
	}
	_, err := f.CreateIdentity(ctx, h.identitySpec("alice"))
	return err
}

// nothing takes all of it away, as a destroy does.
func (h *house) nothing() error {
	f, ctx := h.fabric, h.ctx()
	return errors.Join(
		f.DeleteIdentity(ctx, h.identity("alice", "Org1MSP"), ""),
		f.DeleteOrganization(ctx, h.organization("Org1MSP")),
		f.DeleteCA(ctx, h.ca("ca.org1"), false),
		f.DeleteNetwork(ctx, h.network, false),
	)
}

func (h *house) left() []string {
	h.t.Helper()
	nodes, err := h.fake.Nodes(h.ctx(), nil)
	h.must(err)
	volumes, err := h.fake.Volumes(h.ctx(), nil)
	h.must(err)
	networks, err := h.fake.Networks(h.ctx(), nil)
	h.must(err)
	var left []string
	for _, n := range nodes {
		left = append(left, "container "+n.Name)
	}
	for _, v := range volumes {
		left = append(left, "volume "+v.Name)
	}
	for _, n := range networks {
		left = append(left, "network "+n.Name)
	}
	return left
}

// Whatever the engine fails at, the next run makes the rest, and a destroy leaves nothing.
func TestFailureAtEveryStep(t *testing.T) {
	broken := errors.New("the engine's disk is full")
	var steps int
	{
		h := newHouse(t)
		h.serveCA("ca.org1")
		h.must(h.everything())
		steps = h.fake.Mutations()
	}
	if steps < 10 {
		t.Fatalf("only %d calls change something", steps)
	}
	for _, when := range []enginetest.When{enginetest.Before, enginetest.After} {
		for k := 1; k <= steps; k++ {
			t.Run(fmt.Sprintf("call %d fails %s", k, map[enginetest.When]string{enginetest.Before: "before", enginetest.After: "after"}[when]), func(t *testing.T) {
				for _, then := range []string{"apply", "destroy"} {
					h := newHouse(t)
					h.serveCA("ca.org1")
					h.fake.FailAt(k, when, broken)
					if err := h.everything(); !errors.Is(err, broken) {
						t.Fatalf("the failure was not reported: %v", err)
					}
					h.restart()
					if then == "apply" {
						h.must(h.everything())
						signer, err := h.fabric.identity(h.ctx(), h.identity("alice", "Org1MSP"))
						h.must(err)
						state, err := h.fabric.ReadOrganization(h.ctx(), h.organization("Org1MSP"))
						h.must(err)
						h.verifyMember(state.Definition, signer.CertificatePEM)
						h.restart()
					}
					h.must(h.nothing())
					if left := h.left(); len(left) > 0 {
						t.Errorf("after %s, left: %v", then, left)
					}
				}
			})
		}
	}
}

func (h *house) verifyMember(d msp.Definition, certPEM []byte) {
	h.t.Helper()
	if err := d.VerifyMember(certPEM); err != nil {
		h.t.Error(err)
	}
}
