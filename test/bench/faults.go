package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/test/load"
)

const (
	// faultRate is what a Gateway client submits in a second while ordering nodes fail.
	faultRate = 50
	// recovery bounds the wait for what has to come after a fault: an election ends in 9.5 s with default timers.
	recovery = 90 * time.Second
	// withoutQuorum is how long a cluster is held without a quorum.
	withoutQuorum = 20 * time.Second
	// underWay is how long what was ordered before a fault may take to reach a client.
	underWay = 3 * time.Second
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
	// FirstCommit is when the first transaction was acknowledged that was committed after the election,
	// and where the leader stayed, the longest gap between blocks around the fault.
	FirstCommit float64 `json:"first_commit"`
}

// runFaults breaks the ordering nodes of clusters of three and of five under load, each in every way.
func (b *bench) runFaults(ctx context.Context) error {
	for _, size := range []int{3, 5} {
		if err := b.breakCluster(ctx, size); err != nil {
			return err
		}
	}
	return nil
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
	l, err := load.Start(ctx, load.Target{Network: g.network, Channel: "trade", Chaincode: "asset", Rate: faultRate})
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
		Seconds: report.Ended.Sub(report.Began).Seconds(), Rate: report.Rate(), Acknowledged: report.Acknowledged, SentAgain: report.SentAgain,
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
}

// breakAll: the leader and a follower are killed as often as was asked for, and a tenth as often the leader
// is paused and cut off, and the quorum is lost. Before each, everybody knows one leader.
func (c *brokenCluster) breakAll(ctx context.Context) error {
	election, err := c.load.Election(ctx)
	if err != nil {
		return err
	}
	c.bench.report.Faults.Election = [2]float64{election.Least.Seconds(), election.Most.Seconds()}
	kills := c.settings.faults
	seldom := max(1, kills/10)
	for _, way := range []struct {
		what  string
		times int
		fault func(context.Context, standing) (outage, error)
	}{
		{"leader killed", kills, c.killLeader},
		{"follower killed", kills, c.killFollower},
		{"leader paused", seldom, c.pauseLeader},
		{"leader cut off", seldom, c.cutLeader},
		{"quorum lost", seldom, c.loseQuorum},
	} {
		for i := range way.times {
			now, err := c.settled(ctx)
			if err != nil {
				return err
			}
			out, err := way.fault(ctx, now)
			if err != nil {
				return fmt.Errorf("%s, %d of %d: %w", way.what, i+1, way.times, err)
			}
			out.What = way.what
			c.report.Faults = append(c.report.Faults, out)
			c.say("%d orderers, %s, %d of %d: noticed %.2f s, elected %.2f s, first commit %.2f s", c.report.Orderers, way.what, i+1, way.times, out.Detection, out.Election, out.FirstCommit)
		}
	}
	_, err = c.settled(ctx)
	return err
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

// raftLine is what an ordering node logs of leaders, behind the engine's own time.
var raftLine = regexp.MustCompile(`(?m)^(\S+) .*raft\.node: (\w+) (elected|lost|changed) leader (?:from \w+ to )?(\w+) at term (\d+).*channel=trade`)

type leadership struct {
	at           time.Time
	node, leader string
	lost         bool
	term         int
}

// leaderships reads what a container logged of leaders since a moment.
func (c *brokenCluster) leaderships(ctx context.Context, id string, since time.Time) ([]leadership, error) {
	stream, err := c.api.ContainerLogs(ctx, id, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true, Since: fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
	})
	if err != nil {
		return nil, fmt.Errorf("unable to read the log of %s: %w", id, err)
	}
	defer stream.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, stream); err != nil {
		return nil, fmt.Errorf("unable to read the log of %s: %w", id, err)
	}
	var out []leadership
	for _, m := range raftLine.FindAllStringSubmatch(text.String(), -1) {
		at, err := time.Parse(time.RFC3339Nano, m[1])
		if err != nil {
			return nil, err
		}
		term, err := strconv.Atoi(m[5])
		if err != nil {
			return nil, err
		}
		out = append(out, leadership{at: at, node: m[2], leader: m[4], lost: m[3] == "lost", term: term})
	}
	return out, nil
}

// orderers are the IDs of the containers of the ordering nodes that were started.
func (c *brokenCluster) orderers(ctx context.Context) ([]string, error) {
	list, err := c.api.ContainerList(ctx, client.ContainerListOptions{Filters: client.Filters{}.
		Add("label", networkLabel+"="+c.network).Add("label", "io.github.fabricops.kind=orderer").Add("status", "running")})
	var out []string
	for _, found := range list.Items {
		out = append(out, found.ID)
	}
	return out, err
}

// settled waits until all nodes know the same leader and a block came under it.
func (c *brokenCluster) settled(ctx context.Context) (standing, error) {
	deadline, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var now standing
	err := await(deadline, func() error {
		containers, err := c.orderers(deadline)
		if err != nil {
			return err
		}
		if len(containers) != c.report.Orderers {
			return fmt.Errorf("%d of %d ordering nodes run", len(containers), c.report.Orderers)
		}
		now = standing{containers: map[string]string{}}
		term := 0
		for _, id := range containers {
			said, err := c.leaderships(deadline, id, time.Unix(0, 0))
			if err != nil {
				return err
			}
			last := last(said)
			if last.leader == "" || last.lost || last.term < term || now.leader != "" && last.leader != now.leader {
				return errors.New("not all know the same leader")
			}
			now.containers[last.node], now.leader, term = id, last.leader, last.term
		}
		if now.containers[now.leader] == "" {
			return errors.New("the leader is none of them")
		}
		return nil
	})
	if err == nil {
		_, err = c.commitAfter(ctx, time.Now())
	}
	return now, err
}

