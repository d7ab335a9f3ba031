// Terraform provider that runs Hyperledger Fabric networks.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	tfaddr "github.com/hashicorp/terraform-registry-address"

	"github.com/fabricops/terraform-provider-fabric/internal/provider"
)

// version is set by the release build.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "run for a debugger to attach to")
	flag.Parse()
	if !*debug {
		if err := leaveNoCore(); err != nil {
			log.Printf("unable to switch core dumps off: %v", err)
		}
		go endWithParent(os.Getppid())
	}
	err := providerserver.Serve(context.Background(), provider.New(version), providerserver.ServeOpts{
		Address:         tfaddr.NewProvider(tfaddr.DefaultProviderRegistryHost, "fabricops", "fabric").String(),
		Debug:           *debug,
		ProtocolVersion: 6,
	})
	if err != nil {
		log.Fatal(err)
	}
}

// endWithParent ends the provider when the Terraform that started it is gone. One that was killed could
// not say so, and the provider would go on with what it was at, against the next apply.
func endWithParent(parent int) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for range look.C {
		if os.Getppid() != parent {
			log.Fatal("Terraform is gone")
		}
	}
}
