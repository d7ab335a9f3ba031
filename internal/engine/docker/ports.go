package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// dialTimeout bounds one connection attempt: to a host that is gone it would hang.
const dialTimeout = 5 * time.Second

// Dial implements engine.Engine by the host port that the node's port is published on or, on a
// Linux host of the engine, by the node's own address. An engine's proxy may accept a connection
// to a published port on which nobody listens yet, and then close it.
func (e *Engine) Dial(ctx context.Context, node string, port int) (net.Conn, error) {
	at := nodePort{node, port}
	target, known := e.reached.get(at)
	var err error
	if !known {
		target, err = e.locate(ctx, at)
	}
	var conn net.Conn
	if err == nil {
		dialer := net.Dialer{Timeout: dialTimeout}
		if conn, err = dialer.DialContext(ctx, "tcp", target); err != nil {
			e.reached.forget(node)
		}
	}
	if cerrdefs.IsNotFound(err) {
		return nil, &engine.NotFoundError{Kind: "container", Name: node}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to connect to port %d of container %s: %w", port, node, err)
	}
	return conn, nil
}

// locate asks the engine where a port of a container is reached from here.
func (e *Engine) locate(ctx context.Context, at nodePort) (string, error) {
	asked := time.Now()
	have, err := e.inspect(ctx, at.node)
	if err != nil {
		return "", err
	}
	port := at.port
	adoption, err := adoptionOf(have.Config.Labels)
	if err != nil {
		return "", err
	}
	if adoption != nil {
		if port = adoption.Ports[at.port]; port == 0 {
			return "", engine.ErrNotPublished
		}
		if have, err = e.inspect(ctx, adoption.Node); err != nil {
			return "", err
		}
	}
	target, published, err := e.endpoint(have, port)
	if err == nil && published {
		e.reached.put(at, target, asked)
	}
	return target, err
}

// nodePort is a port of a container by the container's name.
type nodePort struct {
	node string
	port int
}

// reachedFor is how long the address of a published port is taken for known. A node that comes up is
// dialled many times until it answers; but somebody else may take its port when it is gone.
const reachedFor = 2 * time.Second

// targetCache holds where published ports are reached. What this process does to a container makes it
// forget that one; what somebody else does shows when a connection fails, or soon after.
type targetCache struct {
	mu      sync.Mutex
	targets map[nodePort]target
	// forgotten is when something was done to a container last.
	forgotten map[string]time.Time
}

type target struct {
	address string
	until   time.Time
}

func (c *targetCache) get(at nodePort) (address string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.targets[at]
	return t.address, ok && time.Now().Before(t.until)
}

// put remembers what the engine was asked for at that time, unless something happened since.
func (c *targetCache) put(at nodePort, address string, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forgotten[at.node].Before(asked) {
		return
	}
	if c.targets == nil {
		c.targets = map[nodePort]target{}
	}
	c.targets[at] = target{address, asked.Add(reachedFor)}
}

func (c *targetCache) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten == nil {
		c.forgotten = map[string]time.Time{}
	}
	c.forgotten[node] = time.Now()
	maps.DeleteFunc(c.targets, func(at nodePort, _ target) bool { return at.node == node })
}

// endpoint gives the address by which a port of a container is reached from here, and whether it is
// a published one.
func (e *Engine) endpoint(c container.InspectResponse, port int) (address string, published bool, err error) {
	if c.State.Status != container.StateRunning {
		return "", false, fmt.Errorf("it is not running (%s)", c.State.Status)
	}
	for _, p := range boundPorts(c) {
		if p.Container != port {
			continue
		}
		host := p.Address
		bound, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			return "", false, err
		case bound.IsUnspecified() && e.address.host != "":
			host = e.address.host
		case bound.IsUnspecified():
			host = "127.0.0.1"
		case bound.IsLoopback() && !e.address.local:
			return "", false, fmt.Errorf("it is published on %s of the engine's host only, which is not this one", host)
		}
		return net.JoinHostPort(host, strconv.Itoa(p.Host)), true, nil
	}
	if e.address.local && runtime.GOOS == "linux" {
		for _, endpoint := range c.NetworkSettings.Networks {
			if endpoint != nil && endpoint.IPAddress.IsValid() {
				return net.JoinHostPort(endpoint.IPAddress.String(), strconv.Itoa(port)), false, nil
			}
		}
	}
	return "", false, engine.ErrNotPublished
}

