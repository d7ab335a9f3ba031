resource "fabric_orderer_cluster" "this" {
  organization   = fabric_organization.this["orderer"].handle
  name           = "orderers"
  consensus      = var.consensus
  fabric_version = var.fabric_version

  nodes = {
    orderer0 = {
      organization       = fabric_organization.this["orderer"].handle
      advertised_address = "orderer0.example.com:7050"
      sans               = ["orderer0.example.org"]
      port               = 17950
      admin_port         = 17953
      operations_port    = 17956
    }
    orderer1 = { key_version = 1 }
    # Only of a node that something else made, and that was adopted by an import.
    orderer2 = {
      container = null
      # Only of a node whose organization has no CA here.
      material_directory = null
    }
  }

  # Elections take 1 to 2 s instead of 5 to 10 s.
  raft = var.consensus != "raft" ? null : {
    tick_interval          = "100ms"
    election_tick          = 10
    heartbeat_tick         = 1
    max_inflight_blocks    = 5
    snapshot_interval_size = 16777216
  }

  # With SmartBFT, which needs a node more.
  bft = var.consensus != "bft" ? null : {
    request_batch_max_interval   = "200ms"
    request_forward_timeout      = "5s"
    request_complain_timeout     = "20s"
    request_auto_remove_timeout  = "3m"
    view_change_resend_interval  = "5s"
    view_change_timeout          = "20s"
    leader_heartbeat_timeout     = "10s"
    leader_heartbeat_count       = 10
    collect_timeout              = "1s"
    incoming_message_buffer_size = 200
    request_pool_size            = 100000
    request_max_bytes            = 0
  }

  # Nodes of the cluster that other states run, as their owners have handed them over.
  external_consenters = length(var.external_consenters) == 0 ? null : {
    for name, node in var.external_consenters : name => {
      address         = node.address
      tls_certificate = node.tls_certificate
      definition      = node.definition
      consenter       = node.consenter
    }
  }

  # Who signs changes of consenters and endpoints.
  admins = { orderer = fabric_organization.this["orderer"].handle }

  # On the orderer.yaml of the release.
  config = {
    General = {
      Keepalive = { ServerInterval = "1800s" }
    }
  }

  # When certificates are renewed: one node after the other.
  renew_before = "720h"

  image         = "hyperledger/fabric-orderer:${var.fabric_version}"
  bind_address  = "127.0.0.1"
  desired_state = "running"
  labels        = { team = "ordering" }
  limits        = { memory_mib = 512, pids = 512, cpus = 1 }
  log           = { driver = "json-file", options = { max-size = "10m", max-file = "3" } }

  deletion_protection = false
  on_destroy          = "delete"
  accept_data_loss    = false

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}
