# Nothing but a provider: found.tfquery.hcl lists what is on the engine, Terraform (1.14 or later) writes
# the configuration of it, and an apply imports it. Nothing is changed by that.
#
#   terraform query -generate-config-out=found.tf
#   terraform plan
#   terraform apply

terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {}

variable "network" {
  description = "What the owner of the network hands over: its name."
  type        = object({ name = string })
}
