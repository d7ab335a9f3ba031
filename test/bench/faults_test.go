package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var midnight = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return midnight.Add(time.Duration(seconds * float64(time.Second)))
}

// made has a node cut blocks as the leader, in the same way.
func made(d *diary, pairs ...float64) *diary {
	for i := 0; i < len(pairs); i += 2 {
		d.cut = append(d.cut, block{at: at(pairs[i]), number: uint64(pairs[i+1])})
	}
	return d
}

// wrote is a diary of blocks: pairs of a moment and a number.
func wrote(name string, pairs ...float64) *diary {
	d := &diary{name: name}
	for i := 0; i < len(pairs); i += 2 {
		d.blocks = append(d.blocks, block{at: at(pairs[i]), number: uint64(pairs[i+1])})
	}
	return d
}

func TestDiaryReads(t *testing.T) {
	d := &diary{}
	for i, line := range []string{
		"2026-11-22 20:37:27.367 UTC 0098 INFO [orderer.consensus.etcdraft] run -> raft.node: 1 elected leader 3 at term 2 channel=trade node=1",
		"2026-11-22 20:37:28.367 UTC 0099 INFO [orderer.consensus.etcdraft] run -> raft.node: 1 lost leader 3 at term 3 channel=trade node=1",
		"\x1b[34m2026-11-22 20:37:29.367 UTC 009a INFO\x1b[0m [orderer.consensus.etcdraft] \x1b[34;1mrun\x1b[0m -> raft.node: 1 changed leader from 3 to 2 at term 4 channel=trade node=1",
		"2026-11-22 20:37:30.367 UTC 009b INFO [orderer.consensus.etcdraft] run -> raft.node: 1 elected leader 1 at term 9 channel=other node=1",
		"2026-11-22 20:37:31.367 UTC 009c INFO [orderer.consensus.etcdraft] run -> Raft leader changed: 0 -> 3 channel=trade node=1",
		"2026-11-22 20:37:32.367 UTC 009d INFO [orderer.consensus.etcdraft] writeBlock -> Writing block [17] (Raft index: 23) to ledger channel=trade node=1",
		"2026-11-22 20:37:33.367 UTC 009e INFO [orderer.consensus.etcdraft] writeBlock -> Writing block [99] (Raft index: 23) to ledger channel=other node=1",
		"2026-11-22 20:37:34.367 UTC 009f INFO [orderer.consensus.etcdraft] propose -> Created block [98], there are 0 blocks in flight channel=trade node=1",
		"2026-11-22 20:37:35.367 UTC 1cea INFO [kvledger] commit -> [trade] Committed block [18] with 10 transaction(s) in 15ms (state_validation=2ms block_and_pvtdata_commit=9ms state_commit=1ms) commitHash=[ab]",
		"2026-11-22 20:37:36.367 UTC 1ceb INFO [kvledger] commit -> [other] Committed block [97] with 10 transaction(s) in 15ms (state_validation=2ms block_and_pvtdata_commit=9ms state_commit=1ms) commitHash=[ab]",
	} {
		d.read(at(float64(i)), line)
	}
	leaders := []leadership{{at(0), "1", "3", false, 2}, {at(1), "1", "3", true, 3}, {at(2), "1", "2", false, 4}}
	if !slices.Equal(d.leaderships, leaders) {
		t.Errorf("leaders are %v, want %v", d.leaderships, leaders)
	}
	if blocks := []block{{at(5), 17}, {at(8), 18}}; !slices.Equal(d.blocks, blocks) {
		t.Errorf("blocks are %v, want %v", d.blocks, blocks)
	}
	if cut := []block{{at(7), 98}}; !slices.Equal(d.cut, cut) {
		t.Errorf("cut were %v, want %v", d.cut, cut)
	}
}

