//go:build linux

package kill

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

// What becomes of a point. A call of a high number may not be reached: runs differ by a few calls.
const (
	converged  = "converged"
	failure    = "failed"
	notReached = "not reached"
)

// result is what became of one point.
type result struct {
	point
	change string
	// struck is the call that went wrong, outcome one of the constants.
	struck, outcome string
	// seconds is what the disturbed command took, converged what the next one and the looks after it did.
	seconds, converged float64
	day                string
}

// columns are those of a record's file, one line for each point.
const columns = "pass\tchange\tside\tfault\tcall\tof\toutcome\tseconds\tconverged\tday\tstruck"

// record is what was tried, in this run and in those before: a point that failed is tried again, every
// other one is left out. Several runs may write into one file.
type record struct {
	// file holds it; none when empty.
	file    string
	results []result
}

func openRecord(t *testing.T, file string) *record {
	t.Helper()
	r := &record{file: file}
	if file == "" {
		return r
	}
	content, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		must(t, os.WriteFile(file, []byte(columns+"\n"), 0o600))
		return r
	}
	must(t, err)
	r.results, err = parse(string(content))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}

func (r result) String() string {
	return strings.Join([]string{
		strconv.Itoa(r.pass), r.change, string(r.Side), string(r.Kind), strconv.Itoa(r.Call), strconv.Itoa(r.of), r.outcome,
		fmt.Sprintf("%.1f", r.seconds), fmt.Sprintf("%.1f", r.converged), r.day, r.struck,
	}, "\t")
}

func parse(content string) ([]result, error) {
	var results []result
	for i, line := range strings.Split(strings.TrimSpace(content), "\n") {
		if i == 0 {
			if line != columns {
				return nil, fmt.Errorf("the columns are not %q", columns)
			}
			continue
		}
		field := strings.Split(line, "\t")
		if len(field) != strings.Count(columns, "\t")+1 {
			return nil, fmt.Errorf("line %d has %d columns", i+1, len(field))
		}
		r := result{change: field[1], outcome: field[6], day: field[9], struck: field[10]}
		r.Side, r.Kind = fault.Side(field[2]), fault.Kind(field[3])
		var errs [5]error
		r.pass, errs[0] = strconv.Atoi(field[0])
		r.Call, errs[1] = strconv.Atoi(field[4])
		r.of, errs[2] = strconv.Atoi(field[5])
		r.seconds, errs[3] = strconv.ParseFloat(field[7], 64)
		r.converged, errs[4] = strconv.ParseFloat(field[8], 64)
		for _, err := range errs {
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
		}
		results = append(results, r)
	}
	return results, nil
}

// has tells whether a point was tried, and did not fail the last time.
func (r *record) has(change string, p point) bool {
	for _, tried := range slices.Backward(r.results) {
		if tried.change == change && tried.same(p) {
			return tried.outcome != failure
		}
	}
	return false
}

func (p point) same(other point) bool {
	return p.pass == other.pass && p.Side == other.Side && p.Kind == other.Kind && p.Call == other.Call
}

