// Package load puts a network under load while it is changed: an application submits transactions at a
// steady rate through the Fabric Gateway client, and afterwards every transaction of which it was told
// that it is committed is looked for on every peer.
//
//	l, err := load.Start(ctx, load.Target{Network: "dev", Channel: "trade", Chaincode: "kv"})
//	…                                   // the network is changed
//	report, err := l.Finish(ctx)
//
// All that it is told of the network are names. Nodes, addresses and credentials are found on the engine,
// so that what it does needs no help from the Terraform that is tested at the same time.
//
// Every transaction stores a value of its own under a key of its own (function put of
// images/kv-chaincode). A value goes the way that an application would send it: endorsed by one gateway
// or, when that fails, by the next; the endorsed transaction submitted until an ordering node takes it;
// its commit status asked for. A transaction that was taken and is in no block after a while is
// submitted again, the same bytes, of which a ledger takes the first. It counts as acknowledged when a
// gateway said that it is committed and valid, and not before.
package load

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultRate is that of a Target which names none, in values per second.
	DefaultRate = 25
	// leastShare of its rate must be acknowledged for a load to have been one, where the Target says nothing
	// else: 20 of 25 per second.
	leastShare = 0.8
	// warmUpLimit bounds the time until each gateway has had one transaction committed. Gossip between
	// the anchor peers of several organizations may take 25 s before a gateway knows whom to ask.
	warmUpLimit = 90 * time.Second
	// verifyLimit bounds the wait for equal heights where the caller's context has no deadline.
	verifyLimit = 2 * time.Minute
)

// Target says what to load.
type Target struct {
	// Network is the name of the fabric_network.
	Network string
	// Channel and Chaincode name what is called; the chaincode is that of images/kv-chaincode.
	Channel, Chaincode string
	// Organizations are the MSP IDs whose peers are gateways, in turn, each for its own admin; none
	// takes every organization with a peer on the channel.
	Organizations []string
	// Rate is the number of values that are submitted in a second; 0 is DefaultRate.
	Rate float64
	// LeastShare of the rate must be acknowledged, over the whole time; 0 is 0.8. A network that is broken
	// for a good part of the time takes less.
	LeastShare float64
}

// limits bound what is done for one value, and for all of them.
type limits struct {
	// call bounds one call of a gateway, submit one that submits, as in Fabric's samples: a gateway that
	// asks an ordering node which is frozen says nothing until then.
	call, submit time.Duration
	// taken is how long a transaction is submitted until an ordering node takes it, before its commit
	// status is asked for all the same.
	taken time.Duration
	// settle is how long a transaction that was taken may be in no block before it is submitted
	// again: longer than an election with default timers, which ends in 9.5 s.
	settle time.Duration
	// patience is how long a value is tried for in all.
	patience time.Duration
	// drain is how long Stop waits for values that are under way.
	drain time.Duration
	// inFlight is how many values are under way at most. What comes on top is held back and counted.
	inFlight int
	// sending and waiting are how many calls of one gateway are under way at most: those that it answers
	// at once, and those that wait for a block, apart, so that these never hold up what comes next. A
	// peer refuses more than 500 in all (peer.limits.concurrency.gatewayService).
	sending, waiting int
}

var defaults = limits{
	call: 15 * time.Second, submit: 5 * time.Second, taken: 30 * time.Second, settle: 12 * time.Second,
	patience: 4 * time.Minute, drain: time.Minute, inFlight: 2000, sending: 150, waiting: 300,
}

// Load is a load that runs, or has run.
type Load struct {
	target Target
	record *record
	// gateways are those that are used now.
	gateways atomic.Pointer[[]gateway]
	stop     context.CancelFunc
	done     chan struct{}

	// mu guards open: what the gateways are reached by, also those of before a Refresh, which calls
	// under way still use.
	mu   sync.Mutex
	open []*access
}

// Start begins to submit, and gives the load when each gateway has had one transaction committed; these
// first ones are verified with the others, and are not in the report. The load goes on until Stop, or
// the end of ctx.
func Start(ctx context.Context, target Target) (*Load, error) {
	if target.Rate == 0 {
		target.Rate = DefaultRate
	}
	if target.LeastShare == 0 {
		target.LeastShare = leastShare
	}
	l := &Load{target: target, record: &record{}, done: make(chan struct{})}
	if err := l.start(ctx); err != nil {
		l.close()
		return nil, fmt.Errorf("unable to put channel %s of network %s under load: %w", target.Channel, target.Network, err)
	}
	return l, nil
}

