package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Directory is a store in a local directory, readable by its owner alone: for identities that
// applications use. Written with the files of msp.Folder it is an MSP folder, which the peer
// command and the SDKs accept.
//
// The directory may hold what is none of the store's business. Names are at most one folder deep, as
// those of an MSP folder are, and Read leaves out what lies deeper and what is too large for a key or
// a certificate, so that a directory full of other things costs nothing.
type Directory struct{ Path string }

// maxFile is the size in bytes of the largest file that is read.
const maxFile = 1 << 20

// Read gives every file.
func (d Directory) Read(ctx context.Context) (map[string][]byte, error) {
	root, err := os.OpenRoot(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("unable to read key directory %s: %w", d.Path, ErrLost)
	}
	if err != nil {
		return nil, fmt.Errorf("unable to read key directory: %w", err)
	}
	defer root.Close()
	out := map[string][]byte{}
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && strings.Contains(name, "/") {
			return fs.SkipDir
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if info, err := entry.Info(); err != nil || info.Size() > maxFile {
			return err
		}
		content, err := fs.ReadFile(root.FS(), name)
		if len(content) > 0 {
			out[name] = content
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unable to read key directory %s: %w", d.Path, err)
	}
	return out, nil
}

// Write adds or replaces files, each at once: a reader sees the old content or the new.
func (d Directory) Write(ctx context.Context, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.write(name, files[name]); err != nil {
			return fmt.Errorf("unable to write key directory %s: %w", d.Path, err)
		}
	}
	return nil
}

func (d Directory) write(name string, content []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := filepath.Join(d.Path, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// Erase removes files, and the folders that they leave empty.
func (d Directory) Erase(_ context.Context, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return fmt.Errorf("unable to erase from key directory %s: %w", d.Path, err)
		}
		path := filepath.Join(d.Path, filepath.FromSlash(name))
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unable to erase from key directory %s: %w", d.Path, err)
		}
		// Remove refuses a folder that still holds something, which ends the climb.
		for dir := filepath.Dir(path); len(dir) >= len(filepath.Clean(d.Path)); dir = filepath.Dir(dir) {
			if os.Remove(dir) != nil {
				break
			}
		}
	}
	return nil
}

func checkName(name string) error {
	if !filepath.IsLocal(name) || strings.Count(name, "/") > 1 {
		return fmt.Errorf("the name %q leaves the directory", name)
	}
	return nil
}
