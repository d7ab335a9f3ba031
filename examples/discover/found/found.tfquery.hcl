# Of each kind everything on one network; without config, everything on the engine.

list "fabric_network" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_ca" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_organization" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_identity" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_orderer_cluster" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_peer" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_channel" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}

list "fabric_chaincode" "all" {
  provider = fabric
  config {
    network = var.network.name
  }
}
