package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/bench/direct"
)

// report is everything that was measured. Times are in seconds.
type report struct {
	Began    time.Time `json:"began"`
	Settings string    `json:"settings"`
	Fabric   string    `json:"fabric"`
	Machine  machine   `json:"machine"`
	// LoadBefore and LoadAfter are load averages of the last minute; empty where the system tells none.
	LoadBefore string          `json:"load_before"`
	LoadAfter  string          `json:"load_after"`
	Direct     directReport    `json:"direct"`
	Terraform  terraformReport `json:"terraform"`
	Provider   providerReport  `json:"provider"`
	Changes    changesReport   `json:"changes"`
	Large      largeReport     `json:"large"`
	Upgrades   upgradesReport  `json:"upgrades"`
	Packing    packingReport   `json:"packing"`
	Faults     faultsReport    `json:"faults"`
}

type machine struct {
	Cores       int    `json:"cores"`
	MemoryBytes int64  `json:"memory_bytes"`
	System      string `json:"system"`
	Engine      string `json:"engine"`
	Terraform   string `json:"terraform"`
	Go          string `json:"go"`
}

type directReport struct {
	Up []times `json:"up"`
	// Down removes everything at once, Dismantle one thing after the other as resources are destroyed.
	Down      []times `json:"down"`
	Dismantle []times `json:"dismantle"`
}

type terraformReport struct {
	Apply   []times   `json:"apply"`
	Plan    []float64 `json:"plan"`
	Destroy []times   `json:"destroy"`
}

type providerReport struct {
	BinaryBytes int64 `json:"binary_bytes"`
	// PeakBytes are the peaks of resident memory of a provider process during each apply.
	PeakBytes []int64 `json:"peak_bytes"`
	// StartSeconds is how long a provider process takes until it answers, Starts how many of them
	// each empty plan started.
	StartSeconds []float64 `json:"start_seconds"`
	Starts       []int     `json:"starts"`
	// PlanCalls are the calls of the provider in one empty plan of each run.
	PlanCalls [][]call `json:"plan_calls"`
}

// starts is how many provider processes an empty plan starts; a short-lived one may have been missed in
// some of the plans.
func (p providerReport) starts() int {
	most := 0
	for _, n := range p.Starts {
		most = max(most, n)
	}
	return most
}

// times is one doing of the whole, with its parts.
type times struct {
	Seconds float64 `json:"seconds"`
	Phases  []phase `json:"phases"`
}

// phase is a part; parts overlap.
type phase struct {
	Name  string  `json:"name"`
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
	// Times is how often it was done, Longest how long the longest one took.
	Times   int     `json:"times"`
	Longest float64 `json:"longest,omitempty"`
}

func directTimes(r direct.Result) times {
	out := times{Seconds: r.Took.Seconds()}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, phase{Name: p.Name, Begin: p.Begin.Seconds(), End: p.End.Seconds(), Times: p.Times})
	}
	return out
}

func describe(s settings) string {
	rounds := fmt.Sprintf("Rounds: %d of bring-up, %d of changes, %d of the large network, %d upgrades", s.runs, s.changes, s.large, s.upgrades)
	words := []string{rounds, "Fabric " + s.fabricVersion, "Fabric CA " + s.caVersion}
	switch {
	case s.batch.MaxMessageCount == 0 && s.batch.Timeout == 0:
		words = append(words, "default batch (2 s)")
	default:
		if s.batch.Timeout > 0 {
			words = append(words, "batch timeout "+s.batch.Timeout.String())
		}
		if s.batch.MaxMessageCount > 0 {
			words = append(words, fmt.Sprintf("max message count %d", s.batch.MaxMessageCount))
		}
	}
	return strings.Join(words, ", ")
}

func seconds(all []times) []float64 {
	var out []float64
	for _, t := range all {
		out = append(out, t.Seconds)
	}
	return out
}

// middle is the one whose total is the median, or just above it: its parts belong together.
func middle(all []times) times {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b times) int { return cmp.Compare(a.Seconds, b.Seconds) })
	if len(sorted) == 0 {
		return times{}
	}
	return sorted[len(sorted)/2]
}

// providerPart are the seconds of empty plans that are the provider's: the starts of its processes,
// and the time during which at least one of its calls was under way.
func (r *report) providerPart() []float64 {
	starts := r.Provider.starts()
	var out []float64
	for _, calls := range r.Provider.PlanCalls {
		out = append(out, float64(starts)*summarize(r.Provider.StartSeconds).Median+busy(calls))
	}
	return out
}

// target is a promise and what was measured of it.
type target struct {
	what     string
	measured string
	limit    string
	met      bool
	// known is false where the system does not tell.
	known bool
}

const megabyte = 1e6

