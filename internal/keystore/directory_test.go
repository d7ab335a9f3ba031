package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

func TestDirectoryIsForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users", "alice")
	d := keystore.Directory{Path: path}
	must(t, d.Write(t.Context(), map[string][]byte{"keystore/key.pem": []byte("key"), "signcerts/cert.pem": []byte("cert"), "config.yaml": []byte("c")}))
	must(t, d.Write(t.Context(), map[string][]byte{"keystore/key.pem": []byte("new")}))
	wantFiles(t, d, map[string]string{"keystore/key.pem": "new", "signcerts/cert.pem": "cert", "config.yaml": "c"})
	err := filepath.WalkDir(filepath.Dir(path), func(name string, entry fs.DirEntry, err error) error {
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
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
		if strings.HasPrefix(entry.Name(), ".new-") {
			t.Errorf("%s is left", name)
		}
		return nil
	})
	must(t, err)
}

func TestDirectoryErasesNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	d := keystore.Directory{Path: path}
	must(t, d.Write(t.Context(), map[string][]byte{"keystore/key.pem": []byte("key"), "signcerts/cert.pem": []byte("cert")}))
	foreign := filepath.Join(path, "keystore", "other.pem")
	must(t, os.WriteFile(foreign, []byte("theirs"), 0o600))
	must(t, d.Erase(t.Context(), "keystore/key.pem", "signcerts/cert.pem", "cacerts/absent.pem"))
	wantFiles(t, d, map[string]string{"keystore/other.pem": "theirs"})
	if _, err := os.Stat(filepath.Join(path, "signcerts")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty folder is left: %v", err)
	}

	must(t, os.Remove(foreign))
	must(t, d.Erase(t.Context(), "keystore/key.pem"))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory is left: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		t.Errorf("the folder above is gone: %v", err)
	}
	if _, err := d.Read(t.Context()); !errors.Is(err, keystore.ErrLost) {
		t.Errorf("read of nothing: %v", err)
	}
}

func TestDirectoryReadsNothingBesideKeys(t *testing.T) {
	path := t.TempDir()
	d := keystore.Directory{Path: path}
	must(t, d.Write(t.Context(), map[string][]byte{"keystore/key.pem": []byte("key")}))
	must(t, os.WriteFile(filepath.Join(path, "image.iso"), bytes.Repeat([]byte("x"), 1<<20+1), 0o600))
	must(t, os.MkdirAll(filepath.Join(path, "work", "deep"), 0o700))
	must(t, os.WriteFile(filepath.Join(path, "work", "deep", "file"), []byte("x"), 0o600))
	must(t, os.Symlink("/etc/hostname", filepath.Join(path, "link")))
	wantFiles(t, d, map[string]string{"keystore/key.pem": "key"})
}

func TestDirectoryRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alice")
	d := keystore.Directory{Path: path}
	for _, name := range []string{"../key.pem", "/etc/key.pem", "a/../../key.pem", "a/b/key.pem", ""} {
		if err := d.Write(t.Context(), map[string][]byte{name: []byte("key")}); err == nil {
			t.Errorf("%q was written", name)
		}
		if err := d.Erase(t.Context(), name); err == nil {
			t.Errorf("%q was erased", name)
		}
	}
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := d.Read(t.Context()); err == nil || errors.Is(err, keystore.ErrLost) {
		t.Errorf("a file in place of the directory: %v", err)
	}
	if err := d.Write(t.Context(), map[string][]byte{"key.pem": []byte("SECRET")}); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("a file in place of the directory: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	other := keystore.Directory{Path: filepath.Join(t.TempDir(), "bob")}
	if err := other.Write(ended, map[string][]byte{"key.pem": []byte("key")}); !errors.Is(err, context.Canceled) {
		t.Errorf("write after the end: %v", err)
	}
}
