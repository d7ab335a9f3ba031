package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	valid       = peer.TxValidationCode_VALID
	unavailable = status.Error(codes.Unavailable, "the peer is being replaced")
)

// crowd are gateways that misbehave: what calls of each kind do, in their order; the last one
// goes on. Transactions are numbered in the order of their endorsement.
type crowd struct {
	mu                         sync.Mutex
	endorsed                   int
	submitted                  []string
	asked                      []string
	onEndorse, onSubmit, onAsk []func(ctx context.Context) (outcome, error)
}

func good(context.Context) (outcome, error) { return outcome{block: 7, code: valid}, nil }
func down(context.Context) (outcome, error) { return outcome{}, unavailable }
func mute(ctx context.Context) (outcome, error) {
	<-ctx.Done()
	return outcome{}, status.FromContextError(ctx.Err()).Err()
}

func answers(code peer.TxValidationCode) func(context.Context) (outcome, error) {
	return func(context.Context) (outcome, error) { return outcome{block: 6, code: code}, nil }
}

// next takes the step of a script that a call is to follow.
func (n *crowd) next(script *[]func(context.Context) (outcome, error)) func(context.Context) (outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch len(*script) {
	case 0:
		return good
	case 1:
		return (*script)[0]
	}
	first := (*script)[0]
	*script = (*script)[1:]
	return first
}

type fakeGateway struct {
	*crowd
	peer string
}

func (g fakeGateway) name() string { return g.peer }

