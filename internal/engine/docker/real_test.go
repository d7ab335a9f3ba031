package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/goleak"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// Tests against the engine of this machine run when FABRIC_REAL=1, and then fail without one.
const realEngine = "FABRIC_REAL"

func host() string {
	if h := os.Getenv("DOCKER_HOST"); h != "" {
		return h
	}
	return "unix:///var/run/docker.sock"
}

var realImage struct {
	name string
	once sync.Once
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if realImage.name != "" && realImage.err == nil {
		if err := removeImage(realImage.name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// real gives an image with busybox in it that declares VOLUMEs and a port, made for this run.
func real(t testing.TB) string {
	t.Helper()
	if os.Getenv(realEngine) != "1" {
		t.Skip("it needs a Docker engine: set " + realEngine + "=1")
	}
	realImage.once.Do(func() {
		id := make([]byte, 5)
		_, _ = rand.Read(id)
		realImage.name = "enginetest-" + hex.EncodeToString(id) + ":1"
		realImage.err = importImage(realImage.name)
	})
	if realImage.err != nil {
		t.Fatalf("unable to make the test image: %v", realImage.err)
	}
	return realImage.name
}

func importImage(name string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("busybox must be installed (Debian: busybox-static): %w", err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	headers := []*tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "declared/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	}
	for _, applet := range []string{"sh", "sleep", "echo", "nc", "id", "cat", "touch", "grep", "stat", "hostname", "nslookup", "mkdir", "ls", "true"} {
		headers = append(headers, &tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"})
	}
	for _, h := range headers {
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(program); err != nil {
				return err
			}
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	api, err := client.New(client.WithHost(host()))
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	result, err := api.ImageImport(context.Background(), client.ImageImportSource{Source: &archive, SourceName: "-"}, name, client.ImageImportOptions{
		Changes: []string{"ENV PATH=/bin", "VOLUME /declared /declared/two", "EXPOSE 9999"},
	})
	if err != nil {
		return err
	}
	defer func() { _ = result.Close() }()
	_, err = io.Copy(io.Discard, result)
	return err
}

func removeImage(name string) error {
	api, err := client.New(client.WithHost(host()))
	if err != nil {
		return err
	}
	defer func() { _ = api.Close() }()
	_, err = api.ImageRemove(context.Background(), name, client.ImageRemoveOptions{})
	return err
}

// open gives an engine, and the API that it uses, to look behind it.
func open(t testing.TB) (*docker.Engine, *client.Client) {
	t.Helper()
	e, err := docker.New(docker.Options{Host: host()})
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(client.WithHost(host()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close()
		_ = api.Close()
	})
	return e, api
}

func TestRealEngineConforms(t *testing.T) {
	image := real(t)
	enginetest.Conformance(t, func(t *testing.T) engine.Engine {
		e, _ := open(t)
		return e
	}, image)
}

// bench is an engine with an owner of its own; whatever carries that is removed.
type bench struct {
	*docker.Engine
	api   *client.Client
	id    string
	image string
}

func newBench(t testing.TB) *bench {
	image := real(t)
	e, api := open(t)
	id := make([]byte, 5)
	_, _ = rand.Read(id)
	b := &bench{Engine: e, api: api, id: "enginetest-" + hex.EncodeToString(id), image: image}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		own := map[string]string{engine.LabelOwner: b.id}
		nodes, err := e.Nodes(ctx, own)
		must(t, err)
		for _, n := range nodes {
			must(t, e.RemoveNode(ctx, n.Name, b.id))
		}
		volumes, err := e.Volumes(ctx, own)
		must(t, err)
		for _, v := range volumes {
			must(t, e.RemoveVolume(ctx, v.Name, b.id))
		}
		networks, err := e.Networks(ctx, own)
		must(t, err)
		for _, n := range networks {
			must(t, e.RemoveNetwork(ctx, n.Name, b.id))
		}
	})
	return b
}

func (b *bench) labels() map[string]string { return map[string]string{engine.LabelOwner: b.id} }

func (b *bench) spec(what string, command ...string) engine.NodeSpec {
	return engine.NodeSpec{
		Name: b.id + "-" + what, Hostname: what + ".example.com", Image: b.image, Command: command,
		User: "1000:1000", Tmpfs: []string{"/tmp"}, Labels: b.labels(),
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRealNodesAreHardened(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}))
	must(t, b.CreateVolume(ctx, engine.VolumeSpec{Name: b.id, Labels: b.labels()}))
	spec := b.spec("node", "sleep", "3600")
	spec.Network, spec.Aliases = b.id, []string{"short", "short"}
	spec.Mounts = []engine.Mount{{Volume: b.id, Target: "/data"}}
	spec.Limits = engine.Limits{MemoryBytes: 64 << 20, PIDs: 50, CPUs: 0.5}
	spec.Log = engine.Log{Driver: "json-file", Options: map[string]string{"max-size": "1m"}}
	spec.Restart = true
	spec.Ports = []engine.Port{{Container: 7000, Host: 29321, Address: "127.0.0.1"}}
	must(t, b.CreateNode(ctx, spec))
	must(t, b.StartNode(ctx, spec.Name))
	result, err := b.api.ContainerInspect(ctx, spec.Name, client.ContainerInspectOptions{})
	must(t, err)
	c := result.Container
	h := c.HostConfig
	if c.Config.User != "1000:1000" || !h.ReadonlyRootfs || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) != 0 || h.Privileged {
		t.Errorf("user %q, read-only %t, dropped %v, added %v, privileged %t", c.Config.User, h.ReadonlyRootfs, h.CapDrop, h.CapAdd, h.Privileged)
	}
	if !slices.Equal(h.SecurityOpt, []string{"no-new-privileges:true"}) && !slices.Equal(h.SecurityOpt, []string{"no-new-privileges"}) {
		t.Errorf("security options %v", h.SecurityOpt)
	}
	if h.Memory != 64<<20 || h.MemorySwap > 64<<20 || h.PidsLimit == nil || *h.PidsLimit != 50 || h.NanoCPUs != 5e8 {
		t.Errorf("limits %+v", h.Resources)
	}
	if h.RestartPolicy.Name != "unless-stopped" || h.LogConfig.Type != "json-file" || h.LogConfig.Config["max-size"] != "1m" {
		t.Errorf("restart %v, log %v", h.RestartPolicy, h.LogConfig)
	}
	if c.Config.Hostname != "node.example.com" || h.PublishAllPorts || len(h.Binds) != 0 {
		t.Errorf("host name %q, publish all %t, binds %v", c.Config.Hostname, h.PublishAllPorts, h.Binds)
	}
	for _, m := range c.Mounts {
		if m.Type == "volume" && m.Name != b.id || m.Type == "bind" {
			t.Errorf("it mounts %+v", m)
		}
	}
	for port, bindings := range c.NetworkSettings.Ports {
		if len(bindings) > 0 && (port.String() != "7000/tcp" || len(bindings) != 1 || bindings[0].HostIP.String() != "127.0.0.1") {
			t.Errorf("port %s is published on %v", port, bindings)
		}
	}
}

// What carries no label of ours is nobody's here, whatever owner is asked for.
func TestRealForeignObjectsAreNotTouched(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	_, err := b.api.NetworkCreate(ctx, b.id, client.NetworkCreateOptions{})
	must(t, err)
	defer func() { _, _ = b.api.NetworkRemove(context.Background(), b.id, client.NetworkRemoveOptions{}) }()
	_, err = b.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: b.id})
	must(t, err)
	defer func() { _, _ = b.api.VolumeRemove(context.Background(), b.id, client.VolumeRemoveOptions{}) }()
	_, err = b.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: b.id, Config: &container.Config{Image: b.image, Cmd: []string{"true"}},
	})
	must(t, err)
	defer func() {
		_, _ = b.api.ContainerRemove(context.Background(), b.id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}()
	spec := b.spec("node", "true")
	spec.Name = b.id
	for kind, calls := range map[string][]func() error{
		"network": {
			func() error { return b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}) },
			func() error { return b.RemoveNetwork(ctx, b.id, b.id) },
			func() error { return b.RemoveNetwork(ctx, b.id, "") },
		},
		"volume": {
			func() error { return b.CreateVolume(ctx, engine.VolumeSpec{Name: b.id, Labels: b.labels()}) },
			func() error { return b.RemoveVolume(ctx, b.id, b.id) },
			func() error { return b.RemoveVolume(ctx, b.id, "") },
		},
		"container": {
			func() error { return b.CreateNode(ctx, spec) },
			func() error { return b.RemoveNode(ctx, b.id, b.id) },
			func() error { return b.RemoveNode(ctx, b.id, "") },
		},
	} {
		for i, call := range calls {
			var other *engine.ForeignError
			if err := call(); !errors.As(err, &other) || *other != (engine.ForeignError{Kind: kind, Name: b.id}) {
				t.Errorf("call %d on somebody else's %s gave %v", i, kind, err)
			}
		}
	}
	for kind, read := range map[string]func() error{
		"network":   func() error { _, err := b.Network(ctx, b.id); return err },
		"volume":    func() error { _, err := b.Volume(ctx, b.id); return err },
		"container": func() error { _, err := b.Node(ctx, b.id); return err },
	} {
		if err := read(); err != nil {
			t.Errorf("somebody else's %s reads as %v", kind, err)
		}
	}
}

