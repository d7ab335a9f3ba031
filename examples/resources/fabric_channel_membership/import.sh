# NETWORK/MSP_ID/CHANNEL
terraform import fabric_channel_membership.example quickstart/Org2MSP/trade
