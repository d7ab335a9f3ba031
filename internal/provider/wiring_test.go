package provider

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

// requireTerraform skips where no Terraform is at hand: the testing library would fetch one.
func requireTerraform(t *testing.T) {
	t.Helper()
	if os.Getenv("TF_ACC_TERRAFORM_PATH") != "" {
		return
	}
	found, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("TF_ACC_TERRAFORM_PATH or a terraform on the PATH runs this test")
	}
	t.Setenv("TF_ACC_TERRAFORM_PATH", found)
}

// nowhere is a provider block whose engine does not answer: a plan for new things needs none.
const nowhere = `
provider "fabric" {
  docker_host    = "tcp://127.0.0.1:1"
  fabric_version = "3.1.1"
}
`

// wired is a network of which everything is made by the same apply, with the plural things made by
// for_each and handed on by for expressions.
const wired = `
locals {
  organizations = toset(["orderer", "org1", "org2"])
  peers         = { "peer0.org1" = "org1", "peer1.org1" = "org1", "peer0.org2" = "org2" }
}

resource "fabric_network" "this" {
  name   = "wired"
  domain = "example.com"
}

resource "fabric_ca" "this" {
  for_each     = local.organizations
  network      = fabric_network.this.handle
  name         = "ca.${each.key}"
  organization = each.key
}

resource "fabric_ca" "below" {
  network      = fabric_network.this.handle
  name         = "below"
  organization = "org1"
  parent       = fabric_ca.this["org1"].handle
}

resource "fabric_organization" "this" {
  for_each = fabric_ca.this
  msp_id   = "${title(each.key)}MSP"
  ca       = each.value.handle
}

resource "fabric_identity" "app" {
  organization = fabric_organization.this["org1"].handle
  name         = "app"
  attributes   = { owner = fabric_network.this.owner_id }
}

resource "fabric_orderer_cluster" "this" {
  organization = fabric_organization.this["orderer"].handle
  nodes        = { for i in range(3) : "orderer${i}" => {} }
}

resource "fabric_peer" "this" {
  for_each     = local.peers
  organization = fabric_organization.this[each.value].handle
  name         = each.key
}

resource "fabric_channel" "trade" {
  name         = "trade"
  orderers     = fabric_orderer_cluster.this.handle
  anchor_peers = { org1 = ["peer1.org1"] }
  organizations = {
    for org in ["org1", "org2"] : org => {
      organization = fabric_organization.this[org].handle
      definition   = fabric_organization.this[org].definition
      peers        = { for name, of in local.peers : name => fabric_peer.this[name].handle if of == org }
    }
  }
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('${fabric_organization.this["org1"].msp_id}.peer', 'Org2MSP.peer')"
  collections = {
    for org in ["org1", "org2"] : org => { member_policy = "OR('${title(org)}MSP.member')" }
  }
}

resource "fabric_transaction" "first" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_identity.app.handle
  function  = "put"
  arguments = ["greeting", fabric_network.this.owner_id]
  triggers  = { release = fabric_chaincode.kv.sequence }
}
`

// hidden makes a value that is not known before apply, of the type of what it is given.
func hidden(name, value string) string {
	return fmt.Sprintf(`
resource "terraform_data" %q {
  input = %s
}
`, name, value)
}

