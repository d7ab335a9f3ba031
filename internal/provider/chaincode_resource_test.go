package provider

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
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
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// contracts is a network with a channel "trade" whose blocks are cut at once, on which a test takes
// chaincodes through their life. Its peers have no metrics, which nothing may depend on.
type contracts struct {
	name, version string
	// kv are the attributes of chaincode kv; without them there is none. more is further configuration.
	kv, more string
}

func (c contracts) String() string {
	config := plainOrganizations(c.name, c.version, "orderer", "org1", "org2") + `
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}
`
	for _, org := range []string{"org1", "org2"} {
		config += strings.ReplaceAll(`
resource "fabric_peer" "ORG" {
  organization        = fabric_organization.ORG.handle
  name                = "peer0.ORG"
  config              = { metrics = { provider = "disabled" } }
  deletion_protection = false
}
`, "ORG", org)
	}
	members := ""
	for _, org := range []string{"org1", "org2"} {
		members += strings.ReplaceAll(`
    ORG = {
      organization = fabric_organization.ORG.handle
      definition   = fabric_organization.ORG.definition
      peers        = { peer0 = fabric_peer.ORG.handle }
    }
`, "ORG", org)
	}
	for _, channel := range []string{"trade", "slow"} {
		batch := ""
		if channel == "trade" {
			batch = "max_message_count = 1"
		}
		config += fmt.Sprintf(`
resource "fabric_channel" %[1]q {
  name                = %[1]q
  orderers            = fabric_orderer_cluster.this.handle
  deletion_protection = false
  %[2]s
  organizations = {%[3]s  }
}
`, channel, batch, members)
	}
	if c.kv != "" {
		config += fmt.Sprintf(`
resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  %s
}
`, c.kv)
	}
	return config + c.more
}

// Policies of kv, the first two of them in two spellings.
const (
	bothSign     = `endorsement_policy = "AND('Org1MSP.peer', 'Org2MSP.peer')"`
	bothSignElse = `endorsement_policy = "OutOf(2, 'Org2MSP.peer', 'Org1MSP.peer')"`
	oneSigns     = `endorsement_policy = "OR('Org1MSP.peer', 'Org2MSP.peer')"`
)

func release(version, image string, more ...string) string {
	return fmt.Sprintf("version = %q\n  server  = { image = \"fabricops/kv-chaincode:%s\" }\n  %s\n", version, image, strings.Join(more, "\n  "))
}

// sequence expects the sequence and the package label of kv.
func sequence(number int64, label string) []statecheck.StateCheck {
	return []statecheck.StateCheck{
		statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("sequence"), knownvalue.Int64Exact(number)),
		statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("package_id"), knownvalue.StringRegexp(regexp.MustCompile("^"+regexp.QuoteMeta(label)+":[0-9a-f]{64}$"))),
		statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("status"), knownvalue.StringExact("running")),
	}
}

// serverIDs gives the container IDs of a chaincode's servers by peer.
func serverIDs(t *testing.T, network, chaincode string) map[string]string {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{
		engine.LabelNetwork: network, engine.LabelKind: "chaincode", engine.LabelPrefix + "chaincode": chaincode, engine.LabelPrefix + "channel": "trade",
	})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range nodes {
		if other, ok := out[n.Labels[engine.LabelPrefix+"peer"]]; ok {
			t.Errorf("beside %s run two servers, %s and %s", n.Labels[engine.LabelPrefix+"peer"], other, n.Name)
		}
		out[n.Labels[engine.LabelPrefix+"peer"]] = n.ID
	}
	return out
}

// answers expects the answer of a query of chaincode kv on a peer of org1.
func (c contracts) answers(t *testing.T, want, function string, arguments ...string) resource.TestCheckFunc {
	return c.answersAt(t, "peer0.org1", want, function, arguments...)
}

// answersAt expects it of a peer of org1 by its name.
func (c contracts) answersAt(t *testing.T, name, want, function string, arguments ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		peer := handleOfNode(t, c.name+"-"+name)
		got, err := reads(t).Query(ctx, network.Call{
			Chaincode: network.ChaincodeHandle(peer.With(network.KindChannel, "trade", ""), "kv"), Identity: peer.Organization(),
			Function: function, Arguments: arguments,
		})
		if err != nil || string(got) != want {
			return errors.Join(err, fmt.Errorf("%s answers %q, want %q", function, got, want))
		}
		return nil
	}
}

// watcher remembers the servers of kv from step to step.
type watcher struct {
	t      *testing.T
	name   string
	before map[string]string
}

