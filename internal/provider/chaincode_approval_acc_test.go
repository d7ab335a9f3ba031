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
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

const approvalAddress = "fabric_chaincode_approval.org2"

// released is chaincode kv on the consortium's channel as the owner's side releases it: it knows no peer of
// org2.
func released(version, more string, server ...string) string {
	image := "2.0"
	if version == "1.0" {
		image = version
	}
	return fmt.Sprintf(`
resource "fabric_chaincode" "kv" {
  channel = fabric_channel.trade.handle
  name    = "kv"
  version = %q
  server = {
    image = "fabricops/kv-chaincode:%s"
    %s
  }
  %s
}
`, version, image, strings.Join(server, "\n"), more)
}

// approves is the approval of kv by org2.
func approves(version string, more ...string) string {
	return fmt.Sprintf(`
resource "fabric_chaincode_approval" "org2" {
  channel = fabric_channel_membership.org2.handle
  name    = "kv"
  %s
}
`, release(version, version, more...))
}

// readiness reads who approved kv, by the peers of org1, after what it depends on.
func readiness(version, after string) string {
	return fmt.Sprintf(`
data "fabric_commit_readiness" "kv" {
  channel    = fabric_channel.trade.handle
  name       = "kv"
  version    = %q
  depends_on = [%s]
}
`, version, after)
}

// packagesBeside gives the labels of the packages whose servers run beside the peer of org2.
func (c consortium) packagesBeside(t *testing.T) []string {
	t.Helper()
	nodes, err := localEngine(t).Nodes(t.Context(), map[string]string{engine.LabelNetwork: c.name, engine.LabelKind: "chaincode_approval"})
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, n := range nodes {
		label, _, _ := strings.Cut(n.Labels[engine.LabelPrefix+"package_id"], ":")
		labels = append(labels, label)
	}
	slices.Sort(labels)
	return labels
}

func (c consortium) served(t *testing.T, want ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		if got := c.packagesBeside(t); !slices.Equal(got, want) {
			return fmt.Errorf("servers of %v run beside the peer of org2, want %v", got, want)
		}
		return nil
	}
}

// answers expects the answer of kv on the peer of an organization.
func (c consortium) answers(t *testing.T, peer, want, function string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		p := handleOfNode(t, c.name+"-"+peer)
		channel := p.With(network.KindChannel, "trade", "")
		if peer == "peer0.org2" {
			channel = p.With(network.KindChannelMembership, "trade", "Org2MSP")
		}
		f, again := reads(t), time.NewTicker(200*time.Millisecond)
		defer again.Stop()
		for { // a peer of the other organization may have yet to commit what it is asked about
			got, err := f.Query(ctx, network.Call{Chaincode: network.ChaincodeHandle(channel, "kv"), Identity: p.Organization(), Function: function})
			if err == nil && string(got) == want {
				return nil
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				return errors.Join(err, fmt.Errorf("%s answers %q on %s, want %q", function, got, peer, want))
			}
		}
	}
}

// approval is what a release by org2 alone is asked for.
func (c consortium) approval(t *testing.T, version, label string) network.ChaincodeSpec {
	t.Helper()
	return network.ChaincodeSpec{
		Channel:     handleOfNode(t, c.name+"-peer0.org2").With(network.KindChannelMembership, "trade", "Org2MSP"),
		ApproveOnly: true, Name: "kv", Version: version, Label: label,
		Server: network.ChaincodeServer{NodeOptions: network.NodeOptions{Image: "fabricops/kv-chaincode:2.0"}},
	}
}

// approvesElsewhere approves as somebody with the admin of org2 does elsewhere.
func (c consortium) approvesElsewhere(t *testing.T, version, label string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := reads(t).ReleaseChaincode(ctx, c.approval(t, version, label)); err != nil {
		t.Fatal(err)
	}
}

