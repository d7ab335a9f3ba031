package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// JoinedOrdererSpec is an ordering node in a cluster that another state owns.
type JoinedOrdererSpec struct {
	OrdererSpec `json:"-"`
	// Channels are those that it joins.
	Channels []string `json:"channels"`
	// Orderers are nodes of the cluster from which it gets to know them.
	Orderers map[string]RemoteOrderer `json:"orderers"`
}

// What an ordering node is to a channel of somebody else's cluster.
const (
	// ChannelConsenter and ChannelFollower are what the node says of itself. A follower has the blocks,
	// and hands out none.
	ChannelConsenter = participation.RelationConsenter
	ChannelFollower  = participation.RelationFollower
	// ChannelWaiting: the channel does not let the organization read it yet, or nobody answers.
	ChannelWaiting = "waiting"
	// ChannelAdmitted: it does, and the node has yet to join.
	ChannelAdmitted = "admitted"
	// ChannelSilent: the node could not be asked.
	ChannelSilent = "silent"
)

// JoinedOrdererState is what is known of such a node.
type JoinedOrdererState struct {
	MemberState
	// Channels say what the node is to each, by name.
	Channels map[string]string
}

// PreflightJoinedOrderer finds what would fail before anything is made.
func (f *Fabric) PreflightJoinedOrderer(ctx context.Context, spec JoinedOrdererSpec) error {
	n, err := f.ordererNode(spec.OrdererSpec)
	if err != nil {
		return err
	}
	return f.preflight(ctx, n)
}

// EnsureJoinedOrderer makes the node as it is wanted, and joins the channels that let its organization
// read them, each with its latest config block and with all its blocks. Whether the node is a consenter
// there is up to those who own the cluster; until then it follows.
func (f *Fabric) EnsureJoinedOrderer(ctx context.Context, spec JoinedOrdererSpec) (JoinedOrdererState, error) {
	o := spec.Handle
	state := JoinedOrdererState{}
	if err := f.requireRelease(ctx, spec.Version, []Handle{o}, spec.Orderers); err != nil {
		return state, err
	}
	if err := f.acceptRemoved(ctx, o, &spec.NodeOptions); err != nil {
		return state, err
	}
	if err := f.beginRotation(ctx, o, &spec.Renewal); err != nil {
		return state, err
	}
	change := func(ctx context.Context, _ Handle, spared func(context.Context) error) error {
		n, err := f.ordererNode(spec.OrdererSpec)
		if err != nil {
			return err
		}
		n.spared = spared
		state.MemberState, err = f.ensureMember(ctx, n)
		return err
	}
	running, err := f.running(ctx, o)
	if err != nil {
		return state, err
	}
	if running && spec.Existing && !spec.Stopped {
		err = f.roll(ctx, []Handle{o}, []Handle{o}, change)
	} else {
		err = change(ctx, o, nil)
	}
	if err != nil {
		return state, err
	}
	if spec.Stopped {
		return state, f.writeJoined(ctx, spec)
	}
	for _, name := range spec.Channels {
		if err := f.joinForeign(ctx, spec, name); err != nil {
			return state, err
		}
	}
	if err := f.leaveForeign(ctx, spec); err != nil {
		return state, err
	}
	if err := f.writeJoined(ctx, spec); err != nil {
		return state, err
	}
	state.Channels, err = f.relations(ctx, spec)
	return state, err
}

// joinForeign joins a channel, when it lets the organization read it.
func (f *Fabric) joinForeign(ctx context.Context, spec JoinedOrdererSpec, channel string) error {
	o := spec.Handle
	fail := func(err error) error { return f.nodeError(ctx, o, "join channel "+channel+" with", err) }
	has, err := f.orders(ctx, o, channel)
	if err != nil {
		return fail(err)
	}
	if !has {
		config, block, err := f.foreignBlock(ctx, spec, channel)
		if err != nil || block == nil {
			return err
		}
		if err := f.joinWith(ctx, o, channel, block); err != nil {
			return err
		}
		return f.awaitBlocks(ctx, o, channel, config.Block+1)
	}
	return nil
}

