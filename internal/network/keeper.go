package network

import (
	"context"
	"errors"
	"fmt"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// A volume that no container references is taken by the engine's prune. While a node has a volume and no
// container, a keeper has it instead: a container that is never started, as key volumes always have one.
// A node that has a container needs none, so that nobody meets twice as many containers as nodes.

// keeperOf is the name of a node's keeper.
func keeperOf(h Handle) string { return h.Object() + "-keeper" }

// createKeeper holds the volume of a node that is about to have no container.
func (f *Fabric) createKeeper(ctx context.Context, h Handle, imageID string) error {
	labels := h.labels()
	labels[keystore.LabelKeeper], labels[labelOnce], labels[engine.LabelSpecHash] = "true", "true", "keeper"
	spec := engine.NodeSpec{
		Name: keeperOf(h), Image: imageID, Command: []string{"true"}, User: nodeUser, Labels: labels, // an image may have no command
		Mounts: []engine.Mount{{Volume: h.Object(), Target: volumeRoot}},
	}
	if err := f.engine.CreateNode(ctx, spec); err != nil && !errors.Is(err, engine.ErrConflict) { // an earlier one keeps as well
		return fmt.Errorf("unable to keep the volume of %s: %w", h, err)
	}
	return nil
}

// keepWithout is createKeeper for a node that goes while its volume stays. Where there is neither a
// container nor an image to make a keeper from, the volume stays as it is.
func (f *Fabric) keepWithout(ctx context.Context, h Handle) error {
	image, err := f.anyImage(ctx, h)
	if err != nil || image == "" {
		return err
	}
	if _, err := f.engine.Volume(ctx, h.Object()); errors.Is(err, engine.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	return f.createKeeper(ctx, h, image)
}

// removeKeeper takes the keeper of a node away whose container has the volume again.
func (f *Fabric) removeKeeper(ctx context.Context, h Handle) error {
	if err := f.engine.RemoveNode(ctx, keeperOf(h), h.Owner); err != nil {
		return fmt.Errorf("unable to remove the keeper of the volume of %s: %w", h, err)
	}
	return nil
}
