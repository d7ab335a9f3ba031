# Organizations whose certificates come from CAs of this network.
resource "fabric_organization" "this" {
  for_each = fabric_ca.organization

  msp_id = "${title(each.key)}MSP"
  ca     = each.value.handle

  # When its admin's certificate is renewed, which key the admin has, and which TLS root the organization.
  renew_before     = "720h"
  key_version      = 1
  tls_root_version = 1

  timeouts = { create = "1m", update = "1m", delete = "1m" }
}

# A partner's organization, by the certificates that the partner handed over.
resource "fabric_organization" "partner" {
  msp_id  = "PartnerMSP"
  network = fabric_network.this.handle

  certificates = {
    root             = [fabric_ca.root.certificate]
    intermediate     = []
    tls_root         = [fabric_ca.root.tls_certificate]
    tls_intermediate = []
  }

  # The admin of an organization of a network that something else made: users/Admin@partner.example.com.
  admin_directory = null
}
