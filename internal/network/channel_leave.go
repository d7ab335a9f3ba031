package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// DeleteChannel removes the channel from its ordering nodes and its peers, with their ledgers, and
// the chaincode servers that were left on it.
func (f *Fabric) DeleteChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization) error {
	adopted, err := f.withdrawOurs(ctx, channel)
	if err != nil {
		return err
	}
	defer f.locks.lock(channel.record())()
	if err := f.removeAllServers(ctx, channel); err != nil {
		return err
	}
	if adopted {
		return f.removeRecord(ctx, channel)
	}
	return f.removeChannel(ctx, channel, cluster, organizations, nobody)
}

// nobody: no node may have joined without having said so.
func nobody(Handle) bool { return false }

// removeChannel removes the channel from every peer and then from every ordering node, each for itself: what
// fails at one must not leave another one stopped. As long as a peer holds blocks its ordering nodes have them, so
// that a removal which was cut short is no loss to whoever looks at it. Of doubtful nodes it is not known
// whether they joined, or will yet.
func (f *Fabric) removeChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization, doubtful func(Handle) bool) error {
	orderers, err := f.Orderers(ctx, cluster)
	if err != nil {
		return err
	}
	var peers, others together
	for _, p := range peersOf(organizations) {
		peers.do(func() error { return f.unjoin(ctx, p, channel.Name, unjoinOptions{unasked: doubtful(p)}) })
	}
	if err := peers.wait(); err != nil {
		return err
	}
	for _, o := range orderers {
		others.do(func() error { return f.leaveOrderer(ctx, o, channel.Name, doubtful(o)) })
	}
	if err := others.wait(); err != nil {
		return err
	}
	return f.removeRecord(ctx, channel)
}

// removeRecord removes what we know of a channel.
func (f *Fabric) removeRecord(ctx context.Context, channel Handle) error {
	return f.removeStore(ctx, channel.record(), channel.Owner)
}

// apiTime is how long an ordering node may take to answer that it removes a channel, before that is
// done with the node stopped.
const apiTime = 10 * time.Second

// leaveOrderer removes the channel from an ordering node, together with the write-ahead log and the
// snapshots that Fabric leaves behind (fabric #4016): a channel made anew under that name would
// stumble over them (#5198). The node need not be restarted for that.
func (f *Fabric) leaveOrderer(ctx context.Context, o Handle, channel string, doubtful bool) error {
	node, err := f.engine.Node(ctx, o.Object())
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	image, err := f.imageOf(ctx, o, node.ImageID)
	if image == "" || err != nil { // nothing can run with its volume
		return err
	}
	running := node.Status == engine.Running
	if running {
		err := f.removeByAPI(ctx, o, channel, doubtful)
		if err == nil {
			return f.removeLog(ctx, o, image, channel)
		}
		if ctx.Err() != nil {
			return f.nodeError(ctx, o, "remove channel "+channel+" from", err)
		}
	}
	// A process that does not answer, or a paused one, still holds its files, and may yet do what it
	// was asked for before.
	if err := f.stop(ctx, o); err != nil {
		return err
	}
	err = errors.Join(f.markRemoved(ctx, o, image, channel), f.removeLog(ctx, o, image, channel))
	if running {
		err = errors.Join(err, f.startAgain(ctx, o))
	}
	return err
}

// removeByAPI has an ordering node remove the channel, and waits until it has.
func (f *Fabric) removeByAPI(ctx context.Context, o Handle, channel string, doubtful bool) error {
	if err := f.removeOnce(ctx, o, channel); err != nil || !doubtful {
		return err
	}
	// It may be about to do what it was asked for before: a second look tells.
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	return f.removeOnce(ctx, o, channel)
}

