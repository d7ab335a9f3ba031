// Package enginetest has what tests of engines, and of what is built on them, need: an engine in
// memory, and the suite that every engine passes.
package enginetest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Call is one call of an engine's method.
type Call struct {
	// Method is the method's name, Name what it was about: an object, an image, a node.
	Method, Name string
	// Mutating tells that the method makes, changes or removes something.
	Mutating bool
	// Err is what the call gave; nil in what Intercept sees.
	Err error
}

// When is the moment at which a call fails.
type When int

const (
	// Before: the request never reaches the engine.
	Before When = iota
	// After: the engine does its work and the answer gets lost.
	After
)

// Program is what a node's process does.
type Program struct {
	// Output are the lines that it writes when it starts.
	Output []string
	// ExitCode is what it ends with. It ends at once unless Runs.
	ExitCode int
	// Runs until it is stopped.
	Runs bool
}

// Fake is an engine in memory. Its nodes do nothing; they run until they are stopped, unless a
// Program says otherwise. Every image exists except those that RemoveImage took away and AbsentImage.
// A Fake must be made by NewFake. It is safe for concurrent use.
type Fake struct {
	mu        sync.Mutex
	info      engine.Info
	networks  map[string]*engine.Network
	volumes   map[string]*fakeVolume
	nodes     map[string]*fakeNode
	leases    map[string]*engine.Lease
	images    map[string]string // reference -> ID; empty: absent
	taken     map[hostPort]bool
	programs  map[string]Program
	dials     map[nodePort]func(context.Context) (net.Conn, error)
	calls     []Call
	runs      []engine.NodeSpec
	mutations int
	serial    int
	failures  map[int]failure
	down      error
	intercept func(Call) error
}

type (
	fakeVolume struct {
		engine.Volume
		files map[string]engine.File // by path below the volume's root
	}
	fakeNode struct {
		engine.Node
		spec engine.NodeSpec
		logs []string
		// network is the ID of the network that the node was started on: it stays on that one.
		network string
		// ended closes when the process ends, gone when the node is removed.
		ended, gone chan struct{}
	}
	hostPort struct {
		address string
		port    int
	}
	nodePort struct {
		node string
		port int
	}
	failure struct {
		when When
		err  error
	}
)

var _ engine.Engine = (*Fake)(nil)

// NewFake makes an empty engine.
func NewFake() *Fake {
	f := &Fake{
		info:     engine.Info{ID: "fake-engine", Name: "fake", Version: "0", Address: "fake://"},
		networks: map[string]*engine.Network{}, volumes: map[string]*fakeVolume{}, nodes: map[string]*fakeNode{},
		leases: map[string]*engine.Lease{},
		images: map[string]string{AbsentImage: ""}, taken: map[hostPort]bool{}, programs: map[string]Program{},
		dials: map[nodePort]func(context.Context) (net.Conn, error){}, failures: map[int]failure{},
	}
	for _, p := range suitePrograms {
		f.SetProgram(p.command, p.program)
	}
	return f
}

// SetInfo changes what the engine says of itself, as another engine behind the same address would.
func (f *Fake) SetInfo(info engine.Info) { f.locked(func() { f.info = info }) }

// SetProgram says what nodes do whose entrypoint and command together are these words.
func (f *Fake) SetProgram(command []string, p Program) {
	f.locked(func() { f.programs[strings.Join(command, "\x00")] = p })
}

// SetImage gives a reference an image ID, sha256:…
func (f *Fake) SetImage(reference, id string) { f.locked(func() { f.images[reference] = id }) }

// RemoveImage makes a reference or an image ID be nowhere.
func (f *Fake) RemoveImage(reference string) { f.locked(func() { f.images[reference] = "" }) }

// TakePort has another program of the host bind a port.
func (f *Fake) TakePort(address string, port int) {
	f.locked(func() { f.taken[hostPort{address, port}] = true })
}

// HandleDial lets connections to a node's port be made. Others are refused.
func (f *Fake) HandleDial(node string, port int, dial func(context.Context) (net.Conn, error)) {
	f.locked(func() { f.dials[nodePort{node, port}] = dial })
}

// SetUnreachable makes every call fail with ErrUnreachable, or work again.
func (f *Fake) SetUnreachable(down bool) {
	f.locked(func() {
		if f.down = nil; down {
			f.down = fmt.Errorf("%w at %s: it was switched off", engine.ErrUnreachable, f.info.Address)
		}
	})
}

// FailAt makes the k-th mutating call from now on fail, 1 being the next one.
func (f *Fake) FailAt(k int, when When, err error) {
	f.locked(func() { f.failures[f.mutations+k] = failure{when, err} })
}

