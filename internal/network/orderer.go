package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// The ports on which an orderer listens; consenters speak with each other on ordererPort too.
const (
	ordererPort           = 7050
	ordererAdminPort      = 7053
	ordererOperationsPort = 9443
)

// OrdererPorts are the published ports of an orderer by purpose.
func OrdererPorts() map[string]int {
	return map[string]int{"grpc": ordererPort, "admin": ordererAdminPort, "operations": ordererOperationsPort}
}

// labelRaft and labelBFT say which options of the consensus a node was started with, as far as it reads
// them only then.
const (
	labelRaft = engine.LabelPrefix + "raft"
	labelBFT  = engine.LabelPrefix + "bft"
)

// OrdererSpec is one node of an ordering cluster.
type OrdererSpec struct {
	Handle Handle
	NodeOptions
	Version nodeconfig.Version
	Config  nodeconfig.Overlay
	// Cluster is the name of the ordering cluster.
	Cluster string
}

// ClusterSpec is an ordering cluster.
type ClusterSpec struct {
	// Handle is of kind orderer_cluster.
	Handle Handle
	// Nodes are its nodes by name.
	Nodes map[string]OrdererSpec
	Ordering
	// Admins sign changes of its channels; empty: the admins of the organizations of its nodes.
	Admins []Handle
	// External are nodes of the cluster that other states run, by name.
	External map[string]ExternalConsenter
}

// Ordering is how the nodes of a cluster agree, on every channel.
type Ordering struct {
	// Consensus is configtx.ConsensusRaft or configtx.ConsensusBFT; empty is Raft.
	Consensus string `json:"consensus,omitempty"`
	// Raft and BFT are the timers and limits of the one and of the other.
	Raft configtx.RaftOptions `json:"raft,omitzero"`
	BFT  configtx.BFTOptions  `json:"bft,omitzero"`
}

// word is what the consensus is called in messages.
func (o Ordering) word() string {
	if o.bft() {
		return "SmartBFT"
	}
	return "Raft"
}

func (o Ordering) bft() bool { return o.Consensus == configtx.ConsensusBFT }

// capability is the channel capability that channels need unless another one is asked for.
func (o Ordering) capability() string {
	if o.bft() {
		return configtx.ChannelCapabilityV3_0
	}
	return configtx.ChannelCapabilityV2_0
}

// bootOptions are those of the options that a node reads when it starts, as a label: a node is made anew
// when they change.
func (o Ordering) bootOptions() (label, value string) {
	if o.bft() {
		return labelBFT, strconv.FormatUint(o.BFT.RequestPoolSize, 10)
	}
	return labelRaft, fmt.Sprintf("%s/%d/%d/%d", o.Raft.TickInterval, o.Raft.ElectionTick, o.Raft.HeartbeatTick, o.Raft.MaxInflightBlocks)
}

func (f *Fabric) clusterNode(s ClusterSpec, name string) (*node, error) {
	n, err := f.ordererNode(s.Nodes[name])
	if err != nil {
		return nil, err
	}
	label, value := s.bootOptions()
	n.labels[label] = value
	return n, nil
}

// handles gives the nodes, in the order of their names.
func (s ClusterSpec) handles() []Handle {
	var out []Handle
	for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
		out = append(out, s.Nodes[name].Handle)
	}
	return out
}

// PreflightOrdererCluster finds what would fail before anything is made.
func (f *Fabric) PreflightOrdererCluster(ctx context.Context, spec ClusterSpec) error {
	group, gctx := errgroup.WithContext(ctx)
	if err := f.checkMaterials(ctx, spec); err != nil {
		return err
	}
	for name := range spec.Nodes {
		n, err := f.clusterNode(spec, name)
		if err != nil {
			return err
		}
		group.Go(func() error { return f.preflight(gctx, n) })
	}
	return group.Wait()
}

// checkMaterials is CheckMaterial of every node.
func (f *Fabric) checkMaterials(ctx context.Context, spec ClusterSpec) error {
	for _, o := range spec.handles() {
		if err := f.CheckMaterial(ctx, o, spec.Nodes[o.Name].NodeOptions); err != nil {
			return err
		}
	}
	return nil
}

