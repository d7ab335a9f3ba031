# What the application needs: an identity, as an MSP folder in a directory, and a connection profile.

resource "fabric_identity" "application" {
  organization = fabric_organization.this["org1"].handle
  name         = "application"
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

output "connection_profile_json" {
  description = "Connection profile of org1, as JSON."
  value       = data.fabric_connection_profile.org1.json
}

output "msp" {
  description = "Folder with the application's certificate and key."
  value       = fabric_identity.application.directory
}

output "channel" {
  description = "Channel of the chaincode."
  value       = fabric_channel.trade.name
}

output "chaincode" {
  description = "Chaincode that the application calls."
  value       = fabric_chaincode.kv.name
}
