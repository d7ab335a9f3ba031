package provider

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// trading is a network with a channel that a test takes through its life: an ordering cluster, two
// peers of org1, one of org2, and a chaincode.
type trading struct {
	name, version string
	// nodes are those of the ordering cluster; cluster, late and channel further attributes of the
	// cluster, of the second peer of org1 and of the channel.
	nodes                string
	cluster, late, extra string
	// joined are the peers of org1 on the channel.
	joined []string
	// bare leaves channel and chaincode out, protected leaves deletion_protection at its default.
	bare, protected bool
}

func (c trading) String() string {
	config := plainOrganizations(c.name, c.version, "orderer", "org1", "org2") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { %s }
  deletion_protection = false
  %s
}
`, c.nodes, c.cluster)
	for _, p := range []struct{ name, org, more string }{{"peer0", "org1", ""}, {"peer1", "org1", c.late}, {"peer0", "org2", ""}} {
		config += fmt.Sprintf(`
resource "fabric_peer" "%[1]s_%[2]s" {
  organization        = fabric_organization.%[2]s.handle
  name                = "%[1]s.%[2]s"
  deletion_protection = false
  %[3]s
}
`, p.name, p.org, p.more)
	}
	if c.bare {
		return config
	}
	peers, protection := "", "deletion_protection = false"
	for _, p := range c.joined {
		peers += fmt.Sprintf("%[1]s = fabric_peer.%[1]s_org1.handle, ", p)
	}
	if c.protected {
		protection = ""
	}
	return config + fmt.Sprintf(`
resource "fabric_channel" "trade" {
  name              = "trade"
  orderers          = fabric_orderer_cluster.this.handle
  max_message_count = 1
  acls              = { "peer/Propose" = "/Channel/Application/Writers" }
  organizations = {
    org1 = {
      organization = fabric_organization.org1.handle
      definition   = fabric_organization.org1.definition
      peers        = { %[1]s }
    }
    org2 = {
      organization = fabric_organization.org2.handle
      definition   = fabric_organization.org2.definition
      peers        = { peer0 = fabric_peer.peer0_org2.handle }
    }
  }
  %[2]s
  %[3]s
}

