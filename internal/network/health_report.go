package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// Health is how the nodes and the channels of a network are.
type Health struct {
	// Nodes are by name, Channels by name.
	Nodes    map[string]*NodeHealth
	Channels map[string]*ChannelHealth
}

// NodeHealth is how a node is.
type NodeHealth struct {
	Handle Handle
	Status engine.Status
	// Resting tells that it is not to run.
	Resting bool
	// Restarts is how often the engine has started it again since it was started on purpose, because its process
	// ended.
	Restarts int
	// Trouble is what is wrong with it; nil when it is well.
	Trouble error
	// Certificates are when its certificates expire, by their names.
	Certificates map[string]time.Time
	// Channels are those that it has, by name.
	Channels map[string]NodeChannel
}

// NodeChannel is how far a node is on a channel.
type NodeChannel struct {
	// Height is the number of its blocks, Lag how many it has fewer than the furthest node.
	Height, Lag uint64
	// Leads tells that an ordering node is the leader, Follows that it knows one or is it.
	Leads, Follows bool
}

// ChannelHealth is how a channel is.
type ChannelHealth struct {
	// Leader is the ordering node that leads; empty when none of those that could be asked does.
	Leader string
	// Height is the number of blocks of the furthest node, Lag how many the last one has fewer.
	Height, Lag uint64
	// Ordered tells that an ordering node of it is on this network.
	Ordered bool
	// Trouble is what is wrong with it; nil when it is well.
	Trouble error
}

// CheckHealth asks every node of a network, all at once, running or not. What cannot be asked is in the
// answer; only the engine's own failure is an error.
func (f *Fabric) CheckHealth(ctx context.Context, network Handle) (Health, error) {
	nodes, err := f.everyNode(ctx, network)
	if err != nil {
		return Health{}, fmt.Errorf("unable to look for the nodes of network %s: %w", network.Network, err)
	}
	health := Health{Nodes: map[string]*NodeHealth{}, Channels: map[string]*ChannelHealth{}}
	var calls sync.WaitGroup
	for _, s := range nodes {
		n := &NodeHealth{Handle: s.handle, Status: engine.Absent, Certificates: map[string]time.Time{}, Channels: map[string]NodeChannel{}}
		health.Nodes[s.handle.Name] = n
		calls.Go(func() { f.checkNode(ctx, s, n) })
	}
	calls.Wait()
	if err := f.excuse(ctx, health.Nodes); err != nil {
		return Health{}, err
	}
	health.compareChannels()
	return health, nil
}

// nodeKinds are what is a node, in the order in which they need each other.
var nodeKinds = []Kind{KindCA, KindOrderer, KindStateDatabase, KindPeer, KindChaincode, KindChaincodeApproval}

// everyNode finds the nodes of a network by their labels: those with a container, and those of which
// the volume alone is left.
func (f *Fabric) everyNode(ctx context.Context, network Handle) ([]sibling, error) {
	labels := map[string]string{engine.LabelOwner: network.Owner, engine.LabelNetwork: network.Network}
	var containers []engine.Node
	var volumes []engine.Volume
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { containers, err = f.engine.Nodes(gctx, labels); return err })
	group.Go(func() (err error) { volumes, err = f.engine.Volumes(gctx, labels); return err })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	found := map[string]sibling{}
	for _, v := range volumes {
		h := handleOf(v.Labels)
		if slices.Contains(nodeKinds, h.Kind) && v.Name == h.Object() { // key volumes have another name
			found[v.Name] = sibling{handle: h}
		}
	}
	for _, n := range containers {
		h := handleOf(n.Labels)
		if slices.Contains(nodeKinds, h.Kind) && isNode(n) {
			found[n.Name] = sibling{handle: h, container: &n}
		}
	}
	return slices.Collect(maps.Values(found)), nil
}

// checkNode asks one node.
func (f *Fabric) checkNode(ctx context.Context, s sibling, n *NodeHealth) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	n.Trouble = s.standstill()
	if s.container == nil {
		return
	}
	if n.Status = s.container.Status; n.Status == engine.Created {
		n.Status = engine.Stopped
	}
	n.Trouble = errors.Join(n.Trouble, f.checkCertificates(ctx, n))
	if n.Status == engine.Stopped && f.wantedStopped(ctx, s.handle) {
		n.Resting, n.Trouble = true, nil
	}
	if n.Status != engine.Running {
		return
	}
	if on, err := f.onNetwork(ctx, s.handle, *s.container); on == Detached {
		n.Status, n.Trouble = Detached, errors.Join(n.Trouble, err, errors.New("it was taken off its network"))
		return
	}
	port := map[Kind]int{KindCA: caOperationsPort, KindOrderer: ordererOperationsPort, KindPeer: peerOperationsPort}[s.handle.Kind]
	if port != 0 {
		if err := f.health(ctx, s.handle, port); err != nil {
			n.Status, n.Trouble = Unhealthy, errors.Join(n.Trouble, err)
		}
	}
	if closer, err := f.engine.Node(ctx, s.container.Name); err == nil {
		n.Restarts = closer.Restarts
	}
	switch s.handle.Kind {
	case KindChaincode, KindChaincodeApproval:
		if err := f.checkServer(ctx, *s.container); err != nil {
			n.Status, n.Trouble = Unhealthy, errors.Join(n.Trouble, err)
		}
	case KindPeer:
		n.Trouble = errors.Join(n.Trouble, f.checkPeerChannels(ctx, n))
	case KindOrderer:
		n.Trouble = errors.Join(n.Trouble, f.checkOrdererChannels(ctx, n))
	}
}

