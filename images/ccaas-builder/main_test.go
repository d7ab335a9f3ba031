package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The test binary is the builder when this variable is set, so that the tests
// can start it as the peer does: by path, under each of its names.
const beBuilder = "BE_CCAAS_BUILDER"

func TestMain(m *testing.M) {
	if os.Getenv(beBuilder) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestAsThePeerCallsIt goes the peer's way: links with the three names, its
// scratch folders, only the propagated environment.
func TestAsThePeerCallsIt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{"detect", "build", "release"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	call := func(name string, args ...string) (stderr string, err error) {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Env = []string{beBuilder + "=1", configEnv + `={"peername":"peer0-org1"}`}
		var out bytes.Buffer
		cmd.Stderr = &out
		err = cmd.Run()
		return out.String(), err
	}
	const index = "META-INF/statedb/couchdb/indexes/owner.json"
	source, metadata, output, releaseDir := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(metadata, "metadata.json"), `{"type":"ccaas","label":"kv_1"}`)
	makeFile(t, filepath.Join(source, "connection.json"),
		`{"address":"kv.{{.peername}}:9999","dial_timeout":"10s","tls_required":false}`)
	makeFile(t, filepath.Join(source, index), `{"index":{"fields":["owner"]}}`)

	for _, step := range [][]string{
		{"detect", source, metadata},
		{"build", source, metadata, output},
		{"release", output, releaseDir},
	} {
		if stderr, err := call(step[0], step[1:]...); err != nil {
			t.Fatalf("%s: %v: %s", step[0], err, stderr)
		}
	}
	want := `{"address":"kv.peer0-org1:9999","dial_timeout":"10s","tls_required":false}`
	if got := fileText(t, filepath.Join(releaseDir, "chaincode/server/connection.json")); got != want {
		t.Errorf("connection.json released: %s, want %s", got, want)
	}
	if got := fileText(t, filepath.Join(releaseDir, "statedb/couchdb/indexes/owner.json")); got != `{"index":{"fields":["owner"]}}` {
		t.Errorf("index released: %s", got)
	}

	makeFile(t, filepath.Join(metadata, "metadata.json"), `{"type":"golang","label":"kv_1"}`)
	stderr, err := call("detect", source, metadata)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("detect of a golang package: %v, want exit status 1", err)
	}
	if want := "ccaas builder: package is for another builder: its type is \"golang\", not \"ccaas\"\n"; stderr != want {
		t.Errorf("detect of a golang package wrote %q, want %q", stderr, want)
	}
}

func TestRunRefusesWrongUsage(t *testing.T) {
	tests := map[string]struct {
		name string
		args []string
	}{
		"unknown name":        {"run", []string{"a", "b"}},
		"detect, too few":     {"detect", []string{"a"}},
		"build, too few":      {"build", []string{"a", "b"}},
		"release, too many":   {"release", []string{"a", "b", "c"}},
		"no arguments at all": {"detect", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := run(test.name, test.args, ""); !errors.Is(err, errUsage) {
				t.Errorf("got %v, want errUsage", err)
			}
		})
	}
}

func makeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
