import {
  to = fabric_chaincode_approval.example
  identity = {
    network = "quickstart"
    msp_id  = "Org2MSP"
    channel = "trade"
    name    = "asset"
  }
}
