package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

func TestInspectChannel(t *testing.T) {
	s := newSketch(t)
	s.servePeer(s.peer("peer0.org1", "Org1MSP"), &sketchPeer{height: 5, config: s.genesis})
	s.servePeer(s.peer("peer0.org2", "Org2MSP"), &sketchPeer{height: 7, config: s.changed(3)})
	s.serveOrderer(s.orderer("orderer0"), &sketchOrderer{genesis: s.genesis, height: 6})
	// Two nodes do not answer: one is stopped, one hangs up.
	s.fake.SetStatus(s.peer("peer1.org1", "Org1MSP").Object(), engine.Stopped, 0)

	facts, err := s.fabric.InspectChannel(t.Context(), s.channel)
	s.must(err)
	want := map[string]uint64{"peer0.org1": 5, "peer0.org2": 7, "orderer0": 6}
	if facts.Height != 7 || !maps.Equal(facts.Heights, want) {
		t.Errorf("the height is %d of %v, want 7 of %v", facts.Height, facts.Heights, want)
	}
	if facts.Summary.Block != 3 {
		t.Errorf("the configuration is that of block %d, want 3: the longest chain's", facts.Summary.Block)
	}
	if len(facts.Summary.ApplicationOrganizations) != 2 || facts.Summary.ConsensusType != "etcdraft" || len(facts.Summary.Consenters) != 2 {
		t.Errorf("the summary is %+v", facts.Summary)
	}
	var configuration struct {
		Group struct {
			Groups struct {
				Application struct {
					Groups map[string]any `json:"groups"`
				} `json:"Application"`
			} `json:"groups"`
		} `json:"channel_group"`
	}
	s.must(json.Unmarshal(facts.Configuration, &configuration))
	if got := slices.Sorted(maps.Keys(configuration.Group.Groups.Application.Groups)); !slices.Equal(got, []string{"Org1MSP", "Org2MSP"}) {
		t.Errorf("the JSON has the organizations %v", got)
	}
}

func TestInspectChannelByOrderersAlone(t *testing.T) {
	s := newSketch(t)
	for _, name := range []string{"peer0.org1", "peer1.org1", "peer0.org2"} {
		s.fake.SetStatus(s.peer(name, "").Object(), engine.Stopped, 0)
	}
	s.serveOrderer(s.orderer("orderer1"), &sketchOrderer{genesis: s.genesis, height: 4})
	facts, err := s.fabric.InspectChannel(t.Context(), s.channel)
	s.must(err)
	if facts.Height != 4 || facts.Summary.Channel != "trade" {
		t.Errorf("the facts are height %d of channel %q, want 4 of trade", facts.Height, facts.Summary.Channel)
	}
}

// TestInspectChannelGoesOn: a node that tells its height and then no configuration is not the last word.
func TestInspectChannelGoesOn(t *testing.T) {
	s := newSketch(t)
	s.servePeer(s.peer("peer0.org1", "Org1MSP"), &sketchPeer{height: 9})
	s.servePeer(s.peer("peer0.org2", "Org2MSP"), &sketchPeer{height: 9, config: s.genesis})
	facts, err := s.fabric.InspectChannel(t.Context(), s.channel)
	s.must(err)
	if facts.Summary.Channel != "trade" {
		t.Errorf("the summary is of %q, want trade", facts.Summary.Channel)
	}
}

func TestInspectChannelUnanswered(t *testing.T) {
	s := newSketch(t)
	for _, name := range []string{"peer0.org1", "peer1.org1", "peer0.org2", "orderer0", "orderer1"} {
		s.fake.SetStatus(s.peer(name, "").Object(), engine.Stopped, 0)
	}
	_, err := s.fabric.InspectChannel(t.Context(), s.channel)
	if unanswered := new(UnansweredError); !errors.As(err, &unanswered) || !strings.Contains(err.Error(), "orderer orderer1: it is not running") {
		t.Errorf("the error is %v, want an UnansweredError that says why of each node", err)
	}
	s.fake.SetUnreachable(true)
	if _, err := s.fabric.InspectChannel(t.Context(), s.channel); !errors.Is(err, engine.ErrUnreachable) {
		t.Errorf("the error is %v, want ErrUnreachable", err)
	}
}

