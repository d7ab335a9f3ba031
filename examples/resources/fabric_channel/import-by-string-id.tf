import {
  to = fabric_channel.example
  id = "quickstart/trade" # NETWORK/NAME
}
