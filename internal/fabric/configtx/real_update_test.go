package configtx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hyperledger/fabric-admin-sdk/pkg/channel"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// TestRealOrderersTakeUpdates changes a channel of each supported release in every way that the setters
// offer, and sees that the ordering node refuses each update with too few signatures as Requirements
// says, takes it with enough, and then has the configuration that Apply gives. It needs FABRIC_REAL=1.
func TestRealOrderersTakeUpdates(t *testing.T) {
	if os.Getenv("FABRIC_REAL") != "1" {
		t.Skip("needs an engine and Fabric's images; set FABRIC_REAL=1")
	}
	for _, release := range []string{"2.5.9", "3.1.1"} {
		t.Run(release, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			n := newRealNetwork(ctx, t, release)
			first, second := n.startOrderer(ctx), n.startOrderer(ctx)
			r := newRealChannel(ctx, n, Channel{
				Name: "trade", Raft: RaftOptions{TickInterval: 100 * time.Millisecond},
				Batch: Batch{Timeout: 200 * time.Millisecond},
			}, []*realNode{first})
			r.membership(ctx)
			r.settings(ctx)
			r.certificates(ctx)
			r.growAndShrink(ctx, second)
			if release == "3.1.1" {
				r.must(ctx, "channel capability", func(c *Config) error { return c.SetChannelCapability(ChannelCapabilityV3_0) }, r.ordererAdmin, r.n.admin)
				r.must(ctx, "batch after V3_0", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 7}) }, r.ordererAdmin)
			}
		})
	}
}

// TestLongRealSmartBFT is the same for a SmartBFT channel of 3.1.1: four nodes, a fifth one, options,
// a renewed enrolment certificate. It needs FABRIC_REAL=1 and FABRIC_LONG=1.
func TestLongRealSmartBFT(t *testing.T) {
	if os.Getenv("FABRIC_REAL") != "1" || os.Getenv("FABRIC_LONG") != "1" {
		t.Skip("takes minutes and needs an engine and Fabric's images; set FABRIC_REAL=1 and FABRIC_LONG=1")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	n := newRealNetwork(ctx, t, "3.1.1")
	for range 4 {
		n.startOrderer(ctx)
	}
	r := newRealChannel(ctx, n, Channel{Name: "trade", ChannelCapability: ChannelCapabilityV3_0, Consensus: ConsensusBFT}, n.orderers)
	r.must(ctx, "batch", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 10}) }, r.ordererAdmin)
	r.must(ctx, "options", func(c *Config) error {
		return c.SetBFTOptions(BFTOptions{RequestBatchMaxInterval: 100 * time.Millisecond})
	}, r.ordererAdmin)

	fifth := n.startOrderer(ctx)
	r.follow(ctx, fifth)
	r.must(ctx, "fifth consenter", func(c *Config) error {
		return errors.Join(c.AddConsenter(fifth.consenter(ConsensusBFT)), c.SetEndpoints("OrdererMSP", addressesOfNodes(n.orderers)))
	}, r.ordererAdmin)
	r.orderers = n.orderers
	r.wait(ctx, fifth)
	r.must(ctx, "batch with five", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 20}) }, r.ordererAdmin)

	// A renewed enrolment certificate of the fifth node: first on the ledger, then on the node, which does
	// not matter here: four of five make a quorum.
	renewed := fifth.consenter(ConsensusBFT)
	renewed.IdentityPEM = n.orderer.issuer.member(t, "renewed", "orderer").pem
	r.must(ctx, "renewed identity", func(c *Config) error { return c.ReplaceConsenter(renewed.address(), renewed) }, r.ordererAdmin)
	r.must(ctx, "batch after renewal", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 30}) }, r.ordererAdmin)

	r.orderers = n.orderers[:4]
	r.must(ctx, "fifth consenter away", func(c *Config) error {
		return errors.Join(c.SetEndpoints("OrdererMSP", addressesOfNodes(n.orderers[:4])), c.RemoveConsenter(renewed.address()))
	}, r.ordererAdmin)
	r.must(ctx, "batch with four", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 40}) }, r.ordererAdmin)
	if s := r.summary(); len(s.Consenters) != 4 || s.BFT.RequestBatchMaxInterval != 100*time.Millisecond {
		t.Errorf("in the end there are %d consenters, %+v", len(s.Consenters), s.BFT)
	}
}

