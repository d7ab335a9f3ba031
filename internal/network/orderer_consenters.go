package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// channelWork brings the members of one channel to where the nodes of its cluster are. Every step looks
// at what the ledger and the nodes say now, so that whatever an apply that was killed left behind is
// gone on with.
type channelWork struct {
	*clusterWork
	channel Handle
	// voices are the nodes that are asked for the configuration and given updates of it.
	voices []Handle
}

// onChannels does the work on every channel of the cluster, all at once.
func (w *clusterWork) onChannels(ctx context.Context, voices []Handle, work func(context.Context, *channelWork, channelView) error) error {
	views, err := w.survey(ctx, w.all())
	if err != nil {
		return err
	}
	var jobs together
	for _, c := range views {
		jobs.do(func() error {
			return work(ctx, &channelWork{clusterWork: w, channel: c.channel, voices: voices}, c)
		})
	}
	return jobs.wait()
}

// admit makes every wanted node a consenter of every channel: its organization known, joined with the
// latest config block, with all the blocks, listed by a config update of its own, at work, and at last an
// endpoint.
func (w *clusterWork) admit(ctx context.Context) error {
	return w.onChannels(ctx, w.all(), func(ctx context.Context, k *channelWork, c channelView) error {
		for _, o := range w.wanted() { // the others refuse blocks to nodes of an unknown organization
			if c.summary != nil && orders(*c.summary, o.MSPID) {
				continue
			}
			if err := k.introduceNode(ctx, o); err != nil {
				return err
			}
		}
		if err := k.joinMissing(ctx, c); err != nil {
			return err
		}
		summary, err := k.summary(ctx)
		if err != nil {
			return err
		}
		for _, o := range w.wanted() {
			if err := k.enlist(ctx, summary, o); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(w.spec.External)) {
			if err := k.admitExternal(ctx, w.spec.External[name], name); err != nil {
				return err
			}
		}
		return k.setEndpoints(ctx, true)
	})
}

// joinMissing joins the wanted nodes that do not have the channel, all at once, and waits until they
// have its blocks. One that the ledger lists although it has lost the channel is evicted first: with its
// old number and an empty log it would bring itself down, or others. One that was taken off the ledger
// has to give its old part up.
func (k *channelWork) joinMissing(ctx context.Context, c channelView) error {
	var jobs together
	for _, o := range k.wanted() {
		v := c.node(o)
		if v.trouble != nil {
			return errors.Join(k.nodeError(ctx, o, "ask for channel "+k.channel.Name, v.trouble), jobs.wait())
		}
		if v.evicted {
			if err := k.wake(ctx, c, o); err != nil {
				return errors.Join(err, jobs.wait())
			}
			continue
		}
		if v.has {
			jobs.do(func() error { return k.retire(ctx, c, o) })
			continue
		}
		if err := k.evictLost(ctx, o); err != nil {
			return errors.Join(err, jobs.wait())
		}
		jobs.do(func() error { return k.joinFollower(ctx, c, o) })
	}
	return jobs.wait()
}

// wake restarts a node that has stopped its part in a SmartBFT channel because it was evicted, and waits
// until it has the channel's blocks as a follower.
func (k *channelWork) wake(ctx context.Context, c channelView, o Handle) error {
	if _, err := k.awaitSpared(ctx, k.all(), o, map[string]bool{}); err != nil {
		return err
	}
	if err := k.restart(ctx, o); err != nil {
		return err
	}
	return k.awaitBlocks(ctx, o, k.channel.Name, c.height(o))
}

