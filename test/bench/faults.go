package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/test/load"
)

const (
	// faultRate is what a Gateway client submits in a second while ordering nodes fail.
	faultRate = 50
	// faultShare of it must be acknowledged, although there is no leader or no quorum for much of the time.
	faultShare = 0.5
	// recovery bounds the wait for what has to come after a fault: an election ends in 9.5 s with default
	// timers, and a peer that took its blocks from a node which went silent notices after 80 s.
	recovery = 3 * time.Minute
	// withoutQuorum is how long a cluster is held without a quorum.
	withoutQuorum = 20 * time.Second
	// around is how long blocks are watched after a follower failed.
	around = 3 * time.Second
)

// faultsReport is what became of clusters of several sizes whose nodes failed under load.
type faultsReport struct {
	// Election is the least and the longest time after which a follower asks for an election.
	Election [2]float64      `json:"election"`
	Clusters []clusterFaults `json:"clusters"`
}

type clusterFaults struct {
	Orderers int        `json:"orderers"`
	Faults   []outage   `json:"faults"`
	Load     loadReport `json:"load"`
}

// outage is one fault. Times are in seconds since it; negative where there is no such moment.
type outage struct {
	What string `json:"what"`
	// Detection is when the first of the others noticed that the leader was gone, Election when the
	// first of them knew a new one, both by their logs.
	Detection float64 `json:"detection"`
	Election  float64 `json:"election"`
	// FirstBlock is when the first ordering node wrote a block that none had before the election; where the
	// leader stayed, the longest gap between blocks around the fault. FirstCommit is when the first peer had
	// committed such a block, EveryCommit when every peer had: a peer that took its blocks from a node which
	// went silent is later.
	FirstBlock  float64 `json:"first_block"`
	FirstCommit float64 `json:"first_commit"`
	EveryCommit float64 `json:"every_commit"`
}

func (o outage) detection() float64   { return o.Detection }
func (o outage) election() float64    { return o.Election }
func (o outage) firstBlock() float64  { return o.FirstBlock }
func (o outage) firstCommit() float64 { return o.FirstCommit }
func (o outage) everyCommit() float64 { return o.EveryCommit }

// way is a kind of fault.
type way struct {
	what string
	// seldom: it is done a tenth as often as the kills.
	seldom bool
	fault  func(*brokenCluster, context.Context, standing) (outage, error)
}

var ways = []way{
	{what: "leader killed", fault: (*brokenCluster).killLeader},
	{what: "follower killed", fault: (*brokenCluster).killFollower},
	{what: "leader paused", seldom: true, fault: (*brokenCluster).pauseLeader},
	{what: "leader cut off", seldom: true, fault: (*brokenCluster).cutLeader},
	{what: "quorum lost with the leader", seldom: true, fault: (*brokenCluster).loseQuorum},
	{what: "quorum lost, leader left", seldom: true, fault: (*brokenCluster).loseFollowers},
}

// clusterSizes are the sizes of ordering clusters that are broken, where none is asked for.
var clusterSizes = []int{3, 5}

// runFaults breaks the ordering nodes of each cluster under load in every way.
func (b *bench) runFaults(ctx context.Context) error {
	for _, size := range clusterSizes {
		if b.settings.orderers != 0 && b.settings.orderers != size {
			continue
		}
		if err := b.breakCluster(ctx, size); err != nil {
			return err
		}
	}
	if b.settings.earlier == "" {
		return nil
	}
	text, err := os.ReadFile(b.settings.earlier)
	if err != nil {
		return fmt.Errorf("unable to read what an earlier run measured: %w", err)
	}
	earlier := report{}
	if err := json.Unmarshal(text, &earlier); err != nil {
		return fmt.Errorf("unable to read what an earlier run measured: %w", err)
	}
	b.report.Faults.add(earlier.Faults)
	return nil
}

// add counts what another run measured of clusters of the same sizes.
func (f *faultsReport) add(other faultsReport) {
	for i := range f.Clusters {
		c := &f.Clusters[i]
		for _, o := range other.Clusters {
			if o.Orderers != c.Orderers {
				continue
			}
			c.Faults = append(c.Faults, o.Faults...)
			c.Load.Seconds += o.Load.Seconds
			c.Load.Acknowledged += o.Load.Acknowledged
			c.Load.SentAgain += o.Load.SentAgain
			c.Load.HeldBack += o.Load.HeldBack
			c.Load.Rate = float64(c.Load.Acknowledged) / c.Load.Seconds
		}
	}
}

