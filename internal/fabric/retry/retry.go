// Package retry runs a call to a Fabric node again while its failure is one that passes by itself:
// a node that is starting, an ordering service without a leader, a connection that broke.
// Every other failure ends the attempts at once.
package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Policy says how often and how long an operation is attempted.
type Policy struct {
	// InitialInterval is the pause after the first failure; it grows by half up to MaxInterval, with
	// jitter.
	InitialInterval time.Duration
	// MaxInterval is the longest pause.
	MaxInterval time.Duration
	// MaxElapsed bounds the whole, attempts and pauses; no attempt starts after it.
	MaxElapsed time.Duration
	// AttemptTimeout bounds one attempt, so that a node which swallows packets does not use up the
	// time of the others; zero leaves an attempt to the caller's context.
	AttemptTimeout time.Duration
	// Retryable decides whether a failure is worth another attempt; nil means Transient.
	Retryable func(error) bool
}

// Default is the policy for calls that answer at once.
var Default = Policy{
	InitialInterval: 50 * time.Millisecond,
	MaxInterval:     time.Second,
	MaxElapsed:      2 * time.Minute,
	AttemptTimeout:  20 * time.Second,
}

// Error is the last failure of an operation that was attempted more than once, or that the context
// cut short.
type Error struct {
	// Attempts is how often the operation ran.
	Attempts int
	// Elapsed is the time from the first attempt to the last failure.
	Elapsed time.Duration
	// Err is what the last attempt failed with that ran to its end.
	Err error
	// Stopped is the context's cause when the context ended the attempts, nil otherwise.
	Stopped error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%v (%d attempts in %s)", e.Err, e.Attempts, e.Elapsed.Round(time.Millisecond))
	if e.Attempts == 1 {
		text = fmt.Sprintf("%v (1 attempt in %s)", e.Err, e.Elapsed.Round(time.Millisecond))
	}
	late := errors.Is(e.Stopped, context.DeadlineExceeded) && status.Code(e.Err) == codes.DeadlineExceeded
	if e.Stopped != nil && !late && !errors.Is(e.Err, e.Stopped) {
		text += ": " + e.Stopped.Error()
	}
	return text
}

// Unwrap gives the last failure and, when a context ended the attempts, its cause.
func (e *Error) Unwrap() []error {
	if e.Stopped == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Stopped}
}

// Do runs the operation until it succeeds, fails for good, or policy or context end the attempts.
// The operation gets the context of its attempt. A first failure that is not retryable is returned
// as it is; every other failure is an *Error.
func Do[T any](ctx context.Context, policy Policy, operation func(context.Context) (T, error)) (T, error) {
	retryable := policy.Retryable
	if retryable == nil {
		retryable = Transient
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = policy.InitialInterval
	pause.MaxInterval = policy.MaxInterval
	pause.Multiplier = 1.5

	var (
		attempts  int
		last      error
		permanent bool
		started   = time.Now()
	)
	result, err := backoff.Retry(ctx, func() (T, error) {
		attempts++
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if policy.AttemptTimeout > 0 {
			attempt, cancel = context.WithTimeout(ctx, policy.AttemptTimeout)
		}
		defer cancel()
		value, err := operation(attempt)
		// An attempt that the end of the context cut short says less than the one before it.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if err != nil && !retryable(err) {
			permanent = true
			return value, backoff.Permanent(err)
		}
		return value, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(policy.MaxElapsed))
	if err == nil {
		return result, nil
	}
	if permanent && attempts == 1 {
		return result, last
	}
	final := &Error{Attempts: attempts, Elapsed: time.Since(started), Err: last}
	if !permanent && ctx.Err() != nil {
		final.Stopped = context.Cause(ctx)
	}
	return result, final
}

// Transient tells whether the failure may pass by itself. An error that has a method
// Transient() bool decides for itself. Otherwise transient are the gRPC codes UNAVAILABLE and
// DEADLINE_EXCEEDED, an expired deadline, a network operation that failed (refused, reset, timed
// out), and a connection that ended before the answer did. Of joined errors all must be transient: one refusal makes a further attempt useless.
func Transient(err error) bool {
	for err != nil {
		if marked, ok := err.(interface{ Transient() bool }); ok {
			return marked.Transient()
		}
		if grpcError, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
			switch grpcError.GRPCStatus().Code() {
			case codes.Unavailable, codes.DeadlineExceeded:
				return true
			default:
				return false
			}
		}
		if _, ok := err.(*net.OpError); ok { //nolint:errorlint // one level of the tree at a time
			return true
		}
		switch err { //nolint:errorlint // one level of the tree at a time
		case context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF:
			return true
		}
		switch wrapped := err.(type) { //nolint:errorlint // one level of the tree at a time
		case interface{ Unwrap() []error }:
			all := wrapped.Unwrap()
			for _, one := range all {
				if !Transient(one) {
					return false
				}
			}
			return len(all) > 0
		case interface{ Unwrap() error }:
			err = wrapped.Unwrap()
		default:
			return false
		}
	}
	return false
}
