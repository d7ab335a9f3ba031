package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/fabricops/terraform-provider-fabric/internal/provider"
)

// config is one orderer, and one organization with two peers; a block is cut every 0.2 s. The test
// framework knows no for_each.
const config = `
provider "fabric" {
  fabric_version = "3.1.1"
}

resource "fabric_network" "this" {
  name   = "NETWORK"
  domain = "example.com"
}

resource "fabric_ca" "orderer" {
  network             = fabric_network.this.handle
  name                = "ca.orderer"
  organization        = "orderer"
  deletion_protection = false
}

resource "fabric_ca" "org1" {
  network             = fabric_network.this.handle
  name                = "ca.org1"
  organization        = "org1"
  deletion_protection = false
}

resource "fabric_organization" "orderer" {
  msp_id = "OrdererMSP"
  ca     = fabric_ca.orderer.handle
}

resource "fabric_organization" "org1" {
  msp_id = "Org1MSP"
  ca     = fabric_ca.org1.handle
}

resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "peer0" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_peer" "peer1" {
  organization        = fabric_organization.org1.handle
  name                = "peer1.org1"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name          = "trade"
  orderers      = fabric_orderer_cluster.this.handle
  batch_timeout = "200ms"
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { peer0 = fabric_peer.peer0.handle, peer1 = fabric_peer.peer1.handle }
    }
  }
  deletion_protection = false
}

resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}
`

// TestAccLoad loads a real network while one of its two gateways is restarted.
func TestAccLoad(t *testing.T) {
	sum := sha256.Sum256([]byte(os.Getenv("TEST_NETWORK_PREFIX") + t.Name()))
	name := "acc-" + hex.EncodeToString(sum[:4])
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: map[string]func() (tfprotov6.ProviderServer, error){
			"fabric": providerserver.NewProtocol6WithError(provider.New("test")()),
		},
		Steps: []resource.TestStep{{
			Config:            strings.ReplaceAll(config, "NETWORK", name),
			ConfigStateChecks: []statecheck.StateCheck{checkFunc(func() error { return underLoad(t, name) })},
		}},
	})
}

// checkFunc is done after an apply.
type checkFunc func() error

func (f checkFunc) CheckState(_ context.Context, _ statecheck.CheckStateRequest, answer *statecheck.CheckStateResponse) {
	answer.Error = f()
}

// underLoad is what a test does that changes a network under load, with a restart as the change.
func underLoad(t *testing.T, name string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l, err := Start(ctx, Target{Network: name, Channel: "trade", Chaincode: "kv"})
	if err != nil {
		return err
	}
	restarted, failure := time.Now(), restart(ctx, name, "peer1.org1")
	if !wait(ctx, 5*time.Second-time.Since(restarted)) {
		return ctx.Err()
	}
	report, err := l.Finish(ctx)
	t.Log(report)
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	if len(report.Errors) == 0 {
		return errors.New("no call failed while a gateway was restarted")
	}
	if gaps := report.GapsBetween(restarted, report.Ended); gaps.Longest > 3*time.Second {
		return fmt.Errorf("no block came for %s, although an orderer and a gateway were there", gaps.Longest)
	}
	return missesWhatIsMissing(ctx, l)
}

// missesWhatIsMissing has a transaction verified that never was.
func missesWhatIsMissing(ctx context.Context, l *Load) error {
	never := strings.Repeat("0", 64)
	l.record.acknowledge(acknowledged{txID: never, block: 1})
	lost := new(LostError)
	if err := l.Verify(ctx); !errors.As(err, &lost) || len(lost.Wrong) != 1 || lost.Wrong[never] != "is in no block" {
		return fmt.Errorf("a transaction that never was is verified with: %w", err)
	}
	if err := l.Verify(ctx, "peer0.org1", "peer1.org1"); err == nil {
		return errors.New("a verification without a peer finds nothing wrong")
	}
	return nil
}

func restart(ctx context.Context, name, node string) error {
	a, err := openAccess(name, "")
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.engine.StopNode(ctx, name+"-"+node, 10*time.Second); err != nil {
		return err
	}
	return a.engine.StartNode(ctx, name+"-"+node)
}

// wait tells whether so much time has passed before the end of ctx.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
