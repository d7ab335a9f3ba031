data "fabric_commit_readiness" "memo" {
  channel            = fabric_channel_membership.org2.handle
  name               = fabric_chaincode_approval.memo.name
  version            = fabric_chaincode_approval.memo.version
  sequence           = fabric_chaincode_approval.memo.sequence
  endorsement_policy = fabric_chaincode_approval.memo.endorsement_policy
  init_required      = fabric_chaincode_approval.memo.init_required

  collections = {
    drafts = {
      member_policy       = "OR('Org1MSP.member', 'Org2MSP.member')"
      endorsement_policy  = "OR('Org1MSP.peer', 'Org2MSP.peer')"
      required_peer_count = 0
      max_peer_count      = 1
      block_to_live       = 1000
      member_only_read    = true
      member_only_write   = true
    }
  }

  # Read after these: when the same apply starts the peer that is asked.
  depends_on = [fabric_peer.org2]
}

output "memo_waits_for" {
  description = "Who has yet to approve before the chaincode can be committed."
  value       = data.fabric_commit_readiness.memo.missing
}
