// Package grpcconn makes the gRPC connections to peers and orderers. How bytes reach a node is the
// caller's business: it brings a dial function. TLS, message sizes, keepalive and reconnection are
// the same everywhere and live here.
package grpcconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// maxMessageSize is what Fabric's own nodes allow in both directions (internal/pkg/comm).
	maxMessageSize = 100 << 20
	// keepaliveInterval stays above the minimum of 60 s that peers and orderers enforce by default;
	// a client that pings more often is disconnected.
	keepaliveInterval = 65 * time.Second
	keepaliveTimeout  = 20 * time.Second
	// connectTimeout bounds one connection attempt, handshake included: the address of a container
	// that is gone makes a dial hang, not fail.
	connectTimeout = 5 * time.Second
	// A node that is coming up is tried again after reconnectDelay, and then after hardly more each
	// time, because nodes start within seconds and a person waits: with this growth a node is found
	// within a twentieth of the time that it took to come up.
	reconnectDelay, reconnectGrowth, maxReconnectDelay = 40 * time.Millisecond, 1.05, time.Second
)

// CertificateError says that the node showed a certificate that does not verify against the given
// roots and server name. gRPC reports it as an unavailable server; it is not, and waiting does not
// help.
type CertificateError struct {
	// Target is the address as given to Dial.
	Target string
	// ServerName is the name that the certificate had to carry.
	ServerName string
	// Err is the verification failure, a *tls.CertificateVerificationError.
	Err error
}

func (e *CertificateError) Error() string {
	return fmt.Sprintf("unable to trust the TLS certificate of %s (expected name %s): %v", e.Target, e.ServerName, e.Err)
}

// Unwrap gives the verification failure.
func (e *CertificateError) Unwrap() error { return e.Err }

// Transient is false: the certificate stays what it is.
func (e *CertificateError) Transient() bool { return false }

// GRPCStatus gives FAILED_PRECONDITION, so that code which looks at gRPC codes only does not retry.
func (e *CertificateError) GRPCStatus() *status.Status {
	return status.New(codes.FailedPrecondition, e.Error())
}

// Dial makes a connection to the node at target, which is used for messages only. The node must show
// a certificate that verifies against roots and carries serverName. clientCert is shown when the
// node asks for one; nil shows none. Nothing is dialled before the first call; calls fail with
// *CertificateError when the node's certificate does not verify. Options are further ones of gRPC.
func Dial(target, serverName string, roots *x509.CertPool, dial func(context.Context) (net.Conn, error), clientCert *tls.Certificate, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	switch {
	case target == "":
		return nil, errors.New("unable to connect: no target address")
	case serverName == "":
		return nil, fmt.Errorf("unable to connect to %s: no server name to verify", target)
	case roots == nil:
		return nil, fmt.Errorf("unable to connect to %s: no TLS roots to verify with", target)
	case dial == nil:
		return nil, fmt.Errorf("unable to connect to %s: no dial function", target)
	}
	config := &tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12}
	if clientCert != nil {
		config.Certificates = []tls.Certificate{*clientCert}
	}
	watch := &handshakeWatch{target: target, serverName: serverName}
	conn, err := grpc.NewClient("passthrough:///"+target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(&watchedCredentials{TransportCredentials: credentials.NewTLS(config), watch: watch}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize), grpc.MaxCallSendMsgSize(maxMessageSize)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectDelay, Multiplier: reconnectGrowth, Jitter: 0.2, MaxDelay: maxReconnectDelay},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithChainUnaryInterceptor(watch.unary),
		grpc.WithChainStreamInterceptor(watch.stream),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("unable to connect to %s: %w", target, err)
	}
	return conn, nil
}

// handshakeWatch remembers why the last handshake failed, because gRPC hands the reason on as text.
type handshakeWatch struct {
	target, serverName string

	mutex sync.Mutex
	err   *tls.CertificateVerificationError
}

func (w *handshakeWatch) record(err error) {
	var verification *tls.CertificateVerificationError
	if !errors.As(err, &verification) {
		verification = nil
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.err = verification
}

func (w *handshakeWatch) explain(err error) error {
	if status.Code(err) != codes.Unavailable {
		return err
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.err == nil {
		return err
	}
	return &CertificateError{Target: w.target, ServerName: w.serverName, Err: w.err}
}

func (w *handshakeWatch) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return w.explain(invoke(ctx, method, req, reply, conn, opts...))
}

func (w *handshakeWatch) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, conn, method, opts...)
	return stream, w.explain(err)
}

type watchedCredentials struct {
	credentials.TransportCredentials
	watch *handshakeWatch
}

func (c *watchedCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	c.watch.record(err)
	return conn, info, err
}

func (c *watchedCredentials) Clone() credentials.TransportCredentials {
	return &watchedCredentials{TransportCredentials: c.TransportCredentials.Clone(), watch: c.watch}
}
