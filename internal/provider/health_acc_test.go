package provider

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// docker does to a container what the engine has no word for.
func dockerDoes(t *testing.T, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("docker %v: %v: %s", arguments, err, out)
	}
}

// TestAccHealth: what the data source says of a network that is well and of one that is not, and that
// an apply makes it well again.
func TestAccHealth(t *testing.T) {
	name := networkName(t)
	sweepNetwork(t, name)
	const health = "data.fabric_health.this"
	config := func(attributes string) string {
		return plainOrganizations(name, "3.1.1", "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {}, orderer1 = {}, orderer2 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_peer" "other" {
  organization        = fabric_organization.org1.handle
  name                = "peer1.org1"
  deletion_protection = false
  %s
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
      peers        = { peer0 = fabric_peer.this.handle, peer1 = fabric_peer.other.handle }
    }
  }
}
`, attributes)
	}
	// Read during plan: nothing that it refers to changes.
	const seen = `
data "fabric_health" "this" {
  network = fabric_network.this.handle
}
`
	// Read when everything is made.
	const made = `
data "fabric_health" "this" {
  network    = fabric_network.this.handle
  depends_on = [fabric_channel.trade, fabric_peer.this, fabric_peer.other, fabric_orderer_cluster.this, fabric_ca.org1]
}
`
	value := func(key, want string) resource.TestCheckFunc {
		return resource.TestCheckResourceAttr(health, key, want)
	}
	// Fabric's CA rounds to the minute, up as well as down.
	aYear := func(key string) resource.TestCheckFunc {
		return resource.TestMatchResourceAttr(health, key, regexp.MustCompile(`^36[45]$`))
	}
	well := resource.ComposeTestCheckFunc(
		value("healthy", "true"), value("problems.#", "0"), value("nodes.%", "7"),
		value("nodes.peer0.org1.status", "running"),
	)
	ids := map[string]string{}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: config("") + made,
				Check: resource.ComposeTestCheckFunc(
					value("healthy", "true"), value("problems.#", "0"), value("nodes.%", "7"),
					value("channels.trade.healthy", "true"), value("channels.trade.lag", "0"), value("channels.trade.height", "1"),
					resource.TestMatchResourceAttr(health, "channels.trade.leader", says("orderer")),
					aYear("certificate_days_left"), aYear("nodes.ca.org1.certificate_days_left.listener"),
					aYear("nodes.peer0.org1.certificate_days_left.enrollment"), aYear("nodes.orderer0.certificate_days_left.operations"),
					func(state *terraform.State) error {
						for key, want := range map[string]string{
							"nodes.orderer1.channels.trade.height": "1",
							"nodes.peer0.org1.channels.trade.lag":  "0", "nodes.ca.org1.healthy": "true", "nodes.orderer2.kind": "orderer",
						} {
							if got := attribute(state, health, key); got != want {
								return fmt.Errorf("%s is %q, want %q", key, got, want)
							}
						}
						leaders := 0
						for _, o := range []string{"orderer0", "orderer1", "orderer2"} {
							if attribute(state, health, "nodes."+o+".channels.trade.leader") == "true" {
								leaders++
							}
						}
						if leaders != 1 {
							return fmt.Errorf("%d nodes lead", leaders)
						}
						return nil
					},
				),
			},
			{ // A node that hangs, one that is paused and one that is stopped: facts, and drift that an apply mends.
				PreConfig: func() {
					ids = containerIDs(t, []string{name + "-peer0.org1", name + "-orderer1", name + "-peer1.org1"})
					dockerDoes(t, "kill", "--signal", "STOP", name+"-peer0.org1")
					dockerDoes(t, "pause", name+"-orderer1")
					stopNodes(t, name+"-peer1.org1")
				},
				Config:           config("") + seen,
				ConfigPlanChecks: onlyUpdated(peerAddress, clusterAddress, "fabric_peer.other"),
				Check: resource.ComposeTestCheckFunc(
					value("healthy", "false"), value("nodes.peer0.org1.status", "unhealthy"), value("nodes.peer0.org1.healthy", "false"),
					value("nodes.orderer1.status", "stopped"), value("nodes.peer1.org1.status", "stopped"), value("nodes.orderer0.healthy", "true"),
					value("channels.trade.healthy", "true"), resource.TestMatchResourceAttr(health, "nodes.peer1.org1.reason", says("it")),
					resource.TestCheckResourceAttr(peerAddress, "status", "running"),
					func(*terraform.State) error {
						for node, id := range containerIDs(t, []string{name + "-peer0.org1", name + "-orderer1", name + "-peer1.org1"}) {
							if ids[node] != id {
								return fmt.Errorf("%s was made anew", node)
							}
						}
						return nil
					},
				),
			},
			{Config: config("") + made, Check: well},
			{ // A peer and a CA that are wanted stopped are no trouble.
				Config: strings.Replace(config(`desired_state = "stopped"`), `"ca.org1"`, `"ca.org1"`+"\n  desired_state = \"stopped\"", 1) + made,
				Check: resource.ComposeTestCheckFunc(value("healthy", "true"),
					value("nodes.peer1.org1.healthy", "true"), value("nodes.peer1.org1.status", "stopped"), value("nodes.peer1.org1.desired_state", "stopped"),
					value("nodes.ca.org1.healthy", "true"), value("nodes.ca.org1.status", "stopped"), value("nodes.ca.org1.desired_state", "stopped"),
					value("nodes.ca.orderer.desired_state", "running")),
			},
			{ // Wanted again, it is trouble when it does not run.
				Config: config("") + seen,
				Check:  resource.TestCheckResourceAttr("fabric_ca.org1", "status", "running"),
			},
			{
				PreConfig: func() { stopNodes(t, name+"-ca.org1") },
				Config:    config("") + seen,
				Check:     resource.ComposeTestCheckFunc(value("nodes.ca.org1.healthy", "false"), value("healthy", "false")),
			},
		},
	})
}
