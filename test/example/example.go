// Package example applies a folder of examples/ for real and holds it to what every example promises:
// a plan after apply is empty, every change in steps/ applies and leaves an empty plan too, no private
// key shows up in state, plans or logs, and destroy leaves nothing on the engine.
//
// An example is a folder of Terraform files. Where it has steps/NN-name.tfvars, each file is a change
// of the network that runs by then: it holds the whole difference from the variables' defaults, so a
// later step that leaves something out takes it back. An example of several states has a folder for each
// (course.go).
package example

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/test/example/leftover"
)

// cleanUpTimeout bounds destroy and the removal of what it left, also when the run itself was called off.
const cleanUpTimeout = 10 * time.Minute

// Options say what is applied and how.
type Options struct {
	// Folder is the example's folder. It is only read: everything happens in a copy.
	Folder string
	// Binary is the provider, TerraformPath the terraform or tofu that runs it.
	Binary, TerraformPath string
	// Vars are the values of the example's variables, in Terraform's syntax. Steps go before them.
	Vars map[string]string
	// Env are further environment variables for Terraform, as KEY=value.
	Env []string
	// Secrets gives further strings that must not be found in state, plans and logs. It is called
	// after each apply with the folder of the copy; it may be nil.
	Secrets func(ctx context.Context, dir string) ([]string, error)
	// After is called when the example is applied, before its steps, with the folder of the copy.
	After func(ctx context.Context, dir string) error
	// Before is called when all steps are applied, before destroy.
	Before func(ctx context.Context) error
	// Log receives what Terraform prints and how long each step takes; nil is nowhere.
	Log io.Writer
	// Trace makes Terraform and the provider write their TRACE log, which is searched for private keys.
	Trace bool
	// Shared says that others work on the same engine at the same time. Only what carries the owner_id
	// of a network of this example is then taken for left behind.
	Shared bool
	// KeepOnFailure leaves the network and the copy as they are after a failure, to be looked at.
	KeepOnFailure bool
	// Engine is the engine to look for leftovers on; nil is the one that DOCKER_HOST names, or the local one.
	Engine leftover.Engine
}

// StepError says which step of a run failed.
type StepError struct {
	// Example is the example's name, Step what was done: "apply", "plan after apply", "apply of 01-more-peers", …
	Example, Step string
	Cause         error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("example %s: %s failed: %v", e.Example, e.Step, e.Cause)
}

func (e *StepError) Unwrap() error { return e.Cause }

// ErrNotEmpty: a plan would change something right after an apply.
var ErrNotEmpty = errors.New("the plan is not empty")

// Run applies an example, checks it, applies its steps, destroys it and checks that nothing is left.
// It destroys after a failure too, unless it was told to keep everything. Errors are *StepError, or
// several of them joined.
func Run(ctx context.Context, options Options) (failure error) {
	if options.Log == nil {
		options.Log = io.Discard
	}
	r := &run{options: options, name: filepath.Base(options.Folder), owners: map[string]bool{}, networks: map[string]bool{}}
	if err := r.prepare(ctx); err != nil {
		return r.failed("preparation", errors.Join(err, r.removeScratch()))
	}
	defer func() {
		if failure != nil && options.KeepOnFailure {
			fmt.Fprintf(options.Log, "Everything stays as it is. To go on by hand:\n  cd %s\n  export TF_CLI_CONFIG_FILE=%s\n", r.dir, r.cliConfig)
			return
		}
		failure = errors.Join(failure, r.cleanUp(ctx), r.removeScratch())
	}()
	return r.everything(ctx)
}

// run is one run of an example.
type run struct {
	options Options
	name    string
	// scratch is the folder of everything, dir the example's copy in it.
	scratch, dir string
	// cliConfig is Terraform's configuration for all roots.
	cliConfig string
	engine    leftover.Engine
	before    leftover.Picture
	// turns are what is applied, in order; roots are those whose turn has come, in the order of their first.
	turns []turn
	roots []*root
	// owners and networks are the owner_id and the names of the networks that were in state.
	owners, networks map[string]bool
}

