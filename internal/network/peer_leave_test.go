package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// held gives a package of collections, each with a member policy.
func (s *sketch) held(policies ...string) *peer.CollectionConfigPackage {
	s.t.Helper()
	var list []Collection
	for i, p := range policies {
		list = append(list, Collection{Name: fmt.Sprintf("c%d", i), MemberPolicy: p})
	}
	out, err := CollectionPackage(list)
	s.must(err)
	return out
}

// serveHolders lets every peer answer, with these collections committed.
func (s *sketch) serveHolders(policies ...string) {
	s.t.Helper()
	collections := s.held(policies...)
	for mspID, of := range sketchOrganizations {
		for _, name := range of.peers {
			s.servePeer(s.peer(name, mspID), &sketchPeer{height: 1, collections: collections})
		}
	}
	s.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{})
}

// TestLastHolderStays: a peer goes only when somebody else holds what it holds.
func TestLastHolderStays(t *testing.T) {
	const own, others, both = "OR('Org1MSP.member')", "OR('Org2MSP.member')", "OR('Org1MSP.member', 'Org2MSP.member')"
	for _, test := range []struct {
		name     string
		policies []string
		set      func(s *sketch)
		accept   bool
		// refused are the collections that it is refused for; nil: it goes.
		refused []string
	}{
		{"nothing private", nil, func(*sketch) {}, false, nil},
		{"a sibling holds it too", []string{own}, func(*sketch) {}, false, nil},
		{"the sibling is stopped", []string{own, others, own}, func(s *sketch) {
			s.fake.SetStatus("dev-peer1.org1", engine.Stopped, 0)
		}, false, []string{"c0", "c2"}},
		{"the sibling is not on the channel", []string{own}, func(s *sketch) {
			s.servePeer(s.peer("peer1.org1", "Org1MSP"), &sketchPeer{nowhere: true})
		}, false, []string{"c0"}},
		{"it has left the channel already", []string{own}, func(s *sketch) {
			s.servePeer(s.peer("peer0.org1", "Org1MSP"), &sketchPeer{nowhere: true})
			s.fake.VanishNode("dev-peer1.org1")
		}, false, nil},
		{"another organization holds it too", []string{both}, func(s *sketch) {
			s.fake.SetStatus("dev-peer1.org1", engine.Stopped, 0)
		}, false, nil},
		{"nobody of the other organization is left", []string{both}, func(s *sketch) {
			s.fake.VanishNode("dev-peer1.org1")
			s.fake.VanishNode("dev-peer0.org2")
		}, false, []string{"c0"}},
		{"the other organization runs its peers elsewhere", []string{both}, func(s *sketch) {
			s.fake.VanishNode("dev-peer1.org1")
			s.fake.VanishNode("dev-peer0.org2")
			s.must(s.fabric.removeKeys(s.t.Context(), s.organization("Org2MSP")))
		}, false, nil},
		{"the loss is accepted", []string{own}, func(s *sketch) { s.fake.VanishNode("dev-peer1.org1") }, true, nil},
		{"it is stopped, and others tell", []string{own}, func(s *sketch) {
			s.fake.SetStatus("dev-peer0.org1", engine.Stopped, 0)
			s.fake.SetStatus("dev-peer1.org1", engine.Stopped, 0)
		}, false, []string{"c0"}},
		{"nobody tells", []string{own}, func(s *sketch) {
			for _, name := range []string{"dev-peer0.org1", "dev-peer1.org1", "dev-peer0.org2"} {
				s.fake.SetStatus(name, engine.Stopped, 0)
			}
		}, false, []string{}},
		{"nobody tells, and the loss is accepted", []string{own}, func(s *sketch) {
			for _, name := range []string{"dev-peer0.org1", "dev-peer1.org1", "dev-peer0.org2"} {
				s.fake.SetStatus(name, engine.Stopped, 0)
			}
		}, true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSketch(t)
			s.serveHolders(test.policies...)
			test.set(s)
			h := s.peer("peer0.org1", "Org1MSP")
			err := s.again().DeletePeer(t.Context(), h, Removal{AcceptDataLoss: test.accept})
			last := new(LastHolderError)
			if test.refused == nil {
				s.must(err)
				if _, err := s.fake.Node(t.Context(), h.Object()); !errors.Is(err, engine.ErrNotFound) {
					t.Errorf("the container is left: %v", err)
				}
				return
			}
			if !errors.As(err, &last) {
				t.Fatalf("it got %v", err)
			}
			names := []string{}
			for _, c := range last.Collections {
				names = append(names, c.Collection)
				if !strings.Contains(err.Error(), fmt.Sprintf("collection %s of chaincode kv on channel trade", c.Collection)) {
					t.Errorf("it says %v", err)
				}
			}
			if !slices.Equal(names, test.refused) || (last.Cause != nil) != (len(test.refused) == 0) {
				t.Errorf("refused for %v: %v", names, err)
			}
			if _, err := s.fake.Node(t.Context(), h.Object()); err != nil {
				t.Errorf("it went all the same: %v", err)
			}
			if left, err := s.fake.Leases(t.Context(), nil); err != nil || len(left) > 0 {
				t.Errorf("leases are left: %v, %v", left, err)
			}
		})
	}
}

