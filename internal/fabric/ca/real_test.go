package ca_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// These tests start Fabric CA servers on the local Docker engine, hardened as the provider starts
// them. They run when FABRIC_REAL=1 and then fail, not skip, where the engine or the image lacks.

const (
	image     = "hyperledger/fabric-ca:1.5.13"
	volumeDir = "/var/hyperledger"
	home      = volumeDir + "/home"
)

func requireReal(t *testing.T) context.Context {
	t.Helper()
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("needs Docker and the image " + image + ": set FABRIC_REAL=1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	docker(ctx, t, nil, "image", "inspect", "--format", "{{.Id}}", image)
	return ctx
}

func docker(ctx context.Context, t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, errs.String())
	}
	if args[0] == "logs" {
		return out.String() + errs.String() // the server logs to its standard error
	}
	return strings.TrimSpace(out.String())
}

// server is a running Fabric CA server with what a caller has of it.
type server struct {
	name, container string
	enrolment, tls  *ca.Client
	roots           struct{ enrolment, tls, operations *certificate.KeyPair }
	registrar       struct{ enrolment, tls *certificate.KeyPair }
	config          ca.ServerConfig
	operations      string
}

const (
	enrolmentSecret = "secret of the enrolment registrar"
	tlsSecret       = "secret of the TLS registrar: with: colons"
)

// configure makes the material of a server whose two CAs are roots.
func configure(t *testing.T, name string, algorithm certificate.KeyAlgorithm, validity time.Duration) *server {
	t.Helper()
	s := &server{name: name}
	root := func(cn string) *certificate.KeyPair {
		pair, err := certificate.NewRoot(certificate.RootRequest{
			CommonName: cn + "." + name, Organization: name, KeyAlgorithm: algorithm, Validity: validity,
			Now: time.Now().Add(-30 * time.Minute), // what it issues must not claim to be as old
		})
		must(t, err)
		return pair
	}
	s.roots.enrolment, s.roots.tls, s.roots.operations = root("ca"), root("tlsca"), root("operations")
	s.config = ca.ServerConfig{
		Home:                  home,
		Listener:              s.endpoint(t, s.roots.tls),
		Operations:            s.endpoint(t, s.roots.operations),
		OperationsClientRoots: s.roots.operations.CertificatePEM(),
		Enrolment:             authority(t, "ca-"+name, s.roots.enrolment, enrolmentSecret),
		TLS:                   authority(t, "tlsca-"+name, s.roots.tls, tlsSecret),
		Affiliations:          []string{"org1", "org1.sales"},
		Validities:            []time.Duration{10 * time.Minute, 720 * time.Hour},
	}
	return s
}

func (s *server) host() string { return "ca." + s.name + ".example.com" }

func (s *server) endpoint(t *testing.T, issuer *certificate.KeyPair) ca.Material {
	t.Helper()
	key, err := certificate.GenerateKey("")
	must(t, err)
	cert, err := certificate.Issue(issuer, certificate.LeafRequest{
		CommonName: s.host(), Hosts: []string{s.host(), "127.0.0.1"}, Validity: 24 * time.Hour, Server: true, PublicKey: key.Public(),
	})
	must(t, err)
	keyPEM, err := certificate.EncodeKey(key)
	must(t, err)
	return ca.Material{CertificatePEM: certificate.EncodeCertificate(cert), KeyPEM: keyPEM}
}

func authority(t *testing.T, name string, pair *certificate.KeyPair, secret string) ca.Authority {
	t.Helper()
	keyPEM, err := pair.KeyPEM()
	must(t, err)
	return ca.Authority{
		Name:      name,
		Material:  ca.Material{CertificatePEM: pair.CertificatePEM(), KeyPEM: keyPEM},
		Registrar: ca.Registrar{Name: "registrar", Secret: secret},
	}
}

