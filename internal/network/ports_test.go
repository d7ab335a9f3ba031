package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const siblingName = "dev-ca.org1"

// publish has another container hold a host port.
func (r *rig) publish(owner, name, address string, port int) {
	r.fake.AddNode(engine.Node{
		Name: name, Labels: map[string]string{engine.LabelOwner: owner}, Status: engine.Running,
		Ports: []engine.Port{{Container: 1, Host: port, Address: address}},
	})
}

func (r *rig) allocate(ports ...engine.Port) ([]engine.Port, error) {
	return r.fabric.ports.allocate(r.t.Context(), r.peer().Object(), r.on.Owner, ports)
}

func TestPortsChosen(t *testing.T) {
	wanted := []engine.Port{{Container: 7051, Address: "127.0.0.1"}, {Container: 9443, Address: "127.0.0.1"}}
	first, err := newRig(t).allocate(wanted...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range first {
		if p.Host < firstPort || p.Host > lastPort {
			t.Errorf("port %d was chosen", p.Host)
		}
	}
	again, err := newRig(t).allocate(wanted...)
	if err != nil || !slices.Equal(first, again) {
		t.Errorf("another time the ports are %v, %v, want %v", again, err, first)
	}
	// What is taken is passed over: by another program, by a container, by an own port of the node.
	r := newRig(t)
	r.fake.TakePort("0.0.0.0", first[0].Host)
	r.publish("somebody", "web", "0.0.0.0", first[1].Host)
	wanted = append(wanted, engine.Port{Container: 1, Host: first[0].Host + 1, Address: "127.0.0.1"})
	third, err := r.allocate(wanted...)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range third[:2] {
		if p.Host == first[i].Host || p.Host == wanted[2].Host {
			t.Errorf("port %d was chosen although it is taken", p.Host)
		}
	}
	if third[2] != wanted[2] {
		t.Errorf("the given port became %v", third[2])
	}
}

func TestPortsTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(r *rig)
		holder string
		waits  bool
	}{
		{"by another program", func(r *rig) { r.fake.TakePort("127.0.0.1", 17051) }, "", false},
		{"by a foreign container", func(r *rig) { r.publish("somebody", "web", "127.0.0.1", 17051) }, "web", false},
		{"on every address", func(r *rig) { r.publish("somebody", "web", "0.0.0.0", 17051) }, "web", false},
		{"by a stopped foreign container", func(r *rig) {
			r.publish("somebody", "web", "127.0.0.1", 17051)
			r.fake.SetStatus("web", engine.Stopped, 0)
		}, "web", false},
		{"by a sibling", func(r *rig) { r.publish(r.on.Owner, siblingName, "127.0.0.1", 17051) }, siblingName, true},
		{"by a sibling that is being made", func(r *rig) {
			_, err := r.fabric.ports.allocate(r.t.Context(), siblingName, r.on.Owner, []engine.Port{{Container: 1, Host: 17051, Address: "127.0.0.1"}})
			r.must(err)
		}, siblingName, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.set(r)
			begun := time.Now()
			_, err := r.allocate(engine.Port{Container: 7051, Host: 17051, Address: "127.0.0.1"}, engine.Port{Container: 9443, Address: "127.0.0.1"})
			taken := new(engine.PortError)
			if !errors.As(err, &taken) || taken.Holder != c.holder || taken.Port != 17051 {
				t.Fatalf("the error is %v, want the port held by %q", err, c.holder)
			}
			if waited := time.Since(begun) >= r.fabric.ports.yield; waited != c.waits {
				t.Errorf("it took %s", time.Since(begun))
			}
			// Nothing stays reserved of what failed.
			r.fake.VanishNode("web")
			if _, err := r.fabric.ports.allocate(t.Context(), "dev-other", r.on.Owner, []engine.Port{{Container: 1, Host: 17052, Address: "127.0.0.1"}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPortsOfOtherAddresses(t *testing.T) {
	r := newRig(t)
	r.publish("somebody", "web", "127.0.0.2", 17051)
	if _, err := r.allocate(engine.Port{Container: 7051, Host: 17051, Address: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}

// TestPortsHandedOn: a port that a sibling gives up meanwhile is not taken.
func TestPortsHandedOn(t *testing.T) {
	r := newRig(t)
	r.fabric.ports.yield = 10 * time.Second
	r.publish(r.on.Owner, siblingName, "127.0.0.1", 17051)
	gone := time.AfterFunc(200*time.Millisecond, func() { r.fake.VanishNode(siblingName) })
	defer gone.Stop()
	if _, err := r.allocate(engine.Port{Container: 7051, Host: 17051, Address: "127.0.0.1"}); err != nil {
		t.Error(err)
	}
}

// TestPortsExchanged: two nodes that change their ports with each other in one apply.
func TestPortsExchanged(t *testing.T) {
	r := newRig(t)
	r.fabric.ports.yield = 10 * time.Second
	other := r.on.With(KindPeer, "peer1.org1", "Org1MSP")
	second := func(n *node) {
		n.handle = other
		n.ready = func(ctx context.Context) error { _, err := r.fake.Node(ctx, other.Object()); return err }
	}
	for _, n := range []*node{r.node(wants("grpc", 17051)), r.node(second, wants("grpc", 17052))} {
		_, err := r.fabric.ensure(t.Context(), n)
		r.must(err)
	}
	group, ctx := errgroup.WithContext(t.Context())
	for _, n := range []*node{r.node(existing, wants("grpc", 17052)), r.node(existing, second, wants("grpc", 17051))} {
		group.Go(func() error { _, err := r.fabric.ensure(ctx, n); return err })
	}
	r.must(group.Wait())
	for h, want := range map[Handle]int{r.peer(): 17052, other: 17051} {
		state, err := r.fabric.readNode(t.Context(), h, PeerPorts())
		r.must(err)
		if state.Status != engine.Running || state.HostPorts["grpc"] != want {
			t.Errorf("%s is %+v, want port %d", h, state, want)
		}
	}
}

// TestPortsKept: a container that is replaced gets the ports that the old one had, one whose ports
// are changed gets the new ones, and a port that is somebody else's leaves the old container alone.
func TestPortsKept(t *testing.T) {
	r := newRig(t)
	r.make()
	ports := func() map[string]int {
		t.Helper()
		state, err := r.fabric.readNode(t.Context(), r.peer(), PeerPorts())
		r.must(err)
		return state.HostPorts
	}
	chosen := ports()
	_, err := r.fabric.ensure(t.Context(), r.node(existing, limited))
	r.must(err)
	if got := ports(); got["grpc"] != chosen["grpc"] || got["operations"] != chosen["operations"] {
		t.Errorf("the ports are %v, want %v as before", got, chosen)
	}
	_, err = r.fabric.ensure(t.Context(), r.node(existing, wants("grpc", 17999)))
	r.must(err)
	if got := ports(); got["grpc"] != 17999 || got["operations"] != chosen["operations"] {
		t.Errorf("the ports are %v, want 17999 and %d", got, chosen["operations"])
	}
	before, err := r.fake.Node(t.Context(), r.peer().Object())
	r.must(err)
	r.publish("somebody", "web", "127.0.0.1", 18000)
	if _, err = r.fabric.ensure(t.Context(), r.node(existing, wants("grpc", 18000))); !errors.Is(err, engine.ErrPortTaken) || !strings.Contains(err.Error(), "web") {
		t.Errorf("the error is %v, want the port held by web", err)
	}
	after, err := r.fake.Node(t.Context(), r.peer().Object())
	r.must(err)
	if after.ID != before.ID || after.Status != engine.Running {
		t.Error("the container was touched")
	}
}

// TestPortsOfManyNodes: fifty nodes at once, each port once.
func TestPortsOfManyNodes(t *testing.T) {
	r := newRig(t)
	group, ctx := errgroup.WithContext(t.Context())
	for i := range 50 {
		group.Go(func() error {
			n := r.node(func(n *node) {
				n.handle = r.on.With(KindPeer, fmt.Sprintf("peer%d.org1", i), "Org1MSP")
				n.ready = func(context.Context) error { return nil }
			})
			if err := r.fabric.preflight(ctx, n); err != nil {
				return err
			}
			_, err := r.fabric.ensure(ctx, n)
			return err
		})
	}
	r.must(group.Wait())
	published, err := r.fake.PublishedPorts(t.Context())
	r.must(err)
	seen := map[int]string{}
	for _, p := range published {
		if other, twice := seen[p.Port]; twice {
			t.Errorf("port %d is published by %s and %s", p.Port, p.Node, other)
		}
		seen[p.Port] = p.Node
	}
	if len(seen) != 100 {
		t.Errorf("%d ports are published, want 100", len(seen))
	}
}
