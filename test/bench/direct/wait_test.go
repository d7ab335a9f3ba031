package direct

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaitWaitsForAllEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second event
		done := make(chan error, 1)
		go func() { done <- wait(t.Context(), &first, &second) }()
		second.set()
		second.set() // a second time is no matter
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("it did not wait for the first event: %v", err)
		default:
		}
		first.set()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("another strand failed")
	cancel(reason)
	var never event
	if err := wait(ctx, &never); !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
}

func TestPollAsksUntilTheAnswerIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		err := poll(t.Context(), "never", func(context.Context) error {
			if asked++; asked < 4 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || asked != 4 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

func TestPollTellsTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := poll(ctx, "peer0 does not answer", func(context.Context) error { return errors.New("connection refused") })
		if err == nil || !strings.Contains(err.Error(), "peer0 does not answer: connection refused") {
			t.Errorf("got %v", err)
		}
	})
}

func TestClockJoinsWhatStrandsDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		pass := func(d time.Duration) func() error {
			return func() error {
				<-time.After(d)
				return nil
			}
		}
		for name, d := range map[string]time.Duration{"a": time.Second, "b": 3 * time.Second} {
			go func() {
				if err := c.phase("nodes", pass(d)); err != nil {
					t.Error(name, err)
				}
			}()
		}
		if err := c.phase("other", pass(2*time.Second)); err != nil {
			t.Error(err)
		}
		<-time.After(2 * time.Second)
		got := c.phases()
		want := []Phase{{Name: "other", End: 2 * time.Second, Times: 1}, {Name: "nodes", End: 3 * time.Second, Times: 2}}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
