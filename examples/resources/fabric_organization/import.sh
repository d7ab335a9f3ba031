# NETWORK/MSP_ID
terraform import fabric_organization.example quickstart/Org1MSP
