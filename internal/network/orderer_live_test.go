package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// TestAccClusterMembers takes the ordering cluster of a running channel from one node to three and back,
// and through the loss of a volume.
func TestAccClusterMembers(t *testing.T) {
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			if version != "3.1.1" && os.Getenv("FABRIC_LONG") == "" {
				t.Skip("FABRIC_LONG=1 runs it on " + version)
			}
			l := newLive(t, version, 1)
			l.must(l.create(t.Context(), l.fabric, 2*time.Minute))
			m := &liveCluster{live: l, known: []string{"orderer0"}}
			m.check("orderer0")
			m.apply("orderer0", "orderer1", "orderer2")
			m.check("orderer0", "orderer1", "orderer2")
			m.order()

			leader := m.leader()
			m.limits.PIDs = 900
			rolled := m.apply("orderer0", "orderer1", "orderer2")
			if len(rolled) != 3 || rolled[2] != leader {
				t.Errorf("rolled %v, and %s led", rolled, leader)
			}
			m.check("orderer0", "orderer1", "orderer2")
			m.order()

			// A node that hangs keeps the others from being taken down.
			dockerCommand(t, "kill", "--signal=STOP", l.network.Network+"-orderer1")
			m.sparesNone("orderer0", "orderer2")
			dockerCommand(t, "kill", "--signal=CONT", l.network.Network+"-orderer1")

			// A node that loses its volume comes back as another consenter.
			m.lose("orderer1")
			if err := m.ensure(false, "orderer0", "orderer1", "orderer2"); !errors.Is(err, ErrLost) {
				t.Errorf("a lost volume gives %v", err)
			}
			l.must(m.ensure(true, "orderer0", "orderer1", "orderer2"))
			m.check("orderer0", "orderer1", "orderer2")
			m.order()

			// A key renamed is an add and a remove, and the leader may be among those who go.
			m.apply("orderer2", "orderer3", "orderer1")
			m.check("orderer1", "orderer2", "orderer3")
			m.apply("orderer3")
			m.check("orderer3")
			m.order()
			m.apply("orderer4")
			m.check("orderer4")
			m.order()
		})
	}
}

// liveCluster is the cluster of a live network while it changes.
type liveCluster struct {
	*live
	limits engine.Limits
	// known are the nodes that Terraform would know of.
	known []string
	run   int
}

func (m *liveCluster) spec(accept bool, names []string) ClusterSpec {
	spec := ClusterSpec{
		Handle: m.network.With(KindOrdererCluster, "raft", "OrdererMSP"), Nodes: map[string]OrdererSpec{}, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()},
	}
	spec.Raft.TickInterval = 100 * time.Millisecond
	for _, name := range names {
		o := OrdererSpec{
			Handle: m.network.With(KindOrderer, name, "OrdererMSP"), Version: m.version, Cluster: "raft",
			NodeOptions: liveOptions("hyperledger/fabric-orderer:" + m.version.String()),
		}
		o.Limits, o.AcceptDataLoss, o.Existing = m.limits, accept, slices.Contains(m.known, name)
		spec.Nodes[name] = o
	}
	return spec
}

func (m *liveCluster) ensure(accept bool, names ...string) error {
	ctx, cancel := context.WithTimeout(m.t.Context(), 4*time.Minute)
	defer cancel()
	begun := time.Now()
	_, err := m.fresh(nil).EnsureOrdererCluster(ctx, m.spec(accept, names))
	m.t.Logf("%v: %.1f s", names, time.Since(begun).Seconds())
	if err == nil {
		m.known = names
	}
	return err
}

// apply makes the cluster have these nodes, and gives those that were made anew, in their order.
func (m *liveCluster) apply(names ...string) []string {
	m.t.Helper()
	ctx := m.t.Context()
	ids := func() map[string]string {
		out := map[string]string{}
		nodes, err := m.engine.Nodes(ctx, map[string]string{engine.LabelOwner: m.network.Owner, engine.LabelKind: string(KindOrderer)})
		m.must(err)
		for _, n := range nodes {
			if n.Labels[labelOnce] == "" {
				out[n.Labels[engine.LabelName]] = n.ID
			}
		}
		return out
	}
	stop, watched := make(chan struct{}), make(chan []string)
	go func() {
		seen, order := ids(), []string(nil)
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			case <-time.After(50 * time.Millisecond):
			}
			for name, id := range ids() {
				if before, ok := seen[name]; ok && before != id {
					order = append(order, name)
				}
				seen[name] = id
			}
		}
		watched <- order
	}()
	err := m.ensure(false, names...)
	close(stop)
	order := <-watched
	if err != nil {
		m.t.Fatal(err)
	}
	return order
}

