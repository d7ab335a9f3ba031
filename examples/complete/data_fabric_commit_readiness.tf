data "fabric_commit_readiness" "memo" {
  channel            = fabric_channel_membership.org2.handle
  name               = fabric_chaincode_approval.memo.name
  version            = fabric_chaincode_approval.memo.version
  sequence           = fabric_chaincode_approval.memo.sequence
  endorsement_policy = fabric_chaincode_approval.memo.endorsement_policy
  init_required      = fabric_chaincode_approval.memo.init_required
  collections        = fabric_chaincode_approval.memo.collections

  # Read after these: when the same apply starts the peer that is asked.
  depends_on = [fabric_peer.org2]
}

output "memo_waits_for" {
  description = "Who has yet to approve before the chaincode can be committed."
  value       = data.fabric_commit_readiness.memo.missing
}
