# A chaincode that is released when its package and its image are signed, when two people have approved what
# a third one proposed, and when that is on record.
#
# Here all of them are in one state. In life everybody who approves has a state of his or her own: proposal
# and approvals are texts, which are handed over as the config updates in the example consortium are.

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
  organizations = toset(["orderer", "org1", "org2"])
  members       = toset(["org1", "org2"])
  label         = "asset_${var.chaincode_version}"
  image         = "fabricops/kv-chaincode:${var.chaincode_version}"
  policy        = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each = local.organizations

  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = false
}

resource "fabric_organization" "this" {
  for_each = local.organizations

  msp_id = "${title(each.key)}MSP"
  ca     = fabric_ca.this[each.key].handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each = local.members

  organization        = fabric_organization.this[each.key].handle
  name                = "peer0.${each.key}"
  deletion_protection = false
}

# The records of releases have a channel of their own.
resource "fabric_channel" "this" {
  for_each = toset(["trade", "audit"])

  name     = each.key
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

# Who decides.
resource "fabric_identity" "people" {
  for_each = { alice = "org1", bob = "org1", carol = "org2" }

  organization = fabric_organization.this[each.value].handle
  name         = each.key
}

resource "fabric_release_proposal" "asset" {
  channel            = fabric_channel.this["trade"].handle
  name               = "asset"
  version            = var.chaincode_version
  package_id         = provider::fabric::package_id({ channel = "trade", label = local.label })
  image              = local.image
  endorsement_policy = local.policy
  proposer           = fabric_identity.people["alice"].handle
  valid_for          = "72h"
}

resource "fabric_release_approval" "asset" {
  for_each = toset(["bob", "carol"])

  proposal = fabric_release_proposal.asset.proposal
  approver = fabric_identity.people[each.key].handle
}

# Any chaincode that keeps a value under a key can keep the records.
resource "fabric_chaincode" "records" {
  channel            = fabric_channel.this["audit"].handle
  name               = "records"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = local.policy
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.this["trade"].handle
  name               = "asset"
  version            = var.chaincode_version
  label              = local.label
  server             = { image = local.image }
  endorsement_policy = local.policy

  verification = {
    public_keys       = [file("${var.signatures}/cosign.pub")]
    package_signature = file("${var.signatures}/${var.chaincode_version}/package.sig")
    image_signature   = file("${var.signatures}/${var.chaincode_version}/image.sig")
    image_payload     = file("${var.signatures}/${var.chaincode_version}/image.json")
  }

  approvals = {
    proposal = fabric_release_proposal.asset.proposal
    required = 2
    given    = { for who, a in fabric_release_approval.asset : who => a.approval }
    audit = {
      chaincode = fabric_chaincode.records.handle
      identity  = fabric_organization.this["org1"].handle
    }
  }
}

data "fabric_query" "record" {
  chaincode = fabric_chaincode.records.handle
  identity  = fabric_organization.this["org2"].handle
  function  = "get"
  arguments = [fabric_release_proposal.asset.record_key]

  # It is there when the release is.
  depends_on = [fabric_chaincode.asset]
}
