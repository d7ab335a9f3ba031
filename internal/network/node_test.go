package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// rig is a node on an engine in memory. Its key is issued once, and it is ready when it runs.
type rig struct {
	t      *testing.T
	fake   *enginetest.Fake
	fabric *Fabric
	on     Handle
	issued atomic.Int32
}

func newRig(t *testing.T) *rig {
	t.Helper()
	fake := enginetest.NewFake()
	r := &rig{
		t: t, fake: fake, fabric: New(fake),
		on: Handle{Kind: KindNetwork, Network: "dev", Domain: "example.com", Owner: "0123456789abcdef", Name: "dev"},
	}
	r.fabric.ports.yield = 300 * time.Millisecond
	t.Cleanup(func() { _ = r.fabric.Close() })
	r.must(r.fabric.EnsureNetwork(t.Context(), r.on, false))
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) peer() Handle { return r.on.With(KindPeer, "peer0.org1", "Org1MSP") }

// node describes the node as it is wanted.
func (r *rig) node(changes ...func(*node)) *node {
	h := r.peer()
	n := &node{
		handle: h, options: NodeOptions{Image: "peer:3.1.1", BindAddress: "127.0.0.1", HostPorts: map[string]int{}},
		endpoint: "peer0.org1.example.com:7051", ports: PeerPorts(), command: []string{"peer", "node", "start"},
		config: map[string][]byte{"config/core.yaml": []byte("peer: {}")},
		material: func(_ context.Context, have map[string][]byte) (map[string][]byte, error) {
			if len(have["tls/key.pem"]) > 0 {
				return nil, nil
			}
			return map[string][]byte{"tls/key.pem": fmt.Appendf(nil, "key %d", r.issued.Add(1))}, nil
		},
		ready: func(ctx context.Context) error {
			have, err := r.fake.Node(ctx, h.Object())
			if err == nil && have.Status != engine.Running {
				err = fmt.Errorf("it is %s", have.Status)
			}
			return err
		},
	}
	for _, change := range changes {
		change(n)
	}
	return n
}

func existing(n *node) { n.options.Existing = true }
func stopped(n *node)  { n.options.Stopped = true }
func limited(n *node)  { n.options.Limits.MemoryBytes = 64 << 20 }

// ledger puts something into the node's volume that must outlive everything.
func (r *rig) ledger() {
	r.fake.WriteVolume(r.peer().Object(), engine.File{Name: "node/data/ledger", Content: []byte("blocks")})
}

// converged checks that there is exactly the one node with its files, on one volume that was never
// replaced, and nothing beside it.
func (r *rig) converged(want engine.Status, hadLedger bool, key string) {
	r.t.Helper()
	name := r.peer().Object()
	nodes, err := r.fake.Nodes(r.t.Context(), nil)
	r.must(err)
	if len(nodes) != 1 || nodes[0].Name != name || nodes[0].Status != want {
		r.t.Fatalf("the containers are %+v, want one, %s and %s", nodes, name, want)
	}
	net, err := r.fake.Network(r.t.Context(), r.on.Network)
	r.must(err)
	if !slices.Equal(nodes[0].NetworkIDs, []string{net.ID}) {
		r.t.Errorf("it is on networks %v, want %s", nodes[0].NetworkIDs, net.ID)
	}
	if ports := nodes[0].Ports; len(ports) != 2 || ports[0].Host == 0 || ports[1].Host == 0 || ports[0].Host == ports[1].Host {
		r.t.Errorf("its ports are %v", ports)
	}
	volumes, err := r.fake.Volumes(r.t.Context(), nil)
	r.must(err)
	if len(volumes) != 1 || volumes[0].Name != name {
		r.t.Errorf("the volumes are %+v, want one: %s", volumes, name)
	}
	files := r.fake.Files(name)
	if string(files["node/config/core.yaml"].Content) != "peer: {}" || len(files["node/keys/tls/key.pem"].Content) == 0 {
		r.t.Errorf("the files are %v", slices.Sorted(maps.Keys(files)))
	}
	if hadLedger && string(files["node/data/ledger"].Content) != "blocks" {
		r.t.Error("the ledger is gone")
	}
	if got := string(files["node/keys/tls/key.pem"].Content); key != "" && got != key {
		r.t.Errorf("the key is %q, want %q as before", got, key)
	}
	for _, call := range r.fake.Calls() {
		if call.Method == "RemoveVolume" {
			r.t.Error("a volume was removed")
		}
	}
}

