package provider

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestLongSmartBFT takes an ordering cluster with SmartBFT through its whole life: made with four nodes,
// grown, its options changed, rolled, its certificates renewed and its keys replaced node by node, a
// consenter that vanished, a volume that was lost, and shrunk. A transaction is written after each.
func TestLongSmartBFT(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	const consensus = `consensus = "bft"`
	l := life{name: name, version: "3.1.1", cluster: consensus, nodes: "orderer0 = {}, orderer1 = {}, orderer2 = {}, orderer3 = {}"}
	with := func(change func(*life)) string {
		l.run++
		change(&l)
		return l.String()
	}
	four := []string{"orderer0", "orderer1", "orderer2", "orderer3"}
	five := append(four, "orderer4")
	var containers []string
	for _, node := range five {
		containers = append(containers, name+"-"+node)
	}
	t.Cleanup(func() { clock = time.Now })
	seen := &sightings{t: t, network: name}
	keys := &consenterKeys{t: t, on: name}
	sweepNetwork(t, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: with(func(*life) {}),
				Check: resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, four...), smartBFT(t, name),
					resource.TestCheckResourceAttr("fabric_channel.trade", "channel_capability", "V3_0"), resource.TestCheckNoResourceAttr(clusterAddress, "raft.tick_interval")),
			},
			{
				Config:           with(func(l *life) { l.nodes += ", orderer4 = {}" }),
				ConfigPlanChecks: foretold(five, "orderer4: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint"),
				Check:            resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, five...), smartBFT(t, name)),
			},
			{ // Options are in force at once, and nothing restarts.
				PreConfig: func() { seen.watchRoll(containers) },
				Config: with(func(l *life) {
					l.cluster += `
  bft = {
    leader_heartbeat_timeout = "10s"
    request_forward_timeout  = "1s"
    request_complain_timeout = "3s"
  }`
				}),
				ConfigPlanChecks: foretold(five, "channel trade: SmartBFT options set by a config update, in force at once"),
				Check: resource.ComposeTestCheckFunc(seen.check, smartBFT(t, name), func(*terraform.State) error {
					facts, err := channelFacts(t, name)
					if has := facts.Summary.BFT; err == nil && (has.LeaderHeartbeatTimeout != 10*time.Second || has.RequestComplainTimeout != 3*time.Second || has.RequestForwardTimeout != time.Second) {
						err = fmt.Errorf("the options are %+v", has)
					}
					return err
				}),
			},
			{ // What nodes read at their start is a roll too.
				PreConfig: func() { seen.watchRoll(containers) },
				Config: with(func(l *life) {
					l.cluster = strings.Replace(l.cluster, "bft = {", "bft = {\n    request_pool_size = 5000", 1)
				}),
				ConfigPlanChecks: foretold(five, "in force at once but for request_pool_size", "made anew on their volumes, one after the other"),
				Check:            resource.ComposeTestCheckFunc(seen.check, seen.rolled, orderedBy(t, name, five...), smartBFT(t, name)),
			},
			{ // In a year every certificate is due.
				PreConfig: func() {
					seen.watchRoll(containers)
					clock = func() time.Time { return time.Now().Add(360 * day) }
				},
				Config:             with(func(*life) {}),
				ConfigPlanChecks:   resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{planSays{clusterAddress, []string{"; before each restart a config update tells channel trade the certificates that the node will have"}}}},
				ExpectNonEmptyPlan: true, // the new certificates were issued today
				Check: resource.ComposeTestCheckFunc(seen.check, seen.rolled, orderedBy(t, name, five...), smartBFT(t, name), func(state *terraform.State) error {
					for _, node := range five {
						for _, key := range ordererCertificates(node) {
							if err := seen.renewed(true)(clusterAddress, key)(state); err != nil {
								return err
							}
						}
					}
					return nil
				}),
			},
			{ // Keys are replaced in the same way.
				PreConfig: func() {
					clock = time.Now
					seen.watchRoll(containers)
				},
				Config: with(func(l *life) {
					l.nodes = "orderer0 = { key_version = 2 }, orderer1 = {}, orderer2 = {}, orderer3 = { key_version = 2 }, orderer4 = {}"
				}),
				ConfigPlanChecks: foretold(five, "; before each restart a config update tells channel trade the certificates that the node will have"),
				Check: resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, five...), smartBFT(t, name), func(state *terraform.State) error {
					for _, node := range five {
						for _, key := range ordererCertificates(node) {
							check := seen.same(clusterAddress, key)
							if node == "orderer0" || node == "orderer3" {
								check = seen.renewed(false)(clusterAddress, key)
							}
							if err := check(state); err != nil {
								return err
							}
						}
					}
					return nil
				}),
			},
			{ // Import finds how it orders.
				ResourceName: clusterAddress, ImportState: true, ImportStateId: name + "/orderers", ImportStateVerify: true, ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore: append([]string{"deletion_protection", "last_change"}, lastRenewals(five)...),
			},
			{ // A consenter that vanished from the ledger comes back.
				PreConfig:        func() { evictBehindBack(t, name, "orderer1", "orderer0", "orderer2", "orderer3", "orderer4") },
				Config:           with(func(*life) {}),
				ConfigPlanChecks: foretold(five, "orderer1: added to channel trade, of which it is no consenter"),
				Check: resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, five...), smartBFT(t, name), keys.take,
					resource.TestCheckResourceAttr(clusterAddress, "nodes.orderer1.status", "running")),
			},
			{ // A volume that is lost is another consenter's.
				PreConfig:        func() { loseNode(t, name+"-orderer2") },
				Config:           with(func(l *life) { l.cluster += "\n  accept_data_loss = true" }),
				ConfigPlanChecks: foretold(five, "orderer2: made anew with an empty volume and another key; evicted from channel trade, joined as a follower"),
				Check:            resource.ComposeTestCheckFunc(orderedBy(t, name, five...), smartBFT(t, name), keys.another("orderer2")),
			},
			{ // From five to four, and no further.
				Config: with(func(l *life) {
					l.nodes = "orderer0 = { key_version = 2 }, orderer1 = {}, orderer2 = {}, orderer3 = { key_version = 2 }"
				}),
				ConfigPlanChecks: foretold(four, "orderer4: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume"),
				Check:            resource.ComposeTestCheckFunc(gone(t, name, "orderer4"), orderedBy(t, name, four...), smartBFT(t, name)),
			},
			{
				Config:      with(func(l *life) { l.nodes = "orderer0 = {}, orderer1 = {}, orderer2 = {}" }),
				ExpectError: says("Too few ordering nodes for SmartBFT", "needs 4 ordering nodes or more, and has 3"),
			},
			{
				Config:      with(func(l *life) { l.nodes, l.cluster = "orderer0 = {}, orderer1 = {}, orderer2 = {}", "" }),
				ExpectError: says("The consensus of a channel cannot be changed", "orders channels by bft: trade", "add a second fabric_orderer_cluster"),
			},
			{ // An apply after what was refused finds nothing to do but the transaction.
				Config: with(func(l *life) {
					l.nodes = "orderer0 = { key_version = 2 }, orderer1 = {}, orderer2 = {}, orderer3 = { key_version = 2 }"
					l.cluster = consensus + `
  bft = {
    leader_heartbeat_timeout = "10s"
    request_forward_timeout  = "1s"
    request_complain_timeout = "3s"
    request_pool_size        = 5000
  }`
				}),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					onlyUpdates{clusterAddress, "fabric_transaction.this"},
					plancheck.ExpectKnownValue(clusterAddress, tfjsonpath.New("accept_data_loss"), knownvalue.Bool(false)),
				}},
			},
		},
	})
}

