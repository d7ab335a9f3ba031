package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// A chaincode server and its peer can be made to know each other and nobody else: both have certificates
// of a root that signs these two and is forgotten. The root, both certificates and both keys lie on a
// volume of the server's own. The peer's half is added to connection.json where the peer's builder has
// put it, on the peer's volume, and not in the package: its ID does not depend on keys, and a renewal is
// no upgrade. The peer reads that file whenever it connects.

// The files of a server, below nodeRoot. What is the peer's the server's process cannot read.
const (
	serverTLSRoot  = "tls/root.pem"
	serverTLSCert  = "tls/cert.pem"
	serverTLSKey   = "tls/key.pem"
	peersTLSCert   = "peer/cert.pem"
	peersTLSKey    = "peer/key.pem"
	peersTLSFolder = "peer"
)

// labelTLSEnds says of a server when its certificate ends (RFC 3339).
const labelTLSEnds = engine.LabelPrefix + "tls-ends"

// serverCertificateLife is how long the certificates of a server and its peer live.
const serverCertificateLife = year

// serverTLSEnv tells a chaincode server where its TLS files are, by the names that Fabric's chaincode
// samples for Go, and the chaincode libraries for Node and Java have for it.
func serverTLSEnv() map[string]string {
	root, cert, key := nodeRoot+"/"+serverTLSRoot, nodeRoot+"/"+serverTLSCert, nodeRoot+"/"+serverTLSKey
	return map[string]string{
		"CHAINCODE_TLS_DISABLED": "false", "CHAINCODE_TLS_KEY": key, "CHAINCODE_TLS_CERT": cert, "CHAINCODE_CLIENT_CA_CERT": root,
		"CHAINCODE_TLS_KEY_FILE": key, "CHAINCODE_TLS_CERT_FILE": cert, "CHAINCODE_TLS_CLIENT_CACERT_FILE": root,
		"CORE_PEER_TLS_ENABLED": "true", "CORE_TLS_CLIENT_KEY_FILE": key, "CORE_TLS_CLIENT_CERT_FILE": cert, "CORE_PEER_TLS_ROOTCERT_FILE": root,
	}
}

// newServerTLS makes the files of the server that serves a peer, and of those that it serves: peers of one
// organization that share a server share their half, which opens no other one.
func newServerTLS(spec ChaincodeSpec, peer Handle, now time.Time) ([]engine.File, error) {
	h, client := server(spec, peer), peer.Host()
	hosts := []string{h.Host()}
	fail := func(err error) ([]engine.File, error) {
		return nil, fmt.Errorf("unable to make the certificates of %s and its peers: %w", h, err)
	}
	if spec.Server.PerOrganization {
		client = peer.MSPID
		for _, p := range spec.servedWith(peer) {
			hosts = append(hosts, address(spec, p))
		}
	}
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: h.Name, Validity: serverCertificateLife, Now: now})
	if err != nil {
		return fail(err)
	}
	files := []engine.File{{Name: serverTLSRoot, Content: root.CertificatePEM(), UID: nodeUID, GID: nodeUID}}
	for _, side := range []struct {
		request   certificate.LeafRequest
		cert, key string
		owner     int
	}{
		{certificate.LeafRequest{CommonName: h.Host(), Hosts: hosts, Server: true}, serverTLSCert, serverTLSKey, nodeUID},
		{certificate.LeafRequest{CommonName: client, Client: true}, peersTLSCert, peersTLSKey, 0},
	} {
		key, err := certificate.GenerateKey("")
		if err != nil {
			return fail(err)
		}
		side.request.PublicKey, side.request.Validity, side.request.Now = key.Public(), serverCertificateLife, now
		cert, err := certificate.Issue(root, side.request)
		if err != nil {
			return fail(err)
		}
		keyPEM, err := certificate.EncodeKey(key)
		if err != nil {
			return fail(err)
		}
		files = append(files,
			engine.File{Name: side.cert, Content: certificate.EncodeCertificate(cert), UID: side.owner, GID: side.owner},
			engine.File{Name: side.key, Content: keyPEM, UID: side.owner, GID: side.owner})
	}
	return files, nil
}

