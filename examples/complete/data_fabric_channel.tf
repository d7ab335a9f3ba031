data "fabric_channel" "trade" {
  channel = fabric_channel.trade.handle

  # Read after these: after the transaction, and when the same apply starts the nodes that are asked.
  depends_on = [fabric_transaction.first, fabric_orderer_cluster.this, fabric_peer.org1, fabric_peer.org2]
}

output "members" {
  description = "Who is on the channel."
  value       = data.fabric_channel.trade.organizations
}
