package certificate_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

var now = time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t testing.TB, algorithm certificate.KeyAlgorithm) crypto.Signer {
	t.Helper()
	return must[crypto.Signer](t)(certificate.GenerateKey(algorithm))
}

func newRoot(t testing.TB, cn string) *certificate.KeyPair {
	t.Helper()
	return must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: cn, Validity: 10 * 365 * 24 * time.Hour, Now: now}))
}

// issue signs any template, also those that the package would never make.
func issue(t testing.TB, issuer *certificate.KeyPair, change func(*x509.Certificate)) *certificate.KeyPair {
	t.Helper()
	key := newKey(t, "")
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, SubjectKeyId: []byte("leaf"),
	}
	change(template)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key))
	return &certificate.KeyPair{Certificate: must[*x509.Certificate](t)(x509.ParseCertificate(der)), Key: key}
}

func asCA(cn string, limit int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.MaxPathLen, c.MaxPathLenZero = cn, true, limit, limit == 0
		c.KeyUsage, c.SubjectKeyId = x509.KeyUsageCertSign, []byte(cn)
	}
}

func TestKeyAlgorithms(t *testing.T) {
	for name, bits := range map[string]int{"": 256, "ecdsa-p256": 256, "ecdsa-p384": 384} {
		algorithm, err := certificate.ParseKeyAlgorithm(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := newKey(t, algorithm).Public().(*ecdsa.PublicKey).Params().BitSize; got != bits {
			t.Errorf("%q: %d bits", name, got)
		}
	}
	for _, name := range []string{"rsa-2048", "ECDSA-P256", "ecdsa-p521"} {
		if _, err := certificate.ParseKeyAlgorithm(name); err == nil || !strings.Contains(err.Error(), "ecdsa-p256, ecdsa-p384") {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := certificate.GenerateKey(certificate.KeyAlgorithm(name)); err == nil {
			t.Errorf("%q was generated", name)
		}
	}
}

func TestKeyRoundTrip(t *testing.T) {
	for _, algorithm := range certificate.KeyAlgorithms() {
		key := newKey(t, algorithm)
		text := must[[]byte](t)(certificate.EncodeKey(key))
		if block, _ := pem.Decode(text); block.Type != "PRIVATE KEY" {
			t.Errorf("encoded as %s", block.Type)
		}
		if got := must[crypto.Signer](t)(certificate.ParseKey(text)); !got.(*ecdsa.PrivateKey).Equal(key) {
			t.Error("another key came back")
		}
		sec1 := must[[]byte](t)(x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey)))
		params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
		text = append(params, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)
		if got := must[crypto.Signer](t)(certificate.ParseKey(text)); !got.(*ecdsa.PrivateKey).Equal(key) {
			t.Error("another key came back")
		}
	}
}

func TestParseKeyRefusesWithoutQuoting(t *testing.T) {
	secret := []byte("do not print these bytes")
	root := newRoot(t, "root")
	for what, text := range map[string][]byte{
		"empty":        nil,
		"no PEM":       secret,
		"garbage":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		"garbage SEC1": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}),
		"encrypted":    pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: secret}),
		"old encrypted": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret,
			Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}}),
		"certificate": root.CertificatePEM(),
		"only params": pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: secret}),
	} {
		_, err := certificate.ParseKey(text)
		if err == nil || strings.Contains(err.Error(), "print these") || strings.Contains(err.Error(), hex.EncodeToString(secret[:6])) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestKeyMatchesAndFingerprints(t *testing.T) {
	root, other := newRoot(t, "root"), newRoot(t, "root")
	renewed := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: "renewed", Key: root.Key, Validity: time.Hour}))
	if !certificate.KeyMatches(root.Certificate, root.Key) || certificate.KeyMatches(root.Certificate, other.Key) ||
		certificate.KeyMatches(nil, root.Key) || certificate.KeyMatches(root.Certificate, nil) {
		t.Error("KeyMatches is wrong")
	}
	fingerprint := certificate.PublicKeyFingerprint(root.Certificate)
	if fingerprint != certificate.PublicKeyFingerprint(renewed.Certificate) || fingerprint == certificate.PublicKeyFingerprint(other.Certificate) {
		t.Error("PublicKeyFingerprint does not identify the key")
	}
	keyPEM := must[[]byte](t)(root.KeyPEM())
	if pair := must[*certificate.KeyPair](t)(certificate.ParseKeyPair(renewed.CertificatePEM(), keyPEM)); !pair.Certificate.Equal(renewed.Certificate) {
		t.Error("another pair came back")
	}
	if _, err := certificate.ParseKeyPair(other.CertificatePEM(), keyPEM); err == nil {
		t.Error("a key of another certificate was taken")
	}
	der := must[[]byte](t)(x509.MarshalPKIXPublicKey(root.Key.Public()))
	if sum := sha256.Sum256(der); fingerprint != hex.EncodeToString(sum[:]) {
		t.Error("PublicKeyFingerprint is not the SHA-256 of the public key")
	}
}