// TestLongChaincodeApproval has org1 commit what org2 approves by itself: neither knows the other's peers.
// On Fabric 3.1 the peers tell in what an approval differs.
func TestLongChaincodeApproval(t *testing.T) {
	requireLong(t)
	for _, version := range []string{"2.5.9", "3.1.1"} {
		t.Run(version, func(t *testing.T) { approveAndCommit(t, version) })
	}
}

func approveAndCommit(t *testing.T, version string) {
	c := consortium{name: networkName(t), version: version, listed: true, peers: "peer0 = fabric_peer.org2.handle"}
	sweepNetwork(t, c.name)
	with := func(more ...string) string {
		changed := c
		changed.more = strings.Join(more, "\n")
		return changed.String()
	}
	const source = "data.fabric_commit_readiness.kv"
	is := func(address, attribute string, value knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(address, tfjsonpath.New(attribute), value)
	}
	approved := func(sequence int64, status string) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			is(approvalAddress, "sequence", knownvalue.Int64Exact(sequence)), is(approvalAddress, "status", knownvalue.StringExact(status)),
		}
	}
	missing := func(ready bool, org1, org2 bool, ids ...knownvalue.Check) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			is(source, "ready", knownvalue.Bool(ready)), is(source, "rule", knownvalue.StringExact("MAJORITY Endorsement")),
			is(source, "missing", knownvalue.ListExact(ids)),
			is(source, "approvals", knownvalue.MapExact(map[string]knownvalue.Check{"Org1MSP": knownvalue.Bool(org1), "Org2MSP": knownvalue.Bool(org2)})),
		}
	}
	mismatches := knownvalue.MapExact(map[string]knownvalue.Check{})
	if version == "3.1.1" {
		mismatches = knownvalue.MapExact(map[string]knownvalue.Check{"Org2MSP": knownvalue.ListExact([]knownvalue.Check{knownvalue.StringRegexp(regexp.MustCompile("(?i)endorsementinfo"))})})
	}
	const ledger = `
data "fabric_block" "newest" {
  channel    = fabric_channel.trade.handle
  depends_on = [fabric_chaincode.kv]
}

data "fabric_transaction" "commit" {
  channel        = fabric_channel.trade.handle
  transaction_id = data.fabric_block.newest.transactions[0].transaction_id
}

data "fabric_block" "genesis" {
  channel = fabric_channel_membership.org2.handle
  number  = 0
}
`
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{ // org2 approves first: nobody has committed anything yet.
				Config:            with(approves("1.0"), readiness("1.0", approvalAddress)),
				ConfigStateChecks: append(approved(1, "approved"), missing(false, false, true, knownvalue.StringExact("Org1MSP"))...),
				Check:             c.served(t, "kv_1.0"),
			},
			{ // Then another version is ready for nobody; from 3.1 on the peers tell why.
				Config:            with(approves("1.0"), readiness("1.5", approvalAddress)),
				ConfigStateChecks: append(missing(false, false, false, knownvalue.StringExact("Org1MSP"), knownvalue.StringExact("Org2MSP")), is(source, "mismatches", mismatches)),
			},
			{ // The commit is endorsed by the peer of org2, which the gateway of org1's peer finds.
				Config:            with(approves("1.0"), released("1.0", ""), ledger),
				ConfigStateChecks: append(sequence(1, "kv_1.0"), committedByGateway(is)...),
				Check:             resource.ComposeTestCheckFunc(c.answers(t, "peer0.org1", "1.0", "version"), c.answers(t, "peer0.org2", "1.0", "version")),
			},
			{
				Config: with(approves("1.0"), released("1.0", ""), readiness("1.0", kvAddress)), ConfigPlanChecks: planned(plancheck.ResourceActionNoop, approvalAddress),
				ConfigStateChecks: append(approved(1, "running"), is(source, "committed", knownvalue.Bool(true)), is(source, "ready", knownvalue.Bool(true))),
			},
			{Config: with(approves("1.0"), released("1.0", "")), ResourceName: approvalAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: c.name + "/Org2MSP/trade/kv"},
			{ // Nobody else approved the upgrade: it is said, and what is in force still serves.
				Config:      with(approves("1.0"), released("2.0", `timeouts = { update = "8s" }`)),
				ExpectError: says("Unable to update chaincode kv", "channel trade commits sequence 2 of chaincode kv when MAJORITY Endorsement approved it, and the approval is missing of Org2MSP", "Let them approve the same definition: by fabric_chaincode_approval"),
			},
			{ // What is to be approved next is known in the plan; both packages are served until the commit.
				Config: with(approves("2.0"), released("1.0", ""), readiness("2.0", approvalAddress)),
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(approvalAddress, plancheck.ResourceActionUpdate), plancheck.ExpectKnownValue(approvalAddress, tfjsonpath.New("sequence"), knownvalue.Int64Exact(2)),
					plancheck.ExpectResourceAction(kvAddress, plancheck.ResourceActionNoop),
				}},
				ConfigStateChecks: append(approved(2, "approved"), missing(true, true, true)...),
				Check:             resource.ComposeTestCheckFunc(c.served(t, "kv_1.0", "kv_2.0"), c.answers(t, "peer0.org2", "1.0", "version")),
			},
			{ // Once it is committed, the earlier servers of org2 are too many.
				Config: with(approves("2.0"), released("2.0", "")), ExpectNonEmptyPlan: true,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectKnownValue(kvAddress, tfjsonpath.New("sequence"), knownvalue.Int64Exact(2))}},
				Check:            resource.ComposeTestCheckFunc(c.answers(t, "peer0.org1", "2.0", "version"), c.answers(t, "peer0.org2", "2.0", "version")),
			},
			{
				Config: with(approves("2.0"), released("2.0", "")), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, approvalAddress),
				ConfigStateChecks: approved(2, "running"), Check: c.served(t, "kv_2.0"),
			},
			{ // Another package that somebody approved for org2 is drift, and takes no other sequence.
				PreConfig: func() { c.approvesElsewhere(t, "2.0", "stray") },
				Config:    with(approves("2.0"), released("2.0", "")), ConfigPlanChecks: planned(plancheck.ResourceActionUpdate, approvalAddress),
				ConfigStateChecks: approved(2, "running"),
				Check:             resource.ComposeTestCheckFunc(c.served(t, "kv_2.0"), c.answers(t, "peer0.org2", "2.0", "version")),
			},
			{ // A definition that it approved beside is told, and nothing can take it back but another approval.
				PreConfig: func() { c.approvesElsewhere(t, "9.0", "kv_2.0") },
				Config:    with(approves("2.0"), released("2.0", "")), ConfigPlanChecks: planned(plancheck.ResourceActionNoop, approvalAddress),
				Check: func(*terraform.State) error { return c.moved(t) },
			},
			{
				Config: with(approves("3.0", `endorsement_policy = "OR('Org9MSP.peer')"`), released("2.0", "")), PlanOnly: true,
				ExpectError: says("Policy that names an unknown MSP", "with "+approvalAddress, "the endorsement policy names Org9MSP"),
			},
			{ // A server that never answers is not committed: what is in force still serves.
				Config:      with(approves("2.0"), released("3.0", `timeouts = { update = "10s" }`, `env = { CHAINCODE_SERVER_ADDRESS = "0.0.0.0:9998" }`)),
				ExpectError: says("Unable to update chaincode kv", "unable to reach chaincode kv", "unable to connect to the chaincode server"),
			},
			{
				Config: with(approves("2.0"), released("2.0", "")), ConfigPlanChecks: planned(plancheck.ResourceActionNoop, kvAddress),
				Check: resource.ComposeTestCheckFunc(c.answers(t, "peer0.org1", "2.0", "version"), c.answers(t, "peer0.org2", "2.0", "version")),
			},
			{ // The approval stays, its servers go.
				Config: with(released("2.0", "")), Check: resource.ComposeTestCheckFunc(c.served(t), c.answers(t, "peer0.org1", "2.0", "version")),
			},
		},
	})
}

