package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/archive"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// BackupSpec asks for a backup of a network: of everything that its owner has on the engine.
type BackupSpec struct {
	// Handle is of kind network.
	Handle Handle
	// Path is the archive, a local file.
	Path, Passphrase string
	// MaxUnavailable is how many peers of an organization may be down at a time, the one included that
	// is read; 0 is 1.
	MaxUnavailable int
}

// BackupResult is an archive that was written.
type BackupResult struct {
	archive.Summary
	Taken time.Time
	// Heights are the blocks of each channel that it holds.
	Heights map[string]uint64
	// LeftOut are the ordering nodes whose ledgers are not in it, each with the reason.
	LeftOut []string
}

// Backup writes an archive of a network from which RestoreNetwork makes it again. The order in which it
// reads is what makes the parts go together, docs/decisions/0015: keys; CA databases, which know whoever
// has a key; peers, one after the other; then the ledger of one node of each ordering cluster, which has
// every block that a peer has; what is known of the channels last. Each of them stands still while it is read.
func (f *Fabric) Backup(ctx context.Context, spec BackupSpec) (BackupResult, error) {
	b := &backup{Fabric: f, spec: spec, heights: map[string]uint64{}}
	if err := b.find(ctx); err != nil {
		return BackupResult{}, err
	}
	turn, err := f.await(ctx, spec.Handle, leaseSpec("backup", spec.Handle, b.image()))
	if err != nil {
		return BackupResult{}, err
	}
	defer turn.release(ctx)
	taken := time.Now().UTC().Truncate(time.Second)
	b.writer, err = archive.Create(spec.Path, spec.Passphrase, archive.Header{
		Network: spec.Handle.Network, Domain: spec.Handle.Domain, Owner: spec.Handle.Owner, Taken: taken,
	})
	if err != nil {
		return BackupResult{}, fmt.Errorf("unable to begin the archive: %w", err)
	}
	if err := b.take(ctx); err != nil {
		return BackupResult{}, errors.Join(err, b.writer.Abort())
	}
	if err := turn.renew(ctx); err != nil { // somebody may have begun another one
		return BackupResult{}, errors.Join(fmt.Errorf("unable to hold the backup's lease: %w", err), b.writer.Abort())
	}
	summary, err := b.writer.Close(b.nodes, b.heights)
	if err != nil {
		return BackupResult{}, fmt.Errorf("unable to end the archive: %w", err)
	}
	return BackupResult{Summary: summary, Taken: taken, Heights: b.heights, LeftOut: b.leftOut}, nil
}

// backup is one backup of a network.
type backup struct {
	*Fabric
	spec   BackupSpec
	writer *archive.Writer
	// keys and records are the key volumes, and those of channels and memberships; members the volumes of
	// nodes by kind.
	keys, records []engine.Volume
	members       map[Kind][]Handle
	labels        map[string]map[string]string
	containers    map[string]engine.Node
	nodes         []archive.Node
	heights       map[string]uint64
	leftOut       []string
}

