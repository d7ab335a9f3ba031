package docker

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const (
	// tmpfsSize bounds each folder in memory that a node asks for, coverSize each one that only
	// keeps an image's VOLUME from becoming an anonymous volume.
	tmpfsSize = "256m"
	coverSize = "16m"
	// maxHostname is what Linux takes for a host name.
	maxHostname = 63
)

// render gives the container of a node. Declared are the VOLUMEs of its image.
//
// No init process is put before the node's own: Fabric's programs handle signals and reap what they
// start, and an engine may lack the program.
func render(spec engine.NodeSpec, declared []string) (client.ContainerCreateOptions, error) {
	uid, gid, err := parseUser(spec.User)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	env, err := renderEnv(spec.Env)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	mounts, tmpfs, err := renderMounts(spec, declared, uid, gid)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	exposed, published, err := renderPorts(spec.Ports)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	labels := spec.Labels
	if spec.Adopts != nil {
		adoption, err := adoptionLabels(spec.Adopts)
		if err != nil {
			return client.ContainerCreateOptions{}, err
		}
		labels = maps.Clone(labels)
		maps.Copy(labels, adoption)
	}
	hostname, domain := spec.Hostname, ""
	if len(hostname) > maxHostname { // the whole name stays an alias on the network
		hostname, domain, _ = strings.Cut(hostname, ".")
	}
	if len(domain) > maxHostname {
		domain = ""
	}
	host := &container.HostConfig{
		NetworkMode:    network.NetworkNone,
		Mounts:         mounts,
		Tmpfs:          tmpfs,
		PortBindings:   published,
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges:true"},
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      container.LogConfig{Type: spec.Log.Driver, Config: spec.Log.Options},
	}
	if spec.Restart {
		host.RestartPolicy.Name = container.RestartPolicyUnlessStopped
	}
	if spec.Limits.MemoryBytes > 0 {
		host.Memory = spec.Limits.MemoryBytes
		host.MemorySwap = spec.Limits.MemoryBytes // equal: no swap beside it
	}
	if spec.Limits.PIDs > 0 {
		host.PidsLimit = &spec.Limits.PIDs
	}
	if spec.Limits.CPUs > 0 {
		host.NanoCPUs = int64(math.Round(spec.Limits.CPUs * 1e9))
	}
	out := client.ContainerCreateOptions{
		Name: spec.Name,
		Config: &container.Config{
			Image:        spec.Image,
			Hostname:     hostname,
			Domainname:   domain,
			User:         spec.User,
			Env:          env,
			Entrypoint:   spec.Entrypoint,
			Cmd:          spec.Command,
			ExposedPorts: exposed,
		},
		HostConfig: host,
	}
	if spec.Network != "" {
		host.NetworkMode = container.NetworkMode(spec.Network)
		out.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			spec.Network: {Aliases: aliases(spec)},
		}}
	}
	out.Config.Labels = map[string]string{labelMade: madeOf(out).label()}
	maps.Copy(out.Config.Labels, labels)
	return out, nil
}

// aliases gives the names on the network, the host name first.
func aliases(spec engine.NodeSpec) []string {
	var out []string
	for _, name := range append([]string{spec.Hostname}, spec.Aliases...) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func parseUser(user string) (uid, gid int, err error) {
	u, g, ok := strings.Cut(user, ":")
	if ok {
		var uidErr, gidErr error
		uid, uidErr = strconv.Atoi(u)
		gid, gidErr = strconv.Atoi(g)
		ok = uidErr == nil && gidErr == nil && uid >= 0 && gid >= 0
	}
	if !ok {
		return 0, 0, fmt.Errorf("user %q is not of the form uid:gid in numbers", user)
	}
	return uid, gid, nil
}

// renderEnv sorts the variables. Its errors name variables, never their values.
func renderEnv(env map[string]string) ([]string, error) {
	out := make([]string, 0, len(env))
	for key, value := range env {
		if key == "" || strings.ContainsAny(key, "=\x00") {
			return nil, fmt.Errorf("environment variable %q has no name that a process could see", key)
		}
		if strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("the value of environment variable %s holds a NUL", key)
		}
		out = append(out, key+"="+value)
	}
	slices.Sort(out)
	return out, nil
}

func renderMounts(spec engine.NodeSpec, declared []string, uid, gid int) ([]mount.Mount, map[string]string, error) {
	options := func(size string) string {
		return fmt.Sprintf("rw,noexec,nosuid,nodev,size=%s,uid=%d,gid=%d,mode=0700", size, uid, gid)
	}
	taken := map[string]bool{}
	claim := func(target string) (string, error) {
		clean := path.Clean(target)
		if !path.IsAbs(target) || clean == "/" {
			return "", fmt.Errorf("%q is no folder that can be mounted on", target)
		}
		if taken[clean] {
			return "", fmt.Errorf("%s is mounted on twice", clean)
		}
		taken[clean] = true
		return clean, nil
	}
	var mounts []mount.Mount
	for _, m := range spec.Mounts {
		target, err := claim(m.Target)
		if err != nil {
			return nil, nil, err
		}
		if m.Volume == "" {
			return nil, nil, fmt.Errorf("the mount on %s names no volume", target)
		}
		mounts = append(mounts, mount.Mount{
			Type: mount.TypeVolume, Source: m.Volume, Target: target, ReadOnly: m.ReadOnly,
			// What the image has at that place must not leak into a ledger or a key volume.
			VolumeOptions: &mount.VolumeOptions{NoCopy: true},
		})
	}
	tmpfs := map[string]string{}
	for _, folder := range spec.Tmpfs {
		target, err := claim(folder)
		if err != nil {
			return nil, nil, err
		}
		tmpfs[target] = options(tmpfsSize)
	}
	for _, volume := range declared {
		target := path.Clean("/" + volume)
		if taken[target] || target == "/" {
			continue
		}
		for _, m := range mounts {
			if below(target, m.Target) {
				return nil, nil, fmt.Errorf("the image declares %s as a volume of its own, which would hide that part of the volume mounted on %s: mount a volume on %s", target, m.Target, target)
			}
		}
		taken[target] = true
		tmpfs[target] = options(coverSize)
	}
	return mounts, tmpfs, nil
}

// below tells whether a clean path lies below a clean folder.
func below(name, folder string) bool {
	return strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
}

func renderPorts(ports []engine.Port) (network.PortSet, network.PortMap, error) {
	exposed, published := network.PortSet{}, network.PortMap{}
	for _, p := range ports {
		if p.Container < 1 || p.Container > math.MaxUint16 || p.Host < 1 || p.Host > math.MaxUint16 {
			return nil, nil, fmt.Errorf("port %d published on host port %d: both must be between 1 and 65535", p.Container, p.Host)
		}
		address, err := netip.ParseAddr(p.Address)
		if err != nil {
			// An empty address would be every address of the host.
			return nil, nil, fmt.Errorf("port %d is published on %q, which is no IP address", p.Container, p.Address)
		}
		port, _ := network.PortFrom(uint16(p.Container), network.TCP) // it fails without a protocol only
		exposed[port] = struct{}{}
		published[port] = append(published[port], network.PortBinding{HostIP: address, HostPort: strconv.Itoa(p.Host)})
	}
	return exposed, published, nil
}
