// Command kv-chaincode is a chaincode server that keeps keys and values. The
// examples and the acceptance tests deploy it; it is small enough to read.
//
// It speaks Fabric's "chaincode as a service": the peer connects to it. It is
// set up by environment variables, named as in Fabric's own samples:
//
//	CHAINCODE_ID              package id that the peer gave at install; required
//	CHAINCODE_SERVER_ADDRESS  address to listen on; 0.0.0.0:9999 when unset
//	CHAINCODE_TLS_KEY         path of the server's private key (PEM)
//	CHAINCODE_TLS_CERT        path of the server's certificate (PEM)
//	CHAINCODE_CLIENT_CA_CERT  path of the CA certificates (PEM) that a peer's
//	                          client certificate must chain to
//
// Without the key and the certificate it serves without TLS.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// version is what the chaincode function "version" returns; set at link time.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintf(os.Stderr, "kv-chaincode: %v\n", err)
		os.Exit(1)
	}
}

// run serves the chaincode until ctx ends. getenv is [os.Getenv] or the like.
func run(ctx context.Context, getenv func(string) string) error {
	settings, err := readSettings(getenv)
	if err != nil {
		return err
	}
	server, err := listen(ctx, settings, newKeyValue(version))
	if err != nil {
		return err
	}
	slog.Info("serving", "version", version, "chaincode_id", settings.chaincodeID,
		"address", server.listener.Addr().String(), "tls", settings.tlsKeyFile != "")
	return server.serve(ctx)
}
