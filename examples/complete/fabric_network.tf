resource "fabric_network" "this" {
  name     = var.network
  domain   = "example.com"
  existing = false
  owner_id = var.owner_id

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}
