# In the state of each organization that signs.
resource "fabric_channel_signature" "rules" {
  for_each = toset(["org1", "orderer"])

  channel = var.by_hand ? null : fabric_channel.notes.handle
  orderers = !var.by_hand ? null : {
    orderer0 = {
      address               = local.ordering["orderer0"].address
      tls_root_certificates = local.ordering["orderer0"].roots
      tls_server_name       = local.ordering["orderer0"].host
    }
  }
  organization = fabric_organization.this[each.key].handle

  update          = fabric_channel_proposal.rules.update
  expected_digest = fabric_channel_proposal.rules.digest

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
