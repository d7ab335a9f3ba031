package provider

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// eraseKeys takes files out of a key volume, as somebody with access to the engine could.
func eraseKeys(t *testing.T, volume string, names ...string) {
	t.Helper()
	if err := keystore.OpenVolume(localEngine(t), volume).Erase(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
}

func eraseDirectoryKey(t *testing.T, directory string) {
	t.Helper()
	if err := os.Remove(filepath.Join(directory, "keystore", "key.pem")); err != nil {
		t.Fatal(err)
	}
}

// readPrivate reads a directory and fails where it is not for its owner alone.
func readPrivate(directory string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			return fmt.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		if entry.IsDir() {
			return nil
		}
		name, err := filepath.Rel(directory, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	})
	return files, err
}

var foreignFiles = []string{"keystore/theirs_sk", "notes.txt"}

func foreignFile(t *testing.T, directory string) {
	t.Helper()
	for _, name := range foreignFiles {
		if err := os.WriteFile(filepath.Join(directory, filepath.FromSlash(name)), []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// onlyForeignFile checks that a destroyed identity left what was not its own, and nothing else.
func onlyForeignFile(t *testing.T, directory string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		files, err := readPrivate(directory)
		if err != nil {
			return err
		}
		var left []string
		for name := range files {
			left = append(left, name)
		}
		slices.Sort(left)
		if !slices.Equal(left, foreignFiles) {
			return fmt.Errorf("in %s are %v", directory, left)
		}
		return nil
	}
}
