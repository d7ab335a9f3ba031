# What the client needs: an identity, as an MSP folder in a directory, and a connection profile.

resource "fabric_identity" "client" {
  organization = fabric_organization.this["org1"].handle
  name         = "client"
  directory    = "${path.root}/msp"
}

data "fabric_connection_profile" "org1" {
  organization = fabric_organization.this["org1"].handle
  channel      = fabric_channel.trade.handle

  depends_on = [fabric_peer.this, fabric_orderer_cluster.this, fabric_channel.trade]
}

output "connection_profile" {
  description = "Connection profile of org1, as YAML."
  value       = data.fabric_connection_profile.org1.yaml
}
