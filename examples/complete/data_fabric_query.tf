data "fabric_query" "asset1" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_identity.clerk.handle
  function  = "get"
  arguments = ["asset1"]

  # Read after these: after the transaction, and when the same apply starts the peer that is asked.
  depends_on = [fabric_transaction.first, fabric_peer.org1]
}

output "asset1" {
  description = "What the ledger says."
  value       = data.fabric_query.asset1.result
}
