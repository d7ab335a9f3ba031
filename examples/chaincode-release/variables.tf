variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "chaincode-release"
}

variable "fabric_version" {
  description = "Fabric release."
  type        = string
  default     = "3.1.1"
}

variable "release" {
  description = "What is released of the chaincode asset; the default is the first release."
  type = object({
    # Version of the definition, and tag of the image.
    version            = string
    endorsement_policy = string
    collections = map(object({
      member_policy       = string
      endorsement_policy  = optional(string)
      required_peer_count = optional(number)
      max_peer_count      = optional(number)
      block_to_live       = optional(number)
      member_only_read    = optional(bool)
      member_only_write   = optional(bool)
    }))
  })
  default = {
    version            = "1.0"
    endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"
    collections        = {}
  }
}

variable "price" {
  description = "Price of asset1, which Terraform keeps nowhere. Give it as TF_VAR_price."
  type        = string
  default     = "100"
  sensitive   = true
  ephemeral   = true
}
