# NETWORK/NAME
terraform import fabric_peer.example quickstart/peer0.org1
