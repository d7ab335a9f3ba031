package ca_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// at follows the keys into nested maps.
func at(t *testing.T, file []byte, keys ...string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(file, &value); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		m, ok := value.(map[string]any)
		if !ok {
			t.Fatalf("%v: %v is no map", keys, value)
		}
		value = m[key]
	}
	return value
}

func TestRenderServer(t *testing.T) {
	s := configure(t, "org1", "", time.Hour)
	s.config.Enrolment.Validity, s.config.Enrolment.CAValidity, s.config.Enrolment.CRLExpiry = 2*time.Hour, 3*time.Hour, 4*time.Hour
	s.config.TLS.TLSValidity = 5 * time.Hour
	s.config.Affiliations = []string{"b.c", "a", "b.c.d", "b"}
	files, err := ca.RenderServer(s.config)
	must(t, err)
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{
		"ca-cert.pem", "ca-key.pem", "fabric-ca-server-config.yaml", "listener/cert.pem", "listener/key.pem", "operations/cert.pem",
		"operations/client-roots.pem", "operations/key.pem", "tls/ca-cert.pem", "tls/ca-key.pem", "tls/fabric-ca-server-config.yaml",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files %v", names)
	}
	first, second := files["fabric-ca-server-config.yaml"], files["tls/fabric-ca-server-config.yaml"]
	for _, c := range []struct {
		file []byte
		want any
		keys []string
	}{
		{first, "ca-org1", []string{"ca", "name"}},
		{second, "tlsca-org1", []string{"ca", "name"}},
		{first, 7054, []string{"port"}},
		{first, "0.0.0.0", []string{"address"}},
		{first, false, []string{"debug"}},
		{first, false, []string{"cors", "enabled"}},
		{first, true, []string{"tls", "enabled"}},
		{first, "listener/key.pem", []string{"tls", "keyfile"}},
		{first, "0.0.0.0:9443", []string{"operations", "listenAddress"}},
		{first, true, []string{"operations", "tls", "enabled"}},
		{first, true, []string{"operations", "tls", "clientCertRequired"}},
		{first, "prometheus", []string{"metrics", "provider"}},
		{first, "2h0m0s", []string{"signing", "default", "expiry"}},
		{first, "3h0m0s", []string{"signing", "profiles", "ca", "expiry"}},
		{first, 0, []string{"signing", "profiles", "ca", "caconstraint", "maxpathlen"}},
		{second, true, []string{"signing", "profiles", "ca", "caconstraint", "isca"}},
		{first, "8760h0m0s", []string{"signing", "profiles", "tls", "expiry"}},
		{second, "5h0m0s", []string{"signing", "profiles", "tls", "expiry"}},
		{second, "10m0s", []string{"signing", "profiles", "enrolment-10m", "expiry"}},
		{first, "720h0m0s", []string{"signing", "profiles", "tls-43200m", "expiry"}},
		{first, "4h0m0s", []string{"crl", "expiry"}},
		{second, "24h0m0s", []string{"crl", "expiry"}},
		{second, "sqlite3", []string{"db", "type"}},
		{second, true, []string{"cfg", "identities", "allowremove"}},
		{first, true, []string{"cfg", "affiliations", "allowremove"}},
		{first, 10, []string{"cfg", "identities", "passwordattempts"}},
		{second, -1, []string{"registry", "maxenrollments"}},
		{first, "ca.org1", []string{"csr", "cn"}},
		{second, "tlsca.org1", []string{"csr", "cn"}},
	} {
		if got := at(t, c.file, c.keys...); got != c.want {
			t.Errorf("%v: %v, want %v", c.keys, got, c.want)
		}
	}
	if got := at(t, first, "operations", "tls", "clientCACertFiles"); len(got.([]any)) != 1 || got.([]any)[0] != home+"/operations/client-roots.pem" {
		t.Errorf("client roots %v", got)
	}
	for _, c := range []struct {
		file   []byte
		secret string
		others string
	}{{first, enrolmentSecret, tlsSecret}, {second, tlsSecret, enrolmentSecret}} {
		ids := at(t, c.file, "registry", "identities").([]any)
		registrar := ids[0].(map[string]any)
		attrs := registrar["attrs"].(map[string]any)
		if len(ids) != 1 || registrar["name"] != "registrar" || registrar["pass"] != c.secret || registrar["maxenrollments"] != -1 || registrar["affiliation"] != "" ||
			attrs["hf.Registrar.Roles"] != "*" || attrs["hf.Revoker"] != "true" || attrs["hf.IntermediateCA"] != "true" || len(attrs) != 7 {
			t.Errorf("registrar %v", registrar)
		}
		if strings.Contains(string(c.file), c.others) || strings.Contains(string(c.file), "org2") || strings.Contains(string(c.file), "adminpw") {
			t.Error("the file holds what it must not")
		}
		b := at(t, c.file, "affiliations", "b", "c").(map[string]any)
		if a := at(t, c.file, "affiliations", "a").([]any); len(a) != 0 || len(b["d"].([]any)) != 0 || len(at(t, c.file, "affiliations").(map[string]any)) != 2 {
			t.Errorf("affiliations %v", at(t, c.file, "affiliations"))
		}
	}
	again, err := ca.RenderServer(s.config)
	must(t, err)
	for name := range files {
		if string(files[name]) != string(again[name]) {
			t.Errorf("%s is not rendered alike twice", name)
		}
	}
}

