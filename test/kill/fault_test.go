//go:build linux

package kill

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
	"github.com/fabricops/terraform-provider-fabric/test/fault"
)

// faultyNetwork is the name of the network of TestAccFaults.
const faultyNetwork = "acc-faults"

const (
	// faultDelay and faultSilence are how long a call is late, and how long somebody is silent.
	faultDelay, faultSilence = 3 * time.Second, 12 * time.Second
	// passes are all of the sweep: as many as there are kinds of faults that every call of a side knows.
	passes = 9
	// perPass is how many calls of a side are tried in a pass, other than calls that change something on the
	// engine: of those it is every one.
	perPass = 4
	// mostFailures end TestAccFaults: what breaks often is broken.
	mostFailures = 5
	// healthLooks is how often nodes that are not well are looked at.
	healthLooks = 3
	// sweepTime is how long TestAccFaults goes on at most, when SWEEP_TIME does not say.
	sweepTime = 24 * time.Hour
)

// change is a change of the network, and the way back.
type change struct {
	forth, back string
	// variables are what it sets, beyond the base; gone tells that it destroys everything.
	variables []string
	gone      bool
	// adds are the names of the nodes that it adds.
	adds []string
}

// base is the network as it is between changes: three consenters, so that one can be missing.
var base = []string{"orderers=3"}

var changes = []change{
	{forth: "add a peer", back: "remove a peer", variables: []string{`more_peers={"peer1.org1"="org1"}`}, adds: []string{"peer1.org1"}},
	{forth: "add a peer from a snapshot", back: "remove a peer", variables: []string{`more_peers={"peer1.org1"="org1"}`, "join_from=snapshot"}, adds: []string{"peer1.org1"}},
	{forth: "add a consenter", back: "remove a consenter", variables: []string{"orderers=4"}, adds: []string{"orderer3"}},
	{forth: "channel update", back: "channel update", variables: []string{"batch_timeout=1s"}},
	{forth: "chaincode upgrade", back: "chaincode upgrade", variables: []string{"chaincode=2.0"}},
	{forth: "node roll", back: "node roll", variables: []string{"pids=2000"}},
	{forth: "destroy", back: "create", gone: true},
}

// direction is a change, or its way back: what is tried of it.
type direction struct {
	name      string
	variables []string
	gone      bool
	// removes are the names of what goes with it.
	removes []string
	// expected is what the engine holds after it.
	expected picture
	// calls are those of it when nothing went wrong, untried the points that are left.
	calls   fault.Report
	untried []point
}

// point is a call that goes wrong, and where it is in the sweep.
type point struct {
	fault.Fault
	pass int
	// of is how many such calls there were when nothing went wrong.
	of int
}

// faulting is TestAccFaults.
type faulting struct {
	*killing
	proxy *fault.Proxy
	// only says which sides and kinds are tried; pass is the one that goes on, shuffled tells that the order of its
	// points is by the seed.
	only     *regexp.Regexp
	pass     int
	shuffled bool
	// changes are those that are tried, ways the two directions of those that were measured.
	changes []change
	ways    map[string][2]*direction
	// record is what was tried, by earlier runs too; tried is how many points it was in this one.
	record *record
	tried  int
	// now is what the engine holds between two changes.
	now picture
	// heights are how many blocks each node has, by node and channel.
	heights map[string]uint64
	// between, when not nil, looks at what a disturbed command left, before the next apply.
	between func(t *testing.T)
}

