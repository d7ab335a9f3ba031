package provider

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// adoptedCluster takes a network of three ordering nodes into Terraform's hands that something else made,
// and gives it nodes whose crypto material is in directories.
const adoptedCluster = `
terraform {
  required_providers {
    fabric = { source = "fabricops/fabric" }
  }
}

variable "fabric_version" { default = "2.5.9" }
variable "imported" { default = false }
variable "more" { default = false }
variable "protected" { default = true }
variable "material_of" { default = "peer1" }

provider "fabric" {
  fabric_version = var.fabric_version
}

locals {
  prefix  = "PREFIX"
  network = "${local.prefix}fabric_test"
  organizations = {
    OrdererMSP = { folder = "foreign/organizations/ordererOrganizations/example.com", domain = "example.com" }
    Org1MSP    = { folder = "foreign/organizations/peerOrganizations/org1.example.com", domain = "org1.example.com" }
    Org2MSP    = { folder = "foreign/organizations/peerOrganizations/org2.example.com", domain = "org2.example.com" }
  }
  this = var.imported ? toset(["this"]) : toset([])
  orderers = {
    orderer  = { container = "${local.prefix}orderer.example.com" }
    orderer2 = { container = "${local.prefix}orderer2.example.com", advertised_address = "orderer2.example.com:7052" }
    orderer3 = { container = "${local.prefix}orderer3.example.com", advertised_address = "orderer3.example.com:7056" }
  }
  peers = !var.imported ? {} : { "peer0.org1" = "Org1MSP", "peer0.org2" = "Org2MSP" }
  later = !var.more ? {} : { "peer1.org1" = "Org1MSP" }
}

resource "fabric_network" "this" {
  name     = local.network
  domain   = "example.com"
  existing = true
}

resource "fabric_organization" "this" {
  for_each = local.organizations
  network  = fabric_network.this.handle
  msp_id   = each.key
  certificates = {
    root     = [file("${each.value.folder}/msp/cacerts/ca.${each.value.domain}-cert.pem")]
    tls_root = [file("${each.value.folder}/msp/tlscacerts/tlsca.${each.value.domain}-cert.pem")]
  }
  admin_directory = "${each.value.folder}/users/Admin@${each.value.domain}"
}

import {
  for_each = local.this
  to       = fabric_orderer_cluster.this["this"]
  id       = "${local.network}/orderers@${join(",", [for name, node in local.orderers : "${name}=${node.container}"])}"
}

resource "fabric_orderer_cluster" "this" {
  for_each     = local.this
  organization = fabric_organization.this["OrdererMSP"].handle
  nodes = merge(local.orderers, !var.more ? {} : {
    orderer4 = { material_directory = "${local.organizations.OrdererMSP.folder}/orderers/orderer4.example.com" }
  })
  deletion_protection = var.protected
}

import {
  for_each = local.peers
  to       = fabric_peer.this[each.key]
  id       = "${local.network}/${each.key}@${each.key}=${local.prefix}${each.key}.example.com"
}

resource "fabric_peer" "this" {
  for_each            = local.peers
  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  container           = "${local.prefix}${each.key}.example.com"
  advertised_address  = each.key == "peer0.org2" ? "peer0.org2.example.com:9051" : null
  deletion_protection = var.protected
}

resource "fabric_peer" "later" {
  for_each            = local.later
  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  material_directory  = "${local.organizations[each.value].folder}/peers/${var.material_of}.org1.example.com"
  deletion_protection = false
}

import {
  for_each = local.this
  to       = fabric_channel.this["this"]
  id       = "${local.network}/mychannel"
}

resource "fabric_channel" "this" {
  for_each            = local.this
  name                = "mychannel"
  orderers            = fabric_orderer_cluster.this["this"].handle
  max_message_count   = 10
  absolute_max_bytes  = 99 * 1024 * 1024
  preferred_max_bytes = 512 * 1024
  deletion_protection = var.protected
  organizations = {
    for msp_id in ["Org1MSP", "Org2MSP"] : msp_id => {
      organization = fabric_organization.this[msp_id].handle
      definition   = fabric_organization.this[msp_id].definition
      peers = merge(
        { for name, of in local.peers : name => fabric_peer.this[name].handle if of == msp_id },
        { for name, of in local.later : name => fabric_peer.later[name].handle if of == msp_id },
      )
    }
  }
}

import {
  for_each = local.this
  to       = fabric_chaincode.basic["this"]
  id       = "${local.network}/mychannel/basic@${join(",", [for name in keys(local.peers) : "${name}=${local.prefix}${replace(name, ".", "")}_basic_ccaas"])}"
}

resource "fabric_chaincode" "basic" {
  for_each = local.this
  channel  = fabric_channel.this["this"].handle
  name     = "basic"
  version  = "1.0"
  server   = { image = "fabricops/kv-chaincode:1.0" }
}

resource "fabric_transaction" "put" {
  for_each  = local.this
  chaincode = fabric_chaincode.basic["this"].handle
  identity  = fabric_organization.this["Org1MSP"].handle
  function  = "put"
  arguments = ["colour", "red"]
  triggers  = { fabric_version = var.fabric_version, more = var.more }
}
`

