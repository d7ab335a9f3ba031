package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Removal says how a peer goes.
type Removal struct {
	// KeepVolumes keeps the volumes of the peer and of the database beside it: its keys, and no ledger.
	KeepVolumes bool
	// AcceptDataLoss lets it go although nobody else holds private data that it holds.
	AcceptDataLoss bool
}

// DeletePeer takes a peer out of its channels and removes it with the database beside it and, unless
// they are to be kept, the volumes. Terraform destroys what was removed from a configuration before it
// changes what remains, so it does all of it by itself: chaincode servers and the records of the
// channels too. It fails with *LastHolderError when private data would be lost.
func (f *Fabric) DeletePeer(ctx context.Context, h Handle, removal Removal) error {
	defer f.lockChange(h)()
	if err := f.removeLeases(ctx, h); err != nil { // of a process that was killed
		return err
	}
	if a, err := f.adoption(ctx, h); err != nil || a != nil {
		return errors.Join(err, f.releasePeer(ctx, h))
	}
	channels, err := f.channelsLeft(ctx, h)
	if err != nil {
		return err
	}
	release, err := f.lockChannels(ctx, h, channels)
	if err != nil {
		return err
	}
	defer release()
	if !removal.AcceptDataLoss {
		if err := f.requireOtherHolders(ctx, h, channels); err != nil {
			return err
		}
	}
	if removal.KeepVolumes {
		if err := f.unjoinAll(ctx, h, channels); err != nil {
			return err
		}
	}
	if err := f.leaveRecords(ctx, h, channels); err != nil {
		return err
	}
	if err := f.removeNode(ctx, h, removal.KeepVolumes); err != nil {
		return err
	}
	if err := f.removeStateDatabase(ctx, h, removal.KeepVolumes); err != nil {
		return err
	}
	if removal.KeepVolumes {
		return nil
	}
	return f.restIfKnown(ctx, h, "")
}

// restIfKnown is rest for a peer whose organization may be gone.
func (f *Fabric) restIfKnown(ctx context.Context, h Handle, reason string) error {
	err := f.rest(ctx, h, reason)
	if errors.Is(err, ErrLost) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// channelsLeft gives the channels that a peer is on, in the order of their names: those whose record
// has it, those of its organization's memberships, and those that it tells of itself.
func (f *Fabric) channelsLeft(ctx context.Context, h Handle) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{engine.LabelOwner: h.Owner, engine.LabelKind: string(KindChannel)})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes { // another process may have written to them
		f.stores.set(v.Name, nil)
	}
	records, err := f.channelsWith(ctx, h)
	if err != nil {
		return nil, err
	}
	channels := slices.Collect(maps.Keys(records))
	memberships, err := f.membershipsWith(ctx, h)
	if err != nil {
		return nil, err
	}
	for _, m := range memberships {
		channels = append(channels, m.Handle.channel())
	}
	running, err := f.running(ctx, h)
	if err != nil {
		return nil, err
	}
	if running {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		names, _ := f.peerChannels(ask, h) // one that does not answer is on those of the records
		for _, name := range names {
			channels = append(channels, h.With(KindChannel, name, ""))
		}
	}
	slices.SortStableFunc(channels, compareNames)
	return slices.Compact(channels), nil
}

// lockChannels lets one peer at a time leave a channel, whatever process removes it: of two peers that
// look for another holder of their private data at the same time, each would find the other one.
func (f *Fabric) lockChannels(ctx context.Context, h Handle, channels []Handle) (release func(), err error) {
	var held []*lease
	release = func() {
		for _, l := range held {
			l.release(ctx)
		}
	}
	image := ""
	if len(channels) > 0 {
		if image, err = f.anyImage(ctx, h); err != nil {
			return release, err
		}
	}
	if image == "" { // nothing of it is there any more
		return release, nil
	}
	for _, channel := range channels {
		l, err := f.await(ctx, h, leaseSpec("leave-"+channel.Name, h, image))
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, l)
	}
	return release, nil
}

// anyImage gives an image of a peer's kind that the engine has; empty when there is none.
func (f *Fabric) anyImage(ctx context.Context, h Handle) (string, error) {
	current, err := f.engine.Node(ctx, h.Object())
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return "", err
	}
	return f.imageOf(ctx, h, current.ImageID)
}

// LastHolderError tells that a peer is the last one that runs of those that hold private data.
type LastHolderError struct {
	Peer        Handle
	Collections []HeldCollection
	// Cause, when not nil, is why nobody can tell what the peer holds.
	Cause error
}

// HeldCollection is a private data collection that a peer holds.
type HeldCollection struct{ Collection, Chaincode, Channel string }

func (e *LastHolderError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("unable to tell whether %s is the last one to hold private data: %v", e.Peer, e.Cause)
	}
	var held []string
	for _, c := range e.Collections {
		held = append(held, fmt.Sprintf("collection %s of chaincode %s on channel %s", c.Collection, c.Chaincode, c.Channel))
	}
	return fmt.Sprintf("%s is the last peer that runs of those that hold %s: that private data would be lost", e.Peer, strings.Join(held, ", "))
}