func (f *Fabric) removeOnce(ctx context.Context, o Handle, channel string) error {
	client, err := f.participation(ctx, o)
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	err = poll(asked, func(ctx context.Context) error {
		err := client.Remove(ctx, channel)
		if errors.Is(err, participation.ErrNotFound) || errors.Is(err, participation.ErrPendingRemoval) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	heard := time.Now()
	return poll(ctx, func(ctx context.Context) error {
		has, err := client.Get(ctx, channel)
		switch {
		case errors.Is(err, participation.ErrNotFound):
			return nil
		case err == nil && has.Status == participation.StatusFailed:
			return permanent(participation.ErrRemovalFailed)
		case err == nil:
			heard = time.Now()
			return fmt.Errorf("it still has channel %s, with status %s", channel, has.Status)
		case time.Since(heard) > apiTime:
			return permanent(err)
		}
		return err
	})
}

// removeLog removes what Fabric leaves behind. The write-ahead log goes last: as long as it is
// there, clearLeftovers finds that something is left.
func (f *Fabric) removeLog(ctx context.Context, o Handle, imageID, channel string) error {
	config := ordererConfig(o)
	return f.runBeside(ctx, o, imageID, []string{"rm"}, "-rf", path.Join(config.SnapDir, channel), path.Join(config.WALDir, channel))
}

// clearLeftovers removes the write-ahead log and the snapshots of a channel that an ordering node no
// longer has.
func (f *Fabric) clearLeftovers(ctx context.Context, o Handle, channel string) error {
	config := ordererConfig(o)
	left := false
	for _, folder := range []string{config.WALDir, config.SnapDir} {
		_, err := f.engine.GetFiles(ctx, o.Object(), path.Join(folder, channel))
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return fmt.Errorf("unable to look for what an earlier channel left: %w", err)
		}
		left = left || err == nil
	}
	if !left {
		return nil
	}
	node, err := f.engine.Node(ctx, o.Object())
	if err != nil {
		return err
	}
	return f.removeLog(ctx, o, node.ImageID, channel)
}

// markRemoved makes a stopped ordering node remove the channel when it starts next. It leaves the
// mark by which Fabric itself goes on with a removal that was cut short (orderer file ledger,
// pendingops/remove), and takes away the one by which it would go on with a join.
func (f *Fabric) markRemoved(ctx context.Context, o Handle, imageID, channel string) error {
	ledger := ordererConfig(o).LedgerDir
	pending := path.Join(ledger, "pendingops")
	if err := f.runBeside(ctx, o, imageID, []string{"rm"}, "-f", path.Join(pending, "join", channel+".join")); err != nil {
		return err
	}
	has, err := f.folderExists(ctx, o, imageID, path.Join(ledger, "chains", channel))
	if err != nil || !has {
		return err
	}
	return f.runBeside(ctx, o, imageID, []string{"touch"}, path.Join(pending, "remove", channel+".remove"))
}

// unjoinOptions say how a peer leaves a channel.
type unjoinOptions struct {
	// unasked: what the peer says of its channels does not count.
	unasked bool
	// inTurn: its organization goes on. The peer waits for its turn among the others of it, and is
	// ready again before the next one goes down.
	inTurn bool
}

// unjoin takes a peer out of a channel, ledger and all. It runs with the peer stopped, because the
// peer locks its ledgers.
func (f *Fabric) unjoin(ctx context.Context, p Handle, channel string, options unjoinOptions) (err error) {
	defer f.locks.lock(p.Object())()
	current, err := f.reclaim(ctx, p)
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	image, err := f.imageOf(ctx, p, current.ImageID)
	if image == "" || err != nil { // nothing can run with its volume
		return err
	}
	if err := f.clearMarks(ctx, p, []Handle{p}, true); err != nil { // it may yet join from a snapshot
		return err
	}
	running, awaitReady := current.Status == engine.Running, options.inTurn
	if running && !options.unasked {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		channels, err := f.peerChannels(ask, p)
		cancel()
		if err == nil && !slices.Contains(channels, channel) { // one that does not answer is not asked any longer
			return nil
		}
		awaitReady = awaitReady || len(channels) > 1
	}
	if running && options.inTurn {
		turn, failure := f.awaitPause(ctx, p, image)
		if failure != nil {
			return failure
		}
		defer func() { turn.end(ctx, err) }()
	}
	if err := f.stop(ctx, p); err != nil {
		return err
	}
	err = f.unjoinStopped(ctx, p, image, channel)
	if !running {
		return err
	}
	if err := errors.Join(err, f.startAgain(ctx, p)); err != nil || !awaitReady {
		return err
	}
	return f.awaitReady(ctx, &node{handle: p, ready: func(ctx context.Context) error { return f.peerAnswers(ctx, p) }})
}

// unjoinStopped removes the channel from a stopped peer. One that does not have it is success.
func (f *Fabric) unjoinStopped(ctx context.Context, p Handle, imageID, channel string) (err error) {
	rest, err := f.wakeStateDatabase(ctx, p)
	defer func() { err = errors.Join(err, rest()) }()
	if err != nil {
		return err
	}
	err = f.runBeside(ctx, p, imageID, nil, "peer", "node", "unjoin", "-c", channel)
	if err == nil {
		return nil
	}
	has, lookErr := f.folderExists(ctx, p, imageID, path.Join(dataFolder, "ledgersData", "chains", "chains", channel))
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	if !has {
		return nil
	}
	return err
}

// startAgain starts a node that was stopped for work on its files, also when the work was cut short.
func (f *Fabric) startAgain(ctx context.Context, h Handle) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := f.engine.StartNode(ctx, h.Object()); err != nil {
		return f.nodeError(ctx, h, "start", err)
	}
	return nil
}

