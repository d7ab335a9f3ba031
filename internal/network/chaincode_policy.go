package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Whose is a policy of a chaincode definition.
type Whose struct {
	// Collection is the private data collection; empty: the chaincode's own.
	Collection string
	// Members: it says who holds the data, rather than who endorses.
	Members bool
}

func (w Whose) String() string {
	switch {
	case w.Collection == "":
		return "the endorsement policy"
	case w.Members:
		return "the member_policy of collection " + w.Collection
	}
	return "the endorsement_policy of collection " + w.Collection
}

// UnknownMSPError tells that a policy names an organization that the channel does not have.
type UnknownMSPError struct {
	Whose
	MSPID, Channel string
	Known          []string
}

func (e *UnknownMSPError) Error() string {
	return fmt.Sprintf("%s names %s, and the organizations of channel %s are %s", e.Whose, e.MSPID, e.Channel, strings.Join(e.Known, ", "))
}

// UnsatisfiableError tells that the peers of the channel together cannot meet a policy.
type UnsatisfiableError struct {
	Whose
	Policy, Channel string
	// Peers are the peers that there are, by MSP ID.
	Peers []string
}

func (e *UnsatisfiableError) Error() string {
	return fmt.Sprintf("the peers of channel %s (%s) cannot meet %s, which is %s: they sign in the role peer, each once", e.Channel, strings.Join(e.Peers, ", "), e.Whose, e.Policy)
}

// TooFewPeersError tells that a collection wants its data on more peers than its members have.
type TooFewPeersError struct {
	Collection, Channel string
	// Required is how many other peers must have the data, Others how many there are beside the one that
	// endorses.
	Required, Others int
}

func (e *TooFewPeersError) Error() string {
	return fmt.Sprintf("the members of collection %s have %d other peers on channel %s at most, and required_peer_count is %d: no write would be endorsed", e.Collection, e.Others, e.Channel, e.Required)
}

// UnknownPolicyError tells that a policy refers to one that the channel does not have.
type UnknownPolicyError struct {
	Whose
	Reference, Channel string
	Known              []string
}

func (e *UnknownPolicyError) Error() string {
	return fmt.Sprintf("%s is %s, and channel %s has no such policy; its application has %s", e.Whose, e.Reference, e.Channel, strings.Join(e.Known, ", "))
}

// ChannelMembers are what the policies of a chaincode are held to.
type ChannelMembers struct {
	// Peers is how many peers each organization has on the channel, by MSP ID; 0: it runs them itself.
	Peers map[string]int
	// Policies are the names of the application's policies beside those that every channel has.
	Policies []string
}

// ChannelMembers gives the members of a channel as its record has them; ok is false of a channel that
// is not there yet.
func (f *Fabric) ChannelMembers(ctx context.Context, channel Handle) (members ChannelMembers, ok bool, err error) {
	if channel.Kind == KindChannelMembership {
		return f.membersBeside(ctx, channel)
	}
	record, err := f.channelRecord(ctx, channel)
	if errors.Is(err, ErrLost) {
		return ChannelMembers{}, false, nil
	}
	return record.members(), err == nil, err
}

// membersBeside gives the members of a channel of which we only have a membership, by its configuration: of
// the others nobody here knows how many peers they have.
func (f *Fabric) membersBeside(ctx context.Context, membership Handle) (members ChannelMembers, ok bool, err error) {
	record, err := f.channelRecord(ctx, membership)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		return members, false, nil
	}
	if err != nil {
		return members, false, err
	}
	facts, err := f.inspectChannel(ctx, membership)
	if err != nil {
		return members, false, err
	}
	members = record.members()
	for _, o := range facts.Summary.ApplicationOrganizations {
		members.Peers[o.Definition.ID] += 0
	}
	for path := range facts.Summary.Policies {
		if name, ok := strings.CutPrefix(path, "/Channel/Application/"); ok && !strings.Contains(name, "/") {
			members.Policies = append(members.Policies, name)
		}
	}
	return members, true, nil
}

