package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// AbsentImage is an image that is nowhere, at a registry where nobody listens.
const AbsentImage = "127.0.0.1:1/fabricops/absent:0"

// UnknownLogOption is an option that no log driver has. (A driver that it does not have, Docker looks
// for during 15 s.)
const UnknownLogOption = "fabricops-unknown"

// Words that nodes of the suite run; the image must have sh, sleep and nc.
var (
	runs     = []string{"sleep", "3600"}
	fails    = []string{"sh", "-c", "echo first; echo second >&2; echo third; exit 3"}
	succeeds = []string{"sh", "-c", "echo done"}
	serves   = []string{"sh", "-c", "while true; do echo hello | nc -l -p 7000; done"}
)

var suitePrograms = []struct {
	command []string
	program Program
}{
	{runs, Program{Runs: true}},
	{fails, Program{Output: []string{"first", "second", "third"}, ExitCode: 3}},
	{succeeds, Program{Output: []string{"done"}}},
	{serves, Program{Runs: true}},
}

// suite is one run of the conformance suite: everything that it makes carries its owner.
type suite struct {
	engine engine.Engine
	image  string
	prefix string
	owner  string
}

// Conformance checks that an engine keeps the contract of engine.Engine. The image must be on the
// engine and have sh, sleep and a busybox-like nc. Everything that the suite makes is removed.
func Conformance(t *testing.T, open func(t *testing.T) engine.Engine, image string) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"info", (*suite).info}, {"networks", (*suite).networks}, {"volumes", (*suite).volumes},
		{"images", (*suite).images}, {"node life", (*suite).nodeLife}, {"node identity", (*suite).nodeIdentity},
		{"node needs", (*suite).nodeNeeds}, {"await exit", (*suite).awaitExit}, {"run once", (*suite).runOnce},
		{"logs", (*suite).logs}, {"files", (*suite).files}, {"files over a node's life", (*suite).filesStay},
		{"refused files", (*suite).refusedFiles}, {"archives", (*suite).archives}, {"ports", (*suite).ports}, {"dial", (*suite).dial},
		{"lists", (*suite).lists}, {"remade network", (*suite).remadeNetwork}, {"cancelled context", (*suite).cancelled},
		{"parallel", (*suite).parallel}, {"leases", (*suite).leases}, {"node check", (*suite).nodeCheck},
	} {
		t.Run(part.name, func(t *testing.T) {
			id := make([]byte, 5)
			_, _ = rand.Read(id) // never fails
			s := &suite{
				engine: open(t), image: image,
				prefix: "enginetest-" + hex.EncodeToString(id), owner: "owner-" + hex.EncodeToString(id),
			}
			t.Cleanup(func() { s.clean(t) })
			part.run(s, t)
		})
	}
}

func (s *suite) name(what string) string { return s.prefix + "-" + what }

func (s *suite) labels(extra ...string) map[string]string {
	out := map[string]string{engine.LabelOwner: s.owner, engine.LabelSpecHash: "1"}
	for i := 0; i+1 < len(extra); i += 2 {
		out[extra[i]] = extra[i+1]
	}
	return out
}

func (s *suite) spec(what string, command []string) engine.NodeSpec {
	return engine.NodeSpec{
		Name: s.name(what), Hostname: what + ".example.com", Image: s.image, Command: command,
		User: "1000:1000", Tmpfs: []string{"/tmp"}, Labels: s.labels(),
	}
}

func (s *suite) clean(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	own := map[string]string{engine.LabelOwner: s.owner}
	leases, err := s.engine.Leases(ctx, own)
	ok(t, err)
	for _, l := range leases {
		ok(t, s.engine.RemoveLease(ctx, l))
	}
	nodes, err := s.engine.Nodes(ctx, own)
	ok(t, err)
	for _, n := range nodes {
		ok(t, s.engine.RemoveNode(ctx, n.Name, s.owner))
	}
	volumes, err := s.engine.Volumes(ctx, own)
	ok(t, err)
	for _, v := range volumes {
		ok(t, s.engine.RemoveVolume(ctx, v.Name, s.owner))
	}
	networks, err := s.engine.Networks(ctx, own)
	ok(t, err)
	for _, n := range networks {
		ok(t, s.engine.RemoveNetwork(ctx, n.Name, s.owner))
	}
	ok(t, s.engine.Close())
}

func (s *suite) info(t *testing.T) {
	first, err := s.engine.Info(t.Context())
	ok(t, err)
	second, err := s.engine.Info(t.Context())
	ok(t, err)
	if first.ID == "" || first.Address == "" || first != second {
		t.Errorf("Info gave %+v, then %+v", first, second)
	}
}

func (s *suite) networks(t *testing.T) {
	ctx, e, name := t.Context(), s.engine, s.name("net")
	if _, err := e.Network(ctx, name); !notFound(err, "network", name) {
		t.Fatalf("reading an absent network gave %v", err)
	}
	if err := e.CreateNetwork(ctx, engine.NetworkSpec{Name: name}); err == nil {
		t.Fatal("a network was made without an owner")
	}
	spec := engine.NetworkSpec{Name: name, Labels: s.labels("a", "b")}
	ok(t, e.CreateNetwork(ctx, spec))
	ok(t, e.CreateNetwork(ctx, spec))
	got, err := e.Network(ctx, name)
	ok(t, err)
	if got.Name != name || got.ID == "" || !reflect.DeepEqual(got.Labels, spec.Labels) {
		t.Errorf("Network gave %+v", got)
	}
	if _, err := e.Network(ctx, got.ID[:12]); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the beginning of an ID is no name, yet reading it gave %v", err)
	}
	if _, err := e.Network(ctx, s.prefix); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the beginning of a name is no name, yet reading it gave %v", err)
	}
	err = e.CreateNetwork(ctx, engine.NetworkSpec{Name: name, Labels: map[string]string{engine.LabelOwner: "other"}})
	foreign(t, err, "network", name, s.owner)
	foreign(t, e.RemoveNetwork(ctx, name, "other"), "network", name, s.owner)
	foreign(t, e.RemoveNetwork(ctx, name, ""), "network", name, s.owner)
	if again, err := e.Network(ctx, name); err != nil || again.ID != got.ID {
		t.Errorf("the network was touched: %+v, %v", again, err)
	}
	ok(t, e.RemoveNetwork(ctx, name, s.owner))
	ok(t, e.RemoveNetwork(ctx, name, s.owner))
	if _, err := e.Network(ctx, name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("reading a removed network gave %v", err)
	}
}

