package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gatewaypb "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pair makes a certificate that signed itself, and its key, in PEM.
func pair(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "application"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// profileText is a connection profile with one peer.
func profileText(root []byte) string {
	indented := strings.ReplaceAll(strings.TrimSpace(string(root)), "\n", "\n        ")
	return `client: {organization: Org1}
organizations:
  Org1: {mspid: Org1MSP, peers: [peer0.org1.example.com]}
peers:
  peer0.org1.example.com:
    url: grpcs://127.0.0.1:7051
    grpcOptions: {hostnameOverride: peer0.org1.example.com}
    tlsCACerts:
      pem: |
        ` + indented + "\n"
}

func TestProfile(t *testing.T) {
	root, _ := pair(t)
	file := filepath.Join(t.TempDir(), "profile.yaml")
	write(t, file, []byte(profileText(root)))
	p, err := readProfile(file)
	if err != nil {
		t.Fatal(err)
	}
	if p.mspID() != "Org1MSP" {
		t.Errorf("the MSP ID is %q", p.mspID())
	}
	connection, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if connection.Target() != "passthrough:///127.0.0.1:7051" {
		t.Errorf("it connects to %s", connection.Target())
	}
}

func TestProfileFailures(t *testing.T) {
	root, _ := pair(t)
	whole := profileText(root)
	for _, c := range []struct{ name, text, says string }{
		{"no client", strings.Replace(whole, "client:", "other:", 1), "which organization"},
		{"no peer", strings.Replace(whole, "[peer0.org1.example.com]", "[]", 1), "has no peer"},
		{"an unknown peer", strings.Replace(whole, "[peer0.org1.example.com]", "[peer9]", 1), "does not describe peer peer9"},
		{"no root", strings.ReplaceAll(whole, "CERTIFICATE", "NOTHING"), "no TLS root"},
		{"no YAML", "client: [", "unable to read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "profile.yaml")
			write(t, file, []byte(c.text))
			p, err := readProfile(file)
			if err == nil {
				_, err = p.connect()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	certificate, key := pair(t)
	folder := t.TempDir()
	write(t, filepath.Join(folder, "signcerts", "cert.pem"), certificate)
	if _, _, err := readIdentity(folder, "Org1MSP"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a key the error is %v", err)
	}
	write(t, filepath.Join(folder, "keystore", "key.pem"), key)
	identity, sign, err := readIdentity(folder, "Org1MSP")
	if err != nil {
		t.Fatal(err)
	}
	if identity.MspID() != "Org1MSP" || string(identity.Credentials()) != string(certificate) {
		t.Errorf("the identity is of %s", identity.MspID())
	}
	if _, err := sign(make([]byte, 32)); err != nil {
		t.Error(err)
	}
	write(t, filepath.Join(folder, "keystore", "other.pem"), key)
	if _, _, err := readIdentity(folder, "Org1MSP"); err == nil || !strings.Contains(err.Error(), "exactly one") {
		t.Errorf("with two keys the error is %v", err)
	}
}

func TestUsage(t *testing.T) {
	root, _ := pair(t)
	certificate, key := pair(t)
	folder := t.TempDir()
	write(t, filepath.Join(folder, "profile.yaml"), []byte(profileText(root)))
	write(t, filepath.Join(folder, "msp", "signcerts", "cert.pem"), certificate)
	write(t, filepath.Join(folder, "msp", "keystore", "key.pem"), key)
	given := []string{"-profile", filepath.Join(folder, "profile.yaml"), "-msp", filepath.Join(folder, "msp")}
	for _, command := range [][]string{{}, {"get"}, {"put", "key"}, {"delete", "key"}} {
		if err := run(t.Context(), append(given[:4:4], command...), io.Discard); err == nil || !strings.Contains(err.Error(), "put KEY VALUE") {
			t.Errorf("%v gives %v", command, err)
		}
	}
}

// TestExplain: what the peers said is behind the gateway's own message.
func TestExplain(t *testing.T) {
	failure, err := status.New(codes.Aborted, "failed to endorse").WithDetails(&gatewaypb.ErrorDetail{
		Address: "peer0.org1.example.com:7051", MspId: "Org1MSP", Message: "the value is empty",
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := explain(failure.Err()); !strings.Contains(text, "peer0.org1.example.com:7051 (Org1MSP): the value is empty") {
		t.Errorf("it explains %q", text)
	}
	if text := explain(errors.New("plain")); text != "plain" {
		t.Errorf("it explains %q", text)
	}
}
