package configtx

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// What a caller decides on; test with errors.Is.
var (
	// ErrNoChange says that two configurations do not differ, or that an update changes nothing.
	// Ordering nodes refuse such an update.
	ErrNoChange = errors.New("nothing would change")
	// ErrOutdated says that an update was computed on another configuration than the channel has now:
	// it must be computed and signed again.
	ErrOutdated = errors.New("the update was made for another version of the configuration")
)

// ComputeUpdate gives the update that makes the one configuration into the other, as Fabric's
// configtxlator computes it (internal/configtxlator/update): what differs stands in the write set with
// its version raised by one, groups are raised only when a member came or went or their mod_policy
// changed, and the read set pins the versions of the rest that is named. The versions in to are not
// looked at. The error wraps ErrNoChange when nothing differs.
//
// Neither configuration is changed. MarshalUpdate gives one sequence of bytes for one update.
func ComputeUpdate(channel string, from, to *common.Config) (*common.ConfigUpdate, error) {
	fail := func(err error) error {
		return fmt.Errorf("unable to compute an update of the channel %s: %w", channel, err)
	}
	if err := ValidateChannelName(channel); err != nil {
		return nil, fail(err)
	}
	if from.GetChannelGroup() == nil || to.GetChannelGroup() == nil {
		return nil, fail(errors.New("a configuration is empty"))
	}
	read, write, changed := diffGroup(from.GetChannelGroup(), to.GetChannelGroup())
	if !changed {
		return nil, fail(ErrNoChange)
	}
	update := &common.ConfigUpdate{ChannelId: channel, ReadSet: read, WriteSet: write}
	// The sets share messages with what was given.
	return proto.Clone(update).(*common.ConfigUpdate), nil
}

// MarshalUpdate gives the bytes of the update, one sequence for one update: what is signed and handed
// between organizations.
func MarshalUpdate(update *common.ConfigUpdate) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(update)
	if err != nil {
		return nil, fmt.Errorf("unable to marshal the config update: %w", err)
	}
	return raw, nil
}

// difference is how the members of one kind in a group differ.
type difference[T any] struct {
	// read and write are what stands in the sets of the update; same is what joins both when the
	// membership of the group changed.
	read, write, same map[string]T
	// membership is whether a member came or went.
	membership bool
}

func (d difference[T]) empty() bool { return len(d.read) == 0 && len(d.write) == 0 }

// withSame adds what stays, as the sets of a group whose membership changed have it.
func (d difference[T]) withSame() difference[T] {
	maps.Copy(d.read, d.same)
	maps.Copy(d.write, d.same)
	return d
}

// diffMembers compares values or policies. bare gives one with nothing but its version, full one with
// another version.
func diffMembers[T any](from, to map[string]T, equal func(a, b T) bool, bare func(T) T, full func(content T, version uint64) T, version func(T) uint64) difference[T] {
	d := difference[T]{read: map[string]T{}, write: map[string]T{}, same: map[string]T{}}
	for name, before := range from {
		after, ok := to[name]
		switch {
		case !ok:
			d.membership = true
		case equal(before, after):
			d.same[name] = bare(before)
		default:
			d.write[name] = full(after, version(before)+1)
		}
	}
	for name, after := range to {
		if _, ok := from[name]; !ok {
			d.membership = true
			d.write[name] = full(after, 0)
		}
	}
	return d
}

func diffValues(from, to map[string]*common.ConfigValue) difference[*common.ConfigValue] {
	return diffMembers(from, to,
		func(a, b *common.ConfigValue) bool {
			return a.GetModPolicy() == b.GetModPolicy() && bytes.Equal(a.GetValue(), b.GetValue())
		},
		func(v *common.ConfigValue) *common.ConfigValue {
			return &common.ConfigValue{Version: v.GetVersion()}
		},
		func(v *common.ConfigValue, version uint64) *common.ConfigValue {
			return &common.ConfigValue{Version: version, Value: v.GetValue(), ModPolicy: v.GetModPolicy()}
		},
		(*common.ConfigValue).GetVersion)
}

