package network

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// quick makes leases live for moments.
func quick(f *Fabric) *Fabric {
	f.leases.beat, f.leases.life = 20*time.Millisecond, 200*time.Millisecond
	f.rolls.patience, f.rolls.ordererPatience = 300*time.Millisecond, 300*time.Millisecond
	return f
}

// killed ends a lease's renewals as the end of its process does: the lease stays.
func killed(l *lease) {
	l.stop()
	l.renews.Wait()
}

func TestLeaseIsHeldUntilReleased(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRig(t)
	ours, theirs := quick(r.fabric), quick(New(r.fake))
	spec := leaseSpec("work", r.peer(), "peer:3.1.1")
	held, err := ours.hold(t.Context(), spec)
	r.must(err)
	if _, err := theirs.hold(t.Context(), spec); !errors.Is(err, engine.ErrLeased) {
		t.Errorf("a second holder got %v", err)
	}
	// It is renewed: nobody takes it for abandoned, however long that takes.
	limited, cancel := context.WithTimeout(t.Context(), 3*theirs.leases.life)
	defer cancel()
	if _, err := theirs.await(limited, r.peer(), spec); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lease that is held gave %v", err)
	}
	r.must(held.renew(t.Context()))
	got := make(chan error, 1)
	go func() {
		l, err := theirs.await(t.Context(), r.peer(), spec)
		if err == nil {
			l.release(t.Context())
		}
		got <- err
	}()
	held.release(t.Context())
	r.must(<-got)
	if left, err := r.fake.Leases(t.Context(), nil); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestLeaseOfAKilledProcess(t *testing.T) {
	r := newRig(t)
	ours, theirs := quick(r.fabric), quick(New(r.fake))
	spec := leaseSpec("work", r.peer(), "peer:3.1.1")
	held, err := ours.hold(t.Context(), spec)
	r.must(err)
	killed(held)
	begun := time.Now()
	taken, err := theirs.await(t.Context(), r.peer(), spec)
	r.must(err)
	if waited := time.Since(begun); waited < theirs.leases.life {
		t.Errorf("it was taken over after %s, before it could have been renewed", waited)
	}
	// Who was only held up finds out before it does anything, and takes nothing from the other one.
	if err := held.renew(t.Context()); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the first holder is told %v", err)
	}
	held.release(t.Context())
	if left, err := r.fake.Leases(t.Context(), nil); err != nil || len(left) != 1 || left[0].ID != taken.have.ID {
		t.Errorf("the leases are %v, %v", left, err)
	}
	taken.release(t.Context())
}

// TestLeaseOutlivesItsContext: work that is cut short still holds what it holds, until it is in order.
func TestLeaseOutlivesItsContext(t *testing.T) {
	r := newRig(t)
	ours, theirs := quick(r.fabric), quick(New(r.fake))
	ctx, cancel := context.WithCancel(t.Context())
	held, err := ours.hold(ctx, leaseSpec("work", r.peer(), "peer:3.1.1"))
	r.must(err)
	cancel()
	limited, done := context.WithTimeout(t.Context(), 3*theirs.leases.life)
	defer done()
	if _, err := theirs.await(limited, r.peer(), leaseSpec("work", r.peer(), "peer:3.1.1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for it gave %v", err)
	}
	held.release(t.Context())
}

func TestLeasesGoWithTheirNode(t *testing.T) {
	r := newRig(t)
	f := quick(r.fabric)
	other := r.on.With(KindPeer, "peer1.org1", "Org1MSP")
	mine, err := f.hold(t.Context(), leaseSpec("a", r.peer(), "peer:3.1.1"))
	r.must(err)
	killed(mine)
	theirs, err := f.hold(t.Context(), leaseSpec("b", other, "peer:3.1.1"))
	r.must(err)
	defer theirs.release(t.Context())
	r.must(f.removeLeases(t.Context(), r.peer()))
	left, err := r.fake.Leases(t.Context(), nil)
	if err != nil || len(left) != 1 || left[0].Labels[labelPeer] != other.Name {
		t.Errorf("left are %v, %v", left, err)
	}
}
