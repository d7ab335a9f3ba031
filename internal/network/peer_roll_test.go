package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// crowd is an organization with several peers that answer.
type crowd struct {
	*sketch
	peers []Handle
}

func newCrowd(t *testing.T, count int) *crowd {
	t.Helper()
	s := newSketch(t)
	quick(s.fabric)
	c := &crowd{sketch: s}
	for i := range count {
		h := s.peer(fmt.Sprintf("peer%d.org1", i), "Org1MSP")
		n, err := s.fabric.peerNode(c.spec(h))
		s.must(err)
		s.run(n, "Org1MSP")
		s.servePeer(h, &sketchPeer{height: 5})
		c.peers = append(c.peers, h)
	}
	return c
}

// process gives the use cases as another process of the provider has them.
func (c *crowd) process() *Fabric { return quick(c.again()) }

func (c *crowd) spec(h Handle) PeerSpec {
	return PeerSpec{Handle: h, NodeOptions: sketchOptions("peer:3.1.1"), Version: sketchVersion(c.t), Timeout: 20 * time.Second}
}

func smaller(spec PeerSpec) PeerSpec {
	spec.Existing, spec.Limits.MemoryBytes = true, 64<<20
	return spec
}

// turnOf waits for the turn of a peer that is to be changed.
func (c *crowd) turnOf(ctx context.Context, f *Fabric, spec PeerSpec) (*turn, error) {
	n, err := f.peerNode(spec)
	c.must(err)
	n.material = func(context.Context, map[string][]byte) (map[string][]byte, error) { return nil, nil }
	return f.awaitTurn(ctx, spec, n)
}

// change does to a peer what a change of it does: it is down for a moment.
func (c *crowd) change(f *Fabric, spec PeerSpec, work func() error) error {
	t, err := c.turnOf(c.t.Context(), f, spec)
	if err != nil {
		return err
	}
	c.fake.SetStatus(spec.Handle.Object(), engine.Stopped, 0)
	err = work()
	if err == nil {
		c.fake.SetStatus(spec.Handle.Object(), engine.Running, 0)
	}
	t.end(context.WithoutCancel(c.t.Context()), err)
	return err
}

// TestRollTakesOneAtATime: two processes change all peers at once, and no more than may be are down.
func TestRollTakesOneAtATime(t *testing.T) {
	for _, most := range []int{1, 2} {
		t.Run(fmt.Sprintf("max_unavailable %d", most), func(t *testing.T) {
			c := newCrowd(t, 6)
			processes := []*Fabric{c.process(), c.process()}
			var mu sync.Mutex
			down, worst := 0, 0
			var group errgroup.Group
			for i, h := range c.peers {
				spec := smaller(c.spec(h))
				spec.MaxUnavailable = most
				group.Go(func() error {
					return c.change(processes[i%2], spec, func() error {
						mu.Lock()
						down++
						worst = max(worst, down)
						mu.Unlock()
						c.must(pause(t.Context(), 20*time.Millisecond)) // a change takes a while
						mu.Lock()
						down--
						mu.Unlock()
						return nil
					})
				})
			}
			c.must(group.Wait())
			if worst != most {
				t.Errorf("%d were down at a time, want %d", worst, most)
			}
			if left, err := c.fake.Leases(t.Context(), nil); err != nil || len(left) > 0 {
				t.Errorf("leases are left: %v, %v", left, err)
			}
		})
	}
}

