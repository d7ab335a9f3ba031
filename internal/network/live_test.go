package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// live is a network of real Fabric nodes on the local engine, made by the use cases themselves: an
// ordering organization, and one peer for each of two others.
type live struct {
	t       *testing.T
	engine  engine.Engine
	network Handle
	version nodeconfig.Version
	fabric  *Fabric
	peers   []Handle
	// definitions are those of the organizations, by MSP ID.
	definitions map[string]ChannelOrganization
}

const liveChannel = "trade"

// newLive starts a network; it is removed when the test ends. TF_ACC turns these tests on, as it does
// the acceptance tests of the provider.
func newLive(t *testing.T, version string, orderers int) *live {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 runs the tests on real Fabric")
	}
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	e, err := docker.New(docker.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(os.Getenv("TEST_NETWORK_PREFIX") + t.Name()))
	name := "live-" + hex.EncodeToString(sum[:4])
	l := &live{
		t: t, engine: e, definitions: map[string]ChannelOrganization{},
		network: Handle{Kind: KindNetwork, Network: name, Domain: "example.com", Owner: hex.EncodeToString(sum[:8]), Name: name},
	}
	if l.version, err = nodeconfig.ParseVersion(version); err != nil {
		t.Fatal(err)
	}
	l.clean() // what an interrupted run left
	t.Cleanup(func() {
		l.clean()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	l.fabric = l.fresh(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l.must(l.fabric.EnsureNetwork(ctx, l.network, false))
	group, gctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	for _, org := range []string{"orderer", "org1", "org2"} {
		group.Go(func() error {
			definition, err := l.addOrganization(gctx, org)
			if err != nil {
				return err
			}
			mu.Lock()
			l.definitions[definition.Organization.MSPID] = definition
			mu.Unlock()
			if org == "orderer" {
				return l.addOrderers(gctx, orderers)
			}
			_, err = l.fabric.EnsurePeer(gctx, PeerSpec{
				Handle: l.peer("peer0." + org), NodeOptions: liveOptions("hyperledger/fabric-peer:" + version), Version: l.version,
			})
			return err
		})
	}
	l.must(group.Wait())
	l.peers = []Handle{l.peer("peer0.org1"), l.peer("peer0.org2")}
	return l
}

// TestAccLive sees on both releases what may differ between them.
func TestAccLive(t *testing.T) {
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			l := newLive(t, version, 1)
			for _, part := range []struct {
				name string
				run  func(*live, *testing.T)
			}{
				{"a channel is found again", (*live).channelFoundAgain},
				{"a chaincode is ready when it answers", (*live).chaincodeReadiness},
				{"a system channel keeps its node from Fabric 3", (*live).systemChannel},
				{"a member of somebody else's channel is reached", (*live).memberReached},
			} {
				t.Run(part.name, func(t *testing.T) { part.run(l.in(t), t) })
			}
		})
	}
}

// in gives the network to a part of a test.
func (l *live) in(t *testing.T) *live {
	part := *l
	part.t = t
	return &part
}

func liveOptions(image string) NodeOptions {
	return NodeOptions{Image: image, BindAddress: "127.0.0.1"}
}

func liveMSP(org string) string {
	return map[string]string{"orderer": "OrdererMSP", "org1": "Org1MSP", "org2": "Org2MSP"}[org]
}

func (l *live) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// fresh gives the use cases as a new run of the provider has them, over an engine that may fail.
func (l *live) fresh(e engine.Engine) *Fabric {
	if e == nil {
		e = l.engine
	}
	f := New(e)
	l.t.Cleanup(f.conns.close)
	return f
}

func (l *live) addOrganization(ctx context.Context, org string) (ChannelOrganization, error) {
	ca := l.network.With(KindCA, "ca."+org, "")
	_, err := l.fabric.EnsureCA(ctx, CASpec{
		Handle: ca, NodeOptions: liveOptions("hyperledger/fabric-ca:1.5.13"), Organization: org, CommonName: "ca." + org,
		KeyAlgorithm: certificate.DefaultKeyAlgorithm, RootValidity: 15 * year, CertificateValidity: year,
	})
	if err != nil {
		return ChannelOrganization{}, err
	}
	h := l.network.With(KindOrganization, liveMSP(org), liveMSP(org))
	state, err := l.fabric.CreateOrganization(ctx, OrganizationSpec{Handle: h, CA: &ca})
	return ChannelOrganization{Organization: h, Definition: state.Definition}, err
}

