package provider

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/echoprovider"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"github.com/hashicorp/terraform-plugin-testing/tfversion"
)

// memberConfig is a network and an organization for each name. plugin-testing does not know
// for_each, so every resource has a name of its own.
func memberConfig(network string, names ...string) string {
	config := fmt.Sprintf(`
provider "fabric" {
  fabric_version = "3.1.1"
}

resource "fabric_network" "this" {
  name   = %q
  domain = "example.com"
}
`, network)
	for _, name := range names {
		config += strings.ReplaceAll(`
resource "fabric_ca" "ORG" {
  network             = fabric_network.this.handle
  name                = "ca.ORG"
  organization        = "ORG"
  deletion_protection = false
}

resource "fabric_organization" "ORG" {
  msp_id = "${title("ORG")}MSP"
  ca     = fabric_ca.ORG.handle
}
`, "ORG", name)
	}
	return config
}

// tradeConfig continues memberConfig of orderer, org1 and org2 by a channel of both, a chaincode and a
// transaction.
const tradeConfig = `
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "org1" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  deletion_protection = false
}

resource "fabric_peer" "org2" {
  organization        = fabric_organization.org2.handle
  name                = "peer0.org2"
  deletion_protection = false
}

resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  organizations = {
    org1 = { organization = fabric_organization.org1.handle, definition = fabric_organization.org1.definition, peers = { peer0 = fabric_peer.org1.handle } }
    org2 = { organization = fabric_organization.org2.handle, definition = fabric_organization.org2.definition, peers = { peer0 = fabric_peer.org2.handle } }
  }
  deletion_protection = false
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}

resource "fabric_identity" "clerk" {
  organization = fabric_organization.org1.handle
  name         = "clerk"
}

resource "fabric_transaction" "first" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.clerk.handle
  function  = "put"
  arguments = ["greeting", "hello"]
}

`

// readingConfig continues tradeConfig by every way to read.
const readingConfig = `
data "fabric_channel" "trade" {
  channel    = fabric_channel.trade.handle
  depends_on = [fabric_peer.org1, fabric_peer.org2, fabric_orderer_cluster.this, fabric_transaction.first]
}

data "fabric_query" "greeting" {
  chaincode  = fabric_chaincode.kv.handle
  identity   = fabric_identity.clerk.handle
  function   = "get"
  arguments  = ["greeting"]
  depends_on = [fabric_peer.org1, fabric_peer.org2, fabric_transaction.first]
}

data "fabric_connection_profile" "org1" {
  organization = fabric_organization.org1.handle
  channel      = fabric_channel.trade.handle
}

data "fabric_connection_profile" "inside" {
  organization = fabric_organization.org2.handle
  from         = "network"
  depends_on   = [fabric_peer.org1, fabric_peer.org2]
}

data "fabric_node_config" "peer" {
  node       = fabric_peer.org1.handle
  depends_on = [fabric_peer.org1, fabric_peer.org2]
}

data "fabric_node_config" "orderer" {
  node       = fabric_orderer_cluster.this.handle
  depends_on = [fabric_orderer_cluster.this]
}

locals {
  admin   = provider::fabric::certificate(fabric_organization.org1.admin_certificate)
  profile = yamldecode(data.fabric_connection_profile.org1.yaml)
}

output "read" {
  value = {
    endorsed_by   = provider::fabric::endorsement_policy(fabric_chaincode.kv.endorsement_policy).msp_ids
    package_id    = provider::fabric::package_id({ channel = "trade", label = "kv_1.0" }) == fabric_chaincode.kv.package_id
    admin         = [local.admin.common_name, local.admin.organizational_units[0]]
    chain         = provider::fabric::verify_chain(fabric_organization.org1.admin_certificate, [], fabric_organization.org1.definition.root_certificates, { usage = "signing" }).valid
    other_chain   = provider::fabric::verify_chain(fabric_organization.org1.admin_certificate, [], fabric_organization.org2.definition.root_certificates).reason
    channel_group = [for name, group in jsondecode(data.fabric_channel.trade.configuration).channel_group.groups : name]
    peer_id       = yamldecode(data.fabric_node_config.peer.yaml).peer.id
    orderer_msp   = yamldecode(data.fabric_node_config.orderer.yaml).General.LocalMSPID
    same_profile  = jsonencode(jsondecode(data.fabric_connection_profile.org1.json)) == jsonencode(local.profile)
    peer_port     = local.profile.peers["peer0.org2.example.com"].url == "grpcs://127.0.0.1:${fabric_peer.org2.port}"
    inside        = yamldecode(data.fabric_connection_profile.inside.yaml).peers["peer0.org2.example.com"].url
  }
}
`

