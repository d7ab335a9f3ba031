# NETWORK/NAME
terraform import fabric_orderer.example quickstart/orderer0.org2
