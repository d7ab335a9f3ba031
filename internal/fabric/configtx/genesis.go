package configtx

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	fabricmsp "github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// The keys of groups and values in a channel configuration (common/channelconfig).
const (
	groupOrderer     = "Orderer"
	groupApplication = "Application"
	groupConsortiums = "Consortiums"

	keyCapabilities        = "Capabilities"
	keyHashingAlgorithm    = "HashingAlgorithm"
	keyDataHashing         = "BlockDataHashingStructure"
	keyOrdererAddresses    = "OrdererAddresses"
	keyConsensusType       = "ConsensusType"
	keyBatchSize           = "BatchSize"
	keyBatchTimeout        = "BatchTimeout"
	keyChannelRestrictions = "ChannelRestrictions"
	keyOrderers            = "Orderers"
	keyEndpoints           = "Endpoints"
	keyMSP                 = "MSP"
	keyAnchorPeers         = "AnchorPeers"
	keyACLs                = "ACLs"
)

// headerVersion is what configtxgen writes into the channel header of a genesis block.
const headerVersion = 1

// Genesis makes the genesis block of the channel. The channel must be valid; the error is that of
// Validate otherwise.
//
// The configuration in the block depends on the Channel alone, byte by byte. The block does not: its
// header has the time and a random nonce, as Fabric's own tools make it. Nodes that join with two
// blocks of one Channel therefore end up on two chains: make the block once, keep its bytes
// (proto.Marshal), and give those to every node.
func Genesis(c Channel) (*common.Block, error) {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("unable to make the genesis block of %s: %w", c.Name, err)
	}
	return genesisAt(c, time.Now(), nonce)
}

func genesisAt(c Channel, now time.Time, nonce []byte) (*common.Block, error) {
	if err := c.validateAt(now); err != nil {
		return nil, err
	}
	group, err := c.withDefaults().group()
	if err != nil {
		return nil, fmt.Errorf("unable to make the genesis block of %s: %w", c.Name, err)
	}
	block, err := genesisBlock(c.Name, group, now, nonce)
	if err != nil {
		return nil, fmt.Errorf("unable to make the genesis block of %s: %w", c.Name, err)
	}
	return block, nil
}

// genesisBlock wraps a configuration as block 0 (common/genesis).
func genesisBlock(name string, group *common.ConfigGroup, now time.Time, nonce []byte) (*common.Block, error) {
	m := &marshaller{}
	txID := sha256.Sum256(nonce) // of the nonce and a creator, which a genesis block has not
	payload := m.marshal(&common.Payload{
		Header: &common.Header{
			ChannelHeader: m.marshal(&common.ChannelHeader{
				Type: int32(common.HeaderType_CONFIG), Version: headerVersion, Timestamp: timestamppb.New(now),
				ChannelId: name, TxId: hex.EncodeToString(txID[:]),
			}),
			SignatureHeader: m.marshal(&common.SignatureHeader{Nonce: nonce}),
		},
		Data: m.marshal(&common.ConfigEnvelope{Config: &common.Config{ChannelGroup: group}}),
	})
	data := &common.BlockData{Data: [][]byte{m.marshal(&common.Envelope{Payload: payload})}}
	metadata := make([][]byte, len(common.BlockMetadataIndex_name))
	for i := range metadata {
		metadata[i] = []byte{}
	}
	metadata[common.BlockMetadataIndex_SIGNATURES] = m.marshal(&common.Metadata{
		Value: m.marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}}),
	})

	metadata[indexLastConfig] = m.marshal(&common.Metadata{Value: m.marshal(&common.LastConfig{})})
	if m.err != nil {
		return nil, m.err
	}
	return &common.Block{
		Header:   &common.BlockHeader{DataHash: dataHash(data)},
		Data:     data,
		Metadata: &common.BlockMetadata{Metadata: metadata},
	}, nil
}

// marshaller marshals in a fixed order and keeps the first error.
type marshaller struct{ err error }

func (m *marshaller) marshal(message proto.Message) []byte {
	bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil && m.err == nil {
		m.err = err
	}
	return bytes
}

// groupBuilder fills a config group; every element is changed under the group's Admins policy.
type groupBuilder struct {
	marshaller
	group *common.ConfigGroup
}

func newGroup(policies *policyGroup) *groupBuilder {
	b := &groupBuilder{group: &common.ConfigGroup{
		Groups: map[string]*common.ConfigGroup{}, Values: map[string]*common.ConfigValue{},
		Policies: map[string]*common.ConfigPolicy{}, ModPolicy: policyAdmins,
	}}
	for name, p := range policies.policies {
		stored, err := p.Proto()
		if err != nil && b.err == nil {
			b.err = fmt.Errorf("policy %s/%s: %w", policies.path, name, err)
		}
		b.group.Policies[name] = &common.ConfigPolicy{ModPolicy: policyAdmins, Policy: stored}
	}
	return b
}

func (b *groupBuilder) value(key string, message proto.Message) {
	b.group.Values[key] = &common.ConfigValue{ModPolicy: policyAdmins, Value: b.marshal(message)}
}