// TestAccReading reads a network that runs, by every data source and function, and then one whose
// nodes are stopped.
func TestAccReading(t *testing.T) {
	name := networkName(t)
	checkNothingLeft(t, name)
	network := memberConfig(name, "orderer", "org1", "org2") + tradeConfig
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps: []resource.TestStep{
			{
				Config: network + readingConfig,
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue("data.fabric_query.greeting", tfjsonpath.New("result"), knownvalue.StringExact("hello")),
					statecheck.ExpectKnownValue("data.fabric_query.greeting", tfjsonpath.New("result_base64"), knownvalue.StringExact("aGVsbG8=")),
					statecheck.ExpectKnownValue("data.fabric_channel.trade", tfjsonpath.New("organizations"), knownvalue.ListExact([]knownvalue.Check{
						knownvalue.StringExact("Org1MSP"), knownvalue.StringExact("Org2MSP"),
					})),
					statecheck.ExpectKnownValue("data.fabric_channel.trade", tfjsonpath.New("heights"), knownvalue.MapPartial(map[string]knownvalue.Check{
						"orderer0": knownvalue.NotNull(), "peer0.org1": knownvalue.NotNull(), "peer0.org2": knownvalue.NotNull(),
					})),
					statecheck.ExpectKnownValue("data.fabric_channel.trade", tfjsonpath.New("consenters"), knownvalue.ListExact([]knownvalue.Check{
						knownvalue.StringExact("orderer0.example.com:7050"),
					})),
					statecheck.ExpectKnownOutputValue("read", knownvalue.ObjectExact(map[string]knownvalue.Check{
						"endorsed_by":   knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("Org1MSP"), knownvalue.StringExact("Org2MSP")}),
						"package_id":    knownvalue.Bool(true),
						"admin":         knownvalue.TupleExact([]knownvalue.Check{knownvalue.StringExact("admin"), knownvalue.StringExact("admin")}),
						"chain":         knownvalue.Bool(true),
						"other_chain":   knownvalue.StringExact("unknown_authority"),
						"channel_group": knownvalue.TupleExact([]knownvalue.Check{knownvalue.StringExact("Application"), knownvalue.StringExact("Orderer")}),
						"peer_id":       knownvalue.StringExact("peer0.org1.example.com"),
						"orderer_msp":   knownvalue.StringExact("OrdererMSP"),
						"same_profile":  knownvalue.Bool(true),
						"peer_port":     knownvalue.Bool(true),
						"inside":        knownvalue.StringExact("grpcs://peer0.org2.example.com:7051"),
					})),
				},
			},
			{
				// Data sources that wait for what they read from let one apply repair first.
				PreConfig: func() { stopNodes(t, name+"-peer0.org1", name+"-peer0.org2", name+"-orderer0") },
				Config:    network + readingConfig,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction("data.fabric_query.greeting", plancheck.ResourceActionRead),
				}},
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue("data.fabric_query.greeting", tfjsonpath.New("result"), knownvalue.StringExact("hello")),
				},
			},
			{
				// The ordering node alone still tells of the channel to one that does not wait.
				PreConfig: func() { stopNodes(t, name+"-peer0.org1", name+"-peer0.org2") },
				Config:    network + `data "fabric_channel" "now" { channel = fabric_channel.trade.handle }`,
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue("data.fabric_channel.now", tfjsonpath.New("heights"), knownvalue.MapExact(map[string]knownvalue.Check{
						"orderer0": knownvalue.NotNull(),
					})),
				},
			},
			{
				// A query needs a peer, and says what to do.
				PreConfig: func() { stopNodes(t, name+"-peer0.org1", name+"-peer0.org2") },
				Config: network + `
data "fabric_query" "now" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.clerk.handle
  function  = "get"
  arguments = ["greeting"]
}
`,
				ExpectError: regexp.MustCompile(`Unable to query get(?s:.*)not\s+running(?s:.*)depends_on`),
			},
		},
	})
}

