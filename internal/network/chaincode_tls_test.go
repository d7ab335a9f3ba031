package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

func guardedSpec(s *sketch) (spec ChaincodeSpec, packageID string) {
	spec = ChaincodeSpec{
		Channel: s.channel, Name: "kv", Version: "1", Label: "kv_1", Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}, MutualTLS: true},
	}
	_, packageID, err := ChaincodePackage("trade", "kv_1", nil, true)
	s.must(err)
	return spec, packageID
}

// serveOne makes the server beside a peer as a release does.
func (s *sketch) serveOne(spec ChaincodeSpec, p Handle, packageID string) (fresh bool) {
	s.t.Helper()
	w := s.fabric.watchNodes(s.t.Context())
	fresh, err := s.fabric.serve(s.t.Context(), w, spec, p, "kv:1", packageID)
	s.must(w.end(err))
	return fresh
}

// age gives a server another end of its certificate.
func (s *sketch) age(name string, end time.Time) {
	s.t.Helper()
	spec, ok := s.fake.Spec(name)
	if !ok {
		s.t.Fatalf("no %s", name)
	}
	spec.Labels[labelTLSEnds] = end.UTC().Format(time.RFC3339)
	s.fake.VanishNode(name)
	s.must(s.fake.CreateNode(s.t.Context(), spec))
	s.must(s.fake.StartNode(s.t.Context(), name))
}

