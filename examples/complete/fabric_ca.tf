# A CA with roots of its own.
resource "fabric_ca" "root" {
  network              = fabric_network.this.handle
  name                 = "ca.root"
  organization         = "Example"
  common_name          = "Example root"
  key_algorithm        = "ecdsa-p384"
  validity_years       = 20
  certificate_validity = "17520h"
  crl_validity         = "4380h"
  affiliations         = ["example", "example.sales"]

  deletion_protection = false
}

# Intermediates that it certifies, one for each organization.
resource "fabric_ca" "organization" {
  for_each = toset(["orderer", "org1", "org2"])

  network      = fabric_network.this.handle
  parent       = fabric_ca.root.handle
  name         = "ca.${each.key}"
  organization = each.key

  # Further validities that identities may choose from.
  identity_validities = ["720h"]

  # When its listeners' certificates are renewed, and which keys they have.
  renew_before = "720h"
  key_version  = 1

  # How it is reached from outside the network, and where.
  advertised_address = "ca.${each.key}.example.org:7054"
  sans               = ["ca.${each.key}.internal"]
  bind_address       = "127.0.0.1"
  port               = lookup({ org1 = 17954 }, each.key, null)
  operations_port    = lookup({ org1 = 17955 }, each.key, null)

  # How it runs.
  image         = "hyperledger/fabric-ca:1.5.13"
  desired_state = "running"
  labels        = { team = "platform" }
  limits        = { memory_mib = 256, pids = 256, cpus = 1 }
  log           = { driver = "json-file", options = { max-size = "10m" } }

  # What becomes of its registry and its keys.
  deletion_protection = false
  on_destroy          = "delete"
  accept_data_loss    = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}
