package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// permanentError is what permanent makes of an error.
type permanentError = backoff.PermanentError

// failsAlways fails every call of a method on a name.
func failsAlways(method, name string) func(string, string) error {
	return func(m, n string) error {
		if m == method && n == name {
			return errInjected
		}
		return nil
	}
}

// TestAccChannelIsAtomic makes the creation of a channel fail at every step, and creates it again at
// once each time.
func TestAccChannelIsAtomic(t *testing.T) {
	l := newLive(t, "3.1.1", 3)
	record := l.spec().Handle.record()
	orderer, peer := l.orderer(1), l.peers[0]
	for _, c := range []struct {
		name string
		fail func(method, name string) error
		lose map[string]int
		// before and after are done to the nodes around the failing attempt.
		before, after func()
		says          string
	}{
		{name: "volume of the record", fail: failsAlways("CreateVolume", record)},
		{name: "keeper of the record", fail: failsAlways("CreateNode", record)},
		{name: "writing the record", fail: failsAlways("PutFiles", record)},
		{name: "joining an orderer", fail: failsAlways("Dial", orderer.Object()+":7053"), says: "orderer orderer1"},
		{name: "the answer of an orderer", lose: map[string]int{orderer.Object() + ":7053": 8000}, says: "orderer orderer1"},
		{name: "joining a peer", fail: failsAlways("Dial", peer.Object()+":7051"), says: "peer peer0.org1"},
		{name: "the answer of a peer", lose: map[string]int{peer.Object() + ":7051": 8000}, says: "peer peer0.org1"},
		{name: "awaiting the leader", fail: failsAlways("Dial", orderer.Object()+":7050"), says: "await the leader"},
		{
			name: "a paused peer", says: "peer peer0.org1",
			before: func() { dockerCommand(t, "pause", peer.Object()) },
			after:  func() { dockerCommand(t, "start", peer.Object()) },
		},
		{
			name: "a paused orderer", says: "orderer orderer1",
			before: func() { dockerCommand(t, "pause", orderer.Object()) },
			after:  func() { dockerCommand(t, "start", orderer.Object()) },
		},
		{
			name: "a stopped orderer", says: "orderer orderer1",
			before: func() { dockerCommand(t, "stop", orderer.Object()) },
			after:  func() { dockerCommand(t, "start", orderer.Object()) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			begun := time.Now()
			if c.before != nil {
				c.before()
			}
			failing := l.fresh(&faulty{Engine: l.engine, fail: c.fail, lose: c.lose})
			limit := 3 * time.Second
			if c.says == "" { // no node has a part in it
				limit = time.Second
			}
			err := l.create(t.Context(), failing, limit)
			if made := new(NotMadeError); !errors.As(err, &made) || made.Existed || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("the error is %v, want a NotMadeError that says %q", err, c.says)
			}
			t.Logf("%s: failed and taken back after %s: %v", c.name, time.Since(begun).Round(10*time.Millisecond), err)
			if c.after != nil {
				c.after()
			}
			l.untouched()
			again := time.Now()
			l.must(l.create(t.Context(), l.fresh(nil), time.Minute))
			created := time.Since(again)
			f := l.fresh(nil)
			l.works(f)
			again = time.Now()
			l.must(l.remove(f))
			t.Logf("created again in %s, removed in %s", created.Round(10*time.Millisecond), time.Since(again).Round(10*time.Millisecond))
			l.untouched()
		})
	}
	t.Run("failures that pass", func(t *testing.T) {
		l := l.in(t)
		passed := time.Now().Add(2 * time.Second)
		failing := l.fresh(&faulty{Engine: l.engine, fail: func(method, name string) error {
			if method != "Volumes" && time.Now().Before(passed) {
				return fmt.Errorf("%w of %s %s", errInjected, method, name)
			}
			return nil
		}})
		l.must(l.create(t.Context(), failing, time.Minute))
		l.works(l.fresh(nil))
	})
}

