// Package signature verifies what cosign signs with a key: files (cosign sign-blob) and container images
// (cosign sign). It asks nobody: neither a registry nor a transparency log.
//
// A signature is given as text: the raw one, in base64, or a bundle. Of a bundle only the signature
// counts: what it holds of a transparency log, of timestamps and of certificates is not looked at.
//
// Sources: cosign, specs/SIGNATURE_SPEC.md; sigstore/protobuf-specs, sigstore_bundle.proto; DSSE,
// protocol.md; in-toto, Statement v1.
package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotByKey says that none of the keys made the signature over these bytes: another key made it, or it
// is that of something else, or something was changed since.
var ErrNotByKey = errors.New("none of the public keys made this signature over this content: another key did, or it is the signature of something else, or one of the two was changed")

// OtherContentError tells that a signature says itself that it is one of something else.
type OtherContentError struct {
	// Signed are the digests that it is made for, Have those of what it was given with.
	Signed, Have []string
}

func (e *OtherContentError) Error() string {
	return fmt.Sprintf("it is the signature of %s, and this is %s", strings.Join(e.Signed, ", "), strings.Join(e.Have, " or "))
}

// Keys are public keys, of which each may sign.
type Keys []crypto.PublicKey

// minRSABits is the least that is taken for a key nobody has found out.
const minRSABits = 2048

// ParseKey reads a public key as cosign writes it (cosign.pub): one PEM block with an ECDSA, Ed25519 or
// RSA key.
func ParseKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("unable to read the public key: it is not PEM")
	}
	if block.Type != "PUBLIC KEY" { // above all no private one
		return nil, fmt.Errorf("unable to read the public key: it is a PEM block %s, and not a PUBLIC KEY", block.Type)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("unable to read the public key: something follows its PEM block; give each key on its own")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("unable to read the public key: %w", err)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("unable to use the public key: it is an RSA key of %d bits, and %d are the least", bits, minRSABits)
		}
		return key, nil
	default:
		return nil, fmt.Errorf("unable to use the public key: it is %T, and not an ECDSA, Ed25519 or RSA key", key)
	}
}

// Signature is one that was read and not verified yet. Either it is made over the content itself, or over
// a statement that names the content by its digest.
type Signature struct {
	// raw are signatures of which one must be made over the content, or over the signed bytes of the statement.
	raw [][]byte
	// digest is the SHA-256 of the content as a bundle gives it, nil when it does not.
	digest []byte
	// statement are the bytes that were signed in place of the content, nil when there are none; subjects
	// are the digests (sha256:…) that it names.
	statement []byte
	subjects  []string
}

