data "fabric_connection_profile" "org1" {
  organization = fabric_organization.this["org1"].handle
  channel      = fabric_channel.trade.handle
  from         = "host"
}

output "connection_profile" {
  description = "For applications of org1 on this host, in YAML."
  value       = data.fabric_connection_profile.org1.yaml
}
