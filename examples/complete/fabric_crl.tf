# What the CA of org1 has revoked, made known to its nodes and its channels.
resource "fabric_crl" "org1" {
  organization = fabric_organization.this["org1"].handle

  # All certificates of an identity, or one by its number.
  revoke = {
    dismissed = { identity = fabric_identity.leaving["dismissed"].name, reason = "privilegewithdrawn" }
    retired   = { serial = provider::fabric::certificate(fabric_identity.leaving["retired"].certificate).serial_number }
  }

  # A change of any of these has the list compared with the CA in the same apply.
  triggers = { peer0 = fabric_peer.org1["peer0"].key_version }

  renew_before = "720h"

  timeouts = { create = "3m", update = "3m", delete = "1m" }
}

resource "fabric_identity" "leaving" {
  for_each = toset(["dismissed", "retired"])

  organization = fabric_organization.this["org1"].handle
  name         = each.key
}
