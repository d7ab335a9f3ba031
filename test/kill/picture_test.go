package kill

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// Where nodes and keepers have their keys. They are spelled out here, so that a move of them is
// noticed.
const (
	nodeKeys  = "/var/hyperledger/node/keys"
	storeKeys = "/keys/store"
)

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
	// volumes tell when each volume was made.
	volumes map[string]string
	// keys are fingerprints of the public keys of all private keys, and of CA certificates, by
	// VOLUME/FILE. A key that is cut short is not there.
	keys map[string]string
	// started are the volumes whose container has run.
	started map[string]bool
}

func (h *host) take(t *testing.T, network string) picture {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	p, err := h.picture(ctx, network)
	must(t, err)
	return p
}

func (h *host) picture(ctx context.Context, network string) (picture, error) {
	p := picture{objects: map[string]string{}, volumes: map[string]string{}, keys: map[string]string{}, started: map[string]bool{}}
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
		p.objects["volume "+v.Name] = v.Labels[engine.LabelName]
		p.volumes[v.Name] = v.CreatedAt
	}
	containers, err := h.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return p, err
	}
	for _, c := range containers.Items {
		name := strings.TrimPrefix(c.Names[0], "/")
		p.objects["container "+name] = c.Labels[engine.LabelName]
		inspected, err := h.api.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if err != nil {
			return p, err
		}
		ran := !strings.HasPrefix(inspected.Container.State.StartedAt, "0001-")
		for _, m := range c.Mounts {
			if m.Type != mount.TypeVolume {
				continue
			}
			p.started[m.Name] = p.started[m.Name] || ran
			if err := h.fingerprints(ctx, name, m.Name, p.keys); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

// fingerprints reads the keys on a volume through a container that mounts it.
func (h *host) fingerprints(ctx context.Context, container, volume string, into map[string]string) error {
	for _, folder := range []string{nodeKeys, storeKeys} {
		files, err := h.files.GetFiles(ctx, container, folder)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			if print := fingerprint(f); print != "" {
				into[volume+"/"+f.Name] = print
			}
		}
	}
	return nil
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
		switch made, there := later.volumes[name]; {
		case !there:
			lost = append(lost, fmt.Sprintf("volume %s is gone", name))
		case made != p.volumes[name]:
			lost = append(lost, fmt.Sprintf("volume %s was replaced: made %s, later %s", name, p.volumes[name], made))
		}
	}
	for _, file := range slices.Sorted(maps.Keys(p.keys)) {
		volume, name, _ := strings.Cut(file, "/")
		if except[p.objects["volume "+volume]] || later.keys[file] == p.keys[file] {
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
