package provider

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// leavers is a channel of two organizations with private data, whose peers come and go. Org1 has two.
type leavers struct {
	name string
	// of are further attributes of the peers by name; a peer without an entry is not there.
	of map[string]string
	// joined are the peers that the channel has.
	joined []string
}

func (l leavers) String() string {
	config := plainOrganizations(l.name, "3.1.1", "orderer", "org1", "org2") + `
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}
`
	members := map[string]string{}
	for _, p := range []struct{ peer, org string }{{"peer0_org1", "org1"}, {"peer1_org1", "org1"}, {"peer0_org2", "org2"}} {
		attributes, there := l.of[p.peer]
		if !there {
			continue
		}
		config += fmt.Sprintf(`
resource "fabric_peer" %[1]q {
  organization        = fabric_organization.%[2]s.handle
  name                = "%[3]s.%[2]s"
  deletion_protection = false
  %[4]s
}
`, p.peer, p.org, p.peer[:5], attributes)
	}
	for _, name := range l.joined {
		org := name[len(name)-4:]
		members[org] += fmt.Sprintf("%s = fabric_peer.%s.handle, ", name[:5], name)
	}
	config += `
resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
`
	for _, org := range []string{"org1", "org2"} {
		config += fmt.Sprintf(`
    %[1]s = {
      organization = fabric_organization.%[1]s.handle
      definition   = fabric_organization.%[1]s.definition
      peers        = { %[2]s }
    }
`, org, members[org])
	}
	return config + `
  }
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
  collections = {
    secrets = { member_policy = "OR('Org1MSP.member')" }
    prices  = { member_policy = "OR('Org1MSP.member', 'Org2MSP.member')" }
  }
}
`
}

// left checks that a peer that was removed is gone, and its volume too unless it was kept.
func (l leavers) left(t *testing.T, peer string, kept bool) resource.TestCheckFunc {
	return func(*terraform.State) error {
		name := l.name + "-" + peer
		var wrong []error
		if _, err := localEngine(t).Node(t.Context(), name); !errors.Is(err, engine.ErrNotFound) {
			wrong = append(wrong, fmt.Errorf("container %s is left: %w", name, err))
		}
		if _, err := localEngine(t).Volume(t.Context(), name); (err == nil) != kept {
			wrong = append(wrong, fmt.Errorf("volume %s: %w", name, err))
		}
		return errors.Join(wrong...)
	}
}

// ledger checks whether a peer has joined a channel.
func (l leavers) ledger(t *testing.T, peer string, want network.Ledger) resource.TestCheckFunc {
	return func(*terraform.State) error {
		state, err := reads(t).ReadPeer(t.Context(), handleOfNode(t, l.name+"-"+peer))
		if err == nil && state.Ledger != want {
			err = fmt.Errorf("the ledger of %s is %v, want %v", peer, state.Ledger, want)
		}
		return err
	}
}

// TestAccPeerLeaves: peers that are removed together with their place in the channel, in one apply.
func TestAccPeerLeaves(t *testing.T) {
	l := leavers{name: networkName(t), of: map[string]string{"peer0_org1": "", "peer1_org1": `on_destroy = "keep"`, "peer0_org2": ""}}
	sweepNetwork(t, l.name)
	with := func(joined []string, of map[string]string) string {
		changed := l
		changed.joined, changed.of = joined, of
		return changed.String()
	}
	all := []string{"peer0_org1", "peer1_org1", "peer0_org2"}
	both := map[string]string{"peer0_org1": "", "peer1_org1": `on_destroy = "delete"`, "peer0_org2": ""}
	alone := map[string]string{"peer0_org1": "", "peer0_org2": ""}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, l.name),
		Steps: []resource.TestStep{
			{Config: with(all, l.of), Check: servers(t, l.name, "kv", "peer0.org1", "peer0.org2", "peer1.org1")},
			{ // With its volume kept, it leaves its ledger behind.
				Config:           with([]string{"peer0_org1", "peer0_org2"}, alone),
				ConfigPlanChecks: planned(plancheck.ResourceActionDestroy, "fabric_peer.peer1_org1"),
				Check: resource.ComposeTestCheckFunc(
					l.left(t, "peer1.org1", true), servers(t, l.name, "kv", "peer0.org1", "peer0.org2"), l.ledger(t, "peer0.org1", network.LedgerHeld)),
			},
			{ // Taken up again, the volume has no channel.
				Config: with([]string{"peer0_org1", "peer0_org2"}, both),
				Check:  l.ledger(t, "peer1.org1", network.LedgerNone),
			},
			{Config: with(all, both), Check: resource.ComposeTestCheckFunc(
				l.ledger(t, "peer1.org1", network.LedgerHeld), servers(t, l.name, "kv", "peer0.org1", "peer0.org2", "peer1.org1"))},
			{ // Replaced, it is back in its channel after the same apply.
				Config: with(all, both), Taint: []string{"fabric_peer.peer1_org1"},
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					planSays{tradeAddress, []string{"peer peer1.org1, made anew, joins again"}},
				}},
				Check: resource.ComposeTestCheckFunc(
					l.ledger(t, "peer1.org1", network.LedgerHeld), servers(t, l.name, "kv", "peer0.org1", "peer0.org2", "peer1.org1")),
			},
			{ // Both holders of org1 at once: one of them stays.
				Config:      with([]string{"peer0_org2"}, map[string]string{"peer0_org2": ""}),
				ExpectError: says("Unable to delete peer", "is the last peer that runs of those that hold", "collection secrets of chaincode kv on channel trade", "accept_data_loss"),
			},
			{ // The other one is gone, so this one has to say so itself.
				PreConfig: func() {
					if up := runningOf(t, []string{l.name + "-peer0.org1", l.name + "-peer1.org1"}); up != 1 {
						t.Errorf("%d of the holders run, want 1", up)
					}
				},
				Config: with(all, map[string]string{"peer0_org1": "accept_data_loss = true", "peer1_org1": "accept_data_loss = true", "peer0_org2": ""}),
			},
			{
				Config: with([]string{"peer0_org2"}, map[string]string{"peer0_org2": ""}),
				Check: resource.ComposeTestCheckFunc(
					l.left(t, "peer0.org1", false), l.left(t, "peer1.org1", false), servers(t, l.name, "kv", "peer0.org2")),
			},
		},
	})
}