// The process itself finds what it may do.
func TestRealNodesSeenFromInside(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateVolume(ctx, engine.VolumeSpec{Name: b.id, Labels: b.labels()}))
	keeper := b.spec("keeper", "true")
	keeper.Mounts = []engine.Mount{{Volume: b.id, Target: "/var/data"}}
	must(t, b.CreateNode(ctx, keeper))
	must(t, b.PutFiles(ctx, keeper.Name, "/var/data/home", []engine.File{
		{Name: "sub/secret", Content: []byte("mine"), UID: 1000, GID: 1000},
	}))
	spec := b.spec("inside", "sh", "-c", `
id -u; id -g
grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
touch /anywhere 2>/dev/null && echo root is writable
touch /tmp/x && echo tmp is writable
touch /declared/x /declared/two/x && echo declared is writable
touch /var/data/x 2>/dev/null && echo volume root is writable
touch /var/data/home/new && cat /var/data/home/sub/secret && echo
stat -c '%a %u' /var/data/home /var/data/home/sub
echo "$GIVEN"`)
	spec.Mounts = keeper.Mounts
	spec.Env = map[string]string{"GIVEN": "value=1"}
	result, err := b.RunOnce(ctx, spec)
	must(t, err)
	want := []string{
		"1000", "1000", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1",
		"tmp is writable", "declared is writable", "mine", "700 1000", "700 1000", "value=1",
	}
	slices.Sort(result.Output[2:5])
	if result.ExitCode != 0 || !slices.Equal(result.Output, want) {
		t.Errorf("exit code %d, output %q, want %q", result.ExitCode, result.Output, want)
	}
	files, err := b.GetFiles(ctx, keeper.Name, "/var/data/home")
	must(t, err)
	if len(files) != 2 || files[0].Name != "home/new" || files[0].UID != 1000 {
		t.Errorf("what the process wrote reads as %+v", files)
	}
	// What the image has where a volume is mounted stays out of the volume.
	must(t, b.CreateVolume(ctx, engine.VolumeSpec{Name: b.id + "-2", Labels: b.labels()}))
	over := b.spec("over", "true")
	over.Mounts = []engine.Mount{{Volume: b.id + "-2", Target: "/bin"}}
	must(t, b.CreateNode(ctx, over))
	if files, err = b.GetFiles(ctx, over.Name, "/bin"); err != nil || len(files) != 0 {
		t.Errorf("the volume holds %d files of the image, %v", len(files), err)
	}
}