// EnsureOrdererCluster makes the nodes of a cluster as they are wanted. What does not run yet is
// started at once; nodes that run are changed one after the other, so that every channel keeps its
// quorum. Nodes that were made are in the answer also when another one failed.
func (f *Fabric) EnsureOrdererCluster(ctx context.Context, spec ClusterSpec) (map[string]MemberState, error) {
	defer f.lockChange(spec.Handle)()
	spec.Nodes = maps.Clone(spec.Nodes)
	for name, node := range spec.Nodes {
		if err := f.acceptRemoved(ctx, node.Handle, &node.NodeOptions); err != nil {
			return nil, err
		}
		if err := f.beginRotation(ctx, node.Handle, &node.Renewal); err != nil {
			return nil, err
		}
		spec.Nodes[name] = node
	}
	states, err := f.ensureOrdererCluster(ctx, spec)
	if err != nil {
		return states, err
	}
	return states, f.revokeRemoval(ctx, spec.Handle)
}

func (f *Fabric) ensureOrdererCluster(ctx context.Context, spec ClusterSpec) (map[string]MemberState, error) {
	work := &clusterWork{Fabric: f, spec: spec, states: map[string]MemberState{}}
	return work.states, work.do(ctx)
}

// clusterWork is one apply of an ordering cluster.
type clusterWork struct {
	*Fabric
	spec ClusterSpec
	// leaving are nodes of the cluster that are no longer wanted.
	leaving map[string]Handle

	mu     sync.Mutex
	states map[string]MemberState
}

func (w *clusterWork) do(ctx context.Context) (err error) {
	if w.leaving, err = w.leavers(ctx); err != nil {
		return err
	}
	for _, spec := range w.spec.Nodes { // they all run one release
		if err := w.requireRelease(ctx, spec.Version, w.wanted(), nil); err != nil {
			return err
		}
		break
	}
	if err := w.checkMaterials(ctx, w.spec); err != nil {
		return err
	}
	atOnce, rolled, err := w.order(ctx)
	if err != nil {
		return err
	}
	if rolled, err = w.rekeyed(atOnce, rolled); err != nil {
		return err
	}
	if err := w.start(ctx, atOnce); err != nil {
		return err
	}
	if err := w.recordCluster(ctx, w.wanted(), clusterRecord{MSPID: w.spec.Handle.MSPID, Ordering: w.spec.Ordering, Admins: w.spec.Admins, External: w.spec.External}); err != nil {
		return err
	}
	if w.stopped() {
		return w.dismissIdle(ctx)
	}
	if err := w.setOptions(ctx); err != nil {
		return err
	}
	if err := w.admit(ctx); err != nil {
		return err
	}
	if err := w.roll(ctx, w.all(), rolled, w.change); err != nil {
		return err
	}
	if err := w.dismiss(ctx); err != nil {
		return err
	}
	return w.awaitWhole(ctx)
}

// stopped tells whether the cluster is to stand still.
func (w *clusterWork) stopped() bool {
	for _, spec := range w.spec.Nodes {
		return spec.Stopped
	}
	return false
}

// change makes a node that runs anew, and tells the channels before or after what they know it by.
func (w *clusterWork) change(ctx context.Context, o Handle, spared func(context.Context) error) error {
	if err := w.announce(ctx, o); err != nil {
		return err
	}
	down := false
	err := w.ensure(ctx, o, func(ctx context.Context) error {
		down = true
		return spared(ctx)
	})
	if err != nil || !down {
		return err
	}
	return w.onChannels(ctx, w.all(), func(ctx context.Context, k *channelWork, c channelView) error {
		if c.summary == nil {
			return nil
		}
		own, err := k.consenter(ctx, o)
		if err != nil || entryOf(*c.summary, own) == nil {
			return err
		}
		if err := k.enlist(ctx, *c.summary, o); err != nil {
			return err
		}
		return k.setEndpoints(ctx, true)
	})
}

