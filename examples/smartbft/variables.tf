variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "smartbft"
}

variable "orderers" {
  description = "Names of the ordering nodes: four or more."
  type        = set(string)
  default     = ["orderer0", "orderer1", "orderer2", "orderer3"]
}

variable "batch_interval" {
  description = "How long after its first transaction a block is cut."
  type        = string
  default     = "500ms"
}

variable "key_version" {
  description = "Counts the keys of the ordering nodes."
  type        = number
  default     = 1
}
