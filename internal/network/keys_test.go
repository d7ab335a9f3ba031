package network

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

func TestNetworkOwnership(t *testing.T) {
	const ours = "0123456789abcdef"
	for name, test := range map[string]struct {
		there    *engine.Network
		existing bool
		ensure   error
		read     error
		status   engine.Status
		removed  bool
	}{
		"nothing there":               {ensure: nil, status: engine.Running, removed: true},
		"ours":                        {there: &engine.Network{Name: "dev", Labels: map[string]string{engine.LabelOwner: ours}}, status: engine.Running, removed: true},
		"somebody else's":             {there: &engine.Network{Name: "dev"}, ensure: engine.ErrForeign, read: engine.ErrForeign, status: engine.Absent},
		"another fabric_network's":    {there: &engine.Network{Name: "dev", Labels: map[string]string{engine.LabelOwner: "another"}}, ensure: engine.ErrForeign, read: engine.ErrForeign, status: engine.Absent},
		"existing, somebody else's":   {there: &engine.Network{Name: "dev"}, existing: true, status: engine.Running},
		"existing, shared":            {there: &engine.Network{Name: "dev", Labels: map[string]string{engine.LabelOwner: "another"}}, existing: true, status: engine.Running},
		"existing, but nothing there": {existing: true, ensure: engine.ErrNotFound, status: engine.Absent},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			if test.there != nil {
				h.fake.AddNetwork(*test.there)
			}
			if err := h.fabric.PreflightNetwork(h.ctx(), h.network, test.existing); !errors.Is(err, test.ensure) || (err == nil) != (test.ensure == nil) {
				t.Errorf("preflight: %v, want %v", err, test.ensure)
			}
			err := h.fabric.EnsureNetwork(h.ctx(), h.network, test.existing)
			if !errors.Is(err, test.ensure) || (err == nil) != (test.ensure == nil) {
				t.Errorf("ensure: %v, want %v", err, test.ensure)
			}
			if errors.Is(err, engine.ErrForeign) && test.there.Labels != nil && !strings.Contains(err.Error(), "another") {
				t.Errorf("%q does not name the owner", err)
			}
			state, err := h.fabric.ReadNetwork(h.ctx(), h.network, test.existing)
			if !errors.Is(err, test.read) || (err == nil) != (test.read == nil) || state.Status != test.status {
				t.Errorf("read: %+v, %v", state, err)
			}
			err = h.fabric.DeleteNetwork(h.ctx(), h.network, test.existing)
			if (err != nil) != (test.read != nil) {
				t.Errorf("delete: %v", err)
			}
			if _, err := h.fake.Network(h.ctx(), "dev"); errors.Is(err, engine.ErrNotFound) != (test.removed || test.there == nil) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestFindNetwork(t *testing.T) {
	volume := func(h *house, name, owner string) {
		of := h.network
		of.Owner = owner
		h.fake.AddVolume(engine.Volume{Name: name, Labels: of.With(KindPeer, name, "Org1MSP").labels()})
	}
	h := newHouse(t)
	if _, err := h.fabric.FindNetwork(h.ctx(), "dev", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing there: %v", err)
	}
	h.must(h.fabric.EnsureNetwork(h.ctx(), h.network, false))
	found, err := h.fabric.FindNetwork(h.ctx(), "dev", "")
	if err != nil || found.Handle != h.network || found.Existing {
		t.Errorf("ours: %+v, %v", found, err)
	}
	volume(h, "v1", "tenant")
	found, err = h.fabric.FindNetwork(h.ctx(), "dev", "tenant")
	if err != nil || found.Handle.Owner != "tenant" || !found.Existing || found.Handle.Domain != "example.com" || found.Handle.Kind != KindNetwork || found.Handle.Name != "dev" {
		t.Errorf("one that shares it: %+v, %v", found, err)
	}
	if _, err := h.fabric.FindNetwork(h.ctx(), "dev", "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an owner that has nothing there: %v", err)
	}

	h = newHouse(t)
	h.fake.AddNetwork(engine.Network{Name: "dev"})
	if _, err := h.fabric.FindNetwork(h.ctx(), "dev", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("a network with nothing of ours on it: %v", err)
	}
	volume(h, "v1", "one")
	found, err = h.fabric.FindNetwork(h.ctx(), "dev", "")
	if err != nil || found.Handle.Owner != "one" || !found.Existing {
		t.Errorf("a network of somebody else: %+v, %v", found, err)
	}
	volume(h, "v2", "two")
	if _, err := h.fabric.FindNetwork(h.ctx(), "dev", ""); err == nil || !strings.Contains(err.Error(), "one, two") {
		t.Errorf("two that share it: %v", err)
	}
}

// Another engine behind the same address is not an empty world.
func TestOtherEngine(t *testing.T) {
	h := newHouse(t)
	id, err := h.fabric.EngineID(h.ctx())
	h.must(err)
	h.must(h.fabric.VerifyEngine(h.ctx(), id))
	h.must(h.fabric.VerifyEngine(h.ctx(), "")) // nothing is known of a resource that is being imported
	h.fake.SetInfo(engine.Info{ID: "another-engine", Name: "elsewhere", Address: "fake://"})
	h.restart()
	if err := h.fabric.VerifyEngine(h.ctx(), id); !errors.Is(err, ErrOtherEngine) || !strings.Contains(err.Error(), "elsewhere") || !strings.Contains(err.Error(), id) {
		t.Errorf("another engine: %v", err)
	}
	h.fake.SetUnreachable(true)
	h.restart()
	if err := h.fabric.VerifyEngine(h.ctx(), id); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("no engine: %v", err)
	}
}