func TestNodeConfig(t *testing.T) {
	s := newSketch(t)
	s.fake.SetStatus(s.peer("peer0.org1", "Org1MSP").Object(), engine.Stopped, 0) // it is read all the same
	for _, c := range []struct {
		name   string
		handle Handle
		member string
		file   string
		holds  string
	}{
		{"a peer", s.peer("peer0.org1", "Org1MSP"), "", "core.yaml", "peer0.org1.example.com:7051"},
		{"a node of a cluster", s.cluster(), "orderer1", "orderer.yaml", "OrdererMSP"},
		{"an orderer", s.orderer("orderer0"), "", "orderer.yaml", "OrdererMSP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file, content, err := s.fabric.NodeConfig(t.Context(), c.handle, c.member)
			if err != nil {
				t.Fatal(err)
			}
			if file != c.file || !strings.Contains(string(content), c.holds) {
				t.Errorf("it is %s, want %s with %s in it:\n%s", file, c.file, c.holds, content)
			}
		})
	}
}

func TestNodeConfigFailures(t *testing.T) {
	s := newSketch(t)
	s.removeContainer(s.peer("peer1.org1", "Org1MSP"))
	for _, c := range []struct {
		name   string
		handle Handle
		member string
		says   string
	}{
		{"a cluster without the node's name", s.cluster(), "", "name one of them: orderer0, orderer1"},
		{"an unknown node", s.cluster(), "orderer9", "has no node orderer9"},
		{"no such cluster", s.network.With(KindOrdererCluster, "other", "OrdererMSP"), "", "has no nodes"},
		{"no such peer", s.peer("peer9.org1", "Org1MSP"), "", "has no container"},
		{"a peer without its container", s.peer("peer1.org1", "Org1MSP"), "", "has no container"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := s.fabric.NodeConfig(t.Context(), c.handle, c.member)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	s := newSketch(t)
	pair, err := issuePair(s.roots["Org1MSP"].enrollment, certificate.LeafRequest{CommonName: "app", Client: true, Validity: year})
	s.must(err)
	app := s.organization("Org1MSP").With(KindIdentity, "app", "Org1MSP")
	_, err = s.fabric.storeIdentity(t.Context(), IdentitySpec{Handle: app}, msp.Definition{}, pair)
	s.must(err)

	for _, c := range []struct {
		handle     Handle
		commonName string
	}{{app, "app"}, {s.organization("Org1MSP"), "admin"}} {
		got, err := s.fabric.Credentials(t.Context(), c.handle)
		if err != nil {
			t.Fatal(err)
		}
		read, err := certificate.ParseKeyPair([]byte(got.Certificate), []byte(got.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		if read.Certificate.Subject.CommonName != c.commonName || got.MSPID != "Org1MSP" || got.Definition.TLSRootCertificates[0] != s.definition("Org1MSP").TLSRootCertificates[0] {
			t.Errorf("the credentials of %s are those of %s of %s", c.handle, read.Certificate.Subject.CommonName, got.MSPID)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", got, got, got, got); strings.Contains(text, "PRIVATE") {
			t.Error("the credentials print their key")
		}
	}
	if _, err := s.fabric.Credentials(t.Context(), app.With(KindIdentity, "nobody", "Org1MSP")); !errors.Is(err, ErrNotFound) {
		t.Errorf("the error is %v, want ErrNotFound", err)
	}
	if _, err := s.fabric.Credentials(t.Context(), s.organization("Org9MSP")); !errors.Is(err, ErrLost) {
		t.Errorf("the error is %v, want ErrLost", err)
	}
}

func TestAbsent(t *testing.T) {
	s := newSketch(t)
	h := s.peer("peer0.org1", "Org1MSP")
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing found", fmt.Errorf("unable to read: %w", ErrNotFound), true},
		{"an engine's not found", &engine.NotFoundError{Kind: "container", Name: "x"}, true},
		{"a lost volume", &LostError{Thing: h, Volume: "x"}, true},
		{"no answer", fmt.Errorf("unable to read: %w", &UnansweredError{Thing: s.channel}), true},
		{"a call that reached nobody", &endorser.CallError{Peer: "peer0", Err: errors.New("unavailable")}, true},
		{"a refusal", &endorser.RefusedError{Peer: "peer0", Status: 500}, false},
		{"no engine", &UnansweredError{Thing: s.channel, Cause: engine.ErrUnreachable}, false},
		{"something foreign", &engine.ForeignError{Kind: "container", Name: "x"}, false},
	} {
		if got := Absent(c.err); got != c.want {
			t.Errorf("%s is absent: %v", c.name, got)
		}
	}
}