// referenced checks that a container has the node's volume, so that no prune takes it.
func (r *rig) referenced() {
	r.t.Helper()
	nodes, err := r.fake.Nodes(r.t.Context(), nil)
	r.must(err)
	if !slices.ContainsFunc(nodes, func(n engine.Node) bool { return slices.Contains(n.Volumes, r.peer().Object()) }) {
		r.t.Error("no container has the volume")
	}
}

// beginnings are the states that a node can be found in.
var beginnings = []struct {
	name string
	// made tells that the node had its ledger and its key.
	made bool
	// want changes what is wanted.
	want []func(*node)
	set  func(r *rig)
}{
	{"nothing", false, nil, func(*rig) {}},
	{"nothing, seen by preflight", false, nil, func(r *rig) { r.must(r.fabric.preflight(r.t.Context(), r.node())) }},
	{"a volume without files", false, nil, func(r *rig) {
		r.must(r.fake.CreateVolume(r.t.Context(), engine.VolumeSpec{Name: r.peer().Object(), Labels: r.peer().labels()}))
	}},
	{"a volume that was kept", true, nil, func(r *rig) {
		r.make()
		r.must(r.fabric.removeNode(r.t.Context(), r.peer(), true))
	}},
	{"a container that was made and not started", false, nil, func(r *rig) {
		n := r.node(stopped)
		_, err := r.fabric.ensure(r.t.Context(), n)
		r.must(err)
	}},
	{"running as wanted", true, []func(*node){existing}, (*rig).make},
	{"stopped", true, []func(*node){existing}, func(r *rig) {
		r.make()
		r.fake.SetStatus(r.peer().Object(), engine.Stopped, 0)
	}},
	{"killed", true, []func(*node){existing}, func(r *rig) {
		r.make()
		r.fake.SetStatus(r.peer().Object(), engine.Stopped, 137)
	}},
	{"removed", true, []func(*node){existing}, func(r *rig) {
		r.make()
		r.fake.VanishNode(r.peer().Object())
	}},
	{"running with another specification", true, []func(*node){existing, limited}, (*rig).make},
	{"running with another specification, of which a look has left a container", true, []func(*node){existing, limited}, func(r *rig) {
		r.make()
		have, err := r.fake.Node(r.t.Context(), r.peer().Object())
		r.must(err)
		spec := r.node(existing, limited).spec("peer:3.1.1", have.Ports)
		spec.Name += "-0123456789abcdef"
		spec.Labels[labelOnce], spec.Labels[engine.LabelSpecHash] = "true", checkHash
		r.must(r.fake.CreateNode(r.t.Context(), spec))
	}},
	{"stopped with another specification", true, []func(*node){existing, limited}, func(r *rig) {
		r.make()
		r.fake.SetStatus(r.peer().Object(), engine.Stopped, 0)
	}},
	{"on a network that was made anew", true, []func(*node){existing}, func(r *rig) {
		r.make()
		r.fake.SetStatus(r.peer().Object(), engine.Stopped, 0)
		r.fake.VanishNetwork(r.on.Network)
		r.must(r.fabric.EnsureNetwork(r.t.Context(), r.on, false))
	}},
	{"running, wanted stopped", true, []func(*node){existing, stopped}, (*rig).make},
}

// make makes the node, with a ledger.
func (r *rig) make() {
	r.t.Helper()
	_, err := r.fabric.ensure(r.t.Context(), r.node())
	r.must(err)
	r.ledger()
}

