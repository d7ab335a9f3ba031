package configtx

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// ErrNotConfig marks a block that holds transactions and no configuration.
var ErrNotConfig = errors.New("it is not a config block")

// Config is the configuration of a channel as of one config block.
type Config struct {
	// Channel is the channel name.
	Channel string
	// Block is the number of the config block.
	Block uint64
	// Proto is the configuration itself, with the channel group. It belongs to this Config; an update
	// is computed on a copy (fabric-config, configtx.New).
	Proto *common.Config
}

// Sequence counts the updates since the genesis block.
func (c *Config) Sequence() uint64 { return c.Proto.GetSequence() }

// Decode reads the configuration out of a config block: the genesis block, or one that an update made.
// A block with anything else in it gives an error that wraps ErrNotConfig. Decode checks that the data
// is what the header's hash says; it does not check the orderers' signatures.
func Decode(block *common.Block) (*Config, error) {
	config, err := decode(block)
	if err != nil {
		return nil, fmt.Errorf("unable to read the config block: %w", err)
	}
	return config, nil
}

func decode(block *common.Block) (*Config, error) {
	if block.GetHeader() == nil {
		return nil, errors.New("it has no header")
	}
	if !bytes.Equal(block.GetHeader().GetDataHash(), dataHash(block.GetData())) {
		return nil, errors.New("its data does not match the hash in its header")
	}
	if n := len(block.GetData().GetData()); n != 1 {
		return nil, fmt.Errorf("%w: it holds %d transactions, a config block holds one", ErrNotConfig, n)
	}
	envelope, payload, header := &common.Envelope{}, &common.Payload{}, &common.ChannelHeader{}
	if err := proto.Unmarshal(block.GetData().GetData()[0], envelope); err != nil {
		return nil, fmt.Errorf("its envelope is damaged: %w", err)
	}
	if err := proto.Unmarshal(envelope.GetPayload(), payload); err != nil {
		return nil, fmt.Errorf("its payload is damaged: %w", err)
	}
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header); err != nil {
		return nil, fmt.Errorf("its channel header is damaged: %w", err)
	}
	if t := common.HeaderType(header.GetType()); t != common.HeaderType_CONFIG {
		return nil, fmt.Errorf("%w: it holds a transaction of type %s", ErrNotConfig, t)
	}
	config := &common.ConfigEnvelope{}
	if err := proto.Unmarshal(payload.GetData(), config); err != nil {
		return nil, fmt.Errorf("its configuration is damaged: %w", err)
	}
	if config.GetConfig().GetChannelGroup() == nil {
		return nil, errors.New("its configuration is empty")
	}
	return &Config{Channel: header.GetChannelId(), Block: block.GetHeader().GetNumber(), Proto: config.GetConfig()}, nil
}

// Number gives the number of the block.
func Number(block *common.Block) uint64 { return block.GetHeader().GetNumber() }

// BlockHash gives the hash of the block: SHA-256 over its header in ASN.1 (Fabric's protoutil,
// BlockHeaderHash). The next block carries it as its previous hash, so it names the whole chain up to
// here: two nodes are on one chain when the hashes of their blocks of one number are equal.
func BlockHash(block *common.Block) []byte {
	header := struct {
		Number       *big.Int
		PreviousHash []byte
		DataHash     []byte
	}{new(big.Int).SetUint64(block.GetHeader().GetNumber()), block.GetHeader().GetPreviousHash(), block.GetHeader().GetDataHash()}
	// A struct of a big.Int and two byte slices always has an encoding.
	encoded, _ := asn1.Marshal(header)
	sum := sha256.Sum256(encoded)
	return sum[:]
}

// dataHash is the hash that a header holds of the block's data.
func dataHash(data *common.BlockData) []byte {
	sum := sha256.Sum256(bytes.Join(data.GetData(), nil))
	return sum[:]
}

// LastConfigIndex gives the number of the latest config block as of this block, which orderers write
// into the metadata of every block that they make (a config block names itself).
func LastConfigIndex(block *common.Block) (uint64, error) {
	index, err := lastConfigIndex(block)
	if err != nil {
		return 0, fmt.Errorf("unable to find the last config block of block %d: %w", Number(block), err)
	}
	return index, nil
}

func lastConfigIndex(block *common.Block) (uint64, error) {
	entry := func(index int) (*common.Metadata, error) {
		all := block.GetMetadata().GetMetadata()
		if len(all) <= index {
			return nil, errors.New("the block has no such metadata")
		}
		metadata := &common.Metadata{}
		if err := proto.Unmarshal(all[index], metadata); err != nil {
			return nil, fmt.Errorf("its metadata is damaged: %w", err)
		}
		return metadata, nil
	}
	signatures, err := entry(int(common.BlockMetadataIndex_SIGNATURES))
	if err != nil {
		return 0, err
	}
	if len(signatures.GetValue()) > 0 {
		value := &common.OrdererBlockMetadata{}
		if err := proto.Unmarshal(signatures.GetValue(), value); err != nil {
			return 0, fmt.Errorf("its metadata is damaged: %w", err)
		}
		return value.GetLastConfig().GetIndex(), nil
	}
	// Blocks of orderers before 1.4.1 have it in an entry of its own.
	last, err := entry(indexLastConfig)
	if err != nil {
		return 0, err
	}
	value := &common.LastConfig{}
	if err := proto.Unmarshal(last.GetValue(), value); err != nil {
		return 0, fmt.Errorf("its metadata is damaged: %w", err)
	}
	return value.GetIndex(), nil
}

// indexLastConfig is common.BlockMetadataIndex_LAST_CONFIG, which the protos mark deprecated while
// Fabric goes on writing it.
const indexLastConfig = 1
