package network

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

func init() { archive.WorkFactor = 4 } // a second for each archive would be a long time

// archived is an archive of two orderers with one ledger and of an organization's keys.
func archived(t *testing.T, on Handle) RestoreSpec {
	t.Helper()
	from := RestoreSpec{Path: filepath.Join(t.TempDir(), "archive"), Passphrase: "a passphrase"}
	w, err := archive.Create(from.Path, from.Passphrase, archive.Header{Network: on.Network, Domain: on.Domain, Owner: on.Owner})
	if err != nil {
		t.Fatal(err)
	}
	first, second, org := on.With(KindOrderer, "orderer0", "OrdererMSP"), on.With(KindOrderer, "orderer1", "OrdererMSP"), on.With(KindOrganization, "OrdererMSP", "OrdererMSP")
	labels := org.labels()
	labels[keystore.LabelImage] = "sha256:of-the-other-engine"
	w.Volume(archive.Volume{Name: org.keys(), Labels: labels, Image: "sha256:of-the-other-engine"})
	w.Volume(archive.Volume{Name: second.Object(), Labels: second.labels(), Image: "sha256:orderer", LedgerOf: first.Object(), LedgerFolder: ledgerFolder})
	w.Volume(archive.Volume{Name: first.Object(), Labels: first.labels(), Image: "sha256:orderer"})
	for _, part := range []struct{ volume, name, content string }{
		{org.keys(), "store/admin/key.pem", "admin"}, {second.Object(), "node/keys/tls/key.pem", "second"},
		{first.Object(), "node/keys/tls/key.pem", "first"}, {first.Object(), "node/data/block", "block"},
	} {
		var content bytes.Buffer
		files := tar.NewWriter(&content)
		header := &tar.Header{Name: part.name, Typeflag: tar.TypeReg, Mode: 0o600, Uid: nodeUID, Gid: nodeUID, Size: int64(len(part.content))}
		_, write := io.WriteString(headed{files, header, t}, part.content)
		if err := errors.Join(write, files.Close(), w.Fill(part.volume, "", &content, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close([]archive.Node{{Name: first.Object(), Image: "hyperledger/fabric-orderer:3.1.1", ImageID: "sha256:orderer"}}, nil); err != nil {
		t.Fatal(err)
	}
	return from
}

// headed writes a file of a tar as a whole.
type headed struct {
	files  *tar.Writer
	header *tar.Header
	t      *testing.T
}

func (h headed) Write(p []byte) (int, error) {
	if err := h.files.WriteHeader(h.header); err != nil {
		h.t.Fatal(err)
	}
	return h.files.Write(p)
}

// requireRestored checks what the volumes hold, and that they are kept until their nodes are made.
func requireRestored(t *testing.T, fake *enginetest.Fake, on Handle) {
	t.Helper()
	for volume, files := range map[string]map[string]string{
		"dev-orderer0":        {"node/keys/tls/key.pem": "first", "node/data/block": "block"},
		"dev-orderer1":        {"node/keys/tls/key.pem": "second", "node/data/block": "block"},
		"dev-OrdererMSP-keys": {"store/admin/key.pem": "admin"},
	} {
		have := fake.Files(volume)
		if len(have) != len(files) {
			t.Errorf("%s holds %v", volume, have)
		}
		for name, content := range files {
			if string(have[name].Content) != content {
				t.Errorf("%s of %s is %q", name, volume, have[name].Content)
			}
		}
		v, err := fake.Volume(t.Context(), volume)
		if err != nil || v.Labels[engine.LabelOwner] != on.Owner || v.Labels[keystore.LabelImage] == "sha256:of-the-other-engine" {
			t.Errorf("volume %s is %+v, %v", volume, v, err)
		}
	}
	nodes, err := fake.Nodes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, n := range nodes {
		names += n.Name + " "
	}
	if want := "dev-OrdererMSP-keys dev-orderer0-keeper dev-orderer1-keeper "; names != want {
		t.Errorf("the containers are %s, want %s", names, want)
	}
}

var restored = Handle{Kind: KindNetwork, Network: "dev", Name: "dev", Domain: "example.com", Owner: "0123456789abcdef"}

// emptyEngine has none of the images by their contents, but those that can be pulled.
func emptyEngine() (*Fabric, *enginetest.Fake) {
	fake := enginetest.NewFake()
	fake.RemoveImage("sha256:orderer")
	fake.RemoveImage("sha256:of-the-other-engine")
	return New(fake), fake
}

// TestRestoreNetwork lets every single call to the engine fail, before and after the engine did its work, and
// then asks once more, as another process would.
func TestRestoreNetwork(t *testing.T) {
	from, boom := archived(t, restored), errors.New("boom")
	attempt := func(t *testing.T, fail func(*enginetest.Fake)) (calls, changes int) {
		f, fake := emptyEngine()
		fail(fake)
		err := f.RestoreNetwork(t.Context(), restored, from)
		if err != nil && !errors.Is(err, boom) {
			t.Errorf("the failure is %v", err)
		}
		calls, changes = len(fake.Calls()), fake.Mutations()
		fake.Intercept(nil)
		if err != nil {
			if err := New(fake).RestoreNetwork(t.Context(), restored, from); err != nil {
				t.Fatal(err)
			}
		}
		requireRestored(t, fake, restored)
		return calls, changes
	}
	calls, changes := attempt(t, func(*enginetest.Fake) {})
	for k := range calls {
		t.Run(fmt.Sprintf("call %d fails", k+1), func(t *testing.T) {
			attempt(t, func(fake *enginetest.Fake) {
				left := k
				fake.Intercept(func(enginetest.Call) error {
					if left--; left == -1 {
						return boom
					}
					return nil
				})
			})
		})
	}
	// The last change is that the restore has ended: then there is a network, and no answer that is lost makes it undone.
	for k := range changes - 1 {
		t.Run(fmt.Sprintf("the answer to change %d is lost", k+1), func(t *testing.T) {
			attempt(t, func(fake *enginetest.Fake) { fake.FailAt(k+1, enginetest.After, boom) })
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	from := archived(t, restored)
	other := restored
	other.Domain = "example.org"
	f, fake := emptyEngine()
	wrong := new(OtherNetworkError)
	if _, err := PeekBackup(from, other); !errors.As(err, &wrong) || wrong.What != "domain" {
		t.Errorf("another domain gave %v", err)
	}
	if _, err := PeekBackup(RestoreSpec{Path: from.Path, Passphrase: "another passphrase"}, restored); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase gave %v", err)
	}
	fake.AddVolume(engine.Volume{Name: "dev-orderer1", Labels: map[string]string{engine.LabelOwner: "somebody"}})
	if err := f.RestoreNetwork(t.Context(), restored, from); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("a volume of somebody else gave %v", err)
	}
	fake.VanishVolume("dev-orderer1")
	fake.AddVolume(engine.Volume{Name: "dev-ca", Labels: restored.With(KindCA, "ca", "").labels()})
	occupied := new(OccupiedError)
	if err := f.RestoreNetwork(t.Context(), restored, from); !errors.As(err, &occupied) {
		t.Errorf("a volume of the same network gave %v", err)
	}
	if fake.Mutations() > 0 {
		t.Error("something was made all the same")
	}
}

// A network whose restore did not come to its end takes what was made of it along.
func TestDeleteNetworkTakesHalfARestoreAlong(t *testing.T) {
	from, boom := archived(t, restored), errors.New("boom")
	f, fake := emptyEngine()
	fake.Intercept(func(c enginetest.Call) error {
		if c.Method == "PutFiles" {
			return boom
		}
		return nil
	})
	if err := f.RestoreNetwork(t.Context(), restored, from); !errors.Is(err, boom) {
		t.Fatalf("the failure is %v", err)
	}
	fake.Intercept(nil)
	if err := f.DeleteNetwork(t.Context(), restored, false); err != nil {
		t.Fatal(err)
	}
	nodes, _ := fake.Nodes(t.Context(), nil)
	volumes, _ := fake.Volumes(t.Context(), nil)
	if len(nodes)+len(volumes) > 0 {
		t.Errorf("%v and %v are left", nodes, volumes)
	}
}

// A node that was stopped for work runs again, whatever became of the work.
func TestWhileStopped(t *testing.T) {
	boom := errors.New("boom")
	for name, test := range map[string]struct {
		work func(cancel func()) error
		want error
	}{
		"done":      {func(func()) error { return nil }, nil},
		"failed":    {func(func()) error { return boom }, boom},
		"cancelled": {func(cancel func()) error { cancel(); return context.Canceled }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.make()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := r.fabric.whileStopped(ctx, r.peer(), func(context.Context) error { return nil }, func() error {
				if n, err := r.fake.Node(t.Context(), r.peer().Object()); err != nil || n.Status == engine.Running {
					t.Errorf("meanwhile the node is %v, %v", n.Status, err)
				}
				return test.work(cancel)
			})
			if !errors.Is(err, test.want) {
				t.Errorf("it gave %v", err)
			}
			if n, err := r.fake.Node(t.Context(), r.peer().Object()); err != nil || n.Status != engine.Running {
				t.Errorf("afterwards the node is %v, %v", n.Status, err)
			}
		})
	}
	t.Run("cancelled before", func(t *testing.T) {
		r := newRig(t)
		r.make()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		worked := false
		err := r.fabric.whileStopped(ctx, r.peer(), nil, func() error { worked = true; return nil })
		if n, _ := r.fake.Node(t.Context(), r.peer().Object()); !errors.Is(err, context.Canceled) || worked || n.Status != engine.Running {
			t.Errorf("it gave %v; worked: %v; the node is %v", err, worked, n.Status)
		}
	})
}
