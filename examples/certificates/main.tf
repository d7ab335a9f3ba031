# Certificates of a network through its years: short lives, renewal, keys that are replaced, and
# revocation. Steps: a key is replaced everywhere; somebody is revoked.
#
# Renewal needs no step: run terraform apply now and then, at least twice within the window of
# renew_before. What is due is planned, with what it restarts.

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

# What these CAs issue lives for 90 days, but for visitors, who get a day.
resource "fabric_ca" "this" {
  for_each = toset(["orderer", "org1"])

  network              = fabric_network.this.handle
  name                 = "ca.${each.key}"
  organization         = each.key
  certificate_validity = "2160h"
  identity_validities  = ["24h"]
  crl_validity         = "4380h"
  renew_before         = var.renew_before
  key_version          = var.key_version
  deletion_protection  = false
}

resource "fabric_organization" "this" {
  for_each = fabric_ca.this

  msp_id       = "${title(each.key)}MSP"
  ca           = each.value.handle
  renew_before = var.renew_before
  key_version  = var.key_version
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { for name in ["orderer0", "orderer1", "orderer2"] : name => {} }
  renew_before        = var.renew_before
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each = toset(["peer0", "peer1"])

  organization        = fabric_organization.this["org1"].handle
  name                = "${each.key}.org1"
  renew_before        = var.renew_before
  key_version         = var.key_version
  deletion_protection = false
}

resource "fabric_identity" "application" {
  organization = fabric_organization.this["org1"].handle
  name         = "application"
  renew_before = var.renew_before
  key_version  = var.key_version
}

resource "fabric_identity" "visitor" {
  organization = fabric_organization.this["org1"].handle
  name         = "visitor"
  validity     = "24h"
}

# What the CA of org1 revokes is known to its nodes and its channels.
resource "fabric_crl" "org1" {
  organization = fabric_organization.this["org1"].handle
  revoke       = { for name in var.revoked : name => { identity = name, reason = "privilegewithdrawn" } }

  # Keys that are replaced are revoked. One apply does both, in this order.
  triggers = {
    admin       = fabric_organization.this["org1"].key_version
    peers       = join(" ", [for peer in fabric_peer.this : peer.key_version])
    application = fabric_identity.application.key_version
  }

  depends_on = [fabric_identity.visitor]
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  batch_timeout     = "500ms"
  max_message_count = 10

  organizations = {
    org1 = {
      organization = fabric_organization.this["org1"].handle
      definition   = fabric_organization.this["org1"].definition
      peers        = { for name, peer in fabric_peer.this : name => peer.handle }
    }
  }

  deletion_protection = false
}

resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "OR('Org1MSP.peer')"
}

# Submitted again with each key that is replaced: the network works on with the new ones.
resource "fabric_transaction" "this" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_identity.application.handle
  function  = "put"
  arguments = ["asset1", "blue"]
  triggers  = { key_version = var.key_version }

  depends_on = [fabric_crl.org1]
}

# Terraform says so in every plan, and in every apply that leaves something due.
check "nothing_is_due" {
  assert {
    condition     = alltrue([for peer in fabric_peer.this : length(peer.renewal_due) == 0])
    error_message = "A peer's certificates are due: apply to renew them."
  }
}