// TestAccFaults changes a network through a proxy that has one call go wrong, there and back, on and
// on. After each, one apply must converge: an empty plan, nothing twice and nothing orphaned, every
// volume and key as it was, and no node with fewer blocks than before.
func TestAccFaults(t *testing.T) {
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC=1 makes a network on a Docker engine")
	}
	t.Parallel()
	seed := number(t, "SWEEP_SEED", uint64(time.Now().UnixNano()))
	points := number(t, "SWEEP_POINTS", 1<<32)
	limit := sweepTime
	if text := os.Getenv("SWEEP_TIME"); text != "" {
		var err error
		limit, err = time.ParseDuration(text)
		must(t, err)
	}
	s := newFaulting(t, faultyNetwork, seed)
	last := s.pass
	if text := os.Getenv("SWEEP_PASS"); text != "" {
		s.pass, last = firstAndLast(t, text)
		s.shuffled = false
	}
	t.Logf("SWEEP_SEED=%d SWEEP_TIME=%s SWEEP_ONLY=%q, pass %d to %d", seed, limit, os.Getenv("SWEEP_ONLY"), s.pass, last)
	s.record = openRecord(t, os.Getenv("SWEEP_RECORD"))
	t.Cleanup(func() { s.record.deliver(t) })
	until := time.Now().Add(limit)
	if !t.Run("undisturbed", s.build) {
		return
	}
	s.changes = slices.Clone(changes)
	s.random.Shuffle(len(changes), func(i, j int) { s.changes[i], s.changes[j] = s.changes[j], s.changes[i] })
	only := expression(t, "SWEEP_CHANGE")
	s.changes = slices.DeleteFunc(s.changes, func(c change) bool { return !only.MatchString(c.forth) && !only.MatchString(c.back) })
	failures := 0
	on := func() bool {
		return uint64(s.tried) < points && (s.tried == 0 || time.Now().Before(until)) && failures < mostFailures
	}
	whole := true
	for ; whole && s.pass <= last; s.pass++ {
		whole = s.sweep(t, on, &failures)
	}
	if s.tried == 0 && !whole {
		t.Error("no point was tried")
	}
}

// sweep goes through a pass, a point of each change after the other; false when it was not to go on to its end.
func (s *faulting) sweep(t *testing.T, on func() bool, failures *int) bool {
	for _, way := range s.ways {
		s.fill(way[0])
		s.fill(way[1])
	}
	for todo := slices.Clone(s.changes); len(todo) > 0; {
		if !on() {
			return false
		}
		c := todo[0]
		todo = todo[1:]
		way, measured := s.ways[c.forth]
		well := true
		if !measured {
			if well = t.Run(c.forth+" and back, undisturbed", func(t *testing.T) { way = s.measure(t, c) }); well {
				s.ways[c.forth] = way
			}
		}
		if well && s.left(way[0])+s.left(way[1]) == 0 { // all of it was tried
			continue
		}
		if well = well && s.goBothWays(t, way); !well { // what was left half-done would be taken for a failure of the next point
			*failures++
			if s.reset(s.in(t)); !t.Run("undisturbed again", s.build) {
				return false
			}
		}
		todo = append(todo, c)
	}
	return true
}

// firstAndLast reads the number of a pass, or of several, as FIRST-LAST.
func firstAndLast(t *testing.T, text string) (first, last int) {
	t.Helper()
	from, to, several := strings.Cut(text, "-")
	if !several {
		to = from
	}
	first, err := strconv.Atoi(from)
	must(t, err)
	last, err = strconv.Atoi(to)
	must(t, err)
	if first < 0 || last < first || last >= passes {
		t.Fatalf("SWEEP_PASS=%s: passes are 0 to %d", text, passes-1)
	}
	return first, last
}

// expression reads a regular expression from the environment; without one, all matches.
func expression(t *testing.T, name string) *regexp.Regexp {
	t.Helper()
	e, err := regexp.Compile(os.Getenv(name))
	must(t, err)
	return e
}

// newFaulting has a workspace whose provider reaches the engine through a proxy.
func newFaulting(t *testing.T, name string, seed uint64) *faulting {
	t.Helper()
	if prefix := os.Getenv("TEST_NETWORK_PREFIX"); prefix != "" { // several on one engine
		name = prefix + "-" + name
	}
	h := openHost(t)
	proxy, err := fault.New(filepath.Join(t.TempDir(), "engine.sock"), engineAddress())
	must(t, err)
	t.Cleanup(func() { must(t, proxy.Close()) })
	w := newWorkspace(t, providerBinary(t), strings.Replace(config, "NETWORK", name, 1))
	w.env = append(w.env, "DOCKER_HOST="+proxy.Host())
	h.clean(t, name) // of an earlier run that was ended itself
	t.Cleanup(func() { h.clean(t, name) })
	random := rand.New(rand.NewPCG(seed, 1))
	return &faulting{
		killing: &killing{network: name, workspace: w, host: h, random: random},
		proxy:   proxy, only: expression(t, "SWEEP_ONLY"), pass: random.IntN(passes), shuffled: true,
		record: &record{}, ways: map[string][2]*direction{},
	}
}

// build makes the base.
func (s *faulting) build(t *testing.T) {
	w := s.in(t)
	s.duration = w.mustRun(apply(base...)...).took
	s.now = s.host.take(t, s.network)
	s.whole = s.now
	s.check(w)
	s.heights = s.look(t)
}