func (e *LastHolderError) Unwrap() error { return e.Cause }

// requireOtherHolders fails with *LastHolderError unless, of every collection that a peer holds, a peer
// that runs holds it too. Organizations that run their peers elsewhere count as holders.
func (f *Fabric) requireOtherHolders(ctx context.Context, h Handle, channels []Handle) error {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: h.Owner, engine.LabelKind: string(KindPeer), engine.LabelNetwork: h.Network,
	})
	if err != nil {
		return err
	}
	var others []Handle
	for _, n := range nodes {
		if n.Labels[labelOnce] == "" && n.Name != h.Object() {
			others = append(others, handleOf(n.Labels))
		}
	}
	last := &LastHolderError{Peer: h}
	for _, channel := range channels {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		has, err := f.hasChannel(ask, h, channel.Name)
		cancel()
		if err == nil && !has { // the channel was being removed from its nodes, and a record is left of it
			continue
		}
		held, err := f.heldAlone(ctx, h, channel, others)
		if err != nil {
			return err
		}
		last.Collections = append(last.Collections, held...)
	}
	if len(last.Collections) > 0 {
		return last
	}
	return nil
}

// heldAlone gives the collections on a channel that a peer holds and none of the others.
func (f *Fabric) heldAlone(ctx context.Context, h, channel Handle, others []Handle) ([]HeldCollection, error) {
	definitions, err := f.committed(ctx, channel, append([]Handle{h}, others...))
	if err != nil {
		return nil, &LastHolderError{Peer: h, Cause: err}
	}
	held := map[HeldCollection][]string{}
	var members []string
	for _, d := range definitions {
		for _, config := range d.Collections.GetConfig() {
			collection := config.GetStaticCollectionConfig()
			if of := collectionMembers(collection); slices.Contains(of, h.MSPID) {
				held[HeldCollection{collection.GetName(), d.Name, channel.Name}] = of
				members = append(members, of...)
			}
		}
	}
	if len(held) == 0 {
		return nil, nil
	}
	holders, err := f.dataHolders(ctx, channel, members, others)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(held, func(_ HeldCollection, of []string) bool {
		return slices.ContainsFunc(of, func(id string) bool { return holders[id] })
	})
	return slices.SortedStableFunc(maps.Keys(held), func(a, b HeldCollection) int {
		return cmp.Or(strings.Compare(a.Chaincode, b.Chaincode), strings.Compare(a.Collection, b.Collection))
	}), nil
}

// collectionMembers gives the MSP IDs of the organizations whose peers hold a collection.
func collectionMembers(collection *peer.StaticCollectionConfig) []string {
	members, err := policy.FromEnvelope(collection.GetMemberOrgsPolicy().GetSignaturePolicy())
	if err != nil { // Fabric commits no such collection
		return nil
	}
	return members.MSPIDs()
}

// dataHolders tells of organizations whether they hold private data of a channel beside a peer that
// goes: one of the others runs and is on the channel, or they run their peers elsewhere.
func (f *Fabric) dataHolders(ctx context.Context, channel Handle, members []string, others []Handle) (map[string]bool, error) {
	out := map[string]bool{}
	for _, a := range f.askForChannel(ctx, channel.Name, others) {
		out[a.node.MSPID] = out[a.node.MSPID] || a.has && a.err == nil
	}
	for _, id := range members {
		elsewhere, err := f.runsElsewhere(ctx, channel, id)
		if err != nil {
			return nil, err
		}
		out[id] = out[id] || elsewhere
	}
	return out, nil
}

// runsElsewhere tells whether an organization of a channel runs its peers elsewhere: a partner's, or
// one that nobody here knows.
func (f *Fabric) runsElsewhere(ctx context.Context, channel Handle, mspID string) (bool, error) {
	record, err := f.channelRecord(ctx, channel)
	if err != nil && !errors.Is(err, ErrLost) {
		return false, err
	}
	member := func(org ChannelOrganization) bool { return org.Organization.MSPID == mspID }
	if err == nil && !slices.ContainsFunc(slices.Collect(maps.Values(record.Organizations)), member) {
		return false, nil
	}
	org, err := f.organizationKeys(ctx, channel.With(KindOrganization, mspID, mspID))
	if errors.Is(err, ErrLost) || errors.Is(err, ErrNotFound) || errors.Is(err, engine.ErrForeign) {
		return true, nil
	}
	return err == nil && org.CA == "", err
}

// committed gives the chaincode definitions in force on a channel, by the word of the first of the
// peers that answers.
func (f *Fabric) committed(ctx context.Context, channel Handle, peers []Handle) ([]lifecycle.Committed, error) {
	var failures error
	for _, p := range peers {
		running, err := f.running(ctx, p)
		if err != nil {
			return nil, err
		}
		if !running {
			continue
		}
		definitions, err := f.committedAt(ctx, p, channel)
		if err == nil || ctx.Err() != nil {
			return definitions, err
		}
		failures = errors.Join(failures, fmt.Errorf("%s: %w", p, err))
	}
	return nil, &UnansweredError{Thing: channel, Cause: failures}
}