// Intercept is asked before every call; an error of it fails the call. Nil takes it away. It must
// not call the engine.
func (f *Fake) Intercept(ask func(Call) error) { f.locked(func() { f.intercept = ask }) }

// Calls gives the calls so far, in the order in which they came.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Mutations counts the mutating calls so far.
func (f *Fake) Mutations() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mutations
}

// Runs gives the specs that RunOnce was called with.
func (f *Fake) Runs() []engine.NodeSpec {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.runs)
}

// Spec gives what a node was made from.
func (f *Fake) Spec(node string) (engine.NodeSpec, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[node]
	if !ok {
		return engine.NodeSpec{}, false
	}
	return n.spec, true
}

// SetStatus changes a node's status behind everybody's back; exitCode counts when it is Stopped.
func (f *Fake) SetStatus(node string, status engine.Status, exitCode int) {
	f.locked(func() {
		if n := f.nodes[node]; n != nil {
			if status == engine.Running {
				n.run()
			} else {
				n.end(status, exitCode)
			}
		}
	})
}

// SetOOMKilled ends a node for want of memory.
func (f *Fake) SetOOMKilled(node string) {
	f.locked(func() {
		if n := f.nodes[node]; n != nil {
			n.end(engine.Stopped, 137)
			n.OOMKilled = true
		}
	})
}

// Alter changes something of a node behind everybody's back, which what says in words.
func (f *Fake) Alter(node, what string) {
	f.locked(func() {
		if n := f.nodes[node]; n != nil {
			n.Altered = append(n.Altered, what)
		}
	})
}

// AppendLog adds lines to what a node wrote.
func (f *Fake) AppendLog(node string, lines ...string) {
	f.locked(func() {
		if n := f.nodes[node]; n != nil {
			n.logs = append(n.logs, lines...)
		}
	})
}

// AddNode puts a node of somebody else there, or replaces one.
func (f *Fake) AddNode(n engine.Node) {
	f.locked(func() {
		node := &fakeNode{
			Node: n, spec: engine.NodeSpec{Name: n.Name, Labels: n.Labels, Ports: n.Ports},
			ended: make(chan struct{}), gone: make(chan struct{}),
		}
		if n.Status != engine.Running {
			close(node.ended)
		}
		f.nodes[n.Name] = node
	})
}

// AddVolume puts a volume of somebody else there, or replaces one.
func (f *Fake) AddVolume(v engine.Volume) {
	f.locked(func() { f.volumes[v.Name] = &fakeVolume{Volume: v, files: map[string]engine.File{}} })
}

// AddNetwork puts a network of somebody else there, or replaces one.
func (f *Fake) AddNetwork(n engine.Network) { f.locked(func() { f.networks[n.Name] = &n }) }

// VanishNode removes a node behind everybody's back.
func (f *Fake) VanishNode(name string) { f.locked(func() { f.dropNode(name) }) }

// VanishVolume removes a volume and its files behind everybody's back.
func (f *Fake) VanishVolume(name string) { f.locked(func() { delete(f.volumes, name) }) }

// VanishNetwork removes a network behind everybody's back.
func (f *Fake) VanishNetwork(name string) { f.locked(func() { delete(f.networks, name) }) }

// Files gives the files of a volume by their path below its root; nil when there is no such volume.
func (f *Fake) Files(volume string) map[string]engine.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.volumes[volume]
	if !ok {
		return nil
	}
	return maps.Clone(v.files)
}

// WriteVolume puts files below the root of a volume.
func (f *Fake) WriteVolume(volume string, files ...engine.File) {
	f.locked(func() {
		if v := f.volumes[volume]; v != nil {
			for _, file := range files {
				v.files[file.Name] = file
			}
		}
	})
}