// TestRollStopsAtAFailure: the first change fails; nobody follows, in no process, and all are told why.
func TestRollStopsAtAFailure(t *testing.T) {
	c := newCrowd(t, 4)
	ours, theirs := c.process(), c.process()
	begun := make(chan struct{})
	var mu sync.Mutex
	changed := 0
	fails := func() error {
		mu.Lock()
		changed++
		if changed == 1 {
			close(begun)
		}
		mu.Unlock()
		c.must(pause(t.Context(), 50*time.Millisecond)) // until the others wait
		return &NodeError{Action: "start it", Cause: errors.New("it exited with code 2")}
	}
	var calls sync.WaitGroup
	errs := make([]error, len(c.peers))
	calls.Go(func() { errs[0] = c.change(ours, smaller(c.spec(c.peers[0])), fails) })
	<-begun
	c.fake.AppendLog(c.peers[0].Object(), "first line", "panic: no such limit")
	start := time.Now()
	for i, h := range c.peers[1:] {
		f := []*Fabric{ours, theirs}[i%2]
		calls.Go(func() { errs[i+1] = c.change(f, smaller(c.spec(h)), fails) })
	}
	calls.Wait()
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %s to tell them", took)
	}
	if changed != 1 {
		t.Errorf("%d were changed, want the one that failed", changed)
	}
	for i, err := range errs[1:] {
		refused := new(UnavailableError)
		if !errors.As(err, &refused) || refused.Peer != c.peers[i+1] || refused.Max != 1 || len(refused.Down) != 1 || refused.Down[0].Peer != c.peers[0] {
			t.Errorf("%s got %v", c.peers[i+1], err)
			continue
		}
		for _, word := range []string{"peer peer0.org1 is: it", "panic: no such limit", "was not changed"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q is not in\n%v", word, err)
			}
		}
	}
	if reason := new(UnavailableError); errors.As(errs[1], &reason) && reason.Down[0].Reason != "it exited with code 2" {
		t.Errorf("the same process is told %q", reason.Down[0].Reason)
	}
	// What is down may always be changed, and when it is well the others go on.
	c.must(c.change(c.process(), smaller(c.spec(c.peers[0])), func() error { return nil }))
	c.must(c.change(theirs, smaller(c.spec(c.peers[1])), func() error { return nil }))
}

// TestTurnNeedsNoLease: peers that wait for nobody.
func TestTurnNeedsNoLease(t *testing.T) {
	for _, test := range []struct {
		name string
		// set makes the case, and gives what peer0 is to become.
		set func(c *crowd) PeerSpec
		// lease is the name of the lease that it holds all the same.
		lease string
	}{
		{"nothing changes", func(c *crowd) PeerSpec {
			spec := c.spec(c.peers[0])
			spec.Existing = true
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 1)
			return spec
		}, ""},
		{"it is stopped itself", func(c *crowd) PeerSpec {
			for _, h := range c.peers {
				c.fake.SetStatus(h.Object(), engine.Stopped, 1)
			}
			return smaller(c.spec(c.peers[0]))
		}, "dev-repair-peer0.org1"},
		{"its container is gone", func(c *crowd) PeerSpec {
			c.fake.VanishNode(c.peers[0].Object())
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 1)
			return smaller(c.spec(c.peers[0]))
		}, "dev-repair-peer0.org1"},
		{"it does not answer itself", func(c *crowd) PeerSpec {
			c.fake.HandleDial(c.peers[0].Object(), peerPort, nil)
			c.fabric.conns.forget(c.peers[0])
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 1)
			return smaller(c.spec(c.peers[0]))
		}, "dev-repair-peer0.org1"},
		{"a lease of a repair that was killed", func(c *crowd) PeerSpec {
			c.fake.SetStatus(c.peers[0].Object(), engine.Stopped, 1)
			l, err := c.fabric.hold(c.t.Context(), leaseSpec("repair-peer0.org1", c.peers[0], "peer:3.1.1"))
			c.must(err)
			killed(l)
			return smaller(c.spec(c.peers[0]))
		}, "dev-repair-peer0.org1"},
		{"a lease of its own change that was killed", func(c *crowd) PeerSpec {
			l, err := c.fabric.hold(c.t.Context(), leaseSpec("Org1MSP-turn-0", c.peers[0], "peer:3.1.1"))
			c.must(err)
			killed(l)
			c.fake.SetStatus(c.peers[0].Object(), engine.Stopped, 143)
			return smaller(c.spec(c.peers[0]))
		}, "dev-repair-peer0.org1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCrowd(t, 3)
			spec := test.set(c)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			turn, err := c.turnOf(ctx, c.fabric, spec)
			c.must(err)
			name := ""
			if turn.lease != nil {
				name = turn.lease.have.Name
			}
			if turn.takesDown || name != test.lease {
				t.Errorf("the turn is %+v with lease %q, want %q", turn, name, test.lease)
			}
			turn.end(c.t.Context(), nil)
		})
	}
}

