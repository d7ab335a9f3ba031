package network

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// failsAlways fails every call of a method on a name.
func failsAlways(method, name string) func(string, string) error {
	return func(m, n string) error {
		if m == method && n == name {
			return errInjected
		}
		return nil
	}
}

// TestAccChannelIsAtomic makes the creation of a channel fail at every step, and creates it again at
// once each time.
func TestAccChannelIsAtomic(t *testing.T) {
	l := newLive(t, "3.1.1", 3)
	record := l.spec().Handle.record()
	orderer, peer := l.orderer(1), l.peers[0]
	for _, c := range []struct {
		name string
		fail func(method, name string) error
		lose map[string]int
		// before and after are done to the nodes around the failing attempt.
		before, after func()
		says          string
	}{
		{name: "volume of the record", fail: failsAlways("CreateVolume", record)},
		{name: "keeper of the record", fail: failsAlways("CreateNode", record)},
		{name: "writing the record", fail: failsAlways("PutFiles", record)},
		{name: "joining an orderer", fail: failsAlways("Dial", orderer.Object()+":7053"), says: "orderer orderer1"},
		{name: "the answer of an orderer", lose: map[string]int{orderer.Object() + ":7053": 8000}, says: "orderer orderer1"},
		{name: "joining a peer", fail: failsAlways("Dial", peer.Object()+":7051"), says: "peer peer0.org1"},
		{name: "the answer of a peer", lose: map[string]int{peer.Object() + ":7051": 8000}, says: "peer peer0.org1"},
		{name: "awaiting the leader", fail: failsAlways("Dial", orderer.Object()+":7050"), says: "await the leader"},
		{
			name: "a paused peer", says: "peer peer0.org1",
			before: func() { dockerCommand(t, "pause", peer.Object()) },
			after:  func() { dockerCommand(t, "start", peer.Object()) },
		},
		{
			name: "a paused orderer", says: "orderer orderer1",
			before: func() { dockerCommand(t, "pause", orderer.Object()) },
			after:  func() { dockerCommand(t, "start", orderer.Object()) },
		},
		{
			name: "a stopped orderer", says: "orderer orderer1",
			before: func() { dockerCommand(t, "stop", orderer.Object()) },
			after:  func() { dockerCommand(t, "start", orderer.Object()) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := time.Now()
			if c.before != nil {
				c.before()
			}
			failing := l.fresh(&faulty{Engine: l.engine, fail: c.fail, lose: c.lose})
			err := l.create(t.Context(), failing, 3*time.Second)
			if made := new(NotMadeError); !errors.As(err, &made) || made.Existed || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("the error is %v, want a NotMadeError that says %q", err, c.says)
			}
			t.Logf("%s: failed and taken back after %s: %v", c.name, time.Since(begun).Round(10*time.Millisecond), err)
			if c.after != nil {
				c.after()
			}
			l.untouched()
			again := time.Now()
			l.must(l.create(t.Context(), l.fresh(nil), time.Minute))
			created := time.Since(again)
			f := l.fresh(nil)
			l.works(f)
			again = time.Now()
			l.must(l.remove(f))
			t.Logf("created again in %s, removed in %s", created.Round(10*time.Millisecond), time.Since(again).Round(10*time.Millisecond))
			l.untouched()
		})
	}
}

var _ = context.Background
var _ = engine.ErrForeign