func (s *suite) volumes(t *testing.T) {
	ctx, e, name := t.Context(), s.engine, s.name("vol")
	if _, err := e.Volume(ctx, name); !notFound(err, "volume", name) {
		t.Fatalf("reading an absent volume gave %v", err)
	}
	if err := e.CreateVolume(ctx, engine.VolumeSpec{Name: name}); err == nil {
		t.Fatal("a volume was made without an owner")
	}
	spec := engine.VolumeSpec{Name: name, Labels: s.labels("a", "b")}
	ok(t, e.CreateVolume(ctx, spec))
	got, err := e.Volume(ctx, name)
	ok(t, err)
	if got.Name != name || !reflect.DeepEqual(got.Labels, spec.Labels) {
		t.Errorf("Volume gave %+v", got)
	}
	node := s.spec("user", runs)
	node.Mounts = []engine.Mount{{Volume: name, Target: "/data"}}
	ok(t, e.CreateNode(ctx, node))
	ok(t, e.PutFiles(ctx, node.Name, "/data", []engine.File{{Name: "f", Content: []byte("x")}}))
	ok(t, e.CreateVolume(ctx, spec))
	if files, err := e.GetFiles(ctx, node.Name, "/data/f"); err != nil || len(files) != 1 {
		t.Errorf("creating a volume again lost its files: %v, %v", files, err)
	}
	if err := e.RemoveVolume(ctx, name, s.owner); err == nil || !strings.Contains(err.Error(), node.Name) {
		t.Errorf("removing a volume in use gave %v, which does not name %s", err, node.Name)
	}
	ok(t, e.RemoveNode(ctx, node.Name, s.owner))
	err = e.CreateVolume(ctx, engine.VolumeSpec{Name: name, Labels: map[string]string{engine.LabelOwner: "other"}})
	foreign(t, err, "volume", name, s.owner)
	foreign(t, e.RemoveVolume(ctx, name, "other"), "volume", name, s.owner)
	foreign(t, e.RemoveVolume(ctx, name, ""), "volume", name, s.owner)
	if again, err := e.Volume(ctx, name); err != nil || !reflect.DeepEqual(again.Labels, spec.Labels) {
		t.Errorf("the volume was touched: %+v, %v", again, err)
	}
	ok(t, e.RemoveVolume(ctx, name, s.owner))
	ok(t, e.RemoveVolume(ctx, name, s.owner))
	if _, err := e.Volume(ctx, name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("reading a removed volume gave %v", err)
	}
}

func (s *suite) images(t *testing.T) {
	ctx, e := t.Context(), s.engine
	byTag, err := e.ResolveImage(ctx, s.image)
	ok(t, err)
	if byTag.Reference != s.image || !strings.HasPrefix(byTag.ID, "sha256:") {
		t.Errorf("ResolveImage gave %+v", byTag)
	}
	byID, err := e.ResolveImage(ctx, byTag.ID)
	ok(t, err)
	if byID.ID != byTag.ID {
		t.Errorf("resolving %s gave %s", byTag.ID, byID.ID)
	}
	var absent *engine.ImageError
	_, err = e.ResolveImage(ctx, AbsentImage)
	if !errors.Is(err, engine.ErrNoImage) || !errors.As(err, &absent) || absent.Reference != AbsentImage || absent.Host != "127.0.0.1:1" || absent.Cause == nil {
		t.Errorf("an absent image gave %v", err)
	}
	unknown := "sha256:" + strings.Repeat("0", 64)
	if _, err = e.ResolveImage(ctx, unknown); !errors.Is(err, engine.ErrNoImage) || !errors.As(err, &absent) || absent.Reference != unknown {
		t.Errorf("an unknown image ID gave %v", err)
	}
}

func (s *suite) nodeLife(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("net"), Labels: s.labels()}))
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol"), Labels: s.labels()}))
	network, err := e.Network(ctx, s.name("net"))
	ok(t, err)
	image, err := e.ResolveImage(ctx, s.image)
	ok(t, err)
	spec := s.spec("node", runs)
	spec.Image = image.ID
	spec.Network = network.Name
	spec.Aliases = []string{"alias"}
	spec.Env = map[string]string{"A": "b"}
	spec.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}}
	spec.Ports = []engine.Port{s.port(t, 7001), s.port(t, 7000)}
	spec.Limits = engine.Limits{MemoryBytes: 64 << 20, PIDs: 50, CPUs: 0.5}
	spec.Restart = true
	spec.Labels["user"] = "label"
	ok(t, e.CreateNode(ctx, spec))

	want := engine.Node{
		Name: spec.Name, ImageID: image.ID, Labels: spec.Labels, Status: engine.Created,
		Ports: []engine.Port{spec.Ports[1], spec.Ports[0]}, NetworkIDs: []string{network.ID}, Volumes: []string{s.name("vol")},
	}
	id := ""
	check := func(status engine.Status) {
		t.Helper()
		got, err := e.Node(ctx, spec.Name)
		ok(t, err)
		if got.ID == "" || id != "" && got.ID != id {
			t.Errorf("the node's ID is %q, it was %q", got.ID, id)
		}
		id = got.ID
		listed, err := e.Nodes(ctx, map[string]string{engine.LabelOwner: s.owner})
		ok(t, err)
		if len(listed) != 1 || !sameNode(listed[0], got) {
			t.Errorf("Nodes gave %+v, Node %+v", listed, got)
		}
		if status == engine.Stopped && got.ExitCode == 0 {
			t.Error("a process that was ended has exit code 0")
		}
		want.ID, want.Status, want.ExitCode = got.ID, status, got.ExitCode
		if !sameNode(got, want) {
			t.Errorf("Node gave\n%+v, want\n%+v", got, want)
		}
	}
	check(engine.Created)
	ok(t, e.StopNode(ctx, spec.Name, time.Second)) // it has never run
	ok(t, e.StartNode(ctx, spec.Name))
	ok(t, e.StartNode(ctx, spec.Name))
	check(engine.Running)
	ok(t, e.CreateNode(ctx, spec))
	check(engine.Running)
	ok(t, e.StopNode(ctx, spec.Name, 0))
	ok(t, e.StopNode(ctx, spec.Name, 0))
	check(engine.Stopped)
	ok(t, e.StartNode(ctx, spec.Name))
	check(engine.Running)
	ok(t, e.RemoveNode(ctx, spec.Name, s.owner))
	ok(t, e.RemoveNode(ctx, spec.Name, s.owner))
	ok(t, e.StopNode(ctx, spec.Name, time.Second))
	if _, err := e.Node(ctx, spec.Name); !notFound(err, "container", spec.Name) {
		t.Errorf("reading a removed node gave %v", err)
	}
	if err := e.StartNode(ctx, spec.Name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("starting an absent node gave %v", err)
	}
	if _, err := e.Volume(ctx, s.name("vol")); err != nil {
		t.Errorf("a named volume went with its node: %v", err)
	}
	// The name is free again at once.
	ok(t, e.CreateNode(ctx, spec))
}

