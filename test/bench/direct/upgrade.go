package direct

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Upgrade releases another version of the chaincode, with the next sequence: approvals by both organizations
// in one block, package and server at every peer while they wait for it, and when all these servers run the
// commit, since it takes the earlier definition away; an answer through every peer; then the earlier servers
// go. These are the calls that a release takes, in its order, each made once and none of them to find out how
// things are.
func (n *Network) Upgrade(ctx context.Context, version, image string) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upLimit, fmt.Errorf("no end after %s", upLimit))
	defer cancel()
	n.clock = newClock()
	earlier := n.definition
	if err := n.upgrade(ctx, version, image); err != nil {
		return Result{}, fmt.Errorf("unable to upgrade the chaincode: %w", err)
	}
	if err := n.clock.phase("earlier servers", func() error { return n.removeServers(ctx, earlier.Version) }); err != nil {
		return Result{}, fmt.Errorf("unable to upgrade the chaincode: %w", err)
	}
	return Result{Took: n.clock.now(), Phases: n.clock.phases()}, nil
}

func (n *Network) upgrade(ctx context.Context, version, image string) error {
	n.options.Images.Chaincode = image
	if err := n.engine.resolve(ctx, image); err != nil {
		return err
	}
	if err := n.planChaincode(version, n.definition.Sequence+1); err != nil {
		return err
	}
	n.onApproved = event{}
	var served []*event
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range n.peers() {
		p.onInstalled, p.onServed = event{}, event{}
		served = append(served, &p.onServed)
		group.Go(func() error { return n.install(gctx, p) })
		group.Go(func() error { return n.serve(gctx, p) })
	}
	group.Go(func() error {
		if err := n.define(gctx, served...); err != nil {
			return err
		}
		return n.clock.phase("peers serve", func() error { return n.awaitServed(gctx) })
	})
	return group.Wait()
}
