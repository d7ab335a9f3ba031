package canary

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/operations"
)

func TestRead(t *testing.T) {
	// As a peer of 2.5.9 tells it; the other channel and the other chaincode are not what is asked for.
	metrics, err := operations.Parse(`# TYPE endorser_proposal_duration histogram
endorser_proposal_duration_bucket{channel="trade",chaincode="kv",success="true",le="0.005"} 2
endorser_proposal_duration_bucket{channel="trade",chaincode="kv",success="true",le="+Inf"} 4
endorser_proposal_duration_sum{channel="trade",chaincode="kv",success="true"} 0.5
endorser_proposal_duration_count{channel="trade",chaincode="kv",success="true"} 4
endorser_proposal_duration_sum{channel="trade",chaincode="kv",success="false"} 30.1
endorser_proposal_duration_count{channel="trade",chaincode="kv",success="false"} 3
endorser_proposal_duration_count{channel="other",chaincode="kv",success="true"} 100
endorser_proposal_duration_count{channel="trade",chaincode="kv2",success="true"} 100
`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Read(metrics, "trade", "kv"), (Counters{Succeeded: 4, Failed: 3, Seconds: 0.5}); got != want {
		t.Errorf("read %+v, want %+v", got, want)
	}
	if got := Read(metrics, "trade", "absent"); got != (Counters{}) {
		t.Errorf("of a chaincode that nobody called it read %+v", got)
	}
}

func TestSince(t *testing.T) {
	before := Counters{Succeeded: 10, Failed: 2, Seconds: 1}
	for name, test := range map[string]struct {
		now             Counters
		calls, failures int
		latency         time.Duration
	}{
		"calls":               {Counters{14, 3, 1.2}, 5, 1, 50 * time.Millisecond},
		"nothing":             {before, 0, 0, 0},
		"failures only":       {Counters{10, 4, 1}, 2, 2, 0},
		"a peer that started": {Counters{3, 1, 0.3}, 4, 1, 100 * time.Millisecond},
		"a peer that started and had as many calls": {Counters{10, 2, 0.5}, 12, 2, 50 * time.Millisecond},
	} {
		got := test.now.Since(before)
		if got.Calls() != test.calls || got.Failures() != test.failures || got.Latency().Round(time.Microsecond) != test.latency {
			t.Errorf("%s: %d calls, %d failures, %s", name, got.Calls(), got.Failures(), got.Latency())
		}
	}
}

// calls are figures of calls that took 10 ms each but for the failed ones.
func calls(succeeded, failed int) Figures {
	return Figures{float64(succeeded), float64(failed), float64(succeeded) * 0.01}
}

func slow(f Figures, times float64) Figures {
	f.seconds *= times
	return f
}

func TestJudge(t *testing.T) {
	limits := Limits{MinimumCalls: 100, MaxFailureRatio: 0.05, MaxLatencyRatio: 2}
	two := 2.0
	with := func(change func(*Limits)) Limits {
		l := limits
		change(&l)
		return l
	}
	one := func(f, others Figures) Observation {
		return Observation{New: map[string]Figures{"peer0": f}, Others: others}
	}
	and := func(o Observation, change func(*Observation)) Observation {
		change(&o)
		return o
	}
	compared := func(c Comparison) Observation {
		c.Query, c.Peer, c.Other = "get(a)", "peer0", "peer1"
		return and(one(calls(100, 0), calls(100, 0)), func(o *Observation) { o.Comparisons = []Comparison{c} })
	}
	measured := func(v Value) Observation {
		v.Query = "up"
		return and(one(calls(100, 0), calls(100, 0)), func(o *Observation) { o.Value = &v })
	}
	bounds := with(func(l *Limits) { l.MinimumValue, l.MaximumValue = &two, &two })
	for name, test := range map[string]struct {
		limits Limits
		seen   Observation
		// breach and lack are what the verdict says, in the order of what it looks at; none is a pass.
		breaches, lacks []string
	}{
		"as good":                        {limits, one(calls(100, 0), calls(100, 0)), nil, nil},
		"nobody called":                  {limits, one(calls(0, 0), calls(0, 0)), nil, []string{"0 calls through peer peer0, and minimum_calls is 100", "0 calls through the other peers"}},
		"one call too few":               {limits, one(calls(99, 0), calls(100, 0)), nil, []string{"99 calls through peer peer0"}},
		"nothing to compare with":        {limits, one(calls(100, 0), calls(3, 0)), nil, []string{"3 calls through the other peers"}},
		"nothing to compare, not needed": {with(func(l *Limits) { l.MaxLatencyRatio = 0 }), one(calls(100, 0), calls(0, 0)), nil, nil},
		"none succeeded anywhere":        {limits, one(calls(0, 100), calls(0, 100)), nil, []string{"none of 100 calls through peer peer0 succeeded", "none of 100 calls through the other peers"}},
		"failures within the limit":      {limits, one(calls(95, 5), calls(100, 0)), nil, nil},
		"a failure beyond the limit":     {limits, one(calls(94, 6), calls(100, 0)), []string{"max_failure_ratio: 6 of 100 calls through peer peer0 failed (6 %), 0 % of those through the other peers, and 5 % more"}, nil},
		"failures that the others have":  {limits, one(calls(70, 30), calls(70, 30)), nil, nil},
		"the first call fails":           {limits, one(calls(0, 1), calls(100, 0)), nil, []string{"1 calls through peer peer0"}},
		"the first calls all fail":       {limits, one(calls(0, 6), calls(100, 0)), []string{"max_failure_ratio: 6 of 6 calls"}, []string{"6 calls through peer peer0"}},
		"no failure is allowed":          {with(func(l *Limits) { l.MaxFailureRatio = 0 }), one(calls(999, 1), calls(100, 0)), []string{"1 of 1000 calls"}, nil},
		"slower within the limit":        {limits, one(slow(calls(100, 0), 2), calls(100, 0)), nil, nil},
		"slower":                         {limits, one(slow(calls(100, 0), 2.1), calls(100, 0)), []string{"max_latency_ratio: a call through peer peer0 took 21ms on average, 10ms through the other peers, and 2 times that is allowed"}, nil},
		"slower, but of few calls":       {limits, one(slow(calls(10, 0), 9), calls(100, 0)), nil, []string{"10 calls through peer peer0"}},
		"slower, which is not compared":  {with(func(l *Limits) { l.MaxLatencyRatio = 0 }), one(slow(calls(100, 0), 9), calls(100, 0)), nil, nil},
		"one of two": {limits, Observation{New: map[string]Figures{"peer0": calls(190, 0), "peer1": calls(94, 6)}, Others: calls(100, 0)},
			[]string{"6 of 100 calls through peer peer1"}, nil},
		"both together": {limits, Observation{New: map[string]Figures{"peer0": calls(46, 4), "peer1": calls(46, 4)}, Others: calls(100, 0)},
			[]string{"8 of 100 calls through the new servers together"}, nil},
		"one that nobody calls": {limits, Observation{New: map[string]Figures{"peer0": calls(100, 0), "peer1": calls(0, 0)}, Others: calls(100, 0)}, nil, nil},
		"restarted":             {limits, and(one(calls(100, 0), calls(100, 0)), func(o *Observation) { o.Restarts = map[string]int{"peer0": 1} }), []string{"max_restarts: the server beside peer peer0 ended and was started again 1 times, and 0 are allowed"}, nil},
		"restarted as often as it may": {with(func(l *Limits) { l.MaxRestarts = 1 }), and(one(calls(100, 0), calls(100, 0)), func(o *Observation) { o.Restarts = map[string]int{"peer0": 1} }),
			nil, nil},
		"does not run":          {limits, and(one(calls(100, 0), calls(100, 0)), func(o *Observation) { o.Down = []string{"peer0"} }), nil, []string{"the server beside peer peer0 does not run"}},
		"equal results":         {limits, compared(Comparison{Equal: 1}), nil, nil},
		"equal, then not asked": {limits, compared(Comparison{Equal: 1, Problem: "no answer"}), nil, nil},
		"no results":            {limits, compared(Comparison{Problem: "no answer"}), nil, []string{"no result of get(a) to compare: no answer"}},
		"other results":         {limits, compared(Comparison{Equal: 5, Difference: `"1" and "2"`}), []string{`queries: get(a) gives another result on peer peer0 than on peer peer1, at the same height: "1" and "2"`}, nil},
		"a value within":        {bounds, measured(Value{Number: 2}), nil, nil},
		"a value above":         {bounds, measured(Value{Number: 2.5}), []string{"prometheus: up is 2.5, and maximum is 2"}, nil},
		"a value below":         {bounds, measured(Value{Number: 1}), []string{"prometheus: up is 1, and minimum is 2"}, nil},
		"no value":              {bounds, measured(Value{Number: 0, Problem: "no data"}), nil, []string{"no value of the query up: no data"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := test.limits.Judge(test.seen)
			var breaches []string
			for _, b := range v.Breaches {
				breaches = append(breaches, b.String())
			}
			says := func(got, want []string) bool { return slices.EqualFunc(got, want, strings.Contains) }
			if !says(breaches, test.breaches) || !says(v.Lacks, test.lacks) || v.Passes() != (len(test.breaches)+len(test.lacks) == 0) {
				t.Errorf("breaches %q, lacks %q, passes %t", breaches, v.Lacks, v.Passes())
			}
		})
	}
}

func TestSteps(t *testing.T) {
	for name, test := range map[string]struct {
		steps []string
		total int
		want  []int
	}{
		"numbers":               {[]string{"1", "3"}, 6, []int{1, 3}},
		"percent is rounded up": {[]string{"1%", "50%"}, 5, []int{1, 3}},
		"both":                  {[]string{"1", "50%", "100%"}, 4, []int{1, 2, 4}},
		"more than there are":   {[]string{"1", "7"}, 3, []int{1, 3}},
		"the same twice":        {[]string{"1", "10%", "20%", "2"}, 5, []int{1, 2}},
		"one that goes back":    {[]string{"3", "10%"}, 5, []int{3}},
	} {
		var steps []Step
		for _, text := range test.steps {
			step, err := ParseStep(text)
			if err != nil {
				t.Fatal(err)
			}
			steps = append(steps, step)
		}
		if got := Sizes(steps, test.total); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	for _, text := range []string{"", "0", "-1", "1.5", "0%", "101%", "%", "x", "+1", "1 %", "99999999999999999999"} {
		if step, err := ParseStep(text); err == nil {
			t.Errorf("%q is a step: %+v", text, step)
		}
	}
}