// TestLastHoldersDoNotGoTogether: of two that are the only ones, removed at once by two processes, one
// stays.
func TestLastHoldersDoNotGoTogether(t *testing.T) {
	s := newSketch(t)
	s.serveHolders("OR('Org1MSP.member')")
	var calls sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		f := quick(s.again())
		calls.Go(func() {
			errs[i] = f.DeletePeer(t.Context(), s.peer(fmt.Sprintf("peer%d.org1", i), "Org1MSP"), Removal{})
		})
	}
	calls.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.As(errors.Join(errs...), new(*LastHolderError)) {
		t.Errorf("they got %v", errs)
	}
}

// TestPeerLeavesItsChannels: what is left of a peer that went.
func TestPeerLeavesItsChannels(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep %t", keep), func(t *testing.T) {
			s := newSketch(t)
			s.serveHolders()
			h, sibling := s.peer("peer0.org1", "Org1MSP"), s.peer("peer1.org1", "Org1MSP")
			for _, p := range []Handle{h, sibling} {
				server := s.network.With(KindChaincode, "kv.trade."+p.Name, "Org1MSP")
				labels := server.labels()
				labels[labelChannel], labels[labelChaincode], labels[labelPeer] = "trade", "kv", p.Name
				s.fake.AddNode(engine.Node{Name: server.Object(), Labels: labels, Status: engine.Running})
			}
			s.anchor("Org1MSP", "peer0.org1", "peer1.org1")
			killed, err := s.fabric.hold(t.Context(), leaseSpec("Org1MSP-turn-0", h, "peer:3.1.1"))
			s.must(err)
			killed.stop()
			s.must(s.again().DeletePeer(t.Context(), h, Removal{KeepVolumes: keep}))

			var nodes []string
			all, err := s.fake.Nodes(t.Context(), map[string]string{labelMSPID: "Org1MSP"})
			s.must(err)
			for _, n := range all {
				nodes = append(nodes, n.Name)
			}
			if slices.Contains(nodes, h.Object()) || slices.Contains(nodes, "dev-kv.trade.peer0.org1") || !slices.Contains(nodes, "dev-kv.trade.peer1.org1") {
				t.Errorf("the containers are %v", nodes)
			}
			if kept := s.fake.Files(h.Object()) != nil; kept != keep {
				t.Errorf("the volume is kept: %t", kept)
			}
			unjoined := slices.ContainsFunc(s.fake.Runs(), func(spec engine.NodeSpec) bool {
				return slices.Equal(spec.Command, []string{"peer", "node", "unjoin", "-c", "trade"}) && spec.Mounts[0].Volume == h.Object()
			})
			if unjoined != keep {
				t.Errorf("unjoined: %t", unjoined)
			}
			record, err := s.again().channelRecord(t.Context(), s.channel)
			s.must(err)
			org := record.Organizations["Org1MSP"]
			if names := slices.Collect(maps.Keys(org.Peers)); !slices.Equal(names, []string{"peer1.org1"}) || !slices.Equal(org.AnchorPeers, []string{"peer1.org1"}) {
				t.Errorf("the record has %v, anchors %v", names, org.AnchorPeers)
			}
			if len(record.Organizations["Org2MSP"].Peers) != 1 || strings.Contains(record.Requested, "peer0.org1") {
				t.Errorf("the record is %+v", record)
			}
			if left, err := s.fake.Leases(t.Context(), nil); err != nil || len(left) > 0 {
				t.Errorf("leases are left: %v, %v", left, err)
			}
			// To its siblings it is not down.
			others, err := s.again().siblings(t.Context(), sibling)
			s.must(err)
			if len(others) > 0 {
				t.Errorf("the siblings are %v", others)
			}
		})
	}
}

