variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "rolling-upgrade"
}

variable "fabric_version" {
  description = "Fabric release of all nodes."
  type        = string
  default     = "2.5.9"
}

variable "channel_capability" {
  description = "Capability of the channel."
  type        = string
  default     = "V2_0"
}