func diffPolicies(from, to map[string]*common.ConfigPolicy) difference[*common.ConfigPolicy] {
	return diffMembers(from, to,
		func(a, b *common.ConfigPolicy) bool {
			return a.GetModPolicy() == b.GetModPolicy() && proto.Equal(a.GetPolicy(), b.GetPolicy())
		},
		func(p *common.ConfigPolicy) *common.ConfigPolicy {
			return &common.ConfigPolicy{Version: p.GetVersion()}
		},
		func(p *common.ConfigPolicy, version uint64) *common.ConfigPolicy {
			return &common.ConfigPolicy{Version: version, Policy: p.GetPolicy(), ModPolicy: p.GetModPolicy()}
		},
		(*common.ConfigPolicy).GetVersion)
}

func diffGroups(from, to map[string]*common.ConfigGroup) difference[*common.ConfigGroup] {
	d := difference[*common.ConfigGroup]{read: map[string]*common.ConfigGroup{}, write: map[string]*common.ConfigGroup{}, same: map[string]*common.ConfigGroup{}}
	for name, before := range from {
		after, ok := to[name]
		if !ok {
			d.membership = true
			continue
		}
		if read, write, changed := diffGroup(before, after); changed {
			d.read[name], d.write[name] = read, write
		} else {
			d.same[name] = read
		}
	}
	for name, after := range to {
		if _, ok := from[name]; ok {
			continue
		}
		d.membership = true
		_, write, _ := diffGroup(&common.ConfigGroup{}, after)
		// Everything in a new group is new, the group itself included.
		write.Version, write.ModPolicy = 0, after.GetModPolicy()
		d.write[name] = write
	}
	return d
}

// diffGroup gives what stands of a group in the two sets of an update, and whether anything changed.
func diffGroup(from, to *common.ConfigGroup) (read, write *common.ConfigGroup, changed bool) {
	values, policies, groups := diffValues(from.GetValues(), to.GetValues()), diffPolicies(from.GetPolicies(), to.GetPolicies()), diffGroups(from.GetGroups(), to.GetGroups())
	read, write = &common.ConfigGroup{Version: from.GetVersion()}, &common.ConfigGroup{Version: from.GetVersion()}
	raised := values.membership || policies.membership || groups.membership || from.GetModPolicy() != to.GetModPolicy()
	if raised {
		write.Version++
		write.ModPolicy = to.GetModPolicy()
		values, policies, groups = values.withSame(), policies.withSame(), groups.withSame()
	}
	read.Values, read.Policies, read.Groups = values.read, policies.read, groups.read
	write.Values, write.Policies, write.Groups = values.write, policies.write, groups.write
	return read, write, raised || !values.empty() || !policies.empty() || !groups.empty()
}

// delta is what an update changes of a configuration.
type delta struct {
	// base are the elements of the configuration, changed those that the update writes with another
	// version than it read.
	base, changed map[elementKey]element
}

// deltaOf reads an update as an ordering node does (common/configtx, authorizeUpdate), but for the
// signatures: the versions that it read must be those of the configuration, what it changes must be
// raised by one, and what it adds must start at 0.
func deltaOf(base *Config, update *common.ConfigUpdate) (*delta, error) {
	if update.GetChannelId() != base.Channel {
		return nil, fmt.Errorf("the update is one of the channel %q", update.GetChannelId())
	}
	existing, err := elements(base.Proto.GetChannelGroup())
	if err != nil {
		return nil, fmt.Errorf("the configuration is damaged: %w", err)
	}
	read, err := elements(update.GetReadSet())
	if err != nil {
		return nil, fmt.Errorf("its read set is damaged: %w", err)
	}
	write, err := elements(update.GetWriteSet())
	if err != nil {
		return nil, fmt.Errorf("its write set is damaged: %w", err)
	}
	for _, key := range sortedKeys(read) {
		now, ok := existing[key]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: it read %s, which the channel has no more", ErrOutdated, key.path)
		case now.version() != read[key].version():
			return nil, fmt.Errorf("%w: it read version %d of %s, which is at version %d", ErrOutdated, read[key].version(), key.path, now.version())
		}
	}
	d := &delta{base: existing, changed: map[elementKey]element{}}
	for _, key := range sortedKeys(write) {
		written := write[key]
		if before, ok := read[key]; ok && before.version() == written.version() {
			continue
		}
		if err := d.add(written); err != nil {
			return nil, err
		}
	}
	if len(d.changed) == 0 {
		return nil, ErrNoChange
	}
	return d, nil
}

