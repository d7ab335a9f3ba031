package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// NetworkState is what is known of a network.
type NetworkState struct {
	Handle Handle
	// Status is Running when the network is there, Absent when it is not.
	Status engine.Status
	// Existing tells that somebody else made the network and we only use it.
	Existing bool
}

// PreflightNetwork finds what would fail before anything is made.
func (f *Fabric) PreflightNetwork(ctx context.Context, h Handle, existing bool) error {
	found, err := f.engine.Network(ctx, h.Network)
	switch {
	case errors.Is(err, engine.ErrNotFound) && existing:
		return fmt.Errorf("unable to use network %s: %w", h.Network, err)
	case errors.Is(err, engine.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	if owner := found.Labels[engine.LabelOwner]; !existing && owner != h.Owner {
		return fmt.Errorf("%w; existing = true would use it as it is", &engine.ForeignError{Kind: "network", Name: h.Network, Owner: owner})
	}
	return nil
}

// EnsureNetwork makes the network on the engine, unless it is one that somebody else made.
func (f *Fabric) EnsureNetwork(ctx context.Context, h Handle, existing bool) error {
	if existing {
		return f.PreflightNetwork(ctx, h, existing)
	}
	return f.engine.CreateNetwork(ctx, engine.NetworkSpec{Name: h.Network, Labels: h.labels()})
}

// ReadNetwork reads the network. One that is gone reads as absent: its nodes and their ledgers may
// still be there, so it is a matter of repair, not of beginning anew.
func (f *Fabric) ReadNetwork(ctx context.Context, h Handle, existing bool) (NetworkState, error) {
	state := NetworkState{Handle: h, Status: engine.Absent, Existing: existing}
	found, err := f.engine.Network(ctx, h.Network)
	if errors.Is(err, engine.ErrNotFound) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	if owner := found.Labels[engine.LabelOwner]; !existing && owner != h.Owner {
		return state, &engine.ForeignError{Kind: "network", Name: h.Network, Owner: owner}
	}
	state.Status = engine.Running
	return state, nil
}

// FindNetwork finds a network for import by its name and, where several fabric_network share one
// network of the engine, the owner: empty where there is only one. Owner and domain are read from the
// labels of the network or, where somebody else made that, of what is on it.
func (f *Fabric) FindNetwork(ctx context.Context, name, owner string) (NetworkState, error) {
	found, err := f.engine.Network(ctx, name)
	if errors.Is(err, engine.ErrNotFound) {
		return NetworkState{}, fmt.Errorf("network %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return NetworkState{}, err
	}
	maker := found.Labels[engine.LabelOwner]
	if maker != "" && (owner == "" || owner == maker) {
		return NetworkState{Handle: handleOf(found.Labels), Status: engine.Running}, nil
	}
	volumes, err := f.engine.Volumes(ctx, map[string]string{engine.LabelNetwork: name})
	if err != nil {
		return NetworkState{}, err
	}
	owners := map[string]Handle{}
	for _, v := range volumes {
		h := handleOf(v.Labels)
		if owner == "" || h.Owner == owner {
			owners[h.Owner] = h.With(KindNetwork, name, "")
		}
	}
	if len(owners) > 1 {
		return NetworkState{}, fmt.Errorf("network %s is shared by several fabric_network, with the owner_id %s: name one of them as %s/OWNER_ID",
			name, strings.Join(slices.Sorted(maps.Keys(owners)), ", "), name)
	}
	for _, h := range owners {
		return NetworkState{Handle: h, Status: engine.Running, Existing: true}, nil
	}
	return NetworkState{}, fmt.Errorf("network %s carries no owner, and nothing of ours is on it: %w", name, ErrNotFound)
}

// DeleteNetwork removes the network, unless it is one that somebody else made. What a restore left that did
// not come to its end goes too.
func (f *Fabric) DeleteNetwork(ctx context.Context, h Handle, existing bool) error {
	if err := f.discardRestore(ctx, h); err != nil {
		return err
	}
	if existing {
		return nil
	}
	return f.engine.RemoveNetwork(ctx, h.Network, h.Owner)
}

// requireNetwork fails when the network that a thing is to be on is not there. Whose it is matters to
// the fabric_network alone: several may share one.
func (f *Fabric) requireNetwork(ctx context.Context, h Handle) error {
	_, err := f.engine.Network(ctx, h.Network)
	if errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("network %s: %w", h.Network, engine.ErrNotFound)
	}
	return err
}

// Adopt lets everything that is made from now on for this owner take up what is on the engine
// already, containers included: the owner_id was given to take back a network whose state was lost.
func (f *Fabric) Adopt(owner string) { f.adopted.Store(owner, true) }

func (f *Fabric) adopts(owner string) bool {
	_, ok := f.adopted.Load(owner)
	return ok
}