func (s *suite) nodeIdentity(t *testing.T) {
	ctx, e := t.Context(), s.engine
	spec := s.spec("node", runs)
	unowned := spec
	unowned.Labels = map[string]string{"a": "b"}
	if err := e.CreateNode(ctx, unowned); err == nil {
		t.Fatal("a node was made without an owner")
	}
	ok(t, e.CreateNode(ctx, spec))
	before, err := e.Node(ctx, spec.Name)
	ok(t, err)
	other := spec
	other.Labels = s.labels(engine.LabelSpecHash, "2")
	if err := e.CreateNode(ctx, other); !errors.Is(err, engine.ErrConflict) || errors.Is(err, engine.ErrForeign) {
		t.Errorf("another specification gave %v", err)
	}
	other.Labels = s.labels(engine.LabelOwner, "other")
	foreign(t, e.CreateNode(ctx, other), "container", spec.Name, s.owner)
	foreign(t, e.RemoveNode(ctx, spec.Name, "other"), "container", spec.Name, s.owner)
	foreign(t, e.RemoveNode(ctx, spec.Name, ""), "container", spec.Name, s.owner)
	after, err := e.Node(ctx, spec.Name)
	ok(t, err)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the node was touched: %+v, then %+v", before, after)
	}
	if _, err := e.Node(ctx, before.ID[:12]); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the beginning of an ID is no name, yet reading it gave %v", err)
	}
	foreign(t, e.RenameNode(ctx, spec.Name, s.name("renamed"), "other"), "container", spec.Name, s.owner)
	ok(t, e.RenameNode(ctx, spec.Name, s.name("renamed"), s.owner))
	if renamed, err := e.Node(ctx, s.name("renamed")); err != nil || renamed.ID != before.ID {
		t.Errorf("a renamed node is %+v, %v", renamed, err)
	}
	if err := e.RenameNode(ctx, spec.Name, s.name("again"), s.owner); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("renaming an absent node gave %v", err)
	}
	ok(t, e.CreateNode(ctx, spec))
	if err := e.RenameNode(ctx, spec.Name, s.name("renamed"), s.owner); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("a name that is taken gave %v", err)
	}
}

func (s *suite) nodeNeeds(t *testing.T) {
	ctx, e := t.Context(), s.engine
	spec := s.spec("node", runs)
	spec.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}}
	if err := e.CreateNode(ctx, spec); !notFound(err, "volume", s.name("vol")) {
		t.Errorf("a node whose volume is absent gave %v", err)
	}
	if _, err := e.Volume(ctx, s.name("vol")); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a missing volume was made with a node: %v", err)
	}
	spec = s.spec("node", runs)
	spec.Image = "sha256:" + strings.Repeat("0", 64)
	if err := e.CreateNode(ctx, spec); !errors.Is(err, engine.ErrNoImage) {
		t.Errorf("a node whose image is absent gave %v", err)
	}
	spec = s.spec("node", runs)
	spec.User = "nobody"
	if err := e.CreateNode(ctx, spec); err == nil {
		t.Error("a node was made for a user without numbers")
	}
	spec = s.spec("node", runs)
	spec.Ports = []engine.Port{{Container: 7000, Host: 7000}}
	if err := e.CreateNode(ctx, spec); err == nil {
		t.Error("a node was made that is published on every address")
	}
	if _, err := e.Node(ctx, spec.Name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a refused node was made all the same: %v", err)
	}
}

func (s *suite) awaitExit(t *testing.T) {
	ctx, e := t.Context(), s.engine
	if _, err := e.AwaitExit(ctx, s.name("nobody")); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("waiting for an absent node gave %v", err)
	}
	short := s.spec("short", fails)
	ok(t, e.CreateNode(ctx, short))
	ok(t, e.StartNode(ctx, short.Name))
	code, err := e.AwaitExit(ctx, short.Name)
	if err != nil || code != 3 {
		t.Errorf("AwaitExit gave %d, %v; want 3", code, err)
	}
	if n, err := e.Node(ctx, short.Name); err != nil || n.Status != engine.Stopped || n.ExitCode != 3 {
		t.Errorf("Node gave %+v, %v", n, err)
	}
	long := s.spec("long", runs)
	ok(t, e.CreateNode(ctx, long))
	ok(t, e.StartNode(ctx, long.Name))
	await := func(ctx context.Context) (<-chan int, <-chan error) {
		codes, errs := make(chan int, 1), make(chan error, 1)
		go func() {
			code, err := e.AwaitExit(ctx, long.Name)
			codes <- code
			errs <- err
		}()
		return codes, errs
	}
	limited, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	_, errs := await(limited)
	if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("AwaitExit of a running node gave %v", err)
	}
	cancel()
	codes, errs := await(ctx)
	ok(t, e.StopNode(ctx, long.Name, 0))
	if code, err := <-codes, <-errs; err != nil || code == 0 {
		t.Errorf("AwaitExit gave %d, %v after the node was stopped", code, err)
	}
	ok(t, e.StartNode(ctx, long.Name))
	limited, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, errs = await(limited)
	select {
	case err := <-errs:
		t.Errorf("AwaitExit ended before the node: %v", err)
	case <-time.After(200 * time.Millisecond):
		ok(t, e.RemoveNode(ctx, long.Name, s.owner))
		if err := <-errs; !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("AwaitExit gave %v after the node was removed", err)
		}
	}
}

