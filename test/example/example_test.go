package example

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// fakeTerraform stands in for Terraform: it writes down how it is called, keeps a state of one network
// with one volume, and does what the variables of its environment say.
const fakeTerraform = `#!/usr/bin/env bash
set -eu
echo "$*" >>"$FAKE_LOG"
case $1 in
get) ;;
apply)
  echo "Apply of $(cat main.tf)"
  if [[ -n ${FAKE_APPLY_WAITS:-} ]]; then
    trap 'echo interrupted >>"$FAKE_LOG"; exit 1' INT
    touch "$FAKE_APPLY_WAITS"
    while :; do read -rt 0.05 <> <(:) || true; done
  fi
  echo "${FAKE_STATE:-state}" >terraform.tfstate
  echo owner-1 >"$FAKE_ENGINE/dev-ledger"
  if [[ -n ${FAKE_APPLY_FAILS:-} ]]; then echo "Error: orderer0 did not start" >&2; exit 1; fi
  ;;
plan)
  echo "Plan of it"
  touch check.tfplan
  exit "${FAKE_PLAN:-0}"
  ;;
show)
  if [[ ${3:-} == check.tfplan ]]; then
    echo "${FAKE_PLAN_JSON:-plan}"
  elif [[ -e terraform.tfstate ]]; then
    echo '{"values":{"root_module":{"child_modules":[{"resources":[{"mode":"managed","type":"fabric_network","values":{"name":"dev","owner_id":"owner-1"}}]}]}}}'
  else
    echo '{}'
  fi
  ;;
output)
  cat outputs.json
  ;;
destroy)
  [[ -z ${FAKE_TRACE:-} ]] || echo "$FAKE_TRACE" >>"$TF_LOG_PATH"
  rm -f terraform.tfstate
  [[ -n ${FAKE_LEAVES:-} ]] || rm -f "$FAKE_ENGINE/dev-ledger"
  ;;
esac
`

// folderEngine is an engine whose volumes are the files of a folder; a file holds the owner of its volume.
type folderEngine string

func (f folderEngine) ContainerList(context.Context, client.ContainerListOptions) (client.ContainerListResult, error) {
	return client.ContainerListResult{}, nil
}

func (f folderEngine) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{}, nil
}

func (f folderEngine) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return client.VolumeListResult{}, err
	}
	var result client.VolumeListResult
	for _, entry := range entries {
		owner, err := os.ReadFile(filepath.Join(string(f), entry.Name()))
		if err != nil {
			return result, err
		}
		v := volume.Volume{Name: entry.Name()}
		if len(owner) > 0 {
			v.Labels = map[string]string{"io.github.fabricops.owner_id": strings.TrimSpace(string(owner)), "io.github.fabricops.network": "dev"}
		}
		result.Items = append(result.Items, v)
	}
	return result, nil
}

func (f folderEngine) ContainerRemove(context.Context, string, client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	return client.ContainerRemoveResult{}, errors.New("there is no container")
}

func (f folderEngine) NetworkRemove(context.Context, string, client.NetworkRemoveOptions) (client.NetworkRemoveResult, error) {
	return client.NetworkRemoveResult{}, errors.New("there is no network")
}

func (f folderEngine) VolumeRemove(_ context.Context, name string, _ client.VolumeRemoveOptions) (client.VolumeRemoveResult, error) {
	return client.VolumeRemoveResult{}, os.Remove(filepath.Join(string(f), name))
}

// put places a volume on the engine; an empty owner is a foreign one.
func (f folderEngine) put(t *testing.T, name, owner string) {
	t.Helper()
	write(t, filepath.Join(string(f), name), owner)
}

func (f folderEngine) names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(string(f))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// scene is a repository with an example, a fake Terraform and a fake engine.
type scene struct {
	options Options
	engine  folderEngine
	calls   string
	scratch string
}

func newScene(t *testing.T, env ...string) *scene {
	t.Helper()
	home := t.TempDir()
	s := &scene{calls: filepath.Join(home, "calls"), engine: folderEngine(filepath.Join(home, "engine")), scratch: filepath.Join(home, "scratch")}
	for _, folder := range []string{string(s.engine), s.scratch} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("TMPDIR", s.scratch)
	example := filepath.Join(home, "repository", "examples", "quickstart")
	write(t, filepath.Join(example, "main.tf"), "the quickstart")
	write(t, filepath.Join(home, "terraform"), fakeTerraform)
	write(t, filepath.Join(home, "provider"), "")
	s.options = Options{
		Folder: example, Binary: filepath.Join(home, "provider"), TerraformPath: filepath.Join(home, "terraform"), Engine: s.engine,
		Env: append([]string{"FAKE_LOG=" + s.calls, "FAKE_ENGINE=" + string(s.engine)}, env...),
	}
	return s
}

