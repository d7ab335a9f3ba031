# NETWORK/MSP_ID/CHANNEL/NAME
terraform import fabric_chaincode_approval.example quickstart/Org2MSP/trade/asset