// TestLongChaincodeOfMember has a member commit on a channel that another state owns, and call the chaincode
// through the gateway of its peer.
func TestLongChaincodeOfMember(t *testing.T) {
	requireLong(t)
	c := consortium{name: networkName(t), version: "3.1.1", listed: true, peers: "peer0 = fabric_peer.org2.handle"}
	sweepNetwork(t, c.name)
	c.settings = `application_policies = { LifecycleEndorsement = "ANY Endorsement" }`
	c.more = fmt.Sprintf(`
resource "fabric_chaincode" "kv" {
  channel = fabric_channel_membership.org2.handle
  name    = "kv"
  %s
}

resource "fabric_transaction" "put" {
  chaincode = fabric_chaincode.kv.handle
  identity  = fabric_organization.org2.handle
  function  = "put"
  arguments = ["colour", "blue"]
}

data "fabric_query" "colour" {
  chaincode  = fabric_chaincode.kv.handle
  identity   = fabric_organization.org2.handle
  function   = "get"
  arguments  = ["colour"]
  depends_on = [fabric_transaction.put]
}
`, release("1.0", "1.0", `endorsement_policy = "OR('Org2MSP.peer')"`))
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories, CheckDestroy: nothingLeft(t, c.name),
		Steps: []resource.TestStep{
			{
				Config:            c.String(),
				ConfigStateChecks: append(sequence(1, "kv_1.0"), statecheck.ExpectKnownValue("data.fabric_query.colour", tfjsonpath.New("result"), knownvalue.StringExact("blue"))),
				Check:             c.served(t, "kv_1.0"),
			},
			{Config: c.String(), ResourceName: kvAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: c.name + "/trade/kv"},
		},
	})
}

