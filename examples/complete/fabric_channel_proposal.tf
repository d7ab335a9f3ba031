resource "fabric_channel_proposal" "rules" {
  # One's own channel or membership, or else ordering nodes that are typed by hand.
  channel = var.by_hand ? null : fabric_channel_membership.org2.handle
  orderers = !var.by_hand ? null : {
    orderer0 = {
      address               = local.ordering["orderer0"].address
      tls_root_certificates = local.ordering["orderer0"].roots
      tls_server_name       = local.ordering["orderer0"].host
    }
  }
  channel_name = var.by_hand ? "notes" : null
  organization = fabric_organization.this["org2"].handle

  change = {
    batch_timeout       = "250ms"
    max_message_count   = 50
    absolute_max_bytes  = 10485760
    preferred_max_bytes = 1048576

    acls                 = { "event/Block" = "/Channel/Application/Writers" }
    application_policies = { LifecycleEndorsement = "ANY Endorsement" }

    channel_capability     = null
    application_capability = "V2_5"

    # Who is a member.
    add_organizations    = {}
    remove_organizations = []

    # Who orders.
    add_orderer_organizations    = {}
    remove_orderer_organizations = []
    orderer_endpoints            = {}
    add_consenter = var.consenter == null ? null : {
      address         = var.consenter.address
      tls_certificate = var.consenter.tls_certificate
    }
    remove_consenter = null
  }

  # An update that another tool made, in place of change.
  given_update = null

  valid_for = "24h"

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