func (w *watcher) look(*terraform.State) error {
	w.before = serverIDs(w.t, w.name, "kv")
	return nil
}

// kept expects that all servers, or none, are those of the last look.
func (w *watcher) kept(all bool) resource.TestCheckFunc {
	return func(*terraform.State) error {
		now := serverIDs(w.t, w.name, "kv")
		for peer, id := range now {
			if (w.before[peer] == id) != all {
				return fmt.Errorf("the server beside %s was %s and is %s", peer, w.before[peer], id)
			}
		}
		if len(now) != 2 {
			return fmt.Errorf("the servers are %v", now)
		}
		w.before = now
		return nil
	}
}

// TestAccChaincode takes a chaincode through its life.
func TestAccChaincode(t *testing.T) {
	c := contracts{name: networkName(t), version: "2.5.9"}
	w := &watcher{t: t, name: c.name}
	with := func(kv, more string) string {
		changed := c
		changed.kv, changed.more = kv, more
		return changed.String()
	}
	output := `
output "package" { value = provider::fabric::package_id({ channel = "trade", label = "kv_1.0" }) }
`
	collections := `collections = {
    secrets = { member_policy = "OR('Org1MSP.member', 'Org2MSP.member')", max_peer_count = 1 }
    own     = { member_policy = "OR('Org1MSP.member')", endorsement_policy = "OR('Org1MSP.peer')", member_only_read = true, block_to_live = 100 }
  }`
	collectionsElse := `collections = {
    own     = { member_policy = "OR('Org1MSP.member', 'Org1MSP.member')", endorsement_policy = "OutOf(1, 'Org1MSP.peer')", member_only_read = true, block_to_live = 100, required_peer_count = 0 }
    secrets = { member_policy = "OutOf(1, 'Org2MSP.member', 'Org1MSP.member')", max_peer_count = 1, member_only_write = false }
  }`
	const (
		indexes     = `indexes = { "owner.json" = jsonencode({ index = { fields = ["owner", { size = "desc" }] }, ddoc = "owner", name = "owner", type = "json" }) }`
		indexesElse = `indexes = { "owner.json" = "{ \"index\": { \"fields\": [ \"owner\", { \"size\": \"desc\" } ] }, \"name\": \"owner\", \"ddoc\": \"owner\", \"type\": \"json\" }" }`
	)
	private := release("2.0", "2.0", `label = "kv-v2"`, oneSigns, collections, indexes)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{ // The package ID is known although nothing is there yet; two channels hold a chaincode of one name.
				Config: with(release("1.0", "1.0", bothSign), output+`
resource "fabric_chaincode" "slow" {
  channel = fabric_channel.slow.handle
  name    = "kv"
  version = "1.0"
  server  = { image = "fabricops/kv-chaincode:1.0" }
}
`),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue(kvAddress, tfjsonpath.New("package_id"), knownvalue.StringRegexp(regexp.MustCompile("^kv_1.0:[0-9a-f]{64}$"))),
					plancheck.ExpectUnknownValue(kvAddress, tfjsonpath.New("sequence")),
				}},
				ConfigStateChecks: sequence(1, "kv_1.0"),
				Check: resource.ComposeTestCheckFunc(
					w.look, c.answers(t, "1.0", "version"), c.samePackage, oneApprovalBlock(t, c.name),
					func(state *terraform.State) error { return hardened(t, serverNames(t, c.name)...)(state) },
				),
			},
			{ // Another image: other servers, no other definition.
				Config: with(release("1.0", "2.0", bothSign), output), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, kvAddress),
				ConfigStateChecks: sequence(1, "kv_1.0"), Check: resource.ComposeTestCheckFunc(w.kept(false), c.answers(t, "2.0", "version")),
			},
			{ // The policy in other words changes nothing.
				Config: with(release("1.0", "2.0", bothSignElse), output), PlanOnly: true,
			},
			{ // Another version: the next sequence, and another package.
				Config: with(release("2.0", "2.0", bothSign), output), ConfigStateChecks: sequence(2, "kv_2.0"), Check: w.kept(false),
			},
			{ // Another label, and an index in the package.
				Config: with(release("2.0", "2.0", `label = "kv-v2"`, bothSign, indexes), `
output "package" { value = provider::fabric::package_id({ channel = "trade", label = "kv-v2", indexes = fabric_chaincode.kv.indexes }) }
`),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue(kvAddress, tfjsonpath.New("package_id"), knownvalue.StringRegexp(regexp.MustCompile("^kv-v2:[0-9a-f]{64}$"))),
				}},
				ConfigStateChecks: sequence(3, "kv-v2"), Check: resource.ComposeTestCheckFunc(w.kept(false), c.samePackage),
			},
			{ // Another policy alone leaves the servers as they are.
				Config: with(release("2.0", "2.0", `label = "kv-v2"`, oneSigns, indexes), output), ConfigStateChecks: sequence(4, "kv-v2"), Check: w.kept(true),
			},
			{ // Private data collections.
				Config: with(private, secretTransaction), ConfigStateChecks: sequence(5, "kv-v2"),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{noSecret("top secret")}},
				Check: resource.ComposeTestCheckFunc(
					w.kept(true), c.answers(t, "top secret", "getPrivate", "secrets", "plan"),
					noSecretIn("top secret"), c.noSecretOnLedger(t, "top secret"),
				),
			},
			{Config: with(release("2.0", "2.0", `label = "kv-v2"`, oneSigns, collectionsElse, indexesElse), secretTransaction), PlanOnly: true},
			{Config: with(private, secretTransaction), ResourceName: kvAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: c.name + "/trade/kv"},
			{ // Servers that stopped or are gone come back.
				PreConfig: func() {
					ids := serverIDs(t, c.name, "kv")
					removeNodes(t, func(n engine.Node) bool { return n.ID == ids["peer0.org1"] })
					stopNode(t, ids["peer0.org2"])
				},
				Config: with(private, secretTransaction), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, kvAddress),
				ConfigStateChecks: sequence(5, "kv-v2"), Check: c.answers(t, "2.0", "version"),
			},
			{ // Somebody else released another definition.
				PreConfig: func() { c.upgradeBehindOurBack(t) },
				Config:    with(private, secretTransaction), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, kvAddress),
				ConfigStateChecks: sequence(7, "kv-v2"), Check: resource.ComposeTestCheckFunc(w.look, w.kept(true)),
			},
			{ // Without servers the definition stays, and is found again.
				Config: with("", ""), Check: func(*terraform.State) error {
					if left := serverIDs(t, c.name, "kv"); len(left) > 0 {
						return fmt.Errorf("servers are left: %v", left)
					}
					return nil
				},
			},
			{Config: with(private, ""), ConfigStateChecks: sequence(7, "kv-v2"), Check: c.answers(t, "top secret", "getPrivate", "secrets", "plan")},
			{ // What the channel's members cannot meet is refused during plan, now that there is a channel.
				Config:      with(release("3.0", "2.0", collections, `endorsement_policy = "AND('Org1MSP.peer', 'Org9MSP.peer')"`), ""),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`(?s)Policy that names an unknown MSP.*endorsement_policy`),
			},
			{
				Config:      with(release("3.0", "2.0", collections, `endorsement_policy = "AND('Org1MSP.peer', 'Org1MSP.peer')"`), ""),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`(?s)Policy that the peers cannot meet.*endorsement_policy`),
			},
			{
				Config:      with(release("3.0", "2.0", `collections = { own = { member_policy = "OR('Org9MSP.member')", block_to_live = 7 } }`), ""),
				PlanOnly:    true,
				ExpectError: regexp.MustCompile(`(?s)block_to_live of\s+collection own is 100.*member_policy of\s+collection own names\s+Org9MSP.*secrets is on the ledger`),
			},
			{ // A server that exits at once fails the release at once.
				Config:      with(strings.Replace(release("3.0", "2.0", collections), " }", `, env = { CHAINCODE_SERVER_ADDRESS = "nowhere" } }`, 1), ""),
				ExpectError: regexp.MustCompile(`(?s)Unable to update chaincode kv.*exited with code.*last log lines`),
			},
			{ // Unless the machine was too busy to end it in time, nothing was committed meanwhile.
				Config: with(private, ""), Check: c.answers(t, "2.0", "version"),
				ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(kvAddress, tfjsonpath.New("sequence"), knownvalue.Int64Func(func(v int64) error {
					if v != 7 && v != 9 {
						return fmt.Errorf("the sequence is %d", v)
					}
					return nil
				}))},
			},
		},
	})
}

