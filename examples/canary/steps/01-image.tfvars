image = "fabricops/kv-chaincode:2.0"
