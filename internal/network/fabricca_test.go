package network

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// house is a network with nothing on it, on an engine in memory. Its CAs answer as Fabric CA servers
// do, from the files that their volumes hold, so that use cases can be made to fail at every step.
type house struct {
	t       *testing.T
	fake    *enginetest.Fake
	fabric  *Fabric
	network Handle
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{
		t: t, fake: enginetest.NewFake(),
		network: Handle{Kind: KindNetwork, Network: "dev", Domain: "example.com", Owner: "0123456789abcdef", Name: "dev"},
	}
	h.restart()
	return h
}

// restart is what a new run of the provider is: it knows nothing but what is on the engine.
func (h *house) restart() {
	if h.fabric != nil {
		h.fabric.conns.close()
	}
	h.fabric = New(h.fake)
	h.fabric.healthPatience = 0
	f := h.fabric
	h.t.Cleanup(f.conns.close)
}

func (h *house) ctx() context.Context {
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) ca(name string) Handle          { return h.network.With(KindCA, name, "") }
func (h *house) organization(msp string) Handle { return h.network.With(KindOrganization, msp, msp) }
func (h *house) identity(name, msp string) Handle {
	return h.network.With(KindIdentity, name, msp)
}

func (h *house) caSpec(name string) CASpec {
	return CASpec{
		Handle: h.ca(name), NodeOptions: NodeOptions{Image: "fabric-ca:1.5.13", BindAddress: "127.0.0.1"},
		Organization: "org1", CommonName: name, KeyAlgorithm: certificate.ECDSAP256,
		RootValidity: 10 * year, CertificateValidity: year,
	}
}

// serveCA lets a CA's server answer whenever its container runs.
func (h *house) serveCA(name string) *fakeCA {
	h.t.Helper()
	s := &fakeCA{fake: h.fake, handle: h.ca(name), registries: map[string]*registry{}, conns: make(chan net.Conn), ended: make(chan struct{})}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	listener := tls.NewListener(s, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() {
		close(s.ended)
		if err := server.Close(); err != nil {
			h.t.Error(err)
		}
		<-done
	})
	h.fake.HandleDial(s.handle.Object(), caPort, s.dial)
	return s
}

// fakeCA answers the REST calls of a Fabric CA server.
type fakeCA struct {
	fake   *enginetest.Fake
	handle Handle
	conns  chan net.Conn
	ended  chan struct{}

	mu sync.Mutex
	// registries are what the databases hold, by the certificate of the CA that they belong to: a CA
	// that was begun anew has an empty one.
	registries map[string]*registry
	// enrolled counts enrolments, refuse is the status of every answer when not 0.
	enrolled, refuse int
	// refused is the only call that is refused then; empty: every call.
	refused string
}

type registry struct {
	identities   map[string]*ca.Identity
	secrets      map[string]string
	affiliations []string
	issued       []*x509.Certificate
	// revoked are the reasons by the serial numbers in hex.
	revoked map[string]string
}

func (s *fakeCA) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.ended:
		return nil, http.ErrServerClosed
	}
}
func (s *fakeCA) Close() error   { return nil }
func (s *fakeCA) Addr() net.Addr { return &net.UnixAddr{Name: s.handle.Object(), Net: "unix"} }

func (s *fakeCA) dial(ctx context.Context) (net.Conn, error) {
	node, err := s.fake.Node(ctx, s.handle.Object())
	if err != nil {
		return nil, err
	}
	if node.Status != engine.Running {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	select {
	case s.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ended:
		return nil, errors.New("connection refused")
	}
}

func (s *fakeCA) file(name string) []byte {
	return s.fake.Files(s.handle.Object())["node/keys/ca/"+name].Content
}

func (s *fakeCA) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(s.file("listener/cert.pem"), s.file("listener/key.pem"))
	return &pair, err
}

// serverConfig is what the fake reads of fabric-ca-server-config.yaml.
type serverConfig struct {
	Registry struct {
		Identities []struct {
			Name string `yaml:"name"`
			Pass string `yaml:"pass"`
		} `yaml:"identities"`
	} `yaml:"registry"`
	Affiliations map[string]any `yaml:"affiliations"`
	Signing      struct {
		Default  profile            `yaml:"default"`
		Profiles map[string]profile `yaml:"profiles"`
	} `yaml:"signing"`
}

type profile struct {
	Expiry string `yaml:"expiry"`
}

