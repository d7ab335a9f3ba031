# NETWORK/CHANNEL/NAME
terraform import fabric_chaincode.example quickstart/trade/asset

# NETWORK/CHANNEL/NAME@PEER=CONTAINER,... adopts a chaincode whose servers something else runs
terraform import fabric_chaincode.example fabric_test/mychannel/basic@peer0.org1=peer0org1_basic_ccaas,peer0.org2=peer0org2_basic_ccaas
