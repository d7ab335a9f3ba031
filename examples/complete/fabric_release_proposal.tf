resource "fabric_release_proposal" "asset" {
  # The definition, as in the fabric_chaincode.
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = var.chaincode_version
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
  init_required      = false
  collections = {
    prices = {
      member_policy       = "OR('Org1MSP.member', 'Org2MSP.member')"
      endorsement_policy  = "OR('Org1MSP.peer', 'Org2MSP.peer')"
      required_peer_count = 0
      max_peer_count      = 1
      block_to_live       = 1000
      member_only_read    = true
      member_only_write   = true
    }
  }

  # What is installed, and what runs.
  package_id = provider::fabric::package_id({
    channel = "trade"
    label   = "asset_${var.chaincode_version}"
    indexes = {
      "owner.json"        = jsonencode({ index = { fields = ["owner"] }, ddoc = "owner", name = "owner", type = "json" })
      "prices/value.json" = jsonencode({ index = { fields = [{ value = "desc" }] }, ddoc = "value", name = "value", type = "json" })
    }
  })
  image = "fabricops/kv-chaincode:${var.chaincode_version}"

  proposer  = fabric_identity.clerk.handle
  valid_for = "24h"

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