// channelFoundAgain is what a channel is in the eyes of a run that did not see how it came to be.
func (l *live) channelFoundAgain(t *testing.T) {
	spec, ctx := l.spec(), t.Context()
	genesisOf := func() []byte {
		t.Helper()
		_, genesis, err := l.fresh(nil).channelRecordWithGenesis(ctx, spec.Handle)
		l.must(err)
		return genesis
	}
	read := func() ChannelState {
		t.Helper()
		state, err := l.fresh(nil).ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
		l.must(err)
		return state
	}

	// A run that dies when the orderer and one peer have joined takes nothing back.
	begun := l.killedCreate()
	again := genesisOf()
	l.must(l.create(ctx, l.fresh(nil), time.Minute))
	if !bytes.Equal(begun, again) || !bytes.Equal(begun, genesisOf()) {
		t.Error("the channel was resumed with another genesis block")
	}
	l.works(l.fresh(nil))

	// From another configuration it is not taken for the same channel, nor is it taken away.
	other := spec
	other.Config.Batch.MaxMessageCount = 7
	for _, err := range []error{l.fresh(nil).PreflightChannel(ctx, other), l.fresh(nil).CreateChannel(ctx, other)} {
		recorded := new(RecordedError)
		if !errors.As(err, &recorded) || !slices.Equal(recorded.Differs, []string{"batch settings, capabilities, ACLs or policies"}) || !slices.Equal(recorded.Nodes, []string{"orderer0", "peer0.org1", "peer0.org2"}) {
			t.Errorf("the error is %v", err)
		}
	}
	// From the same one it is, and a failure then leaves it as it is.
	failing := l.fresh(&faulty{Engine: l.engine, fail: failsAlways("Dial", l.peers[0].Object()+":7051")})
	err := l.create(ctx, failing, 2*time.Second)
	if made := new(NotMadeError); !errors.As(err, &made) || !made.Existed {
		t.Errorf("the error is %v, want a NotMadeError of a channel that existed", err)
	}
	if state := read(); state.Lost || state.Absent || len(state.Joined) != 2 {
		t.Errorf("the state is %+v", state)
	}

	// The record is not whole, and then lost.
	record := keystore.OpenVolume(l.engine, spec.Handle.record())
	for _, lose := range []func() error{
		func() error { return record.Write(ctx, map[string][]byte{recordFile: []byte(`{"Orderers":`)}) },
		func() error { return record.Remove(ctx, l.network.Owner) },
	} {
		l.must(lose())
		if state := read(); !state.Unrecorded || state.Absent || state.Lost {
			t.Errorf("the state is %+v, want unrecorded", state)
		}
		l.must(l.fresh(nil).UpdateChannel(ctx, spec))
		if state := read(); state.Unrecorded || !bytes.Equal(begun, genesisOf()) {
			t.Errorf("the record was not restored: %+v", state)
		}
	}

	// Somebody removes the channel from its orderer, over blocks that the peers hold.
	l.removeByHand(0)
	if state := read(); !state.Lost || state.Absent {
		t.Errorf("the state is %+v, want lost", state)
	}
	for _, err := range []error{
		l.fresh(nil).PreflightChannel(ctx, spec), l.fresh(nil).CreateChannel(ctx, spec), l.fresh(nil).UpdateChannel(ctx, spec),
	} {
		if !errors.As(err, new(*LostChannelError)) || !errors.Is(err, ErrLost) {
			t.Errorf("the error is %v, want a LostChannelError", err)
		}
	}
	accepted := spec
	accepted.AcceptDataLoss = true
	l.must(l.fresh(nil).UpdateChannel(ctx, accepted))
	l.works(l.fresh(nil)) // at height 2 again
	if bytes.Equal(begun, genesisOf()) {
		t.Error("the channel was made anew with the old genesis block")
	}

	// Somebody removes it over nothing but the first block: that is no loss, and what the orderer
	// left of its log is no obstacle.
	l.must(l.remove(l.fresh(nil)))
	l.must(l.create(ctx, l.fresh(nil), time.Minute))
	l.removeByHand(0)
	if state := read(); !state.Absent || state.Lost {
		t.Errorf("the state is %+v, want absent", state)
	}
	l.must(l.create(ctx, l.fresh(nil), time.Minute))
	l.works(l.fresh(nil))

	// With containers gone, the volumes still let the channel be left.
	l.must(l.engine.RemoveNode(ctx, l.peers[0].Object(), l.network.Owner))
	dockerCommand(t, "stop", l.peers[1].Object())
	dockerCommand(t, "kill", l.orderer(0).Object())
	_, err = l.fresh(nil).ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
	if !errors.As(err, new(*UnansweredError)) {
		t.Errorf("the error is %v, want an UnansweredError", err)
	}
	l.must(l.remove(l.fresh(nil)))
	dockerCommand(t, "start", l.peers[1].Object())
	dockerCommand(t, "start", l.orderer(0).Object())
	_, err = l.fabric.EnsurePeer(ctx, PeerSpec{Handle: l.peers[0], NodeOptions: liveOptions("hyperledger/fabric-peer:" + l.version.String()), Version: l.version})
	l.must(err)
	l.untouched()
}