// find looks for everything that the network's owner has on the engine. A node without a container has to
// be repaired first.
func (b *backup) find(ctx context.Context) error {
	h := b.spec.Handle
	owned := map[string]string{engine.LabelOwner: h.Owner, engine.LabelNetwork: h.Network}
	nodes, err := b.engine.Nodes(ctx, owned)
	if err != nil {
		return err
	}
	b.containers = map[string]engine.Node{}
	for _, n := range nodes {
		if isNode(n) {
			b.containers[n.Name] = n
			b.nodes = append(b.nodes, archive.Node{Name: n.Name, Image: imageAskedFor(n), ImageID: n.ImageID, Labels: n.Labels})
		}
	}
	slices.SortStableFunc(b.nodes, func(x, y archive.Node) int { return strings.Compare(x.Name, y.Name) })
	volumes, err := b.engine.Volumes(ctx, owned)
	if err != nil {
		return err
	}
	slices.SortStableFunc(volumes, func(x, y engine.Volume) int { return strings.Compare(x.Name, y.Name) })
	b.members, b.labels = map[Kind][]Handle{}, map[string]map[string]string{}
	for _, v := range volumes {
		b.labels[v.Name] = v.Labels
		owner := handleOf(v.Labels)
		switch {
		case v.Labels[keystore.LabelImage] != "" && (owner.Kind == KindChannel || owner.Kind == KindChannelMembership):
			b.records = append(b.records, v)
		case v.Labels[keystore.LabelImage] != "":
			b.keys = append(b.keys, v)
		case b.containers[v.Name].Name == "":
			return &NodeError{Action: "back up " + owner.String(), Cause: errors.New("its container is gone"), Next: "apply the configuration of the network, which makes it again, or remove volume " + v.Name + " when the node is no longer wanted"}
		case !slices.Contains([]Kind{KindCA, KindPeer, KindOrderer, KindStateDatabase}, owner.Kind):
			return fmt.Errorf("unable to back up volume %s: this release of the provider does not know what a %q is", v.Name, owner.Kind)
		default:
			b.members[owner.Kind] = append(b.members[owner.Kind], owner)
		}
	}
	if len(b.containers) == 0 {
		return fmt.Errorf("%s has no nodes: there is nothing to back up", h)
	}
	return nil
}

// imageAskedFor is the reference that a node's image was asked for by.
func imageAskedFor(n engine.Node) string {
	var in struct {
		Image  string                 `json:"image"`
		Server struct{ Image string } `json:"server"`
	}
	_ = json.Unmarshal([]byte(n.Labels[labelInputs]), &in) // without it the content's own digest has to do
	if in.Image == "" {
		return in.Server.Image
	}
	return in.Image
}

// image is any image that the engine has.
func (b *backup) image() string { return b.nodes[0].ImageID }

func (b *backup) take(ctx context.Context) error {
	if err := b.takeStores(ctx, b.keys); err != nil {
		return err
	}
	for _, h := range b.members[KindCA] {
		if err := b.takeCA(ctx, h); err != nil {
			return err
		}
	}
	for _, h := range b.members[KindPeer] {
		if err := b.takePeer(ctx, h); err != nil {
			return err
		}
	}
	clusters := map[string][]Handle{}
	for _, o := range b.members[KindOrderer] {
		name := b.labels[o.Object()][labelCluster]
		clusters[name] = append(clusters[name], o)
	}
	for _, name := range slices.Sorted(maps.Keys(clusters)) {
		if err := b.takeCluster(ctx, name, clusters[name]); err != nil {
			return err
		}
	}
	return b.takeStores(ctx, b.records)
}

