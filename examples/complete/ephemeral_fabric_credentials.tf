# Certificate and private key of an identity, for a provider that needs them and stores nothing.
# By its certificate Terraform knows that they can be read only when the identity is enrolled.
ephemeral "fabric_credentials" "clerk" {
  identity    = fabric_identity.clerk.handle
  certificate = fabric_identity.clerk.certificate
}
