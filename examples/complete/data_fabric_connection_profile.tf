data "fabric_connection_profile" "org1" {
  organization = fabric_organization.this["org1"].handle
  channel      = fabric_channel.trade.handle
  from         = "host"

  # Their ports on the host are in it.
  depends_on = [fabric_ca.organization, fabric_orderer_cluster.this, fabric_peer.org1, fabric_peer.org2]
}

output "connection_profile" {
  description = "For applications of org1 on this host, in YAML."
  value       = data.fabric_connection_profile.org1.yaml
}