// killedCreate is a run of the provider that ends without a word when the orderer and the first peer
// have joined, and gives the genesis block that they joined with.
func (l *live) killedCreate() []byte {
	l.t.Helper()
	spec := l.spec()
	died := make(chan struct{})
	fails := func(method, name string) error {
		select {
		case <-died: // a dead process calls nothing
			return errInjected
		default:
		}
		return failsAlways("Dial", l.peers[1].Object()+":7051")(method, name)
	}
	f := l.fresh(&faulty{Engine: l.engine, fail: fails})
	ctx, cancel := context.WithCancel(l.t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- f.CreateChannel(ctx, spec) }()
	watch := l.fresh(nil)
	l.must(poll(ctx, func(ctx context.Context) error {
		for _, h := range []Handle{l.orderer(0), l.peers[0]} {
			if has, err := watch.hasChannel(ctx, h, liveChannel); err != nil || !has {
				return fmt.Errorf("%s has not joined: %w", h, err)
			}
		}
		return nil
	}))
	close(died)
	cancel()
	if err := <-result; err == nil || errors.As(err, new(*NotMadeError)) {
		l.t.Fatalf("the error is %v, want one that takes nothing back", err)
	}
	_, genesis, err := watch.channelRecordWithGenesis(l.t.Context(), spec.Handle)
	l.must(err)
	return genesis
}

// removeByHand removes the channel from an orderer as osnadmin does, which leaves its log there.
func (l *live) removeByHand(orderer int) {
	l.t.Helper()
	client, err := l.fresh(nil).participation(l.t.Context(), l.orderer(orderer))
	l.must(err)
	l.must(client.Remove(l.t.Context(), liveChannel))
	l.must(client.AwaitRemoved(l.t.Context(), liveChannel))
	if _, err := l.engine.GetFiles(l.t.Context(), l.orderer(orderer).Object(), ordererConfig(l.orderer(orderer)).WALDir+"/"+liveChannel); err != nil {
		l.t.Errorf("Fabric leaves no log behind any more: %v", err)
	}
}