// imageOf gives the image to work on a node's volume with: its container's own, or that of another
// node of its kind when it has none. It is empty when there is neither, or no volume.
func (f *Fabric) imageOf(ctx context.Context, h Handle, own string) (string, error) {
	if own != "" {
		return own, nil
	}
	if _, err := f.engine.Volume(ctx, h.Object()); errors.Is(err, engine.ErrNotFound) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	nodes, err := f.engine.Nodes(ctx, map[string]string{engine.LabelOwner: h.Owner, engine.LabelKind: string(h.Kind)})
	if err != nil {
		return "", err
	}
	nodes = slices.DeleteFunc(nodes, func(n engine.Node) bool { return !isNode(n) })
	if len(nodes) == 0 {
		return "", nil
	}
	return nodes[0].ImageID, nil
}

// runBeside runs a command once with the volume of a node. The rm, touch and test of Debian's
// coreutils and of busybox serve alike.
func (f *Fabric) runBeside(ctx context.Context, h Handle, imageID string, entrypoint []string, command ...string) error {
	result, err := f.once(ctx, h, imageID, entrypoint, command...)
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("it exited with code %d", result.ExitCode)
	}
	if err != nil {
		return &NodeError{Action: "run " + strings.Join(append(entrypoint, command...), " ") + " for " + h.String(), Cause: err, Logs: result.Output}
	}
	return nil
}

// folderExists looks for a folder on a node's volume without reading what is in it.
func (f *Fabric) folderExists(ctx context.Context, h Handle, imageID, folder string) (bool, error) {
	result, err := f.once(ctx, h, imageID, []string{"test"}, "-d", folder)
	if err == nil && result.ExitCode > 1 {
		err = fmt.Errorf("it exited with code %d", result.ExitCode)
	}
	if err != nil {
		return false, &NodeError{Action: "look for " + folder + " of " + h.String(), Cause: err, Logs: result.Output}
	}
	return result.ExitCode == 0, nil
}

// removeOnces takes away what a process that was killed had begun to run with the volume of a node,
// which cannot be removed while that is there, or what has these labels of it. Others may run such commands
// at this moment, so all of it is for nodes that go.
func (f *Fabric) removeOnces(ctx context.Context, h Handle, labels map[string]string) error {
	all := map[string]string{
		engine.LabelOwner: h.Owner, engine.LabelKind: string(h.Kind), engine.LabelNetwork: h.Network, engine.LabelName: h.Name, labelOnce: "true",
	}
	maps.Copy(all, labels)
	nodes, err := f.engine.Nodes(ctx, all)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := f.engine.RemoveNode(ctx, n.Name, h.Owner); err != nil {
			return fmt.Errorf("unable to remove what was left beside %s: %w", h, err)
		}
	}
	return nil
}

// once runs a command with the volume of a node, on no network unless it needs one: to put a container
// on a network takes longer than all else about it.
func (f *Fabric) once(ctx context.Context, h Handle, imageID string, entrypoint []string, command ...string) (engine.RunResult, error) {
	labels := h.labels()
	labels[engine.LabelSpecHash] = "once"
	labels[labelOnce] = "true"
	spec := engine.NodeSpec{
		Name: h.Object() + "-once", Image: imageID, Entrypoint: entrypoint, Command: command,
		Mounts: []engine.Mount{{Volume: h.Object(), Target: volumeRoot}},
		Tmpfs:  []string{"/tmp"}, User: nodeUser, Labels: labels,
	}
	if entrypoint == nil { // the node's own program, which may have to reach its state database
		var err error
		if spec.Env, err = f.onceEnv(ctx, h); err != nil {
			return engine.RunResult{}, err
		}
		if spec.Env[couchPasswordVariable] != "" {
			spec.Network = h.Network
		}
	}
	return f.engine.RunOnce(ctx, spec)
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
