// Package orderer speaks the AtomicBroadcast service of an ordering node: it fetches blocks and
// submits envelopes.
//
// Source: proto orderer/ab.proto, and the handlers common/deliver and orderer/common/broadcast in
// Fabric.
package orderer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// What a caller decides on; test with errors.Is.
var (
	// ErrChannelNotFound says that the node has not joined the channel.
	ErrChannelNotFound = errors.New("the ordering node has not joined the channel")
	// ErrBlockNotFound says that the node has the channel but not yet the block.
	ErrBlockNotFound = errors.New("the ordering node does not have the block")
)

// StatusError is a status other than SUCCESS that an ordering node answered with.
type StatusError struct {
	// Channel is the channel that was asked about; empty when the envelope does not tell.
	Channel string
	// Status is the node's status, for example SERVICE_UNAVAILABLE, FORBIDDEN, BAD_REQUEST.
	Status common.Status
	// Info is the reason that the node gave; fetching blocks never gives one.
	Info string

	meaning error
}

func (e *StatusError) Error() string {
	text := "the ordering node answered " + e.Status.String()
	switch {
	case e.meaning != nil:
		text += ": " + e.meaning.Error()
	case e.Info != "":
		text += ": " + e.Info
	}
	return text
}

// Transient is true of SERVICE_UNAVAILABLE: the node has no leader, is catching up, or is in
// maintenance.
func (e *StatusError) Transient() bool { return e.Status == common.Status_SERVICE_UNAVAILABLE }

// Unwrap gives ErrChannelNotFound or ErrBlockNotFound where the status means that.
func (e *StatusError) Unwrap() error { return e.meaning }

// Position is a place in a channel's chain.
type Position struct{ seek *orderer.SeekPosition }

// Newest is the last block of the node.
func Newest() Position {
	return Position{&orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}}}
}

// Oldest is the first block of the node, the genesis block.
func Oldest() Position {
	return Position{&orderer.SeekPosition{Type: &orderer.SeekPosition_Oldest{Oldest: &orderer.SeekOldest{}}}}
}

// At is the block of the given number, counted from 0.
func At(number uint64) Position {
	return Position{&orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: number}}}}
}

type options struct {
	bestEffort  bool
	tlsCertHash []byte
}

// Option changes how blocks are fetched.
type Option func(*options)

// BestEffort makes the node serve what it has even when it has no leader: for recovery.
func BestEffort() Option { return func(o *options) { o.bestEffort = true } }

// WithTLSCertHash sets the SHA-256 of the client's TLS certificate (DER), which a node that demands
// mutual TLS on its general endpoint compares with the connection's.
func WithTLSCertHash(hash []byte) Option { return func(o *options) { o.tlsCertHash = hash } }

