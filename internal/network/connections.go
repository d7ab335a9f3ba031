package network

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// connections are kept for as long as the provider runs: a channel, a chaincode and a transaction
// speak with the same nodes.
type connections struct {
	mu   sync.Mutex
	grpc map[string]*grpc.ClientConn
	http map[string]*http.Client
	// forgotten are those that somebody may still be calling through.
	forgotten []*grpc.ClientConn
}

// forget drops the connections to a node that is going away or was made anew. Whoever is in the middle
// of a call, while the node restarts for somebody else's sake, may try it again on the old one.
func (c *connections) forget(h Handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, conn := range c.grpc {
		if strings.HasPrefix(key, h.Object()+":") {
			c.forgotten = append(c.forgotten, conn)
			delete(c.grpc, key)
		}
	}
	for key, client := range c.http {
		if strings.HasPrefix(key, h.Object()+":") {
			client.CloseIdleConnections()
			delete(c.http, key)
		}
	}
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.grpc {
		_ = conn.Close() // nobody uses it any more
	}
	for _, conn := range c.forgotten {
		_ = conn.Close() // as above
	}
	for _, client := range c.http {
		client.CloseIdleConnections()
	}
	c.grpc, c.http, c.forgotten = nil, nil, nil
}

// dialer opens connections to a port of a node, wherever it runs.
func (f *Fabric) dialer(h Handle, port int) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return f.engine.Dial(ctx, h.Object(), port) }
}

// grpcConn gives the connection to a peer or an orderer, verified against the TLS roots of its
// organization.
func (f *Fabric) grpcConn(ctx context.Context, h Handle, port int) (*grpc.ClientConn, error) {
	if h.remote() {
		return f.remoteConn(h)
	}
	return f.conns.keep(h.Object()+":"+strconv.Itoa(port), func() (*grpc.ClientConn, error) {
		org, err := f.organizationKeys(ctx, h.Organization())
		if err != nil {
			return nil, err
		}
		pool, err := certPool(append(org.Definition.TLSRootCertificates, org.Definition.TLSIntermediateCertificates...))
		if err != nil {
			return nil, fmt.Errorf("unable to read the TLS roots of %s: %w", h.Organization(), err)
		}
		conn, err := grpcconn.Dial(fmt.Sprintf("%s:%d", h.Host(), port), h.Host(), pool, f.dialer(h, port), nil, f.logged()...)
		if err != nil {
			return nil, fmt.Errorf("unable to connect to %s: %w", h, err)
		}
		return conn, nil
	})
}

// keep gives the connection of that key, and makes it when there is none.
func (c *connections) keep(key string, dial func() (*grpc.ClientConn, error)) (*grpc.ClientConn, error) {
	c.mu.Lock()
	conn := c.grpc[key]
	c.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.grpc[key]; other != nil {
		_ = conn.Close() // nobody uses it yet
		return other, nil
	}
	if c.grpc == nil {
		c.grpc = map[string]*grpc.ClientConn{}
	}
	c.grpc[key] = conn
	return conn, nil
}

// operationsClient gives an HTTP client for the admin or operations endpoint of a node. It shows a
// client certificate of the operations root that lives for as long as an apply may, and is kept nowhere.
func (f *Fabric) operationsClient(ctx context.Context, h Handle, port int) (*http.Client, error) {
	key := h.Object() + ":" + strconv.Itoa(port)
	f.conns.mu.Lock()
	client := f.conns.http[key]
	f.conns.mu.Unlock()
	if client != nil {
		return client, nil
	}
	root, err := f.operationsRoot(ctx, h)
	if errors.Is(err, errNoCA) {
		return f.adoptedClient(ctx, h, port)
	}
	if err != nil {
		return nil, err
	}
	pair, err := issuePair(root, certificate.LeafRequest{CommonName: "terraform", Client: true, Validity: 24 * time.Hour})
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	client = f.httpClient(h, port, &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: h.Host(),
		Certificates: []tls.Certificate{pair.TLS()},
	})
	f.conns.mu.Lock()
	defer f.conns.mu.Unlock()
	if f.conns.http == nil {
		f.conns.http = map[string]*http.Client{}
	}
	f.conns.http[key] = client
	return client, nil
}

func (f *Fabric) httpClient(h Handle, port int, config *tls.Config) *http.Client {
	dial := f.dialer(h, port)
	return &http.Client{Transport: loggedTransport{log: f.log, Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     30 * time.Second,
	}}}
}

// participation gives the client of an orderer's channel participation API.
func (f *Fabric) participation(ctx context.Context, orderer Handle) (*participation.Client, error) {
	client, err := f.operationsClient(ctx, orderer, ordererAdminPort)
	if err != nil {
		return nil, err
	}
	return &participation.Client{BaseURL: fmt.Sprintf("https://%s:%d", orderer.Host(), ordererAdminPort), HTTP: client}, nil
}

func certPool(pems []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, text := range pems {
		certs, err := certificate.ParseCertificates([]byte(text))
		if err != nil {
			return nil, err
		}
		for _, cert := range certs {
			pool.AddCert(cert)
		}
	}
	return pool, nil
}

// issuePair makes a key and has the issuer certify it.
func issuePair(issuer *certificate.KeyPair, request certificate.LeafRequest) (*certificate.KeyPair, error) {
	return issueFor(nil, issuer, request)
}

// issueFor has the issuer certify a key; nil is a new one.
func issueFor(key crypto.Signer, issuer *certificate.KeyPair, request certificate.LeafRequest) (*certificate.KeyPair, error) {
	if key == nil {
		var err error
		if key, err = certificate.GenerateKey(certificate.DefaultKeyAlgorithm); err != nil {
			return nil, err
		}
	}
	request.PublicKey = key.Public()
	cert, err := certificate.Issue(issuer, request)
	if err != nil {
		return nil, err
	}
	return &certificate.KeyPair{Certificate: cert, Key: key}, nil
}
