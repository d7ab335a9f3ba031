# Another state commits a chaincode on the channel notes: org2 approves it here, and runs its own server of it.
resource "fabric_chaincode_approval" "memo" {
  channel            = fabric_channel_membership.org2.handle
  name               = "memo"
  version            = var.chaincode_version
  label              = "memo_${var.chaincode_version}"
  endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
  init_required      = false

  server = {
    image   = "fabricops/kv-chaincode:${var.chaincode_version}"
    per     = "organization"
    env     = { LOG_LEVEL = "info" }
    command = null
    limits  = { memory_mib = 128, pids = 128, cpus = 0.5 }

    secret_env_wo         = { API_TOKEN = "not for production: use an ephemeral resource" }
    secret_env_wo_version = "1"

    # Each organization decides for its own peers and servers.
    mutual_tls = false
  }

  package = var.source_folder == null ? null : {
    type    = "golang"
    path    = var.source_folder
    main    = "cmd/memo"
    archive = null
  }

  # As all others write it: what organizations approve is compared byte by byte.
  collections = {
    drafts = {
      member_policy       = "OR('Org1MSP.member', 'Org2MSP.member')"
      endorsement_policy  = "OR('Org1MSP.peer', 'Org2MSP.peer')"
      required_peer_count = 0
      max_peer_count      = 1
      block_to_live       = 1000
      member_only_read    = true
      member_only_write   = true
    }
  }

  indexes = {
    "owner.json" = jsonencode({ index = { fields = ["owner"] }, ddoc = "owner", name = "owner", type = "json" })
  }

  # The organization's own rules: whose signatures it wants, and who of it approves.
  verification = var.signed == null ? null : {
    public_keys       = var.signed.public_keys
    package_signature = var.signed.package_signature
    image_signature   = var.signed.image_signature
    image_payload     = var.signed.image_payload
  }
  approvals = var.audit == null ? null : {
    proposal = fabric_release_proposal.asset.proposal
    required = 1
    given    = { org2 = fabric_release_approval.org2.approval }
    audit = {
      chaincode    = var.audit
      identity     = fabric_organization.this["org2"].handle
      put_function = "put"
      get_function = "get"
    }
  }

  # Another image is tried beside one peer of the organization before all have it. Prometheus is asked too, where there is one.
  canary = {
    steps             = ["1", "50%"]
    duration          = "30s"
    deadline          = "1m"
    minimum_calls     = 100
    max_failure_ratio = 0.01
    max_latency_ratio = 2
    max_restarts      = 0
    queries = {
      all = { identity = fabric_organization.this["org2"].handle, function = "list", arguments = [""] }
    }
    prometheus = var.prometheus == null ? null : {
      address         = var.prometheus.address
      query           = "max(endorser_proposal_duration_count{success='false'})"
      minimum         = 0
      maximum         = 10
      ca_certificate  = var.prometheus.ca_certificate
      bearer_token_wo = var.prometheus_token
    }
  }

  timeouts = { create = "3m", update = "3m", delete = "3m" }
}
