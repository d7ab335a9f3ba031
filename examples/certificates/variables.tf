variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "certificates"
}

variable "fabric_version" {
  description = "Fabric release of the nodes."
  type        = string
  default     = "3.1.1"
}

variable "renew_before" {
  description = "How long before their end certificates are renewed; a third of their life at most."
  type        = string
  default     = "720h"
}

variable "key_version" {
  description = "Counts the keys of org1's members; a change replaces all of them."
  type        = number
  default     = 1
}

variable "revoked" {
  description = "Identities of org1 that nobody is to trust any more."
  type        = set(string)
  default     = []
}