// TestWiring plans every input of every resource from values that are not known yet, and from things
// that are not made yet. None of it needs an engine.
func TestWiring(t *testing.T) {
	requireTerraform(t)
	for _, c := range []struct {
		name, config string
		checks       []plancheck.PlanCheck
	}{
		{
			name: "from things that are made by the same apply", config: nowhere + wired,
			checks: []plancheck.PlanCheck{
				plancheck.ExpectKnownValue("fabric_chaincode.kv", tfjsonpath.New("package_id"), knownvalue.StringRegexp(regexp.MustCompile("^kv_1.0:[0-9a-f]{64}$"))),
				plancheck.ExpectKnownValue("fabric_chaincode.kv", tfjsonpath.New("label"), knownvalue.StringExact("kv_1.0")),
				plancheck.ExpectKnownValue("fabric_channel.trade", tfjsonpath.New("handle").AtMapKey("name"), knownvalue.StringExact("trade")),
				plancheck.ExpectUnknownValue("fabric_channel.trade", tfjsonpath.New("handle").AtMapKey("owner_id")),
				plancheck.ExpectUnknownValue("fabric_transaction.first", tfjsonpath.New("result")),
			},
		},
		{
			name: "from whole maps and objects that are not known",
			config: nowhere + wired +
				hidden("handles", `{
    network  = fabric_network.this.handle
    ca       = fabric_ca.this["org1"].handle
    org      = fabric_organization.this["org1"].handle
    cluster  = fabric_orderer_cluster.this.handle
    channel  = fabric_channel.trade.handle
    code     = fabric_chaincode.kv.handle
    identity = fabric_identity.app.handle
  }`) +
				hidden("members", `{
    org1 = {
      organization = fabric_organization.this["org1"].handle
      definition   = fabric_organization.this["org1"].definition
      peers        = { for name, p in fabric_peer.this : name => p.handle }
    }
  }`) +
				hidden("plain", `{
    text   = "trade"
    number = 10
    flag   = true
    texts  = { a = "b" }
    list   = ["a"]
    lists  = { org1 = ["peer0"] }
  }`) +
				hidden("nodes", `{ orderer0 = { port = 17050 } }`) +
				hidden("collections", `{ secrets = { member_policy = "OR('Org1MSP.member')" } }`) +
				hidden("server", `{ image = "fabricops/kv-chaincode:1.0", env = { A = "b" } }`) +
				hidden("overlay", `{ peer = { gossip = { dialTimeout = "4s" } } }`) + `
locals {
  handles = terraform_data.handles.output
  plain   = terraform_data.plain.output
}

resource "fabric_network" "hidden" {
  name   = local.plain.text
  domain = local.plain.text
}

resource "fabric_ca" "hidden" {
  network                   = local.handles.network
  name                      = local.plain.text
  organization              = local.plain.text
  parent                    = local.handles.ca
  sans                      = local.plain.list
  port                      = local.plain.number
  certificate_validity      = local.plain.text
}

resource "fabric_organization" "hidden" {
  msp_id = local.plain.text
  ca     = local.handles.ca
}

resource "fabric_identity" "hidden" {
  organization = local.handles.org
  name         = local.plain.text
  attributes   = local.plain.texts
}

resource "fabric_orderer_cluster" "hidden" {
  name         = local.plain.text
  organization = local.handles.org
  nodes        = terraform_data.nodes.output
  image        = local.plain.text
}

resource "fabric_orderer_cluster" "node" {
  name         = "other"
  organization = local.handles.org
  nodes        = { orderer9 = terraform_data.nodes.output.orderer0, orderer8 = { port = local.plain.number, sans = local.plain.list } }
}

resource "fabric_peer" "hidden" {
  organization = local.handles.org
  name         = local.plain.text
  image        = local.plain.text
  config       = terraform_data.overlay.output
  labels       = local.plain.texts
  port         = local.plain.number
}

resource "fabric_peer" "overlay" {
  organization = local.handles.org
  name         = "peer9"
  config       = { peer = { gossip = { dialTimeout = local.plain.text } } }
  limits       = { memory_mib = local.plain.number }
}

resource "fabric_channel" "hidden" {
  name                 = local.plain.text
  orderers             = local.handles.cluster
  organizations        = terraform_data.members.output
  anchor_peers         = local.plain.lists
  batch_timeout        = local.plain.text
  max_message_count    = local.plain.number
  channel_capability   = local.plain.text
  acls                 = local.plain.texts
  application_policies = local.plain.texts
  deletion_protection  = local.plain.flag
}

resource "fabric_channel" "parts" {
  name     = "parts"
  orderers = local.handles.cluster
  organizations = {
    org1 = terraform_data.members.output.org1
    org2 = {
      organization = local.handles.org
      definition   = fabric_organization.hidden.definition
      peers        = { peer0 = fabric_peer.hidden.handle, peer1 = terraform_data.members.output.org1.peers["peer0.org1"] }
    }
    org3 = {
      organization = fabric_organization.hidden.handle
      definition   = fabric_organization.hidden.definition
      peers        = terraform_data.members.output.org1.peers
    }
  }
  anchor_peers         = { org1 = local.plain.list, org2 = [local.plain.text] }
  acls                 = { "peer/Propose" = local.plain.text }
  application_policies = { Endorsement = local.plain.text }
}

resource "fabric_chaincode" "hidden" {
  channel            = local.handles.channel
  name               = local.plain.text
  version            = local.plain.text
  label              = local.plain.text
  server             = terraform_data.server.output
  endorsement_policy = local.plain.text
  init_required      = local.plain.flag
  collections        = terraform_data.collections.output
  indexes            = local.plain.texts
}

resource "fabric_chaincode" "parts" {
  channel = fabric_channel.hidden.handle
  name    = "parts"
  version = local.plain.text
  server = {
    image   = local.plain.text
    env     = local.plain.texts
    command = local.plain.list
    limits  = { pids = local.plain.number }
  }
  collections = {
    whole = terraform_data.collections.output.secrets
    parts = { member_policy = local.plain.text, max_peer_count = local.plain.number, member_only_read = local.plain.flag }
  }
  canary = {
    steps         = local.plain.list
    duration      = local.plain.text
    minimum_calls = local.plain.number
    queries       = { parts = { function = local.plain.text, arguments = local.plain.list, identity = local.handles.identity } }
    prometheus    = { address = local.plain.text, query = local.plain.text, maximum = local.plain.number, bearer_token_wo = local.plain.text }
  }
  indexes = { "owner.json" = local.plain.text, "whole/owner.json" = jsonencode({ index = { fields = ["owner"] } }) }
}

resource "fabric_transaction" "hidden" {
  chaincode               = local.handles.code
  identity                = local.handles.identity
  function                = local.plain.text
  arguments               = local.plain.list
  triggers                = local.plain.texts
  endorsing_organizations = local.plain.list
  transient_wo            = local.plain.texts
  transient_wo_version    = local.plain.text
  init                    = local.plain.flag
}

data "fabric_channel" "hidden" {
  channel = local.handles.channel
}

data "fabric_query" "hidden" {
  chaincode = local.handles.code
  identity  = local.handles.identity
  function  = local.plain.text
}

data "fabric_connection_profile" "hidden" {
  organization = local.handles.org
}
`,
			checks: []plancheck.PlanCheck{
				plancheck.ExpectUnknownValue("fabric_channel.hidden", tfjsonpath.New("name")),
				plancheck.ExpectUnknownValue("fabric_channel.hidden", tfjsonpath.New("organizations")),
				plancheck.ExpectUnknownValue("fabric_chaincode.hidden", tfjsonpath.New("server")),
				plancheck.ExpectUnknownValue("fabric_chaincode.hidden", tfjsonpath.New("package_id")),
				plancheck.ExpectUnknownValue("fabric_chaincode.parts", tfjsonpath.New("collections").AtMapKey("whole")),
				plancheck.ExpectKnownValue("fabric_chaincode.parts", tfjsonpath.New("collections").AtMapKey("parts").AtMapKey("block_to_live"), knownvalue.Int64Exact(0)),
			},
		},
		{ // A handle may be known before its identity is there; the certificate is not.
			name: "credentials of an identity that is made by the same apply",
			config: nowhere + handles + hidden("certificate", `"-----BEGIN CERTIFICATE-----"`) + `
ephemeral "fabric_credentials" "this" {
  identity    = local.org1
  certificate = terraform_data.certificate.output
}

resource "fabric_transaction" "this" {
  chaincode    = local.code
  identity     = local.org1
  function     = "put"
  transient_wo = { key = ephemeral.fabric_credentials.this.private_key }
}
`,
		},
		{
			name: "with a provider block that is not known",
			config: hidden("provider", `{ host = "tcp://127.0.0.1:1", version = "2.5.9" }`) + `
provider "fabric" {
  docker_host    = terraform_data.provider.output.host
  fabric_version = terraform_data.provider.output.version
  ca_version     = terraform_data.provider.output.version
  image_registry = { address = terraform_data.provider.output.host }
}
` + wired,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			resource.UnitTest(t, resource.TestCase{
				ProtoV6ProviderFactories: factories,
				Steps: []resource.TestStep{{
					Config: c.config, PlanOnly: true, ExpectNonEmptyPlan: true,
					ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPreRefresh: c.checks},
				}},
			})
		})
	}
}

