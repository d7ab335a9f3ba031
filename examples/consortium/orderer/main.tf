# The organization that runs the ordering service and owns the channel. This is its own state: of its
# partners it knows what they hand over (definitions, updates, signatures), and none of their keys.

terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {
  fabric_version = var.fabric_version
}

locals {
  # What the partners have handed over so far.
  partners = { for name, handed in { org1 = var.org1, org2 = var.org2 } : name => handed if handed != null }
  members  = toset(slice(["org1", "org2"], 0, var.stage >= 3 ? 2 : min(var.stage, 1)))
}

resource "fabric_network" "this" {
  name   = var.network
  domain = "example.com"
}

resource "fabric_ca" "this" {
  network             = fabric_network.this.handle
  name                = "ca.orderer"
  organization        = "orderer"
  deletion_protection = false
}

resource "fabric_organization" "this" {
  msp_id = "OrdererMSP"
  ca     = fabric_ca.this.handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this.handle
  nodes               = { orderer0 = {}, orderer1 = {} }
  deletion_protection = false

  # The third ordering node is one of org2. Noted here, its organization is one of the ordering ones, and the
  # node is no stranger to this cluster; that it orders is decided by proposals, of both together.
  external_consenters = var.stage < 4 || var.stage >= 8 ? null : {
    "orderer0.org2" = {
      address         = var.org2.orderer.endpoint
      tls_certificate = var.org2.orderer.tls_certificate
      definition      = var.org2.definition
      consenter       = false
    }
  }
}

# Partners are noted on a network of their own, because on this one machine their own states share the
# first one: there Org1MSP is the organization itself. On a machine of your own, use that.
resource "fabric_network" "partners" {
  name = "${var.network}-partners"
}

resource "fabric_organization" "partner" {
  for_each = local.members

  msp_id  = local.partners[each.key].definition.msp_id
  network = fabric_network.partners.handle
  certificates = {
    root             = local.partners[each.key].definition.root_certificates
    intermediate     = local.partners[each.key].definition.intermediate_certificates
    tls_root         = local.partners[each.key].definition.tls_root_certificates
    tls_intermediate = local.partners[each.key].definition.tls_intermediate_certificates
  }
}

resource "fabric_channel" "trade" {
  count = var.stage >= 1 ? 1 : 0

  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  batch_timeout     = "500ms"
  max_message_count = var.stage >= 7 ? 20 : 10

  organizations = {
    for name in local.members : name => {
      organization = fabric_organization.partner[name].handle
      definition   = fabric_organization.partner[name].definition
      peers        = {}
    }
  }
  # Each keeps its definition and its anchor peers itself.
  self_managed_organizations = local.members
  deletion_protection        = false
}

# A second member: the members there are decide, so it is proposed, and org1 signs and submits it. Once it
# is in force, stage 3 lists org2 among the members of the channel, which changes nothing on it.
resource "fabric_channel_proposal" "org2" {
  count = var.stage >= 2 ? 1 : 0

  channel = fabric_channel.trade[0].handle
  change  = { add_organizations = { org2 = var.org2.definition } }
}

# The ordering node of org2 follows the channel, and is to order from now on. When that is in force, the
# proposal has done its work, and goes with the next stage.
resource "fabric_channel_proposal" "consenter" {
  count = var.stage == 5 ? 1 : 0

  channel = fabric_channel.trade[0].handle
  change = {
    add_consenter = {
      address         = var.org2.orderer.endpoint
      tls_certificate = var.org2.orderer.tls_certificate
    }
  }
}

resource "fabric_channel_signature" "consenter" {
  count = var.stage == 5 ? 1 : 0

  channel      = fabric_channel.trade[0].handle
  organization = fabric_organization.this.handle
  update       = fabric_channel_proposal.consenter[0].update
}

# A change that others propose and that both ordering organizations decide: larger blocks. The plan shows in
# words what is signed. Once it is in force, stage 7 says the same of the channel.
resource "fabric_channel_signature" "batch" {
  count = var.stage >= 6 ? 1 : 0

  channel      = fabric_channel.trade[0].handle
  organization = fabric_organization.this.handle
  update       = var.org1.proposals.batch
}

# The ordering node of org2 goes again. When that is in force, stage 8 says the same of the cluster.
resource "fabric_channel_proposal" "farewell" {
  count = var.stage == 7 ? 1 : 0

  channel = fabric_channel.trade[0].handle
  change = {
    remove_consenter             = var.org2.orderer.endpoint
    remove_orderer_organizations = [var.org2.definition.msp_id]
  }
}

resource "fabric_channel_signature" "farewell" {
  count = var.stage == 7 ? 1 : 0

  channel      = fabric_channel.trade[0].handle
  organization = fabric_organization.this.handle
  update       = fabric_channel_proposal.farewell[0].update
}
