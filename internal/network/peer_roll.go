package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Peers of one organization are changed in turns, although Terraform asks for many at once, goes on
// after a failure, and runs one process for each provider alias. A turn is a lease on the engine,
// docs/decisions/0009 says why. Who has a turn looks at the others before it begins; who is down
// already needs none.

// siblingPatience is how long a peer that is down without anybody at work on it is waited for: the
// same apply may be about to repair it.
const siblingPatience = 30 * time.Second

// rolls is what this process knows of the peers that it has changed.
type rolls struct {
	// patience is siblingPatience but in tests, ordererPatience the constant of that name.
	patience, ordererPatience time.Duration

	mu sync.Mutex
	// failed are the peers whose change failed, and what with.
	failed map[Handle]error
}

func (r *rolls) settle(peer Handle, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = map[Handle]error{}
	}
	delete(r.failed, peer)
	if err != nil {
		r.failed[peer] = err
	}
}

func (r *rolls) failure(peer Handle) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed[peer]
}

// turn is the right of one peer to be changed now.
type turn struct {
	fabric *Fabric
	peer   Handle
	// lease is nil when none was needed.
	lease *lease
	// takesDown tells that the peer does its work now, and will be stopped for its change.
	takesDown bool
}

// end gives the turn to others. They are told when the change failed.
func (t *turn) end(ctx context.Context, err error) {
	t.fabric.rolls.settle(t.peer, err)
	if t.lease != nil {
		t.lease.release(ctx)
	}
}

// awaitTurn waits until a peer may be changed. One that is down goes at once, and so does one that
// need not be stopped for its change. Any other waits while as many of its organization's peers as may
// be down are, as long as somebody is at work on them, and fails with *UnavailableError when nobody is.
func (f *Fabric) awaitTurn(ctx context.Context, spec PeerSpec, n *node) (*turn, error) {
	t := &turn{fabric: f, peer: spec.Handle}
	image, err := f.prepareTurn(ctx, spec, n, t)
	if err == nil && t.takesDown {
		t.lease, err = f.awaitSlot(ctx, spec, image)
	}
	return t, err
}

// awaitPause waits until a peer that runs may be down for a while, one at a time of its organization.
func (f *Fabric) awaitPause(ctx context.Context, peer Handle, imageID string) (*turn, error) {
	t := &turn{fabric: f, peer: peer}
	siblings, err := f.siblings(ctx, peer)
	if err != nil || len(siblings) == 0 {
		return t, err
	}
	t.lease, err = f.awaitSlot(ctx, PeerSpec{Handle: peer}, imageID)
	return t, err
}

// prepareTurn finds out whether the peer needs a turn: then it is one that takes it down. One that is
// down already only tells others that it is worked on.
func (f *Fabric) prepareTurn(ctx context.Context, spec PeerSpec, n *node, t *turn) (imageID string, err error) {
	ctx, cancel := spec.bounded(ctx)
	defer cancel()
	siblings, err := f.siblings(ctx, spec.Handle)
	if err != nil || len(siblings) == 0 {
		return "", err
	}
	// Nobody else is at work on it now: what is left of a process that was killed is nobody's.
	if err := f.removeLeases(ctx, spec.Handle); err != nil {
		return "", err
	}
	self, err := f.self(ctx, spec.Handle)
	if err != nil {
		return "", err
	}
	image, err := f.resolveKept(ctx, spec.NodeOptions)
	if err != nil {
		return "", err
	}
	if f.outage(ctx, self) == nil {
		t.takesDown, err = f.takesDown(ctx, spec, n, *self.container, image)
		return image.ID, err
	}
	t.lease, err = f.hold(ctx, leaseSpec("repair-"+spec.Handle.Name, spec.Handle, image.ID))
	return image.ID, err
}

func (f *Fabric) self(ctx context.Context, h Handle) (sibling, error) {
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return sibling{handle: h}, nil
	}
	return sibling{handle: h, container: &n}, err
}

