package example

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An example of several states is a folder without a configuration of its own. Each of its sub-folders
// with one is a root: a configuration with a state that only its organization has. The course of things
// is in the names of the steps: steps/NN-ROOT.tfvars or steps/NN-ROOT-what.tfvars is applied in that
// root. What organizations hand each other passes as outputs: a root that declares a variable with the
// name of another root is given an object of all its outputs, as they are when its turn comes.

// A root with list blocks (*.tfquery.hcl) finds what the other roots made: terraform query writes its
// configuration, which has to import everything and to change nothing. It is not destroyed: what is in its
// state is in another one's too.

// ErrNoQuery: an example has list blocks, and this Terraform knows none.
var ErrNoQuery = errors.New("it lists what is on the engine, which Terraform can from 1.14 on, and OpenTofu cannot")

// Lists tells whether an example has list blocks, and so wants a Terraform that knows them.
func Lists(folder string) (bool, error) {
	here, err := lists(folder)
	if err != nil || here {
		return here, err
	}
	below, err := filepath.Glob(filepath.Join(folder, "*", "*"+listExtension))
	return len(below) > 0, err
}

const listExtension = ".tfquery.hcl"

// lists tells whether a root has list blocks.
func lists(dir string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+listExtension))
	return len(files) > 0, err
}

// root is one configuration with its state.
type root struct {
	// name is the folder below the example, empty for an example that has no roots below.
	name, dir string
	terraform *terraform
	// lists tells that it finds what others made.
	lists bool
	// step is the file of the step that was applied last, empty for none.
	step string
}

// turn is one apply: of a root, with a step or, when that is empty, with the defaults of its variables.
type turn struct{ root, step string }

// of names the turn in what is logged.
func (t turn) of() string {
	if t.step == "" {
		return ""
	}
	return " of " + stepName(t.step)
}

// turns gives the course of an example, steps with their file names. They are all of one root, named by
// the empty string, unless the example has several states.
func turns(folder string) ([]turn, error) {
	steps, err := filepath.Glob(filepath.Join(folder, "steps", "*.tfvars"))
	if err != nil {
		return nil, err
	}
	slices.Sort(steps)
	roots, err := rootsBelow(folder)
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		all := []turn{{}}
		for _, step := range steps {
			all = append(all, turn{step: step})
		}
		return all, nil
	}
	var all []turn
	for _, step := range steps {
		_, name, _ := strings.Cut(stepName(step), "-")
		at := slices.IndexFunc(roots, func(r string) bool { return name == r || strings.HasPrefix(name, r+"-") })
		if at < 0 {
			return nil, fmt.Errorf("the step %s names none of the roots %s: its name must be NN-ROOT or NN-ROOT-what", filepath.Base(step), strings.Join(roots, ", "))
		}
		all = append(all, turn{root: roots[at], step: step})
	}
	return all, nil
}

// rootsBelow gives the roots of an example of several states, the longest names first; none for any
// other folder.
func rootsBelow(folder string) ([]string, error) {
	own, err := filepath.Glob(filepath.Join(folder, "*.tf"))
	if err != nil || len(own) > 0 {
		return nil, err
	}
	if steps, err := filepath.Glob(filepath.Join(folder, "steps", "*.tfvars")); err != nil || len(steps) == 0 {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.tf"))
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, file := range files {
		roots = append(roots, filepath.Base(filepath.Dir(file)))
	}
	slices.SortFunc(roots, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(roots), nil
}

// declares tells whether a configuration has a variable of that name.
func declares(dir, variable string) (bool, error) {
	pattern := regexp.MustCompile(`(?m)^\s*variable\s+"` + regexp.QuoteMeta(variable) + `"`)
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		return false, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if pattern.Match(content) {
			return true, nil
		}
	}
	return false, nil
}

// handOver writes what terraform output -json printed of one root where Terraform finds it as a variable
// of another.
func handOver(outputs []byte, from, dir string) error {
	var read map[string]struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(outputs, &read); err != nil {
		return fmt.Errorf("unable to read the outputs of %s: %w", from, err)
	}
	values := map[string]json.RawMessage{}
	for name, output := range read {
		values[name] = output.Value
	}
	content, err := json.Marshal(map[string]any{from: values})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, from+".auto.tfvars.json"), content, 0o600); err != nil {
		return fmt.Errorf("unable to hand over the outputs of %s: %w", from, err)
	}
	return nil
}
