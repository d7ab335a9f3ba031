import {
  to = fabric_channel_membership.example
  identity = {
    network = "quickstart"
    msp_id  = "Org2MSP"
    channel = "trade"
  }
}
