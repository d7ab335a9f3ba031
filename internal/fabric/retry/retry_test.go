package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type marked bool

func (m marked) Error() string   { return "marked" }
func (m marked) Transient() bool { return bool(m) }

func TestTransient(t *testing.T) {
	unavailable, unknown := status.Error(codes.Unavailable, "down"), status.Error(codes.Unknown, "what")
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":                {nil, false},
		"text":                   {errors.New("unavailable"), false},
		"unavailable":            {unavailable, true},
		"wrapped unavailable":    {fmt.Errorf("a: %w", fmt.Errorf("b: %w", unavailable)), true},
		"deadline status":        {status.Error(codes.DeadlineExceeded, "late"), true},
		"unknown":                {unknown, false},
		"permission":             {status.Error(codes.PermissionDenied, "no"), false},
		"canceled":               {context.Canceled, false},
		"deadline":               {fmt.Errorf("a: %w", context.DeadlineExceeded), true},
		"ended":                  {io.ErrUnexpectedEOF, true},
		"refused connection":     {fmt.Errorf("a: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), true},
		"marked transient":       {fmt.Errorf("a: %w", marked(true)), true},
		"marked permanent":       {fmt.Errorf("a: %w", marked(false)), false},
		"all of several":         {errors.Join(unavailable, marked(true)), true},
		"some of several":        {errors.Join(unavailable, unknown), false},
		"wrapped, some of many":  {fmt.Errorf("a: %w", errors.Join(unavailable, marked(false))), false},
		"a sentinel and a cause": {fmt.Errorf("%w: %w", errors.New("sentinel"), unavailable), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Transient(test.err); got != test.want {
				t.Errorf("Transient(%v) = %t", test.err, got)
			}
		})
	}
}

var quick = Policy{InitialInterval: time.Millisecond, MaxInterval: 2 * time.Millisecond, MaxElapsed: 5 * time.Second}

func TestDoSucceedsLater(t *testing.T) {
	attempts := 0
	got, err := Do(t.Context(), quick, func(context.Context) (string, error) {
		if attempts++; attempts < 3 {
			return "", marked(true)
		}
		return "done", nil
	})
	if got != "done" || err != nil || attempts != 3 {
		t.Errorf("%q, %v after %d attempts", got, err, attempts)
	}
}

func TestDoPermanent(t *testing.T) {
	permanent := errors.New("permanent")
	_, err := Do(t.Context(), quick, func(context.Context) (int, error) { return 0, permanent })
	var wrapped *Error
	if !errors.Is(err, permanent) || errors.As(err, &wrapped) {
		t.Errorf("the first failure came back as %v", err)
	}
	attempts := 0
	_, err = Do(t.Context(), quick, func(context.Context) (int, error) {
		if attempts++; attempts < 3 {
			return 0, marked(true)
		}
		return 0, permanent
	})
	var final *Error
	if !errors.As(err, &final) || final.Attempts != 3 || final.Stopped != nil || !errors.Is(err, permanent) {
		t.Errorf("the third failure came back as %#v", err)
	}
	if text := err.Error(); !strings.HasPrefix(text, "permanent (3 attempts in ") {
		t.Errorf("message %q", text)
	}
}

func TestDoUntilContextEnds(t *testing.T) {
	cause := errors.New("the person pressed Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	attempts := 0
	_, err := Do(ctx, quick, func(context.Context) (int, error) {
		if attempts++; attempts == 4 {
			cancel(cause)
		}
		return 0, marked(true)
	})
	var final *Error
	if !errors.As(err, &final) || final.Attempts != 4 || !errors.Is(err, cause) || !errors.Is(err, marked(true)) {
		t.Errorf("%#v", err)
	}
	if !strings.Contains(err.Error(), "marked") || !strings.Contains(err.Error(), "Ctrl-C") {
		t.Errorf("message %q names not both the last failure and why no other attempt was made", err)
	}
}

func TestDoKeepsTheReason(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	reason := fmt.Errorf("no leader: %w", marked(true))
	attempts := 0
	_, err := Do(ctx, quick, func(ctx context.Context) (int, error) {
		if attempts++; attempts < 3 {
			return 0, reason
		}
		<-ctx.Done()
		return 0, status.FromContextError(ctx.Err()).Err()
	})
	if !errors.Is(err, reason) || !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "no leader") {
		t.Errorf("%v", err)
	}
	_, err = Do(ctx, quick, func(ctx context.Context) (int, error) { return 0, status.FromContextError(ctx.Err()).Err() })
	if strings.Count(err.Error(), "deadline exceeded") != 1 {
		t.Errorf("said twice: %v", err)
	}
}

func TestDoUntilTimeIsUp(t *testing.T) {
	policy := quick
	policy.MaxElapsed = 20 * time.Millisecond
	started := time.Now()
	_, err := Do(t.Context(), policy, func(context.Context) (int, error) { return 0, marked(true) })
	var final *Error
	if !errors.As(err, &final) || final.Attempts < 2 || final.Stopped != nil {
		t.Errorf("%#v", err)
	}
	if elapsed := time.Since(started); elapsed > 2*time.Second {
		t.Errorf("took %s", elapsed)
	}
}

func TestDoBoundsAttempts(t *testing.T) {
	policy := quick
	policy.AttemptTimeout = 10 * time.Millisecond
	attempts := 0
	_, err := Do(t.Context(), policy, func(ctx context.Context) (int, error) {
		if attempts++; attempts == 2 {
			return 0, nil
		}
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if err != nil || attempts != 2 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}

func TestDoOwnRule(t *testing.T) {
	policy, again := quick, errors.New("again")
	policy.Retryable = func(err error) bool { return errors.Is(err, again) }
	attempts := 0
	_, err := Do(t.Context(), policy, func(context.Context) (int, error) {
		if attempts++; attempts == 1 {
			return 0, again
		}
		return 0, marked(true)
	})
	if attempts != 2 || !errors.Is(err, marked(true)) {
		t.Errorf("%v after %d attempts", err, attempts)
	}
}
