package prometheus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRealPrometheus asks a Prometheus server that measures itself.
func TestRealPrometheus(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("with a prometheus on the path, this test asks a real server")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "global: { scrape_interval: 1s }\nscrape_configs: [{ job_name: self, static_configs: [{ targets: [%q] }] }]\n", address), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+address)
	var said strings.Builder
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := Client{Address: "http://" + address, HTTP: &http.Client{Timeout: 5 * time.Second}}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for { // until it has measured something
		value, err := client.Value(ctx, `up{job="self"}`)
		if err == nil && value == 1 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("up is %v: %v", value, err)
		case <-again.C:
		}
	}
	for query, test := range map[string]struct {
		want   float64
		noData bool
		says   string
	}{
		"1 + 1":                        {want: 2},
		`sum(up{job="self"}) > bool 0`: {want: 1},
		`up{job="another"}`:            {noData: true},
		"0 / 0":                        {noData: true},
		"up[1m]":                       {says: "is a matrix"},
		`{__name__=~"prometheus_.+"}`:  {says: "aggregate them"},
		"sum(":                         {says: "400 Bad Request: bad_data"},
	} {
		value, err := client.Value(ctx, query)
		switch {
		case test.noData && !errors.Is(err, ErrNoData), test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)),
			!test.noData && test.says == "" && (err != nil || value != test.want):
			t.Errorf("%s: %v, %v", query, value, err)
		}
	}
}