// check looks whether exactly these nodes are consenters, endpoints and at work, with one height.
func (m *liveCluster) check(names ...string) {
	m.t.Helper()
	ctx := m.t.Context()
	f := m.fresh(nil)
	nodes, err := f.Orderers(ctx, m.network.With(KindOrdererCluster, "raft", "OrdererMSP"))
	m.must(err)
	if !slices.Equal(namesOf(nodes), names) {
		m.t.Errorf("the nodes are %v, want %v", namesOf(nodes), names)
	}
	m.must(poll(ctx, func(ctx context.Context) error {
		views, err := f.survey(ctx, nodes)
		if err != nil || len(views) != 1 {
			return fmt.Errorf("%d channels: %w", len(views), err)
		}
		for _, v := range views[0].nodes {
			if err := v.behind("consenter", views[0].height(Handle{})); err != nil {
				return fmt.Errorf("%s: %w", v.node, err)
			}
		}
		var consenters []string
		for _, c := range views[0].summary.Consenters {
			consenters = append(consenters, strings.TrimSuffix(c.Host, ".example.com"))
		}
		slices.Sort(consenters)
		var endpoints []string
		for _, e := range views[0].summary.OrdererOrganizations[0].Endpoints {
			endpoints = append(endpoints, strings.TrimSuffix(e, ".example.com:7050"))
		}
		slices.Sort(endpoints)
		if !slices.Equal(consenters, names) || !slices.Equal(endpoints, names) {
			return permanent(fmt.Errorf("consenters %v, endpoints %v, want %v", consenters, endpoints, names))
		}
		return nil
	}))
}

func (m *liveCluster) leader() string {
	m.t.Helper()
	f := m.fresh(nil)
	nodes, err := f.Orderers(m.t.Context(), m.network.With(KindOrdererCluster, "raft", "OrdererMSP"))
	m.must(err)
	name := ""
	m.must(poll(m.t.Context(), func(ctx context.Context) error {
		views, err := f.survey(ctx, nodes)
		if err != nil {
			return err
		}
		leader, ok := views[0].leader()
		if !ok {
			return errors.New("nobody leads")
		}
		name = leader.Name
		return nil
	}))
	return name
}

// order has a transaction ordered and committed.
func (m *liveCluster) order() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	f := m.fresh(nil)
	record, err := f.channelRecord(ctx, m.live.spec().Handle)
	m.must(err)
	members, err := f.members(ctx, record)
	m.must(err)
	m.run++
	first := members[0]
	definition := lifecycle.Definition{Name: fmt.Sprintf("kv%d", m.run), Version: "1.0", Sequence: 1}
	tx, err := lifecycle.Approve(ctx, first.admin, liveChannel, definition, "", first.endorsers()...)
	m.must(err)
	m.must(gateway.Submit(ctx, first.peers[0].Conn, tx))
	m.must(awaitCommit(ctx, tx, members))
}

// lose takes a node's container and volume away.
func (m *liveCluster) lose(name string) {
	m.t.Helper()
	object := m.network.With(KindOrderer, name, "OrdererMSP").Object()
	m.must(m.engine.RemoveNode(m.t.Context(), object, m.network.Owner))
	m.must(m.engine.RemoveVolume(m.t.Context(), object, m.network.Owner))
}

// sparesNone expects that none of these nodes may be taken down.
func (m *liveCluster) sparesNone(names ...string) {
	m.t.Helper()
	f := m.fresh(nil)
	for _, name := range names {
		o := m.network.With(KindOrderer, name, "OrdererMSP")
		err := f.roll(m.t.Context(), m.spec(false, m.known).handles(), []Handle{o}, func(ctx context.Context, _ Handle, spared func(context.Context) error) error {
			return spared(ctx)
		})
		if quorum := new(QuorumError); !errors.As(err, &quorum) || quorum.Needed != 2 || len(quorum.Left) != 1 || len(quorum.Down) != 1 {
			m.t.Errorf("%s may be taken down: %v", name, err)
		}
	}
}

// announce begins to replace a node's key, and is killed when the channel knows the new one.
func (m *liveCluster) announce(spec ClusterSpec, o Handle) error {
	work := &clusterWork{Fabric: m.fresh(nil), spec: spec, states: map[string]MemberState{}}
	return work.announce(m.t.Context(), o)
}

