package network

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// membership is that of Org3MSP.
func (s *sketch) membership(p Handle, orderers map[string]RemoteOrderer) MembershipSpec {
	return MembershipSpec{
		Handle: s.network.With(KindChannelMembership, "trade", "Org3MSP"), Definition: s.definition("Org3MSP"),
		Peers: map[string]Handle{"peer0": p}, Orderers: orderers,
	}
}

// TestMembership takes an organization through its life in a channel that it does not own.
func TestMembership(t *testing.T) {
	s := newSketch(t)
	ledger, orderers := s.serveOrdering()
	h, p := s.stranger()
	spec := s.membership(h, orderers)
	ctx := t.Context()

	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.fabric.CreateMembership(short, spec)
	if refused := new(AdmissionError); !errors.As(err, &refused) || refused.Unknown || !refused.Expired.IsZero() || p.has() {
		t.Fatalf("before the channel has the organization: %v, joined %v", err, p.has())
	}
	if _, err := s.again().FindMembership(ctx, "dev", "Org3MSP", "trade"); !errors.Is(err, ErrNotFound) {
		t.Errorf("something of the attempt is left: %v", err)
	}

	s.admit("Org3MSP")
	s.must(s.fabric.CreateMembership(ctx, spec))
	genesis, _ := proto.MarshalOptions{Deterministic: true}.Marshal(s.genesis)
	if !p.has() || !slices.Equal(p.genesis, genesis) {
		t.Error("the peer has not joined with the channel's first block")
	}
	want := []configtx.Address{{Host: "peer0.org3.example.com", Port: 7051}}
	if got := anchorsOf(t, ledger.now(), "Org3MSP"); !slices.Equal(got, want) {
		t.Errorf("anchor peers %v, want %v", got, want)
	}
	found, err := s.again().FindMembership(ctx, "dev", "Org3MSP", "trade")
	if err != nil || found.Peers["peer0"] != h || found.Orderers["orderer0"].Address != orderers["orderer0"].Address || found.Definition.ID != "Org3MSP" {
		t.Errorf("found again is %+v, %v", found, err)
	}

	s.fake.SetStatus(h.Object(), engine.Stopped, 0)
	if peer, err := s.again().ReadPeer(ctx, h); err != nil || peer.Ledger != LedgerHeld {
		t.Errorf("a stopped peer of a membership: ledger %v, %v", peer.Ledger, err)
	}
	s.fake.SetStatus(h.Object(), engine.Running, 0)

	state, basis, err := s.fabric.ReadMembership(ctx, spec)
	if err != nil || !slices.Equal(state.Joined, []string{"peer0"}) || len(state.Unanswered) > 0 || state.Excluded != nil {
		t.Errorf("read back: %+v, %v", state, err)
	}
	none := spec
	none.Peers = map[string]Handle{}
	plan, err := PlanMembership(none, basis)
	if err != nil || len(plan.Missing) > 0 || !strings.Contains(strings.Join(plan.Changes, ""), "peer0.org3.example.com:7051 of Org3MSP removed") || !strings.Contains(strings.Join(plan.Changes, ""), "/Channel/Application/Org3MSP/Admins") {
		t.Errorf("planned is %+v, %v", plan, err)
	}
	if plan, err := PlanMembership(spec, basis); err != nil || len(plan.Changes) > 0 {
		t.Errorf("planned without a change is %+v, %v", plan, err)
	}

	sequence := ledger.now().Sequence()
	s.must(s.fabric.UpdateMembership(ctx, spec))
	if got := ledger.now().Sequence(); got != sequence {
		t.Errorf("an update without a change made configuration %d of %d", got, sequence)
	}
	s.must(s.fabric.UpdateMembership(ctx, none))
	if p.has() || len(anchorsOf(t, ledger.now(), "Org3MSP")) > 0 {
		t.Errorf("joined %v, anchors %v after the peer was taken away", p.has(), anchorsOf(t, ledger.now(), "Org3MSP"))
	}
	s.must(s.fabric.UpdateMembership(ctx, spec))
	if !p.has() {
		t.Error("the peer has not joined again")
	}

	remain, err := s.again().DeleteMembership(ctx, spec)
	if err != nil || remain != nil || p.has() || len(anchorsOf(t, ledger.now(), "Org3MSP")) > 0 {
		t.Errorf("after delete: %v, %v, joined %v", err, remain, p.has())
	}
	remain, err = s.again().DeleteMembership(ctx, spec)
	if err != nil || remain != nil {
		t.Errorf("deleting once more: %v, %v", err, remain)
	}
}

