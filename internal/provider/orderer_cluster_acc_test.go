package provider

import (
	"context"
	"crypto/x509"
	"encoding/hex"
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
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/grpc"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// fastRaft has elections take 1 to 2 s.
const fastRaft = `raft = { tick_interval = "100ms" }`

// TestAccClusterMembers has the ordering cluster of a running channel grow and shrink, change under the
// channel, drift, and lose a node; the plan says each time what will happen.
func TestAccClusterMembers(t *testing.T) {
	name := networkName(t)
	l := life{name: name, version: "3.1.1", nodes: "orderer0 = {}", cluster: fastRaft}
	with := func(change func(*life)) string {
		l.run++
		change(&l)
		return l.String()
	}
	seen := &sightings{t: t, network: name}
	keys := &consenterKeys{t: t, on: name}
	sweepNetwork(t, name)
	object := func(node string) string { return name + "-" + node }
	relisted := make([]string, 1) // filled in once it is known who leads
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{
				Config: with(func(*life) {}),
				Check:  resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, "orderer0")),
			},
			{ // From one to three.
				Config: with(func(l *life) { l.nodes = "orderer0 = {}, orderer1 = {}, orderer2 = {}" }),
				ConfigPlanChecks: foretold(
					[]string{"orderer0", "orderer1", "orderer2"},
					"orderer1: added to channel trade: joined as a follower, caught up, added as a consenter, then as an endpoint", "orderer2: added",
				),
				Check: resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, "orderer0", "orderer1", "orderer2")),
			},
			{ // A roll, leader last.
				PreConfig:        func() { seen.watchRoll([]string{object("orderer0"), object("orderer1"), object("orderer2")}) },
				Config:           with(func(l *life) { l.cluster += "\n  limits = { pids = 900 }" }),
				ConfigPlanChecks: foretold([]string{"orderer0", "orderer1", "orderer2"}, "; then orderer"),
				Check:            resource.ComposeTestCheckFunc(seen.check, seen.rolled, orderedBy(t, name, "orderer0", "orderer1", "orderer2")),
			},
			{ // Timers are a config update and a roll.
				Config:           with(func(l *life) { l.cluster = strings.Replace(l.cluster, "100ms", "150ms", 1) }),
				ConfigPlanChecks: foretold([]string{"orderer0", "orderer1", "orderer2"}, "channel trade: Raft options set by a config update", "orderer"),
				Check: resource.ComposeTestCheckFunc(seen.check, func(*terraform.State) error {
					facts, err := channelFacts(t, name)
					if err == nil && facts.Summary.Raft.TickInterval != 150*time.Millisecond {
						err = fmt.Errorf("the tick interval is %s", facts.Summary.Raft.TickInterval)
					}
					return err
				}),
			},
			{ // A leap would have the nodes call for elections against each other.
				Config:      with(func(l *life) { l.cluster = strings.Replace(l.cluster, "150ms", "10ms", 1) }),
				ExpectError: says("Too far in one step", "every 150ms", "after 100ms"),
			},
			{ // A consenter that vanished from the ledger comes back: the leader, which notices last.
				PreConfig: func() {
					leader := leaderOf(t, name)
					evictBehindBack(t, name, leader, otherThan(leader))
					relisted[0] = leader + ": added to channel trade, of which it is no consenter"
				},
				Config:           with(func(l *life) { l.cluster = strings.Replace(l.cluster, "10ms", "150ms", 1) }),
				ConfigPlanChecks: foretold([]string{"orderer0", "orderer1", "orderer2"}, relisted...),
				Check: resource.ComposeTestCheckFunc(seen.check, orderedBy(t, name, "orderer0", "orderer1", "orderer2"),
					resource.TestCheckResourceAttr(clusterAddress, "status", "running")),
			},
			{ // A renamed key is an add and a remove, in one apply with another change.
				Config: with(func(l *life) { l.nodes = "orderer3 = {}, orderer1 = {}, orderer2 = {}" }),
				ConfigPlanChecks: foretold([]string{"orderer1", "orderer2", "orderer3"},
					"orderer3: added to channel trade", "orderer0: removed from channel trade: endpoint, consenter, channel, and at last the node with its volume"),
				Check: resource.ComposeTestCheckFunc(gone(t, name, "orderer0"), orderedBy(t, name, "orderer1", "orderer2", "orderer3"), keys.take),
			},
			{ // What was lost is not begun anew silently,
				PreConfig:   func() { loseNode(t, object("orderer2")) },
				Config:      with(func(*life) {}),
				ExpectError: says("The volume is gone", "accept_data_loss"),
			},
			{ // but evicted, and added with another key, when that is asked for.
				Config: with(func(l *life) { l.cluster += "\n  accept_data_loss = true" }),
				ConfigPlanChecks: foretold([]string{"orderer1", "orderer2", "orderer3"},
					"orderer2: made anew with an empty volume and another key; evicted from channel trade, joined as a follower"),
				Check: resource.ComposeTestCheckFunc(orderedBy(t, name, "orderer1", "orderer2", "orderer3"), keys.another("orderer2")),
			},
			{ // A node that is lost and goes needs no consent.
				PreConfig: func() { loseNode(t, object("orderer2")) },
				Config: with(func(l *life) {
					l.nodes = "orderer1 = {}, orderer3 = {}"
					l.cluster = strings.Replace(l.cluster, "accept_data_loss = true", "", 1)
				}),
				ConfigPlanChecks: foretold([]string{"orderer1", "orderer3"}, "orderer2: removed from channel trade"),
				Check:            orderedBy(t, name, "orderer1", "orderer3"),
			},
			{ // Two of two: nobody is left who could change anything.
				PreConfig:   func() { loseNode(t, object("orderer1")) },
				Config:      with(func(l *life) { l.cluster += "\n  accept_data_loss = true" }),
				ExpectError: says("A channel would lose its quorum", "channel trade cannot order", "of its 2 consenters 1 are at work (orderer3), and 2 must be", "orderer1: its status is lost"),
			},
		},
	})
}

