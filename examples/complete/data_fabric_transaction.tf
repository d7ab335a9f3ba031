data "fabric_transaction" "first" {
  channel        = fabric_channel.trade.handle
  transaction_id = fabric_transaction.first.transaction_id

  # Read after these: when the same apply starts the peers that are asked.
  depends_on = [fabric_peer.org1, fabric_peer.org2]
}

output "endorsers" {
  description = "Who endorsed the first transaction."
  value       = data.fabric_transaction.first.endorsers
}
