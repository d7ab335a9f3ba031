resource "fabric_peer" "org1" {
  for_each = { peer0 = "running", peer1 = var.run }

  organization   = fabric_organization.this["org1"].handle
  name           = "${each.key}.org1"
  fabric_version = var.fabric_version

  # Only of a peer that something else made, and that was adopted by an import.
  container = null

  # Only of a peer whose organization has no CA here.
  material_directory = null

  # How it is reached from outside the network, and where.
  advertised_address = "${each.key}.org1.example.com:7051"
  sans               = ["${each.key}.org1.example.org", "192.0.2.10"]
  bind_address       = "127.0.0.1"
  port               = each.key == "peer0" ? 17951 : null
  operations_port    = each.key == "peer0" ? 17952 : null

  # On the core.yaml of the release.
  config = {
    peer = {
      gossip = { maxBlockCountToStore = 20 }
    }
    ledger = {
      history = { enableHistoryDatabase = true }
    }
  }

  # Where the state of its ledgers is. With "couchdb", a CouchDB runs beside it, from an image of its own.
  state_database = {
    type   = var.couchdb_image == null ? "goleveldb" : "couchdb"
    image  = var.couchdb_image
    limits = var.couchdb_image == null ? null : { memory_mib = 512, pids = 512, cpus = 1 }
  }

  # When its certificates are renewed, and which keys it has.
  renew_before = "720h"
  key_version  = 1

  # How it runs.
  image         = "hyperledger/fabric-peer:${var.fabric_version}"
  desired_state = each.value
  labels        = { team = "platform" }
  limits        = { memory_mib = var.memory_mib, pids = 512, cpus = 1.5 }
  log           = { driver = "json-file", options = { max-size = "10m" } }

  # How many peers of the organization may be down at a time while this one is changed.
  max_unavailable = 1

  # What becomes of its ledgers.
  deletion_protection = false
  on_destroy          = "delete"
  accept_data_loss    = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}

# Defaults carry the rest.
resource "fabric_peer" "org2" {
  organization        = fabric_organization.this["org2"].handle
  name                = "peer0.org2"
  deletion_protection = false
}
