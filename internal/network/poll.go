package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// permanent marks an error that asking again does not mend.
func permanent(err error) error { return backoff.Permanent(err) }

// cadence is how often something that is awaited is asked: what comes up usually does so within
// seconds, and is asked often until then; what takes longer is asked less and less.
type cadence struct {
	begun time.Time
	next  time.Duration
}

const (
	firstAsk, soonAsk, lateAsk = 10 * time.Millisecond, 40 * time.Millisecond, 500 * time.Millisecond
	// soon is how long the first ones are asked for.
	soon = 5 * time.Second
)

// NextBackOff implements backoff.BackOff.
func (c *cadence) NextBackOff() time.Duration {
	most := soonAsk
	if time.Since(c.begun) > soon {
		most = lateAsk
	}
	now := c.next
	c.next = min(c.next*13/10, most)
	return now
}

// Reset implements backoff.BackOff.
func (c *cadence) Reset() { c.begun, c.next = time.Now(), firstAsk }

// poll asks until the answer is no error, at first every 10 ms, after some seconds every half second.
// When the context ends, the error holds both the last answer and the reason.
func poll(ctx context.Context, ask func(context.Context) error) error {
	pace := &cadence{}
	pace.Reset()
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := ask(attempt)
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return nil
	}
	if final := new(backoff.PermanentError); errors.As(err, &final) {
		return final.Err
	}
	if last != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (waited until the deadline: %w)", last, context.Cause(ctx))
	}
	return err
}
