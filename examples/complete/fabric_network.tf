resource "fabric_network" "this" {
  name     = var.network
  domain   = "example.com"
  existing = false
  owner_id = var.owner_id

  # Only when the network is created: from an archive of fabric_backup.
  restore_from = var.restore_from == null ? null : {
    path          = var.restore_from
    passphrase_wo = var.backup_passphrase
  }

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