// TestStoodStill: the quorum is lost at 10 s and back at 30 s.
func TestStoodStill(t *testing.T) {
	for _, c := range []struct {
		name            string
		orderers, peers []*diary
		told            uint64
		says            string // empty: nothing was ordered
	}{
		{
			name: "nothing until the quorum is back", told: 7,
			orderers: []*diary{wrote("left", 8, 6, 9, 7, 31, 8), made(wrote("killed", 8, 6, 32, 7, 32, 8), 7, 6, 8.5, 7)}, peers: []*diary{wrote("peer", 9, 6, 10, 7, 31, 8)},
		},
		{
			name: "what was agreed on before, and is written late", told: 8,
			orderers: []*diary{made(wrote("left", 9, 7, 29, 8, 31, 9), 8, 7, 9.9, 8)}, peers: []*diary{wrote("peer", 9, 7, 29.1, 8)},
		},
		{
			name: "what a leader that was left cuts comes when the quorum is back", told: 7,
			orderers: []*diary{made(wrote("left", 9, 7, 31, 8, 31, 9), 8, 7, 11, 8, 12, 9)}, peers: []*diary{wrote("peer", 9, 7, 31, 8)},
		},
		{
			name: "a node orders on", told: 7, orderers: []*diary{made(wrote("left", 9, 7, 22, 8), 8, 7, 21, 8)}, peers: []*diary{wrote("peer", 9, 7)},
			says: "left wrote block 8 while there was no quorum; the last block that was cut before is 7",
		},
		{
			name: "a node orders on at once", told: 7, orderers: []*diary{made(wrote("left", 9, 7, 10.2, 8), 8, 7, 10.1, 8)}, peers: []*diary{wrote("peer", 9, 7)},
			says: "left wrote block 8",
		},
		{
			name: "a peer has a block that no ordering node had", told: 7, orderers: []*diary{made(wrote("left", 9, 7, 31, 8), 8, 7)}, peers: []*diary{wrote("peer", 9, 7, 29.9, 8)},
			says: "peer wrote block 8",
		},
		{
			name: "a client is told of a later block", told: 8, orderers: []*diary{made(wrote("left", 9, 7, 31, 8), 8, 7)}, peers: []*diary{wrote("peer", 9, 7, 31, 8)},
			says: "a transaction of block 8 was acknowledged while there was no quorum",
		},
		{name: "nothing was read", orderers: []*diary{wrote("left")}, peers: []*diary{wrote("peer")}, says: "no block is known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := stoodStill(c.orderers, c.peers, c.told, at(10), at(30))
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("the error is %v, want %q", err, c.says)
			}
		})
	}
}

