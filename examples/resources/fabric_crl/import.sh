# NETWORK/MSP_ID
terraform import fabric_crl.example quickstart/Org1MSP
