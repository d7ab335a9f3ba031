package configtx

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	fabricconfig "github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// step is one edit of a channel, with what the plan must say of it.
type step struct {
	name string
	edit func(*Config) error
	// words are those of the changes, policies whose signatures the update needs.
	words, policies []string
}

const (
	channelAdmins     = "/Channel/Admins"
	ordererAdmins     = "/Channel/Orderer/Admins"
	applicationAdmins = "/Channel/Application/Admins"
)

// steps covers every setter once and more, on the channel of newNetwork.
func steps(t testing.TB, n network) []step {
	org3 := newTestOrganization(t, "Org3MSP")
	fourth := n.orderer.tlsca.tls(t, "orderer3.example.com")
	renewed := n.orderer.tlsca.tls(t, "orderer1.example.com")
	newRoot := newAuthority(t, "new tlsca.Org1MSP", nil)
	secondRoot := newAuthority(t, "second ca.Org1MSP", nil)
	org1 := n.org1.Definition
	org1.RootCertificates = append(slices.Clone(org1.RootCertificates), secondRoot.pem)
	consenter := func(l leaf, host string) Consenter {
		return Consenter{Host: host, Port: 7050, ClientTLSCertPEM: l.pem, ServerTLSCertPEM: l.pem}
	}
	describe := func(text string) string { return describeCertificate([]byte(text)) }
	longer, empty := n.org2.issuer.crl(t, 42, 43), n.orderer.ca.crl(t)
	return []step{
		{
			"batch", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 10, Timeout: time.Second}) },
			[]string{"batch max_message_count 500 → 10", "batch timeout 2s → 1s"},
			[]string{ordererAdmins},
		},
		{
			"Raft options", func(c *Config) error {
				return c.SetRaftOptions(RaftOptions{TickInterval: 100 * time.Millisecond, SnapshotIntervalSize: 1 << 20})
			},
			[]string{"Raft tick_interval 500ms → 100ms", "Raft snapshot_interval_size 16777216 → 1048576"},
			[]string{ordererAdmins},
		},
		{
			"channel capability", func(c *Config) error { return c.SetChannelCapability("V3_0") },
			[]string{"channel capability V2_0 → V3_0"},
			[]string{channelAdmins},
		},
		{
			"application capability", func(c *Config) error { return c.SetApplicationCapability("V2_0") },
			[]string{"application capability V2_5 → V2_0"},
			[]string{applicationAdmins},
		},
		{
			"first ACLs", func(c *Config) error {
				return c.SetACLs(map[string]string{"peer/Propose": "Writers", "event/Block": "/Channel/Application/Readers"})
			},
			[]string{"ACL of event/Block added: /Channel/Application/Readers", "ACL of peer/Propose added: Writers"},
			[]string{applicationAdmins},
		},
		{
			"application policies", func(c *Config) error {
				return c.SetApplicationPolicies(map[string]string{"Endorsement": "ANY Endorsement", "Auditors": "OR('Org1MSP.client')"})
			},
			[]string{"policy /Channel/Application/Auditors added: OR('Org1MSP.client')", "policy /Channel/Application/Endorsement: MAJORITY Endorsement → ANY Endorsement"},
			[]string{applicationAdmins},
		},
		{
			"organization added", func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{Definition: org3.Definition, AnchorPeers: []Address{{"peer0.org3.example.com", 7051}}})
			},
			[]string{
				"organization Org3MSP added",
				"policy /Channel/Application/Org3MSP/Admins added: OR('Org3MSP.admin')",
				"anchor peer peer0.org3.example.com:7051 of Org3MSP added",
				"policy /Channel/Application/Org3MSP/Endorsement added: OR('Org3MSP.peer')",
				"Org3MSP enrolment root added: " + describe(org3.ca.pem),
				"Org3MSP TLS root added: " + describe(org3.tlsca.pem),
				"Org3MSP NodeOUs on",
				"policy /Channel/Application/Org3MSP/Readers added: OR('Org3MSP.member')",
				"policy /Channel/Application/Org3MSP/Writers added: OR('Org3MSP.member')",
			},
			[]string{applicationAdmins},
		},
		{
			"organization removed", func(c *Config) error { return c.RemoveApplicationOrganization("org-2.example.com") },
			[]string{"organization org-2.example.com removed"},
			[]string{applicationAdmins},
		},
		{
			"anchor peers", func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{
					Definition: n.org1.Definition, AnchorPeers: []Address{{"peer1.org1.example.com", 8051}, {"peer2.org1.example.com", 9051}},
				})
			},
			[]string{"anchor peer peer0.org1.example.com:7051 of Org1MSP removed", "anchor peer peer2.org1.example.com:9051 of Org1MSP added"},
			[]string{"/Channel/Application/Org1MSP/Admins"},
		},
		{
			"first anchor peer", func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{Definition: n.org2.Definition, AnchorPeers: []Address{{"peer0.org2.example.com", 7051}}})
			},
			[]string{"anchor peer peer0.org2.example.com:7051 of org-2.example.com added"},
			[]string{"/Channel/Application/org-2.example.com/Admins"},
		},
		{
			"second enrolment root", func(c *Config) error { return c.SetDefinition(org1) },
			[]string{
				"Org1MSP enrolment root added: " + describe(secondRoot.pem),
				"Org1MSP NodeOU client: unit client of " + describe(n.org1.ca.pem) + " → unit client of any CA",
				"Org1MSP NodeOU peer: unit peer of " + describe(n.org1.ca.pem) + " → unit peer of any CA",
				"Org1MSP NodeOU admin: unit admin of " + describe(n.org1.ca.pem) + " → unit admin of any CA",
				"Org1MSP NodeOU orderer: unit orderer of " + describe(n.org1.ca.pem) + " → unit orderer of any CA",
			},
			[]string{"/Channel/Application/Org1MSP/Admins"},
		},
		{
			"TLS root added", func(c *Config) error { return c.AddTLSRoot("Org1MSP", newRoot.pem) },
			[]string{"Org1MSP TLS root added: " + describe(newRoot.pem)},
			[]string{"/Channel/Application/Org1MSP/Admins"},
		},
		{
			"revocation list", func(c *Config) error { return c.SetRevocationLists("org-2.example.com", []string{longer}) },
			[]string{"org-2.example.com revocation list: 1 certificate (serial 2a) → 2 certificates (serials 2a, 2b)"},
			[]string{"/Channel/Application/org-2.example.com/Admins"},
		},
		{
			"revocation list of an orderer organization", func(c *Config) error { return c.SetRevocationLists("OrdererMSP", []string{empty}) },
			[]string{"OrdererMSP revocation list added: 0 certificates"},
			[]string{"/Channel/Orderer/OrdererMSP/Admins"},
		},
		{
			"endpoints", func(c *Config) error {
				return c.SetEndpoints("OrdererMSP", []string{"orderer3.example.com:7050", "10.0.0.3:7050", "orderer0.example.com:7050"})
			},
			[]string{"orderer endpoint orderer1.example.com:7050 of OrdererMSP removed", "orderer endpoint orderer3.example.com:7050 of OrdererMSP added"},
			[]string{"/Channel/Orderer/OrdererMSP/Admins"},
		},
		{
			"consenter added", func(c *Config) error { return c.AddConsenter(consenter(fourth, "orderer3.example.com")) },
			[]string{"consenter orderer3.example.com:7050 added"},
			[]string{ordererAdmins},
		},
		{
			"consenter removed", func(c *Config) error { return c.RemoveConsenter(Address{"orderer1.example.com", 7050}) },
			[]string{"consenter orderer1.example.com:7050 removed"},
			[]string{ordererAdmins},
		},
		{
			"consenter replaced", func(c *Config) error {
				return c.ReplaceConsenter(Address{"orderer1.example.com", 7050}, consenter(renewed, "orderer1.example.com"))
			},
			[]string{
				"consenter orderer1.example.com:7050 client_tls_certificate: " + describe(n.nodes[1].pem) + " → " + describe(renewed.pem),
				"consenter orderer1.example.com:7050 server_tls_certificate: " + describe(n.nodes[1].pem) + " → " + describe(renewed.pem),
			},
			[]string{ordererAdmins},
		},
		{
			"orderer organization added", func(c *Config) error {
				return c.SetOrdererOrganization(OrdererOrganization{Definition: n.org1.Definition, Endpoints: []string{"orderer0.org1.example.com:7050"}})
			},
			[]string{
				"orderer organization Org1MSP added",
				"policy /Channel/Orderer/Org1MSP/Admins added: OR('Org1MSP.admin')",
				"orderer endpoint orderer0.org1.example.com:7050 of Org1MSP added",
				"Org1MSP enrolment root added: " + describe(n.org1.ca.pem),
				"Org1MSP TLS root added: " + describe(n.org1.tlsca.pem),
				"Org1MSP NodeOUs on",
				"policy /Channel/Orderer/Org1MSP/Readers added: OR('Org1MSP.member')",
				"policy /Channel/Orderer/Org1MSP/Writers added: OR('Org1MSP.member')",
			},
			[]string{ordererAdmins},
		},
		{
			"mod_policy", func(c *Config) error {
				c.Proto.ChannelGroup.Groups["Orderer"].Values["BatchSize"].ModPolicy = "/Channel/Admins"
				c.Proto.ChannelGroup.Groups["Application"].ModPolicy = "/Channel/Admins"
				return nil
			},
			[]string{"mod_policy of /Channel/Application: Admins → /Channel/Admins", "mod_policy of /Channel/Orderer/BatchSize: Admins → /Channel/Admins"},
			[]string{applicationAdmins, ordererAdmins},
		},
		{
			"several at once", func(c *Config) error {
				return errors.Join(c.SetBatch(Batch{MaxMessageCount: 1}), c.SetACLs(map[string]string{"peer/Propose": "Writers"}), c.SetEndpoints("OrdererMSP", []string{"o:1"}))
			},
			[]string{
				"ACL of peer/Propose added: Writers", "batch max_message_count 500 → 1",
				"orderer endpoint orderer0.example.com:7050 of OrdererMSP removed", "orderer endpoint orderer1.example.com:7050 of OrdererMSP removed",
				"orderer endpoint 10.0.0.3:7050 of OrdererMSP removed", "orderer endpoint o:1 of OrdererMSP added",
			},
			[]string{applicationAdmins, ordererAdmins, "/Channel/Orderer/OrdererMSP/Admins"},
		},
	}
}