func TestRealNodesReachEachOtherByName(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}))
	server := b.spec("server", "sh", "-c", "while true; do echo hello | nc -l -p 7000; done")
	server.Network, server.Aliases = b.id, []string{"alias.example.com"}
	must(t, b.CreateNode(ctx, server))
	must(t, b.StartNode(ctx, server.Name))
	for _, name := range []string{"server.example.com", "alias.example.com"} {
		caller := b.spec("caller", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do nc "+name+" 7000 </dev/null && exit 0; sleep 0.2; done; exit 1")
		caller.Network = b.id
		result, err := b.RunOnce(ctx, caller)
		must(t, err)
		if result.ExitCode != 0 || len(result.Output) == 0 || result.Output[len(result.Output)-1] != "hello" {
			t.Errorf("%s is not reached: %+v", name, result)
		}
	}
	// A port that is not published is reached on the node's own address.
	conn, err := b.Dial(ctx, server.Name, 7000)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestRealPortOfAnotherProgram(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = listener.Close() }()
	port := listener.Addr().(*net.TCPAddr).Port
	if free, err := b.PortFree(ctx, "127.0.0.1", port); err != nil || free {
		t.Errorf("PortFree of a taken port gives %t, %v", free, err)
	}
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}))
	spec := b.spec("node", "sleep", "3600")
	spec.Network = b.id
	spec.Ports = []engine.Port{{Container: 7000, Host: port, Address: "127.0.0.1"}}
	must(t, b.CreateNode(ctx, spec))
	var taken *engine.PortError
	if err := b.StartNode(ctx, spec.Name); !errors.As(err, &taken) || taken.Holder != "" || taken.Port != port {
		t.Errorf("a taken port gave %v", err)
	}
	must(t, listener.Close())
	must(t, b.StartNode(ctx, spec.Name))
}

