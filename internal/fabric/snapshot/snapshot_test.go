package snapshot

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// service is a peer's, which holds every request to its signature.
type service struct {
	peer.UnimplementedSnapshotServer
	t        *testing.T
	identity *msp.Identity
	pending  []uint64
}

func (s *service) open(signed *peer.SignedSnapshotRequest) *peer.SnapshotRequest {
	grpctest.Verify(s.t, s.identity, signed.GetRequest(), signed.GetSignature())
	request := &peer.SnapshotRequest{}
	creator, err := s.identity.Serialized()
	if err = errors.Join(err, proto.Unmarshal(signed.GetRequest(), request)); err != nil {
		s.t.Error(err)
	}
	if request.GetChannelId() != "trade" || len(request.GetSignatureHeader().GetNonce()) == 0 || string(request.GetSignatureHeader().GetCreator()) != string(creator) {
		s.t.Errorf("asked for %v", request)
	}
	return request
}

func (s *service) Generate(_ context.Context, signed *peer.SignedSnapshotRequest) (*emptypb.Empty, error) {
	block := s.open(signed).GetBlockNumber()
	if slices.Contains(s.pending, block) {
		return nil, errors.New("duplicate snapshot request")
	}
	s.pending = append(s.pending, block)
	return &emptypb.Empty{}, nil
}

func (s *service) Cancel(_ context.Context, signed *peer.SignedSnapshotRequest) (*emptypb.Empty, error) {
	at := slices.Index(s.pending, s.open(signed).GetBlockNumber())
	if at < 0 {
		return nil, errors.New("no snapshot request exists")
	}
	s.pending = slices.Delete(s.pending, at, at+1)
	return &emptypb.Empty{}, nil
}

func (s *service) QueryPendings(_ context.Context, signed *peer.SignedSnapshotRequest) (*peer.QueryPendingSnapshotsResponse, error) {
	s.open(signed) // a query has the same fields
	return &peer.QueryPendingSnapshotsResponse{BlockNumbers: s.pending}, nil
}

func TestRequests(t *testing.T) {
	s := &service{t: t, identity: grpctest.Identity(t)}
	conn := grpctest.Serve(t, func(server *grpc.Server) { peer.RegisterSnapshotServer(server, s) })
	expect := func(want ...uint64) {
		t.Helper()
		if pending, err := Pending(t.Context(), conn, s.identity, "trade"); err != nil || !slices.Equal(pending, want) {
			t.Errorf("pending are %v, want %v: %v", pending, want, err)
		}
	}
	expect()
	if err := Generate(t.Context(), conn, s.identity, "trade", 7); err != nil {
		t.Error(err)
	}
	expect(7)
	if err := Generate(t.Context(), conn, s.identity, "trade", 7); err == nil {
		t.Error("a second request of the same was no error")
	}
	if err := Cancel(t.Context(), conn, s.identity, "trade", 7); err != nil {
		t.Error(err)
	}
	expect()
	if err := Cancel(t.Context(), conn, s.identity, "trade", 7); err == nil {
		t.Error("to withdraw what is not there was no error")
	}
}
