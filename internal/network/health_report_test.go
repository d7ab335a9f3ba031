package network

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// wellSketch is a network whose nodes all answer at their operations endpoints, and its peers.
func wellSketch(t *testing.T) *sketch {
	t.Helper()
	s := newSketch(t)
	s.serveAll(func(Handle) int { return http.StatusOK })
	for i, name := range []string{"peer0.org1", "peer1.org1", "peer0.org2"} {
		s.servePeer(s.peer(name, map[bool]string{true: "Org1MSP", false: "Org2MSP"}[i < 2]), &sketchPeer{height: uint64(7 - i)})
	}
	return s
}

// serveAll lets every node answer the health check.
func (s *sketch) serveAll(status func(Handle) int) {
	for mspID, of := range sketchOrganizations {
		for _, name := range slices.Concat(of.peers, of.orderers) {
			h := s.peer(name, mspID)
			if len(of.orderers) > 0 {
				h = s.orderer(name)
			}
			s.serveOperations(h, of.ca, func(path string) (int, string) {
				if path == "/metrics" {
					return http.StatusOK, fmt.Sprintf("consensus_etcdraft_is_leader{channel=\"trade\"} %d\n", map[bool]int{true: 1}[h.Name == "orderer1"])
				}
				return status(h), failedCheck
			})
		}
	}
}

func TestCheckHealth(t *testing.T) {
	s := wellSketch(t)
	unjoined := s.peer("peer9.org2", "Org2MSP")
	s.must(s.fake.CreateVolume(t.Context(), engine.VolumeSpec{Name: unjoined.Object(), Labels: unjoined.labels()}))
	s.fake.SetStatus("dev-peer1.org1", engine.Stopped, 2)
	health, err := s.fabric.CheckHealth(t.Context(), s.network)
	s.must(err)
	if names := slices.Sorted(maps.Keys(health.Nodes)); !slices.Equal(names, []string{
		"ca.orderer", "ca.org1", "ca.org2", "orderer0", "orderer1", "peer0.org1", "peer0.org2", "peer1.org1", "peer9.org2",
	}) {
		t.Errorf("the nodes are %v", names)
	}
	for name, want := range map[string]struct {
		status engine.Status
		says   string
	}{
		"peer1.org1": {engine.Stopped, "it exited with code 2"}, "peer9.org2": {engine.Absent, "its container is gone"},
	} {
		if n := health.Nodes[name]; n.Status != want.status || n.Trouble == nil || !strings.Contains(n.Trouble.Error(), want.says) {
			t.Errorf("%s is %+v", name, n)
		}
	}
	peer := health.Nodes["peer0.org1"]
	if peer.Status != engine.Running || peer.Channels["trade"] != (NodeChannel{Height: 7}) {
		t.Errorf("peer0.org1 is %+v", peer)
	}
	if c := health.Nodes["peer0.org2"].Channels["trade"]; c.Height != 5 || c.Lag != 2 {
		t.Errorf("the lag of peer0.org2 is %+v", c)
	}
	if until, ok := peer.Certificates["tls"]; !ok || time.Until(until) > time.Hour || DaysLeft(until) != 0 {
		t.Errorf("its certificates are %v", peer.Certificates)
	}
	if c := health.Channels["trade"]; c == nil || c.Height != 7 || c.Lag != 2 || c.Ordered || c.Trouble != nil {
		t.Errorf("the channel is %+v", c)
	}
}

