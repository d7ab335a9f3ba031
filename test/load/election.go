package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// Election is how long the followers of a Raft channel hear nothing before one of them asks for an
// election: each draws a time between these two.
type Election struct{ Least, Most time.Duration }

// Election computes it from the timers in the channel's configuration, as the first orderer that answers
// has it. SmartBFT has other timers, and is an error.
func (l *Load) Election(ctx context.Context) (Election, error) {
	fail := func(err error) (Election, error) {
		return Election{}, fmt.Errorf("unable to read the timers of channel %s: %w", l.target.Channel, err)
	}
	a, err := openAccess(l.target.Network, l.target.Channel)
	if err != nil {
		return fail(err)
	}
	defer a.close()
	nodes, err := a.nodes(ctx, network.KindOrderer)
	if err != nil {
		return fail(err)
	}
	failures := []error{errors.New("no orderer answers")}
	for _, n := range nodes {
		election, err := a.election(ctx, handleOf(n))
		if err == nil {
			return election, nil
		}
		failures = append(failures, err)
	}
	return fail(errors.Join(failures...))
}

func (a *access) election(ctx context.Context, h network.Handle) (Election, error) {
	m, err := a.member(ctx, h)
	if err != nil {
		return Election{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, defaults.call)
	defer cancel()
	block, err := orderer.LastConfigBlock(ctx, m.conn, m.admin, a.channel, orderer.BestEffort())
	if err != nil {
		return Election{}, err
	}
	config, err := configtx.Decode(block)
	if err != nil {
		return Election{}, err
	}
	summary, err := configtx.Summarize(config)
	if err != nil {
		return Election{}, err
	}
	return election(summary.Raft)
}

// election is that of etcd's raft: a follower draws from [ElectionTick, 2*ElectionTick-1] ticks.
func election(timers configtx.RaftOptions) (Election, error) {
	if timers.ElectionTick == 0 {
		return Election{}, errors.New("it is not ordered by Raft")
	}
	ticks := func(n uint32) time.Duration { return timers.TickInterval * time.Duration(n) }
	return Election{Least: ticks(timers.ElectionTick), Most: ticks(2*timers.ElectionTick - 1)}, nil
}
