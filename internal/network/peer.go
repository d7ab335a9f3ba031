package network

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// The ports on which a peer listens. Chaincode that the peer starts itself connects to
// peerChaincodePort, which is not published: chaincode as a service is connected to by the peer.
const (
	peerPort           = 7051
	peerChaincodePort  = 7052
	peerOperationsPort = 9443
)

// PeerPorts are the published ports of a peer by purpose.
func PeerPorts() map[string]int {
	return map[string]int{"grpc": peerPort, "operations": peerOperationsPort}
}

// PeerSpec is a peer.
type PeerSpec struct {
	Handle Handle
	NodeOptions
	Version nodeconfig.Version
	Config  nodeconfig.Overlay
}

// MemberState is what is known of a node that is a member of an organization.
type MemberState struct {
	NodeState
	// EnrollmentCertificate and TLSCertificate are in PEM.
	EnrollmentCertificate, TLSCertificate string
	// HoldsLedger tells that the node has joined a channel, as far as it could be asked.
	HoldsLedger bool
}

// Endpoint is the address by which others reach a node: the advertised one, or its host name and port.
func (o NodeOptions) Endpoint(h Handle, port int) string {
	if o.AdvertisedAddress != "" {
		return o.AdvertisedAddress
	}
	return net.JoinHostPort(h.Host(), strconv.Itoa(port))
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// PreflightPeer finds what would fail before anything is made.
func (f *Fabric) PreflightPeer(ctx context.Context, spec PeerSpec) error {
	n, err := f.peerNode(spec)
	if err != nil {
		return err
	}
	return f.preflight(ctx, n)
}

// EnsurePeer makes the peer as it is wanted and waits until its endorser answers.
func (f *Fabric) EnsurePeer(ctx context.Context, spec PeerSpec) (MemberState, error) {
	n, err := f.peerNode(spec)
	if err != nil {
		return MemberState{}, err
	}
	return f.ensureMember(ctx, n)
}

// PeerFiles are where a peer finds its files, for nodeconfig.
func peerConfig(h Handle, endpoint string) nodeconfig.Peer {
	return nodeconfig.Peer{
		ID: h.Host(), MSPID: h.MSPID,
		ListenAddress:          listen(peerPort),
		Address:                net.JoinHostPort(h.Host(), strconv.Itoa(peerPort)),
		ExternalEndpoint:       endpoint,
		GossipBootstrap:        []string{net.JoinHostPort(h.Host(), strconv.Itoa(peerPort))},
		ChaincodeListenAddress: listen(peerChaincodePort),
		ChaincodeAddress:       net.JoinHostPort(h.Host(), strconv.Itoa(peerChaincodePort)),
		MSPDir:                 keysFolder + "/msp",
		DataDir:                dataFolder,
		TLS:                    nodeconfig.ServerTLS{CertFile: keysFolder + "/tls/cert.pem", KeyFile: keysFolder + "/tls/key.pem", RootFiles: []string{keysFolder + "/tls/root.pem"}},
		Operations:             operationsEndpoint(peerOperationsPort),
	}
}

func operationsEndpoint(port int) nodeconfig.Endpoint {
	return nodeconfig.Endpoint{
		ListenAddress: listen(port),
		CertFile:      keysFolder + "/operations/cert.pem", KeyFile: keysFolder + "/operations/key.pem",
		ClientRootFiles: []string{keysFolder + "/operations/root.pem"},
	}
}

func listen(port int) string { return net.JoinHostPort("0.0.0.0", strconv.Itoa(port)) }

// RenderPeer gives the core.yaml of a peer as it will run.
func RenderPeer(spec PeerSpec) ([]byte, error) {
	return nodeconfig.RenderPeer(spec.Version, peerConfig(spec.Handle, spec.Endpoint(spec.Handle, peerPort)), spec.Config)
}

func (f *Fabric) peerNode(spec PeerSpec) (*node, error) {
	h := spec.Handle
	config, err := RenderPeer(spec)
	if err != nil {
		return nil, fmt.Errorf("unable to render core.yaml of %s: %w", h, err)
	}
	return &node{
		handle: h, options: spec.NodeOptions, endpoint: spec.Endpoint(h, peerPort), ports: PeerPorts(),
		inputs:  inputs(memberInputs{spec.NodeOptions, spec.Version.String(), spec.Config}),
		command: []string{"peer", "node", "start"},
		env: map[string]string{
			"FABRIC_CFG_PATH": nodeRoot + "/config",
			// One package serves every peer: its connection.json names the peer by this value.
			"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG": fmt.Sprintf("{\"peername\":%q}", h.Host()),
		},
		config:   map[string][]byte{"config/core.yaml": config},
		material: f.memberMaterial(h, "peer", spec.hosts(h)),
		ready:    func(ctx context.Context) error { return f.peerAnswers(ctx, h) },
	}, nil
}

// peerAnswers asks the peer for its channels, as the organization's admin: its listener, its local
// MSP and its endorser work.
func (f *Fabric) peerAnswers(ctx context.Context, h Handle) error {
	_, err := f.peerChannels(ctx, h)
	return err
}

// peerChannels asks a peer for the channels that it has joined.
func (f *Fabric) peerChannels(ctx context.Context, h Handle) ([]string, error) {
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return nil, err
	}
	admin, err := f.identity(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	return endorser.Channels(ctx, endorser.Peer{Name: h.Name, Conn: conn}, admin)
}

// ensureMember makes a node that is a member of an organization, and reads its certificates.
func (f *Fabric) ensureMember(ctx context.Context, n *node) (MemberState, error) {
	f.conns.forget(n.handle)
	state := MemberState{}
	issue := n.material
	n.material = func(ctx context.Context, have map[string][]byte) (map[string][]byte, error) {
		files, err := issue(ctx, have)
		pick := func(name string) string {
			if content := files[name]; len(content) > 0 {
				return string(content)
			}
			return string(have[name])
		}
		state.EnrollmentCertificate, state.TLSCertificate = pick("msp/signcerts/cert.pem"), pick("tls/cert.pem")
		return files, err
	}
	var err error
	state.NodeState, err = f.ensure(ctx, n)
	return state, err
}

// memberMaterial issues what a node of an organization needs and does not have yet: its local MSP
// from the enrolment CA, its TLS certificate from the TLS CA, and the listener certificate of its
// operations endpoint from the operations root. Keys are made here, written to the node's own
// volume, and forgotten.
func (f *Fabric) memberMaterial(h Handle, kind string, hosts []string) func(context.Context, map[string][]byte) (map[string][]byte, error) {
	return func(ctx context.Context, have map[string][]byte) (map[string][]byte, error) {
		org, err := f.organizationKeys(ctx, h.Organization())
		if err != nil {
			return nil, err
		}
		from, err := org.ca()
		if err != nil {
			return nil, err
		}
		registration := ca.Registration{ID: h.Name, Type: kind, MaxEnrollments: ca.Unlimited}
		files := map[string][]byte{}
		var enrolled, tls *ca.Enrollment
		group, gctx := errgroup.WithContext(ctx)
		if len(have["msp/signcerts/cert.pem"]) == 0 || len(have["msp/keystore/key.pem"]) == 0 {
			group.Go(func() (err error) {
				enrolled, err = f.enrollNew(gctx, from, enrollmentCA, registration, ca.EnrollRequest{})
				return err
			})
		}
		if !serves(have["tls/cert.pem"], have["tls/key.pem"], hosts) {
			request := ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: hosts}
			if key, err := certificate.ParseKey(have["tls/key.pem"]); err == nil {
				request.Key = key // consenters are recognised by their public key
			}
			group.Go(func() (err error) {
				tls, err = f.enrollNew(gctx, from, tlsCA, registration, request)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		if enrolled != nil {
			folder, err := msp.Folder(org.Definition, &msp.Identity{ID: h.MSPID, CertificatePEM: enrolled.CertificatePEM(), Key: enrolled.Key})
			if err != nil {
				return nil, err
			}
			for name, content := range folder {
				files["msp/"+name] = content
			}
		}
		if tls != nil {
			if err := putPair(files, "tls", tls.KeyPair); err != nil {
				return nil, err
			}
			for _, text := range org.Definition.TLSIntermediateCertificates { // others know the roots only
				files["tls/cert.pem"] = append(files["tls/cert.pem"], text...)
			}
			for _, text := range org.Definition.TLSRootCertificates {
				files["tls/root.pem"] = append(files["tls/root.pem"], text...)
			}
		}
		if !serves(have["operations/cert.pem"], have["operations/key.pem"], hosts) {
			root, err := f.operationsRoot(ctx, h)
			if err != nil {
				return nil, err
			}
			pair, err := issuePair(root, certificate.LeafRequest{CommonName: h.Host(), Hosts: hosts, Server: true, Validity: 10 * year})
			if err != nil {
				return nil, err
			}
			if err := putPair(files, "operations", pair); err != nil {
				return nil, err
			}
			files["operations/root.pem"] = root.CertificatePEM()
		}
		return files, nil
	}
}

// serves tells whether a certificate with its key is there and holds all the hosts.
func serves(certPEM, keyPEM []byte, hosts []string) bool {
	if len(certPEM) == 0 || len(keyPEM) == 0 {
		return false
	}
	cert, err := certificate.ParseOne(certPEM)
	if err != nil {
		certs, err := certificate.ParseCertificates(certPEM) // followed by its intermediates
		if err != nil || len(certs) == 0 {
			return false
		}
		cert = certs[0]
	}
	for _, host := range hosts {
		if cert.VerifyHostname(host) != nil {
			return false
		}
	}
	return time.Now().Before(cert.NotAfter)
}

// ReadPeer reads the state of a peer.
func (f *Fabric) ReadPeer(ctx context.Context, h Handle) (MemberState, error) {
	node, err := f.readNode(ctx, h, PeerPorts())
	state := MemberState{NodeState: node}
	if err != nil || node.Status != engine.Running {
		return state, err
	}
	channels, err := f.peerChannels(ctx, h)
	state.HoldsLedger = err == nil && len(channels) > 0 // a peer that does not answer can be read all the same
	return state, nil
}

// ReadCertificates reads the certificates of a node from its volume.
func (f *Fabric) ReadCertificates(ctx context.Context, h Handle, state *MemberState) error {
	for path, into := range map[string]*string{
		"/msp/signcerts/cert.pem": &state.EnrollmentCertificate, "/tls/cert.pem": &state.TLSCertificate,
	} {
		files, err := f.engine.GetFiles(ctx, h.Object(), keysFolder+path)
		if err != nil {
			return fmt.Errorf("unable to read the certificates of %s: %w", h, err)
		}
		*into = string(files[0].Content)
	}
	return nil
}

// DeletePeer removes a peer and, unless it is to be kept, its volume with the ledgers.
func (f *Fabric) DeletePeer(ctx context.Context, h Handle, keepVolume bool) error {
	return f.removeNode(ctx, h, keepVolume)
}