func (f *Fake) locked(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// call makes one call: it is recorded, may be told to fail, and holds the lock while it works.
func (f *Fake) call(ctx context.Context, method, name string, mutating bool, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	call := Call{Method: method, Name: name, Mutating: mutating}
	var fail failure
	if mutating {
		f.mutations++
		fail = f.failures[f.mutations]
	}
	err := ctx.Err()
	if err == nil {
		err = f.down
	}
	if err == nil && f.intercept != nil {
		err = f.intercept(call)
	}
	if err == nil && fail.when == Before {
		err = fail.err
	}
	if err == nil {
		err = do()
	}
	if err == nil && fail.when == After {
		err = fail.err
	}
	call.Err = err
	f.calls = append(f.calls, call)
	return err
}

func (f *Fake) nextID() string {
	f.serial++
	return fmt.Sprintf("%064x", f.serial)
}

// Info implements engine.Engine.
func (f *Fake) Info(ctx context.Context) (info engine.Info, err error) {
	err = f.call(ctx, "Info", "", false, func() error { info = f.info; return nil })
	return info, err
}

// CreateNetwork implements engine.Engine.
func (f *Fake) CreateNetwork(ctx context.Context, spec engine.NetworkSpec) error {
	return f.call(ctx, "CreateNetwork", spec.Name, true, func() error {
		owner, err := ownerOf(spec.Labels)
		if err != nil {
			return err
		}
		if have, ok := f.networks[spec.Name]; ok {
			return requireOwner("network", spec.Name, have.Labels, owner)
		}
		f.networks[spec.Name] = &engine.Network{Name: spec.Name, ID: f.nextID(), Labels: maps.Clone(spec.Labels)}
		return nil
	})
}

// Network implements engine.Engine.
func (f *Fake) Network(ctx context.Context, name string) (n engine.Network, err error) {
	err = f.call(ctx, "Network", name, false, func() error {
		have, ok := f.networks[name]
		if !ok {
			return &engine.NotFoundError{Kind: "network", Name: name}
		}
		n = copyNetwork(have)
		return nil
	})
	return n, err
}

// RemoveNetwork implements engine.Engine. It fails while running nodes are attached.
func (f *Fake) RemoveNetwork(ctx context.Context, name, owner string) error {
	return f.call(ctx, "RemoveNetwork", name, true, func() error {
		have, ok := f.networks[name]
		if !ok {
			return nil
		}
		if err := requireOwner("network", name, have.Labels, owner); err != nil {
			return err
		}
		for _, node := range f.sortedNodes() {
			if node.Status == engine.Running && node.network == have.ID {
				return fmt.Errorf("unable to remove network %s: containers are attached to it: %s", name, node.Name)
			}
		}
		delete(f.networks, name)
		return nil
	})
}

// CreateVolume implements engine.Engine.
func (f *Fake) CreateVolume(ctx context.Context, spec engine.VolumeSpec) error {
	return f.call(ctx, "CreateVolume", spec.Name, true, func() error {
		owner, err := ownerOf(spec.Labels)
		if err != nil {
			return err
		}
		if have, ok := f.volumes[spec.Name]; ok {
			return requireOwner("volume", spec.Name, have.Labels, owner)
		}
		f.volumes[spec.Name] = &fakeVolume{
			Volume: engine.Volume{Name: spec.Name, Labels: maps.Clone(spec.Labels)},
			files:  map[string]engine.File{},
		}
		return nil
	})
}

// Volume implements engine.Engine.
func (f *Fake) Volume(ctx context.Context, name string) (v engine.Volume, err error) {
	err = f.call(ctx, "Volume", name, false, func() error {
		have, ok := f.volumes[name]
		if !ok {
			return &engine.NotFoundError{Kind: "volume", Name: name}
		}
		v = have.copy()
		return nil
	})
	return v, err
}

// RemoveVolume implements engine.Engine. It fails while nodes mount the volume.
func (f *Fake) RemoveVolume(ctx context.Context, name, owner string) error {
	return f.call(ctx, "RemoveVolume", name, true, func() error {
		have, ok := f.volumes[name]
		if !ok {
			return nil
		}
		if err := requireOwner("volume", name, have.Labels, owner); err != nil {
			return err
		}
		for _, node := range f.sortedNodes() {
			if slices.Contains(node.Volumes, name) {
				return fmt.Errorf("unable to remove volume %s: containers mount it: %s", name, node.Name)
			}
		}
		delete(f.volumes, name)
		return nil
	})
}

// ResolveImage implements engine.Engine. A reference that nothing was said about gets an ID made
// from it, and a digest.
func (f *Fake) ResolveImage(ctx context.Context, reference string) (image engine.Image, err error) {
	err = f.call(ctx, "ResolveImage", reference, false, func() error {
		id, err := f.imageID(reference)
		if err != nil {
			return err
		}
		image = engine.Image{Reference: reference, ID: id}
		if _, digest, ok := strings.Cut(reference, "@"); ok {
			image.Digests = []string{digest}
		}
		return nil
	})
	return image, err
}

func (f *Fake) imageID(reference string) (string, error) {
	id, said := f.images[reference]
	isID := strings.HasPrefix(reference, "sha256:")
	switch {
	case said && id == "" || isID && !said:
		host := "docker.io"
		if first, _, ok := strings.Cut(reference, "/"); ok && strings.ContainsAny(first, ".:") {
			host = first
		}
		if isID {
			host = "any registry"
		}
		return "", &engine.ImageError{Reference: reference, Host: host, Cause: errors.New("the fake engine has no such image")}
	case !said:
		id = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(reference)))
		f.images[reference] = id
	}
	if _, ok := f.images[id]; !ok {
		f.images[id] = id
	}
	return id, nil
}

