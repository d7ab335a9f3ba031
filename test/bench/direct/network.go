package direct

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// The network of examples/quickstart, by its names.
const (
	domain        = "example.com"
	channelName   = "trade"
	chaincodeName = "asset"
	chaincodePort = 9999

	authorityPort  = 7054
	operationsPort = 9443
	peerPort       = 7051
	ordererPort    = 7050
	adminPort      = 7053
)

const year = 365 * 24 * time.Hour

// Network is the network, while it is brought up and afterwards.
type Network struct {
	options Options
	engine  *engine
	clock   *clock
	group   *errgroup.Group

	organizations []*organization
	// genesis is the genesis block, packed the chaincode package.
	genesis    []byte
	packed     []byte
	packageID  string
	definition lifecycle.Definition
	onNetwork  event
	onGenesis  event
	onApproved event
	onLeader   event
	// leader is the first orderer that knew the leader.
	leader     *member
	leaderOnce sync.Once

	txID  string
	block uint64
}

// organization is an organization with its CA and its nodes.
type organization struct {
	name, mspID string
	// kind is the type of its members: peer or orderer.
	kind    string
	members []*member

	// The roots are made before the CA server that issues from them starts.
	enrollmentRoot, tlsRoot, operationsRoot *certificate.KeyPair
	definition                              msp.Definition
	tlsPool                                 *x509.CertPool
	ports                                   map[int]int
	enrolment, tls                          authority
	onServer, onAdmin                       event
	admin                                   *msp.Identity
}

// authority is one of the two CAs of a server.
type authority struct {
	client      *ca.Client
	secret      string
	registrar   *certificate.KeyPair
	onRegistrar event
}

// member is an orderer or a peer.
type member struct {
	organization *organization
	name         string
	ports        map[int]int
	conn         *grpc.ClientConn
	// certificate is its TLS certificate in PEM.
	certificate []byte
	// participation is an orderer's admin endpoint, made when it is first needed.
	participation                    *participation.Client
	onCertificate, onReady, onJoined event
	onInstalled, onServed            event
}

func (m *member) host() string { return m.name + "." + domain }

func (m *member) endorser() endorser.Peer { return endorser.Peer{Name: m.name, Conn: m.conn} }

func (o *organization) authorityName() string { return "ca." + o.name }

// plan makes what needs no node: names, ports, roots, the chaincode package.
func (n *Network) plan(ctx context.Context) error {
	if err := n.engine.resolve(ctx, n.options.Images.CA, n.options.Images.Orderer, n.options.Images.Peer, n.options.Images.Chaincode); err != nil {
		return err
	}
	n.organizations = []*organization{
		{name: "orderer", mspID: "OrdererMSP", kind: "orderer"}, {name: "org1", mspID: "Org1MSP", kind: "peer"}, {name: "org2", mspID: "Org2MSP", kind: "peer"},
	}
	for _, name := range []string{"orderer0", "orderer1", "orderer2"} {
		n.organizations[0].add(name)
	}
	for _, org := range n.organizations[1:] {
		org.add("peer0." + org.name)
		org.add("peer1." + org.name)
	}
	for _, org := range n.organizations {
		if err := n.planOrganization(ctx, org); err != nil {
			return err
		}
	}
	return n.planChaincode("1.0", 1)
}

func (o *organization) add(name string) {
	o.members = append(o.members, &member{organization: o, name: name})
}

func (n *Network) planOrganization(ctx context.Context, org *organization) (err error) {
	for _, r := range []struct {
		root       **certificate.KeyPair
		commonName string
	}{{&org.enrollmentRoot, "ca." + org.name}, {&org.tlsRoot, "tlsca." + org.name}, {&org.operationsRoot, "operations." + org.name}} {
		*r.root, err = certificate.NewRoot(certificate.RootRequest{CommonName: r.commonName, Organization: org.name, Validity: 10 * year})
		if err != nil {
			return err
		}
	}
	org.definition = msp.Definition{
		ID: org.mspID, RootCertificates: []string{string(org.enrollmentRoot.CertificatePEM())}, TLSRootCertificates: []string{string(org.tlsRoot.CertificatePEM())},
	}
	org.tlsPool = x509.NewCertPool()
	org.tlsPool.AddCert(org.tlsRoot.Certificate)
	org.enrolment.secret, org.tls.secret = newSecret(), newSecret()
	if org.ports, err = n.engine.freePorts(ctx, n.portOf(org.name), authorityPort, operationsPort); err != nil {
		return err
	}
	web := httpClient(org.ports[authorityPort], &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: org.tlsPool, ServerName: org.authorityHost()})
	for name, a := range map[string]*authority{"ca": &org.enrolment, "tls": &org.tls} {
		if a.client, err = ca.NewClient(fmt.Sprintf("https://%s:%d", org.authorityHost(), authorityPort), name, web); err != nil {
			return err
		}
	}
	for _, m := range org.members {
		if err := n.planMember(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (o *organization) authorityHost() string { return o.authorityName() + "." + domain }

func (n *Network) planMember(ctx context.Context, m *member) (err error) {
	inside := []int{peerPort, operationsPort}
	if m.organization.kind == "orderer" {
		inside = []int{ordererPort, adminPort, operationsPort}
	}
	if m.ports, err = n.engine.freePorts(ctx, n.portOf(m.name), inside...); err != nil {
		return err
	}
	m.conn, err = grpcconn.Dial(net.JoinHostPort(m.host(), strconv.Itoa(inside[0])), m.host(), m.organization.tlsPool, dialer(m.ports[inside[0]]), nil)
	return err
}

// portOf is where the search for a node's host ports begins.
func (n *Network) portOf(node string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(n.options.Name + node)) // a hash never fails
	return int(h.Sum32() % (lastPort - firstPort + 1))
}

func (n *Network) orderers() []*member { return n.organizations[0].members }

func (n *Network) peers() []*member {
	var out []*member
	for _, org := range n.organizations[1:] {
		out = append(out, org.members...)
	}
	return out
}

// Close frees the connections to the nodes.
func (n *Network) Close() {
	for _, org := range n.organizations {
		for _, m := range org.members {
			if m.conn != nil {
				_ = m.conn.Close() // nobody uses it any more
			}
		}
	}
}

func httpClient(port int, config *tls.Config) *http.Client {
	dial := dialer(port)
	return &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     10 * time.Second,
	}}
}

// issue makes a key and has a root certify it.
func issue(root *certificate.KeyPair, request certificate.LeafRequest) (*certificate.KeyPair, error) {
	key, err := certificate.GenerateKey(certificate.DefaultKeyAlgorithm)
	if err != nil {
		return nil, err
	}
	request.PublicKey = key.Public()
	cert, err := certificate.Issue(root, request)
	if err != nil {
		return nil, err
	}
	return &certificate.KeyPair{Certificate: cert, Key: key}, nil
}

// putPair adds a certificate and its key as FOLDER/cert.pem and FOLDER/key.pem.
func putPair(files map[string][]byte, folder string, pair *certificate.KeyPair) error {
	keyPEM, err := pair.KeyPEM()
	files[folder+"/cert.pem"], files[folder+"/key.pem"] = pair.CertificatePEM(), keyPEM
	return err
}

// newSecret makes an enrolment secret of 160 bits.
func newSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

func hosts(host, name string) []string { return []string{host, name, "localhost", hostAddress} }