// TestEnsure begins at every state, lets every single call to the engine fail, before and after the
// engine did its work, and then asks once more: that must give the node, with its volume.
func TestEnsure(t *testing.T) {
	boom := errors.New("boom")
	for _, begin := range beginnings {
		t.Run(begin.name, func(t *testing.T) {
			attempt := func(t *testing.T, fail func(r *rig)) (calls, changes int) {
				r := newRig(t)
				begin.set(r)
				key := ""
				if begin.made {
					key = "key 1"
				}
				want := engine.Running
				if r.node(begin.want...).options.Stopped {
					want = engine.Stopped
				}
				before, changed := len(r.fake.Calls()), r.fake.Mutations()
				fail(r)
				_, err := r.fabric.ensure(t.Context(), r.node(begin.want...))
				if err != nil && !errors.Is(err, boom) {
					t.Errorf("the failure is %v", err)
				}
				calls, changes = len(r.fake.Calls())-before, r.fake.Mutations()-changed
				r.fake.Intercept(nil)
				if begin.made && begin.name != "removed" { // which nobody could have foreseen
					r.referenced()
				}
				state, err := r.fabric.ensure(t.Context(), r.node(begin.want...))
				r.must(err)
				if state.Status != want || state.HostPorts["grpc"] == 0 || state.ImageID == "" {
					t.Errorf("the state is %+v", state)
				}
				r.converged(want, begin.made, key)
				return calls, changes
			}
			calls, changes := attempt(t, func(*rig) {})
			for k := range calls {
				t.Run(fmt.Sprintf("call %d fails", k+1), func(t *testing.T) {
					attempt(t, func(r *rig) {
						left := k
						r.fake.Intercept(func(enginetest.Call) error {
							if left--; left == -1 {
								return boom
							}
							return nil
						})
					})
				})
			}
			for k := range changes {
				t.Run(fmt.Sprintf("the answer to change %d is lost", k+1), func(t *testing.T) {
					attempt(t, func(r *rig) { r.fake.FailAt(k+1, enginetest.After, boom) })
				})
			}
		})
	}
}

// TestEnsureTwice: a node that is as wanted is left alone.
func TestEnsureTwice(t *testing.T) {
	r := newRig(t)
	r.make()
	before := r.fake.Mutations()
	_, err := r.fabric.ensure(t.Context(), r.node(existing))
	r.must(err)
	for _, call := range r.fake.Calls()[len(r.fake.Calls())-(r.fake.Mutations()-before):] {
		if call.Mutating && call.Method != "StartNode" {
			t.Errorf("%s was called", call.Method)
		}
	}
	if issued := r.issued.Load(); issued != 1 {
		t.Errorf("%d keys were issued", issued)
	}
}

// TestEnsureAsksOnce: what preflight has seen is not asked again.
func TestEnsureAsksOnce(t *testing.T) {
	r := newRig(t)
	r.must(r.fabric.preflight(t.Context(), r.node()))
	before := len(r.fake.Calls())
	_, err := r.fabric.ensure(t.Context(), r.node())
	r.must(err)
	for _, call := range r.fake.Calls()[before:] {
		if call.Name == r.peer().Organization().keys() { // which are read once, whatever for
			continue
		}
		switch call.Method {
		case "Volume", "ResolveImage", "PublishedPorts", "PortFree", "Network", "GetFiles":
			t.Errorf("%s %s was asked again", call.Method, call.Name)
		}
	}
}

func TestEnsureLost(t *testing.T) {
	r := newRig(t)
	r.make()
	r.fake.VanishNode(r.peer().Object())
	r.fake.VanishVolume(r.peer().Object())
	_, err := r.fabric.ensure(t.Context(), r.node(existing))
	if lost := new(LostError); !errors.As(err, &lost) || !errors.Is(err, ErrLost) || lost.Volume != r.peer().Object() {
		t.Fatalf("the error is %v, want the volume named as lost", err)
	}
	if nodes, _ := r.fake.Nodes(t.Context(), nil); len(nodes) > 0 {
		t.Errorf("containers %v were made all the same", nodes)
	}
	_, err = r.fabric.ensure(t.Context(), r.node(existing, func(n *node) { n.options.AcceptDataLoss = true }))
	r.must(err)
	r.converged(engine.Running, false, "key 2")
}