// CreateNode implements engine.Engine.
func (f *Fake) CreateNode(ctx context.Context, spec engine.NodeSpec) error {
	return f.call(ctx, "CreateNode", spec.Name, true, func() error { return f.createNode(spec) })
}

// CheckNode implements engine.Engine.
func (f *Fake) CheckNode(ctx context.Context, spec engine.NodeSpec) error {
	return f.call(ctx, "CheckNode", spec.Name, true, func() error {
		if _, err := f.checkNode(spec); err != nil {
			return fmt.Errorf("unable to create container %s: %w", spec.Name, err)
		}
		return nil
	})
}

// checkNode gives the image of a node that can be made.
func (f *Fake) checkNode(spec engine.NodeSpec) (image string, err error) {
	if _, err := ownerOf(spec.Labels); err != nil {
		return "", err
	}
	if image, err = f.imageID(spec.Image); err != nil {
		return "", fmt.Errorf("image %s: %w on the engine", spec.Image, engine.ErrNoImage)
	}
	for _, m := range spec.Mounts {
		if _, ok := f.volumes[m.Volume]; !ok {
			return "", &engine.NotFoundError{Kind: "volume", Name: m.Volume}
		}
	}
	var uid, gid int
	if _, err := fmt.Sscanf(spec.User, "%d:%d", &uid, &gid); err != nil {
		return "", fmt.Errorf("user %q is not of the form uid:gid in numbers", spec.User)
	}
	for _, p := range spec.Ports {
		if net.ParseIP(p.Address) == nil || p.Host < 1 || p.Container < 1 {
			return "", fmt.Errorf("port %d cannot be published on %s:%d", p.Container, p.Address, p.Host)
		}
	}
	if _, ok := spec.Log.Options[UnknownLogOption]; ok {
		return "", fmt.Errorf("unknown log opt '%s' for %s log driver", UnknownLogOption, spec.Log.Driver)
	}
	return image, nil
}

func (f *Fake) createNode(spec engine.NodeSpec) error {
	fail := func(err error) error { return fmt.Errorf("unable to create container %s: %w", spec.Name, err) }
	image, err := f.checkNode(spec)
	if err != nil {
		return fail(err)
	}
	owner := spec.Labels[engine.LabelOwner]
	if f.leases[spec.Name] != nil {
		return fail(engine.ErrConflict)
	}
	if have, ok := f.nodes[spec.Name]; ok {
		if err := requireOwner("container", spec.Name, have.Labels, owner); err != nil {
			return fail(err)
		}
		if have.Labels[engine.LabelSpecHash] != spec.Labels[engine.LabelSpecHash] {
			return fail(engine.ErrConflict)
		}
		return nil
	}
	node := &fakeNode{
		Node: engine.Node{
			Name: spec.Name, ID: f.nextID(), ImageID: image, Labels: maps.Clone(spec.Labels),
			Status: engine.Created, Ports: slices.Clone(spec.Ports),
		},
		spec: spec, ended: make(chan struct{}), gone: make(chan struct{}),
	}
	if spec.Adopts != nil {
		node.Labels[engine.LabelAdopts] = spec.Adopts.Node
	}
	for _, m := range spec.Mounts {
		node.Volumes = append(node.Volumes, m.Volume)
	}
	slices.Sort(node.Volumes)
	slices.SortFunc(node.Ports, func(a, b engine.Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address))
	})
	close(node.ended) // nothing runs yet
	f.nodes[spec.Name] = node
	return nil
}

// StartNode implements engine.Engine.
func (f *Fake) StartNode(ctx context.Context, name string) error {
	return f.call(ctx, "StartNode", name, true, func() error { return f.startNode(name) })
}

func (f *Fake) startNode(name string) error {
	n, ok := f.standsFor(name)
	if !ok {
		return fmt.Errorf("unable to start container %s: %w", name, &engine.NotFoundError{Kind: "container", Name: name})
	}
	if n.Status == engine.Running {
		return nil
	}
	if n.spec.Network != "" {
		now := f.networks[n.spec.Network]
		if now == nil || n.network != "" && n.network != now.ID {
			return fmt.Errorf("unable to start container %s: the network that it was made on is gone", name)
		}
		n.network = now.ID
	}
	for _, p := range n.Ports {
		if holder, free := f.holder(p.Address, p.Host); !free {
			return fmt.Errorf("unable to start container %s: %w", name,
				&engine.PortError{Node: name, Address: p.Address, Port: p.Host, Holder: holder})
		}
	}
	n.run()
	program, ok := f.programs[strings.Join(slices.Concat(n.spec.Entrypoint, n.spec.Command), "\x00")]
	n.logs = append(n.logs, program.Output...)
	if ok && !program.Runs {
		n.end(engine.Stopped, program.ExitCode)
	}
	return nil
}

