package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
)

// RollError tells how far a roll came before it stopped.
type RollError struct {
	// Done are the nodes that were changed, At the one that could not be, Left those after it, which
	// are as they were.
	Done []string
	At   string
	Left []string
	// Cause is what stopped it.
	Cause error
}

func (e *RollError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the roll stopped at %s: %v", e.At, e.Cause)
	if len(e.Done) > 0 {
		fmt.Fprintf(&b, "\nchanged before: %s", strings.Join(e.Done, ", "))
	}
	if len(e.Left) > 0 {
		fmt.Fprintf(&b, "\nleft as they are: %s", strings.Join(e.Left, ", "))
	}
	b.WriteString("\nthe next apply goes on from here")
	return b.String()
}

func (e *RollError) Unwrap() error { return e.Cause }

// roll changes nodes that run one after the other, those that lead the fewest channels first. A node
// is taken down only when every channel can spare it, and the next one follows when it has caught up
// with the others. Nodes are those of the whole cluster. Change is given what to ask before the node
// is taken down; nodes that it leaves running are left alone.
func (f *Fabric) roll(ctx context.Context, nodes, pending []Handle, change func(ctx context.Context, o Handle, spared func(context.Context) error) error) error {
	var done []string
	pending, helpless := slices.Clone(pending), map[string]bool{}
	for len(pending) > 0 {
		views, err := f.survey(ctx, nodes)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		sortForRoll(pending, views)
		o := pending[0]
		var before []channelView
		err = change(ctx, o, func(ctx context.Context) (err error) {
			before, err = f.awaitSpared(ctx, nodes, o, helpless)
			return err
		})
		if err == nil && before != nil {
			err = f.awaitBack(ctx, nodes, o, before)
		}
		if err != nil {
			return &RollError{Done: done, At: o.Name, Left: namesOf(pending[1:]), Cause: err}
		}
		if before != nil {
			done = append(done, o.Name)
		}
		pending = pending[1:]
	}
	return nil
}

// sortForRoll puts nodes in the order in which they are to be changed: those that nobody would miss,
// then followers, then those that lead, the fewest channels first.
func sortForRoll(pending []Handle, views []channelView) {
	weight := map[Handle]int{}
	for _, o := range pending {
		for _, c := range views {
			switch v := c.node(o); {
			case v.leads:
				weight[o] += 1 + len(pending)*len(views)
			case v.serves():
				weight[o]++
			}
		}
	}
	slices.SortStableFunc(pending, func(a, b Handle) int {
		if weight[a] != weight[b] {
			return weight[a] - weight[b]
		}
		return compareNames(a, b)
	})
}

// awaitSpared waits until every channel of a node has a leader and enough others at work, and gives
// what the nodes said then. *QuorumError when that does not come. A channel that cannot order anyway
// holds nobody up, for the change may be its repair; helpless remembers those that were waited for.
func (f *Fabric) awaitSpared(ctx context.Context, nodes []Handle, o Handle, helpless map[string]bool) ([]channelView, error) {
	var views []channelView
	limit, since := time.Duration(-1), time.Now()
	heights, held := map[string]uint64{}, map[string]time.Time{}
	err := poll(ctx, func(ctx context.Context) (err error) {
		if views, err = f.survey(ctx, nodes); err != nil {
			return permanent(err)
		}
		if limit < 0 {
			limit = settleTime(views)
			for _, c := range views {
				heights[c.channel.Name] = c.height(o)
			}
		}
		for _, c := range views {
			if !c.node(o).has {
				continue
			}
			err := c.abreast(heights[c.channel.Name]).spares(o)
			if name := c.channel.Name; err != nil {
				delete(held, name)
			} else if held[name].IsZero() {
				held[name] = time.Now()
			}
			if err == nil && c.bft() && time.Since(held[c.channel.Name]) < steadyTime {
				err = fmt.Errorf("the nodes of channel %s have not kept pace for %s yet", c.channel.Name, steadyTime)
			}
			if err != nil && time.Since(since) < limit && !helpless[c.channel.Name] {
				return err
			}
			if quorum := new(QuorumError); errors.As(err, &quorum) {
				return permanent(err)
			}
			helpless[c.channel.Name] = err != nil
		}
		return nil
	})
	return views, err
}

// steadyTime is how long nodes of SmartBFT keep pace with each other until they are taken to agree: one that
// fetches blocks from the others instead comes near them now and then.
const steadyTime = time.Second

