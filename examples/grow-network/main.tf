# A network that grows and shrinks while it runs: organizations, peers and ordering nodes come and go
# with the maps in variables.tf. Steps: everything is added in one apply, and taken away in another.

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
  peers = merge([
    for org, names in var.organizations : { for name in names : "${name}.${org}" => org }
  ]...)
}

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each = toset(concat(["orderer"], keys(var.organizations)))

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
  nodes               = { for name in var.orderers : name => {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each = local.peers

  organization        = fabric_organization.this[each.value].handle
  name                = each.key
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  batch_timeout     = "500ms"
  max_message_count = var.max_message_count

  organizations = {
    for org in keys(var.organizations) : org => {
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
  endorsement_policy = "OR(${join(", ", [for org in keys(var.organizations) : "'${title(org)}MSP.peer'"])})"
}

# A transaction whenever the network has changed: it still works.
resource "fabric_transaction" "check" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["members", join(",", keys(var.organizations))]
  triggers  = { members = join(",", keys(var.organizations)) }

  depends_on = [fabric_channel.trade]
}