// checkNothingLeft checks at the end of the test that nothing of the network is on the engine.
func checkNothingLeft(t *testing.T, network string) {
	t.Helper()
	t.Cleanup(func() {
		if os.Getenv("TF_ACC") == "" {
			return
		}
		if err := nothingLeft(t, network)(nil); err != nil {
			t.Error(err)
		}
	})
}

// stopNodes stops nodes behind Terraform's back.
func stopNodes(t *testing.T, names ...string) {
	t.Helper()
	e := localEngine(t)
	for _, name := range names {
		if err := e.StopNode(t.Context(), name, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAccCredentials hands the credentials of an identity and of an admin to another provider.
func TestAccCredentials(t *testing.T) {
	name := networkName(t)
	checkNothingLeft(t, name)
	with := maps.Clone(factories)
	with["echo"] = echoprovider.NewProviderServer()
	base := memberConfig(name, "org1") + `
resource "fabric_identity" "clerk" {
  organization = fabric_organization.org1.handle
  name         = "clerk"
}

resource "fabric_identity" "elsewhere" {
  organization = fabric_organization.org1.handle
  name         = "elsewhere"
  directory    = "` + t.TempDir() + `"
}
`
	// In late, the identity is made by the same apply; by its certificate Terraform knows to wait.
	late := `
resource "fabric_identity" "late" {
  organization = fabric_organization.org1.handle
  name         = "late"
}
`
	echo := func(handle string, more ...string) string {
		return base + fmt.Sprintf(`
ephemeral "fabric_credentials" "this" {
  identity = %s.handle
`, handle) + strings.Join(more, "\n") + `
}

provider "echo" {
  data = ephemeral.fabric_credentials.this
}

resource "echo" "this" {}

output "same" {
  value = provider::fabric::certificate(echo.this.data.certificate).common_name
}
`
	}
	of := func(name string) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			statecheck.ExpectKnownValue("echo.this", tfjsonpath.New("data").AtMapKey("msp_id"), knownvalue.StringExact("Org1MSP")),
			statecheck.ExpectKnownValue("echo.this", tfjsonpath.New("data").AtMapKey("private_key"), knownvalue.StringRegexp(regexp.MustCompile(`^-----BEGIN PRIVATE KEY-----\n`))),
			statecheck.ExpectKnownValue("echo.this", tfjsonpath.New("data").AtMapKey("tls_root_certificates"), knownvalue.ListSizeExact(1)),
			statecheck.ExpectKnownOutputValue("same", knownvalue.StringExact(name)),
		}
	}
	resource.Test(t, resource.TestCase{
		TerraformVersionChecks:   []tfversion.TerraformVersionCheck{tfversion.SkipBelow(tfversion.Version1_10_0)},
		ProtoV6ProviderFactories: with,
		Steps: []resource.TestStep{
			{Config: base},
			{Config: echo("fabric_identity.clerk"), ConfigStateChecks: of("clerk")},
			{Config: base},
			{Config: echo(`fabric_organization.org1`), ConfigStateChecks: of("admin")},
			{Config: base},
			{Config: late + echo("fabric_identity.late", "certificate = fabric_identity.late.certificate"), ConfigStateChecks: of("late")},
			{Config: late + echo("fabric_identity.late", "certificate = fabric_organization.org1.admin_certificate"), ExpectError: tells("holds the key of another certificate")},
			{Config: base},
			{Config: late + echo("fabric_identity.late"), ExpectError: tells("set certificate to that of the fabric_identity")},
			{Config: echo("fabric_identity.elsewhere"), ExpectError: regexp.MustCompile(`keeps\s+its\s+key\s+there\s+and\s+nowhere\s+else`)},
			{Config: base}, // destroy would ask for the credentials again
		},
	})
}
