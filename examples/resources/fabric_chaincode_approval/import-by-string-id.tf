import {
  to = fabric_chaincode_approval.example
  id = "quickstart/Org2MSP/trade/asset" # NETWORK/MSP_ID/CHANNEL/NAME
}
