package network

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// planned gives nodes by words such as "o0", "o1:stopped", "o2!" (made anew), "o3~" (for other certificates).
func planned(words string) map[string]PlannedOrderer {
	out := map[string]PlannedOrderer{}
	for word := range strings.FieldsSeq(words) {
		name, status, _ := strings.Cut(word, ":")
		name, renewed := strings.CutSuffix(name, "~")
		name, restart := strings.CutSuffix(name, "!")
		if status == "" {
			status = string(engine.Running)
		}
		out[name] = PlannedOrderer{Address: name + ":7050", Status: engine.Status(status), Restart: restart || renewed, Renewed: renewed}
	}
	return out
}

func orderedChannel(leader string, nodes ...string) ClusterChannel {
	c := ClusterChannel{Leader: leader, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}
	for _, n := range nodes {
		c.Consenters = append(c.Consenters, n+":7050")
	}
	return c
}

// smartBFT is how a channel with SmartBFT is ordered.
func smartBFT(change func(*configtx.BFTOptions)) Ordering {
	o := Ordering{Consensus: configtx.ConsensusBFT, BFT: configtx.DefaultBFTOptions()}
	if change != nil {
		change(&o.BFT)
	}
	return o
}

func bftChannel(leader string, nodes ...string) ClusterChannel {
	c := orderedChannel(leader, nodes...)
	c.Ordering = smartBFT(nil)
	return c
}