func (s *suite) runOnce(t *testing.T) {
	ctx, e := t.Context(), s.engine
	spec := s.spec("once", fails)
	spec.Restart = true // which a node that runs once does not do
	result, err := e.RunOnce(ctx, spec)
	ok(t, err)
	slices.Sort(result.Output) // two streams have no order between them
	if result.ExitCode != 3 || !slices.Equal(result.Output, []string{"first", "second", "third"}) {
		t.Errorf("RunOnce gave %+v", result)
	}
	done := make(chan error, 2)
	for range 2 {
		go func() {
			result, err := e.RunOnce(ctx, s.spec("once", succeeds))
			if err == nil && (result.ExitCode != 0 || !slices.Equal(result.Output, []string{"done"})) {
				err = fmt.Errorf("RunOnce gave %+v", result)
			}
			done <- err
		}()
	}
	ok(t, <-done)
	ok(t, <-done)
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := e.RunOnce(limited, s.spec("once", runs)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("RunOnce of a node that does not end gave %v", err)
	}
	absent := s.spec("once", runs)
	absent.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}}
	if _, err := e.RunOnce(ctx, absent); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("RunOnce without its volume gave %v", err)
	}
	left, err := e.Nodes(ctx, map[string]string{engine.LabelOwner: s.owner})
	ok(t, err)
	if len(left) != 0 {
		t.Errorf("RunOnce left %+v", left)
	}
}

func (s *suite) logs(t *testing.T) {
	ctx, e := t.Context(), s.engine
	if _, err := e.Logs(ctx, s.name("nobody"), 10); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the log of an absent node gave %v", err)
	}
	spec := s.spec("node", fails)
	ok(t, e.CreateNode(ctx, spec))
	for _, lines := range []int{0, 10} {
		if got, err := e.Logs(ctx, spec.Name, lines); err != nil || len(got) != 0 {
			t.Errorf("the log of a node that never ran gave %q, %v", got, err)
		}
	}
	ok(t, e.StartNode(ctx, spec.Name))
	_, err := e.AwaitExit(ctx, spec.Name)
	ok(t, err)
	got, err := e.Logs(ctx, spec.Name, 10)
	ok(t, err)
	if first, third := slices.Index(got, "first"), slices.Index(got, "third"); len(got) != 3 || !slices.Contains(got, "second") || first > third {
		t.Errorf("Logs gave %q", got)
	}
	if got, err := e.Logs(ctx, spec.Name, 1); err != nil || len(got) != 1 {
		t.Errorf("the last line is %q, %v", got, err)
	}
}

func (s *suite) files(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol"), Labels: s.labels()}))
	spec := s.spec("node", runs)
	spec.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/var/data"}}
	ok(t, e.CreateNode(ctx, spec))
	if _, err := e.GetFiles(ctx, spec.Name, "/var/data/home"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("an absent folder gave %v", err)
	}
	ok(t, e.PutFiles(ctx, spec.Name, "/var/data/home", nil))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	ok(t, e.PutFiles(ctx, spec.Name, "/var/data/home", []engine.File{
		{Name: "msp/keystore/key.pem", Content: []byte("key"), UID: 1000, GID: 1000},
		{Name: "msp/cert.pem", Content: []byte("cert"), Mode: 0o644, UID: 1000, GID: 1000},
		{Name: "empty", UID: 1000, GID: 1000},
		{Name: "big", Content: big, Mode: 0o640, UID: 1001, GID: 1002},
	}))
	want := []engine.File{
		{Name: "home/big", Content: big, Mode: 0o640, UID: 1001, GID: 1002},
		{Name: "home/empty", Mode: 0o600, UID: 1000, GID: 1000},
		{Name: "home/msp/cert.pem", Content: []byte("cert"), Mode: 0o644, UID: 1000, GID: 1000},
		{Name: "home/msp/keystore/key.pem", Content: []byte("key"), Mode: 0o600, UID: 1000, GID: 1000},
	}
	sameFiles(t, s, spec.Name, "/var/data/home", want)
	sameFiles(t, s, spec.Name, "/var/data/home/", want)
	sameFiles(t, s, spec.Name, "/var/data/home/msp/cert.pem", []engine.File{
		{Name: "cert.pem", Content: []byte("cert"), Mode: 0o644, UID: 1000, GID: 1000},
	})
	sameFiles(t, s, spec.Name, "/var/data/home/msp", []engine.File{
		{Name: "msp/cert.pem", Content: []byte("cert"), Mode: 0o644, UID: 1000, GID: 1000},
		{Name: "msp/keystore/key.pem", Content: []byte("key"), Mode: 0o600, UID: 1000, GID: 1000},
	})
	keeps := func(file, content string) bool {
		kept, err := e.KeepsFile(ctx, spec.Name, "/var/data/home/"+file, sha256.Sum256([]byte(content)))
		ok(t, err)
		return kept
	}
	if !keeps("msp/cert.pem", "cert") || !keeps("empty", "") || keeps("msp/cert.pem", "key") || keeps("msp", "cert") {
		t.Error("KeepsFile takes one file for another")
	}
	for _, absent := range []string{spec.Name + ":/var/data/nothing", s.name("nobody") + ":/var/data/home/empty"} {
		node, file, _ := strings.Cut(absent, ":")
		if _, err := e.KeepsFile(ctx, node, file, sha256.Sum256(nil)); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("a look at %s gave %v", absent, err)
		}
	}
	ok(t, e.StartNode(ctx, spec.Name))
	ok(t, e.PutFiles(ctx, spec.Name, "/var/data/home", []engine.File{
		{Name: "msp/cert.pem", Content: []byte("shorter"[:2]), Mode: 0o600, UID: 1000, GID: 1000},
		{Name: "new", Content: []byte("new"), UID: 1000, GID: 1000},
	}))
	want[2] = engine.File{Name: "home/msp/cert.pem", Content: []byte("sh"), Mode: 0o600, UID: 1000, GID: 1000}
	want = append(want, engine.File{Name: "home/new", Content: []byte("new"), Mode: 0o600, UID: 1000, GID: 1000})
	sameFiles(t, s, spec.Name, "/var/data/home", want)
	if err := e.PutFiles(ctx, s.name("nobody"), "/var/data", []engine.File{{Name: "f"}}); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("writing to an absent node gave %v", err)
	}
	if _, err := e.GetFiles(ctx, s.name("nobody"), "/var/data"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("reading from an absent node gave %v", err)
	}
}