func (n *fakeNode) run() {
	if n.Status != engine.Running {
		n.Status, n.ExitCode, n.OOMKilled, n.ended = engine.Running, 0, false, make(chan struct{})
	}
}

func (n *fakeNode) end(status engine.Status, exitCode int) {
	if n.Status == engine.Running {
		close(n.ended)
	}
	n.Status, n.ExitCode = status, exitCode
}

// holder finds the running node that has a host port; it is empty for another program.
func (f *Fake) holder(address string, port int) (node string, free bool) {
	for _, n := range f.sortedNodes() {
		for _, p := range n.Ports {
			if n.Status == engine.Running && p.Host == port && overlap(p.Address, address) {
				return n.Name, false
			}
		}
	}
	for have := range f.taken {
		if have.port == port && overlap(have.address, address) {
			return "", false
		}
	}
	return "", true
}

func overlap(a, b string) bool {
	wild := func(s string) bool { return s == "" || s == "0.0.0.0" || s == "::" }
	return a == b || wild(a) || wild(b)
}

// StopNode implements engine.Engine. The process ends at once, with exit code 143.
func (f *Fake) StopNode(ctx context.Context, name string, _ time.Duration) error {
	return f.call(ctx, "StopNode", name, true, func() error {
		if n, ok := f.standsFor(name); ok && n.Status == engine.Running {
			n.end(engine.Stopped, 143)
		}
		return nil
	})
}

// RemoveNode implements engine.Engine.
func (f *Fake) RemoveNode(ctx context.Context, name, owner string) error {
	return f.call(ctx, "RemoveNode", name, true, func() error {
		n, ok := f.nodes[name]
		if !ok {
			return nil
		}
		if err := requireOwner("container", name, n.Labels, owner); err != nil {
			return fmt.Errorf("unable to remove container %s: %w", name, err)
		}
		f.dropNode(name)
		return nil
	})
}

// RenameNode implements engine.Engine.
func (f *Fake) RenameNode(ctx context.Context, name, newName, owner string) error {
	return f.call(ctx, "RenameNode", name, true, func() error {
		n, ok := f.nodes[name]
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		if err := requireOwner("container", name, n.Labels, owner); err != nil {
			return fmt.Errorf("unable to rename container %s to %s: %w", name, newName, err)
		}
		if f.nodes[newName] != nil {
			return fmt.Errorf("unable to rename container %s to %s: %w", name, newName, engine.ErrConflict)
		}
		delete(f.nodes, name)
		n.Name = newName
		f.nodes[newName] = n
		return nil
	})
}

func (f *Fake) dropNode(name string) {
	if n, ok := f.nodes[name]; ok {
		close(n.gone)
		n.end(engine.Stopped, 137)
		delete(f.nodes, name)
	}
}

// Node implements engine.Engine.
func (f *Fake) Node(ctx context.Context, name string) (node engine.Node, err error) {
	err = f.call(ctx, "Node", name, false, func() error {
		n, ok := f.nodes[name]
		if ok {
			_, ok = f.standsFor(name)
		}
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		node = f.describe(n)
		return nil
	})
	return node, err
}

// standsFor gives the node that a name means: the one of that name or, where that is a record, the one
// that it stands for.
func (f *Fake) standsFor(name string) (*fakeNode, bool) {
	n, ok := f.nodes[name]
	if ok && n.spec.Adopts != nil {
		n, ok = f.nodes[n.spec.Adopts.Node]
	}
	return n, ok
}

// Settings implements engine.Engine.
func (f *Fake) Settings(ctx context.Context, name string) (out engine.Settings, err error) {
	err = f.call(ctx, "Settings", name, false, func() error {
		n, ok := f.nodes[name]
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		out = engine.Settings{Image: n.spec.Image, ImageID: n.ImageID, Env: maps.Clone(n.spec.Env), Limits: n.spec.Limits}
		return nil
	})
	return out, err
}

// Remake implements engine.Engine.
func (f *Fake) Remake(ctx context.Context, name string, change engine.Change, _ time.Duration) error {
	return f.call(ctx, "Remake", name, true, func() error {
		n, ok := f.nodes[name]
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		image, err := f.imageID(change.Image)
		if err != nil {
			return fmt.Errorf("unable to remake container %s: %w", name, err)
		}
		n.end(engine.Stopped, 143)
		n.ID, n.ImageID, n.spec.Image, n.spec.Limits, n.Status = f.nextID(), image, change.Image, change.Limits, engine.Created
		return nil
	})
}

