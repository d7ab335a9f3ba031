//go:build linux

package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// node is the listener in front of a published port.
type node struct {
	listener net.Listener
	proxy    *Proxy

	mu sync.Mutex
	// name is the container's that has the port now, port the container's, target where it really is.
	name, port, target string
	conns              map[net.Conn]bool
	closed             bool
}

// stand has a listener in front of a published port, and tells it whose it is by now.
func (p *Proxy) stand(name, port, address, hostPort string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	n := p.nodes[hostPort]
	if n == nil {
		listener, err := net.Listen("tcp", net.JoinHostPort(p.loopback, hostPort)) //nolint:noctx // it listens for as long as the proxy lives
		if err != nil {
			return fmt.Errorf("unable to listen in front of %s: %w", name, err)
		}
		n = &node{listener: listener, proxy: p, conns: map[net.Conn]bool{}}
		p.nodes[hostPort] = n
		p.work.Go(n.serve)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.name, n.port, n.target = name, port, net.JoinHostPort(address, hostPort)
	return nil
}

func (n *node) serve() {
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.proxy.work.Go(func() { n.handle(conn) })
	}
}

func (n *node) close() error {
	err := n.listener.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for conn := range n.conns {
		_ = conn.Close() // its goroutine may have closed it
	}
	return err
}

// keep has a connection closed with the proxy; false when that is closed.
func (n *node) keep(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.conns[conn] = true
	return true
}

// drop closes a connection.
func (n *node) drop(conn net.Conn) {
	n.mu.Lock()
	delete(n.conns, conn)
	n.mu.Unlock()
	_ = conn.Close() // the other direction may have closed it
}

// dialTimeout bounds a connection to a node, which is on this machine.
const dialTimeout = 5 * time.Second

// handle forwards one connection until either end closes it.
func (n *node) handle(caller net.Conn) {
	defer n.drop(caller)
	n.mu.Lock()
	name, port, target := n.name, n.port, n.target
	n.mu.Unlock()
	side, what := sideOf(port), name+" "+port
	if !n.keep(caller) {
		return
	}
	if f, struck := n.proxy.meets(side, []Kind{Refuse}, name, "connection to "+what); struck && f.Kind == Refuse {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return
	}
	defer n.drop(server)
	if !n.keep(server) {
		return
	}
	l := &link{node: n, name: name, side: side, what: "write to " + what, caller: caller, server: server}
	l.ctx, l.end = context.WithCancel(context.Background())
	var answers sync.WaitGroup
	answers.Go(func() { l.pass(server, caller, l.answered) })
	l.pass(caller, server, l.written)
	answers.Wait()
}

// link is one connection through the proxy.
type link struct {
	node           *node
	name, what     string
	side           Side
	caller, server net.Conn
	// ctx ends with the link.
	ctx context.Context //nolint:containedctx // it is the link's life
	end context.CancelFunc

	mu sync.Mutex
	// cut tells that the connection breaks when the node answers.
	cut bool
}

// pass copies one direction and asks about every piece of it. When it ends, both do: behind TLS there
// is no half of a connection.
func (l *link) pass(from, to net.Conn, ask func(piece []byte) (part []byte, err error)) {
	defer func() {
		l.end()
		_ = from.Close() // the other direction may have closed both
		_ = to.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		count, err := from.Read(buffer)
		if count > 0 {
			part, refused := ask(buffer[:count])
			if len(part) > 0 {
				if _, err := to.Write(part); err != nil {
					return
				}
			}
			if refused != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// written is asked about what the provider says.
func (l *link) written(piece []byte) ([]byte, error) {
	p := l.node.proxy
	if err := l.hush(); err != nil {
		return nil, err
	}
	f, struck := p.meets(l.side, []Kind{DropRequest}, l.name, l.what)
	if !struck {
		return piece, nil
	}
	switch f.Kind {
	case DropRequest:
		return nil, errCut
	case CutUpload:
		return piece[:len(piece)/2], errCut
	case DropReply:
		l.mu.Lock()
		l.cut = true
		l.mu.Unlock()
	case Delay:
		p.wait(l.ctx, f)
	case Silence:
		return nil, l.hush()
	case Hang:
		p.wait(l.ctx, f)
		return nil, errCut
	case KillBefore, Interrupt:
		p.strike(f.Kind, p.lastCaller())
		if f.Kind == KillBefore {
			return nil, errCut
		}
	}
	return piece, nil
}

// answered is asked about what the node says.
func (l *link) answered(piece []byte) ([]byte, error) {
	if err := l.hush(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errCut
	}
	return piece, nil
}

var errHushed = errors.New("the node was silent")

// hush waits while the node is silent, and then breaks the connection: what was said is lost.
func (l *link) hush() error {
	over, silent := l.node.proxy.silence(l.name)
	if !silent {
		return nil
	}
	select {
	case <-over:
	case <-l.ctx.Done():
	}
	return errHushed
}