func (l *Load) start(ctx context.Context) error {
	if err := l.Refresh(ctx); err != nil {
		return err
	}
	s := &submitter{gateways: l.current, record: l.record, limits: defaults}
	run := make([]byte, 4)
	_, _ = rand.Read(run) // never fails
	key := func(n int) string { return fmt.Sprintf("load/%s/%d", hex.EncodeToString(run), n) }
	if err := warmUp(ctx, s, key); err != nil {
		return err
	}
	l.record.begin(time.Now())
	submitting, stop := context.WithCancel(ctx)
	l.stop = stop
	go func() {
		defer close(l.done)
		defer l.close()
		s.run(ctx, submitting, l.target.Rate, key)
	}()
	return nil
}

// warmUp has every gateway commit one transaction, all at once. Their keys have negative numbers.
func warmUp(ctx context.Context, s *submitter, key func(int) string) error {
	ctx, cancel := context.WithTimeout(ctx, warmUpLimit)
	defer cancel()
	gateways := s.gateways()
	var values sync.WaitGroup
	for i, g := range gateways {
		alone := &submitter{gateways: func() []gateway { return []gateway{g} }, record: s.record, limits: s.limits}
		values.Go(func() { alone.store(ctx, key(-1-i), 0) })
	}
	values.Wait()
	if acknowledged := len(s.record.all()); acknowledged < len(gateways) {
		return fmt.Errorf("%d of %d gateways had a transaction committed in %s: %w", acknowledged, len(gateways), warmUpLimit, s.record.lastFailure())
	}
	return nil
}

func (l *Load) current() []gateway { return *l.gateways.Load() }

// Refresh finds the gateways again, with the addresses, TLS roots and admins that they have now: for a
// network whose certificates or peers changed while the load runs.
func (l *Load) Refresh(ctx context.Context) error {
	a, err := openAccess(l.target.Network, l.target.Channel)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.open = append(l.open, a)
	l.mu.Unlock()
	gateways, err := a.gateways(ctx, l.target)
	if err != nil {
		return fmt.Errorf("unable to find the gateways of network %s: %w", l.target.Network, err)
	}
	l.gateways.Store(&gateways)
	return nil
}

func (l *Load) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.open {
		a.close()
	}
	l.open = nil
}

// Stop submits nothing more, waits for the values that are under way, and reports. It may be called
// again.
func (l *Load) Stop() Report {
	l.record.end(time.Now())
	l.stop()
	<-l.done
	return l.Report()
}

// UnderWay is how many values are neither acknowledged nor given up at this moment.
func (l *Load) UnderWay() int { return l.record.underWay() }

// Report tells what has happened so far.
func (l *Load) Report() Report { return l.record.report(time.Now()) }

// Verify awaits that every peer and every orderer of the network has the same height and the same last
// block, and looks for every acknowledged transaction on every peer: it must be there exactly once as
// valid, in the block that was told. It fails with what is wrong: *LostError, *UnevenError, *ForkError,
// joined. Nodes that are not on the channel are named by except, for example peer1.org1.
func (l *Load) Verify(ctx context.Context, except ...string) error {
	if err := l.verify(ctx, except); err != nil {
		return fmt.Errorf("unable to verify the ledgers of channel %s: %w", l.target.Channel, err)
	}
	return nil
}

func (l *Load) verify(ctx context.Context, except []string) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, verifyLimit)
		defer cancel()
	}
	a, err := openAccess(l.target.Network, l.target.Channel)
	if err != nil {
		return err
	}
	defer a.close()
	peers, orderers, err := a.ledgers(ctx, except)
	if err != nil {
		return err
	}
	return verify(ctx, peers, orderers, l.record.all())
}

// Finish stops the load and verifies it. It fails, too, when fewer values were acknowledged than make a
// load, and when a value was given up, or is under way still.
func (l *Load) Finish(ctx context.Context, except ...string) (Report, error) {
	report := l.Stop()
	return report, errors.Join(report.sufficient(l.target.Rate*l.target.LeastShare), l.Verify(ctx, except...))
}
