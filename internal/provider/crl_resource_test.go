package provider

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

func completeCRL() values {
	return values{"organization": handleOf("organization", "Org1MSP", "Org1MSP"), "revoke": values{"bob": values{"identity": "bob", "reason": "keycompromise"}}}
}

func TestCRLPlan(t *testing.T) {
	for name, c := range map[string]struct {
		state, change values
		unknown       bool // the list
		says          []string
		not           string
		warns         string
	}{
		"nothing": {nil, nil, false, []string{"before"}, "", ""},
		"one more": {nil, values{"revoke": values{"bob": values{"identity": "bob", "reason": "keycompromise"}, "old": values{"serial": "a1"}}}, true,
			[]string{"revokes old; a list of what the CA has revoked; local MSPs of orderer orderer0, peer peer0.org1, which restart one after the other; config updates of channel trade"}, "bob", ""},
		"another reason":    {nil, values{"revoke": values{"bob": values{"identity": "bob"}}}, true, []string{"revokes bob"}, "", ""},
		"one less":          {nil, values{"revoke": nil}, false, []string{"before"}, "", "bob stays revoked"},
		"due":               {values{"renewal_due": true}, nil, true, []string{"a list of what the CA has revoked; local MSPs", "peer peer0.org1"}, "revokes", ""},
		"a trigger":         {nil, values{"triggers": values{"peer0": "2"}}, true, []string{"a list of what the CA has revoked"}, "revokes", ""},
		"a node without it": {values{"pending": []any{"peer peer0.org1"}}, nil, false, []string{"local MSPs of peer peer0.org1, which restart"}, "channel", ""},
		"a channel without": {values{"pending": []any{"channel trade"}}, nil, false, []string{"config updates of channel trade"}, "restart", ""},
		"another window":    {nil, values{"renew_before": "1h"}, false, []string{"before"}, "", ""},
		"not known what":    {nil, values{"revoke": unknown{}}, true, []string{"a list of what the CA has revoked"}, "revokes", ""},
		"not known whom":    {nil, values{"revoke": values{"bob": values{"identity": unknown{}}}}, true, []string{"revokes bob"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlanner(t, nil)
			planned, diags := p.plan("fabric_crl", nil, completeCRL())
			clean(t, diags)
			for _, attribute := range []string{"crl", "serials", "next_update", "reaches", "last_change"} {
				if planned[attribute].IsFullyKnown() {
					t.Errorf("%s of a new list is known", attribute)
				}
			}
			prior := p.state(planned)
			maps.Copy(prior, values{"reaches": []any{"orderer orderer0", "peer peer0.org1", "channel trade"}, "serials": []any{"a0"}, "last_change": "before"})
			maps.Copy(prior, c.state)
			p = newPlanner(t, nil)
			planned, diags = p.plan("fabric_crl", prior, with(completeCRL(), c.change))
			if c.warns != "" {
				diagnosed(t, diags, tfprotov6.DiagnosticSeverityWarning, "revoke", c.warns)
			} else {
				clean(t, diags)
			}
			for _, attribute := range []string{"crl", "serials", "this_update", "next_update"} {
				if planned[attribute].IsFullyKnown() == c.unknown {
					t.Errorf("%s is known: %t", attribute, !c.unknown)
				}
			}
			said := text(t, planned["last_change"])
			for _, words := range c.says {
				if !strings.Contains(said, words) {
					t.Errorf("last_change is %q and does not say %q", said, words)
				}
			}
			if c.not != "" && strings.Contains(said, c.not) {
				t.Errorf("last_change is %q and says %q", said, c.not)
			}
		})
	}
}

func TestCRLBadInput(t *testing.T) {
	p := newPlanner(t, nil)
	clean(t, p.validate("fabric_crl", completeCRL()))
	for name, revoke := range map[string]values{
		"nothing": {}, "both": {"identity": "bob", "serial": "a1"}, "no number": {"serial": "0x12"}, "no ID": {"identity": "a/b"}, "no reason": {"identity": "bob", "reason": "bad"},
		"who signs": {"identity": "admin"}, "who revokes": {"identity": "registrar"},
	} {
		if diags := p.validate("fabric_crl", with(completeCRL(), values{"revoke": values{"it": revoke}})); len(diags) == 0 {
			t.Errorf("%s is accepted", name)
		}
	}
	_, diags := p.plan("fabric_crl", nil, completeCRL())
	clean(t, diags)
	_, diags = p.plan("fabric_crl", nil, completeCRL())
	diagnosed(t, diags, tfprotov6.DiagnosticSeverityError, "organization", "Org1MSP")
}