func (r *run) failed(step string, cause error) error {
	return &StepError{Example: r.name, Step: step, Cause: cause}
}

func (r *run) prepare(ctx context.Context) error {
	info, err := os.Stat(r.options.Folder)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("there is no example in %q", r.options.Folder)
	}
	if r.engine = r.options.Engine; r.engine == nil {
		docker, err := client.New(client.FromEnv)
		if err != nil {
			return fmt.Errorf("unable to make a client for the engine: %w", err)
		}
		r.engine = docker
	}
	if r.before, err = leftover.Take(ctx, r.engine); err != nil {
		return err
	}
	if r.scratch, err = os.MkdirTemp("", "example-"); err != nil {
		return fmt.Errorf("unable to make a scratch folder: %w", err)
	}
	if r.dir, err = copyExample(r.options.Folder, r.scratch); err != nil {
		return err
	}
	if r.cliConfig, err = writeCLIConfig(r.options.Binary, r.scratch); err != nil {
		return err
	}
	if r.turns, err = turns(r.dir); err != nil {
		return err
	}
	if wanted, err := Lists(r.dir); err != nil || !wanted {
		return err
	}
	return knowsQuery(ctx, r.options.TerraformPath)
}

// setupFile of an example makes and removes what the example finds: setup up FOLDER, setup down FOLDER.
const setupFile = "setup"

// setUp has an example's setup make what the example finds, or remove it; an example without one finds nothing.
func (r *run) setUp(ctx context.Context, what string) error {
	file, err := filepath.Abs(filepath.Join(r.options.Folder, setupFile))
	if err != nil {
		return err
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return r.timed("setup "+what, func() error {
		command := exec.CommandContext(ctx, file, what, filepath.Join(r.dir, "foreign"))
		command.Stdout, command.Stderr = r.options.Log, r.options.Log
		if err := command.Run(); err != nil {
			return r.failed("setup "+what, err)
		}
		return nil
	})
}

func (r *run) everything(ctx context.Context) (failure error) {
	if err := r.setUp(ctx, "up"); err != nil {
		return err
	}
	endClient := func() error { return nil }
	defer func() {
		if err := endClient(); err != nil {
			failure = errors.Join(failure, r.failed("client", err))
		}
	}()
	for i, t := range r.turns {
		current, err := r.turn(ctx, t)
		if err != nil {
			return r.failed("get"+t.of(), err)
		}
		if err := r.apply(ctx, current, t.of()); err != nil {
			return err
		}
		if i == 0 {
			end, err := r.startClient(ctx, current)
			if err != nil {
				return r.failed("client", err)
			}
			endClient = end
		}
		if i == 0 && r.options.After != nil {
			if err := r.timed("check", func() error { return r.options.After(ctx, r.dir) }); err != nil {
				return r.failed("check", err)
			}
		}
	}
	if r.options.Before != nil {
		if err := r.timed("last check", func() error { return r.options.Before(ctx) }); err != nil {
			return r.failed("last check", err)
		}
	}
	if len(r.roots) < 2 {
		return nil
	}
	// What one organization did must not have changed what another one's state wants.
	for _, current := range r.roots {
		if err := r.plan(ctx, current, "last plan of "+current.name); err != nil {
			return err
		}
	}
	return nil
}

// turn makes a root ready for its turn: with its step, and with what the others hand it.
func (r *run) turn(ctx context.Context, t turn) (*root, error) {
	at := slices.IndexFunc(r.roots, func(other *root) bool { return other.name == t.root })
	if at < 0 {
		added := &root{name: t.root, dir: filepath.Join(r.dir, t.root)}
		var err error
		if added.lists, err = lists(added.dir); err != nil {
			return nil, err
		}
		if added.terraform, err = newTerraform(r.options, r.cliConfig, r.scratch, added); err != nil {
			return nil, err
		}
		// With a development override there is no provider to install: modules are all that init would fetch.
		if _, err := added.terraform.run(ctx, "get"); err != nil {
			return nil, err
		}
		at, r.roots = len(r.roots), append(r.roots, added)
	}
	current := r.roots[at]
	first := current.step == ""
	current.step = t.step
	for _, other := range r.roots {
		wants, err := declares(current.dir, other.name)
		if err != nil {
			return nil, err
		}
		if other == current || !wants {
			continue
		}
		outputs, err := other.terraform.capture(ctx, "output", "-json")
		if err != nil {
			return nil, err
		}
		if err := handOver(outputs, other.name, current.dir); err != nil {
			return nil, err
		}
	}
	if current.lists && first {
		return current, r.timed("query"+t.of(), func() error { return r.query(ctx, current) })
	}
	return current, nil
}

// query has Terraform write the configuration of what it finds, and checks that it imports all of it as it is.
func (r *run) query(ctx context.Context, current *root) error {
	if _, err := current.terraform.run(ctx, append([]string{"query", "-generate-config-out=" + foundFile}, r.variables(current)...)...); err != nil {
		return err
	}
	if _, err := current.terraform.run(ctx, append([]string{"plan", "-input=false", "-out=" + planFile}, r.variables(current)...)...); err != nil {
		return err
	}
	planned, err := current.terraform.capture(ctx, "show", "-json", planFile)
	if err != nil {
		return err
	}
	return onlyImports(planned)
}

// stepName is the name of a step's file without folder and extension.
func stepName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
}