// foretold expects an update of the cluster whose plan has these words, in this order, and these consenters.
func foretold(nodes []string, words ...string) resource.ConfigPlanChecks {
	var addresses []knownvalue.Check
	for _, n := range nodes {
		addresses = append(addresses, knownvalue.StringExact(n+".example.com:7050"))
	}
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		onlyUpdates{clusterAddress, "fabric_transaction.this"},
		plancheck.ExpectKnownValue(clusterAddress, tfjsonpath.New("channels").AtMapKey("trade").AtMapKey("consenters"), knownvalue.ListExact(addresses)),
		plancheck.ExpectKnownValue(clusterAddress, tfjsonpath.New("channels").AtMapKey("trade").AtMapKey("endpoints"), knownvalue.ListExact(addresses)),
		planSays{clusterAddress, words},
	}}
}

// planSays expects texts in last_change, in that order.
type planSays struct {
	address string
	words   []string
}

func (s planSays) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, rc := range req.Plan.ResourceChanges {
		if rc.Address != s.address {
			continue
		}
		after, _ := rc.Change.After.(map[string]any)
		text := fmt.Sprint(after["last_change"])
		var parts []string
		for _, w := range s.words {
			parts = append(parts, regexp.QuoteMeta(w))
		}
		if !regexp.MustCompile(`(?s)` + strings.Join(parts, ".*")).MatchString(text) {
			resp.Error = fmt.Errorf("the plan says %s, and not %q", text, s.words)
		}
		return
	}
	resp.Error = fmt.Errorf("%s is not in the plan", s.address)
}

func channelFacts(t *testing.T, on string) (network.ChannelFacts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f := network.New(localEngine(t))
	spec, err := f.FindChannel(ctx, on, "trade")
	if err != nil {
		return network.ChannelFacts{}, err
	}
	return f.InspectChannel(ctx, spec.Handle)
}

