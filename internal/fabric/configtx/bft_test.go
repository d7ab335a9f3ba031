package configtx

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// bftChannel is a channel of four SmartBFT nodes.
func bftChannel(t testing.TB, n network) Channel {
	c := n.channel()
	c.ChannelCapability, c.Consensus, c.Consenters = ChannelCapabilityV3_0, ConsensusBFT, nil
	for _, host := range []string{"o1", "o2", "o3", "o4"} {
		c.Consenters = append(c.Consenters, bftConsenter(t, n, host))
	}
	return c
}

func bftConsenter(t testing.TB, n network, host string) Consenter {
	tls := n.orderer.tlsca.tls(t, host)
	return Consenter{
		Host: host, Port: 7050, ClientTLSCertPEM: tls.pem, ServerTLSCertPEM: tls.pem,
		MSPID: "OrdererMSP", IdentityPEM: n.orderer.ca.member(t, host, "orderer").pem,
	}
}

func TestBFTQuorum(t *testing.T) {
	// Fabric: ceil((n+f+1)/2) with f = (n-1)/3.
	for nodes, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 5, 10: 7, 13: 9} {
		if got := BFTQuorum(nodes); got != want {
			t.Errorf("%d nodes: %d, want %d", nodes, got, want)
		}
	}
}

func TestBFTGenesis(t *testing.T) {
	n := newNetwork(t)
	c := bftChannel(t, n)
	c.BFT.LeaderHeartbeatTimeout = 10 * time.Second
	_, config := genesis(t, c)
	s, err := Summarize(config)
	if err != nil {
		t.Fatal(err)
	}
	wanted := DefaultBFTOptions()
	wanted.LeaderHeartbeatTimeout = 10 * time.Second
	if s.ConsensusType != "BFT" || s.BFT != wanted || s.Raft != (RaftOptions{}) {
		t.Errorf("consensus %s, %+v", s.ConsensusType, s.BFT)
	}
	for i, got := range s.Consenters {
		want := c.Consenters[i]
		want.ID = uint32(i + 1)
		if got.Consenter != want {
			t.Errorf("consenter %d: %+v", i, got)
		}
	}
	checkBlockValidation(t, config, 3, 4)
	if text := s.Policies["/Channel/Orderer/BlockValidation"]; !strings.HasPrefix(text, "OutOf(3, identity('OrdererMSP', 'CN=o1, serial") {
		t.Errorf("BlockValidation %s", text)
	}
}

// checkBlockValidation checks the policy against the consenters as Fabric does.
func checkBlockValidation(t testing.TB, c *Config, wanted, of int) {
	t.Helper()
	group := c.Proto.ChannelGroup.Groups["Orderer"]
	mapping, envelope := &common.Orderers{}, &common.SignaturePolicyEnvelope{}
	r := &reader{}
	r.value(group, keyOrderers, mapping)
	stored := group.Policies["BlockValidation"].GetPolicy()
	r.unmarshal("", stored.GetValue(), envelope)
	expected, err := blockValidation(mapping.GetConsenterMapping())
	if err := errors.Join(r.err, err); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(stored, expected) {
		t.Error("BlockValidation is not the one that the consenters give")
	}
	if got := envelope.GetRule().GetNOutOf(); int(got.GetN()) != wanted || len(got.GetRules()) != of || len(envelope.GetIdentities()) != of {
		t.Errorf("BlockValidation wants %d of %d", got.GetN(), len(got.GetRules()))
	}
}

