chaincode_version = "2.0"
