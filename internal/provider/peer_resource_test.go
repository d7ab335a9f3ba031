package provider

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// offline is the beginning of configurations that are planned only: no engine answers there.
func offline(version string) string {
	return strings.Replace(plainOrganizations("offline", version, "orderer", "org1"),
		"fabric_version", "docker_host = \"unix:///nonexistent/docker.sock\"\n  fabric_version", 1)
}

// peerOf gives a peer resource with further attributes.
func peerOf(label, attributes string) string {
	if !strings.Contains(attributes, "name ") {
		attributes = fmt.Sprintf("name = %q\n  %s", strings.ReplaceAll(label, "_", "-"), attributes)
	}
	return fmt.Sprintf(`
resource "fabric_peer" %q {
  organization = fabric_organization.org1.handle
  %s
}
`, label, attributes)
}

// clusterOf gives an ordering cluster with further attributes.
func clusterOf(label, attributes string) string {
	return fmt.Sprintf(`
resource "fabric_orderer_cluster" %q {
  organization = fabric_organization.orderer.handle
  name         = %q
  %s
}
`, label, strings.ReplaceAll(label, "_", "-"), attributes)
}

// says makes a pattern of texts in that order, however Terraform breaks their lines.
func says(texts ...string) *regexp.Regexp {
	var parts []string
	for _, text := range texts {
		parts = append(parts, strings.Join(strings.Fields(regexp.QuoteMeta(text)), `\s+`))
	}
	return regexp.MustCompile(`(?is)` + strings.Join(parts, `.*?`))
}

// block finds the error that Terraform reports about one resource.
func block(message, address string) string {
	kind, label, _ := strings.Cut(address, ".")
	var blocks []string
	for _, part := range strings.Split(message, "\nError: ") {
		if strings.Contains(part, fmt.Sprintf("resource %q %q", kind, label)) {
			blocks = append(blocks, part)
		}
	}
	return strings.Join(blocks, "\n")
}

// refusesPlan plans a configuration that is wrong in several resources, and looks for what is said
// of each, texts in that order. A key names one address, or several of which one is told; without
// texts nothing may be said of them.
func refusesPlan(t *testing.T, config string, wants map[string][]string) {
	t.Helper()
	asked := false
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		ErrorCheck: func(err error) error {
			asked = true
			var wrong []error
			for addresses, texts := range wants {
				said := ""
				for _, address := range strings.Fields(addresses) {
					said += block(err.Error(), address)
				}
				if texts == nil && said != "" || texts != nil && !says(texts...).MatchString(said) {
					wrong = append(wrong, fmt.Errorf("of %s it says\n%s\nwant %q", addresses, said, texts))
				}
			}
			if len(wrong) > 0 {
				t.Log(err)
			}
			return errors.Join(wrong...)
		},
		Steps: []resource.TestStep{{Config: config, PlanOnly: true, ExpectNonEmptyPlan: true}},
	})
	if !asked {
		t.Error("the plan was accepted")
	}
}

