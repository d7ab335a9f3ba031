//go:build linux

package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Proxy stands in front of one engine and its nodes.
type Proxy struct {
	socket string
	// loopback is the address by which nodes are reached through the proxy.
	loopback string
	server   *http.Server
	upstream *http.Transport
	work     sync.WaitGroup

	mu     sync.Mutex
	armed  Fault
	report Report
	// released is closed when the fault is over, for those that it holds up. silent tells that the
	// fault's side does not answer; at a node, silentAt is the one.
	released chan struct{}
	silent   bool
	silentAt string
	// caller is the process that asked the engine last.
	caller int
	// names are the containers' by their IDs, as far as an inspection told.
	names sync.Map
	// nodes are the listeners in front of nodes, by port of the engine's host.
	nodes  map[string]*node
	closed bool
	// failures are what the proxy itself could not do.
	failures []error
}

// New listens on a socket in front of the engine at unix:///path.
func New(socket, engine string) (*Proxy, error) {
	path, ok := strings.CutPrefix(engine, "unix://")
	if !ok {
		return nil, fmt.Errorf("unable to stand in front of the engine at %s: it is not a unix socket", engine)
	}
	p := &Proxy{
		socket:   socket,
		loopback: fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254)),
		upstream: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var dialer net.Dialer
				return dialer.DialContext(ctx, "unix", path)
			},
			DisableCompression: true, // what passes is what the engine said
		},
		report:   Report{counts: map[family]int{}},
		released: make(chan struct{}),
		nodes:    map[string]*node{},
	}
	listener, err := net.Listen("unix", socket) //nolint:noctx // it listens for as long as the proxy lives
	if err != nil {
		return nil, fmt.Errorf("unable to listen for the provider: %w", err)
	}
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, callerOf(c))
		},
		ErrorLog: quiet,
	}
	p.work.Go(func() { _ = p.server.Serve(listener) }) // it ends with Close
	return p, nil
}

// Host is what the provider is given as docker_host.
func (p *Proxy) Host() string { return "unix://" + p.socket }

// Arm has a call go wrong from now on, and lets go whom the fault before it held up. It gives what
// passed since the last time, with what the proxy itself was unable to do.
func (p *Proxy) Arm(f Fault) (Report, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	report, failures := p.report, p.failures
	p.armed, p.report, p.failures = f, Report{counts: map[family]int{}}, nil
	p.silent, p.silentAt = false, ""
	close(p.released)
	p.released = make(chan struct{})
	return report, errors.Join(failures...)
}

// Close ends the proxy, and every connection through it.
func (p *Proxy) Close() error {
	_, err := p.Arm(Fault{})
	p.mu.Lock()
	p.closed = true
	for _, n := range p.nodes {
		err = errors.Join(err, n.close())
	}
	p.mu.Unlock()
	err = errors.Join(err, p.server.Close())
	p.upstream.CloseIdleConnections()
	p.work.Wait()
	return err
}

// meets counts a call for each of its families, and tells whether the fault strikes it. A silent side
// stays so for everybody who comes later.
func (p *Proxy) meets(side Side, kinds []Kind, at, what string) (Fault, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	struck := false
	for _, f := range families(side, kinds) {
		p.report.counts[f]++
		struck = struck || p.report.Struck == "" && f == familyOf(p.armed.Side, p.armed.Kind) && p.report.counts[f] == p.armed.Call
	}
	if !struck {
		return Fault{}, false
	}
	p.report.Struck, p.report.At = what, time.Now()
	if p.armed.Kind == Silence {
		p.silent, p.silentAt = true, at
		if p.armed.For > 0 {
			p.later(p.armed.For)
		}
	}
	return p.armed, true
}

func families(side Side, kinds []Kind) []family {
	out := []family{}
	for _, kind := range kinds {
		out = append(out, familyOf(side, kind))
	}
	return out
}

// later ends a silence after a while, unless the proxy is armed anew before.
func (p *Proxy) later(after time.Duration) {
	released := p.released
	p.work.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-released:
			return
		case <-timer.C:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.released == released {
			p.silent, p.silentAt = false, ""
			close(p.released)
			p.released = make(chan struct{})
		}
	})
}

// silence gives what to wait for when somebody is silent: the engine, or the node at that place.
func (p *Proxy) silence(at string) (<-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.released, p.silent && p.silentAt == at
}

// wait waits out a delay or a hang, unless the caller goes or the proxy is armed anew.
func (p *Proxy) wait(ctx context.Context, f Fault) {
	p.mu.Lock()
	released := p.released
	p.mu.Unlock()
	var end <-chan time.Time
	if f.For > 0 {
		timer := time.NewTimer(f.For)
		defer timer.Stop()
		end = timer.C
	}
	select {
	case <-end:
	case <-released:
	case <-ctx.Done():
	}
}

// strike sends the caller what the fault has for it, if it is a signal.
func (p *Proxy) strike(kind Kind, pid int) {
	var err error
	switch kind {
	case KillBefore, KillAfter:
		err = end(pid)
	case Interrupt:
		err = interrupt(pid)
	}
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		p.fail(fmt.Errorf("unable to %s process %d: %w", kind, pid, err))
	}
}

func (p *Proxy) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = append(p.failures, err)
}

// asks remembers who asks the engine.
func (p *Proxy) asks(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.caller = pid
}

func (p *Proxy) lastCaller() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.caller
}

type callerKey struct{}

// callerOf gives the process at the other end of a connection; 0 when it is not known.
func callerOf(conn net.Conn) int {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if who, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(who.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}
