package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rolePrincipal(t testing.TB, id string, role msp.MSPRole_MSPRoleType) *msp.MSPPrincipal {
	return &msp.MSPPrincipal{Principal: marshal(t, &msp.MSPRole{MspIdentifier: id, Role: role})}
}

func signedBy(i int32) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: i}}
}

func outOf(n int32, rules ...*common.SignaturePolicy) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: n, Rules: rules}}}
}

func TestFromEnvelope(t *testing.T) {
	a, b := rolePrincipal(t, "A", msp.MSPRole_PEER), rolePrincipal(t, "B", msp.MSPRole_MEMBER)
	deep := signedBy(0)
	for range maxDepth + 1 {
		deep = outOf(1, deep)
	}
	for name, c := range map[string]struct {
		envelope      *common.SignaturePolicyEnvelope
		want          string // canonical form, or a part of the error
		err           bool
		notExpressive bool
		described     string
	}{
		"shared identities, as SDKs write them": {
			envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a, b}, Rule: outOf(1, outOf(2, signedBy(0), signedBy(1)), signedBy(0))},
			want:     "OR('A.peer', AND('A.peer', 'B.member'))"},
		"a principal without a gate": {
			envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: signedBy(0)},
			want:     "OR('A.peer')"},
		"no envelope":      {envelope: nil, want: "it has no rule", err: true},
		"no rule":          {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}}, want: "it has no rule", err: true, described: "empty rule"},
		"empty inner rule": {envelope: &common.SignaturePolicyEnvelope{Rule: outOf(1, &common.SignaturePolicy{})}, want: "an empty rule", err: true, described: "OutOf(1, empty rule)"},
		"later version":    {envelope: &common.SignaturePolicyEnvelope{Version: 1, Identities: []*msp.MSPPrincipal{a}, Rule: signedBy(0)}, want: "version 1", err: true, described: "'A.peer'"},
		"index too high":   {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: signedBy(1)}, want: "identity 1 of 1", err: true, described: "unknown identity 1"},
		"index negative":   {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: signedBy(-1)}, want: "identity -1 of 1", err: true, described: "unknown identity -1"},
		"unknown role":     {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{rolePrincipal(t, "A", 9)}, Rule: signedBy(0)}, want: "unknown role 9", err: true, described: "'A.9'"},
		"damaged role":     {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{{Principal: []byte{0xff}}}, Rule: signedBy(0)}, want: "damaged", err: true, described: "principal of class ROLE"},
		"too deep":         {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: deep}, want: "nest more than 64 deep", err: true},
		"accept all":       {envelope: &common.SignaturePolicyEnvelope{Rule: outOf(0)}, want: "wants 0 of 0", err: true, notExpressive: true, described: "OutOf(0)"},
		"negative n":       {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: outOf(-1, signedBy(0))}, want: "wants -1 of 1", err: true, notExpressive: true, described: "OutOf(-1, 'A.peer')"},
		"MSP ID with underscore": {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{rolePrincipal(t, "A_1", msp.MSPRole_PEER)}, Rule: outOf(1, signedBy(0))},
			want: `the MSP ID "A_1"`, err: true, notExpressive: true, described: "OutOf(1, 'A_1.peer')"},
		"organizational unit": {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{{PrincipalClassification: msp.MSPPrincipal_ORGANIZATION_UNIT,
			Principal: marshal(t, &msp.OrganizationUnit{MspIdentifier: "A", OrganizationalUnitIdentifier: "sales"})}}, Rule: outOf(1, signedBy(0))},
			want: "ORGANIZATION_UNIT", err: true, notExpressive: true, described: "OutOf(1, unit('A', 'sales'))"},
		"anonymity": {envelope: &common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{{PrincipalClassification: msp.MSPPrincipal_ANONYMITY}}, Rule: outOf(1, signedBy(0))},
			want: "ANONYMITY", err: true, notExpressive: true, described: "OutOf(1, principal of class ANONYMITY)"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := FromEnvelope(c.envelope)
			if errors.Is(err, ErrNotExpressible) != c.notExpressive {
				t.Errorf("ErrNotExpressible: %v", err)
			}
			if c.described != "" && Describe(c.envelope) != c.described {
				t.Errorf("described as %q, want %q", Describe(c.envelope), c.described)
			}
			if c.err {
				if err == nil || !strings.Contains(err.Error(), c.want) || !p.IsZero() {
					t.Errorf("got %v, %v", p, err)
				}
				return
			}
			if err != nil || p.String() != c.want {
				t.Errorf("got %v, %v", p, err)
			}
		})
	}
	_ = Describe(&common.SignaturePolicyEnvelope{Identities: []*msp.MSPPrincipal{a}, Rule: deep})
}

