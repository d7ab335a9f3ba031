package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// event is a line of Terraform's machine-readable output (terraform apply -json). Only what is
// measured is read.
type event struct {
	Time time.Time `json:"@timestamp"`
	Type string    `json:"type"`
	Hook struct {
		Resource struct {
			Address string `json:"addr"`
			Type    string `json:"resource_type"`
		} `json:"resource"`
	} `json:"hook"`
	Changes struct {
		Operation string `json:"operation"`
		Add       int    `json:"add"`
		Change    int    `json:"change"`
		Remove    int    `json:"remove"`
	} `json:"changes"`
	Diagnostic struct {
		Severity, Summary, Detail string
	} `json:"diagnostic"`
}

// parseEvents reads the lines that are events.
func parseEvents(output []byte) []event {
	var events []event
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Type != "" {
			events = append(events, e)
		}
	}
	return events
}

// times divides an execution into its plan and one phase for each kind of resource that was changed.
// Events have the resolution of Terraform's clock, a microsecond.
func (e execution) times() times {
	out := times{Seconds: e.took.Seconds()}
	at := func(t time.Time) float64 { return t.Sub(e.began).Seconds() }
	kinds := map[string]*phase{}
	begun := map[string]float64{}
	for _, event := range e.events {
		address := event.Hook.Resource.Address
		switch event.Type {
		case "change_summary":
			if event.Changes.Operation == "plan" {
				out.Phases = append(out.Phases, phase{Name: "start and plan", End: at(event.Time), Times: 1, Longest: at(event.Time)})
			}
		case "apply_start":
			begun[address] = at(event.Time)
			kind := kinds[event.Hook.Resource.Type]
			if kind == nil {
				kind = &phase{Name: event.Hook.Resource.Type, Begin: begun[address]}
				kinds[event.Hook.Resource.Type] = kind
			}
			kind.Begin = min(kind.Begin, begun[address])
		case "apply_complete":
			kind := kinds[event.Hook.Resource.Type]
			if kind == nil {
				continue
			}
			kind.Times++
			kind.End = max(kind.End, at(event.Time))
			kind.Longest = max(kind.Longest, at(event.Time)-begun[address])
		}
	}
	for _, kind := range kinds {
		out.Phases = append(out.Phases, *kind)
	}
	slices.SortFunc(out.Phases, func(a, b phase) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End), strings.Compare(a.Name, b.Name))
	})
	return out
}

// changes is how many resources an operation, plan or apply, changes by its own summary.
func (e execution) changes(operation string) int {
	count := 0
	for _, event := range e.events {
		if event.Type == "change_summary" && event.Changes.Operation == operation {
			count = event.Changes.Add + event.Changes.Change + event.Changes.Remove
		}
	}
	return count
}