// furnishServer puts the TLS files of a server on its volume, before its first start.
func (f *Fabric) furnishServer(ctx context.Context, spec ChaincodeSpec, peer Handle, now time.Time) error {
	files, err := newServerTLS(spec, peer, now)
	if err != nil {
		return err
	}
	return f.engine.PutFiles(ctx, server(spec, peer).Object(), nodeRoot, files)
}

// serverTLS reads the TLS files of a server and its peer.
func (f *Fabric) serverTLS(ctx context.Context, h Handle) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, folder := range []string{path.Dir(serverTLSRoot), peersTLSFolder} {
		files, err := f.engine.GetFiles(ctx, h.Object(), nodeRoot+"/"+folder)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			out[file.Name] = file.Content
		}
	}
	return out, nil
}

// peersCredentials are those with which the peer of a server reaches it.
func (f *Fabric) peersCredentials(ctx context.Context, h Handle) (credentials.TransportCredentials, error) {
	own, err := f.serverTLS(ctx, h)
	if err != nil {
		return nil, err
	}
	pair, err := certificate.ParseKeyPair(own[peersTLSCert], own[peersTLSKey])
	if err != nil {
		return nil, err
	}
	roots, err := certPool([]string{string(own[serverTLSRoot])})
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: h.Host(), Certificates: []tls.Certificate{pair.TLS()},
	}), nil
}

// serverRenewal is when the certificates of a server fall due; zero for one without.
func serverRenewal(h Handle, labels map[string]string) time.Time {
	end, err := time.Parse(time.RFC3339, labels[labelTLSEnds])
	if err != nil {
		return time.Time{}
	}
	return h.Rule(DefaultRenewBefore).moment(end, serverCertificateLife)
}

// serversDue tells when the first certificate of the servers falls due, and beside which peers one has.
func serversDue(servers []engine.Node, now time.Time) (first time.Time, due []string) {
	for _, s := range servers {
		at := serverRenewal(handleOf(s.Labels), s.Labels)
		if at.IsZero() {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if now.After(at) {
			due = append(due, strings.Split(s.Labels[labelPeer], ",")...)
		}
	}
	slices.Sort(due)
	return first, due
}

// introduceTo has peers reach the server that they share by TLS.
func (f *Fabric) introduceTo(ctx context.Context, spec ChaincodeSpec, h Handle, peers []Handle, packageID string) error {
	for _, p := range peers {
		if err := f.introduce(ctx, h, p, address(spec, p), packageID); err != nil {
			return err
		}
	}
	return nil
}

// introduce has a peer reach its server by TLS, at the host that its package names: it adds the peer's half to
// the connection.json that the peer's builder made of the package. The package must be installed.
func (f *Fabric) introduce(ctx context.Context, h, peer Handle, host, packageID string) error {
	fail := func(err error) error {
		return fmt.Errorf("unable to give %s the certificate by which it reaches %s: %w", peer, h, err)
	}
	own, err := f.serverTLS(ctx, h)
	if err != nil {
		return fail(err)
	}
	wanted, err := lifecycle.Connection{
		Address:     net.JoinHostPort(host, strconv.Itoa(chaincodePort)),
		TLSRequired: true, RootCertificate: string(own[serverTLSRoot]),
		ClientAuthRequired: true, ClientCertificate: string(own[peersTLSCert]), ClientKey: string(own[peersTLSKey]),
	}.Document()
	if err != nil {
		return fail(err)
	}
	at := dataFolder + "/" + lifecycle.ReleasedConnection(packageID)
	have, err := f.engine.GetFiles(ctx, peer.Object(), at)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return fail(fmt.Errorf("its builder left no %s for package %s", at, packageID))
	case err != nil:
		return fail(err)
	case len(have) == 1 && bytes.Equal(have[0].Content, wanted):
		return nil
	}
	err = f.engine.PutFiles(ctx, peer.Object(), path.Dir(at), []engine.File{{Name: path.Base(at), Content: wanted, UID: nodeUID, GID: nodeUID}})
	if err != nil {
		return fail(err)
	}
	return nil
}
