package certificate

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Backdate is how long before their issue certificates become valid, so that a node whose clock
// is behind accepts them.
const Backdate = 5 * time.Minute

// KeyPair is a certificate with its private key.
type KeyPair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// ParseKeyPair reads a certificate and its private key from PEM and refuses a key that belongs to
// another certificate.
func ParseKeyPair(certificatePEM, keyPEM []byte) (*KeyPair, error) {
	cert, err := ParseOne(certificatePEM)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !KeyMatches(cert, key) {
		return nil, fmt.Errorf("unable to use the certificate of %s: the private key belongs to another certificate", name(cert))
	}
	return &KeyPair{Certificate: cert, Key: key}, nil
}

// CertificatePEM gives the certificate as one PEM block.
func (p *KeyPair) CertificatePEM() []byte { return EncodeCertificate(p.Certificate) }

// KeyPEM gives the private key as one PEM block of PKCS#8.
func (p *KeyPair) KeyPEM() ([]byte, error) { return EncodeKey(p.Key) }

// TLS gives the pair in the form of crypto/tls. Further certificates of its chain follow the
// pair's own one.
func (p *KeyPair) TLS(chain ...*x509.Certificate) tls.Certificate {
	out := tls.Certificate{Certificate: [][]byte{p.Certificate.Raw}, PrivateKey: p.Key, Leaf: p.Certificate}
	for _, c := range chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out
}

// RootRequest describes a new root.
type RootRequest struct {
	// CommonName is required. Two CAs of one Fabric CA server must differ in it.
	CommonName string
	// Organization is the subject's O, left out when empty.
	Organization string
	// KeyAlgorithm is for the new key; it is ignored when Key is given.
	KeyAlgorithm KeyAlgorithm
	// Key is an existing key to use, or nil.
	Key crypto.Signer
	// Validity counts from Now.
	Validity time.Duration
	// Now is the current time when zero.
	Now time.Time
}

// NewRoot makes a self-signed CA certificate that Fabric CA accepts as ca.certfile and Fabric's
// MSPs as a root: CA without a limit of the path, key usages certificate sign, CRL sign and digital
// signature, a subject key identifier (MSPs refuse a CA without one), and a low-S signature.
func NewRoot(r RootRequest) (*KeyPair, error) {
	if r.CommonName == "" {
		return nil, errors.New("unable to make a root: its common name is empty")
	}
	if r.Validity <= 0 {
		return nil, fmt.Errorf("unable to make the root %s: its validity of %s is not positive", r.CommonName, r.Validity)
	}
	key := r.Key
	if key == nil {
		var err error
		if key, err = GenerateKey(r.KeyAlgorithm); err != nil {
			return nil, fmt.Errorf("unable to make the root %s: %w", r.CommonName, err)
		}
	}
	ski, err := SubjectKeyID(key.Public())
	if err != nil {
		return nil, fmt.Errorf("unable to make the root %s: %w", r.CommonName, err)
	}
	now := instant(r.Now)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(r.Validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          ski,
	}
	if r.Organization != "" {
		template.Subject.Organization = []string{r.Organization}
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("unable to make the root %s: %w", r.CommonName, err)
	}
	return &KeyPair{Certificate: cert, Key: key}, nil
}

// LeafRequest describes a certificate to issue.
type LeafRequest struct {
	// CommonName is required.
	CommonName string
	// Organization and OUs are the subject's O and OU, left out when empty.
	Organization string
	OUs          []string
	// Hosts are DNS names and IP addresses.
	Hosts []string
	// Validity counts from Now. The certificate never outlives its issuer.
	Validity time.Duration
	// Server and Client are the extended key usages; at least one is needed.
	Server, Client bool
	// PublicKey is the key to certify.
	PublicKey crypto.PublicKey
	// Now is the current time when zero.
	Now time.Time
}

// Issue signs a TLS certificate with a CA of ours. It serves the roots that this provider keeps
// itself (admin and operations endpoints) and the listener of a CA server; members of an MSP get
// their certificates from Fabric CA, which must know of them to revoke them.
func Issue(issuer *KeyPair, r LeafRequest) (*x509.Certificate, error) {
	if issuer == nil || issuer.Certificate == nil || issuer.Key == nil {
		return nil, fmt.Errorf("unable to issue a certificate for %s: there is no issuer", r.CommonName)
	}
	fail := func(err error) (*x509.Certificate, error) {
		return nil, fmt.Errorf("unable to issue a certificate for %s from %s: %w", r.CommonName, name(issuer.Certificate), err)
	}
	now := instant(r.Now)
	switch {
	case r.CommonName == "":
		return fail(errors.New("the common name is empty"))
	case r.PublicKey == nil:
		return fail(errors.New("there is no public key"))
	case r.Validity <= 0:
		return fail(fmt.Errorf("the validity of %s is not positive", r.Validity))
	case !r.Server && !r.Client:
		return fail(errors.New("it is neither for a server nor for a client"))
	case !issuer.Certificate.IsCA:
		return fail(errors.New("the issuer is not a CA"))
	case now.After(issuer.Certificate.NotAfter):
		return fail(fmt.Errorf("the issuer expired at %s", stamp(issuer.Certificate.NotAfter)))
	}
	dns, ips, err := splitHosts(r.Hosts)
	if err != nil {
		return fail(err)
	}
	ski, err := SubjectKeyID(r.PublicKey)
	if err != nil {
		return fail(err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: r.CommonName, OrganizationalUnit: r.OUs},
		NotBefore:             later(now.Add(-Backdate), issuer.Certificate.NotBefore),
		NotAfter:              earlier(now.Add(r.Validity), issuer.Certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		SubjectKeyId:          ski,
		DNSNames:              dns,
		IPAddresses:           ips,
	}
	if r.Organization != "" {
		template.Subject.Organization = []string{r.Organization}
	}
	if r.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if r.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	cert, err := sign(template, issuer.Certificate, r.PublicKey, issuer.Key)
	if err != nil {
		return fail(err)
	}
	return cert, nil
}

// SigningRequest gives a PKCS#10 request in PEM ("CERTIFICATE REQUEST") for the key. Hosts are
// DNS names and IP addresses.
func SigningRequest(commonName string, hosts []string, key crypto.Signer) ([]byte, error) {
	dns, ips, err := splitHosts(hosts)
	if err != nil {
		return nil, fmt.Errorf("unable to request a certificate for %s: %w", commonName, err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}, DNSNames: dns, IPAddresses: ips}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("unable to request a certificate for %s: %w", commonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, lowS{key})
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func splitHosts(hosts []string) (dns []string, ips []net.IP, err error) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip)
			continue
		}
		if h == "" || strings.ContainsAny(h, " \t\r\n/:@") {
			return nil, nil, fmt.Errorf("%q is neither a DNS name nor an IP address", h)
		}
		dns = append(dns, h)
	}
	return dns, ips, nil
}

// name says whose certificate it is, for messages.
func name(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	if s := cert.Subject.String(); s != "" {
		return s
	}
	return fmt.Sprintf("serial number %x", cert.SerialNumber)
}

func instant(t time.Time) time.Time {
	if t.IsZero() {
		t = time.Now()
	}
	return t.UTC()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
