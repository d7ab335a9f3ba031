package orderer

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// node is an ordering node with one channel.
type node struct {
	orderer.UnimplementedAtomicBroadcastServer
	channel string
	blocks  []*common.Block
	// unavailable counts down the questions that are answered with SERVICE_UNAVAILABLE.
	unavailable int
	// forced is answered to everything when it is set.
	forced common.Status
	// seen is the last message, and seek what it asked for.
	seen *common.Envelope
	seek *orderer.SeekInfo
	head *common.ChannelHeader
	// reply is what a broadcast is answered with; nil ends the stream without an answer.
	reply *orderer.BroadcastResponse
}

func (n *node) Deliver(stream orderer.AtomicBroadcast_DeliverServer) error {
	envelope, err := stream.Recv()
	if err != nil {
		return err
	}
	n.seen, n.seek, n.head = envelope, &orderer.SeekInfo{}, &common.ChannelHeader{}
	payload := &common.Payload{}
	for _, err := range []error{
		proto.Unmarshal(envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), n.seek),
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), n.head),
	} {
		if err != nil {
			return err
		}
	}
	refuse := func(s common.Status) error {
		return stream.Send(&orderer.DeliverResponse{Type: &orderer.DeliverResponse_Status{Status: s}})
	}
	switch {
	case n.forced != 0:
		return refuse(n.forced)
	case n.head.GetChannelId() != n.channel:
		return refuse(common.Status_NOT_FOUND)
	case n.unavailable > 0 && n.seek.GetErrorResponse() == orderer.SeekInfo_STRICT:
		n.unavailable--
		return refuse(common.Status_SERVICE_UNAVAILABLE)
	}
	number := uint64(len(n.blocks) - 1)
	switch position := n.seek.GetStart().GetType().(type) {
	case *orderer.SeekPosition_Oldest:
		number = 0
	case *orderer.SeekPosition_Specified:
		number = position.Specified.GetNumber()
	}
	if number >= uint64(len(n.blocks)) {
		return refuse(common.Status_NOT_FOUND)
	}
	return stream.Send(&orderer.DeliverResponse{Type: &orderer.DeliverResponse_Block{Block: n.blocks[number]}})
}

func (n *node) Broadcast(stream orderer.AtomicBroadcast_BroadcastServer) error {
	envelope, err := stream.Recv()
	if err != nil {
		return err
	}
	n.seen = envelope
	if n.reply == nil {
		return status.Error(codes.Unavailable, "shutting down")
	}
	return stream.Send(n.reply)
}

// chain makes a chain of three blocks whose config block is number 1.
func chain(t *testing.T) []*common.Block {
	t.Helper()
	blocks := make([]*common.Block, 3)
	for i := range blocks {
		last, err := proto.Marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: uint64(min(i, 1))}})
		if err != nil {
			t.Fatal(err)
		}
		signatures, err := proto.Marshal(&common.Metadata{Value: last})
		if err != nil {
			t.Fatal(err)
		}
		blocks[i] = &common.Block{
			Header:   &common.BlockHeader{Number: uint64(i)},
			Data:     &common.BlockData{Data: [][]byte{{byte(i)}}},
			Metadata: &common.BlockMetadata{Metadata: [][]byte{signatures, nil, nil}},
		}
	}
	return blocks
}

func serve(t *testing.T, n *node) *grpc.ClientConn {
	t.Helper()
	return grpctest.Serve(t, func(s *grpc.Server) { orderer.RegisterAtomicBroadcastServer(s, n) })
}

func TestBlock(t *testing.T) {
	n, identity := &node{channel: "trade", blocks: chain(t)}, grpctest.Identity(t)
	conn := serve(t, n)
	for name, test := range map[string]struct {
		position Position
		want     uint64
	}{"newest": {Newest(), 2}, "oldest": {Oldest(), 0}, "by number": {At(1), 1}} {
		block, err := Block(t.Context(), conn, identity, "trade", test.position)
		if err != nil || block.GetHeader().GetNumber() != test.want {
			t.Errorf("%s: %v, %v", name, block.GetHeader(), err)
		}
		if !proto.Equal(n.seek.GetStart(), n.seek.GetStop()) || n.seek.GetBehavior() != orderer.SeekInfo_FAIL_IF_NOT_READY {
			t.Errorf("%s: asked for %v", name, n.seek)
		}
	}
}

func TestBlockIsAskedForAsTheIdentity(t *testing.T) {
	n, identity := &node{channel: "trade", blocks: chain(t)}, grpctest.Identity(t)
	conn := serve(t, n)
	if _, err := Block(t.Context(), conn, identity, "trade", Oldest(), WithTLSCertHash([]byte("hash"))); err != nil {
		t.Fatal(err)
	}
	payload, signatureHeader := &common.Payload{}, &common.SignatureHeader{}
	if err := proto.Unmarshal(n.seen.GetPayload(), payload); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), signatureHeader); err != nil {
		t.Fatal(err)
	}
	creator, err := identity.Serialized()
	if err != nil || !bytes.Equal(signatureHeader.GetCreator(), creator) || len(signatureHeader.GetNonce()) != 24 {
		t.Errorf("signature header %v, %v", signatureHeader, err)
	}
	if n.head.GetType() != int32(common.HeaderType_DELIVER_SEEK_INFO) || string(n.head.GetTlsCertHash()) != "hash" || n.head.GetTimestamp() == nil {
		t.Errorf("channel header %v", n.head)
	}
	grpctest.Verify(t, identity, n.seen.GetPayload(), n.seen.GetSignature())
}

