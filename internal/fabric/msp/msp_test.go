package msp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

func newRoot(t testing.TB, cn string) *certificate.KeyPair {
	t.Helper()
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: cn, Validity: 10 * 365 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// issue signs a certificate as Fabric CA would.
func issue(t testing.TB, issuer *certificate.KeyPair, cn string, change func(*x509.Certificate), ous ...string) *certificate.KeyPair {
	t.Helper()
	key, err := certificate.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: cn, OrganizationalUnit: ous},
		NotBefore: issuer.Certificate.NotBefore, NotAfter: issuer.Certificate.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certificate.KeyPair{Certificate: cert, Key: key}
}

func ca(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.SubjectKeyId = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, []byte(c.Subject.CommonName)
}

func revocationList(t testing.TB, issuer *certificate.KeyPair, revoked ...*certificate.KeyPair) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: r.Certificate.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer.Certificate, issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func texts(pairs ...*certificate.KeyPair) []string {
	var out []string
	for _, p := range pairs {
		out = append(out, string(p.CertificatePEM()))
	}
	return out
}

func identity(pair *certificate.KeyPair) *msp.Identity {
	return &msp.Identity{ID: "Org1MSP", CertificatePEM: pair.CertificatePEM(), Key: pair.Key}
}

func TestIdentitySignsForFabric(t *testing.T) {
	for _, algorithm := range certificate.KeyAlgorithms() {
		root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "x", KeyAlgorithm: algorithm, Validity: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		id := identity(root)
		public := root.Key.Public().(*ecdsa.PublicKey)
		half := new(big.Int).Rsh(public.Params().N, 1)
		message := []byte("proposal")
		digest := sha256.Sum256(message)
		for range 24 {
			signature, err := id.Sign(message)
			if err != nil {
				t.Fatal(err)
			}
			var rs struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(signature, &rs); err != nil || rs.S.Cmp(half) > 0 || !ecdsa.VerifyASN1(public, digest[:], signature) {
				t.Fatalf("%s: signature %x (%v)", algorithm, signature, err)
			}
		}
		raw, err := id.Serialized()
		if err != nil {
			t.Fatal(err)
		}
		var creator mspproto.SerializedIdentity
		if err := proto.Unmarshal(raw, &creator); err != nil || creator.Mspid != "Org1MSP" || !bytes.Equal(creator.IdBytes, root.CertificatePEM()) {
			t.Errorf("creator %v (%v)", &creator, err)
		}
	}
}

