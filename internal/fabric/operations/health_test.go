package operations

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name, body string
		status     int
		// want is what the node has against itself; empty: it is well.
		want   string
		failed int
	}{
		{"well", `{"status":"OK","time":"2026-11-22T12:00:00Z"}`, http.StatusOK, "", 0},
		{
			"a database that does not answer",
			`{"status":"Service Unavailable","time":"2026-11-22T12:00:00Z","failed_checks":[{"component":"couchdb","reason":"failed to connect"},{"component":"docker","reason":"no socket"}]}`,
			http.StatusServiceUnavailable, "its health check fails: couchdb: failed to connect, docker: no socket", 2,
		},
		{"a check that takes too long", "", http.StatusRequestTimeout, "its health check answers 408 Request Timeout", 0},
		{"something else", "<html>", http.StatusBadGateway, "its health check answers 502 Bad Gateway", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/healthz" {
					t.Errorf("asked for %s", r.URL)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			err := (&Client{BaseURL: server.URL + "/", HTTP: server.Client()}).Health(t.Context())
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			unwell := new(UnhealthyError)
			if !errors.As(err, &unwell) || err.Error() != c.want || unwell.Status != c.status || len(unwell.Failed) != c.failed {
				t.Errorf("it said %v", err)
			}
		})
	}
}

func TestHealthUnanswered(t *testing.T) {
	hung := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(hung)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := (&Client{BaseURL: server.URL, HTTP: server.Client()}).Health(ctx)
	if !errors.Is(err, context.Canceled) || errors.As(err, new(*UnhealthyError)) {
		t.Errorf("it gave %v", err)
	}
}