func (b *bench) breakCluster(ctx context.Context, size int) error {
	s := base()
	for i := len(s.orderers); i < size; i++ {
		s = s.withOrderer(fmt.Sprintf("orderer%d", i))
	}
	g, err := b.newGrowing(ctx, fmt.Sprintf("faults%d", size))
	if err != nil {
		return err
	}
	if _, err := g.apply(ctx, s); err != nil {
		return err
	}
	l, err := load.Start(ctx, load.Target{Network: g.network, Channel: "trade", Chaincode: "asset", Rate: faultRate, LeastShare: faultShare})
	if err != nil {
		return err
	}
	cluster := &brokenCluster{bench: b, network: g.network, load: l, report: clusterFaults{Orderers: size}}
	failure := cluster.breakAll(ctx)
	report, err := l.Finish(ctx)
	b.say("%s", report)
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	cluster.report.Load = loadReport{
		Seconds: report.Ended.Sub(report.Began).Seconds(), Rate: report.Rate(), Acknowledged: report.Acknowledged, SentAgain: report.SentAgain, HeldBack: report.HeldBack,
	}
	b.report.Faults.Clusters = append(b.report.Faults.Clusters, cluster.report)
	if _, err := g.run(ctx, "destroy", "-auto-approve", "-json"); err != nil {
		return err
	}
	return b.nothingLeft(ctx)
}

// brokenCluster is an ordering cluster under load whose nodes fail one way after the other.
type brokenCluster struct {
	*bench
	network string
	load    *load.Load
	report  clusterFaults
	journal *journal
	// orderers and peers are containers, which stay the same through every fault.
	orderers, peers []string
}

// breakAll: the leader and a follower are killed as often as was asked for, and the other faults a tenth as
// often. Before each, everybody knows one leader and the load is what it should be.
func (c *brokenCluster) breakAll(ctx context.Context) error {
	election, err := c.load.Election(ctx)
	if err != nil {
		return err
	}
	c.bench.report.Faults.Election = [2]float64{election.Least.Seconds(), election.Most.Seconds()}
	c.journal = &journal{api: c.api}
	following, stop := context.WithCancel(ctx)
	defer c.journal.done.Wait()
	defer stop()
	if c.orderers, err = c.follow(following, "orderer"); err != nil {
		return err
	}
	if c.peers, err = c.follow(following, "peer"); err != nil {
		return err
	}
	if len(c.orderers) != c.report.Orderers {
		return fmt.Errorf("%d of %d ordering nodes run", len(c.orderers), c.report.Orderers)
	}
	for _, way := range ways {
		times := c.settings.faults
		switch {
		case !strings.Contains(way.what, c.settings.only):
			continue
		case way.seldom:
			times = max(1, times/10)
		}
		for i := range times {
			now, err := c.settled(ctx)
			if err != nil {
				return err
			}
			out, err := way.fault(c, ctx, now)
			if err != nil {
				return fmt.Errorf("%s, %d of %d: %w", way.what, i+1, times, err)
			}
			out.What = way.what
			c.report.Faults = append(c.report.Faults, out)
			c.say("%d orderers, %s, %d of %d: noticed %.2f s, elected %.2f s, first block %.2f s, first commit %.2f s, on every peer %.2f s",
				c.report.Orderers, way.what, i+1, times, out.Detection, out.Election, out.FirstBlock, out.FirstCommit, out.EveryCommit)
		}
	}
	_, err = c.settled(ctx)
	return err
}

// follow reads the logs of the nodes of a kind.
func (c *brokenCluster) follow(ctx context.Context, kind string) ([]string, error) {
	list, err := c.api.ContainerList(ctx, client.ContainerListOptions{Filters: client.Filters{}.
		Add("label", networkLabel+"="+c.network).Add("label", "io.github.fabricops.kind="+kind).Add("status", "running")})
	if err != nil {
		return nil, fmt.Errorf("unable to list the containers of network %s: %w", c.network, err)
	}
	var ids []string
	for _, found := range list.Items {
		c.journal.follow(ctx, found.ID, found.Labels["io.github.fabricops.name"])
		ids = append(ids, found.ID)
	}
	return ids, nil
}

// standing is a cluster in which all know one leader: containers by Raft ID.
type standing struct {
	containers map[string]string
	leader     string
}

func (s standing) followers() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(s.containers)) {
		if id != s.leader {
			out = append(out, s.containers[id])
		}
	}
	return out
}

