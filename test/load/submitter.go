package load

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// gateway is a peer as applications know it. Errors of its calls carry gRPC codes.
type gateway interface {
	name() string
	// endorse has a value endorsed by the peers that the endorsement policy asks for, and signs the
	// transaction.
	endorse(ctx context.Context, key, value string) (transaction, error)
	// submit has an ordering node take the transaction, whichever gateway had it endorsed.
	submit(ctx context.Context, tx transaction) error
	// status waits until the transaction is in a block.
	status(ctx context.Context, txID string) (outcome, error)
}

// transaction is one that is endorsed and signed.
type transaction struct {
	id               string
	bytes, signature []byte
}

// outcome is what became of a transaction that is in a block.
type outcome struct {
	block uint64
	code  peer.TxValidationCode
}

// submitter stores values through gateways.
type submitter struct {
	gateways func() []gateway
	record   *record
	limits   limits

	// mu guards places, which calls under way take, by gateway and whether they wait for a block.
	mu     sync.Mutex
	places map[place]chan struct{}
}

// place is where calls wait until others have ended.
type place struct {
	gateway string
	waits   bool
}

// run stores values at a steady rate until submitting ends, and waits for those under way for as long
// as the drain may take. The end of ctx calls off these too.
func (s *submitter) run(ctx, submitting context.Context, rate float64, key func(int) string) {
	ctx, abandon := context.WithCancel(ctx)
	defer abandon()
	var values sync.WaitGroup
	send := func(n int) {
		s.record.ask()
		if s.record.underWay() >= s.limits.inFlight {
			s.record.hold()
			return
		}
		s.record.take()
		values.Go(func() {
			defer s.record.leave()
			s.store(ctx, key(n), n)
		})
	}
	interval := time.Duration(float64(time.Second) / rate)
	began, ticker := time.Now(), time.NewTicker(interval)
	defer ticker.Stop()
	for n := 0; submitting.Err() == nil; {
		select {
		case <-submitting.Done():
		case <-ticker.C:
			// A ticker drops what comes while nobody looks: the clock says how many are due.
			for due := int(time.Since(began) / interval); n < due; n++ {
				send(n)
			}
		}
	}
	drain := time.AfterFunc(s.limits.drain, abandon)
	defer drain.Stop()
	values.Wait()
}

// value is one value on its way.
type value struct {
	key   string
	since time.Time
	// turn says which gateway is called.
	turn int
	// sent is how often its present transaction was submitted.
	sent int
}

// store has one value committed, beginning with the gateway of that turn, and records how it ended.
func (s *submitter) store(ctx context.Context, key string, turn int) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.patience)
	defer cancel()
	v := &value{key: key, since: time.Now(), turn: turn}
	for {
		tx, err := call(ctx, s, v, endorsing, s.limits.call, s.limits.patience, func(ctx context.Context, g gateway) (transaction, error) {
			return g.endorse(ctx, v.key, "value of "+v.key)
		})
		if err != nil {
			s.record.giveUp(abandoned{key: v.key, cause: err})
			return
		}
		ended, err := s.commit(ctx, v, tx)
		switch {
		case err != nil:
			s.record.giveUp(abandoned{key: v.key, txID: tx.id, cause: err})
			return
		case ended.code == peer.TxValidationCode_VALID:
			s.record.acknowledge(acknowledged{txID: tx.id, block: ended.block, submitted: v.since, committed: time.Now(), sent: v.sent})
			return
		}
		// The ledger has the transaction and not the value, which is proposed anew.
		s.record.invalid(ended.code)
	}
}

// commit submits a transaction until it is in a block.
func (s *submitter) commit(ctx context.Context, v *value, tx transaction) (outcome, error) {
	for v.sent = 1; ; v.sent++ {
		_, err := call(ctx, s, v, submitting, s.limits.submit, s.limits.taken, func(ctx context.Context, g gateway) (struct{}, error) {
			return struct{}{}, g.submit(ctx, tx)
		})
		if err != nil && ctx.Err() != nil {
			return outcome{}, err
		}
		// A call that failed may have been taken all the same, and SmartBFT refuses what it has ordered already.
		ended, err := call(ctx, s, v, asking, s.limits.call, s.limits.settle, func(ctx context.Context, g gateway) (outcome, error) {
			return settled(g.status(ctx, tx.id))
		})
		if err == nil || ctx.Err() != nil {
			return ended, err
		}
		// It was taken and is in no block: the ordering node that took it may have lost it.
	}
}

var errSecond = errors.New("the transaction is there twice, and the gateway told of the second time")

// settled holds back what is said of the second time that a transaction is in the ledger, which a gateway
// that sees it come in may tell first. Asked again, it tells of the first time.
func settled(ended outcome, err error) (outcome, error) {
	if err == nil && ended.code == peer.TxValidationCode_DUPLICATE_TXID {
		err = errSecond
	}
	return ended, err
}

// enter takes a place among the calls of a gateway, for as long as ctx lets it wait.
func (s *submitter) enter(ctx context.Context, p place) (leave func(), err error) {
	s.mu.Lock()
	if s.places == nil {
		s.places = map[place]chan struct{}{}
	}
	taken := s.places[p]
	if taken == nil {
		most := s.limits.sending
		if p.waits {
			most = s.limits.waiting
		}
		taken = make(chan struct{}, most)
		s.places[p] = taken
	}
	s.mu.Unlock()
	select {
	case taken <- struct{}{}:
		return func() { <-taken }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// What a value asks of gateways, in this order.
const (
	endorsing  = "endorse"
	submitting = "submit"
	asking     = "commit status"
)

// longestPause is that between two calls for one value, give or take half of it.
const longestPause = 4 * time.Second

// call calls one gateway after the other until one answers, each at most for a time and all at most for a
// limit, and backs off between them. Every failure is recorded. A wait for a place is not the call's time.
func call[T any](ctx context.Context, s *submitter, v *value, what string, each, limit time.Duration, do func(context.Context, gateway) (T, error)) (T, error) {
	policy := retry.Policy{
		InitialInterval: 200 * time.Millisecond, MaxInterval: longestPause, MaxElapsed: limit, Retryable: func(error) bool { return true },
	}
	return retry.Do(ctx, policy, func(ctx context.Context) (T, error) {
		gateways := s.gateways()
		g := gateways[v.turn%len(gateways)]
		leave, err := s.enter(ctx, place{gateway: g.name(), waits: what == asking})
		if err != nil {
			var none T
			return none, err
		}
		defer leave()
		attempt, cancel := context.WithTimeout(ctx, min(limit, each))
		defer cancel()
		answer, err := do(attempt, g)
		if err != nil {
			v.turn++
			if ctx.Err() == nil {
				s.record.fail(what, g.name(), err)
			}
		}
		return answer, err
	})
}
