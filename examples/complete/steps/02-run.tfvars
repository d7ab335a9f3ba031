chaincode_version = "2.0"
run               = "stopped"
memory_mib        = 640
