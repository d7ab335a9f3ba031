module github.com/fabricops/terraform-provider-fabric/images/ccaas-builder

go 1.26
