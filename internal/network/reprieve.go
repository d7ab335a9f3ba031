package network

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// reprieveTime is how long work on a node goes on after an interrupt, once the node was taken down: in
// that time it is brought back. An interrupted Terraform is to end within 30 s.
const reprieveTime = 12 * time.Second

// reprieve is the context of who takes a node down. It ends with the context that it is of until the node
// is taken down, and then reprieveTime later: an interrupt, or a deadline, leaves no node stopped that a
// moment is enough to start again.
type reprieve struct {
	context.Context //nolint:containedctx // it is one
	of              context.Context
	begun           atomic.Bool
}

// reprieved gives the reprieve of a context, which is itself one where who takes several nodes down for one
// change goes on to the next. End frees it.
func reprieved(of context.Context) (r *reprieve, end func()) {
	if r, ok := of.(*reprieve); ok {
		return r, func() {}
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(of))
	r = &reprieve{Context: ctx, of: of}
	stop := context.AfterFunc(of, func() {
		if r.begun.Load() {
			timer := time.NewTimer(reprieveTime)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		cancel(context.Cause(of))
	})
	return r, func() { stop(); cancel(nil) }
}

// begin is said before a node is taken down. It fails when it is too late for that.
func (r *reprieve) begin() error {
	if r.begun.Swap(true) || r.of.Err() == nil {
		return nil
	}
	r.begun.Store(false)
	return context.Cause(r.of)
}

// downError completes the error of work that was cut short: it says what by, and of a node that could not be
// brought back in time that it is down.
func (f *Fabric) downError(r *reprieve, h Handle, err error) error {
	if err == nil || r.of.Err() == nil {
		return err
	}
	if cause := context.Cause(r.of); !errors.Is(err, cause) { // calls say that they were cancelled, also by a deadline
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !r.begun.Load() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r), answerTimeout)
	defer cancel()
	current, look := f.engine.Node(ctx, h.Object())
	if look == nil && current.Status == engine.Running || look != nil && !errors.Is(look, engine.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w\n%s was taken down for its change, and is down; next: apply again, which starts it", err, h)
}