// TestTurnLooksAtTheOthers: whom it counts as down, and for how long it waits for them.
func TestTurnLooksAtTheOthers(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(c *crowd)
		most int
		// refusedFor are the peers that it names; none: it goes.
		refusedFor []string
		says       string
	}{
		{"all are well", func(*crowd) {}, 1, nil, ""},
		{"one exited", func(c *crowd) { c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 3) }, 1, []string{"peer1.org1"}, "it exited with code 3"},
		{"one was killed for want of memory", func(c *crowd) { c.fake.SetOOMKilled(c.peers[1].Object()) }, 1, []string{"peer1.org1"}, "want of memory"},
		{"one lost its container", func(c *crowd) { c.fake.VanishNode(c.peers[1].Object()) }, 1, []string{"peer1.org1"}, "its container is gone"},
		{"one runs and does not answer", func(c *crowd) {
			c.fake.HandleDial(c.peers[1].Object(), peerPort, nil)
			c.fabric.conns.forget(c.peers[1])
		}, 1, []string{"peer1.org1"}, "it runs and does not answer"},
		{"one is down, and two may be", func(c *crowd) { c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 3) }, 2, nil, ""},
		{"two are down, and two may be", func(c *crowd) {
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 3)
			c.fake.SetStatus(c.peers[2].Object(), engine.Stopped, 4)
		}, 2, []string{"peer1.org1", "peer2.org1"}, "it exited with code 4"},
		{"one is wanted stopped", func(c *crowd) {
			c.must(c.process().rest(c.t.Context(), c.peers[1], restStopped))
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 0)
		}, 1, nil, ""},
		{"one was deleted, and its volume kept", func(c *crowd) {
			c.must(c.process().rest(c.t.Context(), c.peers[1], restGone))
			c.fake.VanishNode(c.peers[1].Object())
		}, 1, nil, ""},
		{"one that was wanted stopped is to run again", func(c *crowd) {
			f := c.process()
			c.must(f.rest(c.t.Context(), c.peers[1], restStopped))
			c.must(f.rest(c.t.Context(), c.peers[1], ""))
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 0)
		}, 1, []string{"peer1.org1"}, "it is stopped"},
		{"a peer of another organization is down", func(c *crowd) {
			c.fake.SetStatus(c.peer("peer0.org2", "Org2MSP").Object(), engine.Stopped, 1)
		}, 1, nil, ""},
		{"another process is at work on one, and was killed", func(c *crowd) {
			turn, err := c.turnOf(c.t.Context(), c.process(), smaller(c.spec(c.peers[1])))
			c.must(err)
			killed(turn.lease)
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 143)
		}, 1, []string{"peer1.org1"}, "it exited with code 143"},
		{"another process was killed before it did anything", func(c *crowd) {
			turn, err := c.turnOf(c.t.Context(), c.process(), smaller(c.spec(c.peers[1])))
			c.must(err)
			killed(turn.lease)
		}, 1, nil, ""},
		{"one is repaired meanwhile", func(c *crowd) {
			c.fake.SetStatus(c.peers[1].Object(), engine.Stopped, 1)
			turn, err := c.turnOf(c.t.Context(), c.process(), smaller(c.spec(c.peers[1])))
			c.must(err)
			time.AfterFunc(3*c.fabric.rolls.patience, func() {
				c.fake.SetStatus(c.peers[1].Object(), engine.Running, 0)
				turn.end(c.t.Context(), nil)
			})
		}, 1, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCrowd(t, 3)
			test.set(c)
			spec := smaller(c.spec(c.peers[0]))
			spec.MaxUnavailable = test.most
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			turn, err := c.turnOf(ctx, c.fabric, spec)
			if test.refusedFor == nil {
				c.must(err)
				if !turn.takesDown || turn.lease == nil {
					t.Errorf("the turn is %+v", turn)
				}
				turn.end(c.t.Context(), nil)
				return
			}
			refused := new(UnavailableError)
			if !errors.As(err, &refused) {
				t.Fatalf("it got %v", err)
			}
			var names []string
			for _, d := range refused.Down {
				names = append(names, d.Peer.Name)
			}
			if !slices.Equal(names, test.refusedFor) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it is refused for %v: %v", names, err)
			}
			if left, err := c.fake.Leases(t.Context(), map[string]string{labelPeer: c.peers[0].Name}); err != nil || len(left) > 0 {
				t.Errorf("leases are left: %v, %v", left, err)
			}
		})
	}
}

