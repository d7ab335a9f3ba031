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

# An ordering node in the cluster of the other organization. As one of a member it joins the channel at once,
# and follows until both have decided that it orders.
resource "fabric_orderer" "orderer0" {
  count = var.stage >= 2 && var.stage < 6 ? 1 : 0

  organization        = fabric_organization.this.handle
  name                = "orderer0.org2"
  channels            = ["trade"]
  orderers            = var.orderer.orderers
  deletion_protection = false
}

resource "fabric_channel_submission" "consenter" {
  count = var.stage == 3 ? 1 : 0

  channel      = fabric_channel_membership.trade[0].handle
  organization = fabric_organization.this.handle
  update       = var.orderer.proposals.consenter
  signatures   = { orderer = var.orderer.signatures.consenter }
}

# What org1 proposed and the other ordering organization signed, signed and submitted by this one.
resource "fabric_channel_submission" "batch" {
  count = var.stage >= 4 ? 1 : 0

  channel      = fabric_channel_membership.trade[0].handle
  organization = fabric_organization.this.handle
  update       = var.org1.proposals.batch
  signatures   = { orderer = var.orderer.signatures.batch }
}

# The ordering node goes again: off the channel here, and after that off this machine (stage 6).
resource "fabric_channel_submission" "farewell" {
  count = var.stage == 5 ? 1 : 0

  channel      = fabric_channel_membership.trade[0].handle
  organization = fabric_organization.this.handle
  update       = var.orderer.proposals.farewell
  signatures   = { orderer = var.orderer.signatures.farewell }
}
