variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "signed-chaincode"
}

variable "fabric_version" {
  description = "Fabric release."
  type        = string
  default     = "3.1.1"
}

variable "chaincode_version" {
  description = "What is released: version of the definition, and tag of the image."
  type        = string
  default     = "1.0"
}

variable "signatures" {
  description = "Folder with the public key and the signatures, which the tests make."
  type        = string
  default     = "foreign"
}