// bundle has the members of both kinds of bundle: that of cosign's own (cosign sign-blob --bundle up to
// cosign 2) and Sigstore's.
type bundle struct {
	Base64Signature string `json:"base64Signature"`

	MediaType        string `json:"mediaType"`
	MessageSignature *struct {
		MessageDigest struct {
			Algorithm string `json:"algorithm"`
			Digest    []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
	DSSEEnvelope *envelope `json:"dsseEnvelope"`
}

// envelope is one of DSSE.
type envelope struct {
	Payload     []byte `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		Sig []byte `json:"sig"`
	} `json:"signatures"`
}

// bundleType is what the media types of Sigstore's bundles begin with, before the version.
const bundleType = "application/vnd.dev.sigstore.bundle"

// Parse reads a signature: raw in base64, or a bundle in JSON.
func Parse(text string) (Signature, error) {
	s, err := parse(strings.TrimSpace(text))
	if err != nil {
		return Signature{}, fmt.Errorf("unable to read the signature: %w", err)
	}
	return s, nil
}

func parse(text string) (Signature, error) {
	if !strings.HasPrefix(text, "{") {
		return parseRaw(text)
	}
	b := bundle{}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return Signature{}, fmt.Errorf("it is not a bundle: %w", err)
	}
	given := 0
	for _, has := range []bool{b.Base64Signature != "", b.MessageSignature != nil, b.DSSEEnvelope != nil} {
		if has {
			given++
		}
	}
	switch {
	case given != 1:
		return Signature{}, fmt.Errorf("the bundle holds %d of base64Signature, messageSignature and dsseEnvelope, and needs exactly one", given)
	case b.Base64Signature != "":
		return parseRaw(b.Base64Signature)
	case !strings.HasPrefix(b.MediaType, bundleType):
		return Signature{}, fmt.Errorf("the bundle has the media type %q, and not one of Sigstore's (%s…)", b.MediaType, bundleType)
	case b.DSSEEnvelope != nil:
		return b.DSSEEnvelope.signature()
	}
	m := b.MessageSignature
	if len(m.Signature) == 0 {
		return Signature{}, errors.New("the bundle has no signature")
	}
	s := Signature{raw: [][]byte{m.Signature}}
	if m.MessageDigest.Algorithm == "SHA2_256" {
		s.digest = m.MessageDigest.Digest
	}
	return s, nil
}

func parseRaw(text string) (Signature, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Signature{}, fmt.Errorf("it is neither base64 nor a bundle: %w", err)
	}
	if len(raw) == 0 {
		return Signature{}, errors.New("it is empty")
	}
	return Signature{raw: [][]byte{raw}}, nil
}

// What cosign states of something that it signs, as opposed to what else may be attested of it with the
// same key: that it was scanned, or how it was built.
const (
	statementType = "application/vnd.in-toto+json"
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// signature reads a DSSE envelope that holds an in-toto statement.
func (e *envelope) signature() (Signature, error) {
	if e.PayloadType != statementType {
		return Signature{}, fmt.Errorf("its envelope holds %q, and not an in-toto statement (%s)", e.PayloadType, statementType)
	}
	statement := struct {
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}{}
	if err := json.Unmarshal(e.Payload, &statement); err != nil {
		return Signature{}, fmt.Errorf("its statement is damaged: %w", err)
	}
	if statement.PredicateType != signPredicate {
		return Signature{}, fmt.Errorf("it attests %q, which is no signature (%s)", statement.PredicateType, signPredicate)
	}
	// Source: DSSE, protocol.md, "Signature definition": PAE.
	s := Signature{statement: fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)}
	for _, subject := range statement.Subject {
		if digest := subject.Digest["sha256"]; digest != "" {
			s.subjects = append(s.subjects, "sha256:"+digest)
		}
	}
	for _, signature := range e.Signatures {
		s.raw = append(s.raw, signature.Sig)
	}
	if len(s.subjects) == 0 || len(s.raw) == 0 {
		return Signature{}, errors.New("its statement names nothing by a SHA-256, or nobody signed it")
	}
	return s, nil
}

// VerifyFile says why the signature is not one of the file by one of the keys, or nil.
func (s Signature) VerifyFile(keys Keys, content []byte) error {
	if s.statement == nil {
		return s.verifyContent(keys, content)
	}
	if !keys.signed(s.statement, s.raw) {
		return ErrNotByKey
	}
	sum := sha256.Sum256(content)
	return requireOne(s.subjects, []string{"sha256:" + hex.EncodeToString(sum[:])})
}

// Payload tells whether an image's signature is one over a payload, which must then be given with it.
func (s Signature) Payload() bool { return s.statement == nil }

// VerifyImage says why the signature is not one of the image with one of the digests (sha256:…) by one of
// the keys, or nil. The payload is as for Images.
func (s Signature) VerifyImage(keys Keys, payload string, digests []string) error {
	signed, err := s.Images(keys, payload)
	if err != nil {
		return err
	}
	return requireOne(signed, digests)
}

// Images gives the digests (sha256:…) of the images that one of the keys signed. The payload is what cosign
// signed for the image (simple signing, as cosign sign --output-payload writes it); a signature over a
// statement has none.
func (s Signature) Images(keys Keys, payload string) ([]string, error) {
	if !s.Payload() {
		if !keys.signed(s.statement, s.raw) {
			return nil, ErrNotByKey
		}
		return s.subjects, nil
	}
	digest, err := ParsePayload(payload)
	if err != nil {
		return nil, err
	}
	return []string{digest}, s.verifyContent(keys, []byte(payload))
}

// payloadType is what a payload says of itself (cosign, SIGNATURE_SPEC.md, "Payloads").
const payloadType = "cosign container image signature"

// ParsePayload reads the digest (sha256:…) of the image for which a payload of simple signing was made.
func ParsePayload(payload string) (digest string, err error) {
	p := struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}{}
	if err := json.Unmarshal([]byte(payload), &p); err != nil {
		return "", fmt.Errorf("unable to read the payload of the image's signature: %w", err)
	}
	if p.Critical.Type != payloadType {
		return "", fmt.Errorf("unable to use the payload of the image's signature: its type is %q, and not %q", p.Critical.Type, payloadType)
	}
	if !strings.HasPrefix(p.Critical.Image.Digest, "sha256:") {
		return "", fmt.Errorf("unable to use the payload of the image's signature: its digest %q is no sha256:…", p.Critical.Image.Digest)
	}
	return p.Critical.Image.Digest, nil
}

func requireOne(signed, have []string) error {
	if !slices.ContainsFunc(signed, func(digest string) bool { return slices.Contains(have, digest) }) {
		return &OtherContentError{Signed: signed, Have: have}
	}
	return nil
}

func (s Signature) verifyContent(keys Keys, content []byte) error {
	if sum := sha256.Sum256(content); s.digest != nil && !bytes.Equal(s.digest, sum[:]) {
		return &OtherContentError{Signed: []string{"sha256:" + hex.EncodeToString(s.digest)}, Have: []string{"sha256:" + hex.EncodeToString(sum[:])}}
	}
	if !keys.signed(content, s.raw) {
		return ErrNotByKey
	}
	return nil
}

// signed tells whether one of the keys made one of the signatures over the message.
func (k Keys) signed(message []byte, signatures [][]byte) bool {
	return slices.ContainsFunc(k, func(key crypto.PublicKey) bool {
		return slices.ContainsFunc(signatures, func(signature []byte) bool { return made(key, message, signature) })
	})
}

// made tells whether the key made the signature. cosign hashes with SHA-256 whatever the curve; from its
// version 3 on with the hash of the curve, and for Ed25519 in bundles beforehand.
func made(key crypto.PublicKey, message, signature []byte) bool {
	sum256, sum384, sum512 := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		hashes := [][]byte{sum256[:]}
		switch size := k.Curve.Params().BitSize; {
		case size > 384:
			hashes = append(hashes, sum512[:])
		case size > 256:
			hashes = append(hashes, sum384[:])
		}
		return slices.ContainsFunc(hashes, func(hash []byte) bool { return ecdsa.VerifyASN1(k, hash, signature) })
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum256[:], signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature) ||
			ed25519.VerifyWithOptions(k, sum512[:], signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
	default:
		return false
	}
}
