# What fabric-sdk-go is run against: two organizations that both must endorse, three ordering nodes,
# and identities in directories, as applications have them.

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

variable "network" {
  type    = string
  default = "sdkcompat"
}

variable "fabric_version" {
  type    = string
  default = "3.1.1"
}

locals {
  members = toset(["org1", "org2"])
  identities = {
    application = { type = "client", attributes = null }
    operator    = { type = "admin", attributes = null }
    # May register clients at the CA.
    reception = { type = "client", attributes = { "hf.Registrar.Roles" = "client" } }
  }
}

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each = setunion(local.members, ["orderer"])

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
  for_each = local.members

  organization        = fabric_organization.this[each.key].handle
  name                = "peer0.${each.key}"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle

  organizations = {
    for org in local.members : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { peer0 = fabric_peer.this[org].handle }
    }
  }

  deletion_protection = false
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}

resource "fabric_identity" "this" {
  for_each = local.identities

  organization = fabric_organization.this["org1"].handle
  name         = each.key
  type         = each.value.type
  attributes   = each.value.attributes
  directory    = "${path.root}/identities/${each.key}"
}

data "fabric_connection_profile" "org1" {
  organization = fabric_organization.this["org1"].handle
  channel      = fabric_channel.trade.handle
}

output "connection_profile" {
  value = data.fabric_connection_profile.org1.yaml
}

output "package_id" {
  value = fabric_chaincode.kv.package_id
}
