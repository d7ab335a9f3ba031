package provider

import (
	"bufio"
	"fmt"
	"os/exec"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
)

// onStart does something as soon as a container is started, once.
func onStart(t *testing.T, container string, do func()) {
	t.Helper()
	events := exec.CommandContext(t.Context(), "docker", "events", "--filter", "container="+container, "--filter", "event=start", "--format", "{{.Action}}")
	out, err := events.StdoutPipe()
	if err == nil {
		err = events.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if bufio.NewScanner(out).Scan() {
			do()
		}
		_ = events.Process.Kill()
		_ = events.Wait()
	}()
	t.Cleanup(func() {
		_ = events.Process.Kill()
		<-done
	})
}

// TestLongRotationCutShort: a CA that falls silent when a peer has its new keys keeps the old ones from being
// revoked. The next apply does that, and replaces nothing again, although the refresh finds the new ones.
func TestLongRotationCutShort(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	sweepNetwork(t, name)
	server := &caServer{t: t, network: name, name: "ca.org1"}
	peer := name + "-peer0.org1"
	a := authority{network: name, directory: t.TempDir() + "/bob", ofCA: "deletion_protection = false"}
	config := func(version int) string {
		return a.String() + fmt.Sprintf(`
resource "fabric_peer" "this" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  key_version         = %d
  deletion_protection = false
  timeouts            = { update = "40s" }
}
`, version)
	}
	var brought string
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config(1), Check: server.holds("peer0.org1", 1)},
			{
				PreConfig: func() {
					before := string(nodeFile(t, peer, "keys/tls/cert.pem"))
					onStart(t, peer, func() { dockerDoes(t, "pause", server.container()) })
					t.Cleanup(func() {
						if brought == before {
							t.Error("the peer has its old certificate")
						}
					})
				},
				Config: config(2), ExpectError: tells("unable to revoke the certificates of peer0.org1"),
			},
			{
				PreConfig: func() {
					dockerDoes(t, "unpause", server.container())
					brought = string(nodeFile(t, peer, "keys/tls/cert.pem"))
				},
				Config: config(2),
				Check: resource.ComposeAggregateTestCheckFunc(server.holds("peer0.org1", 1), func(s *terraform.State) error {
					if attribute(s, peerAddress, "tls_certificate") != brought {
						return fmt.Errorf("the new key was replaced as well")
					}
					return nil
				}),
			},
			{Config: config(2), PlanOnly: true},
		},
	})
}

// holds checks how many certificates of an identity are valid and not revoked, at each of the two CAs.
func (c *caServer) holds(id string, want int) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, part := range []string{"ca", "tls"} {
			client, registrar, err := c.client(part)
			if err != nil {
				return err
			}
			found, err := client.Certificates(c.t.Context(), registrar, ca.CertificateFilter{ID: id, NotExpired: true, NotRevoked: true})
			if err != nil || len(found) != want {
				return fmt.Errorf("%s has %d certificates at %s, not %d, %v", id, len(found), part, want, err)
			}
		}
		return nil
	}
}
