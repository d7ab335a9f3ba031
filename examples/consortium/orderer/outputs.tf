output "orderers" {
  description = "Where partners reach the ordering nodes, for their fabric_channel_membership and fabric_orderer."
  value = {
    for name, node in fabric_orderer_cluster.this.nodes : name => {
      address               = "127.0.0.1:${node.port}"
      tls_root_certificates = fabric_organization.this.definition.tls_root_certificates
      tls_server_name       = split(":", node.endpoint)[0]
    }
  }
}

locals {
  proposals = {
    org2      = one(fabric_channel_proposal.org2)
    consenter = one(fabric_channel_proposal.consenter)
    farewell  = one(fabric_channel_proposal.farewell)
  }
  signatures = {
    consenter = one(fabric_channel_signature.consenter)
    batch     = one(fabric_channel_signature.batch)
    farewell  = one(fabric_channel_signature.farewell)
  }
}

output "proposals" {
  description = "Updates of the channel for the partners to look at and to sign."
  value       = { for name, proposal in local.proposals : name => proposal.update if proposal != null }
}

output "required" {
  description = "Whose signatures they want."
  value       = { for name, proposal in local.proposals : name => proposal.required if proposal != null }
}

output "signatures" {
  description = "Signatures of this organization, by what was proposed."
  value       = { for name, signed in local.signatures : name => signed.signature if signed != null }
}
