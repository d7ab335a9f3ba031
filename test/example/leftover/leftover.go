// Package leftover finds what a run of Terraform left on a Docker engine: it takes a picture of the
// engine before and after, and tells what is new and ours.
//
// It speaks to the engine itself rather than through internal/engine: what checks the provider must
// not share the provider's idea of what exists.
package leftover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// The labels that say whose an object is, as the provider writes them. They are spelled out here,
// so that a change of the provider's labels is noticed.
const (
	labelPrefix  = "io.github.fabricops."
	labelOwner   = labelPrefix + "owner_id"
	labelNetwork = labelPrefix + "network"
)

// Kind is the kind of an engine object.
type Kind string

// The kinds of objects that a picture holds, in the order in which they can be removed.
const (
	Container Kind = "container"
	Volume    Kind = "volume"
	Network   Kind = "network"
)

var removalOrder = map[Kind]int{Container: 0, Volume: 1, Network: 2}

// Object is a container, volume or network of the engine.
type Object struct {
	Kind Kind
	// ID is what the engine calls it; of a volume, its name.
	ID, Name string
	Labels   map[string]string
	// State and Ports are of containers: running, exited, …; 127.0.0.1:7051->7051.
	State string
	Ports []string
	// Volumes are the volumes that a container mounts.
	Volumes []string
	// Used tells of a volume that a container mounts it.
	Used bool
}

// Ours tells whether the provider made the object.
func (o Object) Ours() bool {
	for label := range o.Labels {
		if strings.HasPrefix(label, labelPrefix) {
			return true
		}
	}
	return false
}

// Owner is the owner_id of the network that the object belongs to; empty when it has none.
func (o Object) Owner() string { return o.Labels[labelOwner] }

// NetworkName is the name of the fabric_network that the object belongs to; empty when it has none.
func (o Object) NetworkName() string { return o.Labels[labelNetwork] }

// Label is the value of one of our labels, named without the prefix: kind, name, …
func (o Object) Label(name string) string { return o.Labels[labelPrefix+name] }

// anonymousName is what an engine calls a volume that an image declared and nobody named.
var anonymousName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Anonymous tells whether the object is a volume that nobody named.
func (o Object) Anonymous() bool { return o.Kind == Volume && anonymousName.MatchString(o.Name) }

func (o Object) String() string {
	text := fmt.Sprintf("%s %s", o.Kind, o.Name)
	if owner := o.Owner(); owner != "" {
		text += fmt.Sprintf(" (network %q, owner %s)", o.NetworkName(), owner)
	}
	return text
}

// Engine is the part of the Engine API that pictures are taken with; *client.Client is one.
type Engine interface {
	ContainerList(ctx context.Context, options client.ContainerListOptions) (client.ContainerListResult, error)
	VolumeList(ctx context.Context, options client.VolumeListOptions) (client.VolumeListResult, error)
	NetworkList(ctx context.Context, options client.NetworkListOptions) (client.NetworkListResult, error)
	ContainerRemove(ctx context.Context, container string, options client.ContainerRemoveOptions) (client.ContainerRemoveResult, error)
	VolumeRemove(ctx context.Context, volume string, options client.VolumeRemoveOptions) (client.VolumeRemoveResult, error)
	NetworkRemove(ctx context.Context, network string, options client.NetworkRemoveOptions) (client.NetworkRemoveResult, error)
}

// Picture is what an engine holds at one moment.
type Picture struct {
	objects map[key]Object
}

type key struct {
	kind Kind
	id   string
}

// Take reads every container, volume and network of the engine.
func Take(ctx context.Context, engine Engine) (Picture, error) {
	containers, err := engine.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return Picture{}, fmt.Errorf("unable to list containers: %w", err)
	}
	volumes, err := engine.VolumeList(ctx, client.VolumeListOptions{})
	if err != nil {
		return Picture{}, fmt.Errorf("unable to list volumes: %w", err)
	}
	networks, err := engine.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return Picture{}, fmt.Errorf("unable to list networks: %w", err)
	}
	return picture(containers.Items, volumes.Items, networks.Items), nil
}

func picture(containers []container.Summary, volumes []volume.Volume, networks []network.Summary) Picture {
	p := Picture{objects: map[key]Object{}}
	used := map[string]bool{}
	for _, c := range containers {
		object := Object{Kind: Container, ID: c.ID, Labels: c.Labels, State: string(c.State), Ports: ports(c.Ports)}
		if len(c.Names) > 0 {
			object.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		for _, m := range c.Mounts {
			if m.Type == mount.TypeVolume {
				object.Volumes = append(object.Volumes, m.Name)
				used[m.Name] = true
			}
		}
		p.add(object)
	}
	for _, v := range volumes {
		p.add(Object{Kind: Volume, ID: v.Name, Name: v.Name, Labels: v.Labels, Used: used[v.Name]})
	}
	for _, n := range networks {
		p.add(Object{Kind: Network, ID: n.ID, Name: n.Name, Labels: n.Labels})
	}
	return p
}

func (p Picture) add(object Object) { p.objects[key{object.Kind, object.ID}] = object }

// ports words the published ports of a container, without those that are not published.
func ports(published []container.PortSummary) []string {
	var words []string
	for _, port := range published {
		if port.PublicPort != 0 {
			words = append(words, fmt.Sprintf("%s->%d", netip.AddrPortFrom(port.IP, port.PublicPort), port.PrivatePort))
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// Objects are all objects for which keep is true, in a fixed order: containers, volumes, networks, by name.
func (p Picture) Objects(keep func(Object) bool) []Object {
	var objects []Object
	for object := range maps.Values(p.objects) {
		if keep(object) {
			objects = append(objects, object)
		}
	}
	slices.SortFunc(objects, func(a, b Object) int {
		return cmp.Or(cmp.Compare(removalOrder[a.Kind], removalOrder[b.Kind]), cmp.Compare(a.Name, b.Name))
	})
	return objects
}

// Since is what is new: the objects of this picture that were not in the earlier one.
func (p Picture) Since(earlier Picture) Picture {
	fresh := Picture{objects: map[key]Object{}}
	for k, object := range p.objects {
		if _, existed := earlier.objects[k]; !existed {
			fresh.objects[k] = object
		}
	}
	return fresh
}

// Remove takes objects away by force: containers first, then volumes, then networks. What is already gone
// is success. It goes on after an error and gives all errors.
func Remove(ctx context.Context, engine Engine, objects []Object) error {
	inOrder := slices.SortedStableFunc(slices.Values(objects), func(a, b Object) int {
		return cmp.Compare(removalOrder[a.Kind], removalOrder[b.Kind])
	})
	var failures []error
	for _, object := range inOrder {
		var err error
		switch object.Kind {
		case Container:
			_, err = engine.ContainerRemove(ctx, object.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		case Volume:
			_, err = engine.VolumeRemove(ctx, object.ID, client.VolumeRemoveOptions{Force: true})
		case Network:
			_, err = engine.NetworkRemove(ctx, object.ID, client.NetworkRemoveOptions{})
		}
		if err != nil && !errdefs.IsNotFound(err) {
			failures = append(failures, fmt.Errorf("unable to remove %s: %w", object, err))
		}
	}
	return errors.Join(failures...)
}
