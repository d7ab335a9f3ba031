package provider

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// plainText is what Terraform printed, without its frames and line breaks.
func plainText(out string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("│", "", "╷", "", "╵", "").Replace(out)), " ")
}

// TestLongPeerFollowsItsOrderers: a peer is not raised above its ordering nodes, and is raised after
// them when one apply raises all.
func TestLongPeerFollowsItsOrderers(t *testing.T) {
	if os.Getenv("FABRIC_LONG") == "" {
		t.Skip("FABRIC_LONG=1 runs this test, in which a peer waits for ordering nodes that do not move")
	}
	name := networkName(t)
	config := func(cluster, peer string) string {
		return "terraform {\n  required_providers {\n    fabric = { source = \"fabricops/fabric\" }\n  }\n}\n" +
			plainOrganizations(name, "2.5.9", "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {}, orderer1 = {}, orderer2 = {} }
  deletion_protection = false
  fabric_version      = %[1]q
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
  fabric_version      = %[2]q
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = 1
  deletion_protection = false
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { peer0 = fabric_peer.this.handle }
    }
  }
}
`, cluster, peer)
	}
	w := acceptanceWorkspace(t, name)
	w.write("main.tf", config("2.5.9", "2.5.9"))
	w.run("apply", "-auto-approve")

	w.write("main.tf", config("2.5.9", "3.1.1"))
	if out := plainText(w.fail("plan")); !strings.Contains(out, "Ordering nodes come first") {
		t.Errorf("the plan says %s", out)
	}
	begun := time.Now()
	out := plainText(w.fail("apply", "-auto-approve", "-target=fabric_peer.this"))
	t.Logf("refused after %s", time.Since(begun))
	for _, word := range []string{"was not changed, and goes on as it is", "orderer orderer0 of channel trade runs 2.5.9", "fabric_version"} {
		if !strings.Contains(out, word) {
			t.Errorf("%q is not in %s", word, out)
		}
	}
	w.write("main.tf", config("3.1.1", "3.1.1"))
	w.run("apply", "-auto-approve")
	started := func(node string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, inspect(t, name+"-"+node).State.StartedAt)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, o := range []string{"orderer0", "orderer1", "orderer2"} {
		if started("peer0.org1").Before(started(o)) {
			t.Errorf("the peer was started at %s, before %s at %s", started("peer0.org1"), o, started(o))
		}
	}
	w.run("plan", "-detailed-exitcode")
}
