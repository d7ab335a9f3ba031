package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const output = `{"@level":"info","@message":"Terraform 1.11.4","@timestamp":"2026-01-02T03:04:05.100000Z","terraform":"1.11.4","type":"version","ui":"1.2"}
{"@level":"info","@message":"Plan: 3 to add","@timestamp":"2026-01-02T03:04:05.500000Z","changes":{"add":3,"operation":"plan"},"type":"change_summary"}
{"@level":"info","@timestamp":"2026-01-02T03:04:06.000000Z","hook":{"resource":{"addr":"fabric_ca.this[\"a\"]","resource_type":"fabric_ca"},"action":"create"},"type":"apply_start"}
{"@level":"info","@timestamp":"2026-01-02T03:04:06.250000Z","hook":{"resource":{"addr":"fabric_ca.this[\"b\"]","resource_type":"fabric_ca"},"action":"create"},"type":"apply_start"}
not an event
{"@level":"info","@timestamp":"2026-01-02T03:04:07.000000Z","hook":{"resource":{"addr":"fabric_ca.this[\"b\"]","resource_type":"fabric_ca"},"action":"create","elapsed_seconds":1},"type":"apply_complete"}
{"@level":"info","@timestamp":"2026-01-02T03:04:08.000000Z","hook":{"resource":{"addr":"fabric_ca.this[\"a\"]","resource_type":"fabric_ca"},"action":"create","elapsed_seconds":2},"type":"apply_complete"}
{"@level":"info","@timestamp":"2026-01-02T03:04:08.000000Z","hook":{"resource":{"addr":"fabric_peer.this","resource_type":"fabric_peer"},"action":"create"},"type":"apply_start"}
{"@level":"error","@timestamp":"2026-01-02T03:04:09.000000Z","diagnostic":{"severity":"error","summary":"Unable to create peer","detail":"It exited."},"type":"diagnostic"}
{"@level":"warn","@timestamp":"2026-01-02T03:04:09.000000Z","diagnostic":{"severity":"warning","summary":"Even number","detail":""},"type":"diagnostic"}
`

func TestTimesOfAnApply(t *testing.T) {
	e := execution{began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), took: 4 * time.Second, events: parseEvents([]byte(output))}
	got := e.times()
	want := []phase{
		{Name: "start and plan", Begin: 0, End: 0.5, Times: 1, Longest: 0.5},
		{Name: "fabric_ca", Begin: 1, End: 3, Times: 2, Longest: 2},
		{Name: "fabric_peer", Begin: 3}, // it never ended
	}
	if got.Seconds != 4 || !slices.Equal(got.Phases, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestChanges(t *testing.T) {
	e := execution{events: parseEvents([]byte(output))}
	if plan, apply := e.changes("plan"), e.changes("apply"); plan != 3 || apply != 0 {
		t.Errorf("the plan changes %d, the apply %d", plan, apply)
	}
}

func TestExplain(t *testing.T) {
	if got, want := explain(parseEvents([]byte(output)), []byte(output)), "Unable to create peer\nIt exited."; got != want {
		t.Errorf("of diagnostics: got %q, want %q", got, want)
	}
	long := strings.Repeat("x", 5000) + "the end\n"
	if got := explain(nil, []byte(long)); !strings.HasSuffix(got, "the end") || len(got) > 4000 {
		t.Errorf("of other output: got %d bytes that end with %q", len(got), got[len(got)-10:])
	}
}