// TestAccPlanRefusesValues: what is wrong with one value by itself.
func TestAccPlanRefusesValues(t *testing.T) {
	refusesPlan(t, offline("3.1.1")+
		peerOf("upper", `name = "Peer0"`)+
		peerOf("underscore", `name = "peer_0"`)+
		peerOf("version", `fabric_version = "1.4.0"`)+
		peerOf("bind", `bind_address = "localhost"`)+
		peerOf("advertised", `advertised_address = "peer0.example.com:70000"`)+
		peerOf("sans", `sans = ["not a host"]`)+
		peerOf("memory", `limits = { memory_mib = 1 }`)+
		peerOf("labels", `labels = { "io.github.fabricops.owner_id" = "mine" }`)+
		peerOf("state", `desired_state = "paused"`)+
		peerOf("port", `port = 70000`)+
		clusterOf("none", `nodes = {}`)+
		clusterOf("null", `nodes = { o = null }`)+
		clusterOf("names", `nodes = { Orderer0 = {} }`)+
		clusterOf("kind", "nodes = { o = {} }\n consensus = \"kafka\""), map[string][]string{
		"fabric_peer.upper":            {"Invalid Attribute", "name =", "Attribute name must be a host name in lower case"},
		"fabric_peer.underscore":       {"name =", "must be a host name in lower case"},
		"fabric_peer.version":          {"Unsupported Fabric version", "fabric_version =", "2.5.9", "3.1.1"},
		"fabric_peer.bind":             {"Not an IP address", "bind_address ="},
		"fabric_peer.advertised":       {"Not an address", "advertised_address =", "the port is not between 1 and 65535"},
		"fabric_peer.sans":             {"Not a host name", "sans =", "not a host"},
		"fabric_peer.memory":           {"limits.memory_mib", "must be at least 16"},
		"fabric_peer.labels":           {"Reserved label", "labels =", "are the provider's"},
		"fabric_peer.state":            {"desired_state =", `"running" "stopped"`},
		"fabric_peer.port":             {"port =", "must be between 1 and 65535"},
		"fabric_orderer_cluster.none":  {"nodes =", "must contain at least 1 elements"},
		"fabric_orderer_cluster.names": {"nodes =", "host name in lower case"},
		"fabric_orderer_cluster.kind":  {"consensus =", `"raft" "bft"`},
	})
}

