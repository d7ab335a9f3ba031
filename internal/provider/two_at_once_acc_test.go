package provider

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// TestAccTwoAtOnce: of two applies at once, with states of their own and the same names, exactly one makes
// the network. The other names its owner, and has made nothing.
func TestAccTwoAtOnce(t *testing.T) {
	name := networkName(t)
	config := "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n" + plainOrganizations(name, "3.1.1", "org1", "org2")
	var workspaces [2]*workspace
	var outputs [2]string
	var errs [2]error
	sweepNetwork(t, name)
	for i := range workspaces {
		workspaces[i] = newWorkspace(t, terraformUnderTest(t))
		workspaces[i].write("main.tf", config)
	}
	t.Cleanup(func() {
		for _, w := range workspaces {
			w.run("destroy", "-auto-approve")
		}
		if err := nothingLeft(t, name)(nil); err != nil {
			t.Error(err)
		}
	})
	var both sync.WaitGroup
	for i, w := range workspaces {
		both.Go(func() { outputs[i], errs[i] = w.do("apply", "-auto-approve") })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Fatalf("not exactly one has won: %v, %v\n%s\n%s", errs[0], errs[1], outputs[0], outputs[1])
	}
	won, lost := 0, 1
	if errs[won] != nil {
		won, lost = 1, 0
	}
	e := localEngine(t)
	n, err := e.Network(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	owner := n.Labels[engine.LabelOwner]
	if said := plainText(outputs[lost]); !strings.Contains(said, "Unable to create network "+name) || !strings.Contains(said, owner) {
		t.Errorf("the other does not name the owner %s:\n%s", owner, outputs[lost])
	}
	nodes, err := e.Nodes(t.Context(), map[string]string{engine.LabelNetwork: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes {
		if node.Labels[engine.LabelOwner] != owner {
			t.Errorf("%s is of owner %s, who has not won", node.Name, node.Labels[engine.LabelOwner])
		}
	}
	workspaces[lost].run("destroy", "-auto-approve")
	workspaces[won].run("plan", "-detailed-exitcode")
}

// TestLongParallelism makes, changes and removes a network of 56 containers with as many resources at a
// time as Terraform is ever asked to.
func TestLongParallelism(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	w := acceptanceWorkspace(t, name)
	config := func(settings string) string {
		return fmt.Sprintf(`
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

provider "fabric" {
  fabric_version = "3.1.1"
}

locals {
  members = toset([for i in range(10) : "org${i + 1}"])
  peers   = { for pair in setproduct(local.members, ["peer0", "peer1"]) : "${pair[1]}.${pair[0]}" => pair[0] }
}

resource "fabric_network" "this" {
  name   = %q
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each            = setunion(local.members, ["orderer"])
  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = false
}

resource "fabric_organization" "this" {
  for_each = fabric_ca.this
  msp_id   = "${title(each.key)}MSP"
  ca       = each.value.handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { for i in range(5) : "orderer${i}" => {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each            = local.peers
  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  deletion_protection = false
  organizations = {
    for org in local.members : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { for peer, of in local.peers : peer => fabric_peer.this[peer].handle if of == org }
    }
  }
  %s
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')"
}

resource "fabric_identity" "app" {
  for_each     = local.members
  organization = fabric_organization.this[each.key].handle
  name         = "app"
}

resource "fabric_transaction" "first" {
  for_each  = local.members
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.app[each.key].handle
  function  = "put"
  arguments = [each.key, "hello"]
}
`, name, settings)
	}
	w.write("main.tf", config(""))
	w.run("apply", "-auto-approve", "-parallelism=50")
	w.run("plan", "-detailed-exitcode", "-parallelism=50")
	w.write("main.tf", config(`max_message_count = 20`))
	w.run("apply", "-auto-approve", "-parallelism=50")
	w.run("plan", "-detailed-exitcode", "-parallelism=50")
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: name})
	if err != nil {
		t.Fatal(err)
	}
	running := 0
	for _, n := range nodes {
		if n.Status == engine.Running {
			running++
		}
	}
	if running != 56 {
		t.Errorf("%d containers run, want 56", running)
	}
	w.run("destroy", "-auto-approve", "-parallelism=50")
}
