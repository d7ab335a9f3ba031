import {
  to = fabric_organization.example
  identity = {
    network = "quickstart"
    msp_id  = "Org1MSP"
  }
}
