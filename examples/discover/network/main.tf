# A small network, as somebody else may have made it, or as it is left when a state is lost: one
# organization that orders and endorses, with a peer, an application's identity, a channel and a chaincode.

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

resource "fabric_ca" "org1" {
  network             = fabric_network.this.handle
  name                = "ca.org1"
  organization        = "org1"
  deletion_protection = false
}

resource "fabric_organization" "org1" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.org1.handle
}

resource "fabric_identity" "application" {
  organization = fabric_organization.org1.handle
  name         = "application"
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.org1.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "peer0" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { peer0 = fabric_peer.peer0.handle }
    }
  }
  deletion_protection = false
}

resource "fabric_chaincode" "asset" {
  channel = fabric_channel.trade.handle
  name    = "asset"
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}
