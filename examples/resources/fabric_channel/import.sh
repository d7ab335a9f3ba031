# NETWORK/NAME
terraform import fabric_channel.example quickstart/trade

# A channel of adopted nodes is adopted by its name alone
terraform import fabric_channel.example fabric_test/mychannel
