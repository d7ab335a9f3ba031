package configtx

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hyperledger/fabric-admin-sdk/pkg/channel"
	fabricconfig "github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// TestRealNodesTakeTheGenesisBlock starts three ordering nodes and a peer of each supported release on
// the local Docker engine, joins them with a block of Genesis, and commits a config update, which needs
// a Raft leader, certificates that the other consenters accept, and policies that can be met. It runs
// only with FABRIC_REAL=1, and then fails without an engine or images. It removes what it starts.
func TestRealNodesTakeTheGenesisBlock(t *testing.T) {
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("needs an engine and Fabric's images; set FABRIC_REAL=1")
	}
	for _, c := range []struct{ release, capability string }{
		{"2.5.9", ChannelCapabilityV2_0}, {"3.1.1", ChannelCapabilityV2_0}, {"3.1.1", ChannelCapabilityV3_0},
	} {
		t.Run(c.release+" with "+c.capability, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			n := newRealNetwork(ctx, t, c.release)
			for range 3 {
				n.startOrderer(ctx)
			}
			n.startPeer(ctx)
			n.check(ctx, c.capability)
		})
	}
}

type realNetwork struct {
	t             *testing.T
	release, name string
	orderer, org1 organization
	orderers      []*realNode
	peer          *realNode
	admin         *msp.Identity // of Org1MSP
	adminSigner   *fabricconfig.SigningIdentity
	adminTLS      leaf // for the orderers' admin endpoints
}

type realNode struct {
	name     string
	identity leaf
	tls      leaf
}

func docker(ctx context.Context, t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", args[0], err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func newRealNetwork(ctx context.Context, t *testing.T, release string) *realNetwork {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix)
	n := &realNetwork{t: t, release: release, name: "configtx-" + hex.EncodeToString(suffix)}
	// Two shapes of MSP at once: two roots, as during a rollover, where NodeOUs name no CA; and members
	// of an intermediate, where they name that, beside a revocation list.
	n.orderer, n.org1 = newTestOrganization(t, "OrdererMSP"), newTestOrganization(t, "Org1MSP")
	n.orderer.RootCertificates = []string{newAuthority(t, "former root", nil).pem, n.orderer.ca.pem}
	n.org1.issuer = newAuthority(t, "ica.Org1MSP", n.org1.ca)
	n.org1.IntermediateCertificates = []string{n.org1.issuer.pem}
	n.org1.RevocationLists = []string{n.org1.issuer.crl(t, 42)}
	admin := n.org1.issuer.member(t, "admin", "admin")
	n.admin = &msp.Identity{ID: "Org1MSP", CertificatePEM: []byte(admin.pem), Key: admin.key}
	n.adminSigner = &fabricconfig.SigningIdentity{Certificate: admin.cert, PrivateKey: admin.key, MSPID: "Org1MSP"}
	n.adminTLS = n.orderer.tlsca.tls(t, "admin")

	docker(ctx, t, nil, "network", "create", n.name)
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		docker(ctx, t, nil, "network", "rm", n.name)
	})
	return n
}

// startOrderer starts one more ordering node.
func (n *realNetwork) startOrderer(ctx context.Context) *realNode {
	n.t.Helper()
	node := &realNode{name: fmt.Sprintf("%s-orderer%d", n.name, len(n.orderers))}
	n.start(ctx, node, n.orderer, "orderer", []string{"7050", "7053"},
		"ORDERER_GENERAL_LISTENADDRESS=0.0.0.0", "ORDERER_GENERAL_LISTENPORT=7050",
		"ORDERER_GENERAL_LOCALMSPID=OrdererMSP", "ORDERER_GENERAL_LOCALMSPDIR=/etc/node/msp",
		"ORDERER_GENERAL_TLS_ENABLED=true", "ORDERER_GENERAL_TLS_PRIVATEKEY=/etc/node/tls/key.pem",
		"ORDERER_GENERAL_TLS_CERTIFICATE=/etc/node/tls/cert.pem", "ORDERER_GENERAL_TLS_ROOTCAS=[/etc/node/tls/ca.pem]",
		"ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE=/etc/node/tls/cert.pem", "ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY=/etc/node/tls/key.pem",
		"ORDERER_GENERAL_CLUSTER_ROOTCAS=[/etc/node/tls/ca.pem]",
		"ORDERER_GENERAL_BOOTSTRAPMETHOD=none", "ORDERER_CHANNELPARTICIPATION_ENABLED=true",
		"ORDERER_ADMIN_LISTENADDRESS=0.0.0.0:7053", "ORDERER_ADMIN_TLS_ENABLED=true", "ORDERER_ADMIN_TLS_CLIENTAUTHREQUIRED=true",
		"ORDERER_ADMIN_TLS_CERTIFICATE=/etc/node/tls/cert.pem", "ORDERER_ADMIN_TLS_PRIVATEKEY=/etc/node/tls/key.pem",
		"ORDERER_ADMIN_TLS_ROOTCAS=[/etc/node/tls/ca.pem]", "ORDERER_ADMIN_TLS_CLIENTROOTCAS=[/etc/node/tls/ca.pem]")
	n.orderers = append(n.orderers, node)
	return node
}

