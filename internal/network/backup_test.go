package network

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// standing is a network on an engine in memory whose nodes stand still: a CA, a peer with a state database, and
// the key volume of their organization.
func standing(t *testing.T) (*Fabric, *enginetest.Fake) {
	t.Helper()
	fake := enginetest.NewFake()
	f := New(fake)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.EnsureNetwork(t.Context(), restored, false))
	org := restored.With(KindOrganization, "Org1MSP", "Org1MSP")
	must(f.createKeys(t.Context(), org, "ca:1.5", nil))
	must(f.writeKeys(t.Context(), org, map[string][]byte{"admin/key.pem": []byte("admin")}))
	peer := restored.With(KindPeer, "peer0.org1", "Org1MSP")
	for _, h := range []Handle{restored.With(KindCA, "ca.org1", ""), peer, stateDatabase(peer)} {
		must(fake.CreateVolume(t.Context(), engine.VolumeSpec{Name: h.Object(), Labels: h.labels()}))
		labels := h.labels()
		labels[engine.LabelSpecHash], labels[labelInputs] = "hash", `{"image": "hyperledger/`+string(h.Kind)+`"}`
		must(fake.CreateNode(t.Context(), engine.NodeSpec{
			Name: h.Object(), Image: "image-of-" + string(h.Kind), User: nodeUser, Labels: labels, Mounts: []engine.Mount{{Volume: h.Object(), Target: volumeRoot}},
		}))
		fake.WriteVolume(h.Object(), engine.File{Name: "node/keys/key.pem", Content: []byte("key of " + h.Name), Mode: 0o600, UID: nodeUID, GID: nodeUID},
			engine.File{Name: "node/data/ledger", Content: []byte("data of " + h.Name), Mode: 0o640, UID: nodeUID, GID: nodeUID})
	}
	return f, fake
}

// contents gives all that the volumes of a network hold.
func contents(t *testing.T, fake *enginetest.Fake) map[string]string {
	t.Helper()
	volumes, err := fake.Volumes(t.Context(), map[string]string{engine.LabelOwner: restored.Owner})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, v := range volumes {
		for name, file := range fake.Files(v.Name) {
			out[v.Name+" "+name] = fmt.Sprintf("%s %o %d", file.Content, file.Mode, file.UID)
		}
	}
	return out
}

func TestBackupIsRestoredAsItWas(t *testing.T) {
	f, fake := standing(t)
	spec := BackupSpec{Handle: restored, Path: filepath.Join(t.TempDir(), "archive"), Passphrase: "a passphrase"}
	result, err := f.Backup(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	manifest, digest, err := archive.Verify(spec.Path, spec.Passphrase)
	if err != nil || digest != result.ManifestSHA256 || len(manifest.Volumes) != 4 || len(manifest.Nodes) != 3 {
		t.Fatalf("the archive has %d volumes, %d nodes and the digest %s: %v", len(manifest.Volumes), len(manifest.Nodes), digest, err)
	}
	again := enginetest.NewFake()
	if err := New(again).RestoreNetwork(t.Context(), restored, RestoreSpec{Path: spec.Path, Passphrase: spec.Passphrase}); err != nil {
		t.Fatal(err)
	}
	if want, have := contents(t, fake), contents(t, again); len(want) != 7 || !maps.Equal(want, have) {
		t.Errorf("restored is %v, want %v", have, want)
	}
}

// Whatever fails, there is no archive, and no node runs or stands still that did not before.
func TestBackupThatFails(t *testing.T) {
	_, fake := standing(t)
	whole := BackupSpec{Handle: restored, Path: filepath.Join(t.TempDir(), "archive"), Passphrase: "a passphrase"}
	before := len(fake.Calls())
	if _, err := New(fake).Backup(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for k := range len(fake.Calls()) - before {
		f, fake := standing(t)
		left, at := k, ""
		fake.Intercept(func(c enginetest.Call) error {
			if left--; left == -1 {
				at = c.Method + " " + c.Name
				return boom
			}
			return nil
		})
		folder := t.TempDir()
		_, err := f.Backup(t.Context(), BackupSpec{Handle: restored, Path: filepath.Join(folder, "archive"), Passphrase: "a passphrase"})
		files, _ := os.ReadDir(folder)
		switch {
		case strings.HasPrefix(at, "RemoveLease"): // it falls to others by itself
		case !errors.Is(err, boom):
			t.Errorf("%s: %v", at, err)
		case len(files) > 0:
			t.Errorf("%s: %v is left", at, files)
		}
	}
}

func TestBackupRefuses(t *testing.T) {
	orderer := restored.With(KindOrderer, "orderer0", "OrdererMSP")
	for name, test := range map[string]struct {
		change func(*testing.T, *enginetest.Fake)
		want   string
	}{
		"a node without a container": {func(_ *testing.T, fake *enginetest.Fake) { fake.VanishNode("dev-peer0.org1") }, "its container is gone"},
		"a cluster that stands still": {func(t *testing.T, fake *enginetest.Fake) {
			labels := orderer.labels()
			labels[labelCluster], labels[engine.LabelSpecHash] = "orderers", "hash"
			fake.AddVolume(engine.Volume{Name: orderer.Object(), Labels: labels})
			if err := fake.CreateNode(t.Context(), engine.NodeSpec{Name: orderer.Object(), Image: "orderer", User: nodeUser, Labels: labels, Mounts: []engine.Mount{{Volume: orderer.Object(), Target: volumeRoot}}}); err != nil {
				t.Fatal(err)
			}
		}, "none of its nodes takes part in every channel"},
		"what nobody knows": {func(t *testing.T, fake *enginetest.Fake) {
			labels := restored.With("oracle", "o", "").labels()
			labels[engine.LabelSpecHash] = "hash"
			fake.AddVolume(engine.Volume{Name: "dev-o", Labels: labels})
			if err := fake.CreateNode(t.Context(), engine.NodeSpec{Name: "dev-o", Image: "o", User: nodeUser, Labels: labels}); err != nil {
				t.Fatal(err)
			}
		}, `does not know what a "oracle" is`},
	} {
		t.Run(name, func(t *testing.T) {
			f, fake := standing(t)
			test.change(t, fake)
			folder := t.TempDir()
			_, err := f.Backup(t.Context(), BackupSpec{Handle: restored, Path: filepath.Join(folder, "archive"), Passphrase: "a passphrase"})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it gave %v", err)
			}
			if files, _ := os.ReadDir(folder); len(files) > 0 {
				t.Errorf("%v is left", files)
			}
		})
	}
}

// A process that took a node away and was killed leaves its volume to the keeper, which goes with the next container.
func TestKeeper(t *testing.T) {
	r := newRig(t)
	r.make()
	r.must(r.fabric.removeNode(t.Context(), r.peer(), true))
	keeper, err := r.fake.Node(t.Context(), keeperOf(r.peer()))
	if err != nil || keeper.Status != engine.Created || keeper.Labels[keystore.LabelKeeper] == "" || !slices.Contains(keeper.Volumes, r.peer().Object()) {
		t.Errorf("the keeper is %+v, %v", keeper, err)
	}
	r.must(r.fabric.removeNode(t.Context(), r.peer(), true)) // once more
	r.make()
	r.converged(engine.Running, true, "")
	r.must(r.fabric.removeNode(t.Context(), r.peer(), true))
	r.must(r.fabric.removeNode(t.Context(), r.peer(), false))
	if nodes, err := r.fake.Nodes(t.Context(), nil); err != nil || len(nodes) > 0 {
		t.Errorf("%v is left, %v", nodes, err)
	}
}
