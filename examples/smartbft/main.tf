# A channel ordered by SmartBFT: it goes on whatever one of its four ordering nodes does. Steps: a fifth
# node comes, the options change, every node gets a new key, and the fifth node goes.

terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {
  fabric_version = "3.1.1"
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
  organization = fabric_organization.this["orderer"].handle
  consensus    = "bft"
  nodes        = { for name in var.orderers : name => { key_version = var.key_version } }

  # A leader that dies or restarts is missed after 5 s instead of 25 s.
  bft = {
    request_batch_max_interval = var.batch_interval
    request_forward_timeout    = "1s"
    request_complain_timeout   = "4s"
    leader_heartbeat_timeout   = "10s"
  }

  # New keys are made known to the channel and taken up by one node after the other.
  timeouts            = { update = "10m" }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each = toset(["org1", "org2"])

  organization        = fabric_organization.this[each.key].handle
  name                = "peer0.${each.key}"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle

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
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
}

# A transaction whenever the ordering nodes have changed: they still order.
resource "fabric_transaction" "check" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["orderers", join(",", var.orderers)]
  triggers  = { orderers = join(",", var.orderers), key_version = var.key_version, batch_interval = var.batch_interval }

  depends_on = [fabric_orderer_cluster.this]
}