// variables are the arguments that give variables their values; the later one counts.
func (r *run) variables(of *root) []string {
	var arguments []string
	for _, name := range sortedKeys(r.options.Vars) {
		arguments = append(arguments, "-var", name+"="+r.options.Vars[name])
	}
	if of.step != "" {
		arguments = append(arguments, "-var-file", of.step)
	}
	return arguments
}

// apply applies a root as its current step has it, and checks it.
func (r *run) apply(ctx context.Context, current *root, of string) error {
	applied := r.timed("apply"+of, func() error {
		_, err := current.terraform.run(ctx, append([]string{"apply", "-auto-approve", "-input=false"}, r.variables(current)...)...)
		return err
	})
	// A failed apply leaves a network as well: destroying it needs to be checked too.
	learned := r.learnNetworks(ctx, current)
	if applied != nil {
		return r.failed("apply"+of, applied)
	}
	if learned != nil {
		return r.failed("show after apply"+of, learned)
	}
	planned := r.plan(ctx, current, "plan after apply"+of)
	// Who holds up a key also wants to know it when the plan is not empty.
	exposed := r.searchSecrets(ctx, current)
	if exposed != nil {
		exposed = r.failed("search for secrets after apply"+of, exposed)
	}
	return errors.Join(planned, exposed)
}

// plan checks that a root has nothing to do.
func (r *run) plan(ctx context.Context, current *root, what string) error {
	err := r.timed(what, func() error {
		status, err := current.terraform.run(ctx, append([]string{"plan", "-detailed-exitcode", "-input=false", "-out=" + planFile}, r.variables(current)...)...)
		if status == planHasChanges {
			return fmt.Errorf("%w: %w", ErrNotEmpty, err)
		}
		return err
	})
	if err != nil {
		return r.failed(what, err)
	}
	return nil
}

// learnNetworks notes the networks that are in state.
func (r *run) learnNetworks(ctx context.Context, current *root) error {
	found, err := current.terraform.networks(ctx)
	for _, network := range found {
		if network.owner != "" {
			r.owners[network.owner] = true
		}
		if network.name != "" {
			r.networks[network.name] = true
		}
	}
	return err
}

