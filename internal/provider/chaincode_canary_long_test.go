package provider

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// canaryPeers are the peers of canaryConfig, in the order in which their servers are replaced.
var canaryPeers = []string{"peer0.org1", "peer1.org1", "peer2.org1"}

// canaryConfig is an organization with three peers, and a chaincode.
func canaryConfig(name, version, metrics, kv string) string {
	config, peers := plainOrganizations(name, version, "orderer", "org1")+`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}
`, ""
	for _, peer := range canaryPeers {
		short, _, _ := strings.Cut(peer, ".")
		config += fmt.Sprintf(`
resource "fabric_peer" %q {
  organization        = fabric_organization.org1.handle
  name                = %q
  config              = { metrics = { provider = %q } }
  max_unavailable     = 3
  deletion_protection = false
}
`, short, peer, metrics)
		peers += fmt.Sprintf("%[1]s = fabric_peer.%[1]s.handle, ", short)
	}
	return config + fmt.Sprintf(`
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { %s}
    }
  }
}

resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  version = "1.0"
  %s
}
`, peers, kv)
}

// callers call chaincode kv through every peer, again and again, and remember what they are told.
type callers struct {
	t    *testing.T
	stop func()

	mu sync.Mutex
	// first is when a peer first gave an answer that was not the one before, by peer and answer.
	first  map[string]map[string]time.Time
	failed map[string][]error
	calls  map[string]int
}

// callAll begins to call, until stop or the end of the test.
func callAll(t *testing.T, on string) *callers {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &callers{t: t}
	c.forget()
	var running sync.WaitGroup
	c.stop = func() {
		cancel()
		running.Wait()
	}
	for _, name := range canaryPeers {
		peer := askPeer(t, on, "org1", name)
		running.Go(func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				answer, err := peer.answer(ctx, "version")
				if ctx.Err() == nil {
					c.note(name, answer, err)
				}
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(c.stop)
	return c
}

func (c *callers) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.failed, c.calls = map[string]map[string]time.Time{}, map[string][]error{}, map[string]int{}
}

func (c *callers) note(peer, answer string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[peer]++
	if err != nil {
		c.failed[peer] = append(c.failed[peer], err)
		return
	}
	if c.first[peer] == nil {
		c.first[peer] = map[string]time.Time{}
	}
	if c.first[peer][answer].IsZero() {
		c.first[peer][answer] = time.Now()
	}
}

// since gives when a peer first gave an answer since the last forget; the zero time when it never did.
func (c *callers) since(peer, answer string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first[peer][answer]
}

// served expects that the chaincode answered through every peer all the time, but for calls that were under
// way when a server went.
func (c *callers) served(peers ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range peers {
		c.t.Logf("%s: %d calls, %d failed", p, c.calls[p], len(c.failed[p]))
		if len(c.failed[p]) > 2 || c.calls[p] == 0 {
			return fmt.Errorf("%d of %d calls through %s failed: %w", len(c.failed[p]), c.calls[p], p, errors.Join(c.failed[p]...))
		}
	}
	return nil
}

// TestLongCanary: another image, which is as good as the one before, comes to all servers in steps; one that
// gives other results, is slow, fails, or ends comes to the first of them only and is taken back, and so is
// one that nobody calls.
func TestLongCanary(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) { testCanary(t, version) })
	}
}

