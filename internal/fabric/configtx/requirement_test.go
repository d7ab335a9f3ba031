package configtx

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// people are identities that may sign, by a short name.
type people map[string]*msp.Identity

func (p people) signers(names string) []Signer {
	var out []Signer
	for _, name := range strings.Fields(names) {
		identity, ok := p[name]
		if !ok {
			panic("nobody is called " + name)
		}
		out = append(out, SignerFrom(identity))
	}
	return out
}

// population gives an admin, a client and a peer of each organization, and odd ones.
func population(t testing.TB, n network) people {
	p := people{}
	for short, o := range map[string]organization{"orderer": n.orderer, "one": n.org1, "two": n.org2} {
		for _, role := range []string{"admin", "client", "peer"} {
			p[short+"."+role] = o.identity(t, role+"."+short, role)
		}
	}
	p["orderer.node"] = n.orderer.identity(t, "orderer0", "orderer")
	p["one.second"] = n.org1.identity(t, "second admin", "admin")
	// Of the root of org2, which has an intermediate: Fabric takes members of the intermediate only.
	p["two.root"] = organization{issuer: n.org2.ca, Definition: n.org2.Definition}.identity(t, "admin of the root", "admin")
	// A stranger who claims to be of org1.
	p["stranger"] = organization{issuer: n.org2.ca, Definition: n.org1.Definition}.identity(t, "stranger", "admin")
	p["one.unit"] = n.org1.identity(t, "no role", "accounting")
	return p
}

// editX509 changes the X.509 MSP of an organization by hand.
func editX509(t testing.TB, c *Config, mspID string, change func(*mspproto.FabricMSPConfig)) {
	t.Helper()
	if err := c.editMSPs(mspID, func(m *mspproto.FabricMSPConfig) error { change(m); return nil }); err != nil {
		t.Fatal(err)
	}
}

// bases are channels with different rules on who may change them.
func bases(t testing.TB, n network, p people) map[string]*Config {
	_, plain := genesis(t, n.channel())
	out := map[string]*Config{"plain": plain}

	legacy := plain.Clone()
	editX509(t, legacy, "Org1MSP", func(m *mspproto.FabricMSPConfig) {
		m.FabricNodeOus = nil
		m.Admins = [][]byte{p["one.client"].CertificatePEM}
	})
	out["legacy MSP"] = legacy

	both := plain.Clone()
	editX509(t, both, "Org1MSP", func(m *mspproto.FabricMSPConfig) { m.Admins = [][]byte{p["one.client"].CertificatePEM} })
	out["NodeOUs and admin certificates"] = both

	revoked := plain.Clone()
	admin := p.signers("one.admin")[0]
	if err := revoked.SetRevocationLists("Org1MSP", []string{n.org1.ca.crlOf(t, admin.CertificatePEM)}); err != nil {
		t.Fatal(err)
	}
	out["revoked admin"] = revoked

	units := plain.Clone()
	editX509(t, units, "Org1MSP", func(m *mspproto.FabricMSPConfig) {
		m.FabricNodeOus.AdminOuIdentifier.OrganizationalUnitIdentifier = "accounting"
	})
	out["other units"] = units

	c := n.channel()
	c.ApplicationPolicies = map[string]string{"Admins": "AND('Org1MSP.member', OutOf(2, 'Org1MSP.admin', 'org-2.example.com.client', 'org-2.example.com.peer'))"}
	c.OrdererPolicies = map[string]string{"Admins": "ALL Admins"}
	c.Policies = map[string]string{"Admins": "OR('Org1MSP.admin')"}
	c.ApplicationOrganizations[1].Policies = map[string]string{"Admins": "OutOf(0, 'Org1MSP.admin')"}
	_, out["other policies"] = genesis(t, c)

	missing := plain.Clone()
	group := missing.Proto.GetChannelGroup().GetGroups()
	delete(group["Application"].Groups["org-2.example.com"].Policies, "Admins")
	group["Orderer"].Values["BatchSize"].ModPolicy = "Nobody"
	group["Orderer"].Values["BatchTimeout"].ModPolicy = "OrdererMSP/Admins"
	out["missing policies"] = missing
	return out
}

