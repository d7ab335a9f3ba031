// Package grpctest serves gRPC services of the tests' own making, for the unit tests of the packages
// that speak to Fabric nodes.
package grpctest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Identity makes an identity of the MSP Org1MSP with a fresh key.
func Identity(t testing.TB) *msp.Identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &msp.Identity{ID: "Org1MSP", CertificatePEM: []byte("a certificate"), Key: key}
}

// Verify fails the test unless the signature is the identity's for the message.
func Verify(t testing.TB, identity *msp.Identity, message, signature []byte) {
	t.Helper()
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(identity.Key.Public().(*ecdsa.PublicKey), digest[:], signature) {
		t.Error("the signature does not verify")
	}
}

// Serve runs the registered services in memory until the test ends, and gives a connection to them.
func Serve(t testing.TB, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
