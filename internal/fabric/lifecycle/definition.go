package lifecycle

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// What the lifecycle puts where a definition says nothing (SetChaincodeDefinitionDefaults).
const (
	defaultEndorsementPlugin = "escc"
	defaultValidationPlugin  = "vscc"
)

// Definition is what the organizations of a channel agree on about a chaincode. Which package an
// organization runs is not part of it.
//
// Source: proto peer/lifecycle/lifecycle.proto.
type Definition struct {
	// Name is the name of the chaincode on the channel.
	Name string
	// Version is the version, free text within ValidateVersion.
	Version string
	// Sequence counts the definitions of the chaincode, from 1.
	Sequence int64
	// InitRequired makes peers refuse calls before an initialising one.
	InitRequired bool
	// EndorsementPlugin and ValidationPlugin are empty for Fabric's own (escc and vscc).
	EndorsementPlugin string
	ValidationPlugin  string
	// ValidationParameter is the endorsement policy, a marshalled peer.ApplicationPolicy; empty means
	// the channel's /Channel/Application/Endorsement.
	ValidationParameter []byte
	// Collections are the private data collections, nil for none.
	Collections *peer.CollectionConfigPackage
}

// Validate tells what a peer would refuse of the definition without looking at the channel, or nil.
func (d Definition) Validate() error {
	var problems []error
	problems = append(problems, ValidateName(d.Name), ValidateVersion(d.Version))
	if d.Sequence < 1 {
		problems = append(problems, fmt.Errorf("sequence %d is not allowed: the first is 1", d.Sequence))
	}
	if len(d.ValidationParameter) > 0 {
		if err := proto.Unmarshal(d.ValidationParameter, &peer.ApplicationPolicy{}); err != nil {
			problems = append(problems, fmt.Errorf("the endorsement policy is malformed: %w", err))
		}
	}
	seen := map[string]bool{}
	for _, config := range d.Collections.GetConfig() {
		collection := config.GetStaticCollectionConfig()
		if collection == nil {
			problems = append(problems, errors.New("a collection has no configuration"))
			continue
		}
		name := collection.GetName()
		problems = append(problems, ValidateCollectionName(name))
		if seen[name] {
			problems = append(problems, fmt.Errorf("collection %s is there twice", name))
		}
		seen[name] = true
		if collection.GetRequiredPeerCount() < 0 {
			problems = append(problems, fmt.Errorf("collection %s: the required peer count %d is negative", name, collection.GetRequiredPeerCount()))
		}
		if collection.GetMaximumPeerCount() < collection.GetRequiredPeerCount() {
			problems = append(problems, fmt.Errorf("collection %s: the maximum peer count %d is below the required peer count %d",
				name, collection.GetMaximumPeerCount(), collection.GetRequiredPeerCount()))
		}
		if collection.GetMemberOrgsPolicy().GetSignaturePolicy() == nil {
			problems = append(problems, fmt.Errorf("collection %s names no member organizations", name))
		}
	}
	return errors.Join(problems...)
}

// Diff lists, field by field, what changes from d to other; it is empty exactly when Fabric takes
// both for the same definition. What a definition leaves to Fabric's defaults counts as them.
func (d Definition) Diff(other Definition) []string {
	var changes []string
	note := func(field string, from, to any) {
		if from != to {
			changes = append(changes, fmt.Sprintf("%s: %v -> %v", field, from, to))
		}
	}
	note("name", d.Name, other.Name)
	note("version", d.Version, other.Version)
	note("sequence", d.Sequence, other.Sequence)
	note("init required", d.InitRequired, other.InitRequired)
	note("endorsement plugin", orDefault(d.EndorsementPlugin, defaultEndorsementPlugin), orDefault(other.EndorsementPlugin, defaultEndorsementPlugin))
	note("validation plugin", orDefault(d.ValidationPlugin, defaultValidationPlugin), orDefault(other.ValidationPlugin, defaultValidationPlugin))
	if from, to := d.validationParameter(), other.validationParameter(); !bytes.Equal(from, to) {
		changes = append(changes, "endorsement policy: "+describePolicy(from)+" -> "+describePolicy(to))
	}
	return append(changes, diffCollections(d.Collections, other.Collections)...)
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func (d Definition) validationParameter() []byte {
	if len(d.ValidationParameter) > 0 {
		return d.ValidationParameter
	}
	// Marshalling one string cannot fail.
	reference, _ := policy.ApplicationPolicy{Reference: policy.DefaultReference}.Marshal()
	return reference
}

// describePolicy gives the policy as a person writes it, or what can be said of one that cannot be
// written so.
func describePolicy(parameter []byte) string {
	application, err := policy.UnmarshalApplicationPolicy(parameter)
	if err != nil {
		return fmt.Sprintf("a policy of %d bytes", len(parameter))
	}
	return application.String()
}

func diffCollections(from, to *peer.CollectionConfigPackage) []string {
	before, after := from.GetConfig(), to.GetConfig()
	var changes []string
	for _, config := range before {
		name := config.GetStaticCollectionConfig().GetName()
		match := findCollection(after, name)
		if match == nil {
			changes = append(changes, fmt.Sprintf("collection %s: removed", name))
			continue
		}
		changes = append(changes, diffCollection(config, match)...)
	}
	for _, config := range after {
		if name := config.GetStaticCollectionConfig().GetName(); findCollection(before, name) == nil {
			changes = append(changes, fmt.Sprintf("collection %s: added", name))
		}
	}
	// Fabric compares the whole list, order included.
	if len(changes) == 0 && len(before)+len(after) > 0 && !proto.Equal(from, to) {
		changes = append(changes, "collections: other order")
	}
	return changes
}

func findCollection(configs []*peer.CollectionConfig, name string) *peer.CollectionConfig {
	for _, config := range configs {
		if config.GetStaticCollectionConfig().GetName() == name {
			return config
		}
	}
	return nil
}

func diffCollection(from, to *peer.CollectionConfig) []string {
	if proto.Equal(from, to) {
		return nil
	}
	a, b := from.GetStaticCollectionConfig(), to.GetStaticCollectionConfig()
	var changes []string
	note := func(field string, before, after any) {
		if before != after {
			changes = append(changes, fmt.Sprintf("collection %s: %s: %v -> %v", a.GetName(), field, before, after))
		}
	}
	note("required peer count", a.GetRequiredPeerCount(), b.GetRequiredPeerCount())
	note("maximum peer count", a.GetMaximumPeerCount(), b.GetMaximumPeerCount())
	note("block to live", a.GetBlockToLive(), b.GetBlockToLive())
	note("member only read", a.GetMemberOnlyRead(), b.GetMemberOnlyRead())
	note("member only write", a.GetMemberOnlyWrite(), b.GetMemberOnlyWrite())
	if !proto.Equal(a.GetMemberOrgsPolicy(), b.GetMemberOrgsPolicy()) {
		changes = append(changes, fmt.Sprintf("collection %s: member organizations changed", a.GetName()))
	}
	if !proto.Equal(a.GetEndorsementPolicy(), b.GetEndorsementPolicy()) {
		changes = append(changes, fmt.Sprintf("collection %s: endorsement policy changed", a.GetName()))
	}
	if len(changes) == 0 {
		changes = append(changes, fmt.Sprintf("collection %s: changed", a.GetName()))
	}
	return changes
}
