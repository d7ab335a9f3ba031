package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Where a node finds its files. The volume is mounted over the folder that Fabric's images declare
// as one, and everything lies in a sub-folder, because a volume's own root belongs to root.
const (
	volumeRoot = "/var/hyperledger"
	nodeRoot   = volumeRoot + "/node"
	keysFolder = nodeRoot + "/keys"
	dataFolder = nodeRoot + "/data"
	nodeUser   = "1000:1000"
	nodeUID    = 1000
)

// NodeOptions are what a user may say of every node.
type NodeOptions struct {
	// Image is the reference; ImageID, when not empty, the content that it was resolved to before,
	// which stays until the reference changes.
	Image   string `json:"image"`
	ImageID string `json:"-"`
	// AdvertisedAddress is host:port by which others reach the node; empty: its host name and port.
	AdvertisedAddress string `json:"advertised_address,omitempty"`
	// Hosts are further names and addresses for the TLS certificate.
	Hosts []string `json:"hosts,omitempty"`
	// BindAddress is the host's address on which ports are published.
	BindAddress string `json:"bind_address"`
	// HostPorts are the host ports by purpose; 0 or absent is chosen.
	HostPorts map[string]int    `json:"-"`
	Log       engine.Log        `json:"log"`
	Labels    map[string]string `json:"labels,omitempty"`
	Limits    engine.Limits     `json:"limits"`
	// Container is that of an adopted node, which somebody else made; empty for a node of ours.
	Container string `json:"container,omitempty"`
	// MaterialDirectory is a local directory with the crypto material of a node whose organization has no CA
	// here; see ReadMaterial.
	MaterialDirectory string `json:"material_directory,omitempty"`
	// Stopped wants the node not running.
	Stopped bool `json:"-"`
	// Existing tells that the node has been made before, so that a missing volume is a loss.
	Existing bool `json:"-"`
	// AcceptDataLoss starts a node whose volume is gone with an empty one.
	AcceptDataLoss bool `json:"-"`
	Renewal
}

// NodeState is what is known of a node after it was made or read.
type NodeState struct {
	Status  engine.Status
	ImageID string
	// HostPorts are the published host ports by purpose.
	HostPorts map[string]int
	// Lost tells that the node's volume is gone.
	Lost bool
	// Removed tells that it is gone because that was wanted, by a removal that was cut short.
	Removed bool
}

// node is what is common to every node: what runs, with which files, and when it is ready.
type node struct {
	handle  Handle
	options NodeOptions
	// endpoint is the address by which others reach the node.
	endpoint string
	// ports are the container ports by purpose.
	ports      map[string]int
	entrypoint []string
	command    []string
	env        map[string]string
	labels     map[string]string
	// inputs are what the user asked for, in the form of labelInputs.
	inputs  string
	aliases []string
	tmpfs   []string
	// uid is the user and the group that it runs as; zero is nodeUID.
	uid int
	// config are rendered files below nodeRoot. A change of them makes a new container.
	config map[string][]byte
	// material gives the keys and certificates to be written below keysFolder, and whatever else
	// holds a secret; have is what is there already. It never enters the specification's hash.
	material func(ctx context.Context, have map[string][]byte) (map[string][]byte, error)
	// ready fails as long as the node does not do its work.
	ready func(ctx context.Context) error
	// spared, when not nil, is asked before a container that may run is taken down: an error leaves the
	// node as it is.
	spared func(ctx context.Context) error
}

// preflight finds what would fail before anything is made: a network that is not ours, an object of
// our name that is there already, an image that is nowhere, a host port that is taken.
func (f *Fabric) preflight(ctx context.Context, n *node) error {
	defer f.locks.lock(n.handle.Object())()
	if err := f.requireNetwork(ctx, n.handle); err != nil {
		return err
	}
	seen, err := f.look(ctx, n)
	if err != nil {
		return err
	}
	if seen.container != nil && !f.takesUp(n, *seen.container) {
		return &ExistsError{Thing: n.handle, Cluster: seen.container.Labels[labelCluster]}
	}
	if !f.seen.put(n.handle.Object(), seen) {
		return &ExistsError{Thing: n.handle, Cluster: n.labels[labelCluster]}
	}
	return nil
}

// takesUp tells whether a container of ours that is there already may be gone on with. An apply that
// was killed leaves containers of which Terraform never heard: half-made ones, and ones that are
// exactly what is wanted. A container of another kind is another resource's, and so is one that this
// process made itself.
func (f *Fabric) takesUp(n *node, there engine.Node) bool {
	if f.adopts(n.handle.Owner) {
		return true
	}
	return !f.seen.marked(n.handle.Object()) && (there.Status == engine.Created || there.Labels[labelInputs] == n.inputs)
}

