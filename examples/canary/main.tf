# A new image of a chaincode is tried beside one peer, while clients call the chaincode, before the others
# have it. README.md says how to follow it.

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
  batch_timeout = "200ms"

  organizations = {
    for org, peer in fabric_peer.this : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { (peer.name) = peer.handle }
    }
  }

  deletion_protection = false
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = "1.0"
  server             = { image = var.image }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"

  canary = {
    # The server of peer0.org1 is the first. It gets the calls that clients make of the chaincode, and so do
    # the others, which it is compared with.
    steps             = [1]
    duration          = "6s"
    deadline          = "1m"
    minimum_calls     = 10
    max_failure_ratio = 0.05
    max_latency_ratio = 10 # of calls that take two milliseconds, on a machine that does other things too

    # What is on the ledger must look the same to both images.
    queries = {
      unchanged = { function = "get", arguments = ["owner"] }
    }
  }
}

# What the queries look at.
resource "fabric_transaction" "owner" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["owner", "org1"]
}