// Block fetches one block of the channel, read as identity. It never waits for a block: one that the
// node does not have yet is ErrBlockNotFound, a channel that it has not joined ErrChannelNotFound;
// other refusals are *StatusError. A Raft node of three or more consenters answers
// SERVICE_UNAVAILABLE while it knows no leader, unless BestEffort is given.
func Block(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string, position Position, opts ...Option) (*common.Block, error) {
	settings := options{}
	for _, set := range opts {
		set(&settings)
	}
	block, err := fetch(ctx, conn, identity, channel, position, settings)
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == common.Status_NOT_FOUND {
		refused.meaning = ErrChannelNotFound
		if _, specified := position.seek.GetType().(*orderer.SeekPosition_Specified); specified {
			// The same status stands for both; a channel that has any block has been joined.
			if _, probe := fetch(ctx, conn, identity, channel, Newest(), settings); probe == nil {
				refused.meaning = ErrBlockNotFound
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to fetch a block of channel %s: %w", channel, err)
	}
	return block, nil
}

// LastConfigBlock fetches the channel's current config block: the newest block says which one it is.
func LastConfigBlock(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string, opts ...Option) (*common.Block, error) {
	newest, err := Block(ctx, conn, identity, channel, Newest(), opts...)
	if err != nil {
		return nil, err
	}
	index, err := configtx.LastConfigIndex(newest)
	if err != nil {
		return nil, fmt.Errorf("unable to find the config block of channel %s: %w", channel, err)
	}
	if index == newest.GetHeader().GetNumber() {
		return newest, nil
	}
	return Block(ctx, conn, identity, channel, At(index), opts...)
}

// HasLeader asks whether the node knows a leader of the channel, by asking for a block: a Raft node
// refuses with SERVICE_UNAVAILABLE from its join until it first sees a leader, and again whenever it
// loses it in a channel of three or more consenters. In a channel of one or two consenters a leader
// that was lost later does not show, and SmartBFT nodes always answer true. A node that has not
// joined is ErrChannelNotFound.
func HasLeader(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string) (bool, error) {
	_, err := Block(ctx, conn, identity, channel, Newest())
	var refused *StatusError
	if errors.As(err, &refused) && refused.Status == common.Status_SERVICE_UNAVAILABLE {
		return false, nil
	}
	return err == nil, err
}

// leaderPolicy asks often: a leader is there about a second after the first join.
var leaderPolicy = retry.Policy{
	InitialInterval: 20 * time.Millisecond, MaxInterval: 200 * time.Millisecond,
	MaxElapsed: 2 * time.Minute, AttemptTimeout: 10 * time.Second,
}

// AwaitLeader waits until the node knows a leader, at most two minutes; what HasLeader cannot see it
// cannot wait for. A node that cannot be reached meanwhile is asked again; one that has not joined is
// ErrChannelNotFound.
func AwaitLeader(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string) error {
	_, err := retry.Do(ctx, leaderPolicy, func(ctx context.Context) (*common.Block, error) {
		return Block(ctx, conn, identity, channel, Newest())
	})
	if err != nil {
		return fmt.Errorf("unable to see a leader of channel %s: %w", channel, err)
	}
	return nil
}

// Broadcast submits a signed envelope for ordering. Success means that the node took it, not that
// it is in a block. A refusal is a *StatusError; SERVICE_UNAVAILABLE among them is transient.
func Broadcast(ctx context.Context, conn grpc.ClientConnInterface, envelope *common.Envelope) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := orderer.NewAtomicBroadcastClient(conn).Broadcast(ctx)
	if err != nil {
		return fmt.Errorf("unable to submit to the ordering node: %w", err)
	}
	// A failed Send is io.EOF; the reason comes with Recv.
	if err := stream.Send(envelope); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("unable to submit to the ordering node: %w", err)
	}
	response, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("unable to submit to the ordering node: %w", err)
	}
	if response.GetStatus() != common.Status_SUCCESS {
		return fmt.Errorf("unable to submit to the ordering node: %w",
			&StatusError{Channel: channelOf(envelope), Status: response.GetStatus(), Info: response.GetInfo()})
	}
	return nil
}

// fetch asks for exactly one block.
func fetch(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string, position Position, settings options) (*common.Block, error) {
	seek := &orderer.SeekInfo{Start: position.seek, Stop: position.seek, Behavior: orderer.SeekInfo_FAIL_IF_NOT_READY}
	if settings.bestEffort {
		seek.ErrorResponse = orderer.SeekInfo_BEST_EFFORT
	}
	envelope, err := seekEnvelope(identity, channel, seek, settings.tlsCertHash)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := orderer.NewAtomicBroadcastClient(conn).Deliver(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(envelope); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	response, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	switch answer := response.GetType().(type) {
	case *orderer.DeliverResponse_Block:
		if answer.Block.GetHeader() == nil || len(answer.Block.GetData().GetData()) == 0 {
			return nil, errors.New("the ordering node sent an empty block")
		}
		return answer.Block, nil
	case *orderer.DeliverResponse_Status:
		if answer.Status == common.Status_SUCCESS {
			return nil, errors.New("the ordering node sent no block")
		}
		return nil, &StatusError{Channel: channel, Status: answer.Status}
	default:
		return nil, fmt.Errorf("the ordering node sent neither a block nor a status but %T", answer)
	}
}

func seekEnvelope(identity *msp.Identity, channel string, seek *orderer.SeekInfo, tlsCertHash []byte) (*common.Envelope, error) {
	creator, err := identity.Serialized()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	channelHeader, err := proto.Marshal(&common.ChannelHeader{
		Type: int32(common.HeaderType_DELIVER_SEEK_INFO), ChannelId: channel,
		Timestamp: timestamppb.Now(), TlsCertHash: tlsCertHash,
	})
	if err != nil {
		return nil, err
	}
	signatureHeader, err := proto.Marshal(&common.SignatureHeader{Creator: creator, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	data, err := proto.Marshal(seek)
	if err != nil {
		return nil, err
	}
	payload, err := proto.Marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: channelHeader, SignatureHeader: signatureHeader}, Data: data,
	})
	if err != nil {
		return nil, err
	}
	signature, err := identity.Sign(payload)
	if err != nil {
		return nil, err
	}
	return &common.Envelope{Payload: payload, Signature: signature}, nil
}

// channelOf reads the channel of an envelope for an error message.
func channelOf(envelope *common.Envelope) string {
	payload, header := &common.Payload{}, &common.ChannelHeader{}
	if proto.Unmarshal(envelope.GetPayload(), payload) != nil || proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header) != nil {
		return ""
	}
	return header.GetChannelId()
}