// TestMembershipThatFails leaves nothing: the peers that joined have left again.
func TestMembershipThatFails(t *testing.T) {
	s := newSketch(t)
	_, orderers := s.serveOrdering()
	h, p := s.stranger()
	s.admit("Org3MSP")
	spec := s.membership(h, orderers)
	spec.Definition = s.definition("Org2MSP") // nobody of Org3MSP may change that
	spec.Definition.ID = "Org2MSP"
	err := s.fabric.CreateMembership(t.Context(), spec)
	if made := new(NotMadeError); !errors.As(err, &made) || p.has() {
		t.Errorf("got %v, joined %v", err, p.has())
	}
	if _, err := s.again().FindMembership(t.Context(), "dev", "Org3MSP", "trade"); !errors.Is(err, ErrNotFound) {
		t.Errorf("its record is left: %v", err)
	}
}

// TestMembershipThatEnded: an organization that was taken out of the channel is told so, and can leave.
func TestMembershipThatEnded(t *testing.T) {
	s := newSketch(t)
	_, orderers := s.serveOrdering()
	h, p := s.stranger()
	spec := s.membership(h, orderers)
	s.admit("Org3MSP")
	s.must(s.fabric.CreateMembership(t.Context(), spec))
	_, err := s.fabric.updateChannel(t.Context(), configUpdate{
		channel: s.channel, orderers: []Handle{s.orderer("orderer0")}, admins: []Handle{s.organization("Org1MSP"), s.organization("Org2MSP")},
		edit: func(config *configtx.Config) error { return config.RemoveApplicationOrganization("Org3MSP") },
	})
	s.must(err)
	state, _, err := s.fabric.ReadMembership(t.Context(), spec)
	if err != nil || state.Excluded == nil || !slices.Equal(state.Joined, []string{"peer0"}) {
		t.Errorf("read %+v, %v", state, err)
	}
	if remain, err := s.fabric.DeleteMembership(t.Context(), spec); err != nil || remain != nil || p.has() {
		t.Errorf("delete: %v, %v, joined %v", remain, err, p.has())
	}
}

// TestMembershipIsReached: what becomes of an organization's MSP is brought to the channels of others in which
// it has a membership, and to none that took it out.
func TestMembershipIsReached(t *testing.T) {
	s := newSketch(t)
	ledger, orderers := s.serveOrdering()
	h, _ := s.stranger()
	s.admit("Org3MSP")
	s.must(s.fabric.CreateMembership(t.Context(), s.membership(h, orderers)))
	s.fake.VanishNode(s.channel.record()) // the channel's owner is elsewhere
	s.fake.VanishVolume(s.channel.record())
	f, org, ctx := s.again(), s.organization("Org3MSP"), t.Context()

	root := s.roots["Org3MSP"].enrollment
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now()}},
	}, root.Certificate, root.Key)
	s.must(err)
	lists := []string{string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))}
	bring := func() error {
		return f.updateChannelsOf(ctx, org, func(c *configtx.Config) error { return c.SetRevocationLists("Org3MSP", lists) })
	}
	has := func() (member, has bool) {
		channels, err := f.channelsOf(ctx, org)
		if err != nil || len(channels) != 1 {
			t.Fatalf("the channels of Org3MSP are %v, %v", channels, err)
		}
		channel, member, has, err := f.channelHasCRL(ctx, channels[0], "Org3MSP", lists)
		if err != nil || channel.String() != "channel trade" {
			t.Fatalf("%s: %v", channel, err)
		}
		return member, has
	}
	if member, has := has(); !member || has {
		t.Errorf("before: member %t, has the list %t", member, has)
	}
	s.must(bring())
	if member, has := has(); !member || !has {
		t.Errorf("after: member %t, has the list %t", member, has)
	}
	sequence := ledger.now().Sequence()
	_, err = s.fabric.updateChannel(ctx, configUpdate{
		channel: s.channel, orderers: []Handle{s.orderer("orderer0")}, admins: []Handle{s.organization("Org1MSP"), s.organization("Org2MSP")},
		edit: func(config *configtx.Config) error { return config.RemoveApplicationOrganization("Org3MSP") },
	})
	s.must(err)
	s.must(bring())
	if member, _ := has(); member || ledger.now().Sequence() != sequence+1 {
		t.Errorf("taken out: member %t, configuration %d of %d", member, ledger.now().Sequence(), sequence+1)
	}
}

