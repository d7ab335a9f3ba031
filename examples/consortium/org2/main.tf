# A member of the channel, with its own state. It reaches the ordering nodes by the addresses that their
# organization handed over.

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

# On this one machine all three share the network that the ordering organization made.
resource "fabric_network" "this" {
  name     = var.network
  domain   = "example.com"
  existing = true
}

resource "fabric_ca" "this" {
  network             = fabric_network.this.handle
  name                = "ca.org2"
  organization        = "org2"
  deletion_protection = false
}

resource "fabric_organization" "this" {
  msp_id = "Org2MSP"
  ca     = fabric_ca.this.handle
}

resource "fabric_peer" "peer0" {
  organization        = fabric_organization.this.handle
  name                = "peer0.org2"
  deletion_protection = false
}

resource "fabric_channel_membership" "trade" {
  count = var.stage >= 1 ? 1 : 0

  channel             = "trade"
  organization        = fabric_organization.this.handle
  definition          = fabric_organization.this.definition
  peers               = { peer0 = fabric_peer.peer0.handle }
  orderers            = var.orderer.orderers
  deletion_protection = false
}

# What org1 proposed and the ordering organization signed, submitted by a third one.
resource "fabric_channel_submission" "batch" {
  count = var.stage >= 2 ? 1 : 0

  channel      = fabric_channel_membership.trade[0].handle
  organization = fabric_organization.this.handle
  update       = var.org1.proposals.batch
  signatures   = { orderer = var.orderer.signatures.batch }
}