func TestWhoMustSign(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	channels := bases(t, n, p)
	batch := func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 1}) }
	timeout := func(c *Config) error { return c.SetBatch(Batch{Timeout: time.Second}) }
	acl := func(c *Config) error { return c.SetACLs(map[string]string{"peer/Propose": "Writers"}) }
	capability := func(c *Config) error { return c.SetChannelCapability("V3_0") }
	anchors := func(c *Config) error {
		return c.SetApplicationOrganization(ApplicationOrganization{Definition: n.org1.Definition, AnchorPeers: []Address{{"p", 1}}})
	}
	for _, c := range []struct {
		base    string
		edit    func(*Config) error
		signers string
		want    Answer
		missing string
	}{
		{"plain", batch, "", No, "OrdererMSP admin"},
		{"plain", batch, "orderer.admin", Yes, ""},
		{"plain", batch, "orderer.node orderer.client one.admin two.admin", No, "OrdererMSP admin"},
		{"plain", acl, "one.admin", No, "org-2.example.com admin"},
		{"plain", acl, "", No, "Org1MSP admin | org-2.example.com admin"},
		{"plain", acl, "one.admin one.second orderer.admin", No, "org-2.example.com admin"},
		{"plain", acl, "one.admin two.admin", Yes, ""},
		{"plain", acl, "one.admin two.root", No, "org-2.example.com admin"},
		{"plain", acl, "stranger two.admin", No, "Org1MSP admin"},
		{"plain", capability, "one.admin two.admin", No, "OrdererMSP admin"},
		{"plain", capability, "two.admin orderer.admin", No, "Org1MSP admin"},
		{"plain", capability, "two.admin orderer.admin one.second", Yes, ""},
		{"plain", anchors, "one.admin", Yes, ""},
		{"plain", anchors, "one.client one.peer one.unit two.admin", No, "Org1MSP admin"},
		{"legacy MSP", anchors, "one.admin", No, "Org1MSP admin"},
		{"legacy MSP", anchors, "one.client", Yes, ""},
		{"NodeOUs and admin certificates", anchors, "one.client", Yes, ""},
		{"NodeOUs and admin certificates", anchors, "one.admin", Yes, ""},
		{"revoked admin", anchors, "one.admin", No, "Org1MSP admin"},
		{"revoked admin", anchors, "one.second", Yes, ""},
		{"other units", anchors, "one.unit", Yes, ""},
		{"other units", anchors, "one.admin", No, "Org1MSP admin"},
		{"other policies", batch, "orderer.admin", Yes, ""},
		{"other policies", capability, "one.admin", Yes, ""},
		// The member takes the first identity that fits, as Fabric evaluates: so the admin is spent.
		{"other policies", acl, "one.admin two.client", No, "all of Org1MSP member, (2 of 3 of Org1MSP admin, org-2.example.com client, org-2.example.com peer); have Org1MSP admin, Org1MSP member, org-2.example.com client"},
		{"other policies", acl, "one.client one.admin two.client", Yes, ""},
		{"other policies", acl, "one.client two.client two.peer", Yes, ""},
		{"other policies", acl, "two.client two.peer", No, "all of Org1MSP member, (2 of 3 of Org1MSP admin, org-2.example.com client, org-2.example.com peer); have org-2.example.com client, org-2.example.com peer"},
		{"missing policies", batch, "orderer.admin", No, "the channel has no policy /Channel/Orderer/Nobody"},
		{"missing policies", timeout, "orderer.admin", Yes, ""},
		{"missing policies", acl, "one.admin two.admin", No, "the channel has no policy /Channel/Application/org-2.example.com/Admins"},
	} {
		base := channels[c.base]
		to := base.Clone()
		if err := c.edit(to); err != nil {
			t.Fatal(err)
		}
		requirements, err := Requirements(base, updateBetween(t, base, to))
		if err != nil {
			t.Fatal(err)
		}
		if len(requirements) != 1 {
			t.Fatalf("%s: %d requirements", c.base, len(requirements))
		}
		if got := requirements[0].Met(p.signers(c.signers)); got != c.want {
			t.Errorf("%s, %s signed by %q: got %s, want %s", c.base, requirements[0].Policy, c.signers, got, c.want)
		}
		if got := strings.Join(requirements[0].Missing(p.signers(c.signers)), " | "); got != c.missing {
			t.Errorf("%s, %s signed by %q: missing\n%s\nwant\n%s", c.base, requirements[0].Policy, c.signers, got, c.missing)
		}
	}
}