// TestEnsureVolumeLostUnderContainer: the configuration lies on the volume too.
func TestEnsureVolumeLostUnderContainer(t *testing.T) {
	r := newRig(t)
	r.make()
	r.fake.VanishVolume(r.peer().Object())
	_, err := r.fabric.ensure(t.Context(), r.node(existing, func(n *node) { n.options.AcceptDataLoss = true }))
	r.must(err)
	r.converged(engine.Running, false, "key 2")
}

// TestEnsureWithoutNetwork: a node is not taken apart as long as it could not be put together again.
func TestEnsureWithoutNetwork(t *testing.T) {
	r := newRig(t)
	r.make()
	r.fake.VanishNetwork(r.on.Network)
	_, err := r.fabric.ensure(t.Context(), r.node(existing))
	if !errors.Is(err, engine.ErrNotFound) || !strings.Contains(err.Error(), `network "dev"`) {
		t.Errorf("the error is %v, want the network named", err)
	}
	if _, err := r.fake.Node(t.Context(), r.peer().Object()); err != nil {
		t.Error(err)
	}
}

func TestPreflightRefuses(t *testing.T) {
	foreign := map[string]string{engine.LabelOwner: "somebody"}
	for _, c := range []struct {
		name string
		set  func(r *rig) []func(*node)
		want error
	}{
		{"no network", func(r *rig) []func(*node) { r.fake.VanishNetwork("dev"); return nil }, engine.ErrNotFound},
		{"a container of somebody else", func(r *rig) []func(*node) {
			r.fake.AddNode(engine.Node{Name: r.peer().Object(), Labels: foreign})
			return nil
		}, engine.ErrForeign},
		{"a volume of somebody else", func(r *rig) []func(*node) {
			r.fake.AddVolume(engine.Volume{Name: r.peer().Object(), Labels: foreign})
			return nil
		}, engine.ErrForeign},
		{"the CA of that name", func(r *rig) []func(*node) {
			r.fake.AddVolume(engine.Volume{Name: r.peer().Object(), Labels: r.peer().With(KindCA, r.peer().Name, "").labels()})
			return nil
		}, engine.ErrForeign},
		{"our own container", func(r *rig) []func(*node) { r.make(); return nil }, ErrExists},
		{"another resource of that name", func(r *rig) []func(*node) {
			r.must(r.fabric.preflight(r.t.Context(), r.node()))
			return nil
		}, ErrExists},
		{"no image", func(*rig) []func(*node) {
			return []func(*node){func(n *node) { n.options.Image = enginetest.AbsentImage }}
		}, engine.ErrNoImage},
		{"a port of another program", func(r *rig) []func(*node) {
			r.fake.TakePort("0.0.0.0", 17051)
			return []func(*node){wants("grpc", 17051)}
		}, engine.ErrPortTaken},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			changes := c.set(r)
			before := r.fake.Mutations()
			if err := r.fabric.preflight(t.Context(), r.node(changes...)); !errors.Is(err, c.want) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
			if r.fake.Mutations() != before {
				t.Error("something was changed")
			}
		})
	}
}

func wants(purpose string, port int) func(*node) {
	return func(n *node) { n.options.HostPorts[purpose] = port }
}

