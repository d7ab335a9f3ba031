output "definition" {
  description = "What the others need to know of this organization."
  value       = fabric_organization.this.definition
}

output "proposals" {
  description = "Updates of the channel for the others to look at and to sign."
  value       = { for name, proposal in { batch = one(fabric_channel_proposal.batch) } : name => proposal.update if proposal != null }
}
