output "last_change" {
  description = "What the last apply changed on the channel."
  value       = fabric_channel.trade.last_change
}
