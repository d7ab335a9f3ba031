package main

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// fakeEngine answers after a number of refused pings and holds a few objects.
type fakeEngine struct {
	refusals   int
	containers []container.Summary
	volumes    []volume.Volume
	networks   []network.Summary
	removed    []string
}

func (f *fakeEngine) DaemonHost() string { return "unix:///nowhere" }

func (f *fakeEngine) Ping(context.Context, client.PingOptions) (client.PingResult, error) {
	if f.refusals > 0 {
		f.refusals--
		return client.PingResult{}, errors.New("connection refused")
	}
	return client.PingResult{}, nil
}

func (f *fakeEngine) ServerVersion(context.Context, client.ServerVersionOptions) (client.ServerVersionResult, error) {
	return client.ServerVersionResult{Version: "20.10"}, nil
}

func (f *fakeEngine) ContainerList(context.Context, client.ContainerListOptions) (client.ContainerListResult, error) {
	return client.ContainerListResult{Items: f.containers}, nil
}

func (f *fakeEngine) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	return client.VolumeListResult{Items: f.volumes}, nil
}

func (f *fakeEngine) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	return client.NetworkListResult{Items: f.networks}, nil
}

func (f *fakeEngine) ContainerRemove(_ context.Context, id string, _ client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	f.removed = append(f.removed, id)
	return client.ContainerRemoveResult{}, nil
}

func (f *fakeEngine) VolumeRemove(_ context.Context, id string, _ client.VolumeRemoveOptions) (client.VolumeRemoveResult, error) {
	f.removed = append(f.removed, id)
	return client.VolumeRemoveResult{}, nil
}

func (f *fakeEngine) NetworkRemove(_ context.Context, id string, _ client.NetworkRemoveOptions) (client.NetworkRemoveResult, error) {
	f.removed = append(f.removed, id)
	return client.NetworkRemoveResult{}, nil
}

func labelled() map[string]string {
	return map[string]string{
		"io.github.fabricops.owner_id": "o1", "io.github.fabricops.network": "dev",
		"io.github.fabricops.kind": "peer", "io.github.fabricops.name": "peer0",
	}
}

func TestAwaitWaitsForTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), &fakeEngine{refusals: 3}, []string{"await", "-timeout", "20s"}, &out); err != nil {
			t.Fatal(err)
		}
		if got, want := out.String(), "Docker engine 20.10 at unix:///nowhere\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAwaitGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := run(t.Context(), &fakeEngine{refusals: 1 << 20}, []string{"await", "-timeout", "20s"}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "20s") {
			t.Errorf("got %v, want the deadline and the last cause", err)
		}
		if took := time.Since(start); took > 21*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	docker := &fakeEngine{
		containers: []container.Summary{
			{ID: "c1", Names: []string{"/dev-peer0"}, Labels: labelled(), State: "running"},
			{ID: "c2", Names: []string{"/foreign"}, State: "running"},
		},
		volumes: []volume.Volume{{Name: "dev-ledger", Labels: labelled()}},
	}
	if err := run(t.Context(), docker, []string{"list"}, &out); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "dev-peer0") || strings.Contains(text, "foreign") ||
		!strings.Contains(text, "1 containers, 1 volumes, 0 networks") {
		t.Errorf("got:\n%s", text)
	}
	out.Reset()
	if err := run(t.Context(), &fakeEngine{}, []string{"list"}, &out); err != nil || !strings.HasPrefix(out.String(), "Nothing") {
		t.Errorf("an empty engine: %v, %q", err, out.String())
	}
}

func TestBusy(t *testing.T) {
	docker := &fakeEngine{containers: []container.Summary{{ID: "c2", State: "exited"}}}
	if err := run(t.Context(), docker, []string{"busy"}, nil); err == nil {
		t.Error("a stopped container does not make an engine busy")
	}
	docker.containers[0].State = "running"
	if err := run(t.Context(), docker, []string{"busy"}, nil); err != nil {
		t.Error(err)
	}
}

func TestRemoveLeavesWhatWasSavedAndWhatIsForeign(t *testing.T) {
	old, fresh := strings.Repeat("1", 64), strings.Repeat("2", 64)
	docker := &fakeEngine{
		containers: []container.Summary{{ID: "mine-before", Labels: labelled()}},
		volumes:    []volume.Volume{{Name: old}},
	}
	file := filepath.Join(t.TempDir(), "before")
	if err := run(t.Context(), docker, []string{"save", file}, nil); err != nil {
		t.Fatal(err)
	}
	docker.containers = append(docker.containers, container.Summary{ID: "mine-now", Labels: labelled()}, container.Summary{ID: "foreign"})
	docker.volumes = append(docker.volumes, volume.Volume{Name: fresh}, volume.Volume{Name: "named-by-somebody"})
	docker.networks = []network.Summary{{Network: network.Network{ID: "n1", Labels: labelled()}}}
	if err := run(t.Context(), docker, []string{"remove", "-except", file}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mine-now", fresh, "n1"}; !slices.Equal(docker.removed, want) {
		t.Errorf("removed %q, want %q", docker.removed, want)
	}
}

func TestRemoveWithoutAPictureTakesOnlyWhatIsLabelled(t *testing.T) {
	docker := &fakeEngine{
		containers: []container.Summary{{ID: "mine", Labels: labelled()}},
		volumes:    []volume.Volume{{Name: strings.Repeat("1", 64)}},
	}
	if err := run(t.Context(), docker, []string{"remove"}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"mine"}; !slices.Equal(docker.removed, want) {
		t.Errorf("removed %q, want %q", docker.removed, want)
	}
	if err := run(t.Context(), docker, []string{"remove", "-except", filepath.Join(t.TempDir(), "absent")}, &bytes.Buffer{}); err == nil {
		t.Error("an absent picture must not mean that everything goes")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"prune"}, {"save"}, {"list", "-x"}} {
		if err := run(t.Context(), &fakeEngine{}, args, &bytes.Buffer{}); !errors.Is(err, errUsage) {
			t.Errorf("%q: got %v", args, err)
		}
	}
}
