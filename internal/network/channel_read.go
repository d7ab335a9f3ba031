package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// ChannelState is what is known of a channel.
type ChannelState struct {
	// Absent tells that every node was asked and none has the channel, or no more than its first block.
	Absent bool
	// Lost tells that no ordering node has the channel any more, while peers hold blocks of it.
	Lost bool
	// Unrecorded tells that the record of the channel is gone or not whole, without which nothing finds its members.
	Unrecorded bool
	// Without are the ordering nodes that say that they have no such channel while others have it.
	Without []string
	// Joined are the peers that have joined, by organization and name. Peers that could not be asked
	// are in Unanswered instead.
	Joined, Unanswered map[string][]string
}

// UnansweredError tells that none of the nodes that could say something about a thing answered.
type UnansweredError struct {
	Thing Handle
	Cause error
}

func (e *UnansweredError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("no node that could say something about %s is running", e.Thing)
	}
	return fmt.Sprintf("no node answers about %s: %v", e.Thing, e.Cause)
}

func (e *UnansweredError) Unwrap() error { return e.Cause }

// LostChannelError tells that the ordering nodes have lost a channel of which peers hold blocks. It
// is ErrLost.
type LostChannelError struct{ Channel Handle }

func (e *LostChannelError) Error() string {
	return fmt.Sprintf("no ordering node has %s any more, while peers hold blocks of it: ordering cannot go on where it stopped, and beginning anew loses the ledgers of the peers", e.Channel)
}

// Is makes a LostChannelError be ErrLost.
func (e *LostChannelError) Is(target error) bool { return target == ErrLost }

// ReadChannel asks the nodes of the channel, all at once. It fails with *UnansweredError when too few
// answer to tell; the state then holds what the others said.
func (f *Fabric) ReadChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization) (ChannelState, error) {
	state := ChannelState{Joined: map[string][]string{}, Unanswered: map[string][]string{}}
	orderers, err := f.Orderers(ctx, cluster)
	if err != nil {
		return state, err
	}
	if _, _, err := f.channelRecordWithGenesis(ctx, channel); errors.Is(err, ErrLost) {
		state.Unrecorded = true
	} else if err != nil {
		return state, err
	}
	peers := peersOf(organizations)
	answers := f.askForChannel(ctx, channel.Name, slices.Concat(orderers, peers))
	var failures error
	ordered, answered := false, 0
	joined, silent := map[Handle]bool{}, map[Handle]bool{}
	for _, a := range answers {
		switch {
		case errors.Is(a.err, engine.ErrUnreachable) || ctx.Err() != nil:
			return state, errors.Join(a.err, ctx.Err())
		case a.err != nil:
			failures = errors.Join(failures, fmt.Errorf("%s: %w", a.node, a.err))
			silent[a.node] = true
		case a.node.Kind == KindOrderer:
			answered++
			ordered = ordered || a.has
			if !a.has {
				state.Without = append(state.Without, a.node.Name)
			}
		case a.has:
			joined[a.node] = true
		}
	}
	for key, org := range organizations {
		for name, p := range org.Peers {
			if joined[p] {
				state.Joined[key] = append(state.Joined[key], name)
			}
			if silent[p] {
				state.Unanswered[key] = append(state.Unanswered[key], name)
			}
		}
	}
	if !ordered {
		state.Without = nil
	}
	if !ordered && answered > 0 && answered == len(orderers) {
		if state.Lost = f.holdsBlocks(ctx, channel.Name, joined); state.Lost {
			return state, nil
		}
		state.Absent = len(state.Unanswered) == 0
	}
	if len(silent) > 0 || !ordered && !state.Absent {
		return state, &UnansweredError{Thing: channel, Cause: failures}
	}
	return state, nil
}

// holdsBlocks tells whether one of the peers has more of the channel than its first block.
func (f *Fabric) holdsBlocks(ctx context.Context, channel string, peers map[Handle]bool) bool {
	for p := range peers {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		height, err := f.height(ask, p, channel)
		cancel()
		if err != nil || height > 1 { // what cannot be told is not given up
			return true
		}
	}
	return false
}

// beginAnew removes what is left of a channel that its ordering nodes have lost, if the spec accepts
// that loss.
func (f *Fabric) beginAnew(ctx context.Context, spec ChannelSpec) error {
	if !spec.AcceptDataLoss {
		return &LostChannelError{Channel: spec.Handle}
	}
	return f.removeChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations, nobody)
}

// channelAnswer is what a node says of a channel.
type channelAnswer struct {
	node Handle
	has  bool
	err  error
}

// askForChannel asks every node at once whether it has the channel. Answers are in the order of nodes.
func (f *Fabric) askForChannel(ctx context.Context, channel string, nodes []Handle) []channelAnswer {
	answers := make([]channelAnswer, len(nodes))
	var calls sync.WaitGroup
	for i, h := range nodes {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			has, err := f.hasChannel(ctx, h, channel)
			answers[i] = channelAnswer{h, has, err}
		})
	}
	calls.Wait()
	return answers
}

// hasChannel asks a node whether it has the channel. A peer whose volume is gone has none, without
// being asked; any other node that does not run is an error.
func (f *Fabric) hasChannel(ctx context.Context, h Handle, channel string) (bool, error) {
	running, err := f.running(ctx, h)
	if err != nil {
		return false, err
	}
	if !running {
		if _, err := f.engine.Volume(ctx, h.Object()); errors.Is(err, engine.ErrNotFound) {
			return false, nil
		}
		return false, errNotRunning
	}
	if h.Kind == KindOrderer {
		return f.orders(ctx, h, channel)
	}
	channels, err := f.peerChannels(ctx, h)
	return slices.Contains(channels, channel), err
}
