package load

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// Report is what happened from the beginning of the steady load to its end, or so far.
type Report struct {
	Began, Ended time.Time
	// Asked is how many values were due, HeldBack how many of them were not sent because too many were
	// under way.
	Asked, HeldBack int
	// Acknowledged is how many were committed and valid, SentAgain how many of these were submitted
	// more than once.
	Acknowledged, SentAgain int
	// Abandoned are values that were given up, by what was known of them.
	Abandoned []Abandoned
	// Invalid are transactions that were in a block and not valid; their values were proposed anew.
	Invalid map[peer.TxValidationCode]int
	// Latency is the time from when a value was due to its acknowledgement.
	Latency Distribution
	// Errors are calls that failed, by kind. Each was made again.
	Errors []ErrorKind

	acks []acknowledged
}

// Abandoned is a value that was given up. With a transaction ID it may be in the ledger.
type Abandoned struct {
	Key, TxID string
	Cause     error
}

// ErrorKind are failures of one kind.
type ErrorKind struct {
	// Kind is the call and the gRPC code: "submit: Unavailable".
	Kind  string
	Count int
	// First and Last are when it happened, since the beginning.
	First, Last time.Duration
	// Gateway and Example are of the first one.
	Gateway, Example string
}

// Distribution sums up durations. The 95th percentile is the least duration that 95 of 100 do not exceed.
type Distribution struct {
	Count                int
	Median, P95, Longest time.Duration
}

// Gaps are the times between one block of the load and the next.
type Gaps struct {
	Distribution
	// LongestAt is when the longest began.
	LongestAt time.Time
}

func (r *record) report(now time.Time) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Report{Began: r.began, Ended: r.ended, Asked: r.asked, HeldBack: r.heldBack, Invalid: maps.Clone(r.invalids)}
	if out.Ended.IsZero() {
		out.Ended = now
	}
	for _, a := range r.acks {
		if a.submitted.Before(r.began) {
			continue
		}
		out.acks = append(out.acks, a)
		if a.sent > 1 {
			out.SentAgain++
		}
	}
	out.Acknowledged = len(out.acks)
	out.Latency = distribute(func(yield func(time.Duration) bool) {
		for _, a := range out.acks {
			if !yield(a.committed.Sub(a.submitted)) {
				return
			}
		}
	})
	for _, a := range r.lost {
		out.Abandoned = append(out.Abandoned, Abandoned{Key: a.key, TxID: a.txID, Cause: a.cause})
	}
	out.Errors = kinds(r.failures, r.began)
	return out
}

// kinds groups failures, the most frequent first.
func kinds(failures []failure, began time.Time) []ErrorKind {
	found := map[string]*ErrorKind{}
	for _, f := range failures {
		kind := found[f.kind]
		if kind == nil {
			kind = &ErrorKind{Kind: f.kind, First: f.at.Sub(began), Gateway: f.gateway, Example: strings.Join(strings.Fields(f.cause.Error()), " ")}
			found[f.kind] = kind
		}
		kind.Count++
		kind.Last = f.at.Sub(began)
	}
	out := make([]ErrorKind, 0, len(found))
	for _, kind := range found {
		out = append(out, *kind)
	}
	slices.SortFunc(out, func(a, b ErrorKind) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Kind, b.Kind))
	})
	return out
}

func distribute(durations func(func(time.Duration) bool)) Distribution {
	sorted := slices.Sorted(durations)
	if len(sorted) == 0 {
		return Distribution{}
	}
	return Distribution{Count: len(sorted), Median: percentile(sorted, 50), P95: percentile(sorted, 95), Longest: sorted[len(sorted)-1]}
}

// percentile is the least of the sorted durations that so many of a hundred do not exceed.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

// Rate is the number of values acknowledged in a second.
func (r Report) Rate() float64 {
	if took := r.Ended.Sub(r.Began).Seconds(); took > 0 {
		return float64(r.Acknowledged) / took
	}
	return 0
}

