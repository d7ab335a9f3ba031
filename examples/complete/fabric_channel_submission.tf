resource "fabric_channel_submission" "rules" {
  channel = var.by_hand ? null : fabric_channel_membership.org2.handle
  orderers = !var.by_hand ? null : {
    orderer0 = {
      address               = local.ordering["orderer0"].address
      tls_root_certificates = local.ordering["orderer0"].roots
      tls_server_name       = local.ordering["orderer0"].host
    }
  }
  organization = fabric_organization.this["org2"].handle

  update     = fabric_channel_proposal.rules.update
  signatures = { for name, signed in fabric_channel_signature.rules : name => signed.signature }

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