func TestValidateID(t *testing.T) {
	for id, good := range map[string]bool{
		"Org1MSP": true, "org-1.example": true, strings.Repeat("x", 249): true,
		"": false, ".": false, "..": false, "Org 1": false, "Org_1": false, "Org'1": false, "Ürg": false, strings.Repeat("x", 250): false,
	} {
		if err := msp.ValidateID(id); (err == nil) != good {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDefinitionValidate(t *testing.T) {
	root, second, tlsRoot := newRoot(t, "root"), newRoot(t, "second"), newRoot(t, "tls")
	middle := issue(t, root, "middle", ca)
	tlsMiddle := issue(t, tlsRoot, "tls middle", ca)
	member := issue(t, root, "member", nil, "peer")
	expired := issue(t, root, "expired", func(c *x509.Certificate) { ca(c); c.NotAfter = time.Now().Add(-time.Minute) })
	early := issue(t, root, "early", func(c *x509.Certificate) { ca(c); c.NotBefore = root.Certificate.NotBefore.Add(-time.Hour) })
	future := issue(t, root, "future", func(c *x509.Certificate) { ca(c); c.NotBefore = time.Now().Add(time.Hour) })
	good := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root), TLSRootCertificates: texts(tlsRoot)}
	for what, c := range map[string]struct {
		change func(*msp.Definition)
		want   string
	}{
		"good":      {func(*msp.Definition) {}, ""},
		"two roots": {func(d *msp.Definition) { d.RootCertificates = texts(root, second) }, ""},
		"with intermediates": {func(d *msp.Definition) {
			d.IntermediateCertificates, d.TLSIntermediateCertificates = texts(middle), texts(tlsMiddle)
		}, ""},
		"revocation lists": {func(d *msp.Definition) {
			d.RevocationLists = []string{revocationList(t, root, member), revocationList(t, root)}
		}, ""},
		"no ID":                {func(d *msp.Definition) { d.ID = "" }, "empty MSP ID"},
		"no root":              {func(d *msp.Definition) { d.RootCertificates = nil }, "no enrolment root"},
		"no TLS root":          {func(d *msp.Definition) { d.TLSRootCertificates = nil }, "no TLS root"},
		"garbage":              {func(d *msp.Definition) { d.TLSRootCertificates = []string{"x"} }, "TLS root 1"},
		"two in one":           {func(d *msp.Definition) { d.RootCertificates = []string{strings.Join(texts(root, second), "")} }, "enrolment root 1"},
		"a member as root":     {func(d *msp.Definition) { d.RootCertificates = texts(member) }, "CA member: it is not a CA"},
		"expired":              {func(d *msp.Definition) { d.IntermediateCertificates = texts(expired) }, "CA expired: it expired at"},
		"future":               {func(d *msp.Definition) { d.IntermediateCertificates = texts(future) }, "CA future: it is not valid before"},
		"older than its root":  {func(d *msp.Definition) { d.IntermediateCertificates = texts(early) }, "root is not valid before"},
		"foreign":              {func(d *msp.Definition) { d.IntermediateCertificates = texts(tlsMiddle) }, "tls middle was issued by CN=tls"},
		"foreign TLS":          {func(d *msp.Definition) { d.TLSIntermediateCertificates = texts(middle) }, "TLS CA middle"},
		"intermediate as root": {func(d *msp.Definition) { d.RootCertificates = texts(middle) }, "middle: it is given as a root and is not self-signed"},
		"foreign list":         {func(d *msp.Definition) { d.RevocationLists = []string{revocationList(t, second)} }, "revocation list 1: it was issued by CN=second"},
		"no list":              {func(d *msp.Definition) { d.RevocationLists = texts(root) }, "revocation list 1"},
	} {
		d := good
		c.change(&d)
		err := d.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	if err := good.ValidateAt(root.Certificate.NotAfter.Add(time.Second)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its end: %v", err)
	}
}

func TestDefinitionIsStableJSON(t *testing.T) {
	root := newRoot(t, "root")
	d := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root), TLSRootCertificates: texts(root)}
	raw, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var again msp.Definition
	if err := json.Unmarshal(raw, &again); err != nil || !reflect.DeepEqual(d, again) || !strings.HasPrefix(string(raw), `{"msp_id":"Org1MSP","root_certificates":[`) ||
		strings.Contains(string(raw), "intermediate") {
		t.Errorf("%s (%v)", raw, err)
	}
}

func TestClassifyingCertificate(t *testing.T) {
	root, second := newRoot(t, "root"), newRoot(t, "second")
	middle, sibling := issue(t, root, "middle", ca), issue(t, root, "sibling", ca)
	deep := issue(t, middle, "deep", ca)
	for what, c := range map[string]struct {
		roots, intermediates []string
		want                 *certificate.KeyPair
	}{
		"one root":                {texts(root), nil, root},
		"one intermediate":        {texts(root), texts(middle), middle},
		"a line of intermediates": {texts(root), texts(deep, middle), deep},
		"two roots":               {texts(root, second), nil, nil},
		"two intermediates":       {texts(root), texts(middle, sibling), nil},
		"a root and another's":    {texts(root, second), texts(middle), nil},
	} {
		got, err := msp.Definition{ID: "x", RootCertificates: c.roots, IntermediateCertificates: c.intermediates}.ClassifyingCertificate()
		want := ""
		if c.want != nil {
			want = string(c.want.CertificatePEM())
		}
		if err != nil || got != want {
			t.Errorf("%s: %q (%v)", what, got, err)
		}
	}
}

