# NETWORK/NAME
terraform import fabric_orderer_cluster.example quickstart/orderers

# NETWORK/NAME@NODE=CONTAINER,... adopts ordering nodes that something else made
terraform import fabric_orderer_cluster.example fabric_test/orderers@orderer=orderer.example.com
