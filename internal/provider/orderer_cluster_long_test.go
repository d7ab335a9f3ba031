package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
)

// TestLongClusterUnderLoad changes an ordering cluster in every way while 25 values a second are written:
// none that was acknowledged may be missing, and every height must be equal at the end.
func TestLongClusterUnderLoad(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	l := life{name: name, version: "3.1.1"}
	with := func(change func(*life)) string {
		change(&l)
		return busy(l.String())
	}
	u := &underLoad{t: t, network: name}
	keys := &consenterKeys{t: t, on: name}
	sweepNetwork(t, name)
	three := "orderer0 = {}, orderer1 = {}, orderer2 = {}"
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: with(func(l *life) { l.nodes = "orderer0 = {}" }), Check: orderedBy(t, name, "orderer0")},
			{
				PreConfig: u.next("from one to three"),
				Config:    with(func(l *life) { l.nodes = three }), Check: orderedBy(t, name, "orderer0", "orderer1", "orderer2"),
			},
			{
				PreConfig: u.next("a roll of three"),
				Config:    with(func(l *life) { l.cluster = "limits = { pids = 900 }" }), Check: orderedBy(t, name, "orderer0", "orderer1", "orderer2"),
			},
			{
				PreConfig: u.next("two more"),
				Config:    with(func(l *life) { l.nodes += ", orderer3 = {}, orderer4 = {}" }),
				Check:     orderedBy(t, name, "orderer0", "orderer1", "orderer2", "orderer3", "orderer4"),
			},
			{
				PreConfig: u.next("two renamed"),
				Config: with(func(l *life) {
					l.nodes = "orderer0 = {}, orderer5 = {}, orderer2 = {}, orderer6 = {}, orderer4 = {}"
				}),
				Check: orderedBy(t, name, "orderer0", "orderer2", "orderer4", "orderer5", "orderer6"),
			},
			{
				PreConfig: u.next("shorter timers"),
				Config:    with(func(l *life) { l.cluster += "\n  raft = { tick_interval = \"200ms\" }" }),
				Check:     resource.ComposeTestCheckFunc(orderedBy(t, name, "orderer0", "orderer2", "orderer4", "orderer5", "orderer6"), keys.take),
			},
			{
				PreConfig: func() { u.next("a volume lost")(); loseNode(t, name+"-orderer4") },
				Config:    with(func(l *life) { l.cluster += "\n  accept_data_loss = true" }),
				Check:     resource.ComposeTestCheckFunc(orderedBy(t, name, "orderer0", "orderer2", "orderer4", "orderer5", "orderer6"), keys.another("orderer4")),
			},
			{
				PreConfig: u.next("back to three"),
				Config:    with(func(l *life) { l.nodes = "orderer0 = {}, orderer4 = {}, orderer6 = {}" }),
				Check:     orderedBy(t, name, "orderer0", "orderer4", "orderer6"),
			},
			{
				PreConfig: u.next("back to one"),
				Config:    with(func(l *life) { l.nodes = "orderer6 = {}" }),
				Check:     resource.ComposeTestCheckFunc(orderedBy(t, name, "orderer6"), u.finish),
			},
		},
	})
}

// TestLongUpgradeUnderLoad takes a network from Fabric 2.5 to 3.1 by its release alone, orderers before
// peers, while values are written.
func TestLongUpgradeUnderLoad(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	l := life{name: name, version: "2.5.9"}
	with := func(change func(*life)) string {
		change(&l)
		return busy(l.String())
	}
	u := &underLoad{t: t, network: name}
	sweepNetwork(t, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: with(func(*life) {}), Check: orderedBy(t, name, "orderer0", "orderer1", "orderer2")},
			{ // A release that does not come up ends there, and the cluster goes on.
				PreConfig: u.next("an image that does not start"),
				Config: with(func(l *life) {
					l.version, l.peer = "3.1.1", `fabric_version = "2.5.9"`
					l.cluster = `config = { General = { Profile = { Enabled = true, Address = "203.0.113.1:6060" } } }`
				}),
				ExpectError: says("Unable to update ordering cluster orderers", "the roll stopped at orderer", "203.0.113.1:6060", "left as they are", "the next apply goes on from here"),
			},
			{
				PreConfig: u.next("orderers and peer to 3.1.1"),
				Config:    with(func(l *life) { l.cluster, l.peer = "", "" }),
				Check: resource.ComposeTestCheckFunc(orderedBy(t, name, "orderer0", "orderer1", "orderer2"),
					resource.TestCheckResourceAttr(clusterAddress, "fabric_version", "3.1.1"), resource.TestCheckResourceAttr(peerAddress, "fabric_version", "3.1.1"), u.finish),
			},
		},
	})
}