// takesDown tells whether a peer that runs must be stopped to become what is wanted: for another
// container, for other files, or because it is not well. What it has issued for that is kept for when
// the peer is made.
func (f *Fabric) takesDown(ctx context.Context, spec PeerSpec, n *node, current engine.Node, image engine.Image) (bool, error) {
	ports := keepPorts(n.publish(), current.Ports)
	if n.spec(image.ID, ports).Labels[engine.LabelSpecHash] != current.Labels[engine.LabelSpecHash] {
		return true, nil
	}
	attached, err := f.attached(ctx, n, current)
	if err != nil || !attached {
		return true, err
	}
	if spec.StateDatabase != nil {
		// The password is no part of the specification.
		if settled, err := f.settled(ctx, f.stateDatabaseNode(spec, "")); err != nil || !settled {
			return true, err
		}
	}
	if f.ailment(ctx, n.handle, current, n.ports[operationsPurpose]) != nil {
		return true, nil //nolint:nilerr // that it is not well is what was asked
	}
	if n.options.Container != "" { // its files are not ours
		return false, nil
	}
	have, err := f.nodeFiles(ctx, n.handle)
	if err != nil {
		return false, err
	}
	material, err := n.material(ctx, have.keys)
	if err != nil {
		return false, f.nodeError(ctx, n.handle, "prepare", err)
	}
	issue := n.material
	n.material = func(ctx context.Context, now map[string][]byte) (map[string][]byte, error) {
		if maps.EqualFunc(now, have.keys, bytes.Equal) {
			return material, nil
		}
		return issue(ctx, now)
	}
	return len(n.files(have, material)) > 0, nil
}

// awaitSlot takes one of the leases that the peers of an organization share, as many as may be down at
// a time, and keeps it when the others are well enough.
func (f *Fabric) awaitSlot(ctx context.Context, spec PeerSpec, imageID string) (*lease, error) {
	if err := f.awaitPorts(ctx, spec); err != nil {
		return nil, err
	}
	others := &lookout{peers: map[string]bool{}}
	for {
		l, err := f.takeSlot(ctx, spec, imageID, others)
		if err != nil {
			return nil, fmt.Errorf("unable to wait for the turn of %s: %w", spec.Handle, err)
		}
		if err = f.awaitSiblings(ctx, spec, others); err == nil {
			err = l.renew(ctx)
		}
		if err == nil {
			return l, nil
		}
		l.release(ctx)
		if !errors.Is(err, engine.ErrNotFound) { // lost while it waited
			return nil, err
		}
	}
}

func (f *Fabric) takeSlot(ctx context.Context, spec PeerSpec, imageID string, others *lookout) (*lease, error) {
	h := spec.Handle
	for {
		ended := f.leases.anyEnd()
		held, err := f.leasesOf(ctx, organizationLeases(h))
		if err == nil {
			err = others.see(held)
		}
		if err != nil {
			return nil, err
		}
		for i := range spec.mostDown() {
			slot := leaseSpec(fmt.Sprintf("%s-turn-%d", h.MSPID, i), h, imageID)
			if slices.ContainsFunc(held, func(l engine.Lease) bool { return l.Name == slot.Name }) {
				continue
			}
			l, err := f.hold(ctx, slot)
			if err == nil || !errors.Is(err, engine.ErrLeased) {
				return l, err
			}
		}
		if err := f.pauseForLease(ctx, ended); err != nil {
			return nil, err
		}
	}
}

// awaitPorts waits until no sibling has a host port that the peer is to have, as long as only one of them
// may be down at a time: who gives a port up must have its turn before who takes it.
func (f *Fabric) awaitPorts(ctx context.Context, spec PeerSpec) error {
	if spec.mostDown() > 1 {
		return nil
	}
	for since := time.Now(); ; {
		ended := f.leases.anyEnd()
		held, err := f.siblingsPort(ctx, spec)
		if err != nil || held == nil {
			return err
		}
		if time.Since(since) > f.rolls.patience {
			return fmt.Errorf("%s was not changed, and goes on as it is: %w, and peers that exchange host ports must be down at the same time: raise max_unavailable of both to 2, or move one of them to another port first", spec.Handle, held)
		}
		if err := f.pauseForLease(ctx, ended); err != nil {
			return fmt.Errorf("unable to wait for a host port of %s: %w", spec.Handle, errors.Join(held, err))
		}
	}
}

// siblingsPort finds a host port that a peer is to have and that another peer of its organization has;
// nil when there is none.
func (f *Fabric) siblingsPort(ctx context.Context, spec PeerSpec) (held error, err error) {
	published, err := f.engine.PublishedPorts(ctx)
	if err != nil {
		return nil, err
	}
	siblings, err := f.siblings(ctx, spec.Handle)
	if err != nil {
		return nil, err
	}
	for _, wanted := range spec.HostPorts {
		for _, p := range published {
			sibling := slices.ContainsFunc(siblings, func(s sibling) bool { return s.handle.Object() == p.Node })
			if sibling && p.Port == wanted && overlap(p.Address, spec.BindAddress) {
				return &engine.PortError{Node: spec.Handle.Object(), Address: p.Address, Port: p.Port, Holder: p.Node}, nil
			}
		}
	}
	return nil, nil
}