func TestBFTConsenters(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, bftChannel(t, n))
	fifth := bftConsenter(t, n, "o5")

	added := base.Clone()
	if err := errors.Join(added.AddConsenter(fifth), added.AddConsenter(fifth)); err != nil {
		t.Fatal(err)
	}
	checkBlockValidation(t, added, 4, 5)
	expectWords(t, base, added, "policy /Channel/Orderer/BlockValidation: 3 of 4 identities → 4 of 5 identities", "consenter o5:7050 added")
	s, err := Summarize(added)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Consenters) != 5 || s.Consenters[4].ID != 5 {
		t.Errorf("consenters %+v", s.Consenters)
	}

	// A renewed identity keeps the place and the ID, even with the same key: bytes count.
	renewed := s.Consenters[1].Consenter
	renewed.ID, renewed.IdentityPEM = 0, n.orderer.ca.member(t, "o2 renewed", "orderer").pem
	rotated := added.Clone()
	if err := rotated.ReplaceConsenter(Address{"o2", 7050}, renewed); err != nil {
		t.Fatal(err)
	}
	checkBlockValidation(t, rotated, 4, 5)
	expectWords(t, added, rotated, "policy /Channel/Orderer/BlockValidation: 4 of 5 identities, others than before",
		"consenter o2:7050 identity: "+describeCertificate([]byte(s.Consenters[1].IdentityPEM))+" → "+describeCertificate([]byte(renewed.IdentityPEM)))
	if s, err := Summarize(rotated); err != nil || s.Consenters[1].ID != 2 {
		t.Errorf("after the renewal: %v, %v", s.Consenters, err)
	}
	if SameConsenter(s.Consenters[1].Consenter, renewed) {
		t.Error("another identity is the same consenter")
	}

	removed := rotated.Clone()
	if err := errors.Join(removed.RemoveConsenter(Address{"o1", 7050}), removed.RemoveConsenter(Address{"o1", 7050})); err != nil {
		t.Fatal(err)
	}
	checkBlockValidation(t, removed, 3, 4)
	expectWords(t, rotated, removed, "policy /Channel/Orderer/BlockValidation: 4 of 5 identities → 3 of 4 identities", "consenter o1:7050 removed")

	// The ID of the one that went does not come back by itself.
	sixth := removed.Clone()
	if err := sixth.AddConsenter(bftConsenter(t, n, "o6")); err != nil {
		t.Fatal(err)
	}
	if s, err := Summarize(sixth); err != nil || s.Consenters[4].ID != 6 {
		t.Errorf("the new consenter has the ID %d, %v", s.Consenters[4].ID, err)
	}
	taken := bftConsenter(t, n, "o7")
	taken.ID = 3
	if err := removed.Clone().AddConsenter(taken); err == nil || !strings.Contains(err.Error(), "would both have the ID 3") {
		t.Errorf("an ID twice: %v", err)
	}
	for i, pair := range [][2]*Config{{base, added}, {added, rotated}, {rotated, removed}, {removed, sixth}} {
		if err := ValidateUpdate(pair[0], pair[1]); err != nil {
			t.Errorf("update %d: %v", i, err)
		}
		if got := policiesOf(t, pair[0], updateBetween(t, pair[0], pair[1])); !slices.Equal(got, []string{ordererAdmins}) {
			t.Errorf("update %d falls under %q", i, got)
		}
	}
}

func expectWords(t testing.TB, from, to *Config, want ...string) {
	t.Helper()
	changes, err := Changes(from, updateBetween(t, from, to))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, c := range changes {
		words = append(words, c.Words)
	}
	if !slices.Equal(words, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(words, "\n"), strings.Join(want, "\n"))
	}
}

func TestBFTOptions(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, bftChannel(t, n))
	to := base.Clone()
	if err := errors.Join(to.SetBFTOptions(DefaultBFTOptions()), to.SetBFTOptions(BFTOptions{}), to.SetRaftOptions(RaftOptions{})); err == nil || !strings.Contains(err.Error(), "its consensus is BFT and not etcdraft") {
		t.Errorf("Raft options: %v", err)
	}
	if !proto.Equal(base.Proto, to.Proto) {
		t.Error("what the channel has was written again")
	}
	if err := to.SetBFTOptions(BFTOptions{RequestBatchMaxInterval: time.Second, RequestPoolSize: 7}); err != nil {
		t.Fatal(err)
	}
	expectWords(t, base, to, "SmartBFT request_batch_max_interval 200ms → 1s", "SmartBFT request_pool_size 100000 → 7")
}

