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
	context.Context
	of    context.Context
	begun atomic.Bool
}

// reprieved gives the reprieve of a context, which is itself one where who takes several nodes down for one
// change goes on to the next. End frees it.
func reprieved(of context.Context) (ctx context.Context, end func()) {
	if _, ok := of.(*reprieve); ok {
		return of, func() {}
	}
	inner, cancel := context.WithCancelCause(context.WithoutCancel(of))
	r := &reprieve{Context: inner, of: of}
	stop := context.AfterFunc(of, func() {
		if r.begun.Load() {
			timer := time.NewTimer(reprieveTime)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-inner.Done():
			}
		}
		cancel(context.Cause(of))
	})
	return r, func() { stop(); cancel(nil) }
}

// beginReprieve is said before a node is taken down. It fails when it is too late for that.
func beginReprieve(ctx context.Context) error {
	r, ok := ctx.(*reprieve)
	if !ok {
		return ctx.Err()
	}
	if r.begun.Swap(true) || r.of.Err() == nil {
		return nil
	}
	r.begun.Store(false)
	return context.Cause(r.of) //nolint:contextcheck // what ended is asked
}

// downError completes the error of work that was cut short: it says what by, and of a node that could not be
// brought back in time that it is down.
func (f *Fabric) downError(ctx context.Context, h Handle, err error) error {
	r, ok := ctx.(*reprieve)
	if !ok || err == nil || r.of.Err() == nil {
		return err
	}
	// Calls say that they were cancelled, also by a deadline.
	if cause := context.Cause(r.of); !errors.Is(err, cause) { //nolint:contextcheck // what ended is asked
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !r.begun.Load() {
		return err
	}
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	current, failed := f.engine.Node(look, h.Object())
	if failed == nil && current.Status == engine.Running || failed != nil && !errors.Is(failed, engine.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w\n%s was taken down for its change, and is down; next: apply again, which starts it", err, h)
}
