package provider

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// partner is a cluster, and an ordering node that another organization brings in as from another state.
type partner struct {
	name string
	// channels are those that the node joins, external what the cluster's owner says of it, more is more
	// configuration of the node. Gone takes the node away.
	channels, external, more string
	gone                     bool
}

const partnerAddress = "fabric_orderer.second"

func (p partner) String() string {
	config := plainOrganizations(p.name, "3.1.1", "orderer", "second", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = { port = 17321 }, orderer1 = {}, orderer2 = {} }
  raft                = { tick_interval = "100ms" }
  deletion_protection = false
  %s
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { peer0 = fabric_peer.this.handle }
    }
  }
}
`, p.external)
	if p.gone {
		return config
	}
	return config + fmt.Sprintf(`
resource "fabric_orderer" "second" {
  organization        = fabric_organization.second.handle
  name                = "orderer0.second"
  channels            = [%s]
  deletion_protection = false
  orderers = { orderer0 = {
    address               = "127.0.0.1:17321"
    tls_root_certificates = fabric_organization.orderer.definition.tls_root_certificates
    tls_server_name       = "orderer0.example.com"
  } }
  %s
}
`, p.channels, p.more)
}

// bothAdmins lets the owner sign for the partner, too: both have their keys here, where real partners use
// proposals, as in the example consortium.
const bothAdmins = "admins = { orderer = fabric_organization.orderer.handle, second = fabric_organization.second.handle }\n"

// listing is what the owner of the cluster says of the partner's node.
func listing(consenter bool) string {
	return fmt.Sprintf(`
  external_consenters = { second = {
    address         = "orderer0.second.example.com:7050"
    tls_certificate = fabric_orderer.second.tls_certificate
    definition      = fabric_organization.second.definition
    consenter       = %v
  } }`, consenter)
}

// TestAccOrderer brings a node of another organization into a cluster, hand over hand, and takes it out.
func TestAccOrderer(t *testing.T) {
	name := networkName(t)
	p := partner{name: name}
	with := func(change func(*partner)) string {
		change(&p)
		return p.String()
	}
	relation := func(want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr(partnerAddress, "relations.trade", want)
	}
	own := []string{"orderer0", "orderer1", "orderer2"}
	all := append([]string{"orderer0"}, "orderer0.second", "orderer1", "orderer2")
	sweepNetwork(t, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: with(func(*partner) {}), Check: resource.TestCheckResourceAttr(partnerAddress, "status", "running")},
			{ // The channel does not let its organization read it yet.
				Config: with(func(p *partner) { p.channels = `"trade"` }), Check: resource.ComposeTestCheckFunc(relation("waiting"), consentedBy(t, name, own...)),
			},
			{ // The owner makes it known, and the next apply of the partner joins.
				Config:             with(func(p *partner) { p.external = listing(false) }),
				ConfigPlanChecks:   resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{planSays{clusterAddress, []string{"second: its organization SecondMSP made known to channel trade, with its endpoint"}}}},
				Check:              consentedBy(t, name, own...),
				ExpectNonEmptyPlan: true,
			},
			{Config: p.String(), ConfigPlanChecks: onlyUpdated(partnerAddress), Check: relation("follower")},
			{ // Now it is ready to be a consenter. That both have to sign is known before anything is done.
				Config: with(func(p *partner) { p.external = listing(true) }), PlanOnly: true,
				ExpectError: says("Signatures are missing for a change of who orders", "adding second before it is known to work falls under /Channel/Orderer/Admins (MAJORITY Admins), which wants SecondMSP admin",
					"set consenter = false in external_consenters", "propose add_consenter", "fabric_channel_proposal"),
			},
			{
				Config:           with(func(p *partner) { p.external = bothAdmins + listing(true) }),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{planSays{clusterAddress, []string{"second: added as a consenter of channel trade; it must have joined"}}}},
				Check:            consentedBy(t, name, all...),
			},
			{ // It is rolled like any other, and so is the cluster, which needs nobody else for that.
				PreConfig: func() { awaitRelation(t, name, "consenter") },
				Config: with(func(p *partner) {
					p.more = "limits = { pids = 900 }"
					p.external = p.more + listing(false)
				}),
				ConfigPlanChecks: onlyUpdated(partnerAddress, clusterAddress),
				Check:            resource.ComposeTestCheckFunc(relation("consenter"), consentedBy(t, name, all...)),
			},
			{ // A node that has gone from the list would be taken off, which wants both again,
				Config: with(func(p *partner) { p.external = p.more }), PlanOnly: true,
				ExpectError: says("removing orderer0.second.example.com:7050 falls under /Channel/Orderer/Admins", "propose add_consenter or remove_consenter"),
			},
			{ // and stays for as long as the channel counts on it.
				Config:      with(func(p *partner) { p.channels, p.external = "", p.more+listing(false) }),
				ExpectError: says("is still a consenter of channel trade", "takes the node out of external_consenters"),
			},
			{
				ResourceName: partnerAddress, ImportState: true, ImportStateId: name + "/orderer0.second", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore:              []string{"deletion_protection"},
			},
			{
				Config: with(func(p *partner) {
					p.channels, p.external = `"trade"`, bothAdmins+p.more
				}),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{planSays{clusterAddress, []string{
					"channel trade: the consenter orderer0.second.example.com:7050 is taken off, which is no node of this cluster",
					"channel trade: the organization SecondMSP is taken off, which orders no longer",
				}}}},
				Check: consentedBy(t, name, own...),
			},
			{Config: with(func(p *partner) { p.gone = true }), Check: gone(t, name, "orderer0.second")},
		},
	})
}

// consentedBy expects exactly these nodes as consenters of the channel.
func consentedBy(t *testing.T, on string, nodes ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		facts, err := channelFacts(t, on)
		if err != nil {
			return err
		}
		return sameHosts(facts, nodes)
	}
}

// awaitRelation waits until the partner's node is what it is to be.
func awaitRelation(t *testing.T, on, want string) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		spec, err := reads(t).FindJoinedOrderer(t.Context(), on, "orderer0.second")
		if err != nil {
			t.Fatal(err)
		}
		state, err := reads(t).ReadJoinedOrderer(t.Context(), spec)
		if err == nil && state.Channels["trade"] == want {
			return
		}
		select {
		case <-t.Context().Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Errorf("the node does not come to be a %s", want)
}