// foreseen plans that one of the nodes is made anew, from what a refresh sees now. Nothing may be refused.
func (m *liveCluster) foreseen(again string) {
	m.t.Helper()
	handles, change := map[string]Handle{}, ClusterChange{Before: map[string]PlannedOrderer{}, After: map[string]PlannedOrderer{}, Ordering: m.spec(false, m.known).Ordering}
	for _, o := range m.spec(false, m.known).handles() {
		node, err := m.engine.Node(m.t.Context(), o.Object())
		m.must(err)
		handles[o.Name] = o
		planned := PlannedOrderer{Address: o.Host() + ":7050", Status: node.Status}
		change.Before[o.Name] = planned
		planned.Restart = o.Name == again
		change.After[o.Name] = planned
	}
	known := map[string]ClusterChannel{liveChannel: {Consenters: []string{"orderer0.example.com:7050", "orderer1.example.com:7050"}, Ordering: change.Ordering}}
	channels, err := m.fresh(nil).ReadClusterChannels(m.t.Context(), m.network.With(KindOrdererCluster, "raft", "OrdererMSP"), handles, known)
	m.must(err)
	for name := range channels {
		for _, node := range slices.Concat(channels[name].Unlisted, channels[name].Rekeyed) {
			before := change.Before[node]
			before.Status = Unlisted
			change.Before[node] = before
		}
	}
	change.Channels = channels
	plan := change.Plan()
	m.t.Logf("%v; rekeyed: %v", plan.Steps, channels[liveChannel].Rekeyed)
	for _, err := range plan.Refusals {
		m.t.Errorf("the plan refuses: %v", err)
	}
}

// TestLongClusterOfTwo replaces the keys of one of two ordering nodes, neither of which can order without
// the other, and has the apply killed on the way: when the channel knows the new key already, and when the
// node is down for it.
func TestLongClusterOfTwo(t *testing.T) {
	if os.Getenv("FABRIC_LONG") == "" {
		t.Skip("FABRIC_LONG=1 runs this test, which takes its time")
	}
	l := newLive(t, "3.1.1", 2)
	l.must(l.create(t.Context(), l.fabric, 2*time.Minute))
	m := &liveCluster{live: l, known: []string{"orderer0", "orderer1"}}
	m.apply("orderer0", "orderer1")
	m.check("orderer0", "orderer1")
	o := m.network.With(KindOrderer, "orderer0", "OrdererMSP")

	for _, c := range []struct {
		name string
		// stop begins to replace the keys, and does not come to the end.
		stop func(ClusterSpec) error
	}{
		{"not killed", func(ClusterSpec) error { return nil }},
		{"killed when the channel knows the new key", func(spec ClusterSpec) error {
			return m.announce(spec, o)
		}},
		{"killed then, and the node finds out", func(spec ClusterSpec) error {
			if err := m.announce(spec, o); err != nil {
				return err
			}
			if err := m.engine.StopNode(t.Context(), o.Object(), grace); err != nil {
				return err
			}
			if err := m.engine.StartNode(t.Context(), o.Object()); err != nil {
				return err
			}
			return poll(t.Context(), func(ctx context.Context) error { return m.fabric.ordererAnswers(ctx, o) })
		}},
		{"killed then, and nobody wants a new key any more", func(spec ClusterSpec) error {
			err := m.announce(spec, o)
			node := spec.Nodes["orderer0"]
			node.Revoke = nil
			spec.Nodes["orderer0"] = node
			return err
		}},
		{"killed when the node is down", func(spec ClusterSpec) error {
			puts := 0 // the first one keeps the new key beside the old one, the second one has it take its place
			e := &faulty{Engine: m.engine, fail: func(method, name string) error {
				if method == "PutFiles" && name == o.Object() {
					puts++
				}
				if puts == 2 {
					return errInjected
				}
				return nil
			}}
			if _, err := m.fresh(e).EnsureOrdererCluster(t.Context(), spec); !errors.Is(err, errInjected) {
				return fmt.Errorf("the apply ends with %w", err)
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.live = l.in(t)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			held, err := m.fresh(nil).ReadCertificates(ctx, o)
			m.must(err)
			spec := m.spec(false, m.known)
			node := spec.Nodes["orderer0"]
			node.Revoke = slices.Collect(maps.Values(held))
			spec.Nodes["orderer0"] = node
			m.must(c.stop(spec))
			m.foreseen("orderer0")
			begun := time.Now()
			_, err = m.fresh(nil).EnsureOrdererCluster(ctx, spec)
			m.must(err)
			t.Logf("%.1f s", time.Since(begun).Seconds())
			m.check("orderer0", "orderer1")
			m.order()
			has, err := m.fresh(nil).ReadCertificates(ctx, o)
			m.must(err)
			for name, text := range has {
				wanted := name == CertificateTLS || len(spec.Nodes["orderer0"].Revoke) > 0
				if wanted && sameKey(text, held[name]) {
					t.Errorf("the %s certificate has the key of before", name)
				}
			}
			files, err := m.engine.GetFiles(ctx, o.Object(), keysFolder+"/"+nextFolder)
			m.must(err)
			if slices.ContainsFunc(files, func(f engine.File) bool { return len(f.Content) > 0 }) {
				t.Error("the key that was about to be is kept beside the one in use")
			}
		})
	}
}