func TestClusterPlan(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		channels            map[string]ClusterChannel
		ordering            Ordering
		steps               []string
		refusals            []string
		outages             int
	}{
		{name: "new", after: "o0 o1", steps: []string{"o0, o1: made, all at once"}},
		{name: "nothing", before: "o0 o1 o2", after: "o0 o1 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")}},
		{
			name: "rolled by who leads", before: "o0 o1 o2", after: "o0! o1! o2!",
			channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2"), "b": orderedChannel("o0", "o0", "o1", "o2"), "c": orderedChannel("o1", "o0", "o1", "o2")},
			steps:    []string{"o2; then o1, which leads c; then o0, which leads b and trade: made anew on their volumes, one after the other"},
		},
		{
			name: "no channel has a quorum to lose", before: "o0 o1 o2", after: "o0! o1! o2!",
			steps: []string{"o0; then o1; then o2: made anew on their volumes, one after the other"},
		},
		{
			name: "what is down is started first", before: "o0 o1:stopped o2", after: "o0! o1! o2!", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")},
			steps: []string{"o1: started, all at once", "o2; then o0, which leads trade: made anew on their volumes, one after the other"},
		},
		{
			name: "a roll over a lost node that is put in its place first", before: "o0 o1:lost o2", after: "o0! o1! o2!", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")},
			steps: []string{
				"o1: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
				"o2; then o0, which leads trade: made anew on their volumes, one after the other",
			},
		},
		{
			name: "one alone", before: "o0", after: "o0!", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0")},
			steps: []string{"o0, which leads trade: made anew on its volume"}, outages: 1,
		},
		{
			name: "from one to three", before: "o0", after: "o0 o1 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0")},
			steps: []string{
				"o1: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint",
				"o2: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint",
			},
		},
		{
			name: "from three to one", before: "o0 o1 o2", after: "o0", channels: map[string]ClusterChannel{"trade": orderedChannel("o1", "o0", "o1", "o2"), "b": orderedChannel("", "o0", "o1", "o2")},
			steps: []string{
				"o1: removed from the channels b and trade: endpoint, consenter, channel, and at last the node with its volume",
				"o2: removed from the channels b and trade: endpoint, consenter, channel, and at last the node with its volume",
			},
		},
		{
			name: "renamed", before: "o0", after: "o1", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0")},
			steps: []string{
				"o1: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint",
				"o0: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
			},
		},
		{
			name: "a stranger", before: "o0 o1 o2", after: "o0 o1 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2", "x")},
			steps: []string{"channel trade: the consenter x:7050 is taken off, which is no node of this cluster"},
		},
		{
			name: "vanished from the ledger", before: "o0 o1:unlisted o2", after: "o0 o1 o2",
			channels: map[string]ClusterChannel{"trade": {Consenters: []string{"o0:7050", "o2:7050"}, Unlisted: []string{"o1"}, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}},
			steps:    []string{"o1: added to channel trade, of which it is no consenter"},
		},
		{
			name: "listed with the key that it is about to have", before: "o0:unlisted o1", after: "o0 o1",
			channels: map[string]ClusterChannel{"trade": {Consenters: []string{"o0:7050", "o1:7050"}, Rekeyed: []string{"o0"}, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}},
			steps:    []string{"o0: made anew on its volume"}, outages: 1,
		},
		{
			name: "timers", before: "o0 o1 o2", after: "o0 o1 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")},
			ordering: Ordering{Raft: configtx.RaftOptions{TickInterval: 1}}, steps: []string{"channel trade: Raft options set by a config update"},
		},
		{
			name: "a lost node and another one that goes", before: "o0 o1:lost o2", after: "o0 o1", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")},
			steps: []string{
				"o1: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
				"o2: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
			},
		},
		{
			name: "two lost of three", before: "o0 o1:lost o2:lost", after: "o0 o1 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")},
			steps: []string{
				"o1: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
				"o2: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
			},
			refusals: []string{"evicting o1, which has lost its volume, is not possible: channel trade cannot order, for of its 3 consenters 1 are at work (o0), and 2 must be; not at work now: o1: its status is lost, o2: its status is lost"},
		},
		{
			name: "one that goes is down, and another one goes too", before: "o0 o1:stopped o2 o3", after: "o0", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2", "o3")},
			steps: []string{
				"o1: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
				"o2: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
				"o3: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
			},
		},
		{
			name: "one of two is down and goes", before: "o0 o1:stopped", after: "o0", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1")},
			steps:    []string{"o1: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume"},
			refusals: []string{"removing o1 is not possible: channel trade cannot order, for of its 2 consenters 1 are at work (o0), and 2 must be; not at work now: o1: its status is stopped"},
		},
		{
			name: "an address that is not free yet", before: "o0 o1", after: "o0 o2", channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1")},
			steps: []string{
				"o2: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint",
				"o1: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
			},
		},
		{
			name: "SmartBFT: certificates are told before each restart", before: "o0 o1 o2 o3", after: "o0~ o1 o2~ o3!", ordering: smartBFT(nil),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3")},
			steps: []string{
				"o2; then o3; then o0, which leads trade: made anew on their volumes, one after the other; before each restart a config update tells channel trade the certificates that the node will have",
			},
		},
		{
			name: "SmartBFT: nothing to tell", before: "o0 o1 o2 o3", after: "o0 o1! o2 o3", ordering: smartBFT(nil),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3")}, steps: []string{"o1: made anew on its volume"},
		},
		{
			name: "SmartBFT: three of four must be at work", before: "o0 o1 o2:absent o3", after: "o0! o1! o3!", ordering: smartBFT(nil),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3")},
			steps: []string{
				"o1; then o3; then o0, which leads trade: made anew on their volumes, one after the other",
				"o2: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume",
			},
			refusals: []string{"taking o1 down would leave channel trade without a quorum: of its 4 consenters 2 would be at work (o0, o3), and 3 must be; not at work now: o2: its status is absent"},
		},
		{
			name: "SmartBFT: two of five down", before: "o0 o1 o2:lost o3:lost o4", after: "o0 o1 o2 o3 o4", ordering: smartBFT(nil),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3", "o4")},
			steps: []string{
				"o2: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
				"o3: made anew with an empty volume and another key; evicted from channel trade, joined as a follower, caught up, added as a consenter",
			},
			refusals: []string{"evicting o2, which has lost its volume, is not possible: channel trade cannot order, for of its 5 consenters 3 are at work (o0, o1, o4), and 4 must be; not at work now: o2: its status is lost, o3: its status is lost"},
		},
		{
			name: "SmartBFT: options", before: "o0 o1 o2 o3", after: "o0 o1 o2 o3", ordering: smartBFT(func(o *configtx.BFTOptions) { o.CollectTimeout = 1 }),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3")},
			steps:    []string{"channel trade: SmartBFT options set by a config update, in force at once"},
		},
		{
			name: "SmartBFT: options that nodes read when they start", before: "o0 o1 o2 o3", after: "o0! o1! o2! o3!", ordering: smartBFT(func(o *configtx.BFTOptions) { o.RequestPoolSize = 1 }),
			channels: map[string]ClusterChannel{"trade": bftChannel("o0", "o0", "o1", "o2", "o3")},
			steps: []string{
				"channel trade: SmartBFT options set by a config update, in force at once but for request_pool_size, which nodes read when they start",
				"o1; then o2; then o3; then o0, which leads trade: made anew on their volumes, one after the other",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.ordering == (Ordering{}) {
				c.ordering.Raft = configtx.DefaultRaftOptions()
			}
			plan := ClusterChange{Before: planned(c.before), After: planned(c.after), Channels: c.channels, Ordering: c.ordering}.Plan()
			if !slices.Equal(plan.Steps, c.steps) {
				t.Errorf("steps\n%s\nwant\n%s", strings.Join(plan.Steps, "\n"), strings.Join(c.steps, "\n"))
			}
			var refusals []string
			for _, err := range plan.Refusals {
				refusals = append(refusals, err.Error())
			}
			if !slices.Equal(refusals, c.refusals) {
				t.Errorf("refusals\n%s\nwant\n%s", strings.Join(refusals, "\n"), strings.Join(c.refusals, "\n"))
			}
			if len(plan.Outages) != c.outages {
				t.Errorf("outages %v, want %d", plan.Outages, c.outages)
			}
		})
	}
}