// measure goes there and back with nothing in the way, and counts the calls.
func (s *faulting) measure(t *testing.T, c change) [2]*direction {
	t.Helper()
	forth := &direction{name: c.forth, variables: slices.Concat(base, c.variables), gone: c.gone}
	back := &direction{name: c.back, variables: base, removes: c.adds}
	for _, d := range []*direction{forth, back} {
		w := s.in(t)
		s.arm(t, fault.Fault{})
		w.mustRun(d.command()...)
		d.calls = s.arm(t, fault.Fault{})
		d.expected = s.host.take(t, s.network)
		s.now = d.expected
		s.fill(d)
		t.Logf("%s: %d points are left; calls: %v", d.name, s.left(d), d.calls)
		if !d.gone {
			w.unchanged(d.variables...)
		}
	}
	for _, difference := range s.whole.differences(back.expected) {
		t.Errorf("there and back: %s", difference)
	}
	return [2]*direction{forth, back}
}

// fill gives a direction the points of the pass that goes on.
func (s *faulting) fill(d *direction) {
	d.untried = slices.DeleteFunc(points(d.calls.Calls, s.pass), func(p point) bool { return !s.only.MatchString(string(p.Side) + ": " + string(p.Kind)) })
	if s.shuffled {
		s.random.Shuffle(len(d.untried), func(i, j int) { d.untried[i], d.untried[j] = d.untried[j], d.untried[i] })
	}
}

// points are those of a pass, for a change whose calls were counted. Every call that changes something on the
// engine is one of them: from pass to pass its kind of fault is the next one, so that after all passes each call
// has gone wrong in each manner. Of each other side, whose calls are hundreds and much alike, a pass has a few,
// spread evenly, and the next pass has others.
func points(calls func(fault.Side, fault.Kind) int, pass int) []point {
	var out []point
	for _, side := range fault.Sides {
		kinds := fault.Kinds(side)
		if side == fault.Engine {
			for call := 1; call <= calls(side, fault.DropRequest); call++ {
				for i, kind := range kinds {
					if of := calls(side, kind); call <= of && (call+pass)%passes == i%passes {
						out = append(out, point{fault.Fault{Side: side, Kind: kind, Call: call}, pass, of})
					}
				}
			}
			continue
		}
		for i := range perPass {
			kind := kinds[(i+pass)%len(kinds)]
			if of := calls(side, kind); of > 0 {
				out = append(out, point{fault.Fault{Side: side, Kind: kind, Call: 1 + (i*passes+pass)*of/(perPass*passes)}, pass, of})
			}
		}
	}
	return out
}

func (d *direction) command() []string {
	if d.gone {
		return []string{"destroy", "-auto-approve", "-input=false"}
	}
	return apply(d.variables...)
}

// left counts the points that nobody has tried. The other direction, or another change, may have the same ones.
func (s *faulting) left(d *direction) int {
	d.untried = slices.DeleteFunc(d.untried, func(p point) bool { return s.record.has(d.name, p) })
	return len(d.untried)
}

// next takes a point; false when none is left.
func (s *faulting) next(d *direction) (point, bool) {
	if s.left(d) == 0 {
		return point{}, false
	}
	p := d.untried[0]
	d.untried = d.untried[1:]
	switch p.Kind {
	case fault.Delay:
		p.For = faultDelay
	case fault.Silence, fault.Hang:
		p.For = faultSilence
	}
	return p, true
}

// goBothWays tries a point of each; false when it was not survived.
func (s *faulting) goBothWays(t *testing.T, way [2]*direction) bool {
	t.Helper()
	for _, d := range way {
		p, left := s.next(d)
		name := "undisturbed"
		if left {
			name = p.String()
		}
		if !t.Run(d.name+": "+name, func(t *testing.T) { s.try(t, d, p) }) {
			return false
		}
	}
	return true
}

