import {
  to = fabric_channel_membership.example
  id = "quickstart/Org2MSP/trade" # NETWORK/MSP_ID/CHANNEL
}
