organizations = {
  org1 = ["peer0"]
  org2 = ["peer0"]
}
orderers          = ["orderer0", "orderer1", "orderer2"]
max_message_count = 10
