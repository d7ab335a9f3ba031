data "fabric_channel" "trade" {
  channel = fabric_channel.trade.handle

  depends_on = [fabric_transaction.first]
}

output "members" {
  description = "Who is on the channel."
  value       = data.fabric_channel.trade.organizations
}