// ensure makes one node; spared is asked before it is taken down.
func (w *clusterWork) ensure(ctx context.Context, o Handle, spared func(context.Context) error) error {
	spec := w.spec
	if spared == nil {
		spec = spec.startingAsKnown(o.Name)
	}
	n, err := w.clusterNode(spec, o.Name)
	if err != nil {
		return err
	}
	n.spared = spared
	state, err := w.ensureMember(ctx, n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[o.Name] = state
	return err
}

// start makes nodes that do not run, all at once. Those that had channels before have to find their
// leaders again.
func (w *clusterWork) start(ctx context.Context, nodes []Handle) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range nodes {
		group.Go(func() error { return w.ensure(gctx, o, nil) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	leaders, lctx := errgroup.WithContext(ctx)
	for _, o := range nodes { // when all of them run, and not before
		if spec := w.spec.Nodes[o.Name]; spec.Existing && !spec.Stopped {
			leaders.Go(func() error { return w.awaitLeaders(lctx, o) })
		}
	}
	return leaders.Wait()
}

// order divides the nodes of a cluster into those that are made at once and those that are changed
// one after the other.
func (w *clusterWork) order(ctx context.Context) (atOnce, rolled []Handle, err error) {
	published := map[int]Handle{} // host port -> node that has it now
	for _, o := range w.spec.handles() {
		spec := w.spec.Nodes[o.Name]
		if !spec.Existing || spec.Stopped {
			atOnce = append(atOnce, o)
			continue
		}
		current, err := w.engine.Node(ctx, o.Object())
		switch {
		case errors.Is(err, engine.ErrNotFound):
			atOnce = append(atOnce, o)
			continue
		case err != nil:
			return nil, nil, err
		case current.Status == engine.Running && !spec.expired(time.Now()):
			rolled = append(rolled, o)
		default:
			atOnce = append(atOnce, o)
		}
		for _, p := range current.Ports {
			published[p.Host] = o
		}
	}
	for _, spec := range w.spec.Nodes {
		for _, port := range spec.HostPorts {
			if holder, held := published[port]; held && holder != spec.Handle {
				// Nodes that hand ports on to each other cannot wait for each other.
				return w.spec.handles(), nil, w.requireIdle(ctx, spec.Handle, holder, port)
			}
		}
	}
	return atOnce, rolled, nil
}

// requireIdle fails when a channel would lose its quorum because all nodes are taken down at once.
func (w *clusterWork) requireIdle(ctx context.Context, taker, holder Handle, port int) error {
	views, err := w.survey(ctx, w.spec.handles())
	if err != nil {
		return err
	}
	for _, c := range views {
		if err := c.strength().requireIdle(c.channel.Name, taker.Name, holder.Name, port); err != nil {
			return err
		}
	}
	return nil
}

// leaderTime is how long a node may take to follow a leader after it was started.
const leaderTime = 90 * time.Second

// awaitLeaders waits until an orderer knows a leader on every channel of which it is a consenter.
func (f *Fabric) awaitLeaders(ctx context.Context, o Handle) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	var jobs together
	report := f.ordererReport(ctx, o)
	if report.trouble != nil {
		return f.nodeError(ctx, o, "list the channels of", report.trouble)
	}
	for name, v := range report.channels {
		if v.relation == participation.RelationConsenter {
			jobs.do(func() error { return f.awaitLeader(ctx, o.With(KindChannel, name, ""), []Handle{o}) })
		}
	}
	return jobs.wait()
}

// ordererChannels asks an orderer for the channels that it has joined.
func (f *Fabric) ordererChannels(ctx context.Context, o Handle) ([]string, error) {
	client, err := f.participation(ctx, o)
	if err != nil {
		return nil, err
	}
	list, err := client.List(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names, nil
}

func ordererConfig(h Handle) nodeconfig.Orderer {
	return nodeconfig.Orderer{
		MSPID: h.MSPID, MSPDir: keysFolder + "/msp",
		ListenAddress: listen(ordererPort),
		TLS:           nodeconfig.ServerTLS{CertFile: keysFolder + "/tls/cert.pem", KeyFile: keysFolder + "/tls/key.pem", RootFiles: []string{keysFolder + "/tls/root.pem"}},
		Cluster: nodeconfig.Cluster{
			ClientCertFile: keysFolder + "/tls/cert.pem", ClientKeyFile: keysFolder + "/tls/key.pem",
			RootFiles: []string{keysFolder + "/tls/root.pem"},
		},
		Admin:      operationsEndpoint(ordererAdminPort),
		Operations: operationsEndpoint(ordererOperationsPort),
		LedgerDir:  dataFolder + "/ledger", WALDir: dataFolder + "/etcdraft/wal", SnapDir: dataFolder + "/etcdraft/snapshot",
	}
}

// RenderOrderer gives the orderer.yaml of an orderer as it will run.
func RenderOrderer(spec OrdererSpec) ([]byte, error) {
	return nodeconfig.RenderOrderer(spec.Version, ordererConfig(spec.Handle), spec.Config)
}

func (f *Fabric) ordererNode(spec OrdererSpec) (*node, error) {
	h := spec.Handle
	config, err := RenderOrderer(spec)
	if err != nil {
		return nil, fmt.Errorf("unable to render orderer.yaml of %s: %w", h, err)
	}
	return &node{
		handle: h, options: spec.NodeOptions, endpoint: spec.Endpoint(h, ordererPort), ports: OrdererPorts(),
		labels:   map[string]string{labelCluster: spec.Cluster},
		inputs:   inputs(memberInputs{spec.NodeOptions, spec.Version.String(), spec.Config}),
		command:  []string{"orderer"},
		env:      map[string]string{"FABRIC_CFG_PATH": nodeRoot + "/config"},
		config:   map[string][]byte{"config/orderer.yaml": config},
		material: f.memberMaterial(h, "orderer", spec.NodeOptions),
		ready:    func(ctx context.Context) error { return f.ordererAnswers(ctx, h) },
	}, nil
}

// ordererAnswers asks the orderer for its channels and looks whether its service listens.
func (f *Fabric) ordererAnswers(ctx context.Context, h Handle) error {
	if _, err := f.ordererChannels(ctx, h); err != nil {
		return err
	}
	conn, err := f.engine.Dial(ctx, h.Object(), ordererPort)
	if err != nil {
		return err
	}
	return conn.Close()
}

// restart ends an orderer's process and starts it again, as it is.
func (f *Fabric) restart(ctx context.Context, o Handle) error {
	defer f.locks.lock(o.Object())()
	ctx, end := reprieved(ctx)
	defer end()
	err := f.stop(ctx, o)
	if err == nil {
		f.conns.forget(o)
		if err = f.engine.StartNode(ctx, o.Object()); err != nil {
			err = f.nodeError(ctx, o, "start", err)
		}
	}
	if err == nil {
		err = f.awaitReady(ctx, &node{handle: o, ready: func(ctx context.Context) error { return f.ordererAnswers(ctx, o) }})
	}
	return f.downError(ctx, o, err)
}

// ReadOrdererCluster reads the state of the nodes of a cluster, by name.
func (f *Fabric) ReadOrdererCluster(ctx context.Context, orderers map[string]Handle) (map[string]MemberState, error) {
	states := map[string]MemberState{}
	var mu sync.Mutex
	group, gctx := errgroup.WithContext(ctx)
	for name, h := range orderers {
		group.Go(func() error {
			node, err := f.readNode(gctx, h, OrdererPorts())
			if err != nil {
				return err
			}
			state := MemberState{NodeState: node}
			state.Ledger, err = f.ordererLedger(gctx, h, node)
			mu.Lock()
			defer mu.Unlock()
			states[name] = state
			return err
		})
	}
	return states, group.Wait()
}

// ordererLedger asks an orderer whether it has joined a channel. One that cannot be asked has when a
// channel of ours is on its cluster.
func (f *Fabric) ordererLedger(ctx context.Context, h Handle, node NodeState) (Ledger, error) {
	if node.Lost || node.Removed {
		return LedgerUnknown, nil
	}
	if node.Status == engine.Running {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if channels, err := f.ordererChannels(ctx, h); err == nil {
			return ledgerOf(len(channels)), nil
		}
	}
	volume, err := f.engine.Volume(ctx, h.Object())
	if err != nil {
		return LedgerUnknown, err
	}
	return f.recorded(ctx, h, func(record channelRecord) bool {
		return record.Orderers.Name == volume.Labels[labelCluster]
	})
}

// Orderers finds the nodes of an ordering cluster by their labels, in the order of their names.
func (f *Fabric) Orderers(ctx context.Context, cluster Handle) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelOwner: cluster.Owner, engine.LabelKind: string(KindOrderer), labelCluster: cluster.Name,
	})
	if err != nil {
		return nil, err
	}
	handles := make([]Handle, 0, len(volumes))
	for _, v := range volumes {
		handles = append(handles, handleOf(v.Labels))
	}
	slices.SortStableFunc(handles, compareNames)
	return handles, nil
}

