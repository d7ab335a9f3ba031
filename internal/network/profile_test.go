package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

func (s *sketch) profile(spec ProfileSpec) Profile {
	s.t.Helper()
	p, err := s.fabric.ConnectionProfile(s.t.Context(), spec)
	s.must(err)
	return p
}

// published is the host's address of a port of a node.
func (s *sketch) published(h Handle, port int) string {
	s.t.Helper()
	n, err := s.fake.Node(s.t.Context(), h.Object())
	s.must(err)
	for _, p := range n.Ports {
		if p.Container == port {
			return fmt.Sprintf("%s:%d", p.Address, p.Host)
		}
	}
	s.t.Fatalf("%s does not publish %d", h, port)
	return ""
}

func TestConnectionProfileOfAChannel(t *testing.T) {
	s := newSketch(t)
	p := s.profile(ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &s.channel})

	if p.Name != "dev-Org1" || p.Client.Organization != "Org1" {
		t.Errorf("the profile is %q of %q, want dev-Org1 of Org1", p.Name, p.Client.Organization)
	}
	wantOrganizations := map[string]profileOrganization{
		"Org1": {
			MSPID: "Org1MSP", CryptoPath: "users/{username}/msp",
			Peers: []string{"peer0.org1.example.com", "peer1.org1.example.com"}, CertificateAuthorities: []string{"ca.org1.example.com"},
		},
		"Org2": {MSPID: "Org2MSP", CryptoPath: "users/{username}/msp", Peers: []string{"peer0.org2.example.com"}},
	}
	if !reflect.DeepEqual(p.Organizations, wantOrganizations) {
		t.Errorf("organizations are %+v\nwant %+v", p.Organizations, wantOrganizations)
	}
	for name, h := range map[string]Handle{
		"peer0.org1.example.com": s.peer("peer0.org1", "Org1MSP"), "peer1.org1.example.com": s.peer("peer1.org1", "Org1MSP"),
		"peer0.org2.example.com": s.peer("peer0.org2", "Org2MSP"),
	} {
		want := profileNode{
			URL: "grpcs://" + s.published(h, peerPort), GRPCOptions: profileGRPCOptions{name, name},
			TLSCACerts: profilePEM{s.definition(h.MSPID).TLSRootCertificates[0]},
		}
		if p.Peers[name] != want {
			t.Errorf("peer %s is %+v\nwant %+v", name, p.Peers[name], want)
		}
	}
	orderer := p.Orderers["orderer1.example.com"]
	if want := "grpcs://" + s.published(s.orderer("orderer1"), ordererPort); orderer.URL != want {
		t.Errorf("orderer1 is at %s, want %s", orderer.URL, want)
	}
	if orderer.TLSCACerts.PEM != s.definition("OrdererMSP").TLSRootCertificates[0] {
		t.Error("orderer1 has not the TLS root of its own organization")
	}
	wantCAs := map[string]profileCA{"ca.org1.example.com": {
		URL: "https://" + s.published(s.network.With(KindCA, "ca.org1", ""), caPort), CAName: "ca",
		TLSCACerts: profilePEMs{s.definition("Org1MSP").TLSRootCertificates}, HTTPOptions: profileHTTPOptions{Verify: true},
	}}
	if !reflect.DeepEqual(p.CertificateAuthorities, wantCAs) {
		t.Errorf("CAs are %+v\nwant %+v", p.CertificateAuthorities, wantCAs)
	}
	channel := p.Channels["trade"]
	if want := []string{"orderer0.example.com", "orderer1.example.com"}; !slices.Equal(channel.Orderers, want) || len(channel.Peers) != 3 {
		t.Errorf("the channel has orderers %v and %d peers, want %v and 3", channel.Orderers, len(channel.Peers), want)
	}
	if want := (profileMatcher{Pattern: `^peer0\.org1\.example\.com:7051$`, MappedHost: "peer0.org1.example.com"}); p.EntityMatchers.Peer[0] != want {
		t.Errorf("the first peer is matched by %+v, want %+v", p.EntityMatchers.Peer[0], want)
	}
	if len(p.EntityMatchers.Peer) != 3 || len(p.EntityMatchers.Orderer) != 2 {
		t.Errorf("there are %d and %d matchers, want 3 and 2", len(p.EntityMatchers.Peer), len(p.EntityMatchers.Orderer))
	}
}

func TestConnectionProfileOfAnOrganization(t *testing.T) {
	s := newSketch(t)
	p := s.profile(ProfileSpec{Organization: s.organization("Org2MSP")})
	if len(p.Peers) != 1 || len(p.Organizations) != 1 || p.Channels != nil || p.Orderers != nil {
		t.Errorf("without a channel the profile holds peers %v, organizations %v, channels %v, orderers %v; want those of Org2MSP alone",
			p.Peers, p.Organizations, p.Channels, p.Orderers)
	}
	if p.Client.Organization != "Org2" || len(p.CertificateAuthorities) != 1 {
		t.Errorf("the client is of %q and has %d CAs, want Org2 and 1", p.Client.Organization, len(p.CertificateAuthorities))
	}
}