// Gaps are those of the whole load.
func (r Report) Gaps() Gaps { return r.GapsBetween(r.Began, r.Ended) }

// GapsBetween are the gaps that overlap a span of the load, each in its full length. A block counts from
// its first acknowledgement. Where no block follows, the gap lasts until the load's end: silence does
// not shorten what is reported.
func (r Report) GapsBetween(from, to time.Time) Gaps {
	moments := r.blocks()
	var out Gaps
	var lengths []time.Duration
	for i := 1; i < len(moments); i++ {
		begin, end := moments[i-1], moments[i]
		if !end.After(from) || !begin.Before(to) {
			continue
		}
		length := end.Sub(begin)
		lengths = append(lengths, length)
		if length > out.Longest {
			out.Longest, out.LongestAt = length, begin
		}
	}
	out.Distribution = distribute(slices.Values(lengths))
	return out
}

// blocks are the moments at which blocks came, between the load's beginning and its end. A block that
// came after the end closes the last gap.
func (r Report) blocks() []time.Time {
	first := map[uint64]time.Time{}
	for _, a := range r.acks {
		if at, seen := first[a.block]; !seen || a.committed.Before(at) {
			first[a.block] = a.committed
		}
	}
	moments := slices.SortedFunc(maps.Values(first), time.Time.Compare)
	moments = slices.Insert(moments, 0, r.Began)
	if last := moments[len(moments)-1]; last.Before(r.Ended) {
		moments = append(moments, r.Ended)
	}
	return moments
}

// LastBlockBetween is the highest block of which a transaction was acknowledged in a span of time; 0 when
// none was.
func (r Report) LastBlockBetween(from, to time.Time) uint64 {
	var highest uint64
	for _, a := range r.acks {
		if a.committed.After(from) && a.committed.Before(to) {
			highest = max(highest, a.block)
		}
	}
	return highest
}

// sufficient fails when it was less than a load must be, or when not all of it was seen to its end.
func (r Report) sufficient(least float64) error {
	switch {
	case r.Rate() < least:
		return fmt.Errorf("the load was %.1f tx/s, at least %.1f were wanted: %s", r.Rate(), least, r)
	case len(r.Abandoned) > 0:
		return fmt.Errorf("%d of %d values were given up: %s", len(r.Abandoned), r.Asked, r)
	}
	return nil
}

// shown is how many of several like things a text names.
const shown = 5

func (r Report) String() string {
	var out strings.Builder
	gaps := r.Gaps()
	fmt.Fprintf(&out, "%.1f tx/s for %s: %d of %d values acknowledged, %d of them sent again, %d held back\n",
		r.Rate(), round(r.Ended.Sub(r.Began)), r.Acknowledged, r.Asked, r.SentAgain, r.HeldBack)
	fmt.Fprintf(&out, "until acknowledged: median %s, p95 %s, longest %s\n", round(r.Latency.Median), round(r.Latency.P95), round(r.Latency.Longest))
	fmt.Fprintf(&out, "between %d blocks: median %s, p95 %s, longest %s at +%s\n",
		gaps.Count, round(gaps.Median), round(gaps.P95), round(gaps.Longest), round(gaps.LongestAt.Sub(r.Began)))
	for code, count := range r.Invalid {
		fmt.Fprintf(&out, "%d transactions were invalid: %s\n", count, code)
	}
	for _, kind := range r.Errors {
		fmt.Fprintf(&out, "%d times %s, +%s to +%s, the first of %s: %s\n", kind.Count, kind.Kind, round(kind.First), round(kind.Last), kind.Gateway, kind.Example)
	}
	for i, a := range r.Abandoned {
		if i == shown {
			fmt.Fprintf(&out, "%d more were given up\n", len(r.Abandoned)-shown)
			break
		}
		fmt.Fprintf(&out, "given up: %s %s: %v\n", a.Key, a.TxID, a.Cause)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