// add keeps a result at once: a sweep is long, and what ends it may be anything.
func (r *record) add(t *testing.T, tried result) {
	t.Helper()
	tried.day = time.Now().UTC().Format(time.DateOnly)
	r.results = append(r.results, tried)
	if r.file == "" {
		return
	}
	file, err := os.OpenFile(r.file, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(tried.String() + "\n")
	must(t, err)
	must(t, file.Close())
}

// deliver writes the tables of the whole record: into the document beside it, NAME.md of NAME.tsv.
func (r *record) deliver(t *testing.T) {
	t.Helper()
	if r.file == "" {
		t.Logf("\n%s", tables(r.results))
		return
	}
	r = openRecord(t, r.file) // another run may have gone on with it
	name := strings.TrimSuffix(r.file, filepath.Ext(r.file)) + ".md"
	content, err := os.ReadFile(name)
	if os.IsNotExist(err) {
		content, err = []byte(tablesBegin+tablesEnd+"\n"), nil
	}
	must(t, err)
	document, err := replaced(string(content), tables(r.results))
	must(t, err)
	must(t, os.WriteFile(name, []byte(document), 0o600))
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
func tables(results []result) string {
	var out strings.Builder
	all := count(results)
	fmt.Fprintf(&out, "%d points tried, %d failures, of which %d have not passed since; %d more calls were not reached, because another run had fewer of them.\n\n", all.tried, all.failed, all.open, all.missed)
	var done []int
	for _, r := range results {
		done = append(done, r.pass)
	}
	slices.Sort(done)
	done = slices.Compact(done)
	fmt.Fprintf(&out, "| change | calls to the engine |")
	for _, pass := range done {
		fmt.Fprintf(&out, " tried in pass %d |", pass)
	}
	fmt.Fprintf(&out, " points, of all sides | failures | open | converging took, median | longest |\n|---|---|%s---|---|---|---|---|\n", strings.Repeat("---|", len(done)))
	grouped(results, func(r result) string { return r.change }, func(change string, of []result) {
		calls := 0
		tried := map[int]map[int]bool{}
		var took []float64
		for _, r := range of {
			if r.outcome == converged {
				took = append(took, r.converged)
			}
			if r.Side != fault.Engine || r.Kind == fault.CutUpload || r.Kind == fault.CutReply || r.outcome == notReached {
				continue // those that are cut are counted among their like
			}
			calls = max(calls, r.of)
			if tried[r.pass] == nil {
				tried[r.pass] = map[int]bool{}
			}
			tried[r.pass][r.Call] = true
		}
		fmt.Fprintf(&out, "| %s | %d |", change, calls)
		for _, pass := range done {
			fmt.Fprintf(&out, " %d |", len(tried[pass]))
		}
		slices.Sort(took)
		median, longest := "–", "–"
		if len(took) > 0 {
			median, longest = fmt.Sprintf("%.1f s", took[len(took)/2]), fmt.Sprintf("%.1f s", took[len(took)-1])
		}
		n := count(of)
		fmt.Fprintf(&out, " %d | %d | %d | %s | %s |\n", n.tried, n.failed, n.open, median, longest)
	})
	fmt.Fprintf(&out, "\n| tried, by fault |")
	for _, side := range fault.Sides {
		fmt.Fprintf(&out, " %s |", side)
	}
	fmt.Fprintf(&out, "\n|---|%s\n", strings.Repeat("---|", len(fault.Sides)))
	grouped(results, func(r result) string { return string(r.Kind) }, func(key string, of []result) {
		fmt.Fprintf(&out, "| %s |", key)
		for _, side := range fault.Sides {
			fmt.Fprintf(&out, " %d |", count(slices.DeleteFunc(slices.Clone(of), func(r result) bool { return r.Side != side })).tried)
		}
		fmt.Fprintln(&out)
	})
	if all.failed > 0 {
		fmt.Fprintf(&out, "\n| what failed | pass | fault | struck |\n|---|---|---|---|\n")
		for _, r := range results {
			if r.outcome == failure {
				fmt.Fprintf(&out, "| %s | %d | %s | %s |\n", r.change, r.pass, r.Fault, cmp.Or(r.struck, "nothing"))
			}
		}
	}
	return out.String()
}

// counts are how many points were tried, failed, have not passed since, and were not reached.
type counts struct{ tried, failed, open, missed int }

func count(results []result) counts {
	var n counts
	record := record{results: results}
	failed := map[string]bool{}
	for _, r := range results {
		switch r.outcome {
		case notReached:
			n.missed++
			continue
		case failure:
			n.failed++
			if name := fmt.Sprint(r.change, r.pass, r.Fault); !record.has(r.change, r.point) && !failed[name] {
				failed[name] = true
				n.open++
			}
		}
		n.tried++
	}
	return n
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

func tried(change, outcome string, pass, call int, side fault.Side, kind fault.Kind) result {
	return result{change: change, point: point{fault.Fault{Side: side, Kind: kind, Call: call}, pass, 9}, outcome: outcome, converged: 4.5, struck: "POST /containers/create peer0"}
}

// TestRecord: what is kept is read again, by several runs too; a point that failed is left to be tried, and
// counts as open until it has passed.
func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sweep.tsv")
	one, two := openRecord(t, file), openRecord(t, file)
	failed := tried("node roll", failure, 0, 3, fault.Engine, fault.KillBefore)
	one.add(t, failed)
	two.add(t, tried("node roll", converged, 1, 3, fault.Engine, fault.KillAfter))
	two.add(t, tried("destroy", notReached, 0, 9, fault.CA, fault.Refuse))
	again := openRecord(t, file)
	for i, want := range []bool{false, true, true} {
		if r := again.results[i]; again.has(r.change, r.point) != want {
			t.Errorf("%s is known: %t", r, !want)
		}
	}
	for _, wrong := range []string{"pass\tchange", columns + "\n0\tdestroy", columns + strings.Replace("\n"+failed.String(), "\t3\t", "\tx\t", 1)} {
		if _, err := parse(wrong); err == nil {
			t.Errorf("%q was read", wrong)
		}
	}
	text := tables(again.results)
	for _, want := range []string{
		"2 points tried, 1 failures, of which 1 have not passed since; 1 more",
		"| change | calls to the engine | tried in pass 0 | tried in pass 1 |", "| node roll | 9 | 1 | 1 | 2 | 1 | 1 | 4.5 s | 4.5 s |",
		"| kill after | 1 | 0 | 0 | 0 | 0 | 0 | 0 |", "| node roll | 0 | engine, call 3: kill before | POST /containers/create peer0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	failed.outcome = converged
	again.add(t, failed)
	if n := count(again.results); n != (counts{tried: 3, failed: 1, missed: 1}) {
		t.Errorf("counted %v", n)
	}
}

// TestPoints: a pass has every call to the engine that changes something, once in a manner that every call
// knows; all passes together have each call in each manner, once.
func TestPoints(t *testing.T) {
	calls := func(_ fault.Side, kind fault.Kind) int {
		switch kind {
		case fault.CutUpload:
			return 12
		case fault.CutReply:
			return 20
		}
		return 31
	}
	seen := map[fault.Fault]int{}
	for pass := range passes {
		once := map[int]int{}
		others := map[fault.Side]int{}
		for _, p := range points(calls, pass) {
			if p.of != calls(p.Side, p.Kind) || p.Call < 1 || p.Call > p.of {
				t.Errorf("%s of %d calls", p, p.of)
			}
			switch {
			case p.Side != fault.Engine:
				others[p.Side]++
			case p.Kind != fault.CutUpload && p.Kind != fault.CutReply:
				once[p.Call]++
				fallthrough
			default:
				seen[p.Fault]++
			}
		}
		for call := 1; call <= 31; call++ {
			if once[call] != 1 {
				t.Errorf("pass %d has call %d %d times", pass, call, once[call])
			}
		}
		for _, side := range fault.Sides[1:] {
			if others[side] != perPass {
				t.Errorf("pass %d has %d calls of %s", pass, others[side], side)
			}
		}
	}
	for _, kind := range fault.Kinds(fault.Engine) {
		for call := 1; call <= calls(fault.Engine, kind); call++ {
			if f := (fault.Fault{Side: fault.Engine, Kind: kind, Call: call}); seen[f] != 1 {
				t.Errorf("%s is tried %d times", f, seen[f])
			}
		}
	}
	if want := 9*31 + 12 + 20; len(seen) != want {
		t.Errorf("%d points, want %d", len(seen), want)
	}
}
