package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// A lease is a container that is never started. Its name makes it unique, and the engine gives a name
// once. What can be changed of a container without making it anew is its resources and its restart
// policy, and the latter means nothing for a container that does not run: the number in it is the beat.

// CreateLease implements engine.Engine with POST /containers/create.
func (e *Engine) CreateLease(ctx context.Context, spec engine.LeaseSpec) (engine.Lease, error) {
	lease, err := e.createLease(ctx, spec)
	if err != nil {
		return engine.Lease{}, fmt.Errorf("unable to take lease %s: %w", spec.Name, err)
	}
	return lease, nil
}

func (e *Engine) createLease(ctx context.Context, spec engine.LeaseSpec) (engine.Lease, error) {
	labels := maps.Clone(spec.Labels)
	labels[engine.LabelLease] = "true"
	labels[engine.LabelSpecHash] = ending() // of this attempt, so that another one's is not taken for it
	id, err := e.createNode(ctx, engine.NodeSpec{Name: spec.Name, Image: spec.Image, Command: []string{"true"}, User: "65534:65534", Labels: labels})
	if errors.Is(err, engine.ErrConflict) {
		have, readErr := e.inspect(ctx, spec.Name)
		if cerrdefs.IsNotFound(readErr) || readErr == nil && have.Config.Labels[engine.LabelLease] != "" {
			return engine.Lease{}, engine.ErrLeased
		}
	}
	if err != nil {
		return engine.Lease{}, err
	}
	return engine.Lease{Name: spec.Name, ID: id, Labels: labels}, nil
}

// ending makes names and marks that no other process makes.
func ending() string {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// RenewLease implements engine.Engine with POST /containers/{id}/update.
func (e *Engine) RenewLease(ctx context.Context, lease engine.Lease) (engine.Lease, error) {
	lease.Beat++
	err := e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerUpdate(ctx, lease.ID, client.ContainerUpdateOptions{
			RestartPolicy: &container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: lease.Beat},
		})
		return err
	})
	if cerrdefs.IsNotFound(err) {
		err = &engine.NotFoundError{Kind: "lease", Name: lease.Name}
	}
	if err != nil {
		return engine.Lease{}, fmt.Errorf("unable to renew lease %s: %w", lease.Name, err)
	}
	return lease, nil
}

// RemoveLease implements engine.Engine with DELETE /containers/{id}.
func (e *Engine) RemoveLease(ctx context.Context, lease engine.Lease) error {
	if err := e.deleteContainer(ctx, lease.ID); err != nil {
		return fmt.Errorf("unable to give up lease %s: %w", lease.Name, err)
	}
	return nil
}

// Leases implements engine.Engine with GET /containers/json, and reads them one by one: the list lacks
// their restart policies.
func (e *Engine) Leases(ctx context.Context, labels map[string]string) ([]engine.Lease, error) {
	wanted := maps.Clone(labels)
	if wanted == nil {
		wanted = map[string]string{}
	}
	wanted[engine.LabelLease] = "true"
	list, err := e.listContainers(ctx, labelFilter(wanted), true)
	var out []engine.Lease
	for _, summary := range list {
		if !carries(summary.Labels, wanted) {
			continue
		}
		have, readErr := e.inspect(ctx, summary.ID)
		switch {
		case cerrdefs.IsNotFound(readErr), readErr == nil && leaving(have): // gone since it was listed
		case readErr != nil:
			err = readErr
		default:
			out = append(out, engine.Lease{
				Name: strings.TrimPrefix(have.Name, "/"), ID: have.ID, Labels: nodeLabels(have.Config.Labels), Beat: have.HostConfig.RestartPolicy.MaximumRetryCount,
			})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to list leases: %w", err)
	}
	slices.SortStableFunc(out, func(a, b engine.Lease) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