// takeStores reads key volumes, which nothing stands still for: each of their files is written at once.
func (b *backup) takeStores(ctx context.Context, volumes []engine.Volume) error {
	for _, v := range volumes {
		b.writer.Volume(archive.Volume{Name: v.Name, Labels: v.Labels, Image: v.Labels[keystore.LabelImage]})
		err := keystore.OpenVolume(b.engine, v.Name).OwnedBy(b.spec.Handle.Owner).Archive(ctx, func(content io.Reader) error {
			return b.writer.Fill(v.Name, "", content, nil)
		})
		if err != nil {
			return fmt.Errorf("unable to back up volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// takeNode reads the whole volume of a node that stands still.
func (b *backup) takeNode(ctx context.Context, h Handle, skip func(name string) bool) error {
	b.writer.Volume(archive.Volume{Name: h.Object(), Labels: b.labels[h.Object()], Image: b.containers[h.Object()].ImageID})
	return b.fill(ctx, h, nodeRoot, "", skip)
}

// fill reads what lies at a path of a node, to a folder of its volume in the archive.
func (b *backup) fill(ctx context.Context, h Handle, from, folder string, skip func(name string) bool) error {
	err := b.engine.ReadArchive(ctx, h.Object(), from, func(content io.Reader) error {
		return b.writer.Fill(h.Object(), folder, content, skip)
	})
	if err != nil {
		return fmt.Errorf("unable to back up %s: %w", h, err)
	}
	return nil
}

func (b *backup) runs(h Handle) bool { return b.containers[h.Object()].Status == engine.Running }

// takeCA reads the home of a CA. Its database is a file, and whole only while nobody writes to it.
func (b *backup) takeCA(ctx context.Context, h Handle) error {
	if !b.runs(h) {
		return b.takeNode(ctx, h, nil)
	}
	keys, err := b.caKeys(ctx, h)
	if err != nil {
		return err
	}
	return b.whileStopped(ctx, h, func(ctx context.Context) error { return b.caAnswers(ctx, keys) }, func() error {
		return b.takeNode(ctx, h, nil)
	})
}

// takePeer reads a peer, and the database beside it, when it is its turn among its organization's peers.
func (b *backup) takePeer(ctx context.Context, h Handle) error {
	defer b.lockChange(h)()
	if !b.runs(h) {
		return b.takeStandingPeer(ctx, h)
	}
	slot, err := b.awaitSlot(ctx, PeerSpec{Handle: h, MaxUnavailable: b.spec.MaxUnavailable}, b.containers[h.Object()].ImageID)
	if err != nil {
		return err
	}
	defer slot.release(ctx)
	if err := b.seePeer(ctx, h); err != nil {
		return err
	}
	err = b.whileStopped(ctx, h, func(ctx context.Context) error { return b.peerAnswers(ctx, h) }, func() error {
		return b.takeStandingPeer(ctx, h)
	})
	if err != nil {
		return err
	}
	return b.awaitAbreast(ctx, h)
}

// seePeer remembers the heights of a peer that is about to stand still.
func (b *backup) seePeer(ctx context.Context, h Handle) error {
	channels, err := b.peerChannels(ctx, h)
	if err != nil {
		return b.nodeError(ctx, h, "list the channels of", err)
	}
	for _, channel := range channels {
		height, err := b.height(ctx, h, channel)
		if err != nil {
			return b.nodeError(ctx, h, "ask for the height of channel "+channel+" at", err)
		}
		b.heights[channel] = max(b.heights[channel], height)
	}
	return nil
}

// takeStandingPeer reads a peer that stands still. Its state database stands still for it, and runs again
// before the peer does.
func (b *backup) takeStandingPeer(ctx context.Context, h Handle) error {
	database := stateDatabase(h)
	if _, beside := b.labels[database.Object()]; !beside {
		return b.takeNode(ctx, h, nil)
	}
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderTime)
	defer cancel()
	err := b.stop(whole, database)
	if err == nil {
		err = b.takeNode(ctx, h, nil)
	}
	if err == nil {
		err = b.takeNode(ctx, database, nil)
	}
	if b.runs(database) {
		_, wake := b.wakeStateDatabase(context.WithoutCancel(ctx), h)
		err = errors.Join(err, wake)
	}
	return err
}

// What of a node's volume is an ordering node's own, and what it has in common with the others.
const (
	ledgerFolder    = "node/data"
	consensusFolder = "node/data/etcdraft"
)

// takeCluster reads the keys of each node of an ordering cluster, and the ledgers of one of them: a
// follower that has what all others have, peers included. All nodes begin with these ledgers when they are
// restored: ledgers that were read one after the other might not go together, and nodes that forgot what
// they had agreed to would agree to something else.
func (b *backup) takeCluster(ctx context.Context, name string, nodes []Handle) error {
	cluster := nodes[0].With(KindOrdererCluster, name, nodes[0].MSPID)
	defer b.lockChange(cluster)()
	views, err := b.awaitLevel(ctx, cluster, nodes)
	if err != nil {
		return err
	}
	for _, c := range views {
		if c.strength().external > 0 {
			b.leftOut = append(b.leftOut, fmt.Sprintf("%s: others run consenters of channel %s too, and a node that forgot what it had agreed to with them would break it; a network that is restored adds it as a new one, which takes the place of the lost one", strings.Join(namesOf(nodes), ", "), c.channel.Name))
			return nil
		}
	}
	source, err := b.source(cluster, nodes, views)
	if err != nil {
		return err
	}
	for _, o := range nodes {
		if o != source {
			if err := b.takeKeys(ctx, o, source); err != nil {
				return err
			}
		}
	}
	record, err := b.clusterRecord(ctx, nodes)
	if err != nil {
		return err
	}
	skip := func(string) bool { return false }
	if record.bft() { // what a node of SmartBFT writes beside the ledger is its own: it signed that
		skip = func(name string) bool { return strings.HasPrefix(name, consensusFolder+"/") }
	}
	return b.roll(ctx, nodes, []Handle{source}, func(ctx context.Context, o Handle, spared func(context.Context) error) error {
		if err := spared(ctx); err != nil {
			return err
		}
		return b.whileStopped(ctx, o, func(ctx context.Context) error { return b.ordererAnswers(ctx, o) }, func() error {
			return b.takeNode(ctx, o, skip)
		})
	})
}

// awaitLevel waits until the consenters of each channel have all the blocks that one of them had at first,
// and so all those that a peer had when it was read.
func (b *backup) awaitLevel(ctx context.Context, cluster Handle, nodes []Handle) (views []channelView, err error) {
	wait, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	wanted := maps.Clone(b.heights)
	first := true
	err = poll(wait, func(ctx context.Context) error {
		if views, err = b.survey(ctx, nodes); err != nil {
			return permanent(err)
		}
		for _, c := range views {
			if first {
				wanted[c.channel.Name] = max(wanted[c.channel.Name], c.height(Handle{}))
			}
		}
		first = false
		for _, c := range views {
			for _, v := range c.nodes {
				if v.serves() && v.height < wanted[c.channel.Name] {
					return fmt.Errorf("%s has %d of %d blocks of channel %s", v.node, v.height, wanted[c.channel.Name], c.channel.Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unable to back up %s: %w", cluster, err)
	}
	for _, c := range views {
		b.heights[c.channel.Name] = wanted[c.channel.Name]
	}
	return views, nil
}

// source chooses the node whose ledgers are read: the first to be taken down in a roll of those that serve
// every channel.
func (b *backup) source(cluster Handle, nodes []Handle, views []channelView) (Handle, error) {
	serve := slices.DeleteFunc(slices.Clone(nodes), func(o Handle) bool {
		return !b.runs(o) || slices.ContainsFunc(views, func(c channelView) bool { return !c.node(o).serves() })
	})
	if len(serve) == 0 {
		return Handle{}, &NodeError{Action: "back up " + cluster.String(), Cause: errors.New("none of its nodes takes part in every channel, so that nobody can tell which one has all blocks"), Next: "start the cluster, or repair it, and back up then"}
	}
	sortForRoll(serve, views)
	return serve[0], nil
}

// takeKeys reads what is an ordering node's own while it runs: nothing writes to it.
func (b *backup) takeKeys(ctx context.Context, o, source Handle) error {
	b.writer.Volume(archive.Volume{
		Name: o.Object(), Labels: b.labels[o.Object()], Image: b.containers[o.Object()].ImageID,
		LedgerOf: source.Object(), LedgerFolder: ledgerFolder,
	})
	if err := b.writer.Folder(o.Object(), path.Base(nodeRoot), nodeUID, nodeUID); err != nil {
		return err
	}
	for _, from := range []string{keysFolder, configFolder, nodeRoot + "/" + clusterFile} {
		if err := b.fill(ctx, o, from, path.Base(nodeRoot), nil); err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
	}
	return nil
}

// whileStopped does work on a node that runs while it stands still. The node is started again whatever
// became of the work; only its being ready is not waited for then.
func (f *Fabric) whileStopped(ctx context.Context, h Handle, ready func(context.Context) error, work func() error) error {
	defer f.locks.lock(h.Object())()
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderTime)
	defer cancel()
	err := f.stop(whole, h) // which is short, and done to its end, so that the start comes after it
	f.conns.forget(h)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = work()
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaderTime)
	defer cancel()
	if start := f.engine.StartNode(back, h.Object()); start != nil {
		err = errors.Join(err, f.nodeError(back, h, "start", start))
	}
	if err != nil {
		return err
	}
	return f.awaitReady(ctx, &node{handle: h, ready: ready})
}
