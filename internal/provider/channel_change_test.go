package provider

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// running is a network whose channel changes.
type running struct {
	name, version string
	// organizations of the channel have a peer each; of partners only the definition is here.
	organizations, partners []string
	// settings are further arguments of the channel.
	settings string
}

func (c running) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, `
provider "fabric" {
  fabric_version = %[2]q
}

resource "fabric_network" "this" {
  name   = %[1]q
  domain = "example.com"
}
`, c.name, c.version)
	for _, name := range append([]string{"orderer"}, c.organizations...) {
		fmt.Fprintf(&text, `
resource "fabric_ca" "%[1]s" {
  network             = fabric_network.this.handle
  name                = "ca.%[1]s"
  organization        = %[1]q
  deletion_protection = false
}

resource "fabric_organization" "%[1]s" {
  msp_id = "%[2]sMSP"
  ca     = fabric_ca.%[1]s.handle
}
`, name, strings.ToUpper(name[:1])+name[1:])
	}
	members := ""
	for _, name := range c.organizations {
		fmt.Fprintf(&text, `
resource "fabric_peer" "%[1]s" {
  organization        = fabric_organization.%[1]s.handle
  name                = "peer0.%[1]s"
  deletion_protection = false
}
`, name)
		members += member(name, fmt.Sprintf("{ peer0 = fabric_peer.%s.handle }", name))
	}
	for _, name := range c.partners {
		fmt.Fprintf(&text, `
resource "fabric_organization" "%[1]s" {
  network = fabric_network.this.handle
  msp_id  = "%[2]sMSP"
  certificates = {
    root     = fabric_organization.org1.definition.root_certificates
    tls_root = fabric_organization.org1.definition.tls_root_certificates
  }
}
`, name, strings.ToUpper(name[:1])+name[1:])
		members += member(name, "{}")
	}
	fmt.Fprintf(&text, `
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle
  organizations = {
%[2]s  }
  deletion_protection = false
%[1]s
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer')"
}
`, c.settings, members)
	return text.String()
}

// member is an entry of the channel's organizations.
func member(name, peers string) string {
	return fmt.Sprintf("    %[1]s = { organization = fabric_organization.%[1]s.handle, definition = fabric_organization.%[1]s.definition, peers = %[2]s }\n", name, peers)
}

// TestAccChannelChange changes everything that a fabric_channel owns on a running channel.
func TestAccChannelChange(t *testing.T) { changeChannel(t, "3.1.1") }

// TestLongChannelChange does it on Fabric 2.5.
func TestLongChannelChange(t *testing.T) {
	requireLong(t)
	changeChannel(t, "2.5.9")
}