// settled waits until all ordering nodes know the same leader, every node has a block that came under it, and
// the load has caught up: no more is under way than comes in a second.
func (c *brokenCluster) settled(ctx context.Context) (standing, error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var now standing
	var under uint64
	err := await(ctx, func() error {
		orderers := c.journal.look(c.orderers)
		was := now.leader
		var err error
		if now, err = agreed(c.orderers, orderers); err != nil {
			return err
		}
		if now.leader != was {
			under = top(orderers, time.Now()) + 1
		}
		for _, d := range append(orderers, c.journal.look(c.peers)...) {
			if d.reached(under).IsZero() {
				return fmt.Errorf("%s has not block %d", d.name, under)
			}
		}
		if open := c.load.UnderWay(); open > faultRate {
			return fmt.Errorf("%d values are under way", open)
		}
		return nil
	})
	if err != nil {
		return now, fmt.Errorf("the network does not recover: %w", err)
	}
	return now, nil
}

// agreed is the cluster when all its nodes, since their last start, know the same leader.
func agreed(ids []string, nodes []*diary) (standing, error) {
	now := standing{containers: map[string]string{}}
	term := 0
	for i, d := range nodes {
		last := last(d.leaderships)
		switch {
		case last.leader == "" || last.lost || last.at.Before(d.started):
			return standing{}, fmt.Errorf("%s knows no leader", d.name)
		case last.term < term || now.leader != "" && last.leader != now.leader:
			return standing{}, errors.New("not all know the same leader")
		}
		now.containers[last.node], now.leader, term = ids[i], last.leader, last.term
	}
	if now.containers[now.leader] == "" {
		return standing{}, errors.New("the leader is none of them")
	}
	return now, nil
}

// elected tells when the first of some nodes noticed that the leader was gone, and when the first of them knew
// a leader; the zero time while none did.
func elected(nodes []*diary, since time.Time) (noticed, known time.Time) {
	for _, d := range nodes {
		for _, l := range d.leaderships {
			moment := &known
			if l.lost {
				moment = &noticed
			}
			if l.at.After(since) && (moment.IsZero() || l.at.Before(*moment)) {
				*moment = l.at
			}
		}
	}
	return noticed, known
}

// reached tells when the first of some nodes wrote a block from a number on, and when the last did; the zero time
// while none has, and while one has not.
func reached(nodes []*diary, number uint64) (first, every time.Time) {
	missing := false
	for _, d := range nodes {
		at := d.reached(number)
		switch {
		case at.IsZero():
			missing = true
			continue
		case first.IsZero() || at.Before(first):
			first = at
		}
		if at.After(every) {
			every = at
		}
	}
	if missing {
		every = time.Time{}
	}
	return first, every
}

// measure waits for the moments of an election: what some nodes know since the fault, and the first block that none
// of all had before.
func (c *brokenCluster) measure(ctx context.Context, some []string, began time.Time) (outage, error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var out outage
	err := await(ctx, func() error {
		noticed, known := elected(c.journal.look(some), began)
		if known.IsZero() {
			return errors.New("no leader is elected")
		}
		orderers := c.journal.look(c.orderers)
		fresh := top(orderers, known) + 1
		ordered, _ := reached(orderers, fresh)
		first, every := reached(c.journal.look(c.peers), fresh)
		if every.IsZero() {
			return fmt.Errorf("not every peer has block %d", fresh)
		}
		out = outage{
			Detection: since(began, noticed), Election: since(began, known),
			FirstBlock: since(began, ordered), FirstCommit: since(began, first), EveryCommit: since(began, every),
		}
		return nil
	})
	return out, err
}

// since is in seconds; negative when there is no such moment.
func since(began, at time.Time) float64 {
	if at.IsZero() {
		return -1
	}
	return at.Sub(began).Seconds()
}

func (c *brokenCluster) kill(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if _, err := c.api.ContainerKill(ctx, id, client.ContainerKillOptions{}); err != nil {
			return fmt.Errorf("unable to kill container %s: %w", id, err)
		}
	}
	return nil
}

func (c *brokenCluster) start(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		c.journal.restart(id)
		if _, err := c.api.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
			return fmt.Errorf("unable to start container %s: %w", id, err)
		}
	}
	return nil
}

// killLeader kills the leader, which stays down until another one orders.
func (c *brokenCluster) killLeader(ctx context.Context, now standing) (outage, error) {
	began := time.Now()
	if err := c.kill(ctx, now.containers[now.leader]); err != nil {
		return outage{}, err
	}
	out, err := c.measure(ctx, now.followers(), began)
	return out, errors.Join(err, c.start(ctx, now.containers[now.leader]))
}

