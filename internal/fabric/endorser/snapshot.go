package endorser

import (
	"context"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// JoinFromSnapshot makes the peer begin to join a channel from the ledger snapshot in a folder of its
// own file system (cscc JoinChainBySnapshot); the snapshot says which channel. Success means that it has
// begun: SnapshotJoin tells when it is over, and Channels whether it has joined. The identity is an admin
// of the peer's organization.
func JoinFromSnapshot(ctx context.Context, target Peer, identity *msp.Identity, folder string) error {
	_, err := call(ctx, target, identity, Invocation{
		Chaincode: configSystemChaincode, Type: common.HeaderType_CONFIG,
		Args: [][]byte{[]byte("JoinChainBySnapshot"), []byte(folder)},
	})
	if err != nil {
		return fmt.Errorf("unable to join %s from the snapshot in %s: %w", target.Name, folder, err)
	}
	return nil
}

// SnapshotJoin gives the folder of the snapshot from which the peer is joining a channel at this moment,
// empty when it is not (cscc JoinBySnapshotStatus). A peer joins no other channel meanwhile.
func SnapshotJoin(ctx context.Context, target Peer, identity *msp.Identity) (folder string, err error) {
	payload, err := call(ctx, target, identity, Invocation{
		Chaincode: configSystemChaincode, Args: [][]byte{[]byte("JoinBySnapshotStatus")},
	})
	status := &peer.JoinBySnapshotStatus{}
	if err == nil {
		err = proto.Unmarshal(payload, status)
	}
	if err != nil {
		return "", fmt.Errorf("unable to ask %s whether it joins from a snapshot: %w", target.Name, err)
	}
	if !status.GetInProgress() {
		return "", nil
	}
	return status.GetBootstrappingSnapshotDir(), nil
}