// The promises.
const (
	applyRatio     = 1.3
	applySeconds   = 15.0
	planSeconds    = 2.0
	planPart       = 1.0
	destroyRatio   = 1.5
	binaryMegabyte = 30.0
	memoryMegabyte = 150.0
)

func (r *report) targets() []target {
	var out []target
	if len(r.Terraform.Apply) > 0 {
		out = append(out, r.bringUpTargets()...)
	}
	out = append(out, r.changeTargets()...)
	out = append(out, r.Upgrades.targets()...)
	out = append(out, r.packingTargets()...)
	size := float64(r.Provider.BinaryBytes) / megabyte
	return append(out, target{"provider binary, stripped", fmt.Sprintf("%.1f MB", size), "at most 30 MB", size <= binaryMegabyte, true})
}

func (r *report) bringUpTargets() []target {
	up, down, dismantle := summarize(seconds(r.Direct.Up)), summarize(seconds(r.Direct.Down)), summarize(seconds(r.Direct.Dismantle))
	apply, destroy := summarize(seconds(r.Terraform.Apply)), summarize(seconds(r.Terraform.Destroy))
	plan, part := summarize(r.Terraform.Plan), summarize(r.providerPart())
	peak := 0.0
	for _, b := range r.Provider.PeakBytes {
		peak = max(peak, float64(b)/megabyte)
	}
	ratio := func(a, b summary) float64 {
		if b.Median == 0 {
			return 0
		}
		return a.Median / b.Median
	}
	return []target{
		{"apply, times the direct bring-up", fmt.Sprintf("%.2f", ratio(apply, up)), "at most 1.3", ratio(apply, up) <= applyRatio, true},
		{"apply", apply.format(1) + " s", "below 15 s", apply.Median < applySeconds, true},
		{"empty plan", plan.format(2) + " s", "below 2 s", plan.Median < planSeconds, true},
		{"of which the provider", part.format(2) + " s", "below 1 s", part.Median < planPart, true},
		{"destroy, times the direct way that does the same", fmt.Sprintf("%.2f", ratio(destroy, dismantle)), "below 1.5", ratio(destroy, dismantle) < destroyRatio, true},
		{"destroy, times the removal of everything at once", fmt.Sprintf("%.2f", ratio(destroy, down)), "below 1.5", ratio(destroy, down) < destroyRatio, true},
		{"peak resident memory during apply", fmt.Sprintf("%.0f MB", peak), "at most 150 MB", peak <= memoryMegabyte, peak > 0},
	}
}

// missed are the targets that were not met.
func (r *report) missed() []string {
	var out []string
	for _, t := range r.targets() {
		if t.known && !t.met {
			out = append(out, t.what)
		}
	}
	return out
}

// tables are the report as it is printed: what was measured of it.
// all are the tables of what was measured.
func (r *report) all() []table {
	if r.faultsAlone() {
		return r.faultTables()
	}
	return append(r.tables(), r.faultTables()...)
}

func (r *report) faultsAlone() bool {
	return len(r.Terraform.Apply)+len(r.Changes.Load)+len(r.Large.Apply)+len(r.Upgrades.Terraform) == 0 && len(r.Faults.Clusters) > 0
}

// write replaces the tables in a document by what was measured; others stay.
func (r *report) write(file string) error {
	for i, t := range r.faultTables() {
		if err := fails(r.Faults.Clusters[i].Orderers).replaceTables(file, markdown([]table{t})); err != nil {
			return err
		}
	}
	if r.faultsAlone() {
		return nil
	}
	return works.replaceTables(file, markdown(r.tables()))
}

func (r *report) tables() []table {
	out := []table{r.promises()}
	if len(r.Terraform.Apply) > 0 {
		out = append([]table{r.totals()}, out...)
	} else {
		out[0].note = "Medians with the least and the most. " + r.Settings + "; " + r.conditions() + "."
	}
	out = append(out, r.changeTables()...)
	out = append(out, r.Upgrades.tables()...)
	if len(r.Terraform.Apply) == 0 {
		return out
	}
	return append(out,
		phases("Direct bring-up, by phase", middle(r.Direct.Up)),
		phases("terraform apply, by kind of resource", middle(r.Terraform.Apply)),
		phases("terraform destroy, by kind of resource", middle(r.Terraform.Destroy)),
		phases("Direct, one thing after the other, by phase", middle(r.Direct.Dismantle)),
		phases("Direct, everything at once, by phase", middle(r.Direct.Down)),
		r.planCalls(),
	)
}

