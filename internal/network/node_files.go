package network

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// nodeFiles are the files of ours on a node's volume: the configuration by its path below nodeRoot,
// keys and certificates by theirs below keysFolder.
type nodeFiles struct{ config, keys map[string][]byte }

func (f *Fabric) nodeFiles(ctx context.Context, h Handle) (nodeFiles, error) {
	have := nodeFiles{map[string][]byte{}, map[string][]byte{}}
	group, gctx := errgroup.WithContext(ctx)
	for _, part := range []struct {
		folder, prefix string
		into           map[string][]byte
	}{{configFolder, "", have.config}, {keysFolder, "keys/", have.keys}} {
		group.Go(func() error {
			files, err := f.engine.GetFiles(gctx, h.Object(), part.folder)
			if errors.Is(err, engine.ErrNotFound) { // an earlier attempt did not get that far
				return nil
			}
			for _, file := range files {
				part.into[strings.TrimPrefix(file.Name, part.prefix)] = file.Content
			}
			return err
		})
	}
	if err := group.Wait(); err != nil || len(have.keys) > 0 {
		return have, err
	}
	a, err := f.adoption(ctx, h)
	if err != nil || a == nil {
		return have, err
	}
	for file := range a.Certificates {
		if have.keys[file], err = f.adoptedFile(ctx, a, file); err != nil {
			return have, err
		}
	}
	return have, nil
}

// files are those that the volume lacks, or has with another content.
func (n *node) files(have nodeFiles, material map[string][]byte) []engine.File {
	var files []engine.File
	put := func(name string, content []byte) {
		files = append(files, engine.File{Name: name, Content: content, Mode: 0o600, UID: n.user(), GID: n.user()})
	}
	for _, name := range slices.Sorted(maps.Keys(n.config)) {
		if content, ok := have.config[name]; !ok || !bytes.Equal(content, n.config[name]) {
			put(name, n.config[name])
		}
	}
	if wanted := n.wantedState(); wanted != have.wantedState() {
		put(desiredStateFile, []byte(wanted))
	}
	for _, name := range slices.Sorted(maps.Keys(material)) {
		put("keys/"+name, material[name])
	}
	if len(have.keys) == 0 {
		put("data/.keep", nil) // the folder for the data then belongs to the node's user
	}
	return files
}

// desiredStateFile says on a node's volume that it is not to run, below nodeRoot. There is none until that
// is wanted for the first time.
const desiredStateFile = "config/desired_state"

func (n *node) wantedState() engine.Status {
	if n.options.Stopped {
		return engine.Stopped
	}
	return engine.Running
}

func (f nodeFiles) wantedState() engine.Status {
	if state, ok := f.config[desiredStateFile]; ok {
		return engine.Status(state)
	}
	return engine.Running
}

// wantedStopped tells whether a node is not to run, as far as its volume says so.
func (f *Fabric) wantedStopped(ctx context.Context, h Handle) bool {
	files, err := f.engine.GetFiles(ctx, h.Object(), nodeRoot+"/"+desiredStateFile)
	return err == nil && len(files) == 1 && engine.Status(files[0].Content) == engine.Stopped
}
