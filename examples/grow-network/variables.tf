variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "grow-network"
}

variable "fabric_version" {
  description = "Fabric release."
  type        = string
  default     = "3.1.1"
}

variable "organizations" {
  description = "Organizations of the channel, with the names of their peers."
  type        = map(list(string))
  default = {
    org1 = ["peer0"]
    org2 = ["peer0"]
  }
}

variable "orderers" {
  description = "Names of the ordering nodes."
  type        = set(string)
  default     = ["orderer0", "orderer1", "orderer2"]
}

variable "max_message_count" {
  description = "How many transactions a block may hold."
  type        = number
  default     = 10
}
