package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// channelRecord is what others must know of a channel. It lives on a volume of its own together
// with the genesis block, written before the first node joins: nodes that join with blocks which
// were made separately would fork the channel.
type channelRecord struct {
	Orderers      Handle                         `json:"orderers"`
	Organizations map[string]ChannelOrganization `json:"organizations"`
	// Config is what was asked for beside them.
	Config configtx.Channel `json:"config"`
	// Requested is what was asked for when the genesis block was made.
	Requested string `json:"requested"`
	// Genesis is the SHA-256 of the genesis block beside the record, in hexadecimal: one that was
	// cut short while it was written is not taken for the real one.
	Genesis string `json:"genesis"`
	// Adopted tells that somebody else made the channel, and that we do not remove it.
	Adopted bool `json:"adopted,omitempty"`
	// elsewhere are the ordering nodes of a channel of which we only have a membership; then Orderers
	// is zero.
	elsewhere []Handle
}

const (
	recordFile  = "channel.json"
	genesisFile = "genesis.block"
)

// channelRecord reads the record of a channel. A membership stands for a channel whose one member is its
// organization.
func (f *Fabric) channelRecord(ctx context.Context, channel Handle) (channelRecord, error) {
	if channel.Kind == KindChannelMembership {
		spec, err := f.membershipRecord(ctx, channel)
		return channelRecord{Organizations: spec.members(), elsewhere: spec.orderers()}, err
	}
	record, _, err := f.channelRecordWithGenesis(ctx, channel)
	return record, err
}

// channelRecordWithGenesis reads the record and the genesis block beside it. A record that is gone,
// or was never written to its end, is ErrLost.
func (f *Fabric) channelRecordWithGenesis(ctx context.Context, channel Handle) (channelRecord, []byte, error) {
	files, err := f.readStore(ctx, channel.record(), channel.Owner)
	if errors.Is(err, keystore.ErrLost) {
		return channelRecord{}, nil, &LostError{Thing: channel, Volume: channel.record()}
	}
	if err != nil {
		return channelRecord{}, nil, err
	}
	var record channelRecord
	if err := json.Unmarshal(files[recordFile], &record); err != nil || record.Genesis != hashOf(files[genesisFile]) {
		// What is half written must not be remembered: somebody else may be at it.
		f.stores.set(channel.record(), nil)
		return channelRecord{}, nil, &LostError{Thing: channel, Volume: channel.record()}
	}
	return record, files[genesisFile], nil
}

// channelOrderers gives the ordering nodes of a channel.
func (f *Fabric) channelOrderers(ctx context.Context, record channelRecord) ([]Handle, error) {
	if record.elsewhere != nil {
		return record.elsewhere, nil
	}
	return f.Orderers(ctx, record.Orderers)
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// RecordedError tells that a channel of that name was begun from another configuration, and that
// nodes have it.
type RecordedError struct {
	Channel Handle
	// Differs are the parts of the configuration that differ; nil when the record cannot be read.
	Differs []string
	// Nodes are those that have the channel, or could not be asked.
	Nodes []string
}

func (e *RecordedError) Error() string {
	differs := "its record cannot be read"
	if len(e.Differs) > 0 {
		differs = "it was made with other " + strings.Join(e.Differs, ", ")
	}
	return fmt.Sprintf("%s exists already on network %s, and %s; found on %s", e.Channel, e.Channel.Network, differs, strings.Join(e.Nodes, ", "))
}

// resumable gives the genesis block of an earlier attempt at the same channel, nil when there is
// none, and whether the channel is in use by now. A record that no node ever followed is worth
// nothing, and is written over.
func (f *Fabric) resumable(ctx context.Context, spec ChannelSpec) (genesis []byte, inUse bool, err error) {
	files, err := f.readStore(ctx, spec.Handle.record(), spec.Handle.Owner)
	if errors.Is(err, keystore.ErrLost) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if len(files) == 0 { // nothing was written yet, so nobody was asked to join
		f.stores.set(spec.Handle.record(), nil)
		return nil, false, nil
	}
	record, genesis, err := f.channelRecordWithGenesis(ctx, spec.Handle)
	if err != nil && !errors.Is(err, ErrLost) {
		return nil, false, err
	}
	if err == nil && record.Requested == spec.requested() {
		inUse, err = f.inUse(ctx, spec)
		return genesis, inUse, err
	}
	recorded := &RecordedError{Channel: spec.Handle}
	if err == nil {
		recorded.Differs = differences(record.Requested, spec.requested())
	}
	recorded.Nodes, err = f.holders(ctx, spec)
	if err != nil || len(recorded.Nodes) == 0 {
		return nil, false, err
	}
	return nil, true, recorded
}

// inUse tells whether a channel that was made before has more than its first block, or may have. It
// fails when only peers have: to begin with the same first block again would fork the channel.
func (f *Fabric) inUse(ctx context.Context, spec ChannelSpec) (bool, error) {
	state, err := f.ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
	unanswered := errors.As(err, new(*UnansweredError))
	switch {
	case err != nil && !unanswered:
		return false, err
	case state.Lost:
		return true, &LostChannelError{Channel: spec.Handle}
	case state.Absent:
		return false, nil
	}
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return false, err
	}
	answers, _ := f.askAll(ctx, slices.Concat(orderers, peersOf(spec.Organizations)), spec.Handle.Name)
	inUse := unanswered
	for _, a := range answers {
		inUse = inUse || a.height > 1
	}
	return inUse, nil
}

