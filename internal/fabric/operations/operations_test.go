package operations

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const exposition = `# HELP consensus_etcdraft_is_leader The leadership status of the current node: 1 if it is the leader else 0.
# TYPE consensus_etcdraft_is_leader gauge
consensus_etcdraft_is_leader{channel="trade"} 1
consensus_etcdraft_is_leader{channel="other"} 0
consensus_etcdraft_data_persist_duration_bucket{channel="trade",le="+Inf"} 17 1700000000000
fabric_version{version="3.1.1"} 1
go_gc_duration_seconds{quantile="0"} 4.1e-05
process_start_time_seconds 1.7e+09
odd{path="a\\b \"c\"\nd", } NaN
`

func TestMetrics(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		err        error
		says       string
	}{
		{name: "metrics", body: exposition, status: http.StatusOK},
		{name: "another provider", body: "404 page not found", status: http.StatusNotFound, err: ErrNoMetrics},
		{name: "failing", status: http.StatusInternalServerError, says: "500 Internal Server Error"},
		{name: "no metrics", body: "<html>", status: http.StatusOK, says: "line 1 of the metrics"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/metrics" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			client := Client{BaseURL: server.URL + "/", HTTP: server.Client()}
			metrics, err := client.Metrics(t.Context())
			if c.err != nil || c.says != "" {
				if !errors.Is(err, c.err) && c.err != nil || err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for channel, want := range map[string]float64{"trade": 1, "other": 0} {
				if got, ok := metrics.Value("consensus_etcdraft_is_leader", map[string]string{"channel": channel}); !ok || got != want {
					t.Errorf("leader of %s: %v %v", channel, got, ok)
				}
			}
			if _, ok := metrics.Value("consensus_etcdraft_is_leader", nil); ok {
				t.Error("found a sample that has a label more")
			}
			if got, ok := metrics.Value("process_start_time_seconds", map[string]string{}); !ok || got != 1.7e9 {
				t.Errorf("a sample without labels: %v %v", got, ok)
			}
			if _, ok := metrics.Value("odd", map[string]string{"path": "a\\b \"c\"\nd"}); !ok {
				t.Errorf("an escaped label in %+v", metrics)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"name", "{a=\"b\"} 1", "name{a=\"b\" 1", "name{a=b} 1", "name{a} 1", "name x", "name 1 2 3", "name{a=\"b\\"} {
		if metrics, err := Parse(text); err == nil {
			t.Errorf("%q parsed as %+v", text, metrics)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(exposition)
	f.Add(`a{b="c\`)
	f.Add("a{,,} 1")
	f.Fuzz(func(t *testing.T, text string) {
		metrics, err := Parse(text)
		if err != nil && metrics != nil {
			t.Errorf("both metrics and %v", err)
		}
		for _, s := range metrics {
			if s.Name == "" {
				t.Errorf("a sample without a name in %q", text)
			}
		}
	})
}