// start runs the server and enrols both registrars.
func (s *server) start(ctx context.Context, t *testing.T) {
	t.Helper()
	files, err := ca.RenderServer(s.config)
	must(t, err)
	random := make([]byte, 6)
	_, _ = rand.Read(random)
	s.container = "fabric-ca-test-" + s.name + "-" + hex.EncodeToString(random)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.name, docker(ctx, t, nil, "logs", "--tail", "40", s.container))
		}
		docker(ctx, t, nil, "rm", "--force", s.container)
		docker(ctx, t, nil, "volume", "rm", s.container)
	})
	begun := time.Now()
	docker(ctx, t, nil, "volume", "create", s.container)
	docker(ctx, t, nil, append([]string{
		"create", "--name", s.container, "--user", "1000:1000", "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--pids-limit", "200", "--tmpfs", "/tmp",
		"--volume", s.container + ":" + volumeDir, "--env", ca.HomeVariable + "=" + home,
		"--publish", "127.0.0.1::7054", "--publish", "127.0.0.1::9443", image,
	}, ca.ServerCommand()...)...)
	docker(ctx, t, tarOf(t, "home", files), "cp", "-", s.container+":"+volumeDir)
	docker(ctx, t, nil, "start", s.container)
	created := time.Now()
	s.connect(ctx, t)
	_, err = waitReady(ctx, s.enrolment)
	must(t, err)
	t.Logf("%s: made and started in %d ms, answered after %d ms more", s.name, created.Sub(begun).Milliseconds(), time.Since(created).Milliseconds())

	for _, part := range []struct {
		client *ca.Client
		secret string
		to     **certificate.KeyPair
	}{{s.enrolment, enrolmentSecret, &s.registrar.enrolment}, {s.tls, tlsSecret, &s.registrar.tls}} {
		got, err := part.client.Enroll(ctx, "registrar", part.secret, ca.EnrollRequest{})
		must(t, err)
		*part.to = got.KeyPair
	}
}

// connect points the clients at the ports that the engine has published now.
func (s *server) connect(ctx context.Context, t *testing.T) {
	t.Helper()
	api := docker(ctx, t, nil, "port", s.container, "7054/tcp")
	s.operations = docker(ctx, t, nil, "port", s.container, "9443/tcp")
	client := httpClient(t, api, s.roots.tls, nil)
	address := "https://" + s.host() + ":7054"
	var err error
	s.enrolment, err = ca.NewClient(address, s.config.Enrolment.Name, client)
	must(t, err)
	s.tls, err = ca.NewClient(address, s.config.TLS.Name, client)
	must(t, err)
}

func httpClient(t *testing.T, dialTo string, root *certificate.KeyPair, own *tls.Certificate) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if own != nil {
		conf.Certificates = []tls.Certificate{*own}
	}
	transport := &http.Transport{
		TLSClientConfig: conf,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, dialTo)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func waitReady(ctx context.Context, c *ca.Client) (*ca.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := c.Info(ctx)
		if err == nil {
			return info, nil
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// tarOf packs the files into a folder owned by user 1000, which a fresh volume would not give.
func tarOf(t *testing.T, folder string, files map[string][]byte) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	dirs := map[string]bool{}
	var names []string
	for name := range files {
		names = append(names, name)
		for dir := path.Join(folder, path.Dir(name)); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	var sorted []string
	for dir := range dirs {
		sorted = append(sorted, dir)
	}
	slices.Sort(sorted)
	for _, dir := range sorted {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o700, Uid: 1000, Gid: 1000}))
	}
	for _, name := range names {
		must(t, w.WriteHeader(&tar.Header{Name: path.Join(folder, name), Mode: 0o600, Uid: 1000, Gid: 1000, Size: int64(len(files[name]))}))
		_, err := w.Write(files[name])
		must(t, err)
	}
	must(t, w.Close())
	return &out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want one that is %q", err, kind)
	}
}

