package grpcconn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// certificate makes a self-signed certificate for the name.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// echo gives back the bytes of a proposal.
type echo struct {
	peer.UnimplementedEndorserServer
}

func (echo) ProcessProposal(_ context.Context, in *peer.SignedProposal) (*peer.ProposalResponse, error) {
	return &peer.ProposalResponse{Payload: in.GetProposalBytes()}, nil
}

func serve(t *testing.T, listener net.Listener, config *tls.Config) {
	t.Helper()
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.MaxRecvMsgSize(maxMessageSize), grpc.MaxSendMsgSize(maxMessageSize))
	peer.RegisterEndorserServer(server, echo{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func dialer(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", address) }
}

func dial(t *testing.T, serverName string, roots *x509.CertPool, through func(context.Context) (net.Conn, error), clientCert *tls.Certificate) peer.EndorserClient {
	t.Helper()
	// The target names nothing that could be resolved: only the dial function leads to the node.
	conn, err := Dial("peer0.org1.invalid:7051", serverName, roots, through, clientCert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return peer.NewEndorserClient(conn)
}

func call(t *testing.T, client peer.EndorserClient, payload []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	response, err := client.ProcessProposal(ctx, &peer.SignedProposal{ProposalBytes: payload})
	if err == nil && !bytes.Equal(response.GetPayload(), payload) {
		t.Error("the answer is not the question")
	}
	return err
}

func TestDialReachesTheNode(t *testing.T) {
	server, roots := certificate(t, "peer0.org1")
	listener := listen(t)
	serve(t, listener, &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12})
	client := dial(t, "peer0.org1", roots, dialer(listener.Addr().String()), nil)
	if err := call(t, client, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	// Larger than gRPC's own limit of 4 MiB, as blocks and chaincode packages are.
	if err := call(t, client, make([]byte, 20<<20)); err != nil {
		t.Fatal(err)
	}
}

func TestDialRefusesOtherCertificates(t *testing.T) {
	server, roots := certificate(t, "peer0.org1")
	_, otherRoots := certificate(t, "peer0.org1")
	listener := listen(t)
	serve(t, listener, &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12})
	for name, client := range map[string]peer.EndorserClient{
		"another root": dial(t, "peer0.org1", otherRoots, dialer(listener.Addr().String()), nil),
		"another name": dial(t, "peer1.org1", roots, dialer(listener.Addr().String()), nil),
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t, client, nil)
			var untrusted *CertificateError
			if !errors.As(err, &untrusted) || untrusted.Target != "peer0.org1.invalid:7051" {
				t.Fatalf("%v", err)
			}
			if retry.Transient(err) {
				t.Error("an untrusted certificate counts as passing by itself")
			}
			if code := status.Code(err); code != codes.FailedPrecondition {
				t.Errorf("code %s", code)
			}
		})
	}
}

func TestDialShowsTheClientCertificate(t *testing.T) {
	server, roots := certificate(t, "peer0.org1")
	clientCert, clientRoots := certificate(t, "admin")
	listener := listen(t)
	serve(t, listener, &tls.Config{
		Certificates: []tls.Certificate{server}, ClientCAs: clientRoots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
	if err := call(t, dial(t, "peer0.org1", roots, dialer(listener.Addr().String()), &clientCert), nil); err != nil {
		t.Errorf("with a client certificate: %v", err)
	}
	if err := call(t, dial(t, "peer0.org1", roots, dialer(listener.Addr().String()), nil), nil); err == nil {
		t.Error("a node that demands client certificates was satisfied without one")
	}
}

func TestDialReconnectsSoon(t *testing.T) {
	server, roots := certificate(t, "peer0.org1")
	listener := listen(t)
	var up atomic.Bool
	client := dial(t, "peer0.org1", roots, func(ctx context.Context) (net.Conn, error) {
		if !up.Load() {
			return nil, &net.OpError{Op: "dial", Err: errors.New("no such host")}
		}
		return dialer(listener.Addr().String())(ctx)
	}, nil)
	// Long enough absent for the delay between attempts to have grown to its maximum.
	absent := time.NewTimer(2 * time.Second)
	defer absent.Stop()
	for waiting := true; waiting; {
		if err := call(t, client, nil); status.Code(err) != codes.Unavailable || !retry.Transient(err) {
			t.Fatalf("of a node that is not there: %v", err)
		}
		select {
		case <-absent.C:
			waiting = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	serve(t, listener, &tls.Config{Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS12})
	up.Store(true)
	started := time.Now()
	_, err := retry.Do(t.Context(), retry.Policy{InitialInterval: 10 * time.Millisecond, MaxInterval: 20 * time.Millisecond, MaxElapsed: 10 * time.Second},
		func(context.Context) (struct{}, error) { return struct{}{}, call(t, client, nil) })
	if err != nil {
		t.Fatal(err)
	}
	if elapsed := time.Since(started); elapsed > 3*time.Second {
		t.Errorf("the node was reached only %s after it came", elapsed)
	}
}

func TestDialArguments(t *testing.T) {
	_, roots := certificate(t, "peer0.org1")
	through := dialer("127.0.0.1:1")
	for name, attempt := range map[string]func() (*grpc.ClientConn, error){
		"no target":      func() (*grpc.ClientConn, error) { return Dial("", "peer0.org1", roots, through, nil) },
		"no server name": func() (*grpc.ClientConn, error) { return Dial("peer0:7051", "", roots, through, nil) },
		"no roots":       func() (*grpc.ClientConn, error) { return Dial("peer0:7051", "peer0.org1", nil, through, nil) },
		"no dialer":      func() (*grpc.ClientConn, error) { return Dial("peer0:7051", "peer0.org1", roots, nil, nil) },
	} {
		if _, err := attempt(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
