package network

import (
	"slices"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestList finds each thing once, by what the engine tells of it, and nothing that only serves one.
func TestList(t *testing.T) {
	s := newSketch(t)
	ctx, org := t.Context(), s.organization("Org2MSP")
	s.must(s.fabric.writeKeys(ctx, org, map[string][]byte{
		identitiesFolder + "clerk/cert.pem": []byte("certificate"), identitiesFolder + "clerk/key.pem": []byte("key"),
		identitiesFolder + "erased/cert.pem": nil, organizationCRL: []byte("list"),
	}))
	s.must(s.fabric.writeMembership(ctx, MembershipSpec{Handle: org.With(KindChannelMembership, "notes", "Org2MSP")}))
	node := func(name string, of Handle, more map[string]string) {
		labels := of.labels()
		for label, value := range more {
			labels[label] = value
		}
		s.fake.AddNode(engine.Node{Name: name, Labels: labels})
	}
	for _, on := range []string{"peer0.org1", "peer0.org2"} {
		node("server-"+on, s.network.With(KindChaincode, "asset."+on, ""), map[string]string{labelChannel: "trade", labelChaincode: "asset"})
	}
	node("joined", s.network.With(KindOrderer, "orderer0.org2", "Org2MSP"), nil)
	node("once", s.network.With(KindPeer, "peer9", "Org1MSP"), map[string]string{labelOnce: "true"})
	elsewhere := Handle{Kind: KindPeer, Network: "other", Owner: "fedcba9876543210", Name: "peer0.org1", MSPID: "Org1MSP"}
	node("other-peer0.org1", elsewhere, nil)
	s.fake.AddVolume(engine.Volume{Name: "other-peer0.org1", Labels: elsewhere.labels()})
	tenant := s.network.With(KindPeer, "tenant", "")
	tenant.Owner = "tenant"
	s.fake.AddVolume(engine.Volume{Name: "dev-tenant", Labels: tenant.labels()})

	expect := func(kind Kind, filter Filter, want ...string) {
		t.Helper()
		found, err := s.fabric.List(ctx, kind, filter)
		s.must(err)
		var got []string
		for _, h := range found {
			got = append(got, h.Network+"/"+h.MSPID+"/"+h.Name)
			if h.Kind != kind || h.Owner == "" {
				t.Errorf("%s has the handle %+v", h, h)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %+v: %q, want %q", kind, filter, got, want)
		}
	}
	dev := Filter{Network: "dev"}
	expect(KindNetwork, Filter{}, "dev//dev", "dev//dev", "other//other") // dev is shared by two
	expect(KindNetwork, Filter{Network: "dev", Owner: "tenant"}, "dev//dev")
	expect(KindOrganization, dev, "dev/OrdererMSP/OrdererMSP", "dev/Org1MSP/Org1MSP", "dev/Org2MSP/Org2MSP")
	expect(KindIdentity, dev, "dev/Org2MSP/clerk")
	expect(KindCRL, dev, "dev/Org2MSP/Org2MSP")
	expect(KindChannelMembership, dev, "dev/Org2MSP/notes")
	expect(KindOrdererCluster, dev, "dev//raft")
	expect(KindOrderer, dev, "dev/Org2MSP/orderer0.org2")
	expect(KindPeer, dev, "dev/Org1MSP/peer0.org1", "dev/Org1MSP/peer1.org1", "dev/Org2MSP/peer0.org2")
	expect(KindPeer, Filter{Owner: "fedcba9876543210"}, "other/Org1MSP/peer0.org1")
	expect(KindChannel, dev, "dev//trade")
	expect(KindChaincode, dev, "dev//trade/asset")
	expect(KindPeer, Filter{Network: "nowhere"})

	all, err := s.fabric.ListAll(ctx, Filter{Network: "dev", Owner: s.network.Owner})
	s.must(err)
	if len(all) != 17 || all[0].Kind != KindNetwork {
		t.Errorf("everything is %v", all)
	}
}