func (s *suite) filesStay(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol"), Labels: s.labels()}))
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("inner"), Labels: s.labels()}))
	first := s.spec("first", runs)
	first.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}, {Volume: s.name("inner"), Target: "/data/inner"}}
	ok(t, e.CreateNode(ctx, first))
	ok(t, e.PutFiles(ctx, first.Name, "/data/inner/x", []engine.File{{Name: "f", Content: []byte("inner")}}))
	ok(t, e.PutFiles(ctx, first.Name, "/data", []engine.File{{Name: "y/f", Content: []byte("outer")}}))
	ok(t, e.StartNode(ctx, first.Name))
	ok(t, e.RemoveNode(ctx, first.Name, s.owner))
	second := s.spec("second", runs)
	second.Mounts = []engine.Mount{{Volume: s.name("inner"), Target: "/elsewhere"}, {Volume: s.name("vol"), Target: "/data"}}
	ok(t, e.CreateNode(ctx, second))
	sameFiles(t, s, second.Name, "/elsewhere/x", []engine.File{{Name: "x/f", Content: []byte("inner"), Mode: 0o600}})
	sameFiles(t, s, second.Name, "/data/y/f", []engine.File{{Name: "f", Content: []byte("outer"), Mode: 0o600}})
	ok(t, e.RemoveNode(ctx, second.Name, s.owner))
	ok(t, e.RemoveVolume(ctx, s.name("inner"), s.owner))
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("inner"), Labels: s.labels()}))
	ok(t, e.CreateNode(ctx, second))
	if _, err := e.GetFiles(ctx, second.Name, "/elsewhere/x"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the files of a removed volume came back: %v", err)
	}
}

func (s *suite) refusedFiles(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol"), Labels: s.labels()}))
	spec := s.spec("node", runs)
	spec.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}, {Volume: s.name("vol"), Target: "/fixed", ReadOnly: true}}
	ok(t, e.CreateNode(ctx, spec))
	const secret = "content that must not be told"
	for _, test := range []struct{ folder, name string }{
		{"/etc", "f"}, {"/database", "f"}, {"/data/../etc", "f"}, {"data", "f"}, {"/fixed", "f"}, {"/fixed/x", "f"},
		{"/data", "../f"}, {"/data", "/f"}, {"/data", ""}, {"/data", "."}, {"/data", "a//b"}, {"/data", "a/../../f"},
	} {
		err := e.PutFiles(ctx, spec.Name, test.folder, []engine.File{{Name: test.name, Content: []byte(secret)}})
		if err == nil || errors.Is(err, engine.ErrNotFound) || strings.Contains(err.Error(), secret) {
			t.Errorf("file %q in %q gave %v", test.name, test.folder, err)
		}
	}
	if files, err := e.GetFiles(ctx, spec.Name, "/data"); err != nil || len(files) != 0 {
		t.Errorf("refused files were written: %v, %v", files, err)
	}
}

func (s *suite) archives(t *testing.T) {
	ctx, e := t.Context(), s.engine
	node := func(what string) engine.NodeSpec {
		ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name(what + "-vol"), Labels: s.labels()}))
		spec := s.spec(what, runs)
		spec.Mounts = []engine.Mount{{Volume: s.name(what + "-vol"), Target: "/var/data"}}
		ok(t, e.CreateNode(ctx, spec))
		return spec
	}
	from, to := node("from"), node("to")
	want := []engine.File{
		{Name: "home/big", Content: bytes.Repeat([]byte("0123456789abcdef"), 1<<18), Mode: 0o640, UID: 1001, GID: 1002},
		{Name: "home/empty", Mode: 0o600, UID: 1000, GID: 1000},
		{Name: "home/msp/key.pem", Content: []byte("key"), Mode: 0o600, UID: 1000, GID: 1000},
	}
	ok(t, e.PutFiles(ctx, from.Name, "/var/data", want))
	nothing := func(io.Reader) error { return nil }
	if err := e.ReadArchive(ctx, from.Name, "/var/data/absent", nothing); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("an absent folder gave %v", err)
	}
	if err := e.ReadArchive(ctx, s.name("nobody"), "/var/data", nothing); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("an absent node gave %v", err)
	}
	full := &fs.PathError{Op: "write", Path: "archive", Err: syscall.ENOSPC} // which net.Error fits, too
	if err := e.ReadArchive(ctx, from.Name, "/var/data/home", func(io.Reader) error { return full }); !errors.Is(err, full) || errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("a reader's own failure gave %v", err)
	}
	ok(t, e.ReadArchive(ctx, from.Name, "/var/data/home", func(archive io.Reader) error {
		return e.WriteArchive(ctx, to.Name, "/var/data", archive)
	}))
	sameFiles(t, s, to.Name, "/var/data/home", want)
	ok(t, e.StartNode(ctx, to.Name))
	sameFiles(t, s, to.Name, "/var/data/home", want)
	cut := iotest.ErrReader(full)
	if err := e.WriteArchive(ctx, to.Name, "/var/data", cut); !errors.Is(err, full) || errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("an archive that cannot be read gave %v", err)
	}
	for _, folder := range []string{"/etc", "data"} {
		if err := e.WriteArchive(ctx, to.Name, folder, strings.NewReader("")); err == nil || errors.Is(err, engine.ErrNotFound) {
			t.Errorf("an archive in %q gave %v", folder, err)
		}
	}
	if err := e.WriteArchive(ctx, s.name("nobody"), "/var/data", strings.NewReader("")); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("an archive for an absent node gave %v", err)
	}
}

func (s *suite) ports(t *testing.T) {
	ctx, e := t.Context(), s.engine
	port := s.port(t, 7000)
	spec := s.spec("holder", runs)
	ok(t, e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("net"), Labels: s.labels()}))
	spec.Network = s.name("net")
	spec.Ports = []engine.Port{port}
	want := engine.PublishedPort{Node: spec.Name, Owner: s.owner, Address: port.Address, Port: port.Host}
	check := func(when string, published, free bool) {
		t.Helper()
		ports, err := e.PublishedPorts(ctx)
		ok(t, err)
		if slices.Contains(ports, want) != published {
			t.Errorf("%s the published ports are %+v", when, ports)
		}
		if got, err := e.PortFree(ctx, port.Address, port.Host); err != nil || got != free {
			t.Errorf("%s PortFree gives %t, %v", when, got, err)
		}
		if got, err := e.PortFree(ctx, "0.0.0.0", port.Host); err != nil || got != free {
			t.Errorf("%s PortFree gives %t, %v for every address", when, got, err)
		}
	}
	check("before", false, true)
	ok(t, e.CreateNode(ctx, spec))
	check("created", true, true)
	ok(t, e.StartNode(ctx, spec.Name))
	check("running", true, false)

	other := s.spec("other", runs)
	other.Network, other.Ports = spec.Network, []engine.Port{s.port(t, 7001), {Container: 7000, Host: port.Host, Address: port.Address}}
	ok(t, e.CreateNode(ctx, other))
	var taken *engine.PortError
	err := e.StartNode(ctx, other.Name)
	if !errors.Is(err, engine.ErrPortTaken) || !errors.As(err, &taken) {
		t.Fatalf("a taken port gave %v", err)
	}
	if *taken != (engine.PortError{Node: other.Name, Address: port.Address, Port: port.Host, Holder: spec.Name}) {
		t.Errorf("a taken port gave %+v", *taken)
	}
	if n, err := e.Node(ctx, other.Name); err != nil || n.Status == engine.Running {
		t.Errorf("a node that could not start is %+v, %v", n, err)
	}
	ok(t, e.StopNode(ctx, spec.Name, 0))
	check("stopped", true, true)
	ok(t, e.StartNode(ctx, other.Name))
	ok(t, e.RemoveNode(ctx, other.Name, s.owner))
	ok(t, e.RemoveNode(ctx, spec.Name, s.owner))
	check("removed", false, true)
}