// TestStartFails: a node that ends during its start fails at once, with its last words.
func TestStartFails(t *testing.T) {
	r := newRig(t)
	command := []string{"peer", "node", "start"}
	r.fake.SetProgram(command, enginetest.Program{Output: []string{"first line", "panic: no such handler"}, ExitCode: 2})
	begun := time.Now()
	_, err := r.fabric.ensure(t.Context(), r.node())
	failure := new(NodeError)
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "it exited with code 2") || !strings.Contains(err.Error(), "panic: no such handler") {
		t.Fatalf("the error is %v", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
	r.empty()
}

func TestLastWords(t *testing.T) {
	long := make([]string, 100)
	for i := range long {
		long[i] = fmt.Sprintf("line %d", i)
	}
	for _, c := range []struct {
		name       string
		log        []string
		has, hasNo string
	}{
		{"nothing", nil, "", "x"},
		{"no complaint", long, "line 99", "line 84"},
		{"a panic before a stack trace", slices.Concat(long, []string{"panic: no such handler"}, long), "line 99\npanic: no such handler\nline 0\nline 1", "line 2"},
		{"colours", []string{"\x1b[31m2026-11-22 ERRO\x1b[0m no space \r"}, "2026-11-22 ERRO no space", "\x1b"},
		{"fabric-ca", slices.Concat([]string{"2026/11/22 10:20:16 [ERROR] no such table"}, long), "[ERROR] no such table", "line 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := lastWords(c.log)
			text := strings.Join(got, "\n")
			if len(got) > wordLines || !strings.Contains(text, c.has) || strings.Contains(text+"\n", c.hasNo+"\n") {
				t.Errorf("the last words are %q", got)
			}
		})
	}
}

func TestStartKilledForMemory(t *testing.T) {
	r := newRig(t)
	_, err := r.fabric.ensure(t.Context(), r.node(func(n *node) {
		n.ready = func(context.Context) error {
			r.fake.SetOOMKilled(r.peer().Object())
			return errors.New("it does not answer")
		}
	}))
	if err == nil || !strings.Contains(err.Error(), "raise memory_mib in limits") {
		t.Errorf("the error is %v", err)
	}
}

// empty checks that nothing of the node is left.
func (r *rig) empty() {
	r.t.Helper()
	nodes, _ := r.fake.Nodes(r.t.Context(), nil)
	volumes, _ := r.fake.Volumes(r.t.Context(), nil)
	if len(nodes)+len(volumes) > 0 {
		r.t.Errorf("left are containers %v and volumes %v", nodes, volumes)
	}
}

// TestEnsureCancelled: who presses Ctrl-C gets an answer, nothing runs on, and what was made can be
// taken away.
func TestEnsureCancelled(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, c := range []struct {
		name  string
		cause error
		limit func(context.Context) (context.Context, context.CancelFunc)
	}{
		{"by a person", context.Canceled, context.WithCancel},
		{"by its timeout", context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 200*time.Millisecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := c.limit(t.Context())
			defer cancel()
			started := make(chan struct{}, 1)
			n := r.node(func(n *node) {
				n.ready = func(context.Context) error {
					select {
					case started <- struct{}{}:
						if errors.Is(c.cause, context.Canceled) {
							cancel()
						}
					default:
					}
					return errors.New("it does not answer yet")
				}
			})
			_, err := r.fabric.ensure(ctx, n)
			if !errors.Is(err, c.cause) {
				t.Errorf("the error is %v, want %v", err, c.cause)
			}
			if errors.Is(c.cause, context.DeadlineExceeded) && !strings.Contains(err.Error(), "it does not answer yet") {
				t.Errorf("the error %v lacks the last answer", err)
			}
			r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
			r.empty()
		})
	}
}

func TestRemoveNode(t *testing.T) {
	r := newRig(t)
	r.make()
	r.must(r.fabric.removeNode(t.Context(), r.peer(), true))
	if r.fake.Files(r.peer().Object()) == nil {
		t.Fatal("the volume was to be kept")
	}
	// The same again takes it up; removing it for good, twice, leaves nothing.
	r.make()
	r.converged(engine.Running, true, "key 1")
	r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
	r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
	r.empty()
}

