package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action  string
	Package string
	Test    string
	// Output is one line of output; of a failing build it comes under ImportPath instead of Package.
	Output     string
	ImportPath string
	// Elapsed is in seconds.
	Elapsed float64
	// FailedBuild is the ImportPath whose build failed, on a package's fail event.
	FailedBuild string
}

// test is one test, subtest or fuzz seed of a package. The name is empty for the package as a whole.
type test struct{ pkg, name string }

// outcome says how a test ended. Of two runs of one test the larger outcome counts: a test that was
// skipped without an engine and passes with one has passed; one that fails in any run has failed.
type outcome int

const (
	started outcome = iota
	skipped
	passed
	failed
)

// tally holds the outcomes of any number of test runs.
type tally struct {
	outcomes map[test]outcome
	// packages are the packages that ended, with what became of them.
	packages map[string]outcome
}

func newTally() *tally {
	return &tally{outcomes: map[test]outcome{}, packages: map[string]outcome{}}
}

// record takes in one event. A test that began and never ended (a panic, a timeout) is failed
// when its package has ended.
func (t *tally) record(e event) {
	end := map[string]outcome{"pass": passed, "fail": failed, "skip": skipped}
	if e.Package == "" {
		return
	}
	if e.Test == "" {
		result, ended := end[e.Action]
		if !ended {
			return
		}
		t.packages[e.Package] = max(t.packages[e.Package], result)
		for tested, result := range t.outcomes {
			if tested.pkg == e.Package && result == started {
				t.outcomes[tested] = failed
			}
		}
		return
	}
	tested := test{e.Package, e.Test}
	if result, ended := end[e.Action]; ended || e.Action == "run" {
		t.outcomes[tested] = max(t.outcomes[tested], result)
	}
}

// read takes in the whole stream of one run; lines that are no events are left out. What had begun when the
// stream ended is failed, whatever other runs say.
func (t *tally) read(stream io.Reader) error {
	one := newTally()
	err := eachLine(stream, func(line []byte) error {
		var e event
		if json.Unmarshal(line, &e) == nil {
			one.record(e)
		}
		return nil
	})
	for tested, result := range one.outcomes {
		if result == started {
			result = failed
		}
		t.outcomes[tested] = max(t.outcomes[tested], result)
	}
	for pkg, result := range one.packages {
		t.packages[pkg] = max(t.packages[pkg], result)
	}
	return err
}

// counts are the numbers of the closing line.
type counts struct{ passed, failed, skipped int }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// count counts leaves: a test with subtests counts only when it failed by itself, and a package only
// when it failed with no failing test in it (it does not build, TestMain failed).
func (t *tally) count() counts {
	var c counts
	for _, tested := range t.leaves() {
		switch t.outcomes[tested] {
		case passed:
			c.passed++
		case failed, started:
			c.failed++
		case skipped:
			c.skipped++
		}
	}
	c.failed += len(t.brokenPackages())
	return c
}

func (t *tally) leaves() []test {
	parents, guilty := map[test]bool{}, map[test]bool{}
	for tested, result := range t.outcomes {
		for name := tested.name; strings.Contains(name, "/"); {
			name = name[:strings.LastIndex(name, "/")]
			parents[test{tested.pkg, name}] = true
			if result == failed || result == started {
				guilty[test{tested.pkg, name}] = true
			}
		}
	}
	var leaves []test
	for tested, result := range t.outcomes {
		if !parents[tested] || result == failed && !guilty[tested] {
			leaves = append(leaves, tested)
		}
	}
	slices.SortFunc(leaves, func(a, b test) int {
		return strings.Compare(a.pkg+"."+a.name, b.pkg+"."+b.name)
	})
	return leaves
}

// brokenPackages are the packages that failed with no failing test in them.
func (t *tally) brokenPackages() []string {
	explained := map[string]bool{}
	for tested, result := range t.outcomes {
		if result == failed {
			explained[tested.pkg] = true
		}
	}
	var broken []string
	for pkg, result := range t.packages {
		if result == failed && !explained[pkg] {
			broken = append(broken, pkg)
		}
	}
	slices.Sort(broken)
	return broken
}

// failures names what failed.
func (t *tally) failures() []string {
	var names []string
	for _, tested := range t.leaves() {
		if result := t.outcomes[tested]; result == failed || result == started {
			names = append(names, tested.pkg+" "+tested.name)
		}
	}
	return append(names, t.brokenPackages()...)
}

