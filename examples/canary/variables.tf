variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "canary"
}

variable "fabric_version" {
  description = "Fabric release of the nodes."
  type        = string
  default     = "3.1.1"
}

variable "image" {
  description = "Image of the chaincode's servers."
  type        = string
  default     = "fabricops/kv-chaincode:1.0"
}
