package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// nameRelease is how long a name may still belong to a container that is being removed.
const nameRelease = 30 * time.Second

// CreateNode implements engine.Engine with POST /containers/create. Its image and its volumes must
// be on the engine: an engine asked to mount a volume that it lacks would make an empty one.
// ErrNotFound names a missing volume, ErrNoImage a missing image.
func (e *Engine) CreateNode(ctx context.Context, spec engine.NodeSpec) error {
	_, err := e.createNode(ctx, spec)
	if err != nil {
		return fmt.Errorf("unable to create container %s: %w", spec.Name, err)
	}
	return nil
}

// CheckNode implements engine.Engine: an engine looks at a specification when it makes the container.
func (e *Engine) CheckNode(ctx context.Context, spec engine.NodeSpec) error {
	name := spec.Name
	spec.Name += "-" + ending()
	id, err := e.createNode(ctx, spec)
	if err = errors.Join(err, e.discard(ctx, spec, id, err)); err != nil {
		return fmt.Errorf("unable to create container %s: %w", name, err)
	}
	return nil
}

func (e *Engine) createNode(ctx context.Context, spec engine.NodeSpec) (id string, err error) {
	owner, err := ownerOf(spec.Labels)
	if err != nil {
		return "", err
	}
	declared, err := e.prepare(ctx, spec)
	if err != nil {
		return "", err
	}
	options, err := render(spec, declared)
	if err != nil {
		return "", err
	}
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval = 50*time.Millisecond, time.Second
	return backoff.Retry(ctx, func() (string, error) {
		var made client.ContainerCreateResult
		err := e.call(ctx, func(ctx context.Context) (err error) {
			made, err = e.api.ContainerCreate(ctx, options)
			return err
		})
		if err == nil {
			return made.ID, nil
		}
		if cerrdefs.IsNotFound(err) { // the image, or on some engines the network
			return "", permanent(e.missing(ctx, spec, err))
		}
		if !cerrdefs.IsConflict(err) {
			return "", permanent(err)
		}
		have, readErr := e.inspect(ctx, spec.Name)
		switch {
		case cerrdefs.IsNotFound(readErr) || readErr == nil && leaving(have):
			return "", err // a container of that name is on its way out
		case readErr != nil:
			return "", permanent(readErr)
		}
		if err := requireOwner("container", spec.Name, have.Config.Labels, owner); err != nil {
			return "", permanent(err)
		}
		if have.Config.Labels[engine.LabelSpecHash] != spec.Labels[engine.LabelSpecHash] {
			return "", permanent(engine.ErrConflict)
		}
		return have.ID, nil
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(nameRelease))
}

// prepare looks for what a container is made of, and gives the image's VOLUMEs.
func (e *Engine) prepare(ctx context.Context, spec engine.NodeSpec) (declared []string, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		declared, err = e.declaredVolumes(gctx, spec.Image)
		return err
	})
	for _, m := range spec.Mounts {
		group.Go(func() error {
			_, err := e.Volume(gctx, m.Volume)
			return err
		})
	}
	return declared, group.Wait()
}

// missing tells what the engine did not find when it made a container.
func (e *Engine) missing(ctx context.Context, spec engine.NodeSpec, cause error) error {
	e.declared.Delete(spec.Image)
	if _, err := e.declaredVolumes(ctx, spec.Image); errors.Is(err, engine.ErrNoImage) {
		return err
	}
	if spec.Network != "" {
		if _, err := e.Network(ctx, spec.Network); errors.Is(err, engine.ErrNotFound) {
			return err
		}
	}
	return hideClass(cause)
}

// StartNode implements engine.Engine with POST /containers/{name}/start. A node that was attached to
// a network which has been removed since cannot start, not even when a network of that name was
// made again: it must be made anew.
func (e *Engine) StartNode(ctx context.Context, name string) error {
	defer e.reached.forget(name)
	ref, err := e.standsFor(ctx, name)
	if err == nil {
		err = e.start(ctx, ref)
	}
	if cerrdefs.IsNotFound(err) {
		err = &engine.NotFoundError{Kind: "container", Name: ref}
	}
	if err != nil {
		return fmt.Errorf("unable to start container %s: %w", name, err)
	}
	return nil
}

