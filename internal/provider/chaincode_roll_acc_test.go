package provider

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

// TestLongChaincodeRoll: servers are replaced while applications call them, one by one, and one that does not
// come up stops the roll and is put back.
func TestLongChaincodeRoll(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) { testChaincodeRoll(t, version) })
	}
}

func testChaincodeRoll(t *testing.T, version string) {
	c := contracts{name: networkName(t), version: version}
	u := &underLoad{t: t, network: c.name}
	w := &watcher{t: t, name: c.name}
	with := func(image string, more ...string) string {
		changed := c
		changed.kv = fmt.Sprintf("version = \"1.0\"\n  server  = { image = \"fabricops/kv-chaincode:%s\"%s }\n  %s\n", image, strings.Join(more, ""), oneSigns)
		return changed.String()
	}
	// A second peer of org1, which has no server of its own.
	wider := func(config string) string {
		return strings.ReplaceAll(config, "peers        = { peer0 = fabric_peer.org1.handle }", "peers        = { peer0 = fabric_peer.org1.handle, peer1 = fabric_peer.second.handle }") + `
resource "fabric_peer" "second" {
  organization        = fabric_organization.org1.handle
  name                = "peer1.org1"
  deletion_protection = false
}
`
	}
	// The value is put together here, so that it stands in no configuration either.
	secret := func(version string) string {
		return fmt.Sprintf(`, secret_env_wo = { API_SECRET = join("-", ["secret", "of", "the", "servers", %q]) }, secret_env_wo_version = %q`, version, version)
	}
	const perOrganization = `, per = "organization"`
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{Config: with("1.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: w.look},
			{ // The first of them does not come up: both are what they were.
				PreConfig:   u.next("a roll that stops"),
				Config:      with("2.0", `, env = { CHAINCODE_TLS_KEY = "/nowhere" }`),
				ExpectError: tells("Unable to replace the server of chaincode kv beside peer peer0.org1: it exited with code", "CHAINCODE_TLS_KEY and CHAINCODE_TLS_CERT belong together", "it was put back as it was; of 2 servers to be replaced, 0 were before it, and the others were not touched"),
			},
			{Config: with("1.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: resource.ComposeTestCheckFunc(w.kept(true), c.answers(t, "1.0", "version"))},
			{
				PreConfig: u.next("another image"),
				Config:    with("2.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: resource.ComposeTestCheckFunc(w.kept(false), c.answers(t, "2.0", "version")),
			},
			{
				PreConfig: u.next("secrets and limits"),
				Config:    with("2.0", secret("1"), `, limits = { memory_mib = 256 }`), ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(w.kept(false), c.answers(t, "2.0", "version"), c.secretIs(t, "secret-of-the-servers-1")),
			},
			{ // Other values without another version change nothing.
				Config: strings.Replace(with("2.0", secret("1"), `, limits = { memory_mib = 256 }`), `"servers", "1"`, `"servers", "2"`, 1), PlanOnly: true,
			},
			{
				PreConfig: u.next("one for each organization"),
				Config:    with("2.0", secret("2"), perOrganization), ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(c.servedBy(t, "peer0.org1", "peer0.org2"), c.answers(t, "2.0", "version"), c.secretIs(t, "secret-of-the-servers-2")),
			},
			{ // A peer that joins is served by its organization's server, which keeps its secrets.
				PreConfig: u.next("a peer joins"),
				Config:    wider(with("2.0", secret("2"), perOrganization)), ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(c.servedBy(t, "peer0.org1,peer1.org1", "peer0.org2"), c.answersAt(t, "peer1.org1", "2.0", "version"), c.secretIs(t, "secret-of-the-servers-2")),
			},
			{
				PreConfig: u.next("one for each peer"),
				Config:    wider(with("2.0")), ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(c.servedBy(t, "peer0.org1", "peer0.org2", "peer1.org1"), c.answersAt(t, "peer1.org1", "2.0", "version"), u.finish),
			},
		},
	})
}

// servedBy expects exactly the servers of these peers.
func (c contracts) servedBy(t *testing.T, peers ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		if got := slices.Sorted(maps.Keys(serverIDs(t, c.name, "kv"))); !slices.Equal(got, peers) || len(serverNames(t, c.name)) != len(peers) {
			return fmt.Errorf("the servers are those of %v, want %v", got, peers)
		}
		return nil
	}
}

// secretIs expects that every server has a secret, and no label of one.
func (c contracts) secretIs(t *testing.T, secret string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, name := range serverNames(t, c.name) {
			made := inspect(t, name)
			if !slices.Contains(made.Config.Env, "API_SECRET="+secret) {
				return fmt.Errorf("%s has another environment", name)
			}
			for label, value := range made.Config.Labels {
				if strings.Contains(value, secret) {
					return fmt.Errorf("the label %s of %s holds the secret", label, name)
				}
			}
		}
		return nil
	}
}
