package network

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

func TestSourceFor(t *testing.T) {
	peer := func(name, mspID string) Handle {
		return Handle{Kind: KindPeer, Network: "dev", Name: name, MSPID: mspID}
	}
	late := peer("peer1.org1", "Org1MSP")
	own, behind, other := peer("peer0.org1", "Org1MSP"), peer("peer2.org1", "Org1MSP"), peer("peer0.org2", "Org2MSP")
	for name, test := range map[string]struct {
		have []heightAnswer
		want Handle
	}{
		"nobody":               {nil, Handle{}},
		"the first block only": {[]heightAnswer{{own, 1}, {other, 1}}, Handle{}},
		"its own organization": {[]heightAnswer{{other, 9}, {own, 7}}, own},
		"the furthest of them": {[]heightAnswer{{behind, 5}, {own, 7}, {other, 9}}, own},
		"another organization": {[]heightAnswer{{own, 1}, {other, 9}}, other},
	} {
		got, ok := sourceFor(late, test.have)
		if got != test.want || ok != (test.want != Handle{}) {
			t.Errorf("%s: %v, %t", name, got, ok)
		}
	}
}

// snapshotPeer writes snapshots to its volume, and joins from one there.
type snapshotPeer struct {
	peer.UnimplementedSnapshotServer
	*sketchPeer
	s  *sketch
	of Handle

	mu      sync.Mutex
	pending []uint64
	// began is the folder that it joined from.
	began string
}

func (p *snapshotPeer) ProcessProposal(ctx context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	proposal, payload, call := &peer.Proposal{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if err := errors.Join(
		proto.Unmarshal(signed.GetProposalBytes(), proposal), proto.Unmarshal(proposal.GetPayload(), payload), proto.Unmarshal(payload.GetInput(), call),
	); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch args := call.GetChaincodeSpec().GetInput().GetArgs(); string(args[0]) {
	case "JoinBySnapshotStatus":
		return &peer.ProposalResponse{Response: &peer.Response{Status: 200}}, nil
	case "JoinChainBySnapshot":
		p.began, p.nowhere = string(args[1]), false
		return &peer.ProposalResponse{Response: &peer.Response{Status: 200}}, nil
	}
	return p.sketchPeer.ProcessProposal(ctx, signed)
}

func (p *snapshotPeer) request(signed *peer.SignedSnapshotRequest) uint64 {
	request := &peer.SnapshotRequest{}
	p.s.must(proto.Unmarshal(signed.GetRequest(), request))
	return request.GetBlockNumber()
}

func (p *snapshotPeer) Generate(_ context.Context, signed *peer.SignedSnapshotRequest) (*emptypb.Empty, error) {
	p.write(p.request(signed))
	return &emptypb.Empty{}, nil
}

func (p *snapshotPeer) write(block uint64) {
	p.s.fake.WriteVolume(p.of.Object(), engine.File{
		Name: strings.TrimPrefix(completedSnapshot("trade", block), volumeRoot+"/") + "/" + snapshotMetadata, Content: []byte("{}"),
	})
}

func (p *snapshotPeer) Cancel(_ context.Context, signed *peer.SignedSnapshotRequest) (*emptypb.Empty, error) {
	block := p.request(signed)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = slices.DeleteFunc(p.pending, func(b uint64) bool { return b == block })
	return &emptypb.Empty{}, nil
}

func (p *snapshotPeer) QueryPendings(context.Context, *peer.SignedSnapshotRequest) (*peer.QueryPendingSnapshotsResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &peer.QueryPendingSnapshotsResponse{BlockNumbers: slices.Clone(p.pending)}, nil
}

// TestJoinFromSnapshot: a peer begins with what the engine has carried to its volume, and what goes
// with that is removed, what an apply that was killed left as well.
func TestJoinFromSnapshot(t *testing.T) {
	for name, test := range map[string]struct {
		before func(s *sketch, source, target *snapshotPeer)
		// removed are the folders that are removed from the volumes, of the source and of the target.
		removed []string
	}{
		"alone": {func(*sketch, *snapshotPeer, *snapshotPeer) {}, []string{"completed/trade/6", "temp/6"}},
		"after one that was killed": {func(s *sketch, source, target *snapshotPeer) {
			source.pending = []uint64{4}
			s.must(s.fabric.createMark(s.t.Context(), source.of, "peer:3.1.1", "trade", completedSnapshot("trade", 4)))
			s.must(s.fabric.createMark(s.t.Context(), target.of, "peer:3.1.1", "other", incomingSnapshot(9)))
			labels := target.of.labels()
			labels[labelOnce], labels[engine.LabelSpecHash] = "true", "once"
			s.must(s.fake.CreateNode(s.t.Context(), engine.NodeSpec{Name: target.of.Object() + "-once-1f", Image: "peer:3.1.1", User: nodeUser, Labels: labels}))
		}, []string{"completed/trade/4", "completed/trade/6", "temp/6", "temp/9"}},
		"with a snapshot of somebody else": {func(_ *sketch, source, _ *snapshotPeer) { source.write(6) }, []string{"temp/6"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch(t)
			source := &snapshotPeer{s: s, of: s.peer("peer0.org1", "Org1MSP"), sketchPeer: &sketchPeer{height: 7}}
			target := &snapshotPeer{s: s, of: s.peer("peer1.org1", "Org1MSP"), sketchPeer: &sketchPeer{nowhere: true}}
			for _, p := range []*snapshotPeer{source, target} {
				s.serve(p.of, peerPort, func(server *grpc.Server) {
					peer.RegisterEndorserServer(server, p)
					peer.RegisterSnapshotServer(server, p)
				})
			}
			for _, folder := range []string{"completed/trade/4", "completed/trade/6", "temp/6", "temp/9"} {
				s.fake.SetProgram([]string{"rm", "-rf", snapshotsFolder + "/" + folder}, enginetest.Program{})
			}
			test.before(s, source, target)
			entry := channelEntry{channel: s.channel, orderers: []Handle{s.orderer("orderer0")}}
			s.must(s.fabric.join(t.Context(), entry, []Handle{source.of, target.of}, []Handle{target.of}, true))

			if target.began != incomingSnapshot(6) || source.began != "" || len(source.pending) > 0 {
				t.Errorf("the peer began with %q; %v are pending", target.began, source.pending)
			}
			arrived := strings.TrimPrefix(target.began, volumeRoot+"/") + "/" + snapshotMetadata
			if string(s.fake.Files(target.of.Object())[arrived].Content) != "{}" {
				t.Errorf("the snapshot is not on its volume: %v", slices.Sorted(maps.Keys(s.fake.Files(target.of.Object()))))
			}
			var removed []string
			for _, run := range s.fake.Runs() {
				removed = append(removed, strings.TrimPrefix(run.Command[len(run.Command)-1], snapshotsFolder+"/"))
			}
			slices.Sort(removed)
			if removed = slices.Compact(removed); !slices.Equal(removed, test.removed) {
				t.Errorf("removed were %v, want %v", removed, test.removed)
			}
			left, err := s.fabric.marks(t.Context(), s.network, []Handle{source.of, target.of})
			if err != nil || len(left) > 0 {
				t.Errorf("%v are left: %v", left, err)
			}
			if runs, err := s.fake.Nodes(t.Context(), map[string]string{labelOnce: "true", engine.LabelKind: string(KindPeer)}); err != nil || len(runs) > 0 {
				t.Errorf("%v are left: %v", runs, err)
			}
		})
	}
}
