//go:build unix

package kill

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// manner is how a call goes wrong.
type manner string

const (
	// errorBefore: the engine never gets the call, which fails. errorAfter: it does its work, and the
	// answer gets lost.
	errorBefore manner = "error before"
	errorAfter  manner = "error after"
	// torn: the process dies while the engine is at it. Files are half-written then, a run-once node
	// is on its way.
	torn manner = "torn"
	// death: the process dies when the engine has done its work.
	death manner = "death"
)

// errInjected is what a call fails with that was told to fail.
var errInjected = errors.New("this call was told to fail")

// mortal is an engine that lets calls which change something go wrong, each in every manner that was
// not tried before. It is the engine of one process.
type mortal struct {
	engine.Engine
	// tried are the points of failure that are over; a point is a call and a manner.
	tried map[string]bool
	// reach is told the point before it happens.
	reach func(point string)
	// die ends the process. In memory it returns, and the engine is dead to its process from then on.
	die func()
	// choose tells which of so many things are tried of a call, by their index.
	choose func(call string, of int) []int

	dead atomic.Bool
	mu   sync.Mutex
	// stage is the step that is being done: the same call in another one is another point.
	stage string
	// writes is at which write to a node the process dies; zero is never.
	writes int
	point  string
}

var errDead = errors.New("the process of this engine is dead")

// oneOf chooses one thing for each call, by the seed.
func oneOf(seed uint64) func(string, int) []int {
	return func(call string, of int) []int {
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%d/%d/%s", seed, of, call) // a hash never fails
		return []int{int(h.Sum64() >> 1 % uint64(of))}
	}
}

func every(_ string, of int) []int {
	all := make([]int, of)
	for i := range all {
		all[i] = i
	}
	return all
}

// next gives the manner in which a call goes wrong now; empty: it does not. A call that has parts
// can be torn at each.
func (m *mortal) next(call string, parts int) (how manner, part int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// What was done as a whole is not done again: that comes last.
	call = m.stage + ": " + call
	manners := []manner{errorBefore, death, errorAfter}
	if parts > 0 {
		manners = []manner{errorBefore, torn, death, errorAfter}
	}
	for _, i := range m.choose(call, len(manners)) {
		point, cuts := call+": "+string(manners[i]), []int{0}
		if manners[i] == torn {
			cuts = m.choose(call+" cut", parts)
		}
		for _, cut := range cuts {
			at := point
			if manners[i] == torn {
				at = fmt.Sprintf("%s at %d", point, cut)
			}
			if !m.tried[at] {
				m.tried[at] = true
				m.reach(at)
				return manners[i], cut
			}
		}
	}
	return "", 0
}

// change makes a call that changes something. Half does a part of it, up to one of so many parts.
func (m *mortal) change(call string, do func() error, parts int, half func(part int) error) error {
	if m.dead.Load() {
		return errDead
	}
	how, part := m.next(call, parts)
	switch how {
	case errorBefore:
		return errInjected
	case torn:
		do = func() error { return half(part) }
	}
	err := do()
	switch {
	case how == torn || how == death:
		m.end()
		return errDead
	case how == errorAfter && err == nil:
		return errInjected
	}
	return err
}

func (m *mortal) end() {
	m.dead.Store(true)
	m.die()
}

func (m *mortal) CreateNetwork(ctx context.Context, spec engine.NetworkSpec) error {
	return m.change("CreateNetwork "+spec.Name, func() error { return m.Engine.CreateNetwork(ctx, spec) }, 0, nil)
}

func (m *mortal) RemoveNetwork(ctx context.Context, name, owner string) error {
	return m.change("RemoveNetwork "+name, func() error { return m.Engine.RemoveNetwork(ctx, name, owner) }, 0, nil)
}

func (m *mortal) CreateVolume(ctx context.Context, spec engine.VolumeSpec) error {
	return m.change("CreateVolume "+spec.Name, func() error { return m.Engine.CreateVolume(ctx, spec) }, 0, nil)
}

func (m *mortal) RemoveVolume(ctx context.Context, name, owner string) error {
	return m.change("RemoveVolume "+name, func() error { return m.Engine.RemoveVolume(ctx, name, owner) }, 0, nil)
}

func (m *mortal) CreateNode(ctx context.Context, spec engine.NodeSpec) error {
	return m.change("CreateNode "+spec.Name, func() error { return m.Engine.CreateNode(ctx, spec) }, 0, nil)
}

func (m *mortal) StartNode(ctx context.Context, name string) error {
	return m.change("StartNode "+name, func() error { return m.Engine.StartNode(ctx, name) }, 0, nil)
}

func (m *mortal) StopNode(ctx context.Context, name string, grace time.Duration) error {
	return m.change("StopNode "+name, func() error { return m.Engine.StopNode(ctx, name, grace) }, 0, nil)
}

func (m *mortal) RemoveNode(ctx context.Context, name, owner string) error {
	return m.change("RemoveNode "+name, func() error { return m.Engine.RemoveNode(ctx, name, owner) }, 0, nil)
}

// PutFiles tears a write as a broken connection does: files in the order of their names, one of them
// half-written, none after it.
func (m *mortal) PutFiles(ctx context.Context, node, folder string, files []engine.File) error {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b engine.File) int { return strings.Compare(a.Name, b.Name) })
	var names []string
	for _, f := range sorted {
		names = append(names, f.Name)
	}
	do := func() error { return m.Engine.PutFiles(ctx, node, folder, files) }
	return m.change(fmt.Sprintf("PutFiles %s %v", node, names), do, len(sorted), func(part int) error {
		half := slices.Clone(sorted[:part+1])
		last := &half[len(half)-1]
		last.Content = last.Content[:len(last.Content)/2]
		return m.Engine.PutFiles(ctx, node, folder, half)
	})
}

// RunOnce dies with the node on its way, which nobody then takes away.
func (m *mortal) RunOnce(ctx context.Context, spec engine.NodeSpec) (result engine.RunResult, err error) {
	do := func() (err error) {
		result, err = m.Engine.RunOnce(ctx, spec)
		return err
	}
	err = m.change(fmt.Sprintf("RunOnce %s %v %v", spec.Name, spec.Entrypoint, spec.Command), do, 1, func(int) error {
		spec.Name += "-torn"
		spec.Restart = false
		if err := m.Engine.CreateNode(ctx, spec); err != nil {
			return err
		}
		return m.Engine.StartNode(ctx, spec.Name)
	})
	return result, err
}

// Dial counts what is written to nodes: the process can die in the middle of what it says to Fabric.
func (m *mortal) Dial(ctx context.Context, node string, port int) (net.Conn, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	conn, err := m.Engine.Dial(ctx, node, port)
	if err != nil {
		return nil, err
	}
	return &mortalConn{conn, m}, nil
}

type mortalConn struct {
	net.Conn
	engine *mortal
}

func (c *mortalConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.engine.written()
	return n, err
}

// begin begins a step.
func (m *mortal) begin(stage string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stage = stage
}

// dieAtWrite has the process die after that many more writes to nodes.
func (m *mortal) dieAtWrite(writes int, point string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes, m.point = writes, point
}

func (m *mortal) written() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes == 0 {
		return
	}
	if m.writes--; m.writes == 0 {
		m.reach(m.point)
		m.end()
	}
}
