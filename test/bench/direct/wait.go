package direct

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// event happens once. Its zero value has not happened yet.
type event struct {
	once   sync.Once
	mu     sync.Mutex
	happen chan struct{}
}

func (e *event) channel() chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.happen == nil {
		e.happen = make(chan struct{})
	}
	return e.happen
}

// set makes it happen.
func (e *event) set() { e.once.Do(func() { close(e.channel()) }) }

// wait waits for all of the events.
func wait(ctx context.Context, events ...*event) error {
	for _, e := range events {
		select {
		case <-e.channel():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

const (
	// askEvery is how often something that is about to come up is asked, and askLimit how long one
	// answer may take: an engine's proxy accepts connections before the node behind it listens.
	askEvery = 10 * time.Millisecond
	askLimit = 5 * time.Second
)

// poll asks until there is no error. When ctx ends first, the error tells the last answer.
func poll(ctx context.Context, what string, ask func(context.Context) error) error {
	pace := time.NewTicker(askEvery)
	defer pace.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, askLimit)
		err := ask(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-pace.C:
		}
	}
}
