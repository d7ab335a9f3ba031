# NETWORK/NAME
terraform import fabric_ca.example quickstart/ca.org1
