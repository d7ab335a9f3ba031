# NETWORK/NAME
terraform import fabric_orderer_cluster.example quickstart/orderers
