# A channel in which org2 keeps its own part, as it would from a state of its own.
resource "fabric_channel" "notes" {
  name     = "notes"
  orderers = fabric_orderer_cluster.this.handle

  organizations = {
    for org in ["org1", "org2"] : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = {}
    }
  }
  self_managed_organizations = ["org2"]
  deletion_protection        = false

  # These the members change together, by proposals.
  lifecycle {
    ignore_changes = [batch_timeout, max_message_count, absolute_max_bytes, preferred_max_bytes, acls, application_policies]
  }
}

locals {
  # The ordering nodes as somebody reaches them who does not run them.
  ordering = {
    for name, node in fabric_orderer_cluster.this.nodes : name => {
      address = "127.0.0.1:${node.port}"
      roots   = fabric_organization.this["orderer"].definition.tls_root_certificates
      host    = split(":", node.endpoint)[0]
    }
  }
}

resource "fabric_channel_membership" "org2" {
  channel      = fabric_channel.notes.name
  organization = fabric_organization.this["org2"].handle
  definition   = fabric_organization.this["org2"].definition

  peers        = { peer0 = fabric_peer.org2.handle }
  anchor_peers = ["peer0"]
  join_from    = "snapshot" # those that are added later

  orderers = {
    for name, node in local.ordering : name => {
      address               = node.address
      tls_root_certificates = node.roots
      tls_server_name       = node.host
    }
  }

  deletion_protection = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}