// TestAccPlanRefusesNodes: what nodes could not run with, or not beside each other.
func TestAccPlanRefusesNodes(t *testing.T) {
	refusesPlan(t, offline("2.5.9")+`
resource "terraform_data" "later" {}
`+
		`
resource "fabric_peer" "handle" {
  organization = fabric_ca.org1.handle
  name         = "handle"
}
`+
		peerOf("unknown_key", `config = { peer = { gossip = { useLeaderElektion = true } } }`)+
		peerOf("wrong_type", `config = { peer = { gossip = { maxBlockCountToStore = "many" } } }`)+
		peerOf("combination", `config = { peer = { gossip = { useLeaderElection = true, orgLeader = true } } }`)+
		peerOf("reserved", `config = { peer = { listenAddress = "0.0.0.0:1" } }`)+
		peerOf("text", `config = "peer: {}"`)+
		peerOf("newer_key", `config = { peer = { deliveryclient = { policy = "simple" } } }`)+
		// What is not known yet is refused when it is, and hides nothing else.
		peerOf("half_known", "config = { peer = { gossip = { dialTimeout = terraform_data.later.id } } }\n port = terraform_data.later.id == \"\" ? 1 : 2")+
		peerOf("one", "port = 16101")+
		peerOf("two", "operations_port = 16101")+
		peerOf("self", "port = 16102\n operations_port = 16102")+
		peerOf("everywhere", "port = 16103\n bind_address = \"0.0.0.0\"")+
		peerOf("somewhere", "port = 16103\n bind_address = \"127.0.0.3\"")+
		peerOf("elsewhere", "port = 16104\n bind_address = \"127.0.0.4\"")+
		peerOf("at_home", "port = 16104")+
		clusterOf("ports", "nodes = { o0 = { port = 16105 }, o1 = { admin_port = 16105 } }")+
		clusterOf("beside", "nodes = { o2 = { operations_port = 16106 } }")+
		peerOf("beside_it", "port = 16106")+
		peerOf("twin", `name = "o3"`)+
		clusterOf("twin", "nodes = { o3 = {} }")+
		clusterOf("bft", "nodes = { b0 = {}, b1 = {}, b2 = {}, b3 = {} }\n consensus = \"bft\"")+
		clusterOf("bft_later", "nodes = { c0 = {}, c1 = {}, c2 = {}, c3 = {} }\n consensus = \"bft\"\n fabric_version = \"3.1.1\"")+
		clusterOf("key", `nodes = { d0 = {} }
  config = { General = { Keepalive = { ServerIntervall = "1h" } } }`)+
		clusterOf("listener", `nodes = { e0 = {} }
  config = { Admin = { ListenAddress = "0.0.0.0:1" } }`)+
		clusterOf("bootstrap", `nodes = { f0 = {} }
  config = { General = { BootstrapMethod = "file" } }`),
		map[string][]string{
			"fabric_peer.unknown_key":          {"Configuration refused: peer.gossip.useLeaderElektion", "config =", "Unknown key", "Did you mean peer.gossip.useLeaderElection"},
			"fabric_peer.wrong_type":           {"peer.gossip.maxBlockCountToStore", "config =", "must be a whole number, given a string"},
			"fabric_peer.combination":          {"peer.gossip.useLeaderElection", "config =", "would panic"},
			"fabric_peer.reserved":             {"peer.listenAddress", "config =", "cannot be set here", "Remove it and use the attribute port"},
			"fabric_peer.text":                 {"Configuration refused", "config =", "Config must be an object with the keys of core.yaml"},
			"fabric_peer.newer_key":            {"peer.deliveryclient.policy", "config =", "Fabric 3.1.1 has it, Fabric 2.5.9 does not"},
			"fabric_peer.self":                 {"Host port wanted twice", "port =", "127.0.0.1:16102 (operations_port) is wanted by two endpoints of the same node"},
			"fabric_orderer_cluster.ports":     {"Host port wanted twice", "127.0.0.1:16105", `nodes["o1"].admin_port`, "orderer o0 of network offline"},
			"fabric_orderer_cluster.bft":       {"SmartBFT needs Fabric 3", "consensus =", "Fabric 2.5.9 orders by Raft only", "fabric_version to 3.0 or later"},
			"fabric_orderer_cluster.key":       {"General.Keepalive.ServerIntervall", "config =", "Did you mean General.Keepalive.ServerInterval?"},
			"fabric_orderer_cluster.listener":  {"Admin.ListenAddress", "config =", "use the attribute nodes[*].admin_port"},
			"fabric_orderer_cluster.bootstrap": {"General.BootstrapMethod", "config =", "without a system channel"},
			"fabric_peer.handle":               {"Wrong kind of handle", "organization =", "wants the handle of fabric_organization", "got the handle of fabric_ca"},
			// Of two resources the one that Terraform plans later is told.
			"fabric_peer.one fabric_peer.two":                                                                   {"Host port wanted twice", "127.0.0.1:16101", "peer one of network offline", "Choose another port"},
			"fabric_peer.everywhere fabric_peer.somewhere":                                                      {"Host port wanted twice", "port =", ":16103"},
			"fabric_peer.beside_it fabric_orderer_cluster.beside":                                               {"Host port wanted twice", "127.0.0.1:16106", "peer beside-it of network offline"},
			"fabric_peer.twin fabric_orderer_cluster.twin":                                                      {"Name used twice", "o3"},
			"fabric_peer.half_known fabric_peer.elsewhere fabric_peer.at_home fabric_orderer_cluster.bft_later": nil,
		})
}

// TestAccPlanUnknown plans nodes of which nothing is known yet but that they will be there.
func TestAccPlanUnknown(t *testing.T) {
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps: []resource.TestStep{{
			PlanOnly: true, ExpectNonEmptyPlan: true,
			Config: `
resource "terraform_data" "later" {
  input = timestamp()
}

locals { later = terraform_data.later.id }

provider "fabric" {
  docker_host    = local.later
  fabric_version = local.later
}

resource "fabric_network" "this" {
  name   = local.later
  domain = local.later
}

resource "fabric_ca" "this" {
  network      = fabric_network.this.handle
  name         = local.later
  organization = local.later
}

resource "fabric_organization" "this" {
  msp_id = local.later
  ca     = fabric_ca.this.handle
}

resource "fabric_peer" "this" {
  organization        = fabric_organization.this.handle
  name                = local.later
  fabric_version      = local.later
  image               = local.later
  config              = { peer = { gossip = { maxBlockCountToStore = local.later } } }
  limits              = { memory_mib = length(local.later) }
  labels              = { a = local.later }
  log                 = { driver = local.later, options = { a = local.later } }
  sans                = [local.later]
  advertised_address  = local.later
  bind_address        = local.later
  port                = length(local.later)
  desired_state       = local.later
  on_destroy          = local.later
  deletion_protection = local.later == ""
  accept_data_loss    = local.later == ""
}

resource "fabric_peer" "whole" {
  organization = fabric_organization.this.handle
  name         = "peer1"
  config       = jsondecode(terraform_data.later.output)
  limits       = jsondecode(terraform_data.later.output)
  labels       = jsondecode(terraform_data.later.output)
  log          = jsondecode(terraform_data.later.output)
  sans         = jsondecode(terraform_data.later.output)
}

resource "fabric_orderer_cluster" "this" {
  organization   = fabric_organization.this.handle
  name           = local.later
  consensus      = local.later
  fabric_version = local.later
  bind_address   = local.later
  config         = { General = { MaxRecvMsgSize = length(local.later) } }
  nodes = {
    o0 = { port = length(local.later), sans = [local.later], advertised_address = local.later }
    o1 = jsondecode(terraform_data.later.output)
  }
}

resource "fabric_orderer_cluster" "whole" {
  organization = fabric_organization.this.handle
  name         = "whole"
  nodes        = jsondecode(terraform_data.later.output)
}
`,
		}},
	})
}

