import {
  to = fabric_identity.example
  identity = {
    network = "quickstart"
    msp_id  = "Org1MSP"
    name    = "clerk"
  }
}
