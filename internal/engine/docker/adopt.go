package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// adoptionLabels are the labels of a container that is the record of another one.
func adoptionLabels(a *engine.Adoption) (map[string]string, error) {
	ports, err := json.Marshal(a.Ports)
	if err != nil {
		return nil, err
	}
	return map[string]string{engine.LabelAdopts: a.Node, engine.LabelAdoptedPorts: string(ports)}, nil
}

// adoptionOf reads what a container is the record of; nil when it is none.
func adoptionOf(labels map[string]string) (*engine.Adoption, error) {
	name := labels[engine.LabelAdopts]
	if name == "" {
		return nil, nil
	}
	a := &engine.Adoption{Node: name}
	if err := json.Unmarshal([]byte(labels[engine.LabelAdoptedPorts]), &a.Ports); err != nil {
		return nil, fmt.Errorf("unable to read where container %s listens: %w", name, err)
	}
	return a, nil
}

// standsFor gives the container that a name means: the one of that name or, where that is a record,
// the one that it stands for.
func (e *Engine) standsFor(ctx context.Context, name string) (string, error) {
	have, err := e.inspect(ctx, name)
	if err != nil {
		return name, err
	}
	if adopted := have.Config.Labels[engine.LabelAdopts]; adopted != "" {
		return adopted, nil
	}
	return name, nil
}

// asAdopted describes a record: what it is by its labels, what it does by the container that it stands
// for. Not found when that is gone.
func (e *Engine) asAdopted(ctx context.Context, record engine.Node, networks func(context.Context) (map[string]string, error)) (engine.Node, error) {
	adoption, err := adoptionOf(record.Labels)
	if err != nil || adoption == nil {
		return record, err
	}
	have, err := e.inspect(ctx, adoption.Node)
	if err != nil {
		return record, err
	}
	node, err := e.asNode(ctx, have, networks)
	if err != nil {
		return record, err
	}
	node.Name, node.Labels, node.Adopted = record.Name, record.Labels, adoption.Node
	var known []engine.Port
	for port, listens := range adoption.Ports {
		for _, p := range node.Ports {
			if p.Container == listens {
				known = append(known, engine.Port{Container: port, Host: p.Host, Address: p.Address})
			}
		}
	}
	slices.SortStableFunc(known, comparePorts)
	node.Ports = known
	return node, nil
}

// Settings implements engine.Engine with GET /containers/{name}/json.
func (e *Engine) Settings(ctx context.Context, name string) (engine.Settings, error) {
	have, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return engine.Settings{}, &engine.NotFoundError{Kind: "container", Name: name}
	}
	if err != nil {
		return engine.Settings{}, fmt.Errorf("unable to read container %s: %w", name, err)
	}
	out := engine.Settings{Image: have.Config.Image, ImageID: have.Image, Env: map[string]string{}, Limits: limitsOf(have.HostConfig)}
	for _, entry := range have.Config.Env {
		key, value, _ := strings.Cut(entry, "=")
		out.Env[key] = value
	}
	return out, nil
}

func limitsOf(host *container.HostConfig) engine.Limits {
	limits := engine.Limits{MemoryBytes: host.Memory, CPUs: float64(host.NanoCPUs) / 1e9}
	if host.PidsLimit != nil && *host.PidsLimit > 0 {
		limits.PIDs = *host.PidsLimit
	}
	return limits
}

// nextSuffix ends the name of the container that is about to take another one's place.
const nextSuffix = ".next"

// Remake implements engine.Engine: the new container is made under another name, the old one is stopped
// and removed, and the new one takes its name. At every moment one of the two is there.
func (e *Engine) Remake(ctx context.Context, name string, change engine.Change, grace time.Duration) error {
	defer e.reached.forget(name)
	err := e.remake(ctx, name, change, grace)
	if cerrdefs.IsNotFound(err) {
		return &engine.NotFoundError{Kind: "container", Name: name}
	}
	if err != nil {
		return fmt.Errorf("unable to remake container %s: %w", name, err)
	}
	return nil
}

func (e *Engine) remake(ctx context.Context, name string, change engine.Change, grace time.Duration) error {
	old, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) { // an attempt was cut short before its last step
		return e.rename(ctx, name+nextSuffix, name)
	}
	if err != nil {
		return err
	}
	if old.HostConfig.AutoRemove {
		return errors.New("it was run with --rm, so that stopping it removes it with its anonymous volumes: run it without")
	}
	if err := e.removeNext(ctx, name+nextSuffix); err != nil {
		return err
	}
	options, others, err := e.remade(ctx, old, change)
	if err != nil {
		return err
	}
	options.Name = name + nextSuffix
	if err := e.createAttached(ctx, options, others); err != nil {
		return errors.Join(err, e.removeNext(context.WithoutCancel(ctx), options.Name))
	}
	if err := e.StopNode(ctx, old.ID, grace); err != nil {
		return err
	}
	if err := e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerRemove(ctx, old.ID, client.ContainerRemoveOptions{}) // its volumes are the new one's
		return err
	}); err != nil {
		return fmt.Errorf("unable to remove the old one: %w", hideClass(err))
	}
	return e.rename(ctx, options.Name, name)
}

func (e *Engine) rename(ctx context.Context, from, to string) error {
	return e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerRename(ctx, from, client.ContainerRenameOptions{NewName: to})
		return err
	})
}

