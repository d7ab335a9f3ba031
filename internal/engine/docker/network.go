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
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const (
	// networkHolders is how long containers may still be attached to a network that is to be removed.
	networkHolders = 10 * time.Second
	// networkLook and networkLooks are how often, and after which time each, it is looked again whether
	// one of two networks of a name is gone.
	networkLook, networkLooks = 200 * time.Millisecond, 15
	// networkYields is how often a name is left to another process that makes it at the same time.
	networkYields = 5
)

// CreateNetwork implements engine.Engine with POST /networks/create: a bridge network.
func (e *Engine) CreateNetwork(ctx context.Context, spec engine.NetworkSpec) error {
	owner, err := ownerOf(spec.Labels)
	if err == nil {
		err = e.createNetwork(ctx, spec, owner)
	}
	if err != nil {
		return fmt.Errorf("unable to create network %s: %w", spec.Name, err)
	}
	return nil
}

// createNetwork looks before and after. Engines before 25 allow two networks of one name, and no
// engine locks the name while it makes one: of two processes at least one sees the other's network
// afterwards; it takes its own back and begins again, after a pause that differs between them.
func (e *Engine) createNetwork(ctx context.Context, spec engine.NetworkSpec, owner string) error {
	pace := backoff.NewExponentialBackOff() // its intervals are random
	pace.InitialInterval = 150 * time.Millisecond
	for range networkYields {
		found, err := e.networksNamed(ctx, spec.Name)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			for _, n := range found {
				if err := requireOwner("network", spec.Name, n.Labels, owner); err != nil {
					return err
				}
			}
			if len(found) == 1 {
				return nil
			}
			return fmt.Errorf("%w: the engine has %d networks of that name", engine.ErrConflict, len(found))
		}
		var made client.NetworkCreateResult
		err = e.call(ctx, func(ctx context.Context) (err error) {
			made, err = e.api.NetworkCreate(ctx, spec.Name, client.NetworkCreateOptions{Driver: "bridge", Labels: spec.Labels})
			return err
		})
		if cerrdefs.IsConflict(err) {
			continue // somebody else was first: whose it is, the next look tells
		}
		if err != nil {
			return err
		}
		if found, err = e.networksNamed(ctx, spec.Name); err != nil {
			return err
		}
		if len(found) <= 1 {
			return nil
		}
		if err := e.deleteNetwork(ctx, made.ID); err != nil {
			return err
		}
		if err := pause(ctx, pace.NextBackOff()); err != nil {
			return err
		}
	}
	return errors.New("another process makes and removes a network of that name at the same time")
}

// Network implements engine.Engine. Two of that name are there while another process takes its own back,
// see createNetwork.
func (e *Engine) Network(ctx context.Context, name string) (engine.Network, error) {
	found, err := e.networksNamed(ctx, name)
	for looks := 0; err == nil && len(found) > 1 && looks < networkLooks; looks++ {
		if err = pause(ctx, networkLook); err == nil {
			found, err = e.networksNamed(ctx, name)
		}
	}
	switch {
	case err != nil:
		return engine.Network{}, fmt.Errorf("unable to read network %s: %w", name, err)
	case len(found) == 0:
		return engine.Network{}, &engine.NotFoundError{Kind: "network", Name: name}
	case len(found) > 1:
		return engine.Network{}, fmt.Errorf("unable to read network %s: the engine has %d networks of that name", name, len(found))
	}
	return found[0], nil
}

// Networks implements engine.Engine with GET /networks.
func (e *Engine) Networks(ctx context.Context, labels map[string]string) ([]engine.Network, error) {
	found, err := e.listNetworks(ctx, labelFilter(labels), func(n network.Summary) bool { return carries(n.Labels, labels) })
	if err != nil {
		return nil, fmt.Errorf("unable to list networks: %w", err)
	}
	return found, nil
}

// networksNamed reads by listing: reading one network by its name fails when there are two, and
// takes the beginning of an ID for a name. The engine's name filter matches parts of names.
func (e *Engine) networksNamed(ctx context.Context, name string) ([]engine.Network, error) {
	return e.listNetworks(ctx, client.Filters{}.Add("name", name), func(n network.Summary) bool { return n.Name == name })
}

