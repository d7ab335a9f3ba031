# Source in Go beside the configuration, which the peers build and run themselves: no servers. What changes
# in the folder is an upgrade.
resource "fabric_chaincode" "contract" {
  channel = fabric_channel.trade.handle
  name    = "contract"
  version = "1.0"

  package = {
    type = "golang"
    path = "${path.module}/contract"
    main = "cmd/contract" # below the folder with go.mod
  }

  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"

  # Peers that are changed to have the builder have it before the package comes.
  depends_on = [fabric_peer.org1]
}

# The peers have a builder for it, from an image that has the builder's folder.
resource "fabric_peer" "org1" {
  organization = fabric_organization.org1.handle
  name         = "peer0.org1"
  image        = "registry.example.com/fabric-peer-with-go:3.1.1"

  config = {
    chaincode = {
      externalBuilders = [
        { name = "ccaas_builder", path = "/opt/hyperledger/ccaas_builder", propagateEnvironment = ["CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG"] },
        { name = "golang_builder", path = "/opt/golang_builder" },
      ]
    }
  }
}

# A package that somebody else built, as a file, with servers of it here.
resource "fabric_chaincode" "bought" {
  channel = fabric_channel.trade.handle
  name    = "bought"
  version = "4.2"
  package = { archive = "${path.module}/bought_4.2.tar.gz" }
  server  = { image = "registry.example.com/bought:4.2" }
}