// anchor names anchor peers in the record of the channel.
func (s *sketch) anchor(mspID string, names ...string) {
	s.t.Helper()
	spec := s.channelSpec()
	org := spec.Organizations[mspID]
	org.AnchorPeers = names
	spec.Organizations[mspID] = org
	s.must(s.fabric.writeRecord(s.t.Context(), spec, nil))
}

// TestPeerThatCannotLeave: when the work on its ledgers fails, nothing is removed, and it can be asked
// again.
func TestPeerThatCannotLeave(t *testing.T) {
	s := newSketch(t)
	s.serveHolders()
	h := s.peer("peer0.org1", "Org1MSP")
	s.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{ExitCode: 1, Output: []string{"no such luck"}})
	s.fake.SetProgram([]string{"test", "-d", dataFolder + "/ledgersData/chains/chains/trade"}, enginetest.Program{})
	err := s.fabric.DeletePeer(t.Context(), h, Removal{KeepVolumes: true})
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("it got %v", err)
	}
	if n, err := s.fake.Node(t.Context(), h.Object()); err != nil || n.Status != engine.Stopped {
		t.Errorf("the container is %+v, %v", n, err)
	}
	s.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.must(s.again().DeletePeer(ctx, h, Removal{KeepVolumes: true}))
}

// TestLastNodeTakesTheRecord: a channel whose removal was cut short when every node had left it is found
// by nobody; what is left of it goes with the last of its nodes, whoever that is.
func TestLastNodeTakesTheRecord(t *testing.T) {
	for _, order := range []string{"peers first", "cluster first", "at once"} {
		t.Run(order, func(t *testing.T) {
			s := newSketch(t)
			s.serveHolders("OR('Org1MSP.member')")
			f := s.again()
			peers := func() error {
				var jobs together
				for _, p := range []Handle{s.peer("peer0.org1", "Org1MSP"), s.peer("peer1.org1", "Org1MSP"), s.peer("peer0.org2", "Org2MSP")} {
					s.servePeer(p, &sketchPeer{nowhere: true})
					jobs.do(func() error { return f.DeletePeer(t.Context(), p, Removal{}) })
				}
				return jobs.wait()
			}
			cluster := func() error { return f.DeleteOrdererCluster(t.Context(), s.cluster(), map[string]Handle{}, false) }
			steps := []func() error{peers, cluster}
			switch order {
			case "cluster first":
				slices.Reverse(steps)
			case "at once":
				steps = []func() error{func() error {
					var jobs together
					jobs.do(peers)
					jobs.do(cluster)
					return jobs.wait()
				}}
			}
			for i, step := range steps {
				s.must(step())
				_, err := s.fake.Volume(t.Context(), s.channel.record())
				if gone := errors.Is(err, engine.ErrNotFound); gone != (i == len(steps)-1) {
					t.Errorf("after step %d of %d the record is gone: %t (%v)", i+1, len(steps), gone, err)
				}
			}
		})
	}
}