// leaderOf waits until one of the ordering nodes says that it leads the channel.
func leaderOf(t *testing.T, on string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f := network.New(localEngine(t))
	spec, err := f.FindChannel(ctx, on, "trade")
	if err != nil {
		t.Fatal(err)
	}
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]network.Handle{}
	for _, o := range orderers {
		nodes[o.Name] = o
	}
	for {
		channels, err := f.ReadClusterChannels(ctx, spec.Orderers, nodes, nil)
		if err != nil {
			t.Fatal(err)
		}
		if leader := channels["trade"].Leader; leader != "" {
			return leader
		}
		select {
		case <-ctx.Done():
			t.Fatal("nobody leads channel trade")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// otherThan gives another one of orderer0 to orderer2.
func otherThan(node string) string {
	if node == "orderer0" {
		return "orderer1"
	}
	return "orderer0"
}

// orderedBy expects exactly these nodes as consenters and endpoints of the channel.
func orderedBy(t *testing.T, on string, nodes ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		facts, err := channelFacts(t, on)
		if err != nil {
			return err
		}
		var endpoints []string
		for _, org := range facts.Summary.OrdererOrganizations {
			for _, e := range org.Endpoints {
				endpoints = append(endpoints, strings.TrimSuffix(e, ".example.com:7050"))
			}
		}
		slices.Sort(endpoints)
		if !slices.Equal(endpoints, nodes) {
			return fmt.Errorf("endpoints %v, want %v", endpoints, nodes)
		}
		if err := sameHosts(facts, nodes); err != nil {
			return err
		}
		for _, n := range nodes {
			if facts.Heights[n] == 0 {
				return fmt.Errorf("%s does not hand out the channel", n)
			}
		}
		return nil
	}
}

// sameHosts expects exactly these nodes as consenters.
func sameHosts(facts network.ChannelFacts, nodes []string) error {
	var consenters []string
	for _, c := range facts.Summary.Consenters {
		consenters = append(consenters, strings.TrimSuffix(c.Host, ".example.com"))
	}
	if slices.Sort(consenters); !slices.Equal(consenters, nodes) {
		return fmt.Errorf("consenters %v, want %v", consenters, nodes)
	}
	return nil
}

func gone(t *testing.T, on string, nodes ...string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for _, n := range nodes {
			if _, err := localEngine(t).Node(context.Background(), on+"-"+n); !errors.Is(err, engine.ErrNotFound) {
				return fmt.Errorf("container of %s: %w", n, err)
			}
			if _, err := localEngine(t).Volume(context.Background(), on+"-"+n); !errors.Is(err, engine.ErrNotFound) {
				return fmt.Errorf("volume of %s: %w", n, err)
			}
		}
		return nil
	}
}

// consenterKeys are the keys by which the channel knows its consenters, by their hosts.
type consenterKeys struct {
	t     *testing.T
	on    string
	known map[string]string
}

func (k *consenterKeys) take(*terraform.State) (err error) {
	k.known, err = k.look()
	return err
}

func (k *consenterKeys) look() (map[string]string, error) {
	facts, err := channelFacts(k.t, k.on)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, c := range facts.Summary.Consenters {
		cert, err := certificate.ParseOne([]byte(c.ServerTLSCertPEM))
		if err != nil {
			return nil, err
		}
		keys[strings.TrimSuffix(c.Host, ".example.com")] = hex.EncodeToString(cert.RawSubjectPublicKeyInfo)
	}
	return keys, nil
}

// another expects that a node is a consenter with another key since, and every other one with its own.
func (k *consenterKeys) another(node string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		now, err := k.look()
		if err != nil {
			return err
		}
		for host, before := range k.known {
			if now[host] == "" || (now[host] == before) != (host != node) {
				err = errors.Join(err, fmt.Errorf("the key of %s is %q, and was %q", host, now[host], before))
			}
		}
		if k.known[node] == "" {
			err = errors.Join(err, fmt.Errorf("%s was no consenter", node))
		}
		return err
	}
}

// loseNode takes a container and its volume away.
func loseNode(t *testing.T, object string) {
	t.Helper()
	removeNodes(t, func(n engine.Node) bool { return n.Name == object })
	removeVolume(t, object)
}

