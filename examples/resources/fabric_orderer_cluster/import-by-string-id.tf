import {
  to = fabric_orderer_cluster.example
  id = "quickstart/orderers" # NETWORK/NAME
}
