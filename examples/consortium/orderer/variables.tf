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
  description = "How far things have come: 1 the channel with org1; 2 org2 is proposed, 3 is a member, 4 is an ordering organization, 5 is to order; 6 larger blocks are signed, 7 are what the channel has, and org2 is to order no longer; 8 its ordering node is forgotten."
  type        = number
  default     = 0
}

variable "org1" {
  description = "Outputs of org1."
  type        = any
  default     = null
}

variable "org2" {
  description = "Outputs of org2."
  type        = any
  default     = null
}
