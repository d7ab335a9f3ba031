package load

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/status"
)

// acknowledged is a transaction of which a gateway said that it is committed and valid.
type acknowledged struct {
	txID  string
	block uint64
	// submitted is when its value was due, committed when the gateway said so.
	submitted, committed time.Time
	// sent is how often it was submitted.
	sent int
}

// failure is a call of a gateway that failed.
type failure struct {
	at time.Time
	// kind is the call and the gRPC code.
	kind, gateway string
	cause         error
}

// abandoned is a value that was given up: before anything was submitted, or, with a transaction ID,
// without knowing what became of it.
type abandoned struct {
	key, txID string
	cause     error
}

// record is what has happened. It is safe for concurrent use.
type record struct {
	mu sync.Mutex
	// began and ended are when the steady load did.
	began, ended    time.Time
	asked, heldBack int
	// open is how many values are under way.
	open     int
	acks     []acknowledged
	failures []failure
	lost     []abandoned
	invalids map[peer.TxValidationCode]int
}

// begin is the beginning of the steady load: what was counted before is forgotten, except for
// transactions, which the ledgers must have as well.
func (r *record) begin(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began, r.failures, r.lost, r.invalids = at, nil, nil, nil
}

// end is when no more values are asked for; the first one counts.
func (r *record) end(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended.IsZero() {
		r.ended = at
	}
}

func (r *record) ask() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
}

func (r *record) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heldBack++
}

// take is the beginning of a value, which leave ends.
func (r *record) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
}

func (r *record) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
}

func (r *record) underWay() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

func (r *record) acknowledge(a acknowledged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acks = append(r.acks, a)
}

func (r *record) giveUp(a abandoned) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = append(r.lost, a)
}

func (r *record) invalid(code peer.TxValidationCode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.invalids == nil {
		r.invalids = map[peer.TxValidationCode]int{}
	}
	r.invalids[code]++
}

func (r *record) fail(what, gateway string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, failure{at: time.Now(), kind: what + ": " + status.Code(err).String(), gateway: gateway, cause: err})
}

// lastFailure says why nothing works.
func (r *record) lastFailure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) == 0 {
		return errors.New("no gateway answered")
	}
	return r.failures[len(r.failures)-1].cause
}

// all are the transactions that were acknowledged, the first ones too.
func (r *record) all() []acknowledged {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.acks)
}
