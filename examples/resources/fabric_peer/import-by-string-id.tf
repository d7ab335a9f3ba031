import {
  to = fabric_peer.example
  id = "quickstart/peer0.org1" # NETWORK/NAME
}
