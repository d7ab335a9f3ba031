package network

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/operations"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// ordererView is what an ordering node says of a channel.
type ordererView struct {
	node Handle
	// address is the one by which others reach it, as far as the engine knows.
	address string
	// trouble is why the node could not tell; its container does not run, for one.
	trouble error
	// has tells whether the node has joined the channel. What follows is empty otherwise.
	has              bool
	relation, status string
	height           uint64
	// follows tells that it knows a leader, leads that it is the one.
	follows, leads bool
	// viewLeader is the number of the consenter that leads in the SmartBFT view which the node is in; 0
	// where metrics do not say.
	viewLeader uint32
	// evicted tells that the node goes on to call itself a consenter of a SmartBFT channel that does not
	// list it any more. It has stopped its part, and follows only when it is started again.
	evicted bool
	// active is how many consenters are at work, as the leader tells; 0 where metrics do not say.
	// measured is whether the node gives metrics, without which it does not say whether it leads.
	active   int
	measured bool
}

// consents tells whether the node has a part in the consensus; a node that cannot be asked may have.
func (v ordererView) consents() bool {
	return v.trouble != nil || v.relation == participation.RelationConsenter
}

// serves tells whether the node does its part in the consensus.
func (v ordererView) serves() bool { return v.consents() && v.ails() == "" }

// ails says what keeps a node from serving, in words that follow its name.
func (v ordererView) ails() string {
	switch {
	case v.trouble != nil:
		return v.trouble.Error()
	case !v.has:
		return "it has not joined the channel"
	case v.relation != participation.RelationConsenter:
		return "it is a " + v.relation + " there"
	case v.status != participation.StatusActive:
		return "its status is " + v.status
	case !v.follows:
		return "it knows no leader"
	}
	return ""
}

// channelView is what the nodes of a cluster say of a channel.
type channelView struct {
	channel Handle
	// nodes are those of the cluster, in their order.
	nodes []ordererView
	// config is the configuration in force, as the furthest node has it, and summary what it says; nil when
	// none gave it.
	config  *configtx.Config
	summary *configtx.Summary
}

func (c channelView) node(o Handle) ordererView {
	for _, v := range c.nodes {
		if v.node == o {
			return v
		}
	}
	return ordererView{node: o, trouble: errors.New("it was not asked")}
}

// height is that of the longest chain among the nodes but one.
func (c channelView) height(but Handle) uint64 {
	height := uint64(0)
	for _, v := range c.nodes {
		if v.node != but {
			height = max(height, v.height)
		}
	}
	return height
}

// furthest gives the consenters, which alone hand out blocks: the leader, then those with most of them.
func (c channelView) furthest() []Handle {
	nodes := slices.DeleteFunc(slices.Clone(c.nodes), func(v ordererView) bool {
		return v.trouble != nil || v.relation != participation.RelationConsenter
	})
	slices.SortStableFunc(nodes, func(a, b ordererView) int {
		switch {
		case a.leads != b.leads && a.leads:
			return -1
		case a.leads != b.leads:
			return 1
		}
		return cmp.Compare(b.height, a.height)
	})
	out := make([]Handle, len(nodes))
	for i, v := range nodes {
		out[i] = v.node
	}
	return out
}

// leader gives the node that leads, when one of the nodes does.
func (c channelView) leader() (Handle, bool) {
	for _, v := range c.nodes {
		if v.leads {
			return v.node, true
		}
	}
	return Handle{}, false
}

// led tells whether the channel has a leader, as far as that can be told: it may be a node of others, or
// one that does not say.
func (c channelView) led() bool {
	return c.strength().external > 0 || slices.ContainsFunc(c.nodes, func(v ordererView) bool {
		return v.leads || v.serves() && !v.measured
	})
}

// survey asks the nodes of a cluster for every channel that one of them has. What a node cannot tell
// is in the answer; only the engine's own failure is an error.
func (f *Fabric) survey(ctx context.Context, nodes []Handle) ([]channelView, error) {
	views, _, err := f.surveyAll(ctx, nodes)
	return views, err
}

// surveyAll is survey, and tells whether a node was silent: it may have channels that no other has.
func (f *Fabric) surveyAll(ctx context.Context, nodes []Handle) (views []channelView, silent bool, err error) {
	reports := make([]ordererReport, len(nodes))
	var calls sync.WaitGroup
	for i, o := range nodes {
		calls.Go(func() { reports[i] = f.ordererReport(ctx, o) })
	}
	calls.Wait()
	names := map[string]bool{}
	for _, r := range reports {
		if errors.Is(r.trouble, engine.ErrUnreachable) {
			return nil, false, r.trouble
		}
		silent = silent || r.trouble != nil
		for name := range r.channels {
			names[name] = true
		}
	}
	views = make([]channelView, len(names))
	for i, name := range slices.Sorted(maps.Keys(names)) {
		views[i] = channelView{channel: nodes[0].With(KindChannel, name, ""), nodes: make([]ordererView, len(nodes))}
		for j, o := range nodes {
			views[i].nodes[j] = reports[j].view(o, name)
		}
		calls.Go(func() {
			views[i].config, views[i].summary = f.configOf(ctx, views[i])
			views[i].heedLedger()
		})
	}
	calls.Wait()
	return views, silent, nil
}

