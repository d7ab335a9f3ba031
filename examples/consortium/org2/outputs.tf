output "definition" {
  description = "What the others need to know of this organization."
  value       = fabric_organization.this.definition
}
