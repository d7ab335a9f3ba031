import {
  to = fabric_organization.example
  id = "quickstart/Org1MSP" # NETWORK/MSP_ID
}
