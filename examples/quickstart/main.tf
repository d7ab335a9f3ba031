# A network of two organizations with two peers each, and an organization that orders with three
# Raft nodes. One channel, one chaincode, one transaction.

terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {
  fabric_version = var.fabric_version
}

locals {
  organizations = toset(["orderer", "org1", "org2"])
  peers = {
    for pair in setproduct(["org1", "org2"], ["peer0", "peer1"]) :
    "${pair[1]}.${pair[0]}" => pair[0]
  }
}

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each = local.organizations

  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = false
}

resource "fabric_organization" "this" {
  for_each = local.organizations

  msp_id = "${title(each.key)}MSP"
  ca     = fabric_ca.this[each.key].handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { orderer0 = {}, orderer1 = {}, orderer2 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each = local.peers

  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle

  organizations = {
    for org in ["org1", "org2"] : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { for name, of in local.peers : name => fabric_peer.this[name].handle if of == org }
    }
  }

  deletion_protection = false
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}

resource "fabric_transaction" "first" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["greeting", "hello from org1"]
}
