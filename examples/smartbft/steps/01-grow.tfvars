orderers = ["orderer0", "orderer1", "orderer2", "orderer3", "orderer4"]
