package example

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// providerSource is the provider's address in configurations, providerBinary the name that Terraform looks for.
	providerSource = "fabricops/fabric"
	providerBinary = "terraform-provider-fabric"

	planFile = "check.tfplan"
	// planHasChanges is the exit status of plan -detailed-exitcode when something would change.
	planHasChanges = 2

	// graceTime is what Terraform has to end in after an interrupt, before it is killed.
	graceTime = 2 * time.Minute
	// tailBytes is how much of the end of Terraform's output an error carries.
	tailBytes = 6000
)

// terraform runs terraform or tofu in the copy of an example.
type terraform struct {
	path, dir string
	env       []string
	log       io.Writer
	traceLog  string
}

// writeCLIConfig writes the configuration that makes Terraform take the provider as it was built, and
// gives the file.
func writeCLIConfig(provider, scratch string) (string, error) {
	binary, err := filepath.Abs(provider)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("unable to find the provider: %w", err)
	}
	// Terraform looks for a file of this name in the override's folder, whatever the binary is called.
	override := filepath.Join(scratch, "provider")
	if err := os.Mkdir(override, 0o700); err != nil {
		return "", err
	}
	if err := os.Symlink(binary, filepath.Join(override, providerBinary)); err != nil {
		return "", err
	}
	config := fmt.Sprintf("disable_checkpoint = true\n\nprovider_installation {\n  dev_overrides {\n    %q = %s\n  }\n  direct {}\n}\n", providerSource, strconv.Quote(override))
	file := filepath.Join(scratch, "dev.tfrc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("unable to write Terraform's configuration: %w", err)
	}
	return file, nil
}

func newTerraform(options Options, cliConfig, scratch string, of *root) (*terraform, error) {
	path, err := exec.LookPath(options.TerraformPath)
	if err != nil {
		return nil, fmt.Errorf("unable to find Terraform: %w", err)
	}
	// It runs in another folder than ours.
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	t := &terraform{path: path, dir: of.dir, log: options.Log, traceLog: filepath.Join(scratch, strings.TrimPrefix(of.name+"-trace.log", "-"))}
	t.env = environment(os.Environ(), cliConfig)
	if options.Trace {
		t.env = append(t.env, "TF_LOG=TRACE", "TF_LOG_PATH="+t.traceLog)
	}
	t.env = append(t.env, options.Env...)
	return t, nil
}

// environment is the caller's, without what would make Terraform do something else than the example says.
func environment(inherited []string, cliConfig string) []string {
	env := slices.DeleteFunc(slices.Clone(inherited), func(entry string) bool { return strings.HasPrefix(entry, "TF_") })
	return append(env, "TF_CLI_CONFIG_FILE="+cliConfig, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1")
}

// run runs a Terraform command and gives its exit status. The error of a failed one ends with the last
// lines that it printed.
func (t *terraform) run(ctx context.Context, arguments ...string) (int, error) {
	end := &tail{limit: tailBytes}
	command := t.command(ctx, append(arguments, "-no-color")...)
	output := io.MultiWriter(t.log, end)
	command.Stdout, command.Stderr = output, output
	return status(ctx, command, "terraform "+arguments[0], end)
}

// capture runs a Terraform command and gives what it prints, which is not logged.
func (t *terraform) capture(ctx context.Context, arguments ...string) ([]byte, error) {
	var out bytes.Buffer
	end := &tail{limit: tailBytes}
	command := t.command(ctx, arguments...)
	command.Stdout, command.Stderr = &out, end
	_, err := status(ctx, command, "terraform "+arguments[0], end)
	return out.Bytes(), err
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

func status(ctx context.Context, command *exec.Cmd, what string, end *tail) (int, error) {
	err := command.Run()
	if err == nil {
		return 0, nil
	}
	code := -1
	if failure, exited := errors.AsType[*exec.ExitError](err); exited {
		code = failure.ExitCode()
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return code, fmt.Errorf("%s: %w\n%s", what, err, end)
}

// foundFile is where a query writes the configuration of what it finds.
const foundFile = "found.tf"

// knowsQuery fails with ErrNoQuery when a Terraform has no list resources.
func knowsQuery(ctx context.Context, path string) error {
	err := exec.CommandContext(ctx, path, "query", "-help").Run()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		return ErrNoQuery
	}
	return err
}

// onlyImports checks that a plan, as JSON, imports something and changes nothing.
func onlyImports(planned []byte) error {
	var plan struct {
		ResourceChanges []struct {
			Address string
			Change  struct {
				Actions   []string
				Importing *struct{}
			}
		} `json:"resource_changes"`
	}
	if err := json.Unmarshal(planned, &plan); err != nil {
		return fmt.Errorf("unable to read the plan: %w", err)
	}
	if len(plan.ResourceChanges) == 0 {
		return errors.New("nothing was found")
	}
	for _, r := range plan.ResourceChanges {
		if r.Change.Importing == nil || !slices.Equal(r.Change.Actions, []string{"no-op"}) {
			return fmt.Errorf("%w: %s is not only imported: %s", ErrNotEmpty, r.Address, strings.Join(r.Change.Actions, ", "))
		}
	}
	return nil
}

// showPlan writes the saved plan as JSON and gives the file's name.
func (t *terraform) showPlan(ctx context.Context) (string, error) {
	content, err := t.capture(ctx, "show", "-json", planFile)
	if err != nil {
		return "", err
	}
	file := filepath.Join(t.dir, planFile+".json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("unable to write the plan as JSON: %w", err)
	}
	return file, nil
}

// network is a fabric_network of a state.
type network struct{ owner, name string }

// networks gives the networks that are in state.
func (t *terraform) networks(ctx context.Context) ([]network, error) {
	content, err := t.capture(ctx, "show", "-json")
	if err != nil {
		return nil, err
	}
	return networksOf(content)
}

type stateModule struct {
	Resources []struct {
		Mode   string         `json:"mode"`
		Type   string         `json:"type"`
		Values map[string]any `json:"values"`
	} `json:"resources"`
	Children []stateModule `json:"child_modules"`
}

// networksOf reads the networks from what terraform show -json prints of a state.
func networksOf(content []byte) ([]network, error) {
	var state struct {
		Values struct {
			Root stateModule `json:"root_module"`
		} `json:"values"`
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return nil, fmt.Errorf("unable to read the state: %w", err)
	}
	var networks []network
	var visit func(stateModule)
	visit = func(module stateModule) {
		for _, resource := range module.Resources {
			if resource.Mode == "managed" && resource.Type == "fabric_network" {
				// A network whose creation failed may lack either.
				owner, _ := resource.Values["owner_id"].(string)
				name, _ := resource.Values["name"].(string)
				networks = append(networks, network{owner: owner, name: name})
			}
		}
		for _, child := range module.Children {
			visit(child)
		}
	}
	visit(state.Values.Root)
	return networks, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int
	text  []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - t.limit; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
		t.cut = true
	}
	return len(p), nil
}

// String is the kept text; where its beginning was cut off, it begins with a whole line.
func (t *tail) String() string {
	text := string(t.text)
	if t.cut {
		if _, whole, found := strings.Cut(text, "\n"); found {
			text = "…\n" + whole
		}
	}
	return strings.TrimRight(text, "\n")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
