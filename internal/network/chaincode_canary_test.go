package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/canary"
	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// counting is what the peers of a rolling count: at each reading there have been more calls.
type counting struct {
	*rolling
	mu sync.Mutex
	// succeeded and failed are what each reading of a peer finds more than the one before.
	succeeded, failed map[string]int
	counters          map[string]canary.Counters
	// refuses are the peers that tell nothing; read is called at each reading.
	refuses map[string]bool
	read    func(peer string)
}

func newCounting(t *testing.T) *counting {
	t.Helper()
	c := &counting{rolling: newRolling(t), succeeded: map[string]int{}, failed: map[string]int{}, counters: map[string]canary.Counters{}, refuses: map[string]bool{}}
	c.fabric.conns.http = map[string]*http.Client{}
	for _, p := range c.peers {
		c.succeeded[p.Name] = 20
		c.fabric.conns.http[p.Object()+":"+strconv.Itoa(peerOperationsPort)] = &http.Client{Transport: metricsOf{c, p.Name}}
	}
	return c
}

// metricsOf answers as the operations endpoint of a peer.
type metricsOf struct {
	*counting
	peer string
}

func (m metricsOf) RoundTrip(request *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read != nil {
		m.read(m.peer)
	}
	if m.refuses[m.peer] {
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: request}, nil
	}
	c := m.counters[m.peer]
	c.Succeeded += float64(m.succeeded[m.peer])
	c.Failed += float64(m.failed[m.peer])
	c.Seconds += float64(m.succeeded[m.peer]) * 0.002
	m.counters[m.peer] = c
	text := ""
	for name, value := range map[string]float64{`count{channel="trade",chaincode="kv",success="true"}`: c.Succeeded, `count{channel="trade",chaincode="kv",success="false"}`: c.Failed, `sum{channel="trade",chaincode="kv",success="true"}`: c.Seconds} {
		text += fmt.Sprintf("endorser_proposal_duration_%s %v\n", name, value)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(text)), Request: request}, nil
}

func (c *counting) tried(image string, steps ...canary.Step) ChaincodeSpec {
	spec := c.with(image)
	spec.Canary = &Canary{
		Steps: steps, Duration: 200 * time.Millisecond, Deadline: time.Second,
		Limits: canary.Limits{MinimumCalls: 30, MaxFailureRatio: 0.1, MaxLatencyRatio: 2},
	}
	return spec
}

// TestCanary: servers that do as well as the others come to all, in the steps that were asked for.
func TestCanary(t *testing.T) {
	c := newCounting(t)
	var seen [][]string
	c.read = func(string) {
		var now []string
		for _, p := range c.peers {
			now = append(now, strings.Join(c.images()[p.Name], "+"))
		}
		if len(seen) == 0 || !slices.Equal(seen[len(seen)-1], now) {
			seen = append(seen, now)
		}
	}
	c.must(c.plan(c.tried("kv:2", canary.Step{Servers: 1}, canary.Step{Percent: 50})).all(t.Context()))
	want := [][]string{{"kv:1", "kv:1", "kv:1"}, {"kv:2", "kv:1", "kv:1"}, {"kv:2", "kv:2", "kv:1"}}
	if !slices.EqualFunc(seen, want, slices.Equal) {
		t.Errorf("watched were %v, want %v", seen, want)
	}
	c.expect("after a canary", "kv:2", "kv:2", "kv:2")
}

