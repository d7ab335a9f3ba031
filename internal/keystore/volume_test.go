package keystore_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

const (
	volume = "dev-Org1MSP-keys"
	owner  = "0123456789abcdef"
)

func labels() map[string]string {
	return map[string]string{
		engine.LabelOwner: owner, engine.LabelKind: "organization", engine.LabelNetwork: "dev", engine.LabelName: "Org1MSP",
	}
}

func made(t *testing.T) (*enginetest.Fake, *keystore.Volume) {
	t.Helper()
	fake := enginetest.NewFake()
	image, err := fake.ResolveImage(t.Context(), "fabric-ca:1.5.13")
	must(t, err)
	v, err := keystore.CreateVolume(t.Context(), fake, volume, image.ID, labels())
	must(t, err)
	return fake, v
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantFiles(t *testing.T, s keystore.Store, want map[string]string) {
	t.Helper()
	files, err := s.Read(t.Context())
	must(t, err)
	got := map[string]string{}
	for name, content := range files {
		got[name] = string(content)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the store holds %v, want %v", got, want)
	}
}

func TestVolumeHoldsFiles(t *testing.T) {
	fake, v := made(t)
	wantFiles(t, v, map[string]string{})
	must(t, v.Write(t.Context(), map[string][]byte{"admin/key.pem": []byte("one"), "admin/cert.pem": []byte("two")}))
	must(t, v.Write(t.Context(), map[string][]byte{"admin/key.pem": []byte("three")}))
	wantFiles(t, v, map[string]string{"admin/key.pem": "three", "admin/cert.pem": "two"})
	for name, file := range fake.Files(volume) {
		if file.Mode != 0o600 || file.UID != 1000 || file.GID != 1000 {
			t.Errorf("%s has mode %o and belongs to %d:%d", name, file.Mode, file.UID, file.GID)
		}
	}

	must(t, v.Erase(t.Context(), "admin/key.pem", "absent"))
	must(t, v.Erase(t.Context()))
	wantFiles(t, v, map[string]string{"admin/cert.pem": "two"})
	for name, file := range fake.Files(volume) {
		if slices.Contains([]string{"three", "one"}, string(file.Content)) {
			t.Errorf("%s still holds what was erased", name)
		}
	}
}

func TestVolumeIsMadeOnce(t *testing.T) {
	fake, v := made(t)
	must(t, v.Write(t.Context(), map[string][]byte{"key": []byte("kept")}))
	again, err := keystore.CreateVolume(t.Context(), fake, volume, "sha256:other", labels())
	if err == nil {
		wantFiles(t, again, map[string]string{"key": "kept"})
	} else if !errors.Is(err, engine.ErrNoImage) {
		t.Fatal(err)
	}
	wantFiles(t, v, map[string]string{"key": "kept"})
}

// A prune takes volumes that no container references, and containers that do not run.
func TestKeeperHoldsTheVolume(t *testing.T) {
	fake, v := made(t)
	must(t, v.Write(t.Context(), map[string][]byte{"key": []byte("kept")}))
	if err := fake.RemoveVolume(t.Context(), volume, owner); err == nil {
		t.Fatal("the volume could be removed while its keeper was there")
	}

	for _, use := range []struct {
		name string
		do   func() error
	}{
		{"read", func() error { _, err := v.Read(t.Context()); return err }},
		{"write", func() error { return v.Write(t.Context(), map[string][]byte{"more": []byte("x")}) }},
	} {
		before, _ := fake.Spec(volume)
		fake.VanishNode(volume)
		must(t, use.do())
		after, there := fake.Spec(volume)
		if !there {
			t.Fatalf("%s did not make the keeper again", use.name)
		}
		if after.Image != before.Image || !maps.Equal(after.Labels, before.Labels) || after.User != before.User {
			t.Errorf("%s made another keeper: %+v, was %+v", use.name, after, before)
		}
		if after.Labels[keystore.LabelKeeper] == "" {
			t.Error("the keeper is not marked as one")
		}
	}
	wantFiles(t, v, map[string]string{"key": "kept", "more": "x"})
}

func TestVolumeLost(t *testing.T) {
	fake, v := made(t)
	fake.VanishNode(volume)
	fake.VanishVolume(volume)
	_, err := v.Read(t.Context())
	if !errors.Is(err, keystore.ErrLost) {
		t.Errorf("read: %v", err)
	}
	if err := v.Write(t.Context(), map[string][]byte{"key": []byte("secret")}); !errors.Is(err, keystore.ErrLost) {
		t.Errorf("write: %v", err)
	}
	if _, err := fake.Volume(t.Context(), volume); !errors.Is(err, engine.ErrNotFound) {
		t.Error("a lost volume was made again")
	}
	exists, err := v.Exists(t.Context())
	if exists || err != nil {
		t.Errorf("exists: %t, %v", exists, err)
	}
	must(t, v.Remove(t.Context(), owner)) // what is gone is removed
}

// After ours was removed, somebody else may have taken the name.
func TestForeignVolume(t *testing.T) {
	for name, foreign := range map[string]func(fake *enginetest.Fake){
		"a volume without labels": func(fake *enginetest.Fake) { fake.AddVolume(engine.Volume{Name: volume}) },
		"a volume of another network": func(fake *enginetest.Fake) {
			fake.AddVolume(engine.Volume{Name: volume, Labels: map[string]string{engine.LabelOwner: "another"}})
		},
		"keys of another network": func(fake *enginetest.Fake) {
			other := labels()
			other[engine.LabelOwner] = "another"
			image, err := fake.ResolveImage(context.Background(), "fabric-ca:1.5.13")
			if err == nil {
				var v *keystore.Volume
				v, err = keystore.CreateVolume(context.Background(), fake, volume, image.ID, other)
				if err == nil {
					err = v.Write(context.Background(), map[string][]byte{"key": []byte("theirs")})
				}
			}
			if err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := enginetest.NewFake()
			foreign(fake)
			before := fake.Mutations()
			v := keystore.OpenVolume(fake, volume).OwnedBy(owner)
			if files, err := v.Read(t.Context()); !errors.Is(err, engine.ErrForeign) {
				t.Errorf("read gave %d files, %v", len(files), err)
			}
			if err := v.Write(t.Context(), map[string][]byte{"key": []byte("ours")}); !errors.Is(err, engine.ErrForeign) {
				t.Errorf("write: %v", err)
			}
			if err := v.Erase(t.Context(), "key"); !errors.Is(err, engine.ErrForeign) {
				t.Errorf("erase: %v", err)
			}
			if did := fake.Mutations() - before; did > 2 { // attempts to write to a keeper that is not there
				t.Errorf("%d calls changed something", did)
			}
			if err := v.Remove(t.Context(), owner); !errors.Is(err, engine.ErrForeign) {
				t.Errorf("remove: %v", err)
			}
			if _, err := fake.Volume(t.Context(), volume); err != nil {
				t.Errorf("the foreign volume is gone: %v", err)
			}
			if _, err := keystore.CreateVolume(t.Context(), fake, volume, "sha256:any", labels()); !errors.Is(err, engine.ErrForeign) {
				t.Errorf("create: %v", err)
			}
		})
	}
}

// Only the engine's own word makes a volume lost.
func TestUnreachableIsNotLost(t *testing.T) {
	fake, v := made(t)
	fake.SetUnreachable(true)
	if _, err := v.OwnedBy(owner).Read(t.Context()); errors.Is(err, keystore.ErrLost) || !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("read: %v", err)
	}
	if _, err := v.Exists(t.Context()); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("exists: %v", err)
	}
	fake.SetUnreachable(false)
	broken := errors.New("disk trouble")
	fake.VanishNode(volume)
	fake.Intercept(func(c enginetest.Call) error {
		if c.Method == "Volume" {
			return broken
		}
		return nil
	})
	if _, err := v.Read(t.Context()); errors.Is(err, keystore.ErrLost) || !errors.Is(err, broken) {
		t.Errorf("read with a failing engine: %v", err)
	}
}