// try goes a way with one call that goes wrong, and has the next apply converge.
func (s *faulting) try(t *testing.T, d *direction, p point) {
	r := result{change: d.name, point: p, outcome: failure}
	if p.Call > 0 { // otherwise nothing is left to try, and the way is gone undisturbed
		defer func() {
			r.struck = strings.ReplaceAll(r.struck, s.network+"-", "")
			s.record.add(t, r)
			if r.outcome != notReached {
				s.tried++
			}
		}()
	}
	w := s.in(t)
	s.arm(t, p.Fault)
	disturbed := w.start(d.command()...)
	status := disturbed.wait()
	ended := time.Now()
	report := s.arm(t, fault.Fault{})
	w.awaitNoProvider(orphanTime)
	if s.between != nil {
		s.between(t)
	}
	defer func() {
		if t.Failed() {
			t.Logf("the command that was disturbed:\n%s", disturbed.tail())
		}
	}()
	r.struck, r.seconds = report.Struck, disturbed.took.Seconds()
	if report.Struck == "" && status != 0 {
		t.Fatalf("nothing was disturbed, and it ended with %d", status)
	}
	t.Logf("struck: %q; it ended with %d after %s", report.Struck, status, disturbed.took.Round(time.Millisecond))
	if p.Kind == fault.Interrupt && report.Struck != "" && ended.Sub(report.At) > graceTime {
		t.Errorf("Terraform ended %s after the interrupt", ended.Sub(report.At).Round(time.Millisecond))
	}
	state, _ := w.state() // that it is half-written is dealt with below
	remade := state.tainted()
	for _, name := range d.removes {
		remade[name] = true
	}
	begun := time.Now()
	if d.gone {
		w.mustRun(d.command()...)
		for object := range s.host.take(t, s.network).objects {
			t.Errorf("%s is left", object)
		}
		s.now, s.heights = picture{}, nil
	} else {
		between := s.host.takeNew(t, s.network, s.now)
		begun = time.Now()
		for _, lost := range s.now.lost(between, remade) {
			t.Error(lost)
		}
		s.whole = d.expected
		var now map[string]uint64
		s.meanwhile = func(t *testing.T) { now = s.look(t) }
		s.now = s.converge(w, between, remade, d.variables...)
		for at, height := range s.heights {
			if node, _, _ := strings.Cut(at, " "); !remade[node] && now[at] < height {
				t.Errorf("%s has %d blocks, and had %d", at, now[at], height)
			}
		}
		s.heights = now
	}
	r.converged = time.Since(begun).Seconds()
	switch {
	case t.Failed():
	case report.Struck == "":
		r.outcome = notReached
	default:
		r.outcome = converged
	}
}

func (s *faulting) arm(t *testing.T, f fault.Fault) fault.Report {
	t.Helper()
	report, err := s.proxy.Arm(f)
	must(t, err)
	return report
}

// look asks every node how many blocks it has, past the proxy. A machine that is busy with other things gives
// a node some more looks to be found well in.
func (s *faulting) look(t *testing.T) map[string]uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	networks, err := s.host.files.Networks(ctx, map[string]string{engine.LabelNetwork: s.network})
	must(t, err)
	if len(networks) != 1 {
		t.Fatalf("there are %d networks", len(networks))
	}
	e, err := docker.New(docker.Options{Host: engineAddress()})
	must(t, err)
	f := network.New(e)
	defer func() { must(t, f.Close()) }()
	var health network.Health
	for range healthLooks {
		health, err = f.CheckHealth(ctx, network.Handle{
			Kind: network.KindNetwork, Network: s.network, Name: s.network, Domain: "example.com", Owner: networks[0].Labels[engine.LabelOwner],
		})
		must(t, err)
		if !slices.ContainsFunc(slices.Collect(maps.Values(health.Nodes)), func(n *network.NodeHealth) bool { return n.Trouble != nil }) {
			break
		}
	}
	heights := map[string]uint64{}
	for name, n := range health.Nodes {
		if n.Trouble != nil {
			t.Errorf("%s is not well: %v", name, n.Trouble)
		}
		for channel, c := range n.Channels {
			heights[name+" "+channel] = c.Height
		}
	}
	if len(heights) == 0 {
		t.Error("no node tells its blocks")
	}
	s.noSnapshots(ctx, t)
	return heights
}

// noSnapshots looks for what a peer that joined from a snapshot leaves nowhere.
func (s *faulting) noSnapshots(ctx context.Context, t *testing.T) {
	peers, err := s.host.files.Nodes(ctx, map[string]string{engine.LabelNetwork: s.network, engine.LabelKind: string(network.KindPeer)})
	must(t, err)
	for _, p := range peers {
		for _, folder := range []string{"completed/trade", "temp"} {
			files, err := s.host.files.GetFiles(ctx, p.Name, path.Join("/var/hyperledger/node/data/snapshots", folder))
			if err != nil && !errors.Is(err, engine.ErrNotFound) {
				t.Error(err)
			}
			for _, f := range files {
				t.Errorf("%s still has %s", p.Name, f.Name)
			}
		}
	}
}