// describe copies what is known of a node. One that was never started is on the network that has
// the name now.
func (f *Fake) describe(n *fakeNode) engine.Node {
	if n.spec.Adopts != nil {
		out := engine.Node{Status: engine.Stopped} // as long as what it stands for is gone
		if adopted, ok := f.standsFor(n.Name); ok {
			out = f.describe(adopted)
		}
		out.Name, out.Labels, out.Adopted = n.Name, maps.Clone(n.Labels), n.spec.Adopts.Node
		return out
	}
	out := n.Node
	out.Labels, out.Ports, out.Volumes = maps.Clone(n.Labels), slices.Clone(n.Ports), slices.Clone(n.Volumes)
	if out.Status != engine.Stopped {
		out.ExitCode, out.OOMKilled = 0, false
	}
	if n.network != "" {
		out.NetworkIDs = []string{n.network}
	} else if now, ok := f.networks[n.spec.Network]; ok {
		out.NetworkIDs = []string{now.ID}
	}
	return out
}

// AwaitExit implements engine.Engine.
func (f *Fake) AwaitExit(ctx context.Context, name string) (int, error) {
	var n *fakeNode
	var ended chan struct{}
	err := f.call(ctx, "AwaitExit", name, false, func() error {
		var ok bool
		if n, ok = f.standsFor(name); !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		ended = n.ended
		return nil
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return 0, fmt.Errorf("unable to wait for the end of container %s: %w", name, ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-n.gone:
		return 0, &engine.NotFoundError{Kind: "container", Name: name}
	default:
		return n.ExitCode, nil
	}
}

// RunOnce implements engine.Engine. A program that never ends blocks it until the context does.
func (f *Fake) RunOnce(ctx context.Context, spec engine.NodeSpec) (result engine.RunResult, err error) {
	var (
		name  string
		n     *fakeNode
		ended chan struct{}
	)
	err = f.call(ctx, "RunOnce", spec.Name, true, func() error {
		f.runs = append(f.runs, spec)
		f.serial++
		spec.Name = fmt.Sprintf("%s-%d", spec.Name, f.serial)
		spec.Restart = false
		name = spec.Name
		if err := f.createNode(spec); err != nil {
			return err
		}
		if err := f.startNode(name); err != nil {
			return err
		}
		n = f.nodes[name]
		ended = n.ended
		return nil
	})
	defer f.VanishNode(name)
	if err != nil {
		return engine.RunResult{}, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
		return engine.RunResult{}, fmt.Errorf("unable to run container %s: %w", name, ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return engine.RunResult{ExitCode: n.ExitCode, Output: slices.Clone(n.logs)}, nil
}

// Logs implements engine.Engine.
func (f *Fake) Logs(ctx context.Context, name string, lines int) (out []string, err error) {
	err = f.call(ctx, "Logs", name, false, func() error {
		n, ok := f.standsFor(name)
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: name}
		}
		if lines > 0 {
			out = slices.Clone(n.logs[max(0, len(n.logs)-lines):])
		}
		return nil
	})
	return out, err
}

// PutFiles implements engine.Engine.
func (f *Fake) PutFiles(ctx context.Context, node, folder string, files []engine.File) error {
	return f.call(ctx, "PutFiles", node, true, func() error {
		n, ok := f.nodes[node]
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: node}
		}
		m, ok := n.mountOf(path.Clean(folder))
		switch {
		case !ok:
			return fmt.Errorf("unable to write files to container %s: folder %s lies on none of its volumes", node, folder)
		case m.ReadOnly:
			return fmt.Errorf("unable to write files to container %s: folder %s lies on volume %s, which it mounts read-only", node, folder, m.Volume)
		}
		for _, file := range files {
			if !fs.ValidPath(file.Name) || file.Name == "." {
				return fmt.Errorf("unable to write files to container %s: file name %q is not a clean relative path", node, file.Name)
			}
		}
		for _, file := range files {
			full := path.Join(folder, file.Name)
			file.Content = bytes.Clone(file.Content)
			file.Mode = cmp.Or(file.Mode, 0o600)
			file.Name = strings.TrimPrefix(strings.TrimPrefix(full, path.Clean(m.Target)), "/")
			f.volumes[m.Volume].files[file.Name] = file
		}
		return nil
	})
}

// mountOf gives the mount that a path lies on.
func (n *fakeNode) mountOf(name string) (found engine.Mount, ok bool) {
	for _, m := range n.spec.Mounts {
		target := path.Clean(m.Target)
		if (name == target || below(name, target)) && len(target) > len(found.Target) {
			found, ok = m, true
		}
	}
	return found, ok
}