// TestClusterPlanAddress: a node cannot come where another one has yet to go.
func TestClusterPlanAddress(t *testing.T) {
	change := ClusterChange{
		Before:   map[string]PlannedOrderer{"a": {Address: "host:1", Status: engine.Running}},
		After:    map[string]PlannedOrderer{"b": {Address: "host:1"}},
		Channels: map[string]ClusterChannel{"trade": {Consenters: []string{"host:1"}, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}},
		Ordering: Ordering{Raft: configtx.DefaultRaftOptions()},
	}
	plan := change.Plan()
	if len(plan.Refusals) == 0 || !errors.As(plan.Refusals[0], new(*AddressError)) {
		t.Errorf("refused with %v", plan.Refusals)
	}
}

// TestClusterPlanSignatures: what others must sign too is refused, and what the own admin may do alone is not.
func TestClusterPlanSignatures(t *testing.T) {
	s := newSketch(t)
	base, err := configtx.Decode(s.genesis)
	s.must(err)
	shared := base.Clone()
	s.must(shared.SetOrdererOrganization(configtx.OrdererOrganization{Definition: s.definition("Org2MSP"), Endpoints: []string{"x:7050"}}))
	channel := func(config *configtx.Config, consenters ...string) ClusterChannel {
		c := orderedChannel("o0", consenters...)
		summary, err := configtx.Summarize(config)
		s.must(err)
		for _, org := range summary.OrdererOrganizations {
			c.Organizations = append(c.Organizations, org.Definition.ID)
		}
		c.Config, err = proto.Marshal(config.Proto)
		s.must(err)
		return c
	}
	own := func(words string) map[string]PlannedOrderer {
		nodes := planned(words)
		for name, node := range nodes {
			node.MSPID = "OrdererMSP"
			nodes[name] = node
		}
		return nodes
	}
	rekeyed := own("o0 o1 o2!")
	rekeyed["o2"] = PlannedOrderer{Address: "o2:7050", MSPID: "OrdererMSP", Restart: true, Rekeyed: true}
	foreign := planned("o0 o1 o2 o3")
	foreign["o3"] = PlannedOrderer{Address: "o3:7050", MSPID: "Org1MSP"}
	x := func(consenter bool) map[string]PlannedExternal {
		return map[string]PlannedExternal{"x": {Address: "x:7050", MSPID: "Org2MSP", Consenter: consenter}}
	}
	const both = " falls under /Channel/Orderer/Admins (MAJORITY Admins), which wants Org2MSP admin"
	for _, c := range []struct {
		name     string
		channel  ClusterChannel
		after    map[string]PlannedOrderer
		external map[string]PlannedExternal
		admins   []string
		raft     configtx.RaftOptions
		steps    string
		refused  string
	}{
		{name: "let in", channel: channel(base, "o0", "o1", "o2"), external: x(false), steps: "x: its organization Org2MSP made known to channel trade, with its endpoint"},
		{
			name: "let in by nobody", channel: channel(base, "o0", "o1", "o2"), external: x(false), admins: []string{"Org1MSP"}, steps: "x: its organization Org2MSP made known",
			refused: "making the organization of x known falls under /Channel/Orderer/Admins (MAJORITY Admins), which wants OrdererMSP admin",
		},
		{
			name: "let in and added at once", channel: channel(base, "o0", "o1", "o2"), external: x(true), steps: "x: added as a consenter of channel trade; it must have joined",
			refused: "adding x before it is known to work" + both,
		},
		{name: "added by both", channel: channel(base, "o0", "o1", "o2"), external: x(true), admins: []string{"OrdererMSP", "Org2MSP"}, steps: "x: added as a consenter of channel trade"},
		{name: "added by a proposal", channel: channel(shared, "o0", "o1", "o2", "x"), external: x(false)},
		{name: "taken out first", channel: channel(shared, "o0", "o1", "o2", "x"), steps: "channel trade: the consenter x:7050 is taken off", refused: "removing x:7050" + both},
		{name: "taken out afterwards", channel: channel(base, "o0", "o1", "o2")},
		{
			name: "only its consenter is gone", channel: channel(shared, "o0", "o1", "o2"), steps: "channel trade: the organization Org2MSP is taken off, which orders no longer",
			refused: "taking the organization Org2MSP off" + both,
		},
		{name: "a roll", channel: channel(shared, "o0", "o1", "o2", "x"), external: x(false), after: own("o0 o1! o2!"), steps: "o1; then o2: made anew"},
		{name: "new keys", channel: channel(shared, "o0", "o1", "o2", "x"), external: x(false), after: rekeyed, steps: "o2: made anew", refused: "making the new key of o2 known" + both},
		{name: "one more", channel: channel(shared, "o0", "o1", "o2", "x"), external: x(false), after: own("o0 o1 o2 o3"), steps: "o3: added to channel trade", refused: "adding o3" + both},
		{
			name: "one more of a third organization", channel: channel(base, "o0", "o1", "o2"), after: foreign, steps: "o3: added to channel trade",
			refused: "adding o3 falls under /Channel/Orderer/Admins (MAJORITY Admins), which wants Org1MSP admin",
		},
		{
			name: "timers", channel: channel(shared, "o0", "o1", "o2", "x"), external: x(false), raft: configtx.RaftOptions{TickInterval: 1},
			steps: "channel trade: Raft options set", refused: "setting the Raft options" + both,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.after == nil {
				c.after = own("o0 o1 o2")
			}
			if c.admins == nil {
				c.admins = []string{"OrdererMSP"}
			}
			if c.raft == (configtx.RaftOptions{}) {
				c.raft = configtx.DefaultRaftOptions()
			}
			plan := ClusterChange{Before: own("o0 o1 o2"), After: c.after, External: c.external, Channels: map[string]ClusterChannel{"trade": c.channel}, Ordering: Ordering{Raft: c.raft}, Admins: c.admins}.Plan()
			if said := strings.Join(plan.Steps, "\n"); !strings.Contains(said, c.steps) || c.steps == "" && said != "" {
				t.Errorf("it says %q, want %q", said, c.steps)
			}
			err := errors.Join(plan.Refusals...)
			if (c.refused == "") != (err == nil) || err != nil && (!errors.As(err, new(*UnsignedStepError)) || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("refused with %v, want %q", err, c.refused)
			}
		})
	}
}