func TestVerifyMember(t *testing.T) {
	root, second := newRoot(t, "root"), newRoot(t, "second")
	middle := issue(t, root, "middle", ca)
	flat := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root)}
	deep := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root), IntermediateCertificates: texts(middle)}
	member := issue(t, root, "m", nil, "peer")
	revoking := flat
	revoking.RevocationLists = []string{revocationList(t, root, member)}
	expired := issue(t, root, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "admin")
	for what, c := range map[string]struct {
		d    msp.Definition
		cert *certificate.KeyPair
		want string
	}{
		"of the root":              {flat, issue(t, root, "m", nil, "org1", "peer"), ""},
		"of the intermediate":      {deep, issue(t, middle, "m", nil, "orderer"), ""},
		"expired":                  {flat, expired, ""},
		"of another":               {flat, issue(t, second, "m", nil, "peer"), "issued by CN=second"},
		"of the root above":        {deep, issue(t, root, "m", nil, "peer"), "members of the intermediate only"},
		"revoked":                  {revoking, member, "revokes it"},
		"another is revoked":       {revoking, issue(t, root, "m", nil, "peer"), ""},
		"no role":                  {flat, issue(t, root, "m", nil, "sales"), "holds 0"},
		"two roles":                {flat, issue(t, root, "m", nil, "peer", "admin"), "holds 2"},
		"a CA":                     {flat, middle, "certificate of a CA"},
		"older than its issuer is": {flat, issue(t, root, "m", func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-time.Hour) }, "peer"), "root is not valid before"},
	} {
		err := c.d.VerifyMember(c.cert.CertificatePEM())
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestFolder(t *testing.T) {
	root, tlsRoot := newRoot(t, "root"), newRoot(t, "tls")
	middle, tlsMiddle := issue(t, root, "middle", ca), issue(t, tlsRoot, "tls middle", ca)
	member := issue(t, middle, "peer0", nil, "peer")
	d := msp.Definition{
		ID: "Org1MSP", RootCertificates: texts(root), IntermediateCertificates: texts(middle),
		TLSRootCertificates: texts(tlsRoot), TLSIntermediateCertificates: texts(tlsMiddle),
		RevocationLists: []string{revocationList(t, middle, member)},
	}
	files, err := msp.Folder(d, identity(member))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{"cacerts/ca-0.pem", "config.yaml", "crls/ca-0.pem", "intermediatecerts/ca-0.pem", "keystore/key.pem", "signcerts/cert.pem", "tlscacerts/ca-0.pem", "tlsintermediatecerts/ca-0.pem"}
	if !slices.Equal(names, want) {
		t.Errorf("files %v", names)
	}
	if !bytes.Equal(files["signcerts/cert.pem"], member.CertificatePEM()) || string(files["intermediatecerts/ca-0.pem"]) != d.IntermediateCertificates[0] {
		t.Error("the certificates are others")
	}
	if block, _ := pem.Decode(files["keystore/key.pem"]); block == nil || block.Type != "PRIVATE KEY" {
		t.Error("the key is not PKCS#8")
	}
	var config struct {
		NodeOUs msp.NodeOUs `yaml:"NodeOUs"`
	}
	if err := yaml.Unmarshal(files["config.yaml"], &config); err != nil {
		t.Fatal(err)
	}
	for name, ou := range map[string]*msp.OUIdentifier{"client": config.NodeOUs.Client, "peer": config.NodeOUs.Peer, "admin": config.NodeOUs.Admin, "orderer": config.NodeOUs.Orderer} {
		if ou == nil || ou.Name != name || ou.Certificate != "intermediatecerts/ca-0.pem" {
			t.Errorf("%s: %+v", name, ou)
		}
	}
	if !config.NodeOUs.Enable {
		t.Error("NodeOUs are not enabled")
	}

	back, id, err := msp.ParseFolder("Org1MSP", files)
	if err != nil || !reflect.DeepEqual(back, d) || id.ID != "Org1MSP" || !bytes.Equal(id.CertificatePEM, member.CertificatePEM()) || !certificate.KeyMatches(member.Certificate, id.Key) {
		t.Errorf("read back %+v, %v (%v)", back, id, err)
	}

	two := d
	two.RootCertificates, two.IntermediateCertificates = texts(root, newRoot(t, "second")), nil
	two.RevocationLists = nil
	files, err = msp.Folder(two, nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(files["config.yaml"]), "Certificate:") || files["signcerts/cert.pem"] != nil || files["keystore/key.pem"] != nil {
		t.Errorf("config %s", files["config.yaml"])
	}
	if back, id, err := msp.ParseFolder("Org1MSP", files); err != nil || id != nil || !reflect.DeepEqual(back, two) {
		t.Errorf("read back %+v, %v (%v)", back, id, err)
	}
}

func TestFolderKeepsTheOrderOfManyRoots(t *testing.T) {
	d := msp.Definition{ID: "x", TLSRootCertificates: texts(newRoot(t, "tls"))}
	for i := range 12 {
		d.RootCertificates = append(d.RootCertificates, texts(newRoot(t, fmt.Sprint("root", i)))...)
	}
	files, err := msp.Folder(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, _, err := msp.ParseFolder("x", files); err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("the order changed (%v)", err)
	}
}

func TestFolderRefuses(t *testing.T) {
	root := newRoot(t, "root")
	member, other := issue(t, root, "peer0", nil, "peer"), issue(t, root, "peer1", nil, "peer")
	good := msp.Definition{ID: "x", RootCertificates: texts(root), TLSRootCertificates: texts(root)}
	bad := good
	bad.TLSRootCertificates = []string{"x"}
	lists := good
	lists.RevocationLists = []string{"x"}
	for what, c := range map[string]struct {
		d  msp.Definition
		id *msp.Identity
	}{
		"no root":       {msp.Definition{ID: "x"}, nil},
		"garbage":       {bad, nil},
		"no list":       {lists, nil},
		"another's key": {good, &msp.Identity{CertificatePEM: member.CertificatePEM(), Key: other.Key}},
		"no key":        {good, &msp.Identity{CertificatePEM: member.CertificatePEM()}},
		"no cert":       {good, &msp.Identity{Key: member.Key}},
	} {
		if _, err := msp.Folder(c.d, c.id); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestIdentityFromFolder(t *testing.T) {
	root := newRoot(t, "root")
	member, other := issue(t, root, "peer0", nil, "peer"), issue(t, root, "peer1", nil, "peer")
	key := func(p *certificate.KeyPair) []byte {
		text, err := p.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := certificate.EncodeKey(p521)
	if err != nil {
		t.Fatal(err)
	}
	// As cryptogen and the Fabric CA client leave it: names of their own, keys of former renewals.
	files := map[string][]byte{
		"signcerts/peer0-cert.pem": member.CertificatePEM(),
		"keystore/aa_sk":           key(other), "keystore/bb_sk": key(member), "keystore/cc_sk": odd, "keystore/notes": []byte("x"),
	}
	id, err := msp.IdentityFromFolder("Org1MSP", files)
	if err != nil || !certificate.KeyMatches(member.Certificate, id.Key) {
		t.Errorf("%v (%v)", id, err)
	}
	delete(files, "keystore/bb_sk")
	if _, err := msp.IdentityFromFolder("Org1MSP", files); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("without its key: %v", err)
	}
	files["signcerts/second.pem"] = other.CertificatePEM()
	if _, err := msp.IdentityFromFolder("Org1MSP", files); err == nil || !strings.Contains(err.Error(), "2 certificates") {
		t.Errorf("with two certificates: %v", err)
	}
	if _, err := msp.IdentityFromFolder("Org1MSP", nil); !errors.Is(err, msp.ErrNoIdentity) {
		t.Errorf("empty: %v", err)
	}
}

func TestFabricMSPConfig(t *testing.T) {
	root, tlsRoot := newRoot(t, "root"), newRoot(t, "tls")
	d := msp.Definition{ID: "Org1MSP", RootCertificates: texts(root), TLSRootCertificates: texts(tlsRoot), RevocationLists: []string{revocationList(t, root)}}
	config, err := d.FabricMSPConfig()
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "Org1MSP" || string(config.RootCerts[0]) != d.RootCertificates[0] || string(config.TlsRootCerts[0]) != d.TLSRootCertificates[0] ||
		string(config.RevocationList[0]) != d.RevocationLists[0] || len(config.Admins) != 0 || !config.FabricNodeOus.Enable ||
		string(config.FabricNodeOus.AdminOuIdentifier.Certificate) != d.RootCertificates[0] || config.FabricNodeOus.OrdererOuIdentifier.OrganizationalUnitIdentifier != "orderer" ||
		config.CryptoConfig.SignatureHashFamily != "SHA2" || config.SigningIdentity != nil {
		t.Errorf("%v", config)
	}
	d.RootCertificates = append(d.RootCertificates, texts(newRoot(t, "second"))...)
	if config, err = d.FabricMSPConfig(); err != nil || config.FabricNodeOus.PeerOuIdentifier.Certificate != nil {
		t.Errorf("with two roots: %v (%v)", config, err)
	}
}

func FuzzParseFolder(f *testing.F) {
	root := newRoot(f, "root")
	member := issue(f, root, "peer0", nil, "peer")
	key, err := member.KeyPEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("cacerts/a", root.CertificatePEM(), "signcerts/b", member.CertificatePEM(), key)
	f.Add("crls/a", []byte(revocationList(f, root)), "tlscacerts/b", root.CertificatePEM(), []byte{})
	f.Fuzz(func(t *testing.T, nameA string, a []byte, nameB string, b []byte, key []byte) {
		files := map[string][]byte{"keystore/k": key, nameA: a, nameB: b}
		d, id, err := msp.ParseFolder("Org1MSP", files)
		if err != nil {
			return
		}
		_ = d.Validate()
		again, err := msp.Folder(d, id)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		same, _, err := msp.ParseFolder("Org1MSP", again)
		if err != nil || !reflect.DeepEqual(d, same) {
			t.Fatalf("it does not survive its folder: %v", err)
		}
	})
}