func TestReadNode(t *testing.T) {
	r := newRig(t)
	read := func() NodeState {
		t.Helper()
		state, err := r.fabric.readNode(t.Context(), r.peer(), PeerPorts())
		r.must(err)
		return state
	}
	r.make()
	if got := read(); got.Status != engine.Running || got.Lost || got.HostPorts["grpc"] == 0 || got.ImageID == "" {
		t.Errorf("running reads as %+v", got)
	}
	r.fake.SetStatus(r.peer().Object(), engine.Stopped, 1)
	if got := read(); got.Status != engine.Stopped || got.HostPorts["grpc"] == 0 {
		t.Errorf("stopped reads as %+v", got)
	}
	r.fake.VanishNode(r.peer().Object())
	if got := read(); got.Status != engine.Absent || got.Lost || got.HostPorts != nil {
		t.Errorf("removed reads as %+v", got)
	}
	r.fake.VanishVolume(r.peer().Object())
	if got := read(); !got.Lost {
		t.Errorf("lost reads as %+v", got)
	}
	r.fake.SetUnreachable(true)
	if _, err := r.fabric.readNode(t.Context(), r.peer(), PeerPorts()); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("an engine that does not answer reads as %v", err)
	}
	r.fake.SetUnreachable(false)
	r.fake.AddNode(engine.Node{Name: r.peer().Object(), Labels: map[string]string{engine.LabelOwner: "somebody"}})
	if _, err := r.fabric.readNode(t.Context(), r.peer(), PeerPorts()); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("somebody else's container reads as %v", err)
	}
}

// TestDrift: what somebody did to a node shows, and is mended on the volume that is there.
func TestDrift(t *testing.T) {
	for _, c := range []struct {
		what  string
		drift func(r *rig)
		shows engine.Status
		// remade tells that the container is another one afterwards.
		remade bool
	}{
		{"altered", func(r *rig) { r.fake.Alter(r.peer().Object(), "its limit of memory") }, Altered, true},
		{"renamed", func(r *rig) {
			r.must(r.fake.RenameNode(r.t.Context(), r.peer().Object(), "mine", r.on.Owner))
		}, engine.Absent, false},
		{"edited", func(r *rig) {
			r.fake.WriteVolume(r.peer().Object(), engine.File{Name: "node/config/core.yaml", Content: []byte("peer: {id: mine}")})
		}, Altered, false},
		{"something beside it", func(r *rig) {
			r.fake.WriteVolume(r.peer().Object(), engine.File{Name: "node/config/notes", Content: []byte("mine")})
		}, engine.Running, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := newRig(t)
			r.make()
			before, err := r.fake.Node(t.Context(), r.peer().Object())
			r.must(err)
			c.drift(r)
			state, err := r.fabric.readNode(t.Context(), r.peer(), PeerPorts())
			r.must(err)
			if state.Status != c.shows {
				t.Errorf("it shows as %s, want %s", state.Status, c.shows)
			}
			_, err = r.fabric.ensure(t.Context(), r.node(existing))
			r.must(err)
			r.converged(engine.Running, true, "key 1")
			after, err := r.fake.Node(t.Context(), r.peer().Object())
			r.must(err)
			if (before.ID != after.ID) != c.remade {
				t.Errorf("the container was %s and is %s", before.ID, after.ID)
			}
			if state, err = r.fabric.readNode(t.Context(), r.peer(), PeerPorts()); err != nil || state.Status != engine.Running {
				t.Errorf("it shows as %s, %v after it was mended", state.Status, err)
			}
		})
	}
}

// TestRemoveRenamed: a node that somebody renamed is removed with its volume.
func TestRemoveRenamed(t *testing.T) {
	r := newRig(t)
	r.make()
	r.must(r.fake.RenameNode(t.Context(), r.peer().Object(), "mine", r.on.Owner))
	r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
	r.empty()
}

func TestCadence(t *testing.T) {
	c := &cadence{}
	c.Reset()
	total, asks := time.Duration(0), 0
	for ; total < time.Second; asks++ {
		total += c.NextBackOff()
	}
	if asks < 25 || c.next != soonAsk {
		t.Errorf("in the first second it asks %d times, and then every %s", asks, c.next)
	}
	c.begun = time.Now().Add(-2 * soon)
	for range 30 {
		c.NextBackOff()
	}
	if c.next != lateAsk {
		t.Errorf("late it asks every %s, want %s", c.next, lateAsk)
	}
	c.Reset()
	if c.NextBackOff() != firstAsk {
		t.Error("it does not begin again")
	}
}
