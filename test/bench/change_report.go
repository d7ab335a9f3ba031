package main

import (
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/load"
)

// changesReport is what changes of a running network took. Times are in seconds.
type changesReport struct {
	AddOrganization    []change     `json:"add_organization"`
	RemoveOrganization []change     `json:"remove_organization"`
	AddConsenter       []change     `json:"add_consenter"`
	RemoveConsenter    []change     `json:"remove_consenter"`
	Roll               []change     `json:"roll"`
	Load               []loadReport `json:"load"`
	// Election is the least and the longest time after which a follower asks for an election, by the
	// channel's own timers.
	Election [2]float64 `json:"election"`
}

// change is one apply under load.
type change struct {
	times
	// ContainerStart is the time during which at least one of the Containers that are new was between its
	// creation and its start.
	ContainerStart float64 `json:"container_start"`
	Containers     int     `json:"containers"`
	// The gaps between blocks during the apply.
	MedianGap  float64 `json:"median_gap"`
	P95Gap     float64 `json:"p95_gap"`
	LongestGap float64 `json:"longest_gap"`
}

func (c *change) take(gaps load.Gaps) {
	c.MedianGap, c.P95Gap, c.LongestGap = gaps.Median.Seconds(), gaps.P95.Seconds(), gaps.Longest.Seconds()
}

// loadReport is the load of one round, of which nothing was lost: a round that lost something fails.
type loadReport struct {
	Seconds      float64 `json:"seconds"`
	Rate         float64 `json:"rate"`
	Acknowledged int     `json:"acknowledged"`
	SentAgain    int     `json:"sent_again"`
	HeldBack     int     `json:"held_back"`
}

// largeReport is a large network.
type largeReport struct {
	Containers int     `json:"containers"`
	Apply      []times `json:"apply"`
	// The plans of an organization with a peer and a consenter more, and of another size of blocks.
	PlanOrganization []float64 `json:"plan_organization"`
	PlanConsenter    []float64 `json:"plan_consenter"`
	PlanBatch        []float64 `json:"plan_batch"`
	Destroy          []float64 `json:"destroy"`
}

// slowest is the plan that takes longest, by its median.
func (l largeReport) slowest() summary {
	var slowest summary
	for _, plans := range [][]float64{l.PlanOrganization, l.PlanConsenter, l.PlanBatch} {
		if s := summarize(plans); s.Median > slowest.Median {
			slowest = s
		}
	}
	return slowest
}

// The promises of changes.
const (
	organizationSeconds = 5.0
	consenterSeconds    = 10.0
	largePlanSeconds    = 5.0
)

// figures takes one figure of each of several changes.
func figures(all []change, of func(change) float64) summary {
	var out []float64
	for _, c := range all {
		out = append(out, of(c))
	}
	return summarize(out)
}

func total(c change) float64  { return c.Seconds }
func starts(c change) float64 { return c.ContainerStart }
func beyond(c change) float64 { return c.Seconds - c.ContainerStart }

func (r *report) changeTargets() []target {
	var out []target
	if all := r.Changes.AddOrganization; len(all) > 0 {
		s := figures(all, beyond)
		out = append(out, target{"organization with a peer added to a live channel, beyond container start", s.format(1) + " s", "at most 5 s", s.Median <= organizationSeconds, true})
	}
	if all := r.Changes.AddConsenter; len(all) > 0 {
		s := figures(all, total)
		out = append(out, target{"consenter added", s.format(1) + " s", "at most 10 s", s.Median <= consenterSeconds, true})
	}
	if plan := r.Large.slowest(); plan.Median > 0 {
		what := fmt.Sprintf("plan of a change, the slowest of three, %d containers", r.Large.Containers)
		out = append(out, target{what, plan.format(2) + " s", "at most 5 s", plan.Median <= largePlanSeconds, true})
	}
	return out
}

func (r *report) changeTables() []table {
	var out []table
	if t := r.changes(); len(t.rows) > 0 {
		out = append(out, t)
	}
	for _, part := range []struct {
		title string
		all   []change
	}{
		{"Organization added, by kind of resource", r.Changes.AddOrganization},
		{"Consenter added, by kind of resource", r.Changes.AddConsenter},
	} {
		if len(part.all) > 0 {
			out = append(out, phases(part.title, middle(timesOf(part.all))))
		}
	}
	if len(r.Large.Apply) > 0 {
		out = append(out, r.large())
	}
	return out
}

func timesOf(all []change) []times {
	var out []times
	for _, c := range all {
		out = append(out, c.times)
	}
	return out
}

func (r *report) changes() table {
	c := r.Changes
	t := table{
		title:  "Changes under load",
		header: []string{"what", "seconds", "container start", "beyond it", "gap between blocks: median", "p95", "longest"},
	}
	for _, row := range []struct {
		what string
		all  []change
	}{
		{"organization with a peer added", c.AddOrganization},
		{"organization removed", c.RemoveOrganization},
		{"consenter added to three", c.AddConsenter},
		{"consenter removed", c.RemoveConsenter},
		{"three orderers rolled", c.Roll},
	} {
		if len(row.all) == 0 { // what failed before
			continue
		}
		gap := func(of func(change) float64) string { return figures(row.all, of).format(2) }
		t.rows = append(t.rows, []string{
			row.what, figures(row.all, total).format(1), figures(row.all, starts).format(1), figures(row.all, beyond).format(1),
			gap(func(c change) float64 { return c.MedianGap }), gap(func(c change) float64 { return c.P95Gap }), gap(func(c change) float64 { return c.LongestGap }),
		})
	}
	acknowledged, rate := 0, []float64{}
	for _, l := range c.Load {
		acknowledged += l.Acknowledged
		rate = append(rate, l.Rate)
	}
	t.note = fmt.Sprintf("terraform apply of examples/grow-network, each change alone, while a Fabric Gateway client submitted %s transactions in a second: "+
		"%d were acknowledged in all, every one is on every peer exactly once, and every node has the same height and hash. Container start is the time during "+
		"which at least one new container was between its creation and its start. A gap counts in its full length when it overlaps the apply. The roll restarts "+
		"the leader once: by the channel's timers a follower asks for an election after %s to %s without one.",
		summarize(rate).format(1), acknowledged, spell(c.Election[0]), spell(c.Election[1]))
	return t
}

func spell(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).String()
}

func (r *report) large() table {
	l := r.Large
	return table{
		title:  fmt.Sprintf("A network of %d containers", l.Containers),
		header: []string{"what", "seconds"},
		rows: [][]string{
			{"`terraform apply` from nothing", summarize(seconds(l.Apply)).format(1)},
			{"`terraform plan` of another organization with a peer", summarize(l.PlanOrganization).format(2)},
			{"`terraform plan` of another consenter", summarize(l.PlanConsenter).format(2)},
			{"`terraform plan` of another size of blocks", summarize(l.PlanBatch).format(2)},
			{"`terraform destroy`", summarize(l.Destroy).format(1)},
		},
		note: "11 CAs, 5 orderers, 10 organizations with 2 peers each, one channel, one chaincode with a server beside each peer.",
	}
}
