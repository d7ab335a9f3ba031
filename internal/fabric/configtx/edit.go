package configtx

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Clone gives a copy of its own. To change a channel, edit a Clone with the setters below and give both
// to ComputeUpdate.
//
// A setter changes only what it says: versions, mod_policies, the order of lists, values and fields that
// this package does not know stay, and so do the bytes of every value that already says what is asked.
// So a setter that is called with what the channel has changes nothing. On an error the configuration is
// as it was.
func (c *Config) Clone() *Config {
	return &Config{Channel: c.Channel, Block: c.Block, Proto: proto.Clone(c.Proto).(*common.Config)}
}

// group gives the group at the path of keys below the channel group; it must be there.
func (c *Config) group(keys ...string) (*common.ConfigGroup, error) {
	group, path := c.Proto.GetChannelGroup(), rootPath
	for _, key := range keys {
		path += "/" + key
		group = group.GetGroups()[key]
		if group == nil {
			return nil, fmt.Errorf("the channel %s has no group %s", c.Channel, path)
		}
	}
	return group, nil
}

// edit reads a value of a group into message, lets change work on it, and writes it back if it differs
// then. A value that was not there is made, under the Admins of the group, unless it stays empty.
func edit(group *common.ConfigGroup, key string, message proto.Message, change func() error) error {
	value, was := group.GetValues()[key]
	if err := proto.Unmarshal(value.GetValue(), message); err != nil {
		return fmt.Errorf("unable to read the value %s: %w", key, err)
	}
	before := proto.Clone(message)
	if err := change(); err != nil {
		return err
	}
	if proto.Equal(before, message) {
		return nil
	}
	m := &marshaller{}
	raw := m.marshal(message)
	if m.err != nil {
		return fmt.Errorf("unable to write the value %s: %w", key, m.err)
	}
	if !was {
		put(group, key, raw)
		return nil
	}
	value.Value = raw
	return nil
}

func put(group *common.ConfigGroup, key string, raw []byte) {
	if group.Values == nil {
		group.Values = map[string]*common.ConfigValue{}
	}
	group.Values[key] = &common.ConfigValue{ModPolicy: policyAdmins, Value: raw}
}

// SetBatch sets when blocks are cut. Fields that are zero stay as they are in the channel.
func (c *Config) SetBatch(b Batch) error {
	group, err := c.group(groupOrderer)
	if err != nil {
		return c.cannot("set the batch", err)
	}
	// Both values are tried on a copy, so that an error leaves neither changed.
	trial := proto.Clone(group).(*common.ConfigGroup)
	size, timeout := &orderer.BatchSize{}, &orderer.BatchTimeout{}
	err = errors.Join(
		edit(trial, keyBatchSize, size, func() error {
			setIfGiven(&size.MaxMessageCount, b.MaxMessageCount)
			setIfGiven(&size.AbsoluteMaxBytes, b.AbsoluteMaxBytes)
			setIfGiven(&size.PreferredMaxBytes, b.PreferredMaxBytes)
			return nil
		}),
		edit(trial, keyBatchTimeout, timeout, func() error {
			r := &reader{}
			if b.Timeout != 0 && r.duration("the batch timeout", timeout.GetTimeout()) != b.Timeout {
				timeout.Timeout = b.Timeout.String()
			}
			return nil
		}))
	if err != nil {
		return c.cannot("set the batch", err)
	}
	group.Values = trial.Values
	return nil
}

// cannot puts what was tried before the cause.
func (c *Config) cannot(what string, err error) error {
	return fmt.Errorf("unable to %s of the channel %s: %w", what, c.Channel, err)
}

func setIfGiven[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}

// raft lets change work on the Raft metadata of the channel.
func (c *Config) raft(change func(*etcdraft.ConfigMetadata) error) error {
	group, err := c.group(groupOrderer)
	if err != nil {
		return err
	}
	consensus := &orderer.ConsensusType{}
	return edit(group, keyConsensusType, consensus, func() error {
		if consensus.GetType() != ConsensusRaft {
			return fmt.Errorf("its consensus is %s and not %s", consensus.GetType(), ConsensusRaft)
		}
		metadata := &etcdraft.ConfigMetadata{}
		if err := proto.Unmarshal(consensus.GetMetadata(), metadata); err != nil {
			return fmt.Errorf("the Raft metadata is damaged: %w", err)
		}
		before := proto.Clone(metadata)
		if err := change(metadata); err != nil {
			return err
		}
		if proto.Equal(before, metadata) {
			return nil
		}
		m := &marshaller{}
		consensus.Metadata = m.marshal(metadata)
		return m.err
	})
}

