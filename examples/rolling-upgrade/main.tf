# A network that is upgraded while it runs: first the nodes, ordering nodes before peers, one at a time;
# then, in an apply of its own, the capability that only the new release knows. See the guide "Upgrading".

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
  nodes               = { orderer0 = {}, orderer1 = {}, orderer2 = {} }
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

  # The point of no return: a node of Fabric 2.5 ends when it meets V3_0.
  channel_capability     = var.channel_capability
  capability_attestation = var.channel_capability == "V3_0" ? "V3_0" : null

  deletion_protection = false
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}

# A transaction after each step: what was written before is there, and the network goes on.
resource "fabric_transaction" "check" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["release", var.fabric_version]
  triggers  = { release = var.fabric_version, capability = var.channel_capability }

  depends_on = [fabric_channel.trade, fabric_peer.this]
}
