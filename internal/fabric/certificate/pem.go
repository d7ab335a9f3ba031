package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const pemCertificate = "CERTIFICATE"

// EncodeCertificate gives the certificate as one PEM block.
func EncodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})
}

// ParseCertificates reads one or more certificates from PEM, in their order. Text around the blocks
// is skipped, as OpenSSL prints it; a block that is something else (above all a private key) or is
// damaged is an error, because half a chain is worse than none.
func ParseCertificates(pemBytes []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := pemBytes
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != pemCertificate {
			return nil, fmt.Errorf("unable to read certificates: PEM block %d is a %s", len(certs)+1, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("unable to read certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	switch {
	case bytes.Contains(rest, []byte("-----BEGIN")):
		return nil, fmt.Errorf("unable to read certificates: PEM block %d is damaged", len(certs)+1)
	case len(certs) == 0:
		return nil, errors.New("unable to read certificates: there is no PEM block of a certificate")
	}
	return certs, nil
}

// ParseOne reads exactly one certificate from PEM.
func ParseOne(pemBytes []byte) (*x509.Certificate, error) {
	certs, err := ParseCertificates(pemBytes)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("unable to read the certificate: there are %d where one is expected", len(certs))
	}
	return certs[0], nil
}