// median of the durations of n runs.
func median(t *testing.T, n int, run func(i int) error) time.Duration {
	t.Helper()
	var all []time.Duration
	for i := range n {
		begun := time.Now()
		must(t, run(i))
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	return all[n/2]
}

func TestRealServer(t *testing.T) {
	ctx := requireReal(t)
	s := configure(t, "org1", "", 20*365*24*time.Hour)
	s.config.Enrolment.Validity = 48 * time.Hour
	s.config.TLS.TLSValidity = 36 * time.Hour
	s.start(ctx, t)
	reg := s.registrar.enrolment

	t.Run("two CAs in one server", func(t *testing.T) {
		for _, part := range []struct {
			client *ca.Client
			name   string
			root   *certificate.KeyPair
		}{{s.enrolment, "ca-org1", s.roots.enrolment}, {s.tls, "tlsca-org1", s.roots.tls}} {
			info, err := part.client.Info(ctx)
			must(t, err)
			if info.CAName != part.name || !strings.HasPrefix(info.Version, "v1.5") && !strings.HasPrefix(info.Version, "1.5") {
				t.Errorf("info %q %q", info.CAName, info.Version)
			}
			chain, err := certificate.ParseOne(info.Chain)
			must(t, err)
			if !chain.Equal(part.root.Certificate) {
				t.Errorf("%s serves %s", part.name, chain.Subject)
			}
		}
		nowhere, err := ca.NewClient("https://"+s.host()+":7054", "absent", httpClient(t, docker(ctx, t, nil, "port", s.container, "7054/tcp"), s.roots.tls, nil))
		must(t, err)
		_, err = nowhere.Info(ctx)
		wantError(t, err, ca.ErrCANotFound)
	})

	t.Run("separate registries", func(t *testing.T) {
		_, err := s.enrolment.Enroll(ctx, "registrar", tlsSecret, ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		_, err = s.tls.Register(ctx, reg, ca.Registration{ID: "x", Type: "client"})
		wantError(t, err, ca.ErrAuthentication)
		if strings.Contains(err.Error(), tlsSecret) {
			t.Error("the error holds a secret")
		}
	})

	t.Run("a member and its certificates", func(t *testing.T) {
		registration := ca.Registration{
			ID: "peer0", Type: "peer", Secret: "chosen before", Affiliation: "org1.sales", MaxEnrollments: ca.Unlimited,
			Attributes: []ca.Attribute{{Name: "rank", Value: "high", ECert: true}, {Name: "hidden", Value: "yes"}},
		}
		secret, err := s.enrolment.Register(ctx, reg, registration)
		must(t, err)
		if secret != "chosen before" {
			t.Errorf("secret %q", secret)
		}
		before := time.Now()
		peer, err := s.enrolment.Enroll(ctx, "peer0", secret, ca.EnrollRequest{})
		must(t, err)
		f := facts(t, peer.KeyPair)
		slices.Sort(f.OrganizationalUnits) // they are one set in the subject, in no order of theirs
		if f.CommonName != "peer0" || !slices.Equal(f.OrganizationalUnits, []string{"org1", "peer", "sales"}) {
			t.Errorf("subject %s", f.Subject)
		}
		if f.Attributes["rank"] != "high" || f.Attributes["hf.Affiliation"] != "org1.sales" || f.Attributes["hidden"] != "" {
			t.Errorf("attributes %v", f.Attributes)
		}
		if !slices.Equal(f.KeyUsages, []string{"digitalSignature"}) || len(f.ExtendedKeyUsages) > 0 || f.IsCA {
			t.Errorf("usages %v %v", f.KeyUsages, f.ExtendedKeyUsages)
		}
		if d := before.Sub(peer.Certificate.NotBefore); d < 4*time.Minute || d > 6*time.Minute {
			t.Errorf("valid since %s, %s before its issue", f.NotBefore, d)
		}
		if d := peer.Certificate.NotAfter.Sub(before); d < 48*time.Hour-time.Minute || d > 48*time.Hour+time.Minute {
			t.Errorf("valid for %s", d)
		}
		must(t, certificate.VerifyChain(certificate.VerifyRequest{
			Leaf: peer.CertificatePEM(), Roots: [][]byte{s.roots.enrolment.CertificatePEM()}, Usage: certificate.UsageSigning,
		}))
		must(t, s.definition().VerifyMember(peer.CertificatePEM()))

		again, err := s.enrolment.Reenroll(ctx, peer.KeyPair, ca.EnrollRequest{Key: peer.Key, Attributes: []ca.AttributeRequest{{Name: "hidden"}}})
		must(t, err)
		if f2 := facts(t, again.KeyPair); f2.PublicKeyFingerprint != f.PublicKeyFingerprint || f2.SerialNumber == f.SerialNumber ||
			f2.Attributes["hidden"] != "yes" || f2.Attributes["rank"] != "" {
			t.Errorf("re-enrolled as %+v", f2)
		}
		if _, err := s.enrolment.Reenroll(ctx, peer.KeyPair, ca.EnrollRequest{Attributes: []ca.AttributeRequest{{Name: "none"}}}); err == nil {
			t.Error("an attribute that the identity lacks was granted")
		}

		_, err = s.enrolment.Register(ctx, reg, registration)
		wantError(t, err, ca.ErrAlreadyRegistered)
		_, err = s.enrolment.Enroll(ctx, "peer0", "wrong", ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		_, err = s.enrolment.Enroll(ctx, "nobody", "wrong", ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		_, err = s.enrolment.Register(ctx, peer.KeyPair, ca.Registration{ID: "y", Type: "client"})
		wantError(t, err, ca.ErrAuthorization)
		_, err = s.enrolment.Register(ctx, reg, ca.Registration{ID: "y", Type: "client", Affiliation: "org7.none"})
		wantError(t, err, ca.ErrNotFound)
		_, err = s.enrolment.Identity(ctx, reg, "y")
		wantError(t, err, ca.ErrNotFound)
		certs, err := s.enrolment.Certificates(ctx, reg, ca.CertificateFilter{ID: "peer0"})
		must(t, err)
		if len(certs) != 2 {
			t.Errorf("%d certificates", len(certs))
		}
	})

	t.Run("TLS certificates", func(t *testing.T) {
		secret, err := s.tls.Register(ctx, s.registrar.tls, ca.Registration{ID: "peer0", Type: "peer"})
		must(t, err)
		first, err := s.tls.Enroll(ctx, "peer0", secret, ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: []string{"peer0.org1", "10.1.2.3"}, KeyAlgorithm: certificate.ECDSAP384})
		must(t, err)
		second, err := s.tls.Reenroll(ctx, first.KeyPair, ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: []string{"peer0.other", "::1"}, Key: first.Key})
		must(t, err)
		for host, pair := range map[string]*certificate.KeyPair{"peer0.org1": first.KeyPair, "10.1.2.3": first.KeyPair, "peer0.other": second.KeyPair, "::1": second.KeyPair} {
			for _, usage := range []certificate.Usage{certificate.UsageServer, certificate.UsageClient} {
				must(t, certificate.VerifyChain(certificate.VerifyRequest{
					Leaf: pair.CertificatePEM(), Roots: [][]byte{s.roots.tls.CertificatePEM()}, Host: host, Usage: usage,
				}))
			}
		}
		if facts(t, first.KeyPair).KeyAlgorithm != "ecdsa-p384" || second.Certificate.VerifyHostname("peer0.org1") == nil {
			t.Error("hosts of the former certificate are kept, or the key is another")
		}
		if d := time.Until(second.Certificate.NotAfter); d < 35*time.Hour || d > 37*time.Hour {
			t.Errorf("valid for %s", d)
		}
	})

	t.Run("lifetimes by profile", func(t *testing.T) {
		_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: "brief", Type: "client", Secret: "s", Attributes: []ca.Attribute{{Name: "a", Value: "b", ECert: true}}})
		must(t, err)
		pair, err := s.enrolment.Enroll(ctx, "brief", "s", ca.EnrollRequest{})
		must(t, err)
		for profile, want := range map[string]time.Duration{
			ca.ProfileFor(ca.ProfileEnrolment, 10*time.Minute): 10 * time.Minute,
			ca.ProfileFor(ca.ProfileTLS, 720*time.Hour):        720 * time.Hour,
		} {
			got, err := s.enrolment.Reenroll(ctx, pair.KeyPair, ca.EnrollRequest{Profile: profile, Hosts: []string{"brief"}})
			must(t, err)
			if d := time.Until(got.Certificate.NotAfter); d < want-time.Minute || d > want+time.Minute {
				t.Errorf("%s: valid for %s", profile, d)
			}
			if facts(t, got.KeyPair).Attributes["a"] != "b" {
				t.Errorf("%s: attributes %v", profile, facts(t, got.KeyPair).Attributes)
			}
		}
		_, err = s.enrolment.Reenroll(ctx, pair.KeyPair, ca.EnrollRequest{Profile: "enrolment-7m"})
		if err == nil {
			t.Error("a profile that the server does not have was accepted")
		}
		t.Log("unknown profile:", err)
	})

	t.Run("a lost register reply", func(t *testing.T) {
		// The provider stores the secret before it registers. Had the reply been lost and the secret
		// with it, a new one is set, and the identity is not registered anew.
		_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: "lost", Type: "client", MaxEnrollments: 1})
		must(t, err)
		_, err = s.enrolment.Register(ctx, reg, ca.Registration{ID: "lost", Type: "client", Secret: "stored"})
		wantError(t, err, ca.ErrAlreadyRegistered)
		for range 10 {
			_, err = s.enrolment.Enroll(ctx, "lost", "stored", ca.EnrollRequest{})
			wantError(t, err, ca.ErrAuthentication)
		}
		_, err = s.enrolment.Enroll(ctx, "lost", "stored", ca.EnrollRequest{})
		wantError(t, err, ca.ErrPasswordAttempts)
		wantError(t, err, ca.ErrAuthentication)
		got, err := s.enrolment.ModifyIdentity(ctx, reg, "lost", ca.Modification{Secret: "stored"})
		must(t, err)
		if got.ID != "lost" || got.Type != "client" || got.MaxEnrollments != 1 {
			t.Errorf("modified to %+v", got)
		}
		_, err = s.enrolment.Enroll(ctx, "lost", "stored", ca.EnrollRequest{})
		must(t, err)
		_, err = s.enrolment.Enroll(ctx, "lost", "stored", ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication) // its one enrolment is spent
	})

	t.Run("modified identity", func(t *testing.T) {
		_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: "m", Type: "client", Attributes: []ca.Attribute{{Name: "old", Value: "1"}}})
		must(t, err)
		_, err = s.enrolment.ModifyIdentity(ctx, reg, "m", ca.Modification{
			Type: "admin", Affiliation: "org1", MaxEnrollments: 5,
			Attributes: []ca.Attribute{{Name: "old", Value: ""}, {Name: "new", Value: "2", ECert: true}},
		})
		must(t, err)
		got, err := s.enrolment.Identity(ctx, reg, "m")
		must(t, err)
		has := map[string]string{}
		for _, a := range got.Attributes {
			has[a.Name] = a.Value
		}
		if _, old := has["old"]; got.Type != "admin" || got.Affiliation != "org1" || got.MaxEnrollments != 5 || old || has["new"] != "2" || has["hf.Type"] != "admin" {
			t.Errorf("identity %+v", got)
		}
		got, err = s.enrolment.ModifyIdentity(ctx, reg, "m", ca.Modification{Affiliation: ".", MaxEnrollments: ca.Unlimited})
		must(t, err)
		if got.Affiliation != "" || got.MaxEnrollments != ca.Unlimited || got.Type != "admin" {
			t.Errorf("identity %+v", got)
		}
		_, err = s.enrolment.ModifyIdentity(ctx, reg, "nobody", ca.Modification{Type: "peer"})
		wantError(t, err, ca.ErrNotFound)
	})

	t.Run("affiliations", func(t *testing.T) {
		want := []string{"org1", "org1.sales"}
		got, err := s.enrolment.Affiliations(ctx, reg)
		must(t, err)
		if !slices.Equal(got, want) {
			t.Fatalf("affiliations %v: the server's defaults org1.department1 and org2 must not be there", got)
		}
		must(t, s.enrolment.AddAffiliation(ctx, reg, "Big.Corp-1"))
		wantError(t, s.enrolment.AddAffiliation(ctx, reg, "Big.Corp-1"), ca.ErrAffiliationExists)
		got, err = s.enrolment.Affiliation(ctx, reg, "Big")
		must(t, err)
		if !slices.Equal(got, []string{"Big", "Big.Corp-1"}) {
			t.Errorf("affiliations %v", got)
		}
		_, err = s.enrolment.Affiliation(ctx, reg, "none")
		wantError(t, err, ca.ErrNotFound)
		_, err = s.enrolment.Register(ctx, reg, ca.Registration{ID: "corp", Type: "client", Affiliation: "Big.Corp-1"})
		must(t, err)
		wantError(t, s.enrolment.RemoveAffiliation(ctx, reg, "Big", false), ca.ErrAuthorization)
		must(t, s.enrolment.RemoveAffiliation(ctx, reg, "Big", true))
		_, err = s.enrolment.Identity(ctx, reg, "corp")
		wantError(t, err, ca.ErrNotFound)
		wantError(t, s.enrolment.RemoveAffiliation(ctx, reg, "Big", true), ca.ErrNotFound)
	})

	t.Run("revocation", func(t *testing.T) {
		_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: "bad", Type: "client", Secret: "s"})
		must(t, err)
		one, err := s.enrolment.Enroll(ctx, "bad", "s", ca.EnrollRequest{})
		must(t, err)
		two, err := s.enrolment.Reenroll(ctx, one.KeyPair, ca.EnrollRequest{})
		must(t, err)

		revoked, err := s.enrolment.Revoke(ctx, reg, ca.Revocation{Certificate: one.Certificate, Reason: ca.ReasonKeyCompromise, GenCRL: true})
		must(t, err)
		if len(revoked.Serials) != 1 || !listed(t, revoked.CRL, one.Certificate, s.roots.enrolment.Certificate) || listed(t, revoked.CRL, two.Certificate, s.roots.enrolment.Certificate) {
			t.Errorf("revoked %v", revoked.Serials)
		}
		_, err = s.enrolment.Revoke(ctx, reg, ca.Revocation{Certificate: one.Certificate})
		wantError(t, err, ca.ErrAlreadyRevoked)
		_, err = s.enrolment.Reenroll(ctx, one.KeyPair, ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		_, err = s.enrolment.Enroll(ctx, "bad", "s", ca.EnrollRequest{})
		must(t, err) // the identity lives on

		revoked, err = s.enrolment.Revoke(ctx, reg, ca.Revocation{ID: "bad", Reason: ca.ReasonPrivilegeWithdrawn})
		must(t, err)
		if len(revoked.Serials) != 2 || revoked.CRL != nil {
			t.Errorf("revoked %v", revoked.Serials)
		}
		_, err = s.enrolment.Enroll(ctx, "bad", "s", ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		revoked, err = s.enrolment.Revoke(ctx, reg, ca.Revocation{ID: "bad", GenCRL: true})
		must(t, err)
		if len(revoked.Serials) != 0 || len(revoked.CRL) != 0 {
			t.Errorf("revoked again: %v", revoked)
		}
		for _, absent := range []ca.Revocation{{ID: "nobody"}, {Certificate: s.registrar.tls.Certificate}} {
			_, err = s.enrolment.Revoke(ctx, reg, absent)
			wantError(t, err, ca.ErrNotFound)
		}
		list, err := s.enrolment.GenCRL(ctx, reg, ca.CRLRequest{ExpireAfter: time.Now()})
		must(t, err)
		if !listed(t, list, one.Certificate, s.roots.enrolment.Certificate) || !listed(t, list, two.Certificate, s.roots.enrolment.Certificate) {
			t.Error("the list lacks a certificate")
		}
		d := s.definition()
		d.RevocationLists = []string{string(list)}
		must(t, d.Validate())
		left, err := s.enrolment.Certificates(ctx, reg, ca.CertificateFilter{ID: "bad", NotRevoked: true, NotExpired: true})
		must(t, err)
		if len(left) != 0 {
			t.Errorf("%d certificates left", len(left))
		}
	})

	t.Run("removed identity", func(t *testing.T) {
		_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: "gone", Type: "client", Secret: "s"})
		must(t, err)
		pair, err := s.enrolment.Enroll(ctx, "gone", "s", ca.EnrollRequest{})
		must(t, err)
		must(t, s.enrolment.RemoveIdentity(ctx, reg, "gone"))
		wantError(t, s.enrolment.RemoveIdentity(ctx, reg, "gone"), ca.ErrNotFound)
		_, err = s.enrolment.Reenroll(ctx, pair.KeyPair, ca.EnrollRequest{})
		wantError(t, err, ca.ErrAuthentication)
		list, err := s.enrolment.GenCRL(ctx, reg, ca.CRLRequest{})
		must(t, err)
		if !listed(t, list, pair.Certificate, s.roots.enrolment.Certificate) {
			t.Error("the list lacks the certificate of the removed identity")
		}
		_, err = s.enrolment.Register(ctx, reg, ca.Registration{ID: "gone", Type: "client"})
		must(t, err)
	})

	t.Run("one id registered by many at once", func(t *testing.T) {
		for round := range 5 {
			id := fmt.Sprintf("raced-%d", round)
			errs := make([]error, 6)
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() {
					_, errs[i] = s.enrolment.Register(ctx, reg, ca.Registration{ID: id, Type: "client", Secret: "s"})
				})
			}
			all.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					wantError(t, err, ca.ErrAlreadyRegistered)
				}
			}
			if won != 1 {
				t.Fatalf("%d registrations won: %v", won, errs)
			}
		}
	})

	t.Run("odd ids", func(t *testing.T) {
		for _, id := range []string{"peer0.org1.example.com", "a b", "ü", "x@y.z", "50%", "q?x=1&y", strings.Repeat("x", 64)} {
			_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: id, Type: "client", Secret: "s"})
			must(t, err)
			got, err := s.enrolment.Enroll(ctx, id, "s", ca.EnrollRequest{})
			must(t, err)
			if got.Certificate.Subject.CommonName != id {
				t.Errorf("%q became %q", id, got.Certificate.Subject.CommonName)
			}
			_, err = s.enrolment.Identity(ctx, reg, id)
			must(t, err)
			must(t, s.enrolment.RemoveIdentity(ctx, reg, id))
		}
	})

	t.Run("operations endpoint", func(t *testing.T) {
		get := func(own *tls.Certificate, what string) (int, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.host()+":9443"+what, nil)
			must(t, err)
			resp, err := httpClient(t, s.operations, s.roots.operations, own).Do(req)
			if err != nil {
				return 0, err
			}
			defer func() { _ = resp.Body.Close() }()
			_, err = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, err
		}
		client := func(issuer *certificate.KeyPair) *tls.Certificate {
			key, err := certificate.GenerateKey("")
			must(t, err)
			cert, err := certificate.Issue(issuer, certificate.LeafRequest{CommonName: "reader", Validity: time.Hour, Client: true, PublicKey: key.Public()})
			must(t, err)
			pair := (&certificate.KeyPair{Certificate: cert, Key: key}).TLS()
			return &pair
		}
		for _, what := range []string{"/healthz", "/metrics"} {
			if status, err := get(client(s.roots.operations), what); err != nil || status != http.StatusOK {
				t.Errorf("%s with a certificate of the operations root: %d %v", what, status, err)
			}
			if status, err := get(client(s.roots.tls), what); err == nil {
				t.Errorf("%s with a certificate of the TLS root: %d", what, status)
			}
			if status, err := get(nil, what); err == nil {
				t.Errorf("%s without a certificate: %d", what, status)
			}
		}
	})

	t.Run("times", func(t *testing.T) {
		var pair *certificate.KeyPair
		register := median(t, 9, func(i int) error {
			_, err := s.enrolment.Register(ctx, reg, ca.Registration{ID: fmt.Sprintf("t%d", i), Type: "client", Secret: "s"})
			return err
		})
		enroll := median(t, 9, func(i int) error {
			got, err := s.enrolment.Enroll(ctx, fmt.Sprintf("t%d", i), "s", ca.EnrollRequest{})
			if err == nil {
				pair = got.KeyPair
			}
			return err
		})
		reenroll := median(t, 9, func(int) error {
			_, err := s.enrolment.Reenroll(ctx, pair, ca.EnrollRequest{})
			return err
		})
		modify := median(t, 9, func(i int) error {
			_, err := s.enrolment.ModifyIdentity(ctx, reg, fmt.Sprintf("t%d", i), ca.Modification{Secret: "u"})
			return err
		})
		begun := time.Now()
		var all sync.WaitGroup
		for i := range 9 {
			all.Go(func() {
				if _, err := s.enrolment.Enroll(ctx, fmt.Sprintf("t%d", i), "u", ca.EnrollRequest{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		t.Logf("median of 9: register %d ms, enroll %d ms, reenroll %d ms, modify secret %d ms; 9 enrolments at once %d ms",
			register.Milliseconds(), enroll.Milliseconds(), reenroll.Milliseconds(), modify.Milliseconds(), time.Since(begun).Milliseconds())
	})

	t.Run("restart keeps everything", func(t *testing.T) {
		begun := time.Now()
		docker(ctx, t, nil, "restart", "--time", "5", s.container)
		s.connect(ctx, t)
		_, err := waitReady(ctx, s.tls)
		must(t, err)
		t.Logf("restarted in %d ms", time.Since(begun).Milliseconds())
		_, err = s.enrolment.Identity(ctx, reg, "peer0")
		must(t, err)
		_, err = s.tls.Reenroll(ctx, s.registrar.tls, ca.EnrollRequest{})
		must(t, err)
		got, err := s.enrolment.Affiliations(ctx, reg)
		must(t, err)
		if !slices.Equal(got, []string{"org1", "org1.sales"}) {
			t.Errorf("affiliations %v", got)
		}
	})

	t.Run("the log holds no secret", func(t *testing.T) {
		text := docker(ctx, t, nil, "logs", s.container)
		for _, secret := range []string{enrolmentSecret, tlsSecret, "chosen before"} {
			if strings.Contains(text, secret) {
				t.Errorf("the server logs %q", secret)
			}
		}
	})
}

func TestRealP384(t *testing.T) {
	ctx := requireReal(t)
	s := configure(t, "p384", certificate.ECDSAP384, 365*24*time.Hour)
	// Certificates never outlive their CA, here of one year.
	s.config.Enrolment.Validity = 10 * 365 * 24 * time.Hour
	s.start(ctx, t)
	got, err := s.enrolment.Reenroll(ctx, s.registrar.enrolment, ca.EnrollRequest{KeyAlgorithm: certificate.ECDSAP384})
	must(t, err)
	f := facts(t, got.KeyPair)
	if f.KeyAlgorithm != "ecdsa-p384" || f.SignatureAlgorithm != "ECDSA-SHA384" || !got.Certificate.NotAfter.Equal(s.roots.enrolment.Certificate.NotAfter) {
		t.Errorf("%s signed with %s until %s", f.KeyAlgorithm, f.SignatureAlgorithm, f.NotAfter)
	}
	// The P-384 key signs requests as well.
	_, err = s.enrolment.Register(ctx, got.KeyPair, ca.Registration{ID: "x", Type: "client"})
	must(t, err)
	must(t, s.definition().Validate())
	list, err := s.enrolment.GenCRL(ctx, got.KeyPair, ca.CRLRequest{})
	must(t, err)
	listed(t, list, got.Certificate, s.roots.enrolment.Certificate)
}

func TestRealIntermediate(t *testing.T) {
	ctx := requireReal(t)
	parent := configure(t, "parent", "", 10*365*24*time.Hour)
	parent.config.Enrolment.CAValidity = 5 * 365 * 24 * time.Hour
	parent.start(ctx, t)

	child := configure(t, "child", "", 365*24*time.Hour)
	intermediate := func(from *ca.Client, by *certificate.KeyPair, id string) (*certificate.KeyPair, []byte) {
		t.Helper()
		secret, err := from.Register(ctx, by, ca.Registration{ID: id, Type: "client", Attributes: []ca.Attribute{{Name: "hf.IntermediateCA", Value: "true"}}})
		must(t, err)
		got, err := from.Enroll(ctx, id, secret, ca.EnrollRequest{Profile: ca.ProfileCA})
		must(t, err)
		if c := got.Certificate; !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero {
			t.Errorf("%s: CA %t, path length %d", id, c.IsCA, c.MaxPathLen)
		}
		return got.KeyPair, got.Info.Chain
	}
	enrolment, enrolmentChain := intermediate(parent.enrolment, parent.registrar.enrolment, "ca.child")
	tlsCA, tlsChain := intermediate(parent.tls, parent.registrar.tls, "tlsca.child")
	if d := time.Until(enrolment.Certificate.NotAfter); d < 4*365*24*time.Hour {
		t.Errorf("the intermediate lives for %s", d)
	}
	// Without the attribute hf.IntermediateCA there is no CA certificate.
	_, err := parent.enrolment.Register(ctx, parent.registrar.enrolment, ca.Registration{ID: "plain", Type: "client", Secret: "s"})
	must(t, err)
	_, err = parent.enrolment.Enroll(ctx, "plain", "s", ca.EnrollRequest{Profile: ca.ProfileCA})
	wantError(t, err, ca.ErrAuthorization)

	child.config.Enrolment = authority(t, "ca-child", enrolment, enrolmentSecret)
	child.config.Enrolment.ChainPEM = enrolmentChain
	child.config.TLS = authority(t, "tlsca-child", tlsCA, tlsSecret)
	child.config.TLS.ChainPEM = tlsChain
	child.config.Listener = child.endpoint(t, tlsCA)
	child.config.Listener.CertificatePEM = slices.Concat(child.config.Listener.CertificatePEM, tlsCA.CertificatePEM())
	child.roots.tls = parent.roots.tls
	child.start(ctx, t)

	info, err := child.enrolment.Info(ctx)
	must(t, err)
	chain, err := certificate.ParseCertificates(info.Chain)
	must(t, err)
	if len(chain) != 2 || !chain[0].Equal(enrolment.Certificate) || !chain[1].Equal(parent.roots.enrolment.Certificate) {
		t.Errorf("the chain has %d certificates", len(chain))
	}

	reg := child.registrar.enrolment
	_, err = child.enrolment.Register(ctx, reg, ca.Registration{ID: "peer0", Type: "peer", Secret: "s"})
	must(t, err)
	peer, err := child.enrolment.Enroll(ctx, "peer0", "s", ca.EnrollRequest{})
	must(t, err)
	peer, err = child.enrolment.Reenroll(ctx, peer.KeyPair, ca.EnrollRequest{})
	must(t, err)
	server, err := child.tls.Reenroll(ctx, child.registrar.tls, ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: []string{"peer0"}})
	must(t, err)
	must(t, certificate.VerifyChain(certificate.VerifyRequest{
		Leaf: server.CertificatePEM(), Intermediates: [][]byte{tlsCA.CertificatePEM()},
		Roots: [][]byte{parent.roots.tls.CertificatePEM()}, Host: "peer0", Usage: certificate.UsageServer,
	}))
	d := msp.Definition{
		ID:                          "ChildMSP",
		RootCertificates:            []string{string(parent.roots.enrolment.CertificatePEM())},
		IntermediateCertificates:    []string{string(enrolment.CertificatePEM())},
		TLSRootCertificates:         []string{string(parent.roots.tls.CertificatePEM())},
		TLSIntermediateCertificates: []string{string(tlsCA.CertificatePEM())},
	}
	must(t, d.VerifyMember(peer.CertificatePEM()))
	revoked, err := child.enrolment.Revoke(ctx, reg, ca.Revocation{ID: "peer0", GenCRL: true})
	must(t, err)
	if !listed(t, revoked.CRL, peer.Certificate, enrolment.Certificate) {
		t.Error("the list lacks the certificate")
	}
	d.RevocationLists = []string{string(revoked.CRL)}
	must(t, d.Validate())
	// A member of the parent is none of the child.
	if err := d.VerifyMember(parent.registrar.enrolment.CertificatePEM()); err == nil {
		t.Error("a certificate of the root was taken as that of a member")
	}
}

func (s *server) definition() msp.Definition {
	return msp.Definition{
		ID:                  "Org1MSP",
		RootCertificates:    []string{string(s.roots.enrolment.CertificatePEM())},
		TLSRootCertificates: []string{string(s.roots.tls.CertificatePEM())},
	}
}

func facts(t *testing.T, pair *certificate.KeyPair) certificate.Facts {
	t.Helper()
	f, err := certificate.FactsOf(pair.Certificate)
	must(t, err)
	return f
}

// listed says whether a revocation list that the issuer signed holds the certificate.
func listed(t *testing.T, list []byte, cert, issuer *x509.Certificate) bool {
	t.Helper()
	block, _ := pem.Decode(list)
	if block == nil {
		t.Fatalf("no PEM in the list %q", list)
	}
	parsed, err := x509.ParseRevocationList(block.Bytes)
	must(t, err)
	must(t, parsed.CheckSignatureFrom(issuer))
	return slices.ContainsFunc(parsed.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(cert.SerialNumber) == 0
	})
}
