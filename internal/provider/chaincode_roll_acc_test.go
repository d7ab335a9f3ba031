package provider

import (
	"fmt"
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
	broken := with("2.0", `, env = { CHAINCODE_TLS_KEY = "/nowhere" }`)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{Config: with("1.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: w.look},
			{ // The first of them does not come up: both are what they were.
				PreConfig:   u.next("a roll that stops"),
				Config:      broken,
				ExpectError: tells("unable to replace the server of chaincode kv beside peer peer0.org1", "it exited with code 1", "CHAINCODE_TLS", "it was put back as it was before, 0 of 2 servers had been replaced and serve, 1 were not touched"),
			},
			{Config: with("1.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: resource.ComposeTestCheckFunc(w.kept(true), c.answers(t, "1.0", "version"))},
			{
				PreConfig: u.next("another image"),
				Config:    with("2.0"), ConfigStateChecks: sequence(1, "kv_1.0"), Check: resource.ComposeTestCheckFunc(w.kept(false), c.answers(t, "2.0", "version")),
			},
			{
				PreConfig: u.next("another environment and limits"),
				Config:    with("2.0", `, env = { GREETING = "hello" }, limits = { memory_mib = 256 }`), ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(w.kept(false), c.answers(t, "2.0", "version"), u.finish, c.noneAside(t)),
			},
		},
	})
}

// noneAside expects that no server is set aside.
func (c contracts) noneAside(t *testing.T) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, name := range serverNames(t, c.name) {
			if strings.HasSuffix(name, ".before") {
				return fmt.Errorf("%s is left", name)
			}
		}
		return nil
	}
}
