output "nodes" {
  description = "What is running, and where it is reached on this host."
  value = merge(
    { for name, ca in fabric_ca.this : ca.name => "127.0.0.1:${ca.port}" },
    { for name, node in fabric_orderer_cluster.this.nodes : name => "127.0.0.1:${node.port}" },
    { for name, peer in fabric_peer.this : name => "127.0.0.1:${peer.port}" },
  )
}

output "transaction" {
  description = "The first transaction."
  value = {
    id     = fabric_transaction.first.transaction_id
    block  = fabric_transaction.first.block
    result = fabric_transaction.first.result
  }
}