func TestParseCertificates(t *testing.T) {
	one, two := newRoot(t, "one"), newRoot(t, "two")
	chain := slices.Concat([]byte("subject=one\n"), one.CertificatePEM(), []byte("subject=two\n"), two.CertificatePEM(), []byte("\n"))
	if got := must[[]*x509.Certificate](t)(certificate.ParseCertificates(chain)); len(got) != 2 || !got[0].Equal(one.Certificate) || !got[1].Equal(two.Certificate) {
		t.Errorf("%d certificates", len(got))
	}
	keyPEM := must[[]byte](t)(one.KeyPEM())
	damaged := bytes.Replace(two.CertificatePEM(), []byte("-----END CERTIFICATE-----"), nil, 1)
	for what, c := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":            {nil, "no PEM block"},
		"a key":              {keyPEM, "is a PRIVATE KEY"},
		"a key in the chain": {slices.Concat(one.CertificatePEM(), keyPEM), "block 2 is a PRIVATE KEY"},
		"a damaged block":    {slices.Concat(one.CertificatePEM(), damaged), "block 2 is damaged"},
		"a cut certificate":  {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Certificate.Raw[:90]}), "certificate 1"},
	} {
		if _, err := certificate.ParseCertificates(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := certificate.ParseOne(chain); err == nil || !strings.Contains(err.Error(), "there are 2") {
		t.Errorf("two for one: %v", err)
	}
}

func TestNewRoot(t *testing.T) {
	for _, algorithm := range certificate.KeyAlgorithms() {
		root := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{
			CommonName: "ca.org1", Organization: "org1", KeyAlgorithm: algorithm, Validity: 15 * 365 * 24 * time.Hour, Now: now,
		}))
		c := root.Certificate
		if c.Subject.String() != "CN=ca.org1,O=org1" || c.Issuer.String() != c.Subject.String() || c.CheckSignatureFrom(c) != nil {
			t.Errorf("issued for %s by %s", c.Subject, c.Issuer)
		}
		if !c.IsCA || c.MaxPathLen != -1 || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) > 0 {
			t.Errorf("CA %t, path %d, usage %b", c.IsCA, c.MaxPathLen, c.KeyUsage)
		}
		if !c.NotBefore.Equal(now.Add(-5*time.Minute)) || !c.NotAfter.Equal(now.Add(15*365*24*time.Hour)) {
			t.Errorf("valid from %s to %s", c.NotBefore, c.NotAfter)
		}
		// Fabric CA takes a certificate for a root when it has no authority key identifier, or its own.
		if len(c.AuthorityKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, c.SubjectKeyId) {
			t.Error("it does not look like a root")
		}
		public := root.Key.Public().(*ecdsa.PublicKey)
		point := must[[]byte](t)(public.Bytes())
		if sum := sha256.Sum256(point); point[0] != 4 || !bytes.Equal(sum[:], c.SubjectKeyId) {
			t.Errorf("subject key identifier %x", c.SubjectKeyId)
		}
	}
	for what, r := range map[string]certificate.RootRequest{
		"no name":       {Validity: time.Hour},
		"no validity":   {CommonName: "x"},
		"bad algorithm": {CommonName: "x", Validity: time.Hour, KeyAlgorithm: "dsa"},
	} {
		if _, err := certificate.NewRoot(r); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestSignaturesHaveALowS(t *testing.T) {
	for _, algorithm := range certificate.KeyAlgorithms() {
		key := newKey(t, algorithm)
		half := new(big.Int).Rsh(key.Public().(*ecdsa.PublicKey).Params().N, 1)
		root := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: "x", Key: key, Validity: time.Hour}))
		// Without the normalisation half of them would be high, so this would fail but once in 2^24.
		for range 24 {
			cert := must[*x509.Certificate](t)(certificate.Issue(root, certificate.LeafRequest{CommonName: "y", Validity: time.Minute, Server: true, PublicKey: key.Public()}))
			var rs struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(cert.Signature, &rs); err != nil {
				t.Fatal(err)
			}
			if rs.S.Cmp(half) > 0 {
				t.Fatal("the signature has a high S")
			}
			if err := cert.CheckSignatureFrom(root.Certificate); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestIssue(t *testing.T) {
	root := newRoot(t, "root")
	key := newKey(t, certificate.ECDSAP384)
	good := certificate.LeafRequest{
		CommonName: "peer0", Organization: "org1", OUs: []string{"peer"}, Hosts: []string{"peer0.org1", "127.0.0.1", "::1", "*.x.y"},
		Validity: 24 * time.Hour, Server: true, PublicKey: key.Public(), Now: now,
	}
	cert := must[*x509.Certificate](t)(certificate.Issue(root, good))
	if !slices.Equal(cert.DNSNames, []string{"peer0.org1", "*.x.y"}) || len(cert.IPAddresses) != 2 || !cert.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("hosts %v %v", cert.DNSNames, cert.IPAddresses)
	}
	if cert.Subject.String() != "CN=peer0,OU=peer,O=org1" || cert.IsCA || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
		t.Errorf("issued %s, CA %t, %v", cert.Subject, cert.IsCA, cert.ExtKeyUsage)
	}
	if !cert.NotBefore.Equal(root.Certificate.NotBefore) || !cert.NotAfter.Equal(now.Add(24*time.Hour)) {
		t.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter)
	}
	if !bytes.Equal(cert.AuthorityKeyId, root.Certificate.SubjectKeyId) || !certificate.KeyMatches(cert, key) {
		t.Error("it names another issuer or another key")
	}

	long := good
	long.Validity, long.Now, long.Server, long.Client = 100*365*24*time.Hour, now.Add(time.Hour), false, true
	cert = must[*x509.Certificate](t)(certificate.Issue(root, long))
	if !cert.NotAfter.Equal(root.Certificate.NotAfter) || !cert.NotBefore.Equal(now.Add(55*time.Minute)) {
		t.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter)
	}

	leaf := &certificate.KeyPair{Certificate: cert, Key: key}
	for what, change := range map[string]func(*certificate.LeafRequest) *certificate.KeyPair{
		"no name":       func(r *certificate.LeafRequest) *certificate.KeyPair { r.CommonName = ""; return root },
		"no key":        func(r *certificate.LeafRequest) *certificate.KeyPair { r.PublicKey = nil; return root },
		"no validity":   func(r *certificate.LeafRequest) *certificate.KeyPair { r.Validity = 0; return root },
		"no usage":      func(r *certificate.LeafRequest) *certificate.KeyPair { r.Server = false; return root },
		"a bad host":    func(r *certificate.LeafRequest) *certificate.KeyPair { r.Hosts = []string{"https://x"}; return root },
		"an empty host": func(r *certificate.LeafRequest) *certificate.KeyPair { r.Hosts = []string{""}; return root },
		"a leaf issuer": func(*certificate.LeafRequest) *certificate.KeyPair { return leaf },
		"no issuer":     func(*certificate.LeafRequest) *certificate.KeyPair { return nil },
		"an old issuer": func(r *certificate.LeafRequest) *certificate.KeyPair {
			r.Now = now.Add(11 * 365 * 24 * time.Hour)
			return root
		},
		"another's key": func(*certificate.LeafRequest) *certificate.KeyPair {
			return &certificate.KeyPair{Certificate: root.Certificate, Key: key}
		},
		"no issuer's key": func(*certificate.LeafRequest) *certificate.KeyPair {
			return &certificate.KeyPair{Certificate: root.Certificate}
		},
	} {
		r := good
		if _, err := certificate.Issue(change(&r), r); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestIssuedPairsSpeakMutualTLS(t *testing.T) {
	root := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: "operations", Validity: time.Hour}))
	pair := func(r certificate.LeafRequest) tls.Certificate {
		key := newKey(t, "")
		r.PublicKey, r.Validity = key.Public(), time.Hour
		return (&certificate.KeyPair{Certificate: must[*x509.Certificate](t)(certificate.Issue(root, r)), Key: key}).TLS()
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	near, far := net.Pipe()
	server := tls.Server(far, &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		Certificates: []tls.Certificate{pair(certificate.LeafRequest{CommonName: "s", Hosts: []string{"s.example"}, Server: true})}})
	client := tls.Client(near, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "s.example",
		Certificates: []tls.Certificate{pair(certificate.LeafRequest{CommonName: "c", Client: true})}})
	done := make(chan error, 1)
	go func() {
		_, err := server.Read(make([]byte, 1))
		done <- err
	}()
	if _, err := client.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := server.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "c" {
		t.Errorf("the server met %s", got)
	}
}