// look finds out what of a node is there, and completes its ports. Nothing is changed.
func (f *Fabric) look(ctx context.Context, n *node) (sighting, error) {
	var seen sighting
	name := n.handle.Object()
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		container, err := f.engine.Node(gctx, name)
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		seen.container = &container
		return n.handle.requireSame("container", name, container.Labels)
	})
	group.Go(func() error {
		volume, err := f.engine.Volume(gctx, name)
		if errors.Is(err, engine.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		seen.volume = true
		return n.handle.requireSame("volume", name, volume.Labels)
	})
	group.Go(func() (err error) {
		seen.image, err = f.resolveKept(gctx, n.options)
		return err
	})
	err := group.Wait()
	if err == nil && seen.container == nil && seen.volume {
		seen.container, err = f.renamed(ctx, n.handle)
	}
	if err != nil {
		return seen, err
	}
	seen.ports = n.publish()
	if seen.container != nil {
		seen.ports = keepPorts(seen.ports, seen.container.Ports)
		if samePorts(seen.ports, seen.container.Ports) {
			f.ports.reserve(name, seen.ports)
			return seen, nil
		}
		// A container of ours that is about to be replaced may stand in the way of another one that
		// is about to be replaced: what it has alone is no reason to fail yet.
		if err = f.ports.refuseForeign(ctx, name, n.handle.Owner, seen.ports); err != nil {
			return seen, err
		}
		return seen, nil
	}
	seen.ports, err = f.ports.allocate(ctx, name, n.handle.Owner, seen.ports)
	return seen, err
}

// renamed finds the container of a node under the name that somebody gave it; nil when there is none.
func (f *Fabric) renamed(ctx context.Context, h Handle) (*engine.Node, error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: h.Owner, engine.LabelKind: string(h.Kind), engine.LabelNetwork: h.Network, engine.LabelName: h.Name,
	})
	for _, n := range nodes {
		if n.Name != h.Object() && isNode(n) {
			return &n, err
		}
	}
	return nil, err
}

// reclaim reads the container of a node, and gives it its name back where somebody changed that: under
// another one it would go on beside us, with the node's volume and ports. ErrNotFound when there is none.
func (f *Fabric) reclaim(ctx context.Context, h Handle) (engine.Node, error) {
	current, err := f.engine.Node(ctx, h.Object())
	if !errors.Is(err, engine.ErrNotFound) {
		return current, err
	}
	there, failed := f.renamed(ctx, h)
	if failed != nil {
		return current, failed
	}
	if there == nil {
		return current, err
	}
	if err := f.engine.RenameNode(ctx, there.Name, h.Object(), h.Owner); err != nil {
		return current, err
	}
	return f.engine.Node(ctx, h.Object())
}

// ensure makes the node as it is wanted, from whatever is there: nothing, a half-made node, a
// stopped one, one with another specification. Its volume stays whatever happens to its container.
func (f *Fabric) ensure(ctx context.Context, n *node) (NodeState, error) {
	defer f.locks.lock(n.handle.Object())()
	ctx, end := reprieved(ctx)
	defer end()
	state, err := f.ensureLocked(ctx, n)
	return state, f.downError(ctx, n.handle, err)
}

func (f *Fabric) ensureLocked(ctx context.Context, n *node) (NodeState, error) {
	name := n.handle.Object()
	seen, ok := f.seen.take(name)
	if !ok {
		var err error
		if seen, err = f.look(ctx, n); err != nil {
			return NodeState{}, err
		}
	}
	f.seen.mark(name)
	if seen.container != nil && seen.container.Name != name {
		if _, err := f.reclaim(ctx, n.handle); err != nil {
			return NodeState{}, err
		}
	}
	fresh, err := f.ensureVolume(ctx, n, seen.volume)
	if err != nil {
		return NodeState{}, err
	}
	if err := f.revokeRemoval(ctx, n.handle); err != nil {
		return NodeState{}, err
	}
	spec := n.spec(seen.image.ID, seen.ports)
	keep := false
	if seen.container != nil {
		attached, err := f.attached(ctx, n, *seen.container)
		if err != nil {
			return NodeState{}, err
		}
		keep = attached && !fresh && len(seen.container.Altered) == 0 && seen.container.Labels[engine.LabelSpecHash] == spec.Labels[engine.LabelSpecHash]
		if !keep {
			if spec, err = f.removeOld(ctx, n, &seen); err != nil {
				return NodeState{}, err
			}
		} else if f.ailment(ctx, n.handle, *seen.container, n.ports[operationsPurpose]) != nil {
			if err := f.takeDown(ctx, n); err != nil { // to be started again
				return NodeState{}, err
			}
		}
	}
	if err := f.furnish(ctx, n, spec, fresh, keep); err != nil {
		return NodeState{}, err
	}
	if seen.volume || seen.container != nil { // an attempt that was cut short may have left one
		if err := f.removeKeeper(ctx, n.handle); err != nil {
			return NodeState{}, err
		}
	}
	if n.options.Stopped {
		return NodeState{Status: engine.Stopped, ImageID: seen.image.ID, HostPorts: n.hostPorts(seen.ports)}, f.stop(ctx, n.handle)
	}
	err = f.start(ctx, n, &seen)
	state := NodeState{Status: engine.Running, ImageID: seen.image.ID, HostPorts: n.hostPorts(seen.ports)}
	if err != nil {
		return state, f.nodeError(ctx, n.handle, "start", err)
	}
	return state, f.awaitReady(ctx, n)
}