// part gives one of the two CAs with its registry, as the server finds them when it starts.
func (s *fakeCA) part(name string) (root *certificate.KeyPair, config serverConfig, r *registry, err error) {
	folder := ""
	if name == tlsCA {
		folder = "tls/"
	}
	certPEM := s.file(folder + "ca-cert.pem")
	if root, err = certificate.ParseKeyPair(certPEM, s.file(folder+"ca-key.pem")); err != nil {
		return nil, config, nil, err
	}
	if err := yaml.Unmarshal(s.file(folder+"fabric-ca-server-config.yaml"), &config); err != nil {
		return nil, config, nil, err
	}
	r = s.registries[string(certPEM)]
	if r == nil {
		r = &registry{identities: map[string]*ca.Identity{}, secrets: map[string]string{}, revoked: map[string]string{}}
		for _, id := range config.Registry.Identities {
			r.identities[id.Name], r.secrets[id.Name] = &ca.Identity{ID: id.Name, Type: "client"}, id.Pass
		}
		s.registries[string(certPEM)] = r
	}
	return root, config, r, nil
}

// registered gives what the enrolment CA knows of an identity; nil when it knows nothing.
func (s *fakeCA) registered(id string) *ca.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _, r, err := s.part(enrollmentCA)
	if err != nil {
		return nil
	}
	return r.identities[id]
}

func (s *fakeCA) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != 0 && (s.refused == "" || strings.HasSuffix(req.URL.Path, "/"+s.refused)) {
		refuse(w, s.refuse, 0, "out of order")
		return
	}
	root, config, r, err := s.part(req.URL.Query().Get("ca"))
	if err != nil {
		refuse(w, http.StatusInternalServerError, 0, err.Error())
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/api/v1/")
	call, id, _ := strings.Cut(path, "/")
	if call != "cainfo" && req.Header.Get("Authorization") == "" {
		refuse(w, http.StatusUnauthorized, 20, "Authentication failure")
		return
	}
	switch req.Method + " " + call {
	case "GET cainfo":
		answer(w, map[string]any{"CAName": req.URL.Query().Get("ca"), "CAChain": root.CertificatePEM(), "Version": "1.5.13"})
	case "POST enroll":
		s.enroll(w, req, root, config, r)
	case "POST register":
		var in struct {
			ca.Identity
			Secret string `json:"secret"`
		}
		if err := json.NewDecoder(req.Body).Decode(&in); err != nil {
			refuse(w, http.StatusBadRequest, 0, err.Error())
			return
		}
		if r.identities[in.ID] != nil {
			refuse(w, http.StatusInternalServerError, 74, "already registered")
			return
		}
		r.identities[in.ID], r.secrets[in.ID] = &in.Identity, in.Secret
		answer(w, map[string]any{"secret": in.Secret})
	case "GET identities", "PUT identities", "DELETE identities":
		s.identity(w, req, r, id)
	case "GET certificates":
		s.certificates(w, req, r)
	case "POST gencrl":
		s.list(w, root, r)
	case "POST revoke":
		var in struct{ ID, Serial, AKI, Reason string }
		_ = json.NewDecoder(req.Body).Decode(&in)
		if in.ID != "" {
			s.revokeAll(w, r, in.ID, in.Reason)
			return
		}
		if !slices.ContainsFunc(r.issued, func(cert *x509.Certificate) bool { return cert.SerialNumber.Text(16) == in.Serial }) {
			refuse(w, http.StatusNotFound, 8, "no such certificate")
			return
		}
		if r.revoked[in.Serial] != "" {
			refuse(w, http.StatusUnauthorized, 66, "already revoked")
			return
		}
		r.revoked[in.Serial] = cmp.Or(in.Reason, "unspecified")
		answer(w, map[string]any{"RevokedCerts": []map[string]string{{"Serial": in.Serial, "AKI": in.AKI}}})
	case "POST affiliations":
		var in struct {
			Name string `json:"name"`
		}
		_ = json.NewDecoder(req.Body).Decode(&in)
		if slices.Contains(r.affiliations, in.Name) {
			refuse(w, http.StatusConflict, 60, "exists")
			return
		}
		r.affiliations = append(r.affiliations, in.Name)
		answer(w, map[string]any{"name": in.Name})
	case "DELETE affiliations":
		for _, i := range r.identities {
			if i.Affiliation == id {
				refuse(w, http.StatusForbidden, 71, "Authorization failure")
				return
			}
		}
		r.affiliations = slices.DeleteFunc(r.affiliations, func(name string) bool { return name == id })
		answer(w, map[string]any{"name": id})
	default:
		refuse(w, http.StatusNotFound, 0, "no such call: "+req.Method+" "+path)
	}
}

// revokeAll revokes all certificates of an identity.
func (s *fakeCA) revokeAll(w http.ResponseWriter, r *registry, id, reason string) {
	if r.identities[id] == nil {
		refuse(w, http.StatusNotFound, 10, "no such identity")
		return
	}
	var revoked []map[string]string
	for _, cert := range r.issued {
		if serial := cert.SerialNumber.Text(16); cert.Subject.CommonName == id && r.revoked[serial] == "" {
			r.revoked[serial] = cmp.Or(reason, "unspecified")
			revoked = append(revoked, map[string]string{"Serial": serial})
		}
	}
	answer(w, map[string]any{"RevokedCerts": revoked})
}

