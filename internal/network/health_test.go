package network

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

const failedCheck = `{"status":"Service Unavailable","failed_checks":[{"component":"couchdb","reason":"no route"}]}`

// TestUnhealthyNodes: what a read says of a node that runs.
func TestUnhealthyNodes(t *testing.T) {
	for _, test := range []struct {
		name string
		// answer is what the n-th question gets; nil: nobody listens.
		answer func(n int32) int
		want   engine.Status
	}{
		{"well", func(int32) int { return http.StatusOK }, engine.Running},
		{"has just started", func(n int32) int {
			if n < 4 {
				return http.StatusServiceUnavailable
			}
			return http.StatusOK
		}, engine.Running},
		{"not well", func(int32) int { return http.StatusServiceUnavailable }, Unhealthy},
		{"nobody listens", nil, Unhealthy},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSketch(t)
			h := s.peer("peer0.org1", "Org1MSP")
			s.servePeer(h, &sketchPeer{height: 1})
			var asked atomic.Int32
			s.serveOperations(h, "ca.org1", func(string) (int, string) { return test.answer(asked.Add(1)), failedCheck })
			if test.answer == nil {
				s.fake.HandleDial(h.Object(), peerOperationsPort, nil)
			}
			if test.want == Unhealthy {
				s.fabric.healthPatience = 700 * time.Millisecond
			}
			state, err := s.fabric.ReadPeer(t.Context(), h)
			s.must(err)
			if state.Status != test.want {
				t.Errorf("it reads as %s, want %s", state.Status, test.want)
			}
			if state.Status == engine.Running && asked.Load() > 4 {
				t.Errorf("it was asked %d times", asked.Load())
			}
		})
	}
}

// TestHealthUnknown: of a node that nobody has the key to ask, nothing is said.
func TestHealthUnknown(t *testing.T) {
	s := newSketch(t) // its CAs have no operations root
	state, err := s.fabric.ReadPeer(t.Context(), s.peer("peer0.org1", "Org1MSP"))
	s.must(err)
	if state.Status != engine.Running {
		t.Errorf("it reads as %s", state.Status)
	}
}

// TestUnhealthyNodeIsStartedAgain: in its own container, with everything it had.
func TestUnhealthyNodeIsStartedAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		want   []string
	}{
		{"well", http.StatusOK, []string{"StartNode"}},
		{"not well", http.StatusServiceUnavailable, []string{"StopNode", "StartNode"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSketch(t)
			h := s.peer("peer0.org1", "Org1MSP")
			s.serveOperations(h, "ca.org1", func(string) (int, string) { return test.status, failedCheck })
			if test.status != http.StatusOK {
				s.fabric.healthPatience = 300 * time.Millisecond
			}
			n, err := s.fabric.peerNode(PeerSpec{Handle: h, NodeOptions: sketchOptions("peer:3.1.1"), Version: sketchVersion(t)})
			s.must(err)
			before, err := s.fake.Node(t.Context(), h.Object())
			s.must(err)
			n.material = func(context.Context, map[string][]byte) (map[string][]byte, error) { return nil, nil }
			n.ready = func(context.Context) error { return nil }
			calls := len(s.fake.Calls())
			_, err = s.fabric.ensure(t.Context(), n)
			s.must(err)
			var did []string
			for _, c := range s.fake.Calls()[calls:] {
				if c.Name == h.Object() && c.Mutating {
					did = append(did, c.Method)
				}
			}
			after, err := s.fake.Node(t.Context(), h.Object())
			s.must(err)
			if !slices.Equal(did, test.want) || after.ID != before.ID || after.Status != engine.Running {
				t.Errorf("done was %v, want %v; it is %+v", did, test.want, after)
			}
		})
	}
}

// TestUnhealthyPeerTakesATurn: to start it again takes it down, as long as it does its work.
func TestUnhealthyPeerTakesATurn(t *testing.T) {
	c := newCrowd(t, 2)
	var status atomic.Int32
	c.serveOperations(c.peers[0], "ca.org1", func(string) (int, string) { return int(status.Load()), failedCheck })
	spec := c.spec(c.peers[0])
	spec.Existing = true
	for _, answer := range []int32{http.StatusOK, http.StatusServiceUnavailable} {
		status.Store(answer)
		if answer != http.StatusOK {
			c.fabric.healthPatience = 300 * time.Millisecond
		}
		turn, err := c.turnOf(t.Context(), c.fabric, spec)
		c.must(err)
		turn.end(t.Context(), nil)
		if turn.takesDown != (answer != http.StatusOK) {
			t.Errorf("with status %d it is taken down: %t", answer, turn.takesDown)
		}
	}
}