// SetRaftOptions sets timers and limits of Raft. Fields that are zero stay as they are in the channel.
// Ordering nodes take a new SnapshotIntervalSize at once and the rest when they start again.
func (c *Config) SetRaftOptions(o RaftOptions) error {
	err := c.raft(func(metadata *etcdraft.ConfigMetadata) error {
		if metadata.Options == nil {
			metadata.Options = &etcdraft.Options{}
		}
		options := metadata.Options
		r := &reader{}
		if o.TickInterval != 0 && r.duration("the Raft tick interval", options.GetTickInterval()) != o.TickInterval {
			options.TickInterval = o.TickInterval.String()
		}
		setIfGiven(&options.ElectionTick, o.ElectionTick)
		setIfGiven(&options.HeartbeatTick, o.HeartbeatTick)
		setIfGiven(&options.MaxInflightBlocks, o.MaxInflightBlocks)
		setIfGiven(&options.SnapshotIntervalSize, o.SnapshotIntervalSize)
		return nil
	})
	if err != nil {
		return c.cannot("set the Raft options", err)
	}
	return nil
}

// SetChannelCapability makes the capability the only one of the channel group.
func (c *Config) SetChannelCapability(name string) error { return c.setCapability(name) }

// SetOrdererCapability makes the capability the only one of the orderer group.
func (c *Config) SetOrdererCapability(name string) error { return c.setCapability(name, groupOrderer) }

// SetApplicationCapability makes the capability the only one of the application group.
func (c *Config) SetApplicationCapability(name string) error {
	return c.setCapability(name, groupApplication)
}

func (c *Config) setCapability(name string, keys ...string) error {
	group, err := c.group(keys...)
	if err != nil {
		return c.cannot("set the capability "+name, err)
	}
	capabilities := &common.Capabilities{}
	err = edit(group, keyCapabilities, capabilities, func() error {
		if _, ok := capabilities.GetCapabilities()[name]; ok && len(capabilities.GetCapabilities()) == 1 {
			return nil
		}
		capabilities.Capabilities = map[string]*common.Capability{name: {}}
		return nil
	})
	if err != nil {
		return c.cannot("set the capability "+name, err)
	}
	return nil
}

// SetACLs makes these the ACLs of the channel, and takes away all others; without any, the value goes.
func (c *Config) SetACLs(acls map[string]string) error {
	group, err := c.group(groupApplication)
	if err != nil {
		return c.cannot("set the ACLs", err)
	}
	stored := &peer.ACLs{}
	err = edit(group, keyACLs, stored, func() error {
		for resource, reference := range acls {
			if stored.GetAcls()[resource].GetPolicyRef() == reference {
				continue
			}
			if stored.Acls == nil {
				stored.Acls = map[string]*peer.APIResource{}
			}
			stored.Acls[resource] = &peer.APIResource{PolicyRef: reference}
		}
		maps.DeleteFunc(stored.GetAcls(), func(resource string, _ *peer.APIResource) bool {
			_, ok := acls[resource]
			return !ok
		})
		return nil
	})
	if err != nil {
		return c.cannot("set the ACLs", err)
	}
	if len(acls) == 0 {
		delete(group.GetValues(), keyACLs)
	}
	return nil
}

// defaultApplicationPolicies are those of /Channel/Application in a channel that overrides none; see
// Channel.
func defaultApplicationPolicies() map[string]string {
	return metaDefaults(policyEndorsement, "MAJORITY Endorsement", policyLifecycleEndorsement, "MAJORITY Endorsement")
}

// SetApplicationPolicies makes the policies of /Channel/Application the defaults of Channel, with these
// in their place or beside them: a default policy that is not named returns to its default, and a policy
// without a default that is not named goes. So an override that is no longer given is taken back, and a
// policy that somebody else added is drift. Summary.ApplicationPolicies gives what to pass to keep
// everything as it is.
//
// A policy that already says what is asked keeps its bytes, and every policy its mod_policy.
func (c *Config) SetApplicationPolicies(overrides map[string]string) error {
	group, err := c.group(groupApplication)
	if err != nil {
		return c.cannot("set the application policies", err)
	}
	wanted := defaultApplicationPolicies()
	maps.Copy(wanted, overrides)
	if err := setPolicies(group, wanted); err != nil {
		return c.cannot("set the application policies", err)
	}
	for name := range group.GetPolicies() {
		if _, ok := wanted[name]; !ok {
			delete(group.Policies, name)
		}
	}
	return nil
}

// setPolicies sets the named policies of a group and leaves the others.
func setPolicies(group *common.ConfigGroup, rules map[string]string) error {
	changed := map[string]*common.Policy{}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if err := validateKey(name); err != nil {
			return fmt.Errorf("the policy name %q %w", name, err)
		}
		parsed, err := policy.ParseConfigPolicy(rules[name])
		if err != nil {
			return fmt.Errorf("the policy %s: %w", name, err)
		}
		stored, err := parsed.Proto()
		if err != nil {
			return fmt.Errorf("the policy %s: %w", name, err)
		}
		if text, err := policy.DescribeConfigPolicy(group.GetPolicies()[name].GetPolicy()); err != nil || text != parsed.String() {
			changed[name] = stored
		}
	}
	for name, stored := range changed {
		if existing, ok := group.GetPolicies()[name]; ok {
			existing.Policy = stored
			continue
		}
		if group.Policies == nil {
			group.Policies = map[string]*common.ConfigPolicy{}
		}
		group.Policies[name] = &common.ConfigPolicy{ModPolicy: policyAdmins, Policy: stored}
	}
	return nil
}
