package network

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// TestInterruptLeavesNodeRunning interrupts the change of a node that runs at every call to the engine: at
// the end the node runs, as it was or as it is wanted.
func TestInterruptLeavesNodeRunning(t *testing.T) {
	renewed := func(n *node) {
		n.material = func(context.Context, map[string][]byte) (map[string][]byte, error) {
			return map[string][]byte{"tls/key.pem": []byte("key 2")}, nil
		}
	}
	for name, change := range map[string]func(*node){"another container": limited, "other files": renewed} {
		t.Run(name, func(t *testing.T) {
			interrupted := func(at int) (calls int, err error) {
				r := newRig(t)
				r.make()
				ctx, interrupt := context.WithCancel(t.Context())
				defer interrupt()
				r.fake.Intercept(func(enginetest.Call) error {
					if calls++; calls == at {
						interrupt()
					}
					return nil
				})
				_, err = r.fabric.ensure(ctx, r.node(existing, change))
				r.fake.Intercept(nil)
				now, look := r.fake.Node(t.Context(), r.peer().Object())
				r.must(look)
				if now.Status != engine.Running {
					t.Errorf("interrupted at call %d, it is %s, and the error is %v", at, now.Status, err)
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("interrupted at call %d: %v", at, err)
				}
				return calls, err
			}
			calls, err := interrupted(0)
			if err != nil || calls == 0 {
				t.Fatalf("%d calls, %v", calls, err)
			}
			late := 0
			for at := range calls {
				if _, err := interrupted(at + 1); err == nil {
					late++
				}
			}
			if late == 0 {
				t.Error("no change was brought to its end")
			}
		})
	}
}

// TestReprieveEnds: what does not come back in time is named as down, and the command ends.
func TestReprieveEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.make()
		ctx, interrupt := context.WithCancel(t.Context())
		defer interrupt()
		var since time.Time
		stuck := func(n *node) {
			n.material = func(ctx context.Context, _ map[string][]byte) (map[string][]byte, error) { // its CA does not answer
				since = time.Now()
				interrupt()
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
		}
		_, err := r.fabric.ensure(ctx, r.node(existing, limited, stuck))
		if took := time.Since(since); took != reprieveTime {
			t.Errorf("it ended after %s", took)
		}
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "is down; next: apply again, which starts it") {
			t.Errorf("the error is %v", err)
		}
		state, err := r.fabric.ensure(t.Context(), r.node(existing, limited))
		r.must(err)
		if state.Status != engine.Running {
			t.Errorf("the next apply left it %s", state.Status)
		}
	})
}

// TestReprieveTellsDeadlines: what a deadline ended was not cancelled by anybody.
func TestReprieveTellsDeadlines(t *testing.T) {
	r := newRig(t)
	r.make()
	of, end := context.WithTimeout(t.Context(), time.Nanosecond)
	defer end()
	<-of.Done()
	if _, err := r.fabric.ensure(of, r.node(existing, limited)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

// TestReprieveNeedsADown: before a node is taken down there is nothing to bring back.
func TestReprieveNeedsADown(t *testing.T) {
	of, interrupt := context.WithCancel(t.Context())
	r, end := reprieved(of)
	defer end()
	interrupt()
	<-r.Done()
	if err := beginReprieve(r); !errors.Is(err, context.Canceled) {
		t.Errorf("a node may be taken down after the interrupt: %v", err)
	}
	again, _ := reprieved(r)
	if again != r {
		t.Error("a reprieve has another one")
	}
}