resource "fabric_chaincode" "kv" {
  channel            = fabric_channel.trade.handle
  name               = "kv"
  version            = "1.0"
  server             = { image = "fabricops/kv-chaincode:1.0" }
  endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"
}
`, peers, protection, c.extra)
}

const (
	tradeAddress = "fabric_channel.trade"
	kvAddress    = "fabric_chaincode.kv"
)

// reads gives the use cases, to look at a network with.
func reads(t *testing.T) *network.Fabric {
	t.Helper()
	return network.New(localEngine(t))
}

// handleOfNode reads the handle of a thing on a network of which a node is known.
func handleOfNode(t *testing.T, node string) network.Handle {
	t.Helper()
	n, err := localEngine(t).Node(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	l := n.Labels
	return network.Handle{
		Kind: network.Kind(l[engine.LabelKind]), Network: l[engine.LabelNetwork], Domain: l[engine.LabelPrefix+"domain"],
		Owner: l[engine.LabelOwner], Name: l[engine.LabelName], MSPID: l[engine.LabelPrefix+"msp_id"],
	}
}

// facts reads what the nodes of channel trade say.
func (c trading) facts(t *testing.T) network.ChannelFacts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	facts, err := reads(t).InspectChannel(ctx, handleOfNode(t, c.name+"-peer0.org1").With(network.KindChannel, "trade", ""))
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// anchored checks that the first block already names the first peer of each organization.
func (c trading) anchored(t *testing.T, capability string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		s := c.facts(t).Summary
		if s.Block != 0 || s.Sequence != 0 || !slices.Equal(s.ChannelCapabilities, []string{capability}) {
			return fmt.Errorf("the configuration is that of block %d, sequence %d, capabilities %v", s.Block, s.Sequence, s.ChannelCapabilities)
		}
		for _, o := range s.ApplicationOrganizations {
			want := "peer0." + strings.ToLower(strings.TrimSuffix(o.Name, "MSP")) + ".example.com:7051"
			if len(o.AnchorPeers) != 1 || o.AnchorPeers[0].String() != want {
				return fmt.Errorf("the anchor peers of %s are %v, want %s", o.Name, o.AnchorPeers, want)
			}
		}
		return nil
	}
}

// heights checks that every node, and no other, has the channel, all with the same number of blocks.
func (c trading) heights(t *testing.T, nodes ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		f := c.facts(t)
		for name, height := range f.Heights {
			if !slices.Contains(nodes, name) || height != f.Height {
				return fmt.Errorf("%s has %d of %d blocks; the nodes should be %v", name, height, f.Height, nodes)
			}
		}
		if len(f.Heights) != len(nodes) {
			return fmt.Errorf("the heights are %v; the nodes should be %v", f.Heights, nodes)
		}
		return nil
	}
}

// servers checks beside which peers a chaincode's server runs.
func servers(t *testing.T, network, chaincode string, peers ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{
			engine.LabelNetwork: network, engine.LabelKind: "chaincode", engine.LabelPrefix + "chaincode": chaincode,
		})
		if err != nil {
			return err
		}
		var beside []string
		for _, n := range nodes {
			if n.Status != engine.Running {
				err = errors.Join(err, fmt.Errorf("server %s is %s", n.Name, n.Status))
			}
			beside = append(beside, n.Labels[engine.LabelPrefix+"peer"])
		}
		slices.Sort(beside)
		if !slices.Equal(beside, peers) {
			err = errors.Join(err, fmt.Errorf("servers run beside %v, want %v", beside, peers))
		}
		return err
	}
}

// eventually asks until there is no error, for a while.
func eventually(t *testing.T, ask func() error) error {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(200*time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}

// gone checks that no node of the network has a channel, and that no chaincode server is left.
func (c trading) gone(t *testing.T) resource.TestCheckFunc {
	return func(*terraform.State) error {
		e := localEngine(t)
		left := servers(t, c.name, "kv")(nil)
		for _, node := range []string{"peer0.org1", "peer1.org1", "peer0.org2"} {
			h := handleOfNode(t, c.name+"-"+node)
			left = errors.Join(left, eventually(t, func() error { // it is just being started again
				state, err := reads(t).ReadPeer(t.Context(), h)
				if err == nil && state.Ledger != network.LedgerNone {
					err = fmt.Errorf("%s: ledger %v", node, state.Ledger)
				}
				return err
			}))
		}
		if _, err := e.Volume(t.Context(), c.name+"-channel-trade"); !errors.Is(err, engine.ErrNotFound) {
			left = errors.Join(left, fmt.Errorf("the record of the channel is left: %w", err))
		}
		for _, folder := range []string{"wal", "snapshot"} {
			if _, err := e.GetFiles(t.Context(), c.name+"-orderer0", "/var/hyperledger/node/data/etcdraft/"+folder+"/trade"); !errors.Is(err, engine.ErrNotFound) {
				left = errors.Join(left, fmt.Errorf("the orderer's %s is left: %w", folder, err))
			}
		}
		return left
	}
}

func planned(action plancheck.ResourceActionType, addresses ...string) resource.ConfigPlanChecks {
	checks := resource.ConfigPlanChecks{}
	for _, a := range addresses {
		checks.PreApply = append(checks.PreApply, plancheck.ExpectResourceAction(a, action))
	}
	return checks
}

// TestAccChannel takes a channel through its life, on both releases.
func TestAccChannel(t *testing.T) {
	for _, v := range []struct{ version, nodes, capability string }{
		{"2.5.9", "orderer0 = {}", "V2_0"},
		{"3.1.1", "orderer0 = {}, orderer1 = {}, orderer2 = {}", "V3_0"},
	} {
		t.Run(v.version, func(t *testing.T) {
			c := trading{name: networkName(t), version: v.version, nodes: v.nodes, joined: []string{"peer0"}, extra: fmt.Sprintf("channel_capability = %q", v.capability)}
			all := []string{"orderer0", "peer0.org1", "peer0.org2"}
			if v.capability == "V3_0" {
				all = append(all, "orderer1", "orderer2")
			}
			config := func(change func(*trading)) string {
				changed := c
				change(&changed)
				return changed.String()
			}
			both := func(c *trading) { c.joined = []string{"peer0", "peer1"} }
			protected := func(c *trading) { both(c); c.protected = true }
			steps := []resource.TestStep{
				{ // A channel that cannot be made in time leaves nothing, neither on the nodes nor in the state.
					Config:      config(func(c *trading) { c.extra += "\n  timeouts = { create = \"600ms\" }" }),
					ExpectError: regexp.MustCompile(`(?s)Unable to create channel trade.*taken back: it\s+can\s+be\s+created\s+again\s+at\s+once`),
				},
				{
					Config: c.String(), ConfigPlanChecks: planned(plancheck.ResourceActionCreate, tradeAddress),
					Check: resource.ComposeTestCheckFunc(
						c.anchored(t, v.capability), c.heights(t, all...), servers(t, c.name, "kv", "peer0.org1", "peer0.org2"),
						resource.TestCheckResourceAttr(tradeAddress, "status", "active"),
					),
				},
				{ // A peer is added, with the chaincode that runs there.
					Config: config(both), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
					Check: resource.ComposeTestCheckFunc(c.heights(t, append(all, "peer1.org1")...), servers(t, c.name, "kv", "peer0.org1", "peer0.org2", "peer1.org1")),
				},
				{Config: config(protected), ResourceName: tradeAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: c.name + "/trade"},
				{Config: config(protected), ResourceName: kvAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: c.name + "/trade/kv"},
				{ // A peer that lost its volume joins again, and serves the chaincode, with the apply that accepts the loss.
					PreConfig: func() {
						removeNodes(t, func(n engine.Node) bool { return n.Name == c.name+"-peer1.org1" })
						removeVolume(t, c.name+"-peer1.org1")
					},
					Config:           config(func(c *trading) { both(c); c.late = "accept_data_loss = true" }),
					ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, "fabric_peer.peer1_org1", tradeAddress),
					Check: resource.ComposeTestCheckFunc(
						c.heights(t, append(all, "peer1.org1")...),
						servers(t, c.name, "kv", "peer0.org1", "peer0.org2", "peer1.org1"),
					),
				},
				{ // And is taken out.
					Config: c.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
					Check: resource.ComposeTestCheckFunc(c.heights(t, all...), servers(t, c.name, "kv", "peer0.org1", "peer0.org2")),
				},
				{Config: config(func(c *trading) { c.extra += "\n  batch_timeout = \"2000ms\"" }), PlanOnly: true}, // the same in other words
				{Config: config(func(c *trading) { c.bare = true }), Check: c.gone(t)},
				{Config: c.String(), Check: resource.ComposeTestCheckFunc(c.anchored(t, v.capability), c.heights(t, all...), servers(t, c.name, "kv", "peer0.org1", "peer0.org2"))},
			}
			if v.version == "2.5.9" {
				steps = append(steps, c.loss(t)...)
			}
			resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, c.name), Steps: steps})
		})
	}
}

// loss are steps in which the only ordering node loses its volume, and the channel with it.
func (c trading) loss(t *testing.T) []resource.TestStep {
	accepted := c
	accepted.cluster = "accept_data_loss = true"
	anew := accepted
	anew.extra += "\n  accept_data_loss = true"
	return []resource.TestStep{
		{
			PreConfig: func() {
				removeNodes(t, func(n engine.Node) bool { return n.Name == c.name+"-orderer0" })
				removeVolume(t, c.name+"-orderer0")
			},
			Config:      accepted.String(),
			ExpectError: regexp.MustCompile(`(?s)The ordering nodes have lost the channel.*accept_data_loss`),
		},
		{
			Config: anew.String(), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, tradeAddress),
			Check:              c.heights(t, "orderer0", "peer0.org1", "peer0.org2"),
			ExpectNonEmptyPlan: true, // the chaincode is not on the new channel
		},
		{
			Config: anew.String(), Check: c.heights(t, "orderer0", "peer0.org1", "peer0.org2"),
			ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("sequence"), knownvalue.Int64Exact(1))},
		},
	}
}

// TestChannelRefusals plans channels that Fabric would refuse, or that could never work, without an engine.
func TestChannelRefusals(t *testing.T) {
	t.Run("of single values and of handles", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+`
