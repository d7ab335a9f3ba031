package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// member is an organization of a channel whose admin we have, with its peers there.
type member struct {
	handle Handle
	admin  *msp.Identity
	// peers are those that run first, the others behind; never empty.
	peers []memberPeer
}

type memberPeer struct {
	endorser.Peer
	handle Handle
	status engine.Status
	// imageID is the content that it runs.
	imageID string
}

func (p memberPeer) running() bool { return p.status == engine.Running }

// endorsers are the peers that run.
func (m member) endorsers() []endorser.Peer {
	var out []endorser.Peer
	for _, p := range m.peers {
		if p.running() {
			out = append(out, p.Peer)
		}
	}
	return out
}

// turn gives the peers that run in turns, and the first one when none does.
func (m member) turn(n int) endorser.Peer {
	if running := m.endorsers(); len(running) > 0 {
		return running[n%len(running)]
	}
	return m.peers[0].Peer
}

// members gives the organizations of a channel that have peers of ours there, in the order of their names.
func (f *Fabric) members(ctx context.Context, record channelRecord) ([]member, error) {
	var organizations []ChannelOrganization
	for _, key := range slices.Sorted(maps.Keys(record.Organizations)) {
		if org := record.Organizations[key]; len(org.Peers) > 0 {
			organizations = append(organizations, org)
		}
	}
	if len(organizations) == 0 {
		return nil, errors.New("no organization of the channel has a peer there")
	}
	out := make([]member, len(organizations))
	group, gctx := errgroup.WithContext(ctx)
	for i, org := range organizations {
		group.Go(func() (err error) {
			out[i], err = f.member(gctx, org)
			return err
		})
	}
	return out, group.Wait()
}

func (f *Fabric) member(ctx context.Context, org ChannelOrganization) (member, error) {
	m := member{handle: org.Organization, peers: make([]memberPeer, len(org.Peers))}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		m.admin, err = f.identity(gctx, org.Organization)
		return err
	})
	for i, name := range slices.Sorted(maps.Keys(org.Peers)) {
		group.Go(func() (err error) {
			m.peers[i], err = f.memberPeer(gctx, org.Peers[name])
			return err
		})
	}
	err := group.Wait()
	slices.SortStableFunc(m.peers, func(a, b memberPeer) int { return rank(a.status) - rank(b.status) })
	return m, err
}

func (f *Fabric) memberPeer(ctx context.Context, h Handle) (memberPeer, error) {
	p := memberPeer{handle: h, status: engine.Absent}
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return p, err
	}
	p.Peer = endorser.Peer{Name: h.Name, Conn: conn}
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return p, nil
	}
	p.status, p.imageID = n.Status, n.ImageID
	return p, err
}

func rank(status engine.Status) int {
	if status == engine.Running {
		return 0
	}
	return 1
}

// thatRun leaves out the peers that do not run, and the members without any that does.
func thatRun(members []member) []member {
	var out []member
	for _, m := range members {
		m.peers = slices.DeleteFunc(slices.Clone(m.peers), func(p memberPeer) bool { return !p.running() })
		if len(m.peers) > 0 {
			out = append(out, m)
		}
	}
	return out
}

// NotRunningError tells that none of an organization's peers on a channel runs, which has a part in
// what is to be done.
type NotRunningError struct {
	Organization Handle
	Channel      string
	// Peers are those that could be started.
	Peers []string
}

func (e *NotRunningError) Error() string {
	return fmt.Sprintf("no peer of %s on channel %s is running; it has %s there", e.Organization, e.Channel, strings.Join(e.Peers, ", "))
}

// requireRunning fails with *NotRunningError unless a peer of every organization runs.
func requireRunning(channel string, members []member) error {
	var failed []error
	for _, m := range members {
		if !m.peers[0].running() { // those that run come first
			failed = append(failed, &NotRunningError{Organization: m.handle, Channel: channel, Peers: namesOf(resting([]member{m}))})
		}
	}
	return errors.Join(failed...)
}

// peersIn gives the peers of all members.
func peersIn(members []member) []Handle {
	var out []Handle
	for _, m := range members {
		for _, p := range m.peers {
			out = append(out, p.handle)
		}
	}
	return out
}

