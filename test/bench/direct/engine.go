package direct

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	networktypes "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// label marks everything that a bring-up makes; its value is Options.Name. It is none of the
// provider's labels: tests that look for what the provider left must not find what is not its own.
const label = "fabric-bench"

const (
	hostAddress = "127.0.0.1"
	// Host ports lie below the range from which Linux takes ephemeral ones.
	firstPort, lastPort = 17000, 31999
	// nodeUser is whom nodes run as, uid:gid.
	nodeUser, nodeUID = "1000:1000", 1000
	// removalsAtOnce bounds removals: engines leak endpoints of a network when many containers of it
	// are removed together, and then refuse to remove the network.
	removalsAtOnce = 8
)

// engine speaks the Engine API in the terms of this package.
type engine struct {
	api    *client.Client
	name   string
	starts *gate
	// images are known by their references.
	images map[string]image
	mu     sync.Mutex
	// ports are host ports that were given away.
	ports map[int]bool
}

type image struct {
	id      string
	volumes []string
}

// spec is a container, hardened as the provider's are.
type spec struct {
	name, host, image string
	// network tells whether it is on the network. A keeper of a volume is not.
	network bool
	env     map[string]string
	// entrypoint replaces the image's when it is not nil.
	entrypoint, command []string
	// volume is mounted on target; empty is none.
	volume, target string
	// ports are container ports and the host ports that they are published on.
	ports map[int]int
}

func (e *engine) object(name string) string { return e.name + "-" + name }

func (e *engine) labels() map[string]string { return map[string]string{label: e.name} }

// network makes the network.
func (e *engine) network(ctx context.Context, made *event) error {
	_, err := e.api.NetworkCreate(ctx, e.name, client.NetworkCreateOptions{Driver: "bridge", Labels: e.labels()})
	if err != nil {
		return fmt.Errorf("unable to create network %s: %w", e.name, err)
	}
	made.set()
	return nil
}

func (e *engine) createVolume(ctx context.Context, name string) error {
	if _, err := e.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: e.object(name), Labels: e.labels()}); err != nil {
		return fmt.Errorf("unable to create volume %s: %w", e.object(name), err)
	}
	return nil
}

// createKeeper makes a volume and the container that holds it and is never started.
func (e *engine) createKeeper(ctx context.Context, name, image string) error {
	if err := e.createVolume(ctx, name); err != nil {
		return err
	}
	return e.create(ctx, spec{name: name, image: image, volume: name, target: "/keys"})
}

// putStore writes files below the store folder of a keeper's volume.
func (e *engine) putStore(ctx context.Context, name string, files map[string][]byte) error {
	return e.put(ctx, name, "/keys", "store", files)
}

func (e *engine) create(ctx context.Context, s spec) error {
	from := e.images[s.image]
	var env []string
	for _, key := range slices.Sorted(maps.Keys(s.env)) {
		env = append(env, key+"="+s.env[key])
	}
	host := &container.HostConfig{
		NetworkMode: networktypes.NetworkNone, ReadonlyRootfs: true, CapDrop: []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges:true"}, Tmpfs: map[string]string{}, PortBindings: networktypes.PortMap{},
	}
	if s.volume != "" {
		host.Mounts = []mount.Mount{{
			Type: mount.TypeVolume, Source: e.object(s.volume), Target: s.target, VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		}}
	}
	for _, folder := range append([]string{"/tmp"}, from.volumes...) {
		if folder != s.target {
			host.Tmpfs[folder] = fmt.Sprintf("rw,noexec,nosuid,nodev,size=64m,uid=%d,gid=%d,mode=0700", nodeUID, nodeUID)
		}
	}
	exposed := networktypes.PortSet{}
	for inside, outside := range s.ports {
		port, err := networktypes.ParsePort(strconv.Itoa(inside) + "/tcp")
		if err != nil {
			return err
		}
		exposed[port] = struct{}{}
		host.PortBindings[port] = []networktypes.PortBinding{{HostIP: netip.MustParseAddr(hostAddress), HostPort: strconv.Itoa(outside)}}
	}
	options := client.ContainerCreateOptions{
		Name: e.object(s.name),
		Config: &container.Config{
			Image: from.id, Hostname: s.host, User: nodeUser, Env: env, Entrypoint: s.entrypoint, Cmd: s.command, ExposedPorts: exposed, Labels: e.labels(),
		},
		HostConfig: host,
	}
	if s.network {
		host.NetworkMode = container.NetworkMode(e.name)
		host.RestartPolicy.Name = container.RestartPolicyUnlessStopped
		options.NetworkingConfig = &networktypes.NetworkingConfig{EndpointsConfig: map[string]*networktypes.EndpointSettings{e.name: {Aliases: []string{s.host}}}}
	}
	if _, err := e.api.ContainerCreate(ctx, options); err != nil {
		return fmt.Errorf("unable to create container %s: %w", e.object(s.name), err)
	}
	return nil
}

