package leftover

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// recorder is an engine with a fixed content that writes down what is removed from it.
type recorder struct {
	containers []container.Summary
	volumes    []volume.Volume
	networks   []network.Summary
	listErr    error
	removeErr  map[string]error
	removed    []string
}

func (r *recorder) ContainerList(_ context.Context, options client.ContainerListOptions) (client.ContainerListResult, error) {
	if !options.All {
		return client.ContainerListResult{}, errors.New("stopped containers were not asked for")
	}
	return client.ContainerListResult{Items: r.containers}, r.listErr
}

func (r *recorder) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{Items: r.volumes}, nil
}

func (r *recorder) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{Items: r.networks}, nil
}

func (r *recorder) remove(id string) error {
	if err := r.removeErr[id]; err != nil {
		return err
	}
	r.removed = append(r.removed, id)
	return nil
}

func (r *recorder) ContainerRemove(_ context.Context, id string, options client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	if !options.RemoveVolumes {
		return client.ContainerRemoveResult{}, errors.New("anonymous volumes would stay")
	}
	return client.ContainerRemoveResult{}, r.remove(id)
}

func (r *recorder) VolumeRemove(_ context.Context, id string, _ client.VolumeRemoveOptions) (client.VolumeRemoveResult, error) {
	return client.VolumeRemoveResult{}, r.remove(id)
}

func (r *recorder) NetworkRemove(_ context.Context, id string, _ client.NetworkRemoveOptions) (client.NetworkRemoveResult, error) {
	return client.NetworkRemoveResult{}, r.remove(id)
}

func ours(owner string) map[string]string {
	return map[string]string{labelOwner: owner, labelNetwork: "dev"}
}

var anonymous = strings.Repeat("0a", 32)

func engineContent() *recorder {
	return &recorder{
		containers: []container.Summary{
			{
				ID: "c1", Names: []string{"/dev-peer0"}, Labels: ours("o1"), State: "running",
				Ports: []container.PortSummary{
					{IP: netip.MustParseAddr("127.0.0.1"), PrivatePort: 7051, PublicPort: 17051, Type: "tcp"},
					{PrivatePort: 7052, Type: "tcp"},
				},
				Mounts: []container.MountPoint{{Type: mount.TypeVolume, Name: "dev-ledger"}, {Type: mount.TypeBind, Name: "x"}},
			},
			{ID: "c2", Names: []string{"/database"}},
		},
		volumes: []volume.Volume{
			{Name: "dev-ledger", Labels: ours("o1")},
			{Name: anonymous},
		},
		networks: []network.Summary{
			{Network: network.Network{ID: "n1", Name: "dev", Labels: ours("o1")}},
			{Network: network.Network{ID: "n2", Name: "bridge"}},
		},
	}
}

func all(Object) bool { return true }

func names(objects []Object) []string {
	var list []string
	for _, object := range objects {
		list = append(list, string(object.Kind)+" "+object.Name)
	}
	return list
}

func TestTake(t *testing.T) {
	p, err := Take(t.Context(), engineContent())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"container database", "container dev-peer0", "volume " + anonymous, "volume dev-ledger", "network bridge", "network dev"}
	if got := names(p.Objects(all)); !slices.Equal(got, want) {
		t.Errorf("objects: got %q, want %q", got, want)
	}
	if got, want := names(p.Objects(Object.Ours)), []string{"container dev-peer0", "volume dev-ledger", "network dev"}; !slices.Equal(got, want) {
		t.Errorf("ours: got %q, want %q", got, want)
	}
	if got, want := names(p.Objects(Object.Anonymous)), []string{"volume " + anonymous}; !slices.Equal(got, want) {
		t.Errorf("anonymous: got %q, want %q", got, want)
	}
	peer := p.objects[key{Container, "c1"}]
	if want := []string{"127.0.0.1:17051->7051"}; !slices.Equal(peer.Ports, want) {
		t.Errorf("ports: got %q, want %q", peer.Ports, want)
	}
	if want := []string{"dev-ledger"}; !slices.Equal(peer.Volumes, want) {
		t.Errorf("volumes: got %q, want %q", peer.Volumes, want)
	}
	if peer.Owner() != "o1" || peer.NetworkName() != "dev" || peer.State != "running" {
		t.Errorf("peer: %+v", peer)
	}
	if !p.objects[key{Volume, "dev-ledger"}].Used || p.objects[key{Volume, anonymous}].Used {
		t.Error("which volumes are used is wrong")
	}
}

func TestTakeSaysWhatFailed(t *testing.T) {
	cause := errors.New("connection refused")
	if _, err := Take(t.Context(), &recorder{listErr: cause}); !errors.Is(err, cause) || !strings.Contains(err.Error(), "list containers") {
		t.Errorf("got %v", err)
	}
}

func TestSinceComparesByIdentity(t *testing.T) {
	engine := engineContent()
	before, err := Take(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	// The same name with another ID is a new container: an old one was replaced.
	engine.containers[0].ID = "c3"
	engine.volumes = append(engine.volumes, volume.Volume{Name: "new"})
	after, err := Take(t.Context(), engine)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(after.Since(before).Objects(all)), []string{"container dev-peer0", "volume new"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := after.Since(after).Objects(all); len(got) != 0 {
		t.Errorf("nothing happened, yet %q is new", got)
	}
}

func TestRemove(t *testing.T) {
	engine := engineContent()
	busy := errors.New("volume is in use")
	engine.removeErr = map[string]error{"gone": errdefs.ErrNotFound, "busy": busy}
	err := Remove(t.Context(), engine, []Object{
		{Kind: Network, ID: "n1", Name: "dev"},
		{Kind: Volume, ID: "busy", Name: "busy"},
		{Kind: Volume, ID: "v1", Name: "v1"},
		{Kind: Container, ID: "gone", Name: "gone"},
		{Kind: Container, ID: "c1", Name: "peer"},
	})
	if want := []string{"c1", "v1", "n1"}; !slices.Equal(engine.removed, want) {
		t.Errorf("removed %q, want %q", engine.removed, want)
	}
	if !errors.Is(err, busy) || errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("got error %v", err)
	}
}