func (l *live) addOrderers(ctx context.Context, count int) error {
	specs := map[string]OrdererSpec{}
	for i := range count {
		h := l.orderer(i)
		specs[h.Name] = OrdererSpec{Handle: h, NodeOptions: liveOptions("hyperledger/fabric-orderer:" + l.version.String()), Version: l.version, Cluster: "raft"}
	}
	_, err := l.fabric.EnsureOrdererCluster(ctx, ClusterSpec{Handle: l.network.With(KindOrdererCluster, "raft", "OrdererMSP"), Nodes: specs, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}})
	return err
}

func (l *live) orderer(i int) Handle {
	return l.network.With(KindOrderer, fmt.Sprintf("orderer%d", i), "OrdererMSP")
}

func (l *live) peer(name string) Handle {
	return l.network.With(KindPeer, name, map[string]string{"peer0.org1": "Org1MSP", "peer0.org2": "Org2MSP"}[name])
}

// clean removes everything of the network.
func (l *live) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	labels := map[string]string{engine.LabelOwner: l.network.Owner}
	nodes, err := l.engine.Nodes(ctx, labels)
	failed := []error{err}
	var jobs together
	for _, n := range nodes {
		jobs.do(func() error { return l.engine.RemoveNode(ctx, n.Name, l.network.Owner) })
	}
	failed = append(failed, jobs.wait())
	volumes, err := l.engine.Volumes(ctx, labels)
	failed = append(failed, err)
	for _, v := range volumes {
		failed = append(failed, l.engine.RemoveVolume(ctx, v.Name, l.network.Owner))
	}
	failed = append(failed, l.engine.RemoveNetwork(ctx, l.network.Network, l.network.Owner))
	if err := errors.Join(failed...); err != nil {
		l.t.Error(err)
	}
}

// spec asks for a channel of both organizations, whose blocks are cut at once.
func (l *live) spec() ChannelSpec {
	spec := ChannelSpec{
		Handle: l.network.With(KindChannel, liveChannel, ""), Orderers: l.network.With(KindOrdererCluster, "raft", "OrdererMSP"),
		Organizations: map[string]ChannelOrganization{},
		Config: configtx.Channel{
			ChannelCapability: configtx.ChannelCapabilityV2_0, ApplicationCapability: configtx.ApplicationCapabilityV2_5,
			Batch: configtx.Batch{Timeout: 2 * time.Second, MaxMessageCount: 1},
		},
	}
	for _, p := range l.peers {
		org := l.definitions[p.MSPID]
		org.Peers = map[string]Handle{"peer0": p}
		spec.Organizations[p.MSPID] = org
	}
	return spec
}

// create makes the channel within the limit, which the look before it does not use up on a machine
// that has other work.
func (l *live) create(ctx context.Context, f *Fabric, limit time.Duration) error {
	spec := l.spec()
	if err := f.PreflightChannel(ctx, spec); err != nil {
		return fmt.Errorf("preflight: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f.CreateChannel(ctx, spec)
}

func (l *live) remove(f *Fabric) error {
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute)
	defer cancel()
	spec := l.spec()
	return f.DeleteChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
}

// works has a transaction endorsed, ordered and committed on the channel, right after its first block.
func (l *live) works(f *Fabric) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	record, err := f.channelRecord(ctx, l.spec().Handle)
	l.must(err)
	members, err := f.members(ctx, record)
	l.must(err)
	first := members[0]
	tx, err := lifecycle.Approve(ctx, first.admin, liveChannel, lifecycle.Definition{Name: "kv", Version: "1.0", Sequence: 1}, "", first.endorsers()...)
	l.must(err)
	l.must(gateway.Submit(ctx, first.peers[0].Conn, tx))
	l.must(awaitCommit(ctx, tx, members))
	for _, p := range l.peers {
		height, err := f.height(ctx, p, liveChannel)
		l.must(err)
		if height != 2 {
			l.t.Errorf("%s has %d blocks, want 2: the first, and the transaction's", p, height)
		}
	}
}