// bft tells whether the channel is known to be ordered by SmartBFT.
func (c channelView) bft() bool {
	return c.summary != nil && c.summary.ConsensusType == configtx.ConsensusBFT
}

// abreast is the channel as it is when nodes of SmartBFT that lack blocks are not at work: some of that
// height, or more than the last one. A node that was restarted misses what the others send it first, and
// with it the next block; until it has noticed, ten seconds later, it agrees to nothing.
func (c channelView) abreast(height uint64) channelView {
	if !c.bft() {
		return c
	}
	if newest := c.height(Handle{}); newest > 0 {
		height = max(height, newest-1)
	}
	c.nodes = slices.Clone(c.nodes)
	for i, v := range c.nodes {
		if v.serves() && v.height < height {
			c.nodes[i].trouble = fmt.Errorf("it has %d of %d blocks", v.height, height)
		}
	}
	return c
}

// spares tells whether a channel orders now, and would without a node.
func (c channelView) spares(o Handle) error {
	if err := c.without(o); err != nil {
		return err
	}
	s := c.strength()
	if !c.led() || !s.orders() {
		return fmt.Errorf("channel %s has no leader, or too few consenters at work: %s", c.channel.Name, strings.Join(s.down, ", "))
	}
	return nil
}

// settleTime is how long an election of any of the channels may take.
func settleTime(views []channelView) time.Duration {
	longest := time.Duration(0)
	for _, c := range views {
		options := configtx.DefaultRaftOptions()
		if c.bft() {
			// A view begins when its leader was silent for so long, and the next one may be silent too.
			longest = max(longest, c.summary.BFT.LeaderHeartbeatTimeout+2*c.summary.BFT.ViewChangeTimeout)
			continue
		}
		if c.summary != nil && c.summary.Raft.TickInterval > 0 {
			options = c.summary.Raft
		}
		// A follower waits for up to twice the election ticks, and a candidate may have to try again.
		longest = max(longest, 4*time.Duration(options.ElectionTick)*options.TickInterval)
	}
	return longest + 2*time.Second
}

// awaitBack waits until a node that was started again does on every channel what it did before, and
// has the blocks that the others have by now.
func (f *Fabric) awaitBack(ctx context.Context, nodes []Handle, o Handle, before []channelView) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	views, err := f.survey(ctx, nodes)
	if err != nil {
		return err
	}
	heights := map[string]uint64{}
	for _, c := range views {
		heights[c.channel.Name] = c.height(o)
	}
	var jobs together
	for _, c := range before {
		was := c.node(o)
		// Where nothing was ordered, or the node could not be asked, it is not known what to wait for.
		if !was.has || was.trouble != nil || !c.strength().orders() {
			continue
		}
		jobs.do(func() error {
			err := poll(ctx, func(ctx context.Context) error {
				return f.ordererView(ctx, o, c.channel.Name, nil).behind(was.relation, heights[c.channel.Name])
			})
			if err != nil {
				return f.nodeError(ctx, o, "await the blocks and the leader of channel "+c.channel.Name+" on", err)
			}
			return nil
		})
	}
	return jobs.wait()
}

// awaitWhole waits until every node of the cluster takes part in the consensus of every channel, and
// one of them leads it.
func (w *clusterWork) awaitWhole(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTime)
	defer cancel()
	return poll(ctx, func(ctx context.Context) error {
		views, err := w.survey(ctx, w.wanted())
		if err != nil {
			return err
		}
		for _, c := range views {
			for _, v := range c.nodes {
				if err := v.behind(participation.RelationConsenter, 1); err != nil {
					return fmt.Errorf("%s on channel %s: %w", v.node, c.channel.Name, err)
				}
			}
			if !c.led() {
				return fmt.Errorf("channel %s has no leader", c.channel.Name)
			}
		}
		return nil
	})
}

// behind says what a node lacks to be what it is to be on a channel, with all the blocks.
func (v ordererView) behind(relation string, height uint64) error {
	switch {
	case v.trouble != nil:
		return v.trouble
	case v.relation != relation || v.status != participation.StatusActive:
		return fmt.Errorf("it is a %s there with status %s, and is to be an active %s", v.relation, v.status, relation)
	case v.height < height:
		return fmt.Errorf("it has %d of %d blocks", v.height, height)
	case relation == participation.RelationConsenter && !v.follows:
		return errors.New("it knows no leader")
	}
	return nil
}
