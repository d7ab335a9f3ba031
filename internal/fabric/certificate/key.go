// Package certificate holds the X.509 that Fabric networks are made of: keys, roots that Fabric's
// MSPs and Fabric CA accept, certificates issued from them, facts read from certificates, and the
// check of a chain with a reason when it fails. It needs no node and no network.
//
// Source: RFC 5280; Fabric documentation, "Membership Service Provider (MSP)" and "Fabric CA
// User's Guide"; Fabric's msp and bccsp packages for what its nodes refuse.
package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// KeyAlgorithm names a kind of key pair, for example "ecdsa-p256".
type KeyAlgorithm string

// The algorithms that every supported Fabric release accepts for MSP, TLS and CA keys.
const (
	ECDSAP256 KeyAlgorithm = "ecdsa-p256"
	ECDSAP384 KeyAlgorithm = "ecdsa-p384"

	// DefaultKeyAlgorithm is what an empty name means.
	DefaultKeyAlgorithm = ECDSAP256
)

// KeyAlgorithms lists the names that ParseKeyAlgorithm accepts, the default first.
func KeyAlgorithms() []KeyAlgorithm { return []KeyAlgorithm{ECDSAP256, ECDSAP384} }

// ParseKeyAlgorithm reads an algorithm's name. The empty name is the default.
func ParseKeyAlgorithm(name string) (KeyAlgorithm, error) {
	if name == "" {
		return DefaultKeyAlgorithm, nil
	}
	var known []string
	for _, a := range KeyAlgorithms() {
		if string(a) == name {
			return a, nil
		}
		known = append(known, string(a))
	}
	return "", fmt.Errorf("unable to use key algorithm %q: it must be one of %s", name, strings.Join(known, ", "))
}

// GenerateKey makes a new private key. The empty algorithm is the default.
func GenerateKey(algorithm KeyAlgorithm) (crypto.Signer, error) {
	algorithm, err := ParseKeyAlgorithm(string(algorithm))
	if err != nil {
		return nil, err
	}
	curve := elliptic.P256()
	if algorithm == ECDSAP384 {
		curve = elliptic.P384()
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("unable to generate a key: %w", err)
	}
	return key, nil
}

// EncodeKey gives the key as one PEM block of PKCS#8, the form that every Fabric program reads.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("unable to encode a private key of type %T: %w", key, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads one private key from PEM: PKCS#8, or SEC 1 ("EC PRIVATE KEY") with or without its
// parameters before it. No error holds a byte of the input.
func ParseKey(pemBytes []byte) (crypto.Signer, error) {
	for rest := pemBytes; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("unable to read the private key: there is no PEM block of a private key")
		}
		switch block.Type {
		case "EC PARAMETERS":
			continue
		case "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, errors.New("unable to read the private key: it is encrypted")
			}
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("unable to read the private key: it is not a SEC 1 elliptic curve key")
			}
			return key, nil
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("unable to read the private key: it is not a PKCS#8 key of a known algorithm")
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("unable to read the private key: a key of type %T does not sign", key)
			}
			return signer, nil
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("unable to read the private key: it is encrypted")
		default:
			return nil, fmt.Errorf("unable to read the private key: the PEM block is a %s", block.Type)
		}
	}
}

// KeyMatches says whether the private key belongs to the certificate.
func KeyMatches(cert *x509.Certificate, key crypto.Signer) bool {
	if cert == nil || key == nil {
		return false
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return err == nil && bytes.Equal(der, cert.RawSubjectPublicKeyInfo)
}

// PublicKeyFingerprint gives the SHA-256 of the certificate's public key (its DER
// SubjectPublicKeyInfo) in lower-case hex. Certificates renewed with the same key share it, and by
// it Raft consenters recognise themselves.
func PublicKeyFingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

// SubjectKeyID gives the identifier that Fabric's key stores use: the SHA-256 of the uncompressed
// point (bccsp/sw, ecdsaPrivateKey.SKI). Other kinds of keys get the SHA-256 of their DER form.
func SubjectKeyID(public crypto.PublicKey) ([]byte, error) {
	var raw []byte
	var err error
	if point, ok := public.(*ecdsa.PublicKey); ok {
		raw, err = point.Bytes()
	} else {
		raw, err = x509.MarshalPKIXPublicKey(public)
	}
	if err != nil {
		return nil, fmt.Errorf("unable to identify a public key of type %T: %w", public, err)
	}
	sum := sha256.Sum256(raw)
	return sum[:], nil
}

// describeKey names the algorithm as KeyAlgorithm does where it is one, with the size in bits.
func describeKey(public crypto.PublicKey) (string, int) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		bits := key.Params().BitSize
		return fmt.Sprintf("ecdsa-p%d", bits), bits
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen()), key.N.BitLen()
	case ed25519.PublicKey:
		return "ed25519", 256
	default:
		return "unknown", 0
	}
}

// lowS is a signer whose ECDSA signatures always have the lower of the two possible values of S:
// Fabric refuses the other one in transactions, and its older SDKs refuse it in certificates too.
type lowS struct{ crypto.Signer }

func (s lowS) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := s.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	public, ok := s.Public().(*ecdsa.PublicKey)
	if !ok {
		return signature, nil
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &rs); err != nil {
		return nil, err
	}
	order := public.Params().N
	if rs.S.Cmp(new(big.Int).Rsh(order, 1)) <= 0 {
		return signature, nil
	}
	rs.S.Sub(order, rs.S)
	return asn1.Marshal(rs)
}
