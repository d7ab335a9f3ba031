package configtx

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// BFTQuorum gives how many of the ordering nodes of a SmartBFT channel must agree, and sign each block:
// ceil((n+f+1)/2), where f, the nodes that may fail or lie, is (n-1)/3 (common/policies,
// ComputeBFTQuorum).
func BFTQuorum(nodes int) int {
	faulty := (nodes - 1) / 3
	return (nodes + faulty + 2) / 2
}

// bftConsensus adds the consensus type, the consenters and the policy BlockValidation of SmartBFT.
func (c Channel) bftConsensus(b *groupBuilder) error {
	options := &smartbft.Options{
		// Nodes take these two from the batch; they stand here for readers only.
		RequestBatchMaxCount: uint64(c.Batch.MaxMessageCount), RequestBatchMaxBytes: uint64(c.Batch.AbsoluteMaxBytes),
		LeaderRotation: smartbft.Options_ROTATION_OFF,
	}
	c.BFT.writeTo(options)
	b.value(keyConsensusType, &orderer.ConsensusType{Type: ConsensusBFT, Metadata: b.marshal(options)})

	mapping := &common.Orderers{}
	for i, consenter := range c.Consenters {
		stored, err := storedBFTConsenter(consenter)
		if err != nil {
			return err
		}
		if stored.Id == 0 {
			stored.Id = uint32(i + 1)
		}
		mapping.ConsenterMapping = append(mapping.ConsenterMapping, stored)
	}
	b.value(keyOrderers, mapping)
	policy, err := blockValidation(mapping.GetConsenterMapping())
	if err != nil {
		return err
	}
	b.group.Policies[policyBlockValidation].Policy = policy
	return nil
}

// blockValidation gives the policy that a block of these consenters must meet. Ordering nodes compare it
// with the one in the channel, bytes and order included, at every config update
// (orderer/consensus/smartbft, checkConsentersMatchPolicy).
func blockValidation(consenters []*common.Consenter) (*common.Policy, error) {
	m := &marshaller{}
	envelope := &common.SignaturePolicyEnvelope{}
	gate := &common.SignaturePolicy_NOutOf{N: int32(BFTQuorum(len(consenters)))}
	for i, c := range consenters {
		gate.Rules = append(gate.Rules, &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
		envelope.Identities = append(envelope.Identities, &mspproto.MSPPrincipal{
			PrincipalClassification: mspproto.MSPPrincipal_IDENTITY,
			Principal:               m.marshal(&mspproto.SerializedIdentity{Mspid: c.GetMspId(), IdBytes: c.GetIdentity()}),
		})
	}
	envelope.Rule = &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: gate}}
	return &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: m.marshal(envelope)}, m.err
}

func storedBFTConsenter(c Consenter) (*common.Consenter, error) {
	tls, err := storedConsenter(c)
	if err != nil {
		return nil, err
	}
	identity, err := canonicalPEM(c.IdentityPEM)
	if err != nil {
		return nil, fmt.Errorf("its identity: %w", err)
	}
	if err := ValidateMSPID(c.MSPID); err != nil {
		return nil, err
	}
	return &common.Consenter{
		Id: c.ID, Host: c.Host, Port: tls.GetPort(), MspId: c.MSPID, Identity: identity,
		ClientTlsCert: tls.GetClientTlsCert(), ServerTlsCert: tls.GetServerTlsCert(),
	}, nil
}

// sameNode tells whether two SmartBFT consenters are one by their certificates.
func sameNode(a, b *common.Consenter) bool {
	return a.GetMspId() == b.GetMspId() && fingerprint(a.GetIdentity()) == fingerprint(b.GetIdentity()) &&
		fingerprint(a.GetClientTlsCert()) == fingerprint(b.GetClientTlsCert()) && fingerprint(a.GetServerTlsCert()) == fingerprint(b.GetServerTlsCert())
}

// nextID gives one more than the highest ID of the channel. An ID that a consenter had before it was
// removed must not come back, which the configuration cannot tell: give the ID when the highest went.
func nextID(all []*common.Consenter) uint32 {
	highest := uint32(0)
	for _, c := range all {
		highest = max(highest, c.GetId())
	}
	return highest + 1
}

