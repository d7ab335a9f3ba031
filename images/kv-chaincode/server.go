package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// maxMessageBytes is the limit that Fabric's peer sets on its side of the
// stream; gRPC's own default of 4 MiB would cut large range results.
const maxMessageBytes = 100 << 20

// server is a chaincode server that listens already.
type server struct {
	listener net.Listener
	grpc     *grpc.Server
}

// listen opens the address of s and prepares to serve chaincode there. The
// gRPC server is our own, not that of [shim.ChaincodeServer.Start], because
// that one cannot be stopped.
func listen(ctx context.Context, s settings, chaincode shim.Chaincode) (*server, error) {
	// The peer pings idle streams; with gRPC's default policy, of at most one
	// ping in five minutes, the server would end them.
	options := []grpc.ServerOption{
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Minute, PermitWithoutStream: true}),
	}
	if s.tlsKeyFile != "" {
		config, err := tlsConfig(s)
		if err != nil {
			return nil, err
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("unable to listen on %s: %w", s.address, err)
	}
	grpcServer := grpc.NewServer(options...)
	peer.RegisterChaincodeServer(grpcServer, &shim.ChaincodeServer{CCID: s.chaincodeID, CC: chaincode})
	return &server{listener: listener, grpc: grpcServer}, nil
}

// tlsConfig returns the server side of TLS for the files of s; with client
// CAs, peers must show a certificate of theirs.
func tlsConfig(s settings) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(s.tlsCertFile, s.tlsKeyFile)
	if err != nil {
		return nil, fmt.Errorf("unable to load the TLS certificate %s and its key: %w", s.tlsCertFile, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if s.clientCAFile == "" {
		return config, nil
	}
	roots, err := os.ReadFile(s.clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("unable to read the client CA certificates: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("unable to read the client CA certificates: no PEM certificate in %s", s.clientCAFile)
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

// serve answers peers until ctx ends. It then closes their streams at once:
// a peer keeps its stream for as long as the server lives, so to wait for the
// streams would be to wait for ever, and it connects anew when it next needs
// the chaincode.
func (s *server) serve(ctx context.Context) error {
	stopped := context.AfterFunc(ctx, s.grpc.Stop)
	defer stopped()
	if err := s.grpc.Serve(s.listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("unable to serve chaincode: %w", err)
	}
	return nil
}
