# NETWORK/NAME
terraform import fabric_peer.example quickstart/peer0.org1

# NETWORK/NAME@NAME=CONTAINER adopts a peer that something else made
terraform import fabric_peer.example fabric_test/peer0.org1@peer0.org1=peer0.org1.example.com