// editBFTConsenters lets change work on the consenters, and makes BlockValidation follow.
func (c *Config) editBFTConsenters(change func([]*common.Consenter) ([]*common.Consenter, error)) error {
	group, err := c.group(groupOrderer)
	if err != nil {
		return err
	}
	mapping := &common.Orderers{}
	var policy *common.Policy
	err = edit(group, keyOrderers, mapping, func() error {
		all, err := change(mapping.GetConsenterMapping())
		if err != nil {
			return err
		}
		seen := map[uint32]Address{}
		for _, consenter := range all {
			if other, ok := seen[consenter.GetId()]; ok {
				return fmt.Errorf("the consenters %s and %s would both have the ID %d", other, addressOf(consenter), consenter.GetId())
			}
			seen[consenter.GetId()] = addressOf(consenter)
		}
		if policy, err = blockValidation(all); err != nil {
			return err
		}
		mapping.ConsenterMapping = all
		return nil
	})
	if err != nil {
		return err
	}
	existing, ok := group.GetPolicies()[policyBlockValidation]
	switch {
	case !ok:
		group.Policies[policyBlockValidation] = &common.ConfigPolicy{ModPolicy: policyAdmins, Policy: policy}
	case !proto.Equal(existing.GetPolicy(), policy):
		existing.Policy = policy
	}
	return nil
}

// SetBFTOptions sets timers and limits of SmartBFT. Fields that are zero stay as they are in the channel,
// but for RequestMaxBytes, where zero says something.
// Ordering nodes take a new RequestPoolSize when they start again, and the rest at once.
func (c *Config) SetBFTOptions(o BFTOptions) error {
	group, err := c.group(groupOrderer)
	if err != nil {
		return c.cannot("set the SmartBFT options", err)
	}
	consensus := &orderer.ConsensusType{}
	err = edit(group, keyConsensusType, consensus, func() error {
		if consensus.GetType() != ConsensusBFT {
			return fmt.Errorf("its consensus is %s and not %s", consensus.GetType(), ConsensusBFT)
		}
		options := &smartbft.Options{}
		if err := proto.Unmarshal(consensus.GetMetadata(), options); err != nil {
			return fmt.Errorf("the SmartBFT options are damaged: %w", err)
		}
		before := proto.Clone(options)
		o.writeTo(options)
		if proto.Equal(before, options) {
			return nil
		}
		m := &marshaller{}
		consensus.Metadata = m.marshal(options)
		return m.err
	})
	if err != nil {
		return c.cannot("set the SmartBFT options", err)
	}
	return nil
}

// bftDurations gives the timers of both sides with the names that Problems have for them.
func bftDurations(o *BFTOptions, stored *smartbft.Options) []struct {
	name   string
	value  *time.Duration
	stored *string
} {
	return []struct {
		name   string
		value  *time.Duration
		stored *string
	}{
		{"request_batch_max_interval", &o.RequestBatchMaxInterval, &stored.RequestBatchMaxInterval},
		{"request_forward_timeout", &o.RequestForwardTimeout, &stored.RequestForwardTimeout},
		{"request_complain_timeout", &o.RequestComplainTimeout, &stored.RequestComplainTimeout},
		{"request_auto_remove_timeout", &o.RequestAutoRemoveTimeout, &stored.RequestAutoRemoveTimeout},
		{"view_change_resend_interval", &o.ViewChangeResendInterval, &stored.ViewChangeResendInterval},
		{"view_change_timeout", &o.ViewChangeTimeout, &stored.ViewChangeTimeout},
		{"leader_heartbeat_timeout", &o.LeaderHeartbeatTimeout, &stored.LeaderHeartbeatTimeout},
		{"collect_timeout", &o.CollectTimeout, &stored.CollectTimeout},
	}
}

// writeTo sets what is not zero. A timer that already has the value keeps its text.
func (o BFTOptions) writeTo(stored *smartbft.Options) {
	for _, d := range bftDurations(&o, stored) {
		if now, err := time.ParseDuration(*d.stored); *d.value != 0 && (err != nil || now != *d.value) {
			*d.stored = d.value.String()
		}
	}
	setIfGiven(&stored.LeaderHeartbeatCount, o.LeaderHeartbeatCount)
	setIfGiven(&stored.IncomingMessageBufferSize, o.IncomingMessageBufferSize)
	setIfGiven(&stored.RequestPoolSize, o.RequestPoolSize)
	stored.RequestMaxBytes = o.RequestMaxBytes
}