// removeNext removes what an attempt that was cut short left, which was never started.
func (e *Engine) removeNext(ctx context.Context, name string) error {
	have, err := e.inspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if have.State.Status != container.StateCreated {
		return fmt.Errorf("container %s is in the way: %w", name, engine.ErrForeign)
	}
	return e.call(ctx, func(ctx context.Context) error {
		_, err := e.api.ContainerRemove(ctx, have.ID, client.ContainerRemoveOptions{})
		return err
	})
}

// createAttached makes a container and attaches it to further networks: engines before 25 take one
// network when they make it.
func (e *Engine) createAttached(ctx context.Context, options client.ContainerCreateOptions, others map[string]*network.EndpointSettings) error {
	return e.call(ctx, func(ctx context.Context) error {
		made, err := e.api.ContainerCreate(ctx, options)
		if err != nil {
			return hideClass(err)
		}
		for _, name := range slices.Sorted(maps.Keys(others)) {
			_, err := e.api.NetworkConnect(ctx, name, client.NetworkConnectOptions{Container: made.ID, EndpointConfig: others[name]})
			if err != nil {
				return hideClass(err)
			}
		}
		return nil
	})
}

// remade gives the container that takes the place of another one, and the networks beyond its first.
func (e *Engine) remade(ctx context.Context, old container.InspectResponse, change engine.Change) (client.ContainerCreateOptions, map[string]*network.EndpointSettings, error) {
	config, host := *old.Config, *old.HostConfig
	if err := e.takeInherited(ctx, &config, old.Image); err != nil {
		return client.ContainerCreateOptions{}, nil, err
	}
	config.Image = change.Image
	if strings.HasPrefix(old.ID, config.Hostname) { // nobody chose it
		config.Hostname = ""
	}
	if limitsOf(&host) != change.Limits {
		host.Memory, host.MemorySwap, host.MemoryReservation = change.Limits.MemoryBytes, change.Limits.MemoryBytes, 0
		host.NanoCPUs, host.CPUQuota, host.CPUPeriod = int64(math.Round(change.Limits.CPUs*1e9)), 0, 0
		host.PidsLimit = nil
		if change.Limits.PIDs > 0 {
			host.PidsLimit = &change.Limits.PIDs
		}
	}
	// Volumes that nobody named are known by where they are mounted only, or by an earlier change.
	host.Binds = slices.DeleteFunc(slices.Clone(host.Binds), func(bind string) bool {
		name, _, _ := strings.Cut(bind, ":")
		return anonymous(name)
	})
	for _, m := range old.Mounts {
		if m.Type == mount.TypeVolume && anonymous(m.Name) && !mounted(host, m.Destination) && m.Destination != change.Renew {
			host.Binds = append(host.Binds, m.Name+":"+m.Destination)
		}
	}
	options := client.ContainerCreateOptions{Config: &config, HostConfig: &host}
	others := map[string]*network.EndpointSettings{}
	first := string(host.NetworkMode)
	for name, endpoint := range old.NetworkSettings.Networks {
		if endpoint == nil {
			continue
		}
		kept := &network.EndpointSettings{IPAMConfig: endpoint.IPAMConfig, Links: endpoint.Links, DriverOpts: endpoint.DriverOpts, GwPriority: endpoint.GwPriority}
		for _, alias := range endpoint.Aliases {
			if !strings.HasPrefix(old.ID, alias) { // the engine adds the ID of the container
				kept.Aliases = append(kept.Aliases, alias)
			}
		}
		if name == first || endpoint.NetworkID == first {
			options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{first: kept}}
		} else {
			others[name] = kept
		}
	}
	return options, others, nil
}

// mounted tells whether a folder has a mount that the container was asked for.
func mounted(host container.HostConfig, folder string) bool {
	return slices.ContainsFunc(host.Binds, func(bind string) bool {
		parts := strings.Split(bind, ":")
		return len(parts) > 1 && parts[1] == folder
	}) || slices.ContainsFunc(host.Mounts, func(m mount.Mount) bool { return m.Target == folder })
}

// takeInherited takes from a container's configuration what comes from its image, so that the next one
// has that of its own. An image that is gone leaves all of it.
func (e *Engine) takeInherited(ctx context.Context, config *container.Config, imageID string) error {
	image, err := e.inspectImage(ctx, imageID)
	if cerrdefs.IsNotFound(err) || err == nil && image.Config == nil {
		return nil
	}
	if err != nil {
		return err
	}
	from := image.Config
	config.Env = slices.DeleteFunc(slices.Clone(config.Env), func(entry string) bool { return slices.Contains(from.Env, entry) })
	if slices.Equal(config.Entrypoint, from.Entrypoint) {
		config.Entrypoint = nil
		if slices.Equal(config.Cmd, from.Cmd) {
			config.Cmd = nil
		}
	}
	if config.WorkingDir == from.WorkingDir {
		config.WorkingDir = ""
	}
	if config.User == from.User {
		config.User = ""
	}
	if config.StopSignal == from.StopSignal {
		config.StopSignal = ""
	}
	config.Labels, config.Volumes = maps.Clone(config.Labels), maps.Clone(config.Volumes)
	maps.DeleteFunc(config.Labels, func(key, value string) bool { had, ok := from.Labels[key]; return ok && had == value })
	maps.DeleteFunc(config.Volumes, func(folder string, _ struct{}) bool { _, ok := from.Volumes[folder]; return ok })
	return nil
}
