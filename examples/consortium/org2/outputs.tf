output "definition" {
  description = "What the others need to know of this organization."
  value       = fabric_organization.this.definition
}

output "orderer" {
  description = "What the owner of the ordering cluster needs to know of the node here; null without one."
  value       = one([for node in fabric_orderer.orderer0 : { endpoint = node.endpoint, tls_certificate = node.tls_certificate }])
}
