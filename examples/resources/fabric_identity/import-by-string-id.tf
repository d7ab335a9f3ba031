import {
  to = fabric_identity.example
  id = "quickstart/Org1MSP/clerk" # NETWORK/MSP_ID/NAME
}