func (r channelRecord) members() ChannelMembers {
	m := ChannelMembers{Peers: map[string]int{}, Policies: slices.Collect(maps.Keys(r.Config.ApplicationPolicies))}
	for _, o := range r.Organizations {
		m.Peers[o.Organization.MSPID] = len(o.Peers)
	}
	return m
}

// Elsewhere tells whether an organization of the channel runs its peers itself.
func (m ChannelMembers) Elsewhere() bool {
	return slices.Contains(slices.Collect(maps.Values(m.Peers)), 0)
}

// CheckPolicies refuses policies of a chaincode that these members could not meet, with
// *UnknownMSPError, *UnsatisfiableError, *UnknownPolicyError or *TooFewPeersError for each.
func (m ChannelMembers) CheckPolicies(spec ChaincodeSpec) error {
	c := policyCheck{channel: spec.Channel.Name, members: m}
	var problems []error
	endorsement, err := policy.UnmarshalApplicationPolicy(spec.ValidationParameter)
	if err != nil {
		return err
	}
	problems = append(problems, c.endorsement(endorsement, Whose{}))
	for _, config := range spec.Collections.GetConfig() {
		collection := config.GetStaticCollectionConfig()
		whose := Whose{Collection: collection.GetName()}
		if p := collection.GetEndorsementPolicy(); p != nil {
			endorsement, err := policy.ApplicationPolicyFromProto(p)
			if err != nil {
				return err
			}
			problems = append(problems, c.endorsement(endorsement, whose))
		}
		members, err := policy.FromEnvelope(collection.GetMemberOrgsPolicy().GetSignaturePolicy())
		if err != nil {
			return err
		}
		whose.Members = true
		problems = append(problems, c.names(members, whose), c.holders(members, collection))
	}
	return errors.Join(problems...)
}

// policyCheck holds policies to the members of a channel.
type policyCheck struct {
	channel string
	members ChannelMembers
}

// names refuses a policy that names an organization which is not a member.
func (c policyCheck) names(p policy.Policy, whose Whose) error {
	known := slices.Sorted(maps.Keys(c.members.Peers))
	for _, id := range p.MSPIDs() {
		if !slices.Contains(known, id) {
			return &UnknownMSPError{Whose: whose, MSPID: id, Channel: c.channel, Known: known}
		}
	}
	return nil
}

// holders refuses a collection whose data more peers must have than there are. Of those whose peers run
// elsewhere nobody here knows how many.
func (c policyCheck) holders(members policy.Policy, collection *peer.StaticCollectionConfig) error {
	peers := 0
	for _, id := range members.MSPIDs() {
		count, known := c.members.Peers[id]
		if !known || count == 0 {
			return nil
		}
		peers += count
	}
	if others := peers - 1; int(collection.GetRequiredPeerCount()) > others {
		return &TooFewPeersError{Collection: collection.GetName(), Channel: c.channel, Required: int(collection.GetRequiredPeerCount()), Others: others}
	}
	return nil
}

// applicationPolicies are those that every application channel has, beside the ones that were asked for.
var applicationPolicies = []string{"Admins", "Endorsement", "LifecycleEndorsement", "Readers", "Writers"}

// endorsement refuses an endorsement policy that nobody could meet.
func (c policyCheck) endorsement(p policy.ApplicationPolicy, whose Whose) error {
	if p.IsZero() {
		return nil
	}
	if p.Reference != "" {
		name, below := strings.CutPrefix(p.Reference, "/Channel/Application/")
		known := append(slices.Clone(applicationPolicies), c.members.Policies...)
		slices.Sort(known)
		if below && !strings.Contains(name, "/") && !slices.Contains(known, name) {
			return &UnknownPolicyError{Whose: whose, Reference: p.Reference, Channel: c.channel, Known: slices.Compact(known)}
		}
		return nil
	}
	if err := c.names(p.Signature, whose); err != nil {
		return err
	}
	signers, peers := c.signers()
	if !p.Signature.SatisfiableBy(signers) {
		return &UnsatisfiableError{Whose: whose, Policy: p.Signature.String(), Channel: c.channel, Peers: peers}
	}
	return nil
}