// realChannel is a channel of ordering nodes alone, with an admin of each organization.
type realChannel struct {
	n            *realNetwork
	orderers     []*realNode // to which updates are sent
	block        *common.Block
	config       *Config
	ordererAdmin *msp.Identity
}

func newRealChannel(ctx context.Context, n *realNetwork, c Channel, nodes []*realNode) *realChannel {
	n.t.Helper()
	c.ApplicationOrganizations = []ApplicationOrganization{{Definition: n.org1.Definition}}
	n.orderedBy(&c, nodes)
	block, err := Genesis(c)
	if err != nil {
		n.t.Fatal(err)
	}
	r := &realChannel{n: n, orderers: nodes, ordererAdmin: n.orderer.identity(n.t, "admin", "admin")}
	for _, node := range nodes {
		eventually(ctx, n.t, "join "+node.name, func() (string, error) { return n.join(ctx, node, marshal(n.t, block)) })
	}
	r.block = block
	if r.config, err = Decode(block); err != nil {
		n.t.Fatal(err)
	}
	return r
}

// latest gives the last config block of a node.
func (r *realChannel) latest(ctx context.Context, node *realNode) (*common.Block, error) {
	conn := r.n.dial(ctx, node, "7050", r.n.orderer.tlsca.pem)
	// The node asks for no client certificate, and the SDK for one to name.
	return channel.GetConfigBlockFromOrderer(ctx, conn, r.ordererAdmin, r.config.Channel, tls.Certificate{Certificate: [][]byte{nil}})
}

func (r *realChannel) summary() Summary {
	r.n.t.Helper()
	s, err := Summarize(r.config)
	if err != nil {
		r.n.t.Fatal(err)
	}
	return s
}

// must changes the channel, after trying it with one signature too few each.
func (r *realChannel) must(ctx context.Context, what string, edit func(*Config) error, signers ...*msp.Identity) {
	t := r.n.t
	t.Helper()
	to := r.config.Clone()
	if err := edit(to); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := ValidateUpdate(r.config, to); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	update := updateBetween(t, r.config, to)
	raw := mustMarshalUpdate(t, update)
	requirements, err := Requirements(r.config, update)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	changes, err := Changes(r.config, update)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for i := range signers {
		fewer := slices.Delete(slices.Clone(signers), i, i+1)
		if met(requirements, fewer) {
			t.Fatalf("%s: signer %d is not needed", what, i)
		}
		err := r.send(ctx, raw, fewer, signers[i])
		if err == nil || !strings.Contains(err.Error(), "not satisfied") {
			t.Fatalf("%s with a signature missing: the orderer says %v", what, err)
		}
	}
	if !met(requirements, signers) {
		t.Fatalf("%s: %q is missing", what, requirements[0].Missing(signersOf(signers)))
	}
	for i, c := range changes {
		t.Logf("%s %d: %s (%s)", what, i+1, c.Words, c.ModPolicy)
	}
	r.commit(ctx, what, raw, update, signers)
}

func met(requirements []Requirement, signers []*msp.Identity) bool {
	return !slices.ContainsFunc(requirements, func(r Requirement) bool { return r.Met(signersOf(signers)) != Yes })
}

func signersOf(identities []*msp.Identity) []Signer {
	var out []Signer
	for _, i := range identities {
		out = append(out, SignerFrom(i))
	}
	return out
}

// send sends an update to every node, as SmartBFT wants it, and gives the answer of the first.
func (r *realChannel) send(ctx context.Context, raw []byte, signers []*msp.Identity, submitter *msp.Identity) error {
	r.n.t.Helper()
	var signatures []*common.ConfigSignature
	for _, signer := range signers {
		signature, err := SignUpdate(raw, signer)
		if err != nil {
			r.n.t.Fatal(err)
		}
		signatures = append(signatures, signature)
	}
	envelope, err := UpdateEnvelope(r.config.Channel, raw, signatures, submitter)
	if err != nil {
		r.n.t.Fatal(err)
	}
	var first error
	for i, node := range r.orderers {
		conn := r.n.dial(ctx, node, "7050", r.n.orderer.tlsca.pem)
		_, err := backoff.Retry(ctx, func() (any, error) { return nil, broadcast(ctx, conn, envelope) },
			backoff.WithBackOff(backoff.NewConstantBackOff(200*time.Millisecond)), backoff.WithMaxElapsedTime(30*time.Second))
		if i == 0 {
			first = err
		}
	}
	return first
}

