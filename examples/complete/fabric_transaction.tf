resource "fabric_transaction" "first" {
  chaincode               = fabric_chaincode.asset.handle
  identity                = fabric_identity.clerk.handle
  function                = "put"
  arguments               = ["asset1", "blue"]
  endorsing_organizations = ["Org1MSP", "Org2MSP"]
  init                    = false

  # A change of any of these submits it again.
  triggers = { chaincode = fabric_chaincode.asset.version }

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}

# Private data: what the chaincode takes from the transient field is in no state and no block.
resource "fabric_transaction" "price" {
  chaincode               = fabric_chaincode.asset.handle
  identity                = fabric_organization.this["org1"].handle
  function                = "putPrivate"
  arguments               = ["prices", "asset1"]
  transient_wo            = { value = "100" }
  transient_wo_version    = "1"
  endorsing_organizations = ["Org1MSP"]
}

# A call that org2 has not endorsed is refused by every peer, as the endorsement policy wants it.
resource "fabric_transaction" "refused" {
  chaincode               = fabric_chaincode.asset.handle
  identity                = fabric_identity.clerk.handle
  function                = "put"
  arguments               = ["asset1", "red"]
  endorsing_organizations = ["Org1MSP"]
  expected_status         = "ENDORSEMENT_POLICY_FAILURE"
}