func below(name, folder string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

// GetFiles implements engine.Engine: what lies on volumes. A fake node has no other files.
func (f *Fake) GetFiles(ctx context.Context, node, name string) (out []engine.File, err error) {
	err = f.call(ctx, "GetFiles", node, false, func() error {
		absent := &engine.NotFoundError{Kind: "file", Name: node + ":" + name}
		n, ok := f.nodes[node]
		if !ok {
			return absent
		}
		clean := path.Clean(name)
		exists := false
		for _, m := range n.spec.Mounts {
			target := path.Clean(m.Target)
			v := f.volumes[m.Volume]
			if v == nil {
				continue
			}
			exists = exists || target == clean || below(target, clean)
			for rel, file := range v.files {
				full := path.Join(target, rel)
				if full != clean && !below(full, clean) {
					continue
				}
				if owner, _ := n.mountOf(full); owner.Volume != m.Volume || owner.Target != m.Target {
					continue // another volume is mounted over it
				}
				exists = true
				file.Name = strings.TrimPrefix(full, strings.TrimSuffix(path.Dir(clean), "/")+"/")
				file.Content = bytes.Clone(file.Content)
				out = append(out, file)
			}
		}
		if !exists {
			return absent
		}
		slices.SortFunc(out, func(a, b engine.File) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
	return out, err
}

// KeepsFile implements engine.Engine: it reads the file all the same.
func (f *Fake) KeepsFile(ctx context.Context, node, name string, digest [sha256.Size]byte) (bool, error) {
	files, err := f.GetFiles(ctx, node, name)
	return err == nil && len(files) == 1 && sha256.Sum256(files[0].Content) == digest, err
}

// ReadArchive implements engine.Engine: the regular files alone.
func (f *Fake) ReadArchive(ctx context.Context, node, name string, read func(io.Reader) error) error {
	files, err := f.GetFiles(ctx, node, name)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, file := range files {
		header := &tar.Header{Name: file.Name, Typeflag: tar.TypeReg, Mode: int64(file.Mode), Size: int64(len(file.Content)), Uid: file.UID, Gid: file.GID}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(file.Content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return read(&archive)
}

// WriteArchive implements engine.Engine: the regular files alone.
func (f *Fake) WriteArchive(ctx context.Context, node, folder string, archive io.Reader) error {
	var files []engine.File
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		file := engine.File{Name: path.Clean(header.Name), Mode: uint32(header.Mode & 0o777), UID: header.Uid, GID: header.Gid}
		if file.Content, err = io.ReadAll(r); err != nil {
			return err
		}
		files = append(files, file)
	}
	return f.PutFiles(ctx, node, folder, files)
}

// Nodes implements engine.Engine.
func (f *Fake) Nodes(ctx context.Context, labels map[string]string) (out []engine.Node, err error) {
	err = f.call(ctx, "Nodes", "", false, func() error {
		for _, n := range f.sortedNodes() {
			if carries(n.Labels, labels) {
				out = append(out, f.describe(n))
			}
		}
		return nil
	})
	return out, err
}

func (f *Fake) sortedNodes() []*fakeNode {
	out := slices.Collect(maps.Values(f.nodes))
	slices.SortFunc(out, func(a, b *fakeNode) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Volumes implements engine.Engine.
func (f *Fake) Volumes(ctx context.Context, labels map[string]string) (out []engine.Volume, err error) {
	err = f.call(ctx, "Volumes", "", false, func() error {
		for _, name := range slices.Sorted(maps.Keys(f.volumes)) {
			if v := f.volumes[name]; carries(v.Labels, labels) {
				out = append(out, v.copy())
			}
		}
		return nil
	})
	return out, err
}

// Networks implements engine.Engine.
func (f *Fake) Networks(ctx context.Context, labels map[string]string) (out []engine.Network, err error) {
	err = f.call(ctx, "Networks", "", false, func() error {
		for _, name := range slices.Sorted(maps.Keys(f.networks)) {
			if n := f.networks[name]; carries(n.Labels, labels) {
				out = append(out, copyNetwork(n))
			}
		}
		return nil
	})
	return out, err
}

// CreateLease implements engine.Engine.
func (f *Fake) CreateLease(ctx context.Context, spec engine.LeaseSpec) (lease engine.Lease, err error) {
	err = f.call(ctx, "CreateLease", spec.Name, true, func() error {
		fail := func(err error) error { return fmt.Errorf("unable to take lease %s: %w", spec.Name, err) }
		owner, err := ownerOf(spec.Labels)
		if err != nil {
			return fail(err)
		}
		if _, err := f.imageID(spec.Image); err != nil {
			return fail(fmt.Errorf("image %s: %w on the engine", spec.Image, engine.ErrNoImage))
		}
		if have := f.leases[spec.Name]; have != nil {
			if err := requireOwner("container", spec.Name, have.Labels, owner); err != nil {
				return fail(err)
			}
			return fail(engine.ErrLeased)
		}
		if have := f.nodes[spec.Name]; have != nil {
			return fail(cmp.Or(requireOwner("container", spec.Name, have.Labels, owner), engine.ErrConflict))
		}
		labels := maps.Clone(spec.Labels)
		labels[engine.LabelLease] = "true"
		f.leases[spec.Name] = &engine.Lease{Name: spec.Name, ID: f.nextID(), Labels: labels}
		lease = copyLease(f.leases[spec.Name])
		return nil
	})
	return lease, err
}

// RenewLease implements engine.Engine.
func (f *Fake) RenewLease(ctx context.Context, lease engine.Lease) (out engine.Lease, err error) {
	err = f.call(ctx, "RenewLease", lease.Name, true, func() error {
		have := f.leases[lease.Name]
		if have == nil || have.ID != lease.ID {
			return fmt.Errorf("unable to renew lease %s: %w", lease.Name, &engine.NotFoundError{Kind: "lease", Name: lease.Name})
		}
		have.Beat = lease.Beat + 1
		out = copyLease(have)
		return nil
	})
	return out, err
}

// RemoveLease implements engine.Engine.
func (f *Fake) RemoveLease(ctx context.Context, lease engine.Lease) error {
	return f.call(ctx, "RemoveLease", lease.Name, true, func() error {
		if have := f.leases[lease.Name]; have != nil && have.ID == lease.ID {
			delete(f.leases, lease.Name)
		}
		return nil
	})
}

// Leases implements engine.Engine.
func (f *Fake) Leases(ctx context.Context, labels map[string]string) (out []engine.Lease, err error) {
	err = f.call(ctx, "Leases", "", false, func() error {
		for _, name := range slices.Sorted(maps.Keys(f.leases)) {
			if lease := f.leases[name]; carries(lease.Labels, labels) {
				out = append(out, copyLease(lease))
			}
		}
		return nil
	})
	return out, err
}

func copyLease(l *engine.Lease) engine.Lease {
	out := *l
	out.Labels = maps.Clone(l.Labels)
	return out
}

// Dial implements engine.Engine by the handlers of HandleDial.
func (f *Fake) Dial(ctx context.Context, node string, port int) (net.Conn, error) {
	var dial func(context.Context) (net.Conn, error)
	err := f.call(ctx, "Dial", node, false, func() error {
		n, ok := f.standsFor(node)
		if !ok {
			return &engine.NotFoundError{Kind: "container", Name: node}
		}
		if n.Status != engine.Running {
			return fmt.Errorf("unable to connect to port %d of container %s: it is not running (%s)", port, node, n.Status)
		}
		if dial = f.dials[nodePort{node, port}]; dial == nil {
			return fmt.Errorf("unable to connect to port %d of container %s: connection refused", port, node)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dial(ctx)
}

// PublishedPorts implements engine.Engine.
func (f *Fake) PublishedPorts(ctx context.Context) (out []engine.PublishedPort, err error) {
	err = f.call(ctx, "PublishedPorts", "", false, func() error {
		for _, n := range f.nodes {
			for _, p := range n.Ports {
				out = append(out, engine.PublishedPort{Node: n.Name, Owner: n.Labels[engine.LabelOwner], Address: p.Address, Port: p.Host})
			}
		}
		slices.SortFunc(out, func(a, b engine.PublishedPort) int {
			return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Node, b.Node))
		})
		return nil
	})
	return out, err
}

// PortFree implements engine.Engine.
func (f *Fake) PortFree(ctx context.Context, address string, port int) (free bool, err error) {
	err = f.call(ctx, "PortFree", fmt.Sprintf("%s:%d", address, port), false, func() error {
		_, free = f.holder(address, port)
		return nil
	})
	return free, err
}

// Close implements engine.Engine.
func (f *Fake) Close() error { return nil }

func (v *fakeVolume) copy() engine.Volume {
	out := v.Volume
	out.Labels = maps.Clone(v.Labels)
	return out
}

func copyNetwork(n *engine.Network) engine.Network {
	out := *n
	out.Labels = maps.Clone(n.Labels)
	return out
}

func ownerOf(labels map[string]string) (string, error) {
	if labels[engine.LabelOwner] == "" {
		return "", errors.New("its labels name no owner")
	}
	return labels[engine.LabelOwner], nil
}

func requireOwner(kind, name string, labels map[string]string, owner string) error {
	if have := labels[engine.LabelOwner]; have == "" || have != owner {
		return &engine.ForeignError{Kind: kind, Name: name, Owner: have}
	}
	return nil
}

func carries(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}