// retire waits until a node that the ledger no longer lists follows the channel as one of its readers.
// The others speak no more with it once it is off, so that it may never hear of that: Fabric has it look
// after ten minutes, and not at all when it is listed again by then. Such a node fetches the channel anew.
func (k *channelWork) retire(ctx context.Context, c channelView, o Handle) error {
	if c.summary == nil || c.listsAddress(c.node(o).address) { // as nearly all are; their keys need not be read
		return nil
	}
	own, err := k.consenter(ctx, o)
	if err != nil || entryOf(*c.summary, own) != nil {
		return err
	}
	begun, limit, clings := time.Now(), settleTime([]channelView{c}), false
	err = poll(ctx, func(ctx context.Context) error {
		v := k.ordererView(ctx, o, k.channel.Name, nil)
		clings = v.trouble == nil && v.has && v.relation == participation.RelationConsenter
		if clings && time.Since(begun) < limit {
			return fmt.Errorf("%s takes itself for a consenter of %s, which it no longer is", o, k.channel)
		}
		return v.trouble
	})
	if err != nil || !clings {
		return err
	}
	if err := k.leaveOrderer(ctx, o, k.channel.Name, false); err != nil {
		return err
	}
	return k.joinFollower(ctx, c, o)
}

func (k *channelWork) evictLost(ctx context.Context, o Handle) error {
	own, err := k.consenter(ctx, o)
	if err != nil {
		return err
	}
	summary, err := k.summary(ctx)
	if err != nil {
		return err
	}
	listed := entryOf(summary, own)
	if listed == nil {
		return nil
	}
	return k.evict(ctx, *listed, o, "evicting "+o.Name+", which has lost the channel,")
}

// entryOf finds the consenter of a node: by its key, or by its address when none has that key.
func entryOf(summary configtx.Summary, own configtx.Consenter) *configtx.Consenter {
	for _, same := range []func(configtx.ConsenterSummary) bool{
		func(c configtx.ConsenterSummary) bool { return sameKey(c.ServerTLSCertPEM, own.ServerTLSCertPEM) },
		func(c configtx.ConsenterSummary) bool { return addressOf(c.Consenter) == addressOf(own) },
	} {
		if i := slices.IndexFunc(summary.Consenters, same); i >= 0 {
			return &summary.Consenters[i].Consenter
		}
	}
	return nil
}

// sameKey tells whether two certificates are of one key.
func sameKey(a, b string) bool {
	one, errOne := certificate.ParseOne([]byte(a))
	two, errTwo := certificate.ParseOne([]byte(b))
	return errOne == nil && errTwo == nil && certificate.PublicKeyFingerprint(one) == certificate.PublicKeyFingerprint(two)
}

// summary reads the configuration in force.
func (k *channelWork) summary(ctx context.Context) (configtx.Summary, error) {
	config, err := k.latestConfig(ctx, k.channel, k.voices)
	if err != nil {
		return configtx.Summary{}, err
	}
	return configtx.Summarize(config)
}

// joinFollower joins a node with the latest config block, and waits until it has the blocks that the
// others have.
func (k *channelWork) joinFollower(ctx context.Context, c channelView, o Handle) error {
	block, err := k.latestBlock(ctx, c)
	if err != nil {
		return err
	}
	if err := k.joinWith(ctx, o, k.channel.Name, block); err != nil {
		return err
	}
	return k.awaitBlocks(ctx, o, k.channel.Name, c.height(o))
}

