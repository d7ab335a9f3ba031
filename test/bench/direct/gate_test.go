package direct

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestGateLetsTheMostUrgentThroughFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.pass(t.Context(), startChaincode)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []urgency
		var strands sync.WaitGroup
		for _, u := range []urgency{startChaincode, startPeer, startAuthority, startPeer, startOrderer} {
			strands.Go(func() {
				leave, err := g.pass(t.Context(), u)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, u)
				mu.Unlock()
				leave()
			})
			synctest.Wait() // they come one after the other
		}
		leave()
		strands.Wait()
		if want := []urgency{startAuthority, startOrderer, startPeer, startPeer, startChaincode}; !slices.Equal(order, want) {
			t.Errorf("they passed in the order %v, want %v", order, want)
		}
		if g.free != 1 || len(g.waiting) != 0 {
			t.Errorf("%d places are free and %d wait, want 1 and none", g.free, len(g.waiting))
		}
	})
}

func TestGateForgetsWhoGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		leave, err := g.pass(t.Context(), startPeer)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("enough")
		gaveUp := make(chan error)
		go func() {
			_, err := g.pass(ctx, startAuthority)
			gaveUp <- err
		}()
		synctest.Wait()
		cancel(reason)
		if err := <-gaveUp; !errors.Is(err, reason) {
			t.Errorf("got %v, want %v", err, reason)
		}
		leave()
		if _, err := g.pass(t.Context(), startChaincode); err != nil {
			t.Errorf("the place is taken by somebody who gave up: %v", err)
		}
	})
}
