// Package direct brings up the network of examples/quickstart with nothing between it and the Engine
// API and Fabric's own protocols: no Terraform, no resource that waits for another one as a whole, no
// reading back of what was just made. The nodes, their keys, their certificates, the channel and the
// chaincode are the same; only the order is another: whatever can overlap does, and what the first
// transaction waits for goes first. How long that takes is the floor that the provider is held to.
//
// It shares the packages of Fabric's protocols with the provider, and neither its use cases nor its
// engine: those are what is being measured.
package direct

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// Images are what the nodes are made from, by reference. The engine must have them.
type Images struct {
	CA, Orderer, Peer, Chaincode string
}

// Options say what is brought up.
type Options struct {
	// Name is that of the engine's network, and what the name of every other object begins with.
	Name   string
	Images Images
	// Version is the Fabric release of orderers and peers.
	Version nodeconfig.Version
	// Batch says when blocks are cut; zero fields are Fabric's defaults.
	Batch configtx.Batch
}

// Result is what was done and how long it took.
type Result struct {
	// Took is the time from nothing to the committed transaction with everything else done, or back.
	Took time.Duration
	// Phases are in the order in which they began. They overlap.
	Phases []Phase
	// TxID is the transaction and Block the number of its block.
	TxID  string
	Block uint64
}

// upLimit bounds a bring-up: nodes that never answer must not hold up the measurement for good.
const upLimit = 3 * time.Minute

// Up brings the network up, from nothing to a committed transaction. After a failure too, Down takes
// everything away. The network that it gives must be closed.
func Up(ctx context.Context, api *client.Client, options Options) (*Network, Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, upLimit, fmt.Errorf("no end after %s", upLimit))
	defer cancel()
	group, gctx := errgroup.WithContext(ctx)
	n := &Network{
		options: options, clock: newClock(), group: group,
		engine: &engine{api: api, name: options.Name, starts: newGate(startsAtOnce)},
	}
	err := n.plan(gctx)
	if err == nil {
		n.launch(gctx)
		err = group.Wait()
	}
	if err != nil {
		n.Close()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		return nil, Result{}, fmt.Errorf("unable to bring the network up: %w", err)
	}
	return n, Result{Took: n.clock.now(), Phases: n.clock.phases(), TxID: n.txID, Block: n.block}, nil
}

// launch starts every strand of the work. Strands wait for each other by events; the first failure
// ends all of them.
func (n *Network) launch(ctx context.Context) {
	n.run(func() error { return n.engine.network(ctx, &n.onNetwork) })
	for _, org := range n.organizations {
		n.run(func() error { return n.runAuthority(ctx, org) })
		n.run(func() error { return n.enrollAdmin(ctx, org) })
		for _, m := range org.members {
			n.run(func() error { return n.runMember(ctx, m) })
		}
	}
	n.run(func() error { return n.makeGenesis(ctx) })
	for _, o := range n.orderers() {
		n.run(func() error { return n.joinOrderer(ctx, o) })
	}
	for _, p := range n.peers() {
		n.run(func() error { return n.joinPeer(ctx, p) })
		n.run(func() error { return n.install(ctx, p) })
		n.run(func() error { return n.serve(ctx, p) })
	}
	n.run(func() error { return n.release(ctx) })
}

func (n *Network) run(strand func() error) { n.group.Go(strand) }