// Reads of a key volume that another network has by now give nothing of it.
func TestKeysOfAnotherNetwork(t *testing.T) {
	h, _ := orgHouse(t)
	other := h.network
	other.Owner = "another"
	h.restart()
	if _, err := h.fabric.caKeys(h.ctx(), other.With(KindCA, "ca.org1", "")); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("CA: %v", err)
	}
	if _, err := h.fabric.organizationKeys(h.ctx(), other.With(KindOrganization, "Org1MSP", "Org1MSP")); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("organization: %v", err)
	}
}

// held gives what is remembered of a store, and fails unless that is what its volume holds.
func held(t *testing.T, f *Fabric, fake *enginetest.Fake, volume string) map[string][]byte {
	t.Helper()
	f.stores.mu.Lock()
	defer f.stores.mu.Unlock()
	known := maps.Clone(f.stores.files[volume])
	maps.DeleteFunc(known, func(_ string, content []byte) bool { return len(content) == 0 })
	there := map[string]string{}
	for name, file := range fake.Files(volume) {
		if len(file.Content) > 0 { // an erased file is an empty one
			there[strings.TrimPrefix(name, "store/")] = string(file.Content)
		}
	}
	if len(known) == 0 || len(known) != len(there) {
		t.Errorf("of %s %d files are remembered, and it has %d", volume, len(known), len(there))
	}
	for name, content := range known {
		if there[name] != string(content) {
			t.Errorf("%s of %s is remembered otherwise than it is", name, volume)
		}
	}
	return known
}

// TestWhatWasWrittenIsKnown: stores that this process made need not be read back.
func TestWhatWasWrittenIsKnown(t *testing.T) {
	h, _, _ := started(t, "ca.org1")
	held(t, h.fabric, h.fake, "dev-ca.org1-keys")
	s := newSketch(t)
	if len(held(t, s.fabric, s.fake, s.channel.record())[genesisFile]) == 0 {
		t.Error("the genesis block is not remembered")
	}
	// Without a genesis block of its own, the record is read again.
	s.must(s.fabric.writeRecord(t.Context(), s.channelSpec(), nil))
	_, genesis, err := s.fabric.channelRecordWithGenesis(t.Context(), s.channel)
	s.must(err)
	if len(genesis) == 0 {
		t.Error("the genesis block is lost")
	}
	held(t, s.fabric, s.fake, s.channel.record())
}
