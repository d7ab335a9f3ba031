package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/snapshot"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// A peer that joins a running channel from a snapshot takes the state from a peer that has it, instead of
// building it up from all blocks. The source writes the snapshot to its volume, the engine carries it to
// the volume of the one that joins, and both copies go when it has joined. Containers that are never
// started carry it, so that the engine holds neither peer meanwhile. They are the marks of the work, too:
// what a process that was killed left is found by them. docs/decisions/0019 says more.

// Where a peer keeps snapshots.
const (
	snapshotsFolder    = dataFolder + "/snapshots"
	completedSnapshots = snapshotsFolder + "/completed"
	// incomingSnapshots is a folder that the peer empties whenever it starts.
	incomingSnapshots = snapshotsFolder + "/temp"
	// snapshotMetadata is in every snapshot, and signed by its digest; a folder in completedSnapshots is whole.
	snapshotMetadata = "_snapshot_signable_metadata.json"
)

// join has peers join a channel, all at once; members are all of ours that are to have it. From a
// snapshot join those that another member can give one to, and from the first block all others.
func (f *Fabric) join(ctx context.Context, j channelEntry, members, peers []Handle, fromSnapshot bool) error {
	if err := f.clearSnapshots(ctx, j.channel, members); err != nil {
		return err
	}
	sources := map[Handle][]Handle{}
	if fromSnapshot && len(peers) > 0 {
		have, err := f.snapshotSources(ctx, j.channel, slices.DeleteFunc(slices.Clone(members), func(p Handle) bool { return slices.Contains(peers, p) }))
		if err != nil {
			return err
		}
		for _, p := range peers {
			if source, ok := sourceFor(p, have); ok {
				sources[source] = append(sources[source], p)
			}
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	for source, targets := range sources {
		peers = slices.DeleteFunc(slices.Clone(peers), func(p Handle) bool { return slices.Contains(targets, p) })
		group.Go(func() error { return f.joinFromSnapshot(gctx, j, source, targets) })
	}
	for _, p := range peers {
		group.Go(func() error { return f.joinPeer(gctx, p, j) })
	}
	return group.Wait()
}

// snapshotSources asks the peers that have a channel for their heights: any that answers can give a
// snapshot. None of them answering is an error, because from the first block a peer may take days.
func (f *Fabric) snapshotSources(ctx context.Context, channel Handle, peers []Handle) ([]heightAnswer, error) {
	if len(peers) == 0 {
		return nil, nil
	}
	answers, failures := f.askAll(ctx, peers, channel.Name)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var adopted error
	for _, a := range slices.Clone(answers) {
		n, err := f.engine.Node(ctx, a.node.Object())
		if err != nil {
			return nil, err
		}
		if n.Adopted != "" { // where it keeps its files is known to who made it
			adopted = errors.Join(adopted, fmt.Errorf("%s is adopted", a.node))
			answers = slices.DeleteFunc(answers, func(b heightAnswer) bool { return b.node == a.node })
		}
	}
	if len(answers) == 0 {
		return nil, &NodeError{
			Action: "join channel " + channel.Name + " from a snapshot",
			Cause:  fmt.Errorf("no peer that has it can give one: %w", errors.Join(failures, adopted)),
			Next:   `start a peer that has the channel, or set join_from = "genesis"`,
		}
	}
	return answers, nil
}

// sourceFor chooses who gives a peer its snapshot: one of its own organization where there is one, and of
// those the one that is furthest. Of a channel that has but its first block, nothing is to be given.
func sourceFor(p Handle, have []heightAnswer) (Handle, bool) {
	best := heightAnswer{}
	for _, a := range have {
		own, bestOwn := a.node.MSPID == p.MSPID, best.node.MSPID == p.MSPID
		if a.height > 1 && (own && !bestOwn || own == bestOwn && a.height > best.height) {
			best = a
		}
	}
	return best.node, best.height > 1
}

// joinFromSnapshot has peers join a channel from a snapshot that the source gives.
func (f *Fabric) joinFromSnapshot(ctx context.Context, j channelEntry, source Handle, targets []Handle) (err error) {
	busy := append([]Handle{source}, targets...)
	slices.SortStableFunc(busy, compareNames) // always in this order: another channel may need the same peers
	for _, p := range busy {
		defer f.locks.lock(p.Object())()
	}
	fail := func(err error) error {
		return f.nodeError(ctx, source, "take a snapshot of channel "+j.channel.Name+" at", err)
	}
	images := map[Handle]string{}
	for _, p := range busy {
		n, err := f.engine.Node(ctx, p.Object())
		if err != nil {
			return fail(err)
		}
		if n.Adopted != "" { // no source is
			return &NodeError{
				Action: "join channel " + j.channel.Name + " from a snapshot with " + p.String(),
				Cause:  errors.New("it is adopted, and where it keeps its files is known to who made it"), Next: `set join_from = "genesis"`,
			}
		}
		images[p] = n.ImageID
	}
	defer func() {
		clearing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		err = errors.Join(err, f.clearMarks(clearing, j.channel, busy, false))
	}()
	// No sibling is taken down meanwhile: while it writes the snapshot, the source commits no blocks.
	turn, err := f.await(ctx, source, leaseSpec("snapshot-"+source.Name, source, images[source]))
	if err != nil {
		return fail(err)
	}
	defer turn.release(ctx)                                          // before the marks go, which tell of it
	if err := f.clearMarks(ctx, j.channel, busy, true); err != nil { // of another channel
		return err
	}
	block, err := f.takeSnapshot(ctx, source, images[source], j.channel.Name)
	if err != nil {
		return fail(err)
	}
	for _, p := range targets {
		if err := f.carrySnapshot(ctx, source, p, images[p], j.channel.Name, block); err != nil {
			return f.nodeError(ctx, p, "carry the snapshot of channel "+j.channel.Name+" to", err)
		}
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range targets {
		group.Go(func() error { return f.beginFromSnapshot(gctx, p, j.channel.Name, incomingSnapshot(block)) })
	}
	return group.Wait()
}

func completedSnapshot(channel string, block uint64) string {
	return path.Join(completedSnapshots, channel, strconv.FormatUint(block, 10))
}

func incomingSnapshot(block uint64) string {
	return path.Join(incomingSnapshots, strconv.FormatUint(block, 10))
}

// takeSnapshot has the source write a snapshot of a channel, and gives the block after which it is. The
// block is chosen here, so that the mark can name the snapshot before it exists: the last one, or, when
// blocks come faster than they can be named, one that is about to come. A snapshot that somebody else
// took, or asked for, is used, and left.
func (f *Fabric) takeSnapshot(ctx context.Context, source Handle, imageID, channel string) (uint64, error) {
	ahead := uint64(0)
	for {
		height, err := f.height(ctx, source, channel)
		if err != nil {
			return 0, err
		}
		block := height - 1 + ahead
		peer, admin, err := f.peerAsAdmin(ctx, source)
		if err != nil {
			return 0, err
		}
		pending, err := snapshot.Pending(ctx, peer.Conn, admin, channel)
		if err != nil {
			return 0, err
		}
		there, err := f.hasSnapshot(ctx, source, channel, block)
		if err != nil {
			return 0, err
		}
		switch asked := slices.Contains(pending, block); {
		case asked && ahead > 0:
			ahead++
			continue
		case asked || there:
			if err := f.createMark(ctx, source, imageID, channel, ""); err != nil {
				return 0, err
			}
			_, err := f.awaitSnapshot(ctx, source, channel, block)
			return block, err
		}
		if err := f.createMark(ctx, source, imageID, channel, completedSnapshot(channel, block)); err != nil {
			return 0, err
		}
		if err = snapshot.Generate(ctx, peer.Conn, admin, channel, block); err == nil {
			there, err := f.awaitSnapshot(ctx, source, channel, block)
			if err != nil || there {
				return block, err
			}
			ahead = 0 // it was for a block that did not come
		} else {
			now, failed := f.height(ctx, source, channel)
			if failed != nil || now <= block+1 {
				return 0, errors.Join(err, failed)
			}
			ahead = max(1, 2*ahead)
		}
		if err := f.engine.RemoveNode(ctx, markOf(source), source.Owner); err != nil {
			return 0, err
		}
	}
}

// blockPatience is how long a block is waited for that was taken for about to come.
const blockPatience = 5 * time.Second

// awaitSnapshot waits until a snapshot that was asked for is written. It is false when the block did not
// come, and the request was withdrawn.
func (f *Fabric) awaitSnapshot(ctx context.Context, source Handle, channel string, block uint64) (there bool, err error) {
	since := time.Now()
	err = f.pollNode(ctx, source, func(ctx context.Context) error {
		peer, admin, err := f.peerAsAdmin(ctx, source)
		if err != nil {
			return err
		}
		pending, err := snapshot.Pending(ctx, peer.Conn, admin, channel)
		if err != nil {
			return err
		}
		// After that: a request ends when the snapshot is there.
		if there, err = f.hasSnapshot(ctx, source, channel, block); err != nil || there {
			return err
		}
		if !slices.Contains(pending, block) {
			return permanent(errors.New("the peer gave it up, its log says why"))
		}
		height, err := f.height(ctx, source, channel)
		if err == nil && height <= block && time.Since(since) > blockPatience && snapshot.Cancel(ctx, peer.Conn, admin, channel, block) == nil {
			return nil
		}
		return errors.Join(err, errors.New("the snapshot is not written yet"))
	})
	return there, err
}

// hasSnapshot tells whether a peer has a snapshot. Its folder gets its name when it is whole.
func (f *Fabric) hasSnapshot(ctx context.Context, source Handle, channel string, block uint64) (bool, error) {
	_, err := f.engine.GetFiles(ctx, source.Object(), path.Join(completedSnapshot(channel, block), snapshotMetadata))
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// carrySnapshot copies the snapshot to the volume of the peer that is to join.
func (f *Fabric) carrySnapshot(ctx context.Context, source, target Handle, imageID, channel string, block uint64) error {
	if err := f.createMark(ctx, target, imageID, channel, incomingSnapshot(block)); err != nil {
		return err
	}
	if err := f.runBeside(ctx, target, imageID, []string{"rm"}, "-rf", incomingSnapshot(block)); err != nil {
		return err
	}
	return f.engine.ReadArchive(ctx, markOf(source), completedSnapshot(channel, block), func(content io.Reader) error {
		return f.engine.WriteArchive(ctx, markOf(target), incomingSnapshots, content)
	})
}

// beginFromSnapshot has a peer join from the snapshot in a folder, and waits until it has.
func (f *Fabric) beginFromSnapshot(ctx context.Context, p Handle, channel, folder string) error {
	begun, refused := false, patience{}
	err := f.pollNode(ctx, p, func(ctx context.Context) error {
		peer, admin, err := f.peerAsAdmin(ctx, p)
		if err != nil {
			return err
		}
		if now, err := endorser.SnapshotJoin(ctx, peer, admin); err != nil || now != "" {
			return errors.Join(err, fmt.Errorf("it is reading the snapshot in %s", now))
		}
		// After that: it has joined when it joins no more, or has failed.
		joined, err := endorser.Channels(ctx, peer, admin)
		switch {
		case err != nil || slices.Contains(joined, channel):
			return err
		case begun:
			return permanent(errors.New("the peer could not begin with it, its log says why"))
		}
		if err := endorser.JoinFromSnapshot(ctx, peer, admin, folder); err != nil {
			return refused.bear(err)
		}
		begun = true
		return errors.New("it has begun to read the snapshot")
	})
	if err != nil {
		return f.nodeError(ctx, p, "join channel "+channel+" from a snapshot with", err)
	}
	return nil
}

func markOf(p Handle) string { return p.Object() + "-snapshot" }

// createMark makes the container that carries a snapshot of a channel from or to a peer's volume. Its
// labels name the folder that goes with it; empty is none.
func (f *Fabric) createMark(ctx context.Context, p Handle, imageID, channel, folder string) error {
	labels := p.labels()
	labels[keystore.LabelKeeper], labels[labelOnce], labels[engine.LabelSpecHash] = "true", "true", "snapshot"
	labels[labelSnapshot], labels[labelFolder] = channel, folder
	spec := engine.NodeSpec{
		Name: markOf(p), Image: imageID, Command: []string{"true"}, User: nodeUser, Labels: labels,
		Mounts: []engine.Mount{{Volume: p.Object(), Target: volumeRoot}},
	}
	if err := f.engine.CreateNode(ctx, spec); err != nil {
		return fmt.Errorf("unable to reach the snapshots of %s: %w", p, err)
	}
	return nil
}

// clearSnapshots removes what an apply that was killed left of snapshots of a channel on the volumes of
// peers.
func (f *Fabric) clearSnapshots(ctx context.Context, channel Handle, peers []Handle) error {
	marks, err := f.marks(ctx, channel, peers)
	if err != nil {
		return err
	}
	var left []Handle
	for _, m := range marks {
		if m.Labels[labelSnapshot] == channel.Name {
			left = append(left, handleOf(m.Labels))
		}
	}
	slices.SortStableFunc(left, compareNames)
	for _, p := range left {
		defer f.locks.lock(p.Object())()
	}
	failed := []error{f.clearMarks(ctx, channel, left, true)}
	for _, p := range left {
		labels := leaseLabels(p)
		labels[engine.LabelName] = "snapshot-" + p.Name
		held, err := f.engine.Leases(ctx, labels)
		failed = append(failed, err)
		for _, l := range held {
			failed = append(failed, f.engine.RemoveLease(ctx, l))
		}
	}
	return errors.Join(failed...)
}

func (f *Fabric) marks(ctx context.Context, of Handle, peers []Handle) ([]engine.Node, error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: of.Owner, engine.LabelNetwork: of.Network, engine.LabelKind: string(KindPeer), labelOnce: "true",
	})
	return slices.DeleteFunc(nodes, func(n engine.Node) bool {
		p := handleOf(n.Labels)
		return n.Name != markOf(p) || !slices.Contains(peers, p)
	}), err
}

// clearMarks clears peers that nobody else is at work on. What a peer is at work on by itself is awaited,
// or left to the next apply.
func (f *Fabric) clearMarks(ctx context.Context, of Handle, peers []Handle, await bool) error {
	marks, err := f.marks(ctx, of, peers)
	failed := []error{err}
	for _, m := range marks {
		p := handleOf(m.Labels)
		if err := f.clearMark(ctx, p, m, await); err != nil {
			failed = append(failed, fmt.Errorf("unable to remove a snapshot from %s: %w", p, err))
		}
	}
	return errors.Join(failed...)
}

func (f *Fabric) clearMark(ctx context.Context, p Handle, mark engine.Node, await bool) error {
	folder := mark.Labels[labelFolder]
	if folder != "" {
		err := f.awaitFree(ctx, p, mark.Labels[labelSnapshot], folder, await)
		if errors.Is(err, errInUse) {
			return nil
		}
		if err == nil {
			err = f.removeRuns(ctx, p)
		}
		if err == nil {
			err = f.runBeside(ctx, p, mark.ImageID, []string{"rm"}, "-rf", folder)
		}
		if err != nil {
			return err
		}
	}
	return f.engine.RemoveNode(ctx, mark.Name, p.Owner)
}

var errInUse = errors.New("the peer still works on it")

// awaitFree fails with errInUse as long as a peer writes the snapshot in a folder, or reads it. One that
// is stopped does neither.
func (f *Fabric) awaitFree(ctx context.Context, p Handle, channel, folder string, await bool) error {
	running, err := f.running(ctx, p)
	if err != nil || !running {
		return err
	}
	look := func(ctx context.Context) error {
		peer, admin, err := f.peerAsAdmin(ctx, p)
		if err != nil {
			return err
		}
		if path.Dir(folder) == incomingSnapshots {
			now, err := endorser.SnapshotJoin(ctx, peer, admin)
			if err == nil && now == folder {
				err = errInUse
			}
			return err
		}
		block, err := strconv.ParseUint(path.Base(folder), 10, 64)
		if err != nil {
			return permanent(err)
		}
		if joined, err := endorser.Channels(ctx, peer, admin); err != nil || !slices.Contains(joined, channel) {
			return err // one that has lost the channel has lost the request
		}
		pending, err := snapshot.Pending(ctx, peer.Conn, admin, channel)
		if err == nil && slices.Contains(pending, block) && snapshot.Cancel(ctx, peer.Conn, admin, channel, block) != nil {
			err = errInUse
		}
		return err
	}
	if !await {
		return look(ctx)
	}
	return f.pollNode(ctx, p, look)
}

// removeRuns takes away what a process that was killed ran with the volume of a peer that nobody else is
// at work on.
func (f *Fabric) removeRuns(ctx context.Context, p Handle) error {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: p.Owner, engine.LabelKind: string(p.Kind), engine.LabelNetwork: p.Network, engine.LabelName: p.Name, labelOnce: "true",
	})
	failed := []error{err}
	for _, n := range nodes {
		if strings.HasPrefix(n.Name, p.Object()+"-once-") {
			failed = append(failed, f.engine.RemoveNode(ctx, n.Name, p.Owner))
		}
	}
	return errors.Join(failed...)
}
