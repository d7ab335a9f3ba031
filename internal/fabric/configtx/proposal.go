package configtx

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Terms are what an update that is handed between organizations says of itself beside its change. They
// stand in the bytes that everybody signs, as fields of ConfigUpdate that Fabric does not know: nodes
// and configtxlator read over them.
type Terms struct {
	// Sequence is the configuration that the update was made for (Config.Sequence).
	Sequence uint64
	// Expires is when the update should no longer be signed or submitted, to the second.
	Expires time.Time
}

// The numbers of the fields: protobuf leaves 50000 to 99999 to whoever needs some for himself.
const (
	fieldSequence = 50001
	fieldExpires  = 50002
)

// Propose gives the update from one configuration to the other with its terms. Unlike that of
// ComputeUpdate it names what it removes, so that its bytes alone tell a signer what they change.
func Propose(from, to *Config, expires time.Time) (*common.ConfigUpdate, error) {
	update, err := ComputeUpdate(from.Channel, from.Proto, to.Proto)
	if err != nil {
		return nil, err
	}
	nameRemoved(from.Proto.GetChannelGroup(), update.GetReadSet(), update.GetWriteSet())
	unknown := protowire.AppendTag(nil, fieldSequence, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, from.Sequence())
	unknown = protowire.AppendTag(unknown, fieldExpires, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, uint64(expires.Unix()))
	update.ProtoReflect().SetUnknown(unknown)
	return update, nil
}

// nameRemoved adds to the read set what the write set leaves out of a group that it raises. Ordering
// nodes then refuse the update also when that was changed meanwhile.
func nameRemoved(base, read, write *common.ConfigGroup) {
	if write.GetVersion() != read.GetVersion() {
		for name, value := range base.GetValues() {
			if _, stays := write.GetValues()[name]; !stays {
				read.Values[name] = &common.ConfigValue{Version: value.GetVersion()}
			}
		}
		for name, policy := range base.GetPolicies() {
			if _, stays := write.GetPolicies()[name]; !stays {
				read.Policies[name] = &common.ConfigPolicy{Version: policy.GetVersion()}
			}
		}
		for name, group := range base.GetGroups() {
			if _, stays := write.GetGroups()[name]; !stays {
				read.Groups[name] = &common.ConfigGroup{Version: group.GetVersion()}
			}
		}
	}
	for name, sub := range write.GetGroups() {
		if known, ok := read.GetGroups()[name]; ok {
			nameRemoved(base.GetGroups()[name], known, sub)
		}
	}
}

// TermsOf reads the terms of an update. One that another tool made has none, and gives false.
func TermsOf(update *common.ConfigUpdate) (Terms, bool) {
	found := map[protowire.Number]uint64{}
	for raw := []byte(update.ProtoReflect().GetUnknown()); len(raw) > 0; {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return Terms{}, false
		}
		raw = raw[n:]
		if kind == protowire.VarintType {
			if value, n := protowire.ConsumeVarint(raw); n > 0 {
				found[number] = value
			}
		}
		if n = protowire.ConsumeFieldValue(number, kind, raw); n < 0 {
			return Terms{}, false
		}
		raw = raw[n:]
	}
	sequence, hasSequence := found[fieldSequence]
	expires, hasExpires := found[fieldExpires]
	if !hasSequence || !hasExpires {
		return Terms{}, false
	}
	return Terms{Sequence: sequence, Expires: time.Unix(int64(expires), 0).UTC()}, true
}

// Writes says what an update writes, as far as its bytes alone tell: new values without the old ones,
// and of what goes only the names, if it names them (Propose). It is what a signer can look at before
// anybody is asked; Changes tells more, and needs the configuration.
func Writes(update *common.ConfigUpdate) ([]string, error) {
	read, err := elements(update.GetReadSet())
	if err != nil {
		return nil, fmt.Errorf("unable to read the config update: its read set is damaged: %w", err)
	}
	write, err := elements(update.GetWriteSet())
	if err != nil {
		return nil, fmt.Errorf("unable to read the config update: its write set is damaged: %w", err)
	}
	t := &teller{base: read, after: write, written: map[elementKey]element{}}
	var words []string
	for _, key := range sortedKeys(write) {
		known, was := read[key]
		written := write[key]
		switch {
		case was && known.version() == written.version():
		case key.kind == KindGroup && was:
			words = append(words, t.group(known, written)...)
		case key.kind == KindGroup:
			words = append(words, t.groupName(key.path)+" added"+guarded(written))
		default:
			words = append(words, t.content(written))
		}
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("unable to use the config update: %w", ErrNoChange)
	}
	return words, nil
}

// group tells what the raising of a group says by itself: what comes is told by what is written of it.
func (t *teller) group(read, written element) []string {
	var words []string
	gone := false
	for _, key := range sortedKeys(t.base) {
		if _, stays := t.after[key]; stays || key.path == rootPath || parentOf(key.path) != read.path {
			continue
		}
		gone = true
		what := fmt.Sprintf("%s %s", key.kind, key.path)
		if key.kind == KindGroup {
			what = t.groupName(key.path)
		}
		words = append(words, what+" removed")
	}
	if !gone && !t.joined(read.path) {
		members := slices.Concat(slices.Sorted(maps.Keys(written.group.GetGroups())), slices.Sorted(maps.Keys(written.group.GetPolicies())), slices.Sorted(maps.Keys(written.group.GetValues())))
		words = append(words, fmt.Sprintf("group %s written again, with nothing in it but %s", read.path, strings.Join(members, ", ")))
	}
	return append(words, "members of "+read.path+guarded(written))
}

// joined tells whether something new comes into the group.
func (t *teller) joined(path string) bool {
	for key := range t.after {
		if _, was := t.base[key]; !was && key.path != rootPath && parentOf(key.path) == path {
			return true
		}
	}
	return false
}

// content tells what a value or a policy says that the update writes.
func (t *teller) content(e element) string {
	if e.kind == KindPolicy {
		return fmt.Sprintf("policy %s: %s%s", e.path, describePolicy(e.policy), guarded(e))
	}
	words := []string{}
	for _, change := range t.fields(e.path, nil, e.value.GetValue(), false, true) {
		words = append(words, change.Words)
	}
	if len(words) == 0 {
		words = []string{e.path + " empty"}
	}
	return strings.Join(words, ", ") + guarded(e)
}

// guarded names the policy that later changes of the element fall under: every element that is written
// says it again, and what it was before its bytes do not tell.
func guarded(e element) string { return fmt.Sprintf(" [mod_policy %s]", orNone(e.modPolicy())) }

// UpdateOf gives the bytes of the update that made a config block; nil for a genesis block.
func UpdateOf(block *common.Block) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("unable to read the update in config block %d: %w", Number(block), err)
	}
	if len(block.GetData().GetData()) != 1 {
		return fail(ErrNotConfig)
	}
	envelope, payload, config := &common.Envelope{}, &common.Payload{}, &common.ConfigEnvelope{}
	err := errors.Join(
		proto.Unmarshal(block.GetData().GetData()[0], envelope),
		proto.Unmarshal(envelope.GetPayload(), payload),
		proto.Unmarshal(payload.GetData(), config),
	)
	if err != nil {
		return fail(err)
	}
	if config.GetLastUpdate() == nil {
		return nil, nil
	}
	update := &common.ConfigUpdateEnvelope{}
	inner := &common.Payload{}
	if err := errors.Join(proto.Unmarshal(config.GetLastUpdate().GetPayload(), inner), proto.Unmarshal(inner.GetData(), update)); err != nil {
		return fail(err)
	}
	return update.GetConfigUpdate(), nil
}