func (b *groupBuilder) capability(name string) {
	b.value(keyCapabilities, &common.Capabilities{Capabilities: map[string]*common.Capability{name: {}}})
}

func (b *groupBuilder) sub(key string, sub *common.ConfigGroup, err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
	b.group.Groups[key] = sub
}

// group gives the whole configuration. The channel is valid and has its defaults.
func (c Channel) group() (*common.ConfigGroup, error) {
	tree, problems := c.policyTree()
	if len(problems) > 0 {
		return nil, &InvalidError{Name: c.Name, Problems: problems}
	}
	orderers, application := tree.below[0], tree.below[1]
	b := newGroup(tree)
	b.value(keyHashingAlgorithm, &common.HashingAlgorithm{Name: "SHA256"})
	// Fabric hashes the data of a block as a whole and refuses any other width.
	b.value(keyDataHashing, &common.BlockDataHashingStructure{Width: math.MaxUint32})
	b.capability(c.ChannelCapability)

	group, err := c.ordererGroup(orderers)
	b.sub(groupOrderer, group, err)
	group, err = c.applicationGroup(application)
	b.sub(groupApplication, group, err)
	return b.group, b.err
}

func (c Channel) ordererGroup(policies *policyGroup) (*common.ConfigGroup, error) {
	b := newGroup(policies)
	b.value(keyBatchSize, &orderer.BatchSize{
		MaxMessageCount: c.Batch.MaxMessageCount, AbsoluteMaxBytes: c.Batch.AbsoluteMaxBytes, PreferredMaxBytes: c.Batch.PreferredMaxBytes,
	})
	b.value(keyBatchTimeout, &orderer.BatchTimeout{Timeout: c.Batch.Timeout.String()})
	b.value(keyChannelRestrictions, &orderer.ChannelRestrictions{})
	b.capability(c.OrdererCapability)

	if err := c.consensus(b); err != nil {
		return nil, err
	}
	for i, o := range c.OrdererOrganizations {
		sub := newOrganization(policies.below[i], o.Definition)
		sub.value(keyEndpoints, &common.OrdererAddresses{Addresses: o.Endpoints})
		b.sub(o.Definition.ID, sub.group, sub.err)
	}
	return b.group, b.err
}

// consensus adds what says how the ordering nodes agree, and who they are.
func (c Channel) consensus(b *groupBuilder) error {
	if c.Consensus == ConsensusBFT {
		return c.bftConsensus(b)
	}
	metadata := &etcdraft.ConfigMetadata{Options: &etcdraft.Options{
		TickInterval: c.Raft.TickInterval.String(), ElectionTick: c.Raft.ElectionTick, HeartbeatTick: c.Raft.HeartbeatTick,
		MaxInflightBlocks: c.Raft.MaxInflightBlocks, SnapshotIntervalSize: c.Raft.SnapshotIntervalSize,
	}}
	for _, consenter := range c.Consenters {
		stored, err := storedConsenter(consenter)
		if err != nil {
			return err
		}
		metadata.Consenters = append(metadata.Consenters, stored)
	}
	b.value(keyConsensusType, &orderer.ConsensusType{Type: ConsensusRaft, Metadata: b.marshal(metadata)})
	return nil
}

func (c Channel) applicationGroup(policies *policyGroup) (*common.ConfigGroup, error) {
	b := newGroup(policies)
	b.capability(c.ApplicationCapability)
	if len(c.ACLs) > 0 {
		acls := map[string]*peer.APIResource{}
		for resource, reference := range c.ACLs {
			acls[resource] = &peer.APIResource{PolicyRef: reference}
		}
		b.value(keyACLs, &peer.ACLs{Acls: acls})
	}
	for i, o := range c.ApplicationOrganizations {
		sub := newOrganization(policies.below[i], o.Definition)
		if len(o.AnchorPeers) > 0 {
			anchors := &peer.AnchorPeers{}
			for _, a := range o.AnchorPeers {
				anchors.AnchorPeers = append(anchors.AnchorPeers, &peer.AnchorPeer{Host: a.Host, Port: int32(a.Port)})
			}
			sub.value(keyAnchorPeers, anchors)
		}
		b.sub(o.Definition.ID, sub.group, sub.err)
	}
	return b.group, b.err
}

// newOrganization gives the group of an organization with its policies and its MSP.
func newOrganization(policies *policyGroup, definition fabricmsp.Definition) *groupBuilder {
	b := newGroup(policies)
	config, err := definition.FabricMSPConfig()
	if err != nil && b.err == nil {
		b.err = err
	}
	if config != nil {
		// Type 0 is the X.509 MSP.
		b.value(keyMSP, &msp.MSPConfig{Config: b.marshal(config)})
	}
	return b
}

// canonicalPEM takes away text around the block and odd line breaks: ordering nodes compare the bytes
// of consenters' certificates when the set of consenters changes.
func canonicalPEM(text string) ([]byte, error) {
	cert, err := certificate.ParseOne([]byte(text))
	if err != nil {
		return nil, err
	}
	return certificate.EncodeCertificate(cert), nil
}
