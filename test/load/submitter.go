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
}

// run stores values at a steady rate until submitting ends, and waits for those under way for as long
// as the drain may take. The end of ctx calls off these too.
func (s *submitter) run(ctx, submitting context.Context, rate float64, key func(int) string) {
	ctx, abandon := context.WithCancel(ctx)
	defer abandon()
	var values sync.WaitGroup
	places := make(chan struct{}, s.limits.inFlight)
	send := func(n int) {
		s.record.ask()
		select {
		case places <- struct{}{}:
			values.Go(func() {
				defer func() { <-places }()
				s.store(ctx, key(n), n)
			})
		default:
			s.record.hold()
		}
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
		tx, err := call(ctx, s, v, "endorse", s.limits.patience, func(ctx context.Context, g gateway) (transaction, error) {
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
		_, err := call(ctx, s, v, "submit", s.limits.settle, func(ctx context.Context, g gateway) (struct{}, error) {
			return struct{}{}, g.submit(ctx, tx)
		})
		if err != nil && ctx.Err() != nil {
			return outcome{}, err
		}
		// A call that failed may have been taken all the same, and SmartBFT refuses what it has ordered already.
		ended, err := call(ctx, s, v, "commit status", s.limits.settle, func(ctx context.Context, g gateway) (outcome, error) {
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

// call calls one gateway after the other until one answers, at most for a limit. Every failure is
// recorded.
func call[T any](ctx context.Context, s *submitter, v *value, what string, limit time.Duration, do func(context.Context, gateway) (T, error)) (T, error) {
	policy := retry.Policy{
		InitialInterval: 100 * time.Millisecond, MaxInterval: time.Second, MaxElapsed: limit,
		AttemptTimeout: min(limit, s.limits.call), Retryable: func(error) bool { return true },
	}
	return retry.Do(ctx, policy, func(attempt context.Context) (T, error) {
		gateways := s.gateways()
		g := gateways[v.turn%len(gateways)]
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
