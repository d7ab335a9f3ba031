package network

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

func version(t *testing.T, text string) nodeconfig.Version {
	t.Helper()
	v, err := nodeconfig.ParseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// release makes the container of a node anew, as one of another release.
func (s *sketch) release(h Handle, text string) {
	s.t.Helper()
	n, err := s.fake.Node(s.t.Context(), h.Object())
	s.must(err)
	n.Labels[labelInputs] = inputs(memberInputs{NodeOptions: sketchOptions("image"), Version: text})
	n.Status = engine.Running
	s.fake.AddNode(n)
}

// TestPeerWaitsForItsOrderers: only when it is raised above them, and only for those of its channels.
func TestPeerWaitsForItsOrderers(t *testing.T) {
	for _, test := range []struct {
		name string
		// runs and wanted are the releases of the peer.
		runs, wanted string
		orderers     []string
		older        []string
	}{
		{"everything is of one release", "3.1.1", "3.1.1", []string{"3.1.1", "3.1.1"}, nil},
		{"the orderers are there", "2.5.9", "3.1.1", []string{"3.1.1", "3.1.1"}, nil},
		{"none is", "2.5.9", "3.1.1", []string{"2.5.9", "2.5.9"}, []string{"orderer0", "orderer1"}},
		{"one is not", "2.5.9", "3.1.1", []string{"3.1.1", "2.5.9"}, []string{"orderer1"}},
		{"it goes back", "3.1.1", "2.5.9", []string{"3.1.1", "2.5.9"}, nil},
		{"it was ahead before", "3.1.1", "3.1.1", []string{"2.5.9", "2.5.9"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSketch(t)
			quick(s.fabric)
			h := s.peer("peer0.org1", "Org1MSP")
			s.release(h, test.runs)
			s.release(s.orderer("orderer0"), test.orderers[0])
			s.release(s.orderer("orderer1"), test.orderers[1])
			err := s.fabric.awaitOrderers(t.Context(), PeerSpec{Handle: h, Version: version(t, test.wanted), Timeout: 10 * time.Second})
			older := new(OlderOrdererError)
			if test.older == nil {
				s.must(err)
				return
			}
			if !errors.As(err, &older) || len(older.Older) != len(test.older) || older.Cause != nil {
				t.Fatalf("it got %v", err)
			}
			for i, o := range older.Older {
				if o.Orderer.Name != test.older[i] || o.Version != "2.5.9" || o.Channel != "trade" {
					t.Errorf("named is %+v, want %s", o, test.older[i])
				}
			}
			if text := err.Error(); !strings.Contains(text, "orderer1 of channel trade runs 2.5.9") || !strings.Contains(text, "it is to run Fabric 3.1.1") {
				t.Errorf("it says %s", text)
			}
		})
	}
}

// TestPeerFollowsItsOrderers: while they are changed one after the other, it waits.
func TestPeerFollowsItsOrderers(t *testing.T) {
	s := newSketch(t)
	quick(s.fabric)
	s.fabric.rolls.ordererPatience = 3 * time.Second
	h := s.peer("peer0.org1", "Org1MSP")
	for _, node := range []Handle{h, s.orderer("orderer0"), s.orderer("orderer1")} {
		s.release(node, "2.5.9")
	}
	done := make(chan error, 1)
	go func() {
		done <- s.fabric.awaitOrderers(t.Context(), PeerSpec{Handle: h, Version: version(t, "3.1.1"), Timeout: 20 * time.Second})
	}()
	for _, name := range []string{"orderer0", "orderer1"} {
		select {
		case err := <-done:
			t.Fatalf("it did not wait for %s: %v", name, err)
		case <-time.After(1500 * time.Millisecond):
		}
		s.release(s.orderer(name), "3.1.1")
	}
	s.must(<-done)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.release(s.orderer("orderer1"), "2.5.9")
	older := new(OlderOrdererError)
	if err := s.fabric.awaitOrderers(ctx, PeerSpec{Handle: h, Version: version(t, "3.1.1")}); !errors.As(err, &older) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the deadline it got %v", err)
	}
}
