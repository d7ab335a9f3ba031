package network

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestPollNode: a node that ended is not waited for; one that is started again is.
func TestPollNode(t *testing.T) {
	r := newRig(t)
	r.make()
	h := r.peer()
	silent := errors.New("no answer")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	r.fake.SetStatus(h.Object(), engine.Stopped, 2)
	err := r.fabric.pollNode(ctx, h, func(context.Context) error { return silent })
	if !errors.Is(err, silent) || !strings.Contains(err.Error(), "it exited with code 2") || ctx.Err() != nil {
		t.Errorf("a node that ended gave %v", err)
	}
	r.fake.VanishNode(h.Object())
	if err := r.fabric.pollNode(ctx, h, func(context.Context) error { return silent }); !errors.Is(err, silent) || !strings.Contains(err.Error(), "its container is gone") {
		t.Errorf("a node that is gone gave %v", err)
	}
	_, err = r.fabric.ensure(t.Context(), r.node(existing))
	r.must(err)
	r.fake.SetStatus(h.Object(), engine.Stopped, 0)
	time.AfterFunc(standstillPace*5/2, func() { r.fake.SetStatus(h.Object(), engine.Running, 0) })
	r.must(r.fabric.pollNode(ctx, h, func(ctx context.Context) error {
		n, err := r.fake.Node(ctx, h.Object())
		if err == nil && n.Status != engine.Running {
			err = silent
		}
		return err
	}))
}
