data "fabric_query" "asset1" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_identity.clerk.handle
  function  = "get"
  arguments = ["asset1"]

  depends_on = [fabric_transaction.first]
}

output "asset1" {
  description = "What the ledger says."
  value       = data.fabric_query.asset1.result
}
