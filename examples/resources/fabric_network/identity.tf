import {
  to = fabric_network.example
  identity = {
    name = "quickstart"
  }
}