resource "fabric_channel" "names" {
  name                 = "Trade"
  orderers             = local.peer1
  organizations        = {}
  batch_timeout        = "2 seconds"
  max_message_count    = 0
  channel_capability   = "V4_0"
  application_policies = { Endorsement = "MOST Endorsement" }
}

resource "fabric_channel" "members" {
  name         = "trade"
  orderers     = local.cluster
  anchor_peers = { org1 = ["peer9"], org9 = ["peer0"] }
  organizations = {
    org1 = { organization = local.org1, definition = local.defined2, peers = { peer0 = local.peer2, peer1 = local.channel } }
    org2 = { organization = local.peer1, definition = local.defined2, peers = {} }
    org3 = { organization = local.org1, definition = local.defined1, peers = { peer0 = local.peer2 } }
  }
}
`,
			`Not a channel name with fabric_channel.names`, `name = "Trade"`,
			`Wrong kind of handle with fabric_channel.names`, `orderers = local.peer1`, `got the handle of fabric_peer peer0.org1`,
			`Attribute organizations map must contain at least 1 elements`,
			`Not a duration with fabric_channel.names`, `batch_timeout = "2 seconds"`,
			`Attribute max_message_count value must be between 1`,
			`Attribute channel_capability value must be one of`,
			`Policy that does not parse with fabric_channel.names`,
			`Unknown anchor peer with fabric_channel.members`, `At anchor_peers["org1"][0]: There is no peer "peer9" among the peers of org1, which are: peer0, peer1.`,
			`Unknown organization with fabric_channel.members`, `At anchor_peers["org9"]: There is no organization "org9" in organizations`,
			`At organizations["org1"].definition: The definition belongs to Org2MSP, and the organization is Org1MSP.`,
			`At organizations["org1"].peers["peer0"]: The peer belongs to Org2MSP, and the organization is Org1MSP.`,
			`At organizations["org1"].peers["peer1"]: This wants the handle of fabric_peer, and got the handle of fabric_channel trade`,
			`At organizations["org2"].organization: This wants the handle of fabric_organization, and got the handle of fabric_peer peer0.org1`,
			`At organizations["org3"].organization: The organization Org1MSP is in the channel as org1 already.`,
			`At organizations["org3"].peers["peer0"]: The peer peer0.org2 is in the channel as org1.peer0 already.`,
		)
	})
	t.Run("of values together", func(t *testing.T) {
		expectRefusals(t, nowhere+handles+`
resource "fabric_orderer_cluster" "old" {
  organization   = local.org1
  nodes          = { orderer0 = {} }
  fabric_version = "2.5.9"
}

resource "fabric_channel" "together" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.old.handle
  organizations       = local.both
  channel_capability  = "V3_0"
  absolute_max_bytes  = 1000
  preferred_max_bytes = 2000
  acls                = { "peer/Guess" = "/Channel/Application/Writers", "peer/Propose" = "/Channel/Application/Writer" }
  application_policies = {
    Endorsement          = "OR('Org9MSP.peer')"
    LifecycleEndorsement = "MAJORITY Endorse"
  }
}
`,
			`V3_0 needs nodes of Fabric 3.0 or later with fabric_channel.together`, `channel_capability = "V3_0"`, `ordering cluster orderers of network dev (Fabric 2.5.9)`,
			`preferred_max_bytes = 2000`, `2000 is more than absolute_max_bytes, which is 1000`,
			`Peers know no such resource of a channel`, `The channel has no policy "/Channel/Application/Writer"`,
			`names the MSP Org9MSP, which is not in the channel`, `can never be met: it wants the policy Endorse`,
		)
	})
}
