package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRaftLines(t *testing.T) {
	log := strings.Join([]string{
		"2026-11-22T20:37:27.367000001Z 2026-11-22 20:37:27.367 UTC 0098 INFO [orderer.consensus.etcdraft] run -> raft.node: 1 elected leader 3 at term 2 channel=trade node=1",
		"2026-11-22T20:37:28.367000001Z 2026-11-22 20:37:28.367 UTC 0099 INFO [orderer.consensus.etcdraft] run -> raft.node: 1 lost leader 3 at term 3 channel=trade node=1",
		"2026-11-22T20:37:29.367000001Z 2026-11-22 20:37:29.367 UTC 009a INFO [orderer.consensus.etcdraft] run -> raft.node: 1 changed leader from 3 to 2 at term 4 channel=trade node=1",
		"2026-11-22T20:37:30.367000001Z 2026-11-22 20:37:30.367 UTC 009b INFO [orderer.consensus.etcdraft] run -> raft.node: 1 elected leader 1 at term 9 channel=other node=1",
		"2026-11-22T20:37:31.367000001Z 2026-11-22 20:37:31.367 UTC 009c INFO [orderer.consensus.etcdraft] run -> Raft leader changed: 0 -> 3 channel=trade node=1",
	}, "\n")
	var got []string
	for _, m := range raftLine.FindAllStringSubmatch(log, -1) {
		got = append(got, strings.Join(m[2:], " "))
	}
	if want := []string{"1 elected 3 2", "1 lost 3 3", "1 changed 2 4"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestFaultTables(t *testing.T) {
	r := &report{}
	r.Faults.Election = [2]float64{5, 9.5}
	r.Faults.Clusters = []clusterFaults{{Orderers: 3, Load: loadReport{Acknowledged: 1234}, Faults: []outage{
		{What: "leader killed", Detection: 6, Election: 6.5, FirstCommit: 7},
		{What: "leader killed", Detection: -1, Election: 8.5, FirstCommit: 9},
		{What: "follower killed", Detection: -1, Election: -1, FirstCommit: 0.6},
	}}}
	tables := r.faultTables()
	if len(tables) != 1 {
		t.Fatalf("%d tables", len(tables))
	}
	want := []string{"3", "leader killed", "2", "6.00", "6.00", "6.00", "7.50", "8.50", "8.50", "8.00", "9.00", "9.00"}
	if got := tables[0].rows[0]; !slices.Equal(got, want) {
		t.Errorf("the row is %q, want %q", got, want)
	}
	for _, row := range tables[0].rows {
		if len(row) != len(tables[0].header) {
			t.Errorf("the row %q has not the columns %q", row, tables[0].header)
		}
	}
	if (&report{}).faultTables() != nil {
		t.Error("there is a table of nothing")
	}
	// What was measured of something else stays in the document.
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	before := works.begin() + "\nkept\n" + works.end() + "\n" + fails.begin() + "\nold\n" + fails.end() + "\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "\nkept\n") || strings.Contains(string(text), "\nold\n") || !strings.Contains(string(text), "1234 were") {
		t.Errorf("the document is %s, %v", text, err)
	}
}
