package network

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Host ports that we choose lie below the range from which Linux takes ephemeral ports.
const (
	firstPort = 17000
	lastPort  = 31999
)

// portAllocator chooses host ports. Within this process a port is given once; against other
// processes the engine decides when the node starts.
type portAllocator struct {
	engine   engine.Engine
	mu       sync.Mutex
	reserved map[string]string // address:port -> node
}

// allocate completes the host ports of a node: given ones are checked, absent ones (0) are chosen.
// The search begins at a place that the node's name gives, so that the same network tends to get
// the same ports again. It fails with *engine.PortError when a given port is taken.
func (a *portAllocator) allocate(ctx context.Context, node string, ports []engine.Port) ([]engine.Port, error) {
	published, err := a.engine.PublishedPorts(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reserved == nil {
		a.reserved = map[string]string{}
	}
	out := make([]engine.Port, len(ports))
	for i, port := range ports {
		if port.Host != 0 {
			if err := a.check(ctx, node, port, published); err != nil {
				return nil, err
			}
		} else if port.Host, err = a.choose(ctx, fmt.Sprintf("%s/%d", node, port.Container), node, port.Address, published); err != nil {
			return nil, err
		}
		a.reserved[key(port.Address, port.Host)] = node
		out[i] = port
	}
	return out, nil
}

func (a *portAllocator) check(ctx context.Context, node string, port engine.Port, published []engine.PublishedPort) error {
	if holder := a.reserved[key(port.Address, port.Host)]; holder != "" && holder != node {
		return &engine.PortError{Node: node, Address: port.Address, Port: port.Host, Holder: holder}
	}
	for _, p := range published {
		if p.Port == port.Host && overlap(p.Address, port.Address) {
			if p.Node == node {
				return nil // its own container: a free port would be a contradiction
			}
			return &engine.PortError{Node: node, Address: port.Address, Port: port.Host, Holder: p.Node}
		}
	}
	free, err := a.engine.PortFree(ctx, port.Address, port.Host)
	if err != nil {
		return err
	}
	if !free {
		return &engine.PortError{Node: node, Address: port.Address, Port: port.Host}
	}
	return nil
}

func (a *portAllocator) choose(ctx context.Context, seed, node, address string, published []engine.PublishedPort) (int, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(seed)) // a hash never fails
	const span = lastPort - firstPort + 1
	start := int(h.Sum32() % span)
	for i := range span {
		port := engine.Port{Host: firstPort + (start+i)%span, Address: address}
		if a.reserved[key(address, port.Host)] == node {
			continue // another port of the same node
		}
		err := a.check(ctx, node, port, published)
		if err == nil {
			return port.Host, nil
		}
		if !errors.Is(err, engine.ErrPortTaken) {
			return 0, err
		}
	}
	return 0, fmt.Errorf("unable to choose a host port for %s: none is free between %d and %d", node, firstPort, lastPort)
}

// release forgets what was reserved for a node that is gone.
func (a *portAllocator) release(node string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, holder := range a.reserved {
		if holder == node {
			delete(a.reserved, k)
		}
	}
}

func key(address string, port int) string { return fmt.Sprintf("%s:%d", address, port) }

func overlap(a, b string) bool { return a == b || wildcard(a) || wildcard(b) }

func wildcard(address string) bool { return address == "" || address == "0.0.0.0" || address == "::" }
