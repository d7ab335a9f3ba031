package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Host ports that we choose lie below the range from which Linux takes ephemeral ports.
const (
	firstPort = 17000
	lastPort  = 31999
)

// yieldTime is how long a node waits for a port that another node of the same network has: in one
// apply a port may pass from one to the other, and nothing orders the two.
const yieldTime = 15 * time.Second

// portAllocator chooses host ports. Within this process a port is given once; against other
// processes the engine decides when the node starts.
type portAllocator struct {
	engine   engine.Engine
	mu       sync.Mutex
	reserved []reservation
	// yield is yieldTime but in tests.
	yield time.Duration
}

type reservation struct {
	node string
	port engine.Port
}

// allocate completes the host ports of a node that has no container: given ones are checked, absent
// ones (0) are chosen. The search begins at a place that the node's name gives, so that the same
// network tends to get the same ports again. It waits for a given port that another node of the
// same owner has, and fails with *engine.PortError when it is not given up, or is anybody else's.
func (a *portAllocator) allocate(ctx context.Context, node, owner string, ports []engine.Port) ([]engine.Port, error) {
	deadline := time.NewTimer(a.yield)
	defer deadline.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		out, siblings, err := a.try(ctx, node, owner, ports)
		if err == nil || !siblings || !errors.Is(err, engine.ErrPortTaken) {
			return out, err
		}
		select {
		case <-look.C:
		case <-deadline.C:
			return nil, err
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}

// refuseForeign fails with *engine.PortError when a wanted port is taken by anything but this node
// and other nodes of the same owner, which may be about to give it up.
func (a *portAllocator) refuseForeign(ctx context.Context, node, owner string, ports []engine.Port) error {
	published, err := a.engine.PublishedPorts(ctx)
	if err != nil {
		return err
	}
	for _, port := range ports {
		if port.Host == 0 {
			continue
		}
		if sibling, err := a.check(ctx, node, owner, port, published); err != nil && !sibling {
			return err
		}
	}
	return nil
}

// try is one attempt of allocate; siblings tells that only nodes of the same owner stand in the way.
// Ports are reserved before the engine is asked about them, so that nodes need not wait for each other.
func (a *portAllocator) try(ctx context.Context, node, owner string, ports []engine.Port) (out []engine.Port, siblings bool, err error) {
	published, err := a.engine.PublishedPorts(ctx)
	if err != nil {
		return nil, false, err
	}
	a.release(node)
	defer func() {
		if err != nil {
			a.release(node)
		}
	}()
	for _, port := range ports {
		if port.Host == 0 {
			continue // chosen when the given ones are known
		}
		if holder := a.take(node, port); holder != "" {
			return nil, true, &engine.PortError{Node: node, Address: port.Address, Port: port.Host, Holder: holder}
		}
		if sibling, err := a.check(ctx, node, owner, port, published); err != nil {
			return nil, sibling, err
		}
	}
	for _, port := range ports {
		if port.Host == 0 {
			if port.Host, err = a.choose(ctx, node, owner, port, published); err != nil {
				return nil, false, err
			}
		}
		out = append(out, port)
	}
	return out, false, nil
}

// take reserves a port for a node, or gives the other node that it is reserved for.
func (a *portAllocator) take(node string, port engine.Port) (holder string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.reserved {
		if r.port.Host == port.Host && overlap(r.port.Address, port.Address) {
			return r.node
		}
	}
	a.reserved = append(a.reserved, reservation{node, port})
	return ""
}

// check fails when a port is published by anything but the node itself, or cannot be bound; sibling
// tells that another node of the same owner has it.
func (a *portAllocator) check(ctx context.Context, node, owner string, port engine.Port, published []engine.PublishedPort) (sibling bool, err error) {
	own := false
	for _, p := range published {
		if p.Port != port.Host || !overlap(p.Address, port.Address) {
			continue
		}
		if p.Node != node {
			return p.Owner == owner, &engine.PortError{Node: node, Address: port.Address, Port: port.Host, Holder: p.Node}
		}
		own = true
	}
	if own {
		return false, nil // to ask whether it can be bound would be a contradiction
	}
	free, err := a.engine.PortFree(ctx, port.Address, port.Host)
	if err == nil && !free {
		err = &engine.PortError{Node: node, Address: port.Address, Port: port.Host}
	}
	return false, err
}

// choose finds a free port and reserves it.
func (a *portAllocator) choose(ctx context.Context, node, owner string, port engine.Port, published []engine.PublishedPort) (int, error) {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s/%d", node, port.Container) // a hash never fails
	const span = lastPort - firstPort + 1
	start := h.Sum32() % span
	for i := range uint32(span) {
		port.Host = int(firstPort + (start+i)%span)
		if a.take(node, port) != "" {
			continue
		}
		_, err := a.check(ctx, node, owner, port, published)
		if err == nil {
			return port.Host, nil
		}
		a.drop(func(r reservation) bool { return r.node == node && r.port == port })
		if !errors.Is(err, engine.ErrPortTaken) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("unable to choose a host port for %s: none is free between %d and %d", node, firstPort, lastPort)
}

// reserve remembers the ports that a node's container has.
func (a *portAllocator) reserve(node string, ports []engine.Port) {
	a.release(node)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, port := range ports {
		a.reserved = append(a.reserved, reservation{node, port})
	}
}

// release forgets what was reserved for a node.
func (a *portAllocator) release(node string) {
	a.drop(func(r reservation) bool { return r.node == node })
}

func (a *portAllocator) drop(when func(reservation) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserved = slices.DeleteFunc(a.reserved, when)
}

func overlap(a, b string) bool { return a == b || wildcard(a) || wildcard(b) }

func wildcard(address string) bool { return address == "" || address == "0.0.0.0" || address == "::" }
