variable "prefix" {
  type        = string
  default     = ""
  description = "What the names of the network that is there, and of its containers, begin with (FOREIGN_PREFIX of setup)."
}

variable "material" {
  type        = string
  default     = "foreign/organizations"
  description = "Folder of the material that cryptogen made."
}

variable "fabric_version" {
  type        = string
  default     = "2.5.9"
  description = "Release of Fabric that the nodes run."
}

variable "imported" {
  type        = bool
  default     = false
  description = "Import the nodes, the channel and the chaincode. The organizations must be applied before."
}

variable "org3" {
  type        = bool
  default     = false
  description = "Let another organization join the channel."
}

variable "deletion_protection" {
  type        = bool
  default     = false
  description = "Protection of what was imported. Destroying it leaves it as it is in either case."
}