// commands are the Terraform commands that were called, with their arguments but those that are always the same.
func (s *scene) commands(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(s.calls)
	if err != nil {
		t.Fatal(err)
	}
	always := strings.NewReplacer(" -auto-approve", "", " -input=false", "", " -no-color", "", " -detailed-exitcode", "", " -out=check.tfplan", "")
	var commands []string
	for line := range strings.Lines(string(content)) {
		line = always.Replace(strings.TrimSpace(line))
		if at := strings.Index(line, "/steps/"); at > 0 {
			line = line[:strings.LastIndex(line[:at], " ")+1] + line[at+1:]
		}
		commands = append(commands, line)
	}
	return commands
}

func (s *scene) wantNothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(s.scratch); err != nil || len(left) > 0 {
		t.Errorf("scratch folders are left: %v %v", left, err)
	}
	if left := s.engine.names(t); len(left) > 0 {
		t.Errorf("left on the engine: %q", left)
	}
}

func wantStep(t *testing.T, err error, step string) {
	t.Helper()
	failure, found := errors.AsType[*StepError](err)
	if !found || failure.Step != step || failure.Example != "quickstart" {
		t.Fatalf("got error %v, want one of step %q", err, step)
	}
}

func TestRunAppliesEveryStepInOrder(t *testing.T) {
	s := newScene(t)
	write(t, filepath.Join(s.options.Folder, "steps", "02-fewer.tfvars"), "size = 1")
	write(t, filepath.Join(s.options.Folder, "steps", "01-more.tfvars"), "size = 3")
	s.options.Vars = map[string]string{"name": "dev", "domain": "example.com"}
	var seen string
	s.options.After = func(_ context.Context, dir string) error {
		content, err := os.ReadFile(filepath.Join(dir, "main.tf"))
		seen = string(content)
		return err
	}
	if err := Run(t.Context(), s.options); err != nil {
		t.Fatal(err)
	}
	vars := " -var domain=example.com -var name=dev"
	want := []string{
		"get",
		"apply" + vars, "show -json", "plan" + vars, "show -json check.tfplan",
		"apply" + vars + " -var-file steps/01-more.tfvars", "show -json", "plan" + vars + " -var-file steps/01-more.tfvars", "show -json check.tfplan",
		"apply" + vars + " -var-file steps/02-fewer.tfvars", "show -json", "plan" + vars + " -var-file steps/02-fewer.tfvars", "show -json check.tfplan",
		"destroy" + vars + " -var-file steps/02-fewer.tfvars",
	}
	if got := s.commands(t); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if seen != "the quickstart" {
		t.Errorf("After saw %q in the copy", seen)
	}
	s.wantNothingLeft(t)
}

