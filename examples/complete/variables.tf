variable "docker_host" {
  description = "Address of the Docker engine; null takes DOCKER_HOST or the local socket."
  type        = string
  default     = null
}

variable "image_registry" {
  description = "Where images that the engine lacks are pulled from; null takes Docker Hub."
  type        = object({ address = string, username = string, password = string })
  default     = null
  sensitive   = true
}

variable "network" {
  description = "Name of the network on the engine."
  type        = string
  default     = "complete"
}

variable "owner_id" {
  description = "Set only to take back a network whose state was lost."
  type        = string
  default     = null
}

variable "fabric_version" {
  description = "Fabric release of the nodes."
  type        = string
  default     = "3.1.1"
}

variable "chaincode_version" {
  description = "Version of the chaincode; changing it is an upgrade."
  type        = string
  default     = "1.0"
}

variable "run" {
  description = "running or stopped: what the second peer of org1 is to be."
  type        = string
  default     = "running"
}

variable "memory_mib" {
  description = "Memory limit of the peers in MiB."
  type        = number
  default     = 512
}

variable "couchdb_image" {
  description = "Image of CouchDB for the state databases of org1's peers, couchdb:3.4.2 for example; null takes goleveldb."
  type        = string
  default     = null
}

variable "by_hand" {
  description = "Reach the channel by ordering nodes that are typed by hand, not by a handle."
  type        = bool
  default     = false
}

variable "consenter" {
  description = "An ordering node to propose as a consenter."
  type        = object({ address = string, tls_certificate = string })
  default     = null
}

variable "external_consenters" {
  description = "Ordering nodes of partners, by name: what their fabric_orderer and fabric_organization export."
  type = map(object({
    address         = string
    tls_certificate = string
    consenter       = bool
    definition = object({
      msp_id                        = string
      root_certificates             = list(string)
      intermediate_certificates     = list(string)
      tls_root_certificates         = list(string)
      tls_intermediate_certificates = list(string)
      revocation_lists              = list(string)
    })
  }))
  default = {}
}

variable "signed" {
  description = "By whom chaincode is signed, and the signatures; null takes what is not signed."
  type = object({
    public_keys       = list(string)
    package_signature = string
    image_signature   = string
    image_payload     = string
  })
  default = null
}

variable "audit" {
  description = "Handle of the fabric_chaincode that keeps the records of releases; null lets chaincode be released without approvals."
  type        = object({ kind = string, network = string, domain = string, owner_id = string, name = string, msp_id = string })
  default     = null
}

variable "consensus" {
  description = "How the ordering nodes agree: raft, or bft, which needs four of them."
  type        = string
  default     = "raft"
}

variable "backup" {
  description = "Path of the archive that a backup is written to; null takes none."
  type        = string
  default     = null
}

variable "backup_passphrase" {
  description = "What the archive is encrypted with."
  type        = string
  default     = null
  sensitive   = true
}

variable "restore_from" {
  description = "Path of an archive to create the network from; null makes a new network."
  type        = string
  default     = null
}

variable "source_folder" {
  description = "Folder of chaincode source that peers build; null runs chaincode as a service."
  type        = string
  default     = null
}

variable "prometheus" {
  description = "A Prometheus server that measures the peers; null asks none."
  type        = object({ address = string, ca_certificate = string })
  default     = null
}

variable "prometheus_token" {
  description = "What the Prometheus server knows us by."
  type        = string
  default     = null
  sensitive   = true
}
