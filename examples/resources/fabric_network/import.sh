# NAME
terraform import fabric_network.example quickstart
