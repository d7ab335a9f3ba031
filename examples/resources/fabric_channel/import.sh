# NETWORK/NAME
terraform import fabric_channel.example quickstart/trade