// holders gives the nodes that have the channel. It fails with *UnansweredError when none says so
// and some do not answer.
func (f *Fabric) holders(ctx context.Context, spec ChannelSpec) ([]string, error) {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return nil, err
	}
	var nodes []string
	var failures error
	for _, a := range f.askForChannel(ctx, spec.Handle.Name, slices.Concat(orderers, peersOf(spec.Organizations))) {
		switch {
		case errors.Is(a.err, engine.ErrUnreachable):
			return nil, a.err
		case a.err != nil:
			failures = errors.Join(failures, fmt.Errorf("%s: %w", a.node, a.err))
		case a.has:
			nodes = append(nodes, a.node.Name)
		}
	}
	if len(nodes) == 0 && failures != nil {
		return nil, &UnansweredError{Thing: spec.Handle, Cause: failures}
	}
	return nodes, nil
}

// requested describes what is asked for, so that two requests can be compared.
func (s ChannelSpec) requested() string {
	raw, err := json.Marshal(struct {
		Orderers      Handle
		Organizations map[string]ChannelOrganization
		Config        configtx.Channel
	}{s.Orderers, s.Organizations, s.Config})
	if err != nil {
		return "" // strings and maps of strings always marshal
	}
	return string(raw)
}

// differences names the parts in which two requests differ.
func differences(a, b string) []string {
	var before, now struct {
		Orderers, Organizations, Config json.RawMessage
	}
	if json.Unmarshal([]byte(a), &before) != nil || json.Unmarshal([]byte(b), &now) != nil {
		return []string{"configuration"}
	}
	var out []string
	for _, part := range []struct {
		name   string
		differ bool
	}{
		{"orderers", string(before.Orderers) != string(now.Orderers)},
		{"organizations, peers or anchor peers", string(before.Organizations) != string(now.Organizations)},
		{"batch settings, capabilities, ACLs or policies", string(before.Config) != string(now.Config)},
	} {
		if part.differ {
			out = append(out, part.name)
		}
	}
	return out
}

// recordChannel writes the exact genesis block, and who belongs to the channel, where the next
// attempt finds them.
func (f *Fabric) recordChannel(ctx context.Context, spec ChannelSpec, attempt *channelAttempt) ([]byte, error) {
	if err := f.createRecord(ctx, spec); err != nil {
		return nil, err
	}
	if attempt.genesis == nil {
		var err error
		attempt.genesis, attempt.inUse, err = f.resumable(ctx, spec)
		attempt.recorded = attempt.genesis != nil
		if err != nil {
			return nil, err
		}
	}
	if attempt.genesis == nil {
		genesis, err := f.genesis(ctx, spec)
		if err != nil {
			return nil, err
		}
		attempt.genesis = genesis
	}
	if !attempt.recorded {
		if err := f.writeRecord(ctx, spec, attempt.genesis); err != nil {
			return nil, err
		}
		attempt.recorded = true
	}
	return attempt.genesis, nil
}

// createRecord makes the volume of the record.
func (f *Fabric) createRecord(ctx context.Context, spec ChannelSpec) error {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	if len(orderers) == 0 {
		return fmt.Errorf("%s has no nodes: %w", spec.Orderers, ErrNotFound)
	}
	node, err := f.engine.Node(ctx, orderers[0].Object())
	if err != nil {
		return fmt.Errorf("unable to read %s: %w", orderers[0], err)
	}
	labels := spec.Handle.labels()
	labels[labelCluster] = spec.Orderers.Name
	_, err = keystore.CreateVolume(ctx, f.engine, spec.Handle.record(), node.ImageID, labels)
	return err
}

// writeRecord writes the record and, unless the one that is there stays, the genesis block.
func (f *Fabric) writeRecord(ctx context.Context, spec ChannelSpec, genesis []byte) error {
	record := channelRecord{Orderers: spec.Orderers, Organizations: spec.Organizations, Config: spec.Config, Requested: spec.requested(), Adopted: spec.adopted}
	files := map[string][]byte{}
	if genesis != nil {
		record.Genesis, files[genesisFile] = hashOf(genesis), genesis
	} else {
		before, err := f.channelRecord(ctx, spec.Handle)
		if err != nil {
			return err
		}
		record.Genesis, record.Adopted = before.Genesis, before.Adopted
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	files[recordFile] = raw
	f.stores.set(spec.Handle.record(), nil)
	if err := f.writeStore(ctx, spec.Handle.record(), spec.Handle.Owner, files); err != nil {
		return err
	}
	if genesis != nil { // then both files are known
		f.stores.seed(spec.Handle.record(), files)
	}
	return nil
}

// restoreRecord makes the record of a running channel again, with the genesis block of the first
// node that gives it.
func (f *Fabric) restoreRecord(ctx context.Context, spec ChannelSpec) ([]byte, error) {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return nil, err
	}
	var last error
	for _, h := range slices.Concat(orderers, peersOf(spec.Organizations)) {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		block, err := f.firstBlock(ask, h, spec.Handle.Name)
		cancel()
		if err != nil {
			last = errors.Join(last, fmt.Errorf("%s: %w", h, err))
			continue
		}
		genesis, err := proto.MarshalOptions{Deterministic: true}.Marshal(block)
		if err != nil {
			return nil, err
		}
		if err := f.createRecord(ctx, spec); err != nil {
			return nil, err
		}
		return genesis, f.writeRecord(ctx, spec, genesis)
	}
	return nil, &UnansweredError{Thing: spec.Handle, Cause: last}
}