func TestMissingOfAMajority(t *testing.T) {
	n := newNetwork(t)
	c := n.channel()
	c.ApplicationOrganizations = append(c.ApplicationOrganizations, ApplicationOrganization{Definition: newTestOrganization(t, "Org3MSP").Definition})
	_, base := genesis(t, c)
	p := population(t, n)
	requirement := PolicyOf(base, channelAdmins)
	if requirement.Rule != "MAJORITY Admins" {
		t.Errorf("rule %q", requirement.Rule)
	}
	for signers, want := range map[string][]string{
		"":                                  {"2 of 3 of Org1MSP admin, Org3MSP admin, org-2.example.com admin", "OrdererMSP admin"},
		"one.admin":                         {"2 of 3 of Org1MSP admin, Org3MSP admin, org-2.example.com admin; have Org1MSP admin", "OrdererMSP admin"},
		"one.admin two.admin":               {"OrdererMSP admin"},
		"one.admin two.admin orderer.admin": nil,
	} {
		if got := requirement.Missing(p.signers(signers)); !slices.Equal(got, want) {
			t.Errorf("signed by %q: got %q, want %q", signers, got, want)
		}
	}
}

// TestSignersThatAreNotKnown is about a plan, where certificates may be missing.
func TestSignersThatAreNotKnown(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	channels := bases(t, n, p)
	org1Admins, org1Readers := "/Channel/Application/Org1MSP/Admins", "/Channel/Application/Org1MSP/Readers"
	for _, c := range []struct {
		base, path string
		signer     Signer
		want       Answer
	}{
		{"plain", org1Admins, Signer{MSPID: "Org1MSP", Role: policy.RoleAdmin}, Yes},
		{"plain", org1Admins, Signer{MSPID: "Org1MSP", Role: policy.RoleClient}, No},
		{"plain", org1Admins, Signer{MSPID: "Org1MSP"}, Unknown},
		{"plain", org1Admins, Signer{MSPID: "Org1MSP", Role: policy.RoleMember}, Unknown},
		{"plain", org1Admins, Signer{MSPID: "OrdererMSP", Role: policy.RoleAdmin}, No},
		{"plain", org1Admins, Signer{MSPID: "AbsentMSP"}, No},
		{"plain", org1Admins, Signer{MSPID: "Org1MSP", Role: policy.RoleAdmin, CertificatePEM: "not a certificate"}, No},
		{"plain", org1Readers, Signer{MSPID: "Org1MSP"}, Yes},
		{"plain", org1Readers, Signer{MSPID: "Org1MSP", Role: policy.RoleClient}, Yes},
		{"legacy MSP", org1Admins, Signer{MSPID: "Org1MSP", Role: policy.RoleAdmin}, Unknown},
		{"legacy MSP", org1Readers, Signer{MSPID: "Org1MSP", Role: policy.RoleAdmin}, Yes},
	} {
		if got := PolicyOf(channels[c.base], c.path).Met([]Signer{c.signer}); got != c.want {
			t.Errorf("%s, %s, %+v: got %s, want %s", c.base, c.path, c.signer, got, c.want)
		}
	}
	// Two admins of whom the certificates are unknown are two people; one certificate twice is one.
	two := PolicyOf(channels["plain"], org1Admins)
	two.rule = &signatures{envelope: policyEnvelope(t, "AND('Org1MSP.admin', 'Org1MSP.admin')")}
	unknown := Signer{MSPID: "Org1MSP", Role: policy.RoleAdmin}
	if got := two.Met([]Signer{unknown, unknown}); got != Yes {
		t.Errorf("two admins: %s", got)
	}
	if got := two.Met(p.signers("one.admin one.admin")); got != No {
		t.Errorf("one admin twice: %s", got)
	}
	if got := two.Met(p.signers("one.admin one.second")); got != Yes {
		t.Errorf("two admins with certificates: %s", got)
	}
}

func policyEnvelope(t testing.TB, text string) *common.SignaturePolicyEnvelope {
	t.Helper()
	parsed, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Envelope()
}

func TestCanSubmit(t *testing.T) {
	n := newNetwork(t)
	p := population(t, n)
	_, base := genesis(t, n.channel())
	for name, want := range map[string]Answer{"one.client": Yes, "orderer.node": Yes, "stranger": No, "one.unit": No} {
		if got, err := CanSubmit(base, p.signers(name)[0], time.Now()); got != want || (err == nil) != (want == Yes) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	got, err := CanSubmit(base, p.signers("one.client")[0], time.Now().Add(2*tenYears))
	if got != No || err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("expired: %s, %v", got, err)
	}
	if got, err := CanSubmit(base, Signer{MSPID: "Org1MSP"}, time.Now()); got != Yes || err != nil {
		t.Errorf("a member without a certificate: %s, %v", got, err)
	}
}