// killFollower kills a follower: the others go on.
func (c *brokenCluster) killFollower(ctx context.Context, now standing) (outage, error) {
	began, follower := time.Now(), now.followers()[0]
	if err := c.kill(ctx, follower); err != nil {
		return outage{}, err
	}
	next := top(c.journal.look(c.orderers), began) + 1
	out := outage{Detection: -1, Election: -1}
	waiting, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	err := await(waiting, func() error {
		first, every := reached(c.journal.look(c.peers), next)
		if every.IsZero() {
			return fmt.Errorf("not every peer has block %d", next)
		}
		gap, ended := longestGap(c.journal.look(c.orderers), began, began.Add(around))
		if !ended {
			return errors.New("no block came")
		}
		out.FirstBlock, out.FirstCommit, out.EveryCommit = gap.Seconds(), since(began, first), since(began, every)
		return nil
	})
	return out, errors.Join(err, c.start(ctx, follower))
}

// longestGap is the longest time between blocks that overlaps a span, each as of the first node that wrote it, and
// whether a block came after the span.
func longestGap(nodes []*diary, from, to time.Time) (gap time.Duration, ended bool) {
	first := map[uint64]time.Time{}
	for _, d := range nodes {
		for _, b := range d.blocks {
			if at, seen := first[b.number]; !seen || b.at.Before(at) {
				first[b.number] = b.at
			}
		}
	}
	moments := slices.SortedFunc(maps.Values(first), time.Time.Compare)
	for i := 1; i < len(moments); i++ {
		if moments[i].After(from) && moments[i-1].Before(to) {
			gap = max(gap, moments[i].Sub(moments[i-1]))
		}
	}
	return gap, len(moments) > 0 && last(moments).After(to)
}

// pauseLeader freezes the leader: it is elected over, and comes back as if nothing had been.
func (c *brokenCluster) pauseLeader(ctx context.Context, now standing) (outage, error) {
	leader, began := now.containers[now.leader], time.Now()
	if _, err := c.api.ContainerPause(ctx, leader, client.ContainerPauseOptions{}); err != nil {
		return outage{}, fmt.Errorf("unable to pause container %s: %w", leader, err)
	}
	out, err := c.measure(ctx, now.followers(), began)
	_, woken := c.api.ContainerUnpause(context.WithoutCancel(ctx), leader, client.ContainerUnpauseOptions{})
	return out, errors.Join(err, woken)
}

// cutLeader takes the leader off the network.
func (c *brokenCluster) cutLeader(ctx context.Context, now standing) (outage, error) {
	leader := now.containers[now.leader]
	inspected, err := c.api.ContainerInspect(ctx, leader, client.ContainerInspectOptions{})
	if err != nil {
		return outage{}, fmt.Errorf("unable to inspect container %s: %w", leader, err)
	}
	endpoint := inspected.Container.NetworkSettings.Networks[c.network]
	began := time.Now()
	if _, err := c.api.NetworkDisconnect(ctx, c.network, client.NetworkDisconnectOptions{Container: leader, Force: true}); err != nil {
		return outage{}, fmt.Errorf("unable to cut container %s off: %w", leader, err)
	}
	out, err := c.measure(ctx, now.followers(), began)
	_, back := c.api.NetworkConnect(context.WithoutCancel(ctx), c.network, client.NetworkConnectOptions{Container: leader, EndpointConfig: endpoint})
	return out, errors.Join(err, back)
}

// loseQuorum kills the leader and as many more as are one too many.
func (c *brokenCluster) loseQuorum(ctx context.Context, now standing) (outage, error) {
	followers := now.followers()
	return c.withoutQuorum(ctx, append([]string{now.containers[now.leader]}, followers[:c.report.Orderers/2]...), followers[c.report.Orderers/2:])
}

// loseFollowers kills as many followers as are one too many: the leader still takes transactions.
func (c *brokenCluster) loseFollowers(ctx context.Context, now standing) (outage, error) {
	followers := now.followers()
	return c.withoutQuorum(ctx, followers[:c.report.Orderers/2+1], append(followers[c.report.Orderers/2+1:], now.containers[now.leader]))
}