func (e *Engine) listNetworks(ctx context.Context, filters client.Filters, keep func(network.Summary) bool) ([]engine.Network, error) {
	var list client.NetworkListResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		list, err = e.api.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []engine.Network
	for _, n := range list.Items {
		if keep(n) {
			out = append(out, engine.Network{Name: n.Name, ID: n.ID, Labels: n.Labels})
		}
	}
	slices.SortStableFunc(out, func(a, b engine.Network) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return out, nil
}

// RemoveNetwork implements engine.Engine with DELETE /networks/{id}. Endpoints that the engine
// leaked are taken off; containers that are still attached get networkHolders to go, and are named
// in the error when they do not. An engine that has miscounted says that there are some when there are none.
func (e *Engine) RemoveNetwork(ctx context.Context, name, owner string) error {
	found, err := e.networksNamed(ctx, name)
	for _, n := range found {
		if err = requireOwner("network", name, n.Labels, owner); err != nil {
			break
		}
		if err = e.removeNetwork(ctx, n.ID); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("unable to remove network %s: %w", name, err)
	}
	return nil
}

func (e *Engine) removeNetwork(ctx context.Context, id string) error {
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval = 50*time.Millisecond, time.Second
	var holders []string
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := e.deleteNetwork(ctx, id)
		if !cerrdefs.IsPermissionDenied(err) && !cerrdefs.IsConflict(err) {
			return struct{}{}, permanent(err)
		}
		var detachErr error
		if holders, detachErr = e.detachLeaked(ctx, id); detachErr != nil {
			return struct{}{}, permanent(detachErr)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(e.networkHolders))
	if err == nil || ctx.Err() != nil {
		return err
	}
	if len(holders) > 0 {
		return fmt.Errorf("containers are attached to it: %s", strings.Join(holders, ", "))
	}
	if cerrdefs.IsPermissionDenied(err) {
		return fmt.Errorf("%w; no container is attached to it, so that the engine has miscounted, as it may when many come and go at once; next: restart the engine, which counts anew, and do this again", err)
	}
	return err
}

// deleteNetwork takes absence as success.
func (e *Engine) deleteNetwork(ctx context.Context, id string) error {
	release, err := e.turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	err = e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.NetworkRemove(ctx, id, client.NetworkRemoveOptions{})
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// detachLeaked takes off the endpoints whose container does not exist, and gives the names of the
// containers that do.
func (e *Engine) detachLeaked(ctx context.Context, id string) (holders []string, err error) {
	var details client.NetworkInspectResult
	err = e.ask(ctx, func(ctx context.Context) (err error) {
		details, err = e.api.NetworkInspect(ctx, id, client.NetworkInspectOptions{})
		return err
	})
	if cerrdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for container, endpoint := range details.Network.Containers {
		err := e.ask(ctx, func(ctx context.Context) error {
			_, err := e.api.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
			return err
		})
		if err == nil {
			holders = append(holders, endpoint.Name)
			continue
		}
		if !cerrdefs.IsNotFound(err) {
			return nil, err
		}
		err = e.call(ctx, func(ctx context.Context) error {
			// An endpoint without a container is known by its own name only.
			_, err := e.api.NetworkDisconnect(ctx, id, client.NetworkDisconnectOptions{Container: endpoint.Name, Force: true})
			return err
		})
		if err != nil && !cerrdefs.IsNotFound(err) {
			return nil, fmt.Errorf("unable to take off endpoint %s, which no container has: %w", endpoint.Name, err)
		}
	}
	slices.Sort(holders)
	return holders, nil
}

// turn waits until one of a few may start, stop or remove something.
func (e *Engine) turn(ctx context.Context) (release func(), err error) {
	select {
	case e.turns <- struct{}{}:
		return func() { <-e.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pause waits that long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// permanent keeps backoff from trying again; nil stays nil.
func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}
