import {
  to = fabric_peer.example
  identity = {
    network = "quickstart"
    name    = "peer0.org1"
  }
}
