import {
  to = fabric_chaincode.example
  identity = {
    network = "quickstart"
    channel = "trade"
    name    = "asset"
  }
}
