package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// sibling is a peer as its organization sees it.
type sibling struct {
	handle Handle
	// container is nil when there is none, while the volume is there.
	container *engine.Node
}

// siblings finds the other peers of a peer's organization on its network by their labels, in the order
// of their names: those with a container, and those of which the volume alone is left. Peers that are
// not to run are left out.
func (f *Fabric) siblings(ctx context.Context, peer Handle) ([]sibling, error) {
	labels := map[string]string{
		engine.LabelOwner: peer.Owner, engine.LabelKind: string(KindPeer), engine.LabelNetwork: peer.Network, labelMSPID: peer.MSPID,
	}
	var nodes []engine.Node
	var volumes []engine.Volume
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { nodes, err = f.engine.Nodes(gctx, labels); return err })
	group.Go(func() (err error) { volumes, err = f.engine.Volumes(gctx, labels); return err })
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("unable to look for the other peers of %s: %w", peer.MSPID, err)
	}
	found := map[string]sibling{}
	for _, v := range volumes {
		h := handleOf(v.Labels)
		found[h.Name] = sibling{handle: h}
	}
	for _, n := range nodes {
		if n.Labels[labelOnce] == "" {
			h := handleOf(n.Labels)
			found[h.Name] = sibling{handle: h, container: &n}
		}
	}
	delete(found, peer.Name)
	out := slices.SortedStableFunc(maps.Values(found), func(a, b sibling) int { return compareNames(a.handle, b.handle) })
	return f.wanted(ctx, peer.Organization(), out)
}

// wanted leaves out the peers that are not to run. Only of those that do not must it be asked.
func (f *Fabric) wanted(ctx context.Context, org Handle, peers []sibling) ([]sibling, error) {
	if !slices.ContainsFunc(peers, func(s sibling) bool { return !s.runs() }) {
		return peers, nil
	}
	resting, err := f.resting(ctx, org)
	return slices.DeleteFunc(peers, func(s sibling) bool { return !s.runs() && resting[s.handle.Name] != "" }), err
}

// resting gives the names of the peers of an organization that are not to run, with the reason. It
// looks at the engine each time: another process may have stopped a peer since.
func (f *Fabric) resting(ctx context.Context, org Handle) (map[string]string, error) {
	files, err := f.keyVolume(org).Read(ctx)
	if err != nil && !errors.Is(err, keystore.ErrLost) { // the keys are gone, and what was said of the peers with them
		return nil, fmt.Errorf("unable to read which peers of %s are to run: %w", org.MSPID, err)
	}
	out := map[string]string{}
	for name, content := range files {
		if peer, ok := strings.CutPrefix(name, restingPeers); ok {
			out[peer] = string(content)
		}
	}
	return out, nil
}

func (s sibling) runs() bool { return s.container != nil && s.container.Status == engine.Running }

// restingPeers is the folder of an organization's key volume that names the peers which are not to
// run: labels of a container cannot tell, because they never change.
const restingPeers = "resting_peers/"

// Why a peer is not to run.
const (
	// restStopped: desired_state is "stopped". restGone: it was deleted, and its volume was kept.
	restStopped = "stopped"
	restGone    = "deleted"
)

// rest remembers why a peer is not to run; an empty reason means that it is to run.
func (f *Fabric) rest(ctx context.Context, peer Handle, reason string) error {
	org, err := f.organizationKeys(ctx, peer.Organization())
	if err != nil {
		return err
	}
	name := restingPeers + peer.Name
	switch {
	case bytes.Equal(org.files[name], []byte(reason)):
		return nil
	case reason == "":
		return f.eraseKeys(ctx, peer.Organization(), name)
	}
	return f.writeKeys(ctx, peer.Organization(), map[string][]byte{name: []byte(reason)})
}

// standstill tells why a node's process does not run; nil when it does.
func (s sibling) standstill() error {
	switch {
	case s.container == nil:
		return errors.New("its container is gone")
	case s.container.OOMKilled:
		return errors.New("it was killed for want of memory")
	case s.container.Status == engine.Stopped && s.container.ExitCode != 0:
		return fmt.Errorf("it exited with code %d", s.container.ExitCode)
	case s.container.Status != engine.Running:
		return errors.New("it is stopped")
	}
	return nil
}

// outage tells why a peer does not do its work; nil when it does.
func (f *Fabric) outage(ctx context.Context, s sibling) error {
	if err := s.standstill(); err != nil {
		return err
	}
	err := f.answersInTime(ctx, s.handle)
	if err != nil && ctx.Err() == nil { // a connection of before may lead to a container that was replaced
		f.conns.forget(s.handle)
		err = f.answersInTime(ctx, s.handle)
	}
	if err != nil {
		return fmt.Errorf("it runs and does not answer: %w", err)
	}
	return nil
}

func (f *Fabric) answersInTime(ctx context.Context, peer Handle) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return f.peerAnswers(ctx, peer)
}

// outages asks all at once, and gives those that do not do their work with the reason.
func (f *Fabric) outages(ctx context.Context, peers []sibling) map[Handle]error {
	out := map[Handle]error{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, s := range peers {
		calls.Go(func() {
			if err := f.outage(ctx, s); err != nil {
				mu.Lock()
				defer mu.Unlock()
				out[s.handle] = err
			}
		})
	}
	calls.Wait()
	return out
}

// UnavailableError tells that a peer was not changed, because as many peers of its organization as may
// be down at a time are down already.
type UnavailableError struct {
	// Peer is the one that was not changed, Max how many may be down at a time.
	Peer Handle
	Max  int
	// Down are those that are down, in the order of their names.
	Down []DownPeer
}

// DownPeer is a peer that is down, and why.
type DownPeer struct {
	Peer   Handle
	Reason string
	// Logs are its last log lines.
	Logs []string
}

func (e *UnavailableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s was not changed, and goes on as it is: of the peers of %s %d at a time may be down", e.Peer, e.Peer.MSPID, e.Max)
	for _, d := range e.Down {
		fmt.Fprintf(&b, "\n%s is: %s", d.Peer, d.Reason)
		if len(d.Logs) > 0 {
			fmt.Fprintf(&b, "\nlast log lines of %s:\n  %s", d.Peer.Name, strings.Join(d.Logs, "\n  "))
		}
	}
	return b.String()
}

// unavailable makes the error, with the last words of those that are down.
func (f *Fabric) unavailable(ctx context.Context, peer Handle, most int, down map[Handle]error) error {
	out := &UnavailableError{Peer: peer, Max: most}
	for _, h := range slices.SortedStableFunc(maps.Keys(down), compareNames) {
		lines, err := f.engine.Logs(ctx, h.Object(), 400)
		if err != nil {
			lines = nil // the reason matters more than why there are no lines
		}
		out.Down = append(out.Down, DownPeer{Peer: h, Reason: reasonOf(down[h]), Logs: lastWords(lines)})
	}
	return out
}

// reasonOf gives why a peer is down. What its own update failed with holds its log lines, which are
// told apart.
func reasonOf(err error) string {
	if failed := new(NodeError); errors.As(err, &failed) {
		return failed.Cause.Error()
	}
	return err.Error()
}
