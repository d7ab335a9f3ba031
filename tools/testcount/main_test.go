package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stream writes events the way `go test -json` does: "action package test".
func stream(lines ...string) string {
	var text strings.Builder
	for _, line := range lines {
		words := strings.Fields(line)
		text.WriteString(`{"Action":"` + words[0] + `","Package":"` + words[1] + `"`)
		if len(words) > 2 {
			text.WriteString(`,"Test":"` + words[2] + `"`)
		}
		text.WriteString("}\n")
	}
	return text.String()
}

func file(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "results.jsonl")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestSum(t *testing.T) {
	acceptance := []string{"run p TestAccOne", "pass p TestAccOne", "pass p"}
	cases := map[string]struct {
		runs   [][]string
		checks []string
		want   string
		ok     bool
	}{
		"passes":                   {runs: [][]string{acceptance}, want: "1 passed, 0 failed, 0 skipped", ok: true},
		"subtests count as leaves": {runs: [][]string{acceptance, {"run q T", "run q T/a", "pass q T/a", "run q T/b", "pass q T/b", "pass q T", "pass q"}}, want: "3 passed, 0 failed, 0 skipped", ok: true},
		"a failing leaf":           {runs: [][]string{acceptance, {"run q T", "run q T/a", "fail q T/a", "fail q T", "fail q"}}, want: "1 passed, 1 failed, 0 skipped"},
		"a parent by itself":       {runs: [][]string{acceptance, {"run q T", "run q T/a", "pass q T/a", "fail q T", "fail q"}}, want: "2 passed, 1 failed, 0 skipped"},
		"skipped first, passed later": {
			runs: [][]string{{"run p TestAccOne", "skip p TestAccOne", "pass p"}, acceptance},
			want: "1 passed, 0 failed, 0 skipped", ok: true,
		},
		"passed first, failed later": {
			runs: [][]string{acceptance, {"run p TestAccOne", "fail p TestAccOne", "fail p"}},
			want: "0 passed, 1 failed, 0 skipped",
		},
		"skipped for good": {runs: [][]string{acceptance, {"run q T", "skip q T", "pass q"}}, want: "1 passed, 0 failed, 1 skipped", ok: true},
		"never ended":      {runs: [][]string{acceptance, {"run q T", "fail q"}}, want: "1 passed, 1 failed, 0 skipped"},
		"cut off":          {runs: [][]string{acceptance, {"run q T"}}, want: "1 passed, 1 failed, 0 skipped"},
		"skipped first, cut off later": {
			runs: [][]string{acceptance, {"run q T", "skip q T", "pass q"}, {"run q T", "run q T/a"}},
			want: "1 passed, 1 failed, 0 skipped",
		},
		"does not build": {runs: [][]string{acceptance, {"fail q"}}, want: "1 passed, 1 failed, 0 skipped"},
		"checks":         {runs: [][]string{acceptance}, checks: []string{"lint=ok", "docs=failed"}, want: "2 passed, 1 failed, 0 skipped"},
		"no acceptance test": {
			runs: [][]string{{"run q T", "pass q T", "pass q"}}, want: "1 passed, 1 failed, 0 skipped",
		},
		"acceptance tests all skipped": {
			runs: [][]string{{"run p TestAccOne", "skip p TestAccOne", "pass p"}}, want: "0 passed, 1 failed, 1 skipped",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			args := []string{"sum", "-require", "TestAcc"}
			for _, check := range c.checks {
				args = append(args, "-check", check)
			}
			for _, lines := range c.runs {
				args = append(args, file(t, stream(lines...)))
			}
			var out bytes.Buffer
			err := run(args, nil, &out)
			if got := lastLine(out.String()); got != c.want {
				t.Errorf("last line %q, want %q", got, c.want)
			}
			if c.ok != (err == nil) || err != nil && !errors.Is(err, errFailed) {
				t.Errorf("error %v, want success: %v", err, c.ok)
			}
			if !c.ok && !strings.Contains(out.String(), "FAILED ") {
				t.Errorf("what failed is not named:\n%s", out.String())
			}
		})
	}
}

// Each prefix is required by itself.
func TestRequired(t *testing.T) {
	var out bytes.Buffer
	results := file(t, stream("run p TestAccOne", "pass p TestAccOne", "pass p"))
	err := run([]string{"sum", "-require", "TestAcc", "-require", "TestAccFaults", results}, nil, &out)
	if !errors.Is(err, errFailed) || !strings.Contains(out.String(), "TestAccFaults ran") || lastLine(out.String()) != "1 passed, 1 failed, 0 skipped" {
		t.Errorf("it gave %v:\n%s", err, out.String())
	}
}

func TestSkipped(t *testing.T) {
	var out bytes.Buffer
	results := file(t, stream("run b T", "skip b T", "pass b", "run a T", "pass a T", "run a U", "skip a U", "pass a", "run c T", "pass c T", "pass c",
		"run a V", "run a V/x", "skip a V/x", "pass a V", "run a W", "run a W/x", "pass a W/x", "pass a W", "pass a"))
	if err := run([]string{"skipped", results}, nil, &out); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "a ^(U|V)$\nb ^(T)$\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWatch(t *testing.T) {
	input := `go: downloading something
{"Action":"run","Package":"` + modulePath + `/x","Test":"TestGood"}
{"Action":"output","Package":"` + modulePath + `/x","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"` + modulePath + `/x","Test":"TestGood","Elapsed":0.1}
{"Action":"run","Package":"` + modulePath + `/x","Test":"TestSlow"}
{"Action":"pass","Package":"` + modulePath + `/x","Test":"TestSlow","Elapsed":12}
{"Action":"run","Package":"` + modulePath + `/x","Test":"TestBad"}
{"Action":"output","Package":"` + modulePath + `/x","Test":"TestBad","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"` + modulePath + `/x","Test":"TestBad","Elapsed":0.1}
{"Action":"run","Package":"` + modulePath + `/x","Test":"TestHang"}
{"Action":"output","Package":"` + modulePath + `/x","Test":"TestHang","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"` + modulePath + `/x","Elapsed":13}
{"ImportPath":"` + modulePath + `/y","Action":"build-output","Output":"y.go:1: undefined: z\n"}
{"Action":"fail","Package":"` + modulePath + `/y","FailedBuild":"` + modulePath + `/y"}
`
	record := filepath.Join(t.TempDir(), "record.jsonl")
	var out bytes.Buffer
	if err := run([]string{"watch", "-record", record}, strings.NewReader(input), &out); !errors.Is(err, errFailed) {
		t.Errorf("got error %v", err)
	}
	text := out.String()
	for _, want := range []string{"go: downloading something", "FAILED  x TestBad", "got 1, want 2", "TestSlow  12 s", "panic: test timed out", "y.go:1: undefined: z", "2 passed   2 failed   0 skipped"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "chatter") {
		t.Errorf("the output of a passing test is shown:\n%s", text)
	}
	if kept, err := os.ReadFile(record); err != nil || string(kept) != input {
		t.Errorf("the record differs from the stream: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"count"}, {"sum"}, {"sum", "-check", "lint", "x"}} {
		if err := run(args, nil, &bytes.Buffer{}); !errors.Is(err, errUsage) {
			t.Errorf("%q: got %v", args, err)
		}
	}
}