func TestSigningRequest(t *testing.T) {
	key := newKey(t, certificate.ECDSAP384)
	text := must[[]byte](t)(certificate.SigningRequest("peer0", []string{"h", "10.0.0.1"}, key))
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		t.Fatalf("encoded as %q", text)
	}
	csr := must[*x509.CertificateRequest](t)(x509.ParseCertificateRequest(block.Bytes))
	if csr.CheckSignature() != nil || csr.Subject.CommonName != "peer0" || !slices.Equal(csr.DNSNames, []string{"h"}) || len(csr.IPAddresses) != 1 ||
		csr.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		t.Errorf("request %+v", csr)
	}
	if _, err := certificate.SigningRequest("x", []string{"a b"}, key); err == nil {
		t.Error("a bad host was accepted")
	}
}

func TestFacts(t *testing.T) {
	root := newRoot(t, "root")
	pair := issue(t, root, func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(0xabc)
		c.Subject = pkix.Name{CommonName: "peer0", Organization: []string{"o"}, OrganizationalUnit: []string{"peer", "org1"}}
		c.DNSNames, c.IPAddresses = []string{"a.b"}, []net.IP{net.ParseIP("10.0.0.1"), net.ParseIP("fe80::1")}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}}
		c.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}, Value: []byte(`{"attrs":{"hf.Type":"peer","rank":"high"}}`)}}
	})
	f := must[certificate.Facts](t)(certificate.ReadFacts(pair.CertificatePEM()))
	sum := sha256.Sum256(pair.Certificate.Raw)
	for what, ok := range map[string]bool{
		"subject":     strings.HasPrefix(f.Subject, "CN=peer0,") && f.CommonName == "peer0" && f.Issuer == "CN=root",
		"ous":         slices.Equal(f.Organizations, []string{"o"}) && len(f.OrganizationalUnits) == 2,
		"serial":      f.SerialNumber == "abc",
		"times":       f.NotBefore == "2030-05-06T06:08:09Z" && f.NotAfter == "2030-05-06T08:08:09Z",
		"hosts":       slices.Equal(f.DNSNames, []string{"a.b"}) && slices.Equal(f.IPAddresses, []string{"10.0.0.1", "fe80::1"}),
		"key":         f.KeyAlgorithm == "ecdsa-p256" && f.KeySize == 256 && f.SignatureAlgorithm == "ECDSA-SHA256",
		"usages":      slices.Equal(f.KeyUsages, []string{"digitalSignature", "keyAgreement"}),
		"extended":    slices.Equal(f.ExtendedKeyUsages, []string{"serverAuth", "clientAuth", "1.2.3"}),
		"ids":         f.SubjectKeyID == hex.EncodeToString([]byte("leaf")) && f.AuthorityKeyID == hex.EncodeToString(root.Certificate.SubjectKeyId),
		"fingerprint": f.Fingerprint == hex.EncodeToString(sum[:]) && f.PublicKeyFingerprint == certificate.PublicKeyFingerprint(pair.Certificate),
		"attributes":  len(f.Attributes) == 2 && f.Attributes["rank"] == "high",
		"CA":          !f.IsCA,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, f)
		}
	}
	if f := must[certificate.Facts](t)(certificate.FactsOf(root.Certificate)); !f.IsCA || f.Attributes == nil || f.DNSNames == nil || f.IPAddresses == nil ||
		f.ExtendedKeyUsages == nil || f.OrganizationalUnits == nil || !slices.Equal(f.KeyUsages, []string{"digitalSignature", "keyCertSign", "cRLSign"}) {
		t.Errorf("root: %+v", f)
	}
	odd := issue(t, root, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}, Value: []byte("{")}}
	})
	if _, err := certificate.FactsOf(odd.Certificate); err == nil {
		t.Error("an extension without attributes was read")
	}
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	rsaRoot := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: "r", Key: key, Validity: time.Hour}))
	if f := must[certificate.Facts](t)(certificate.FactsOf(rsaRoot.Certificate)); f.KeyAlgorithm != "rsa-2048" || f.KeySize != 2048 {
		t.Errorf("RSA: %+v", f)
	}
}

