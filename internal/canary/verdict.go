package canary

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Limits are what new servers are held to.
type Limits struct {
	// MinimumCalls is how many calls the new servers together must have got, and the others too, for a pass.
	MinimumCalls int
	// MaxFailureRatio is the share of calls that may fail beyond the share that fails with the others.
	MaxFailureRatio float64
	// MaxLatencyRatio is how many times as long as with the others a call may take; zero compares nothing.
	MaxLatencyRatio float64
	// MaxRestarts is how often a new server may end and be started again.
	MaxRestarts int
	// MinimumValue and MaximumValue bound a value that somebody else measures; nil is no bound.
	MinimumValue, MaximumValue *float64
}

// Observation is what was seen of new servers and of the others at the same time.
type Observation struct {
	// New are the figures by the peers beside new servers, Others those of the other peers together.
	New    map[string]Figures
	Others Figures
	// Restarts is how often new servers were started again, by their peers.
	Restarts map[string]int
	// Down are the peers whose new servers do not run now.
	Down []string
	// Comparisons are those of queries.
	Comparisons []Comparison
	// Value is what somebody else measures; nil when nobody was asked.
	Value *Value
}

// Comparison is what came of a query that is put to a peer with a new server and to one without.
type Comparison struct {
	// Query is what was asked, Peer and Other who.
	Query, Peer, Other string
	// Equal is how often both gave the same at the same height.
	Equal int
	// Difference says how the answers differ at the same height; empty when they never did.
	Difference string
	// Problem says why there was nothing to compare the last time.
	Problem string
}

// Value is what somebody else measures.
type Value struct {
	// Query is what was asked.
	Query  string
	Number float64
	// Problem says why there is no number; empty when there is one.
	Problem string
}

// Breach is a limit that was not kept.
type Breach struct {
	// Limit is the name of the limit, as the attribute has it.
	Limit string
	// Measured says what was measured and what would have been allowed.
	Measured string
}

func (b Breach) String() string { return b.Limit + ": " + b.Measured }

// Verdict is what an observation amounts to: the servers fail when a limit is breached; they pass when none
// is and nothing lacks.
type Verdict struct {
	Breaches []Breach
	// Lacks says what is not known that has to be.
	Lacks []string
}

// Passes tells whether the new servers do as well as the others, as far as they were looked at.
func (v Verdict) Passes() bool { return len(v.Breaches) == 0 && len(v.Lacks) == 0 }

// Judge holds an observation to the limits.
func (l Limits) Judge(o Observation) Verdict {
	var v Verdict
	together := Figures{}
	subjects := map[string]Figures{}
	for peer, figures := range o.New {
		together = together.Add(figures)
		subjects["peer "+peer] = figures
	}
	if len(o.New) > 1 {
		subjects["the new servers together"] = together
	}
	for _, name := range slices.Sorted(maps.Keys(subjects)) {
		l.judgeCalls(&v, name, subjects[name], o.Others)
	}
	for _, peer := range slices.Sorted(maps.Keys(o.Restarts)) {
		if n := o.Restarts[peer]; n > l.MaxRestarts {
			v.breach("max_restarts", "the server beside peer %s ended and was started again %d times, and %d are allowed", peer, n, l.MaxRestarts)
		}
	}
	for _, peer := range o.Down {
		v.lack("the server beside peer %s does not run", peer)
	}
	l.requireCalls(&v, names(o.New), together)
	if l.MaxLatencyRatio > 0 {
		l.requireCalls(&v, "the other peers, to compare latency with,", o.Others)
	}
	l.judgeComparisons(&v, o.Comparisons)
	l.judgeValue(&v, o.Value)
	return v
}

// requireCalls finds out whether there were calls enough, and whether any of them tells how long one takes.
func (l Limits) requireCalls(v *Verdict, through string, f Figures) {
	switch n := f.Calls(); {
	case n < l.MinimumCalls:
		v.lack("%d calls through %s and minimum_calls is %d", n, through, l.MinimumCalls)
	case l.MaxLatencyRatio > 0 && f.succeeded == 0:
		v.lack("none of %d calls through %s succeeded", n, strings.TrimSuffix(through, ","))
	}
}

// judgeCalls holds the calls through one peer, or all with new servers, to what the others do meanwhile. Of
// fewer calls than the minimum as many may fail as of the minimum: the first of them decide nothing.
func (l Limits) judgeCalls(v *Verdict, name string, new, others Figures) {
	elsewhere := others.failureRatio()
	allowed := (elsewhere + l.MaxFailureRatio) * max(new.succeeded+new.failed, float64(l.MinimumCalls))
	if new.failed > allowed {
		v.breach("max_failure_ratio", "%d of %d calls through %s failed (%s), %s of those through the other peers, and %s more than there are allowed",
			new.Failures(), new.Calls(), name, percent(new.failureRatio()), percent(elsewhere), percent(l.MaxFailureRatio))
	}
	enough := new.Calls() >= l.MinimumCalls && others.Calls() >= l.MinimumCalls && others.succeeded > 0 && new.succeeded > 0
	if l.MaxLatencyRatio <= 0 || !enough {
		return
	}
	if here, there := new.Latency(), others.Latency(); float64(here) > l.MaxLatencyRatio*float64(there) {
		v.breach("max_latency_ratio", "a call through %s took %s on average, %s through the other peers, and %g times that is allowed",
			name, rounded(here), rounded(there), l.MaxLatencyRatio)
	}
}

func (l Limits) judgeComparisons(v *Verdict, comparisons []Comparison) {
	for _, c := range comparisons {
		switch {
		case c.Difference != "":
			v.breach("queries", "%s gives another result on peer %s than on peer %s, at the same height: %s", c.Query, c.Peer, c.Other, c.Difference)
		case c.Equal == 0:
			v.lack("no result of %s to compare: %s", c.Query, c.Problem)
		}
	}
}

func (l Limits) judgeValue(v *Verdict, value *Value) {
	switch {
	case value == nil:
	case value.Problem != "":
		v.lack("no value of the query %s: %s", value.Query, value.Problem)
	case l.MaximumValue != nil && value.Number > *l.MaximumValue:
		v.breach("prometheus", "%s is %g, and maximum is %g", value.Query, value.Number, *l.MaximumValue)
	case l.MinimumValue != nil && value.Number < *l.MinimumValue:
		v.breach("prometheus", "%s is %g, and minimum is %g", value.Query, value.Number, *l.MinimumValue)
	}
}

func (v *Verdict) breach(limit, format string, args ...any) {
	v.Breaches = append(v.Breaches, Breach{Limit: limit, Measured: fmt.Sprintf(format, args...)})
}

func (v *Verdict) lack(format string, args ...any) {
	v.Lacks = append(v.Lacks, fmt.Sprintf(format, args...))
}

func names(of map[string]Figures) string {
	return "peer " + strings.Join(slices.Sorted(maps.Keys(of)), ", ") + ","
}

func percent(ratio float64) string { return fmt.Sprintf("%.3g %%", 100*ratio) }

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
