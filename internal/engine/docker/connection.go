package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// newClient makes an API client whose pool holds at most that many connections; 0 is no pool at
// all: each call has its own connection.
func (e *Engine) newClient(connections int) (*client.Client, error) {
	config, err := e.options.TLS.config()
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if config != nil {
		scheme = "https"
	}
	return client.New(
		client.WithHTTPClient(&http.Client{
			CheckRedirect: client.CheckRedirect,
			Transport: &http.Transport{
				TLSClientConfig:     config,
				TLSHandshakeTimeout: e.options.Timeout,
				MaxConnsPerHost:     connections,
				MaxIdleConns:        max(connections, 1),
				MaxIdleConnsPerHost: connections,
				IdleConnTimeout:     30 * time.Second,
				DisableKeepAlives:   connections == 0,
				TLSNextProto:        map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only, as the Engine API
			},
		}),
		client.WithHost(e.options.Host),
		client.WithScheme(scheme),
	)
}

func (t *TLS) config() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(t.CA) {
			return nil, errors.New("the CA holds no certificate in PEM")
		}
	}
	if len(t.Certificate) > 0 || len(t.Key) > 0 {
		pair, err := tls.X509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("the client certificate and its key do not go together: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// call makes one or several requests, and says in this package's words what went wrong. It ends
// when ctx ends, and with ErrUnreachable when the engine falls silent, however long the request
// itself may take.
func (e *Engine) call(ctx context.Context, do func(context.Context) error) error {
	if err := e.connect(ctx); err != nil {
		return err
	}
	watched, stop := e.watch(ctx)
	defer stop()
	err := do(watched)
	switch {
	case err == nil:
		return nil
	case !broken(err):
		return says(err)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(watched), engine.ErrUnreachable):
		return context.Cause(watched)
	default:
		return e.unreachable(err)
	}
}

// answerTime is what an engine has for a request that only reads. One that answers pings can be stuck all
// the same: over its networks, over one container. Reading has no time limit of its own in Terraform, and
// would wait for ever.
const answerTime = time.Minute

// ask is call for a request that only reads.
func (e *Engine) ask(ctx context.Context, do func(context.Context) error) error {
	stuck := e.unreachable(fmt.Errorf("it answers pings, and gave no answer to a request within %s", e.answerTime))
	limited, cancel := context.WithTimeoutCause(ctx, e.answerTime, stuck)
	defer cancel()
	err := e.call(limited, do)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return stuck
	}
	return err
}

// connect negotiates the API version once. Calls that come meanwhile share the attempt, and so its
// failure: a dead engine costs all of them one time limit.
func (e *Engine) connect(ctx context.Context) error {
	if e.connected.Load() {
		return nil
	}
	attempt := e.connecting.DoChan("", func() (any, error) {
		if e.connected.Load() {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.options.Timeout)
		defer cancel()
		_, err := e.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
		if cerrdefs.IsInvalidArgument(err) {
			return nil, fmt.Errorf("unable to agree on an API version with the engine at %s: %w", e.options.Host, says(err))
		}
		if err != nil {
			return nil, e.unanswered(ctx, err)
		}
		e.connected.Store(true)
		return nil, nil
	})
	select {
	case result := <-attempt:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch gives a context that ends when the engine does not answer pings any more. Requests that
// wait for a container, a pull or a lock may take minutes, so no fixed limit could tell a slow
// engine from a dead one.
func (e *Engine) watch(ctx context.Context) (context.Context, func()) {
	watched, cancel := context.WithCancelCause(ctx)
	half := e.options.Timeout / 2
	go func() {
		timer := time.NewTimer(half)
		defer timer.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-timer.C:
			}
			probe, done := context.WithTimeout(watched, half)
			_, err := e.probe.Ping(probe, client.PingOptions{})
			if err != nil && watched.Err() == nil {
				cancel(e.unanswered(probe, err))
			}
			done()
			timer.Reset(half)
		}
	}()
	return watched, func() { cancel(nil) }
}

// unanswered explains a ping that failed under a time limit of ours.
func (e *Engine) unanswered(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return e.unreachable(fmt.Errorf("no answer within %s", e.options.Timeout))
	}
	return e.unreachable(says(err))
}

// unreachable hides the cause from errors.Is: a time limit of ours is not the caller's.
func (e *Engine) unreachable(cause error) error {
	return fmt.Errorf("%w at %s: %s", engine.ErrUnreachable, e.options.Host, cause.Error())
}

// broken tells whether the connection failed or ended, rather than the engine having answered.
func broken(err error) bool {
	var network net.Error
	return client.IsErrConnectionFailed(err) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// says takes the client's preamble from an engine's answer and keeps its class.
func says(err error) error {
	const preamble = "Error response from daemon: "
	if text, ok := strings.CutPrefix(err.Error(), preamble); ok {
		return &answer{text: text, error: err}
	}
	return err
}

// answer is an error that the engine itself gave.
type answer struct {
	error
	text string
}

func (a *answer) Error() string { return a.text }
func (a *answer) Unwrap() error { return a.error }
