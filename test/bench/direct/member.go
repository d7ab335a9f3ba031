package direct

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// runMember makes an orderer or a peer and starts it. Its container is made while its certificates
// are being issued, and not before its CA runs, which comes first.
func (n *Network) runMember(ctx context.Context, m *member) error {
	if err := wait(ctx, &m.organization.onServer); err != nil {
		return err
	}
	if m.organization.kind == "peer" {
		// Registering and enrolling costs the CAs about 70 ms of a core each. The orderers' come first:
		// an election follows them, which needs no core.
		for _, o := range n.orderers() {
			if err := wait(ctx, &o.onCertificate); err != nil {
				return err
			}
		}
	}
	var material map[string][]byte
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.createMember(gctx, m) })
	group.Go(func() error {
		return n.clock.phase(m.organization.kind+" identities", func() (err error) {
			material, err = m.material(gctx)
			return err
		})
	})
	if err := group.Wait(); err != nil {
		return err
	}
	err := n.clock.phase(m.organization.kind+" containers", func() error {
		config, err := n.config(m)
		if err != nil {
			return err
		}
		files := map[string][]byte{"data/.keep": nil}
		for name, content := range material {
			files["keys/"+name] = content
		}
		files["config/"+nodeconfig.Kind(m.organization.kind).File()] = config
		if err := n.engine.put(ctx, m.name, volumeRoot, "node", files); err != nil {
			return err
		}
		return n.engine.start(ctx, m.name, m.urgency())
	})
	if err != nil {
		return err
	}
	return n.clock.phase(m.organization.kind+"s answer", func() error {
		if err := poll(ctx, m.name+" does not answer", func(ctx context.Context) error { return n.answers(ctx, m) }); err != nil {
			return err
		}
		m.onReady.set()
		return nil
	})
}

func (m *member) urgency() urgency {
	if m.organization.kind == "orderer" {
		return startOrderer
	}
	return startPeer
}

func (n *Network) createMember(ctx context.Context, m *member) error {
	if err := n.engine.createVolume(ctx, m.name); err != nil {
		return err
	}
	s := spec{
		name: m.name, host: m.host(), network: true, volume: m.name, target: volumeRoot, ports: m.ports,
		image: n.options.Images.Orderer, command: []string{"orderer"}, env: map[string]string{"FABRIC_CFG_PATH": nodeRoot + "/config"},
	}
	if m.organization.kind == "peer" {
		s.image, s.command = n.options.Images.Peer, []string{"peer", "node", "start"}
		s.env["CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"] = fmt.Sprintf("{\"peername\":%q}", m.host())
	}
	return n.engine.create(ctx, s)
}

// material issues the local MSP from the enrolment CA, the TLS certificate from the TLS CA, and the
// certificate of the operations endpoint.
func (m *member) material(ctx context.Context) (map[string][]byte, error) {
	org := m.organization
	files := map[string][]byte{}
	registration := ca.Registration{ID: m.name, Type: org.kind}
	var enrolled, tls *ca.Enrollment
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		enrolled, err = org.enrolment.enroll(gctx, registration, ca.EnrollRequest{})
		return err
	})
	group.Go(func() (err error) {
		tls, err = org.tls.enroll(gctx, registration, ca.EnrollRequest{Profile: ca.ProfileTLS, Hosts: hosts(m.host(), m.name)})
		if err != nil {
			return err
		}
		m.certificate = tls.CertificatePEM()
		m.onCertificate.set()
		return nil
	})
	operations, err := issue(org.operationsRoot, certificate.LeafRequest{CommonName: m.host(), Hosts: hosts(m.host(), m.name), Server: true, Validity: 10 * year})
	if err != nil {
		return nil, err
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	folder, err := msp.Folder(org.definition, &msp.Identity{ID: org.mspID, CertificatePEM: enrolled.CertificatePEM(), Key: enrolled.Key})
	if err != nil {
		return nil, err
	}
	for name, content := range folder {
		files["msp/"+name] = content
	}
	files["tls/root.pem"], files["operations/root.pem"] = org.tlsRoot.CertificatePEM(), org.operationsRoot.CertificatePEM()
	if err := putPair(files, "tls", tls.KeyPair); err != nil {
		return nil, err
	}
	return files, putPair(files, "operations", operations)
}

