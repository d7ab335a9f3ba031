package configtx

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// foreign is a channel as other tools make it: groups that are not named by MSP IDs, values and fields
// of a later Fabric, versions, mod_policies of its own.
func foreign(t testing.TB, n network) *Config {
	_, c := genesis(t, n.channel())
	group := c.Proto.GetChannelGroup().GetGroups()
	members := group["Application"].Groups
	members["org1"] = members["Org1MSP"]
	delete(members, "Org1MSP")
	orderers := group["Orderer"]
	orderers.Groups["ordererorg"] = orderers.Groups["OrdererMSP"]
	delete(orderers.Groups, "OrdererMSP")
	orderers.Values["Later"] = &common.ConfigValue{Version: 3, ModPolicy: "Admins", Value: []byte{1, 2}}
	size := orderers.Values["BatchSize"]
	// Field 15, a varint: nothing that we know.
	size.Value, size.Version, size.ModPolicy = append(size.Value, 0x78, 0x07), 4, "/Channel/Admins"
	orderers.Version, c.Proto.Sequence = 2, 9
	return c
}

func TestEditsLeaveTheRestAlone(t *testing.T) {
	n := newNetwork(t)
	base := foreign(t, n)
	to := base.Clone()
	err := errors.Join(
		to.SetBatch(Batch{MaxMessageCount: 9}),
		to.SetApplicationOrganization(ApplicationOrganization{Definition: n.org1.Definition, AnchorPeers: []Address{{"new", 1}}}),
		to.SetOrdererOrganization(OrdererOrganization{Definition: n.orderer.Definition, Endpoints: []string{"new:1"}}),
		to.SetApplicationOrganization(ApplicationOrganization{Definition: n.org2.Definition, Policies: map[string]string{"Readers": "OR('org-2.example.com.peer')"}}),
	)
	if err != nil {
		t.Fatal(err)
	}
	groups := to.Proto.GetChannelGroup().GetGroups()
	if got := slices.Sorted(maps.Keys(groups["Application"].GetGroups())); !slices.Equal(got, []string{"org-2.example.com", "org1"}) {
		t.Errorf("application groups %q", got)
	}
	size := groups["Orderer"].GetValues()["BatchSize"]
	if !bytes.Contains(size.GetValue(), []byte{0x78, 0x07}) || size.GetVersion() != 4 || size.GetModPolicy() != "/Channel/Admins" {
		t.Errorf("the batch size lost something: %v", size)
	}
	changes, err := Changes(base, updateBetween(t, base, to))
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, c := range changes {
		words = append(words, c.Words+" | "+c.ModPolicy)
	}
	want := []string{
		"policy /Channel/Application/org-2.example.com/Readers: OR('org-2.example.com.member') → OR('org-2.example.com.peer') | /Channel/Application/org-2.example.com/Admins",
		"anchor peer peer0.org1.example.com:7051 of Org1MSP removed | /Channel/Application/org1/Admins",
		"anchor peer peer1.org1.example.com:8051 of Org1MSP removed | /Channel/Application/org1/Admins",
		"anchor peer new:1 of Org1MSP added | /Channel/Application/org1/Admins",
		"batch max_message_count 500 → 9 | /Channel/Admins",
		"orderer endpoint orderer0.example.com:7050 of OrdererMSP removed | /Channel/Orderer/ordererorg/Admins",
		"orderer endpoint orderer1.example.com:7050 of OrdererMSP removed | /Channel/Orderer/ordererorg/Admins",
		"orderer endpoint 10.0.0.3:7050 of OrdererMSP removed | /Channel/Orderer/ordererorg/Admins",
		"orderer endpoint new:1 of OrdererMSP added | /Channel/Orderer/ordererorg/Admins",
	}
	if !slices.Equal(words, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(words, "\n"), strings.Join(want, "\n"))
	}
}