// resolve looks the images up. Their VOLUMEs matter: what is not mounted there would become anonymous
// volumes.
func (e *engine) resolve(ctx context.Context, references ...string) error {
	if e.images == nil {
		e.images = map[string]image{}
	}
	for _, reference := range references {
		found, err := e.api.ImageInspect(ctx, reference)
		if err != nil {
			return fmt.Errorf("unable to find image %s: %w", reference, err)
		}
		resolved := image{id: found.ID}
		if found.Config != nil {
			resolved.volumes = slices.Sorted(maps.Keys(found.Config.Volumes))
		}
		e.images[reference] = resolved
	}
	return nil
}

// put writes files below a folder of the volume that is mounted on target.
func (e *engine) put(ctx context.Context, name, target, folder string, files map[string][]byte) error {
	archive, err := pack(folder, files)
	if err != nil {
		return err
	}
	_, err = e.api.CopyToContainer(ctx, e.object(name), client.CopyToContainerOptions{DestinationPath: target, Content: bytes.NewReader(archive)})
	if err != nil {
		return fmt.Errorf("unable to write files to container %s: %w", e.object(name), err)
	}
	return nil
}

// pack makes a tar of files below a folder. Everything belongs to the user of the nodes.
func pack(folder string, files map[string][]byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		full := path.Join(folder, name)
		parts := strings.Split(path.Dir(full), "/")
		for i := range parts {
			dir := strings.Join(parts[:i+1], "/")
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: nodeUID, Gid: nodeUID, ModTime: now}); err != nil {
				return nil, err
			}
		}
		header := &tar.Header{Name: full, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(files[name])), Uid: nodeUID, Gid: nodeUID, ModTime: now}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

func (e *engine) start(ctx context.Context, name string, u urgency) error {
	leave, err := e.starts.pass(ctx, u)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := e.api.ContainerStart(ctx, e.object(name), client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("unable to start container %s: %w", e.object(name), err)
	}
	return nil
}

// stopSeconds is how long a node may take to end by itself.
const stopSeconds = 20

func (e *engine) stop(ctx context.Context, name string) error {
	grace := stopSeconds
	if _, err := e.api.ContainerStop(ctx, e.object(name), client.ContainerStopOptions{Timeout: &grace}); err != nil {
		return fmt.Errorf("unable to stop container %s: %w", e.object(name), err)
	}
	return nil
}

// runOnce runs a container to its end and removes it, but not its volume.
func (e *engine) runOnce(ctx context.Context, s spec, u urgency) error {
	if err := e.create(ctx, s); err != nil {
		return err
	}
	if err := e.start(ctx, s.name, u); err != nil {
		return err
	}
	waiting := e.api.ContainerWait(ctx, e.object(s.name), client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case result := <-waiting.Result:
		if result.StatusCode != 0 {
			return fmt.Errorf("container %s exited with code %d", e.object(s.name), result.StatusCode)
		}
	case err := <-waiting.Error:
		return fmt.Errorf("unable to wait for container %s: %w", e.object(s.name), err)
	}
	return e.remove(ctx, s.name)
}

// remove removes a container by force, and volumes that are its own.
func (e *engine) remove(ctx context.Context, name string, volumes ...string) error {
	if err := removeContainer(ctx, e.api, e.object(name)); err != nil {
		return err
	}
	for _, v := range volumes {
		if err := removeVolume(ctx, e.api, e.object(v)); err != nil {
			return err
		}
	}
	return nil
}

