package certificate

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// attributesOID is the extension in which Fabric CA keeps an identity's attributes as JSON,
// {"attrs": {"name": "value"}} (fabric-ca, lib/attrmgr).
var attributesOID = asn1.ObjectIdentifier{1, 2, 3, 4, 5, 6, 7, 8, 1}

// Facts are what a person or a configuration wants to know of a certificate. Lists are in the
// certificate's order and never nil.
type Facts struct {
	// Subject and Issuer are distinguished names as RFC 2253 writes them.
	Subject, Issuer     string
	CommonName          string
	Organizations       []string
	OrganizationalUnits []string
	// SerialNumber is lower-case hex without leading zeros, as Fabric CA writes it.
	SerialNumber string
	// NotBefore and NotAfter are RFC 3339 in UTC.
	NotBefore, NotAfter string
	DNSNames            []string
	IPAddresses         []string
	// KeyAlgorithm is for example "ecdsa-p256", "rsa-2048" or "ed25519"; KeySize is in bits.
	KeyAlgorithm       string
	KeySize            int
	SignatureAlgorithm string
	// KeyUsages and ExtendedKeyUsages are names as RFC 5280 writes them, for example
	// "digitalSignature" and "serverAuth"; an extended usage without a name is its OID.
	KeyUsages         []string
	ExtendedKeyUsages []string
	IsCA              bool
	// SubjectKeyID and AuthorityKeyID are lower-case hex, empty when absent.
	SubjectKeyID, AuthorityKeyID string
	// Fingerprint is the SHA-256 of the certificate, PublicKeyFingerprint that of its public key,
	// both lower-case hex.
	Fingerprint, PublicKeyFingerprint string
	// Attributes are those that Fabric CA wrote into the certificate; empty when there are none.
	Attributes map[string]string
}

// ReadFacts reads the facts of exactly one certificate in PEM.
func ReadFacts(pemBytes []byte) (Facts, error) {
	cert, err := ParseOne(pemBytes)
	if err != nil {
		return Facts{}, err
	}
	return FactsOf(cert)
}

// FactsOf reads the facts of a certificate. It fails only when the extension of Fabric CA's
// attributes is there and does not hold attributes.
func FactsOf(cert *x509.Certificate) (Facts, error) {
	attributes, err := readAttributes(cert)
	if err != nil {
		return Facts{}, fmt.Errorf("unable to read the certificate of %s: %w", name(cert), err)
	}
	sum := sha256.Sum256(cert.Raw)
	f := Facts{
		Subject:              cert.Subject.String(),
		Issuer:               cert.Issuer.String(),
		CommonName:           cert.Subject.CommonName,
		Organizations:        append([]string{}, cert.Subject.Organization...),
		OrganizationalUnits:  append([]string{}, cert.Subject.OrganizationalUnit...),
		SerialNumber:         cert.SerialNumber.Text(16),
		NotBefore:            stamp(cert.NotBefore),
		NotAfter:             stamp(cert.NotAfter),
		DNSNames:             append([]string{}, cert.DNSNames...),
		IPAddresses:          []string{},
		SignatureAlgorithm:   cert.SignatureAlgorithm.String(),
		KeyUsages:            keyUsageNames(cert.KeyUsage),
		ExtendedKeyUsages:    extendedKeyUsageNames(cert),
		IsCA:                 cert.BasicConstraintsValid && cert.IsCA,
		SubjectKeyID:         hex.EncodeToString(cert.SubjectKeyId),
		AuthorityKeyID:       hex.EncodeToString(cert.AuthorityKeyId),
		Fingerprint:          hex.EncodeToString(sum[:]),
		PublicKeyFingerprint: PublicKeyFingerprint(cert),
		Attributes:           attributes,
	}
	for _, ip := range cert.IPAddresses {
		f.IPAddresses = append(f.IPAddresses, ip.String())
	}
	f.KeyAlgorithm, f.KeySize = describeKey(cert.PublicKey)
	return f, nil
}

func readAttributes(cert *x509.Certificate) (map[string]string, error) {
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(attributesOID) {
			continue
		}
		var held struct {
			Attrs map[string]string `json:"attrs"`
		}
		if err := json.Unmarshal(ext.Value, &held); err != nil {
			return nil, fmt.Errorf("extension %s does not hold Fabric CA attributes: %w", attributesOID, err)
		}
		if held.Attrs != nil {
			return held.Attrs, nil
		}
	}
	return map[string]string{}, nil
}

var keyUsages = []struct {
	bit  x509.KeyUsage
	name string
}{
	{x509.KeyUsageDigitalSignature, "digitalSignature"},
	{x509.KeyUsageContentCommitment, "contentCommitment"},
	{x509.KeyUsageKeyEncipherment, "keyEncipherment"},
	{x509.KeyUsageDataEncipherment, "dataEncipherment"},
	{x509.KeyUsageKeyAgreement, "keyAgreement"},
	{x509.KeyUsageCertSign, "keyCertSign"},
	{x509.KeyUsageCRLSign, "cRLSign"},
	{x509.KeyUsageEncipherOnly, "encipherOnly"},
	{x509.KeyUsageDecipherOnly, "decipherOnly"},
}

func keyUsageNames(usage x509.KeyUsage) []string {
	names := []string{}
	for _, u := range keyUsages {
		if usage&u.bit != 0 {
			names = append(names, u.name)
		}
	}
	return names
}

var extendedKeyUsages = map[x509.ExtKeyUsage]string{
	x509.ExtKeyUsageAny:             "any",
	x509.ExtKeyUsageServerAuth:      "serverAuth",
	x509.ExtKeyUsageClientAuth:      "clientAuth",
	x509.ExtKeyUsageCodeSigning:     "codeSigning",
	x509.ExtKeyUsageEmailProtection: "emailProtection",
	x509.ExtKeyUsageIPSECEndSystem:  "ipsecEndSystem",
	x509.ExtKeyUsageIPSECTunnel:     "ipsecTunnel",
	x509.ExtKeyUsageIPSECUser:       "ipsecUser",
	x509.ExtKeyUsageTimeStamping:    "timeStamping",
	x509.ExtKeyUsageOCSPSigning:     "ocspSigning",
}

func extendedKeyUsageNames(cert *x509.Certificate) []string {
	names := []string{}
	for _, u := range cert.ExtKeyUsage {
		n, ok := extendedKeyUsages[u]
		if !ok {
			n = fmt.Sprintf("extended usage %d", int(u))
		}
		names = append(names, n)
	}
	for _, oid := range cert.UnknownExtKeyUsage {
		names = append(names, oid.String())
	}
	return names
}