var manySpaces = regexp.MustCompile(`[\s│╷╵]+`)

// expectRefusals plans a configuration of which everything is wrong, and looks for every refusal.
func expectRefusals(t *testing.T, config string, wants ...string) {
	t.Helper()
	requireTerraform(t)
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		ErrorCheck: func(err error) error {
			said := manySpaces.ReplaceAllString(err.Error(), " ")
			missing := ""
			for _, want := range wants {
				if !strings.Contains(said, want) {
					missing += "\n  " + want
				}
			}
			if missing != "" {
				return fmt.Errorf("there is no refusal that says%s\n\nbut: %w", missing, err)
			}
			return nil
		},
		Steps: []resource.TestStep{{Config: config, PlanOnly: true, ExpectNonEmptyPlan: true}},
	})
}

// handles are literal ones, so that everything about them is known while nothing is there.
const handles = `
locals {
  at       = { network = "dev", domain = "example.com", owner_id = "0123456789abcdef" }
  cluster  = merge(local.at, { kind = "orderer_cluster", name = "orderer", msp_id = "OrdererMSP" })
  org1     = merge(local.at, { kind = "organization", name = "Org1MSP", msp_id = "Org1MSP" })
  org2     = merge(local.at, { kind = "organization", name = "Org2MSP", msp_id = "Org2MSP" })
  peer1    = merge(local.at, { kind = "peer", name = "peer0.org1", msp_id = "Org1MSP" })
  peer2    = merge(local.at, { kind = "peer", name = "peer0.org2", msp_id = "Org2MSP" })
  channel  = merge(local.at, { kind = "channel", name = "trade", msp_id = "" })
  code     = merge(local.at, { kind = "chaincode", name = "trade/kv", msp_id = "" })
  defined1 = { msp_id = "Org1MSP", root_certificates = [], intermediate_certificates = [], tls_root_certificates = [], tls_intermediate_certificates = [], revocation_lists = [] }
  defined2 = merge(local.defined1, { msp_id = "Org2MSP" })
  both = {
    org1 = { organization = local.org1, definition = local.defined1, peers = { peer0 = local.peer1 } }
    org2 = { organization = local.org2, definition = local.defined2, peers = { peer0 = local.peer2 } }
  }
}
`
