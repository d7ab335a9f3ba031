// Command testcount reads what `go test -json` prints.
//
//	go test -json ./... | testcount watch -record FILE    words it for a person, keeps it in FILE;
//	                                                      fails when a test failed
//	testcount skipped FILE...                             names the packages with skipped tests, each with
//	                                                      a regular expression of these
//	testcount sum [-require PREFIX]... [-check NAME=ok|failed]... FILE...
//	                                                      counts all runs together; the last line is
//	                                                      "N passed, N failed, N skipped"
//
// sum fails when anything failed and when of a PREFIX no test ran whose name begins with it. A check that is no
// Go test (a linter, drift of the documentation) counts as one test.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// modulePath is cut off package names.
const modulePath = "github.com/fabricops/terraform-provider-fabric"

var (
	errUsage  = errors.New("usage: testcount watch -record FILE | skipped FILE... | sum [-require PREFIX]... [-check NAME=ok|failed]... FILE...")
	errFailed = errors.New("tests failed")
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		// The counts are the last line that a person and a machine look for: say nothing after them.
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	record := flags.String("record", "", "file to keep the stream in")
	var required, checks []string
	flags.Func("require", "prefix of a test that must have run", func(value string) error {
		required = append(required, value)
		return nil
	})
	flags.Func("check", "NAME=ok or NAME=failed", func(value string) error {
		if _, result, _ := strings.Cut(value, "="); result != "ok" && result != "failed" {
			return fmt.Errorf("%q is neither NAME=ok nor NAME=failed", value)
		}
		checks = append(checks, value)
		return nil
	})
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	switch args[0] {
	case "watch":
		return watch(in, out, *record)
	case "skipped":
		return skippedTests(flags.Args(), out)
	case "sum":
		return sum(flags.Args(), checks, required, out)
	}
	return errUsage
}

func watch(in io.Reader, out io.Writer, record string) error {
	if record != "" {
		file, err := os.Create(record)
		if err != nil {
			return fmt.Errorf("unable to keep the test results: %w", err)
		}
		defer file.Close()
		in = io.TeeReader(in, file)
	}
	w := newWatcher(out, modulePath)
	if err := eachLine(in, w.line); err != nil {
		return fmt.Errorf("unable to read the test results: %w", err)
	}
	if w.tally.count().failed > 0 {
		return errFailed
	}
	return nil
}

func readFiles(files []string) (*tally, error) {
	if len(files) == 0 {
		return nil, errUsage
	}
	t := newTally()
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("unable to read test results: %w", err)
		}
		err = t.read(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("unable to read test results from %s: %w", name, err)
		}
	}
	return t, nil
}

func skippedTests(files []string, out io.Writer) error {
	t, err := readFiles(files)
	if err != nil {
		return err
	}
	tests := t.skippedTests()
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		if _, err := fmt.Fprintf(out, "%s ^(%s)$\n", pkg, strings.Join(tests[pkg], "|")); err != nil {
			return err
		}
	}
	return nil
}

func sum(files, checks, required []string, out io.Writer) error {
	t, err := readFiles(files)
	if err != nil {
		return err
	}
	total, failures := t.count(), t.failures()
	slices.Sort(checks)
	for _, check := range checks {
		name, result, _ := strings.Cut(check, "=")
		if result == "ok" {
			total.passed++
		} else {
			total.failed++
			failures = append(failures, name)
		}
	}
	for _, prefix := range required {
		if !t.ran(prefix) {
			total.failed++
			failures = append(failures, fmt.Sprintf("no test whose name begins with %s ran", prefix))
		}
	}
	for _, failure := range failures {
		if _, err := fmt.Fprintln(out, "FAILED", failure); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, total); err != nil {
		return err
	}
	if total.failed > 0 {
		return errFailed
	}
	return nil
}