// searchSecrets looks through everything that Terraform wrote.
func (r *run) searchSecrets(ctx context.Context, current *root) error {
	files, err := filepath.Glob(filepath.Join(current.dir, "*.auto.tfvars.json")) // what was handed over
	if err != nil {
		return err
	}
	files = append(files, filepath.Join(current.dir, "terraform.tfstate"), filepath.Join(current.dir, "terraform.tfstate.backup"))
	if _, err := os.Stat(filepath.Join(current.dir, planFile)); err == nil {
		plan, err := current.terraform.showPlan(ctx)
		if err != nil {
			return err
		}
		files = append(files, plan)
	}
	if r.options.Trace {
		files = append(files, current.terraform.traceLog)
	}
	var literals []string
	if r.options.Secrets != nil {
		var err error
		if literals, err = r.options.Secrets(ctx, r.dir); err != nil {
			return fmt.Errorf("unable to learn what is secret: %w", err)
		}
	}
	return searchFiles(files, literals)
}

// cleanUp destroys the example and checks that nothing is left. What is left of its networks, it removes,
// so that one failure does not make the next runs fail.
func (r *run) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	var failed []error
	for _, current := range slices.Backward(r.roots) {
		if current.lists {
			continue
		}
		failed = append(failed, r.destroy(ctx, current))
	}
	failed = append(failed, r.setUp(ctx, "down"))
	return errors.Join(append(failed, r.checkLeftovers(ctx))...)
}

func (r *run) destroy(ctx context.Context, current *root) error {
	what := "destroy"
	if current.name != "" {
		what += " of " + current.name
	}
	destroyed := r.timed(what, func() error {
		_, err := current.terraform.run(ctx, append([]string{"destroy", "-auto-approve", "-input=false"}, r.variables(current)...)...)
		return err
	})
	if destroyed != nil {
		destroyed = r.failed(what, destroyed)
	}
	var exposed error
	if r.options.Trace {
		if err := searchFiles([]string{current.terraform.traceLog}, nil); err != nil {
			exposed = r.failed("search for secrets after destroy", err)
		}
	}
	return errors.Join(destroyed, exposed)
}

func (r *run) checkLeftovers(ctx context.Context) error {
	after, err := leftover.Take(ctx, r.engine)
	if err != nil {
		return r.failed("search for leftovers", err)
	}
	left := after.Since(r.before).Objects(r.left)
	if len(left) == 0 {
		return nil
	}
	var words []string
	for _, object := range left {
		words = append(words, "  "+object.String())
	}
	// What does not carry our network's owner_id may be somebody else's: it is told, not removed.
	own := slices.DeleteFunc(left, func(o leftover.Object) bool { return !r.owners[o.Owner()] })
	return errors.Join(
		r.failed("destroy", fmt.Errorf("left on the engine:\n%s", strings.Join(words, "\n"))),
		leftover.Remove(ctx, r.engine, own),
	)
}

// left tells whether a new object of the engine should be gone.
func (r *run) left(object leftover.Object) bool {
	if r.owners[object.Owner()] {
		return true
	}
	if r.options.Shared {
		return false
	}
	return object.Ours() || object.Anonymous() && !object.Used || r.namedAfterNetwork(object.Name)
}

func (r *run) namedAfterNetwork(name string) bool {
	for network := range r.networks {
		if rest, found := strings.CutPrefix(name, network); found && (rest == "" || strings.ContainsRune("-_.", rune(rest[0]))) {
			return true
		}
	}
	return false
}

// timed says how long something took.
func (r *run) timed(what string, do func() error) error {
	fmt.Fprintf(r.options.Log, "\n=== %s: %s\n", r.name, what)
	begin := time.Now()
	err := do()
	fmt.Fprintf(r.options.Log, "=== %s: %s took %.1f s\n", r.name, what, time.Since(begin).Seconds())
	return err
}

func (r *run) removeScratch() error {
	if r.scratch == "" {
		return nil
	}
	return os.RemoveAll(r.scratch)
}