func TestConnectionProfileFromInside(t *testing.T) {
	s := newSketch(t)
	p := s.profile(ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &s.channel, Inside: true})
	for got, want := range map[string]string{
		p.Peers["peer0.org2.example.com"].URL:               "grpcs://peer0.org2.example.com:7051",
		p.Orderers["orderer0.example.com"].URL:              "grpcs://orderer0.example.com:7050",
		p.CertificateAuthorities["ca.org1.example.com"].URL: "https://ca.org1.example.com:7054",
	} {
		if got != want {
			t.Errorf("an address on the network is %s, want %s", got, want)
		}
	}
}

func TestConnectionProfileFailures(t *testing.T) {
	s := newSketch(t)
	t.Run("an organization outside the channel", func(t *testing.T) {
		_, err := s.fabric.ConnectionProfile(t.Context(), ProfileSpec{Organization: s.organization("OrdererMSP"), Channel: &s.channel})
		if err == nil || !strings.Contains(err.Error(), "not a member of channel trade") {
			t.Errorf("the error is %v, want one that says who is a member", err)
		}
	})
	t.Run("a channel that is not there", func(t *testing.T) {
		other := s.channel.With(KindChannel, "other", "")
		_, err := s.fabric.ConnectionProfile(t.Context(), ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &other})
		if !errors.Is(err, ErrLost) {
			t.Errorf("the error is %v, want ErrLost", err)
		}
	})
	t.Run("a container that is gone", func(t *testing.T) {
		s.removeContainer(s.peer("peer0.org2", "Org2MSP"))
		_, err := s.fabric.ConnectionProfile(t.Context(), ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &s.channel})
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "peer peer0.org2 has no container") {
			t.Errorf("the error is %v, want one that names the peer", err)
		}
	})
	t.Run("a foreign container", func(t *testing.T) {
		h := s.peer("peer0.org2", "Org2MSP")
		s.fake.AddNode(engine.Node{Name: h.Object(), Status: engine.Running, Labels: map[string]string{engine.LabelOwner: "somebody"}})
		_, err := s.fabric.ConnectionProfile(t.Context(), ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &s.channel})
		if !errors.Is(err, engine.ErrForeign) {
			t.Errorf("the error is %v, want ErrForeign", err)
		}
	})
}

// TestProfileText holds that both forms say the same, always in the same bytes, and no key.
func TestProfileText(t *testing.T) {
	s := newSketch(t)
	spec := ProfileSpec{Organization: s.organization("Org1MSP"), Channel: &s.channel}
	p := s.profile(spec)
	asJSON, err := p.JSON()
	s.must(err)
	asYAML, err := p.YAML()
	s.must(err)
	for range 5 {
		again := s.profile(spec)
		otherJSON, err := again.JSON()
		s.must(err)
		otherYAML, err := again.YAML()
		s.must(err)
		if string(otherJSON) != string(asJSON) || string(otherYAML) != string(asYAML) {
			t.Fatal("the same network gives different texts")
		}
	}
	var fromJSON, fromYAML map[string]any
	s.must(json.Unmarshal(asJSON, &fromJSON))
	s.must(yaml.Unmarshal(asYAML, &fromYAML))
	if !reflect.DeepEqual(fromJSON, fromYAML) {
		t.Errorf("JSON and YAML differ:\n%s\n%s", asJSON, asYAML)
	}
	if strings.Contains(string(asJSON), "PRIVATE KEY") {
		t.Error("the profile holds a private key")
	}
}

func TestOrganizationNames(t *testing.T) {
	for _, c := range []struct{ mspIDs, want []string }{
		{[]string{"Org1MSP", "Org2MSP"}, []string{"Org1", "Org2"}},
		{[]string{"Org1", "Org1MSP", "Org2MSP"}, []string{"Org1", "Org1MSP", "Org2"}},
		{[]string{"ORG1", "org1MSP"}, []string{"ORG1", "org1MSP"}},
		{[]string{"MSP", "bank.example"}, []string{"MSP", "bank.example"}},
	} {
		names := organizationNames(c.mspIDs)
		for i, mspID := range c.mspIDs {
			if names[mspID] != c.want[i] {
				t.Errorf("among %v, %s is called %s, want %s", c.mspIDs, mspID, names[mspID], c.want[i])
			}
		}
	}
}

func TestPublishedHost(t *testing.T) {
	for _, c := range []struct{ bound, engine, want string }{
		{"127.0.0.1", "unix:///var/run/docker.sock", "127.0.0.1"},
		{"0.0.0.0", "unix:///var/run/docker.sock", "127.0.0.1"},
		{"0.0.0.0", "tcp://fabric.example.com:2376", "fabric.example.com"},
		{"::", "npipe:////./pipe/docker_engine", "127.0.0.1"},
		{"10.0.0.5", "tcp://fabric.example.com:2376", "10.0.0.5"},
	} {
		if got := publishedHost(c.bound, c.engine); got != c.want {
			t.Errorf("bound to %s on %s it is reached at %s, want %s", c.bound, c.engine, got, c.want)
		}
	}
}