func TestProfileFor(t *testing.T) {
	for want, got := range map[string]string{
		"": ca.ProfileFor(ca.ProfileEnrolment, 0), "tls": ca.ProfileFor(ca.ProfileTLS, 0),
		"enrolment-1m": ca.ProfileFor(ca.ProfileEnrolment, time.Minute), "tls-525600m": ca.ProfileFor(ca.ProfileTLS, 365*24*time.Hour),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRenderServerRefuses(t *testing.T) {
	s, other := configure(t, "org1", "", time.Hour), configure(t, "org1", "", time.Hour)
	leaf := s.endpoint(t, s.roots.tls)
	for want, change := range map[string]func(c *ca.ServerConfig){
		"not an absolute path":             func(c *ca.ServerConfig) { c.Home = "home" },
		"70000 is not a port":              func(c *ca.ServerConfig) { c.Port = 70000 },
		"twice on port 9443":               func(c *ca.ServerConfig) { c.Port = 9443 },
		"listener:":                        func(c *ca.ServerConfig) { c.Listener.KeyPEM = other.config.Listener.KeyPEM },
		"operations endpoint:":             func(c *ca.ServerConfig) { c.Operations = ca.Material{} },
		"client roots":                     func(c *ca.ServerConfig) { c.OperationsClientRoots = nil },
		"its name":                         func(c *ca.ServerConfig) { c.TLS.Name = "a b" },
		"enrolment CA: its name":           func(c *ca.ServerConfig) { c.Enrolment.Name = "" },
		"both CAs have the name":           func(c *ca.ServerConfig) { c.TLS.Name = c.Enrolment.Name },
		"both CAs have the subject":        func(c *ca.ServerConfig) { c.TLS.Material = other.config.Enrolment.Material },
		"belongs to another certificate":   func(c *ca.ServerConfig) { c.TLS.KeyPEM = c.Enrolment.KeyPEM },
		"is not a CA":                      func(c *ca.ServerConfig) { c.TLS.Material, c.TLS.ChainPEM = leaf, s.roots.tls.CertificatePEM() },
		"TLS CA: registrar":                func(c *ca.ServerConfig) { c.TLS.Registrar.Name = "a:b" },
		"has no secret":                    func(c *ca.ServerConfig) { c.Enrolment.Registrar.Secret = "" },
		"not a number of whole minutes":    func(c *ca.ServerConfig) { c.Enrolment.Validity = 90 * time.Second },
		"validity of 30s":                  func(c *ca.ServerConfig) { c.Validities = []time.Duration{30 * time.Second} },
		"validity of 0s":                   func(c *ca.ServerConfig) { c.Validities = []time.Duration{0} },
		"validity of -1m0s":                func(c *ca.ServerConfig) { c.TLS.CRLExpiry = -time.Minute },
		"lower case":                       func(c *ca.ServerConfig) { c.Affiliations = []string{"Org1"} },
		"affiliation \"a b\"":              func(c *ca.ServerConfig) { c.Affiliations = []string{"a b"} },
		"unable to verify the certificate": func(c *ca.ServerConfig) { c.TLS.ChainPEM = other.roots.tls.CertificatePEM() },
		"there is no PEM block":            func(c *ca.ServerConfig) { c.TLS.ChainPEM = []byte("x") },
		"there are 2 where one is expected": func(c *ca.ServerConfig) {
			c.TLS.CertificatePEM = slices.Concat(c.TLS.CertificatePEM, c.TLS.CertificatePEM)
		},
	} {
		config := s.config
		change(&config)
		if _, err := ca.RenderServer(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		} else if strings.Contains(err.Error(), enrolmentSecret) {
			t.Error("the error holds a secret")
		}
	}
}

func TestRenderServerOfAnIntermediate(t *testing.T) {
	// An intermediate without its chain, and with one that ends before the root.
	s := configure(t, "org1", "", time.Hour)
	inter := intermediateOf(t, s.roots.enrolment, "middle")
	deeper := intermediateOf(t, inter, "deeper")
	keyPEM, err := deeper.KeyPEM()
	must(t, err)
	s.config.Enrolment.Material = ca.Material{CertificatePEM: deeper.CertificatePEM(), KeyPEM: keyPEM}
	if _, err := ca.RenderServer(s.config); err == nil {
		t.Error("an intermediate without its chain was accepted")
	}
	s.config.Enrolment.ChainPEM = inter.CertificatePEM()
	if _, err := ca.RenderServer(s.config); err == nil || !strings.Contains(err.Error(), "is not a root") {
		t.Errorf("a chain without its root: %v", err)
	}
	s.config.Enrolment.ChainPEM = slices.Concat(inter.CertificatePEM(), s.roots.enrolment.CertificatePEM())
	files, err := ca.RenderServer(s.config)
	must(t, err)
	chain, err := certificate.ParseCertificates(files["ca-chain.pem"])
	must(t, err)
	if len(chain) != 3 || chain[0].Subject.CommonName != "deeper" || chain[2].Subject.CommonName != "ca.org1" || files["tls/ca-chain.pem"] != nil {
		t.Errorf("%d certificates", len(chain))
	}
}

func FuzzValidateAffiliation(f *testing.F) {
	f.Add("org1.sales")
	f.Add("..")
	f.Fuzz(func(t *testing.T, name string) {
		if ca.ValidateAffiliation(name) == nil && (name == "" || strings.ContainsAny(name, "/?#% \x00") || strings.Contains(name, "..")) {
			t.Fatalf("%q was accepted", name)
		}
	})
}