// TestAllDownGoAtOnce: when every peer is down, none waits for another.
func TestAllDownGoAtOnce(t *testing.T) {
	c := newCrowd(t, 4)
	for _, h := range c.peers {
		c.fake.SetStatus(h.Object(), engine.Stopped, 0)
	}
	turns := map[Handle]*turn{}
	for i, h := range c.peers {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		turn, err := c.turnOf(ctx, []*Fabric{c.fabric, c.process()}[i%2], smaller(c.spec(h)))
		cancel()
		c.must(err)
		turns[h] = turn
	}
	for turn := range maps.Values(turns) {
		turn.end(c.t.Context(), nil)
	}
}

// TestAbreast: a peer that was changed is waited for until it has the blocks of the others.
func TestAbreast(t *testing.T) {
	c := newCrowd(t, 3)
	behind := &sketchPeer{height: 4}
	c.servePeer(c.peers[0], behind)
	c.fabric.conns.forget(c.peers[0])
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.fabric.awaitAbreast(ctx, c.peers[0]); err == nil || !strings.Contains(err.Error(), "it has 4 of 5 blocks") {
		t.Errorf("one that is behind gave %v", err)
	}
	c.must(c.fabric.awaitAbreast(t.Context(), c.peers[1]))
}

// TestPortsPassOn: who gives a host port up has its turn before who takes it, and two that exchange
// theirs are told that both must be down for it.
func TestPortsPassOn(t *testing.T) {
	c := newCrowd(t, 3)
	ports := func(h Handle) map[string]int {
		n, err := c.fake.Node(t.Context(), h.Object())
		c.must(err)
		return (&node{ports: PeerPorts()}).hostPorts(n.Ports)
	}
	giver, taker := smaller(c.spec(c.peers[1])), smaller(c.spec(c.peers[0]))
	giver.HostPorts = map[string]int{"grpc": 16801, "operations": ports(giver.Handle)["operations"]}
	taker.HostPorts = map[string]int{"grpc": ports(giver.Handle)["grpc"]}
	exchanged := giver
	exchanged.HostPorts = map[string]int{"grpc": ports(taker.Handle)["grpc"]}

	begun, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- c.change(c.process(), taker, func() error { close(begun); return nil }) }()
	c.must(pause(t.Context(), 50*time.Millisecond)) // it waits, and holds nobody up
	select {
	case <-begun:
		t.Fatal("the taker did not wait")
	default:
	}
	c.must(c.change(c.process(), giver, func() error {
		n, err := c.fake.Node(t.Context(), giver.Handle.Object())
		n.Ports = []engine.Port{{Container: peerPort, Host: 16801, Address: "127.0.0.1"}}
		c.fake.AddNode(n)
		return err
	}))
	c.must(<-done)

	taker.HostPorts = map[string]int{"grpc": 16801}
	for _, spec := range []PeerSpec{taker, exchanged} {
		_, err := c.turnOf(t.Context(), c.fabric, spec)
		if !errors.Is(err, engine.ErrPortTaken) || !strings.Contains(err.Error(), "raise max_unavailable of both to 2") {
			t.Errorf("an exchange gave %v", err)
		}
		spec.MaxUnavailable = 2
		turn, err := c.turnOf(t.Context(), c.fabric, spec)
		c.must(err)
		turn.end(c.t.Context(), nil)
	}
}