func (n *realNetwork) startPeer(ctx context.Context) {
	n.t.Helper()
	n.peer = &realNode{name: n.name + "-peer0"}
	n.start(ctx, n.peer, n.org1, "peer", []string{"7051"},
		"CORE_PEER_ID="+n.peer.name, "CORE_PEER_ADDRESS="+n.peer.name+":7051", "CORE_PEER_LISTENADDRESS=0.0.0.0:7051",
		"CORE_PEER_CHAINCODEADDRESS="+n.peer.name+":7052", "CORE_PEER_CHAINCODELISTENADDRESS=0.0.0.0:7052",
		"CORE_PEER_GOSSIP_BOOTSTRAP="+n.peer.name+":7051", "CORE_PEER_GOSSIP_EXTERNALENDPOINT="+n.peer.name+":7051",
		"CORE_PEER_LOCALMSPID=Org1MSP", "CORE_PEER_MSPCONFIGPATH=/etc/node/msp", "CORE_VM_ENDPOINT=",
		"CORE_PEER_TLS_ENABLED=true", "CORE_PEER_TLS_CERT_FILE=/etc/node/tls/cert.pem", "CORE_PEER_TLS_KEY_FILE=/etc/node/tls/key.pem",
		"CORE_PEER_TLS_ROOTCERT_FILE=/etc/node/tls/ca.pem")
}

func (n *realNetwork) start(ctx context.Context, node *realNode, o organization, kind string, ports []string, env ...string) {
	t := n.t
	t.Helper()
	node.identity = o.issuer.member(t, node.name, kind)
	node.tls = o.tlsca.tls(t, node.name, "localhost", "127.0.0.1")
	files, err := msp.Folder(o.Definition, &msp.Identity{ID: o.ID, CertificatePEM: []byte(node.identity.pem), Key: node.identity.key})
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: "etc/node/" + name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		add("msp/"+name, content)
	}
	add("tls/cert.pem", []byte(node.tls.pem))
	add("tls/key.pem", node.tls.keyPEM(t))
	add("tls/ca.pem", []byte(o.tlsca.pem))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"create", "--pull", "never", "--name", node.name, "--network", n.name}
	for _, e := range env {
		args = append(args, "--env", e)
	}
	for _, port := range ports {
		args = append(args, "--publish", "127.0.0.1::"+port)
	}
	docker(ctx, t, nil, append(args, "hyperledger/fabric-"+kind+":"+n.release)...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			logs, _ := exec.CommandContext(ctx, "docker", "logs", "--tail", "25", node.name).CombinedOutput()
			t.Logf("%s:\n%s", node.name, logs)
		}
		docker(ctx, t, nil, "rm", "--force", "--volumes", node.name)
	})
	docker(ctx, t, &archive, "cp", "-", node.name+":/")
	docker(ctx, t, nil, "start", node.name)
}

// address gives where the engine published a port.
func (n *realNetwork) address(ctx context.Context, node *realNode, port string) string {
	n.t.Helper()
	return docker(ctx, n.t, nil, "port", node.name, port+"/tcp")
}

func pool(pem string) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM([]byte(pem))
	return p
}

func (n *realNetwork) dial(ctx context.Context, node *realNode, port, root string) *grpc.ClientConn {
	n.t.Helper()
	conn, err := grpc.NewClient(n.address(ctx, node, port), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool(root), MinVersion: tls.VersionTLS12})))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// eventually repeats what must work soon, until the context ends.
func eventually[T any](ctx context.Context, t *testing.T, what string, operation func() (T, error)) T {
	t.Helper()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, time.Second
	out, err := backoff.Retry(ctx, operation, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(time.Minute))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return out
}

