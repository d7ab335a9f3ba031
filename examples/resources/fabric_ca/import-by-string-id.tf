import {
  to = fabric_ca.example
  id = "quickstart/ca.org1" # NETWORK/NAME
}
