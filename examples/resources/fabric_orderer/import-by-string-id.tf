import {
  to = fabric_orderer.example
  id = "quickstart/orderer0.org2" # NETWORK/NAME
}
