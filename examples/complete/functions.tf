# Functions are pure: they need no engine, and can be called in any expression.
locals {
  # The package ID before there is a package, for a chaincode server that is run by other means.
  package_id = provider::fabric::package_id({ channel = "trade", label = "asset_1.0" })

  # The package itself, to be signed before it is released.
  package = base64sha256(provider::fabric::chaincode_package({ channel = "trade", label = "asset_1.0" }))

  # Parsed, in the canonical form, with the MSP IDs that it names.
  policy = provider::fabric::endorsement_policy("OR('Org2MSP.peer', 'Org1MSP.peer')")

  # What a certificate says.
  root = provider::fabric::certificate(fabric_ca.root.certificate)

  # Whether a chain leads to its root, holds a name and is valid; the reason when it does not.
  chain = provider::fabric::verify_chain(
    fabric_peer.org2.tls_certificate,
    fabric_organization.this["org2"].definition.tls_intermediate_certificates,
    fabric_organization.this["org2"].definition.tls_root_certificates,
    { host = "peer0.org2.example.com", usage = "server" },
  )
}

output "functions" {
  description = "What the functions say."
  value = {
    package_id = local.package_id
    package    = local.package
    policy     = local.policy
    root       = local.root.subject
    chain      = local.chain
  }
}
