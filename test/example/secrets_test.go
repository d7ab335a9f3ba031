package example

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sec1(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// bareP256 is a PKCS#8 key without the public key in it, as other libraries write it: the same structure,
// cut after the 32 bytes of the key, with the lengths to match.
func bareP256(t *testing.T) []byte {
	t.Helper()
	full := pkcs8(t, ecKey(t, elliptic.P256()))
	scalar := bytes.Index(full, []byte{0x04, 0x20})
	algorithm := full[6:27]
	inner := append([]byte{0x30, 0x25, 0x02, 0x01, 0x01}, full[scalar:scalar+34]...)
	body := append([]byte{0x02, 0x01, 0x00}, algorithm...)
	body = append(append(body, 0x04, byte(len(inner))), inner...)
	der := append([]byte{0x30, byte(len(body))}, body...)
	if _, err := x509.ParsePKCS8PrivateKey(der); err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSearchFindsPrivateKeys(t *testing.T) {
	p256, p384 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rivest, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	inJSON := func(s string) string {
		encoded, err := json.Marshal(map[string]string{"value": s})
		if err != nil {
			t.Fatal(err)
		}
		return string(encoded)
	}
	encode := base64.StdEncoding.EncodeToString
	for name, content := range map[string]string{
		"PKCS#8":                         text("PRIVATE KEY", pkcs8(t, p256)),
		"SEC 1":                          text("EC PRIVATE KEY", sec1(t, p256)),
		"RSA":                            text("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rivest)),
		"Ed25519":                        text("PRIVATE KEY", pkcs8(t, edwards)),
		"encrypted":                      text("ENCRYPTED PRIVATE KEY", []byte("x")),
		"in JSON":                        inJSON(text("PRIVATE KEY", pkcs8(t, p256))),
		"base64 of PKCS#8":               encode([]byte(text("PRIVATE KEY", pkcs8(t, p256)))),
		"base64 of SEC 1":                encode([]byte(text("EC PRIVATE KEY", sec1(t, p256)))),
		"base64 of an encrypted key":     encode([]byte(text("ENCRYPTED PRIVATE KEY", []byte("x")))),
		"PKCS#8 without header":          encode(pkcs8(t, p256)),
		"bare PKCS#8 without header":     encode(bareP256(t)),
		"PKCS#8 P-384 without header":    encode(pkcs8(t, p384)),
		"SEC 1 P-256 without header":     encode(sec1(t, p256)),
		"SEC 1 P-384 without header":     encode(sec1(t, p384)),
		"at the end of a very long line": strings.Repeat("x", 3<<20) + "-----BEGIN PRIVATE KEY-----",
	} {
		t.Run(name, func(t *testing.T) {
			err := search(strings.NewReader("one\ntwo\nthree "+content), "trace.log", nil)
			if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), "trace.log, line 3") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSearchPassesWhatIsPublic(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"a certificate":       string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("certificate")})),
		"a public key":        string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"prose":               "The private key never leaves the engine. PRIVATE KEY",
		"nothing":             "",
		"no literal in there": "a word",
	} {
		t.Run(name, func(t *testing.T) {
			if err := search(strings.NewReader(content), "x", []string{"", "secret-1"}); err != nil {
				t.Error(err)
			}
		})
	}
}
