package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// A node that does not run is looked at every standstillPace, and given up at the standstillLooks-th look
// in a row: somebody who works on its files starts it again before, and so does the engine unless the
// node ends again and again.
const (
	standstillPace  = time.Second
	standstillLooks = 5
)

// pollNode is poll for what a node is asked. It ends when the node's process has ended and nobody starts
// it again: then no answer will come.
func (f *Fabric) pollNode(ctx context.Context, h Handle, ask func(context.Context) error) error {
	var looked time.Time
	down := 0
	return poll(ctx, func(ctx context.Context) error {
		err := ask(ctx)
		if err == nil || h.remote() || time.Since(looked) < standstillPace {
			return err
		}
		looked = time.Now()
		if why := f.standstill(ctx, h); why == nil {
			down = 0
		} else if down++; down == standstillLooks {
			return permanent(fmt.Errorf("%w: %w", why, err))
		}
		return err
	})
}

// standstill tells why a node's process does not run; nil when it does, or when that cannot be known.
func (f *Fabric) standstill(ctx context.Context, h Handle) error {
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return sibling{handle: h}.standstill()
	}
	if err != nil {
		return nil //nolint:nilerr // what cannot be known says nothing
	}
	return sibling{handle: h, container: &n}.standstill()
}
