import {
  to = fabric_crl.example
  id = "quickstart/Org1MSP" # NETWORK/MSP_ID
}