// evictBehindBack takes a consenter off the ledger, as another tool would do it with the admin's key. The
// update is given to a node and, since SmartBFT wants it of more than one, to the others that are named.
func evictBehindBack(t *testing.T, on, node, by string, others ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e := localEngine(t)
	f := network.New(e)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	spec, err := f.FindChannel(ctx, on, "trade")
	must(err)
	credentials, err := f.Credentials(ctx, spec.Orderers.Organization())
	must(err)
	key, err := certificate.ParseKey([]byte(credentials.PrivateKey))
	must(err)
	admin := &msp.Identity{ID: credentials.MSPID, CertificatePEM: []byte(credentials.Certificate), Key: key}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(strings.Join(credentials.Definition.TLSRootCertificates, "")))
	dial := func(node string) *grpc.ClientConn {
		conn, err := grpcconn.Dial(node+".example.com:7050", node+".example.com", roots, func(ctx context.Context) (net.Conn, error) { return e.Dial(ctx, on+"-"+node, 7050) }, nil)
		must(err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conn := dial(by)
	fetch := func() *configtx.Config {
		block, err := orderer.LastConfigBlock(ctx, conn, admin, "trade", orderer.BestEffort())
		must(err)
		config, err := configtx.Decode(block)
		must(err)
		return config
	}
	base := fetch()
	wanted := base.Clone()
	must(wanted.RemoveConsenter(configtx.Address{Host: node + ".example.com", Port: 7050}))
	update, err := configtx.ComputeUpdate("trade", base.Proto, wanted.Proto)
	must(err)
	raw, err := configtx.MarshalUpdate(update)
	must(err)
	signature, err := configtx.SignUpdate(raw, admin)
	must(err)
	envelope, err := configtx.UpdateEnvelope("trade", raw, []*common.ConfigSignature{signature}, admin)
	must(err)
	must(orderer.Broadcast(ctx, conn, envelope))
	for _, other := range others {
		_ = orderer.Broadcast(ctx, dial(other), envelope) // it may be ordered by now, and refused
	}
	for fetch().Sequence() == base.Sequence() {
		select {
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestLongClusterOrganizations has two organizations run the ordering nodes of a channel, and the first of
// them leave.
func TestLongClusterOrganizations(t *testing.T) {
	requireLong(t)
	name := networkName(t)
	config := func(nodes, batch string) string {
		return plainOrganizations(name, "3.1.1", "orderer", "second", "org1") + fmt.Sprintf(`
resource "fabric_orderer_cluster" "this" {
  organization        = fabric_organization.orderer.handle
  nodes               = { %s }
  deletion_protection = false
  %s
}

resource "fabric_channel" "trade" {
  name                = "trade"
  orderers            = fabric_orderer_cluster.this.handle
  max_message_count   = %s
  deletion_protection = false
  organizations = {
    org1 = { organization = fabric_organization.org1.handle, definition = fabric_organization.org1.definition, peers = {} }
  }
}
`, nodes, fastRaft, batch)
	}
	const second = "{ organization = fabric_organization.second.handle }"
	organizations := func(want ...string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			facts, err := channelFacts(t, name)
			if err != nil {
				return err
			}
			var got []string
			for _, org := range facts.Summary.OrdererOrganizations {
				got = append(got, org.Definition.ID)
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("ordering organizations %v, want %v", got, want)
			}
			return nil
		}
	}
	sweepNetwork(t, name)
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy:             nothingLeft(t, name),
		Steps: []resource.TestStep{
			{Config: config("orderer0 = {}", "1"), Check: resource.ComposeTestCheckFunc(organizations("OrdererMSP"), orderedBy(t, name, "orderer0"))},
			{
				Config: config("orderer0 = {}, orderer1 = "+second+", orderer2 = "+second, "1"),
				Check:  resource.ComposeTestCheckFunc(organizations("OrdererMSP", "SecondMSP"), orderedBy(t, name, "orderer0", "orderer1", "orderer2")),
			},
			{ // Both sign what the channel changes.
				Config: config("orderer0 = {}, orderer1 = "+second+", orderer2 = "+second, "2"),
				Check: func(*terraform.State) error {
					facts, err := channelFacts(t, name)
					if err == nil && facts.Summary.Batch.MaxMessageCount != 2 {
						err = fmt.Errorf("blocks hold %d transactions", facts.Summary.Batch.MaxMessageCount)
					}
					return err
				},
			},
			{
				ResourceName: clusterAddress, ImportState: true, ImportStateId: name + "/orderers", ImportStateVerify: true,
				ImportStateVerifyIdentifierAttribute: "name",
				ImportStateVerifyIgnore:              []string{"deletion_protection", "last_change"},
			},
			{Config: config("orderer0 = "+second+", orderer1 = "+second+", orderer2 = "+second, "2"), ExpectError: says("A node cannot change its organization", "belongs to OrdererMSP")},
			{
				Config: config("orderer1 = "+second+", orderer2 = "+second, "2"),
				Check:  resource.ComposeTestCheckFunc(organizations("SecondMSP"), orderedBy(t, name, "orderer1", "orderer2")),
			},
		},
	})
}
