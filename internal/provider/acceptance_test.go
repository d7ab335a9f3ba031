package provider

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/docker"
)

// Acceptance tests run real Terraform and real Fabric on the local engine, when TF_ACC is set.
// Each uses a network of its own name and removes all that it makes.

// factories serve the provider to the Terraform under test.
var factories = map[string]func() (tfprotov6.ProviderServer, error){
	"fabric": providerserver.NewProtocol6WithError(New("test")()),
}

// networkName gives a network name of the test's own. TEST_NETWORK_PREFIX keeps apart runs of the same test on one engine.
func networkName(t *testing.T) string {
	sum := sha256.Sum256([]byte(os.Getenv("TEST_NETWORK_PREFIX") + t.Name()))
	return "acc-" + hex.EncodeToString(sum[:4])
}

// localEngine opens the engine that the acceptance tests run on.
func localEngine(t *testing.T) engine.Engine {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = defaultDockerHost
	}
	e, err := docker.New(docker.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// nothingLeft checks after destroy that no object of the network is on the engine.
func nothingLeft(t *testing.T, network string) func(*terraform.State) error {
	return func(*terraform.State) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		e := localEngine(t)
		labels := map[string]string{engine.LabelNetwork: network}
		var left []error
		nodes, err := e.Nodes(ctx, labels)
		left = append(left, err)
		for _, n := range nodes {
			left = append(left, fmt.Errorf("container %s is left", n.Name))
		}
		leases, err := e.Leases(ctx, labels)
		left = append(left, err)
		for _, l := range leases {
			left = append(left, fmt.Errorf("lease %s is left", l.Name))
		}
		volumes, err := e.Volumes(ctx, labels)
		left = append(left, err)
		for _, v := range volumes {
			left = append(left, fmt.Errorf("volume %s is left", v.Name))
		}
		networks, err := e.Networks(ctx, labels)
		left = append(left, err)
		for _, n := range networks {
			left = append(left, fmt.Errorf("network %s is left", n.Name))
		}
		return errors.Join(left...)
	}
}

// organizationsConfig is the beginning of most configurations: a network, and a CA with an
// organization for each name. The first name is the organization that orders.
func organizationsConfig(network, version string, names ...string) string {
	set := ""
	for _, n := range names {
		set += fmt.Sprintf("%q, ", n)
	}
	return fmt.Sprintf(`
provider "fabric" {
  fabric_version = %[2]q
}

resource "fabric_network" "this" {
  name   = %[1]q
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each            = toset([%[3]s])
  network             = fabric_network.this.handle
  name                = "ca.${each.key}"
  organization        = each.key
  deletion_protection = false
}

resource "fabric_organization" "this" {
  for_each = toset([%[3]s])
  msp_id   = "${title(each.key)}MSP"
  ca       = fabric_ca.this[each.key].handle
}
`, network, version, set)
}

// channelConfig continues organizationsConfig: one orderer of the organization "orderer", a peer
// peer0 for each other name, and a channel "trade" of them all. Blocks are cut at once.
func channelConfig(network, version string, peers ...string) string {
	set := ""
	for _, n := range peers {
		set += fmt.Sprintf("%q, ", n)
	}
	return organizationsConfig(network, version, append([]string{"orderer"}, peers...)...) + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.this["orderer"].handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "this" {
  for_each            = toset([%[1]s])
  organization        = fabric_organization.this[each.key].handle
  name                = "peer0.${each.key}"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  organizations = {
    for org in [%[1]s] : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { peer0 = fabric_peer.this[org].handle }
    }
  }
  deletion_protection = false
}
`, set)
}
