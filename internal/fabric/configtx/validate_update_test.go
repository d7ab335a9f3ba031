package configtx

import (
	"errors"
	"strings"
	"testing"
	"time"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
)

func TestUpdateProblems(t *testing.T) {
	n := newNetwork(t)
	channel := n.channel()
	channel.ACLs = map[string]string{"peer/Propose": "/Channel/Application/Org1MSP/Readers"}
	_, base := genesis(t, channel)
	node := func(host string) Consenter {
		tls := n.orderer.tlsca.tls(t, host)
		return Consenter{Host: host, Port: 7050, ClientTLSCertPEM: tls.pem, ServerTLSCertPEM: tls.pem}
	}
	expired := n.orderer.tlsca.tlsFor(t, -time.Minute, "late")
	for name, c := range map[string]struct {
		edit func(*Config) error
		want []string
	}{
		"batch too large": {
			func(c *Config) error { return c.SetBatch(Batch{AbsoluteMaxBytes: 200 << 20}) },
			[]string{"batch.absolute_max_bytes: 209715200 is more than 104857600, the most that a node receives in one message"},
		},
		"preferred above absolute": {
			func(c *Config) error { return c.SetBatch(Batch{AbsoluteMaxBytes: 1000}) },
			[]string{"batch.preferred_max_bytes: 2097152 is more than absolute_max_bytes, which is 1000"},
		},
		"negative timeout": {
			func(c *Config) error { return c.SetBatch(Batch{Timeout: -time.Second}) },
			[]string{"batch.timeout: -1s is not more than 0"},
		},
		"unknown capabilities": {
			func(c *Config) error {
				return errors.Join(c.SetChannelCapability("V4_0"), c.SetOrdererCapability("V3_0"), c.SetApplicationCapability("V2_6"))
			},
			[]string{
				`channel_capability: the capability "V4_0" is unknown; Fabric 2.5 and 3.1 know V1_1, V1_3, V1_4_2, V1_4_3, V2_0, V3_0`,
				`orderer_capability: the capability "V3_0" is unknown; Fabric 2.5 and 3.1 know V1_1, V1_4_2, V2_0`,
				`application_capability: the capability "V2_6" is unknown; Fabric 2.5 and 3.1 know V1_1, V1_2, V1_3, V1_4_2, V2_0, V2_5`,
			},
		},
		"V3_0 without endpoints": {
			func(c *Config) error {
				return errors.Join(c.SetChannelCapability("V3_0"), c.SetEndpoints("OrdererMSP", nil))
			},
			[]string{"orderer_organizations[OrdererMSP].endpoints: there is none, and channel capability V3_0 wants at least one of each orderer organization"},
		},
		"last member": {
			func(c *Config) error {
				return errors.Join(c.RemoveApplicationOrganization("Org1MSP"), c.RemoveApplicationOrganization("org-2.example.com"))
			},
			[]string{
				"application_organizations: the last one would go: nobody could change the channel any more; remove the channel instead",
				`acls[peer/Propose]: the channel would have no policy "/Channel/Application/Org1MSP/Readers"`,
			},
		},
		"member of an ACL": {
			func(c *Config) error { return c.RemoveApplicationOrganization("Org1MSP") },
			[]string{`acls[peer/Propose]: the channel would have no policy "/Channel/Application/Org1MSP/Readers"`},
		},
		"ACLs": {
			func(c *Config) error {
				return c.SetACLs(map[string]string{"peer/Propos": "Readers", "event/Block": "Nobody"})
			},
			[]string{`acls[event/Block]: the channel would have no policy "/Channel/Application/Nobody"`, "acls[peer/Propos]: peers know no such resource of a channel and would ignore it; they know _lifecycle/"},
		},
		"last consenter": {
			func(c *Config) error {
				for _, host := range nodeHosts {
					if err := c.RemoveConsenter(Address{host, 7050}); err != nil {
						return err
					}
				}
				return nil
			},
			[]string{"consenters: the last one would go: nobody would order the channel any more; remove the channel instead"},
		},
		"two consenters": {
			func(c *Config) error { return errors.Join(c.AddConsenter(node("o3")), c.AddConsenter(node("o4"))) },
			[]string{"consenters: 2 would come and 0 would go (o3:7050, o4:7050), and Raft takes one more, one less or one replaced in an update"},
		},
		"consenter of another root": {
			func(c *Config) error {
				tls := n.org1.tlsca.tls(t, "o3")
				return c.AddConsenter(Consenter{Host: "o3", Port: 7050, ClientTLSCertPEM: tls.pem, ServerTLSCertPEM: tls.pem})
			},
			[]string{"consenters[3].client_tls_certificate: o3:7050: unable to verify the certificate chain", "consenters[3].server_tls_certificate: o3:7050: unable to verify the certificate chain"},
		},
		"consenter that expired": {
			func(c *Config) error {
				return c.AddConsenter(Consenter{Host: "late", Port: 7050, ClientTLSCertPEM: expired.pem, ServerTLSCertPEM: expired.pem})
			},
			[]string{"consenters[3].client_tls_certificate: late:7050: unable to verify the certificate chain", "consenters[3].server_tls_certificate: late:7050: unable to verify the certificate chain"},
		},
		"consenter of another host": {
			func(c *Config) error {
				wrong := node("o3")
				wrong.Host = "o4"
				return c.AddConsenter(wrong)
			},
			[]string{"consenters[3].server_tls_certificate: o4:7050: unable to verify"},
		},
		"TLS root in use": {
			func(c *Config) error {
				root := newAuthority(t, "new", nil)
				return errors.Join(c.AddTLSRoot("OrdererMSP", root.pem), c.RemoveTLSRoot("OrdererMSP", n.orderer.tlsca.pem))
			},
			[]string{
				"consenters[0].client_tls_certificate: orderer0.example.com:7050: unable", "consenters[0].server_tls_certificate", "consenters[1].client_tls_certificate",
				"consenters[1].server_tls_certificate", "consenters[2].client_tls_certificate", "consenters[2].server_tls_certificate",
			},
		},
		"last orderer organization": {
			func(c *Config) error { return c.RemoveOrdererOrganization("OrdererMSP") },
			[]string{"orderer_organizations: the last one would go", "consenters[0].client_tls_certificate", "consenters[0].server_tls_certificate", "consenters[1].client", "consenters[1].server", "consenters[2].client", "consenters[2].server"},
		},
		"broken chain": {
			func(c *Config) error {
				d := n.org2.Definition
				d.RootCertificates = []string{n.org1.ca.pem}
				return c.SetDefinition(d)
			},
			[]string{"application_organizations[org-2.example.com].definition: unable to use the MSP org-2.example.com: enrolment CA ica.org2"},
		},
		"no TLS root": {
			func(c *Config) error { return c.RemoveTLSRoot("Org1MSP", n.org1.tlsca.pem) },
			[]string{"application_organizations[Org1MSP].definition: unable to use the MSP Org1MSP: it has no TLS root"},
		},
		"two definitions": {
			func(c *Config) error {
				group := c.Proto.ChannelGroup.Groups["Application"]
				group.Groups["OrdererMSP"] = c.Clone().Proto.ChannelGroup.Groups["Orderer"].Groups["OrdererMSP"]
				trial := &Config{Channel: "x", Proto: c.Clone().Proto}
				if err := trial.AddTLSRoot("OrdererMSP", n.org1.tlsca.pem); err != nil {
					return err
				}
				group.Groups["OrdererMSP"].Values["MSP"] = trial.Proto.ChannelGroup.Groups["Orderer"].Groups["OrdererMSP"].Values["MSP"]
				delete(group.Groups["OrdererMSP"].Values, "Endpoints")
				return nil
			},
			[]string{"application_organizations[OrdererMSP].definition: the channel would have two definitions of OrdererMSP"},
		},
		"another MSP ID": {
			func(c *Config) error {
				groups := c.Proto.ChannelGroup.Groups["Application"].Groups
				groups["Org1MSP"].Values["MSP"] = c.Clone().Proto.ChannelGroup.Groups["Application"].Groups["org-2.example.com"].Values["MSP"]
				delete(groups, "org-2.example.com")
				return nil
			},
			[]string{
				"application_organizations[org-2.example.com]: the MSP ID of the group Org1MSP would change from Org1MSP to org-2.example.com",
				"policies[/Channel/Application/Admins]: no member of the channel could meet it (MAJORITY Admins)",
				"policies[/Channel/Application/Endorsement]", "policies[/Channel/Application/LifecycleEndorsement]",
				"policies[/Channel/Application/Org1MSP/Admins]", "policies[/Channel/Application/Org1MSP/Endorsement]", "policies[/Channel/Application/Org1MSP/Readers]",
				"policies[/Channel/Application/Org1MSP/Writers]", "policies[/Channel/Application/Readers]", "policies[/Channel/Application/Writers]",
				"policies[/Channel/Admins]: no member of the channel could meet it (MAJORITY Admins)",
			},
		},
		"no admins": {
			func(c *Config) error {
				return c.editMSPs("Org1MSP", func(m *mspproto.FabricMSPConfig) error { m.FabricNodeOus = nil; return nil })
			},
			[]string{
				"application_organizations[Org1MSP].definition: it has neither admin certificates nor an organizational unit for admins",
				"policies[/Channel/Application/LifecycleEndorsement]", "policies[/Channel/Application/Endorsement]", "policies[/Channel/Application/Org1MSP/Endorsement]",
			},
		},
		"policy of nobody": {
			func(c *Config) error {
				return c.SetApplicationPolicies(map[string]string{"Admins": "OR('AbsentMSP.admin')", "Extra": "ALL Absent"})
			},
			[]string{
				"policies[/Channel/Admins]: no member of the channel could meet it (MAJORITY Admins)",
				"policies[/Channel/Application/Admins]: no member of the channel could meet it (OR('AbsentMSP.admin'))",
				"policies[/Channel/Application/Extra]: no member of the channel could meet it (ALL Absent)",
			},
		},
		"mod_policy without a policy": {
			func(c *Config) error {
				c.Proto.ChannelGroup.Groups["Orderer"].Values["BatchSize"].ModPolicy = "Nobody"
				return nil
			},
			[]string{`/Channel/Orderer/BatchSize: its mod_policy would be "/Channel/Orderer/Nobody", which the channel would not have: nobody could change it any more`},
		},
		"addresses": {
			func(c *Config) error {
				return errors.Join(c.SetEndpoints("OrdererMSP", []string{"orderer0.example.com:7050", "nonsense"}),
					c.SetApplicationOrganization(ApplicationOrganization{Definition: n.org1.Definition, AnchorPeers: []Address{{"", 70000}}}))
			},
			[]string{
				`orderer_organizations[OrdererMSP].endpoints[1]: the endpoint "nonsense" is not of the form host:port`,
				"application_organizations[Org1MSP].anchor_peers[0].host: the host is empty",
				"application_organizations[Org1MSP].anchor_peers[0].port: the port 70000 is not between 1 and 65535",
			},
		},
		"Raft": {
			func(c *Config) error { return c.SetRaftOptions(RaftOptions{HeartbeatTick: 10}) },
			[]string{"raft.election_tick: 10 must be more than heartbeat_tick, which is 10"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			to := base.Clone()
			if err := c.edit(to); err != nil {
				t.Fatal(err)
			}
			err := ValidateUpdate(base, to)
			var invalid *InvalidError
			if !errors.As(err, &invalid) || !strings.HasPrefix(err.Error(), "unable to update the channel trade: ") {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				found := false
				for _, p := range invalid.Problems {
					found = found || strings.HasPrefix(p.Field+": "+p.Reason, want)
				}
				if !found {
					t.Errorf("%q is not among %q", want, invalid.Problems)
				}
			}
			if len(invalid.Problems) != len(c.want) {
				t.Errorf("%d problems instead of %d: %q", len(invalid.Problems), len(c.want), invalid.Problems)
			}
		})
	}
}

// TestOldProblemsStay is about a channel that is not as it should be, which must still be changed.
func TestOldProblemsStay(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	base := bases(t, n, p)["missing policies"]
	base.Proto.ChannelGroup.Groups["Application"].Policies["Extra"] = base.Proto.ChannelGroup.Groups["Application"].Policies["Endorsement"]
	editX509(t, base, "Org1MSP", func(m *mspproto.FabricMSPConfig) { m.TlsRootCerts = nil })
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 3}); err != nil {
		t.Fatal(err)
	}
	if err := ValidateUpdate(base, to); err != nil {
		t.Error(err)
	}
}

// TestExpiredCertificatesStay is about consenters whose certificates expired: Fabric looks at that for new
// ones only, and they must be replaced by an update.
func TestExpiredCertificatesStay(t *testing.T) {
	n := newNetwork(t)
	_, base := genesis(t, n.channel())
	to := base.Clone()
	if err := to.SetBatch(Batch{MaxMessageCount: 3}); err != nil {
		t.Fatal(err)
	}
	if err := validateUpdateAt(base, to, time.Now().Add(2*tenYears)); err != nil {
		t.Error(err)
	}
}
