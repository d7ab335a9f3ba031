package msp_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// TestRealPeerReadsTheFolder has the peer programs of real Fabric set up an MSP from our folders.
// It runs when FABRIC_REAL=1 and then fails, not skips, where the engine or an image lacks.
func TestRealPeerReadsTheFolder(t *testing.T) {
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("needs Docker and the images of Fabric peers: set FABRIC_REAL=1")
	}
	root, second, tlsRoot := newRoot(t, "root"), newRoot(t, "second"), newRoot(t, "tls")
	p384, err := certificate.NewRoot(certificate.RootRequest{CommonName: "p384", KeyAlgorithm: certificate.ECDSAP384, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	middle, tlsMiddle := issue(t, root, "middle", ca), issue(t, tlsRoot, "tls middle", ca)
	flat := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root), TLSRootCertificates: texts(tlsRoot)}
	with := func(change func(*msp.Definition)) msp.Definition {
		d := flat
		change(&d)
		return d
	}
	early := issue(t, root, "early", func(c *x509.Certificate) { ca(c); c.NotBefore = c.NotBefore.Add(-time.Hour) })
	cases := map[string]struct {
		d      msp.Definition
		member *certificate.KeyPair
		good   bool
	}{
		"one root": {flat, issue(t, root, "admin", nil, "admin"), true},
		"with intermediates and a list": {with(func(d *msp.Definition) {
			d.IntermediateCertificates, d.TLSIntermediateCertificates = texts(middle), texts(tlsMiddle)
			d.RevocationLists = []string{revocationList(t, middle, issue(t, middle, "gone", nil, "client"))}
		}), issue(t, middle, "admin", nil, "admin"), true},
		"the second of two roots": {with(func(d *msp.Definition) { d.RootCertificates = texts(root, second) }), issue(t, second, "admin", nil, "admin"), true},
		"P-384":                   {with(func(d *msp.Definition) { d.RootCertificates = texts(p384) }), issue(t, p384, "admin", nil, "admin"), true},
		// What Validate refuses the peer refuses too; these also show that the test sees a refusal.
		"an intermediate as root": {with(func(d *msp.Definition) { d.RootCertificates = texts(middle) }), issue(t, middle, "admin", nil, "admin"), false},
		"a foreign intermediate":  {with(func(d *msp.Definition) { d.IntermediateCertificates = texts(tlsMiddle) }), issue(t, root, "admin", nil, "admin"), false},
		"an older intermediate":   {with(func(d *msp.Definition) { d.IntermediateCertificates = texts(early) }), issue(t, root, "admin", nil, "admin"), false},
		"a member of another":     {flat, issue(t, second, "admin", nil, "admin"), false},
	}
	for _, image := range []string{"hyperledger/fabric-peer:2.5.9", "hyperledger/fabric-peer:3.1.1"} {
		for _, name := range slices.Sorted(maps.Keys(cases)) {
			t.Run(image+"/"+name, func(t *testing.T) {
				c := cases[name]
				if ours := c.d.Validate() == nil && c.d.VerifyMember(c.member.CertificatePEM()) == nil; ours != c.good {
					t.Errorf("we say %t", ours)
				}
				files, err := msp.Folder(c.d, identity(c.member))
				if err != nil {
					t.Fatal(err)
				}
				// The command sets up the MSP before it finds that there is no peer to ask.
				text := runPeer(t, image, files)
				asked, refused := strings.Contains(text, "failed to connect to 127.0.0.1:1"), strings.Contains(text, "setting up MSP")
				if asked != c.good || refused == c.good {
					t.Errorf("the peer says:\n%s", text)
				}
			})
		}
	}
}

func runPeer(t *testing.T, image string, files map[string][]byte) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	docker := func(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "docker", args...)
		cmd.Stdin = stdin
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	id, err := docker(ctx, nil, "create", "--user", "1000:1000", "--cap-drop", "ALL", "--network", "none",
		"--env", "CORE_PEER_LOCALMSPID=Org1MSP", "--env", "CORE_PEER_MSPCONFIGPATH=/msp", "--env", "CORE_PEER_ADDRESS=127.0.0.1:1",
		"--env", "CORE_PEER_CLIENT_CONNTIMEOUT=100ms", image, "peer", "channel", "list")
	if err != nil {
		t.Fatalf("docker create: %v: %s", err, id)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := docker(ctx, nil, "rm", "--force", "--volumes", id); err != nil {
			t.Errorf("docker rm: %v: %s", err, out)
		}
	})
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: path.Join("msp", name), Mode: 0o600, Uid: 1000, Gid: 1000, Size: int64(len(files[name]))}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := docker(ctx, &archive, "cp", "-", id+":/"); err != nil {
		t.Fatalf("docker cp: %v: %s", err, out)
	}
	text, _ := docker(ctx, nil, "start", "--attach", id) // it always fails: there is no peer
	return text
}