// foreignBlock fetches the latest config block; none when nobody gives it.
func (f *Fabric) foreignBlock(ctx context.Context, spec JoinedOrdererSpec, channel string) (*configtx.Config, []byte, error) {
	for _, other := range remoteOrderers(spec.Handle.Organization(), spec.Orderers) {
		block, err := f.configBlock(ctx, other, channel)
		if err != nil {
			continue // a refusal, or nobody there: the state says that the node is waiting
		}
		config, err := configtx.Decode(block)
		if err != nil {
			return nil, nil, err
		}
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(block)
		return config, raw, err
	}
	return nil, nil, ctx.Err()
}

// leaveForeign leaves the channels that are no longer wanted. One of which the node is a consenter would
// go on counting on it.
func (f *Fabric) leaveForeign(ctx context.Context, spec JoinedOrdererSpec) error {
	o := spec.Handle
	report := f.ordererReport(ctx, o)
	if report.trouble != nil {
		return f.nodeError(ctx, o, "list the channels of", report.trouble)
	}
	for name, v := range report.channels {
		if slices.Contains(spec.Channels, name) {
			continue
		}
		if v.relation == participation.RelationConsenter && !f.dismissed(ctx, spec, name) {
			return &StillConsenterError{Orderer: o, Channel: name}
		}
		if err := f.leaveOrderer(ctx, o, name, false); err != nil {
			return err
		}
	}
	return nil
}

// dismissed tells whether the cluster has taken the node off a channel. The node itself may not know, or not
// act on it: the others stop talking to it with that very block, and it gives up waiting for them only after
// ten minutes.
func (f *Fabric) dismissed(ctx context.Context, spec JoinedOrdererSpec, channel string) bool {
	o := spec.Handle
	config, err := f.config(ctx, o, channel)
	if err != nil {
		return false
	}
	now, err := f.latestConfig(ctx, o.With(KindChannel, channel, ""), remoteOrderers(o.Organization(), spec.Orderers))
	switch {
	case err == nil && now.Sequence() > config.Sequence():
		config = now
	case err != nil:
		// The node still lets an admin read whom the others refuse: the organization has gone altogether.
		if refused := f.admission(ctx, channel, o.Organization(), err); refused != nil && !refused.Unknown && refused.Expired.IsZero() {
			return true
		}
	}
	own, err := f.consenter(ctx, o)
	if err != nil {
		return false
	}
	summary, err := configtx.Summarize(config)
	return err == nil && entryOf(summary, own) == nil
}

// StillConsenterError tells that a channel counts on an ordering node that is to leave it.
type StillConsenterError struct {
	Orderer Handle
	Channel string
}

func (e *StillConsenterError) Error() string {
	return fmt.Sprintf("%s is still a consenter of channel %s, which goes on counting on it", e.Orderer, e.Channel)
}

// relations says what the node is to each of its channels.
func (f *Fabric) relations(ctx context.Context, spec JoinedOrdererSpec) (map[string]string, error) {
	out := map[string]string{}
	report := f.ordererReport(ctx, spec.Handle)
	if errors.Is(report.trouble, engine.ErrUnreachable) {
		return nil, report.trouble
	}
	for _, name := range spec.Channels {
		v, has := report.channels[name]
		switch {
		case report.trouble != nil || v.trouble != nil:
			out[name] = ChannelSilent
		case has:
			out[name] = v.relation
		default:
			out[name] = ChannelWaiting
			if _, block, err := f.foreignBlock(ctx, spec, name); err == nil && block != nil {
				out[name] = ChannelAdmitted
			}
		}
	}
	return out, ctx.Err()
}

