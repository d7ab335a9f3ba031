// Package operations speaks the operations service of a peer or an ordering node: its metrics.
//
// Source: Fabric documentation, "The Operations Service" and "Metrics Reference". The endpoint wants
// mutual TLS; the caller's http.Client brings it.
package operations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// ErrNoMetrics says that the node gives no metrics to those who ask: its provider is not prometheus.
var ErrNoMetrics = errors.New("the node's metrics provider is not prometheus")

// maxResponse bounds what is read of an answer; the metrics of a node with a hundred channels fit.
const maxResponse = 32 << 20

// Client calls one node.
type Client struct {
	// BaseURL is the root of the operations endpoint, for example https://orderer0:9443.
	BaseURL string
	// HTTP carries the requests; its transport dials the node and shows a client certificate.
	HTTP *http.Client
}

// Metrics reads what the node counts and measures. REST: GET /metrics, in the text format of
// Prometheus. It is ErrNoMetrics where the node is configured to send its metrics elsewhere.
func (c *Client) Metrics(ctx context.Context) (Metrics, error) {
	metrics, err := c.metrics(ctx)
	if err != nil {
		return nil, fmt.Errorf("unable to read the metrics: %w", err)
	}
	return metrics, nil
}

func (c *Client) metrics(ctx context.Context) (Metrics, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.BaseURL, "/")+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, ErrNoMetrics
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the node answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	return Parse(string(body))
}
