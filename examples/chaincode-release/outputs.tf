output "release" {
  description = "What is in force."
  value = {
    version  = fabric_chaincode.asset.version
    sequence = fabric_chaincode.asset.sequence
    package  = fabric_chaincode.asset.package_id
    image    = fabric_chaincode.asset.image_id
  }
}
