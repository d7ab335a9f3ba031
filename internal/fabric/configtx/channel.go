// Package configtx makes, reads and changes the configuration of Fabric channels: the genesis block of an
// application channel, what the config block of any channel says, as facts and as JSON, and updates of it
// with what they change and who must sign them.
//
// Source: Fabric documentation, "Channel configuration (configtx)", the protos common/configtx.proto,
// common/configuration.proto, orderer/configuration.proto, orderer/etcdraft/configuration.proto and
// peer/configuration.proto, and Fabric's configtxgen, with which Genesis agrees value by value.
//
// Groups are built on the protos and not with fabric-config's configtx, because that drops the anchor
// peers of a genesis block, cannot leave out the classifying certificate of NodeOUs, knows no
// SmartBFT, and marshals in no fixed order. Its protolator gives the JSON.
//
// To change a channel: Decode its latest config block, edit a Clone or Revise it, ValidateUpdate,
// ComputeUpdate, look at Changes and Requirements, SignUpdate, and send the UpdateEnvelope.
package configtx

import (
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// The capabilities that a channel of Fabric 2.5 or 3.x can have. Channel V3_0 needs every ordering
// node and peer at 3.0 or later.
const (
	ChannelCapabilityV2_0     = "V2_0"
	ChannelCapabilityV3_0     = "V3_0"
	OrdererCapabilityV2_0     = "V2_0"
	ApplicationCapabilityV2_0 = "V2_0"
	ApplicationCapabilityV2_5 = "V2_5"
)

// The ways in which the ordering nodes of a channel agree. SmartBFT needs Fabric 3 and channel capability
// V3_0.
const (
	ConsensusRaft = "etcdraft"
	ConsensusBFT  = "BFT"
)

// Channel describes a new application channel. Fields whose zero value makes
// no sense take the default that is named with them: Fabric's own, from sampleconfig/configtx.yaml,
// unless another reason is given.
type Channel struct {
	// Name is the channel name, see ValidateChannelName.
	Name string

	// ChannelCapability is V2_0 (default) or V3_0.
	ChannelCapability string
	// OrdererCapability is V2_0 (default).
	OrdererCapability string
	// ApplicationCapability is V2_5 (default) or V2_0.
	ApplicationCapability string

	// OrdererOrganizations are the organizations that run ordering nodes, at least one.
	OrdererOrganizations []OrdererOrganization
	// ApplicationOrganizations are the members of the channel, at least one. An organization may be
	// here and among the orderer organizations; its definition must then be the same.
	ApplicationOrganizations []ApplicationOrganization

	// Consenters are the ordering nodes of the channel, at least one. Their order is kept.
	Consenters []Consenter
	// Consensus is ConsensusRaft (default) or ConsensusBFT.
	Consensus string
	Raft      RaftOptions
	BFT       BFTOptions
	Batch     Batch

	// Policies, OrdererPolicies and ApplicationPolicies override or add policies of the groups
	// /Channel, /Channel/Orderer and /Channel/Application: a name and a rule that
	// policy.ParseConfigPolicy reads. The defaults are, in all three, Readers "ANY Readers", Writers
	// "ANY Writers", Admins "MAJORITY Admins"; under Orderer also BlockValidation "ANY Writers";
	// under Application also Endorsement and LifecycleEndorsement "MAJORITY Endorsement".
	Policies, OrdererPolicies, ApplicationPolicies map[string]string

	// ACLs say which policy guards a resource of a peer, for example "peer/Propose" to
	// "/Channel/Application/Writers"; a policy name without a path is one of /Channel/Application.
	// What is not here keeps Fabric's default.
	ACLs map[string]string
}

// OrdererOrganization is an organization that runs ordering nodes.
type OrdererOrganization struct {
	Definition msp.Definition
	// Endpoints are the addresses ("host:port") at which clients and peers reach its ordering nodes,
	// at least one. A channel has no global orderer addresses.
	Endpoints []string
	// Policies override or add policies of the organization; the defaults are Readers and Writers
	// OR('<MSP ID>.member'), Admins OR('<MSP ID>.admin').
	Policies map[string]string
}

// ApplicationOrganization is a member of the channel.
type ApplicationOrganization struct {
	Definition msp.Definition
	// AnchorPeers are the peers that those of other organizations contact first. They may be peers
	// that do not run yet.
	AnchorPeers []Address
	// Policies override or add policies of the organization; the defaults are Readers and Writers
	// OR('<MSP ID>.member'), Admins OR('<MSP ID>.admin'), Endorsement OR('<MSP ID>.peer'). Fabric's
	// sample has .member in the last, for MSPs without NodeOUs; with them only peers should endorse.
	Policies map[string]string
}

// Address is where a node listens for others.
type Address struct {
	Host string
	Port int
}

// Consenter is an ordering node that takes part in the consensus of a channel.
type Consenter struct {
	// Host and Port are the node's cluster listener, as the other ordering nodes dial it.
	Host string
	Port int
	// ClientTLSCertPEM and ServerTLSCertPEM are the node's cluster certificates, each one PEM block,
	// issued by a TLS CA of an orderer organization. They may be one and the same.
	ClientTLSCertPEM, ServerTLSCertPEM string

	// ID, MSPID and IdentityPEM are for SmartBFT only: a number that no other consenter of the channel has
	// or ever had (0: the place in the list, counted from 1, or one more than the highest of the channel),
	// the orderer organization of the node, and its enrolment certificate, by whose bytes nodes know each
	// other.
	ID          uint32
	MSPID       string
	IdentityPEM string
}

// RaftOptions are the timers and limits of Raft. Ordering nodes take a change of SnapshotIntervalSize at
// once, and of the others when they start again.
type RaftOptions struct {
	// TickInterval is the unit of the two below, 500 ms by default.
	TickInterval time.Duration
	// ElectionTick is after how many ticks without a message from the leader a follower may ask for
	// an election, 10 by default; more than HeartbeatTick.
	ElectionTick uint32
	// HeartbeatTick is after how many ticks the leader sends a heartbeat, 1 by default.
	HeartbeatTick uint32
	// MaxInflightBlocks bounds how many blocks are on their way to followers, 5 by default.
	MaxInflightBlocks uint32
	// SnapshotIntervalSize is after how many bytes of blocks a snapshot is taken, 16 MiB by default.
	SnapshotIntervalSize uint32
}

// BFTOptions are the timers and limits of SmartBFT. All but RequestPoolSize can be changed while the
// nodes run. Leaders do not rotate: Fabric refuses that.
type BFTOptions struct {
	// RequestBatchMaxInterval is how long after the first transaction a block is cut, 200 ms by default;
	// SmartBFT does not look at Batch.Timeout.
	RequestBatchMaxInterval time.Duration
	// RequestForwardTimeout is after how long a transaction is forwarded to the leader, 5 s by default;
	// RequestComplainTimeout how long after that a node complains about the leader, 20 s by default; and
	// RequestAutoRemoveTimeout how long after that the transaction is dropped, 3 min by default.
	RequestForwardTimeout, RequestComplainTimeout, RequestAutoRemoveTimeout time.Duration
	// ViewChangeResendInterval is after how long a vote for another leader is sent again, 5 s by default,
	// and ViewChangeTimeout after how long the next leader is tried, 20 s by default.
	ViewChangeResendInterval, ViewChangeTimeout time.Duration
	// LeaderHeartbeatTimeout is how long a leader may be silent, 1 min by default, and
	// LeaderHeartbeatCount how many heartbeats it sends in that time, 10 by default.
	LeaderHeartbeatTimeout time.Duration
	LeaderHeartbeatCount   uint64
	// CollectTimeout is how long a node waits for the states of the others, 1 s by default.
	CollectTimeout time.Duration
	// IncomingMessageBufferSize is how many messages wait at a node, 200 by default, and RequestPoolSize
	// how many transactions, 100000 by default.
	IncomingMessageBufferSize, RequestPoolSize uint64
	// RequestMaxBytes is how many bytes a transaction may have; 0 is as many as a block.
	RequestMaxBytes uint64
}

// Batch says when the orderer cuts a block: as soon as any of the limits is reached.
type Batch struct {
	// Timeout is how long after the first transaction a block is cut, 2 s by default.
	Timeout time.Duration
	// MaxMessageCount is how many transactions a block may hold, 500 by default.
	MaxMessageCount uint32
	// AbsoluteMaxBytes is how many bytes the transactions of a block may have, 10 MiB by default. A
	// larger transaction is refused.
	AbsoluteMaxBytes uint32
	// PreferredMaxBytes is how many bytes of transactions a block should have, 2 MiB by default, or
	// AbsoluteMaxBytes if that is less.
	PreferredMaxBytes uint32
}

// DefaultRaftOptions gives the options that a zero RaftOptions stands for.
func DefaultRaftOptions() RaftOptions { return RaftOptions{}.withDefaults() }

// DefaultBFTOptions gives the options that a zero BFTOptions stands for.
func DefaultBFTOptions() BFTOptions { return BFTOptions{}.withDefaults() }

// DefaultBatch gives the limits that a zero Batch stands for.
func DefaultBatch() Batch { return Batch{}.withDefaults() }

func (o RaftOptions) withDefaults() RaftOptions {
	setDefault(&o.TickInterval, 500*time.Millisecond)
	setDefault(&o.ElectionTick, 10)
	setDefault(&o.HeartbeatTick, 1)
	setDefault(&o.MaxInflightBlocks, 5)
	setDefault(&o.SnapshotIntervalSize, 16<<20)
	return o
}

func (o BFTOptions) withDefaults() BFTOptions {
	setDefault(&o.RequestBatchMaxInterval, 200*time.Millisecond)
	setDefault(&o.RequestForwardTimeout, 5*time.Second)
	setDefault(&o.RequestComplainTimeout, 20*time.Second)
	setDefault(&o.RequestAutoRemoveTimeout, 3*time.Minute)
	setDefault(&o.ViewChangeResendInterval, 5*time.Second)
	setDefault(&o.ViewChangeTimeout, 20*time.Second)
	setDefault(&o.LeaderHeartbeatTimeout, time.Minute)
	setDefault(&o.LeaderHeartbeatCount, 10)
	setDefault(&o.CollectTimeout, time.Second)
	setDefault(&o.IncomingMessageBufferSize, 200)
	setDefault(&o.RequestPoolSize, 100000)
	return o
}

func (b Batch) withDefaults() Batch {
	setDefault(&b.Timeout, 2*time.Second)
	setDefault(&b.MaxMessageCount, 500)
	setDefault(&b.AbsoluteMaxBytes, 10<<20)
	setDefault(&b.PreferredMaxBytes, min(2<<20, b.AbsoluteMaxBytes))
	return b
}

func (c Channel) withDefaults() Channel {
	setDefault(&c.ChannelCapability, ChannelCapabilityV2_0)
	setDefault(&c.OrdererCapability, OrdererCapabilityV2_0)
	setDefault(&c.ApplicationCapability, ApplicationCapabilityV2_5)
	setDefault(&c.Consensus, ConsensusRaft)
	c.Raft = c.Raft.withDefaults()
	c.BFT = c.BFT.withDefaults()
	c.Batch = c.Batch.withDefaults()
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
