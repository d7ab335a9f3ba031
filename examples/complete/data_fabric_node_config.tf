# The core.yaml of a peer, as it runs.
data "fabric_node_config" "peer0" {
  node = fabric_peer.org1["peer0"].handle
}

# The orderer.yaml of a node of the cluster.
data "fabric_node_config" "orderer0" {
  node = fabric_orderer_cluster.this.handle
  name = "orderer0"
}
