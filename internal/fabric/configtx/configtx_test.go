package configtx

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/smartbft"
	"google.golang.org/protobuf/proto"
)

func genesis(t testing.TB, c Channel) (*common.Block, *Config) {
	t.Helper()
	block, err := Genesis(c)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Decode(block)
	if err != nil {
		t.Fatal(err)
	}
	return block, config
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChannelNames(t *testing.T) {
	for _, name := range []string{"a", "trade", "my-channel.v2", "z9", strings.Repeat("a", 249)} {
		if err := ValidateChannelName(name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"":                       "unable to use an empty channel name",
		strings.Repeat("a", 250): "unable to use a channel name of 250 characters: Fabric allows 249",
		"Trade":                  `unable to use the channel name "Trade": it must start with a letter from a to z`,
		"1trade":                 `unable to use the channel name "1trade": it must start with a letter from a to z`,
		".":                      `unable to use the channel name ".": it must start with a letter from a to z`,
		"..":                     `unable to use the channel name "..": it must start with a letter from a to z`,
		"-a":                     `unable to use the channel name "-a": it must start with a letter from a to z`,
		"my_channel":             `unable to use the channel name "my_channel": '_' at position 3 is not allowed; Fabric allows lower-case letters, digits, dots and hyphens`,
		"myChannel":              `unable to use the channel name "myChannel": 'C' at position 3 is not allowed; Fabric allows lower-case letters, digits, dots and hyphens`,
		"a b":                    `unable to use the channel name "a b": ' ' at position 2 is not allowed; Fabric allows lower-case letters, digits, dots and hyphens`,
		"a\n":                    `unable to use the channel name "a\n": '\n' at position 2 is not allowed; Fabric allows lower-case letters, digits, dots and hyphens`,
		"aé":                     `unable to use the channel name "aé": 'é' at position 2 is not allowed; Fabric allows lower-case letters, digits, dots and hyphens`,
	} {
		if err := ValidateChannelName(name); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	if ValidateMSPID("Org1MSP") != nil || ValidateMSPID("Org 1") == nil || ValidateMSPID("") == nil {
		t.Error("MSP IDs")
	}
}

func TestGenesisBlock(t *testing.T) {
	c := newNetwork(t).channel()
	block, config := genesis(t, c)
	if Number(block) != 0 || len(block.GetHeader().GetPreviousHash()) != 0 {
		t.Errorf("header %v", block.GetHeader())
	}
	sum := sha256.Sum256(block.GetData().GetData()[0])
	if !bytes.Equal(block.GetHeader().GetDataHash(), sum[:]) {
		t.Error("the data hash is not that of the data")
	}
	if config.Channel != "trade" || config.Block != 0 || config.Sequence() != 0 {
		t.Errorf("config %s %d %d", config.Channel, config.Block, config.Sequence())
	}
	if index, err := LastConfigIndex(block); err != nil || index != 0 {
		t.Errorf("last config %d, %v", index, err)
	}
	if n := len(block.GetMetadata().GetMetadata()); n != 5 {
		t.Errorf("%d metadata entries, Fabric makes 5", n)
	}
	again, second := genesis(t, c)
	if bytes.Equal(BlockHash(block), BlockHash(again)) {
		t.Error("two blocks of one channel are one block; Genesis promises a nonce")
	}
	if !bytes.Equal(marshal(t, config.Proto), marshal(t, second.Proto)) {
		t.Error("two blocks of one channel have different configurations")
	}
	now := time.Now()
	one, err := genesisAt(c, now, []byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		two, err := genesisAt(c, now, []byte("nonce"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(marshal(t, one), marshal(t, two)) {
			t.Fatal("the block depends on more than the channel, the time and the nonce")
		}
	}
}

func TestSummarizeGivesBackTheChannel(t *testing.T) {
	n := newNetwork(t)
	c := n.channel()
	c.ChannelCapability = ChannelCapabilityV3_0
	c.ApplicationCapability = ApplicationCapabilityV2_0
	c.Raft = RaftOptions{TickInterval: 100 * time.Millisecond, ElectionTick: 12, HeartbeatTick: 2, MaxInflightBlocks: 7, SnapshotIntervalSize: 1 << 20}
	c.Batch = Batch{Timeout: 1500 * time.Millisecond, MaxMessageCount: 10, AbsoluteMaxBytes: 1 << 20, PreferredMaxBytes: 1 << 19}
	c.Policies = map[string]string{"Admins": "ANY Admins"}
	c.OrdererPolicies = map[string]string{"Special": "OR('OrdererMSP.admin')"}
	c.ApplicationPolicies = map[string]string{"LifecycleEndorsement": "AND('org-2.example.com.peer', 'Org1MSP.peer')", "Endorsement": "ALL Endorsement"}
	c.ApplicationOrganizations[0].Policies = map[string]string{"Readers": "OR('Org1MSP.peer', 'Org1MSP.client', 'Org1MSP.admin')"}
	c.ACLs = map[string]string{"peer/Propose": "/Channel/Application/Writers", "event/Block": "Admins", "qscc/GetChainInfo": "/Channel/Application/Org1MSP/Readers"}
	_, config := genesis(t, c)
	s, err := Summarize(config)
	if err != nil {
		t.Fatal(err)
	}
	var consenters []ConsenterSummary
	for _, consenter := range c.Consenters {
		consenters = append(consenters, ConsenterSummary{Consenter: consenter})
	}
	want := Summary{
		Channel:             "trade",
		ChannelCapabilities: []string{"V3_0"}, OrdererCapabilities: []string{"V2_0"}, ApplicationCapabilities: []string{"V2_0"},
		OrdererOrganizations: []OrganizationSummary{{Name: "OrdererMSP", Definition: n.orderer.Definition, NodeOUs: true, Endpoints: c.OrdererOrganizations[0].Endpoints}},
		ApplicationOrganizations: []OrganizationSummary{
			{Name: "Org1MSP", Definition: n.org1.Definition, NodeOUs: true, AnchorPeers: c.ApplicationOrganizations[0].AnchorPeers},
			{Name: "org-2.example.com", Definition: n.org2.Definition, NodeOUs: true},
		},
		ConsensusType: "etcdraft", ConsensusState: "STATE_NORMAL",
		Consenters: consenters, Raft: c.Raft, Batch: c.Batch,
		ACLs:                c.ACLs,
		ApplicationPolicies: map[string]string{"LifecycleEndorsement": "AND('Org1MSP.peer', 'org-2.example.com.peer')", "Endorsement": "ALL Endorsement"},
		Policies: map[string]string{
			"/Channel/Readers": "ANY Readers", "/Channel/Writers": "ANY Writers", "/Channel/Admins": "ANY Admins",
			"/Channel/Orderer/Readers": "ANY Readers", "/Channel/Orderer/Writers": "ANY Writers", "/Channel/Orderer/Admins": "MAJORITY Admins",
			"/Channel/Orderer/BlockValidation": "ANY Writers", "/Channel/Orderer/Special": "OR('OrdererMSP.admin')",
			"/Channel/Orderer/OrdererMSP/Readers": "OR('OrdererMSP.member')", "/Channel/Orderer/OrdererMSP/Writers": "OR('OrdererMSP.member')", "/Channel/Orderer/OrdererMSP/Admins": "OR('OrdererMSP.admin')",
			"/Channel/Application/Readers": "ANY Readers", "/Channel/Application/Writers": "ANY Writers", "/Channel/Application/Admins": "MAJORITY Admins",
			"/Channel/Application/Endorsement": "ALL Endorsement", "/Channel/Application/LifecycleEndorsement": "AND('Org1MSP.peer', 'org-2.example.com.peer')",
			"/Channel/Application/Org1MSP/Readers": "OR('Org1MSP.admin', 'Org1MSP.client', 'Org1MSP.peer')", "/Channel/Application/Org1MSP/Writers": "OR('Org1MSP.member')",
			"/Channel/Application/Org1MSP/Admins": "OR('Org1MSP.admin')", "/Channel/Application/Org1MSP/Endorsement": "OR('Org1MSP.peer')",
			"/Channel/Application/org-2.example.com/Readers": "OR('org-2.example.com.member')", "/Channel/Application/org-2.example.com/Writers": "OR('org-2.example.com.member')",
			"/Channel/Application/org-2.example.com/Admins": "OR('org-2.example.com.admin')", "/Channel/Application/org-2.example.com/Endorsement": "OR('org-2.example.com.peer')",
		},
	}
	if !reflect.DeepEqual(s, want) {
		got, _ := json.MarshalIndent(s, "", " ")
		expected, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got %s\nwant %s", got, expected)
	}
}

func TestDefaults(t *testing.T) {
	c := newNetwork(t).channel()
	_, config := genesis(t, c)
	s, err := Summarize(config)
	if err != nil {
		t.Fatal(err)
	}
	if want := (RaftOptions{500 * time.Millisecond, 10, 1, 5, 16777216}); s.Raft != want || DefaultRaftOptions() != want {
		t.Errorf("raft %+v", s.Raft)
	}
	if want := (Batch{2 * time.Second, 500, 10485760, 2097152}); s.Batch != want || DefaultBatch() != want {
		t.Errorf("batch %+v", s.Batch)
	}
	if fmt.Sprint(s.ChannelCapabilities, s.OrdererCapabilities, s.ApplicationCapabilities) != "[V2_0] [V2_0] [V2_5]" {
		t.Errorf("capabilities %v %v %v", s.ChannelCapabilities, s.OrdererCapabilities, s.ApplicationCapabilities)
	}
	if s.OrdererAddresses != nil || config.Proto.GetChannelGroup().GetValues()["OrdererAddresses"] != nil {
		t.Error("there are global orderer addresses")
	}
	if s.Policies["/Channel/Application/Endorsement"] != "MAJORITY Endorsement" || s.Policies["/Channel/Application/LifecycleEndorsement"] != "MAJORITY Endorsement" {
		t.Errorf("policies %v", s.Policies)
	}
	// A small absolute limit takes the preferred one with it.
	c.Batch.AbsoluteMaxBytes = 1 << 20
	_, config = genesis(t, c)
	if s, err = Summarize(config); err != nil || s.Batch.PreferredMaxBytes != 1<<20 {
		t.Errorf("batch %+v, %v", s.Batch, err)
	}
}

func TestMSPOfAnOrganization(t *testing.T) {
	n := newNetwork(t)
	_, config := genesis(t, n.channel())
	read := func(group *common.ConfigGroup) *mspproto.FabricMSPConfig {
		outer, inner := &mspproto.MSPConfig{}, &mspproto.FabricMSPConfig{}
		if err := proto.Unmarshal(group.GetValues()["MSP"].GetValue(), outer); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(outer.GetConfig(), inner); err != nil {
			t.Fatal(err)
		}
		return inner
	}
	groups := config.Proto.GetChannelGroup().GetGroups()["Application"].GetGroups()
	for id, want := range map[string]string{"Org1MSP": n.org1.RootCertificates[0], "org-2.example.com": n.org2.IntermediateCertificates[0]} {
		m := read(groups[id])
		ous := m.GetFabricNodeOus()
		if !ous.GetEnable() {
			t.Errorf("%s: NodeOUs are off", id)
		}
		for name, ou := range map[string]*mspproto.FabricOUIdentifier{
			"client": ous.GetClientOuIdentifier(), "peer": ous.GetPeerOuIdentifier(), "admin": ous.GetAdminOuIdentifier(), "orderer": ous.GetOrdererOuIdentifier(),
		} {
			// Fabric wants the CA that issues members, not the root above it.
			if ou.GetOrganizationalUnitIdentifier() != name || string(ou.GetCertificate()) != want {
				t.Errorf("%s: %s is classified by %q", id, name, ou.GetCertificate())
			}
		}
		if m.GetCryptoConfig().GetSignatureHashFamily() != "SHA2" || m.GetCryptoConfig().GetIdentityIdentifierHashFunction() != "SHA256" || len(m.GetAdmins()) != 0 {
			t.Errorf("%s: %v", id, m)
		}
	}
	if lists := read(groups["org-2.example.com"]).GetRevocationList(); len(lists) != 1 || string(lists[0]) != n.org2.RevocationLists[0] {
		t.Errorf("revocation lists %q", lists)
	}
}

func TestConsentersKeepNoTextAroundCertificates(t *testing.T) {
	n := newNetwork(t)
	c := n.channel()
	plain := c.Consenters[0].ServerTLSCertPEM
	c.Consenters[0].ServerTLSCertPEM = "subject=CN = orderer0\n\n" + strings.ReplaceAll(plain, "\n", "\r\n") + "\n\n"
	_, config := genesis(t, c)
	s, err := Summarize(config)
	if err != nil || s.Consenters[0].ServerTLSCertPEM != plain {
		t.Errorf("%q, %v", s.Consenters[0].ServerTLSCertPEM, err)
	}
}

func TestValidate(t *testing.T) {
	n := newNetwork(t)
	other := newTestOrganization(t, "OtherMSP")
	expired := n.orderer.tlsca.tlsFor(t, -time.Minute, "orderer0.example.com")
	for name, c := range map[string]struct {
		change func(*Channel)
		// want is a field and a part of the reason, of each problem.
		want [][2]string
	}{
		"valid": {func(*Channel) {}, nil},
		"one of each": {func(c *Channel) {
			c.Consenters = c.Consenters[:1]
			c.ApplicationOrganizations = c.ApplicationOrganizations[:1]
		}, nil},
		"name": {func(c *Channel) { c.Name = "Trade" }, [][2]string{{"name", "must start with a letter"}}},
		"nothing there": {func(c *Channel) { *c = Channel{Name: "trade"} }, [][2]string{
			{"orderer_organizations", "there is none"}, {"application_organizations", "there is none"}, {"consenters", "there is none"},
		}},
		"capabilities": {func(c *Channel) {
			c.ChannelCapability, c.OrdererCapability, c.ApplicationCapability = "V1_4_3", "V3_0", "V9"
		}, [][2]string{
			{"channel_capability", `"V1_4_3" is unknown; a new channel can have V2_0 or V3_0`}, {"orderer_capability", "V3_0"}, {"application_capability", "V9"},
		}},
		"organization twice": {func(c *Channel) {
			c.ApplicationOrganizations = append(c.ApplicationOrganizations, c.ApplicationOrganizations[0])
			c.OrdererOrganizations = append(c.OrdererOrganizations, c.OrdererOrganizations[0])
		}, [][2]string{{"orderer_organizations[OrdererMSP]", "twice"}, {"application_organizations[Org1MSP]", "twice"}}},
		"organization in both groups": {func(c *Channel) {
			c.ApplicationOrganizations = append(c.ApplicationOrganizations, ApplicationOrganization{Definition: n.orderer.Definition})
		}, nil},
		"organization in both groups, differently": {func(c *Channel) {
			d := n.orderer.Definition
			d.RootCertificates = append(slices.Clone(d.RootCertificates), other.ca.pem)
			c.ApplicationOrganizations = append(c.ApplicationOrganizations, ApplicationOrganization{Definition: d})
		}, [][2]string{{"application_organizations[OrdererMSP].definition", "one definition of an MSP"}}},
		"definition": {func(c *Channel) {
			c.ApplicationOrganizations[0].Definition.TLSRootCertificates = nil
			c.ApplicationOrganizations[1].Definition.RootCertificates = []string{n.nodes[0].pem}
		}, [][2]string{{"application_organizations[Org1MSP].definition", "no TLS root"}, {"application_organizations[org-2.example.com].definition", "not a CA"}}},
		"MSP ID": {func(c *Channel) {
			c.ApplicationOrganizations[0].Definition.ID = "Org_1"
			c.ApplicationOrganizations[1].Definition.ID = ""
		}, [][2]string{
			{"application_organizations[Org_1].definition", "letters, digits, dots and hyphens"},
			{"application_organizations[1].definition", "empty MSP ID"},
		}},
		"endpoints": {func(c *Channel) {
			c.OrdererOrganizations[0].Endpoints = []string{"orderer0:7050", "orderer0", "orderer0:0", "orderer0:70500", ":7050", "orderer0:7050", "[::1]:7050", "orderer0:http"}
		}, [][2]string{
			{"orderer_organizations[OrdererMSP].endpoints[1]", "not of the form host:port"},
			{"orderer_organizations[OrdererMSP].endpoints[2]", "between 1 and 65535"},
			{"orderer_organizations[OrdererMSP].endpoints[3]", "between 1 and 65535"},
			{"orderer_organizations[OrdererMSP].endpoints[4]", "not of the form host:port"},
			{"orderer_organizations[OrdererMSP].endpoints[5]", "twice"},
			{"orderer_organizations[OrdererMSP].endpoints[7]", "between 1 and 65535"},
		}},
		"no endpoints": {func(c *Channel) { c.OrdererOrganizations[0].Endpoints = nil }, [][2]string{{"orderer_organizations[OrdererMSP].endpoints", "there is none"}}},
		"anchor peers": {func(c *Channel) {
			c.ApplicationOrganizations[0].AnchorPeers = []Address{{"peer0", 7051}, {"", 7051}, {"peer0", 0}, {"peer0", 65536}, {"peer0", 7051}}
		}, [][2]string{
			{"application_organizations[Org1MSP].anchor_peers[1].host", "empty"},
			{"application_organizations[Org1MSP].anchor_peers[2].port", "0 is not between"},
			{"application_organizations[Org1MSP].anchor_peers[3].port", "65536 is not between"},
			{"application_organizations[Org1MSP].anchor_peers[4]", "peer0:7051 is there twice"},
		}},
		"consenter address": {func(c *Channel) {
			c.Consenters[1].Host = c.Consenters[0].Host
			c.Consenters[1].ServerTLSCertPEM = n.orderer.tlsca.tls(t, c.Consenters[0].Host).pem
			c.Consenters[2].Port = -1
		}, [][2]string{{"consenters[1]", "already the address of consenters[0]"}, {"consenters[2].port", "-1 is not between"}}},
		"consenter host not in certificate": {func(c *Channel) { c.Consenters[0].Host = "orderer9.example.com" }, [][2]string{
			{"consenters[0].server_tls_certificate", "is not for orderer9.example.com"},
		}},
		"consenter certificate missing": {func(c *Channel) { c.Consenters[0].ClientTLSCertPEM = "" }, [][2]string{{"consenters[0].client_tls_certificate", "no PEM"}}},
		"consenter certificate of another CA": {func(c *Channel) {
			pem := other.tlsca.tls(t, "orderer0.example.com").pem
			c.Consenters[0].ClientTLSCertPEM, c.Consenters[0].ServerTLSCertPEM = pem, pem
		}, [][2]string{{"consenters[0].client_tls_certificate", "the TLS roots of the orderer organizations"}, {"consenters[0].server_tls_certificate", "the TLS roots of the orderer organizations"}}},
		"consenter certificate expired": {func(c *Channel) { c.Consenters[0].ServerTLSCertPEM = expired.pem }, [][2]string{{"consenters[0].server_tls_certificate", "expired"}}},
		"consenter certificate shared": {func(c *Channel) { c.Consenters[1].ClientTLSCertPEM = c.Consenters[0].ClientTLSCertPEM }, [][2]string{
			{"consenters[1].client_tls_certificate", "already that of consenters[0]"},
		}},
		"raft": {func(c *Channel) { c.Raft = RaftOptions{TickInterval: -1, ElectionTick: 3, HeartbeatTick: 3} }, [][2]string{
			{"raft.tick_interval", "negative"}, {"raft.election_tick", "3 must be more than heartbeat_tick, which is 3"},
		}},
		"batch": {func(c *Channel) { c.Batch = Batch{Timeout: -time.Second, AbsoluteMaxBytes: 10, PreferredMaxBytes: 11} }, [][2]string{
			{"batch.timeout", "negative"}, {"batch.preferred_max_bytes", "11 is more than absolute_max_bytes, which is 10"},
		}},
		"policies": {func(c *Channel) {
			c.Policies = map[string]string{"Admins": "SOME Admins", "bad name": "ANY Admins"}
			c.OrdererPolicies = map[string]string{"BlockValidation": "OR('NoMSP.member')"}
			c.ApplicationPolicies = map[string]string{"Endorsement": "ALL Endorsment", "Admins": "MAJORITY"}
			c.ApplicationOrganizations[0].Policies = map[string]string{"Readers": "ANY Readers", "Writers": "OR('Org1MSP.Member')"}
		}, [][2]string{
			{"policies[Admins]", `at column 1: unexpected "SOME"`},
			{"policies[bad name]", "the policy name holds ' '"},
			{"orderer_policies[BlockValidation]", "names the MSP NoMSP, which is not in the channel; its MSPs are OrdererMSP, Org1MSP, org-2.example.com"},
			{"application_policies[Endorsement]", `"ALL Endorsment" can never be met: it wants the policy Endorsment of 2 of the 2 groups below /Channel/Application, and 0 have one`},
			{"application_policies[Admins]", "one policy name must follow MAJORITY"},
			{"application_organizations[Org1MSP].policies[Readers]", "would let everybody through"},
			{"application_organizations[Org1MSP].policies[Writers]", "lower case"},
		}},
		"policy of another organization": {func(c *Channel) {
			c.ApplicationOrganizations[0].Policies = map[string]string{"Admins": "AND('Org1MSP.admin', 'org-2.example.com.admin')", "Extra": "OR('Org1MSP.peer')"}
			c.ApplicationPolicies = map[string]string{"More": "ANY Extra"}
		}, nil},
		"too few groups have the policy": {func(c *Channel) {
			c.ApplicationOrganizations[0].Policies = map[string]string{"Extra": "OR('Org1MSP.peer')"}
			c.ApplicationPolicies = map[string]string{"More": "MAJORITY Extra"}
		}, [][2]string{{"application_policies[More]", "wants the policy Extra of 2 of the 2 groups below /Channel/Application, and 1 have one"}}},
		"ACLs": {func(c *Channel) {
			c.ACLs = map[string]string{"peer/Propse": "/Channel/Application/Writers", "peer/Propose": "/Channel/Application/Writer", "event/Block": "Nobody", "qscc/GetChainInfo": "", "event/FilteredBlock": "/Channel/Orderer/Readers"}
		}, [][2]string{
			{"acls[peer/Propse]", "no such resource"}, {"acls[peer/Propose]", `no policy "/Channel/Application/Writer"`},
			{"acls[event/Block]", `no policy "/Channel/Application/Nobody"`}, {"acls[qscc/GetChainInfo]", `no policy "/Channel/Application/"`},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			channel := n.channel()
			c.change(&channel)
			err := channel.Validate()
			block, genesisErr := Genesis(channel)
			if len(c.want) == 0 {
				if err != nil || genesisErr != nil {
					t.Fatalf("%v; %v", err, genesisErr)
				}
				return
			}
			if block != nil || genesisErr == nil || genesisErr.Error() != err.Error() {
				t.Errorf("Genesis says %v", genesisErr)
			}
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v", err)
			}
			left := slices.Clone(invalid.Problems)
			for _, want := range c.want {
				i := slices.IndexFunc(left, func(p Problem) bool { return p.Field == want[0] && strings.Contains(p.Reason, want[1]) })
				if i < 0 {
					t.Errorf("missing: %s: … %s", want[0], want[1])
					continue
				}
				left = slices.Delete(left, i, i+1)
			}
			for _, p := range left {
				t.Errorf("too much: %s: %s", p.Field, p.Reason)
			}
			if !strings.HasPrefix(err.Error(), "unable to make the channel "+channel.Name+": ") {
				t.Errorf("error %q", err)
			}
		})
	}
}

func TestACLResources(t *testing.T) {
	all := ACLResources()
	if !slices.IsSorted(all) || !slices.Contains(all, "peer/Propose") || slices.Contains(all, "cscc/JoinChain") {
		t.Errorf("%v", all)
	}
	all[0] = "changed"
	if ACLResources()[0] == "changed" {
		t.Error("the list is shared")
	}
}

func TestJSONIsOneTextPerConfiguration(t *testing.T) {
	c := newNetwork(t).channel()
	c.ACLs = map[string]string{"peer/Propose": "/Channel/Application/Writers", "event/Block": "Readers", "event/FilteredBlock": "Readers"}
	block, config := genesis(t, c)
	first, err := JSON(config)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		// Bytes in another order of maps are the same configuration.
		loose, err := proto.Marshal(config.Proto)
		if err != nil {
			t.Fatal(err)
		}
		copied := &common.Config{}
		if err := proto.Unmarshal(loose, copied); err != nil {
			t.Fatal(err)
		}
		text, err := JSON(&Config{Channel: config.Channel, Proto: copied})
		if err != nil || !bytes.Equal(text, first) {
			t.Fatalf("the text changed, %v", err)
		}
	}
	if !strings.HasSuffix(string(first), "}\n") {
		t.Error("the text does not end with a line break")
	}
	var tree struct {
		Sequence     string `json:"sequence"`
		ChannelGroup struct {
			Groups map[string]struct {
				Groups map[string]struct {
					Values map[string]struct {
						Value json.RawMessage `json:"value"`
					} `json:"values"`
				} `json:"groups"`
				Values map[string]struct {
					Value json.RawMessage `json:"value"`
				} `json:"values"`
			} `json:"groups"`
		} `json:"channel_group"`
	}
	if err := json.Unmarshal(first, &tree); err != nil {
		t.Fatal(err)
	}
	if tree.Sequence != "0" {
		t.Errorf("sequence %q", tree.Sequence)
	}
	anchors := compact(t, tree.ChannelGroup.Groups["Application"].Groups["Org1MSP"].Values["AnchorPeers"].Value)
	if anchors != `{"anchor_peers":[{"host":"peer0.org1.example.com","port":7051},{"host":"peer1.org1.example.com","port":8051}]}` {
		t.Error(anchors)
	}
	if timeout := compact(t, tree.ChannelGroup.Groups["Orderer"].Values["BatchTimeout"].Value); timeout != `{"timeout":"2s"}` {
		t.Error(timeout)
	}
	// Neither JSON nor Summarize touches the configuration.
	if _, err := Summarize(config); err != nil {
		t.Fatal(err)
	}
	again, err := Decode(block)
	if err != nil || !proto.Equal(again.Proto, config.Proto) {
		t.Errorf("the configuration changed, %v", err)
	}
}

func compact(t testing.TB, text []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// rewrap puts a changed configuration into a block of its own.
func rewrap(t testing.TB, config *common.Config, header *common.ChannelHeader, number uint64) *common.Block {
	t.Helper()
	data := &common.BlockData{Data: [][]byte{marshal(t, &common.Envelope{Payload: marshal(t, &common.Payload{
		Header: &common.Header{ChannelHeader: marshal(t, header)}, Data: marshal(t, &common.ConfigEnvelope{Config: config}),
	})})}}
	return &common.Block{Header: &common.BlockHeader{Number: number, DataHash: dataHash(data)}, Data: data}
}

func TestDecode(t *testing.T) {
	_, config := genesis(t, newNetwork(t).channel())
	header := &common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: "trade"}
	config.Proto.Sequence = 3
	later, err := Decode(rewrap(t, config.Proto, header, 17))
	if err != nil || later.Block != 17 || later.Sequence() != 3 || later.Channel != "trade" {
		t.Errorf("%+v, %v", later, err)
	}
	fromData := func(data ...[]byte) *common.Block {
		d := &common.BlockData{Data: data}
		return &common.Block{Header: &common.BlockHeader{DataHash: dataHash(d)}, Data: d}
	}
	tampered := rewrap(t, config.Proto, header, 1)
	tampered.Data.Data[0] = append(tampered.Data.Data[0], 0)
	for name, c := range map[string]struct {
		block     *common.Block
		want      string
		notConfig bool
	}{
		"nil":              {nil, "no header", false},
		"no header":        {&common.Block{}, "no header", false},
		"tampered":         {tampered, "does not match the hash", false},
		"no data":          {fromData(), "holds 0 transactions", true},
		"two transactions": {fromData([]byte{}, []byte{}), "holds 2 transactions", true},
		"transaction":      {rewrap(t, config.Proto, &common.ChannelHeader{Type: int32(common.HeaderType_ENDORSER_TRANSACTION)}, 1), "ENDORSER_TRANSACTION", true},
		"no configuration": {rewrap(t, nil, header, 1), "empty", false},
		"no group":         {rewrap(t, &common.Config{}, header, 1), "empty", false},
		"bad envelope":     {fromData([]byte{0xff}), "envelope is damaged", false},
		"bad payload":      {fromData(marshal(t, &common.Envelope{Payload: []byte{0xff}})), "payload is damaged", false},
		"bad header": {fromData(marshal(t, &common.Envelope{Payload: marshal(t, &common.Payload{Header: &common.Header{ChannelHeader: []byte{0xff}}})})),
			"channel header is damaged", false},
		"bad configuration": {fromData(marshal(t, &common.Envelope{Payload: marshal(t, &common.Payload{Header: &common.Header{ChannelHeader: marshal(t, header)}, Data: []byte{0xff}})})),
			"configuration is damaged", false},
	} {
		config, err := Decode(c.block)
		if config != nil || err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotConfig) != c.notConfig {
			t.Errorf("%s: %v, %v", name, config, err)
		}
	}
}

func TestBlockHash(t *testing.T) {
	// The hash of SEQUENCE { INTEGER 18446744073709551615, OCTET STRING 0102, OCTET STRING 03 }.
	der, err := hex.DecodeString("3012" + "020900ffffffffffffffff" + "04020102" + "040103")
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(der)
	got := BlockHash(&common.Block{Header: &common.BlockHeader{Number: 1<<64 - 1, PreviousHash: []byte{1, 2}, DataHash: []byte{3}}})
	if !bytes.Equal(got, want[:]) {
		t.Errorf("%x, want %x", got, want)
	}
}

func TestLastConfigIndex(t *testing.T) {
	block := func(metadata ...[]byte) *common.Block {
		return &common.Block{Header: &common.BlockHeader{Number: 9}, Metadata: &common.BlockMetadata{Metadata: metadata}}
	}
	wrap := func(m proto.Message) []byte { return marshal(t, &common.Metadata{Value: marshal(t, m)}) }
	for name, c := range map[string]struct {
		block *common.Block
		want  uint64
		err   string
	}{
		"in the signatures":      {block(wrap(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{Index: 7}})), 7, ""},
		"in an entry of its own": {block(nil, wrap(&common.LastConfig{Index: 5})), 5, ""},
		"nowhere":                {block(), 0, "no such metadata"},
		"only signatures, empty": {block(nil), 0, "no such metadata"},
		"damaged":                {block([]byte{0xff}), 0, "damaged"},
		"damaged value":          {block(marshal(t, &common.Metadata{Value: []byte{0xff}})), 0, "damaged"},
		"damaged entry":          {block(nil, marshal(t, &common.Metadata{Value: []byte{0xff}})), 0, "damaged"},
	} {
		got, err := LastConfigIndex(c.block)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func value(t testing.TB, m proto.Message) *common.ConfigValue {
	return &common.ConfigValue{Value: marshal(t, m)}
}

func TestSummarizeOtherChannels(t *testing.T) {
	_, config := genesis(t, newNetwork(t).channel())
	group := func() *common.ConfigGroup {
		return proto.Clone(config.Proto.GetChannelGroup()).(*common.ConfigGroup)
	}
	summarize := func(g *common.ConfigGroup) (Summary, error) {
		return Summarize(&Config{Channel: "trade", Proto: &common.Config{ChannelGroup: g}})
	}
	t.Run("SmartBFT and global addresses", func(t *testing.T) {
		g := group()
		g.Values["OrdererAddresses"] = value(t, &common.OrdererAddresses{Addresses: []string{"a:1"}})
		o := g.Groups["Orderer"]
		o.Values["ConsensusType"] = value(t, &orderer.ConsensusType{Type: "BFT", State: orderer.ConsensusType_STATE_MAINTENANCE, Metadata: marshal(t, &smartbft.Options{RequestBatchMaxCount: 1})})
		o.Values["Orderers"] = value(t, &common.Orderers{ConsenterMapping: []*common.Consenter{{Id: 4, Host: "h", Port: 7050, MspId: "M", Identity: []byte("i"), ClientTlsCert: []byte("c"), ServerTlsCert: []byte("s")}}})
		o.Policies["BlockValidation"].Policy = &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: marshal(t, &common.SignaturePolicyEnvelope{
			Identities: []*mspproto.MSPPrincipal{{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: marshal(t, &mspproto.SerializedIdentity{Mspid: "M", IdBytes: []byte("i")})}},
			Rule:       &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{}},
		})}
		s, err := summarize(g)
		if err != nil {
			t.Fatal(err)
		}
		want := []ConsenterSummary{{Consenter: Consenter{Host: "h", Port: 7050, ClientTLSCertPEM: "c", ServerTLSCertPEM: "s", ID: 4, MSPID: "M", IdentityPEM: "i"}}}
		if !reflect.DeepEqual(s.Consenters, want) || s.ConsensusType != "BFT" || s.ConsensusState != "STATE_MAINTENANCE" || s.Raft != (RaftOptions{}) {
			t.Errorf("%+v", s.Consenters)
		}
		if s.Policies["/Channel/Orderer/BlockValidation"] != "identity('M', 'unreadable certificate')" || !slices.Equal(s.OrdererAddresses, []string{"a:1"}) {
			t.Errorf("%q %v", s.Policies["/Channel/Orderer/BlockValidation"], s.OrdererAddresses)
		}
		if _, err := JSON(&Config{Channel: "trade", Proto: &common.Config{ChannelGroup: g}}); err != nil {
			t.Error(err)
		}
	})
	t.Run("Idemix, and a channel without application", func(t *testing.T) {
		g := group()
		delete(g.Groups, "Application")
		g.Groups["Orderer"].Groups["OrdererMSP"].Values["MSP"] = value(t, &mspproto.MSPConfig{Type: 1, Config: marshal(t, &mspproto.IdemixMSPConfig{Name: "IdemixMSP"})})
		s, err := summarize(g)
		if err != nil || s.ApplicationOrganizations != nil || s.OrdererOrganizations[0].Definition.ID != "IdemixMSP" || s.OrdererOrganizations[0].NodeOUs {
			t.Errorf("%+v, %v", s, err)
		}
	})
	for name, c := range map[string]struct {
		change func(*common.ConfigGroup)
		want   string
	}{
		"no orderer group": {func(g *common.ConfigGroup) { delete(g.Groups, "Orderer") }, "no group Orderer"},
		"damaged value":    {func(g *common.ConfigGroup) { g.Values["Capabilities"].Value = []byte{0xff} }, "the value Capabilities is damaged"},
		"damaged MSP": {func(g *common.ConfigGroup) {
			g.Groups["Orderer"].Groups["OrdererMSP"].Values["MSP"] = value(t, &mspproto.MSPConfig{Config: []byte{0xff}})
		}, "an MSP is damaged"},
		"unknown MSP": {func(g *common.ConfigGroup) {
			g.Groups["Orderer"].Groups["OrdererMSP"].Values["MSP"] = value(t, &mspproto.MSPConfig{Type: 7})
		}, "unknown type 7"},
		"damaged policy": {func(g *common.ConfigGroup) { g.Groups["Orderer"].Policies["Admins"].Policy.Value = []byte{0xff} }, "the policy /Channel/Orderer/Admins"},
		"odd batch timeout": {func(g *common.ConfigGroup) {
			g.Groups["Orderer"].Values["BatchTimeout"] = value(t, &orderer.BatchTimeout{Timeout: "soon"})
		}, "the batch timeout"},
		"damaged metadata": {func(g *common.ConfigGroup) {
			g.Groups["Orderer"].Values["ConsensusType"] = value(t, &orderer.ConsensusType{Type: "etcdraft", Metadata: []byte{0xff}})
		}, "the Raft metadata is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			g := group()
			c.change(g)
			if s, err := summarize(g); err == nil || !strings.Contains(err.Error(), c.want) || !reflect.DeepEqual(s, Summary{}) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("JSON of what protolator does not know", func(t *testing.T) {
		g := group()
		g.Groups["Elsewhere"] = &common.ConfigGroup{}
		if text, err := JSON(&Config{Channel: "trade", Proto: &common.Config{ChannelGroup: g}}); err == nil || text != nil {
			t.Errorf("%s", text)
		}
	})
}

func FuzzDecode(f *testing.F) {
	// The same seeds in every process of the fuzzer. It spends its time on shortening them unless it is
	// run with -fuzzminimizetime 1x.
	block := fixedGenesis(f)
	config, err := Decode(block)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(marshal(f, block))
	f.Add(marshal(f, rewrap(f, config.Proto, &common.ChannelHeader{Type: int32(common.HeaderType_CONFIG)}, 3)))
	f.Add(marshal(f, config.Proto))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// As a block, and, because a mutated block hardly ever keeps its hash, as a configuration.
		block := &common.Block{}
		if proto.Unmarshal(raw, block) == nil {
			_, _ = LastConfigIndex(block)
			_ = BlockHash(block)
			if config, err := Decode(block); err == nil {
				_, _ = JSON(config)
				_, _ = Summarize(config)
			}
		}
		bare := &common.Config{}
		if proto.Unmarshal(raw, bare) != nil {
			return
		}
		config := &Config{Channel: "trade", Proto: bare}
		if text, err := JSON(config); err == nil {
			again, err := JSON(config)
			if err != nil || !bytes.Equal(text, again) || !json.Valid(text) {
				t.Fatalf("the text changed or is no JSON: %v", err)
			}
		}
		_, _ = Summarize(config)
	})
}