// TestServerTLS: a server and its peer know each other and nobody else, until their certificates fall due.
func TestServerTLS(t *testing.T) {
	s := newSketch(t)
	spec, packageID := guardedSpec(s)
	p := s.peer("peer0.org1", "Org1MSP")
	h := server(spec, p)
	if !s.serveOne(spec, p, packageID) || s.serveOne(spec, p, packageID) {
		t.Error("the first server is new, and stays")
	}
	files := s.fake.Files(h.Object())
	file := func(name string) []byte { return files["node/"+name].Content }
	if key := files["node/"+peersTLSKey]; key.UID != 0 || key.Mode&0o077 != 0 {
		t.Errorf("the peer's key is for %d with mode %o", key.UID, key.Mode)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(file(serverTLSRoot))
	for name, c := range map[string]struct {
		cert, key []byte
		options   x509.VerifyOptions
	}{
		"the server": {file(serverTLSCert), file(serverTLSKey), x509.VerifyOptions{Roots: roots, DNSName: h.Host(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}},
		"the peer":   {file(peersTLSCert), file(peersTLSKey), x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}},
	} {
		pair, err := tls.X509KeyPair(c.cert, c.key)
		s.must(err)
		if _, err := pair.Leaf.Verify(c.options); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	// What the peer's builder left is completed, once.
	at := "node/data/" + lifecycle.ReleasedConnection(packageID)
	if err := s.fabric.introduce(t.Context(), h, p, address(spec, p), packageID); err == nil || !strings.Contains(err.Error(), packageID) {
		t.Errorf("without a build the error is %v", err)
	}
	s.fake.WriteVolume(p.Object(), engine.File{Name: at, Content: []byte(`{"address":"a:1"}`)})
	s.must(s.fabric.introduce(t.Context(), h, p, address(spec, p), packageID))
	told := s.fake.Files(p.Object())[at]
	connection := map[string]any{}
	s.must(json.Unmarshal(told.Content, &connection))
	if connection["client_key"] != string(file(peersTLSKey)) || connection["root_cert"] != string(file(serverTLSRoot)) || connection["address"] != h.Host()+":9999" {
		t.Errorf("the peer was told %v", connection)
	}
	before := s.fake.Mutations()
	s.must(s.fabric.introduce(t.Context(), h, p, address(spec, p), packageID))
	if s.fake.Mutations() != before {
		t.Error("a peer that knows its server was told again")
	}

	// What is due is due once, and then the server is another one.
	servers, err := s.fabric.serversOf(t.Context(), s.channel, "kv")
	s.must(err)
	if first, due := serversDue(servers, time.Now()); first.Before(time.Now()) || due != nil {
		t.Errorf("a new server is due at %s: %v", first, due)
	}
	s.age(h.Object(), time.Now().Add(24*time.Hour))
	servers, err = s.fabric.serversOf(t.Context(), s.channel, "kv")
	s.must(err)
	if _, due := serversDue(servers, time.Now()); !slices.Equal(due, []string{"peer0.org1"}) {
		t.Errorf("due are %v", due)
	}
	if !s.serveOne(spec, p, packageID) || s.serveOne(spec, p, packageID) {
		t.Error("a server that is due is replaced, once")
	}
	if bytes.Equal(s.fake.Files(h.Object())["node/"+serverTLSRoot].Content, file(serverTLSRoot)) {
		t.Error("the new server has the old root")
	}
}

// TestServerTLSCutShort: whatever was made of a server before its start is made again.
func TestServerTLSCutShort(t *testing.T) {
	s := newSketch(t)
	spec, packageID := guardedSpec(s)
	p := s.peer("peer0.org1", "Org1MSP")
	h := server(spec, p)
	refuse := func(method string) {
		s.fake.Intercept(func(c enginetest.Call) error {
			if c.Method == method && c.Name == h.Object() {
				return context.Canceled
			}
			return nil
		})
	}
	for _, method := range []string{"CreateNode", "PutFiles", "StartNode"} {
		refuse(method)
		w := s.fabric.watchNodes(t.Context())
		if _, err := s.fabric.serve(t.Context(), w, spec, p, "kv:1", packageID); w.end(err) == nil {
			t.Errorf("%s did not fail", method)
		}
		s.fake.Intercept(nil)
		if !s.serveOne(spec, p, packageID) || len(s.fake.Files(h.Object())["node/"+serverTLSKey].Content) == 0 {
			t.Errorf("after %s failed there is no whole server", method)
		}
		s.must(s.fabric.removeServers(t.Context(), s.channel, "kv", func(string) bool { return true }))
		if _, err := s.fake.Volume(t.Context(), h.Object()); err == nil {
			t.Errorf("after %s failed the volume stays", method)
		}
	}
	refuse("CreateNode") // a volume alone
	w := s.fabric.watchNodes(t.Context())
	_, err := s.fabric.serve(t.Context(), w, spec, p, "kv:1", packageID)
	_ = w.end(err)
	s.fake.Intercept(nil)
	s.must(s.fabric.removeServers(t.Context(), s.channel, "kv", func(string) bool { return true }))
	if _, err := s.fake.Volume(t.Context(), h.Object()); err == nil {
		t.Error("the volume of a server that was never made stays")
	}
}

// TestServerTLSOfAnApproval: the volumes of an organization's own servers go with them, and no others.
func TestServerTLSOfAnApproval(t *testing.T) {
	s := newSketch(t)
	spec, packageID := guardedSpec(s)
	p := s.peer("peer0.org1", "Org1MSP")
	spec.Channel = s.channel.With(KindChannelMembership, s.channel.Name, "Org1MSP")
	s.serveOne(spec, p, packageID)
	all := func(string) bool { return true }
	for _, c := range []struct {
		of   Handle
		left bool
	}{{s.channel, true}, {s.channel.With(KindChannelMembership, s.channel.Name, "Org2MSP"), true}, {spec.Channel, false}} {
		s.must(s.fabric.removeServers(t.Context(), c.of, "kv", all))
		_, err := s.fake.Volume(t.Context(), server(spec, p).Object())
		if (err == nil) != c.left {
			t.Errorf("after the servers of %s were removed, the volume is left %t", c.of, err == nil)
		}
	}
}

// TestServerTLSOfAnOrganization: a server that peers share is known to each by the name that its package has for
// it, and one that is put back has certificates that its peers know.
func TestServerTLSOfAnOrganization(t *testing.T) {
	s := newSketch(t)
	spec, packageID := guardedSpec(s)
	spec.Server.PerOrganization = true
	spec.peers = []Handle{s.peer("peer0.org1", "Org1MSP"), s.peer("peer1.org1", "Org1MSP"), s.peer("peer0.org2", "Org2MSP")}
	h := server(spec, spec.peers[0])
	s.serveOne(spec, spec.peers[1], packageID)
	at := "node/data/" + lifecycle.ReleasedConnection(packageID)
	agree := func() {
		t.Helper()
		files := s.fake.Files(h.Object())
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(files["node/"+serverTLSRoot].Content)
		pair, err := tls.X509KeyPair(files["node/"+serverTLSCert].Content, files["node/"+serverTLSKey].Content)
		s.must(err)
		for _, p := range spec.peers[:2] {
			connection := map[string]any{}
			s.must(json.Unmarshal(s.fake.Files(p.Object())[at].Content, &connection))
			host := strings.TrimSuffix(connection["address"].(string), ":9999")
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil || host != address(spec, p) {
				t.Errorf("%s knows its server as %s: %v", p, host, err)
			}
			if connection["root_cert"] != string(files["node/"+serverTLSRoot].Content) || connection["client_key"] != string(files["node/"+peersTLSKey].Content) {
				t.Errorf("%s has other certificates than its server", p)
			}
		}
	}
	for _, p := range spec.peers[:2] {
		s.fake.WriteVolume(p.Object(), engine.File{Name: at, Content: []byte(`{"address":"a:1"}`)})
		s.must(s.fabric.introduce(t.Context(), h, p, address(spec, p), packageID))
	}
	agree()

	// The certificates of a replacement that does not come up are no use to the one that is put back.
	record, err := s.fabric.channelRecord(t.Context(), s.channel)
	s.must(err)
	members, err := s.fabric.members(t.Context(), record)
	s.must(err)
	newer := spec
	newer.Server.Command = []string{"broken"}
	s.fake.SetProgram(newer.Server.Command, enginetest.Program{ExitCode: 1})
	r := &roll{fabric: s.fabric, spec: newer, imageID: "kv:1", packageID: packageID, members: members, peers: spec.peers[:1]}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := r.replaceBeside(ctx, spec.peers[0]); err == nil {
		t.Fatal("it came up")
	}
	s.fake.Intercept(func(c enginetest.Call) error { // nothing answers calls in this test
		if c.Method == "Dial" {
			return engine.ErrNotPublished
		}
		return nil
	})
	r.members = nil
	s.must(r.putBackBeside(t.Context(), spec.peers[0]))
	r.members = members
	s.must(r.introduce(t.Context(), spec.peers[0]))
	agree()
}
