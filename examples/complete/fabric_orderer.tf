# An ordering node of an organization in a cluster that somebody else runs. It follows the channel, with
# all its blocks, until the owner of the cluster makes it a consenter.
resource "fabric_orderer" "org2" {
  organization   = fabric_organization.this["org2"].handle
  name           = "orderer0.org2"
  fabric_version = var.fabric_version

  # The channels that it joins, and who hands them out.
  channels = ["trade"]
  orderers = {
    orderer0 = {
      address               = "127.0.0.1:17950"
      tls_root_certificates = fabric_organization.this["orderer"].definition.tls_root_certificates
      tls_server_name       = "orderer0.example.com"
    }
  }

  # How it is reached, and where.
  advertised_address = "orderer0.org2.example.com:7050"
  sans               = ["orderer0.org2.example.org"]
  bind_address       = "127.0.0.1"
  port               = 17960
  admin_port         = 17961
  operations_port    = 17962

  # On the orderer.yaml of the release.
  config = {
    General = { Keepalive = { ServerInterval = "1800s" } }
  }

  # When its certificates are renewed, and which keys it has.
  renew_before = "720h"
  key_version  = 1

  # How it runs.
  image         = "hyperledger/fabric-orderer:${var.fabric_version}"
  desired_state = "running"
  labels        = { team = "ordering" }
  limits        = { memory_mib = 512, pids = 512, cpus = 1 }
  log           = { driver = "json-file", options = { max-size = "10m" } }

  # What becomes of its blocks.
  deletion_protection = false
  on_destroy          = "delete"
  accept_data_loss    = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }

  depends_on = [fabric_channel.trade]
}