// skippedTests are the tests that were skipped, or a subtest of which was, and never passed, by their packages.
func (t *tally) skippedTests() map[string][]string {
	tests := map[string][]string{}
	for _, tested := range t.leaves() {
		if t.outcomes[tested] == skipped {
			name, _, _ := strings.Cut(tested.name, "/")
			tests[tested.pkg] = append(tests[tested.pkg], name)
		}
	}
	for pkg, names := range tests {
		slices.Sort(names)
		tests[pkg] = slices.Compact(names)
	}
	return tests
}

// ran tells whether a test whose name begins with the prefix ran to an end.
func (t *tally) ran(prefix string) bool {
	for tested, result := range t.outcomes {
		if strings.HasPrefix(tested.name, prefix) && (result == passed || result == failed) {
			return true
		}
	}
	return false
}

// slow is the time from which on a passing test gets a line of its own while we watch.
const slow = 5 * time.Second

// watcher words a stream of events for somebody who watches: a line per package and per slow test,
// and everything that a failing test printed.
type watcher struct {
	out    io.Writer
	tally  *tally
	output map[test]*bytes.Buffer
	builds map[string]*bytes.Buffer
	// module is cut off package names.
	module string
}

func newWatcher(out io.Writer, module string) *watcher {
	return &watcher{out: out, tally: newTally(), output: map[test]*bytes.Buffer{}, builds: map[string]*bytes.Buffer{}, module: module}
}

// line takes in one line of the stream.
func (w *watcher) line(line []byte) error {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		_, err := fmt.Fprintf(w.out, "%s\n", line)
		return err
	}
	w.tally.record(e)
	short := strings.TrimPrefix(e.Package, w.module+"/")
	tested := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		buffer(w.output, tested).WriteString(e.Output)
	case "build-output":
		buffer(w.builds, e.ImportPath).WriteString(e.Output)
	case "pass", "skip":
		if e.Test == "" {
			return w.packageLine("done  ", short, e)
		}
		delete(w.output, tested)
		if e.Elapsed >= slow.Seconds() && !strings.Contains(e.Test, "/") {
			_, err := fmt.Fprintf(w.out, "  %s  %s %s  %.0f s\n", e.Action, short, e.Test, e.Elapsed)
			return err
		}
	case "fail":
		return w.failure(short, e)
	}
	return nil
}

func (w *watcher) failure(short string, e event) error {
	if e.Test != "" {
		_, err := fmt.Fprintf(w.out, "  FAILED  %s %s  %.0f s\n%s", short, e.Test, e.Elapsed, buffer(w.output, test{e.Package, e.Test}))
		return err
	}
	if e.FailedBuild != "" {
		if _, err := fmt.Fprintf(w.out, "%s", buffer(w.builds, e.FailedBuild)); err != nil {
			return err
		}
	} else {
		// What a test printed that never ended, and what the package itself said, is all there is to explain a panic.
		for tested, text := range w.output {
			if tested.pkg == e.Package && (tested.name == "" || w.unfinished(tested)) {
				if _, err := fmt.Fprintf(w.out, "%s", text); err != nil {
					return err
				}
			}
		}
	}
	return w.packageLine("FAILED", short, e)
}

// unfinished tells whether the test was under way when its package ended.
func (w *watcher) unfinished(tested test) bool {
	text := buffer(w.output, tested).String()
	return !strings.Contains(text, "--- FAIL: "+tested.name+" ") && !strings.Contains(text, "--- PASS: "+tested.name+" ")
}

func (w *watcher) packageLine(word, short string, e event) error {
	one := newTally()
	for tested, result := range w.tally.outcomes {
		if tested.pkg == e.Package {
			one.outcomes[tested] = result
		}
	}
	if len(one.outcomes) == 0 && e.Action != "fail" {
		return nil
	}
	c := one.count()
	_, err := fmt.Fprintf(w.out, "%s  %-40s %4d passed %3d failed %3d skipped  %.1f s\n", word, short, c.passed, c.failed, c.skipped, e.Elapsed)
	return err
}

func buffer[K comparable](buffers map[K]*bytes.Buffer, k K) *bytes.Buffer {
	if buffers[k] == nil {
		buffers[k] = &bytes.Buffer{}
	}
	return buffers[k]
}

// eachLine calls use for every line, however long.
func eachLine(stream io.Reader, use func(line []byte) error) error {
	reader := bufio.NewReaderSize(stream, 64<<10)
	for {
		line, err := reader.ReadBytes('\n')
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			if err := use(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
