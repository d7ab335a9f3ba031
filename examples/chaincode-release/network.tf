# A chaincode that is released twice: what changes from one release to the next is in release.tf, and the
# network, which stays as it is, in this file.

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
  for_each = toset(["orderer", "org1", "org2"])

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
  for_each = toset(["org1", "org2"])

  organization        = fabric_organization.this[each.key].handle
  name                = "peer0.${each.key}"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name          = "trade"
  orderers      = fabric_orderer_cluster.this.handle
  batch_timeout = "500ms"

  organizations = {
    for org, peer in fabric_peer.this : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { (peer.name) = peer.handle }
    }
  }

  deletion_protection = false
}