func (d *delta) add(e element) error {
	if err := validateModPolicy(e.modPolicy()); err != nil {
		return fmt.Errorf("the mod_policy of %s %w", e.path, err)
	}
	now, ok := d.base[e.key()]
	switch {
	case !ok && e.version() != 0:
		return fmt.Errorf("%w: it raises %s to version %d, and the channel does not have it", ErrOutdated, e.path, e.version())
	case ok && e.version() != now.version()+1:
		return fmt.Errorf("%w: it raises %s to version %d, which is at version %d", ErrOutdated, e.path, e.version(), now.version())
	}
	d.changed[e.key()] = e
	return nil
}

// validateModPolicy applies Fabric's rule for a mod_policy, and says what is wrong as the end of a
// sentence.
func validateModPolicy(mod string) error {
	if mod == "" {
		return errors.New("is empty")
	}
	for _, part := range pathParts(mod) {
		if err := validateKey(part); err != nil {
			return fmt.Errorf("has a part that %w", err)
		}
	}
	return nil
}

// Apply gives the configuration that the channel has after the update, as ordering nodes compute it
// (common/configtx, proposeConfigUpdate), but for the signatures. Block is still that of base. The error
// wraps ErrOutdated when the update was made for another version of the configuration, and ErrNoChange
// when it changes nothing. base is not changed.
func Apply(base *Config, update *common.ConfigUpdate) (*Config, error) {
	d, err := deltaOf(base, update)
	if err != nil {
		return nil, fmt.Errorf("unable to apply the update to the channel %s: %w", base.Channel, err)
	}
	group, _, err := d.result()
	if err != nil {
		return nil, fmt.Errorf("unable to apply the update to the channel %s: %w", base.Channel, err)
	}
	return &Config{Channel: base.Channel, Block: base.Block, Proto: &common.Config{Sequence: base.Sequence() + 1, ChannelGroup: group}}, nil
}

// result gives the configuration after the update, and the elements that are in it. What an update
// writes into a group that does not come to hold it has no effect.
func (d *delta) result() (group *common.ConfigGroup, reached map[elementKey]bool, err error) {
	after := maps.Clone(d.base)
	maps.Copy(after, d.changed)
	reached = map[elementKey]bool{}
	_, mend := after[elementKey{rootPath + "/" + groupOrderer + "/" + keyCapabilities, KindValue}]
	group, err = assemble(after, reached, rootPath, mend)
	return group, reached, err
}

// assemble builds a group of its members, which the group itself names. With mend, an empty mod_policy
// becomes Admins: Fabric does so since channels of 1.0 could lack it (common/configtx, configmap.go).
func assemble(all map[elementKey]element, reached map[elementKey]bool, path string, mend bool) (*common.ConfigGroup, error) {
	reached[elementKey{path, KindGroup}] = true
	named := all[elementKey{path, KindGroup}].group
	modPolicy := func(mod string) string {
		if mod == "" && mend {
			return policyAdmins
		}
		return mod
	}
	out := &common.ConfigGroup{
		Version: named.GetVersion(), ModPolicy: modPolicy(named.GetModPolicy()), Groups: map[string]*common.ConfigGroup{},
		Values: map[string]*common.ConfigValue{}, Policies: map[string]*common.ConfigPolicy{},
	}
	find := func(kind Kind, name string) (element, error) {
		key := elementKey{path + "/" + name, kind}
		e, ok := all[key]
		if !ok {
			return e, fmt.Errorf("it names %s without its content", key.path)
		}
		reached[key] = true
		return e, nil
	}
	for _, name := range slices.Sorted(maps.Keys(named.GetValues())) {
		e, err := find(KindValue, name)
		if err != nil {
			return nil, err
		}
		out.Values[name] = proto.Clone(e.value).(*common.ConfigValue)
		out.Values[name].ModPolicy = modPolicy(e.value.GetModPolicy())
	}
	for _, name := range slices.Sorted(maps.Keys(named.GetPolicies())) {
		e, err := find(KindPolicy, name)
		if err != nil {
			return nil, err
		}
		out.Policies[name] = proto.Clone(e.policy).(*common.ConfigPolicy)
		out.Policies[name].ModPolicy = modPolicy(e.policy.GetModPolicy())
	}
	for _, name := range slices.Sorted(maps.Keys(named.GetGroups())) {
		if _, err := find(KindGroup, name); err != nil {
			return nil, err
		}
		sub, err := assemble(all, reached, path+"/"+name, mend)
		if err != nil {
			return nil, err
		}
		out.Groups[name] = sub
	}
	return out, nil
}