// list signs a list of what was revoked.
func (s *fakeCA) list(w http.ResponseWriter, root *certificate.KeyPair, r *registry) {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(24 * time.Hour)}
	for serial := range r.revoked {
		number, _ := new(big.Int).SetString(serial, 16)
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: number, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, root.Certificate, root.Key)
	if err != nil {
		refuse(w, http.StatusInternalServerError, 0, err.Error())
		return
	}
	answer(w, map[string]any{"CRL": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})})
}

// certificates lists what was issued and is neither expired nor revoked.
func (s *fakeCA) certificates(w http.ResponseWriter, req *http.Request, r *registry) {
	found := []map[string]string{}
	for _, cert := range r.issued {
		if id := req.URL.Query().Get("id"); cert.Subject.CommonName == id && r.revoked[cert.SerialNumber.Text(16)] == "" && time.Now().Before(cert.NotAfter) {
			found = append(found, map[string]string{"PEM": string(certificate.EncodeCertificate(cert))})
		}
	}
	answer(w, map[string]any{"certs": found})
}

// revoked tells for which reason the CA revoked a certificate that it issued; empty when it did not.
func (s *fakeCA) revoked(name, certPEM string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	cert, err := certificate.ParseOne(firstBlock([]byte(certPEM)))
	if err != nil {
		return ""
	}
	_, _, r, err := s.part(name)
	if err != nil {
		return ""
	}
	return r.revoked[cert.SerialNumber.Text(16)]
}

func (s *fakeCA) identity(w http.ResponseWriter, req *http.Request, r *registry, id string) {
	found := r.identities[id]
	if found == nil {
		refuse(w, http.StatusNotFound, 63, "no such identity")
		return
	}
	if req.Method == http.MethodDelete {
		delete(r.identities, id)
	}
	if req.Method == http.MethodPut {
		var in struct {
			ca.Identity
			Secret string `json:"secret"`
		}
		_ = json.NewDecoder(req.Body).Decode(&in)
		if in.Type != "" {
			found.Type = in.Type
		}
		if in.Affiliation != "" {
			found.Affiliation = strings.TrimPrefix(in.Affiliation, ".")
		}
		if in.Secret != "" {
			r.secrets[id] = in.Secret
		}
		for _, a := range in.Attributes {
			found.Attributes = slices.DeleteFunc(found.Attributes, func(have ca.Attribute) bool { return have.Name == a.Name })
			if a.Value != "" {
				found.Attributes = append(found.Attributes, a)
			}
		}
	}
	answer(w, found)
}

func (s *fakeCA) enroll(w http.ResponseWriter, req *http.Request, root *certificate.KeyPair, config serverConfig, r *registry) {
	id, secret, _ := req.BasicAuth()
	if r.identities[id] == nil || r.secrets[id] != secret {
		refuse(w, http.StatusUnauthorized, 20, "Authentication failure")
		return
	}
	var in struct {
		Request string `json:"certificate_request"`
		Profile string `json:"profile"`
	}
	_ = json.NewDecoder(req.Body).Decode(&in)
	expiry := config.Signing.Default.Expiry
	if in.Profile != "" {
		chosen, ok := config.Signing.Profiles[in.Profile]
		if !ok {
			refuse(w, http.StatusInternalServerError, 0, "no such profile")
			return
		}
		expiry = chosen.Expiry
	}
	lifetime, err := time.ParseDuration(expiry)
	block, _ := pem.Decode([]byte(in.Request))
	if err != nil || block == nil {
		refuse(w, http.StatusBadRequest, 0, "bad request")
		return
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		refuse(w, http.StatusBadRequest, 0, err.Error())
		return
	}
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(lifetime),
		Subject:  pkix.Name{CommonName: id, OrganizationalUnit: []string{r.identities[id].Type}},
		DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if in.Profile == ca.ProfileCA {
		template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root.Certificate, csr.PublicKey, root.Key)
	if err != nil {
		refuse(w, http.StatusInternalServerError, 0, err.Error())
		return
	}
	issued, _ := x509.ParseCertificate(der)
	s.enrolled, r.issued = s.enrolled+1, append(r.issued, issued)
	answer(w, map[string]any{"Cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "ServerInfo": map[string]any{}})
}

func answer(w http.ResponseWriter, result any) {
	_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "result": result})
}

func refuse(w http.ResponseWriter, status, code int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "errors": []map[string]any{{"code": code, "message": message}}})
}