func TestBlockNotThere(t *testing.T) {
	n, identity := &node{channel: "trade", blocks: chain(t)}, grpctest.Identity(t)
	conn := serve(t, n)
	_, err := Block(t.Context(), conn, identity, "trade", At(3))
	if !errors.Is(err, ErrBlockNotFound) || errors.Is(err, ErrChannelNotFound) {
		t.Errorf("a block of the future: %v", err)
	}
	for name, position := range map[string]Position{"newest": Newest(), "by number": At(0)} {
		_, err = Block(t.Context(), conn, identity, "other", position)
		if !errors.Is(err, ErrChannelNotFound) || errors.Is(err, ErrBlockNotFound) || retry.Transient(err) {
			t.Errorf("%s of a channel that is not there: %v", name, err)
		}
	}
	n.forced = common.Status_FORBIDDEN
	var refused *StatusError
	_, err = Block(t.Context(), conn, identity, "trade", Newest())
	if !errors.As(err, &refused) || refused.Status != common.Status_FORBIDDEN || refused.Channel != "trade" || retry.Transient(err) {
		t.Errorf("as a stranger: %v", err)
	}
	n.forced = common.Status_SUCCESS
	if _, err = Block(t.Context(), conn, identity, "trade", Newest()); err == nil {
		t.Error("a success without a block passed for a block")
	}
	n.forced, n.blocks[2] = 0, &common.Block{}
	if _, err = Block(t.Context(), conn, identity, "trade", Newest()); err == nil {
		t.Error("an empty block passed for a block")
	}
}

func TestLastConfigBlock(t *testing.T) {
	n, identity := &node{channel: "trade", blocks: chain(t)}, grpctest.Identity(t)
	conn := serve(t, n)
	block, err := LastConfigBlock(t.Context(), conn, identity, "trade")
	if err != nil || block.GetHeader().GetNumber() != 1 {
		t.Errorf("%v, %v", block.GetHeader(), err)
	}
	n.blocks = n.blocks[:2]
	if block, err = LastConfigBlock(t.Context(), conn, identity, "trade"); err != nil || block.GetHeader().GetNumber() != 1 {
		t.Errorf("when it is the newest: %v, %v", block.GetHeader(), err)
	}
	n.blocks[1].Metadata = nil
	if _, err = LastConfigBlock(t.Context(), conn, identity, "trade"); err == nil {
		t.Error("a block without metadata told of its config block")
	}
}

func TestLeader(t *testing.T) {
	n, identity := &node{channel: "trade", blocks: chain(t), unavailable: 1}, grpctest.Identity(t)
	conn := serve(t, n)
	if has, err := HasLeader(t.Context(), conn, identity, "trade"); has || err != nil {
		t.Errorf("before: %t, %v", has, err)
	}
	if has, err := HasLeader(t.Context(), conn, identity, "trade"); !has || err != nil {
		t.Errorf("after: %t, %v", has, err)
	}
	if _, err := HasLeader(t.Context(), conn, identity, "other"); !errors.Is(err, ErrChannelNotFound) {
		t.Errorf("of a channel that is not there: %v", err)
	}
	n.unavailable = 3
	if err := AwaitLeader(t.Context(), conn, identity, "trade"); err != nil || n.unavailable != 0 {
		t.Errorf("AwaitLeader: %v with %d questions left", err, n.unavailable)
	}
	if err := AwaitLeader(t.Context(), conn, identity, "other"); !errors.Is(err, ErrChannelNotFound) {
		t.Errorf("AwaitLeader of a channel that is not there: %v", err)
	}
	n.unavailable = 1
	_, err := Block(t.Context(), conn, identity, "trade", Newest())
	var refused *StatusError
	if !errors.As(err, &refused) || !refused.Transient() || !retry.Transient(err) {
		t.Errorf("a block without a leader: %v", err)
	}
	n.unavailable = 1
	if _, err := Block(t.Context(), conn, identity, "trade", Newest(), BestEffort()); err != nil {
		t.Errorf("best effort: %v", err)
	}
}

func TestBroadcast(t *testing.T) {
	header, err := proto.Marshal(&common.ChannelHeader{ChannelId: "trade"})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(&common.Payload{Header: &common.Header{ChannelHeader: header}})
	if err != nil {
		t.Fatal(err)
	}
	envelope := &common.Envelope{Payload: payload, Signature: []byte("signature")}
	n := &node{reply: &orderer.BroadcastResponse{Status: common.Status_SUCCESS}}
	conn := serve(t, n)
	if err := Broadcast(t.Context(), conn, envelope); err != nil || !proto.Equal(n.seen, envelope) {
		t.Errorf("%v, sent %v", err, n.seen)
	}
	for answered, transient := range map[common.Status]bool{
		common.Status_BAD_REQUEST: false, common.Status_FORBIDDEN: false, common.Status_SERVICE_UNAVAILABLE: true,
	} {
		n.reply = &orderer.BroadcastResponse{Status: answered, Info: "the reason"}
		err := Broadcast(t.Context(), conn, envelope)
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Status != answered || refused.Channel != "trade" || !strings.Contains(err.Error(), "the reason") {
			t.Errorf("%s: %v", answered, err)
		}
		if retry.Transient(err) != transient {
			t.Errorf("%s: transient is %t", answered, retry.Transient(err))
		}
	}
	n.reply = nil
	if err := Broadcast(t.Context(), conn, envelope); status.Code(errors.Unwrap(err)) != codes.Unavailable || !retry.Transient(err) {
		t.Errorf("without an answer: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Broadcast(ctx, conn, envelope); err == nil {
		t.Error("a cancelled call succeeded")
	}
}
