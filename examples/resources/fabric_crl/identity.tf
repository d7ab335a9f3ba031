import {
  to = fabric_crl.example
  identity = {
    network = "quickstart"
    msp_id  = "Org1MSP"
  }
}