// portChoices is how often host ports are chosen for a node before its start gives up.
const portChoices = 5

// start starts a node. A port that was chosen for it may be somebody else's by now, of another process
// that chose at the same time: then others are chosen.
func (f *Fabric) start(ctx context.Context, n *node, seen *sighting) error {
	for choice := 1; ; choice++ {
		err := f.engine.StartNode(ctx, n.handle.Object())
		taken := new(engine.PortError)
		if !errors.As(err, &taken) || !n.chosen(seen.ports, taken.Port) || choice == portChoices {
			return err
		}
		if err := f.createKeeper(ctx, n.handle, seen.image.ID); err != nil {
			return err
		}
		if err := f.engine.RemoveNode(ctx, n.handle.Object(), n.handle.Owner); err != nil {
			return err
		}
		if seen.ports, err = f.ports.allocate(ctx, n.handle.Object(), n.handle.Owner, n.publish()); err != nil {
			return err
		}
		if err := f.engine.CreateNode(ctx, n.spec(seen.image.ID, seen.ports)); err != nil {
			return err
		}
		if err := f.removeKeeper(ctx, n.handle); err != nil {
			return err
		}
	}
}

// chosen tells whether a published host port is one that nobody asked for.
func (n *node) chosen(published []engine.Port, host int) bool {
	for purpose, port := range n.ports {
		for _, p := range published {
			if p.Container == port && p.Host == host {
				return n.options.HostPorts[purpose] == 0
			}
		}
	}
	return false
}

// removeOld takes the container away that has another specification than is wanted, and completes
// the new one: the ports that it had are free now, also for another node that waits for them.
func (f *Fabric) removeOld(ctx context.Context, n *node, seen *sighting) (engine.NodeSpec, error) {
	name := n.handle.Object()
	if err := f.checkNew(ctx, n, seen); err != nil {
		return engine.NodeSpec{}, err
	}
	if err := f.takeDown(ctx, n); err != nil {
		return engine.NodeSpec{}, err
	}
	if err := f.createKeeper(ctx, n.handle, seen.image.ID); err != nil {
		return engine.NodeSpec{}, err
	}
	if err := f.engine.RemoveNode(ctx, name, n.handle.Owner); err != nil {
		return engine.NodeSpec{}, fmt.Errorf("unable to remove the container of %s: %w", n.handle, err)
	}
	var err error
	seen.ports, err = f.ports.allocate(ctx, name, n.handle.Owner, seen.ports)
	return n.spec(seen.image.ID, seen.ports), err
}

// takeDown stops a node that is to be changed, when it can be spared.
func (f *Fabric) takeDown(ctx context.Context, n *node) error {
	if n.spared != nil {
		if err := n.spared(ctx); err != nil {
			return err
		}
	}
	return f.stop(ctx, n.handle)
}

// checkHash stands for the hash of the specification of a container that is made to be looked at only.
const checkHash = "check"

// checkNew has the engine look at the new container while the old one is still there: whatever it does
// not like of it, a log driver or a limit, must not cost the node. Ports that are not chosen yet are
// left out. The container of a look during which the process was killed goes first: it has the node's ports.
func (f *Fabric) checkNew(ctx context.Context, n *node, seen *sighting) error {
	if err := f.removeOnces(ctx, n.handle, map[string]string{engine.LabelSpecHash: checkHash}); err != nil {
		return err
	}
	ports := slices.DeleteFunc(slices.Clone(seen.ports), func(p engine.Port) bool { return p.Host == 0 })
	spec := n.spec(seen.image.ID, ports)
	spec.Labels[labelOnce], spec.Labels[engine.LabelSpecHash] = "true", checkHash
	if err := f.engine.CheckNode(ctx, spec); err != nil {
		return fmt.Errorf("%s was not changed, and goes on as it is: %w", n.handle, err)
	}
	return nil
}