func TestRunFailures(t *testing.T) {
	cases := map[string]struct {
		env   []string
		trace bool
		step  string
		cause error
		text  []string
		// absent must not be in the error.
		absent string
	}{
		"apply fails": {
			env: []string{"FAKE_APPLY_FAILS=1"}, step: "apply",
			text: []string{"example quickstart: apply failed: terraform apply: exit status 1", "Error: orderer0 did not start"},
		},
		"the plan is not empty": {
			env: []string{"FAKE_PLAN=2"}, step: "plan after apply", cause: ErrNotEmpty, text: []string{"Plan of it"},
		},
		"the plan fails": {
			env: []string{"FAKE_PLAN=1"}, step: "plan after apply", text: []string{"terraform plan: exit status 1", "Plan of it"},
		},
		"a key in state": {
			env: []string{"FAKE_STATE=line one\n-----BEGIN EC PRIVATE KEY-----\ncGVla2Fib28="}, step: "search for secrets after apply", cause: ErrSecret,
			text: []string{"a private key in terraform.tfstate, line 2"}, absent: "cGVla2Fib28=",
		},
		"a key in the plan": {
			env: []string{`FAKE_PLAN_JSON={"key":"-----BEGIN PRIVATE KEY-----\ncGVla2Fib28="}`}, step: "search for secrets after apply", cause: ErrSecret,
			text: []string{"a private key in check.tfplan.json, line 1"}, absent: "cGVla2Fib28=",
		},
		"a key in the log, written while destroying": {
			env: []string{"FAKE_TRACE=-----BEGIN PRIVATE KEY-----cGVla2Fib28="}, trace: true, step: "search for secrets after destroy", cause: ErrSecret,
			text: []string{"a private key in trace.log, line 1"}, absent: "cGVla2Fib28=",
		},
		"destroy leaves a volume": {
			env: []string{"FAKE_LEAVES=1"}, step: "destroy", text: []string{"left on the engine", `volume dev-ledger (network "dev", owner owner-1)`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.env...)
			s.options.Trace = c.trace
			err := Run(t.Context(), s.options)
			wantStep(t, err, c.step)
			if c.cause != nil && !errors.Is(err, c.cause) {
				t.Errorf("error %v is not %v", err, c.cause)
			}
			for _, text := range c.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q is missing in: %v", text, err)
				}
			}
			if c.absent != "" && strings.Contains(err.Error(), c.absent) {
				t.Errorf("the error says what is secret: %v", err)
			}
			if last := s.commands(t); !strings.HasPrefix(last[len(last)-1], "destroy") {
				t.Errorf("the last command was %q", last[len(last)-1])
			}
			s.wantNothingLeft(t)
		})
	}
}

func TestRunSaysWhichStepFailed(t *testing.T) {
	s := newScene(t)
	write(t, filepath.Join(s.options.Folder, "steps", "01-more.tfvars"), "")
	s.options.Secrets = func(_ context.Context, dir string) ([]string, error) {
		if called := s.commands(t); len(called) < 8 {
			return nil, nil
		}
		return []string{"", "state"}, nil
	}
	err := Run(t.Context(), s.options)
	wantStep(t, err, "search for secrets after apply of 01-more")
	if !strings.Contains(err.Error(), "a secret value in terraform.tfstate, line 1") {
		t.Errorf("got %v", err)
	}
	s.wantNothingLeft(t)
}

func TestRunFailsWhenTheCheckFails(t *testing.T) {
	s := newScene(t)
	cause := errors.New("the ledger is empty")
	s.options.After = func(context.Context, string) error { return cause }
	err := Run(t.Context(), s.options)
	wantStep(t, err, "check")
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	s.wantNothingLeft(t)
}

func TestRunLeavesWhatIsNotItsOwn(t *testing.T) {
	s := newScene(t, "FAKE_LEAVES=1")
	s.engine.put(t, "other-ledger", "owner-2")
	s.engine.put(t, "dev-old", "owner-1")
	s.options.After = func(context.Context, string) error {
		s.engine.put(t, "dev_notes", "")
		s.engine.put(t, "development", "")
		s.engine.put(t, "new-ledger", "owner-3")
		return nil
	}
	err := Run(t.Context(), s.options)
	wantStep(t, err, "destroy")
	for _, text := range []string{"dev-ledger", "dev_notes", "new-ledger"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not told to be left: %v", text, err)
		}
	}
	for _, text := range []string{"other-ledger", "dev-old", "development"} {
		if strings.Contains(err.Error(), text) {
			t.Errorf("%q is told to be left: %v", text, err)
		}
	}
	// What may be somebody else's is told, but not taken away.
	if got, want := s.engine.names(t), []string{"dev-old", "dev_notes", "development", "new-ledger", "other-ledger"}; !slices.Equal(got, want) {
		t.Errorf("on the engine: %q, want %q", got, want)
	}
}

func TestRunOnASharedEngineLooksAtItsOwnNetworkOnly(t *testing.T) {
	s := newScene(t)
	s.options.Shared = true
	s.options.After = func(context.Context, string) error {
		s.engine.put(t, "new-ledger", "owner-3")
		s.engine.put(t, strings.Repeat("0", 64), "")
		return nil
	}
	if err := Run(t.Context(), s.options); err != nil {
		t.Error(err)
	}
	s.options.Env = append(s.options.Env, "FAKE_LEAVES=1")
	if err := Run(t.Context(), s.options); err == nil || !strings.Contains(err.Error(), "dev-ledger") {
		t.Errorf("got %v", err)
	}
}

