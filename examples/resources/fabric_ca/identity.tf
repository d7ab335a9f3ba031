import {
  to = fabric_ca.example
  identity = {
    network = "quickstart"
    name    = "ca.org1"
  }
}