// ensureVolume makes the node's volume unless it is there, and tells whether it is a new one.
func (f *Fabric) ensureVolume(ctx context.Context, n *node, there bool) (fresh bool, err error) {
	if there {
		return false, nil
	}
	if n.options.Existing && !n.options.AcceptDataLoss {
		return false, &LostError{Thing: n.handle, Volume: n.handle.Object()}
	}
	labels := n.handle.labels()
	maps.Copy(labels, n.labels)
	return true, f.engine.CreateVolume(ctx, engine.VolumeSpec{Name: n.handle.Object(), Labels: labels})
}

// resolveKept finds the image, by the content it was resolved to before as long as the engine has it.
func (f *Fabric) resolveKept(ctx context.Context, options NodeOptions) (engine.Image, error) {
	if options.ImageID != "" {
		image, err := f.engine.ResolveImage(ctx, options.ImageID)
		if err == nil || !errors.Is(err, engine.ErrNoImage) {
			return image, err
		}
	}
	return f.engine.ResolveImage(ctx, options.Image)
}

// attached tells whether the container is on the network of today: one whose network was removed
// and made again cannot start.
func (f *Fabric) attached(ctx context.Context, n *node, current engine.Node) (bool, error) {
	net, err := f.engine.Network(ctx, n.handle.Network)
	if err != nil {
		return false, fmt.Errorf("unable to put %s on its network: %w", n.handle, err)
	}
	return slices.Contains(current.NetworkIDs, net.ID), nil
}

// furnish makes the container and puts its files there. The container is made while the
// certificates are being issued.
func (f *Fabric) furnish(ctx context.Context, n *node, spec engine.NodeSpec, fresh, keep bool) error {
	var have nodeFiles
	var material map[string][]byte
	group, gctx := errgroup.WithContext(ctx)
	create := func() error {
		if keep {
			return nil
		}
		return f.engine.CreateNode(gctx, spec)
	}
	if fresh {
		group.Go(create)
	} else {
		if err := create(); err != nil {
			return f.nodeError(ctx, n.handle, "prepare", err)
		}
		var err error
		if have, err = f.nodeFiles(ctx, n.handle); err != nil {
			return err
		}
	}
	group.Go(func() (err error) {
		material, err = n.material(gctx, have.keys)
		return err
	})
	if err := group.Wait(); err != nil {
		return f.nodeError(ctx, n.handle, "prepare", err)
	}
	certificates := map[string][]byte{}
	for _, of := range []map[string][]byte{have.keys, material} {
		for _, file := range []string{tlsFile, enrollmentFile} {
			if content := of[file]; len(content) > 0 {
				certificates[file] = content
			}
		}
	}
	f.furnished.Store(n.handle.Object(), certificates)
	files := n.files(have, material)
	if len(files) == 0 {
		return nil
	}
	if keep { // its files are read at start only
		if err := f.takeDown(ctx, n); err != nil {
			return err
		}
	}
	return f.engine.PutFiles(ctx, spec.Name, nodeRoot, files)
}

// stop ends a node's process and waits for it. What was begun is not cut short by an interrupt, so that a
// start comes after it.
func (f *Fabric) stop(ctx context.Context, h Handle) error {
	ctx, end := reprieved(ctx)
	defer end()
	err := beginReprieve(ctx)
	if err == nil {
		err = f.engine.StopNode(ctx, h.Object(), grace)
	}
	if err != nil {
		return fmt.Errorf("unable to stop %s: %w", h, err)
	}
	return nil
}

// removeNode removes a node, and its volume unless it is to be kept.
func (f *Fabric) removeNode(ctx context.Context, h Handle, keepVolume bool) error {
	defer f.locks.lock(h.Object())()
	if a, err := f.adoption(ctx, h); err != nil || a != nil {
		return errors.Join(err, f.release(ctx, h))
	}
	f.conns.forget(h)
	f.seen.take(h.Object())
	f.seen.unmark(h.Object())
	if _, err := f.reclaim(ctx, h); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	if keepVolume { // what stays is left in order; what goes may be killed
		if err := f.stop(ctx, h); err != nil {
			return err
		}
	}
	if err := f.removeOnces(ctx, h, nil); err != nil {
		return err
	}
	if keepVolume {
		if err := f.keepWithout(ctx, h); err != nil {
			return err
		}
	}
	if err := f.engine.RemoveNode(ctx, h.Object(), h.Owner); err != nil {
		return fmt.Errorf("unable to remove %s: %w", h, err)
	}
	f.ports.release(h.Object())
	f.furnished.Delete(h.Object())
	if keepVolume {
		return nil
	}
	if err := f.announceRemoval(ctx, h); err != nil {
		return fmt.Errorf("unable to remove the volume of %s: %w", h, err)
	}
	if err := f.engine.RemoveVolume(ctx, h.Object(), h.Owner); err != nil {
		return fmt.Errorf("unable to remove the volume of %s: %w", h, err)
	}
	return nil
}
