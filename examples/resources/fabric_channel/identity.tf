import {
  to = fabric_channel.example
  identity = {
    network = "quickstart"
    name    = "trade"
  }
}
