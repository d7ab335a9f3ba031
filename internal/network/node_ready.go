package network

import (
	"context"
	"errors"
	"fmt"
)

// awaitReady waits until the node does its work. A node that exits meanwhile fails at once.
func (f *Fabric) awaitReady(ctx context.Context, n *node) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		if code, err := f.engine.AwaitExit(ctx, n.handle.Object()); err == nil {
			cancel(f.exited(ctx, n.handle, code))
		}
	}()
	err := poll(ctx, n.ready)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		err = cause
	}
	cancel(nil)
	<-watch
	if err == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if errors.Is(err, errExited) {
		// The engine would start it again and again, and its last words would be buried under the
		// first ones of the next attempt.
		if stop := f.stop(ctx, n.handle); stop != nil {
			err = fmt.Errorf("%w (%w)", err, stop)
		}
	}
	return f.nodeError(ctx, n.handle, "start", err)
}

// errExited: a node's process ended although it was to run.
var errExited = errors.New("it exited")

// killedCode is the exit code of a process that was ended by SIGKILL.
const killedCode = 137

// exited says how a node's process ended.
func (f *Fabric) exited(ctx context.Context, h Handle, code int) error {
	if n, err := f.engine.Node(ctx, h.Object()); err == nil && n.OOMKilled {
		return fmt.Errorf("%w with code %d, killed for want of memory: raise memory_mib in limits", errExited, code)
	}
	if code == killedCode { // by the time that it is looked at, the engine may have started it again
		return fmt.Errorf("%w with code %d: it was killed, most likely for want of memory: raise memory_mib in limits", errExited, code)
	}
	return fmt.Errorf("%w with code %d", errExited, code)
}