// heedLedger corrects what nodes of a SmartBFT channel say of themselves by what the ledger says: who is a
// consenter, and who leads, which is the one that most nodes take for the leader of their view. Whether a
// node leads is in its own metric only as of its last block.
func (c channelView) heedLedger() {
	if !c.bft() {
		return
	}
	numbers := map[string]uint32{}
	for _, entry := range c.summary.Consenters {
		numbers[addressOf(entry.Consenter)] = entry.ID
	}
	votes, leader := map[uint32]int{}, uint32(0)
	for i := range c.nodes {
		v := &c.nodes[i]
		if numbers[v.address] == 0 {
			v.viewLeader, v.leads = 0, false
			if v.relation == participation.RelationConsenter {
				v.relation, v.evicted = participation.RelationFollower, true
			}
		}
		if votes[v.viewLeader]++; v.viewLeader != 0 && (leader == 0 || votes[v.viewLeader] > votes[leader]) {
			leader = v.viewLeader
		}
	}
	for i, v := range c.nodes {
		c.nodes[i].leads = leader != 0 && numbers[v.address] == leader && v.serves()
	}
}

// ordererReport is what an ordering node says of itself.
type ordererReport struct {
	address  string
	trouble  error
	channels map[string]ordererView
}

func (r ordererReport) view(o Handle, channel string) ordererView {
	v := r.channels[channel]
	v.node, v.address = o, r.address
	if v.trouble == nil {
		v.trouble = r.trouble
	}
	return v
}

func (f *Fabric) ordererReport(ctx context.Context, o Handle) ordererReport {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	report := ordererReport{address: NodeOptions{}.Endpoint(o, ordererPort), channels: map[string]ordererView{}}
	container, err := f.engine.Node(ctx, o.Object())
	if err == nil {
		report.address = container.Labels[labelEndpoint]
	}
	if errors.Is(err, engine.ErrNotFound) || err == nil && container.Status != engine.Running {
		err = errNotRunning
	}
	if report.trouble = err; err != nil {
		return report
	}
	names, err := f.ordererChannels(ctx, o)
	if report.trouble = err; err != nil {
		return report
	}
	metrics, _ := f.metrics(ctx, o) // a node that gives none is not known to lead
	for _, name := range names {
		report.channels[name] = f.ordererView(ctx, o, name, metrics)
	}
	return report
}

// ordererView asks an ordering node for a channel that it has.
func (f *Fabric) ordererView(ctx context.Context, o Handle, channel string, metrics operations.Metrics) ordererView {
	v := ordererView{has: true, measured: metrics != nil}
	client, err := f.participation(ctx, o)
	if err != nil {
		v.trouble = err
		return v
	}
	answer, err := client.Get(ctx, channel)
	if err != nil {
		v.has, v.trouble = !errors.Is(err, participation.ErrNotFound), err
		return v
	}
	v.relation, v.status, v.height = answer.ConsensusRelation, answer.Status, answer.Height
	for _, consensus := range []string{"consensus_etcdraft_", "consensus_BFT_"} {
		label := map[string]string{"channel": channel}
		leads, _ := metrics.Value(consensus+"is_leader", label)
		active, _ := metrics.Value(consensus+"active_nodes", label)
		v.leads, v.active = v.leads || leads == 1, max(v.active, int(active))
	}
	viewLeader, _ := metrics.Value("consensus_smartbft_view_leader_id", map[string]string{"channel": channel})
	v.viewLeader = uint32(viewLeader)
	v.follows = v.leads || v.active > 0
	if !v.follows {
		v.follows, _ = f.knowsLeader(ctx, o, channel)
	}
	return v
}

// knowsLeader asks an ordering node whether it knows the leader of a channel, as its own admin.
func (f *Fabric) knowsLeader(ctx context.Context, o Handle, channel string) (bool, error) {
	conn, err := f.grpcConn(ctx, o, ordererPort)
	if err != nil {
		return false, err
	}
	admin, err := f.identity(ctx, o.Organization())
	if err != nil {
		return false, err
	}
	return orderer.HasLeader(ctx, conn, admin, channel)
}

// metrics reads the metrics of a peer or an ordering node.
func (f *Fabric) metrics(ctx context.Context, h Handle) (operations.Metrics, error) {
	client, err := f.operationsOf(ctx, h, ordererOperationsPort) // a peer has the same
	if err != nil {
		return nil, err
	}
	return client.Metrics(ctx)
}

// configOf fetches the configuration of a channel from the node that has most of it.
func (f *Fabric) configOf(ctx context.Context, c channelView) (*configtx.Config, *configtx.Summary) {
	for _, o := range c.furthest() {
		config, err := f.config(ctx, o, c.channel.Name)
		if err != nil {
			continue
		}
		if summary, err := configtx.Summarize(config); err == nil {
			return config, &summary
		}
	}
	return nil, nil
}