func TestRunKeepsEverythingOnFailureWhenTold(t *testing.T) {
	s := newScene(t, "FAKE_PLAN=2")
	s.options.KeepOnFailure = true
	var log strings.Builder
	s.options.Log = &log
	wantStep(t, Run(t.Context(), s.options), "plan after apply")
	if last := s.commands(t); strings.HasPrefix(last[len(last)-1], "destroy") {
		t.Error("it was destroyed")
	}
	kept, err := filepath.Glob(filepath.Join(s.scratch, "example-*", "examples", "quickstart", "terraform.tfstate"))
	if err != nil || len(kept) != 1 || !strings.Contains(log.String(), filepath.Dir(kept[0])) {
		t.Errorf("kept %q (%v); it said:\n%s", kept, err, &log)
	}
}

func TestRunDestroysWhenCalledOff(t *testing.T) {
	waiting := filepath.Join(t.TempDir(), "waiting")
	s := newScene(t, "FAKE_APPLY_WAITS="+waiting)
	ctx, cancel := context.WithCancelCause(t.Context())
	calledOff := errors.New("called off")
	go func() {
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := os.Stat(waiting); err == nil || t.Context().Err() != nil {
				cancel(calledOff)
				return
			}
		}
	}()
	err := Run(ctx, s.options)
	wantStep(t, err, "apply")
	if !errors.Is(err, calledOff) {
		t.Errorf("got %v", err)
	}
	commands := s.commands(t)
	if !slices.Contains(commands, "interrupted") || commands[len(commands)-1] != "destroy" {
		t.Errorf("commands: %q", commands)
	}
	s.wantNothingLeft(t)
}

func TestRunRefusesWhatIsNotThere(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"example":   func(o *Options) { o.Folder += "x" },
		"provider":  func(o *Options) { o.Binary += "x" },
		"Terraform": func(o *Options) { o.TerraformPath += "x" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			change(&s.options)
			if _, prepared := errors.AsType[*StepError](Run(t.Context(), s.options)); !prepared {
				t.Error("no error")
			}
			s.wantNothingLeft(t)
		})
	}
}

func TestCopyExample(t *testing.T) {
	repository := t.TempDir()
	for _, file := range []string{
		"examples/a/b/main.tf", "examples/a/b/steps/01.tfvars", "examples/a/b/.terraform/modules/x", "examples/a/b/terraform.tfstate.backup",
		"examples/a/b/.terraform.lock.hcl", "examples/other/main.tf", "modules/network/main.tf",
	} {
		write(t, filepath.Join(repository, file), file)
	}
	scratch := t.TempDir()
	dir, err := copyExample(filepath.Join(repository, "examples", "a", "b"), scratch)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(scratch, "examples", "a", "b"); dir != want {
		t.Errorf("copied to %s, want %s", dir, want)
	}
	var copied []string
	err = filepath.WalkDir(scratch, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(scratch, path)
			copied = append(copied, relative)
		}
		return err
	})
	if want := []string{"examples/a/b/main.tf", "examples/a/b/steps/01.tfvars", "modules/network/main.tf"}; err != nil || !slices.Equal(copied, want) {
		t.Errorf("copied %q (%v), want %q", copied, err, want)
	}
}

func TestEnvironmentIsFreeOfTheCallersTerraformSettings(t *testing.T) {
	env := environment([]string{"HOME=/root", "TF_LOG=TRACE", "TF_VAR_name=x", "TF_CLI_CONFIG_FILE=/elsewhere", "DOCKER_HOST=unix:///x"}, "/scratch/dev.tfrc")
	want := []string{"HOME=/root", "DOCKER_HOST=unix:///x", "TF_CLI_CONFIG_FILE=/scratch/dev.tfrc", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1"}
	if !slices.Equal(env, want) {
		t.Errorf("got %q, want %q", env, want)
	}
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"short":              {[]string{"one\n", "two\n"}, "one\ntwo"},
		"cut":                {[]string{"first line\n", "second line\n", "third\n"}, "…\nthird"},
		"one write too long": {[]string{strings.Repeat("x", 50) + "\nlast\n"}, "…\nlast"},
	} {
		t.Run(name, func(t *testing.T) {
			end := &tail{limit: 16}
			for _, text := range c.writes {
				if n, err := end.Write([]byte(text)); n != len(text) || err != nil {
					t.Fatal(n, err)
				}
			}
			if got := end.String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
