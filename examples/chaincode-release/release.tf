# What is released: var.release holds all of it, so that a release is one change of one file, which is
# reviewed like any other (steps/01-release-2.tfvars). The plan shows it: the next sequence, and the package ID.
resource "fabric_chaincode" "asset" {
  channel            = fabric_channel.trade.handle
  name               = "asset"
  version            = var.release.version
  server             = { image = "fabricops/kv-chaincode:${var.release.version}" }
  endorsement_policy = var.release.endorsement_policy
  collections        = var.release.collections
}

# Written by the first release, and by no later one: a transaction is submitted once.
resource "fabric_transaction" "colour" {
  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org1"].handle
  function  = "put"
  arguments = ["asset1", "blue"]
}

# Private: the price is handed to the peers in the transient field, and is in no state, no plan and no block.
# The collection has an endorsement policy of its own, by which org1 sets prices alone.
resource "fabric_transaction" "price" {
  count = contains(keys(var.release.collections), "prices") ? 1 : 0

  chaincode               = fabric_chaincode.asset.handle
  identity                = fabric_organization.this["org1"].handle
  function                = "putPrivate"
  arguments               = ["prices", "asset1"]
  transient_wo            = { value = var.price }
  transient_wo_version    = "1"
  endorsing_organizations = ["Org1MSP"]
}

# The proof of each release, by transactions and queries on its peers. Where one is not as it should be, the
# apply fails and says so.

# What org1 endorses alone passes or not, as the policy of the release wants it.
resource "fabric_transaction" "alone" {
  chaincode               = fabric_chaincode.asset.handle
  identity                = fabric_organization.this["org1"].handle
  function                = "put"
  arguments               = ["asset2", "release ${var.release.version}"]
  endorsing_organizations = ["Org1MSP"]
  expected_status         = startswith(var.release.endorsement_policy, "AND(") ? "ENDORSEMENT_POLICY_FAILURE" : "VALID"

  triggers = { sequence = fabric_chaincode.asset.sequence }
}

data "fabric_query" "this" {
  for_each = {
    version = { function = "version", arguments = [], wanted = var.release.version }
    colour  = { function = "get", arguments = ["asset1"], wanted = "blue" }
    alone   = { function = "get", arguments = ["asset2"], wanted = "release 1.0" }
  }

  chaincode = fabric_chaincode.asset.handle
  identity  = fabric_organization.this["org2"].handle
  function  = each.value.function
  arguments = each.value.arguments

  lifecycle {
    postcondition {
      condition     = self.result == each.value.wanted
      error_message = "${each.value.function}(${join(", ", each.value.arguments)}) gives ${self.result}, and is to give ${each.value.wanted}."
    }
  }

  depends_on = [fabric_chaincode.asset, fabric_transaction.colour, fabric_transaction.alone]
}