// commit sends the update and waits until the node has the configuration that Apply gives.
func (r *realChannel) commit(ctx context.Context, what string, raw []byte, update *common.ConfigUpdate, signers []*msp.Identity) {
	t := r.n.t
	t.Helper()
	expected, err := Apply(r.config, update)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.send(ctx, raw, signers, signers[0]); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	number := r.config.Block
	r.block = eventually(ctx, t, what, func() (*common.Block, error) {
		block, err := r.latest(ctx, r.orderers[0])
		if err == nil && Number(block) <= number {
			err = fmt.Errorf("the last config block is still %d", Number(block))
		}
		return block, err
	})
	if r.config, err = Decode(r.block); err != nil {
		t.Fatal(err)
	}
	if r.config.Sequence() != expected.Sequence() || !proto.Equal(r.config.Proto.GetChannelGroup(), expected.Proto.GetChannelGroup()) {
		t.Fatalf("%s: the channel has another configuration than Apply gives", what)
	}
}

// follow joins a node as a follower and waits until it has the last config block.
func (r *realChannel) follow(ctx context.Context, node *realNode) {
	r.n.t.Helper()
	state := eventually(ctx, r.n.t, "join "+node.name, func() (string, error) { return r.n.join(ctx, node, marshal(r.n.t, r.block)) })
	if !strings.HasPrefix(state, "follower") {
		r.n.t.Fatalf("%s joined as %s", node.name, state)
	}
	r.wait(ctx, node)
}

// wait waits until a node has the last config block. A follower delivers no blocks, so its own word counts.
func (r *realChannel) wait(ctx context.Context, node *realNode) {
	r.n.t.Helper()
	eventually(ctx, r.n.t, node.name+" catches up", func() (any, error) {
		state, err := r.n.participation(ctx, node, r.config.Channel)
		if err == nil && (state.Height <= Number(r.block) || state.Status != "active") {
			err = fmt.Errorf("it is %+v, and the last config block is %d", state, Number(r.block))
		}
		return nil, err
	})
}

func addressesOfNodes(nodes []*realNode) []string {
	var out []string
	for _, node := range nodes {
		out = append(out, node.name+":7050")
	}
	return out
}

// membership adds organizations and changes what they are.
func (r *realChannel) membership(ctx context.Context) {
	t := r.n.t
	org2, org3 := newTestOrganization(t, "Org2MSP"), newTestOrganization(t, "Org3MSP")
	admin2, admin3 := org2.identity(t, "admin", "admin"), org3.identity(t, "admin", "admin")
	add := func(o organization) func(*Config) error {
		return func(c *Config) error {
			return c.SetApplicationOrganization(ApplicationOrganization{Definition: o.Definition})
		}
	}
	r.must(ctx, "second organization", add(org2), r.n.admin)
	r.must(ctx, "third organization", add(org3), r.n.admin, admin2)
	r.must(ctx, "anchor peer of the third", func(c *Config) error {
		return c.SetApplicationOrganization(ApplicationOrganization{Definition: org3.Definition, AnchorPeers: []Address{{"peer0.org3", 7051}}})
	}, admin3)
	// A majority of three is two.
	r.must(ctx, "third organization away", func(c *Config) error { return c.RemoveApplicationOrganization("Org3MSP") }, r.n.admin, admin3)
	r.must(ctx, "several organizations and a rule at once", func(c *Config) error {
		return errors.Join(add(org3)(c), c.SetApplicationPolicies(map[string]string{"Admins": "ANY Admins", "LifecycleEndorsement": "ANY Endorsement"}))
	}, r.n.admin, admin2)
	revised := Channel{
		ApplicationOrganizations: []ApplicationOrganization{{Definition: r.n.org1.Definition, AnchorPeers: []Address{{"peer0.org1", 7051}}}},
		Batch:                    Batch{Timeout: 200 * time.Millisecond, MaxMessageCount: 50},
		ACLs:                     map[string]string{"peer/Propose": "Readers"},
	}
	// Everything that a channel's owner says, in one update: members away, an anchor peer, batch, ACLs,
	// and the policies back to their defaults.
	r.must(ctx, "revision", func(c *Config) error {
		to, err := Revise(c, revised)
		if err == nil {
			c.Proto = to.Proto
		}
		return err
	}, r.n.admin, r.ordererAdmin)
	if again, err := Revise(r.config, revised); err != nil {
		t.Fatal(err)
	} else if _, err := ComputeUpdate(r.config.Channel, r.config.Proto, again.Proto); !errors.Is(err, ErrNoChange) {
		t.Errorf("a second revision: %v", err)
	}
}