func testCanary(t *testing.T, version string) {
	name := networkName(t)
	var load *callers
	kv := func(server, canary string) string {
		if canary != "" {
			canary = "canary = {\n    " + strings.ReplaceAll(canary, "; ", "\n    ") + "\n  }"
		}
		return fmt.Sprintf("server = { %s }\n  %s\n", server, canary)
	}
	with := func(server, canary string) string {
		return canaryConfig(name, version, "prometheus", kv(server, canary))
	}
	const (
		image1, image2 = `image = "fabricops/kv-chaincode:1.0"`, `image = "fabricops/kv-chaincode:2.0"`
		patient        = `duration = "3s"; deadline = "1m"; minimum_calls = 50; max_latency_ratio = 10`
		never          = `duration = "30s"; deadline = "1m"; minimum_calls = 50; `
	)
	var before map[string]string
	remember := func(*terraform.State) error {
		before = serverIDs(t, name, "kv")
		return nil
	}
	// Every server is the very one that was there before, and its peers get the old answer from it.
	back := func(*terraform.State) error {
		if now := serverIDs(t, name, "kv"); !maps.Equal(now, before) {
			return fmt.Errorf("the servers are %v, and were %v", now, before)
		}
		for _, p := range canaryPeers {
			if answer, err := askPeer(t, name, "org1", p).answer(t.Context(), "version"); err != nil || answer != "2.0" {
				return fmt.Errorf("%s answers %q: %w", p, answer, err)
			}
		}
		return noneAside(t, name)
	}
	// An apply that fails leaves the change in the plan.
	refused := func(server, canary, says string, during func()) []resource.TestStep {
		return []resource.TestStep{
			{PreConfig: func() {
				load.forget()
				if during != nil {
					done := make(chan struct{})
					go func() {
						defer close(done)
						during()
					}()
					t.Cleanup(func() { <-done })
				}
			}, Config: with(server, canary), ExpectError: tells("Unable to update chaincode kv", says, "put back")},
			{PreConfig: func() {
				if err := errors.Join(back(nil), load.served(canaryPeers[1:]...)); err != nil {
					t.Error(err)
				}
			}, Config: with(server, canary), PlanOnly: true, ExpectNonEmptyPlan: true},
		}
	}
	// taken awaits that calls have reached the first new server for so long that it is watched, and not replaced
	// any more, and gives its container's name.
	const settled = 8 * time.Second
	taken := func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := soon(ctx, func() error {
			if since := load.since(canaryPeers[0], "1.0"); since.IsZero() || time.Since(since) < settled {
				return errors.New("no new server has answered for long enough")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		for _, server := range serverNames(t, name) {
			if strings.HasSuffix(server, canaryPeers[0]) {
				return server
			}
		}
		t.Error("the new server is nowhere")
		return ""
	}
	steps := []resource.TestStep{
		{Config: canaryConfig(name, version, "disabled", kv(image1, "")), ConfigStateChecks: sequence(1, "kv_1.0"), Check: remember},
		{ // Without figures nothing is begun.
			Config: canaryConfig(name, version, "disabled", kv(image2, patient)), ExpectError: tells("no server was touched", "tells no figures", "prometheus"),
		},
		{Config: with(image1, patient), Check: func(*terraform.State) error {
			load = callAll(t, name)
			if now := serverIDs(t, name, "kv"); !maps.Equal(now, before) {
				return fmt.Errorf("a canary alone changed the servers %v to %v", before, now)
			}
			return nil
		}},
		{ // One, two, all.
			PreConfig: func() { load.forget() },
			Config:    with(image2, `steps = [1, "50%"]; queries = { list = { function = "list" } }; `+patient), ConfigStateChecks: sequence(1, "kv_1.0"),
			Check: resource.ComposeTestCheckFunc(remember, func(*terraform.State) error {
				for i, p := range canaryPeers[1:] {
					if one, next := load.since(canaryPeers[i], "2.0"), load.since(p, "2.0"); next.Sub(one) < 3*time.Second {
						return fmt.Errorf("%s had a new server %s after %s", p, next.Sub(one), canaryPeers[i])
					}
				}
				return errors.Join(load.served(canaryPeers...), noneAside(t, name))
			}),
		},
	}
	steps = append(steps, refused(image1, `queries = { version = { function = "version", identity = fabric_organization.org1.handle } }; `+patient, `queries: version() gives another result on peer peer0.org1 than on peer peer1.org1`, nil)...)
	steps = append(steps, refused(image2+", limits = { cpus = 0.01 }", never, "max_latency_ratio: a call through peer peer0.org1 took", nil)...)
	steps = append(steps, refused(image1, never, "max_failure_ratio:", func() {
		if server := taken(); server != "" {
			if err := localEngine(t).StopNode(t.Context(), server, 0); err != nil {
				t.Error(err)
			}
		}
	})...)
	steps = append(steps, refused(image1, "max_failure_ratio = 1; "+never, "max_restarts: the server beside peer peer0.org1 ended and was started again 1 times", func() {
		if server := taken(); server != "" {
			if err := syscall.Kill(inspect(t, server).State.Pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	})...)
	monitor := measures(t, "5")
	steps = append(steps, refused(image1, fmt.Sprintf("prometheus = { address = %q, query = \"max(up)\", maximum = 4, bearer_token_wo = %q, ca_certificate = <<EOT\n%sEOT\n }; %s", monitor.URL, monitorToken, certificateOf(monitor), never), "prometheus: max(up) is 5, and maximum is 4", nil)...)
	silent := resource.TestStep{
		PreConfig: func() { load.stop() },
		Config:    with(image1, `duration = "1s"; deadline = "4s"; minimum_calls = 50`), ExpectError: tells("too little", "0 calls through peer peer0.org1, and minimum_calls is 50", "put back"),
	}
	steps = append(steps, silent, resource.TestStep{Config: with(image2, ""), Check: resource.ComposeTestCheckFunc(back, noSecretIn(monitorToken))})
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, name), Steps: steps})
}

// monitorToken is what a client of measures has to show.
const monitorToken = "canary-of-a-monitor-7Qw2"

// measures answers like a Prometheus server for which every expression has a value.
func measures(t *testing.T, value string) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+monitorToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1700000000,%q]}]}}`, value)
	}))
	t.Cleanup(server.Close)
	return server
}

func certificateOf(server *httptest.Server) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// noneAside expects that nothing is left of servers that were replaced.
func noneAside(t *testing.T, name string) error {
	t.Helper()
	for _, server := range serverNames(t, name) {
		if strings.HasSuffix(server, ".before") {
			return fmt.Errorf("%s is left", server)
		}
	}
	return nil
}
