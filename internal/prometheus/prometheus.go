// Package prometheus asks a Prometheus server for the value of an expression.
//
// Source: Prometheus documentation, "HTTP API", instant queries.
package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ErrNoData says that an expression has no value: nothing matches it, or it is no number.
var ErrNoData = errors.New("the query has no data")

// maxAnswer bounds what is read of an answer, which is one number.
const maxAnswer = 1 << 20

// Client asks one server.
type Client struct {
	// Address is the root of its API, for example http://prometheus:9090.
	Address string
	// Token is sent as a bearer token, where there is one.
	Token string
	// HTTP carries the requests.
	HTTP *http.Client
}

// answer is the JSON of an instant query.
type answer struct {
	Status string `json:"status"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	} `json:"data"`
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
}

// Value gives the value that an expression has now: of a scalar, or of a vector of one element. It is
// ErrNoData where there is none.
func (c *Client) Value(ctx context.Context, expression string) (float64, error) {
	value, err := c.value(ctx, expression)
	if err != nil {
		return 0, fmt.Errorf("unable to query Prometheus: %w", err)
	}
	return value, nil
}

func (c *Client) value(ctx context.Context, expression string) (float64, error) {
	at, err := url.JoinPath(c.Address, "api/v1/query")
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(url.Values{"query": {expression}}.Encode()))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	var said answer
	if err := json.Unmarshal(body, &said); err != nil {
		return 0, fmt.Errorf("it answered %s, and not in JSON", response.Status)
	}
	if said.Status != "success" {
		return 0, fmt.Errorf("it answered %s: %s: %s", response.Status, said.ErrorType, said.Error)
	}
	return said.number()
}

// number reads the one number of an answer.
func (a *answer) number() (float64, error) {
	var sample [2]any // a time, and a number as text
	switch a.Data.ResultType {
	case "scalar":
		if err := json.Unmarshal(a.Data.Result, &sample); err != nil {
			return 0, fmt.Errorf("its answer is no scalar: %w", err)
		}
	case "vector":
		var elements []struct {
			Value [2]any `json:"value"`
		}
		if err := json.Unmarshal(a.Data.Result, &elements); err != nil {
			return 0, fmt.Errorf("its answer is no vector: %w", err)
		}
		if len(elements) == 0 {
			return 0, ErrNoData
		}
		if len(elements) > 1 {
			return 0, fmt.Errorf("its answer has %d elements, and must have one: aggregate them, for example by sum or max", len(elements))
		}
		sample = elements[0].Value
	default:
		return 0, fmt.Errorf("its answer is a %s, and must be a scalar or a vector of one element", a.Data.ResultType)
	}
	text, _ := sample[1].(string)
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, fmt.Errorf("its answer holds no number: %w", err)
	}
	if math.IsNaN(number) {
		return 0, fmt.Errorf("%w: it is not a number", ErrNoData)
	}
	return number, nil
}