func TestRealUnreadableLog(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	spec := b.spec("node", "echo", "unseen")
	spec.Log.Driver = "none"
	must(t, b.CreateNode(ctx, spec))
	must(t, b.StartNode(ctx, spec.Name))
	_, err := b.AwaitExit(ctx, spec.Name)
	must(t, err)
	lines, err := b.Logs(ctx, spec.Name, 10)
	if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "log driver") {
		t.Errorf("Logs gave %q, %v", lines, err)
	}
}

func TestRealPausedAndDyingNodes(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	spec := b.spec("node", "sleep", "3600")
	must(t, b.CreateNode(ctx, spec))
	must(t, b.StartNode(ctx, spec.Name))
	_, err := b.api.ContainerPause(ctx, spec.Name, client.ContainerPauseOptions{})
	must(t, err)
	if n, err := b.Node(ctx, spec.Name); err != nil || n.Status != engine.Stopped {
		t.Errorf("a paused node is %+v, %v", n, err)
	}
	must(t, b.StartNode(ctx, spec.Name))
	if n, err := b.Node(ctx, spec.Name); err != nil || n.Status != engine.Running {
		t.Errorf("a resumed node is %+v, %v", n, err)
	}
	_, err = b.api.ContainerPause(ctx, spec.Name, client.ContainerPauseOptions{})
	must(t, err)
	must(t, b.StopNode(ctx, spec.Name, time.Second))
	if n, err := b.Node(ctx, spec.Name); err != nil || n.Status != engine.Stopped || n.ExitCode == 0 {
		t.Errorf("a stopped node is %+v, %v", n, err)
	}
	crashing := b.spec("crashing", "sh", "-c", "echo again; exit 5")
	crashing.Restart = true
	must(t, b.CreateNode(ctx, crashing))
	must(t, b.StartNode(ctx, crashing.Name))
	if code, err := b.AwaitExit(ctx, crashing.Name); err != nil || code != 5 {
		t.Errorf("AwaitExit of a node that is brought back gave %d, %v", code, err)
	}
	must(t, b.RemoveNode(ctx, crashing.Name, b.id))
}

