package realtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// versions are the Fabric releases that every test runs on.
var versions = []string{"2.5.9", "3.1.1"}

const chaincodeImage = "fabricops/kv-chaincode:1.0"

// requireReal skips unless real tests were asked for; from there on nothing may be missing.
func requireReal(t *testing.T) {
	t.Helper()
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("FABRIC_REAL=1 runs the tests on real Fabric")
	}
}

type ordererNode struct {
	container
	tls    *keyPair
	conn   *grpc.ClientConn
	admin  *participation.Client
	metric string // URL of the metrics
}

type peerNode struct {
	container
	organization *organization
	endorser.Peer
}

// network is a running set of nodes without a channel.
type network struct {
	version  string
	prefix   string
	ordering *organization
	// control signs the admin endpoints' certificates, servers' and clients'.
	control  *authority
	orderers []*ordererNode
	peers    []*peerNode
}

// startNetwork starts orderers ordering nodes of one organization and one peer for each entry of
// peers, which gives its organization.
func startNetwork(t *testing.T, version string, orderers int, peers ...*organization) *network {
	t.Helper()
	token := make([]byte, 3)
	if _, err := rand.Read(token); err != nil {
		t.Fatal(err)
	}
	n := &network{
		version: version, prefix: "realtest-" + hex.EncodeToString(token),
		ordering: newOrganization(t, "OrdererMSP"), control: newAuthority(t, "control CA"),
	}
	docker(t, nil, "network", "create", n.prefix)
	t.Cleanup(func() { docker(t, nil, "network", "rm", n.prefix) })
	for i := range orderers {
		n.orderers = append(n.orderers, n.newOrderer(t, fmt.Sprintf("%s-orderer%d", n.prefix, i)))
	}
	for i, organization := range peers {
		n.peers = append(n.peers, n.newPeer(t, fmt.Sprintf("%s-peer%d", n.prefix, i), organization))
	}
	for _, node := range n.orderers {
		node.start(t)
		node.conn = n.dial(t, node.name, "7050", n.ordering.tls)
		client := n.control.issue(t, "operator", "client", "operator")
		node.admin = &participation.Client{
			BaseURL: "https://" + address(t, node.name, "7053"),
			HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs: n.control.pool(), ServerName: node.name, Certificates: client.tlsCertificates, MinVersion: tls.VersionTLS12,
			}}},
		}
		t.Cleanup(node.admin.HTTP.CloseIdleConnections)
		node.metric = "http://" + address(t, node.name, "9443") + "/metrics"
	}
	for _, node := range n.peers {
		node.start(t)
		node.Peer = endorser.Peer{Name: node.name, Conn: n.dial(t, node.name, "7051", node.organization.tls)}
	}
	return n
}