// PublishedPorts implements engine.Engine: tcp ports only. The list of containers tells the ports
// of running ones; those of others are read one by one.
func (e *Engine) PublishedPorts(ctx context.Context) ([]engine.PublishedPort, error) {
	ports, err := e.publishedPorts(ctx)
	if err != nil {
		return nil, fmt.Errorf("unable to list the published ports: %w", err)
	}
	return ports, nil
}

func (e *Engine) publishedPorts(ctx context.Context) ([]engine.PublishedPort, error) {
	list, err := e.listContainers(ctx, nil, true)
	if err != nil {
		return nil, err
	}
	ports := make([][]engine.Port, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxInspects)
	for i, summary := range list {
		if summary.State == container.StateRunning {
			ports[i] = summaryPorts(summary)
			continue
		}
		if summary.HostConfig.NetworkMode == network.NetworkNone {
			continue // publishes nothing
		}
		if known, ok := e.bound.get(summary.ID); ok {
			ports[i] = known
			continue
		}
		group.Go(func() error {
			have, err := e.inspect(gctx, summary.ID)
			if err == nil {
				ports[i] = boundPorts(have)
				e.bound.put(summary.ID, ports[i])
			} else if !cerrdefs.IsNotFound(err) { // it may have gone since
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	e.bound.keep(list)
	var out []engine.PublishedPort
	for i, summary := range list {
		for _, p := range ports[i] {
			out = append(out, engine.PublishedPort{
				Node: summaryName(summary), Owner: summary.Labels[engine.LabelOwner], Address: p.Address, Port: p.Host,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b engine.PublishedPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Node, b.Node))
	})
	return out, nil
}

// portCache holds what containers are bound to, by container ID.
type portCache struct {
	mu    sync.Mutex
	ports map[string][]engine.Port
}

func (c *portCache) get(id string) ([]engine.Port, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ports, ok := c.ports[id]
	return ports, ok
}

func (c *portCache) put(id string, ports []engine.Port) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ports == nil {
		c.ports = map[string][]engine.Port{}
	}
	c.ports[id] = ports
}

// keep forgets the containers that are not in a list any more.
func (c *portCache) keep(list []container.Summary) {
	listed := make(map[string]bool, len(list))
	for _, summary := range list {
		listed[summary.ID] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.ports, func(id string, _ []engine.Port) bool { return !listed[id] })
}

// PortFree implements engine.Engine: no running container has the port and, when the engine's host
// is this one, it can be bound here.
func (e *Engine) PortFree(ctx context.Context, address string, port int) (bool, error) {
	_, free, err := e.holder(ctx, address, port, "")
	if err != nil {
		return false, fmt.Errorf("unable to tell whether port %d at %s is free: %w", port, address, err)
	}
	return free, nil
}

// holder finds the running container, other than node, that has a host port. It is empty when the
// port is free or another program's.
func (e *Engine) holder(ctx context.Context, address string, port int, node string) (name string, free bool, err error) {
	running, err := e.listContainers(ctx, nil, false)
	if err != nil {
		return "", false, err
	}
	for _, summary := range running {
		for _, p := range summaryPorts(summary) {
			if p.Host == port && overlap(p.Address, address) && summaryName(summary) != node {
				return summaryName(summary), false, nil
			}
		}
	}
	return "", !e.address.local || bindable(ctx, address, port), nil
}

// bindable tries to listen. Only "in use" tells anything: the engine may bind what we may not.
func bindable(ctx context.Context, address string, port int) bool {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	_ = listener.Close() // nobody has connected
	return true
}

// overlap tells whether one port at both addresses would clash.
func overlap(a, b string) bool { return a == b || unspecified(a) || unspecified(b) }

func unspecified(address string) bool {
	ip, err := netip.ParseAddr(address)
	return address == "" || err == nil && ip.IsUnspecified()
}
