output "renewals" {
  description = "When what falls due."
  value = merge(
    { for name, peer in fabric_peer.this : name => peer.renewal_at },
    { for name, node in fabric_orderer_cluster.this.nodes : name => node.renewal_at },
    { for name, ca in fabric_ca.this : "ca.${name}" => ca.renewal_at },
    { application = fabric_identity.application.renewal_at, visitor = fabric_identity.visitor.renewal_at },
  )
}

output "revoked" {
  description = "Serial numbers that the nodes of org1 and its channels refuse."
  value       = fabric_crl.org1.serials
}