func (n *realNetwork) check(ctx context.Context, capability string) {
	t := n.t
	c := Channel{
		Name: "trade.1", ChannelCapability: capability,
		ApplicationOrganizations: []ApplicationOrganization{{Definition: n.org1.Definition, AnchorPeers: []Address{{n.peer.name, 7051}}}},
		Raft:                     RaftOptions{TickInterval: 100 * time.Millisecond},
		ACLs:                     map[string]string{"peer/Propose": "/Channel/Application/Writers"},
	}
	n.orderedBy(&c, n.orderers)
	block, err := Genesis(c)
	if err != nil {
		t.Fatal(err)
	}
	raw := marshal(t, block)

	for _, node := range n.orderers {
		state := eventually(ctx, t, "join "+node.name, func() (string, error) { return n.join(ctx, node, raw) })
		if state != "consenter active" {
			t.Errorf("%s joined as %s", node.name, state)
		}
	}
	peer := n.dial(ctx, n.peer, "7051", n.org1.tlsca.pem)
	eventually(ctx, t, "join the peer", func() (any, error) { return nil, channel.JoinChannel(ctx, peer, n.admin, block) })

	// The peer holds the block as we made it.
	stored, err := channel.GetConfigBlock(ctx, peer, n.admin, c.Name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(BlockHash(stored), BlockHash(block)) {
		t.Error("the peer has another genesis block")
	}
	config, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}

	// A config update on top of it, computed by fabric-config and signed by Org1's admin alone.
	tx := fabricconfig.New(config.Proto)
	if err := tx.Application().Organization("Org1MSP").AddAnchorPeer(fabricconfig.Address{Host: "other", Port: 7051}); err != nil {
		t.Fatal(err)
	}
	marshalled, err := tx.ComputeMarshaledUpdate(c.Name)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := n.adminSigner.CreateConfigSignature(marshalled)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := fabricconfig.NewEnvelope(marshalled, signature)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.adminSigner.SignEnvelope(envelope); err != nil {
		t.Fatal(err)
	}
	conn := n.dial(ctx, n.orderers[1], "7050", n.orderer.tlsca.pem)
	eventually(ctx, t, "broadcast", func() (any, error) { return nil, broadcast(ctx, conn, envelope) })

	updated := eventually(ctx, t, "commit of the update", func() (*Config, error) {
		latest, err := channel.GetConfigBlock(ctx, peer, n.admin, c.Name)
		if err != nil {
			return nil, err
		}
		if Number(latest) == 0 {
			return nil, errors.New("still the genesis block")
		}
		if index, err := LastConfigIndex(latest); err != nil || index != 1 {
			return nil, backoff.Permanent(fmt.Errorf("last config index %d, %w", index, err))
		}
		return Decode(latest)
	})
	summary, err := Summarize(updated)
	if err != nil {
		t.Fatal(err)
	}
	anchors := summary.ApplicationOrganizations[0].AnchorPeers
	if summary.Sequence != 1 || summary.Block != 1 || len(anchors) != 2 || anchors[1] != (Address{"other", 7051}) {
		t.Errorf("after the update: sequence %d, block %d, anchors %v", summary.Sequence, summary.Block, anchors)
	}
	if len(summary.Consenters) != 3 || summary.Raft.TickInterval != 100*time.Millisecond {
		t.Errorf("consenters %v, %v", summary.Consenters, summary.Raft)
	}
	if _, err := JSON(updated); err != nil {
		t.Error(err)
	}
}

// orderedBy makes these nodes the consenters of a channel.
func (n *realNetwork) orderedBy(c *Channel, nodes []*realNode) {
	organization := OrdererOrganization{Definition: n.orderer.Definition}
	for _, node := range nodes {
		organization.Endpoints = append(organization.Endpoints, node.name+":7050")
		c.Consenters = append(c.Consenters, node.consenter(c.Consensus))
	}
	c.OrdererOrganizations = []OrdererOrganization{organization}
}

func (node *realNode) consenter(consensus string) Consenter {
	c := Consenter{Host: node.name, Port: 7050, ClientTLSCertPEM: node.tls.pem, ServerTLSCertPEM: node.tls.pem}
	if consensus == ConsensusBFT {
		c.MSPID, c.IdentityPEM = "OrdererMSP", node.identity.pem
	}
	return c
}

// join asks the node's channel participation API, and gives its relation to the channel and its status.
func (n *realNetwork) join(ctx context.Context, node *realNode, block []byte) (string, error) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	file, err := w.CreateFormFile("config-block", "config.block")
	if err == nil {
		_, err = file.Write(block)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+n.address(ctx, node, "7053")+"/participation/v1/channels", &form)
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", w.FormDataContentType())
	state, err := n.participate(request, http.StatusCreated)
	return state.ConsensusRelation + " " + state.Status, err
}

// participation is what a node says of a channel.
type participation struct {
	Status, ConsensusRelation string
	Height                    uint64
}

// participation asks a node how far it is with a channel.
func (n *realNetwork) participation(ctx context.Context, node *realNode, channel string) (participation, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.address(ctx, node, "7053")+"/participation/v1/channels/"+channel, nil)
	if err != nil {
		return participation{}, err
	}
	return n.participate(request, http.StatusOK)
}

func (n *realNetwork) participate(request *http.Request, want int) (state participation, err error) {
	pair, err := tls.X509KeyPair([]byte(n.adminTLS.pem), n.adminTLS.keyPEM(n.t))
	if err != nil {
		return state, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(n.orderer.tlsca.pem), Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(request)
	if err != nil {
		return state, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return state, err
	}
	if response.StatusCode != want {
		return state, backoff.Permanent(fmt.Errorf("%s: %s", response.Status, body))
	}
	if err := json.Unmarshal(body, &state); err != nil {
		return state, backoff.Permanent(err)
	}
	return state, nil
}

func broadcast(ctx context.Context, conn *grpc.ClientConn, envelope *common.Envelope) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := orderer.NewAtomicBroadcastClient(conn).Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(envelope); err != nil {
		return err
	}
	response, err := stream.Recv()
	if err != nil {
		return err
	}
	switch response.GetStatus() {
	case common.Status_SUCCESS:
		return nil
	case common.Status_SERVICE_UNAVAILABLE: // no leader yet
		return fmt.Errorf("%s", response.GetInfo())
	default:
		return backoff.Permanent(fmt.Errorf("%s: %s", response.GetStatus(), response.GetInfo()))
	}
}
