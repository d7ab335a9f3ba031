package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// profile is the part of a connection profile that a Gateway client needs: whose client it is, and
// the peers of that organization.
type profile struct {
	Client struct {
		Organization string `yaml:"organization"`
	} `yaml:"client"`
	Organizations map[string]struct {
		MSPID string   `yaml:"mspid"`
		Peers []string `yaml:"peers"`
	} `yaml:"organizations"`
	Peers map[string]struct {
		URL         string `yaml:"url"`
		GRPCOptions struct {
			// HostnameOverride is the name in the peer's certificate, when it is not reached by that name.
			HostnameOverride string `yaml:"hostnameOverride"`
		} `yaml:"grpcOptions"`
		TLSCACerts struct {
			PEM string `yaml:"pem"`
		} `yaml:"tlsCACerts"`
	} `yaml:"peers"`
}

// readProfile reads a connection profile. JSON is YAML too.
func readProfile(file string) (*profile, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("unable to read the connection profile: %w", err)
	}
	p := &profile{}
	if err := yaml.Unmarshal(content, p); err != nil {
		return nil, fmt.Errorf("unable to read the connection profile %s: %w", file, err)
	}
	if p.mspID() == "" {
		return nil, fmt.Errorf("unable to read the connection profile %s: it does not say which organization its client is of", file)
	}
	return p, nil
}

func (p *profile) mspID() string { return p.Organizations[p.Client.Organization].MSPID }

// connect makes the connection to the first peer of the client's organization; nothing is sent yet.
func (p *profile) connect() (*grpc.ClientConn, error) {
	names := p.Organizations[p.Client.Organization].Peers
	if len(names) == 0 {
		return nil, fmt.Errorf("unable to connect: %s has no peer in the connection profile", p.Client.Organization)
	}
	peer, ok := p.Peers[names[0]]
	if !ok {
		return nil, fmt.Errorf("unable to connect: the connection profile does not describe peer %s", names[0])
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(peer.TLSCACerts.PEM)) {
		return nil, fmt.Errorf("unable to connect: the connection profile has no TLS root of peer %s", names[0])
	}
	address := strings.TrimPrefix(peer.URL, "grpcs://")
	connection, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, peer.GRPCOptions.HostnameOverride)))
	if err != nil {
		return nil, fmt.Errorf("unable to connect to %s at %s: %w", names[0], address, err)
	}
	return connection, nil
}

// readIdentity reads the certificate and the private key of an MSP folder.
func readIdentity(folder, mspID string) (*identity.X509Identity, identity.Sign, error) {
	fail := func(err error) (*identity.X509Identity, identity.Sign, error) {
		return nil, nil, fmt.Errorf("unable to read the identity in %s: %w", folder, err)
	}
	certificatePEM, err := onlyFile(filepath.Join(folder, "signcerts"))
	if err != nil {
		return fail(err)
	}
	keyPEM, err := onlyFile(filepath.Join(folder, "keystore"))
	if err != nil {
		return fail(err)
	}
	certificate, err := identity.CertificateFromPEM(certificatePEM)
	if err != nil {
		return fail(err)
	}
	key, err := identity.PrivateKeyFromPEM(keyPEM)
	if err != nil {
		return fail(err)
	}
	member, err := identity.NewX509Identity(mspID, certificate)
	if err != nil {
		return fail(err)
	}
	sign, err := identity.NewPrivateKeySign(key)
	if err != nil {
		return fail(err)
	}
	return member, sign, nil
}

// onlyFile reads the one file of a folder, whatever it is called.
func onlyFile(folder string) ([]byte, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	if len(entries) != 1 {
		return nil, errors.New(folder + " does not hold exactly one file")
	}
	return os.ReadFile(filepath.Join(folder, entries[0].Name()))
}