// restingConfig is an organization with two peers, one of which may rest, and a chaincode.
func restingConfig(name, peer0, peer1, kv string) string {
	return plainOrganizations(name, "3.1.1", "orderer", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { orderer0 = {} }
  deletion_protection = false
}

resource "fabric_peer" "peer0" {
  organization        = fabric_organization.org1.handle
  name                = "peer0.org1"
  desired_state       = %q
  deletion_protection = false
}

resource "fabric_peer" "peer1" {
  organization        = fabric_organization.org1.handle
  name                = "peer1.org1"
  desired_state       = %q
  deletion_protection = false
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
      peers        = { peer0 = fabric_peer.peer0.handle, peer1 = fabric_peer.peer1.handle }
    }
  }
}

resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  %s
}
`, peer0, peer1, kv)
}

// TestAccChaincodeAndPeersAtRest: a peer that rests holds up no release, and has it when it starts.
func TestAccChaincodeAndPeersAtRest(t *testing.T) {
	c := contracts{name: networkName(t)}
	beside := func(want ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			servers, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: c.name, engine.LabelKind: "chaincode"})
			if err != nil {
				return err
			}
			var have []string
			for _, s := range servers {
				label, _, _ := strings.Cut(s.Labels[engine.LabelPrefix+"package_id"], ":")
				have = append(have, fmt.Sprintf("%s beside %s is %s", label, s.Labels[engine.LabelPrefix+"peer"], s.Status))
			}
			if slices.Sort(have); !slices.Equal(have, want) {
				return fmt.Errorf("the servers are %q, want %q", have, want)
			}
			return nil
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{Config: restingConfig(c.name, "running", "running", release("1.0", "1.0")), ConfigStateChecks: sequence(1, "kv_1.0")},
			{ // One rests from now on, and the chaincode goes on without it; the plan after that is empty.
				Config:            restingConfig(c.name, "running", "stopped", release("2.0", "2.0")),
				ConfigStateChecks: sequence(2, "kv_2.0"),
				Check: resource.ComposeTestCheckFunc(c.answers(t, "2.0", "version"),
					beside("kv_2.0 beside peer0.org1 is running", "kv_2.0 beside peer1.org1 is running")),
			},
			{ // It starts again: it alone changes, and it serves what was released meanwhile.
				Config:           restingConfig(c.name, "running", "running", release("2.0", "2.0")),
				ConfigPlanChecks: onlyUpdated("fabric_peer.peer1"),
				Check: func(state *terraform.State) error {
					stopNode(t, c.name+"-peer0.org1")
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
					defer cancel()
					err := soon(ctx, func() error { return c.answers(t, "2.0", "version")(state) }) // it has blocks to catch up with
					return errors.Join(err, localEngine(t).StartNode(t.Context(), c.name+"-peer0.org1"))
				},
			},
			{ // With nobody to approve there is no release.
				Config:      restingConfig(c.name, "stopped", "stopped", release("3.0", "2.0")),
				ExpectError: tells("Unable to update chaincode kv", "no peer of organization Org1MSP on channel trade is running; it has peer0.org1, peer1.org1 there", "start one"),
			},
			{Config: restingConfig(c.name, "stopped", "running", release("3.0", "2.0")), ConfigStateChecks: sequence(3, "kv_3.0")},
		},
	})
}

// soon asks until there is no error, or the context ends.
func soon(ctx context.Context, ask func() error) error {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// secretTransaction puts a value that neither state nor ledger may hold.
const secretTransaction = `
resource "fabric_transaction" "secret" {
  chaincode               = fabric_chaincode.kv.handle
  identity                = fabric_organization.org1.handle
  function                = "putPrivate"
  arguments               = ["secrets", "plan"]
  endorsing_organizations = ["Org1MSP"]
  transient_wo            = { value = "top secret" }
  transient_wo_version    = "1"
}
`

// noSecretIn looks through the whole state.
func noSecretIn(secret string) resource.TestCheckFunc {
	return func(state *terraform.State) error {
		if strings.Contains(state.String(), secret) {
			return errors.New("the state holds the transient value")
		}
		return nil
	}
}

// noSecret looks through the whole plan, as show -json gives it, but for the configuration itself, in
// which the test writes the value down.
type noSecret string

func (n noSecret) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	plan := *req.Plan
	plan.Config = nil
	raw, err := json.Marshal(plan)
	if err == nil && strings.Contains(string(raw), string(n)) {
		err = errors.New("the plan holds the transient value")
	}
	resp.Error = err
}

// noSecretOnLedger looks through every block.
func (c contracts) noSecretOnLedger(t *testing.T, secret string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, block := range blocksOf(t, handleOfNode(t, c.name+"-peer0.org1"), "trade") {
			for _, envelope := range block.GetData().GetData() {
				if strings.Contains(string(envelope), secret) {
					return fmt.Errorf("block %d holds the transient value", block.GetHeader().GetNumber())
				}
			}
		}
		return nil
	}
}

// samePackage compares the package ID with what the function computes.
func (c contracts) samePackage(state *terraform.State) error {
	if got, want := attribute(state, kvAddress, "package_id"), state.RootModule().Outputs["package"].Value; got != want {
		return fmt.Errorf("the package ID is %s, and the function gives %v", got, want)
	}
	return nil
}

func serverNames(t *testing.T, network string) []string {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: network, engine.LabelKind: "chaincode"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

func stopNode(t *testing.T, name string) {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(nodes, func(n engine.Node) bool { return n.ID == name || n.Name == name })
	if i < 0 {
		t.Fatalf("there is no container %s", name)
	}
	if err := localEngine(t).StopNode(t.Context(), nodes[i].Name, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}

// upgradeBehindOurBack commits a definition of another version, on the package that is there.
func (c contracts) upgradeBehindOurBack(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := reads(t)
	spec, err := f.FindChaincode(ctx, c.name, "trade", "kv")
	if err != nil {
		t.Fatal(err)
	}
	state, err := f.ReadChaincode(ctx, network.ChaincodeHandle(spec.Channel, "kv"))
	if err != nil {
		t.Fatal(err)
	}
	spec.Version, spec.ValidationParameter, spec.Collections = "9.9", state.Committed.ValidationParameter, state.Committed.Collections
	if _, err := f.ReleaseChaincode(ctx, spec); err != nil {
		t.Fatal(err)
	}
}

// oneApprovalBlock looks into the ledger of channel "slow", whose blocks are cut after two seconds:
// the approvals of both organizations are in one block.
func oneApprovalBlock(t *testing.T, name string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		var approvals []int
		for _, block := range blocksOf(t, handleOfNode(t, name+"-peer0.org1"), "slow") {
			count := 0
			for _, envelope := range block.GetData().GetData() {
				if functionOf(envelope) == "ApproveChaincodeDefinitionForMyOrg" {
					count++
				}
			}
			if count > 0 {
				approvals = append(approvals, count)
			}
		}
		if !slices.Equal(approvals, []int{2}) {
			return fmt.Errorf("blocks with approvals hold %v of them, want one block with two", approvals)
		}
		return nil
	}
}

// blocksOf reads the whole chain of a channel from a peer, as its organization's admin.
func blocksOf(t *testing.T, peer network.Handle, channel string) []*common.Block {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin, conn := connectAsAdmin(t, peer, 7051)
	target := endorser.Peer{Name: peer.Name, Conn: conn}
	info, err := endorser.ChainInfo(ctx, target, admin, channel)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []*common.Block
	for number := range info.GetHeight() {
		block, err := endorser.BlockByNumber(ctx, target, admin, channel, number)
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, block)
	}
	return blocks
}

// connectAsAdmin opens a connection to a node past the provider, and gives the admin of its organization.
func connectAsAdmin(t *testing.T, node network.Handle, port int) (*msp.Identity, *grpc.ClientConn) {
	t.Helper()
	credentials, err := reads(t).Credentials(t.Context(), node.Organization())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := certificate.ParseKeyPair([]byte(credentials.Certificate), []byte(credentials.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(credentials.Definition.TLSRootCertificates[0]))
	e := localEngine(t)
	conn, err := grpcconn.Dial(fmt.Sprintf("%s:%d", node.Host(), port), node.Host(), roots, func(ctx context.Context) (net.Conn, error) {
		return e.Dial(ctx, node.Object(), port)
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &msp.Identity{ID: credentials.MSPID, CertificatePEM: []byte(credentials.Certificate), Key: pair.Key}, conn
}

// functionOf gives the chaincode function that a transaction calls; empty for a configuration.
func functionOf(raw []byte) string {
	envelope, payload, header, transaction := &common.Envelope{}, &common.Payload{}, &common.ChannelHeader{}, &peer.Transaction{}
	action, proposal, call := &peer.ChaincodeActionPayload{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if proto.Unmarshal(raw, envelope) != nil || proto.Unmarshal(envelope.GetPayload(), payload) != nil ||
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header) != nil || header.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION) ||
		proto.Unmarshal(payload.GetData(), transaction) != nil || len(transaction.GetActions()) != 1 ||
		proto.Unmarshal(transaction.GetActions()[0].GetPayload(), action) != nil ||
		proto.Unmarshal(action.GetChaincodeProposalPayload(), proposal) != nil || proto.Unmarshal(proposal.GetInput(), call) != nil {
		return ""
	}
	return string(call.GetChaincodeSpec().GetInput().GetArgs()[0])
}

// TestChaincodeRefusals plans chaincodes that Fabric would refuse, without an engine.
func TestChaincodeRefusals(t *testing.T) {
	expectRefusals(t, nowhere+handles+`