func lastRenewals(nodes []string) []string {
	var out []string
	for _, node := range nodes {
		out = append(out, "nodes."+node+".last_renewal")
	}
	return out
}

// smartBFT expects of every ordering node that it takes part in a channel with SmartBFT, with the
// certificates that the ledger lists, and of the network that it is well.
func smartBFT(t *testing.T, on string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		facts, err := channelFacts(t, on)
		if err != nil {
			return err
		}
		if facts.Summary.ConsensusType != "BFT" {
			return fmt.Errorf("the consensus is %s", facts.Summary.ConsensusType)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		f := network.New(localEngine(t))
		spec, err := f.FindOrdererCluster(ctx, on, "orderers")
		if err != nil {
			return err
		}
		for _, c := range facts.Summary.Consenters {
			node := strings.TrimSuffix(c.Host, ".example.com")
			held, err := f.ReadCertificates(ctx, spec.Nodes[node].Handle)
			if err != nil {
				return err
			}
			if held[network.CertificateEnrollment] != c.IdentityPEM || !strings.HasPrefix(held[network.CertificateTLS], c.ServerTLSCertPEM) {
				return fmt.Errorf("%s has other certificates than the ledger lists", node)
			}
		}
		health, err := f.CheckHealth(ctx, spec.Handle.With(network.KindNetwork, on, ""))
		if err != nil {
			return err
		}
		var wrong []error
		for node, n := range health.Nodes {
			if n.Trouble != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", node, n.Trouble))
			}
		}
		if health.Channels["trade"].Leader == "" {
			wrong = append(wrong, errors.New("nobody leads"))
		}
		return errors.Join(append(wrong, health.Channels["trade"].Trouble)...)
	}
}
