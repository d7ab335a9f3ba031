package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// What a Fabric CA server answers is tested against real ones, in real_test.go. Here are the cases
// that a real one does not show when asked to.

func newPair(t testing.TB, cn string) *certificate.KeyPair {
	t.Helper()
	pair, err := certificate.NewRoot(certificate.RootRequest{CommonName: cn, Validity: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// answering gives a client of a server that answers by the function.
func answering(t testing.TB, answer func(r *http.Request, body []byte) (int, string)) *ca.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status, text := answer(r, body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	client, err := ca.NewClient(server.URL, "ca-org1", server.Client())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func refusal(code int, message string) string {
	text, _ := json.Marshal(map[string]any{"result": "", "success": false, "errors": []any{map[string]any{"code": code, "message": message}}})
	return string(text)
}

func TestNewClient(t *testing.T) {
	for address, good := range map[string]bool{
		"https://ca.org1:7054": true, "https://[::1]:7054/": true, "http://x": true,
		"": false, "ca.org1:7054": false, "unix:///x": false, "https://": false, "https://x/api": false, "https://u:p@x": false, "https://x?y": false, "::": false,
	} {
		if _, err := ca.NewClient(address, "", http.DefaultClient); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := ca.NewClient("https://x", "", nil); err == nil {
		t.Error("a client without HTTP was made")
	}
}

func TestRequestsAreSigned(t *testing.T) {
	by := newPair(t, "registrar")
	var seen int
	client := answering(t, func(r *http.Request, body []byte) (int, string) {
		seen++
		cert, signature, _ := strings.Cut(r.Header.Get("Authorization"), ".")
		encode := base64.StdEncoding.EncodeToString
		digest := sha256.Sum256([]byte(r.Method + "." + encode([]byte(r.URL.RequestURI())) + "." + encode(body) + "." + cert))
		raw, err := base64.StdEncoding.DecodeString(signature)
		if err != nil || !ecdsa.VerifyASN1(by.Key.Public().(*ecdsa.PublicKey), digest[:], raw) {
			t.Errorf("%s %s: bad signature (%v)", r.Method, r.URL, err)
		}
		if text, _ := base64.StdEncoding.DecodeString(cert); string(text) != string(by.CertificatePEM()) {
			t.Errorf("%s %s: another certificate", r.Method, r.URL)
		}
		if r.URL.Query().Get("ca") != "ca-org1" {
			t.Errorf("%s %s: no CA is named", r.Method, r.URL)
		}
		return 200, `{"result":{},"success":true,"errors":[]}`
	})
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"register": func() error { _, err := client.Register(ctx, by, ca.Registration{ID: "a"}); return err },
		"identity": func() error { _, err := client.Identity(ctx, by, "a b?c&d"); return err },
		"modify":   func() error { _, err := client.ModifyIdentity(ctx, by, "é%20", ca.Modification{}); return err },
		"remove":   func() error { return client.RemoveIdentity(ctx, by, "a") },
		"list":     func() error { _, err := client.Affiliations(ctx, by); return err },
		"revoke":   func() error { _, err := client.Revoke(ctx, by, ca.Revocation{ID: "a"}); return err },
		"gencrl":   func() error { _, err := client.GenCRL(ctx, by, ca.CRLRequest{ExpireAfter: time.Now()}); return err },
		"certs": func() error {
			_, err := client.Certificates(ctx, by, ca.CertificateFilter{ID: "a", NotExpired: true})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if seen != 8 {
		t.Errorf("%d requests", seen)
	}
}

func TestCallersAndNamesAreChecked(t *testing.T) {
	client := answering(t, func(*http.Request, []byte) (int, string) {
		t.Error("a request was sent")
		return 500, ""
	})
	by, ctx := newPair(t, "registrar"), t.Context()
	for what, call := range map[string]func() error{
		"no caller": func() error { _, err := client.Identity(ctx, nil, "a"); return err },
		"no key": func() error {
			_, err := client.Affiliations(ctx, &certificate.KeyPair{Certificate: by.Certificate})
			return err
		},
		"no caller to re-enrol": func() error { _, err := client.Reenroll(ctx, nil, ca.EnrollRequest{}); return err },
		"empty id":              func() error { _, err := client.Register(ctx, by, ca.Registration{}); return err },
		"slash":                 func() error { return client.RemoveIdentity(ctx, by, "a/b") },
		"dots":                  func() error { return client.RemoveIdentity(ctx, by, "..") },
		"colon":                 func() error { _, err := client.Enroll(ctx, "a:b", "s", ca.EnrollRequest{}); return err },
		"long id": func() error {
			_, err := client.Register(ctx, by, ca.Registration{ID: strings.Repeat("x", 65)})
			return err
		},
		"bad host": func() error {
			_, err := client.Enroll(ctx, "a", "s", ca.EnrollRequest{Hosts: []string{"a b"}})
			return err
		},
		"bad algorithm": func() error {
			_, err := client.Enroll(ctx, "a", "s", ca.EnrollRequest{KeyAlgorithm: "rsa"})
			return err
		},
		"empty affiliation":   func() error { return client.AddAffiliation(ctx, by, "") },
		"half an affiliation": func() error { return client.AddAffiliation(ctx, by, "a..b") },
		"a slash in it":       func() error { return client.RemoveAffiliation(ctx, by, "a/b", true) },
		"nothing to revoke":   func() error { _, err := client.Revoke(ctx, by, ca.Revocation{}); return err },
		"two things to revoke": func() error {
			_, err := client.Revoke(ctx, by, ca.Revocation{ID: "a", Certificate: by.Certificate})
			return err
		},
		"a root to revoke": func() error { _, err := client.Revoke(ctx, by, ca.Revocation{Certificate: by.Certificate}); return err },
		"a caller with no ECDSA": func() error {
			_, err := client.Identity(ctx, &certificate.KeyPair{Certificate: by.Certificate, Key: edKey(t)}, "a")
			return err
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func edKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestErrorKinds(t *testing.T) {
	kinds := []error{
		ca.ErrNotFound, ca.ErrCANotFound, ca.ErrAlreadyRegistered, ca.ErrAffiliationExists, ca.ErrAuthentication,
		ca.ErrPasswordAttempts, ca.ErrAuthorization, ca.ErrAlreadyRevoked,
	}
	for what, c := range map[string]struct {
		status, code int
		want         []error
	}{
		"no such identity":           {404, 63, []error{ca.ErrNotFound}},
		"database away":              {504, 51, nil},
		"no such identity to revoke": {404, 10, []error{ca.ErrNotFound}},
		"no such certificate":        {404, 8, []error{ca.ErrNotFound}},
		"no affiliations":            {404, 16, []error{ca.ErrNotFound}},
		"affiliation unreadable":     {500, 16, nil},
		"no such CA":                 {404, 19, []error{ca.ErrCANotFound}},
		"authentication":             {401, 20, []error{ca.ErrAuthentication}},
		"no header":                  {401, 2, []error{ca.ErrAuthentication}},
		"locked":                     {401, 73, []error{ca.ErrAuthentication, ca.ErrPasswordAttempts}},
		"affiliation exists":         {409, 60, []error{ca.ErrAffiliationExists}},
		"parent affiliation absent":  {400, 60, nil},
		"revoked before":             {404, 66, []error{ca.ErrAlreadyRevoked}},
		"not allowed":                {403, 71, []error{ca.ErrAuthorization}},
		"registered":                 {409, 74, []error{ca.ErrAlreadyRegistered}},
		"unclassified":               {500, 0, nil},
	} {
		client := answering(t, func(*http.Request, []byte) (int, string) { return c.status, refusal(c.code, "why") })
		_, err := client.Info(t.Context())
		var refused *ca.Error
		if !errors.As(err, &refused) || refused.Status != c.status || refused.Code != c.code || refused.Message != "why" {
			t.Errorf("%s: %v", what, err)
		}
		for _, kind := range kinds {
			if want := slices.Contains(c.want, kind); errors.Is(err, kind) != want {
				t.Errorf("%s: is %q: %t", what, kind, !want)
			}
		}
	}
}

func TestUnreadableBodiesAreNotRepeated(t *testing.T) {
	client := answering(t, func(_ *http.Request, body []byte) (int, string) {
		return 400, refusal(5, "Invalid request body: unexpected EOF; body="+string(body))
	})
	_, err := client.Register(t.Context(), newPair(t, "r"), ca.Registration{ID: "a", Secret: "s3cret"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

func TestForeignAnswers(t *testing.T) {
	for what, c := range map[string]struct {
		status int
		text   string
	}{
		"HTML": {502, "<html>"}, "nothing": {200, ""}, "another API": {200, `{"ok":true}`}, "a list": {200, "[]"},
		"a wrong result": {200, `{"result":"x","success":true}`}, "no reason": {500, `{"result":"","success":false,"errors":[]}`},
	} {
		client := answering(t, func(*http.Request, []byte) (int, string) { return c.status, c.text })
		if info, err := client.Info(t.Context()); err == nil {
			t.Errorf("%s: %+v", what, info)
		}
	}
}

func TestRegisterExplainsWhatTheServerDoesNot(t *testing.T) {
	by := newPair(t, "registrar")
	for what, c := range map[string]struct {
		status, code int
		exists       bool
		want, not    error
	}{
		"lost a race":           {500, 0, true, ca.ErrAlreadyRegistered, ca.ErrNotFound},
		"the server's failure":  {500, 0, false, nil, ca.ErrAlreadyRegistered},
		"no such affiliation":   {403, 71, false, ca.ErrNotFound, ca.ErrAlreadyRegistered},
		"really not authorized": {403, 71, true, ca.ErrAuthorization, ca.ErrNotFound},
	} {
		client := answering(t, func(r *http.Request, _ []byte) (int, string) {
			switch {
			case r.Method == http.MethodPost:
				return c.status, refusal(c.code, "why")
			case c.exists:
				return 200, `{"result":{},"success":true}`
			}
			return 404, refusal(63, "no rows")
		})
		_, err := client.Register(t.Context(), by, ca.Registration{ID: "a", Affiliation: "b.c"})
		var refused *ca.Error
		if err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, c.not) || !errors.As(err, &refused) || refused.Code != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestEnrollChecksTheCertificate(t *testing.T) {
	issuer := newPair(t, "ca")
	certify := func(body []byte, public any) string {
		var in struct {
			Request   string `json:"certificate_request"`
			NotBefore time.Time
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(in.Request))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if public == nil {
			public = csr.PublicKey
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: csr.Subject.CommonName}, NotBefore: in.NotBefore, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, public, issuer.Key)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(map[string]any{"success": true, "result": map[string]any{
			"Cert":       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			"ServerInfo": map[string]any{"CAName": "ca-org1", "CAChain": issuer.CertificatePEM()},
		}})
		return string(text)
	}
	client := answering(t, func(r *http.Request, body []byte) (int, string) {
		user, secret, ok := r.BasicAuth()
		if !ok || user != "a" || secret != "s:1" {
			t.Errorf("authenticated as %s %s", user, secret)
		}
		return 201, certify(body, nil)
	})
	got, err := client.Enroll(t.Context(), "a", "s:1", ca.EnrollRequest{KeyAlgorithm: certificate.ECDSAP384})
	if err != nil || !certificate.KeyMatches(got.Certificate, got.Key) || string(got.Info.Chain) != string(issuer.CertificatePEM()) {
		t.Fatalf("%+v (%v)", got, err)
	}
	if again, err := client.Enroll(t.Context(), "a", "s:1", ca.EnrollRequest{Key: got.Key}); err != nil || again.Key != got.Key {
		t.Errorf("the given key was not kept (%v)", err)
	}
	client = answering(t, func(_ *http.Request, body []byte) (int, string) { return 201, certify(body, issuer.Key.Public()) })
	if _, err := client.Enroll(t.Context(), "a", "s", ca.EnrollRequest{}); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("a certificate of another key: %v", err)
	}
	client = answering(t, func(*http.Request, []byte) (int, string) { return 201, `{"success":true,"result":{"Cert":"eA=="}}` })
	if _, err := client.Enroll(t.Context(), "a", "s", ca.EnrollRequest{}); err == nil {
		t.Error("no certificate was taken for one")
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	release := make(chan struct{})
	client := answering(t, func(*http.Request, []byte) (int, string) { <-release; return 200, "" })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"result":{"CAName":"x","CAChain":"eA==","Version":"1"},"success":true,"errors":[]}`)
	f.Add(401, refusal(20, "no"))
	f.Add(200, `{"result":{"certs":[{"PEM":"x"}]},"success":true}`)
	var status int
	var text string
	client := answering(f, func(*http.Request, []byte) (int, string) { return status, text })
	by := newPair(f, "r")
	f.Fuzz(func(t *testing.T, s int, body string) {
		if s < 200 || s > 599 || s == 204 || s == 304 {
			return
		}
		status, text = s, body
		ctx := t.Context()
		info, err := client.Info(ctx)
		if (err == nil) != (info != nil) {
			t.Fatalf("%v and %v", info, err)
		}
		_, _ = client.Certificates(ctx, by, ca.CertificateFilter{})
		_, _ = client.Affiliations(ctx, by)
		_, _ = client.Register(ctx, by, ca.Registration{ID: "a", Affiliation: "b"})
		_, _ = client.Enroll(ctx, "a", "s", ca.EnrollRequest{Key: by.Key})
	})
}

func intermediateOf(t *testing.T, issuer *certificate.KeyPair, cn string) *certificate.KeyPair {
	t.Helper()
	key, err := certificate.GenerateKey("")
	must(t, err)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: cn}, NotBefore: issuer.Certificate.NotBefore, NotAfter: issuer.Certificate.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &certificate.KeyPair{Certificate: cert, Key: key}
}