resource "fabric_chaincode" "values" {
  channel            = local.org1
  name               = "k v"
  version            = "1 0"
  label              = "_kv"
  server             = { image = "" }
  endorsement_policy = "AND('Org1MSP.peer'"
}

resource "fabric_chaincode" "policies" {
  channel            = local.channel
  name               = "kv"
  version            = "1.0"
  server             = { image = "kv:1" }
  endorsement_policy = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer')"
  collections = {
    "_a" = { member_policy = "OR('Org1MSP.member')" }
    b    = {}
    c    = { member_policy = "OR('Org1MSP')", required_peer_count = 2, max_peer_count = 1 }
    d    = { member_policy = "OR('Org1MSP.member')", endorsement_policy = "OutOf(2, 'Org1MSP.peer')" }
    e    = { member_policy = "AND('Org1MSP.member', 'Org2MSP.member')" }
  }
}

resource "fabric_chaincode_approval" "values" {
  channel     = local.channel
  name        = "k v"
  version     = "1.0"
  server      = { image = "kv:1" }
  collections = { b = {} }
}

data "fabric_commit_readiness" "values" {
  channel            = local.org1
  name               = "kv"
  version            = "1.0"
  sequence           = 0
  endorsement_policy = "MAJORITY Endorsement"
}

data "fabric_block" "values" {
  channel = local.peer1
  number  = -1
}

