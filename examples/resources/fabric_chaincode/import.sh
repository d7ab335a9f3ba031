# NETWORK/CHANNEL/NAME
terraform import fabric_chaincode.example quickstart/trade/asset