func (r *reader) bftOptions(stored *smartbft.Options) BFTOptions {
	o := BFTOptions{
		LeaderHeartbeatCount: stored.GetLeaderHeartbeatCount(), IncomingMessageBufferSize: stored.GetIncomingMessageBufferSize(),
		RequestPoolSize: stored.GetRequestPoolSize(), RequestMaxBytes: stored.GetRequestMaxBytes(),
	}
	for _, d := range bftDurations(&o, stored) {
		*d.value = r.duration("the SmartBFT option "+d.name, *d.stored)
	}
	return o
}

// defaultRequestMaxBytes is with what SmartBFT itself checks the limits of a block.
const defaultRequestMaxBytes = 10 << 10

// Problems finds what SmartBFT refuses of the options on channels with such a batch. Options that are zero
// have their defaults.
func (o BFTOptions) Problems(b Batch) []Problem {
	v := &validation{}
	v.bftOptions(o.withDefaults(), b.withDefaults())
	return v.problems
}

// bftOptions applies what the nodes check when they start or reconfigure (SmartBFT, types.Configuration).
func (v *validation) bftOptions(o BFTOptions, b Batch) {
	for _, d := range bftDurations(&o, &smartbft.Options{}) {
		if *d.value <= 0 {
			v.report("bft."+d.name, "%s is not more than 0", *d.value)
		}
	}
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"leader_heartbeat_count", o.LeaderHeartbeatCount}, {"incoming_message_buffer_size", o.IncomingMessageBufferSize},
		{"request_pool_size", o.RequestPoolSize},
	} {
		if c.value == 0 {
			v.report("bft."+c.name, "0 is not more than 0")
		}
	}
	if o.RequestForwardTimeout > o.RequestComplainTimeout {
		v.report("bft.request_forward_timeout", "%s is more than request_complain_timeout, which is %s", o.RequestForwardTimeout, o.RequestComplainTimeout)
	}
	if o.RequestComplainTimeout > o.RequestAutoRemoveTimeout {
		v.report("bft.request_complain_timeout", "%s is more than request_auto_remove_timeout, which is %s", o.RequestComplainTimeout, o.RequestAutoRemoveTimeout)
	}
	if o.ViewChangeResendInterval > o.ViewChangeTimeout {
		v.report("bft.view_change_resend_interval", "%s is more than view_change_timeout, which is %s", o.ViewChangeResendInterval, o.ViewChangeTimeout)
	}
	if o.RequestMaxBytes > uint64(b.AbsoluteMaxBytes) {
		v.report("bft.request_max_bytes", "%d is more than batch.absolute_max_bytes, which is %d", o.RequestMaxBytes, b.AbsoluteMaxBytes)
	}
	if b.AbsoluteMaxBytes < defaultRequestMaxBytes {
		v.report("batch.absolute_max_bytes", "%d is less than %d, the least that SmartBFT accepts", b.AbsoluteMaxBytes, defaultRequestMaxBytes)
	}
	if b.MaxMessageCount > b.AbsoluteMaxBytes {
		v.report("batch.max_message_count", "%d is more than absolute_max_bytes, which is %d, and SmartBFT refuses that", b.MaxMessageCount, b.AbsoluteMaxBytes)
	}
}

// bftIdentities checks what only SmartBFT consenters have: an ID of their own and an identity that is a
// member of an orderer organization. msps are those of the orderer organizations; expiry counts for fresh
// consenters only.
func (v *validation) bftIdentities(consenters []Consenter, msps map[string]*membership, fresh func(Consenter) bool) {
	ids := map[uint32]int{}
	for i, c := range consenters {
		field := fmt.Sprintf("consenters[%d]", i)
		if first, ok := ids[c.ID]; ok && c.ID != 0 {
			v.report(field+".id", "%d is already the ID of consenters[%d]", c.ID, first)
		}
		ids[c.ID] = i
		msp, ok := msps[c.MSPID]
		if !ok {
			v.report(field+".msp_id", "%q is not an orderer organization of the channel", c.MSPID)
			continue
		}
		cert, err := certificate.ParseOne([]byte(c.IdentityPEM))
		if err == nil {
			err = msp.verify(cert)
		}
		if err == nil && fresh(c) && v.now.After(cert.NotAfter) {
			err = fmt.Errorf("the certificate of %s expired at %s", cert.Subject.CommonName, cert.NotAfter.UTC().Format(time.RFC3339))
		}
		v.check(field+".identity", err)
		for j, other := range consenters[:i] {
			if sameText(other.IdentityPEM, c.IdentityPEM) {
				v.report(field+".identity", "the certificate is already that of consenters[%d]", j)
			}
		}
	}
}