// TestAccPeerLife: what can go wrong with a peer, and how it leaves.
func TestAccPeerLife(t *testing.T) {
	name := networkName(t)
	container := name + "-peer0.org1"
	base := plainOrganizations(name, "3.1.1", "org1")
	peer := func(attributes string) string {
		return base + peerOf("this", "name = \"peer0.org1\"\n  "+attributes)
	}
	nothing := func(*terraform.State) error {
		if n, err := localEngine(t).Node(t.Context(), container); err == nil {
			return fmt.Errorf("container %s is left", n.Name)
		}
		if v, err := localEngine(t).Volume(t.Context(), container); err == nil {
			return fmt.Errorf("volume %s is left", v.Name)
		}
		return nil
	}
	unchanged := func(config, message string, attribute string) resource.TestStep {
		return resource.TestStep{Config: config, ExpectError: says(message, attribute)}
	}
	kept := &sightings{t: t, network: name}
	sweepNetwork(t, name)
	remember := func(state *terraform.State) error { kept.before, kept.last = kept.last, state.DeepCopy(); return nil } //nolint:staticcheck // the framework reuses the state, and offers no other copy of it
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			// Found before anything is made.
			{PreConfig: func() { occupy(t, "127.0.0.1:16111") }, Config: peer("port = 16111"), ExpectError: says("Unable to create peer peer0.org1", "port = 16111", "Host port 127.0.0.1:16111", "is held by another program", "Free the port")},
			{Config: base, Check: nothing},
			unchanged(peer("image = \"127.0.0.1:1/nowhere/fabric-peer:9.9\""), "image = ", "is not on the engine and could not be pulled from 127.0.0.1:1"),
			{Config: base, Check: nothing},
			{PreConfig: func() { foreignVolume(t, container) }, Config: peer(""), ExpectError: says("Unable to create peer peer0.org1", "name = ", "A volume named \""+container+"\" exists that this provider did not make")},
			{PreConfig: func() { removeVolume(t, container) }, Config: base, Check: nothing},
			// A node that ends while it starts fails at once, and says why.
			unchanged(peer("image = \"fabricops/kv-chaincode:1.0\""), "Unable to create peer peer0.org1", "unable to start peer peer0.org1"),
			{Config: base, Check: nothing},
			unchanged(peer("config = { peer = { handlers = { authFilters = [{ name = \"mine\", library = \"/nowhere/mine.so\" }] } } }"), "it exited with code", "last log lines"),
			{ // Time runs out: what was made can be taken away.
				Config:      peer("limits = { cpus = 0.01 }\n  timeouts = { create = \"5s\" }"),
				ExpectError: says("Unable to create peer peer0.org1", "deadline"),
			},
			// The same resource with what it should have been: what is left of it is replaced.
			{
				Config:           peer(""),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction("fabric_peer.this", plancheck.ResourceActionReplace)}},
				Check:            resource.ComposeTestCheckFunc(remember, hardened(t, container)),
			},
			// What the engine refuses is found while the old container still runs.
			unchanged(peer("log = { driver = \"json-file\", options = { nonsense = \"1\" } }"), "goes on as it is", "nonsense"),
			{
				PreConfig: func() {
					if runningOf(t, []string{container}) != 1 {
						t.Error("the peer does not run")
					}
				},
				Config: peer(""), PlanOnly: true,
			},
			{ // In place too; the next apply mends it.
				Config:      peer("config = { peer = { handlers = { authFilters = [{ name = \"mine\", library = \"/nowhere/mine.so\" }] } } }"),
				ExpectError: says("Unable to update peer peer0.org1", "it exited with code", "last log lines"),
			},
			{
				Config:           peer("on_destroy = \"keep\""),
				ConfigPlanChecks: onlyUpdated("fabric_peer.this"),
				Check:            resource.ComposeTestCheckFunc(remember, kept.same("fabric_peer.this", "tls_certificate", "port")),
			},
			// Protected, but without a channel there is nothing to lose. Its volume is kept.
			{Config: base, Check: func(*terraform.State) error {
				_, err := localEngine(t).Volume(t.Context(), container)
				return err
			}},
			{ // The volume is taken up again, keys and all.
				Config: peer("on_destroy = \"delete\""),
				Check:  resource.ComposeTestCheckFunc(remember, kept.same("fabric_peer.this", "tls_certificate", "enrollment_certificate")),
			},
			{ // Lost.
				PreConfig: func() {
					removeNodes(t, func(n engine.Node) bool { return n.Name == container })
					removeVolume(t, container)
				},
				Config: peer(""), ExpectError: says("The volume is gone", "accept_data_loss"),
			},
			{
				Config:           peer("accept_data_loss = true"),
				ConfigPlanChecks: onlyUpdated("fabric_peer.this"),
				Check:            resource.ComposeTestCheckFunc(remember, kept.changed("fabric_peer.this", "tls_certificate", "enrollment_certificate"), kept.same("fabric_peer.this", "port")),
			},
			{ // Another resource that is the same node.
				Config:      peer("accept_data_loss = true") + peerOf("twin", "name = \"peer0.org1\"\n  accept_data_loss = true"),
				ExpectError: says("Name used twice"),
			},
			{ // A port passes from one peer to another in one apply: who gives it up has its turn first.
				Config: peer("port = 16112") + peerOf("other", "name = \"peer1.org1\"\n port = 16113"),
			},
			{
				Config:           peer("port = 16114") + peerOf("other", "name = \"peer1.org1\"\n port = 16112"),
				ConfigPlanChecks: onlyUpdated("fabric_peer.this", "fabric_peer.other"),
				Check: resource.ComposeTestCheckFunc(
					resource.TestCheckResourceAttr("fabric_peer.this", "port", "16114"), resource.TestCheckResourceAttr("fabric_peer.other", "port", "16112")),
			},
			{ // To exchange theirs, both must be down.
				Config: peer("port = 16112\n  max_unavailable = 2") + peerOf("other", "name = \"peer1.org1\"\n port = 16114\n max_unavailable = 2"),
				Check: resource.ComposeTestCheckFunc(
					resource.TestCheckResourceAttr("fabric_peer.this", "port", "16112"), resource.TestCheckResourceAttr("fabric_peer.other", "port", "16114")),
			},
			{ // The resource gets another address: it is destroyed and made at once, on one port.
				Config: base + peerOf("moved", "name = \"peer2.org1\"\n port = 16112"),
				Check:  resource.TestCheckResourceAttr("fabric_peer.moved", "port", "16112"),
			},
			{ResourceName: "fabric_peer.moved", ImportState: true, ImportStateId: name + "/peer9.org1", ExpectError: says("no peer named peer9.org1 on network " + name)},
			{ResourceName: "fabric_peer.moved", ImportState: true, ImportStateId: name, ExpectError: says("must be NETWORK/NAME")},
		},
	})
}