// TestLongAdoptCluster takes over a network of three ordering nodes as one cluster, adds an ordering node
// and a peer of its organizations, which have no CA here, and rolls it to another release.
func TestLongAdoptCluster(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	f := sampleNetwork(t, name+"-", "orderer", "orderer2", "orderer3")
	on := name + "-fabric_test"
	w := acceptanceWorkspace(t, on)
	w.write("main.tf", strings.ReplaceAll(adoptedCluster, "PREFIX", f.prefix))
	if err := os.Symlink(f.folder, filepath.Join(w.dir, "foreign")); err != nil {
		t.Fatal(err)
	}
	apply := func(variables string) {
		t.Helper()
		w.write("terraform.tfvars", variables)
		w.run("apply", "-auto-approve")
		if out, err := w.do("plan", "-detailed-exitcode"); err != nil {
			t.Fatalf("the plan after the apply is not empty:\n%s", out)
		}
	}
	made, material := f.ids(), f.material()
	untouched := func(when string) {
		t.Helper()
		if now := f.ids(); !maps.Equal(now, made) {
			t.Errorf("%s: containers are %v, were %v", when, now, made)
		}
		if !maps.Equal(f.material(), material) {
			t.Errorf("%s: the material changed", when)
		}
	}
	channel := func() network.ChannelFacts {
		t.Helper()
		facts, err := reads(t).InspectChannel(t.Context(), handleOfNode(t, on+"-channel-mychannel"))
		if err != nil {
			t.Fatal(err)
		}
		return facts
	}
	consenters := func() []string {
		t.Helper()
		var out []string
		for _, c := range channel().Summary.Consenters {
			out = append(out, c.Host)
		}
		slices.Sort(out)
		return out
	}

	apply("")
	w.write("terraform.tfvars", "imported = true\n")
	out, err := w.do("plan")
	if err != nil || !strings.Contains(out, "Plan: 5 to import, 1 to add, 0 to change, 0 to destroy.") { // the transaction is added
		t.Fatalf("the import changes something: %v\n%s", err, out)
	}
	apply("imported = true\n")
	untouched("import")

	// What is not the material of the node is refused by the plan, and so is a node without any.
	w.write("terraform.tfvars", "imported = true\nmore = true\nmaterial_of = \"peer0\"\n")
	if out := plainText(w.fail("plan")); !strings.Contains(out, "is not for peer1.org1.example.com") {
		t.Errorf("material of another node: %s", out)
	}
	w.write("terraform.tfvars", "imported = true\nmore = true\nmaterial_of = \"peer9\"\n")
	if out := plainText(w.fail("plan")); !strings.Contains(out, "No crypto material of the node there") {
		t.Errorf("no material: %s", out)
	}

	// A fourth consenter and another peer, with every block.
	more := "imported = true\nprotected = false\nmore = true\n"
	apply(more)
	untouched("more nodes")
	want := []string{"orderer.example.com", "orderer2.example.com", "orderer3.example.com", "orderer4.example.com"}
	if got := consenters(); !slices.Equal(got, want) {
		t.Errorf("the consenters are %v", got)
	}
	facts := channel()
	if len(facts.Heights) != 7 || facts.Heights["peer1.org1"] < facts.Heights["peer0.org1"] {
		t.Errorf("heights are %v", facts.Heights)
	}
	state, err := os.ReadFile(filepath.Join(w.dir, "terraform.tfstate"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(state), "PRIVATE KEY") {
		t.Error("a private key is in the state")
	}

	// Where the directories are not at hand, the nodes are left as they are.
	aside := filepath.Join(f.folder, "aside")
	for _, node := range []string{"ordererOrganizations/example.com/orderers/orderer4.example.com", "peerOrganizations/org1.example.com/peers/peer1.org1.example.com"} {
		folder := filepath.Join(f.folder, "organizations", filepath.FromSlash(node))
		if err := os.Rename(folder, aside); err != nil {
			t.Fatal(err)
		}
		if out, err := w.do("plan", "-detailed-exitcode"); err != nil {
			t.Errorf("without %s the plan is not empty:\n%s", node, out)
		}
		if err := os.Rename(aside, folder); err != nil {
			t.Fatal(err)
		}
	}

	// Another release for all of them: the ones in the same hands as before, on the same ledgers and keys.
	before, natures := channel(), map[string]string{}
	for _, node := range f.nodes() {
		natures[node] = f.nature(node)
	}
	apply(more + "fabric_version = \"3.1.1\"\n")
	for _, node := range f.nodes() {
		if now := f.nature(node); now != natures[node] {
			t.Errorf("container %s is another one but for its image:\n%s\nwas\n%s", node, now, natures[node])
		}
		made[node] = f.inspect(node).ID
	}
	for _, node := range slices.Concat(f.nodes(), []string{on + "-orderer4", on + "-peer1.org1"}) {
		if image := f.inspect(node); !strings.Contains(fmt.Sprint(image.Config.Env, image.Config.Image), "3.1.1") && image.State.Status != container.StateRunning {
			t.Errorf("container %s runs %s", node, image.Config.Image)
		}
	}
	untouched("another release")
	facts = channel()
	for node, height := range before.Heights {
		if facts.Heights[node] <= height {
			t.Errorf("%s has %d blocks, and had %d", node, facts.Heights[node], height)
		}
	}

	// Out again: the channel is as it was, and so are the containers when Terraform lets go of them.
	apply("imported = true\nprotected = false\nfabric_version = \"3.1.1\"\n")
	if got := consenters(); !slices.Equal(got, want[:3]) {
		t.Errorf("the consenters are %v", got)
	}
	w.run("destroy", "-auto-approve")
	untouched("destroy")
	if err := nothingLeft(t, on)(nil); err != nil {
		t.Error(err)
	}
	f.script("down") // while nothing of ours is on its network
}
