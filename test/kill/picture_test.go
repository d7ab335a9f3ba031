//go:build unix

package kill

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// Where nodes and keepers have their keys on their volumes. They are spelled out here, so that a move
// of them is noticed.
var keyFolders = []string{"node/keys", "store"}

// probeImage is the image of the container through which the tests look into volumes; it never runs.
const probeImage = "fabricops/kv-chaincode:1.0"

// looksAtOnce are the volumes that are looked into at a time.
const looksAtOnce = 6

// host is the engine of the tests, spoken to directly where what checks the provider must not share
// the provider's idea of what exists.
type host struct {
	api   *client.Client
	files engine.Engine
}

func openHost(t *testing.T) *host {
	t.Helper()
	api, err := client.New(client.FromEnv)
	must(t, err)
	t.Cleanup(func() { _ = api.Close() })
	return &host{api: api, files: openEngine(t)}
}

// engineAddress is where the tests find the engine, as the provider does.
func engineAddress() string {
	if address := os.Getenv("DOCKER_HOST"); address != "" {
		return address
	}
	return "unix:///var/run/docker.sock"
}

func openEngine(t *testing.T) engine.Engine {
	t.Helper()
	e, err := docker.New(docker.Options{Host: engineAddress()})
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// picture is what the engine holds of a network at one moment.
type picture struct {
	// objects are the containers, volumes and networks, as KIND NAME, with the name of what they
	// carry.
	objects map[string]string
	// volumes are the marks on the volumes. When a volume was made cannot be asked: an engine may
	// give the time of its last change.
	volumes map[string]string
	// keys are fingerprints of the public keys of all private keys, and of CA certificates, by
	// VOLUME/FILE. A key that is cut short is not there.
	keys map[string]string
	// started are the volumes whose container has run.
	started map[string]bool
	// through are the containers, with their mount points, by which the volumes can be looked into.
	through map[string]mountPoint
}

type mountPoint struct{ container, target string }

func (h *host) take(t *testing.T, network string) picture {
	t.Helper()
	return h.takeNew(t, network, picture{})
}

// takeNew is take for who will take another one: volumes of an earlier picture are not looked into, and keep what
// they had in it. What they lose until the next one is lost all the same.
func (h *host) takeNew(t *testing.T, network string, earlier picture) picture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for {
		p, err := h.picture(ctx, network)
		must(t, err)
		err = h.look(ctx, network, p, earlier)
		if (errors.Is(err, engine.ErrNotFound) || cerrdefs.IsNotFound(err)) && ctx.Err() == nil {
			continue // the engine was still removing what a process asked for that is dead by now
		}
		must(t, err)
		return p
	}
}

// picture lists the objects.
func (h *host) picture(ctx context.Context, network string) (picture, error) {
	p := picture{
		objects: map[string]string{}, volumes: map[string]string{}, keys: map[string]string{},
		started: map[string]bool{}, through: map[string]mountPoint{},
	}
	ours := make(client.Filters).Add("label", engine.LabelNetwork+"="+network)
	networks, err := h.api.NetworkList(ctx, client.NetworkListOptions{Filters: ours})
	if err != nil {
		return p, err
	}
	for _, n := range networks.Items {
		p.objects["network "+n.Name] = n.Labels[engine.LabelName]
	}
	volumes, err := h.api.VolumeList(ctx, client.VolumeListOptions{Filters: ours})
	if err != nil {
		return p, err
	}
	for _, v := range volumes.Items {
		p.objects["volume "+v.Name], p.volumes[v.Name] = v.Labels[engine.LabelName], ""
	}
	containers, err := h.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return p, err
	}
	for _, c := range containers.Items {
		name := strings.TrimPrefix(c.Names[0], "/")
		p.objects["container "+name] = c.Labels[engine.LabelName]
		for _, m := range c.Mounts {
			if m.Type == mount.TypeVolume {
				p.through[m.Name] = mountPoint{name, m.Destination}
				p.started[m.Name] = p.started[m.Name] || c.State != container.StateCreated
			}
		}
	}
	return p, nil
}

// look looks into every volume: it reads the keys, and reads or sets the mark by which a volume is
// known again. Volumes that no container mounts get one for that time only: it would keep them from
// being removed.
func (h *host) look(ctx context.Context, network string, p, earlier picture) (err error) {
	var unknown []string
	for name := range p.volumes {
		if mark, known := earlier.volumes[name]; known {
			p.volumes[name] = mark
		} else {
			unknown = append(unknown, name)
		}
	}
	for file, seen := range earlier.keys {
		if volume, _, _ := strings.Cut(file, "/"); p.has(volume) {
			p.keys[file] = seen
		}
	}
	probe := engine.NodeSpec{Name: network + "-probe", Image: probeImage, User: "1000:1000", Labels: map[string]string{engine.LabelOwner: network + "-probe"}}
	for _, name := range unknown {
		if _, mounted := p.through[name]; !mounted {
			p.through[name] = mountPoint{probe.Name, "/probe/" + name}
			probe.Mounts = append(probe.Mounts, engine.Mount{Volume: name, Target: "/probe/" + name})
		}
	}
	if len(probe.Mounts) > 0 {
		if err := h.files.CreateNode(ctx, probe); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, h.files.RemoveNode(ctx, probe.Name, network+"-probe")) }()
	}
	var found sync.Mutex // for p
	var volumes errgroup.Group
	volumes.SetLimit(looksAtOnce)
	for _, name := range unknown {
		at := p.through[name]
		volumes.Go(func() error {
			mark, keys, err := h.lookInto(ctx, at)
			found.Lock()
			defer found.Unlock()
			p.volumes[name] = mark
			for file, seen := range keys {
				p.keys[name+"/"+file] = seen
			}
			return err
		})
	}
	return volumes.Wait()
}

