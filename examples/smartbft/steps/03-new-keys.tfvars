orderers       = ["orderer0", "orderer1", "orderer2", "orderer3", "orderer4"]
batch_interval = "200ms"
key_version    = 2
