package network

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// materialIn writes crypto material as cryptogen lays it out.
func materialIn(t *testing.T, roots sketchRoots, role string, hosts ...string) string {
	t.Helper()
	directory := t.TempDir()
	write := func(name string, content []byte) {
		t.Helper()
		file := filepath.Join(directory, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	pair := func(root *certificate.KeyPair, r certificate.LeafRequest, cert, key string) {
		t.Helper()
		r.Validity = time.Hour
		issued, err := issuePair(root, r)
		if err != nil {
			t.Fatal(err)
		}
		keyPEM, err := issued.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		write(cert, issued.CertificatePEM())
		write(key, keyPEM)
	}
	pair(roots.enrollment, certificate.LeafRequest{CommonName: "peer9.org9", OUs: []string{role}, Server: true, Client: true}, "msp/signcerts/peer9-cert.pem", "msp/keystore/priv_sk")
	pair(roots.tls, certificate.LeafRequest{CommonName: "peer9.org9", Hosts: hosts, Server: true, Client: true}, "tls/server.crt", "tls/server.key")
	return directory
}

// TestMaterial: a node of an organization without a CA runs with what is in its directory, when that is
// the node's.
func TestMaterial(t *testing.T) {
	s := newSketch(t)
	ctx := t.Context()
	roots, others := sketchRoots{s.root("ca.org9"), s.root("tlsca.org9")}, s.roots["Org1MSP"]
	s.roots["Org9MSP"] = roots
	org, h := s.organization("Org9MSP"), s.peer("peer9.org9", "Org9MSP")
	adminDirectory := materialIn(t, roots, msp.OUAdmin)
	spec := OrganizationSpec{Handle: org, Definition: s.definition("Org9MSP"), AdminDirectory: adminDirectory, Image: "peer:3.1.1"}
	good := materialIn(t, roots, msp.OUPeer, h.Host())
	options := NodeOptions{MaterialDirectory: good}
	s.must(s.fabric.CheckMaterial(ctx, h, options)) // its organization is not there yet
	_, err := s.fabric.CreateOrganization(ctx, spec)
	s.must(err)

	for name, c := range map[string]struct {
		options NodeOptions
		of      Handle
		refused string // empty for what is taken
	}{
		"as it should be":           {options, h, ""},
		"a further name":            {NodeOptions{MaterialDirectory: good, Hosts: []string{"www.example.com"}}, h, "is not for www.example.com"},
		"an address":                {NodeOptions{MaterialDirectory: good, AdvertisedAddress: "10.0.0.1:7051"}, h, "is not for 10.0.0.1"},
		"another node":              {options, s.peer("peer8.org9", "Org9MSP"), "is not for peer8.org9.example.com"},
		"another role":              {NodeOptions{MaterialDirectory: materialIn(t, roots, msp.OUClient, h.Host())}, h, "does not hold the organizational unit peer"},
		"another enrolment root":    {NodeOptions{MaterialDirectory: materialIn(t, sketchRoots{others.enrollment, roots.tls}, msp.OUPeer, h.Host())}, h, "unable to use peer9.org9 as a member"},
		"another TLS root":          {NodeOptions{MaterialDirectory: materialIn(t, sketchRoots{roots.enrollment, others.tls}, msp.OUPeer, h.Host())}, h, "does not lead to a TLS root"},
		"nothing":                   {NodeOptions{MaterialDirectory: t.TempDir()}, h, "no MSP folder"},
		"nothing, of a node there":  {NodeOptions{MaterialDirectory: t.TempDir(), Existing: true}, h, ""},
		"no directory":              {NodeOptions{}, h, "set material_directory"},
		"an organization with a CA": {options, s.peer("peer9.org1", "Org1MSP"), "leave material_directory out"},
	} {
		err := s.fabric.CheckMaterial(ctx, c.of, c.options)
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%s: the error holds a key", name)
		}
	}

	// What the node gets: the material, the organization's roots, and a certificate of an operations root.
	files, err := s.fabric.memberMaterial(h, msp.OUPeer, options)(ctx, nil)
	s.must(err)
	m, err := ReadMaterial(ctx, good, nil)
	s.must(err)
	if string(files[enrollmentFile]) != m.Certificates()[CertificateEnrollment] || string(files[tlsFile]) != m.Certificates()[CertificateTLS] {
		t.Error("the certificates are others")
	}
	if !paired(files[enrollmentFile], files[enrollmentKeyFile]) || !paired(files[tlsFile], files[tlsKeyFile]) {
		t.Error("the keys are others")
	}
	root, err := s.fabric.operationsRoot(ctx, h)
	s.must(err)
	if !chains(string(files[operationsFolder+"/cert.pem"]), nil, []string{string(root.CertificatePEM())}) {
		t.Error("the operations certificate is not of the operations root")
	}

	// Once it has that, nothing is to be written, with the directory and without.
	have := maps.Clone(files)
	s.must(os.Rename(good, good+".aside"))
	for range 2 {
		again, err := s.fabric.memberMaterial(h, msp.OUPeer, options)(ctx, have)
		s.must(err)
		if len(again) > 0 {
			t.Errorf("%d files are written again", len(again))
		}
		s.must(errors.Join(os.RemoveAll(good), os.Rename(good+".aside", good)))
		s.must(os.CopyFS(good+".aside", os.DirFS(good)))
	}

	// The operations root stays when the organization is written again.
	_, err = s.fabric.UpdateOrganization(ctx, spec)
	s.must(err)
	if now, err := s.fabric.operationsRoot(ctx, h); err != nil || !now.Certificate.Equal(root.Certificate) {
		t.Errorf("another operations root: %v", err)
	}
	if _, err := s.fabric.memberMaterial(h, msp.OUPeer, NodeOptions{MaterialDirectory: t.TempDir()})(context.Background(), nil); err == nil {
		t.Error("a node was made from nothing")
	}
}
