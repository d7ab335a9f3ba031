package operations

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// UnhealthyError is what a node says of itself when it is not well.
type UnhealthyError struct {
	// Status is the HTTP status code.
	Status int
	// Failed are the checks that failed; a node may name none.
	Failed []FailedCheck
}

// FailedCheck is one check that failed: its component, for example couchdb, and why.
type FailedCheck struct {
	Component string `json:"component"`
	Reason    string `json:"reason"`
}

func (e *UnhealthyError) Error() string {
	if len(e.Failed) == 0 {
		return fmt.Sprintf("its health check answers %d %s", e.Status, http.StatusText(e.Status))
	}
	said := make([]string, len(e.Failed))
	for i, c := range e.Failed {
		said[i] = c.Component + ": " + c.Reason
	}
	return "its health check fails: " + strings.Join(said, ", ")
}

// maxHealth bounds what is read of the answer of a health check.
const maxHealth = 1 << 20

// Health asks a node whether it is well. REST: GET /healthz. What a node has against itself is an
// *UnhealthyError. An ordering node says no more than that its process lives, a peer also whether its
// CouchDB answers, a CA whether its database does.
func (c *Client) Health(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.BaseURL, "/")+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("unable to ask for its health: %w", err)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("unable to ask for its health: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxHealth)) // so that the connection serves again
		return err
	}
	unwell := &UnhealthyError{Status: response.StatusCode}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxHealth))
	if err != nil {
		return fmt.Errorf("unable to ask for its health: %w", err)
	}
	var said struct {
		Failed []FailedCheck `json:"failed_checks"`
	}
	if json.Unmarshal(body, &said) == nil {
		unwell.Failed = said.Failed
	}
	return unwell
}
