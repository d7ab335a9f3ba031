package keystore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// mountPoint is where the keeper mounts the volume, folder the part of it that holds files: a
// volume's own root belongs to root, a folder made with the files belongs to their owner.
const (
	mountPoint = "/keys"
	folder     = mountPoint + "/store"
)

// Volume is a store on a volume of the engine. A keeper, a node that is created and never started,
// references the volume, so that no prune takes it, and gives access to its files.
type Volume struct {
	engine engine.Engine
	name   string
	// owner is whose the volume must be; empty: it is not looked at.
	owner string
}

// OpenVolume gives the store on the volume of that name; it does not look whether it exists.
func OpenVolume(e engine.Engine, name string) *Volume { return &Volume{engine: e, name: name} }

// OwnedBy makes every access fail with engine.ErrForeign when the volume or its keeper belongs to
// somebody else: after ours was removed, another network may have taken the name.
func (v *Volume) OwnedBy(owner string) *Volume {
	return &Volume{engine: v.engine, name: v.name, owner: owner}
}

// CreateVolume makes the volume and its keeper from an image that the engine has. A volume that
// exists with the same owner keeps its files. Labels must hold the owner.
func CreateVolume(ctx context.Context, e engine.Engine, name, imageID string, labels map[string]string) (*Volume, error) {
	v := &Volume{engine: e, name: name, owner: labels[engine.LabelOwner]}
	labelled := maps.Clone(labels)
	labelled[LabelImage] = imageID
	if err := e.CreateVolume(ctx, engine.VolumeSpec{Name: name, Labels: labelled}); err != nil {
		return nil, fmt.Errorf("unable to create key volume %s: %w", name, err)
	}
	return v, v.keep(ctx, imageID, labels)
}

// LabelImage on the volume names the image of its keeper, to make the keeper anew. Every key volume has it.
const LabelImage = engine.LabelPrefix + "keeper_image"

// LabelKeeper marks keepers, so that nobody takes them for nodes.
const LabelKeeper = engine.LabelPrefix + "keeper"

func (v *Volume) keep(ctx context.Context, imageID string, labels map[string]string) error {
	labelled := maps.Clone(labels)
	delete(labelled, LabelImage)
	labelled[LabelKeeper] = "true"
	labelled[engine.LabelSpecHash] = "keeper"
	err := v.engine.CreateNode(ctx, engine.NodeSpec{
		Name: v.name, Image: imageID, User: "1000:1000", Labels: labelled,
		Mounts: []engine.Mount{{Volume: v.name, Target: mountPoint}},
	})
	if err != nil {
		return fmt.Errorf("unable to create the keeper of key volume %s: %w", v.name, err)
	}
	return nil
}

// Exists tells whether the volume is there.
func (v *Volume) Exists(ctx context.Context) (bool, error) {
	_, err := v.engine.Volume(ctx, v.name)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Read gives every file. A keeper that somebody removed is made again.
func (v *Volume) Read(ctx context.Context) (map[string][]byte, error) {
	if err := v.verifyKeeper(ctx); err != nil {
		return nil, fmt.Errorf("unable to read key volume %s: %w", v.name, err)
	}
	files, err := v.engine.GetFiles(ctx, v.name, folder)
	if errors.Is(err, engine.ErrNotFound) {
		if err := v.restore(ctx); err != nil {
			return nil, err
		}
		files, err = v.engine.GetFiles(ctx, v.name, folder)
		if errors.Is(err, engine.ErrNotFound) { // nothing has been written yet
			return map[string][]byte{}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to read key volume %s: %w", v.name, err)
	}
	out := make(map[string][]byte, len(files))
	for _, f := range files {
		if len(f.Content) > 0 {
			out[strings.TrimPrefix(f.Name, "store/")] = f.Content
		}
	}
	return out, nil
}

// verifyKeeper fails when the node that has the keeper's name is somebody else's.
func (v *Volume) verifyKeeper(ctx context.Context) error {
	if v.owner == "" {
		return nil
	}
	keeper, err := v.engine.Node(ctx, v.name)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case err != nil:
		return err
	case keeper.Labels[engine.LabelOwner] != v.owner:
		return &engine.ForeignError{Kind: "container", Name: v.name, Owner: keeper.Labels[engine.LabelOwner]}
	}
	return nil
}

// restore makes the keeper again. ErrLost when the volume is gone as well.
func (v *Volume) restore(ctx context.Context) error {
	volume, err := v.engine.Volume(ctx, v.name)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return fmt.Errorf("unable to use key volume %s: %w", v.name, ErrLost)
	case err != nil:
		return fmt.Errorf("unable to use key volume %s: %w", v.name, err)
	}
	if owner := volume.Labels[engine.LabelOwner]; owner == "" || v.owner != "" && owner != v.owner {
		return &engine.ForeignError{Kind: "volume", Name: v.name, Owner: owner}
	}
	return v.keep(ctx, volume.Labels[LabelImage], volume.Labels)
}

// Archive has the store read as a tar, from which Fill makes it again. Nothing is read of a store to which
// nothing has been written.
func (v *Volume) Archive(ctx context.Context, read func(io.Reader) error) error {
	if err := v.verifyKeeper(ctx); err != nil {
		return fmt.Errorf("unable to read key volume %s: %w", v.name, err)
	}
	err := v.engine.ReadArchive(ctx, v.name, folder, read)
	if errors.Is(err, engine.ErrNotFound) {
		if err := v.restore(ctx); err != nil {
			return err
		}
		err = v.engine.ReadArchive(ctx, v.name, folder, read)
	}
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	return err
}

// Fill puts the content of a store that Archive gave into this one.
func (v *Volume) Fill(ctx context.Context, content io.Reader) error {
	return v.engine.WriteArchive(ctx, v.name, mountPoint, content)
}

// Write adds or replaces files.
func (v *Volume) Write(ctx context.Context, files map[string][]byte) error {
	if len(files) == 0 {
		return nil
	}
	list := make([]engine.File, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, engine.File{Name: name, Content: files[name], Mode: 0o600, UID: 1000, GID: 1000})
	}
	if err := v.verifyKeeper(ctx); err != nil {
		return fmt.Errorf("unable to write key volume %s: %w", v.name, err)
	}
	err := v.engine.PutFiles(ctx, v.name, folder, list)
	if errors.Is(err, engine.ErrNotFound) {
		if err := v.restore(ctx); err != nil {
			return err
		}
		err = v.engine.PutFiles(ctx, v.name, folder, list)
	}
	if err != nil {
		return fmt.Errorf("unable to write key volume %s: %w", v.name, err)
	}
	return nil
}

// Erase overwrites files with nothing.
func (v *Volume) Erase(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	empty := make(map[string][]byte, len(names))
	for _, name := range names {
		empty[name] = nil
	}
	return v.Write(ctx, empty)
}

// Remove removes the keeper and the volume with every key in it.
func (v *Volume) Remove(ctx context.Context, owner string) error {
	if err := v.engine.RemoveNode(ctx, v.name, owner); err != nil {
		return fmt.Errorf("unable to remove the keeper of key volume %s: %w", v.name, err)
	}
	if err := v.engine.RemoveVolume(ctx, v.name, owner); err != nil {
		return fmt.Errorf("unable to remove key volume %s: %w", v.name, err)
	}
	return nil
}
