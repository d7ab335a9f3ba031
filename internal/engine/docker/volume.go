package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// CreateVolume implements engine.Engine with POST /volumes/create. That call is no change to a
// volume which exists and answers with the labels that it has, so the answer tells whose it is,
// and nothing can come between a look and the creation.
func (e *Engine) CreateVolume(ctx context.Context, spec engine.VolumeSpec) error {
	owner, err := ownerOf(spec.Labels)
	if err == nil {
		err = e.createVolume(ctx, spec, owner)
	}
	if err != nil {
		return fmt.Errorf("unable to create volume %s: %w", spec.Name, err)
	}
	return nil
}

func (e *Engine) createVolume(ctx context.Context, spec engine.VolumeSpec, owner string) error {
	var made client.VolumeCreateResult
	err := e.call(ctx, func(ctx context.Context) (err error) {
		made, err = e.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: spec.Name, Labels: spec.Labels})
		return err
	})
	if cerrdefs.IsConflict(err) { // one of another driver, which is hardly ours
		have, readErr := e.inspectVolume(ctx, spec.Name)
		if readErr != nil {
			return err
		}
		if foreign := requireOwner("volume", spec.Name, have.Labels, owner); foreign != nil {
			return foreign
		}
		return fmt.Errorf("%w: %w", engine.ErrConflict, err)
	}
	if err != nil {
		return err
	}
	return requireOwner("volume", spec.Name, made.Volume.Labels, owner)
}

// Volume implements engine.Engine with GET /volumes/{name}.
func (e *Engine) Volume(ctx context.Context, name string) (engine.Volume, error) {
	v, err := e.inspectVolume(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return engine.Volume{}, &engine.NotFoundError{Kind: "volume", Name: name}
	}
	if err != nil {
		return engine.Volume{}, fmt.Errorf("unable to read volume %s: %w", name, err)
	}
	return asVolume(v), nil
}

// Volumes implements engine.Engine with GET /volumes.
func (e *Engine) Volumes(ctx context.Context, labels map[string]string) ([]engine.Volume, error) {
	var list client.VolumeListResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		list, err = e.api.VolumeList(ctx, client.VolumeListOptions{Filters: labelFilter(labels)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unable to list volumes: %w", err)
	}
	var out []engine.Volume
	for _, v := range list.Items {
		if carries(v.Labels, labels) {
			out = append(out, asVolume(v))
		}
	}
	slices.SortStableFunc(out, func(a, b engine.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// RemoveVolume implements engine.Engine with DELETE /volumes/{name}. It fails while a container,
// running or not, mounts the volume.
func (e *Engine) RemoveVolume(ctx context.Context, name, owner string) error {
	have, err := e.inspectVolume(ctx, name)
	if err == nil {
		if err = requireOwner("volume", name, have.Labels, owner); err == nil {
			err = e.deleteVolume(ctx, name)
		}
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("unable to remove volume %s: %w", name, err)
	}
	return nil
}

// deleteVolume waits for an engine that has not let go of the volume yet although no container that
// is to stay mounts it: under load it answers that a container is gone before that. One that gave no answer
// is asked once more: a volume that is gone by then must not be taken for one that was lost.
func (e *Engine) deleteVolume(ctx context.Context, name string) error {
	release, err := e.turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval = 50*time.Millisecond, time.Second
	unanswered := false
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := e.call(ctx, func(ctx context.Context) error {
			_, err := e.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
			return err
		})
		if errors.Is(err, engine.ErrUnreachable) && !unanswered {
			unanswered = true
			return struct{}{}, err
		}
		if err == nil || !cerrdefs.IsConflict(err) {
			return struct{}{}, permanent(err)
		}
		if used := e.mounted(ctx, name); used != nil {
			return struct{}{}, permanent(used)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(nameRelease))
	return err
}

// mounted names the containers that mount a volume and are not about to be gone; the engine's own
// error has only their IDs. It is nil when there is none, or that cannot be told.
func (e *Engine) mounted(ctx context.Context, name string) error {
	users, err := e.listContainers(ctx, client.Filters{}.Add("volume", name), true)
	users = slices.DeleteFunc(users, func(c container.Summary) bool { return c.State == container.StateRemoving })
	if err != nil || len(users) == 0 {
		return nil //nolint:nilerr // the conflict itself is told
	}
	var names []string
	for _, c := range users {
		names = append(names, summaryName(c))
	}
	slices.Sort(names)
	return fmt.Errorf("containers mount it: %s", strings.Join(names, ", "))
}

func (e *Engine) inspectVolume(ctx context.Context, name string) (volume.Volume, error) {
	var found client.VolumeInspectResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		found, err = e.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		return err
	})
	return found.Volume, err
}

func asVolume(v volume.Volume) engine.Volume {
	return engine.Volume{Name: v.Name, Labels: v.Labels}
}
