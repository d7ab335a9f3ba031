package configtx

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Summary is what a configuration says, in the terms of Channel. It is made of any channel of Fabric
// 1.4 to 3.1, also of one that another tool configured.
type Summary struct {
	// Channel is the channel name, Block the number of the config block, Sequence how many updates
	// came after the genesis block.
	Channel         string
	Block, Sequence uint64

	// The capabilities of each group, sorted.
	ChannelCapabilities, OrdererCapabilities, ApplicationCapabilities []string

	// OrdererOrganizations and ApplicationOrganizations are sorted by name.
	OrdererOrganizations, ApplicationOrganizations []OrganizationSummary

	// System tells that it is a system channel, from which other channels were made before Fabric 2.3: it
	// has consortiums. Fabric 3 knows none.
	System bool

	// ConsensusType is etcdraft or BFT; ConsensusState is STATE_NORMAL or STATE_MAINTENANCE.
	ConsensusType, ConsensusState string
	// Consenters are in the order of the configuration.
	Consenters []ConsenterSummary
	// Raft is zero unless the consensus type is etcdraft, BFT unless it is BFT.
	Raft  RaftOptions
	BFT   BFTOptions
	Batch Batch
	// OrdererAddresses are global addresses, which channels had before Fabric 3.0.
	OrdererAddresses []string

	// Policies holds the text of every policy by its path, such as /Channel/Application/Writers:
	// "ANY Writers", or a signature policy in canonical form (policy.DescribeConfigPolicy).
	Policies map[string]string
	// ApplicationPolicies are the policies of /Channel/Application that differ from the defaults of
	// Channel, by name: what Channel.ApplicationPolicies says when the channel is as it should be.
	ApplicationPolicies map[string]string
	// ACLs holds the policy reference of each resource as it stands in the configuration.
	ACLs map[string]string
}

// NewLifecycle tells whether chaincodes of the channel have the lifecycle of Fabric 2, in which organizations
// approve (common/capabilities, ApplicationProvider.LifecycleV20).
func (s Summary) NewLifecycle() bool {
	return slices.Contains(s.ApplicationCapabilities, ApplicationCapabilityV2_0) || slices.Contains(s.ApplicationCapabilities, ApplicationCapabilityV2_5)
}

// OrganizationSummary is an organization in one of the two groups.
type OrganizationSummary struct {
	// Name is the key of the organization's group. This provider names groups by the MSP ID; other
	// tools may not.
	Name string
	// Definition is the organization's MSP; Definition.ID is the MSP ID. Only the ID is set for an MSP
	// that is not made of X.509 certificates (Idemix).
	Definition msp.Definition
	// NodeOUs is whether members are told apart by organizational units.
	NodeOUs bool
	// Endpoints are the addresses of an orderer organization.
	Endpoints []string
	// AnchorPeers are those of an application organization.
	AnchorPeers []Address
}

// ConsenterSummary is a consenter. Certificates are as the configuration holds them, in PEM.
type ConsenterSummary struct{ Consenter }

// Summarize reads the facts out of a configuration. The error means that a value in it is damaged or
// that the configuration has no orderer group.
func Summarize(config *Config) (Summary, error) {
	r := &reader{}
	summary := r.summary(config)
	if r.err != nil {
		return Summary{}, fmt.Errorf("unable to read the configuration of %s: %w", config.Channel, r.err)
	}
	return summary, nil
}

// reader unmarshals values and keeps the first error.
type reader struct{ err error }

func (r *reader) unmarshal(what string, bytes []byte, into proto.Message) {
	if err := proto.Unmarshal(bytes, into); err != nil && r.err == nil {
		r.err = fmt.Errorf("%s is damaged: %w", what, err)
	}
}

// value reads a value of a group; it stays empty when the group does not have it.
func (r *reader) value(group *common.ConfigGroup, key string, into proto.Message) {
	r.unmarshal("the value "+key, group.GetValues()[key].GetValue(), into)
}

func (r *reader) duration(what, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
	return d
}

func (r *reader) summary(config *Config) Summary {
	channel := config.Proto.GetChannelGroup()
	orderers, application := channel.GetGroups()[groupOrderer], channel.GetGroups()[groupApplication]
	if orderers == nil && r.err == nil {
		r.err = fmt.Errorf("it has no group %s", groupOrderer)
	}
	s := Summary{
		Channel: config.Channel, Block: config.Block, Sequence: config.Sequence(),
		ChannelCapabilities: r.capabilities(channel), OrdererCapabilities: r.capabilities(orderers), ApplicationCapabilities: r.capabilities(application),
		OrdererOrganizations: r.organizations(orderers), ApplicationOrganizations: r.organizations(application),
		System:   channel.GetGroups()[groupConsortiums] != nil,
		Policies: map[string]string{}, ACLs: map[string]string{},
	}
	addresses := &common.OrdererAddresses{}
	r.value(channel, keyOrdererAddresses, addresses)
	s.OrdererAddresses = addresses.GetAddresses()

	size, timeout := &orderer.BatchSize{}, &orderer.BatchTimeout{}
	r.value(orderers, keyBatchSize, size)
	r.value(orderers, keyBatchTimeout, timeout)
	s.Batch = Batch{
		Timeout: r.duration("the batch timeout", timeout.GetTimeout()), MaxMessageCount: size.GetMaxMessageCount(),
		AbsoluteMaxBytes: size.GetAbsoluteMaxBytes(), PreferredMaxBytes: size.GetPreferredMaxBytes(),
	}
	r.consensus(orderers, &s)

	acls := &peer.ACLs{}
	r.value(application, keyACLs, acls)
	for resource, reference := range acls.GetAcls() {
		s.ACLs[resource] = reference.GetPolicyRef()
	}
	r.policies(rootPath, channel, &s)
	s.ApplicationPolicies = applicationOverrides(s.Policies)
	return s
}

