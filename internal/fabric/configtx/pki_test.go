package configtx

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// authority is a CA of the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

// leaf is a certificate with its key, both in PEM.
type leaf struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func (l leaf) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(l.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func sign(t testing.TB, template *x509.Certificate, parent *authority, validity time.Duration) (*x509.Certificate, *ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(validity)
	template.BasicConstraintsValid = true
	if template.IsCA {
		public, err := key.PublicKey.ECDH()
		if err != nil {
			t.Fatal(err)
		}
		id := sha1.Sum(public.Bytes())
		template.SubjectKeyId = id[:]
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	}
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

const tenYears = 10 * 365 * 24 * time.Hour

func newAuthority(t testing.TB, name string, parent *authority) *authority {
	cert, key, text := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{name}}, IsCA: true}, parent, tenYears)
	return &authority{cert, key, text}
}

func (a *authority) member(t testing.TB, name, ou string) leaf {
	cert, key, text := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name, OrganizationalUnit: []string{ou}}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, a, tenYears)
	return leaf{cert, key, text}
}

func (a *authority) tls(t testing.TB, hosts ...string) leaf { return a.tlsFor(t, tenYears, hosts...) }

func (a *authority) tlsFor(t testing.TB, validity time.Duration, hosts ...string) leaf {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, key, text := sign(t, template, a, validity)
	return leaf{cert, key, text}
}

// crlOf revokes a certificate.
func (a *authority) crlOf(t testing.TB, certificatePEM string) string {
	t.Helper()
	cert, err := certificate.ParseOne([]byte(certificatePEM))
	if err != nil {
		t.Fatal(err)
	}
	return a.crlOfSerials(t, cert.SerialNumber)
}

func (a *authority) crl(t testing.TB, serials ...int64) string {
	t.Helper()
	var all []*big.Int
	for _, serial := range serials {
		all = append(all, big.NewInt(serial))
	}
	return a.crlOfSerials(t, all...)
}

func (a *authority) crlOfSerials(t testing.TB, serials ...*big.Int) string {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(tenYears)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now().Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// organization is an MSP with the CAs behind it.
type organization struct {
	ca, tlsca *authority
	// issuer is the CA of its members: ca, or an intermediate below it.
	issuer *authority
	msp.Definition
}

// identity gives a member that can sign.
func (o organization) identity(t testing.TB, name, ou string) *msp.Identity {
	l := o.issuer.member(t, name, ou)
	return &msp.Identity{ID: o.ID, CertificatePEM: []byte(l.pem), Key: l.key}
}

func newTestOrganization(t testing.TB, id string) organization {
	o := organization{ca: newAuthority(t, "ca."+id, nil), tlsca: newAuthority(t, "tlsca."+id, nil)}
	o.issuer = o.ca
	o.Definition = msp.Definition{ID: id, RootCertificates: []string{o.ca.pem}, TLSRootCertificates: []string{o.tlsca.pem}}
	return o
}

// network is the material of a channel: an orderer organization with three nodes, Org1 with a root, and
// Org2 with an intermediate and a revocation list.
type network struct {
	orderer, org1, org2 organization
	nodes               []leaf
}

var nodeHosts = []string{"orderer0.example.com", "orderer1.example.com", "10.0.0.3"}

func newNetwork(t testing.TB) network {
	n := network{orderer: newTestOrganization(t, "OrdererMSP"), org1: newTestOrganization(t, "Org1MSP"), org2: newTestOrganization(t, "org-2.example.com")}
	intermediate := newAuthority(t, "ica.org2", n.org2.ca)
	n.org2.IntermediateCertificates = []string{intermediate.pem}
	n.org2.issuer = intermediate
	n.org2.RevocationLists = []string{intermediate.crl(t, 42)}
	for _, host := range nodeHosts {
		n.nodes = append(n.nodes, n.orderer.tlsca.tls(t, host))
	}
	return n
}

// channel gives a valid channel that uses most of what there is.
func (n network) channel() Channel {
	c := Channel{
		Name: "trade",
		OrdererOrganizations: []OrdererOrganization{{
			Definition: n.orderer.Definition, Endpoints: []string{"orderer0.example.com:7050", "orderer1.example.com:7050", "10.0.0.3:7050"},
		}},
		ApplicationOrganizations: []ApplicationOrganization{
			{Definition: n.org1.Definition, AnchorPeers: []Address{{"peer0.org1.example.com", 7051}, {"peer1.org1.example.com", 8051}}},
			{Definition: n.org2.Definition},
		},
	}
	for i, node := range n.nodes {
		c.Consenters = append(c.Consenters, Consenter{Host: nodeHosts[i], Port: 7050, ClientTLSCertPEM: node.pem, ServerTLSCertPEM: node.pem})
	}
	return c
}