func (s *suite) dial(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("net"), Labels: s.labels()}))
	spec := s.spec("node", serves)
	spec.Network = s.name("net")
	spec.Ports = []engine.Port{s.port(t, 7000)}
	if fake, is := e.(*Fake); is {
		fake.HandleDial(spec.Name, 7000, func(context.Context) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				_, _ = there.Write([]byte("hello\n"))
				_ = there.Close()
			}()
			return here, nil
		})
	}
	if _, err := e.Dial(ctx, spec.Name, 7000); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("dialling an absent node gave %v", err)
	}
	ok(t, e.CreateNode(ctx, spec))
	if _, err := e.Dial(ctx, spec.Name, 7000); err == nil || !strings.Contains(err.Error(), spec.Name) || !strings.Contains(err.Error(), "not running") {
		t.Errorf("dialling a node that does not run gave %v", err)
	}
	ok(t, e.StartNode(ctx, spec.Name))
	deadline := time.Now().Add(20 * time.Second)
	for {
		heard, err := listen(ctx, e, spec.Name, 7000)
		if err == nil && heard == "hello\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing came from the node: %q, %v", heard, err)
		}
		select {
		case <-time.After(50 * time.Millisecond): // its process has to begin to listen
		case <-ctx.Done():
		}
	}
	ok(t, e.StopNode(ctx, spec.Name, 0))
	if conn, err := e.Dial(ctx, spec.Name, 7000); err == nil {
		_ = conn.Close()
		t.Error("a stopped node was dialled")
	}
}

// listen reads what a node says to those who connect.
func listen(ctx context.Context, e engine.Engine, node string, port int) (string, error) {
	conn, err := e.Dial(ctx, node, port)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	heard := make([]byte, 6)
	n, err := io.ReadFull(conn, heard)
	return string(heard[:n]), err
}

func (s *suite) lists(t *testing.T) {
	ctx, e := t.Context(), s.engine
	for _, kind := range []string{"a", "b"} {
		ok(t, e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("net" + kind), Labels: s.labels(engine.LabelKind, kind)}))
		ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol" + kind), Labels: s.labels(engine.LabelKind, kind)}))
		spec := s.spec("node"+kind, runs)
		spec.Labels = s.labels(engine.LabelKind, kind)
		ok(t, e.CreateNode(ctx, spec))
	}
	for _, test := range []struct {
		labels map[string]string
		want   []string
	}{
		{map[string]string{engine.LabelOwner: s.owner}, []string{"a", "b"}},
		{map[string]string{engine.LabelOwner: s.owner, engine.LabelKind: "b"}, []string{"b"}},
		{map[string]string{engine.LabelOwner: s.owner, engine.LabelKind: "c"}, nil},
		{map[string]string{engine.LabelOwner: s.owner[1:]}, nil},
	} {
		nodes, err := e.Nodes(ctx, test.labels)
		ok(t, err)
		volumes, err := e.Volumes(ctx, test.labels)
		ok(t, err)
		networks, err := e.Networks(ctx, test.labels)
		ok(t, err)
		var wantNodes, wantVolumes, wantNetworks, gotNodes, gotVolumes, gotNetworks []string
		for _, kind := range test.want {
			wantNodes, wantVolumes = append(wantNodes, s.name("node"+kind)), append(wantVolumes, s.name("vol"+kind))
			wantNetworks = append(wantNetworks, s.name("net"+kind))
		}
		for _, n := range nodes {
			gotNodes = append(gotNodes, n.Name)
		}
		for _, v := range volumes {
			gotVolumes = append(gotVolumes, v.Name)
		}
		for _, n := range networks {
			gotNetworks = append(gotNetworks, n.Name)
		}
		if !slices.Equal(gotNodes, wantNodes) || !slices.Equal(gotVolumes, wantVolumes) || !slices.Equal(gotNetworks, wantNetworks) {
			t.Errorf("%v gave %v, %v, %v", test.labels, gotNodes, gotVolumes, gotNetworks)
		}
	}
}

func (s *suite) remadeNetwork(t *testing.T) {
	ctx, e := t.Context(), s.engine
	network := engine.NetworkSpec{Name: s.name("net"), Labels: s.labels()}
	ok(t, e.CreateNetwork(ctx, network))
	old, err := e.Network(ctx, network.Name)
	ok(t, err)
	spec := s.spec("node", runs)
	spec.Network = network.Name
	ok(t, e.CreateNode(ctx, spec))
	ok(t, e.StartNode(ctx, spec.Name))
	ok(t, e.StopNode(ctx, spec.Name, 0))
	ok(t, e.RemoveNetwork(ctx, network.Name, s.owner))
	ok(t, e.CreateNetwork(ctx, network))
	remade, err := e.Network(ctx, network.Name)
	ok(t, err)
	n, err := e.Node(ctx, spec.Name)
	ok(t, err)
	if slices.Contains(n.NetworkIDs, remade.ID) || remade.ID == old.ID {
		t.Errorf("a stopped node is on the remade network %+v: %+v", remade, n)
	}
	if err := e.StartNode(ctx, spec.Name); err == nil || errors.Is(err, engine.ErrNotFound) {
		t.Errorf("starting a node whose network was remade gave %v, which must not say that the node is absent", err)
	}
	ok(t, e.RemoveNode(ctx, spec.Name, s.owner))
	ok(t, e.CreateNode(ctx, spec))
	ok(t, e.StartNode(ctx, spec.Name))
	if n, err := e.Node(ctx, spec.Name); err != nil || !slices.Equal(n.NetworkIDs, []string{remade.ID}) {
		t.Errorf("Node gave %+v, %v", n, err)
	}
}

