# In the state of whoever approves.
resource "fabric_release_approval" "org2" {
  proposal        = fabric_release_proposal.asset.proposal
  approver        = fabric_organization.this["org2"].handle
  expected_digest = fabric_release_proposal.asset.digest

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
