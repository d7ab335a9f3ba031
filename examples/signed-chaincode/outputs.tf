output "release" {
  description = "What was released, and who decided that."
  value = {
    sequence  = fabric_chaincode.asset.sequence
    package   = fabric_chaincode.asset.package_id
    image     = fabric_chaincode.asset.image_id
    approvers = [for who in jsondecode(data.fabric_query.record.result).approvers : "${who.enrollment_id} of ${who.msp_id}"]
    at        = jsondecode(data.fabric_query.record.result).at
  }
}

output "package" {
  description = "The package in base64, which is what is signed: terraform output -raw package | base64 -d > asset.tar.gz; cosign sign-blob --key cosign.key asset.tar.gz."
  value       = provider::fabric::chaincode_package({ channel = "trade", label = local.label })
}