func TestAgreed(t *testing.T) {
	knows := func(node string, all ...leadership) *diary {
		d := &diary{name: node}
		for _, l := range all {
			l.node = node
			d.leaderships = append(d.leaderships, l)
		}
		return d
	}
	restarted := func(d *diary, seconds float64) *diary {
		d.started = at(seconds)
		return d
	}
	two, lost, four := leadership{at: at(1), leader: "2", term: 2}, leadership{at: at(2), leader: "2", lost: true, term: 3}, leadership{at: at(3), leader: "1", term: 4}
	for _, c := range []struct {
		name  string
		nodes []*diary
		says  string // empty: they agree on leader 1 and node 2 follows
	}{
		{"all know it", []*diary{knows("1", two, lost, four), knows("2", two, four)}, ""},
		{"one knows none", []*diary{knows("1", two, lost, four), knows("2", two, lost)}, "2 knows no leader"},
		{"one has said nothing", []*diary{knows("1", two, lost, four), knows("2")}, "2 knows no leader"},
		{"one has said nothing since it was started", []*diary{knows("1", two, four), restarted(knows("2", two, four), 5)}, "2 knows no leader"},
		{"one has said it since it was started", []*diary{knows("1", two, four), restarted(knows("2", two, four), 2.5)}, ""},
		{"one knows another", []*diary{knows("1", two, four), knows("2", two)}, "not all know the same leader"},
		{"one comes back with its old leader", []*diary{knows("2", two), knows("1", two, four)}, "not all know the same leader"},
		{"the leader is not there", []*diary{knows("2", four), knows("3", four)}, "the leader is none of them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := agreed([]string{"container of 1", "container of 2"}, c.nodes)
			switch {
			case c.says != "":
				if err == nil || err.Error() != c.says {
					t.Errorf("the error is %v, want %q", err, c.says)
				}
			case err != nil || got.leader != "1" || got.containers["1"] != "container of 1" || !slices.Equal(got.followers(), []string{"container of 2"}):
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestElected(t *testing.T) {
	one := &diary{leaderships: []leadership{{at: at(1), lost: true}, {at: at(2)}, {at: at(16), lost: true}, {at: at(17)}}}
	two := &diary{leaderships: []leadership{{at: at(2)}, {at: at(15), lost: true}, {at: at(18)}}}
	if noticed, known := elected([]*diary{one, two}, at(10)); !noticed.Equal(at(15)) || !known.Equal(at(17)) {
		t.Errorf("noticed at %s, elected at %s", noticed, known)
	}
	if noticed, known := elected([]*diary{one, two}, at(20)); !noticed.IsZero() || !known.IsZero() {
		t.Errorf("of earlier times: noticed at %s, elected at %s", noticed, known)
	}
}

func TestReached(t *testing.T) {
	quick, slow := wrote("quick", 1, 6, 8, 7, 9, 8), wrote("slow", 1.5, 6, 20, 7, 20.1, 8)
	if first, every := reached([]*diary{slow, quick}, 7); !first.Equal(at(8)) || !every.Equal(at(20)) {
		t.Errorf("the first at %s, every one at %s", first, every)
	}
	if first, every := reached([]*diary{quick, wrote("late", 1, 6)}, 7); !first.Equal(at(8)) || !every.IsZero() {
		t.Errorf("while one has not: the first at %s, every one at %s", first, every)
	}
	if got := top([]*diary{quick, slow}, at(8.5)); got != 7 {
		t.Errorf("the highest is %d", got)
	}
}

func TestLongestGap(t *testing.T) {
	// Block 3 comes to the second peer first.
	peers := []*diary{wrote("one", 0, 1, 5, 2, 9, 3, 9.5, 4), wrote("two", 6, 2, 7, 3, 9.6, 4)}
	for _, c := range []struct {
		from, to, gap float64
		ended         bool
	}{{0, 10, 5, false}, {5.5, 8, 2.5, true}, {7.5, 9, 2.5, true}, {6, 6.5, 2, true}} {
		if gap, ended := longestGap(peers, at(c.from), at(c.to)); gap.Seconds() != c.gap || ended != c.ended {
			t.Errorf("from %v to %v it is %s, ended %t", c.from, c.to, gap, ended)
		}
	}
}

func TestAddFaults(t *testing.T) {
	f := faultsReport{Clusters: []clusterFaults{{Orderers: 5, Faults: make([]outage, 1), Load: loadReport{Seconds: 10, Acknowledged: 400, HeldBack: 1}}}}
	f.add(faultsReport{Clusters: []clusterFaults{
		{Orderers: 3, Faults: make([]outage, 4), Load: loadReport{Seconds: 10}},
		{Orderers: 5, Faults: make([]outage, 2), Load: loadReport{Seconds: 30, Acknowledged: 800, SentAgain: 3}},
	}})
	if want := (loadReport{Seconds: 40, Rate: 30, Acknowledged: 1200, SentAgain: 3, HeldBack: 1}); len(f.Clusters) != 1 || len(f.Clusters[0].Faults) != 3 || f.Clusters[0].Load != want {
		t.Errorf("got %+v", f)
	}
}

func TestFaultTables(t *testing.T) {
	r := &report{Fabric: "Fabric 3.1.1"}
	r.Faults.Election = [2]float64{5, 9.5}
	r.Faults.Clusters = []clusterFaults{{Orderers: 3, Load: loadReport{Seconds: 600.4, Acknowledged: 1234, HeldBack: 5}, Faults: []outage{
		{What: "leader killed", Detection: 6, Election: 6.5, FirstBlock: 6.6, FirstCommit: 7, EveryCommit: 10},
		{What: "leader killed", Detection: -1, Election: 8.5, FirstBlock: 8.6, FirstCommit: 9, EveryCommit: 9.5},
		{What: "follower killed", Detection: -1, Election: -1, FirstBlock: 0.2, FirstCommit: 0.6, EveryCommit: 0.7},
	}}}
	tables := r.faultTables()
	if len(tables) != 1 {
		t.Fatalf("%d tables", len(tables))
	}
	want := []string{"leader killed", "2", "9.50", "6.00 / 6.00 / 6.00 (1 times)", "7.50 / 8.50 / 8.50", "7.60 / 8.60 / 8.60", "8.00 / 9.00 / 9.00", "9.75 / 10.00 / 10.00"}
	if got := tables[0].rows[0]; !slices.Equal(got, want) {
		t.Errorf("the row is %q, want %q", got, want)
	}
	for _, row := range tables[0].rows {
		if len(row) != len(tables[0].header) {
			t.Errorf("the row %q has not the columns %q", row, tables[0].header)
		}
	}
	if bound := r.Faults.bound("quorum lost, leader left"); bound != "10.00" {
		t.Errorf("a leader leaves within %s", bound)
	}
	if (&report{}).faultTables() != nil {
		t.Error("there is a table of nothing")
	}
	// What was measured of something else, or of another size, stays in the document.
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	before := ""
	for _, p := range []part{works, fails(3), fails(5)} {
		before += fmt.Sprintf("%s\nold %s\n%s\n", p.begin(), p, p.end())
	}
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Count(string(text), "\nold ") != 2 || strings.Contains(string(text), "old "+string(fails(3))) || !strings.Contains(string(text), "1234 were") {
		t.Errorf("the document is %s, %v", text, err)
	}
}
