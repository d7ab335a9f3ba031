resource "fabric_backup" "this" {
  count = var.backup == null ? 0 : 1

  network         = fabric_network.this.handle
  path            = var.backup
  passphrase_wo   = var.backup_passphrase
  max_unavailable = 1

  # A change of any of these takes it again.
  triggers = { chaincode = fabric_chaincode.asset.version }

  # What is to be in it, and what the handles above do not tell.
  depends_on = [fabric_identity.clerk, fabric_transaction.first, fabric_transaction.price]

  timeouts = { create = "30m", update = "1m", delete = "1m" }
}