// TestRecordedChannel: a record counts by what nodes made of it.
func TestRecordedChannel(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	for _, name := range []string{"orderer0", "orderer1", "peer0.org1", "peer1.org1", "peer0.org2"} {
		s.fake.SetStatus(s.peer(name, "").Object(), engine.Stopped, 0)
	}
	_, written, err := s.fabric.channelRecordWithGenesis(t.Context(), s.channel)
	s.must(err)

	t.Run("the same request is resumed with the same bytes", func(t *testing.T) {
		genesis, inUse, err := s.again().resumable(t.Context(), spec)
		if err != nil || !bytes.Equal(genesis, written) || !inUse {
			t.Errorf("resumed with %d bytes, in use %t: %v; nodes that do not answer may have more blocks", len(genesis), inUse, err)
		}
	})
	t.Run("another request waits for the nodes to tell", func(t *testing.T) {
		other := spec
		other.Config.Batch.MaxMessageCount = 3
		if _, _, err := s.again().resumable(t.Context(), other); !errors.As(err, new(*UnansweredError)) {
			t.Errorf("the error is %v, want an UnansweredError", err)
		}
	})
	t.Run("a record that was cut short is none", func(t *testing.T) {
		s.fake.WriteVolume(s.channel.record(), engine.File{Name: "store/" + genesisFile, Content: written[:len(written)/2]})
		_, _, err := s.again().channelRecordWithGenesis(t.Context(), s.channel)
		if !errors.Is(err, ErrLost) {
			t.Errorf("the error is %v, want ErrLost", err)
		}
	})
	t.Run("nothing written is nothing begun", func(t *testing.T) {
		s.fake.VanishVolume(s.channel.record())
		s.fake.VanishNode(s.channel.record())
		s.must(s.again().createRecord(t.Context(), spec))
		genesis, inUse, err := s.again().resumable(t.Context(), spec)
		if err != nil || genesis != nil || inUse {
			t.Errorf("resumed with %d bytes, in use %t: %v", len(genesis), inUse, err)
		}
	})
}

// TestPreflightChannel: what has the name of the record already is named.
func TestPreflightChannel(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	spec.Handle = s.network.With(KindChannel, "other", "")
	s.must(s.fabric.PreflightChannel(t.Context(), spec))

	s.fake.AddVolume(engine.Volume{Name: spec.Handle.record(), Labels: map[string]string{engine.LabelOwner: "somebody"}})
	if err := s.fabric.PreflightChannel(t.Context(), spec); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("the error is %v, want ErrForeign", err)
	}
	s.fake.AddVolume(engine.Volume{Name: spec.Handle.record(), Labels: s.network.With(KindPeer, "channel-other", "").labels()})
	if err := s.fabric.PreflightChannel(t.Context(), spec); !errors.As(err, new(*TakenError)) {
		t.Errorf("the error is %v, want a TakenError", err)
	}
	s.fake.VanishVolume(spec.Handle.record())
	spec.Config.ApplicationPolicies = map[string]string{"Endorsement": "OR('Org9MSP.peer')"}
	if err := s.fabric.PreflightChannel(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "Org9MSP") {
		t.Errorf("the error is %v, want one about Org9MSP", err)
	}
}

// TestCapabilityNeedsItsReleases: a node that meets a capability it does not know ends, with every
// other channel that it serves.
func TestCapabilityNeedsItsReleases(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	spec.Handle = s.network.With(KindChannel, "other", "")
	spec.Config.ChannelCapability = configtx.ChannelCapabilityV3_0
	s.must(s.fabric.PreflightChannel(t.Context(), spec))

	old := s.peer("peer1.org1", "Org1MSP")
	n, err := s.fake.Node(t.Context(), old.Object())
	s.must(err)
	n.Labels = maps.Clone(n.Labels)
	n.Labels[labelInputs] = inputs(memberInputs{NodeOptions: sketchOptions("peer:2.5.9"), Version: "2.5.9"})
	s.fake.AddNode(n)
	capability := new(CapabilityError)
	if err := s.fabric.PreflightChannel(t.Context(), spec); !errors.As(err, &capability) || capability.Node != old.Name || capability.Version != "2.5.9" {
		t.Errorf("the error is %v, want a CapabilityError of %s", err, old)
	}
	spec.Config.ChannelCapability = configtx.ChannelCapabilityV2_0
	s.must(s.fabric.PreflightChannel(t.Context(), spec))
}

