output "last_change" {
  description = "What the last apply changed on the ordering cluster."
  value       = fabric_orderer_cluster.this.last_change
}