func (n *network) dial(t *testing.T, name, port string, roots *authority) *grpc.ClientConn {
	t.Helper()
	at := address(t, name, port)
	conn, err := grpcconn.Dial(name+":"+port, name, roots.pool(), func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", at)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

const base = "/etc/realtest"

// nodeFiles are the local MSP and the TLS files of a node.
func nodeFiles(t *testing.T, o *organization, name, unit string, tlsPair *keyPair) map[string][]byte {
	t.Helper()
	enrolment := o.enrolment.issue(t, name, unit)
	units := "NodeOUs:\n  Enable: true\n"
	for _, u := range []string{"Client", "Peer", "Admin", "Orderer"} {
		units += fmt.Sprintf("  %sOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: %s}\n", u, lower(u))
	}
	return map[string][]byte{
		base + "/msp/config.yaml":        []byte(units),
		base + "/msp/cacerts/ca.pem":     o.enrolment.pem,
		base + "/msp/tlscacerts/ca.pem":  o.tls.pem,
		base + "/msp/signcerts/cert.pem": enrolment.certificatePEM,
		base + "/msp/keystore/key.pem":   enrolment.keyPEM,
		base + "/tls/ca.pem":             o.tls.pem,
		base + "/tls/cert.pem":           tlsPair.certificatePEM,
		base + "/tls/key.pem":            tlsPair.keyPEM,
	}
}

func lower(s string) string { return string(s[0]+'a'-'A') + s[1:] }

func (n *network) newOrderer(t *testing.T, name string) *ordererNode {
	t.Helper()
	node := &ordererNode{tls: n.ordering.tls.issue(t, name, "orderer", name)}
	admin := n.control.issue(t, name, "orderer", name)
	files := nodeFiles(t, n.ordering, name, "orderer", node.tls)
	files[base+"/admin/ca.pem"], files[base+"/admin/cert.pem"], files[base+"/admin/key.pem"] = n.control.pem, admin.certificatePEM, admin.keyPEM
	node.container = container{
		name: name, image: "hyperledger/fabric-orderer:" + n.version, files: files, ports: []string{"7050", "7053", "9443"},
		env: map[string]string{
			"ORDERER_GENERAL_LISTENADDRESS": "0.0.0.0", "ORDERER_GENERAL_LISTENPORT": "7050",
			"ORDERER_GENERAL_LOCALMSPID": n.ordering.mspID, "ORDERER_GENERAL_LOCALMSPDIR": base + "/msp",
			"ORDERER_GENERAL_TLS_ENABLED": "true", "ORDERER_GENERAL_TLS_PRIVATEKEY": base + "/tls/key.pem",
			"ORDERER_GENERAL_TLS_CERTIFICATE": base + "/tls/cert.pem", "ORDERER_GENERAL_TLS_ROOTCAS": "[" + base + "/tls/ca.pem]",
			"ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE": base + "/tls/cert.pem", "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY": base + "/tls/key.pem",
			"ORDERER_GENERAL_CLUSTER_ROOTCAS": "[" + base + "/tls/ca.pem]",
			"ORDERER_GENERAL_BOOTSTRAPMETHOD": "none", "ORDERER_CHANNELPARTICIPATION_ENABLED": "true",
			"ORDERER_ADMIN_LISTENADDRESS": "0.0.0.0:7053", "ORDERER_ADMIN_TLS_ENABLED": "true",
			"ORDERER_ADMIN_TLS_CERTIFICATE": base + "/admin/cert.pem", "ORDERER_ADMIN_TLS_PRIVATEKEY": base + "/admin/key.pem",
			"ORDERER_ADMIN_TLS_CLIENTROOTCAS": "[" + base + "/admin/ca.pem]", "ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED": "true",
			"ORDERER_OPERATIONS_LISTENADDRESS": "0.0.0.0:9443", "ORDERER_METRICS_PROVIDER": "prometheus",
		},
	}
	node.create(t, n.prefix)
	return node
}

func (n *network) newPeer(t *testing.T, name string, o *organization) *peerNode {
	t.Helper()
	node := &peerNode{organization: o}
	node.container = container{
		name: name, image: "hyperledger/fabric-peer:" + n.version, ports: []string{"7051"},
		files: nodeFiles(t, o, name, "peer", o.tls.issue(t, name, "peer", name)),
		env: map[string]string{
			"CORE_PEER_ID": name, "CORE_PEER_ADDRESS": name + ":7051", "CORE_PEER_LISTENADDRESS": "0.0.0.0:7051",
			"CORE_PEER_LOCALMSPID": o.mspID, "CORE_PEER_MSPCONFIGPATH": base + "/msp",
			"CORE_PEER_TLS_ENABLED": "true", "CORE_PEER_TLS_CERT_FILE": base + "/tls/cert.pem",
			"CORE_PEER_TLS_KEY_FILE": base + "/tls/key.pem", "CORE_PEER_TLS_ROOTCERT_FILE": base + "/tls/ca.pem",
			"CORE_PEER_CHAINCODEADDRESS": name + ":7052", "CORE_PEER_CHAINCODELISTENADDRESS": "0.0.0.0:7052",
			"CORE_PEER_GOSSIP_BOOTSTRAP": name + ":7051", "CORE_PEER_GOSSIP_EXTERNALENDPOINT": name + ":7051",
			// A joining peer dials foreign anchor peers just before it trusts their TLS roots, so the first
			// attempt fails; the default of 25 s until the next is what discovery would wait.
			"CORE_PEER_GOSSIP_RECONNECTINTERVAL": "2s",
			"CORE_OPERATIONS_LISTENADDRESS":      "0.0.0.0:9443", "CORE_VM_ENDPOINT": "",
			"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG": `{"peername":"` + name + `"}`,
		},
	}
	node.create(t, n.prefix)
	return node
}

// startChaincode runs the chaincode server of a peer at the address that packageOf names.
func (n *network) startChaincode(t *testing.T, node *peerNode, packageID string) {
	t.Helper()
	server := container{name: node.name + "-kv", image: chaincodeImage, env: map[string]string{"CHAINCODE_ID": packageID}}
	server.create(t, n.prefix)
	server.start(t)
}

// genesis makes the genesis block of a channel of all organizations, the first peer of each being its
// anchor peer.
func (n *network) genesis(t *testing.T, channel string) []byte {
	t.Helper()
	description := configtx.Channel{Name: channel, Batch: configtx.Batch{Timeout: 100 * time.Millisecond}}
	if n.version[0] == '3' {
		description.ChannelCapability = configtx.ChannelCapabilityV3_0
	}
	ordering := configtx.OrdererOrganization{Definition: n.ordering.definition()}
	for _, node := range n.orderers {
		ordering.Endpoints = append(ordering.Endpoints, node.name+":7050")
		description.Consenters = append(description.Consenters, configtx.Consenter{
			Host: node.name, Port: 7050,
			ClientTLSCertPEM: string(node.tls.certificatePEM), ServerTLSCertPEM: string(node.tls.certificatePEM),
		})
	}
	description.OrdererOrganizations = []configtx.OrdererOrganization{ordering}
	seen := map[string]bool{}
	for _, node := range n.peers {
		if seen[node.organization.mspID] {
			continue
		}
		seen[node.organization.mspID] = true
		description.ApplicationOrganizations = append(description.ApplicationOrganizations, configtx.ApplicationOrganization{
			Definition:  node.organization.definition(),
			AnchorPeers: []configtx.Address{{Host: node.name, Port: 7051}},
		})
	}
	block, err := configtx.Genesis(description)
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := proto.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	return marshalled
}

func (o *organization) definition() msp.Definition {
	return msp.Definition{
		ID: o.mspID, RootCertificates: []string{string(o.enrolment.pem)}, TLSRootCertificates: []string{string(o.tls.pem)},
	}
}