func TestUpdates(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	for _, s := range steps(t, n) {
		t.Run(s.name, func(t *testing.T) {
			before := marshal(t, base.Proto)
			to := base.Clone()
			if err := s.edit(to); err != nil {
				t.Fatal(err)
			}
			update := updateBetween(t, base, to)
			changes, err := Changes(base, update)
			if err != nil {
				t.Fatal(err)
			}
			var words []string
			for _, c := range changes {
				words = append(words, c.Words)
			}
			if !slices.Equal(words, s.words) {
				t.Errorf("got the words\n%s\nwant\n%s", strings.Join(words, "\n"), strings.Join(s.words, "\n"))
			}
			if got := policiesOf(t, base, update); !slices.Equal(got, s.policies) {
				t.Errorf("it falls under %q, want %q", got, s.policies)
			}
			for _, c := range changes {
				if c.ModPolicy != "" && !slices.Contains(s.policies, c.ModPolicy) {
					t.Errorf("%q is said to fall under %s", c.Words, c.ModPolicy)
				}
			}
			if err := ValidateUpdate(base, to); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(before, marshal(t, base.Proto)) {
				t.Error("the base was changed")
			}
			// Once more on the result: nothing is left to do.
			again := to.Clone()
			if err := s.edit(again); err != nil {
				t.Fatal(err)
			}
			if _, err := ComputeUpdate(base.Channel, to.Proto, again.Proto); !errors.Is(err, ErrNoChange) {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

func policiesOf(t testing.TB, base *Config, update *common.ConfigUpdate) []string {
	t.Helper()
	requirements, err := Requirements(base, update)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range requirements {
		paths = append(paths, r.Policy)
	}
	return paths
}

// updateBetween computes an update, and checks that it is the one that Fabric's own algorithm gives and
// that applying it gives the second configuration.
func updateBetween(t testing.TB, from, to *Config) *common.ConfigUpdate {
	t.Helper()
	update, err := ComputeUpdate(from.Channel, from.Proto, to.Proto)
	if err != nil {
		t.Fatal(err)
	}
	tx := fabricconfig.New(from.Proto)
	tx.UpdatedConfig().ChannelGroup = proto.Clone(to.Proto.GetChannelGroup()).(*common.ConfigGroup)
	raw, err := tx.ComputeMarshaledUpdate(from.Channel)
	if err != nil {
		t.Fatal(err)
	}
	theirs := &common.ConfigUpdate{}
	if err := proto.Unmarshal(raw, theirs); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(update, theirs) {
		t.Errorf("fabric-config computes another update:\n%v\nwe:\n%v", theirs, update)
	}
	if tool := os.Getenv("CONFIGTXLATOR"); tool != "" {
		compareWithConfigtxlator(t, tool, from, to, update)
	}
	applied, err := Apply(from, update)
	if err != nil {
		t.Fatal(err)
	}
	if applied.Sequence() != from.Sequence()+1 {
		t.Errorf("sequence %d after %d", applied.Sequence(), from.Sequence())
	}
	// fabric-config raises the versions in its own copy, those of new groups too, against what it writes.
	want := tx.UpdatedConfig().GetChannelGroup()
	startAtZero(from.Proto.GetChannelGroup(), want)
	if !proto.Equal(applied.Proto.GetChannelGroup(), want) {
		t.Error("the update does not give the configuration that it was computed for")
	}
	for range 5 {
		again, err := ComputeUpdate(from.Channel, from.Proto, to.Proto)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mustMarshalUpdate(t, again), mustMarshalUpdate(t, update)) {
			t.Fatal("the bytes of the update differ from time to time")
		}
	}
	return update
}

func startAtZero(from, to *common.ConfigGroup) {
	for name, sub := range to.GetGroups() {
		if _, ok := from.GetGroups()[name]; !ok {
			sub.Version = 0
		}
		startAtZero(from.GetGroups()[name], sub)
	}
}

func mustMarshalUpdate(t testing.TB, update *common.ConfigUpdate) []byte {
	t.Helper()
	raw, err := MarshalUpdate(update)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func compareWithConfigtxlator(t testing.TB, tool string, from, to *Config, update *common.ConfigUpdate) {
	t.Helper()
	dir := t.TempDir()
	a, b, out := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "update")
	writeFile(t, a, marshal(t, from.Proto))
	writeFile(t, b, marshal(t, to.Proto))
	command(t, tool, "compute_update", "--channel_id", from.Channel, "--original", a, "--updated", b, "--output", out)
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	theirs := &common.ConfigUpdate{}
	if err := proto.Unmarshal(raw, theirs); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(update, theirs) {
		t.Errorf("configtxlator computes another update:\n%v\nwe:\n%v", theirs, update)
	}
}

// TestRandomUpdates takes a channel through many random edits at once, twice in a row, so that versions
// other than 0 are met.
func TestRandomUpdates(t *testing.T) {
	n := newNetwork(t)
	_, genesisConfig := genesis(t, n.channel())
	all := steps(t, n)
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		config := genesisConfig
		var names []string
		for range 3 {
			to := config.Clone()
			for range 1 + random.IntN(4) {
				s := all[random.IntN(len(all))]
				names = append(names, s.name)
				if err := s.edit(to); err != nil && !errors.Is(err, ErrNoOrganization) && !errors.Is(err, ErrNoConsenter) {
					t.Fatalf("%v: %v", names, err)
				}
			}
			mutate(random, to.Proto.GetChannelGroup())
			update := updateBetween(t, config, to)
			changes, err := Changes(config, update)
			if err != nil {
				t.Fatalf("%v: %v", names, err)
			}
			if len(changes) == 0 {
				t.Fatalf("%v: no changes in words of %v", names, update)
			}
			checkPolicies(t, config, update, changes)
			if config, err = Apply(config, update); err != nil {
				t.Fatal(err)
			}
			names = append(names, "|")
		}
	}
}

// checkPolicies checks that the changes name exactly the policies that the update needs.
func checkPolicies(t testing.TB, base *Config, update *common.ConfigUpdate, changes []Change) {
	t.Helper()
	named := map[string]bool{}
	for _, c := range changes {
		if c.ModPolicy != "" {
			named[c.ModPolicy] = true
		}
		if c.Words == "" || c.Path == "" || c.Kind == "" || c.Action == "" {
			t.Errorf("the change %+v says too little", c)
		}
	}
	if got, want := slices.Sorted(maps.Keys(named)), policiesOf(t, base, update); !slices.Equal(got, want) {
		t.Errorf("the changes fall under %q, the update under %q", got, want)
	}
}

// mutate changes, adds and removes elements anywhere, as no setter does.
func mutate(random *rand.Rand, group *common.ConfigGroup) {
	pick := func(all []string) (string, bool) {
		slices.Sort(all)
		if len(all) == 0 || random.IntN(6) > 0 {
			return "", false
		}
		return all[random.IntN(len(all))], true
	}
	if name, ok := pick(slices.Collect(maps.Keys(group.Policies))); ok {
		group.Policies[name].ModPolicy = "/Channel/Admins"
	}
	if name, ok := pick(slices.Collect(maps.Keys(group.Policies))); ok && name != policyAdmins {
		delete(group.Policies, name)
	}
	if random.IntN(6) == 0 {
		group.Values[fmt.Sprintf("Later%d", random.IntN(3))] = &common.ConfigValue{ModPolicy: policyAdmins, Value: []byte{byte(random.IntN(256))}}
	}
	for _, name := range slices.Sorted(maps.Keys(group.Groups)) {
		mutate(random, group.Groups[name])
	}
}