func (g fakeGateway) endorse(ctx context.Context, key, _ string) (transaction, error) {
	if _, err := g.next(&g.onEndorse)(ctx); err != nil {
		return transaction{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endorsed++
	return transaction{id: fmt.Sprintf("tx%d", g.endorsed), bytes: []byte(key)}, nil
}

func (g fakeGateway) submit(ctx context.Context, tx transaction) error {
	g.mu.Lock()
	g.submitted = append(g.submitted, g.peer+" "+tx.id)
	g.mu.Unlock()
	_, err := g.next(&g.onSubmit)(ctx)
	return err
}

func (g fakeGateway) status(ctx context.Context, txID string) (outcome, error) {
	g.mu.Lock()
	g.asked = append(g.asked, g.peer+" "+txID)
	g.mu.Unlock()
	return g.next(&g.onAsk)(ctx)
}

func (n *crowd) submitter(limits limits) *submitter {
	both := []gateway{fakeGateway{n, "peer0"}, fakeGateway{n, "peer1"}}
	return &submitter{gateways: func() []gateway { return both }, record: &record{}, limits: limits}
}

type script = []func(context.Context) (outcome, error)

// TestStore: what counts as acknowledged, and what is done until then.
func TestStore(t *testing.T) {
	for _, c := range []struct {
		name             string
		crowd            *crowd
		acknowledged     string // "ID sent", empty for none
		submitted, asked []string
		errors           []string
		invalid          int
		givenUp          string        // ID, "-" for none submitted
		taken            time.Duration // 0 is the default
	}{
		{
			name: "all is well", crowd: &crowd{}, acknowledged: "tx1 1",
			submitted: []string{"peer0 tx1"}, asked: []string{"peer0 tx1"},
		},
		{
			name: "a gateway that does not endorse is passed over", crowd: &crowd{onEndorse: script{down, good}}, acknowledged: "tx1 1",
			submitted: []string{"peer1 tx1"}, asked: []string{"peer1 tx1"}, errors: []string{"1 endorse: Unavailable peer0"},
		},
		{
			name: "without a leader it is submitted until it is taken", crowd: &crowd{onSubmit: script{down, down, good}}, acknowledged: "tx1 1",
			submitted: []string{"peer0 tx1", "peer1 tx1", "peer0 tx1"}, asked: []string{"peer0 tx1"}, errors: []string{"2 submit: Unavailable peer0"},
		},
		{
			name:  "a gateway that goes while it is asked: the next one is asked, and nothing sent again",
			crowd: &crowd{onAsk: script{down, good}}, acknowledged: "tx1 1",
			submitted: []string{"peer0 tx1"}, asked: []string{"peer0 tx1", "peer1 tx1"}, errors: []string{"1 commit status: Unavailable peer0"},
		},
		{
			name:  "a transaction that was taken and lost is sent again, the same",
			crowd: &crowd{onAsk: script{mute, good}}, acknowledged: "tx1 2",
			submitted: []string{"peer0 tx1", "peer1 tx1"}, asked: []string{"peer0 tx1", "peer1 tx1"},
			errors: []string{"1 commit status: DeadlineExceeded peer0"},
		},
		{
			name:  "a transaction that is not taken again may be in a block all the same",
			crowd: &crowd{onSubmit: script{good, mute}, onAsk: script{mute, good}}, acknowledged: "tx1 2", taken: defaults.submit,
			submitted: []string{"peer0 tx1", "peer1 tx1"}, asked: []string{"peer0 tx1", "peer0 tx1"},
			errors: []string{"1 commit status: DeadlineExceeded peer0", "1 submit: DeadlineExceeded peer1"},
		},
		{
			name:  "an invalid transaction is not acknowledged; its value is proposed anew",
			crowd: &crowd{onAsk: script{answers(peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE), good}}, acknowledged: "tx2 1", invalid: 1,
			submitted: []string{"peer0 tx1", "peer0 tx2"}, asked: []string{"peer0 tx1", "peer0 tx2"},
		},
		{
			name:  "the second time that a transaction is there says nothing of the first",
			crowd: &crowd{onAsk: script{answers(peer.TxValidationCode_DUPLICATE_TXID), good}}, acknowledged: "tx1 1",
			submitted: []string{"peer0 tx1"}, asked: []string{"peer0 tx1", "peer1 tx1"}, errors: []string{"1 commit status: Unknown peer0"},
		},
		{
			name: "what nobody endorses is given up", crowd: &crowd{onEndorse: script{mute}}, givenUp: "-",
		},
		{
			name: "what is in no block is not acknowledged", crowd: &crowd{onAsk: script{mute}}, givenUp: "tx1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := defaults
				limits.taken = cmp.Or(c.taken, limits.taken)
				s := c.crowd.submitter(limits)
				s.record.begin(time.Now())
				s.store(t.Context(), "key", 0)
				r := s.record.report(time.Now())
				got := ""
				if len(r.acks) == 1 {
					got = fmt.Sprintf("%s %d", r.acks[0].txID, r.acks[0].sent)
				}
				if len(r.acks) > 1 || got != c.acknowledged {
					t.Errorf("acknowledged is %v, want %q", r.acks, c.acknowledged)
				}
				givenUp := ""
				for _, a := range r.Abandoned {
					if givenUp = a.TxID; givenUp == "" {
						givenUp = "-"
					}
				}
				if givenUp != c.givenUp {
					t.Errorf("given up is %q, want %q", givenUp, c.givenUp)
				}
				if took := time.Since(r.Began); c.givenUp != "" && (took < defaults.patience-longestPause*3/2 || took > defaults.patience+defaults.call) {
					t.Errorf("it was tried for %s", took)
				}
				if c.submitted != nil && !slices.Equal(c.crowd.submitted, c.submitted) {
					t.Errorf("submitted were %q, want %q", c.crowd.submitted, c.submitted)
				}
				if c.asked != nil && !slices.Equal(c.crowd.asked, c.asked) {
					t.Errorf("asked was %q, want %q", c.crowd.asked, c.asked)
				}
				var kinds []string
				for _, e := range r.Errors {
					kinds = append(kinds, fmt.Sprintf("%d %s %s", e.Count, e.Kind, e.Gateway))
				}
				if (c.errors != nil || c.givenUp == "") && !slices.Equal(kinds, c.errors) {
					t.Errorf("errors are %q, want %q", kinds, c.errors)
				}
				if got := r.Invalid[peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE]; got != c.invalid {
					t.Errorf("%d were invalid, want %d", got, c.invalid)
				}
			})
		})
	}
}

func keys(n int) string { return fmt.Sprint(n) }

// TestRunRate: the rate is kept, whatever single values take.
func TestRunRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context) (outcome, error) {
			select {
			case <-time.After(3 * time.Second):
				return good(ctx)
			case <-ctx.Done():
				return mute(ctx)
			}
		}
		s := (&crowd{onAsk: script{slow}}).submitter(defaults)
		s.record.begin(time.Now())
		submitting, stop := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer stop()
		context.AfterFunc(submitting, func() { s.record.end(time.Now()) })
		s.run(t.Context(), submitting, 25, keys)
		r := s.record.report(time.Now())
		if r.Asked != 250 || r.Acknowledged != 250 || r.HeldBack != 0 {
			t.Errorf("%d were asked for, %d acknowledged, %d held back", r.Asked, r.Acknowledged, r.HeldBack)
		}
		if err := r.sufficient(25 * leastShare); err != nil {
			t.Error(err)
		}
		if r.Latency.Median != 3*time.Second {
			t.Errorf("the median until acknowledged is %s", r.Latency.Median)
		}
		if took := time.Since(r.Ended).Round(10 * time.Millisecond); took != 3*time.Second {
			t.Errorf("it ended %s after the last value", took)
		}
	})
}