func TestDescribeTellsRenewedIdentitiesApart(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	envelope := func(serial int64) *common.SignaturePolicyEnvelope {
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "orderer0"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		id := &msp.SerializedIdentity{Mspid: "OrdererMSP", IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
		return &common.SignaturePolicyEnvelope{Rule: outOf(1, signedBy(0)),
			Identities: []*msp.MSPPrincipal{{PrincipalClassification: msp.MSPPrincipal_IDENTITY, Principal: marshal(t, id)}}}
	}
	if got, want := Describe(envelope(31)), "OutOf(1, identity('OrdererMSP', 'CN=orderer0, serial 1f'))"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if Describe(envelope(31)) == Describe(envelope(32)) {
		t.Error("two certificates of one name look the same")
	}
	bad := envelope(1)
	bad.Identities[0].Principal = marshal(t, &msp.SerializedIdentity{Mspid: "M", IdBytes: []byte("no PEM")})
	if got := Describe(bad); got != "OutOf(1, identity('M', 'unreadable certificate'))" {
		t.Error(got)
	}
}

func TestImplicitMeta(t *testing.T) {
	for _, c := range []struct {
		text string
		rule common.ImplicitMetaPolicy_Rule
		name string
	}{
		{"ANY Readers", common.ImplicitMetaPolicy_ANY, "Readers"},
		{"ALL Admins", common.ImplicitMetaPolicy_ALL, "Admins"},
		{"MAJORITY Endorsement", common.ImplicitMetaPolicy_MAJORITY, "Endorsement"},
		{" MAJORITY\t My-Policy.1 ", common.ImplicitMetaPolicy_MAJORITY, "My-Policy.1"},
	} {
		m, err := ParseImplicitMeta(c.text)
		if err != nil {
			t.Fatal(err)
		}
		p := m.Proto()
		if p.GetRule() != c.rule || p.GetSubPolicy() != c.name {
			t.Errorf("%q is %v", c.text, p)
		}
		back, err := ImplicitMetaFromProto(p)
		if err != nil || back != m || back.String() != strings.Join(strings.Fields(c.text), " ") {
			t.Errorf("%q came back as %q, %v", c.text, back, err)
		}
	}
	for text, want := range map[string]string{
		"":                     "must start with ANY, ALL or MAJORITY",
		"any Readers":          "must start with ANY, ALL or MAJORITY",
		"MOST Readers":         "must start with ANY, ALL or MAJORITY",
		"ANY":                  "one policy name must follow ANY",
		"ANY Readers Writers":  "one policy name must follow ANY",
		"ANY /Channel/Readers": "letters, digits, dots and hyphens only",
	} {
		if m, err := ParseImplicitMeta(text); err == nil || !strings.Contains(err.Error(), want) || !m.IsZero() {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, p := range []*common.ImplicitMetaPolicy{{Rule: 7, SubPolicy: "Readers"}, {Rule: common.ImplicitMetaPolicy_ALL}} {
		if _, err := ImplicitMetaFromProto(p); err == nil {
			t.Errorf("%v was read", p)
		}
	}
	if (ImplicitMeta{}).Proto() != nil || (ImplicitMeta{}).String() != "" {
		t.Error("the zero value")
	}
	for _, c := range []struct {
		rule         MetaRule
		groups, want int
	}{{MetaAny, 3, 1}, {MetaAll, 3, 3}, {MetaMajority, 3, 2}, {MetaMajority, 4, 3}, {MetaMajority, 2, 2}, {MetaMajority, 1, 1}, {MetaAny, 0, 0}, {MetaMajority, 0, 0}} {
		if got := (ImplicitMeta{c.rule, "X"}).Threshold(c.groups); got != c.want {
			t.Errorf("%s of %d is %d", c.rule, c.groups, got)
		}
	}
}

func TestApplicationPolicy(t *testing.T) {
	p, err := ParseApplicationPolicy(" /Channel/Application/Endorsement\n")
	if err != nil || p.Reference != DefaultReference || p.String() != DefaultReference {
		t.Fatalf("%v, %v", p, err)
	}
	raw, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := marshal(t, &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{ChannelConfigPolicyReference: DefaultReference}})
	if string(raw) != string(want) {
		t.Errorf("%x, want %x", raw, want)
	}
	back, err := UnmarshalApplicationPolicy(raw)
	if err != nil || !back.Equal(p) {
		t.Errorf("%v, %v", back, err)
	}
	signature, err := ParseApplicationPolicy("AND('B.peer', 'A.peer')")
	if err != nil || signature.Reference != "" || signature.String() != "AND('A.peer', 'B.peer')" || signature.Equal(p) {
		t.Errorf("%v, %v", signature, err)
	}
	for text, part := range map[string]string{
		"MAJORITY Endorsement":                 `name a policy of the channel that holds it, as in "/Channel/Application/Endorsement"`,
		"/Channel":                             "must be a path below /Channel",
		"/Chanel/Application/X":                "must be a path below /Channel",
		"/Channel/Application/":                "its element is empty",
		"/Channel/Application/a b":             "letters, digits, dots and hyphens only",
		"/Channel/../X":                        "not allowed",
		"Channel/Application/Admins":           "at column 1",
		"/Channel/" + strings.Repeat("x", 250): "longer than 249",
	} {
		if p, err := ParseApplicationPolicy(text); err == nil || !strings.Contains(err.Error(), part) || !p.IsZero() {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	for name, raw := range map[string][]byte{
		"damaged":         {0xff},
		"unknown field":   {0x7a, 0x00},
		"empty reference": marshal(t, &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{}}),
		"empty signature": marshal(t, &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: &common.SignaturePolicyEnvelope{}}}),
	} {
		if p, err := UnmarshalApplicationPolicy(raw); err == nil {
			t.Errorf("%s was read as %v", name, p)
		}
	}
	zero, err := UnmarshalApplicationPolicy(nil)
	if err != nil || !zero.IsZero() || zero.Proto() != nil {
		t.Errorf("%v, %v", zero, err)
	}
	if raw, err := zero.Marshal(); raw != nil || err != nil {
		t.Errorf("%x, %v", raw, err)
	}
}

func TestConfigPolicy(t *testing.T) {
	for text, want := range map[string]string{
		"MAJORITY Admins":                 "MAJORITY Admins",
		"OR('B.admin', 'A.admin')":        "OR('A.admin', 'B.admin')",
		"ALL  Endorsement":                "ALL Endorsement",
		"OutOf(2, 'A.admin', 'A.member')": "AND('A.admin', 'A.member')",
	} {
		p, err := ParseConfigPolicy(text)
		if err != nil || p.String() != want {
			t.Fatalf("%q: %v, %v", text, p, err)
		}
		stored, err := p.Proto()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DescribeConfigPolicy(stored); err != nil || got != want {
			t.Errorf("%q described as %q, %v", text, got, err)
		}
	}
	for text, part := range map[string]string{
		"majority Admins": "must start with ANY, ALL or MAJORITY",
		"ANY":             "one policy name must follow",
		"Admins":          "at column 1",
		"":                "the policy is empty",
	} {
		if p, err := ParseConfigPolicy(text); err == nil || !strings.Contains(err.Error(), part) || !p.IsZero() {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
	if _, err := (ConfigPolicy{}).Proto(); err == nil {
		t.Error("the zero value has a proto")
	}
	for _, p := range []*common.Policy{nil, {Type: 2}, {Type: 1, Value: []byte{0xff}}, {Type: 3, Value: []byte{0xff}}, {Type: 3}} {
		if text, err := DescribeConfigPolicy(p); err == nil {
			t.Errorf("%v described as %q", p, text)
		}
	}
}

func FuzzFromEnvelope(f *testing.F) {
	for _, text := range []string{"AND('A.peer', OR('B.peer', 'C.member'))", "OutOf(2, 'A.peer', 'A.peer', 'B.admin')"} {
		f.Add(marshal(f, mustParse(f, text).Envelope()))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		envelope := &common.SignaturePolicyEnvelope{}
		if proto.Unmarshal(raw, envelope) != nil {
			return
		}
		_ = Describe(envelope)
		p, err := FromEnvelope(envelope)
		if err != nil {
			return
		}
		back, err := Parse(p.String())
		if err != nil || !back.Equal(p) {
			t.Fatalf("%q reads back as %q, %v", p, back, err)
		}
	})
}
