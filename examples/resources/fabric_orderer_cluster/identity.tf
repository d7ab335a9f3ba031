import {
  to = fabric_orderer_cluster.example
  identity = {
    network = "quickstart"
    name    = "orderers"
  }
}