// lookout is what a peer that waits for its turn has seen of the others.
type lookout struct {
	// peers are those that somebody was seen at work on.
	peers map[string]bool
	// held are the leases as they were seen last, since when they are those.
	held  []string
	since time.Time
}

// holderTime is how long one and the same holders are waited for. Each of them has a deadline of its
// own, which is shorter unless somebody set it otherwise.
const holderTime = 30 * time.Minute

// see takes notice of who holds leases. It fails when nothing has changed for too long.
func (o *lookout) see(held []engine.Lease) error {
	var ids, names []string
	for _, l := range held {
		o.peers[l.Labels[labelPeer]] = true
		ids, names = append(ids, l.ID), append(names, l.Labels[labelPeer])
	}
	if o.since.IsZero() || !slices.Equal(ids, o.held) {
		o.held, o.since = ids, time.Now()
	}
	if time.Since(o.since) > holderTime {
		return fmt.Errorf("the change of %s takes more than %s", strings.Join(names, ", "), holderTime)
	}
	return nil
}

func organizationLeases(h Handle) map[string]string {
	labels := leaseLabels(h)
	labels[labelMSPID] = h.MSPID
	return labels
}

// mostDown is how many peers of the organization may be down at a time.
func (s PeerSpec) mostDown() int { return max(1, s.MaxUnavailable) }

// awaitSiblings waits until one more peer of the organization may be down. Those that somebody is at
// work on come back, or fail; those that nobody is at work on, and that were waited for long enough,
// count as down for good.
func (f *Fabric) awaitSiblings(ctx context.Context, spec PeerSpec, others *lookout) error {
	h, most := spec.Handle, spec.mostDown()
	since := map[Handle]time.Time{}
	for {
		ended := f.leases.anyEnd()
		busy, idle, err := f.standing(ctx, h, others)
		if err != nil {
			return err
		}
		down := f.outages(ctx, idle)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if busy+len(down) < most {
			return nil
		}
		if lasting := f.lasting(down, since, others); len(lasting) >= most {
			return f.unavailable(ctx, h, most, lasting)
		}
		if err := f.pauseForLease(ctx, ended); err != nil {
			return fmt.Errorf("unable to wait for the turn of %s: %w", h, err)
		}
	}
}

// standing counts the siblings of a peer that somebody is at work on, and gives the others.
func (f *Fabric) standing(ctx context.Context, peer Handle, others *lookout) (busy int, idle []sibling, err error) {
	// The leases before the siblings: what is seen of one that nobody was at work on is what became of it.
	held, err := f.leasesOf(ctx, organizationLeases(peer))
	if err == nil {
		held = slices.DeleteFunc(held, func(l engine.Lease) bool { return l.Labels[labelPeer] == peer.Name })
		err = others.see(held)
	}
	if err != nil {
		return 0, nil, err
	}
	siblings, err := f.siblings(ctx, peer)
	idle = slices.DeleteFunc(siblings, func(s sibling) bool {
		return slices.ContainsFunc(held, func(l engine.Lease) bool { return l.Labels[labelPeer] == s.handle.Name })
	})
	return len(siblings) - len(idle), idle, err
}

// lasting gives the siblings that will not come back by themselves: those whose change failed, those
// that somebody was at work on and no longer is, and those that are down for long enough. Since keeps
// when each was first seen down.
func (f *Fabric) lasting(down map[Handle]error, since map[Handle]time.Time, others *lookout) map[Handle]error {
	maps.DeleteFunc(since, func(peer Handle, _ time.Time) bool { return down[peer] == nil })
	out := map[Handle]error{}
	for peer, why := range down {
		if since[peer].IsZero() {
			since[peer] = time.Now()
		}
		if failed := f.rolls.failure(peer); failed != nil {
			out[peer] = failed
		} else if others.peers[peer.Name] || time.Since(since[peer]) >= f.rolls.patience {
			out[peer] = why
		}
	}
	return out
}

// awaitAbreast waits until a peer that was stopped has as many blocks again of each of its channels as
// its siblings have: one that is behind endorses on the state of before, and is no better than one
// that is down.
func (f *Fabric) awaitAbreast(ctx context.Context, peer Handle) error {
	siblings, err := f.siblings(ctx, peer)
	if err != nil {
		return err
	}
	var others []Handle
	for _, s := range siblings {
		if s.runs() {
			others = append(others, s.handle)
		}
	}
	channels, err := f.peerChannels(ctx, peer)
	if err != nil {
		return err
	}
	for _, channel := range channels {
		if err := f.awaitLevel(ctx, channel, []Handle{peer}, others...); err != nil {
			return err
		}
	}
	return nil
}