func TestVerifyChain(t *testing.T) {
	root, stranger := newRoot(t, "root"), newRoot(t, "stranger")
	middle := issue(t, root, asCA("middle", 0))
	below := issue(t, middle, asCA("below", -1))
	leaf := issue(t, middle, func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"peer0.org1", "*.wild.org"}, []net.IP{net.ParseIP("10.0.0.1")}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	impostor := newRoot(t, "root") // same name, another key
	lookalike := must[*certificate.KeyPair](t)(certificate.NewRoot(certificate.RootRequest{CommonName: "middle", Validity: time.Hour, Now: now}))
	fakeCA := issue(t, root, func(c *x509.Certificate) { c.Subject.CommonName = "no CA" })
	mute := issue(t, root, func(c *x509.Certificate) { asCA("mute", -1)(c); c.KeyUsage = x509.KeyUsageCRLSign })
	short := issue(t, root, func(c *x509.Certificate) { asCA("short", -1)(c); c.NotAfter = now.Add(10 * time.Minute) })
	encipher := issue(t, root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })
	bare := issue(t, root, func(c *x509.Certificate) { c.KeyUsage = 0 })
	narrow := issue(t, root, func(c *x509.Certificate) {
		asCA("narrow", -1)(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	named := issue(t, root, func(c *x509.Certificate) {
		asCA("named", -1)(c)
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"ok.org"}, true
	})
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	plain := func(*x509.Certificate) {}

	pems := func(pairs ...*certificate.KeyPair) [][]byte {
		var out [][]byte
		for _, p := range pairs {
			out = append(out, p.CertificatePEM())
		}
		return out
	}
	request := func(leaf *certificate.KeyPair, host string, usage certificate.Usage, intermediates ...*certificate.KeyPair) certificate.VerifyRequest {
		return certificate.VerifyRequest{Leaf: leaf.CertificatePEM(), Intermediates: pems(intermediates...), Roots: pems(root), At: now, Host: host, Usage: usage}
	}
	at := func(r certificate.VerifyRequest, d time.Duration) certificate.VerifyRequest {
		r.At = now.Add(d)
		return r
	}
	rooted := func(r certificate.VerifyRequest, roots ...*certificate.KeyPair) certificate.VerifyRequest {
		r.Roots = pems(roots...)
		return r
	}
	bundled := request(leaf, "", "")
	bundled.Leaf = slices.Concat(leaf.CertificatePEM(), middle.CertificatePEM())

	for what, c := range map[string]struct {
		request certificate.VerifyRequest
		reason  certificate.Reason // empty: it verifies
		detail  string
	}{
		"good":                     {request(leaf, "peer0.org1", certificate.UsageServer, middle), "", ""},
		"IP address":               {request(leaf, "10.0.0.1", "", middle), "", ""},
		"wildcard":                 {request(leaf, "x.wild.org", "", middle), "", ""},
		"signing":                  {request(leaf, "", certificate.UsageSigning, middle), "", ""},
		"chain with the leaf":      {bundled, "", ""},
		"needless certificates":    {request(leaf, "", "", stranger, impostor, middle, lookalike), "", ""},
		"one of several roots":     {rooted(request(leaf, "", "", middle), stranger, impostor, root), "", ""},
		"a root itself":            {request(root, "", certificate.UsageCA), "", ""},
		"an intermediate as root":  {rooted(request(leaf, "", ""), middle), "", ""},
		"no key usages at all":     {request(bare, "", certificate.UsageClient), "", ""},
		"long ago":                 {at(request(issue(t, root, plain), "", ""), -2*time.Hour), certificate.ReasonNotYetValid, "leaf is not valid before 2030-05-06T06:08:09Z"},
		"no intermediate":          {request(leaf, "", ""), certificate.ReasonUnknownAuthority, "leaf was issued by CN=middle"},
		"another root":             {rooted(request(leaf, "", "", middle), stranger), certificate.ReasonUnknownAuthority, "middle was issued by CN=root"},
		"self-signed":              {request(stranger, "", ""), certificate.ReasonUnknownAuthority, "stranger is self-signed"},
		"a root of the same name":  {rooted(request(leaf, "", "", middle), impostor), certificate.ReasonSignature, "middle was not signed by the key of root"},
		"an issuer lookalike":      {request(leaf, "", "", lookalike), certificate.ReasonSignature, "leaf was not signed by the key of middle"},
		"not a CA":                 {request(issue(t, fakeCA, plain), "", "", fakeCA), certificate.ReasonNotCA, "no CA, which is not a CA"},
		"CA without keyCertSign":   {request(issue(t, mute, plain), "", "", mute), certificate.ReasonKeyUsage, "lack keyCertSign"},
		"path length":              {request(issue(t, below, plain), "", "", below, middle), certificate.ReasonPathLength, "middle allows 0 CAs below it and has 1"},
		"expired leaf":             {at(request(leaf, "", "", middle), 61*time.Minute), certificate.ReasonExpired, "expired at 2030-05-06T08:08:09Z"},
		"expired intermediate":     {at(request(issue(t, short, plain), "", "", short), 11*time.Minute), certificate.ReasonExpired, "short expired"},
		"expired root":             {at(request(issue(t, root, func(c *x509.Certificate) { c.NotAfter = now.Add(99 * 365 * 24 * time.Hour) }), "", ""), 11*365*24*time.Hour), certificate.ReasonExpired, "root expired"},
		"another host":             {request(leaf, "peer1.org1", "", middle), certificate.ReasonHost, "peer0.org1, *.wild.org, 10.0.0.1"},
		"another address":          {request(leaf, "10.0.0.2", "", middle), certificate.ReasonHost, ""},
		"no hosts":                 {request(bare, "x", ""), certificate.ReasonHost, "no host at all"},
		"server as client":         {request(leaf, "", certificate.UsageClient, middle), certificate.ReasonExtendedKeyUsage, "without clientAuth; leaf has serverAuth"},
		"client CA for a server":   {request(issue(t, narrow, plain), "", certificate.UsageServer, narrow), certificate.ReasonExtendedKeyUsage, "serverAuth"},
		"encipherment cannot sign": {request(encipher, "", certificate.UsageSigning), certificate.ReasonKeyUsage, "keyEncipherment"},
		"leaf as CA":               {request(leaf, "", certificate.UsageCA, middle), certificate.ReasonNotCA, "leaf is not a CA"},
		"CA as member":             {request(middle, "", certificate.UsageSigning), certificate.ReasonKeyUsage, "middle is a CA"},
		"name constraint":          {request(issue(t, named, dns("bad.org")), "", "", named), certificate.ReasonOther, "bad.org"},
		"unknown usage":            {request(leaf, "", "sever", middle), certificate.ReasonOther, "sever"},
		"no roots":                 {rooted(request(leaf, "", "")), certificate.ReasonUnparsable, "roots"},
		"no leaf":                  {certificate.VerifyRequest{Roots: pems(root)}, certificate.ReasonUnparsable, "leaf"},
		"a bad intermediate":       {certificate.VerifyRequest{Leaf: leaf.CertificatePEM(), Intermediates: [][]byte{[]byte("x")}, Roots: pems(root)}, certificate.ReasonUnparsable, "intermediates"},
	} {
		err := certificate.VerifyChain(c.request)
		if c.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		var failure *certificate.VerifyError
		if !errors.As(err, &failure) || failure.Reason != c.reason || !strings.Contains(err.Error(), c.detail) {
			t.Errorf("%s: %v, want %s with %q", what, err, c.reason, c.detail)
		}
	}
}

func TestVerifyChainEndsWhenAllSignEachOther(t *testing.T) {
	// Fifteen CAs of one name and one key, each signed by that key: every order of them is a path.
	key := newKey(t, "")
	var ring [][]byte
	var last *certificate.KeyPair
	for i := range 15 {
		template := &x509.Certificate{Subject: pkix.Name{CommonName: "ring"}, SerialNumber: big.NewInt(int64(i + 1)), NotBefore: now, NotAfter: now.Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true}
		der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
		last = &certificate.KeyPair{Certificate: must[*x509.Certificate](t)(x509.ParseCertificate(der)), Key: key}
		ring = append(ring, last.CertificatePEM())
	}
	begun := time.Now()
	err := certificate.VerifyChain(certificate.VerifyRequest{Leaf: issue(t, last, func(*x509.Certificate) {}).CertificatePEM(), Intermediates: ring, Roots: [][]byte{newRoot(t, "far").CertificatePEM()}, At: now})
	if err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

func TestSubjectKeyIDOfOtherCurves(t *testing.T) {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	if id, err := certificate.SubjectKeyID(key.Public()); err != nil || len(id) != 32 {
		t.Errorf("%x %v", id, err)
	}
	if _, err := certificate.SubjectKeyID("no key"); err == nil {
		t.Error("a string has an identifier")
	}
}

func FuzzParseCertificates(f *testing.F) {
	root := newRoot(f, "root")
	f.Add(root.CertificatePEM())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN"))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := certificate.ParseCertificates(text)
		if (err == nil) != (len(certs) > 0) {
			t.Fatalf("%d certificates and %v", len(certs), err)
		}
		var again []byte
		for _, c := range certs {
			again = append(again, certificate.EncodeCertificate(c)...)
			_, _ = certificate.FactsOf(c)
		}
		if err != nil {
			return
		}
		same, err := certificate.ParseCertificates(again)
		if err != nil || !slices.EqualFunc(certs, same, (*x509.Certificate).Equal) {
			t.Fatalf("they do not survive encoding: %v", err)
		}
		verdict := certificate.VerifyChain(certificate.VerifyRequest{Leaf: text, Roots: [][]byte{root.CertificatePEM(), again}, At: now})
		var failure *certificate.VerifyError
		if verdict != nil && (!errors.As(verdict, &failure) || failure.Detail == "") {
			t.Fatalf("no reason: %v", verdict)
		}
	})
}

func FuzzParseDER(f *testing.F) {
	root := newRoot(f, "root")
	f.Add(root.Certificate.Raw)
	f.Add(issue(f, root, func(c *x509.Certificate) { c.DNSNames = []string{"a"} }).Certificate.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		facts, err := certificate.ReadFacts(text)
		if err == nil && len(facts.Fingerprint) != 64 {
			t.Fatalf("facts %+v", facts)
		}
		_ = certificate.VerifyChain(certificate.VerifyRequest{Leaf: text, Intermediates: [][]byte{text}, Roots: [][]byte{root.CertificatePEM()}, Usage: certificate.UsageServer, Host: "a"})
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(must[[]byte](f)(certificate.EncodeKey(newKey(f, ""))))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS"}))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := certificate.ParseKey(text)
		if (err == nil) != (key != nil) {
			t.Fatalf("%v and %v", key, err)
		}
	})
}
