organizations = {
  org1 = ["peer0", "peer1"]
  org2 = ["peer0"]
  org3 = ["peer0"]
}
orderers          = ["orderer0", "orderer1", "orderer2", "orderer3", "orderer4"]
max_message_count = 50
