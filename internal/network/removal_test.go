package network

import (
	"errors"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestRemovalCutShort: a node whose removal came to its end when Terraform was killed is not lost, and one that
// was made again since and whose volume is gone then is.
func TestRemovalCutShort(t *testing.T) {
	h, _ := employ(t)
	peer := h.member()
	n := &node{handle: peer, options: NodeOptions{Existing: true}}
	make := func() error {
		h.restart()
		h.must(h.fabric.acceptRemoved(h.ctx(), peer, &n.options))
		_, err := h.fabric.ensureVolume(h.ctx(), n, false)
		return errors.Join(err, h.fabric.revokeRemoval(h.ctx(), peer))
	}
	read := func() NodeState {
		h.restart()
		state, err := h.fabric.readNode(h.ctx(), peer, PeerPorts())
		h.must(err)
		return state
	}
	if err := make(); !errors.Is(err, ErrLost) {
		t.Fatalf("a volume that nobody removed: %v", err)
	}
	h.must(h.fabric.engine.CreateVolume(h.ctx(), engine.VolumeSpec{Name: peer.Object(), Labels: peer.labels()}))
	h.must(h.fabric.removeNode(h.ctx(), peer, false))
	if state := read(); !state.Removed || state.Lost || state.Status != engine.Absent {
		t.Errorf("after its removal it reads as %+v", state)
	}
	h.must(make())
	h.must(h.fabric.engine.RemoveVolume(h.ctx(), peer.Object(), peer.Owner))
	if state := read(); state.Removed || !state.Lost {
		t.Errorf("lost since, it reads as %+v", state)
	}
	n.options.AcceptDataLoss = false
	if err := make(); !errors.Is(err, ErrLost) {
		t.Errorf("a volume that was lost since: %v", err)
	}
}

// TestReadRemovedCA: a CA of which nothing is left is missed as long as an organization is of it.
func TestReadRemovedCA(t *testing.T) {
	h, _ := employ(t)
	from := h.ca("ca.org1")
	h.must(h.fabric.DeleteCA(h.ctx(), from, false))
	h.restart()
	if state, err := h.fabric.ReadCA(h.ctx(), from); err != nil || !state.Lost {
		t.Errorf("with an organization: %+v, %v", state, err)
	}
	h.must(h.fabric.removeKeys(h.ctx(), h.organization("Org1MSP")))
	h.restart()
	if state, err := h.fabric.ReadCA(h.ctx(), from); !errors.Is(err, ErrNotFound) {
		t.Errorf("without: %+v, %v", state, err)
	}
}

// TestRemovalOfAClusterCutShort: the channels of a cluster go with it. One that only loses nodes has them.
func TestRemovalOfAClusterCutShort(t *testing.T) {
	h, _ := employ(t)
	cluster, nodes := h.network.With(KindOrdererCluster, "orderers", "Org1MSP"), map[string]Handle{}
	known := map[string]ClusterChannel{"trade": {Consenters: []string{"orderer0:7050", "orderer1:7050"}}}
	for _, name := range []string{"orderer0", "orderer1"} {
		o := h.network.With(KindOrderer, name, "Org1MSP")
		nodes[name] = o
		h.must(h.fabric.engine.CreateVolume(h.ctx(), engine.VolumeSpec{Name: o.Object(), Labels: o.labels()}))
	}
	channels := func() int {
		h.restart()
		found, err := h.fabric.ReadClusterChannels(h.ctx(), cluster, nodes, known)
		h.must(err)
		return len(found)
	}
	h.must(h.fabric.removeNode(h.ctx(), nodes["orderer0"], false))
	if channels() != 1 {
		t.Error("without one of its nodes it has no channel any more")
	}
	h.must(h.fabric.announceRemoval(h.ctx(), cluster))
	if channels() != 0 {
		t.Error("a cluster that goes keeps its channel")
	}
	h.must(h.fabric.revokeRemoval(h.ctx(), nodes["orderer0"])) // it came no further than to its container
	if channels() != 0 {
		t.Error("a cluster that goes keeps its channel as long as it has its volumes")
	}
	h.must(h.fabric.DeleteOrdererCluster(h.ctx(), cluster, nodes, false)) // what is left of it
	if channels() != 0 {
		t.Error("a cluster that is gone keeps its channel")
	}
	h.must(h.fabric.revokeRemoval(h.ctx(), cluster))
	if channels() != 1 {
		t.Error("a cluster that is made again is not asked for its channel")
	}
}
