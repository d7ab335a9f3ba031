package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// A holder renews its lease every leaseBeat. One that nobody has seen renewed for leaseLife is its
// holder's no more: a process that was killed. No two clocks are compared, see docs/decisions/0009.
const (
	leaseBeat = 3 * time.Second
	leaseLife = 20 * time.Second
)

// leases is what this process knows of leases: what it has seen of those of others, and how it wakes
// those who wait in this same process.
type leases struct {
	// beat and life are leaseBeat and leaseLife but in tests.
	beat, life time.Duration

	mu   sync.Mutex
	seen map[string]glimpse
	// ended closes when a lease of this process ends.
	ended chan struct{}
}

// glimpse is when a lease was first seen with its present beat.
type glimpse struct {
	beat  int
	since time.Time
}

func newLeases() leases {
	return leases{beat: leaseBeat, life: leaseLife, ended: make(chan struct{})}
}

// fresh tells whether a lease may still have a holder: it was renewed since it was seen last, or was
// seen too short a time.
func (l *leases) fresh(lease engine.Lease) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.seen[lease.ID]
	if known && last.beat == lease.Beat {
		return time.Since(last.since) < l.life
	}
	if l.seen == nil {
		l.seen = map[string]glimpse{}
	}
	l.seen[lease.ID] = glimpse{beat: lease.Beat, since: time.Now()}
	return true
}

// wake tells all who wait in this process that a lease has ended.
func (l *leases) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.ended)
	l.ended = make(chan struct{})
}

// anyEnd gives what closes when the next lease of this process ends.
func (l *leases) anyEnd() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// lookAgain is how often is looked at what another process does.
const lookAgain = time.Second

// pauseForLease waits until a lease of this process ends, or it is time to look what others did.
func (f *Fabric) pauseForLease(ctx context.Context, ended <-chan struct{}) error {
	timer := time.NewTimer(min(lookAgain, f.leases.life/4))
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leasesOf lists the leases with these labels that have a holder. The others are taken away.
func (f *Fabric) leasesOf(ctx context.Context, labels map[string]string) ([]engine.Lease, error) {
	all, err := f.engine.Leases(ctx, labels)
	if err != nil {
		return nil, err
	}
	var held []engine.Lease
	for _, lease := range all {
		if f.leases.fresh(lease) {
			held = append(held, lease)
		} else if err := f.engine.RemoveLease(ctx, lease); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// lease is a lease that this process holds, and renews until it is released.
type lease struct {
	fabric *Fabric
	mu     sync.Mutex
	have   engine.Lease
	stop   context.CancelFunc
	renews sync.WaitGroup
}

// hold takes a lease. engine.ErrLeased when another one has it.
func (f *Fabric) hold(ctx context.Context, spec engine.LeaseSpec) (*lease, error) {
	have, err := f.engine.CreateLease(ctx, spec)
	if err != nil {
		return nil, err
	}
	l := &lease{fabric: f, have: have}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	l.renews.Go(func() { l.keep(ctx) })
	return l, nil
}

// keep renews the lease again and again. An engine that does not answer is asked again: nobody can
// take the lease away through it either.
func (l *lease) keep(ctx context.Context) {
	beats := time.NewTicker(l.fabric.leases.beat)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
		}
		if err := l.renew(ctx); errors.Is(err, engine.ErrNotFound) {
			return
		}
	}
}

// renew tells others that the holder lives. engine.ErrNotFound when it came too late for them, and
// the lease is lost: a process can be held up between any two steps, so this is asked before a step
// that the lease is for.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, err := l.fabric.engine.RenewLease(ctx, l.have)
	if err == nil {
		l.have = next
	}
	return err
}

// releaseTime is how long giving a lease up may take, also when the work under it was cut short.
const releaseTime = 30 * time.Second

// release gives the lease up. A lease that cannot be given up falls to others when leaseLife is over.
func (l *lease) release(ctx context.Context) {
	l.stop()
	l.renews.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	_ = l.fabric.engine.RemoveLease(ctx, l.have)
	l.fabric.leases.wake()
}

// await waits until it has the lease.
func (f *Fabric) await(ctx context.Context, h Handle, spec engine.LeaseSpec) (*lease, error) {
	for {
		ended := f.leases.anyEnd()
		l, err := f.hold(ctx, spec)
		if err == nil || !errors.Is(err, engine.ErrLeased) {
			return l, err
		}
		if _, err := f.leasesOf(ctx, leaseLabels(h)); err != nil { // takes away what nobody holds
			return nil, err
		}
		if err := f.pauseForLease(ctx, ended); err != nil {
			return nil, fmt.Errorf("unable to take lease %s, which another process holds: %w", spec.Name, err)
		}
	}
}

// leaseLabels are those of every lease of a network.
func leaseLabels(h Handle) map[string]string {
	return map[string]string{engine.LabelOwner: h.Owner, engine.LabelKind: string(KindLease), engine.LabelNetwork: h.Network}
}

// leaseSpec asks for a lease on behalf of a node.
func leaseSpec(name string, h Handle, imageID string) engine.LeaseSpec {
	labels := h.labels()
	labels[engine.LabelKind], labels[engine.LabelName], labels[labelPeer] = string(KindLease), name, h.Name
	return engine.LeaseSpec{Name: h.Network + "-" + name, Image: imageID, Labels: labels}
}

// removeLeases takes away the leases that were taken on behalf of a node that goes.
func (f *Fabric) removeLeases(ctx context.Context, h Handle) error {
	labels := leaseLabels(h)
	labels[labelPeer] = h.Name
	held, err := f.engine.Leases(ctx, labels)
	failed := []error{err}
	for _, l := range held {
		failed = append(failed, f.engine.RemoveLease(ctx, l))
	}
	return errors.Join(failed...)
}