// memberReached: an organization that has no more than a membership in a channel has its revocation list there,
// and another TLS root.
func (l *live) memberReached(t *testing.T) {
	if l.version.String() != "3.1.1" && os.Getenv("FABRIC_LONG") == "" {
		t.Skip("FABRIC_LONG=1 runs it on " + l.version.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f, channel, org := l.fresh(nil), l.spec().Handle, l.definitions["Org2MSP"].Organization
	l.must(l.create(ctx, f, time.Minute))
	l.must(keystore.OpenVolume(l.engine, channel.record()).Remove(ctx, l.network.Owner)) // its owner is elsewhere
	node, err := l.engine.Node(ctx, l.orderer(0).Object())
	l.must(err)
	i := slices.IndexFunc(node.Ports, func(p engine.Port) bool { return p.Container == ordererPort })
	membership := MembershipSpec{
		Handle: l.network.With(KindChannelMembership, liveChannel, "Org2MSP"), Peers: map[string]Handle{"peer0": l.peer("peer0.org2")},
		Orderers: map[string]RemoteOrderer{"orderer0": {
			Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(node.Ports[i].Host)), ServerName: l.orderer(0).Host(),
			TLSRoots: l.definitions["OrdererMSP"].Definition.TLSRootCertificates,
		}},
	}
	l.must(f.writeMembership(ctx, membership))
	onChannel := func() msp.Definition {
		t.Helper()
		config, err := f.latestConfig(ctx, channel, membership.orderers())
		l.must(err)
		present, err := membership.present(config)
		l.must(err)
		return present.Definition
	}

	_, err = f.CreateIdentity(ctx, IdentitySpec{Handle: l.network.With(KindIdentity, "mallory", "Org2MSP"), Type: "client"})
	l.must(err)
	state, err := f.EnsureCRL(ctx, CRLSpec{Organization: org, Revoke: map[string]Revocation{"mallory": {Identity: "mallory"}}})
	l.must(err)
	if lists := onChannel().RevocationLists; !slices.Equal(lists, []string{state.List}) || len(state.Pending) > 0 || !slices.Contains(state.Reaches, "channel trade") {
		t.Errorf("the channel has %d lists; reached %v, pending %v", len(lists), state.Reaches, state.Pending)
	}
	before := onChannel().TLSRootCertificates
	l.must(f.RollTLSRoot(ctx, org, 2))
	if roots := onChannel().TLSRootCertificates; len(roots) != 1 || slices.Equal(roots, before) {
		t.Errorf("the channel has %d TLS roots, the one of before: %t", len(roots), slices.Contains(roots, before[0]))
	}
}

// TestMembershipWithoutOrderers: while the ordering nodes of the others do not answer, what is ours is read
// and leaves all the same.
func TestMembershipWithoutOrderers(t *testing.T) {
	s := newSketch(t)
	_, orderers := s.serveOrdering()
	h, p := s.stranger()
	s.admit("Org3MSP")
	spec := s.membership(h, orderers)
	s.must(s.fabric.CreateMembership(t.Context(), spec))
	spec.Orderers = map[string]RemoteOrderer{"gone": {Address: "127.0.0.1:1", TLSRoots: orderers["orderer0"].TLSRoots}}
	state, _, err := s.fabric.ReadMembership(t.Context(), spec)
	if unanswered := new(UnansweredError); !errors.As(err, &unanswered) || !slices.Equal(state.Joined, []string{"peer0"}) {
		t.Errorf("read %+v, %v", state, err)
	}
	remain, err := s.fabric.DeleteMembership(t.Context(), spec)
	if err != nil || remain == nil || p.has() {
		t.Errorf("delete: remain %v, %v, joined %v", remain, err, p.has())
	}
	// Another name in the certificate is no ordering node of ours.
	spec.Orderers = map[string]RemoteOrderer{"other": {Address: orderers["orderer0"].Address, TLSRoots: orderers["orderer0"].TLSRoots, ServerName: "other.example.com"}}
	if _, _, err := s.fabric.ReadMembership(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "other.example.com") {
		t.Errorf("a certificate of another name: %v", err)
	}
}

// TestMembershipFailsAtEveryStep: wherever the engine fails, the next attempt succeeds, and what is there
// can be removed.
func TestMembershipFailsAtEveryStep(t *testing.T) {
	for _, when := range []enginetest.When{enginetest.Before, enginetest.After} {
		for step := 1; ; step++ {
			s := newSketch(t)
			_, orderers := s.serveOrdering()
			h, p := s.stranger()
			s.admit("Org3MSP")
			spec := s.membership(h, orderers)
			s.fake.FailAt(step, when, errors.New("the engine broke"))
			failed := s.fabric.CreateMembership(t.Context(), spec)
			if failed == nil {
				if step == 1 {
					t.Error("no step failed")
				}
				break
			}
			s.must(s.again().CreateMembership(t.Context(), spec))
			if remain, err := s.again().DeleteMembership(t.Context(), spec); err != nil || remain != nil || p.has() {
				t.Errorf("step %d: after %v, delete gives %v, %v, joined %v", step, failed, err, remain, p.has())
			}
			if _, err := s.again().FindMembership(t.Context(), "dev", "Org3MSP", "trade"); !errors.Is(err, ErrNotFound) {
				t.Errorf("step %d: its record is left: %v", step, err)
			}
		}
	}
}
