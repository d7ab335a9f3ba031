package direct

import (
	"context"
	"slices"
	"sync"
)

// urgency orders the starts of containers: an engine starts about four a second whatever the
// parallelism, so what the first transaction waits for must come first. Less is more urgent.
type urgency int

const (
	startAuthority urgency = iota
	startOrderer
	startPeer
	startChaincode
)

// startsAtOnce is how many containers start at the same time.
const startsAtOnce = 3

// gate lets a few through at a time, the most urgent ones first and those of one urgency in the order
// in which they came.
type gate struct {
	mu      sync.Mutex
	free    int
	waiting []*waiter // in the order in which they go
}

type waiter struct {
	urgency urgency
	called  chan struct{}
}

func newGate(places int) *gate { return &gate{free: places} }

// pass waits for a place and gives the function that frees it.
func (g *gate) pass(ctx context.Context, u urgency) (leave func(), err error) {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return g.leave, nil
	}
	w := &waiter{urgency: u, called: make(chan struct{})}
	at := len(g.waiting)
	for at > 0 && g.waiting[at-1].urgency > u {
		at--
	}
	g.waiting = slices.Insert(g.waiting, at, w)
	g.mu.Unlock()
	select {
	case <-w.called:
		return g.leave, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		return nil, context.Cause(ctx)
	}
	return g.leave, nil // called at the same moment
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	next := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	close(next.called)
}
