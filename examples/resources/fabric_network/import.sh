# NAME, or NAME/OWNER_ID where several fabric_network share one network of the engine
terraform import fabric_network.example quickstart