func TestBFTProblems(t *testing.T) {
	n := newNetwork(t)
	for name, c := range map[string]struct {
		change func(*Channel)
		want   string
	}{
		"capability":       {func(c *Channel) { c.ChannelCapability = "V2_0" }, "channel_capability: SmartBFT needs V3_0"},
		"consensus":        {func(c *Channel) { c.Consensus = "solo" }, `consensus: "solo" is unknown; a channel can have etcdraft or BFT`},
		"block validation": {func(c *Channel) { c.OrdererPolicies = map[string]string{"BlockValidation": "ANY Writers"} }, "orderer_policies[BlockValidation]: with SmartBFT it is made of the consenters"},
		"MSP":              {func(c *Channel) { c.Consenters[0].MSPID = "Org1MSP" }, `consenters[0].msp_id: "Org1MSP" is not an orderer organization of the channel`},
		"identity":         {func(c *Channel) { c.Consenters[0].IdentityPEM = n.org1.ca.member(t, "x", "orderer").pem }, "consenters[0].identity: no CA of the MSP issued the certificate of x"},
		"no identity":      {func(c *Channel) { c.Consenters[1].IdentityPEM = "" }, "consenters[1].identity: unable to read certificates"},
		"IDs":              {func(c *Channel) { c.Consenters[0].ID, c.Consenters[2].ID = 3, 3 }, "consenters[2].id: 3 is already the ID of consenters[0]"},
		"timers":           {func(c *Channel) { c.BFT.RequestForwardTimeout = time.Minute }, "bft.request_forward_timeout: 1m0s is more than request_complain_timeout, which is 20s"},
		"negative timer":   {func(c *Channel) { c.BFT.CollectTimeout = -1 }, "bft.collect_timeout: -1ns is not more than 0"},
		"small blocks":     {func(c *Channel) { c.Batch.AbsoluteMaxBytes = 9999 }, "batch.absolute_max_bytes: 9999 is less than 10240, the least that SmartBFT accepts"},
	} {
		channel := bftChannel(t, n)
		c.change(&channel)
		err := channel.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func TestBFTUpdateProblems(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, bftChannel(t, n))
	for name, c := range map[string]struct {
		edit func(*Config) error
		want string
	}{
		"block validation": {func(c *Config) error {
			c.Proto.ChannelGroup.Groups["Orderer"].Policies["BlockValidation"] = c.Proto.ChannelGroup.Groups["Orderer"].Policies["Writers"]
			return nil
		}, "policies[/Channel/Orderer/BlockValidation]: it is not the one that the consenters give"},
		"two at once": {func(c *Config) error {
			return errors.Join(c.AddConsenter(bftConsenter(t, n, "o5")), c.AddConsenter(bftConsenter(t, n, "o6")))
		}, "consenters: 2 would come and 0 would go"},
		"capability":   {func(c *Config) error { return c.SetChannelCapability("V2_0") }, "channel_capability: SmartBFT needs V3_0"},
		"small blocks": {func(c *Config) error { return c.SetBatch(Batch{AbsoluteMaxBytes: 100, PreferredMaxBytes: 100}) }, "batch.absolute_max_bytes: 100 is less than 10240"},
		"organization": {func(c *Config) error {
			other := newTestOrganization(t, "Other")
			return errors.Join(c.SetOrdererOrganization(OrdererOrganization{Definition: other.Definition, Endpoints: []string{"a:1"}}), c.RemoveOrdererOrganization("OrdererMSP"))
		}, `consenters[0].msp_id: "OrdererMSP" is not an orderer organization`},
		"ID of another": {func(c *Config) error {
			another := bftConsenter(t, n, "o5")
			another.ID = 4
			return errors.Join(c.RemoveConsenter(Address{"o4", 7050}), c.AddConsenter(another))
		}, "consenters[3].id: 4 is the ID of o4:7050; a new consenter needs one that no other ever had"},
		"last one": {func(c *Config) error {
			var all error
			for _, host := range []string{"o1", "o2", "o3", "o4"} {
				all = errors.Join(all, c.RemoveConsenter(Address{host, 7050}))
			}
			return all
		}, "consenters: the last one would go"},
	} {
		to := base.Clone()
		if err := c.edit(to); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := ValidateUpdate(base, to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