// checkServer asks a chaincode server whether it serves its package. One that somebody else made is not asked:
// where it listens is not known.
func (f *Fabric) checkServer(ctx context.Context, s engine.Node) error {
	if s.Adopted != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	probe, err := f.serverProbe(ctx, handleOf(s.Labels), s.Labels[labelTLSEnds] != "", s.Labels[labelPackage])
	if err == nil {
		err = probe(ctx)
	}
	if errors.Is(err, engine.ErrNotPublished) {
		return nil
	}
	return err
}

// checkCertificates reads when the certificates on a node's volume expire.
func (f *Fabric) checkCertificates(ctx context.Context, n *NodeHealth) error {
	if !slices.Contains([]Kind{KindCA, KindOrderer, KindPeer}, n.Handle.Kind) {
		return nil
	}
	held, err := f.ReadCertificates(ctx, n.Handle)
	failed := []error{err}
	for _, purpose := range slices.Sorted(maps.Keys(held)) {
		cert, err := certificate.ParseOne(firstBlock([]byte(held[purpose])))
		if err != nil {
			failed = append(failed, fmt.Errorf("its %s certificate cannot be read: %w", purpose, err))
			continue
		}
		n.Certificates[purpose] = cert.NotAfter
		if time.Now().After(cert.NotAfter) {
			failed = append(failed, fmt.Errorf("its %s certificate expired on %s", purpose, cert.NotAfter.UTC().Format(time.DateTime)))
		}
	}
	return errors.Join(failed...)
}

// checkPeerChannels asks a peer for its channels, and for its height on each.
func (f *Fabric) checkPeerChannels(ctx context.Context, n *NodeHealth) error {
	names, err := f.peerChannels(ctx, n.Handle)
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		height, err := f.height(ctx, n.Handle, name)
		failed = append(failed, err)
		n.Channels[name] = NodeChannel{Height: height}
	}
	return errors.Join(failed...)
}

// checkOrdererChannels asks an ordering node for its channels, for its height on each and whether it
// knows a leader. Who leads is in its metrics, and not known when those are switched off.
func (f *Fabric) checkOrdererChannels(ctx context.Context, n *NodeHealth) error {
	report := f.ordererReport(ctx, n.Handle)
	failed := []error{report.trouble}
	for name, view := range report.channels {
		switch {
		case view.trouble != nil:
			failed = append(failed, fmt.Errorf("channel %s: %w", name, view.trouble))
			continue
		case view.status != participation.StatusActive:
			failed = append(failed, fmt.Errorf("channel %s: its status is %s", name, view.status))
		}
		n.Channels[name] = NodeChannel{Height: view.height, Leads: view.leads, Follows: view.follows}
	}
	return errors.Join(failed...)
}

// excuse finds the peers that are not to run: that they do not is no trouble. Those that were deleted,
// and of which a volume was kept, are no nodes.
func (f *Fabric) excuse(ctx context.Context, nodes map[string]*NodeHealth) error {
	resting := map[Handle]map[string]string{}
	for name, n := range nodes {
		if n.Handle.Kind != KindPeer || n.Status != engine.Stopped && n.Status != engine.Absent {
			continue
		}
		org := n.Handle.Organization()
		if resting[org] == nil {
			reasons, err := f.resting(ctx, org)
			if errors.Is(err, engine.ErrUnreachable) {
				return err
			}
			resting[org] = reasons // an organization that cannot be read excuses nobody
		}
		switch resting[org][name] {
		case restStopped:
			n.Resting, n.Trouble = true, nil
		case restGone:
			delete(nodes, name)
		}
	}
	return nil
}

// compareChannels makes of what nodes say of their channels what is to be said of these.
func (h Health) compareChannels() {
	for _, name := range slices.Sorted(maps.Keys(h.Nodes)) {
		n := h.Nodes[name]
		for name, c := range n.Channels {
			channel := h.Channels[name]
			if channel == nil {
				channel = &ChannelHealth{}
				h.Channels[name] = channel
			}
			channel.add(n.Handle, c)
		}
	}
	for _, n := range h.Nodes {
		for name, c := range n.Channels {
			channel := h.Channels[name]
			c.Lag = channel.Height - c.Height
			n.Channels[name] = c
			channel.Lag = max(channel.Lag, c.Lag)
		}
	}
}

func (c *ChannelHealth) add(node Handle, view NodeChannel) {
	c.Height = max(c.Height, view.Height)
	if node.Kind != KindOrderer {
		return
	}
	c.Ordered = true
	if view.Leads {
		c.Leader = node.Name
	}
	if !view.Follows {
		c.Trouble = errors.Join(c.Trouble, fmt.Errorf("%s knows no leader", node.Name))
	}
}

// DaysLeft is how many whole days remain until an instant; negative when it is past.
func DaysLeft(until time.Time) int64 { return int64(math.Floor(time.Until(until).Hours() / 24)) }
