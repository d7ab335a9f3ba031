# An identity whose key stays on the engine.
resource "fabric_identity" "clerk" {
  organization = fabric_organization.this["org1"].handle
  name         = "clerk"
  type         = "client"
  affiliation  = "org1.sales"
  attributes   = { role = "clerk", limit = "1000" }

  # One of those that the CA offers, when the certificate is renewed, and which key it has.
  validity     = "720h"
  renew_before = "168h"
  key_version  = 1

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}

# An identity for an application: an MSP folder in a local directory.
resource "fabric_identity" "application" {
  organization = fabric_organization.this["org1"].handle
  name         = "application"
  directory    = "${path.module}/wallet/application"
}
