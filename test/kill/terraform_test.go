//go:build unix

package kill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// applyTime bounds one command of Terraform, graceTime what it has to end in after an interrupt.
	applyTime = 4 * time.Minute
	graceTime = 30 * time.Second
	stateFile = "terraform.tfstate"
	// planHasChanges is the exit status of plan -detailed-exitcode when something would change.
	planHasChanges = 2
)

// workspace is a folder in which Terraform works with a provider of its own: a copy of the binary,
// so that its processes are told from everybody else's.
type workspace struct {
	t        *testing.T
	path     string
	provider string
	dir      string
	env      []string
}

func newWorkspace(t *testing.T, binary, config string) *workspace {
	t.Helper()
	terraform := os.Getenv("TF_ACC_TERRAFORM_PATH")
	if terraform == "" {
		terraform = "terraform"
	}
	terraform, err := exec.LookPath(terraform)
	if err != nil {
		t.Fatalf("unable to find Terraform: %v", err)
	}
	w := &workspace{t: t, path: terraform, dir: t.TempDir()}
	override := filepath.Join(w.dir, "provider")
	w.provider = filepath.Join(override, "terraform-provider-fabric")
	content, err := os.ReadFile(binary)
	must(t, err)
	must(t, os.Mkdir(override, 0o700))
	must(t, os.WriteFile(w.provider, content, 0o700))
	must(t, os.WriteFile(filepath.Join(w.dir, "main.tf"), []byte(config), 0o600))
	settings := filepath.Join(w.dir, "dev.tfrc")
	must(t, os.WriteFile(settings, fmt.Appendf(nil, "provider_installation {\n  dev_overrides {\n    \"fabricops/fabric\" = %q\n  }\n  direct {}\n}\n", override), 0o600))
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TF_") {
			w.env = append(w.env, entry)
		}
	}
	w.env = append(w.env, "TF_CLI_CONFIG_FILE="+settings, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run is one command of Terraform, under way or ended.
type run struct {
	command *exec.Cmd
	output  buffer
	ended   chan struct{}
	err     error
	begun   time.Time
	took    time.Duration
}

// buffer is written by the process while the test reads it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start begins a command. In a process group of its own it gets the signals that the test sends, and
// none from the terminal.
func (w *workspace) start(arguments ...string) *run {
	w.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(w.t.Context()), applyTime, fmt.Errorf("no end after %s", applyTime))
	r := &run{command: exec.CommandContext(ctx, w.path, append(arguments, "-no-color")...), ended: make(chan struct{}), begun: time.Now()}
	r.command.Dir, r.command.Env = w.dir, w.env
	r.command.Stdout, r.command.Stderr = &r.output, &r.output
	r.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.command.Cancel = func() error { return r.command.Process.Signal(os.Interrupt) }
	r.command.WaitDelay = graceTime
	must(w.t, r.command.Start())
	go func() {
		defer close(r.ended)
		defer cancel()
		r.err = r.command.Wait()
		r.took = time.Since(r.begun)
		if cause := context.Cause(ctx); cause != nil {
			r.err = errors.Join(r.err, cause)
		}
	}()
	return r
}

// wait waits for the end and gives the exit status, which is -1 after a signal.
func (r *run) wait() int {
	<-r.ended
	return r.command.ProcessState.ExitCode()
}

// over tells whether the command has ended.
func (r *run) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// tail is the end of the output.
func (r *run) tail() string {
	text := strings.TrimSpace(r.output.String())
	if _, after, planned := strings.Cut(text, "\nPlan: "); planned { // what comes of it tells more than the plan itself
		text = "Plan: " + after
	}
	if len(text) > 5000 {
		text = "…" + text[len(text)-5000:]
	}
	return text
}

// apply applies the configuration, with variables as NAME=VALUE.
func (w *workspace) apply(variables ...string) *run {
	w.t.Helper()
	r := w.start(apply(variables...)...)
	r.wait()
	return r
}

func apply(variables ...string) []string {
	arguments := []string{"apply", "-auto-approve", "-input=false"}
	for _, v := range variables {
		arguments = append(arguments, "-var", v)
	}
	return arguments
}

