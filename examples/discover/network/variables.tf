variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "discover"
}

variable "fabric_version" {
  description = "Fabric release."
  type        = string
  default     = "3.1.1"
}
