package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestDetect(t *testing.T) {
	isSyntax := func(err error) bool { var e *json.SyntaxError; return errors.As(err, &e) }
	isOther := func(err error) bool { return errors.Is(err, errOtherType) }
	tests := map[string]struct {
		metadata string
		want     func(error) bool
	}{
		"ccaas":     {`{"type":"ccaas","label":"kv_1"}`, func(err error) bool { return err == nil }},
		"golang":    {`{"type":"golang","label":"kv_1"}`, isOther},
		"external":  {`{"type":"external","label":"kv_1"}`, isOther},
		"no type":   {`{"label":"kv_1"}`, isOther},
		"not JSON":  {`type: ccaas`, isSyntax},
		"cut short": {`{"type":"ccaas"`, isSyntax},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			makeFile(t, filepath.Join(dir, "metadata.json"), test.metadata)
			if err := detect(dir); !test.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("no metadata", func(t *testing.T) {
		if err := detect(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	})
}

func TestBuildNeedsConnection(t *testing.T) {
	if err := build(t.TempDir(), t.TempDir(), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestBuildRefusesLinkOutOfThePackage(t *testing.T) {
	source, output, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(elsewhere, "connection.json"), `{"address":"kv:9999"}`)
	if err := os.Symlink(filepath.Join(elsewhere, "connection.json"), filepath.Join(source, "connection.json")); err != nil {
		t.Fatal(err)
	}
	if err := build(source, output, ""); err == nil {
		t.Error("no error")
	}
}

func TestBuildKeepsConnectionFromOthers(t *testing.T) {
	source, output := t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(source, "connection.json"), `{"address":"kv:9999","client_key":"secret"}`)
	if err := build(source, output, ""); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(output, "connection.json"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("mode %o, want 600", mode)
	}
}

func TestReleaseWithoutStateDatabaseMetadata(t *testing.T) {
	buildDir, releaseDir := t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(buildDir, "connection.json"), `{"address":"kv:9999"}`)
	makeFile(t, filepath.Join(buildDir, "META-INF/other/file"), "not for the peer")
	if err := release(buildDir, releaseDir); err != nil {
		t.Fatal(err)
	}
	var files []string
	if err := fs.WalkDir(os.DirFS(releaseDir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 || files[0] != "chaincode/server/connection.json" {
		t.Errorf("released %v, want only chaincode/server/connection.json", files)
	}
}

func TestReleaseNeedsConnection(t *testing.T) {
	if err := release(t.TempDir(), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestCopyFolderRefusesFile(t *testing.T) {
	source, output := t.TempDir(), t.TempDir()
	makeFile(t, filepath.Join(source, "connection.json"), `{"address":"kv:9999"}`)
	makeFile(t, filepath.Join(source, "META-INF"), "a file, not a folder")
	if err := build(source, output, ""); err == nil {
		t.Error("no error")
	}
}