// TestRunOutage: what cannot be sent is counted, and what is under way at the end is abandoned in time.
func TestRunOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		few := defaults
		few.inFlight = 30
		s := (&crowd{onAsk: script{mute}}).submitter(few)
		s.record.begin(time.Now())
		submitting, stop := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer stop()
		context.AfterFunc(submitting, func() { s.record.end(time.Now()) })
		s.run(t.Context(), submitting, 10, keys)
		r := s.record.report(time.Now())
		if r.Asked != 100 || r.HeldBack != 70 || len(r.Abandoned) != 30 || r.Acknowledged != 0 {
			t.Errorf("%d were asked for, %d held back, %d given up, %d acknowledged", r.Asked, r.HeldBack, len(r.Abandoned), r.Acknowledged)
		}
		if took := time.Since(r.Ended).Round(time.Second); took != few.drain {
			t.Errorf("it ended %s after the last value, want %s", took, few.drain)
		}
		if err := r.sufficient(10 * leastShare); err == nil {
			t.Error("a load of nothing is sufficient")
		}
	})
}

// TestPlaces: however long an outage, a gateway is never asked more at once than it takes, and what was held
// up comes through afterwards.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		few := defaults
		few.sending, few.waiting = 3, 5
		back := time.Now().Add(40 * time.Second)
		var mu sync.Mutex
		now, most := map[string]int{}, map[string]int{}
		outage := func(what string) func(context.Context) (outcome, error) {
			return func(ctx context.Context) (outcome, error) {
				mu.Lock()
				now[what]++
				most[what] = max(most[what], now[what])
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					now[what]--
				}()
				wait, cancel := context.WithDeadline(ctx, back)
				defer cancel()
				<-wait.Done()
				if ctx.Err() != nil {
					return mute(ctx)
				}
				return good(ctx)
			}
		}
		s := (&crowd{onSubmit: script{good, good, outage("submit")}, onAsk: script{outage("status")}}).submitter(few)
		s.record.begin(time.Now())
		stopped, stop := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
		defer stop()
		s.run(t.Context(), stopped, 10, keys)
		// Both gateways together.
		if most["submit"] != 2*few.sending || most["status"] == 0 || most["status"] > 2*few.waiting {
			t.Errorf("under way at once were %v, at most %d and %d are allowed", most, 2*few.sending, 2*few.waiting)
		}
		if r := s.record.report(time.Now()); r.Acknowledged != r.Asked-r.HeldBack-len(r.Abandoned) || r.Acknowledged < 150 {
			t.Errorf("%s", r)
		}
		if open := s.record.underWay(); open != 0 {
			t.Errorf("%d are under way in the end", open)
		}
	})
}

// TestWaitingHoldsUpNothing: while no block comes, what is due is submitted all the same.
func TestWaitingHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		few := defaults
		few.sending, few.waiting = 3, 5
		s := (&crowd{onAsk: script{mute}}).submitter(few)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		s.run(ctx, ctx, 10, keys)
		if got := len(s.gateways()[0].(fakeGateway).submitted); got != 100 {
			t.Errorf("%d of 100 were submitted", got)
		}
	})
}

// TestRunEnds: with its context the load ends at once.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := (&crowd{onAsk: script{mute}}).submitter(defaults)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		s.run(ctx, ctx, 10, keys)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
		if r := s.record.report(time.Now()); len(r.Errors) != 0 {
			t.Errorf("calling it off counts as errors: %v", r.Errors)
		}
	})
}

// TestWarmUp: the load begins when every gateway works.
func TestWarmUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := (&crowd{onEndorse: script{down, down, down, good}}).submitter(defaults)
		if err := warmUp(t.Context(), s, keys); err != nil {
			t.Fatal(err)
		}
		if got := len(s.record.all()); got != 2 {
			t.Errorf("%d transactions for 2 gateways", got)
		}
		s.record.begin(time.Now())
		if r := s.record.report(time.Now()); r.Acknowledged != 0 || len(r.Errors) != 0 {
			t.Errorf("what came before counts: %s", r)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := (&crowd{onEndorse: script{down}}).submitter(defaults)
		if err := warmUp(t.Context(), s, keys); !errors.Is(err, unavailable) {
			t.Errorf("the error is %v", err)
		}
	})
}
