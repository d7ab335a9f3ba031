resource "fabric_channel" "trade" {
  name     = "trade"
  orderers = fabric_orderer_cluster.this.handle

  organizations = {
    org1 = {
      organization = fabric_organization.this["org1"].handle
      definition   = fabric_organization.this["org1"].definition
      peers        = { for name, peer in fabric_peer.org1 : name => peer.handle }
    }
    org2 = {
      organization = fabric_organization.this["org2"].handle
      definition   = fabric_organization.this["org2"].definition
      peers        = { peer0 = fabric_peer.org2.handle }
    }
  }

  anchor_peers = { org1 = ["peer0"], org2 = ["peer0"] }

  # When a block is cut.
  batch_timeout       = "500ms"
  max_message_count   = 100
  absolute_max_bytes  = 10485760
  preferred_max_bytes = 2097152

  # What every node of the channel must be able to do.
  channel_capability     = "V2_0"
  application_capability = "V2_5"

  # Every node of every member could serve V3_0: a word that raising the capability wants.
  capability_attestation = "V3_0"

  # Organizations whose own states keep their definition and anchor peers.
  self_managed_organizations = []

  # Who may do what.
  acls                 = { "peer/Propose" = "/Channel/Application/Writers" }
  application_policies = { LifecycleEndorsement = "MAJORITY Endorsement" }

  # A peer that is added later takes the state over from another one, instead of building it up from all blocks.
  join_from = "snapshot"

  deletion_protection = false
  accept_data_loss    = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}