func changeChannel(t *testing.T, version string) {
	sweepNetwork(t, networkName(t))
	base := running{name: networkName(t), version: version, organizations: []string{"org1", "org2"}, settings: "  max_message_count = 1"}
	tuned := base
	tuned.settings = `
  batch_timeout        = "1s"
  max_message_count    = 1
  preferred_max_bytes  = 1048576
  acls                 = { "peer/Propose" = "Readers" }
  application_policies = { LifecycleEndorsement = "ANY Endorsement" }
`
	grown := tuned
	grown.organizations = []string{"org1", "org2", "org3"}
	steps := []resource.TestStep{
		{Config: base.String(), Check: resource.TestCheckNoResourceAttr(tradeAddress, "last_change.#")},
		{ // Settings: one config update, in words.
			Config: tuned.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
			Check: resource.ComposeTestCheckFunc(
				base.said(`batch.*2s.*1s`), base.said(`preferred_max_bytes.*1048576.*\[/Channel/Orderer/Admins`),
				base.said(`peer/Propose.*\[/Channel/Application/Admins`), base.said(`LifecycleEndorsement`), base.configured(t, 1, 2),
			),
		},
		{ // Somebody else's change is drift, field by field, and is taken back.
			PreConfig: func() { base.changeOutside(t, func(c *configtx.Channel) { c.Batch.MaxMessageCount, c.ACLs = 7, nil }) },
			Config:    tuned.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
			Check: resource.ComposeTestCheckFunc(base.said(`max_message_count.*7.*1`), base.said(`peer/Propose`), base.configured(t, 3, 2)),
		},
		{ // An organization joins with its peer, which serves the chaincode.
			Config: grown.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
			Check: resource.ComposeTestCheckFunc(
				base.said(`organization Org3MSP added.*\[/Channel/Application/Admins`), base.said(`peer peer0.org3 joins`),
				base.configured(t, 4, 3), servers(t, base.name, "kv", "peer0.org1", "peer0.org2", "peer0.org3"),
			),
		},
		{ // And is gone again, with its CA and its peer, in one apply.
			Config: tuned.String(), Check: resource.ComposeTestCheckFunc(base.configured(t, 5, 2), servers(t, base.name, "kv", "peer0.org1", "peer0.org2")),
		},
	}
	steps = append(steps, base.refused(tuned)...)
	last := tuned
	if version == "3.1.1" {
		raised := tuned
		raised.settings += `  channel_capability = "V3_0"` + "\n"
		attested := raised
		attested.settings += `  capability_attestation = "V3_0"` + "\n"
		last = attested
		lowered, silent, back := tuned, tuned, attested
		lowered.settings += `  channel_capability = "V2_0"` + "\n"
		silent.settings += `  capability_attestation = "V3_0"` + "\n"
		back.version = "2.5.9"
		steps = append(steps,
			resource.TestStep{Config: raised.String(), PlanOnly: true, ExpectError: regexp.MustCompile(`V3_0 wants an attestation`)},
			resource.TestStep{Config: attested.String(), Check: resource.ComposeTestCheckFunc(base.said(`V3_0`), base.configured(t, 6, 2))},
			resource.TestStep{Config: lowered.String(), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)capability cannot be taken back`)},
			resource.TestStep{Config: silent.String(), PlanOnly: true}, // what is not said stays
			resource.TestStep{ // Nor do the nodes go back to a release that does not know it.
				Config: back.String(), PlanOnly: true,
				ExpectError: says("A channel keeps", "from this release", "has channel trade and cannot run Fabric 2.5.9: the channel has the channel capability V3_0, which that release does not know", "there is no way to Fabric 2"),
			},
			resource.TestStep{Config: back.String(), PlanOnly: true, ExpectError: says("with fabric_orderer_cluster.this", "Orderer orderer0 has channel trade")},
			resource.TestStep{Config: back.String(), PlanOnly: true, ExpectError: says("with fabric_peer.org2", "Peer peer0.org2 has channel trade")},
		)
	}
	steps = append(steps, last.partnered()...)
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, base.name), Steps: steps})
}

// partnered are steps in which two partners join, without whose signatures the members then decide
// nothing; what the ordering organization decides alone goes on.
func (c running) partnered() []resource.TestStep {
	c.partners = []string{"org4", "org5"}
	more := c
	more.settings = strings.Replace(more.settings, `"Readers"`, `"Writers"`, 1)
	faster := c
	faster.settings = strings.Replace(faster.settings, `"1s"`, `"500ms"`, 1)
	return []resource.TestStep{
		{Config: c.String(), Check: c.said(`organization Org4MSP added.*organization Org5MSP added`)},
		{Config: more.String(), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)Signatures are missing for the change of channel trade.*peer/Propose.*fabric_channel_proposal`)},
		{Config: faster.String(), Check: c.said(`batch.*500ms`)},
	}
}

// refused are changes that Fabric would refuse, or that would change nothing.
func (c running) refused(tuned running) []resource.TestStep {
	with := func(settings string) string {
		changed := tuned
		changed.settings = strings.Replace(changed.settings, "preferred_max_bytes  = 1048576", settings, 1)
		return changed.String()
	}
	return []resource.TestStep{
		{Config: with(`preferred_max_bytes = 20971520`), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)preferred_max_bytes`)},
		{Config: with(`absolute_max_bytes = 1073741824`), PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)absolute_max_bytes`)},
	}
}

// said checks the words of the last change.
func (c running) said(pattern string) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		var words []string
		for key, value := range s.RootModule().Resources[tradeAddress].Primary.Attributes {
			if strings.HasPrefix(key, "last_change.") {
				words = append(words, value)
			}
		}
		if !regexp.MustCompile("(?s)" + pattern).MatchString(strings.Join(words, "\n")) {
			return fmt.Errorf("last_change does not say %s: %q", pattern, words)
		}
		return nil
	}
}

// configured checks how many updates the channel has had, and how many organizations it has.
func (c running) configured(t *testing.T, updates uint64, organizations int) resource.TestCheckFunc {
	return func(s *terraform.State) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		facts, err := network.New(localEngine(t)).InspectChannel(ctx, c.channel(s))
		if err != nil {
			return err
		}
		if facts.Summary.Sequence != updates || len(facts.Summary.ApplicationOrganizations) != organizations {
			return fmt.Errorf("the channel has had %d updates and has %d organizations", facts.Summary.Sequence, len(facts.Summary.ApplicationOrganizations))
		}
		return nil
	}
}

// channel is the handle of the channel as the state has it.
func (c running) channel(s *terraform.State) network.Handle {
	attributes := s.RootModule().Resources[tradeAddress].Primary.Attributes
	return network.Handle{
		Kind: network.KindChannel, Network: c.name, Domain: attributes["handle.domain"], Owner: attributes["handle.owner_id"], Name: "trade",
	}
}

// changeOutside changes the channel as somebody else would: past Terraform.
func (c running) changeOutside(t *testing.T, change func(*configtx.Channel)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := network.New(localEngine(t))
	spec, err := f.FindChannel(ctx, c.name, "trade")
	if err != nil {
		t.Fatal(err)
	}
	change(&spec.Config)
	if err := f.UpdateChannel(ctx, spec); err != nil {
		t.Fatal(err)
	}
}