// freePorts chooses a free host port for every container port.
func (e *engine) freePorts(ctx context.Context, from int, inside ...int) (map[int]int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ports == nil {
		e.ports = map[int]bool{}
	}
	const span = lastPort - firstPort + 1
	out := map[int]int{}
	var config net.ListenConfig
	for i := 0; i < span && len(inside) > 0; i++ {
		port := firstPort + (from+i)%span
		if e.ports[port] {
			continue
		}
		listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(hostAddress, strconv.Itoa(port)))
		if err != nil {
			continue // taken
		}
		_ = listener.Close() // nobody has connected
		e.ports[port] = true
		out[inside[0]], inside = port, inside[1:]
	}
	if len(inside) > 0 {
		return nil, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
	}
	return out, nil
}

// dialer connects to a published port.
func dialer(port int) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", net.JoinHostPort(hostAddress, strconv.Itoa(port)))
	}
}

// Down takes away everything that an Up of that name made: the same end as destroying the resources
// one after the other, by the shortest way. What is not there is no error.
func Down(ctx context.Context, api *client.Client, name string) (Result, error) {
	clock := newClock()
	ours := client.Filters{}.Add("label", label+"="+name)
	err := clock.phase("containers and volumes", func() error {
		for {
			// Again until there is none: a bring-up that was called off may have asked for some that the
			// engine had not made yet.
			containers, err := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
			if err != nil || len(containers.Items) == 0 {
				return err
			}
			group, gctx := errgroup.WithContext(ctx)
			group.SetLimit(removalsAtOnce)
			for _, c := range containers.Items {
				group.Go(func() error { return removeWhole(gctx, api, c) })
			}
			if err := group.Wait(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return Result{}, fmt.Errorf("unable to remove the containers of %s: %w", name, err)
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return clock.phase("network", func() error { return removeNetwork(gctx, api, name) })
	})
	group.Go(func() error { // those of a bring-up that ended before it had made their containers
		volumes, err := api.VolumeList(gctx, client.VolumeListOptions{Filters: ours})
		if err != nil {
			return fmt.Errorf("unable to list volumes: %w", err)
		}
		for _, v := range volumes.Items {
			if err := removeVolume(gctx, api, v.Name); err != nil {
				return err
			}
		}
		return nil
	})
	err = group.Wait()
	return Result{Took: clock.now(), Phases: clock.phases()}, err
}

// removeWhole removes a container and then its volumes.
func removeWhole(ctx context.Context, api *client.Client, c container.Summary) error {
	if err := removeContainer(ctx, api, c.ID); err != nil {
		return err
	}
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if err := removeVolume(ctx, api, m.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeContainer removes a container by its name or ID.
func removeContainer(ctx context.Context, api *client.Client, ref string) error {
	return insist(ctx, "unable to remove container "+ref, func(ctx context.Context) error {
		_, err := api.ContainerRemove(ctx, ref, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		return err
	})
}

// removeVolume removes a volume with whatever still mounts it: what ran once beside a node, or what
// a bring-up asked for before it was called off.
func removeVolume(ctx context.Context, api *client.Client, name string) error {
	return insist(ctx, "unable to remove volume "+name, func(ctx context.Context) error {
		_, err := api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
		if !errdefs.IsConflict(err) {
			return err
		}
		users, listErr := api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("volume", name)})
		if listErr != nil {
			return listErr
		}
		for _, user := range users.Items {
			_, removeErr := api.ContainerRemove(ctx, user.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			if removeErr != nil && !errdefs.IsNotFound(removeErr) && !errdefs.IsConflict(removeErr) {
				return removeErr
			}
		}
		return err
	})
}

// releaseLimit is how long an engine may need to see that nobody uses a thing any more. Under load it
// answers that a container is gone before it has let go of what the container had.
const releaseLimit = time.Minute

// insist does a removal again while the engine finds the thing in use, or being removed already. What
// is not there is no error.
func insist(ctx context.Context, what string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	var final error
	err := poll(ctx, what, func(context.Context) error { // one removal may take as long as all may
		err := do(ctx)
		if errdefs.IsConflict(err) || errdefs.IsPermissionDenied(err) { // a network in use is forbidden
			return err
		}
		final = nil
		if err != nil && !errdefs.IsNotFound(err) {
			final = fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
	return cmp.Or(err, final)
}

func removeNetwork(ctx context.Context, api *client.Client, name string) error {
	networks, err := api.NetworkList(ctx, client.NetworkListOptions{Filters: client.Filters{}.Add("label", label+"="+name)})
	if err != nil {
		return fmt.Errorf("unable to list networks: %w", err)
	}
	for _, n := range networks.Items {
		err := insist(ctx, "unable to remove network "+name, func(ctx context.Context) error {
			_, err := api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
