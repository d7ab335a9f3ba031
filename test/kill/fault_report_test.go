//go:build linux

package kill

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/fault"
)

// The tables lie between these lines of a document.
const (
	tablesBegin = "<!-- sweep: begin -->"
	tablesEnd   = "<!-- sweep: end -->"
)

// sweepRun is what is kept of a run of TestAccFaults.
type sweepRun struct {
	Seed    uint64   `json:"seed"`
	Time    string   `json:"time"`
	Results []result `json:"results"`
}

// deliver keeps what was tried: every point in SWEEP_RESULTS.json, after those of earlier runs that are in
// there; tables of all of them in SWEEP_RESULTS.md, and in the document that SWEEP_WRITE names.
func (s *faulting) deliver(t *testing.T, limit time.Duration) {
	t.Helper()
	runs := []sweepRun{{Seed: s.seed, Time: limit.String(), Results: s.results}}
	for i, r := range s.results {
		s.results[i].Struck = strings.ReplaceAll(r.Struck, s.network+"-", "")
	}
	if file := os.Getenv("SWEEP_RESULTS"); file != "" {
		var earlier []sweepRun
		content, err := os.ReadFile(file + ".json")
		if err == nil {
			err = json.Unmarshal(content, &earlier)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Errorf("unable to read the earlier runs in %s.json: %v", file, err)
		}
		runs = append(earlier, runs...)
		content, err = json.MarshalIndent(runs, "", "  ")
		must(t, err)
		must(t, os.WriteFile(file+".json", append(content, '\n'), 0o600))
		must(t, os.WriteFile(file+".md", []byte(tables(runs)), 0o600))
	}
	t.Logf("\n%s", tables(runs))
	if file := os.Getenv("SWEEP_WRITE"); file != "" {
		content, err := os.ReadFile(file)
		must(t, err)
		document, err := replaced(string(content), tables(runs))
		must(t, err)
		must(t, os.WriteFile(file, []byte(document), 0o600))
	}
}

// replaced puts the tables where a document has the earlier ones.
func replaced(document, tables string) (string, error) {
	before, rest, begun := strings.Cut(document, tablesBegin)
	_, after, ended := strings.Cut(rest, tablesEnd)
	if !begun || !ended {
		return "", fmt.Errorf("the document has no lines %q and %q", tablesBegin, tablesEnd)
	}
	return before + tablesBegin + "\n" + tables + tablesEnd + after, nil
}

// tables are Markdown: points by change, by side and fault, and those that failed.
func tables(runs []sweepRun) string {
	var out strings.Builder
	var results []result
	var seeds []string
	for _, r := range runs {
		results = append(results, r.Results...)
		seeds = append(seeds, fmt.Sprintf("%d (%s)", r.Seed, r.Time))
	}
	tried, failed, missed := count(results)
	fmt.Fprintf(&out, "Seeds, and the time at most: %s. %d points tried, %d failures; %d more calls were not reached, because another run had fewer of them.\n\n", strings.Join(seeds, ", "), tried, failed, missed)
	fmt.Fprintf(&out, "| change | tried | failures | converging took, median | longest |\n|---|---|---|---|---|\n")
	grouped(results, func(r result) string { return r.Change }, func(key string, of []result) {
		tried, failed, _ := count(of)
		var took []float64
		for _, r := range of {
			if r.Outcome == converged {
				took = append(took, r.Converged)
			}
		}
		slices.Sort(took)
		median, longest := "–", "–"
		if len(took) > 0 {
			median, longest = fmt.Sprintf("%.1f s", took[len(took)/2]), fmt.Sprintf("%.1f s", took[len(took)-1])
		}
		fmt.Fprintf(&out, "| %s | %d | %d | %s | %s |\n", key, tried, failed, median, longest)
	})
	fmt.Fprintf(&out, "\n| tried, by fault |")
	for _, side := range fault.Sides {
		fmt.Fprintf(&out, " %s |", side)
	}
	fmt.Fprintf(&out, "\n|---|%s\n", strings.Repeat("---|", len(fault.Sides)))
	grouped(results, func(r result) string { return string(r.Kind) }, func(key string, of []result) {
		fmt.Fprintf(&out, "| %s |", key)
		for _, side := range fault.Sides {
			tried, _, _ := count(slices.DeleteFunc(slices.Clone(of), func(r result) bool { return r.Side != side }))
			fmt.Fprintf(&out, " %d |", tried)
		}
		fmt.Fprintln(&out)
	})
	if failed > 0 {
		fmt.Fprintf(&out, "\n| what failed | fault | struck |\n|---|---|---|\n")
		for _, r := range results {
			if r.Outcome == failure {
				fmt.Fprintf(&out, "| %s | %s, call %d: %s | %s |\n", r.Change, r.Side, r.Call, r.Kind, r.Struck)
			}
		}
	}
	return out.String()
}

func count(results []result) (tried, failed, missed int) {
	for _, r := range results {
		switch r.Outcome {
		case notReached:
			missed++
			continue
		case failure:
			failed++
		}
		tried++
	}
	return tried, failed, missed
}

// grouped goes through results by a key, in the keys' order.
func grouped(results []result, key func(result) string, each func(string, []result)) {
	groups := map[string][]result{}
	for _, r := range results {
		groups[key(r)] = append(groups[key(r)], r)
	}
	for _, k := range slices.Sorted(maps.Keys(groups)) {
		each(k, groups[k])
	}
}

// TestTables: the points of all runs count, and those that failed are told one by one.
func TestTables(t *testing.T) {
	point := func(change, outcome string, seconds float64) result {
		return result{Change: change, Side: fault.CA, Kind: fault.Refuse, Call: 3, Struck: "connection to ca.org1", Outcome: outcome, Converged: seconds}
	}
	text := tables([]sweepRun{
		{Seed: 1, Time: "6m0s", Results: []result{point("destroy", converged, 4), point("create", failure, 0)}},
		{Seed: 2, Time: "1h0m0s", Results: []result{point("destroy", converged, 6), point("destroy", notReached, 0)}},
	})
	for _, want := range []string{
		"1 (6m0s), 2 (1h0m0s). 3 points tried, 1 failures; 1 more",
		"| destroy | 2 | 0 | 6.0 s | 6.0 s |", "| create | 1 | 1 | – | – |", "| refuse | 0 | 0 | 3 | 0 | 0 | 0 | 0 |",
		"| create | CA, call 3: refuse | connection to ca.org1 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
