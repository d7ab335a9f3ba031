# A network that something else made is taken into Terraform's hands while it runs: the test network of
# Fabric's samples, with containers of docker compose, material of cryptogen and no CA. Then an
# organization joins it that has a CA, and everything is rolled to another release.
#
# "setup up foreign" makes such a network on this machine, "setup down foreign" removes it.

terraform {
  required_version = ">= 1.7"
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {
  fabric_version = var.fabric_version
}

# --- what is applied first: nothing of it changes the network that is there ---

resource "fabric_network" "this" {
  name     = "${var.prefix}fabric_test"
  domain   = "example.com"
  existing = true
}

locals {
  material = "${path.module}/${var.material}"
  organizations = {
    OrdererMSP = { folder = "${local.material}/ordererOrganizations/example.com", domain = "example.com" }
    Org1MSP    = { folder = "${local.material}/peerOrganizations/org1.example.com", domain = "org1.example.com" }
    Org2MSP    = { folder = "${local.material}/peerOrganizations/org2.example.com", domain = "org2.example.com" }
  }
}

# Its certificates say who it is, and the directory of its admin lets it act here.
resource "fabric_organization" "this" {
  for_each = local.organizations

  network = fabric_network.this.handle
  msp_id  = each.key
  certificates = {
    root     = [file("${each.value.folder}/msp/cacerts/ca.${each.value.domain}-cert.pem")]
    tls_root = [file("${each.value.folder}/msp/tlscacerts/tlsca.${each.value.domain}-cert.pem")]
  }
  admin_directory = "${each.value.folder}/users/Admin@${each.value.domain}"
}

# --- what is imported: node by node, then the channel, then the chaincode ---

locals {
  imported = var.imported ? toset(["this"]) : toset([])
  peers = !var.imported ? {} : {
    "peer0.org1" = { msp_id = "Org1MSP", container = "${var.prefix}peer0.org1.example.com", address = null }
    "peer0.org2" = { msp_id = "Org2MSP", container = "${var.prefix}peer0.org2.example.com", address = "peer0.org2.example.com:9051" }
  }
}

import {
  for_each = local.imported
  to       = fabric_orderer_cluster.this["this"]
  id       = "${fabric_network.this.name}/orderers@orderer=${var.prefix}orderer.example.com"
}

resource "fabric_orderer_cluster" "this" {
  for_each = local.imported

  organization        = fabric_organization.this["OrdererMSP"].handle
  nodes               = { orderer = { container = "${var.prefix}orderer.example.com" } }
  deletion_protection = var.deletion_protection
}

import {
  for_each = local.peers
  to       = fabric_peer.this[each.key]
  id       = "${fabric_network.this.name}/${each.key}@${each.key}=${each.value.container}"
}

resource "fabric_peer" "this" {
  for_each = local.peers

  organization        = fabric_organization.this[each.value.msp_id].handle
  name                = each.key
  container           = each.value.container
  advertised_address  = each.value.address
  deletion_protection = var.deletion_protection
}

import {
  for_each = local.imported
  to       = fabric_channel.this["this"]
  id       = "${fabric_network.this.name}/mychannel"
}

# The organizations of an imported channel go by their MSP IDs, and its peers by their names.
resource "fabric_channel" "this" {
  for_each = local.imported

  name                = "mychannel"
  orderers            = fabric_orderer_cluster.this["this"].handle
  max_message_count   = 10
  absolute_max_bytes  = 99 * 1024 * 1024
  preferred_max_bytes = 512 * 1024
  deletion_protection = var.deletion_protection

  organizations = merge(
    {
      for name, peer in local.peers : peer.msp_id => {
        organization = fabric_organization.this[peer.msp_id].handle
        definition   = fabric_organization.this[peer.msp_id].definition
        peers        = { (name) = fabric_peer.this[name].handle }
      }
    },
    {
      for name, peer in fabric_peer.org3 : "Org3MSP" => {
        organization = fabric_organization.org3["org3"].handle
        definition   = fabric_organization.org3["org3"].definition
        peers        = { (name) = peer.handle }
      }
    },
  )
}

import {
  for_each = local.imported
  to       = fabric_chaincode.basic["this"]
  id = join("", [
    "${fabric_network.this.name}/mychannel/basic@",
    join(",", [for name in keys(local.peers) : "${name}=${var.prefix}${replace(name, ".", "")}_basic_ccaas"]),
  ])
}

resource "fabric_chaincode" "basic" {
  for_each = local.imported

  channel = fabric_channel.this["this"].handle
  name    = "basic"
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}

# --- what is added: an organization with a CA, and a peer of it ---

locals {
  org3 = var.org3 ? toset(["org3"]) : toset([])
}

resource "fabric_ca" "org3" {
  for_each = local.org3

  network             = fabric_network.this.handle
  name                = "ca.org3"
  organization        = "org3"
  deletion_protection = false
}

resource "fabric_organization" "org3" {
  for_each = fabric_ca.org3

  msp_id = "Org3MSP"
  ca     = each.value.handle
}

resource "fabric_peer" "org3" {
  for_each = toset([for name in local.org3 : "peer0.${name}"])

  organization        = fabric_organization.org3["org3"].handle
  name                = each.key
  deletion_protection = false
}

# Endorsed by peers of the network that was there and by the new one.
resource "fabric_transaction" "put" {
  for_each = local.org3

  chaincode = fabric_chaincode.basic["this"].handle
  identity  = fabric_organization.org3["org3"].handle
  function  = "put"
  arguments = ["colour", "red"]
  triggers  = { fabric_version = var.fabric_version }
}