// TestCanaryGoesBack: whatever keeps new servers from being judged as good, all are what they were.
func TestCanaryGoesBack(t *testing.T) {
	one, two := []canary.Step{{Servers: 1}}, []canary.Step{{Servers: 1}, {Servers: 2}}
	for name, test := range map[string]struct {
		steps []canary.Step
		// spoil is called before a canary; its result at each reading of the metrics.
		spoil func(t *testing.T, c *counting, cancel context.CancelCauseFunc) func(peer string)
		says  []string
		// untouched: no server is replaced.
		untouched bool
	}{
		"failures": {one, func(_ *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			c.failed["peer0.org1"] = 5
			return nil
		}, []string{"1 of 3 servers do worse than the others", "max_failure_ratio", "calls through peer peer0.org1 failed", "1 of 3 servers had been replaced and were put back as they were before; mend what changed"}, false},
		"failures of the second": {two, func(_ *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			return func(string) {
				if slices.Contains(c.images()["peer1.org1"], "kv:2") {
					c.failed["peer1.org1"] = 10
				}
			}
		}, []string{"2 of 3 servers do worse", "peer peer1.org1 failed", "2 of 3 servers had been replaced and were put back"}, false},
		"nobody calls": {one, func(_ *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			c.succeeded["peer0.org1"] = 0
			return nil
		}, []string{"too little to go on", "0 calls through peer peer0.org1, and minimum_calls is 30", "see that clients call the chaincode"}, false},
		"a peer stops telling": {one, func(_ *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			return func(string) { c.refuses["peer0.org1"] = slices.Contains(c.images()["peer0.org1"], "kv:2") }
		}, []string{"too little to go on", "0 calls through peer peer0.org1"}, false},
		"a server stops": {one, func(t *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			return func(string) {
				if slices.Contains(c.images()["peer0.org1"], "kv:2") {
					c.fake.SetStatus(server(c.spec, c.peers[0]).Object(), engine.Stopped, 1)
				}
			}
		}, []string{"too little to go on", "the server beside peer peer0.org1 does not run"}, false},
		"interrupted": {two, func(_ *testing.T, c *counting, cancel context.CancelCauseFunc) func(string) {
			return func(string) {
				if slices.Contains(c.images()["peer1.org1"], "kv:2") {
					cancel(errors.New("interrupted"))
				}
			}
		}, []string{"interrupted", "2 of 3 servers had been replaced and were put back as they were before; apply again"}, false},
		"no figures": {one, func(_ *testing.T, c *counting, _ context.CancelCauseFunc) func(string) {
			c.refuses["peer0.org2"] = true
			return nil
		}, []string{"no server was touched", "peer peer0.org2 tells no figures", "not prometheus"}, true},
		"no others": {[]canary.Step{{Percent: 100}}, func(*testing.T, *counting, context.CancelCauseFunc) func(string) { return nil },
			[]string{"no server was touched", "the first step replaces all that serve peers which run (3)"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCounting(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			c.read = test.spoil(t, c, cancel)
			ids := c.serverIDs()
			touched := false
			c.fake.Intercept(func(call enginetest.Call) error {
				touched = touched || call.Mutating
				return nil
			})
			err := c.plan(c.tried("kv:2", test.steps...)).all(ctx)
			c.fake.Intercept(nil)
			if err == nil || releaseMayPass(err) || touched == test.untouched {
				t.Fatalf("the error is %v, and something was touched: %t", err, touched)
			}
			for _, says := range test.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the error does not say %q: %v", says, err)
				}
			}
			if now := c.serverIDs(); !slices.Equal(now, ids) {
				t.Errorf("the servers were %v and are %v", ids, now)
			}
			c.expect("after it went back", "kv:1", "kv:1", "kv:1")
		})
	}
}

// TestCanaryKilled: after an apply that was killed while it watched, the next one begins anew, and one that
// asks for what was there before finds it.
func TestCanaryKilled(t *testing.T) {
	for name, test := range map[string]struct{ next, last string }{"goes on": {"kv:2", "kv:2"}, "goes back": {"kv:1", "kv:1"}, "goes elsewhere": {"kv:3", "kv:3"}} {
		t.Run(name, func(t *testing.T) {
			c := newCounting(t)
			killed := c.plan(c.tried("kv:2", canary.Step{Servers: 1}))
			c.must(killed.replace(t.Context(), killed.peers[:2]...))
			var watched []string
			c.read = func(string) {
				watched = append(watched, strings.Join(slices.Concat(c.images()["peer0.org1"], c.images()["peer1.org1"]), " "))
			}
			c.must(c.plan(c.tried(test.next, canary.Step{Servers: 1})).all(t.Context()))
			c.expect("after that", test.last, test.last, test.last)
			if test.next == "kv:1" {
				if len(watched) > 0 {
					t.Errorf("it was watched: %v", watched)
				}
				return
			}
			if compact := slices.Compact(watched); !slices.Equal(compact, []string{"kv:1 kv:1", test.next + " kv:1"}) {
				t.Errorf("watched were %v", compact)
			}
		})
	}
}

func TestDiffers(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"", "", ""}, {"same", "same", ""},
		{"secret-1", "secret-2", "they have 8 and 8 bytes, and differ from byte 8 on"},
		{"a", "ab", "they have 1 and 2 bytes, and differ from byte 2 on"},
		{"", "ab", "they have 0 and 2 bytes, and differ from byte 1 on"},
	} {
		if got := differs([]byte(test.a), []byte(test.b)); got != test.want {
			t.Errorf("%q and %q: %s", test.a, test.b, got)
		}
	}
}

// serverIDs are the containers of the servers, in the order of the peers.
func (r *rolling) serverIDs() (out []string) {
	r.t.Helper()
	for _, p := range r.peers {
		n, err := r.fake.Node(r.t.Context(), server(r.spec, p).Object())
		r.must(err)
		out = append(out, n.ID)
	}
	return out
}