// oracle asks Fabric's own code: see testdata/oracle.
type oracle struct {
	t   testing.TB
	in  *json.Encoder
	out *bufio.Scanner
}

func startOracle(t testing.TB) *oracle {
	path := os.Getenv("FABRIC_ORACLE")
	if path == "" {
		t.Skip("asks Fabric's own code; set FABRIC_ORACLE to what is built from testdata/oracle")
	}
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 1<<26)
	return &oracle{t, json.NewEncoder(in), scanner}
}

// propose has Fabric apply a signed update, and gives the new configuration or why it is refused.
func (o *oracle) propose(base *Config, envelope *common.Envelope) (*common.Config, string) {
	o.t.Helper()
	err := o.in.Encode(map[string]any{"Channel": base.Channel, "Config": marshal(o.t, base.Proto), "Envelope": marshal(o.t, envelope)})
	if err != nil {
		o.t.Fatal(err)
	}
	if !o.out.Scan() {
		o.t.Fatal("the oracle is silent")
	}
	var answer struct {
		Config []byte
		Error  string
	}
	if err := json.Unmarshal(o.out.Bytes(), &answer); err != nil {
		o.t.Fatal(err)
	}
	config := &common.Config{}
	if err := proto.Unmarshal(answer.Config, config); err != nil {
		o.t.Fatal(err)
	}
	return config, answer.Error
}

// TestFabricAgrees sends every edit on every channel, signed by every set of people, to Fabric's own
// validation, and compares what Requirements, Submission, Apply and ValidateUpdate say.
func TestFabricAgrees(t *testing.T) {
	o := startOracle(t)
	n := newNetwork(t)
	p := population(t, n)
	crew := []string{"orderer.admin", "one.admin", "two.admin", "one.client", "two.client", "stranger"}
	asked, accepted, refused := 0, 0, 0
	for name, base := range bases(t, n, p) {
		for _, s := range steps(t, n) {
			to := base.Clone()
			if err := s.edit(to); err != nil {
				t.Fatal(err)
			}
			update, err := ComputeUpdate(base.Channel, base.Proto, to.Proto)
			if err != nil {
				t.Fatal(err)
			}
			requirements, err := Requirements(base, update)
			if err != nil {
				t.Fatal(err)
			}
			applied, err := Apply(base, update)
			if err != nil {
				t.Fatal(err)
			}
			for set := range 1 << len(crew) {
				var names []string
				for i, member := range crew {
					if set&(1<<i) != 0 {
						names = append(names, member)
					}
				}
				submitter := crew[set%len(crew)]
				envelope := signed(t, p, base.Channel, mustMarshalUpdate(t, update), names, submitter)
				got, reason := o.propose(base, envelope)
				asked++
				expected := ""
				if answer, _ := CanSubmit(base, p.signers(submitter)[0], time.Now()); answer != Yes {
					expected = "submit:"
				} else {
					for _, r := range requirements {
						if r.Met(p.signers(strings.Join(names, " "))) != Yes {
							expected = "error authorizing update"
						}
					}
				}
				if expected == "" {
					// ValidateUpdate refuses more than Fabric: what nobody could undo.
					if reason != "" && ValidateUpdate(base, to) == nil {
						t.Errorf("%s, %s: Fabric says %q, we nothing", name, s.name, reason)
					}
					if !proto.Equal(got.GetChannelGroup(), applied.Proto.GetChannelGroup()) {
						t.Errorf("%s, %s: Fabric makes another configuration", name, s.name)
					}
					accepted++
					continue
				}
				refused++
				if !strings.HasPrefix(reason, expected) {
					t.Errorf("%s, %s signed by %v, sent by %s: Fabric says %q, we expect %q", name, s.name, names, submitter, reason, expected)
				}
			}
		}
	}
	t.Logf("asked %d times: %d accepted, %d refused", asked, accepted, refused)
}

func signed(t testing.TB, p people, channel string, update []byte, names []string, submitter string) *common.Envelope {
	t.Helper()
	var signatures []*common.ConfigSignature
	for _, name := range names {
		signature, err := SignUpdate(update, p[name])
		if err != nil {
			t.Fatal(err)
		}
		signatures = append(signatures, signature)
	}
	envelope, err := UpdateEnvelope(channel, update, signatures, p[submitter])
	if err != nil {
		t.Fatal(fmt.Errorf("sign: %w", err))
	}
	return envelope
}
