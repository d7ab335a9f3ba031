package provider

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// marketplace is a network with a channel whose organizations and peers come and go.
type marketplace struct {
	name string
	// peers are how many each organization has.
	peers map[string]int
	// limits are a further attribute of each peer, anchors and settings of the channel.
	limits, anchors, settings string
	// guest is an organization that manages its part of the channel itself; empty for none.
	guest string
}

func (c marketplace) String() string {
	organizations := slices.Sorted(maps.Keys(c.peers))
	text := plainOrganizations(c.name, "3.1.1", slices.Concat([]string{"orderer"}, organizations)...)
	members, guests := "", ""
	for _, org := range organizations {
		var handles []string
		for n := range c.peers[org] {
			text += fmt.Sprintf(`
resource "fabric_peer" "%[1]s_%[2]d" {
  organization        = fabric_organization.%[1]s.handle
  name                = "peer%[2]d.%[1]s"
  deletion_protection = false
  %[3]s
}
`, org, n, c.limits)
			handles = append(handles, fmt.Sprintf("peer%[2]d = fabric_peer.%[1]s_%[2]d.handle", org, n))
		}
		if org == c.guest {
			guests = fmt.Sprintf("self_managed_organizations = [%q]", org)
			text += fmt.Sprintf(`
resource "fabric_channel_membership" %[1]q {
  channel             = "trade"
  organization        = fabric_organization.%[1]s.handle
  definition          = fabric_organization.%[1]s.definition
  peers               = { %[2]s }
  deletion_protection = false
  orderers = { orderer0 = {
    address               = "127.0.0.1:${fabric_orderer_cluster.this.nodes["orderer0"].port}"
    tls_root_certificates = fabric_organization.orderer.definition.tls_root_certificates
    tls_server_name       = "orderer0.example.com"
  } }
}
`, org, strings.Join(handles, ", "))
			handles = nil
		}
		members += fmt.Sprintf(`    %[1]s = {
      organization = fabric_organization.%[1]s.handle
      definition   = fabric_organization.%[1]s.definition
      peers        = { %[2]s }
    }
`, org, strings.Join(handles, ", "))
	}
	return text + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  deletion_protection = false
  organizations = {
%s  }
  %s
  %s
  %s
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
}
`, members, guests, c.anchors, c.settings)
}

// TestLongChannelUnderLoad changes a channel and its members in every way while values are written: its
// settings, peers that come, are rolled and go, and organizations that join and leave, one of them by a
// membership of its own.
func TestLongChannelUnderLoad(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	sweepNetwork(t, name)
	c := marketplace{name: name, peers: map[string]int{"org1": 1, "org2": 1}, settings: `batch_timeout = "300ms"`}
	with := func(change func(*marketplace)) string {
		c.peers = maps.Clone(c.peers)
		change(&c)
		return c.String()
	}
	// Those of Org1MSP and Org2MSP stay to the end, and with them what they have signed.
	u := &underLoad{t: t, network: name, organizations: []string{"Org1MSP", "Org2MSP"}}
	channel := running{name: name}
	var rolled []*outages
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: with(func(*marketplace) {}), Check: channel.configured(t, 0, 2)},
			{
				PreConfig: u.next("batch, ACLs and policies"),
				Config: with(func(c *marketplace) {
					c.settings = `
  batch_timeout        = "250ms"
  preferred_max_bytes  = 1048576
  acls                 = { "peer/Propose" = "Writers" }
  application_policies = { LifecycleEndorsement = "ANY Endorsement" }
`
				}),
				Check: resource.ComposeTestCheckFunc(channel.said(`batch.*250ms`), channel.configured(t, 1, 2)),
			},
			{
				PreConfig: u.next("a second peer for each of two organizations"),
				Config:    with(func(c *marketplace) { c.peers["org1"], c.peers["org2"] = 2, 2 }),
				Check:     servers(t, name, "kv", "peer0.org1", "peer0.org2", "peer1.org1", "peer1.org2"),
			},
			{
				PreConfig: u.next("other anchor peers"),
				Config:    with(func(c *marketplace) { c.anchors = `anchor_peers = { org1 = ["peer1"], org2 = ["peer1"] }` }),
				Check:     resource.ComposeTestCheckFunc(channel.said(`anchor peer peer1.org1`), channel.said(`anchor peer peer1.org2`), channel.configured(t, 2, 2)),
			},
			{
				PreConfig: func() {
					u.next("a roll of four peers")()
					for _, org := range []string{"org1", "org2"} {
						rolled = append(rolled, watchOutages(t, name, nodeHandles(t, []string{name + "-peer0." + org, name + "-peer1." + org})))
					}
				},
				Config: with(func(c *marketplace) { c.limits = "limits = { pids = 400 }" }),
				Check: func(*terraform.State) error {
					var wrong error
					for _, o := range rolled {
						if worst, silent, gone := o.end(); worst != 1 || silent > 1 || len(gone) != 2 {
							wrong = errors.Join(wrong, fmt.Errorf("%d of an organization were down at a time, %d did not answer; outages %v", worst, silent, gone))
						}
					}
					return wrong
				},
			},
			{
				PreConfig: u.next("an organization joins with a peer"),
				Config:    with(func(c *marketplace) { c.peers["org3"], c.anchors = 1, "" }),
				Check:     resource.ComposeTestCheckFunc(channel.said(`organization Org3MSP added`), channel.configured(t, 3, 3), servers(t, name, "kv", "peer0.org1", "peer0.org2", "peer0.org3", "peer1.org1", "peer1.org2")),
			},
			{
				PreConfig: u.next("another one joins by a membership of its own"),
				Config:    with(func(c *marketplace) { c.peers["org4"], c.guest = 1, "org4" }),
				Check:     resource.ComposeTestCheckFunc(channel.configured(t, 5, 4), resource.TestCheckResourceAttr("fabric_channel_membership.org4", "status", "active")),
			},
			{
				PreConfig: u.next("both leave, and a peer of each of the others"),
				Config: with(func(c *marketplace) {
					c.peers, c.guest = map[string]int{"org1": 1, "org2": 1}, ""
				}),
				Check: resource.ComposeTestCheckFunc(servers(t, name, "kv", "peer0.org1", "peer0.org2"), func(s *terraform.State) error {
					facts, err := channelFacts(t, name)
					if err == nil && len(facts.Summary.ApplicationOrganizations) != 2 {
						err = fmt.Errorf("the channel has %d organizations", len(facts.Summary.ApplicationOrganizations))
					}
					return err
				}, u.finish),
			},
		},
	})
}