// TestMissingPeers: who has joined, or has and is stopped, is not joined again.
func TestMissingPeers(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	before := channelRecord{Organizations: map[string]ChannelOrganization{"Org1MSP": spec.Organizations["Org1MSP"]}}
	for _, c := range []struct {
		name  string
		state ChannelState
		want  []string
	}{
		{"nobody has joined", ChannelState{}, []string{"peer0.org1", "peer0.org2", "peer1.org1"}},
		{"some have", ChannelState{Joined: map[string][]string{"Org1MSP": {"peer0.org1"}, "Org2MSP": {"peer0.org2"}}}, []string{"peer1.org1"}},
		{"a stopped one that had", ChannelState{Joined: map[string][]string{"Org1MSP": {"peer0.org1"}, "Org2MSP": {"peer0.org2"}}, Unanswered: map[string][]string{"Org1MSP": {"peer1.org1"}}}, nil},
		{"a stopped one that is new", ChannelState{Joined: map[string][]string{"Org1MSP": {"peer0.org1", "peer1.org1"}}, Unanswered: map[string][]string{"Org2MSP": {"peer0.org2"}}}, []string{"peer0.org2"}},
	} {
		var got []string
		for _, p := range missing(spec, before, c.state) {
			got = append(got, p.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v join, want %v", c.name, got, c.want)
		}
	}
}

// TestRefusalsAreBorne: a node that refuses is asked again, for a while.
func TestRefusalsAreBorne(t *testing.T) {
	refusal := fmt.Errorf("unable to join: %w", &endorser.RefusedError{Peer: "peer0", Status: 500, Message: "under construction"})
	p := patience{}
	if err := p.bear(refusal); !errors.Is(err, refusal) || errors.As(err, new(*permanentError)) {
		t.Errorf("the first refusal gives %v", err)
	}
	p.since = time.Now().Add(-2 * patienceTime)
	if err := p.bear(refusal); !errors.As(err, new(*permanentError)) {
		t.Errorf("a refusal after %s gives %v, want a permanent error", 2*patienceTime, err)
	}
	if err := p.bear(errors.New("connection refused")); errors.As(err, new(*permanentError)) || !p.since.IsZero() {
		t.Error("a node that does not answer does not refuse")
	}
	if err := p.bear(fmt.Errorf("unable to join: %w", &participation.Error{Status: 400})); errors.As(err, new(*permanentError)) || p.since.IsZero() {
		t.Error("an orderer's refusal counts as one, from now on")
	}
	if err := p.bear(nil); err != nil || !p.since.IsZero() {
		t.Error("success ends the count")
	}
}

// TestLeavingNeedsNoAnswer: where nothing of a node can be asked, its volume is worked on, and nodes
// that ran run again.
func TestLeavingNeedsNoAnswer(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	s.fake.SetProgram([]string{"rm"}, enginetest.Program{})
	for _, c := range [][]string{{"peer", "node", "unjoin", "-c", "trade"}} {
		s.fake.SetProgram(c, enginetest.Program{})
	}
	stopped := s.peer("peer1.org1", "Org1MSP")
	s.fake.SetStatus(stopped.Object(), engine.Stopped, 0)
	s.removeContainer(s.peer("peer0.org2", "Org2MSP"))
	for _, p := range peersOf(spec.Organizations) {
		s.must(s.fabric.unjoin(t.Context(), p, "trade", unjoinOptions{unasked: true}))
	}
	var ran []string
	for _, run := range s.fake.Runs() {
		ran = append(ran, run.Name+": "+strings.Join(run.Command, " "))
		if run.Image == "" || len(run.Mounts) != 1 || run.Network != "" {
			t.Errorf("it ran with image %q, mounts %v and network %q", run.Image, run.Mounts, run.Network)
		}
	}
	slices.Sort(ran)
	want := []string{
		"dev-peer0.org1-once: peer node unjoin -c trade", "dev-peer0.org2-once: peer node unjoin -c trade", "dev-peer1.org1-once: peer node unjoin -c trade",
	}
	if !slices.Equal(ran, want) {
		t.Errorf("run were %v, want %v", ran, want)
	}
	for name, status := range map[string]engine.Status{"peer0.org1": engine.Running, "peer1.org1": engine.Stopped} {
		n, err := s.fake.Node(t.Context(), s.peer(name, "").Object())
		if err != nil || n.Status != status {
			t.Errorf("%s is %s after it left, want %s: %v", name, n.Status, status, err)
		}
	}
}

// TestPeersLeaveFirst: as long as a peer holds blocks of a channel, no ordering node leaves it.
func TestPeersLeaveFirst(t *testing.T) {
	s := newSketch(t)
	spec := s.channelSpec()
	s.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{})
	orderers, err := s.fabric.Orderers(t.Context(), spec.Orderers)
	s.must(err)
	for _, o := range orderers { // nothing is asked of those that stand still
		s.fake.SetStatus(o.Object(), engine.Stopped, 0)
	}
	var asked atomic.Bool
	remove := func(unjoins error) {
		t.Helper()
		f := New(&faulty{Engine: s.fake, fail: func(method, name string) error {
			switch {
			case method != "RunOnce":
				return nil
			case strings.HasPrefix(name, s.orderer("orderer").Object()):
				asked.Store(true)
				return errInjected
			}
			return unjoins
		}})
		defer func() { s.must(f.Close()) }()
		if err := f.removeChannel(t.Context(), spec.Handle, spec.Orderers, spec.Organizations, nobody); !errors.Is(err, errInjected) {
			t.Errorf("the error is %v", err)
		}
	}
	remove(errInjected)
	if asked.Load() {
		t.Error("an ordering node was to leave while a peer had the channel")
	}
	remove(nil)
	if !asked.Load() {
		t.Error("no ordering node was to leave")
	}
}