// TestAccCRL: whoever is revoked is refused by the nodes of its organization and on its channels.
func TestAccCRL(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	a := ageing{life: life{name: name, version: "3.1.1", nodes: "orderer0 = {}"}}
	seen := &sightings{t: t, network: name}
	config := func(revoke, more string) string {
		return a.String() + fmt.Sprintf(`
resource "fabric_crl" "org1" {
  organization = fabric_organization.org1.handle
  revoke       = { %s }
  triggers     = { peer = fabric_peer.this.key_version }
}

resource "fabric_crl" "orderer" {
  organization = fabric_organization.orderer.handle
  triggers     = { admin = fabric_organization.orderer.key_version }
}
%s
`, revoke, more)
	}
	by := func(run int) string {
		return fmt.Sprintf(`
resource "fabric_identity" "mallory" {
  organization = fabric_organization.org1.handle
  name         = "mallory"
  validity     = null
}

resource "fabric_transaction" "mallory" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.mallory.handle
  function  = "put"
  arguments = ["greeting", "gotcha"]
  triggers  = { run = "%d" }
}
`, run)
	}
	const crlAddress = "fabric_crl.org1"
	nodes := []string{name + "-orderer0", name + "-peer0.org1"}
	var before map[string]string
	restarted := func(want ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			now := starts(t, nodes...)
			for _, node := range nodes {
				if did, should := now[node] != before[node], strings.Contains(strings.Join(want, " "), node); before != nil && did != should {
					return fmt.Errorf("%s was restarted: %t", node, did)
				}
			}
			before = now
			return nil
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{ // As long as nothing is revoked, nothing is touched.
				Config: config("", by(1)),
				Check: resource.ComposeTestCheckFunc(seen.check, restarted(),
					resource.TestCheckResourceAttr(crlAddress, "serials.#", "0"), resource.TestCheckResourceAttrSet(crlAddress, "crl")),
			},
			{
				Config:           config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, by(1)),
				ConfigPlanChecks: onlyUpdated(crlAddress),
				Check: resource.ComposeTestCheckFunc(seen.check, restarted(name+"-peer0.org1"),
					resource.TestCheckResourceAttr(crlAddress, "serials.#", "1"),
					resource.TestMatchResourceAttr(crlAddress, "last_change", regexp.MustCompile(`^revokes mallory; a list of what the CA has revoked; local MSPs of peer peer0.org1, .*; config updates of channel trade$`)),
					func(*terraform.State) error {
						if got := len(nodeFiles(t, name+"-peer0.org1")["msp/crls/ca-0.pem"]); got == 0 {
							return fmt.Errorf("the peer has no list")
						}
						return nil
					},
				),
			},
			{Config: config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, by(2)), ExpectError: says("Unable to submit", "access denied")},
			{ // Who was revoked cannot come back by an update.
				Config:      strings.Replace(config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, by(1)), "validity     = null", "key_version  = 2", 1),
				ExpectError: says("mallory was revoked at CA ca.org1, and cannot enrol again", "-replace=ADDRESS"),
			},
			{ // Keys that are replaced: one apply makes the old ones known as revoked, after the new ones are there.
				Config: func() string {
					a.peer, a.ofOrganization, a.run = "key_version = 2", "key_version = 2", 1
					return config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, "")
				}(),
				Check: resource.ComposeTestCheckFunc(seen.check, restarted(nodes...),
					resource.TestCheckResourceAttr(crlAddress, "serials.#", "3"), resource.TestCheckResourceAttr(crlAddress, "renewal_due", "false"),
					resource.TestCheckResourceAttr("fabric_crl.orderer", "serials.#", "1"), listsOnChannel(t, name, map[string]int{"Org1MSP": 3, "OrdererMSP": 1}),
				),
			},
			{ // A list whose next update is near is made anew.
				PreConfig: func() {
					clock = func() time.Time { return time.Now().Add(350 * day) }
					t.Cleanup(func() { clock = time.Now })
				},
				Config:             config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, ""),
				ExpectNonEmptyPlan: true,
				Check:              resource.ComposeTestCheckFunc(seen.check, resource.TestCheckResourceAttr(crlAddress, "serials.#", "3")),
			},
			{ // What a node and a channel lost is brought there again.
				PreConfig: func() {
					clock = time.Now
					restarted(name+"-peer0.org1", name+"-orderer0")(nil)
				},
				Config: config(`mallory = { identity = "mallory", reason = "privilegewithdrawn" }`, ""),
				Check:  resource.ComposeTestCheckFunc(seen.check, restarted()),
			},
			{
				ResourceName: crlAddress, ImportState: true, ImportStateId: name + "/Org1MSP", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "crl", ImportStateVerifyIgnore: []string{"revoke", "triggers", "last_change"},
			},
		},
	})
}

// listsOnChannel checks how many certificates the channel has as revoked, by organization.
func listsOnChannel(t *testing.T, on string, want map[string]int) resource.TestCheckFunc {
	return func(*terraform.State) error {
		f := network.New(localEngine(t))
		spec, err := f.FindChannel(t.Context(), on, "trade")
		if err != nil {
			return err
		}
		facts, err := f.InspectChannel(t.Context(), spec.Handle)
		if err != nil {
			return err
		}
		for _, o := range append(facts.Summary.ApplicationOrganizations, facts.Summary.OrdererOrganizations...) {
			revoked := 0
			for _, text := range o.Definition.RevocationLists {
				block, _ := pem.Decode([]byte(text))
				list, err := x509.ParseRevocationList(block.Bytes)
				if err != nil {
					return err
				}
				revoked += len(list.RevokedCertificateEntries)
			}
			if revoked != want[o.Definition.ID] {
				return fmt.Errorf("the channel has %d certificates of %s as revoked, want %d", revoked, o.Definition.ID, want[o.Definition.ID])
			}
		}
		return nil
	}
}
