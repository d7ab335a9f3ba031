# The smallest network that an application can use: one organization with one peer, one ordering
# node, a channel, a chaincode, and an identity for the application.

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

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each = toset(["orderer", "org1"])

  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = false
}

resource "fabric_organization" "this" {
  for_each = fabric_ca.this

  msp_id = "${title(each.key)}MSP"
  ca     = each.value.handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.this["org1"].handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle

  organizations = {
    org1 = {
      organization = fabric_organization.this["org1"].handle
      definition   = fabric_organization.this["org1"].definition
      peers        = { peer0 = fabric_peer.this.handle }
    }
  }

  deletion_protection = false
}

resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}
