// Package snapshot speaks the Snapshot service of a peer: the peer writes the state of a channel, as it
// is after a block, to files on its own file system, with which another peer can begin.
//
// Source: protos peer/snapshot.proto, and core/ledger/snapshotgrpc and core/ledger/kvledger in Fabric.
package snapshot

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Generate asks the peer for a snapshot of the channel as it is after a block; the answer does not wait
// for it. A block that is to come is waited for, and one that was followed by others is refused, as is
// one of which there is a request or a snapshot already. The peer commits no block while it writes one.
// The identity is an admin of the peer's organization.
func Generate(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string, block uint64) error {
	signed, err := request(identity, channel, block)
	if err == nil {
		_, err = peer.NewSnapshotClient(conn).Generate(ctx, signed)
	}
	if err != nil {
		return fmt.Errorf("unable to ask for a snapshot of channel %s after block %d: %w", channel, block, err)
	}
	return nil
}

// Cancel withdraws a request. One that the peer does not have, or is at work on, is refused.
func Cancel(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string, block uint64) error {
	signed, err := request(identity, channel, block)
	if err == nil {
		_, err = peer.NewSnapshotClient(conn).Cancel(ctx, signed)
	}
	if err != nil {
		return fmt.Errorf("unable to withdraw the request for a snapshot of channel %s after block %d: %w", channel, block, err)
	}
	return nil
}

// Pending gives the blocks of the requests that wait or are at work. One that is over, well or not, is
// not among them any more.
func Pending(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel string) ([]uint64, error) {
	header, err := signatureHeader(identity)
	if err != nil {
		return nil, err
	}
	signed, err := sign(identity, &peer.SnapshotQuery{SignatureHeader: header, ChannelId: channel})
	if err != nil {
		return nil, err
	}
	response, err := peer.NewSnapshotClient(conn).QueryPendings(ctx, signed)
	if err != nil {
		return nil, fmt.Errorf("unable to ask for the snapshots of channel %s that are to come: %w", channel, err)
	}
	return response.GetBlockNumbers(), nil
}

func request(identity *msp.Identity, channel string, block uint64) (*peer.SignedSnapshotRequest, error) {
	header, err := signatureHeader(identity)
	if err != nil {
		return nil, err
	}
	return sign(identity, &peer.SnapshotRequest{SignatureHeader: header, ChannelId: channel, BlockNumber: block})
}

func signatureHeader(identity *msp.Identity) (*common.SignatureHeader, error) {
	creator, err := identity.Serialized()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	_, err = rand.Read(nonce)
	return &common.SignatureHeader{Creator: creator, Nonce: nonce}, err
}

func sign(identity *msp.Identity, message proto.Message) (*peer.SignedSnapshotRequest, error) {
	raw, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	signature, err := identity.Sign(raw)
	return &peer.SignedSnapshotRequest{Request: raw, Signature: signature}, err
}
