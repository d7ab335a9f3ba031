package load

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// access is how the nodes of a network are reached: by what the engine's labels say of them, as the
// admins whose keys the engine holds. It remembers credentials, so changes are seen by a new one.
type access struct {
	network, channel string
	fabric           *network.Fabric
	engine           engine.Engine
	conns            []*grpc.ClientConn
	credentials      map[string]network.Credentials
}

// Labels of nodes beyond those that engine names.
const (
	labelDomain = engine.LabelPrefix + "domain"
	labelMSPID  = engine.LabelPrefix + "msp_id"
)

// openAccess opens the engine that DOCKER_HOST names, or the local one.
func openAccess(name, channel string) (*access, error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	e, err := docker.New(docker.Options{Host: host})
	if err != nil {
		return nil, err
	}
	return &access{network: name, channel: channel, engine: e, fabric: network.New(e), credentials: map[string]network.Credentials{}}, nil
}

func (a *access) close() {
	for _, conn := range a.conns {
		_ = conn.Close() // nobody uses it any more
	}
	_ = a.fabric.Close() // and with it the engine's
}

// nodes are the peers, or the orderers, of the network, in the order of their names.
func (a *access) nodes(ctx context.Context, kind network.Kind) ([]engine.Node, error) {
	nodes, err := a.engine.Nodes(ctx, map[string]string{engine.LabelNetwork: a.network, engine.LabelKind: string(kind)})
	if err != nil {
		return nil, err
	}
	// What runs once for a node carries its labels, and another name.
	nodes = slices.DeleteFunc(nodes, func(n engine.Node) bool { return n.Name != handleOf(n).Object() })
	slices.SortFunc(nodes, func(x, y engine.Node) int { return strings.Compare(handleOf(x).Name, handleOf(y).Name) })
	return nodes, nil
}

func handleOf(n engine.Node) network.Handle {
	return network.Handle{
		Kind: network.Kind(n.Labels[engine.LabelKind]), Network: n.Labels[engine.LabelNetwork], Domain: n.Labels[labelDomain],
		Owner: n.Labels[engine.LabelOwner], Name: n.Labels[engine.LabelName], MSPID: n.Labels[labelMSPID],
	}
}

// member is a node with the admin of its organization and a connection that is dialled anew, at the
// address that the node then has, whenever it broke.
type member struct {
	handle      network.Handle
	channel     string
	credentials network.Credentials
	admin       *msp.Identity
	conn        *grpc.ClientConn
}

func (a *access) member(ctx context.Context, h network.Handle) (*member, error) {
	credentials, known := a.credentials[h.Owner+h.MSPID]
	if !known {
		var err error
		if credentials, err = a.fabric.Credentials(ctx, h.Organization()); err != nil {
			return nil, err
		}
		a.credentials[h.Owner+h.MSPID] = credentials
	}
	key, err := certificate.ParseKey([]byte(credentials.PrivateKey))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, root := range slices.Concat(credentials.Definition.TLSRootCertificates, credentials.Definition.TLSIntermediateCertificates) {
		roots.AppendCertsFromPEM([]byte(root))
	}
	port := network.PeerPorts()["grpc"]
	if h.Kind == network.KindOrderer {
		port = network.OrdererPorts()["grpc"]
	}
	dial := func(ctx context.Context) (net.Conn, error) { return a.engine.Dial(ctx, h.Object(), port) }
	conn, err := grpcconn.Dial(fmt.Sprintf("%s:%d", h.Host(), port), h.Host(), roots, dial, nil)
	if err != nil {
		return nil, err
	}
	a.conns = append(a.conns, conn)
	admin := &msp.Identity{ID: credentials.MSPID, CertificatePEM: []byte(credentials.Certificate), Key: key}
	return &member{handle: h, channel: a.channel, credentials: credentials, admin: admin, conn: conn}, nil
}

// gateways are the peers of the wanted organizations that run and have joined the channel.
func (a *access) gateways(ctx context.Context, target Target) ([]gateway, error) {
	nodes, err := a.nodes(ctx, network.KindPeer)
	if err != nil {
		return nil, err
	}
	var found []gateway
	var failures []error
	for _, n := range nodes {
		h := handleOf(n)
		wanted := len(target.Organizations) == 0 || slices.Contains(target.Organizations, h.MSPID)
		if !wanted || n.Status != engine.Running {
			continue
		}
		m, err := a.member(ctx, h)
		if err != nil {
			return nil, err
		}
		channels, err := endorser.Channels(ctx, endorser.Peer{Name: h.Name, Conn: m.conn}, m.admin)
		failures = append(failures, err)
		if !slices.Contains(channels, target.Channel) {
			continue
		}
		g, err := newApplication(m, target.Chaincode)
		if err != nil {
			return nil, err
		}
		found = append(found, g)
	}
	if len(found) == 0 {
		return nil, errors.Join(append(failures, errors.New("no peer of it runs that has joined the channel"))...)
	}
	return found, nil
}

// ledgers are those of all peers and orderers, but for some.
func (a *access) ledgers(ctx context.Context, except []string) (peers []peerLedger, orderers []ledger, err error) {
	for _, kind := range []network.Kind{network.KindPeer, network.KindOrderer} {
		nodes, err := a.nodes(ctx, kind)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range nodes {
			h := handleOf(n)
			if slices.Contains(except, h.Name) {
				continue
			}
			m, err := a.member(ctx, h)
			if err != nil {
				return nil, nil, err
			}
			if kind == network.KindOrderer {
				orderers = append(orderers, ordererLedger{m})
				continue
			}
			g, err := newApplication(m, "")
			if err != nil {
				return nil, nil, err
			}
			peers = append(peers, g)
		}
	}
	if len(orderers) == 0 {
		return nil, nil, fmt.Errorf("network %s has no orderer", a.network)
	}
	return peers, orderers, nil
}

// ordererLedger is an orderer's copy of the channel.
type ordererLedger struct{ *member }

func (l ordererLedger) name() string { return l.handle.Name }

func (l ordererLedger) tip(ctx context.Context) (tip, error) {
	block, err := orderer.Block(ctx, l.conn, l.admin, l.channel, orderer.Newest(), orderer.BestEffort())
	if err != nil {
		return tip{}, err
	}
	return tip{height: configtx.Number(block) + 1, hash: string(configtx.BlockHash(block))}, nil
}