// mustRun runs a command that has to succeed.
func (w *workspace) mustRun(arguments ...string) *run {
	w.t.Helper()
	r := w.start(arguments...)
	if status := r.wait(); status != 0 {
		w.t.Fatalf("terraform %s ended with %d (%v):\n%s", arguments[0], status, r.err, r.tail())
	}
	return r
}

// unchanged checks that a plan is empty.
func (w *workspace) unchanged(variables ...string) {
	w.t.Helper()
	w.mustBeEmpty(w.plan(variables...))
}

// plan begins a plan.
func (w *workspace) plan(variables ...string) *run {
	w.t.Helper()
	arguments := []string{"plan", "-detailed-exitcode", "-input=false"}
	for _, v := range variables {
		arguments = append(arguments, "-var", v)
	}
	return w.start(arguments...)
}

// mustBeEmpty checks that a plan which was begun is empty.
func (w *workspace) mustBeEmpty(r *run) {
	w.t.Helper()
	switch status := r.wait(); status {
	case 0:
	case planHasChanges:
		w.t.Errorf("the plan is not empty:\n%s", r.tail())
	default:
		w.t.Fatalf("terraform plan ended with %d (%v):\n%s", status, r.err, r.tail())
	}
}

// value gives an output of the configuration, as the state has it.
func (w *workspace) value(name string) string {
	w.t.Helper()
	state, err := w.state()
	must(w.t, err)
	return fmt.Sprint(state.Outputs[name].Value)
}

// state reads the state file. An absent or empty one is an empty state; an error tells that it is
// half-written.
func (w *workspace) state() (stateContent, error) {
	var s stateContent
	content, err := os.ReadFile(filepath.Join(w.dir, stateFile))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(bytes.TrimSpace(content)) == 0 {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(content, &s)
}

type stateContent struct {
	Outputs   map[string]struct{ Value any }
	Resources []struct {
		Mode, Type, Name string
		Instances        []struct {
			Status     string
			Attributes struct {
				Handle *struct{ Kind, Name string }
				Nodes  map[string]any
			}
		}
	}
}

// has tells whether a resource of the type is in the state.
func (s stateContent) has(kind string) bool {
	for _, r := range s.Resources {
		if r.Mode == "managed" && r.Type == kind && len(r.Instances) > 0 {
			return true
		}
	}
	return false
}

// tainted gives the names of what Terraform will make anew.
func (s stateContent) tainted() map[string]bool {
	names := map[string]bool{}
	for _, r := range s.Resources {
		for _, i := range r.Instances {
			if i.Status != "tainted" || i.Attributes.Handle == nil {
				continue
			}
			names[i.Attributes.Handle.Name] = true
			for node := range i.Attributes.Nodes {
				names[node] = true
			}
		}
	}
	return names
}

// loseState leaves the state as a machine that lost its power may have left it: Terraform rewrites
// its file in place.
func (w *workspace) loseState() {
	w.t.Helper()
	must(w.t, os.WriteFile(filepath.Join(w.dir, stateFile), nil, 0o600))
	must(w.t, os.RemoveAll(filepath.Join(w.dir, stateFile+".backup")))
}

// providers gives the processes of this workspace's provider. Only they run its copy of the binary.
func (w *workspace) providers() []int {
	w.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Skipf("the processes of this machine cannot be listed: %v", err)
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// A process that ends meanwhile is no error.
		if program, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && program == w.provider {
			found = append(found, pid)
		}
	}
	return found
}

// killProviders kills the provider; false when Terraform ended before there was one to kill.
func (w *workspace) killProviders(r *run) bool {
	w.t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		if pids := w.providers(); len(pids) > 0 {
			for _, pid := range pids {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					w.t.Fatalf("unable to kill process %d: %v", pid, err)
				}
			}
			return true
		}
		select {
		case <-r.ended:
			return false
		case <-look.C:
		}
	}
}

// awaitNoProvider waits until no process of the provider is left, and kills those that stay.
func (w *workspace) awaitNoProvider(limit time.Duration) {
	w.t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	begun := time.Now()
	for {
		pids := w.providers()
		if len(pids) == 0 {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			w.t.Errorf("the provider still runs %s after Terraform ended: processes %v", time.Since(begun).Round(time.Second), pids)
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by now
			}
			return
		}
	}
}