func (r *reader) capabilities(group *common.ConfigGroup) []string {
	capabilities := &common.Capabilities{}
	r.value(group, keyCapabilities, capabilities)
	return slices.Sorted(maps.Keys(capabilities.GetCapabilities()))
}

func (r *reader) consensus(orderers *common.ConfigGroup, s *Summary) {
	consensus := &orderer.ConsensusType{}
	r.value(orderers, keyConsensusType, consensus)
	s.ConsensusType, s.ConsensusState = consensus.GetType(), consensus.GetState().String()
	switch consensus.GetType() {
	case ConsensusRaft:
		metadata := &etcdraft.ConfigMetadata{}
		r.unmarshal("the Raft metadata", consensus.GetMetadata(), metadata)
		o := metadata.GetOptions()
		s.Raft = RaftOptions{
			TickInterval: r.duration("the Raft tick interval", o.GetTickInterval()), ElectionTick: o.GetElectionTick(),
			HeartbeatTick: o.GetHeartbeatTick(), MaxInflightBlocks: o.GetMaxInflightBlocks(), SnapshotIntervalSize: o.GetSnapshotIntervalSize(),
		}
		for _, c := range metadata.GetConsenters() {
			s.Consenters = append(s.Consenters, ConsenterSummary{Consenter: Consenter{
				Host: c.GetHost(), Port: int(c.GetPort()),
				ClientTLSCertPEM: string(c.GetClientTlsCert()), ServerTLSCertPEM: string(c.GetServerTlsCert()),
			}})
		}
	case ConsensusBFT:
		options := &smartbft.Options{}
		r.unmarshal("the SmartBFT options", consensus.GetMetadata(), options)
		s.BFT = r.bftOptions(options)
		mapping := &common.Orderers{}
		r.value(orderers, keyOrderers, mapping)
		for _, c := range mapping.GetConsenterMapping() {
			s.Consenters = append(s.Consenters, ConsenterSummary{Consenter: Consenter{
				Host: c.GetHost(), Port: int(c.GetPort()),
				ClientTLSCertPEM: string(c.GetClientTlsCert()), ServerTLSCertPEM: string(c.GetServerTlsCert()),
				ID: c.GetId(), MSPID: c.GetMspId(), IdentityPEM: string(c.GetIdentity()),
			}})
		}
	}
}

func (r *reader) organizations(group *common.ConfigGroup) []OrganizationSummary {
	var out []OrganizationSummary
	for _, name := range slices.Sorted(maps.Keys(group.GetGroups())) {
		sub := group.GetGroups()[name]
		o := OrganizationSummary{Name: name}
		o.Definition, o.NodeOUs = r.definition(sub)
		endpoints, anchors := &common.OrdererAddresses{}, &peer.AnchorPeers{}
		r.value(sub, keyEndpoints, endpoints)
		r.value(sub, keyAnchorPeers, anchors)
		o.Endpoints = endpoints.GetAddresses()
		for _, a := range anchors.GetAnchorPeers() {
			o.AnchorPeers = append(o.AnchorPeers, Address{Host: a.GetHost(), Port: int(a.GetPort())})
		}
		out = append(out, o)
	}
	return out
}

// The types of an MSP (msp.ProviderType in Fabric).
const (
	mspTypeX509   = 0
	mspTypeIdemix = 1
)

func (r *reader) definition(group *common.ConfigGroup) (d msp.Definition, nodeOUs bool) {
	config := &mspproto.MSPConfig{}
	r.value(group, keyMSP, config)
	switch config.GetType() {
	case mspTypeX509:
		x509 := &mspproto.FabricMSPConfig{}
		r.unmarshal("an MSP", config.GetConfig(), x509)
		return msp.Definition{
			ID:                          x509.GetName(),
			RootCertificates:            texts(x509.GetRootCerts()),
			IntermediateCertificates:    texts(x509.GetIntermediateCerts()),
			TLSRootCertificates:         texts(x509.GetTlsRootCerts()),
			TLSIntermediateCertificates: texts(x509.GetTlsIntermediateCerts()),
			RevocationLists:             texts(x509.GetRevocationList()),
		}, x509.GetFabricNodeOus().GetEnable()
	case mspTypeIdemix:
		idemix := &mspproto.IdemixMSPConfig{}
		r.unmarshal("an Idemix MSP", config.GetConfig(), idemix)
		return msp.Definition{ID: idemix.GetName()}, false
	default:
		if r.err == nil {
			r.err = fmt.Errorf("an MSP has the unknown type %d", config.GetType())
		}
		return msp.Definition{}, false
	}
}

func texts(all [][]byte) []string {
	var out []string
	for _, b := range all {
		out = append(out, string(b))
	}
	return out
}

// applicationOverrides gives the policies of the application group that are not the defaults.
func applicationOverrides(policies map[string]string) map[string]string {
	out, defaults := map[string]string{}, defaultApplicationPolicies()
	for path, text := range policies {
		if parentOf(path) != rootPath+"/"+groupApplication {
			continue
		}
		if name := nameOf(path); defaults[name] != text {
			out[name] = text
		}
	}
	return out
}

// policies fills in the policies of a group and of those below it.
func (r *reader) policies(path string, group *common.ConfigGroup, s *Summary) {
	for _, name := range slices.Sorted(maps.Keys(group.GetPolicies())) {
		text, err := policy.DescribeConfigPolicy(group.GetPolicies()[name].GetPolicy())
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("the policy %s/%s: %w", path, name, err)
		}
		s.Policies[path+"/"+name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(group.GetGroups())) {
		r.policies(path+"/"+name, group.GetGroups()[name], s)
	}
}