func (s *suite) cancelled(t *testing.T) {
	e := s.engine
	spec := s.spec("node", runs)
	ok(t, e.CreateNode(t.Context(), spec))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Info":           func() error { _, err := e.Info(ctx); return err },
		"CreateNetwork":  func() error { return e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("x"), Labels: s.labels()}) },
		"Network":        func() error { _, err := e.Network(ctx, s.name("x")); return err },
		"RemoveNetwork":  func() error { return e.RemoveNetwork(ctx, s.name("x"), s.owner) },
		"CreateVolume":   func() error { return e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("x"), Labels: s.labels()}) },
		"Volume":         func() error { _, err := e.Volume(ctx, s.name("x")); return err },
		"RemoveVolume":   func() error { return e.RemoveVolume(ctx, s.name("x"), s.owner) },
		"ResolveImage":   func() error { _, err := e.ResolveImage(ctx, s.image); return err },
		"CreateNode":     func() error { return e.CreateNode(ctx, s.spec("x", runs)) },
		"StartNode":      func() error { return e.StartNode(ctx, spec.Name) },
		"StopNode":       func() error { return e.StopNode(ctx, spec.Name, 0) },
		"RemoveNode":     func() error { return e.RemoveNode(ctx, spec.Name, s.owner) },
		"Node":           func() error { _, err := e.Node(ctx, spec.Name); return err },
		"AwaitExit":      func() error { _, err := e.AwaitExit(ctx, spec.Name); return err },
		"RunOnce":        func() error { _, err := e.RunOnce(ctx, s.spec("x", runs)); return err },
		"Logs":           func() error { _, err := e.Logs(ctx, spec.Name, 1); return err },
		"PutFiles":       func() error { return e.PutFiles(ctx, spec.Name, "/data", []engine.File{{Name: "f"}}) },
		"KeepsFile":      func() error { _, err := e.KeepsFile(ctx, spec.Name, "/data/f", [32]byte{}); return err },
		"RenameNode":     func() error { return e.RenameNode(ctx, spec.Name, spec.Name+"-2", s.owner) },
		"GetFiles":       func() error { _, err := e.GetFiles(ctx, spec.Name, "/data"); return err },
		"ReadArchive":    func() error { return e.ReadArchive(ctx, spec.Name, "/data", func(io.Reader) error { return nil }) },
		"WriteArchive":   func() error { return e.WriteArchive(ctx, spec.Name, "/data", strings.NewReader("")) },
		"Nodes":          func() error { _, err := e.Nodes(ctx, nil); return err },
		"Volumes":        func() error { _, err := e.Volumes(ctx, nil); return err },
		"Networks":       func() error { _, err := e.Networks(ctx, nil); return err },
		"Dial":           func() error { _, err := e.Dial(ctx, spec.Name, 1); return err },
		"PublishedPorts": func() error { _, err := e.PublishedPorts(ctx); return err },
		"PortFree":       func() error { _, err := e.PortFree(ctx, "127.0.0.1", 1); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s gave %v", name, err)
		}
	}
	if n, err := e.Node(t.Context(), spec.Name); err != nil || n.Status != engine.Created {
		t.Errorf("a cancelled call changed the node: %+v, %v", n, err)
	}
}

func (s *suite) parallel(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateNetwork(ctx, engine.NetworkSpec{Name: s.name("net"), Labels: s.labels()}))
	const nodes = 6
	each := func(do func(i int, spec engine.NodeSpec) error) {
		t.Helper()
		done := make(chan error, nodes)
		for i := range nodes {
			go func() {
				spec := s.spec(fmt.Sprint("node", i), runs)
				spec.Network = s.name("net")
				spec.Mounts = []engine.Mount{{Volume: s.name(fmt.Sprint("vol", i)), Target: "/data"}}
				done <- do(i, spec)
			}()
		}
		for range nodes {
			ok(t, <-done)
		}
	}
	each(func(i int, spec engine.NodeSpec) error {
		volume := engine.VolumeSpec{Name: s.name(fmt.Sprint("vol", i)), Labels: s.labels()}
		if err := e.CreateVolume(ctx, volume); err != nil {
			return err
		}
		if err := e.CreateNode(ctx, spec); err != nil {
			return err
		}
		if err := e.PutFiles(ctx, spec.Name, "/data/home", []engine.File{{Name: "f", Content: []byte{byte(i)}}}); err != nil {
			return err
		}
		return e.StartNode(ctx, spec.Name)
	})
	each(func(i int, spec engine.NodeSpec) error {
		files, err := e.GetFiles(ctx, spec.Name, "/data/home/f")
		if err == nil && (len(files) != 1 || !bytes.Equal(files[0].Content, []byte{byte(i)})) {
			err = fmt.Errorf("node %d has %v", i, files)
		}
		return err
	})
	// One name, made by all at once: all of them have it.
	done := make(chan error, nodes)
	for range nodes {
		go func() { done <- e.CreateNode(ctx, s.spec("shared", runs)) }()
	}
	for range nodes {
		ok(t, <-done)
	}
	each(func(_ int, spec engine.NodeSpec) error { return e.RemoveNode(ctx, spec.Name, s.owner) })
	ok(t, e.RemoveNetwork(ctx, s.name("net"), s.owner))
}

// port gives a host port that is free.
func (s *suite) port(t *testing.T, container int) engine.Port {
	t.Helper()
	for range 100 {
		p := engine.Port{Container: container, Host: 20000 + mathrand.IntN(10000), Address: "127.0.0.1"}
		free, err := s.engine.PortFree(t.Context(), p.Address, p.Host)
		ok(t, err)
		if free {
			return p
		}
	}
	t.Fatal("no host port is free")
	return engine.Port{}
}

func sameFiles(t *testing.T, s *suite, node, name string, want []engine.File) {
	t.Helper()
	got, err := s.engine.GetFiles(t.Context(), node, name)
	ok(t, err)
	same := slices.EqualFunc(got, want, func(a, b engine.File) bool {
		return a.Name == b.Name && bytes.Equal(a.Content, b.Content) && a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID
	})
	if !same {
		t.Errorf("GetFiles of %s gave %s, want %s", name, outline(got), outline(want))
	}
}

func outline(files []engine.File) string {
	var out strings.Builder
	for _, f := range files {
		fmt.Fprintf(&out, " %s(%d bytes, %o, %d:%d)", f.Name, len(f.Content), f.Mode, f.UID, f.GID)
	}
	return out.String()
}

