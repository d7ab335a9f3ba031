package load

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// recorded makes a record of blocks that came at these seconds after the start, two transactions each.
func recorded(seconds ...float64) *record {
	r := &record{}
	r.begin(start)
	for i, s := range seconds {
		for _, late := range []float64{0.05, 0} { // the second one is told of first
			r.acknowledge(acknowledged{block: uint64(i), submitted: after(s - 0.2), committed: after(s + late)})
		}
	}
	return r
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		name         string
		blocks       []float64
		end          float64
		from, to     float64
		count        int
		median, long float64
		at           float64
	}{
		{"steady", []float64{1, 2, 3, 4}, 4, 0, 4, 4, 1, 1, 0},
		{"an election", []float64{1, 2, 9, 10}, 10, 0, 10, 4, 1, 7, 2},
		{"silence until the end", []float64{1, 2}, 30, 0, 30, 3, 1, 28, 2},
		{"nothing at all", nil, 30, 0, 30, 1, 30, 30, 0},
		{"a late block closes the last gap", []float64{1, 2, 12}, 5, 0, 5, 3, 1, 10, 2},
		{"only what overlaps", []float64{1, 2, 9, 10, 11, 12}, 12, 5, 10.5, 3, 1, 7, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorded(c.blocks...)
			r.end(after(c.end))
			gaps := r.report(after(99)).GapsBetween(after(c.from), after(c.to))
			if gaps.Count != c.count || gaps.Median.Seconds() != c.median || gaps.Longest.Seconds() != c.long || !gaps.LongestAt.Equal(after(c.at)) {
				t.Errorf("got %+v", gaps)
			}
		})
	}
}

func TestLastBlockBetween(t *testing.T) {
	r := recorded(1, 2, 9).report(after(10))
	for _, c := range []struct {
		from, to float64
		want     uint64
	}{{0, 10, 2}, {0, 8, 1}, {2.5, 8, 0}, {8, 10, 2}} {
		if got := r.LastBlockBetween(after(c.from), after(c.to)); got != c.want {
			t.Errorf("from %v to %v it is block %d, want %d", c.from, c.to, got, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var many []time.Duration
	for i := range 100 {
		many = append(many, time.Duration(i+1))
	}
	for _, c := range []struct {
		sorted          []time.Duration
		percent, result int
	}{
		{many, 50, 50}, {many, 95, 95}, {many, 100, 100}, {many[:1], 95, 1}, {many[:3], 50, 2}, {many[:20], 95, 19}, {many[:19], 95, 19},
	} {
		if got := percentile(c.sorted, c.percent); int(got) != c.result {
			t.Errorf("percentile %d of %d is %d, want %d", c.percent, len(c.sorted), got, c.result)
		}
	}
}

func TestReport(t *testing.T) {
	r := &record{}
	r.fail("endorse", "peer0", errors.New("gossip has not spread"))
	r.acknowledge(acknowledged{txID: "first", block: 4, submitted: after(-2), committed: after(-1)})
	r.begin(start)
	for i := range 40 {
		r.ask()
		r.acknowledge(acknowledged{block: uint64(5 + i/10), submitted: after(float64(i) / 10), committed: after(float64(i/10) + 1), sent: 1 + i/39})
	}
	r.fail("submit", "peer1", status.Error(codes.Unavailable, "no\n  leader"))
	r.fail("submit", "peer0", status.Error(codes.Unavailable, "no leader"))
	r.fail("endorse", "peer0", status.Error(codes.Aborted, "mismatch"))
	r.invalid(peer.TxValidationCode_MVCC_READ_CONFLICT)
	r.end(after(4))
	r.end(after(99))
	got := r.report(after(100))
	if got.Acknowledged != 40 || got.SentAgain != 1 || got.Rate() != 10 || !got.Ended.Equal(after(4)) {
		t.Errorf("it reports %s", got)
	}
	if len(r.all()) != 41 {
		t.Error("the first transaction is forgotten")
	}
	if len(got.Errors) != 2 || got.Errors[0].Kind != "submit: Unavailable" || got.Errors[0].Count != 2 || got.Errors[0].Gateway != "peer1" {
		t.Errorf("errors are %+v", got.Errors)
	}
	for _, text := range []string{
		"10.0 tx/s for 4s: 40 of 40 values acknowledged, 1 of them sent again, 0 held back", "between 4 blocks: median 1s, p95 1s, longest 1s at +0s",
		"2 times submit: Unavailable", "the first of peer1: rpc error: code = Unavailable desc = no leader", "1 transactions were invalid: MVCC_READ_CONFLICT",
	} {
		if !strings.Contains(got.String(), text) {
			t.Errorf("it does not say %q:\n%s", text, got)
		}
	}
}

func TestSufficient(t *testing.T) {
	r := recorded(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	r.end(after(10))
	if err := r.report(after(11)).sufficient(2); err != nil {
		t.Errorf("2 of 2 tx/s: %v", err)
	}
	if err := r.report(after(11)).sufficient(2.1); err == nil || !strings.Contains(err.Error(), "the load was 2.0 tx/s, at least 2.1 were wanted") {
		t.Errorf("2 of 2.1 tx/s: %v", err)
	}
	r.giveUp(abandoned{key: "k", cause: errors.New("why")})
	if err := r.report(after(11)).sufficient(2); err == nil || !strings.Contains(err.Error(), "given up: k : why") {
		t.Errorf("one was given up: %v", err)
	}
}
