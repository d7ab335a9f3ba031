# NETWORK/MSP_ID/NAME
terraform import fabric_identity.example quickstart/Org1MSP/clerk
