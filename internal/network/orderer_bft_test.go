package network

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	ordererproto "github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// bftView is a channel of SmartBFT whose ledger lists the nodes o1 to o4; a node of the given number has
// so many blocks and takes another one for the leader of its view.
func bftView(nodes ...ordererView) channelView {
	c := channelView{channel: Handle{Kind: KindChannel, Name: "trade"}, summary: &configtx.Summary{ConsensusType: configtx.ConsensusBFT}}
	for i, host := range []string{"o1", "o2", "o3", "o4"} {
		c.summary.Consenters = append(c.summary.Consenters, configtx.ConsenterSummary{Consenter: configtx.Consenter{ID: uint32(i + 1), Host: host, Port: 7050}})
	}
	c.nodes = nodes
	return c
}

func bftNode(name string, leader uint32, height uint64) ordererView {
	return ordererView{
		node: Handle{Kind: KindOrderer, Name: name}, address: name + ":7050", has: true, measured: true, follows: true,
		relation: participation.RelationConsenter, status: participation.StatusActive, viewLeader: leader, height: height,
	}
}

// TestHeedLedger: who leads is whom most take for the leader, and who is a consenter is what the ledger says.
func TestHeedLedger(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  []ordererView
		leader string
	}{
		{"one and the same", []ordererView{bftNode("o1", 2, 5), bftNode("o2", 2, 5), bftNode("o3", 2, 5)}, "o2"},
		{"one is in a former view", []ordererView{bftNode("o1", 1, 5), bftNode("o2", 2, 5), bftNode("o3", 2, 5)}, "o2"},
		{"the leader does not run", []ordererView{{node: Handle{Kind: KindOrderer, Name: "o1"}, address: "o1:7050", trouble: errNotRunning}, bftNode("o2", 1, 5), bftNode("o3", 1, 5)}, ""},
		{"metrics are switched off", []ordererView{bftNode("o1", 0, 5), bftNode("o2", 0, 5)}, ""},
		{"what it was is not asked", []ordererView{bftNode("o1", 1, 5), bftNode("x", 9, 5), bftNode("y", 9, 5)}, "o1"},
	} {
		view := bftView(c.nodes...)
		view.heedLedger()
		if leader, _ := view.leader(); leader.Name != c.leader {
			t.Errorf("%s: %q leads, want %q", c.name, leader.Name, c.leader)
		}
	}
	view := bftView(bftNode("o1", 1, 5), bftNode("o2", 1, 5), bftNode("o3", 1, 5), bftNode("x", 1, 5))
	view.heedLedger()
	if v := view.nodes[3]; !v.evicted || v.consents() || v.serves() {
		t.Errorf("a node that the ledger does not list is %+v", v)
	}
	if s := view.strength(); s.consenters != 4 || s.working() != 4 || s.external != 1 || len(s.at) != 3 {
		t.Errorf("at work are %+v", s)
	}
	if facts := view.facts(); len(facts.Unlisted) != 1 || facts.Unlisted[0] != "x" || facts.Leader != "o1" || facts.Consensus != configtx.ConsensusBFT {
		t.Errorf("the facts are %+v", facts)
	}
}

// TestSparesAbreast: a node that lacks blocks keeps another one from being taken down, where the quorum needs it.
func TestSparesAbreast(t *testing.T) {
	lagging := bftView(bftNode("o1", 1, 7), bftNode("o2", 1, 6), bftNode("o3", 1, 7), bftNode("o4", 1, 7))
	lagging.heedLedger()
	o3 := lagging.nodes[2].node
	if err := lagging.spares(o3); err != nil {
		t.Fatal(err)
	}
	quorum := new(QuorumError)
	if err := lagging.abreast(7).spares(o3); !errors.As(err, &quorum) || !strings.Contains(err.Error(), "not at work now: o2: it has 6 of 7 blocks") {
		t.Errorf("over a node that lags o3 is spared with %v", err)
	}
	far := bftView(bftNode("o1", 1, 7), bftNode("o2", 1, 5), bftNode("o3", 1, 7), bftNode("o4", 1, 7))
	if far.heedLedger(); far.abreast(0).spares(o3) == nil {
		t.Error("a node that lags by two blocks is held to be at work")
	}
	if err := lagging.abreast(6).spares(o3); err != nil {
		t.Errorf("with heights that agree: %v", err)
	}
	if lagging.nodes[1].trouble != nil {
		t.Error("the view itself was changed")
	}
	raft := channelView{summary: &configtx.Summary{ConsensusType: configtx.ConsensusRaft}, nodes: []ordererView{bftNode("o1", 0, 1)}}
	if raft.abreast(2).nodes[0].trouble != nil {
		t.Error("a Raft node that lags is held to be down")
	}
}