func TestCheckHealthOfPeers(t *testing.T) {
	for _, test := range []struct {
		name   string
		set    func(s *sketch)
		status engine.Status
		rests  bool
		says   string
	}{
		{"fails its check", func(s *sketch) { s.serveAll(func(Handle) int { return http.StatusServiceUnavailable }) }, Unhealthy, false, "couchdb: no route"},
		{"hangs", func(s *sketch) {
			s.fake.HandleDial("dev-peer0.org1", peerOperationsPort, nil)
			s.fake.HandleDial("dev-peer0.org1", peerPort, nil)
		}, Unhealthy, false, "connection refused"},
		{"is wanted stopped", func(s *sketch) {
			s.must(s.fabric.rest(s.t.Context(), s.peer("peer0.org1", "Org1MSP"), restStopped))
			s.fake.SetStatus("dev-peer0.org1", engine.Stopped, 0)
		}, engine.Stopped, true, ""},
		{"is wanted stopped, and runs", func(s *sketch) {
			s.must(s.fabric.rest(s.t.Context(), s.peer("peer0.org1", "Org1MSP"), restStopped))
		}, engine.Running, false, ""},
		{"is on no network", func(s *sketch) {
			s.fake.VanishNetwork("dev")
		}, Detached, false, "taken off its network"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := wellSketch(t)
			test.set(s)
			health, err := s.again().CheckHealth(t.Context(), s.network)
			s.must(err)
			n := health.Nodes["peer0.org1"]
			if n.Status != test.status || n.Resting != test.rests || (n.Trouble == nil) != (test.says == "") {
				t.Fatalf("it is %+v", n)
			}
			if n.Trouble != nil && !strings.Contains(n.Trouble.Error(), test.says) {
				t.Errorf("it says %v", n.Trouble)
			}
		})
	}
}

// TestCheckHealthForgetsTheDeleted: a volume that was kept is no node.
func TestCheckHealthForgetsTheDeleted(t *testing.T) {
	s := wellSketch(t)
	s.must(s.fabric.rest(t.Context(), s.peer("peer0.org1", "Org1MSP"), restGone))
	s.fake.VanishNode("dev-peer0.org1")
	health, err := s.fabric.CheckHealth(t.Context(), s.network)
	s.must(err)
	if n, ok := health.Nodes["peer0.org1"]; ok {
		t.Errorf("it is %+v", n)
	}
}

func TestCheckHealthWithoutEngine(t *testing.T) {
	s := newSketch(t)
	s.fake.SetUnreachable(true)
	if _, err := s.fabric.CheckHealth(t.Context(), s.network); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("it gave %v", err)
	}
}

// TestChannelsCompared: what the nodes say together.
func TestChannelsCompared(t *testing.T) {
	node := func(kind Kind, name string, c NodeChannel) *NodeHealth {
		return &NodeHealth{Handle: Handle{Kind: kind, Name: name}, Channels: map[string]NodeChannel{"trade": c}}
	}
	for _, test := range []struct {
		name  string
		nodes []*NodeHealth
		want  ChannelHealth
		says  string
	}{
		{"well", []*NodeHealth{
			node(KindOrderer, "o0", NodeChannel{Height: 9, Follows: true}), node(KindOrderer, "o1", NodeChannel{Height: 9, Follows: true, Leads: true}),
			node(KindPeer, "p0", NodeChannel{Height: 4}),
		}, ChannelHealth{Leader: "o1", Height: 9, Lag: 5, Ordered: true}, ""},
		{"no leader", []*NodeHealth{
			node(KindOrderer, "o0", NodeChannel{Height: 9}), node(KindOrderer, "o1", NodeChannel{Height: 9}),
		}, ChannelHealth{Height: 9, Ordered: true}, "o0 knows no leader\no1 knows no leader"},
		{"metrics switched off", []*NodeHealth{node(KindOrderer, "o0", NodeChannel{Height: 2, Follows: true})}, ChannelHealth{Height: 2, Ordered: true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			health := Health{Nodes: map[string]*NodeHealth{}, Channels: map[string]*ChannelHealth{}}
			for _, n := range test.nodes {
				health.Nodes[n.Handle.Name] = n
			}
			health.compareChannels()
			got := *health.Channels["trade"]
			said := ""
			if got.Trouble != nil {
				said = got.Trouble.Error()
			}
			got.Trouble = nil
			if got != test.want || said != test.says {
				t.Errorf("it is %+v (%s), want %+v", got, said, test.want)
			}
		})
	}
}

func TestDaysLeft(t *testing.T) {
	for _, test := range []struct {
		left time.Duration
		want int64
	}{{50 * time.Hour, 2}, {time.Hour, 0}, {-time.Minute, -1}, {-49 * time.Hour, -3}} {
		if got := DaysLeft(time.Now().Add(test.left)); got != test.want {
			t.Errorf("%s is %d days, want %d", test.left, got, test.want)
		}
	}
}
