package load

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fabricops/terraform-provider-fabric/test/example"
)

// TestLongExamples goes through the steps of examples while transactions flow: organizations, peers and
// ordering nodes come and go, all nodes change their release, and those of SmartBFT their keys. Nothing that was acknowledged may be
// lost, and every node has the same chain at the end.
func TestLongExamples(t *testing.T) {
	if os.Getenv("FABRIC_LONG") == "" || os.Getenv("TF_ACC") == "" {
		t.Skip("FABRIC_LONG=1 and TF_ACC=1 change real networks under load")
	}
	binary, terraform := os.Getenv("FABRIC_PROVIDER_BINARY"), os.Getenv("TF_ACC_TERRAFORM_PATH")
	if binary == "" || terraform == "" {
		t.Fatal("FABRIC_PROVIDER_BINARY and TF_ACC_TERRAFORM_PATH must say what applies the examples; make long sets them")
	}
	for _, name := range []string{"grow-network", "rolling-upgrade", "smartbft"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
			defer cancel()
			network := "load-" + name
			var l *Load
			err := example.Run(ctx, example.Options{
				Folder: "../../examples/" + name, Binary: binary, TerraformPath: terraform, Shared: true,
				Vars: map[string]string{"network": network},
				After: func(context.Context, string) (err error) {
					l, err = Start(ctx, Target{Network: network, Channel: "trade", Chaincode: "asset", Organizations: []string{"Org1MSP", "Org2MSP"}})
					return err
				},
				Before: func(context.Context) error {
					report, err := l.Finish(ctx)
					t.Log(report)
					return err
				},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