// moved expects that an approval which was planned with another sequence is refused, before anything is made.
func (c consortium) moved(t *testing.T) error {
	f, spec := reads(t), c.approval(t, "4.0", "kv_4.0")
	spec.Sequence = 2
	moved := new(network.MovedError)
	if _, err := f.ReleaseChaincode(t.Context(), spec); !errors.As(err, &moved) || moved.Planned != 2 || moved.Next != 3 {
		return fmt.Errorf("approving sequence 3 where 2 was planned gives %w", err)
	}
	readiness, err := f.CommitReadiness(t.Context(), spec)
	if lifecycle.ClassOf(err) != lifecycle.ClassOutOfStep {
		return fmt.Errorf("the readiness of a sequence that is taken is %v, with %w", readiness, err)
	}
	return c.served(t, "kv_2.0")(nil)
}

// committedByGateway holds the blocks and the transaction to what the commit of kv is.
func committedByGateway(is func(address, attribute string, value knownvalue.Check) statecheck.StateCheck) []statecheck.StateCheck {
	const commit, genesis = "data.fabric_transaction.commit", "data.fabric_block.genesis"
	text := knownvalue.StringExact
	return []statecheck.StateCheck{
		is(commit, "type", text("ENDORSER_TRANSACTION")), is(commit, "validation_code", text("VALID")), is(commit, "chaincode", text("_lifecycle")),
		is(commit, "function", text("CommitChaincodeDefinition")), is(commit, "argument_count", knownvalue.Int64Exact(1)), is(commit, "status", knownvalue.Int64Exact(200)),
		is(commit, "endorsers", knownvalue.SetExact([]knownvalue.Check{text("Org1MSP"), text("Org2MSP")})),
		is(commit, "creator", knownvalue.ObjectPartial(map[string]knownvalue.Check{"msp_id": text("Org1MSP"), "fingerprint": knownvalue.NotNull()})),
		is("data.fabric_block.newest", "transactions", knownvalue.ListSizeExact(1)),
		is(genesis, "number", knownvalue.Int64Exact(0)), is(genesis, "previous_hash", text("")),
		is(genesis, "transactions", knownvalue.ListExact([]knownvalue.Check{knownvalue.ObjectPartial(map[string]knownvalue.Check{
			"type": text("CONFIG"), "chaincode": knownvalue.Null(), "validation_code": text("VALID"),
		})})),
	}
}
