package signature

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixture reads a file that cosign wrote; see testdata/README.md.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func key(t testing.TB, name string) Keys {
	t.Helper()
	k, err := ParseKey(string(fixture(t, name+".pub")))
	if err != nil {
		t.Fatal(err)
	}
	return Keys{k}
}

func parsed(t testing.TB, text []byte) Signature {
	t.Helper()
	s, err := Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flipped gives copies of the content with each one bit changed, one in every byte.
func flipped(content []byte) [][]byte {
	out := make([][]byte, len(content))
	for i := range content {
		out[i] = bytes.Clone(content)
		out[i][i] ^= 1 << (i % 8)
	}
	return out
}

// TestCosignFiles verifies what cosign signed, with each kind of key and in each form that it has.
func TestCosignFiles(t *testing.T) {
	blob := fixture(t, "blob")
	files, err := filepath.Glob("testdata/*.file.*")
	if err != nil || len(files) != 12 {
		t.Fatalf("there are %d signatures, %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		by, _, _ := strings.Cut(name, ".")
		t.Run(name, func(t *testing.T) {
			s := parsed(t, fixture(t, name))
			for _, other := range []string{"p256", "p384", "rsa", "ed25519", "other"} {
				err := s.VerifyFile(key(t, other), blob)
				if other == by && err != nil || other != by && !errors.Is(err, ErrNotByKey) {
					t.Errorf("with the key %s: %v", other, err)
				}
			}
			if err := s.VerifyFile(append(key(t, "other"), key(t, by)...), blob); err != nil {
				t.Errorf("with two keys: %v", err)
			}
			if err := s.VerifyFile(nil, blob); !errors.Is(err, ErrNotByKey) {
				t.Errorf("without a key: %v", err)
			}
			for i, changed := range append(flipped(blob), nil, append(bytes.Clone(blob), 0)) {
				if s.VerifyFile(key(t, by), changed) == nil {
					t.Fatalf("content changed at %d is accepted", i)
				}
			}
			for _, raw := range flipped(s.raw[0]) {
				if (Signature{raw: [][]byte{raw}}).VerifyFile(key(t, by), blob) == nil {
					t.Fatal("a changed signature is accepted")
				}
			}
		})
	}
}

// TestCosignImages verifies what cosign signed for an image.
func TestCosignImages(t *testing.T) {
	digest := strings.TrimSpace(string(fixture(t, "image.digest")))
	other := "sha256:" + strings.Repeat("0", 64)
	payload := string(fixture(t, "p256.image.payload.json"))
	for name, payload := range map[string]string{
		"p256.image.sig": payload, "p256.image.sigstore-bundle.json": "",
	} {
		t.Run(name, func(t *testing.T) {
			s := parsed(t, fixture(t, name))
			if s.Payload() != (payload != "") {
				t.Fatalf("whether it wants a payload: %t", s.Payload())
			}
			if err := s.VerifyImage(key(t, "p256"), payload, []string{other, digest}); err != nil {
				t.Error(err)
			}
			if err := s.VerifyImage(key(t, "other"), payload, []string{digest}); !errors.Is(err, ErrNotByKey) {
				t.Errorf("with another key: %v", err)
			}
			for _, digests := range [][]string{nil, {other}} {
				if err := s.VerifyImage(key(t, "p256"), payload, digests); !errors.As(err, new(*OtherContentError)) {
					t.Errorf("of the image %s: %v", digests, err)
				}
			}
			for _, changed := range flipped([]byte(payload)) {
				if s.VerifyImage(key(t, "p256"), string(changed), []string{digest}) == nil {
					t.Fatalf("the payload %s is accepted", changed)
				}
			}
		})
	}
	t.Run("the signature of an image is none of a file", func(t *testing.T) {
		s := parsed(t, fixture(t, "p256.image.sigstore-bundle.json"))
		if err := s.VerifyFile(key(t, "p256"), fixture(t, "blob")); !errors.As(err, new(*OtherContentError)) {
			t.Error(err)
		}
	})
}

// resigned gives a bundle around a statement that a new key signed, with that key.
func resigned(t testing.TB, payloadType, payload string) (string, Keys) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload))
	sig, err := ecdsa.SignASN1(rand.Reader, private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString
	text, err := json.Marshal(map[string]any{"mediaType": bundleType + ".v0.3+json", "dsseEnvelope": map[string]any{
		"payload": encoded([]byte(payload)), "payloadType": payloadType, "signatures": []any{map[string]any{"sig": encoded(sig)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text), Keys{&private.PublicKey}
}

// TestStatements: only what cosign states of something that it signs is a signature, whoever signed it.
func TestStatements(t *testing.T) {
	digest := strings.Repeat("a", 64)
	statement := func(predicate, subject string) string {
		return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":%q,"predicate":{}}`, subject, predicate)
	}
	named := fmt.Sprintf(`{"digest":{"sha256":%q}}`, digest)
	text, keys := resigned(t, statementType, statement(signPredicate, `{"digest":{"sha512":"b"}},`+named))
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyImage(keys, "", []string{"sha256:" + digest}); err != nil {
		t.Error(err)
	}
	for name, refused := range map[string][2]string{
		"another predicate": {statementType, statement("https://cosign.sigstore.dev/attestation/vuln/v1", named)},
		"another type":      {"application/json", statement(signPredicate, named)},
		"no subject":        {statementType, statement(signPredicate, "")},
		"no SHA-256":        {statementType, statement(signPredicate, `{"digest":{"sha512":"b"}}`)},
		"no statement":      {statementType, "["},
	} {
		text, _ := resigned(t, refused[0], refused[1])
		if s, err := Parse(text); err == nil {
			t.Errorf("%s: it was read as %+v", name, s)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":              "",
		"no base64":            "not base64!",
		"a PEM block":          "-----BEGIN PUBLIC KEY-----",
		"an empty bundle":      "{}",
		"half a bundle":        `{"base64Signature":"AA`,
		"two in one":           `{"mediaType":"` + bundleType + `.v0.3+json","base64Signature":"AAAA","messageSignature":{"signature":"AAAA"}}`,
		"no signature":         `{"mediaType":"` + bundleType + `.v0.3+json","messageSignature":{}}`,
		"another media type":   `{"mediaType":"application/json","messageSignature":{"signature":"AAAA"}}`,
		"nothing after base64": `{"base64Signature":" "}`,
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%s: it was read as %+v", name, s)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	small, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	good := string(fixture(t, "p256.pub"))
	for name, text := range map[string]string{
		"nothing":       "",
		"no PEM":        "cosign.pub",
		"a private key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"two keys":      good + good,
		"no key":        string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})),
		"a short key":   string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: small})),
	} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(der)[:20]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

// FuzzParse reads what people paste: nothing brings it down, and nothing is a signature that no key made.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(content), string(content))
	}
	blob, other := fixture(f, "blob"), key(f, "other")
	digest := strings.TrimSpace(string(fixture(f, "image.digest")))
	f.Fuzz(func(t *testing.T, text, payload string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if len(s.raw) == 0 || !s.Payload() && len(s.subjects) == 0 {
			t.Fatalf("it is no signature: %+v", s)
		}
		if s.VerifyFile(other, blob) == nil || s.VerifyImage(other, payload, []string{digest}) == nil {
			t.Fatalf("a key that signed nothing signed %q", text)
		}
		if signed, err := s.Images(other, payload); err == nil {
			t.Fatalf("a key that signed nothing signed %s", signed)
		}
	})
}
