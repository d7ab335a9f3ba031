package endorser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// What a caller decides on; test with errors.Is.
var (
	// ErrChannelNotFound says that the peer has not joined the channel.
	ErrChannelNotFound = errors.New("the peer has not joined the channel")
	// ErrOtherGenesis says that the peer has a channel of this name that began with another block.
	ErrOtherGenesis = errors.New("the peer has joined another channel of this name")
	// ErrBlockNotFound says that the peer has the channel but not the block.
	ErrBlockNotFound = errors.New("the peer does not have the block")
	// ErrFromSnapshot says that the peer began the channel with a snapshot: of what came before, it has
	// the state and no blocks.
	ErrFromSnapshot = errors.New("the peer began the channel with a snapshot, and has no blocks from before it")
)

const (
	configSystemChaincode = "cscc"
	querySystemChaincode  = "qscc"
)

// JoinChannel makes the peer join the channel of the given marshalled genesis block (cscc
// JoinChain). The identity is an admin of the peer's organization. It needs no ordering node. A
// peer that has joined with this very block is success; one that has a channel of this name with
// another genesis block is ErrOtherGenesis, and one that has no genesis block ErrFromSnapshot.
func JoinChannel(ctx context.Context, target Peer, identity *msp.Identity, genesis []byte) error {
	block := &common.Block{}
	if err := proto.Unmarshal(genesis, block); err != nil {
		return fmt.Errorf("unable to join %s to a channel: the genesis block is malformed: %w", target.Name, err)
	}
	config, err := configtx.Decode(block)
	if err != nil {
		return fmt.Errorf("unable to join %s to a channel: %w", target.Name, err)
	}
	channel := config.Channel
	_, refusal := call(ctx, target, identity, Invocation{
		Chaincode: configSystemChaincode, Type: common.HeaderType_CONFIG,
		Args: [][]byte{[]byte("JoinChain"), genesis},
	})
	if refusal == nil {
		return nil
	}
	err = fmt.Errorf("unable to join %s to channel %s: %w", target.Name, channel, refusal)
	if !isRefusal(refusal) {
		return err
	}
	// A refusal is success only when the peer holds what it was given; its text is not asked.
	joined, listErr := Channels(ctx, target, identity)
	if listErr != nil || !slices.Contains(joined, channel) {
		return err
	}
	held, blockErr := BlockByNumber(ctx, target, identity, channel, 0)
	if blockErr != nil {
		return errors.Join(err, fmt.Errorf("unable to compare genesis blocks: %w", fromSnapshot(ctx, target, identity, channel, blockErr)))
	}
	// Decode has held each header to its data.
	if _, err := configtx.Decode(held); err != nil || !bytes.Equal(configtx.BlockHash(held), configtx.BlockHash(block)) {
		return fmt.Errorf("unable to join %s to channel %s: %w, whose genesis block has hash %x, not %x",
			target.Name, channel, ErrOtherGenesis, configtx.BlockHash(held), configtx.BlockHash(block))
	}
	return nil
}

// Channels gives the names of the channels that the peer has joined (cscc GetChannels), sorted.
// The identity is any member of the peer's organization.
func Channels(ctx context.Context, target Peer, identity *msp.Identity) ([]string, error) {
	payload, err := call(ctx, target, identity, Invocation{
		Chaincode: configSystemChaincode, Args: [][]byte{[]byte("GetChannels")},
	})
	if err != nil {
		return nil, fmt.Errorf("unable to list the channels of %s: %w", target.Name, err)
	}
	response := &peer.ChannelQueryResponse{}
	if err := proto.Unmarshal(payload, response); err != nil {
		return nil, fmt.Errorf("unable to list the channels of %s: %w", target.Name, err)
	}
	names := make([]string, 0, len(response.GetChannels()))
	for _, channel := range response.GetChannels() {
		names = append(names, channel.GetChannelId())
	}
	slices.Sort(names)
	return names, nil
}