// TestFewNodes: no channel begins with fewer nodes than SmartBFT needs.
func TestFewNodes(t *testing.T) {
	s := newSketch(t)
	record := clusterRecord{MSPID: "OrdererMSP", Ordering: Ordering{Consensus: configtx.ConsensusBFT, BFT: configtx.DefaultBFTOptions()}}
	nodes, err := s.fabric.Orderers(t.Context(), s.cluster())
	s.must(err)
	s.must(s.fabric.recordCluster(t.Context(), nodes, record))
	if capability, err := s.fabric.ChannelCapability(t.Context(), s.cluster()); err != nil || capability != configtx.ChannelCapabilityV3_0 {
		t.Errorf("a new channel has %s: %v", capability, err)
	}
	few := new(FewNodesError)
	if _, err := s.fabric.genesis(t.Context(), s.channelSpec()); !errors.As(err, &few) || few.Nodes != 2 {
		t.Errorf("two nodes give %v", err)
	}
	found, err := s.fabric.FindOrdererCluster(t.Context(), s.network.Network, s.cluster().Name)
	if err != nil || found.Ordering != record.Ordering {
		t.Errorf("the cluster is found as %+v: %v", found.Ordering, err)
	}
}

// TestNewest: what channels have been told of is taken before what a node has, when it is there as a whole.
func TestNewest(t *testing.T) {
	pair := func() (certPEM, keyPEM []byte, fingerprint string) {
		root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "x", Validity: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		keyPEM, err = root.KeyPEM()
		if err != nil {
			t.Fatal(err)
		}
		return root.CertificatePEM(), keyPEM, certificate.PublicKeyFingerprint(root.Certificate)
	}
	cert, key, _ := pair()
	nextCert, nextKey, wanted := pair()
	have := map[string][]byte{tlsFile: cert, tlsKeyFile: key, nextFolder + "/" + tlsFile: nextCert}
	if got, _, next := newest(have, tlsFile, tlsKeyFile); next != nil || string(got) != string(cert) {
		t.Error("half a pair is taken")
	}
	have[nextFolder+"/"+tlsKeyFile] = nextKey
	if got, _, next := newest(have, tlsFile, tlsKeyFile); next == nil || certificate.PublicKeyFingerprint(next.Certificate) != wanted || string(got) != string(nextCert) {
		t.Error("the next pair is not taken")
	}
	have[nextFolder+"/"+tlsFile], have[nextFolder+"/"+tlsKeyFile] = nil, nil // as it is after the node has it
	if _, _, next := newest(have, tlsFile, tlsKeyFile); next != nil {
		t.Error("an erased pair is taken")
	}
}

// TestStartingAsKnown: a node starts with what the channels know it by.
func TestStartingAsKnown(t *testing.T) {
	spec := ClusterSpec{Nodes: map[string]OrdererSpec{"o1": {Handle: Handle{Name: "o1"}}}}
	node := spec.Nodes["o1"]
	node.Renewal = Renewal{Retire: []string{"a"}, Revoke: []string{"b"}, KeyVersion: 2}
	spec.Nodes["o1"] = node
	if o := spec.startingAsKnown("o1").Nodes["o1"]; len(o.Revoke) != 0 || len(o.Retire) != 1 || o.Known {
		t.Errorf("with Raft it starts with %+v", o.Renewal)
	}
	spec.Consensus = configtx.ConsensusBFT
	if o := spec.startingAsKnown("o1").Nodes["o1"]; len(o.Revoke) != 0 || len(o.Retire) != 0 || !o.Known || o.KeyVersion != 2 {
		t.Errorf("with SmartBFT it starts with %+v", o.Renewal)
	}
	w := &clusterWork{spec: spec}
	o1 := spec.Nodes["o1"].Handle
	if rolled, err := w.rekeyed([]Handle{o1}, nil); err != nil || len(rolled) != 1 {
		t.Errorf("it is rolled: %v, %v", rolled, err)
	}
	node.Retire, node.Revoke = nil, nil
	spec.Nodes["o1"] = node
	if rolled, err := w.rekeyed([]Handle{o1}, nil); err != nil || len(rolled) != 0 {
		t.Errorf("with nothing to replace it is rolled: %v, %v", rolled, err)
	}
}

// taker answers whoever submits to it.
type taker struct {
	ordererproto.UnimplementedAtomicBroadcastServer
	answer common.Status
	took   int
}

func (t *taker) Broadcast(stream ordererproto.AtomicBroadcast_BroadcastServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	t.took++
	return stream.Send(&ordererproto.BroadcastResponse{Status: t.answer})
}

// TestSubmitToAll: an update goes to every node, and is taken when one more has it than may lie.
func TestSubmitToAll(t *testing.T) {
	for _, c := range []struct {
		first, second common.Status
		refused       bool
	}{
		{common.Status_SUCCESS, common.Status_SUCCESS, false},
		{common.Status_SERVICE_UNAVAILABLE, common.Status_SUCCESS, false},
		{common.Status_BAD_REQUEST, common.Status_FORBIDDEN, true},
	} {
		s := newSketch(t)
		nodes := []*taker{{answer: c.first}, {answer: c.second}}
		orderers := []Handle{s.orderer("orderer0"), s.orderer("orderer1")}
		for i, o := range orderers {
			s.serve(o, ordererPort, func(server *grpc.Server) { ordererproto.RegisterAtomicBroadcastServer(server, nodes[i]) })
		}
		err := s.fabric.submitToAll(orderers, &common.Envelope{})(t.Context())
		if status := new(orderer.StatusError); c.refused != errors.As(err, &status) || c.refused != (err != nil) {
			t.Errorf("%v and %v give %v", c.first, c.second, err)
		}
		if nodes[0].took != 1 || nodes[1].took != 1 {
			t.Errorf("it was given to %d and %d", nodes[0].took, nodes[1].took)
		}
	}
}