// joinWith joins a node with a config block.
func (f *Fabric) joinWith(ctx context.Context, o Handle, channel string, block []byte) error {
	fail := func(err error) error { return f.nodeError(ctx, o, "join channel "+channel+" with", err) }
	if err := f.clearLeftovers(ctx, o, channel); err != nil {
		return fail(err)
	}
	refused := patience{}
	err := poll(ctx, func(ctx context.Context) error {
		client, err := f.participation(ctx, o)
		if err != nil {
			return err
		}
		_, err = client.Join(ctx, block)
		if errors.Is(err, participation.ErrExists) { // at an attempt whose answer was lost
			return nil
		}
		return refused.bear(err)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// latestBlock fetches the latest config block from the node that has most of the channel.
func (k *channelWork) latestBlock(ctx context.Context, c channelView) ([]byte, error) {
	var failures error
	for _, o := range c.furthest() {
		block, err := k.configBlock(ctx, o, k.channel.Name)
		if err == nil {
			return proto.MarshalOptions{Deterministic: true}.Marshal(block)
		}
		failures = errors.Join(failures, fmt.Errorf("%s: %w", o, err))
	}
	return nil, &UnansweredError{Thing: k.channel, Cause: failures}
}

// awaitBlocks waits until a node has that many blocks, as long as it gets on.
func (f *Fabric) awaitBlocks(ctx context.Context, o Handle, channel string, height uint64) error {
	last, moved := uint64(0), time.Now()
	err := poll(ctx, func(ctx context.Context) error {
		v := f.ordererView(ctx, o, channel, nil)
		if v.height > last {
			last, moved = v.height, time.Now()
		}
		err := v.behind(v.relation, height)
		if v.trouble == nil && v.height >= height && v.status == participation.StatusActive {
			err = nil
		}
		if err != nil && time.Since(moved) > leaderTime {
			return permanent(err)
		}
		return err
	})
	if err != nil {
		return f.nodeError(ctx, o, "await the blocks of channel "+channel+" on", err)
	}
	return nil
}

// enlist makes a node that has the channel the consenter that it is: added, or with the key and the
// address that it has by now, in one update.
func (k *channelWork) enlist(ctx context.Context, summary configtx.Summary, o Handle) error {
	own, err := k.consenter(ctx, o)
	if err != nil {
		return err
	}
	listed := entryOf(summary, own)
	if listed != nil {
		known, err := k.knows(ctx, o, *listed, own)
		if err != nil || known {
			return err
		}
	}
	if listed == nil {
		step := "adding " + o.Name
		if err := k.awaitStrength(ctx, step, func(c channelView) error { return c.bearsMore(step, true) }); err != nil {
			return err
		}
	}
	if err := k.list(ctx, own); err != nil {
		return err
	}
	return k.awaitPart(ctx, o)
}

// knows tells whether the ledger lists a node as what it is, or as what it will be when it restarts: an
// attempt may have been cut short before that.
func (k *channelWork) knows(ctx context.Context, o Handle, listed, own configtx.Consenter) (bool, error) {
	if configtx.SameConsenter(listed, own) {
		return true, nil
	}
	have, err := k.nodeFiles(ctx, o)
	if err != nil {
		return false, err
	}
	enrolled, _, _ := newest(have.keys, enrollmentFile, enrollmentKeyFile)
	tls, _, _ := newest(have.keys, tlsFile, tlsKeyFile)
	return configtx.SameConsenter(listed, consenterAt(configtx.Address{Host: own.Host, Port: own.Port}, own.MSPID, tls, enrolled)), nil
}

// list writes a consenter, in the place of the one with its key or its address.
func (k *channelWork) list(ctx context.Context, own configtx.Consenter) error {
	return k.update(ctx, func(config *configtx.Config) error {
		summary, err := configtx.Summarize(config)
		if err != nil {
			return err
		}
		if now := entryOf(summary, own); now != nil {
			return config.ReplaceConsenter(configtx.Address{Host: now.Host, Port: now.Port}, own)
		}
		return config.AddConsenter(own)
	})
}

// introduceNode makes the organization of a node known to the channel.
func (k *channelWork) introduceNode(ctx context.Context, o Handle) error {
	keys, err := k.organizationKeys(ctx, o.Organization())
	if err != nil {
		return err
	}
	address, err := k.endpoint(ctx, o)
	if err != nil {
		return err
	}
	return k.introduce(ctx, keys.member(), []string{joinAddress(address)}, false)
}

// introduce adds an organization to the ordering organizations of the channel. Its endpoints come later
// unless the channel wants some of each, or nobody here can sign for them later.
func (k *channelWork) introduce(ctx context.Context, definition msp.Definition, endpoints []string, now bool) error {
	summary, err := k.summary(ctx)
	if err != nil || orders(summary, definition.ID) {
		return err
	}
	org := configtx.OrdererOrganization{Definition: definition}
	if now || slices.Contains(summary.ChannelCapabilities, configtx.ChannelCapabilityV3_0) {
		org.Endpoints = endpoints
	}
	return k.update(ctx, func(config *configtx.Config) error { return config.SetOrdererOrganization(org) })
}

// orders tells whether an organization is one of the ordering organizations.
func orders(summary configtx.Summary, mspID string) bool {
	return slices.ContainsFunc(summary.OrdererOrganizations, func(org configtx.OrganizationSummary) bool { return org.Definition.ID == mspID })
}

// awaitPart waits until a node takes part in the consensus.
func (k *channelWork) awaitPart(ctx context.Context, o Handle) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	err := poll(ctx, func(ctx context.Context) error {
		return k.ordererView(ctx, o, k.channel.Name, nil).behind(participation.RelationConsenter, 1)
	})
	if err != nil {
		return k.nodeError(ctx, o, "await the part in the consensus of channel "+k.channel.Name+" of", err)
	}
	return nil
}

// awaitStrength waits until the channel bears a step, and fails with *QuorumError when it does not
// come to.
func (k *channelWork) awaitStrength(ctx context.Context, step string, bears func(channelView) error) error {
	limit, since := time.Duration(-1), time.Now()
	return poll(ctx, func(ctx context.Context) error {
		views, err := k.survey(ctx, k.all())
		if err != nil {
			return permanent(err)
		}
		if limit < 0 {
			limit = settleTime(views)
		}
		err = fmt.Errorf("%s: no node has %s", step, k.channel)
		for _, c := range views {
			if c.channel == k.channel {
				err = bears(c)
			}
		}
		if err != nil && time.Since(since) > limit {
			return permanent(err)
		}
		return err
	})
}

// update changes the configuration of the channel.
func (k *channelWork) update(ctx context.Context, edit func(*configtx.Config) error) error {
	return k.updateByLeader(ctx, configUpdate{channel: k.channel, orderers: k.voices, admins: k.admins(), edit: edit})
}

// updateByLeader is updateChannel for a change of consenters. The leader is given the update first: it
// knows at once who is at work. The others are told later, and refuse meanwhile what they take for the
// loss of the quorum, so that a refusal is final only after a while.
func (f *Fabric) updateByLeader(ctx context.Context, u configUpdate) error {
	voices, begun := u.orderers, time.Now()
	mayPass := func(err error) bool {
		return errors.As(err, new(*orderer.StatusError)) && time.Since(begun) < patienceTime
	}
	return persist(ctx, mayPass, func() error {
		views, err := f.survey(ctx, voices)
		if err != nil {
			return err
		}
		u.orderers = nil
		for _, c := range views {
			if c.channel == u.channel {
				u.orderers = c.furthest()
			}
		}
		if len(u.orderers) == 0 {
			return &UnansweredError{Thing: u.channel}
		}
		_, err = f.updateChannel(ctx, u)
		return err
	})
}

// setEndpoints makes the endpoints of each ordering organization of ours those of its wanted nodes, in
// the order that there is. Keep leaves others beside them.
func (k *channelWork) setEndpoints(ctx context.Context, keep bool) error {
	wanted := map[string][]string{}
	for _, o := range k.wanted() {
		address, err := k.endpoint(ctx, o)
		if err != nil {
			return err
		}
		wanted[o.MSPID] = append(wanted[o.MSPID], joinAddress(address))
	}
	for mspID := range wanted { // those of other organizations fall under their own admins
		wanted[mspID] = append(wanted[mspID], k.spec.externalEndpoints(mspID)...)
	}
	summary, err := k.summary(ctx)
	if err != nil {
		return err
	}
	differs := false
	for _, org := range summary.OrdererOrganizations {
		addresses, ours := wanted[org.Definition.ID]
		differs = differs || ours && !slices.Equal(org.Endpoints, mergeEndpoints(org.Endpoints, addresses, keep))
	}
	if !differs {
		return nil
	}
	return k.update(ctx, func(config *configtx.Config) error {
		summary, err := configtx.Summarize(config)
		if err != nil {
			return err
		}
		for _, org := range summary.OrdererOrganizations {
			if addresses, ours := wanted[org.Definition.ID]; ours {
				err = errors.Join(err, config.SetEndpoints(org.Definition.ID, mergeEndpoints(org.Endpoints, addresses, keep)))
			}
		}
		return err
	})
}

// mergeEndpoints puts what is wanted behind what is there and stays.
func mergeEndpoints(have, wanted []string, keep bool) []string {
	var out []string
	for _, address := range have {
		if keep || slices.Contains(wanted, address) {
			out = append(out, address)
		}
	}
	for _, address := range wanted {
		if !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}

func joinAddress(a configtx.Address) string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// dismiss takes the nodes that leave, and consenters that are no nodes of the cluster, out of every
// channel: endpoint, consenter, channel, and at last the node itself.
func (w *clusterWork) dismiss(ctx context.Context) error {
	err := w.onChannels(ctx, w.wanted(), func(ctx context.Context, k *channelWork, c channelView) error {
		return k.dismiss(ctx, c)
	})
	if err != nil {
		return err
	}
	return w.deleteOrderers(ctx, w.leaving, false)
}

// dismissIdle removes the nodes that leave a cluster that stands still. They must not have a channel.
func (w *clusterWork) dismissIdle(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(w.leaving)) {
		o := w.leaving[name]
		ledger, err := w.ordererLedger(ctx, o, NodeState{})
		if err != nil {
			return err
		}
		if ledger == LedgerHeld {
			return fmt.Errorf("%s is a consenter, and cannot be taken out while the nodes of its cluster are stopped", o)
		}
	}
	return w.deleteOrderers(ctx, w.leaving, false)
}

func (k *channelWork) dismiss(ctx context.Context, c channelView) error {
	if err := k.setEndpoints(ctx, false); err != nil {
		return err
	}
	strangers, err := k.strangers(ctx, c)
	if err != nil {
		return err
	}
	for _, s := range strangers {
		if err := k.evict(ctx, s.entry, s.node, "removing "+addressOf(s.entry)); err != nil {
			return err
		}
	}
	if err := k.bidFarewell(ctx); err != nil {
		return err
	}
	var jobs together
	for _, o := range k.leaving {
		if v := c.node(o); v.has {
			jobs.do(func() error { return k.leaveOrderer(ctx, o, k.channel.Name, false) })
		}
	}
	return jobs.wait()
}

// stranger is a consenter that is not to be one, with the node of the cluster that it is, if it is one.
type stranger struct {
	entry configtx.Consenter
	node  Handle
}

// strangers gives the consenters of the channel that are not wanted: those that are not at work first,
// the one that leads last.
func (k *channelWork) strangers(ctx context.Context, c channelView) ([]stranger, error) {
	summary, err := k.summary(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := k.wantedEntries(ctx, summary)
	if err != nil {
		return nil, err
	}
	weight := func(s stranger) int {
		switch v := c.node(s.node); {
		case v.leads:
			return 2
		case v.serves():
			return 1
		}
		return 0
	}
	var out []stranger
	for _, entry := range summary.Consenters {
		if !wanted[addressOf(entry.Consenter)] {
			out = append(out, stranger{entry.Consenter, k.nodeAt(ctx, entry.Consenter)})
		}
	}
	slices.SortStableFunc(out, func(a, b stranger) int { return weight(a) - weight(b) })
	return out, nil
}

// wantedEntries gives the addresses of the consenters that are to stay, as the ledger has them.
func (k *channelWork) wantedEntries(ctx context.Context, summary configtx.Summary) (map[string]bool, error) {
	wanted := map[string]bool{}
	for _, o := range k.wanted() {
		own, err := k.consenter(ctx, o)
		if err != nil {
			return nil, err
		}
		if entry := entryOf(summary, own); entry != nil {
			wanted[addressOf(*entry)] = true
		}
	}
	for _, e := range k.spec.External {
		if entry := entryOf(summary, e.consenter()); entry != nil {
			wanted[addressOf(*entry)] = true
		}
	}
	return wanted, nil
}

// nodeAt gives the leaving node that has a consenter's address; none when nobody has.
func (k *channelWork) nodeAt(ctx context.Context, entry configtx.Consenter) Handle {
	for _, o := range k.leaving {
		if address, err := k.endpoint(ctx, o); err == nil && joinAddress(address) == addressOf(entry) {
			return o
		}
	}
	return Handle{}
}

// evict takes a consenter off the ledger, when the others can do without it. Node is the node of the
// cluster that it is, if it is one.
func (k *channelWork) evict(ctx context.Context, entry configtx.Consenter, node Handle, step string) error {
	if err := k.awaitStrength(ctx, step, func(c channelView) error { return c.bearsLess(node, step) }); err != nil {
		return err
	}
	return k.update(ctx, func(config *configtx.Config) error {
		return config.RemoveConsenter(configtx.Address{Host: entry.Host, Port: entry.Port})
	})
}

// bidFarewell takes ordering organizations out of the channel that have neither a node here nor a
// consenter any more: those whose endpoints are all of consenters that were taken off.
func (k *channelWork) bidFarewell(ctx context.Context) error {
	summary, err := k.summary(ctx)
	if err != nil {
		return err
	}
	stays, listed := map[string]bool{}, map[string]bool{}
	for _, o := range k.wanted() {
		stays[o.MSPID] = true
	}
	for _, e := range k.spec.External {
		stays[e.Definition.ID] = true
	}
	for _, entry := range summary.Consenters {
		listed[addressOf(entry.Consenter)] = true
	}
	for _, mspID := range gone(summary, stays, func(address string) bool { return listed[address] }) {
		if err := k.update(ctx, func(config *configtx.Config) error { return config.RemoveOrdererOrganization(mspID) }); err != nil {
			return err
		}
	}
	return nil
}

// gone gives the ordering organizations that do not stay and have endpoints, of which none is a consenter.
func gone(summary configtx.Summary, stays map[string]bool, listed func(address string) bool) []string {
	var out []string
	for _, org := range summary.OrdererOrganizations {
		if !stays[org.Definition.ID] && len(org.Endpoints) > 0 && !slices.ContainsFunc(org.Endpoints, listed) {
			out = append(out, org.Definition.ID)
		}
	}
	return out
}

// leavers gives the nodes of the cluster on the engine that are no longer wanted. Those that an apply
// which was killed left behind are among them.
func (w *clusterWork) leavers(ctx context.Context) (map[string]Handle, error) {
	nodes, err := w.Orderers(ctx, w.spec.Handle)
	if err != nil {
		return nil, err
	}
	leaving := map[string]Handle{}
	for _, o := range nodes {
		if _, stays := w.spec.Nodes[o.Name]; !stays {
			leaving[o.Name] = o
		}
	}
	return leaving, nil
}

// wanted are the nodes that the cluster is to have.
func (w *clusterWork) wanted() []Handle { return w.spec.handles() }

// all are the wanted nodes and those that leave.
func (w *clusterWork) all() []Handle {
	nodes := slices.AppendSeq(w.wanted(), maps.Values(w.leaving))
	slices.SortStableFunc(nodes, compareNames)
	return nodes
}

// admins are those who sign changes of the channels: the ones that were given, or those of the
// organizations whose nodes these are.
func (w *clusterWork) admins() []Handle {
	if len(w.spec.Admins) > 0 {
		return w.spec.Admins
	}
	admins := []Handle{w.spec.Handle.Organization()}
	for _, o := range w.all() {
		if org := o.Organization(); !slices.Contains(admins, org) {
			admins = append(admins, org)
		}
	}
	return admins
}
