package provider

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// consortium is a network with a channel of org1, in which org2 has its part as from another state. The
// example of that name is the same with three states; here the life of each resource is in view.
type consortium struct {
	name, version string
	// listed tells that the owner of the channel has org2 among its members.
	listed bool
	// peers are those of org2 on the channel; membership is further attributes of its membership.
	peers, membership string
	// settings are further attributes of the channel, more is more configuration.
	settings, more string
}

func (c consortium) String() string {
	config := plainOrganizations(c.name, c.version, "orderer", "org1", "org2")
	for _, name := range []string{"org1", "org2"} {
		config += fmt.Sprintf(`
resource "fabric_peer" %[1]q {
  organization        = fabric_organization.%[1]s.handle
  name                = "peer0.%[1]s"
  deletion_protection = false
}
`, name)
	}
	members, selfManaged := member("org1", "{ peer0 = fabric_peer.org1.handle }"), ""
	if c.listed {
		members += member("org2", "{}")
		selfManaged = `self_managed_organizations = ["org2"]`
	}
	return config + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

locals {
  orderers = { orderer0 = {
    address               = "127.0.0.1:${fabric_orderer_cluster.this.nodes["orderer0"].port}"
    tls_root_certificates = fabric_organization.orderer.definition.tls_root_certificates
    tls_server_name       = "orderer0.example.com"
  } }
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  organizations = {
%[1]s  }
  %[2]s
  %[3]s
  deletion_protection = false
}

resource "fabric_channel_membership" "org2" {
  channel             = "trade"
  organization        = fabric_organization.org2.handle
  definition          = fabric_organization.org2.definition
  peers               = { %[4]s }
  orderers            = local.orderers
  deletion_protection = false
  %[5]s
}
%[6]s
`, members, selfManaged, c.settings, c.peers, c.membership, c.more)
}

const membershipAddress = "fabric_channel_membership.org2"

// facts reads what the nodes of the channel say.
func (c consortium) summary(t *testing.T) configtx.Summary {
	t.Helper()
	facts, err := reads(t).InspectChannel(t.Context(), handleOfNode(t, c.name+"-peer0.org1").With(network.KindChannel, "trade", ""))
	if err != nil {
		t.Fatal(err)
	}
	return facts.Summary
}

// anchored checks the anchor peers of org2, and whether its peer has joined.
func (c consortium) anchored(t *testing.T, joined bool, anchors ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		var failed error
		for _, o := range c.summary(t).ApplicationOrganizations {
			if o.Definition.ID != "Org2MSP" {
				continue
			}
			var got []string
			for _, a := range o.AnchorPeers {
				got = append(got, a.String())
			}
			if !slices.Equal(got, anchors) {
				failed = fmt.Errorf("anchor peers of Org2MSP are %v, want %v", got, anchors)
			}
		}
		state, err := reads(t).ReadPeer(t.Context(), handleOfNode(t, c.name+"-peer0.org2"))
		if err == nil && (state.Ledger == network.LedgerHeld) != joined {
			err = fmt.Errorf("the peer of Org2MSP: ledger %v, want joined %v", state.Ledger, joined)
		}
		return errors.Join(failed, err)
	}
}

// meddle takes the anchor peers of org2 out of the channel, as somebody with its admin does elsewhere.
func (c consortium) meddle(t *testing.T) {
	t.Helper()
	f := reads(t)
	spec, err := f.FindMembership(t.Context(), c.name, "Org2MSP", "trade")
	if err != nil {
		t.Fatal(err)
	}
	_, basis, err := f.ReadMembership(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	base := &configtx.Config{Channel: "trade", Block: basis.Block, Proto: &common.Config{}}
	if err := proto.Unmarshal(basis.Config, base.Proto); err != nil {
		t.Fatal(err)
	}
	to := base.Clone()
	if err := to.SetApplicationOrganization(configtx.ApplicationOrganization{Definition: spec.Definition}); err != nil {
		t.Fatal(err)
	}
	update, err := configtx.ComputeUpdate("trade", base.Proto, to.Proto)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := configtx.MarshalUpdate(update)
	if err != nil {
		t.Fatal(err)
	}
	handed, err := network.ReadUpdate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SubmitProposal(t.Context(), network.ChannelAccess{Channel: spec.Handle}, spec.Handle.Organization(), handed, nil); err != nil {
		t.Fatal(err)
	}
}

// goBack gives the application of the channel a capability of Fabric 1, as both members decide it elsewhere.
func (c consortium) goBack(t *testing.T) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, org1, org2 := reads(t), handleOfNode(t, c.name+"-peer0.org1").Organization(), handleOfNode(t, c.name+"-peer0.org2").Organization()
	access := network.ChannelAccess{Channel: org1.With(network.KindChannel, "trade", "")}
	proposal, err := f.Propose(t.Context(), access, network.ChannelChange{ApplicationCapability: "V1_4_2"}, time.Now().Add(time.Hour))
	must(err)
	update, err := network.ReadUpdate(proposal.Update)
	must(err)
	signature, err := f.SignProposal(t.Context(), access, org2, update)
	must(err)
	_, err = f.SubmitProposal(t.Context(), access, org1, update, map[string][]byte{"org2": signature})
	must(err)
}

// saidBy checks the words of a list attribute.
func saidBy(address, list, pattern string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		var words []string
		for key, value := range state.RootModule().Resources[address].Primary.Attributes {
			if strings.HasPrefix(key, list+".") && key != list+".#" {
				words = append(words, value)
			}
		}
		if text := strings.Join(words, "\n"); !regexp.MustCompile(pattern).MatchString(text) {
			return fmt.Errorf("%s of %s says %q, want %s", list, address, text, pattern)
		}
		return nil
	}
}

// proposed proposes a change as org2 does.
func proposed(label, change string) string {
	return fmt.Sprintf(`
resource "fabric_channel_proposal" %q {
  channel = fabric_channel_membership.org2.handle
  change  = { %s }
}
`, label, change)
}

// rules proposes that anybody of a member may read blocks, which both members have to sign.
const rules = `
resource "fabric_channel_proposal" "rules" {
  channel = fabric_channel_membership.org2.handle
  change = {
    acls                 = { "event/Block" = "Writers" }
    application_policies = { LifecycleEndorsement = "ANY Endorsement" }
  }
}

resource "fabric_channel_signature" "org1" {
  orderers        = local.orderers
  organization    = fabric_organization.org1.handle
  update          = fabric_channel_proposal.rules.update
  expected_digest = fabric_channel_proposal.rules.digest
}

resource "fabric_channel_submission" "rules" {
  channel      = fabric_channel_membership.org2.handle
  organization = fabric_organization.org2.handle
  update       = fabric_channel_proposal.rules.update
  signatures   = { org1 = fabric_channel_signature.org1.signature }
}
`

func TestAccConsortium(t *testing.T) {
	sweepNetwork(t, networkName(t))
	const peer0 = "peer0 = fabric_peer.org2.handle"
	const anchor = "peer0.org2.example.com:7051"
	stranger := consortium{name: networkName(t), version: "2.5.9", peers: peer0, membership: `timeouts = { create = "3s" }`}
	member := stranger
	member.listed, member.membership = true, ""
	watching := member
	watching.peers = ""
	void, lone := member, member
	void.more = proposed("void", "max_message_count = 1")
	lone.more = proposed("lone", `remove_consenter = "orderer0.example.com:7050"`)
	proposing := member
	proposing.more = rules
	agreed := proposing
	agreed.settings = `
  batch_timeout        = "1s"
  acls                 = { "event/Block" = "Writers" }
  application_policies = { LifecycleEndorsement = "ANY Endorsement" }
`
	upgraded := agreed
	upgraded.version = "3.1.1"
	expelled := agreed
	expelled.listed = false
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, stranger.name),
		Steps: []resource.TestStep{
			{Config: stranger.String(), ExpectError: regexp.MustCompile(`(?s)Org2MSP\s+is\s+not\s+a\s+member\s+of\s+channel\s+trade.*Give\s+the\s+definition\s+of\s+Org2MSP.*self_managed_organizations`)},
			{ // Both in one apply: the membership waits until the channel has org2.
				Config: member.String(), ConfigPlanChecks: planned(plancheck.ResourceActionCreate, membershipAddress),
				Check: resource.ComposeTestCheckFunc(member.anchored(t, true, anchor), resource.TestCheckResourceAttr(membershipAddress, "status", "active")),
			},
			{
				Config: member.String(), ResourceName: membershipAddress, ImportState: true, ImportStateId: member.name + "/Org2MSP/trade",
				ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "channel", ImportStateVerifyIgnore: []string{"deletion_protection", "timeouts"},
			},
			{
				Config: watching.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, membershipAddress),
				Check: resource.ComposeTestCheckFunc(watching.anchored(t, false),
					saidBy(membershipAddress, "last_change", `anchor peer `+anchor+` of Org2MSP removed \[/Channel/Application/Org2MSP/Admins`),
					saidBy(membershipAddress, "last_change", `peer peer0.org2 leaves`)),
			},
			{
				Config: member.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, membershipAddress),
				Check: resource.ComposeTestCheckFunc(member.anchored(t, true, anchor), saidBy(membershipAddress, "last_change", `peer peer0.org2 joins`)),
			},
			{ // What somebody else does to its part is drift, and no matter of the channel's owner.
				PreConfig: func() { member.meddle(t) }, Config: member.String(),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(membershipAddress, plancheck.ResourceActionUpdate), plancheck.ExpectResourceAction(tradeAddress, plancheck.ResourceActionNoop),
				}},
				Check: member.anchored(t, true, anchor),
			},
			{Config: void.String(), PlanOnly: true, ExpectError: says("Unable to propose the change of channel trade", "with fabric_channel_proposal.void", "nothing would change", "The channel is so already")},
			{Config: lone.String(), PlanOnly: true, ExpectError: says("Unable to propose the change of channel trade: consenters", "the last one would go")},
			{ // A proposal that two organizations sign; the owner's plan then shows what it changed.
				Config: proposing.String(), ExpectNonEmptyPlan: true,
				Check: resource.ComposeTestCheckFunc(
					saidBy("fabric_channel_proposal.rules", "changes", `event/Block`),
					saidBy("fabric_channel_proposal.rules", "required", `/Channel/Application/Admins.*Org1MSP admin.*Org2MSP admin`),
					saidBy("fabric_channel_signature.org1", "changes", `event/Block.*Writers.*\[mod_policy Admins\]`),
					resource.TestCheckResourceAttrPair("fabric_channel_signature.org1", "digest", "fabric_channel_proposal.rules", "digest"),
					func(*terraform.State) error {
						if s := proposing.summary(t); s.ACLs["event/Block"] != "Writers" {
							return fmt.Errorf("the channel has the ACLs %v", s.ACLs)
						}
						return nil
					},
				),
			},
			{ // Once the owner says the same, nothing is left to do, however the channel moves on.
				Config: agreed.String(), ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("fabric_channel_submission.rules", plancheck.ResourceActionNoop), plancheck.ExpectResourceAction("fabric_channel_proposal.rules", plancheck.ResourceActionNoop),
				}},
			},
			{ // Peers of Fabric 3 do not serve the chaincodes of Fabric 1: said before any node is changed.
				PreConfig: func() { agreed.goBack(t) }, Config: upgraded.String(), PlanOnly: true,
				ExpectError: says("A channel keeps peer peer0.org1 from this release", "with fabric_peer.org1", "cannot run Fabric 3.1.1: the channel has the application capability V1_4_2",
					"Set application_capability of the channel to V2_5", "Then set fabric_version"),
			},
			{Config: agreed.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress)},
			{Config: expelled.String(), ExpectNonEmptyPlan: true},
			{ // It is told, and what is there of it can go.
				RefreshState: true, ExpectNonEmptyPlan: true,
				Check: resource.TestCheckResourceAttr(membershipAddress, "status", "excluded"),
			},
		},
	})
}
