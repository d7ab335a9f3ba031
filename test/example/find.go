package example

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// sourceOfOurs is how a configuration requires this provider.
var sourceOfOurs = regexp.MustCompile(`source\s*=\s*"(?:registry\.[a-z.]+/)?` + regexp.QuoteMeta(providerSource) + `"`)

// Find gives the examples below a folder, named relative to it: every folder with a configuration that
// requires this provider is one, however deep it lies, and so is a folder whose steps take turns among
// such configurations. Folders whose Terraform files require no provider cannot be applied; they are
// fragments.
func Find(folder string) (examples, fragments []string, err error) {
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return nil
		}
		if entry.Name() == ".terraform" {
			return filepath.SkipDir
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if roots, err := rootsBelow(path); err != nil {
			return err
		} else if len(roots) > 0 {
			examples = append(examples, name)
			return filepath.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(path, "*.tf"))
		if err != nil || len(files) == 0 {
			return err
		}
		complete, err := requiresProvider(files)
		if err != nil {
			return err
		}
		if complete {
			examples = append(examples, name)
		} else {
			fragments = append(fragments, name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("unable to look for examples: %w", err)
	}
	slices.Sort(examples)
	slices.Sort(fragments)
	return examples, fragments, nil
}

func requiresProvider(files []string) (bool, error) {
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		if sourceOfOurs.Match(content) {
			return true, nil
		}
	}
	return false, nil
}