// resting gives the peers that do not run.
func resting(members []member) []Handle {
	var out []Handle
	for _, m := range members {
		for _, p := range m.peers {
			if !p.running() {
				out = append(out, p.handle)
			}
		}
	}
	return out
}

func namesOf(things []Handle) []string {
	out := make([]string, len(things))
	for i, h := range things {
		out[i] = h.Name
	}
	return out
}

// levelTime is how long peers may take to have the blocks that others had when they were asked.
const levelTime = time.Minute

// awaitLevel waits until peers of a channel have as many blocks as the furthest of them, and of others, had at
// first: one that has just joined, or that was stopped, would answer from the past.
func (f *Fabric) awaitLevel(ctx context.Context, channel string, peers []Handle, others ...Handle) error {
	ctx, cancel := context.WithTimeout(ctx, levelTime)
	defer cancel()
	answers, _ := f.askAll(ctx, slices.Concat(peers, others), channel) // who did not answer is asked again below
	heights, furthest := map[Handle]uint64{}, uint64(1)
	for _, a := range answers {
		heights[a.node] = a.height
		furthest = max(furthest, a.height)
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, h := range peers {
		if heights[h] >= furthest {
			continue
		}
		group.Go(func() error { return f.awaitHeight(gctx, h, channel, furthest) })
	}
	return group.Wait()
}

// awaitHeight waits until a node has that many blocks of a channel.
func (f *Fabric) awaitHeight(ctx context.Context, h Handle, channel string, wanted uint64) error {
	err := f.pollNode(ctx, h, func(ctx context.Context) error {
		height, err := f.height(ctx, h, channel)
		if err == nil && height < wanted {
			err = fmt.Errorf("it has %d of %d blocks", height, wanted)
		}
		return err
	})
	if err != nil {
		return f.nodeError(ctx, h, "await the blocks of channel "+channel+" on", err)
	}
	return nil
}

// errBehind: peers lack blocks that the orderers have, and do not know yet what those hold.
var errBehind = errors.New("it does not have all blocks yet")

// blockTime is how long a peer that gets on may take for a block.
const blockTime = 10 * time.Second

// awaitPeers waits until every peer of a channel that answers has the blocks that the orderers have by
// now, as long as they get on: one that has just joined knows nothing of what they hold. A block whose
// private data no peer has any more holds a peer up for a minute (pullRetryThreshold of core.yaml): that
// is not waited for, and gives false.
func (f *Fabric) awaitPeers(ctx context.Context, channel Handle) (abreast bool, err error) {
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return false, err
	}
	ordered, err := f.ordered(ctx, record, channel.Name)
	if err != nil {
		return false, err
	}
	total, moved := uint64(0), time.Now()
	err = poll(ctx, func(ctx context.Context) error {
		answers, _ := f.askAll(ctx, peersOf(record.Organizations), channel.Name) // who does not answer is not waited for
		sum, late := uint64(0), false
		for _, a := range answers {
			sum, late = sum+a.height, late || a.height < ordered
		}
		if sum > total {
			total, moved = sum, time.Now()
		}
		switch {
		case !late:
			return nil
		case time.Since(moved) > blockTime:
			return permanent(errBehind)
		}
		return errBehind
	})
	if errors.Is(err, errBehind) && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// behind tells that no peer of a channel has all blocks that its orderers have: what they do not know of
// may well be there.
func (f *Fabric) behind(ctx context.Context, channel Handle, record channelRecord) error {
	ordered, err := f.ordered(ctx, record, channel.Name)
	if err != nil {
		return err
	}
	answers, _ := f.askAll(ctx, peersOf(record.Organizations), channel.Name) // as above
	best := heightAnswer{}
	for _, a := range answers {
		if a.height >= best.height {
			best = a
		}
	}
	if best.height < ordered {
		return fmt.Errorf("%s: %w, but %d of %d", best.node, errBehind, best.height, ordered)
	}
	return nil
}

// ordered is the height of a channel by its orderers; zero when none answers.
func (f *Fabric) ordered(ctx context.Context, record channelRecord, channel string) (height uint64, err error) {
	orderers, err := f.Orderers(ctx, record.Orderers)
	if err != nil {
		return 0, err
	}
	answers, _ := f.askAll(ctx, orderers, channel) // as above
	for _, a := range answers {
		height = max(height, a.height)
	}
	return height, nil
}