// settings changes what is not about who.
func (r *realChannel) settings(ctx context.Context) {
	r.must(ctx, "batch", func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: 5, PreferredMaxBytes: 1 << 20}) }, r.ordererAdmin)
	r.must(ctx, "ACLs away", func(c *Config) error { return c.SetACLs(nil) }, r.n.admin)
	r.must(ctx, "application capability", func(c *Config) error { return c.SetApplicationCapability(ApplicationCapabilityV2_0) }, r.n.admin)
	r.must(ctx, "Raft options", func(c *Config) error { return c.SetRaftOptions(RaftOptions{SnapshotIntervalSize: 1 << 20}) }, r.ordererAdmin)
}

// certificates changes the definitions of an organization: a revocation list that hits an admin, which
// then no longer counts, and a rollover of TLS roots.
func (r *realChannel) certificates(ctx context.Context) {
	t := r.n.t
	former := r.n.orderer.identity(t, "former admin", "admin")
	batch := func(count uint32) func(*Config) error {
		return func(c *Config) error { return c.SetBatch(Batch{MaxMessageCount: count}) }
	}
	r.must(ctx, "batch by an admin", batch(6), former)
	list := r.n.orderer.issuer.crlOf(t, string(former.CertificatePEM))
	r.must(ctx, "revocation list", func(c *Config) error { return c.SetRevocationLists("OrdererMSP", []string{list}) }, r.ordererAdmin)
	to := r.config.Clone()
	if err := batch(8)(to); err != nil {
		t.Fatal(err)
	}
	update := updateBetween(t, r.config, to)
	if requirements, err := Requirements(r.config, update); err != nil || met(requirements, []*msp.Identity{former}) {
		t.Errorf("a revoked admin counts: %v", err)
	}
	if err := r.send(ctx, mustMarshalUpdate(t, update), []*msp.Identity{former}, r.ordererAdmin); err == nil {
		t.Error("the orderer takes the signature of a revoked admin")
	}

	root := newAuthority(t, "new tlsca.OrdererMSP", nil)
	r.must(ctx, "TLS root", func(c *Config) error { return c.AddTLSRoot("OrdererMSP", root.pem) }, r.ordererAdmin)
	// The ordering node keeps the certificate of the former root, which must therefore stay.
	to = r.config.Clone()
	if err := to.RemoveTLSRoot("OrdererMSP", r.n.orderer.tlsca.pem); err != nil {
		t.Fatal(err)
	}
	if err := ValidateUpdate(r.config, to); err == nil {
		t.Error("ValidateUpdate lets the root of a consenter go")
	}
	if err := r.send(ctx, mustMarshalUpdate(t, updateBetween(t, r.config, to)), []*msp.Identity{r.ordererAdmin}, r.ordererAdmin); err == nil {
		t.Error("the orderer lets the root of a consenter go")
	}
	r.must(ctx, "TLS root away", func(c *Config) error { return c.RemoveTLSRoot("OrdererMSP", root.pem) }, r.ordererAdmin)
}

// growAndShrink adds a consenter to the single one, and takes it away again.
func (r *realChannel) growAndShrink(ctx context.Context, second *realNode) {
	r.follow(ctx, second)
	r.must(ctx, "second consenter", func(c *Config) error { return c.AddConsenter(second.consenter(ConsensusRaft)) }, r.ordererAdmin)
	r.wait(ctx, second)
	r.must(ctx, "its endpoint", func(c *Config) error { return c.SetEndpoints("OrdererMSP", addressesOfNodes(r.n.orderers)) }, r.ordererAdmin)
	r.must(ctx, "its endpoint away", func(c *Config) error { return c.SetEndpoints("OrdererMSP", addressesOfNodes(r.orderers)) }, r.ordererAdmin)
	r.must(ctx, "second consenter away", func(c *Config) error { return c.RemoveConsenter(Address{second.name, 7050}) }, r.ordererAdmin)
}
