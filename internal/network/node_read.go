package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Unrecorded gives the state of an adopted node: a record that was lost is made again, and loses nothing.
func (s NodeState) Unrecorded() NodeState {
	if s.Lost {
		s.Lost, s.Status = false, engine.Absent
	}
	return s
}

// readNode reads the state of a node. A container that is gone reads as absent, a volume that is
// gone as lost; only the engine's failure is an error.
func (f *Fabric) readNode(ctx context.Context, h Handle, ports map[string]int) (NodeState, error) {
	state := NodeState{Status: engine.Absent}
	current, err := f.engine.Node(ctx, h.Object())
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return state, err
	case current.Labels[engine.LabelOwner] != h.Owner:
		return state, &engine.ForeignError{Kind: "container", Name: h.Object(), Owner: current.Labels[engine.LabelOwner]}
	default:
		state.Status, state.ImageID = current.Status, current.ImageID
		if current.Status == engine.Created {
			state.Status = engine.Stopped
		}
		n := node{ports: ports}
		state.HostPorts = n.hostPorts(current.Ports)
		if state.Status == engine.Running {
			if state.Status, err = f.onNetwork(ctx, h, current); err != nil {
				return state, err
			}
			if state.Status == engine.Running && f.altered(ctx, h, current) {
				state.Status = Altered
			}
			if state.Status == engine.Running && f.ailment(ctx, h, current, ports[operationsPurpose]) != nil {
				state.Status = Unhealthy
			}
		}
	}
	volume, err := f.engine.Volume(ctx, h.Object())
	switch {
	case errors.Is(err, engine.ErrNotFound):
		state.Removed, err = f.removalWanted(ctx, h)
		state.Lost = !state.Removed
		return state, err
	case err != nil:
		return state, err
	case volume.Labels[engine.LabelOwner] != h.Owner:
		return state, &engine.ForeignError{Kind: "volume", Name: h.Object(), Owner: volume.Labels[engine.LabelOwner]}
	}
	return state, nil
}

// Altered is the state of a node that runs otherwise than it was made: somebody changed its container or
// the configuration on its volume.
const Altered engine.Status = "altered"

// altered tells whether somebody changed a node's container, or the configuration that it starts with.
func (f *Fabric) altered(ctx context.Context, h Handle, current engine.Node) bool {
	if len(current.Altered) > 0 {
		return true
	}
	var made map[string]string
	if json.Unmarshal([]byte(current.Labels[labelConfig]), &made) != nil || len(made) == 0 {
		return false // a node without files of ours
	}
	for name, digest := range made {
		if !f.keeps(ctx, h, nodeRoot+"/"+name, digest) {
			return true
		}
	}
	return false
}

// keeps tells whether a file on a node's volume has the content of that SHA-256, in hexadecimal. It
// stays so while that cannot be told.
func (f *Fabric) keeps(ctx context.Context, h Handle, name, digest string) bool {
	var sum [sha256.Size]byte
	if n, err := hex.Decode(sum[:], []byte(digest)); err != nil || n != len(sum) {
		return true
	}
	if kept, err := f.engine.KeepsFile(ctx, h.Object(), name, sum); err != nil || kept {
		return !errors.Is(err, engine.ErrNotFound)
	}
	files, err := f.engine.GetFiles(ctx, h.Object(), name)
	if err != nil {
		return !errors.Is(err, engine.ErrNotFound)
	}
	return len(files) == 1 && sha256.Sum256(files[0].Content) == sum
}

// Detached is the state of a node that runs, but is not on its network: others cannot reach it.
const Detached engine.Status = "detached"

// onNetwork tells whether a running node is on the network of today.
func (f *Fabric) onNetwork(ctx context.Context, h Handle, current engine.Node) (engine.Status, error) {
	net, err := f.engine.Network(ctx, h.Network)
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return Detached, nil
	case err != nil:
		return engine.Running, err
	case !slices.Contains(current.NetworkIDs, net.ID):
		return Detached, nil
	}
	return engine.Running, nil
}