// withoutQuorum kills some nodes for a while, in which nothing may be ordered. It was noticed since the loss; the
// other times are since the nodes were started again.
func (c *brokenCluster) withoutQuorum(ctx context.Context, down, left []string) (outage, error) {
	if err := c.kill(ctx, down...); err != nil {
		return outage{}, err
	}
	lost := time.Now()
	select {
	case <-time.After(withoutQuorum):
	case <-ctx.Done():
		return outage{}, ctx.Err()
	}
	back := time.Now()
	if err := c.start(ctx, down...); err != nil {
		return outage{}, err
	}
	out, err := c.measure(ctx, c.orderers, back)
	if err != nil {
		return outage{}, err
	}
	noticed, _ := elected(c.journal.look(left), lost)
	out.Detection = since(lost, noticed)
	// Once all nodes have later blocks, all that they logged before is read.
	if _, err := c.settled(ctx); err != nil {
		return outage{}, err
	}
	return out, stoodStill(c.journal.look(c.orderers), c.journal.look(c.peers), c.load.Report().LastBlockBetween(lost, back), lost, back)
}

// stoodStill fails when something was ordered while there was no quorum. It goes by blocks: one that a leader had cut
// before the loss may have been agreed on by then, and a node may write it, and a client be told of it, at any time
// afterwards. What was cut later, if the leader was left, must not come to any node or client until the quorum is back.
func stoodStill(orderers, peers []*diary, told uint64, lost, back time.Time) error {
	var cut uint64
	for _, d := range orderers {
		cut = max(cut, highest(d.cut, lost))
	}
	if cut == 0 {
		return errors.New("no block is known from before the quorum was lost")
	}
	for _, d := range append(slices.Clone(orderers), peers...) {
		if most := highest(d.blocks, back); most > cut {
			return fmt.Errorf("%s wrote block %d while there was no quorum; the last block that was cut before is %d", d.name, most, cut)
		}
	}
	if told > cut {
		return fmt.Errorf("a transaction of block %d was acknowledged while there was no quorum; the last block that was cut before is %d", told, cut)
	}
	return nil
}

// await asks until there is no error, ten times a second.
func await(ctx context.Context, ask func() error) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// bound is the longest time, by the channel's timers, until a fault of this kind is noticed: a follower waits one
// tick less than two election timeouts, and a leader looks for its quorum once in each.
func (f faultsReport) bound(what string) string {
	switch what {
	case "follower killed":
		return "-"
	case "quorum lost, leader left":
		return fmt.Sprintf("%.2f", 2*f.Election[0])
	}
	return fmt.Sprintf("%.2f", f.Election[1])
}

// faultTables show each way of failing, for each size a table.
func (r *report) faultTables() []table {
	var out []table
	for _, c := range r.Faults.Clusters {
		t := table{
			title:  fmt.Sprintf("%d ordering nodes", c.Orderers),
			header: []string{"what", "times", "noticed, by the timers at most", "noticed", "leader elected", "first block", "first commit", "every peer commits"},
		}
		for _, way := range ways {
			times := len(c.figures(way.what, outage.everyCommit))
			row := []string{way.what, strconv.Itoa(times), r.Faults.bound(way.what)}
			for _, of := range []func(outage) float64{outage.detection, outage.election, outage.firstBlock, outage.firstCommit, outage.everyCommit} {
				row = append(row, spread(c.figures(way.what, of), times))
			}
			t.rows = append(t.rows, row)
		}
		t.note = fmt.Sprintf("Seconds since the fault, median, 95th percentile and most, while Gateway clients of two organizations submitted %d transactions in a second for %s: %d were acknowledged, "+
			"%d of them submitted more than once, and %d held back by the clients; every acknowledged one is on every peer exactly once, and every node has the same height and "+
			"hash. %s, %s.",
			faultRate, spell(math.Round(c.Load.Seconds)), c.Load.Acknowledged, c.Load.SentAgain, c.Load.HeldBack, r.Fabric, r.conditions())
		out = append(out, t)
	}
	return out
}

func (c clusterFaults) figures(what string, of func(outage) float64) []float64 {
	var out []float64
	for _, o := range c.Faults {
		if v := of(o); o.What == what && v >= 0 {
			out = append(out, v)
		}
	}
	return slices.Sorted(slices.Values(out))
}

// spread gives the median, the 95th percentile and the most of sorted figures, and how many there are where that is
// not every time.
func spread(sorted []float64, times int) string {
	if len(sorted) == 0 {
		return "-"
	}
	p95 := sorted[(len(sorted)*95+99)/100-1]
	text := fmt.Sprintf("%.2f / %.2f / %.2f", summarize(sorted).Median, p95, last(sorted))
	if len(sorted) < times {
		text += fmt.Sprintf(" (%d times)", len(sorted))
	}
	return text
}