func (n *Network) config(m *member) ([]byte, error) {
	listen := func(port int) string { return net.JoinHostPort("0.0.0.0", strconv.Itoa(port)) }
	own := func(port int) string { return net.JoinHostPort(m.host(), strconv.Itoa(port)) }
	serverTLS := nodeconfig.ServerTLS{CertFile: keysFolder + "/tls/cert.pem", KeyFile: keysFolder + "/tls/key.pem", RootFiles: []string{keysFolder + "/tls/root.pem"}}
	endpoint := func(port int) nodeconfig.Endpoint {
		return nodeconfig.Endpoint{
			ListenAddress: listen(port), CertFile: keysFolder + "/operations/cert.pem", KeyFile: keysFolder + "/operations/key.pem",
			ClientRootFiles: []string{keysFolder + "/operations/root.pem"},
		}
	}
	if m.organization.kind == "peer" {
		const chaincodeCallbacks = 7052
		return nodeconfig.RenderPeer(n.options.Version, nodeconfig.Peer{
			ID: m.host(), MSPID: m.organization.mspID, ListenAddress: listen(peerPort), Address: own(peerPort),
			ExternalEndpoint: own(peerPort), GossipBootstrap: []string{own(peerPort)},
			ChaincodeListenAddress: listen(chaincodeCallbacks), ChaincodeAddress: own(chaincodeCallbacks),
			MSPDir: keysFolder + "/msp", DataDir: dataFolder, TLS: serverTLS, Operations: endpoint(operationsPort),
		}, nil)
	}
	return nodeconfig.RenderOrderer(n.options.Version, nodeconfig.Orderer{
		MSPID: m.organization.mspID, MSPDir: keysFolder + "/msp", ListenAddress: listen(ordererPort), TLS: serverTLS,
		Cluster: nodeconfig.Cluster{ClientCertFile: serverTLS.CertFile, ClientKeyFile: serverTLS.KeyFile, RootFiles: slices.Clone(serverTLS.RootFiles)},
		Admin:   endpoint(adminPort), Operations: endpoint(operationsPort),
		LedgerDir: dataFolder + "/ledger", WALDir: dataFolder + "/etcdraft/wal", SnapDir: dataFolder + "/etcdraft/snapshot",
	}, nil)
}

// answers asks a node something that only works when it does.
func (n *Network) answers(ctx context.Context, m *member) error {
	if m.organization.kind == "peer" {
		if err := wait(ctx, &m.organization.onAdmin); err != nil {
			return err
		}
		_, err := endorser.Channels(ctx, m.endorser(), m.organization.admin)
		return err
	}
	admin, err := m.adminEndpoint()
	if err != nil {
		return err
	}
	if _, err := admin.List(ctx); err != nil {
		return err
	}
	conn, err := dialer(m.ports[ordererPort])(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// adminEndpoint is an orderer's channel participation API, for a client of the operations root.
func (m *member) adminEndpoint() (*participation.Client, error) {
	if m.participation != nil {
		return m.participation, nil
	}
	root := m.organization.operationsRoot
	pair, err := issue(root, certificate.LeafRequest{CommonName: "bench", Client: true, Validity: 24 * time.Hour})
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	m.participation = &participation.Client{
		BaseURL: fmt.Sprintf("https://%s:%d", m.host(), adminPort),
		HTTP: httpClient(m.ports[adminPort], &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: m.host(), Certificates: []tls.Certificate{pair.TLS()},
		}),
	}
	return m.participation, nil
}
