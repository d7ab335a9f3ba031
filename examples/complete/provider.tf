# Every resource and data source with every argument that it takes. The pages of the documentation
# show these files, and the acceptance tests apply them.

terraform {
  required_providers {
    fabric = {
      source = "fabricops/fabric"
    }
  }
}

provider "fabric" {
  docker_host    = var.docker_host
  fabric_version = var.fabric_version
  ca_version     = "1.5.13"

  # Null takes images from Docker Hub, without an account there.
  image_registry = var.image_registry == null ? null : {
    address  = var.image_registry.address
    username = var.image_registry.username
    password = var.image_registry.password
  }
}