// The engine alone decides about two networks of one name; we must not end with two.
// TestRealAlteredNodes: what somebody changes of a container is seen, and nothing else is.
func TestRealAlteredNodes(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id + "-net", Labels: b.labels()}))
	spec := b.spec("node", "sleep", "3600")
	spec.Network, spec.Hostname, spec.Aliases, spec.Restart = b.id+"-net", "node.example.com", []string{"also"}, true
	spec.Limits = engine.Limits{MemoryBytes: 64 << 20, PIDs: 50, CPUs: 1}
	var pids int64 = 60
	for name, alter := range map[string]struct {
		do   func() error
		says []string
	}{
		"nothing": {do: func() error { return b.StopNode(ctx, spec.Name, time.Second) }},
		"limits": {
			do: func() error {
				_, err := b.api.ContainerUpdate(ctx, spec.Name, client.ContainerUpdateOptions{Resources: &container.Resources{
					Memory: 32 << 20, MemorySwap: 32 << 20, NanoCPUs: 5e8, PidsLimit: &pids,
				}})
				return err
			},
			says: []string{"memory in bytes is 33554432 and was 67108864", "is 500000000 and was 1000000000", "processes is 60 and was 50"},
		},
		"restart policy": {
			do: func() error {
				_, err := b.api.ContainerUpdate(ctx, spec.Name, client.ContainerUpdateOptions{RestartPolicy: &container.RestartPolicy{Name: "no"}})
				return err
			},
			says: []string{`restart policy is "no" and was "unless-stopped"`},
		},
		"names": {
			do: func() error {
				_, err := b.api.NetworkDisconnect(ctx, spec.Network, client.NetworkDisconnectOptions{Container: spec.Name})
				if err == nil {
					_, err = b.api.NetworkConnect(ctx, spec.Network, client.NetworkConnectOptions{Container: spec.Name})
				}
				return err
			},
			says: []string{"lost its name also"}, // the host name comes back by itself
		},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, b.CreateNode(ctx, spec))
			must(t, b.StartNode(ctx, spec.Name))
			before, err := b.Node(ctx, spec.Name)
			must(t, err)
			if len(before.Altered) > 0 || !maps.Equal(before.Labels, spec.Labels) {
				t.Errorf("a node as it was made is %+v", before)
			}
			must(t, alter.do())
			after, err := b.Node(ctx, spec.Name)
			must(t, err)
			if len(after.Altered) != len(alter.says) {
				t.Errorf("altered are %q", after.Altered)
			}
			for i, text := range alter.says {
				if !slices.ContainsFunc(after.Altered, func(s string) bool { return strings.Contains(s, text) }) {
					t.Errorf("%d: altered are %q, want %q", i, after.Altered, text)
				}
			}
			must(t, b.RemoveNode(ctx, spec.Name, b.id))
		})
	}
}

func TestRealNetworkMadeByManyAtOnce(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	const makers = 4
	done := make(chan error, makers)
	for range makers {
		e, _ := open(t)
		go func() { done <- e.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}) }()
	}
	for range makers {
		must(t, <-done)
	}
	found, err := b.Networks(ctx, b.labels())
	must(t, err)
	if len(found) != 1 {
		t.Errorf("%d makers left %d networks", makers, len(found))
	}
}

func TestRealNetworkInUseNamesItsContainers(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}))
	spec := b.spec("node", "sleep", "3600")
	spec.Network = b.id
	must(t, b.CreateNode(ctx, spec))
	must(t, b.StartNode(ctx, spec.Name))
	limited, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := b.RemoveNetwork(limited, b.id, b.id); err == nil || !strings.Contains(err.Error(), spec.Name) {
		t.Errorf("removing a network in use gave %v", err)
	}
	// One that goes meanwhile is waited for.
	done := make(chan error, 1)
	go func() { done <- b.RemoveNetwork(ctx, b.id, b.id) }()
	must(t, b.RemoveNode(ctx, spec.Name, b.id))
	must(t, <-done)
}

func TestRealAbsentImagesFailFast(t *testing.T) {
	b := newBench(t)
	for reference, host := range map[string]string{
		"fabricops-absent:0":                         "docker.io",
		"docker.io/fabricops/absent@sha256:" + hex64: "docker.io",
		"registry.invalid/fabricops/absent:0":        "registry.invalid",
		"127.0.0.1:1/absent":                         "127.0.0.1:1",
	} {
		start := time.Now()
		_, err := b.ResolveImage(t.Context(), reference)
		var absent *engine.ImageError
		if !errors.As(err, &absent) || absent.Host != host || absent.Reference != reference {
			t.Errorf("%s gave %v", reference, err)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%s took %s", reference, took)
		}
		t.Log(err)
	}
}

var hex64 = strings.Repeat("ab", 32)

