package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// startServer serves the chaincode, version "test", until the test ends and
// returns the address.
func startServer(t *testing.T, s settings) string {
	t.Helper()
	server, err := listen(t.Context(), s, newKeyValue("test"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return server.listener.Addr().String()
}

func dial(t *testing.T, address string, transport credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestServeStopsWithAPeerConnected(t *testing.T) {
	server, err := listen(t.Context(), settings{chaincodeID: "kv_1:abc", address: "127.0.0.1:0"}, newKeyValue("test"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.serve(ctx) }()
	p := connectPeer(t, dial(t, server.listener.Addr().String(), insecure.NewCredentials()))
	stop()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still serving 10 s after the end of its context")
	}
	if _, err := p.stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the peer's stream ended with %v, want code Unavailable", err)
	}
}

func TestListenRefusesAddressInUse(t *testing.T) {
	s := settings{chaincodeID: "kv_1:abc", address: "127.0.0.1:0"}
	s.address = startServer(t, s)
	if _, err := listen(t.Context(), s, newKeyValue("test")); err == nil {
		t.Error("no error")
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	authority := newAuthority(t)
	serverCert, serverKey := authority.issue(t, dir, "server")
	clientCert, clientKey := authority.issue(t, dir, "client")
	caFile := filepath.Join(dir, "ca.pem")
	writePEM(t, caFile, "CERTIFICATE", authority.certificate.Raw)
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	client, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	withCertificate := credentials.NewTLS(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}})
	without := credentials.NewTLS(&tls.Config{RootCAs: roots})

	oneSided := settings{chaincodeID: "kv_1:abc", address: "127.0.0.1:0", tlsKeyFile: serverKey, tlsCertFile: serverCert}
	mutual := oneSided
	mutual.clientCAFile = caFile
	tests := map[string]struct {
		server    settings
		transport credentials.TransportCredentials
		serves    bool
	}{
		"one-sided":                            {oneSided, without, true},
		"one-sided, peer without TLS":          {oneSided, insecure.NewCredentials(), false},
		"mutual":                               {mutual, withCertificate, true},
		"mutual, peer without certificate":     {mutual, without, false},
		"no TLS at the server, but the peer's": {settings{chaincodeID: "kv_1:abc", address: "127.0.0.1:0"}, without, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, startServer(t, test.server), test.transport)
			if test.serves {
				p := connectPeer(t, conn)
				if got := p.invoke(nil, "version").GetPayload(); string(got) != "test" {
					t.Errorf("version %q, want test", got)
				}
				return
			}
			stream, err := peer.NewChaincodeClient(conn).Connect(t.Context())
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.Unavailable {
				t.Errorf("got %v, want code Unavailable", err)
			}
		})
	}

	t.Run("files that are wrong", func(t *testing.T) {
		absent := oneSided
		absent.tlsKeyFile = filepath.Join(dir, "absent")
		if _, err := listen(t.Context(), absent, newKeyValue("test")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent key: %v, want fs.ErrNotExist", err)
		}
		noCA := oneSided
		noCA.clientCAFile = serverKey
		if _, err := listen(t.Context(), noCA, newKeyValue("test")); err == nil {
			t.Error("client CA file without certificates: no error")
		}
	})
}

type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, certificate}
}

// issue writes a certificate for 127.0.0.1 and its key into dir.
func (a authority) issue(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
