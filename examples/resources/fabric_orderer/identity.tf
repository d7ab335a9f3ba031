import {
  to = fabric_orderer.example
  identity = {
    network = "quickstart"
    name    = "orderer0.org2"
  }
}