// TestClusterPlanPorts: nodes that order cannot exchange host ports, because none of them could be made
// before the other has gone; and one that leaves has its ports to the end.
func TestClusterPlanPorts(t *testing.T) {
	with := func(words string, ports ...int) map[string]PlannedOrderer {
		nodes := planned(words)
		for i, name := range slices.Sorted(maps.Keys(nodes)) {
			n := nodes[name]
			n.Ports = []int{ports[i]}
			nodes[name] = n
		}
		return nodes
	}
	three := map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1", "o2")}
	for _, c := range []struct {
		name          string
		before, after map[string]PlannedOrderer
		channels      map[string]ClusterChannel
		refusals      []string
	}{
		{name: "a free one", before: with("o0 o1 o2", 1, 2, 3), after: with("o0! o1 o2", 4, 2, 3), channels: three},
		{
			name: "exchanged", before: with("o0 o1 o2", 1, 2, 3), after: with("o0! o1! o2", 2, 1, 3), channels: three,
			refusals: []string{"handing host port 2 on from o1 to o0, for which all nodes are taken down at once, would leave channel trade without a quorum: of its 3 consenters 0 would be at work, and 2 must be"},
		},
		{
			name: "handed on", before: with("o0 o1 o2", 1, 2, 3), after: with("o0! o1! o2", 4, 1, 3), channels: three,
			refusals: []string{"handing host port 1 on from o0 to o1, for which all nodes are taken down at once, would leave channel trade without a quorum: of its 3 consenters 0 would be at work, and 2 must be"},
		},
		{name: "exchanged without a channel", before: with("o0 o1 o2", 1, 2, 3), after: with("o0! o1! o2", 2, 1, 3)},
		{name: "exchanged by two, whose channel stops for each of them", before: with("o0 o1", 1, 2), after: with("o0! o1!", 2, 1), channels: map[string]ClusterChannel{"trade": orderedChannel("o0", "o0", "o1")}},
		{name: "exchanged while nothing is ordered", before: with("o0:stopped o1:stopped o2:stopped", 1, 2, 3), after: with("o0! o1! o2", 2, 1, 3), channels: three},
		{name: "of one without a container", before: with("o0:absent o1 o2", 1, 2, 3), after: with("o0! o1! o2", 4, 1, 3), channels: three},
		{
			name: "of one that leaves", before: with("o0 o1 o2", 1, 2, 3), after: with("o0 o1 o3", 1, 2, 3),
			refusals: []string{"o3 is to have the host port 3, which o2 has until it is taken out after that"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var refusals []string
			for _, err := range (ClusterChange{Before: c.before, After: c.after, Channels: c.channels, Ordering: Ordering{Raft: configtx.DefaultRaftOptions()}}).Plan().Refusals {
				refusals = append(refusals, err.Error())
			}
			if !slices.Equal(refusals, c.refusals) {
				t.Errorf("refused with\n%s\nwant\n%s", strings.Join(refusals, "\n"), strings.Join(c.refusals, "\n"))
			}
		})
	}
}