resource "fabric_chaincode" "indexes" {
  channel     = local.channel
  name        = "kv"
  version     = "2.0"
  server      = { image = "kv:1" }
  collections = { b = { member_policy = "OR('Org1MSP.member')" } }
  indexes = {
    "owner"        = jsonencode({ index = { fields = ["owner"] } })
    "c/owner.json" = jsonencode({ index = { fields = ["owner"] } })
    "b/owner.json" = jsonencode({ index = { fields = [{ owner = "up" }] } })
    "text.json"    = "owner"
  }
}

resource "fabric_transaction" "values" {
  chaincode = local.channel
  identity  = local.peer1
  function  = ""

  expected_status = "FAILURE"
}
`,
		`Wrong kind of handle with fabric_chaincode.values`, `channel = local.org1`,
		`Not a chaincode name with fabric_chaincode.values`, `Not a chaincode version with fabric_chaincode.values`,
		`Not a package label with fabric_chaincode.values`, `Attribute server.image string length must be at least 1`,
		`Policy that does not parse with fabric_chaincode.values`, `endorsement_policy = "AND('Org1MSP.peer'"`,
		`Policy that nobody can meet with fabric_chaincode.policies`, `endorsement_policy = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer')"`,
		`Not a collection name with fabric_chaincode.policies`, `A collection needs a member_policy`,
		`The data is sent to 1 other peers at most, and 2 must have it.`,
		`OutOf(2, 'Org1MSP.peer') asks for more signatures than it names principals`,
		`AND('Org1MSP.member', 'Org2MSP.member') asks for several signatures at once`,
		`Wrong kind of handle with fabric_chaincode_approval.values`, `This wants the handle of fabric_channel_membership, and got the handle of fabric_channel trade`,
		`Not a chaincode name with fabric_chaincode_approval.values`, `At collections["b"].member_policy: A collection needs a member_policy`,
		`Wrong kind of handle with data.fabric_commit_readiness.values`, `Attribute sequence value must be at least 1`, `Policy that does not parse with data.fabric_commit_readiness.values`,
		`Wrong kind of handle with data.fabric_block.values`, `Attribute number value must be at least 0`, `Attribute expected_status value must be one of`,
		`Not the name of an index with fabric_chaincode.indexes`, `"owner" is no name of an index: it must be FILE.json, or COLLECTION/FILE.json`,
		`There is no c in collections`, `The order of field owner must be "asc" or "desc"`, `It is no JSON object`,
		`Wrong kind of handle with fabric_transaction.values`, `chaincode = local.channel`, `identity = local.peer1`,
		`Attribute function string length must be at least 1`,
	)
}