func (r *report) totals() table {
	t := table{title: "Totals", header: []string{"what", "seconds"}}
	for _, row := range []struct {
		what     string
		measured []float64
		decimals int
	}{
		{"direct: from nothing to the committed transaction", seconds(r.Direct.Up), 1},
		{"`terraform apply`: the same", seconds(r.Terraform.Apply), 1},
		{"`terraform plan` after it, empty", r.Terraform.Plan, 2},
		{"direct: everything removed at once", seconds(r.Direct.Down), 1},
		{"direct: one thing after the other, as resources are destroyed", seconds(r.Direct.Dismantle), 1},
		{"`terraform destroy`: the same", seconds(r.Terraform.Destroy), 1},
		{"start of a provider process", r.Provider.StartSeconds, 3},
	} {
		t.rows = append(t.rows, []string{row.what, summarize(row.measured).format(row.decimals)})
	}
	t.rows = append(t.rows, []string{"fabric-samples' test-network, from nothing to a first transaction, measured before", testNetwork})
	t.note = "Medians with the least and the most. " + r.Settings + "; " + r.conditions() + ". test-network is a smaller network " +
		"(one peer for each organization, one orderer), brought up with its own CAs and compose v2 on the same kind of machine; it was not run again here."
	return t
}

// testNetwork is what fabric-samples' network.sh took with -ca and a chaincode as a service, from
// nothing to its first committed transaction: 28 s of it are pauses in its scripts.
const testNetwork = "52.0 [50.2-58.8]"

func (r *report) conditions() string {
	m := r.Machine
	load := ""
	if r.LoadBefore != "" {
		load = fmt.Sprintf(", load average %s before and %s after", r.LoadBefore, r.LoadAfter)
	}
	return fmt.Sprintf("%s: %d cores, %d GiB, %s, Engine %s, Terraform %s%s",
		r.Began.Format(time.DateOnly), m.Cores, m.MemoryBytes>>30, m.System, m.Engine, m.Terraform, load)
}

func (r *report) promises() table {
	t := table{title: "Targets", header: []string{"what", "measured", "target", "met"}}
	for _, target := range r.targets() {
		met := "yes"
		switch {
		case !target.known:
			target.measured, met = "not known on this system", ""
		case !target.met:
			met = "no"
		}
		t.rows = append(t.rows, []string{target.what, target.measured, target.limit, met})
	}
	return t
}

func phases(title string, one times) table {
	t := table{title: title, header: []string{"phase", "times", "begins", "ends", "seconds", "longest"}}
	end := 0.0
	for _, p := range one.Phases {
		longest := ""
		if p.Longest > 0 {
			longest = fmt.Sprintf("%.2f", p.Longest)
		}
		t.rows = append(t.rows, []string{p.Name, fmt.Sprint(p.Times), fmt.Sprintf("%.2f", p.Begin), fmt.Sprintf("%.2f", p.End), fmt.Sprintf("%.2f", p.End-p.Begin), longest})
		end = max(end, p.End)
	}
	t.rows = append(t.rows, []string{"after the last one", "", fmt.Sprintf("%.2f", end), fmt.Sprintf("%.2f", one.Seconds), fmt.Sprintf("%.2f", one.Seconds-end), ""})
	t.note = "The run with the median total. Phases overlap."
	return t
}

// planCalls sums up the calls of an empty plan by method and kind of resource.
func (r *report) planCalls() table {
	t := table{title: "Calls of the provider in an empty plan", header: []string{"call", "times", "begins", "ends", "busy", "longest"}}
	calls := last(r.Provider.PlanCalls)
	groups := map[string][]call{}
	for _, c := range calls {
		name := strings.TrimSpace(c.Method + " " + c.Type)
		groups[name] = append(groups[name], c)
	}
	first := func(name string) float64 {
		begin := groups[name][0].Begin
		for _, c := range groups[name] {
			begin = min(begin, c.Begin)
		}
		return begin
	}
	for _, name := range slices.SortedFunc(maps.Keys(groups), func(a, b string) int { return cmp.Compare(first(a), first(b)) }) {
		end, longest := 0.0, 0.0
		for _, c := range groups[name] {
			end, longest = max(end, c.End), max(longest, c.End-c.Begin)
		}
		t.rows = append(t.rows, []string{
			name, fmt.Sprint(len(groups[name])), fmt.Sprintf("%.3f", first(name)), fmt.Sprintf("%.3f", end),
			fmt.Sprintf("%.3f", busy(groups[name])), fmt.Sprintf("%.3f", longest),
		})
	}
	starts := r.Provider.starts()
	t.note = fmt.Sprintf("Seconds from the start of a proxy between Terraform and one provider process that lived already. Busy is the time during which "+
		"at least one such call was under way; of all calls together it is %.3f s. To the provider's part of a plan comes the start of its processes: "+
		"%d of them, %.3f s each.", busy(calls), starts, summarize(r.Provider.StartSeconds).Median)
	return t
}