func TestQuorum(t *testing.T) {
	for n, want := range map[int][2]int{1: {1, 1}, 2: {2, 2}, 3: {2, 2}, 4: {3, 3}, 5: {3, 4}, 6: {4, 4}, 7: {4, 5}, 10: {6, 7}} {
		if raft, bft := quorumOf(n, false), quorumOf(n, true); raft != want[0] || bft != want[1] {
			t.Errorf("of %d: %d and %d, want %v", n, raft, bft, want)
		}
	}
}

// view gives what nodes say of a channel, by words such as "o0*" (leads), "o1", "o2-" (down), "o3?"
// (follower, not listed); x0 and so on are consenters of others.
func view(words string, active int) channelView {
	c := channelView{channel: Handle{Kind: KindChannel, Name: "trade"}, summary: &configtx.Summary{ConsensusType: "etcdraft"}}
	for word := range strings.FieldsSeq(words) {
		name := strings.TrimRight(word, "*-?")
		entry := configtx.ConsenterSummary{Consenter: configtx.Consenter{Host: name, Port: 7050}}
		if !strings.HasSuffix(word, "?") {
			c.summary.Consenters = append(c.summary.Consenters, entry)
		}
		if strings.HasPrefix(name, "x") {
			continue
		}
		v := ordererView{node: Handle{Kind: KindOrderer, Name: name}, address: name + ":7050", has: true, relation: "consenter", status: "active", height: 9, follows: true, active: active, measured: true}
		switch {
		case strings.HasSuffix(word, "*"):
			v.leads = true
		case strings.HasSuffix(word, "-"):
			v = ordererView{node: v.node, address: v.address, trouble: errNotRunning}
		case strings.HasSuffix(word, "?"):
			v.relation, v.follows = "follower", false
		}
		c.nodes = append(c.nodes, v)
	}
	return c
}