// A keeper and a restarted engine: what is where after many nodes came and went together.
func TestRealRemovalOfManyLeavesNothing(t *testing.T) {
	ctx, b := t.Context(), newBench(t)
	must(t, b.CreateNetwork(ctx, engine.NetworkSpec{Name: b.id, Labels: b.labels()}))
	const nodes = 16
	step := func(name string, do func(i int, spec engine.NodeSpec) error) {
		t.Helper()
		start := time.Now()
		done := make(chan error, nodes)
		for i := range nodes {
			go func() {
				spec := b.spec(fmt.Sprint("node", i), "sleep", "3600")
				spec.Network = b.id
				spec.Mounts = []engine.Mount{{Volume: spec.Name, Target: "/data"}}
				spec.Ports = []engine.Port{{Container: 7000, Host: 29400 + i, Address: "127.0.0.1"}}
				done <- do(i, spec)
			}()
		}
		for range nodes {
			must(t, <-done)
		}
		t.Logf("%-8s %d in %s", name, nodes, time.Since(start).Round(time.Millisecond))
	}
	_, err := b.ResolveImage(ctx, b.image)
	must(t, err)
	step("volume", func(_ int, spec engine.NodeSpec) error {
		return b.CreateVolume(ctx, engine.VolumeSpec{Name: spec.Name, Labels: b.labels()})
	})
	step("create", func(_ int, spec engine.NodeSpec) error { return b.CreateNode(ctx, spec) })
	step("put", func(_ int, spec engine.NodeSpec) error {
		return b.PutFiles(ctx, spec.Name, "/data/home", []engine.File{{Name: "msp/cert.pem", Content: make([]byte, 1000), UID: 1000, GID: 1000}})
	})
	step("get", func(_ int, spec engine.NodeSpec) error {
		_, err := b.GetFiles(ctx, spec.Name, "/data/home")
		return err
	})
	step("ports", func(int, engine.NodeSpec) error { _, err := b.PublishedPorts(ctx); return err })
	step("start", func(_ int, spec engine.NodeSpec) error { return b.StartNode(ctx, spec.Name) })
	step("inspect", func(_ int, spec engine.NodeSpec) error { _, err := b.Node(ctx, spec.Name); return err })
	step("ports", func(int, engine.NodeSpec) error { _, err := b.PublishedPorts(ctx); return err })
	step("remove", func(_ int, spec engine.NodeSpec) error { return b.RemoveNode(ctx, spec.Name, b.id) })
	step("volume", func(_ int, spec engine.NodeSpec) error { return b.RemoveVolume(ctx, spec.Name, b.id) })
	start := time.Now()
	must(t, b.RemoveNetwork(ctx, b.id, b.id))
	t.Logf("network in %s", time.Since(start).Round(time.Millisecond))
	left, err := b.Nodes(ctx, b.labels())
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%d nodes are left", len(left))
	}
}

// Benchmarks of single calls on an otherwise idle engine: go test -bench Real.
func BenchmarkReal(b *testing.B) {
	w := newBench(b)
	ctx := context.Background()
	must(b, w.CreateVolume(ctx, engine.VolumeSpec{Name: w.id, Labels: w.labels()}))
	image, err := w.ResolveImage(ctx, w.image)
	must(b, err)
	spec := w.spec("node", "sleep", "3600")
	spec.Image, spec.Mounts = image.ID, []engine.Mount{{Volume: w.id, Target: "/data"}}
	must(b, w.CreateNode(ctx, spec))
	file := []engine.File{{Name: "a/b", Content: make([]byte, 1000), UID: 1000, GID: 1000}}
	must(b, w.PutFiles(ctx, spec.Name, "/data/home", file))
	calls := map[string]func() error{
		"Info":         func() error { _, err := w.Info(ctx); return err },
		"Node":         func() error { _, err := w.Node(ctx, spec.Name); return err },
		"Volume":       func() error { _, err := w.Volume(ctx, w.id); return err },
		"Network":      func() error { _, err := w.Network(ctx, "bridge"); return err },
		"ResolveImage": func() error { _, err := w.ResolveImage(ctx, w.image); return err },
		"PutFiles":     func() error { return w.PutFiles(ctx, spec.Name, "/data/home", file) },
		"GetFiles":     func() error { _, err := w.GetFiles(ctx, spec.Name, "/data/home"); return err },
		"GetFiles/absent": func() error {
			if _, err := w.GetFiles(ctx, spec.Name, "/data/absent"); !errors.Is(err, engine.ErrNotFound) {
				return err
			}
			return nil
		},
		"PublishedPorts": func() error { _, err := w.PublishedPorts(ctx); return err },
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, calls[name]())
			}
		})
	}
	serial := 0
	b.Run("CreateNode", func(b *testing.B) {
		for b.Loop() {
			serial++
			each := spec
			each.Name = fmt.Sprintf("%s-%d", spec.Name, serial)
			must(b, w.CreateNode(ctx, each))
		}
	})
}
