output "orderers" {
  description = "Where partners reach the ordering nodes, for their fabric_channel_membership."
  value = {
    for name, node in fabric_orderer_cluster.this.nodes : name => {
      address               = "127.0.0.1:${node.port}"
      tls_root_certificates = fabric_organization.this.definition.tls_root_certificates
      tls_server_name       = split(":", node.endpoint)[0]
    }
  }
}

output "proposals" {
  description = "Updates of the channel for the partners to look at and to sign."
  value       = { for name, proposal in { org2 = one(fabric_channel_proposal.org2) } : name => proposal.update if proposal != null }
}

output "required" {
  description = "Whose signatures they want."
  value       = { for name, proposal in { org2 = one(fabric_channel_proposal.org2) } : name => proposal.required if proposal != null }
}

output "signatures" {
  description = "Signatures of the ordering organization under what others propose."
  value       = { for name, signed in { batch = one(fabric_channel_signature.batch) } : name => signed.signature if signed != null }
}