// TestEditsThatAskForWhatIsThereChangeNothing is about bytes: what says the same stays as it is, however
// it is written.
func TestEditsThatAskForWhatIsThereChangeNothing(t *testing.T) {
	n := newNetwork(t)
	c := n.channel()
	c.ACLs = map[string]string{"peer/Propose": "Writers"}
	c.ApplicationPolicies = map[string]string{"Endorsement": "AND('Org1MSP.peer', 'org-2.example.com.peer')"}
	_, base := genesis(t, c)
	group := base.Proto.GetChannelGroup().GetGroups()["Orderer"]
	group.Values["BatchTimeout"].Value = marshal(t, &orderer.BatchTimeout{Timeout: "2000ms"})
	around := "Certificate:\n" + n.org1.tlsca.pem
	definition := n.org1.Definition
	definition.TLSRootCertificates = []string{around}
	anchors := slices.Clone(c.ApplicationOrganizations[0].AnchorPeers)
	slices.Reverse(anchors)
	consenter := c.Consenters[1]
	consenter.ClientTLSCertPEM = reissue(t, n.orderer.tlsca, n.nodes[1]) // renewed with its key
	to := base.Clone()
	err := errors.Join(
		to.SetBatch(DefaultBatch()), to.SetBatch(Batch{}), to.SetRaftOptions(DefaultRaftOptions()), to.SetRaftOptions(RaftOptions{}),
		to.SetChannelCapability("V2_0"), to.SetOrdererCapability("V2_0"), to.SetApplicationCapability("V2_5"),
		to.SetACLs(map[string]string{"peer/Propose": "Writers"}),
		to.SetApplicationPolicies(map[string]string{"Endorsement": "OutOf(2, 'org-2.example.com.peer', 'Org1MSP.peer')"}),
		to.SetApplicationOrganization(ApplicationOrganization{Definition: definition, AnchorPeers: anchors}),
		to.SetApplicationOrganization(ApplicationOrganization{Definition: n.org2.Definition, Policies: map[string]string{"Admins": "OutOf(1, 'org-2.example.com.admin')"}}),
		to.SetOrdererOrganization(OrdererOrganization{Definition: n.orderer.Definition}),
		to.SetEndpoints("OrdererMSP", []string{"10.0.0.3:7050", "orderer1.example.com:7050", "orderer0.example.com:7050"}),
		to.SetRevocationLists("org-2.example.com", n.org2.RevocationLists),
		to.AddTLSRoot("Org1MSP", around), to.RemoveTLSRoot("Org1MSP", n.org2.tlsca.pem),
		to.SetDefinition(n.orderer.Definition),
		to.AddConsenter(consenter), to.ReplaceConsenter(consenter.address(), consenter),
		to.RemoveConsenter(Address{"absent", 1}), to.RemoveApplicationOrganization("AbsentMSP"), to.RemoveOrdererOrganization("AbsentMSP"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(marshal(t, base.Proto), marshal(t, to.Proto)) {
		changes, _ := Changes(base, updateBetween(t, base, to))
		t.Errorf("something changed: %+v", changes)
	}
	c.Batch = Batch{}
	if revised, err := Revise(base, c); err != nil || !bytes.Equal(marshal(t, base.Proto), marshal(t, revised.Proto)) {
		t.Errorf("the revision changed something, %v", err)
	}
}

// reissue gives another certificate of the same key.
func reissue(t testing.TB, ca *authority, l leaf) string {
	t.Helper()
	root := &certificate.KeyPair{Certificate: ca.cert, Key: ca.key}
	cert, err := certificate.Issue(root, certificate.LeafRequest{
		CommonName: l.cert.Subject.CommonName, Hosts: l.cert.DNSNames, Server: true, Client: true, PublicKey: l.key.Public(), Validity: tenYears / 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(certificate.EncodeCertificate(cert))
}

func TestEditsThatFailLeaveEverything(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	other := newTestOrganization(t, "Org1MSP")
	stranger := n.orderer.tlsca.tls(t, "orderer1.example.com")
	withKeys := func(host string, l leaf) Consenter {
		return Consenter{Host: host, Port: 7050, ClientTLSCertPEM: l.pem, ServerTLSCertPEM: l.pem}
	}
	for name, c := range map[string]struct {
		edit func(*Config) error
		want string
		is   error
	}{
		"policy": {
			func(c *Config) error {
				return c.SetApplicationPolicies(map[string]string{"Admins": "ANY Admins", "Readers": "AND("})
			}, `unable to set the application policies of the channel trade: the policy Readers: at column 5: the policy ends`, nil,
		},
		"policy name": {
			func(c *Config) error {
				return c.SetApplicationPolicies(map[string]string{"a b": "ANY Admins"})
			}, `unable to set the application policies of the channel trade: the policy name "a b" holds ' '; Fabric allows`, nil,
		},
		"policy of an organization": {
			func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{Definition: other.Definition, Policies: map[string]string{"Admins": "nonsense"}})
			}, "unable to set the organization Org1MSP of the channel trade: the policy Admins", nil,
		},
		"definition": {
			func(c *Config) error {
				d := n.org1.Definition
				d.RootCertificates = []string{"nonsense"}
				return c.SetDefinition(d)
			}, "unable to set the definition of Org1MSP of the channel trade: unable to use the MSP Org1MSP: enrolment root 1", nil,
		},
		"MSP ID": {
			func(c *Config) error {
				return c.SetApplicationOrganization(ApplicationOrganization{Definition: newTestOrganization(t, "not allowed").Definition})
			}, "unable to set the organization not allowed of the channel trade: unable to use the MSP ID", nil,
		},
		"definition of nobody": {
			func(c *Config) error { return c.SetDefinition(newTestOrganization(t, "Org9MSP").Definition) },
			"unable to set the definition of Org9MSP of the channel trade: the channel has no such organization", ErrNoOrganization,
		},
		"endpoints of nobody": {
			func(c *Config) error { return c.SetEndpoints("Org1MSP", []string{"a:1"}) },
			"unable to set the orderer endpoints of Org1MSP of the channel trade: the channel has no such organization", ErrNoOrganization,
		},
		"revocation list": {
			func(c *Config) error { return c.SetRevocationLists("Org1MSP", []string{"nonsense"}) },
			"unable to set the revocation lists of Org1MSP of the channel trade: revocation list 1: unable to read", nil,
		},
		"TLS root": {
			func(c *Config) error { return c.AddTLSRoot("Org1MSP", "nonsense") },
			"unable to add a TLS root to Org1MSP of the channel trade: unable to read certificates", nil,
		},
		"other keys": {
			func(c *Config) error { return c.AddConsenter(withKeys("orderer1.example.com", stranger)) },
			"unable to add the consenter orderer1.example.com:7050 of the channel trade: a consenter with other keys is there already; it can be replaced", nil,
		},
		"same keys elsewhere": {
			func(c *Config) error { return c.AddConsenter(withKeys("elsewhere", n.nodes[0])) },
			"unable to add the consenter elsewhere:7050 of the channel trade: the consenter orderer0.example.com:7050 has the same keys", nil,
		},
		"replace nobody": {
			func(c *Config) error {
				return c.ReplaceConsenter(Address{"absent", 7050}, withKeys("absent", stranger))
			},
			"unable to replace the consenter absent:7050 of the channel trade: the channel has no such consenter", ErrNoConsenter,
		},
		"replace by another": {
			func(c *Config) error {
				return c.ReplaceConsenter(Address{"orderer1.example.com", 7050}, withKeys("orderer0.example.com", stranger))
			},
			"unable to replace the consenter orderer1.example.com:7050 of the channel trade: the consenter orderer0.example.com:7050 has its address or its keys", nil,
		},
		"certificate": {
			func(c *Config) error { return c.AddConsenter(Consenter{Host: "h", Port: 1, ClientTLSCertPEM: "x"}) },
			"unable to add the consenter h:1 of the channel trade: its client certificate: unable to read certificates", nil,
		},
		"SmartBFT options": {
			func(c *Config) error { return c.SetBFTOptions(BFTOptions{RequestPoolSize: 1}) },
			"unable to set the SmartBFT options of the channel trade: its consensus is etcdraft and not BFT", nil,
		},
		"no application group": {
			func(c *Config) error {
				d := c.Clone()
				delete(d.Proto.ChannelGroup.Groups, "Application")
				return d.SetACLs(nil)
			}, "unable to set the ACLs of the channel trade: the channel trade has no group /Channel/Application", nil,
		},
		"revision": {
			func(c *Config) error {
				_, err := Revise(c, Channel{ApplicationOrganizations: []ApplicationOrganization{{Definition: newTestOrganization(t, "no good").Definition}}})
				return err
			}, "unable to set the organization no good of the channel trade", nil,
		},
	} {
		to := base.Clone()
		err := c.edit(to)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if !proto.Equal(base.Proto, to.Proto) {
			t.Errorf("%s: the error left a change", name)
		}
	}
}

func TestPoliciesReturnToTheirDefaults(t *testing.T) {
	n := newNetwork(t)
	c := n.channel()
	c.ApplicationPolicies = map[string]string{"Endorsement": "ANY Endorsement", "Auditors": "OR('Org1MSP.client')"}
	_, base := genesis(t, c)
	base.Proto.ChannelGroup.Groups["Application"].Policies["Endorsement"].ModPolicy = "/Channel/Admins"
	to := base.Clone()
	if err := to.SetApplicationPolicies(nil); err != nil {
		t.Fatal(err)
	}
	summary, err := Summarize(to)
	if err != nil {
		t.Fatal(err)
	}
	if len(summary.ApplicationPolicies) != 0 {
		t.Errorf("left %v", summary.ApplicationPolicies)
	}
	if mod := to.Proto.ChannelGroup.Groups["Application"].Policies["Endorsement"].GetModPolicy(); mod != "/Channel/Admins" {
		t.Errorf("the mod_policy became %s", mod)
	}
	before, err := Summarize(base)
	if err != nil {
		t.Fatal(err)
	}
	kept := base.Clone()
	if err := kept.SetApplicationPolicies(before.ApplicationPolicies); err != nil || !proto.Equal(kept.Proto, base.Proto) {
		t.Errorf("what Summarize gives does not keep everything, %v", err)
	}
}

// TestOrganizationInBothGroups is about Fabric's rule that a channel has one definition of an MSP.
func TestOrganizationInBothGroups(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	legacy := base.Clone()
	editX509(t, legacy, "OrdererMSP", func(m *mspproto.FabricMSPConfig) {
		m.FabricNodeOus, m.Admins = nil, [][]byte{n.orderer.identity(t, "admin", "admin").CertificatePEM}
	})
	newRoot := newAuthority(t, "new tlsca", nil)
	definition := n.orderer.Definition
	definition.TLSRootCertificates = append(slices.Clone(definition.TLSRootCertificates), newRoot.pem)
	for name, base := range map[string]*Config{"NodeOUs": base, "legacy": legacy} {
		to := base.Clone()
		// The orderer organization joins as a member, with one more root than it has so far.
		member := ApplicationOrganization{Definition: definition, Policies: map[string]string{"Endorsement": "OR('OrdererMSP.member')"}}
		if err := to.SetApplicationOrganization(member); err != nil {
			t.Fatal(err)
		}
		msp := func(group string) []byte {
			return to.Proto.ChannelGroup.Groups[group].Groups["OrdererMSP"].Values["MSP"].GetValue()
		}
		if !bytes.Equal(msp("Orderer"), msp("Application")) {
			t.Errorf("%s: the channel has two definitions of one MSP", name)
		}
		if err := ValidateUpdate(base, to); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := to.SetRevocationLists("OrdererMSP", []string{n.orderer.ca.crl(t, 1)}); err != nil || !bytes.Equal(msp("Orderer"), msp("Application")) {
			t.Errorf("%s: the revocation list is not in both groups, %v", name, err)
		}
		if err := to.RemoveTLSRoot("OrdererMSP", newRoot.pem); err != nil || !bytes.Equal(msp("Orderer"), msp("Application")) {
			t.Errorf("%s: the root did not go from both groups, %v", name, err)
		}
		if s, err := Summarize(to); err != nil || s.ApplicationOrganizations[0].NodeOUs != (name == "NodeOUs") {
			t.Errorf("%s: NodeOUs changed, %v", name, err)
		}
	}
}

func TestConsentersKeepTheLedgersBytes(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	stored := func(c *Config) []*etcdraft.Consenter {
		consensus, metadata := &orderer.ConsensusType{}, &etcdraft.ConfigMetadata{}
		r := &reader{}
		r.value(c.Proto.ChannelGroup.Groups["Orderer"], "ConsensusType", consensus)
		r.unmarshal("", consensus.GetMetadata(), metadata)
		if r.err != nil {
			t.Fatal(r.err)
		}
		return metadata.GetConsenters()
	}
	renewed := Consenter{Host: nodeHosts[0], Port: 7050, ClientTLSCertPEM: reissue(t, n.orderer.tlsca, n.nodes[0])}
	renewed.ServerTLSCertPEM = n.orderer.tlsca.tls(t, nodeHosts[0]).pem
	address := Address{nodeHosts[0], 7050}

	to := base.Clone()
	if err := to.ReplaceConsenter(address, renewed); err != nil {
		t.Fatal(err)
	}
	if c := stored(to)[0]; string(c.GetClientTlsCert()) != n.nodes[0].pem || string(c.GetServerTlsCert()) != renewed.ServerTLSCertPEM {
		t.Error("ReplaceConsenter wrote a certificate whose key is that of the ledger, or not the other one")
	}
	to = base.Clone()
	if err := to.RenewConsenter(address, renewed); err != nil {
		t.Fatal(err)
	}
	if c := stored(to)[0]; string(c.GetClientTlsCert()) != renewed.ClientTLSCertPEM {
		t.Error("RenewConsenter kept the certificate of the ledger")
	}
	// Text around a certificate is not written.
	moved := renewed
	moved.Host, moved.ClientTLSCertPEM = "elsewhere", "text\n"+renewed.ClientTLSCertPEM
	if err := to.ReplaceConsenter(address, moved); err != nil {
		t.Fatal(err)
	}
	if c := stored(to)[0]; c.GetHost() != "elsewhere" || string(c.GetClientTlsCert()) != renewed.ClientTLSCertPEM {
		t.Errorf("moved to %v", c)
	}
	for i := range 2 {
		if !proto.Equal(stored(base)[i+1], stored(to)[i+1]) {
			t.Errorf("consenter %d changed", i+1)
		}
	}
	same := Consenter{Host: nodeHosts[0], Port: 7050, ClientTLSCertPEM: n.nodes[0].pem, ServerTLSCertPEM: n.nodes[0].pem}
	withRenewed := same
	withRenewed.ClientTLSCertPEM = renewed.ClientTLSCertPEM
	if !SameConsenter(same, withRenewed) || SameConsenter(same, renewed) || SameConsenter(renewed, moved) {
		t.Error("SameConsenter")
	}
}

func TestRevise(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	org3 := newTestOrganization(t, "Org3MSP")
	org1 := n.org1.Definition
	org1.RevocationLists = []string{n.org1.ca.crl(t, 7)}
	c := Channel{
		ChannelCapability: "V3_0", ApplicationCapability: "V2_0",
		ApplicationOrganizations: []ApplicationOrganization{{Definition: org1, AnchorPeers: []Address{{"a", 1}}}, {Definition: org3.Definition}},
		Batch:                    Batch{Timeout: time.Second, MaxMessageCount: 1},
		ACLs:                     map[string]string{"peer/Propose": "Writers"},
		ApplicationPolicies:      map[string]string{"Admins": "ANY Admins"},
		// Not the channel owner's: these change nothing.
		Raft: RaftOptions{TickInterval: time.Hour}, OrdererCapability: "V1_4_2", OrdererPolicies: map[string]string{"Admins": "ANY Admins"},
		Policies: map[string]string{"Admins": "ANY Admins"},
	}
	to, err := Revise(base, c)
	if err != nil {
		t.Fatal(err)
	}
	before, err := Summarize(base)
	if err != nil {
		t.Fatal(err)
	}
	after, err := Summarize(to)
	if err != nil {
		t.Fatal(err)
	}
	if after.ApplicationOrganizations[0].Definition.RevocationLists[0] != org1.RevocationLists[0] || after.ApplicationOrganizations[1].Definition.ID != "Org3MSP" || len(after.ApplicationOrganizations) != 2 {
		t.Errorf("members %+v", after.ApplicationOrganizations)
	}
	if !slices.Equal(after.ApplicationOrganizations[0].AnchorPeers, []Address{{"a", 1}}) {
		t.Errorf("anchor peers %v", after.ApplicationOrganizations[0].AnchorPeers)
	}
	wantBatch := Batch{Timeout: time.Second, MaxMessageCount: 1, AbsoluteMaxBytes: 10 << 20, PreferredMaxBytes: 2 << 20}
	if after.Batch != wantBatch || !maps.Equal(after.ACLs, c.ACLs) || !maps.Equal(after.ApplicationPolicies, c.ApplicationPolicies) {
		t.Errorf("batch %+v, ACLs %v, policies %v", after.Batch, after.ACLs, after.ApplicationPolicies)
	}
	if !slices.Equal(after.ChannelCapabilities, []string{"V3_0"}) || !slices.Equal(after.ApplicationCapabilities, []string{"V2_0"}) {
		t.Errorf("capabilities %v %v", after.ChannelCapabilities, after.ApplicationCapabilities)
	}
	if !proto.Equal(base.Proto.ChannelGroup.Groups["Orderer"].Values["ConsensusType"], to.Proto.ChannelGroup.Groups["Orderer"].Values["ConsensusType"]) ||
		!slices.Equal(before.OrdererCapabilities, after.OrdererCapabilities) || after.Policies[channelAdmins] != before.Policies[channelAdmins] ||
		after.Policies[ordererAdmins] != before.Policies[ordererAdmins] {
		t.Error("what belongs to the ordering cluster changed")
	}
	if err := ValidateUpdate(base, to); err != nil {
		t.Error(err)
	}
}

func TestSameDefinition(t *testing.T) {
	one, two := newTestOrganization(t, "A").Definition, newTestOrganization(t, "A").Definition
	one.RootCertificates = append(one.RootCertificates, two.RootCertificates...)
	other := one
	other.RootCertificates = []string{"text\n" + one.RootCertificates[1], one.RootCertificates[0]}
	if !SameDefinition(one, other) {
		t.Error("the order of certificates and text around them count")
	}
	if SameDefinition(one, two) {
		t.Error("another definition is the same")
	}
	two = one
	two.ID = "B"
	if SameDefinition(one, two) {
		t.Error("the MSP ID does not count")
	}
}
