package example

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// copyExample copies an example below scratch and gives the copy's folder. It lies as deep as in the
// repository, with a copy of modules/ where an example expects it: source = "../../modules/network" works.
func copyExample(folder, scratch string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	repository, inside := splitAtExamples(folder)
	target := filepath.Join(scratch, inside)
	if err := copyTree(folder, target); err != nil {
		return "", fmt.Errorf("unable to copy the example: %w", err)
	}
	if repository == "" {
		return target, nil
	}
	modules := filepath.Join(repository, "modules")
	if _, err := os.Stat(modules); err == nil {
		if err := copyTree(modules, filepath.Join(scratch, "modules")); err != nil {
			return "", fmt.Errorf("unable to copy the modules: %w", err)
		}
	}
	return target, nil
}

// splitAtExamples splits …/examples/a/b into the folder that holds examples and examples/a/b. An example
// that lies elsewhere has no repository.
func splitAtExamples(folder string) (repository, inside string) {
	for at := folder; at != filepath.Dir(at); at = filepath.Dir(at) {
		if filepath.Base(at) == "examples" {
			repository = filepath.Dir(at)
			inside, _ = filepath.Rel(repository, folder)
			return repository, inside
		}
	}
	return "", filepath.Base(folder)
}

// copyTree copies files and folders, but not what Terraform left from working in there.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch name := entry.Name(); {
		case entry.IsDir() && name == ".terraform":
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o700)
		case strings.HasPrefix(name, "terraform.tfstate"), name == ".terraform.lock.hcl":
			return nil
		}
		// Stat, not the entry: a linked file is copied as what it links to.
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, info.Mode().Perm())
	})
}