// DeleteOrdererCluster removes the nodes of a cluster and, unless they are to be kept, their volumes:
// those that are given, and those that an apply which was killed left on the engine.
func (f *Fabric) DeleteOrdererCluster(ctx context.Context, cluster Handle, orderers map[string]Handle, keepVolumes bool) error {
	defer f.lockChange(cluster)()
	nodes, err := f.Orderers(ctx, cluster)
	if err != nil {
		return err
	}
	all := maps.Clone(orderers)
	for _, o := range nodes {
		all[o.Name] = o
	}
	if !keepVolumes {
		if err := f.announceRemoval(ctx, cluster); err != nil {
			return err
		}
	}
	if err := f.deleteOrderers(ctx, all, keepVolumes); err != nil {
		return err
	}
	records, err := f.channelRecords(ctx, cluster.Owner)
	if err != nil {
		return err
	}
	for channel, record := range records {
		if record.Orderers != cluster {
			continue
		}
		if err := f.removeAbandoned(ctx, channel); err != nil {
			return err
		}
	}
	return nil
}

// deleteOrderers removes orderers and, unless they are to be kept, their volumes.
func (f *Fabric) deleteOrderers(ctx context.Context, orderers map[string]Handle, keepVolumes bool) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, h := range orderers {
		group.Go(func() error { return f.removeNode(gctx, h, keepVolumes) })
	}
	return group.Wait()
}
