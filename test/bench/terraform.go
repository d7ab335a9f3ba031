package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	providerSource = "fabricops/fabric"
	providerBinary = "terraform-provider-fabric"
	// graceTime is what Terraform has to end in after an interrupt, before it is killed.
	graceTime = 2 * time.Minute
)

// terraform runs Terraform in a scratch copy of the example, with a provider built for the purpose.
type terraform struct {
	path, version string
	// scratch holds everything: the copy, the provider, Terraform's configuration.
	scratch, dir, binary string
	binarySize           int64
	env, variables       []string
	log                  io.Writer
	verbose              bool
}

func newTerraform(ctx context.Context, s settings, name string, log io.Writer) (*terraform, error) {
	path, err := exec.LookPath(s.terraform)
	if err != nil {
		return nil, fmt.Errorf("unable to find Terraform: %w", err)
	}
	if path, err = filepath.Abs(path); err != nil { // it runs in another folder than ours
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, fmt.Errorf("unable to make a scratch folder: %w", err)
	}
	t := &terraform{
		path: path, scratch: scratch, dir: filepath.Join(scratch, "example"), log: log, verbose: s.verbose,
		variables: []string{"-var", "network=" + name, "-var", "fabric_version=" + s.fabricVersion},
	}
	if err := t.prepare(ctx, s); err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	return t, nil
}

func (t *terraform) prepare(ctx context.Context, s settings) error {
	if err := copyConfiguration(s.example, t.dir); err != nil {
		return err
	}
	if text := batchOverride(s); text != "" {
		if err := os.WriteFile(filepath.Join(t.dir, "bench_override.tf"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	t.binary = filepath.Join(t.scratch, "provider", providerBinary)
	if err := t.provide(ctx, s.provider); err != nil {
		return err
	}
	config := fmt.Sprintf("disable_checkpoint = true\n\nprovider_installation {\n  dev_overrides {\n    %q = %s\n  }\n  direct {}\n}\n",
		providerSource, strconv.Quote(filepath.Dir(t.binary)))
	file := filepath.Join(t.scratch, "dev.tfrc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("unable to write Terraform's configuration: %w", err)
	}
	inherited := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "TF_") })
	t.env = append(inherited, "TF_CLI_CONFIG_FILE="+file, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
	return t.readVersion(ctx)
}

// copyConfiguration copies the Terraform files of a folder, and nothing that Terraform left there.
func copyConfiguration(from, to string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.tf"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("there is no example in %q", from)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(file)), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// batchOverride gives the channel other batch settings than the example has; Terraform merges files
// of this kind into the configuration. It is empty when nothing was asked for.
func batchOverride(s settings) string {
	var lines []string
	if s.batch.Timeout > 0 {
		lines = append(lines, fmt.Sprintf("  batch_timeout = %q", s.batch.Timeout))
	}
	if s.batch.MaxMessageCount > 0 {
		lines = append(lines, fmt.Sprintf("  max_message_count = %d", s.batch.MaxMessageCount))
	}
	if len(lines) == 0 {
		return ""
	}
	return "resource \"fabric_channel\" \"trade\" {\n" + strings.Join(lines, "\n") + "\n}\n"
}

func (t *terraform) readVersion(ctx context.Context) error {
	command := t.command(ctx, "version", "-json")
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("unable to run Terraform: %w", err)
	}
	var v struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return fmt.Errorf("unable to read Terraform's version: %w", err)
	}
	t.version = v.Version
	return nil
}

// execution is one run of a Terraform command.
type execution struct {
	took time.Duration
	// events are what -json printed; empty for other runs.
	events []event
	// peak is the largest resident memory of a provider process in bytes, and processes how many
	// there were; zero where the system does not tell.
	peak      int64
	processes int
	began     time.Time
}

func (t *terraform) run(ctx context.Context, arguments ...string) (execution, error) {
	return t.runWith(ctx, nil, arguments...)
}

func (t *terraform) runWith(ctx context.Context, env []string, arguments ...string) (execution, error) {
	all := append(slices.Concat(arguments, []string{"-input=false", "-no-color"}), t.variables...)
	command := t.command(ctx, all...)
	command.Env = slices.Concat(t.env, env)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if t.verbose {
		command.Stdout = io.MultiWriter(&out, t.log)
		command.Stderr = command.Stdout
	}
	e := execution{began: time.Now()}
	err := command.Start()
	if err == nil {
		watch := watchProviders(command.Process.Pid)
		err = command.Wait()
		e.took = time.Since(e.began)
		e.peak, e.processes = watch.stop()
	}
	if slices.Contains(arguments, "-json") {
		e.events = parseEvents(out.Bytes())
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil { // what Terraform says of its interrupt is no news
			return e, fmt.Errorf("terraform %s: %w", arguments[0], cause)
		}
		return e, fmt.Errorf("terraform %s: %w\n%s", arguments[0], err, explain(e.events, out.Bytes()))
	}
	return e, nil
}

func (t *terraform) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, t.path, arguments...)
	command.Dir, command.Env = t.dir, t.env
	// An interrupt lets Terraform end what is under way and write its state. In a process group of its
	// own it gets ours only: a second one, from the terminal, would make it drop everything.
	ownProcessGroup(command)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = graceTime
	return command
}

// cleanUp destroys what the state holds.
func (t *terraform) cleanUp(ctx context.Context) error {
	state, err := os.ReadFile(filepath.Join(t.dir, "terraform.tfstate"))
	if err != nil {
		return nil //nolint:nilerr // no state, no network
	}
	var held struct{ Resources []json.RawMessage }
	if err := json.Unmarshal(state, &held); err == nil && len(held.Resources) == 0 {
		return nil
	}
	_, err = t.run(ctx, "destroy", "-auto-approve", "-json")
	return err
}

// explain gives what a failed command said: its diagnostics, or the end of its output.
func explain(events []event, output []byte) string {
	var words []string
	for _, e := range events {
		if e.Type == "diagnostic" && e.Diagnostic.Severity == "error" {
			words = append(words, e.Diagnostic.Summary+"\n"+e.Diagnostic.Detail)
		}
	}
	if len(words) > 0 {
		return strings.Join(words, "\n\n")
	}
	const most = 4000
	if len(output) > most {
		output = output[len(output)-most:]
	}
	return strings.TrimSpace(string(output))
}