// ReadJoinedOrderer reads the state of the node.
func (f *Fabric) ReadJoinedOrderer(ctx context.Context, spec JoinedOrdererSpec) (JoinedOrdererState, error) {
	h := spec.Handle
	node, err := f.readNode(ctx, h, OrdererPorts())
	if err != nil {
		return JoinedOrdererState{}, err
	}
	state := JoinedOrdererState{MemberState: MemberState{NodeState: node}}
	if state.Ledger, err = f.ordererLedger(ctx, h, node); err != nil {
		return state, err
	}
	state.Channels, err = f.relations(ctx, spec)
	return state, err
}

// FindJoinedOrderer finds such a node as it was asked for. Where that was not written down, the channels are
// those that it has.
func (f *Fabric) FindJoinedOrderer(ctx context.Context, network, name string) (JoinedOrdererSpec, error) {
	n, err := f.find(ctx, KindOrderer, network, name)
	if err != nil {
		return JoinedOrdererSpec{}, err
	}
	in, version, err := memberOf(n)
	if err != nil {
		return JoinedOrdererSpec{}, err
	}
	if cluster := n.Labels[labelCluster]; cluster != "" {
		return JoinedOrdererSpec{}, fmt.Errorf("orderer %s belongs to the fabric_orderer_cluster %s: %w", name, cluster, ErrNotFound)
	}
	h := handleOf(n.Labels)
	spec, err := f.joinedRecord(ctx, h)
	if errors.Is(err, ErrNotFound) {
		spec.Channels, err = f.ordererChannels(ctx, h)
		slices.Sort(spec.Channels)
	}
	spec.OrdererSpec = OrdererSpec{Handle: h, NodeOptions: in.NodeOptions, Version: version, Config: in.Config}
	return spec, err
}

// joinedFile is where the key volume of an organization tells of the channels that its node joins, and of
// whom it gets them from.
func joinedFile(h Handle) string { return "orderers/" + h.Name + ".json" }

// writeJoined writes down what is not on the labels of the container: a change of it does not restart the node.
func (f *Fabric) writeJoined(ctx context.Context, spec JoinedOrdererSpec) error {
	raw, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	org := spec.Handle.Organization()
	if files, err := f.readKeys(ctx, org); err == nil && bytes.Equal(files[joinedFile(spec.Handle)], raw) {
		return nil
	}
	return f.writeKeys(ctx, org, map[string][]byte{joinedFile(spec.Handle): raw})
}

// joinedRecord reads it. ErrNotFound when there is none.
func (f *Fabric) joinedRecord(ctx context.Context, h Handle) (JoinedOrdererSpec, error) {
	var spec JoinedOrdererSpec
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return spec, err
	}
	raw := org.files[joinedFile(h)]
	if len(raw) == 0 {
		return spec, fmt.Errorf("no record of what %s joins: %w", h, ErrNotFound)
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return spec, fmt.Errorf("unable to read what %s joins: %w", h, err)
	}
	return spec, nil
}

// DeleteJoinedOrderer removes the node, unless a channel that orders still counts on it.
func (f *Fabric) DeleteJoinedOrderer(ctx context.Context, spec JoinedOrdererSpec, keepVolume bool) error {
	o := spec.Handle
	limit, since := time.Duration(-1), time.Now()
	err := poll(ctx, func(ctx context.Context) error {
		views, err := f.survey(ctx, []Handle{o})
		if err != nil {
			return permanent(err)
		}
		if limit < 0 {
			limit = settleTime(views) // nodes that have just gone are missed only after an election
		}
		for _, c := range views {
			if c.node(o).relation != participation.RelationConsenter || !c.strength().orders() || f.dismissed(ctx, spec, c.channel.Name) {
				continue
			}
			counted := &StillConsenterError{Orderer: o, Channel: c.channel.Name}
			if time.Since(since) > limit || c.strength().consenters == 1 {
				return permanent(counted)
			}
			return counted
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.removeNode(ctx, o, keepVolume); err != nil {
		return err
	}
	if _, err := f.joinedRecord(ctx, o); err != nil {
		return nil //nolint:nilerr // there is nothing to forget, or nothing to read it from
	}
	return f.eraseKeys(ctx, o.Organization(), joinedFile(o))
}