func TestStrength(t *testing.T) {
	o := func(name string) Handle { return Handle{Kind: KindOrderer, Name: name} }
	for _, c := range []struct {
		name, nodes         string
		active              int
		without, more, less string // of o1
	}{
		{name: "three", nodes: "o0* o1 o2", active: 3},
		{
			name: "one of three down", nodes: "o0* o1 o2-", active: 2,
			without: "taking o1 down would leave channel trade without a quorum: of its 3 consenters 1 would be at work (o0), and 2 must be; not at work now: o2: it is not running",
			more:    "adding o9 would leave channel trade without a quorum: of its 4 consenters 2 would be at work (o0, o1), and 3 must be; not at work now: o2: it is not running",
			less:    "removing o1 would leave channel trade without a quorum: of its 2 consenters 1 would be at work (o0), and 2 must be; not at work now: o2: it is not running",
		},
		{
			name: "two of three down", nodes: "o0* o1- o2-", active: 1, // nothing to lose by taking down what cannot order
			more: "adding o9 is not possible: channel trade cannot order, for of its 3 consenters 1 are at work (o0), and 2 must be; not at work now: o1: it is not running, o2: it is not running",
			less: "removing o1 is not possible: channel trade cannot order, for of its 3 consenters 1 are at work (o0), and 2 must be; not at work now: o1: it is not running, o2: it is not running",
		},
		{name: "one", nodes: "o1*", active: 1, less: "removing o1 would leave channel trade without any consenter"},
		{name: "two", nodes: "o0* o1", active: 2},
		{name: "a follower beside", nodes: "o0* o1 o2 o3?", active: 3},
		{name: "two of others", nodes: "o0* o1 x0 x1", active: 4},
		{
			name: "others are down", nodes: "o0* o1 o2 x0", active: 3,
			without: "taking o1 down would leave channel trade without a quorum: of its 4 consenters 2 would be at work (o0, o2), and 3 must be",
		},
		{name: "others, of whom nobody tells", nodes: "o1* x0 x1", active: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view(c.nodes, c.active)
			for what, got := range map[string]struct {
				err  error
				want string
			}{
				"without": {v.without(o("o1")), c.without}, "more": {v.bearsMore("adding o9", true), c.more}, "less": {v.bearsLess(o("o1"), "removing o1"), c.less},
			} {
				text := ""
				if got.err != nil {
					text = got.err.Error()
				}
				if text != got.want {
					t.Errorf("%s: %q\nwant %q", what, text, got.want)
				}
			}
		})
	}
}

func TestSortForRoll(t *testing.T) {
	o := func(names ...string) (out []Handle) {
		for _, n := range names {
			out = append(out, Handle{Kind: KindOrderer, Name: n})
		}
		return out
	}
	for _, c := range []struct {
		name  string
		views []channelView
		want  []string
	}{
		{name: "no channel", want: []string{"o0", "o1", "o2"}},
		{name: "the leader last", views: []channelView{view("o0* o1 o2", 3)}, want: []string{"o1", "o2", "o0"}},
		{name: "the one that nobody would miss first", views: []channelView{view("o0* o1 o2-", 3)}, want: []string{"o2", "o1", "o0"}},
		{name: "several leaders", views: []channelView{view("o0* o1 o2", 3), view("o0* o1 o2", 3), view("o0 o1* o2", 3)}, want: []string{"o2", "o1", "o0"}},
		{name: "more members are less than one leader", views: []channelView{view("o0* o1 o2?", 2), view("o0? o1 o2", 2), view("o0? o1 o2", 2)}, want: []string{"o2", "o1", "o0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := o("o2", "o1", "o0")
			sortForRoll(nodes, c.views)
			if !slices.Equal(namesOf(nodes), c.want) {
				t.Errorf("%v, want %v", namesOf(nodes), c.want)
			}
		})
	}
}

func TestMergeEndpoints(t *testing.T) {
	for _, c := range []struct {
		have, wanted, want []string
		keep               bool
	}{
		{have: []string{"b", "a"}, wanted: []string{"a", "b", "c"}, want: []string{"b", "a", "c"}},
		{have: []string{"x", "a"}, wanted: []string{"a"}, want: []string{"a"}},
		{have: []string{"x", "a"}, wanted: []string{"a", "b"}, keep: true, want: []string{"x", "a", "b"}},
		{wanted: []string{"a"}, want: []string{"a"}},
	} {
		if got := mergeEndpoints(c.have, c.wanted, c.keep); !slices.Equal(got, c.want) {
			t.Errorf("%v with %v (keep %v): %v, want %v", c.have, c.wanted, c.keep, got, c.want)
		}
	}
}