// commitAfter waits for the first transaction that was acknowledged after a moment and was under way no
// longer than what an undisturbed one takes.
func (c *brokenCluster) commitAfter(ctx context.Context, moment time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var at time.Time
	err := await(ctx, func() error {
		if at = c.load.Report().FirstAfter(moment); at.IsZero() {
			return errors.New("no transaction is committed")
		}
		return nil
	})
	return at, err
}

// newLeader waits until one of the nodes knows another leader than before, and tells when one of them
// noticed and when one of them knew.
func (c *brokenCluster) newLeader(ctx context.Context, others []string, since time.Time) (noticed, elected time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	earlier := func(a *time.Time, at time.Time) {
		if a.IsZero() || at.Before(*a) {
			*a = at
		}
	}
	err = await(ctx, func() error {
		noticed, elected = time.Time{}, time.Time{}
		for _, id := range others {
			said, err := c.leaderships(ctx, id, since)
			if err != nil {
				return err
			}
			for _, s := range said {
				if s.lost {
					earlier(&noticed, s.at)
				} else {
					earlier(&elected, s.at)
				}
			}
		}
		if elected.IsZero() {
			return errors.New("no leader is elected")
		}
		return nil
	})
	return noticed, elected, err
}

// measure tells the moments of a fault of the leader.
func (c *brokenCluster) measure(ctx context.Context, others []string, began time.Time) (outage, error) {
	noticed, elected, err := c.newLeader(ctx, others, began)
	if err != nil {
		return outage{}, err
	}
	committed, err := c.commitAfter(ctx, elected)
	out := outage{Detection: -1, Election: elected.Sub(began).Seconds(), FirstCommit: committed.Sub(began).Seconds()}
	if !noticed.IsZero() {
		out.Detection = noticed.Sub(began).Seconds()
	}
	return out, err
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
	_, err := c.commitAfter(ctx, began.Add(underWay))
	gap := c.load.Report().GapsBetween(began, time.Now()).Longest
	return outage{Detection: -1, Election: -1, FirstCommit: gap.Seconds()}, errors.Join(err, c.start(ctx, follower))
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

// loseQuorum kills as many as are one too many. Nothing may be acknowledged until they are back.
func (c *brokenCluster) loseQuorum(ctx context.Context, now standing) (outage, error) {
	down := append([]string{now.containers[now.leader]}, now.followers()[:c.report.Orderers/2]...)
	began := time.Now()
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
	if at := c.load.Report().FirstAfter(lost.Add(underWay)); !at.IsZero() && at.Before(back) {
		return outage{}, fmt.Errorf("a transaction was acknowledged %s after the quorum was lost", at.Sub(lost))
	}
	out, err := c.measure(ctx, append(now.followers(), now.containers[now.leader]), back)
	b := back.Sub(began)
	c.say("without a quorum for %s", b.Round(time.Second))
	return out, err
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

// faultTables show each way of failing for each size.
func (r *report) faultTables() []table {
	t := table{
		title:  "Ordering nodes that fail under load",
		header: []string{"orderers", "what", "times", "noticed: median", "p95", "most", "leader elected: median", "p95", "most", "first commit: median", "p95", "most"},
	}
	acknowledged := 0
	for _, c := range r.Faults.Clusters {
		acknowledged += c.Load.Acknowledged
		for _, what := range []string{"leader killed", "follower killed", "leader paused", "leader cut off", "quorum lost"} {
			row := []string{strconv.Itoa(c.Orderers), what, strconv.Itoa(len(c.figures(what, func(o outage) float64 { return max(o.FirstCommit, 0) })))}
			for _, of := range []func(outage) float64{
				func(o outage) float64 { return o.Detection }, func(o outage) float64 { return o.Election }, func(o outage) float64 { return o.FirstCommit },
			} {
				row = append(row, spread(c.figures(what, of))...)
			}
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) == 0 {
		return nil
	}
	t.note = fmt.Sprintf("Seconds since the fault, while Gateway clients of two organizations submitted %d transactions in a second: %d were acknowledged in all, every one is on every "+
		"peer exactly once, and every node has the same height and hash. Noticed and elected are the first line of any other node's log; the first commit is the first acknowledgement after the election, "+
		"and where a follower failed, the longest gap between blocks. Without a quorum, which was lost for %s, nothing was acknowledged; its times are since the nodes were started again. By the "+
		"channel's timers a follower asks for an election after %s to %s without a leader, and a split vote doubles that.",
		faultRate, acknowledged, withoutQuorum, spell(r.Faults.Election[0]), spell(r.Faults.Election[1]))
	return []table{t}
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

// spread gives the median, the 95th percentile and the most of sorted figures; dashes where there is none.
func spread(sorted []float64) []string {
	if len(sorted) == 0 {
		return []string{"-", "-", "-"}
	}
	p95 := sorted[(len(sorted)*95+99)/100-1]
	return []string{fmt.Sprintf("%.2f", summarize(sorted).Median), fmt.Sprintf("%.2f", p95), fmt.Sprintf("%.2f", sorted[len(sorted)-1])}
}