// lookInto gives a volume's mark, and the fingerprints of its keys by file.
func (h *host) lookInto(ctx context.Context, at mountPoint) (mark string, keys map[string]string, err error) {
	if mark, err = h.mark(ctx, at.container, at.target); err != nil {
		return "", nil, err
	}
	keys = map[string]string{}
	for _, folder := range keyFolders {
		files, err := h.files.GetFiles(ctx, at.container, at.target+"/"+folder)
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return "", nil, err
		}
		for _, f := range files {
			if seen := fingerprint(f); seen != "" {
				keys[f.Name] = seen
			}
		}
	}
	return mark, keys, nil
}

// mark gives the mark of a volume, which is a new one when it has none: the time of a file with random
// content, since our engine makes the time of a file from what is in it. To look at it costs a tenth of
// reading the file.
func (h *host) mark(ctx context.Context, container, root string) (string, error) {
	const name = ".test-mark"
	look := func() (string, error) {
		found, err := h.api.ContainerStatPath(ctx, container, client.ContainerStatPathOptions{Path: root + "/" + name})
		return found.Stat.Mtime.String(), err
	}
	mark, err := look()
	if !cerrdefs.IsNotFound(err) {
		return mark, err
	}
	if err := h.files.PutFiles(ctx, container, root, []engine.File{{Name: name, Content: []byte(rand.Text())}}); err != nil {
		return "", err
	}
	return look()
}

// fingerprint is the SHA-256 of the public key of a private key, or of a CA's certificate; empty for
// everything else, and for what is cut short.
func fingerprint(f engine.File) string {
	var content []byte
	if strings.HasSuffix(f.Name, "/ca.pem") {
		block, _ := pem.Decode(f.Content)
		if block == nil {
			return ""
		}
		content = block.Bytes
	} else {
		key, err := certificate.ParseKey(f.Content)
		if err != nil {
			return ""
		}
		if content, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
			return ""
		}
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// has tells whether a volume is there.
func (p picture) has(volume string) bool {
	_, there := p.volumes[volume]
	return there
}

// givenAway are keys that leave a key volume on purpose: a CA's own key is in it only until the
// server has started with it.
var givenAway = map[string]string{"store/ca/ca.key": "keys/ca/ca-key.pem", "store/tls/ca.key": "keys/ca/tls/ca-key.pem"}

// lost compares with a later picture, and says what was lost or replaced meanwhile. Things whose
// names are in except may have been.
func (p picture) lost(later picture, except map[string]bool) []string {
	var lost []string
	for _, name := range slices.Sorted(maps.Keys(p.volumes)) {
		if except[p.objects["volume "+name]] {
			continue
		}
		switch mark, there := later.volumes[name]; {
		case !there:
			lost = append(lost, fmt.Sprintf("volume %s is gone", name))
		case mark != p.volumes[name]:
			lost = append(lost, fmt.Sprintf("volume %s was replaced", name))
		}
	}
	for _, file := range slices.Sorted(maps.Keys(p.keys)) {
		volume, name, _ := strings.Cut(file, "/")
		if except[p.objects["volume "+volume]] || later.keys[file] == p.keys[file] {
			continue
		}
		if except[path.Base(path.Dir(name))] { // of an identity, on the volume of its organization
			continue
		}
		if moved, ok := givenAway[name]; ok && later.keys[strings.TrimSuffix(volume, "-keys")+"/"+moved] == p.keys[file] {
			continue
		}
		if later.keys[file] == "" {
			lost = append(lost, fmt.Sprintf("the key %s is gone", file))
		} else {
			lost = append(lost, fmt.Sprintf("the key %s was replaced (its node had been started: %t)", file, p.started[volume]))
		}
	}
	return lost
}

// differences says which objects are in one picture only.
func (p picture) differences(other picture) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.objects)) {
		if _, there := other.objects[name]; !there {
			out = append(out, name+" is missing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other.objects)) {
		if _, there := p.objects[name]; !there {
			out = append(out, name+" should not be there")
		}
	}
	return out
}

// clean removes what is left of a network: containers first.
func (h *host) clean(t *testing.T, network string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := h.files.RemoveNode(ctx, network+"-probe", network+"-probe"); err != nil {
		t.Error(err)
	}
	p, err := h.picture(ctx, network)
	if err != nil {
		t.Error(err)
		return
	}
	for _, kind := range []string{"container", "volume", "network"} {
		for _, object := range slices.Sorted(maps.Keys(p.objects)) {
			name, ok := strings.CutPrefix(object, kind+" ")
			if !ok {
				continue
			}
			switch kind {
			case "container":
				_, err = h.api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			case "volume":
				_, err = h.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
			default:
				_, err = h.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
			}
			if err != nil {
				t.Errorf("unable to remove %s: %v", object, err)
			}
		}
	}
}
