package network

import (
	"context"
	"errors"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// Before the volume of a node is removed, and before a whole cluster is, it is written down that this is wanted:
// when Terraform is killed in the moment after, its state goes on to have the node, and what is gone must not be
// taken for a loss.

func removalFile(h Handle) string { return "removals/" + string(h.Kind) + "." + h.Name }

// announceRemoval writes it down. Where the keys are gone that it is kept beside, it goes without.
func (f *Fabric) announceRemoval(ctx context.Context, h Handle) error {
	keeper := recordKeeper(h)
	err := f.writeKeys(ctx, keeper, map[string][]byte{removalFile(h): []byte("wanted")})
	if errors.Is(err, keystore.ErrLost) {
		return nil
	}
	return err
}

// removalWanted tells whether a node was being removed with its volume when it was last heard of.
func (f *Fabric) removalWanted(ctx context.Context, h Handle) (bool, error) {
	files, err := f.readKeys(ctx, recordKeeper(h))
	if errors.Is(err, keystore.ErrLost) {
		return false, nil
	}
	return len(files[removalFile(h)]) > 0, err
}

// going tells whether a removal of a cluster was cut short that has begun to remove its nodes.
func (f *Fabric) going(ctx context.Context, cluster Handle, nodes []Handle) (bool, error) {
	wanted, err := f.removalWanted(ctx, cluster)
	if err != nil || !wanted {
		return false, err
	}
	for _, h := range nodes {
		if state, err := f.readNode(ctx, h, OrdererPorts()); err != nil || state.Status == engine.Absent {
			return err == nil, err
		}
	}
	return false, nil
}

// revokeRemoval forgets it: the thing is there again.
func (f *Fabric) revokeRemoval(ctx context.Context, h Handle) error {
	wanted, err := f.removalWanted(ctx, h)
	if err != nil || !wanted {
		return err
	}
	return f.eraseKeys(ctx, recordKeeper(h), removalFile(h))
}

// acceptRemoved has a node made anew whose volume is gone because that was wanted.
func (f *Fabric) acceptRemoved(ctx context.Context, h Handle, options *NodeOptions) error {
	if !options.Existing || options.AcceptDataLoss {
		return nil
	}
	wanted, err := f.removalWanted(ctx, h)
	options.AcceptDataLoss = wanted
	return err
}