// ChainInfo gives height and hashes of the channel's chain on the peer (qscc GetChainInfo). A peer
// that has not joined is ErrChannelNotFound.
func ChainInfo(ctx context.Context, target Peer, identity *msp.Identity, channel string) (*common.BlockchainInfo, error) {
	payload, err := callOnChannel(ctx, target, identity, channel, querySystemChaincode, "GetChainInfo")
	info := &common.BlockchainInfo{}
	if err == nil {
		err = proto.Unmarshal(payload, info)
	}
	if err == nil && info.GetHeight() == 0 {
		err = errors.New("the peer answered without a height")
	}
	if err != nil {
		return nil, fmt.Errorf("unable to read the chain of channel %s on %s: %w", channel, target.Name, err)
	}
	return info, nil
}

// BlockByNumber fetches a block of the channel from the peer (qscc GetBlockByNumber). A peer that has
// not joined is ErrChannelNotFound, a number that its chain has not reached ErrBlockNotFound.
func BlockByNumber(ctx context.Context, target Peer, identity *msp.Identity, channel string, number uint64) (*common.Block, error) {
	payload, err := callOnChannel(ctx, target, identity, channel, querySystemChaincode, "GetBlockByNumber", strconv.FormatUint(number, 10))
	if isRefusal(err) && !errors.Is(err, ErrChannelNotFound) {
		if info, infoErr := ChainInfo(ctx, target, identity, channel); infoErr == nil && number >= info.GetHeight() {
			err = fmt.Errorf("%w: its chain has %d blocks", ErrBlockNotFound, info.GetHeight())
		}
	}
	block, err := readBlock(payload, err)
	if err != nil {
		return nil, fmt.Errorf("unable to fetch block %d of channel %s from %s: %w", number, channel, target.Name, err)
	}
	return block, nil
}

// fromSnapshot makes the refusal to give something old ErrFromSnapshot when that is why.
func fromSnapshot(ctx context.Context, target Peer, identity *msp.Identity, channel string, refusal error) error {
	if !isRefusal(refusal) {
		return refusal
	}
	if info, err := ChainInfo(ctx, target, identity, channel); err == nil && info.GetBootstrappingSnapshotInfo() != nil {
		return fmt.Errorf("%w: %w", ErrFromSnapshot, refusal)
	}
	return refusal
}

// ConfigBlock fetches the channel's current config block from the peer (cscc GetConfigBlock). A peer
// that has not joined is ErrChannelNotFound.
func ConfigBlock(ctx context.Context, target Peer, identity *msp.Identity, channel string) (*common.Block, error) {
	block, err := readBlock(callOnChannel(ctx, target, identity, channel, configSystemChaincode, "GetConfigBlock"))
	if err != nil {
		return nil, fmt.Errorf("unable to fetch the config block of channel %s from %s: %w", channel, target.Name, err)
	}
	return block, nil
}

// readBlock refuses the block without content that a peer's empty answer parses to.
func readBlock(payload []byte, err error) (*common.Block, error) {
	if err != nil {
		return nil, err
	}
	block := &common.Block{}
	if err := proto.Unmarshal(payload, block); err != nil {
		return nil, err
	}
	if block.GetHeader() == nil || len(block.GetData().GetData()) == 0 {
		return nil, errors.New("the peer answered with an empty block")
	}
	return block, nil
}

// callOnChannel calls a system chaincode whose first argument is the channel. The proposal itself is
// of the channel as well, so that members of every organization of the channel may ask.
func callOnChannel(ctx context.Context, target Peer, identity *msp.Identity, channel, chaincode, function string, more ...string) ([]byte, error) {
	args := [][]byte{[]byte(function), []byte(channel)}
	for _, arg := range more {
		args = append(args, []byte(arg))
	}
	payload, err := call(ctx, target, identity, Invocation{Channel: channel, Chaincode: chaincode, Args: args})
	if !isRefusal(err) {
		return payload, err
	}
	// Unknown channels, missing permissions and faults all are status 500. What tells them apart is
	// the list of channels, which members of the peer's own organization may read.
	if joined, listErr := Channels(ctx, target, identity); listErr == nil && !slices.Contains(joined, channel) {
		return nil, fmt.Errorf("%w: %w", ErrChannelNotFound, err)
	}
	return nil, err
}

func call(ctx context.Context, target Peer, identity *msp.Identity, invocation Invocation) ([]byte, error) {
	proposal, err := NewProposal(identity, invocation)
	if err != nil {
		return nil, err
	}
	return Evaluate(ctx, proposal, target)
}

func isRefusal(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused)
}