// peersElsewhere stands for the peers of an organization that runs them itself: nobody here knows
// how many there are.
const peersElsewhere = 16

// signers gives an identity for every peer of the channel, and the same in words.
func (c policyCheck) signers() (signers []policy.Principal, words []string) {
	for mspID, count := range c.members.Peers {
		word := fmt.Sprintf("%d of %s", count, mspID)
		if count == 0 {
			count, word = peersElsewhere, "those that "+mspID+" runs itself"
		}
		for range count {
			signers = append(signers, policy.Principal{MSPID: mspID, Role: policy.RolePeer})
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return signers, words
}

// Collection is a private data collection in the words of a person.
type Collection struct {
	Name string
	// MemberPolicy says who holds the data, in the policy language; EndorsementPolicy who endorses
	// writes, empty for whom the chaincode's policy asks.
	MemberPolicy, EndorsementPolicy string
	// RequiredPeerCount and MaxPeerCount are how many other peers must have, and are sent, the data
	// at endorsement; BlockToLive is after how many blocks it is purged, 0 for never.
	RequiredPeerCount, MaxPeerCount, BlockToLive int64
	MemberOnlyRead, MemberOnlyWrite              bool
}

// CollectionPackage gives the collections in the form of a definition, in the given order; nil for
// none. It fails when a policy does not parse.
func CollectionPackage(list []Collection) (*peer.CollectionConfigPackage, error) {
	if len(list) == 0 {
		return nil, nil //nolint:nilnil // a definition without collections has none
	}
	out := &peer.CollectionConfigPackage{}
	for _, c := range list {
		members, err := policy.Parse(c.MemberPolicy)
		if err != nil {
			return nil, fmt.Errorf("unable to read the member policy of collection %s: %w", c.Name, err)
		}
		config := &peer.StaticCollectionConfig{
			Name:              c.Name,
			MemberOrgsPolicy:  &peer.CollectionPolicyConfig{Payload: &peer.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: members.Envelope()}},
			RequiredPeerCount: int32(c.RequiredPeerCount), MaximumPeerCount: int32(c.MaxPeerCount), BlockToLive: uint64(c.BlockToLive),
			MemberOnlyRead: c.MemberOnlyRead, MemberOnlyWrite: c.MemberOnlyWrite,
		}
		if c.EndorsementPolicy != "" {
			endorsement, err := policy.ParseApplicationPolicy(c.EndorsementPolicy)
			if err != nil {
				return nil, fmt.Errorf("unable to read the endorsement policy of collection %s: %w", c.Name, err)
			}
			config.EndorsementPolicy = endorsement.Proto()
		}
		out.Config = append(out.Config, &peer.CollectionConfig{Payload: &peer.CollectionConfig_StaticCollectionConfig{StaticCollectionConfig: config}})
	}
	return out, nil
}

// Collections reads the collections of a definition. What cannot be written in the policy language
// is described.
func Collections(list *peer.CollectionConfigPackage) []Collection {
	var out []Collection
	for _, config := range list.GetConfig() {
		c := config.GetStaticCollectionConfig()
		one := Collection{
			Name: c.GetName(), MemberPolicy: policy.Describe(c.GetMemberOrgsPolicy().GetSignaturePolicy()),
			RequiredPeerCount: int64(c.GetRequiredPeerCount()), MaxPeerCount: int64(c.GetMaximumPeerCount()), BlockToLive: int64(c.GetBlockToLive()),
			MemberOnlyRead: c.GetMemberOnlyRead(), MemberOnlyWrite: c.GetMemberOnlyWrite(),
		}
		if endorsement, err := policy.ApplicationPolicyFromProto(c.GetEndorsementPolicy()); err == nil {
			one.EndorsementPolicy = endorsement.String()
		}
		out = append(out, one)
	}
	return out
}

// CollectionError tells that a collection of the definition in force cannot become what is wanted:
// Fabric takes no collection away, and keeps its block to live (core/chaincode/lifecycle/scc.go).
type CollectionError struct {
	Collection string
	// Gone tells that it is missing; otherwise its block to live differs, which is BlockToLive.
	Gone        bool
	BlockToLive int64
}

func (e *CollectionError) Error() string {
	if e.Gone {
		return fmt.Sprintf("collection %s is on the ledger, and Fabric takes none away", e.Collection)
	}
	return fmt.Sprintf("the block_to_live of collection %s is %d on the ledger, and Fabric does not change that", e.Collection, e.BlockToLive)
}

// CheckCollections tells what of a change of collections Fabric refuses: *CollectionError, joined.
func CheckCollections(inForce, wanted *peer.CollectionConfigPackage) error {
	now := map[string]*peer.StaticCollectionConfig{}
	for _, config := range wanted.GetConfig() {
		now[config.GetStaticCollectionConfig().GetName()] = config.GetStaticCollectionConfig()
	}
	var problems []error
	for _, config := range inForce.GetConfig() {
		before := config.GetStaticCollectionConfig()
		after, ok := now[before.GetName()]
		if !ok || after.GetBlockToLive() != before.GetBlockToLive() {
			problems = append(problems, &CollectionError{Collection: before.GetName(), Gone: !ok, BlockToLive: int64(before.GetBlockToLive())})
		}
	}
	return errors.Join(problems...)
}

// sameMeaning tells whether two definitions mean the same, however their policies are spelled and in
// whatever order their collections stand.
func sameMeaning(a, b lifecycle.Definition) bool {
	if SamePolicy(a.ValidationParameter, b.ValidationParameter) {
		a.ValidationParameter = b.ValidationParameter
	}
	if SameCollections(a.Collections, b.Collections) {
		a.Collections = b.Collections
	}
	return len(a.Diff(b)) == 0
}

// SamePolicy tells whether two validation parameters (marshalled peer.ApplicationPolicy) mean the
// same: equal bytes, or policies with one canonical form. None means the channel's default.
func SamePolicy(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	before, err := policy.UnmarshalApplicationPolicy(a)
	if err != nil {
		return false
	}
	now, err := policy.UnmarshalApplicationPolicy(b)
	if err != nil {
		return false
	}
	return orDefault(before).Equal(orDefault(now))
}

func orDefault(p policy.ApplicationPolicy) policy.ApplicationPolicy {
	if p.IsZero() {
		return policy.ApplicationPolicy{Reference: policy.DefaultReference}
	}
	return p
}

// SameCollections tells whether two lists of collections mean the same.
func SameCollections(a, b *peer.CollectionConfigPackage) bool {
	return proto.Equal(canonicalCollections(a), canonicalCollections(b))
}

// canonicalCollections gives the collections in the order of their names, with policies that can be
// written in the policy language in its canonical form.
func canonicalCollections(list *peer.CollectionConfigPackage) *peer.CollectionConfigPackage {
	out := &peer.CollectionConfigPackage{}
	for _, config := range list.GetConfig() {
		config = proto.Clone(config).(*peer.CollectionConfig)
		if c := config.GetStaticCollectionConfig(); c != nil {
			if p, err := policy.FromEnvelope(c.GetMemberOrgsPolicy().GetSignaturePolicy()); err == nil {
				c.MemberOrgsPolicy = &peer.CollectionPolicyConfig{Payload: &peer.CollectionPolicyConfig_SignaturePolicy{SignaturePolicy: canonical(p).Envelope()}}
			}
			if p, err := policy.ApplicationPolicyFromProto(c.GetEndorsementPolicy()); err == nil {
				p.Signature = canonical(p.Signature)
				c.EndorsementPolicy = p.Proto()
			}
		}
		out.Config = append(out.Config, config)
	}
	slices.SortStableFunc(out.Config, func(a, b *peer.CollectionConfig) int {
		return strings.Compare(a.GetStaticCollectionConfig().GetName(), b.GetStaticCollectionConfig().GetName())
	})
	return out
}

// canonical gives the policy that its canonical form reads as.
func canonical(p policy.Policy) policy.Policy {
	out, err := policy.Parse(p.String())
	if err != nil { // no policy at all
		return p
	}
	return out
}
