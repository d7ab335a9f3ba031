package provider

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// chainOptions is the tuple of the variadic parameter.
func chainOptions(maps ...map[string]attr.Value) types.Tuple {
	kinds, values := []attr.Type{}, []attr.Value{}
	for _, m := range maps {
		kinds, values = append(kinds, types.MapType{ElemType: types.StringType}), append(values, types.MapValueMust(types.StringType, m))
	}
	return types.TupleValueMust(kinds, values)
}

func option(pairs ...string) map[string]attr.Value {
	m := map[string]attr.Value{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = types.StringValue(pairs[i+1])
	}
	return m
}

func TestVerifyChain(t *testing.T) {
	issued := time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)
	root, leaf := testChain(t, issued)
	stranger, _ := testChain(t, issued)
	trusted := stringValues(string(root.CertificatePEM()))
	const within, later = "2030-01-02T03:30:00Z", "2030-01-02T05:00:00+00:00"
	for _, c := range []struct {
		name    string
		leaf    string
		roots   types.List
		options types.Tuple
		reason  certificate.Reason
	}{
		{"valid", string(leaf), trusted, chainOptions(option("at", within)), ""},
		{"valid for host and usage", string(leaf), trusted, chainOptions(option("at", within, "host", "peer0.example.com", "usage", "server")), ""},
		{"null options", string(leaf), trusted, chainOptions(map[string]attr.Value{"at": types.StringValue(within), "host": types.StringNull()}), ""},
		{"expired", string(leaf), trusted, chainOptions(option("at", later)), certificate.ReasonExpired},
		{"not valid now", string(leaf), trusted, chainOptions(), certificate.ReasonNotYetValid},
		{"another host", string(leaf), trusted, chainOptions(option("at", within, "host", "peer1.example.com")), certificate.ReasonHost},
		{"another usage", string(leaf), trusted, chainOptions(option("at", within, "usage", "client")), certificate.ReasonExtendedKeyUsage},
		{"another root", string(leaf), stringValues(string(stranger.CertificatePEM())), chainOptions(option("at", within)), certificate.ReasonSignature},
		{"no root", string(leaf), stringValues(), chainOptions(option("at", within)), certificate.ReasonUnparsable},
		{"no certificate", "nothing", trusted, chainOptions(option("at", within)), certificate.ReasonUnparsable},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, failure := callFunction(t, newVerifyChainFunction(), types.StringValue(c.leaf), stringValues(), c.roots, c.options)
			if failure != nil {
				t.Fatal(failure)
			}
			valid, reason := resultMember[types.Bool](t, got, "valid").ValueBool(), resultMember[types.String](t, got, "reason").ValueString()
			if valid != (c.reason == "") || reason != string(c.reason) {
				t.Errorf("it is %s, want reason %q", got, c.reason)
			}
			if detail := resultMember[types.String](t, got, "detail").ValueString(); (detail == "") != valid {
				t.Errorf("the detail is %q", detail)
			}
		})
	}
}

// intermediateOf issues a CA below another one.
func intermediateOf(t *testing.T, issuer *certificate.KeyPair) *certificate.KeyPair {
	t.Helper()
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "intermediate"}, NotBefore: issuer.Certificate.NotBefore, NotAfter: issuer.Certificate.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, issuer.Certificate, key.Public(), issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate.KeyPair{Certificate: cert, Key: key}
}

func TestVerifyChainThroughIntermediates(t *testing.T) {
	root, _ := testChain(t, time.Now())
	intermediate := intermediateOf(t, root)
	leaf := intermediateOf(t, intermediate).CertificatePEM()
	trusted := stringValues(string(root.CertificatePEM()))
	for _, c := range []struct {
		name          string
		intermediates types.List
		valid         bool
	}{
		{"given", stringValues(string(intermediate.CertificatePEM())), true},
		{"missing", stringValues(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, failure := callFunction(t, newVerifyChainFunction(), types.StringValue(string(leaf)), c.intermediates, trusted, chainOptions())
			if failure != nil {
				t.Fatal(failure)
			}
			if resultMember[types.Bool](t, got, "valid").ValueBool() != c.valid {
				t.Errorf("it is %s", got)
			}
		})
	}
}

func TestVerifyChainRefuses(t *testing.T) {
	root, leaf := testChain(t, time.Now())
	for _, c := range []struct {
		name     string
		options  types.Tuple
		argument int64
		says     string
	}{
		{"an unknown option", chainOptions(option("hosts", "peer0")), 3, "no option \"hosts\""},
		{"an unknown usage", chainOptions(option("usage", "sign")), 3, "`signing`"},
		{"no instant", chainOptions(option("at", "tomorrow")), 3, "2006-01-02T15:04:05Z"},
		{"two maps", chainOptions(option(), option()), 4, "At most one map"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, failure := callFunction(t, newVerifyChainFunction(), types.StringValue(string(leaf)), stringValues(), stringValues(string(root.CertificatePEM())), c.options)
			if text := refusedAt(t, failure, c.argument); !strings.Contains(text, c.says) {
				t.Errorf("the error is %q, want one that says %q", text, c.says)
			}
		})
	}
}
