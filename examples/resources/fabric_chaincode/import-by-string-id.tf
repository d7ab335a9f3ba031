import {
  to = fabric_chaincode.example
  id = "quickstart/trade/asset" # NETWORK/CHANNEL/NAME
}
