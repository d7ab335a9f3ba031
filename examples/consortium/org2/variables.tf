variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "consortium"
}

variable "fabric_version" {
  description = "Fabric release."
  type        = string
  default     = "3.1.1"
}

variable "stage" {
  description = "How far things have come: 1 joins the channel, 2 runs an ordering node, 3 submits that it orders, 4 submits larger blocks, 5 submits that it orders no longer, 6 runs none any more."
  type        = number
  default     = 0
}

variable "orderer" {
  description = "Outputs of the ordering organization."
  type        = any
  default     = null
}

variable "org1" {
  description = "Outputs of org1."
  type        = any
  default     = null
}
