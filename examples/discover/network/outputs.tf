output "name" {
  description = "Name of the network."
  value       = fabric_network.this.name
}
