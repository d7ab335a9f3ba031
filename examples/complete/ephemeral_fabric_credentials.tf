# Certificate and private key of an identity, for a provider that needs them and stores nothing.
ephemeral "fabric_credentials" "clerk" {
  identity = fabric_identity.clerk.handle
}