func (e *Engine) start(ctx context.Context, ref string) error {
	defer e.reached.forget(ref)
	release, err := e.turn(ctx)
	if err != nil {
		return err
	}
	err = e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerStart(ctx, ref, client.ContainerStartOptions{})
		return err
	})
	release()
	if err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrUnreachable) {
		err = e.mendStart(ctx, ref, err)
	}
	return err
}

// mendStart resumes a container that was paused, and otherwise finds out why it did not start.
func (e *Engine) mendStart(ctx context.Context, name string, cause error) error {
	have, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return &engine.NotFoundError{Kind: "container", Name: name}
	}
	if err != nil {
		return cause
	}
	if have.State.Paused {
		return e.call(ctx, func(ctx context.Context) error {
			_, err := e.api.ContainerUnpause(ctx, name, client.ContainerUnpauseOptions{})
			return err
		})
	}
	if cerrdefs.IsNotFound(cause) {
		// It is there, so what is not is its network: absent, by this class, is not the node.
		return fmt.Errorf("something that it was made with is gone: %w", hideClass(cause))
	}
	for _, p := range boundPorts(have) {
		holder, free, err := e.holder(ctx, p.Address, p.Host, name)
		if err == nil && !free {
			return &engine.PortError{Node: name, Address: p.Address, Port: p.Host, Holder: holder}
		}
	}
	return cause
}

// hideClass keeps the text of an answer only, where its class would be taken for another object's.
func hideClass(err error) error { return errors.New(err.Error()) }

// StopNode implements engine.Engine with POST /containers/{name}/stop; grace is rounded up to seconds.
func (e *Engine) StopNode(ctx context.Context, name string, grace time.Duration) error {
	defer e.reached.forget(name)
	seconds := int(math.Ceil(max(grace, 0).Seconds()))
	ref, err := e.standsFor(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unable to stop container %s: %w", name, err)
	}
	release, err := e.turn(ctx)
	if err != nil {
		return fmt.Errorf("unable to stop container %s: %w", name, err)
	}
	defer release()
	err = e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerStop(ctx, ref, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("unable to stop container %s: %w", name, err)
	}
	return nil
}

// RemoveNode implements engine.Engine with DELETE /containers/{id}. A node that runs is killed.
func (e *Engine) RemoveNode(ctx context.Context, name, owner string) error {
	defer e.reached.forget(name)
	have, err := e.inspect(ctx, name)
	if err == nil {
		if err = requireOwner("container", name, have.Config.Labels, owner); err == nil {
			err = e.deleteContainer(ctx, have.ID)
		}
	}
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("unable to remove container %s: %w", name, err)
	}
	return nil
}

// RenameNode implements engine.Engine with POST /containers/{id}/rename.
func (e *Engine) RenameNode(ctx context.Context, name, newName, owner string) error {
	defer e.reached.forget(name)
	have, err := e.inspect(ctx, name)
	if err == nil {
		if err = requireOwner("container", name, have.Config.Labels, owner); err == nil {
			err = e.call(ctx, func(ctx context.Context) error {
				_, err := e.api.ContainerRename(ctx, have.ID, client.ContainerRenameOptions{NewName: newName})
				return err
			})
		}
	}
	switch {
	case cerrdefs.IsNotFound(err):
		return &engine.NotFoundError{Kind: "container", Name: name}
	case cerrdefs.IsConflict(err):
		err = fmt.Errorf("%w: %s", engine.ErrConflict, err.Error())
	}
	if err != nil {
		return fmt.Errorf("unable to rename container %s to %s: %w", name, newName, err)
	}
	return nil
}

// deleteContainer removes by ID, so that a container of the same name that comes meanwhile is safe.
// The engine answers when the container is gone, unless somebody else is removing it already.
func (e *Engine) deleteContainer(ctx context.Context, id string) error {
	release, err := e.turn(ctx)
	if err != nil {
		return err
	}
	defer release()
	err = e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return err
	})
	if cerrdefs.IsConflict(err) {
		_, err = e.wait(ctx, id, container.WaitConditionRemoved)
	}
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Node implements engine.Engine with GET /containers/{name}/json.
func (e *Engine) Node(ctx context.Context, name string) (engine.Node, error) {
	have, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return engine.Node{}, &engine.NotFoundError{Kind: "container", Name: name}
	}
	var node engine.Node
	if err == nil {
		node, err = e.asNode(ctx, have, e.networkIDs)
	}
	if err == nil {
		node, err = e.asAdopted(ctx, node, e.networkIDs)
	}
	if cerrdefs.IsNotFound(err) {
		return engine.Node{}, &engine.NotFoundError{Kind: "container", Name: node.Labels[engine.LabelAdopts]}
	}
	if err != nil {
		return engine.Node{}, fmt.Errorf("unable to read container %s: %w", name, err)
	}
	return node, nil
}