// sameNode compares nodes whose labels may hold what the image adds.
func sameNode(got, want engine.Node) bool {
	labelled := carries(got.Labels, want.Labels)
	got.Labels, want.Labels = nil, nil
	return labelled && reflect.DeepEqual(got, want)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func notFound(err error, kind, name string) bool {
	var absent *engine.NotFoundError
	return errors.Is(err, engine.ErrNotFound) && errors.As(err, &absent) && *absent == engine.NotFoundError{Kind: kind, Name: name}
}

func foreign(t *testing.T, err error, kind, name, owner string) {
	t.Helper()
	var other *engine.ForeignError
	if !errors.Is(err, engine.ErrForeign) || !errors.As(err, &other) || *other != (engine.ForeignError{Kind: kind, Name: name, Owner: owner}) {
		t.Errorf("somebody else's %s gave %v", kind, err)
	}
}

func (s *suite) leases(t *testing.T) {
	ctx, e := t.Context(), s.engine
	image, err := e.ResolveImage(ctx, s.image)
	ok(t, err)
	spec := engine.LeaseSpec{Name: s.name("lease"), Image: image.ID, Labels: s.labels("holder", "first")}
	first, err := e.CreateLease(ctx, spec)
	ok(t, err)
	again := spec
	again.Labels = s.labels("holder", "second")
	if _, err := e.CreateLease(ctx, again); !errors.Is(err, engine.ErrLeased) {
		t.Errorf("a lease that is taken gave %v", err)
	}
	stranger := spec
	stranger.Labels = s.labels(engine.LabelOwner, "other")
	_, err = e.CreateLease(ctx, stranger)
	foreign(t, err, "container", spec.Name, s.owner)
	check := func(when string, want engine.Lease) {
		t.Helper()
		for _, labels := range []map[string]string{{engine.LabelOwner: s.owner}, {engine.LabelOwner: s.owner, "holder": want.Labels["holder"]}} {
			got, err := e.Leases(ctx, labels)
			ok(t, err)
			if len(got) != 1 || got[0].ID != want.ID || got[0].Name != spec.Name || got[0].Beat != want.Beat || got[0].Labels["holder"] != want.Labels["holder"] {
				t.Errorf("%s Leases gave %+v, want %+v", when, got, want)
			}
		}
	}
	check("when it was taken", first)
	for range 3 {
		before := first.Beat
		first, err = e.RenewLease(ctx, first)
		ok(t, err)
		if first.Beat == before {
			t.Error("a renewal did not change the beat")
		}
		check("after a renewal", first)
	}
	if none, err := e.Leases(ctx, map[string]string{engine.LabelOwner: s.owner, "holder": "nobody"}); err != nil || len(none) > 0 {
		t.Errorf("Leases of other labels gave %v, %v", none, err)
	}
	ok(t, e.RemoveLease(ctx, first))
	ok(t, e.RemoveLease(ctx, first))
	if _, err := e.RenewLease(ctx, first); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("renewing a lease that is gone gave %v", err)
	}
	second, err := e.CreateLease(ctx, again)
	ok(t, err)
	// Who had it before has no power over it.
	ok(t, e.RemoveLease(ctx, first))
	if _, err := e.RenewLease(ctx, first); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("renewing a lease that another holder has gave %v", err)
	}
	check("after the one before had another try", second)
	ok(t, e.RemoveLease(ctx, second))
	// Of many that want it, one gets it.
	won := make(chan error, 8)
	for range cap(won) {
		go func() { _, err := e.CreateLease(ctx, spec); won <- err }()
	}
	winners := 0
	for range cap(won) {
		switch err := <-won; {
		case err == nil:
			winners++
		case !errors.Is(err, engine.ErrLeased):
			t.Errorf("of many at once one got %v", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d of %d got the lease", winners, cap(won))
	}
	// What is no lease is not taken for one.
	node := s.spec("node", runs)
	ok(t, e.CreateNode(ctx, node))
	spec.Name = node.Name
	if _, err := e.CreateLease(ctx, spec); err == nil || errors.Is(err, engine.ErrLeased) {
		t.Errorf("a lease of a node's name gave %v", err)
	}
	if nodes, err := e.Nodes(ctx, map[string]string{engine.LabelOwner: s.owner}); err != nil || len(nodes) != 1 {
		t.Errorf("the nodes are %+v, %v; want the one that is no lease", nodes, err)
	}
	volumes, err := e.Volumes(ctx, map[string]string{engine.LabelOwner: s.owner})
	ok(t, err)
	if len(volumes) > 0 {
		t.Errorf("leases left volumes: %v", volumes)
	}
}

func (s *suite) nodeCheck(t *testing.T) {
	ctx, e := t.Context(), s.engine
	ok(t, e.CreateVolume(ctx, engine.VolumeSpec{Name: s.name("vol"), Labels: s.labels()}))
	good := s.spec("node", runs)
	good.Mounts = []engine.Mount{{Volume: s.name("vol"), Target: "/data"}}
	ok(t, e.CreateNode(ctx, good))
	ok(t, e.StartNode(ctx, good.Name))
	ok(t, e.CheckNode(ctx, good)) // one that is there is no hindrance
	for what, change := range map[string]func(*engine.NodeSpec){
		"log option": func(n *engine.NodeSpec) {
			n.Log = engine.Log{Driver: "json-file", Options: map[string]string{UnknownLogOption: "1"}}
		},
		"user":   func(n *engine.NodeSpec) { n.User = "nobody" },
		"image":  func(n *engine.NodeSpec) { n.Image = "sha256:" + strings.Repeat("0", 64) },
		"volume": func(n *engine.NodeSpec) { n.Mounts = []engine.Mount{{Volume: s.name("none"), Target: "/data"}} },
	} {
		bad := good
		change(&bad)
		err := e.CheckNode(ctx, bad)
		if err == nil {
			t.Errorf("a node with an unknown %s passed", what)
		}
		if what == "log option" && !strings.Contains(err.Error(), UnknownLogOption) {
			t.Errorf("an unknown log option gave %v", err)
		}
	}
	nodes, err := e.Nodes(ctx, map[string]string{engine.LabelOwner: s.owner})
	ok(t, err)
	if len(nodes) != 1 || nodes[0].Status != engine.Running {
		t.Errorf("the nodes are %+v, want the one that was there", nodes)
	}
}
