package provider

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// testChain is a root and a server certificate below it, valid around the given instant.
func testChain(t *testing.T, now time.Time) (root *certificate.KeyPair, leaf []byte) {
	t.Helper()
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "ca.example.com", Organization: "Example", Validity: 24 * time.Hour, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certificate.Issue(root, certificate.LeafRequest{
		CommonName: "peer0", OUs: []string{"peer"}, Hosts: []string{"peer0.example.com", "127.0.0.1"},
		Validity: time.Hour, Server: true, PublicKey: key.Public(), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, certificate.EncodeCertificate(cert)
}

func TestCertificateFunction(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	root, leaf := testChain(t, now)
	want, err := certificate.ReadFacts(leaf)
	if err != nil {
		t.Fatal(err)
	}
	got, failure := callFunction(t, newCertificateFunction(), types.StringValue(string(leaf)))
	if failure != nil {
		t.Fatal(failure)
	}
	for name, value := range map[string]string{
		"common_name": "peer0", "not_after": "2030-01-02T04:04:05Z", "key_algorithm": "ecdsa-p256",
		"subject": want.Subject, "issuer": want.Issuer, "not_before": want.NotBefore, "signature_algorithm": want.SignatureAlgorithm,
		"serial_number": want.SerialNumber, "fingerprint": want.Fingerprint, "public_key_fingerprint": want.PublicKeyFingerprint,
		"subject_key_id": want.SubjectKeyID, "authority_key_id": want.AuthorityKeyID,
	} {
		if text := resultMember[types.String](t, got, name).ValueString(); text != value {
			t.Errorf("%s is %q, want %q", name, text, value)
		}
	}
	for name, values := range map[string][]string{
		"organizational_units": {"peer"}, "organizations": {}, "dns_names": {"peer0.example.com"}, "ip_addresses": {"127.0.0.1"},
		"extended_key_usages": {"serverAuth"}, "key_usages": want.KeyUsages,
	} {
		if list := stringsOf(t, resultMember[types.List](t, got, name)); !slices.Equal(list, values) {
			t.Errorf("%s is %v, want %v", name, list, values)
		}
	}
	if resultMember[types.Bool](t, got, "is_ca").ValueBool() || resultMember[types.Int64](t, got, "key_size").ValueInt64() != 256 {
		t.Errorf("it is %s", got)
	}
	if attributes := resultMember[types.Map](t, got, "attributes"); len(attributes.Elements()) != 0 {
		t.Errorf("it has the attributes %s", attributes)
	}

	ofRoot, failure := callFunction(t, newCertificateFunction(), types.StringValue(string(root.CertificatePEM())))
	if failure != nil {
		t.Fatal(failure)
	}
	if !resultMember[types.Bool](t, ofRoot, "is_ca").ValueBool() {
		t.Error("a root is no CA")
	}
}

func TestCertificateFunctionRefuses(t *testing.T) {
	root, leaf := testChain(t, time.Now())
	key, err := root.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, says string }{
		{"nothing", "", "no PEM block"},
		{"two certificates", string(leaf) + string(root.CertificatePEM()), "there are 2"},
		{"a private key", string(key), "PRIVATE KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, failure := callFunction(t, newCertificateFunction(), types.StringValue(c.text))
			text := refusedAt(t, failure, 0)
			if !strings.Contains(text, c.says) {
				t.Errorf("the error is %q, want one that says %q", text, c.says)
			}
			if strings.Contains(text, "-----BEGIN") {
				t.Error("the error repeats what was given")
			}
		})
	}
}