// Nodes implements engine.Engine with GET /containers/json, and reads those that do not run one by
// one: the list lacks their ports and how they ended.
func (e *Engine) Nodes(ctx context.Context, labels map[string]string) ([]engine.Node, error) {
	nodes, err := e.nodes(ctx, labels)
	if err != nil {
		return nil, fmt.Errorf("unable to list containers: %w", err)
	}
	return nodes, nil
}

func (e *Engine) nodes(ctx context.Context, labels map[string]string) ([]engine.Node, error) {
	list, err := e.listContainers(ctx, labelFilter(labels), true)
	if err != nil {
		return nil, err
	}
	// Read at most once for all of them.
	networks := onceIDs(e.networkIDs)
	out := make([]engine.Node, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxInspects)
	for i, summary := range list {
		if !carries(summary.Labels, labels) || summary.Labels[engine.LabelLease] != "" {
			continue
		}
		if summary.State == container.StateRunning {
			out[i] = summaryNode(summary)
			continue
		}
		group.Go(func() error {
			have, err := e.inspect(gctx, summary.ID)
			if cerrdefs.IsNotFound(err) {
				return nil // gone since it was listed
			}
			if err != nil {
				return err
			}
			node, err := e.asNode(gctx, have, networks)
			if err == nil {
				node, err = e.asAdopted(gctx, node, networks)
			}
			if cerrdefs.IsNotFound(err) { // a record, of what is gone
				node.Status, node.Adopted, err = engine.Stopped, node.Labels[engine.LabelAdopts], nil
			}
			out[i] = node
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(n engine.Node) bool { return n.ID == "" })
	slices.SortStableFunc(out, func(a, b engine.Node) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// inspect reads one container by name or ID. The engine takes the beginning of an ID for a name, and
// that is not found.
func (e *Engine) inspect(ctx context.Context, name string) (container.InspectResponse, error) {
	var have client.ContainerInspectResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		have, err = e.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		return err
	})
	if err != nil {
		return container.InspectResponse{}, err
	}
	c := have.Container
	if strings.TrimPrefix(c.Name, "/") != name && c.ID != name {
		return container.InspectResponse{}, fmt.Errorf("no container of the name %s: %w", name, cerrdefs.ErrNotFound)
	}
	if c.State == nil || c.Config == nil || c.HostConfig == nil || c.NetworkSettings == nil {
		return container.InspectResponse{}, errors.New("the engine's answer lacks parts of the container")
	}
	return c, nil
}

func (e *Engine) listContainers(ctx context.Context, filters client.Filters, all bool) ([]container.Summary, error) {
	var list client.ContainerListResult
	err := e.ask(ctx, func(ctx context.Context) (err error) {
		list, err = e.api.ContainerList(ctx, client.ContainerListOptions{All: all, Filters: filters})
		return err
	})
	return list.Items, err
}

// asNode describes a container. An engine tells the ID of a network only once a container has been
// started on it; before, it is the network that has the name now, which networks looks up.
func (e *Engine) asNode(ctx context.Context, c container.InspectResponse, networks func(context.Context) (map[string]string, error)) (engine.Node, error) {
	node := engine.Node{
		Name: strings.TrimPrefix(c.Name, "/"), ID: c.ID, ImageID: c.Image, Labels: nodeLabels(c.Config.Labels),
		Status: status(c.State.Status), Ports: boundPorts(c), Volumes: namedVolumes(c.Mounts), Altered: alterations(c),
		Restarts: c.RestartCount,
	}
	if node.Status == engine.Stopped {
		node.ExitCode, node.OOMKilled = c.State.ExitCode, c.State.OOMKilled
	}
	for name, endpoint := range c.NetworkSettings.Networks {
		id := ""
		if endpoint != nil {
			id = endpoint.NetworkID
		}
		if id == "" && name != network.NetworkNone {
			ids, err := networks(ctx)
			if err != nil {
				return engine.Node{}, err
			}
			id = ids[name]
		}
		if id != "" && name != network.NetworkNone {
			node.NetworkIDs = append(node.NetworkIDs, id)
		}
	}
	slices.Sort(node.NetworkIDs)
	return node, nil
}

// networkIDs gives the IDs of all networks by name.
func (e *Engine) networkIDs(ctx context.Context) (map[string]string, error) {
	networks, err := e.Networks(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(networks))
	for _, n := range networks {
		out[n.Name] = n.ID
	}
	return out, nil
}

// summaryNode describes a running container of a list.
func summaryNode(c container.Summary) engine.Node {
	node := engine.Node{
		Name: summaryName(c), ID: c.ID, ImageID: c.ImageID, Labels: nodeLabels(c.Labels),
		Status: status(c.State), Ports: summaryPorts(c), Volumes: namedVolumes(c.Mounts),
	}
	if c.NetworkSettings != nil {
		for name, endpoint := range c.NetworkSettings.Networks {
			if endpoint != nil && endpoint.NetworkID != "" && name != network.NetworkNone {
				node.NetworkIDs = append(node.NetworkIDs, endpoint.NetworkID)
			}
		}
	}
	slices.Sort(node.NetworkIDs)
	return node
}

// summaryName gives a container's own name; names with a second slash are those by which others link to it.
func summaryName(c container.Summary) string {
	for _, name := range c.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return c.ID
}

// status takes a process that cannot answer for stopped: one that is paused (StartNode resumes it),
// and one that died and waits to be brought back.
func status(state container.ContainerState) engine.Status {
	switch state {
	case container.StateRunning:
		return engine.Running
	case container.StateCreated:
		return engine.Created
	default:
		return engine.Stopped
	}
}

// leaving tells whether a container is being removed.
func leaving(c container.InspectResponse) bool { return c.State.Status == container.StateRemoving }

// boundPorts gives the tcp ports that a container is bound to, or will be when it starts.
func boundPorts(c container.InspectResponse) []engine.Port {
	var out []engine.Port
	for port, bindings := range c.HostConfig.PortBindings {
		if port.Proto() != network.TCP {
			continue
		}
		for i, b := range bindings {
			host, _ := strconv.Atoi(b.HostPort)
			if actual := c.NetworkSettings.Ports[port]; host == 0 && i < len(actual) { // chosen by the engine
				host, _ = strconv.Atoi(actual[i].HostPort)
			}
			if host == 0 {
				continue
			}
			address := "0.0.0.0"
			if b.HostIP.IsValid() {
				address = b.HostIP.String()
			}
			out = append(out, engine.Port{Container: int(port.Num()), Host: host, Address: address})
		}
	}
	slices.SortStableFunc(out, comparePorts)
	return out
}

func summaryPorts(c container.Summary) []engine.Port {
	var out []engine.Port
	for _, p := range c.Ports {
		if p.Type != string(network.TCP) || p.PublicPort == 0 {
			continue
		}
		address := "0.0.0.0"
		if p.IP.IsValid() {
			address = p.IP.String()
		}
		out = append(out, engine.Port{Container: int(p.PrivatePort), Host: int(p.PublicPort), Address: address})
	}
	slices.SortStableFunc(out, comparePorts)
	return out
}

func comparePorts(a, b engine.Port) int {
	return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Address, b.Address))
}

// anonymous tells whether the engine made the name of a volume: 64 hexadecimal digits.
func anonymous(volume string) bool {
	return len(volume) == 64 && strings.Trim(volume, "0123456789abcdef") == ""
}

// namedVolumes leaves out anonymous volumes.
func namedVolumes(mounts []container.MountPoint) []string {
	var out []string
	for _, m := range mounts {
		if m.Type == mount.TypeVolume && !anonymous(m.Name) {
			out = append(out, m.Name)
		}
	}
	slices.Sort(out)
	return out
}

// onceIDs makes a look-up that several share happen once.
func onceIDs(look func(context.Context) (map[string]string, error)) func(context.Context) (map[string]string, error) {
	var (
		lock = make(chan struct{}, 1)
		have map[string]string
	)
	return func(ctx context.Context) (map[string]string, error) {
		select {
		case lock <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() { <-lock }()
		if have != nil {
			return have, nil
		}
		ids, err := look(ctx)
		have = ids
		return ids, err
	}
}
