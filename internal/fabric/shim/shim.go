// Package shim speaks the protocol by which a peer talks with a chaincode server, as far as it tells that the
// server is there.
//
// Source: proto peer/chaincode_shim.proto; a server registers with whoever connects (fabric-chaincode-go,
// shim/internal/server.go and shim.chatWithPeer).
package shim

import (
	"context"
	"fmt"
	"net"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// Registration connects to a chaincode server as a peer does, with a peer's credentials, and gives the
// package ID that it serves. The connection ends with that: the server takes it for a peer that went away.
func Registration(ctx context.Context, dial func(context.Context) (net.Conn, error), peers credentials.TransportCredentials) (packageID string, err error) {
	conn, err := grpc.NewClient("passthrough:///chaincode", grpc.WithTransportCredentials(peers),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := peer.NewChaincodeClient(conn).Connect(ctx)
	if err != nil {
		return "", fmt.Errorf("unable to connect to the chaincode server: %w", err)
	}
	first, err := stream.Recv()
	if err != nil {
		return "", fmt.Errorf("unable to learn what the chaincode server serves: %w", err)
	}
	id := &peer.ChaincodeID{}
	if first.GetType() != peer.ChaincodeMessage_REGISTER || proto.Unmarshal(first.GetPayload(), id) != nil {
		return "", fmt.Errorf("the chaincode server began with %s, not with its registration", first.GetType())
	}
	return id.GetName(), nil
}