// bft checks what a new channel with SmartBFT needs beyond one with Raft.
func (v *validation) bft() {
	c := v.channel
	if c.ChannelCapability != ChannelCapabilityV3_0 {
		v.report("channel_capability", "SmartBFT needs %s", ChannelCapabilityV3_0)
	}
	if _, ok := c.OrdererPolicies[policyBlockValidation]; ok {
		v.report("orderer_policies["+policyBlockValidation+"]", "with SmartBFT it is made of the consenters")
	}
	msps := map[string]*membership{}
	for _, o := range c.OrdererOrganizations {
		// A definition that gives no MSP is reported as such.
		if config, err := o.Definition.FabricMSPConfig(); err == nil {
			msps[o.Definition.ID] = newMembership(config)
			msps[o.Definition.ID].anyKey = true
		}
	}
	v.bftIdentities(c.Consenters, msps, func(Consenter) bool { return true })
	v.bftOptions(c.BFT, c.Batch)
}

// bftConsensus applies what the ordering nodes of SmartBFT check of each config update
// (orderer/consensus/smartbft), and that one node at a time comes, goes or is replaced: more at once can
// leave too few that know of each other.
func (v *updateValidation) bftConsensus() {
	before, after := consentersOf(v.before), consentersOf(v.after)
	if len(after) == 0 {
		v.report("consenters", "the last one would go: nobody would order the channel any more; remove the channel instead")
		return
	}
	if v.after.BFT != v.before.BFT || v.after.Batch != v.before.Batch {
		v.bftOptions(v.after.BFT, v.after.Batch)
	}
	added, removed := lacking(after, before), lacking(before, after)
	if len(added) > 1 || len(removed) > 1 {
		v.report("consenters", "%d would come and %d would go; with SmartBFT change one at a time, and go on when the heights of all nodes agree", len(added), len(removed))
	}
	v.consenterIDs(before, after)
	group := v.to.Proto.GetChannelGroup().GetGroups()[groupOrderer]
	msps := memberships(v.to.Proto)
	for id := range msps {
		if organizationKey(group, id) == "" {
			delete(msps, id)
		}
	}
	v.bftIdentities(after, msps, func(c Consenter) bool { return slices.Contains(added, c) })
	v.tlsCertificates(after, added)
	v.blockValidation(group)
}

func consentersOf(s Summary) []Consenter {
	var out []Consenter
	for _, c := range s.Consenters {
		out = append(out, c.Consenter)
	}
	return out
}

// lacking gives the consenters of some that others do not have.
func lacking(some, others []Consenter) []Consenter {
	return slices.DeleteFunc(slices.Clone(some), func(c Consenter) bool { return slices.Contains(others, c) })
}

// consenterIDs finds a number that changes hands.
func (v *updateValidation) consenterIDs(before, after []Consenter) {
	for i, c := range after {
		if c.ID == 0 {
			v.report(fmt.Sprintf("consenters[%d].id", i), "0 is not an ID")
		}
		for _, was := range before {
			if was.ID == c.ID && was.address() != c.address() && was.IdentityPEM != c.IdentityPEM {
				v.report(fmt.Sprintf("consenters[%d].id", i), "%d is the ID of %s; a new consenter needs one that no other ever had", c.ID, was.address())
			}
		}
	}
}

func (v *updateValidation) blockValidation(group *common.ConfigGroup) {
	mapping := &common.Orderers{}
	r := &reader{}
	r.value(group, keyOrderers, mapping)
	wanted, err := blockValidation(mapping.GetConsenterMapping())
	if err := errors.Join(r.err, err); err != nil {
		v.check("consenters", err)
		return
	}
	stored := group.GetPolicies()[policyBlockValidation].GetPolicy()
	if stored.GetType() != wanted.GetType() || !bytes.Equal(stored.GetValue(), wanted.GetValue()) {
		v.report("policies[/Channel/Orderer/BlockValidation]", "it is not the one that the consenters give, and SmartBFT nodes refuse that")
	}
}