// untouched checks that nothing of the channel is left on any node, and that every node runs.
func (l *live) untouched() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	f := l.fresh(nil)
	spec := l.spec()
	orderers, err := f.Orderers(ctx, spec.Orderers)
	l.must(err)
	nodes := slices.Concat(orderers, l.peers)
	l.must(poll(ctx, func(ctx context.Context) error {
		for _, a := range f.askForChannel(ctx, liveChannel, nodes) {
			if a.err != nil {
				return fmt.Errorf("%s: %w", a.node, a.err)
			}
			if a.has {
				l.t.Errorf("%s still has the channel", a.node)
			}
		}
		return nil
	}))
	for _, o := range orderers {
		config := ordererConfig(o)
		for _, folder := range []string{config.WALDir, config.SnapDir} {
			if _, err := l.engine.GetFiles(ctx, o.Object(), folder+"/"+liveChannel); !errors.Is(err, engine.ErrNotFound) {
				l.t.Errorf("%s still has %s/%s: %v", o, folder, liveChannel, err)
			}
		}
	}
	if _, err := l.engine.Volume(ctx, spec.Handle.record()); !errors.Is(err, engine.ErrNotFound) {
		l.t.Errorf("the record is still there: %v", err)
	}
	left, err := l.engine.Nodes(ctx, map[string]string{engine.LabelOwner: l.network.Owner, labelOnce: "true"})
	if err != nil || len(left) > 0 {
		l.t.Errorf("containers of work on volumes are left: %v %v", left, err)
	}
}

// dockerCommand does to a container what the engine has no word for.
func dockerCommand(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, out)
	}
}

// faulty is an engine that fails where it is told to.
type faulty struct {
	engine.Engine
	mu   sync.Mutex
	fail func(method, name string) error
	// lose gives up connections to a node and port, as node:port, once that many bytes were sent: the
	// node does what it was asked for, and its answer gets lost.
	lose map[string]int
}

var errInjected = errors.New("injected failure")

func (e *faulty) check(method, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail == nil {
		return nil
	}
	return e.fail(method, name)
}

func (e *faulty) CreateVolume(ctx context.Context, spec engine.VolumeSpec) error {
	if err := e.check("CreateVolume", spec.Name); err != nil {
		return err
	}
	return e.Engine.CreateVolume(ctx, spec)
}

func (e *faulty) CreateNode(ctx context.Context, spec engine.NodeSpec) error {
	if err := e.check("CreateNode", spec.Name); err != nil {
		return err
	}
	return e.Engine.CreateNode(ctx, spec)
}

func (e *faulty) PutFiles(ctx context.Context, node, folder string, files []engine.File) error {
	if err := e.check("PutFiles", node); err != nil {
		return err
	}
	return e.Engine.PutFiles(ctx, node, folder, files)
}

func (e *faulty) RunOnce(ctx context.Context, spec engine.NodeSpec) (engine.RunResult, error) {
	if err := e.check("RunOnce", spec.Name); err != nil {
		return engine.RunResult{}, err
	}
	return e.Engine.RunOnce(ctx, spec)
}

func (e *faulty) Volumes(ctx context.Context, labels map[string]string) ([]engine.Volume, error) {
	if err := e.check("Volumes", ""); err != nil {
		return nil, err
	}
	return e.Engine.Volumes(ctx, labels)
}

func (e *faulty) Dial(ctx context.Context, node string, port int) (net.Conn, error) {
	target := fmt.Sprintf("%s:%d", node, port)
	if err := e.check("Dial", target); err != nil {
		return nil, err
	}
	conn, err := e.Engine.Dial(ctx, node, port)
	if limit := e.lose[target]; err == nil && limit > 0 {
		return &lossyConn{Conn: conn, left: limit}, nil
	}
	return conn, err
}

// lossyConn gives no answer any more after so many bytes were sent.
type lossyConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (c *lossyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.left -= len(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *lossyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 {
		return 0, errInjected
	}
	return n, err
}