// TestConsentersAreKnown: what a node was furnished with a moment ago need not be read from it, and is
// the same as what is read from it later.
func TestConsentersAreKnown(t *testing.T) {
	s := newSketch(t)
	reads := func() (n int) {
		for _, call := range s.fake.Calls() {
			if call.Method == "GetFiles" && call.Name == "dev-orderer0" {
				n++
			}
		}
		return n
	}
	before := reads()
	now, err := s.fabric.consenter(t.Context(), s.orderer("orderer0"))
	s.must(err)
	if reads() != before {
		t.Error("the certificate was read from the node")
	}
	later, err := s.again().consenter(t.Context(), s.orderer("orderer0"))
	s.must(err)
	if now != later || now.ServerTLSCertPEM == "" || reads() == before {
		t.Errorf("the consenter is %+v, and later %+v", now, later)
	}
	s.must(s.fabric.removeNode(t.Context(), s.orderer("orderer0"), true))
	if _, known := s.fabric.furnished.Load("dev-orderer0"); known {
		t.Error("the certificate of a node that is gone is remembered")
	}
}

// channelSpec is what the sketch's channel was asked for with.
func (s *sketch) channelSpec() ChannelSpec {
	spec := ChannelSpec{Handle: s.channel, Orderers: s.cluster(), Organizations: map[string]ChannelOrganization{}}
	for mspID, of := range sketchOrganizations {
		if len(of.peers) == 0 {
			continue
		}
		member := ChannelOrganization{Organization: s.organization(mspID), Definition: s.definition(mspID), Peers: map[string]Handle{}}
		for _, name := range of.peers {
			member.Peers[name] = s.peer(name, mspID)
		}
		spec.Organizations[mspID] = member
	}
	return spec
}

// again gives the use cases as a new run has them.
func (s *sketch) again() *Fabric {
	f := New(s.fake)
	s.t.Cleanup(f.conns.close)
	return f
}