func (f *Fabric) committedAt(ctx context.Context, p, channel Handle) ([]lifecycle.Committed, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := f.grpcConn(ctx, p, peerPort)
	if err != nil {
		return nil, err
	}
	admin, err := f.identity(ctx, p.Organization())
	if err != nil {
		return nil, err
	}
	return lifecycle.QueryAllCommitted(ctx, endorser.Peer{Name: p.Name, Conn: conn}, admin, channel.Name)
}

// unjoinAll takes a peer that goes out of its channels, ledgers and all, and leaves it stopped.
func (f *Fabric) unjoinAll(ctx context.Context, h Handle, channels []Handle) error {
	defer f.locks.lock(h.Object())()
	if err := f.restIfKnown(ctx, h, restGone); err != nil {
		return err
	}
	image, err := f.anyImage(ctx, h)
	if image == "" || err != nil { // nothing can run with its volume
		return err
	}
	if err := f.stop(ctx, h); err != nil {
		return err
	}
	for _, channel := range channels {
		if err := f.unjoinStopped(ctx, h, image, channel.Name); err != nil {
			return err
		}
	}
	return nil
}

// leaveRecords removes the chaincode servers beside a peer, and takes it out of the records of its
// channels. Its address among the anchor peers of a channel's configuration is up to who owns that.
func (f *Fabric) leaveRecords(ctx context.Context, h Handle, channels []Handle) error {
	var jobs together
	for _, channel := range channels {
		jobs.do(func() error {
			own := func(labels map[string]string) bool { return labels[labelPeer] == h.Name }
			return errors.Join(f.removeServersThat(ctx, channel, own), f.leaveRecord(ctx, h, channel), f.leaveServers(ctx, h, channel))
		})
	}
	jobs.do(func() error { return f.leaveMemberships(ctx, h) })
	return jobs.wait()
}

// leaveServers removes the servers that a peer shared with others of its organization, when it was the last of
// them on the channel.
func (f *Fabric) leaveServers(ctx context.Context, h, channel Handle) error {
	servers, err := f.serversOn(ctx, channel)
	if err != nil || !slices.ContainsFunc(servers, func(s engine.Node) bool { return servesPeer(s.Labels, h) }) {
		return err
	}
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return err
	}
	stay := slices.DeleteFunc(peersOf(record.Organizations), func(p Handle) bool { return p == h })
	return f.removeServersBeside(ctx, channel, h, stay)
}

// leaveMemberships takes a peer out of what its organization has written down of its part of channels
// of others.
func (f *Fabric) leaveMemberships(ctx context.Context, h Handle) error {
	memberships, err := f.membershipsWith(ctx, h)
	var failed []error
	for _, m := range memberships {
		org := m.member().without(h)
		m.Peers, m.AnchorPeers = org.Peers, org.AnchorPeers
		failed = append(failed, f.removeServersBeside(ctx, m.Handle, h, peersOf(m.members())), f.writeMembership(ctx, m))
	}
	return errors.Join(append(failed, err)...)
}

// without is the organization without one of its peers, which is no anchor peer either.
func (o ChannelOrganization) without(h Handle) ChannelOrganization {
	o.AnchorPeers = slices.DeleteFunc(slices.Clone(o.AnchorPeers), func(name string) bool { return o.Peers[name] == h })
	o.Peers = maps.Clone(o.Peers)
	maps.DeleteFunc(o.Peers, func(_ string, p Handle) bool { return p == h })
	return o
}

// leaveRecord takes a peer out of the record of a channel. A record that is gone is the channel's
// business.
func (f *Fabric) leaveRecord(ctx context.Context, h, channel Handle) error {
	unlock := f.locks.lock(channel.record())
	err := f.takeOut(ctx, h, channel)
	unlock()
	if errors.Is(err, ErrLost) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.removeAbandoned(ctx, channel)
}

// takeOut writes the record of a channel without a peer.
func (f *Fabric) takeOut(ctx context.Context, h, channel Handle) error {
	f.stores.set(channel.record(), nil)
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return err
	}
	organizations := map[string]ChannelOrganization{}
	for key, org := range record.Organizations {
		organizations[key] = org.without(h)
	}
	return f.writeRecord(ctx, ChannelSpec{Handle: channel, Orderers: record.Orderers, Organizations: organizations, Config: record.Config}, nil)
}

// removeAbandoned removes the record of a channel of which no node is left. The removal of a channel can
// be cut short when every node has left it: nobody finds the channel then, and its record would stay for
// ever. Its peers and its ordering cluster call it, each when it has gone, so that the last of them
// removes the record.
func (f *Fabric) removeAbandoned(ctx context.Context, channel Handle) error {
	defer f.locks.lock(channel.record())()
	f.stores.set(channel.record(), nil)
	record, err := f.channelRecord(ctx, channel)
	if errors.Is(err, ErrLost) {
		return nil
	}
	if err != nil || len(peersOf(record.Organizations)) > 0 {
		return err
	}
	orderers, err := f.Orderers(ctx, record.Orderers)
	if err != nil || len(orderers) > 0 {
		return err
	}
	return f.removeStore(ctx, channel.record(), channel.Owner)
}
