data "fabric_block" "first" {
  channel = fabric_channel.trade.handle
  number  = fabric_transaction.first.block

  # Read after these: when the same apply starts the peers that are asked.
  depends_on = [fabric_peer.org1, fabric_peer.org2]
}

output "block" {
  description = "Hash of the block with the first transaction, which every peer of the channel must have."
  value       = data.fabric_block.first.hash
}
