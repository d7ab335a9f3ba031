package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	lifecycleproto "github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

func (l *live) chaincode() ChaincodeSpec {
	return ChaincodeSpec{
		Channel: l.spec().Handle, Name: "kv", Version: "1.0", Label: "kv_1.0",
		Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "fabricops/kv-chaincode:1.0"}},
	}
}

// chaincodeReadiness looks at what a peer says of a chaincode whose server runs, stops, and runs
// again, before and after the peer is restarted.
func (l *live) chaincodeReadiness(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	f := l.fresh(nil)
	l.must(l.create(ctx, f, time.Minute))
	spec := l.chaincode()
	spec.InitRequired = true // nobody has initialised it: only that call reaches it
	state, err := f.ReleaseChaincode(ctx, spec)
	l.must(err)
	if state.Committed.Sequence != 1 || state.Status != engine.Running {
		t.Errorf("the state is %+v", state)
	}
	record, err := f.channelRecord(ctx, spec.Channel)
	l.must(err)
	members, err := f.members(ctx, record)
	l.must(err)
	m := members[0]
	p := m.peers[0]
	calls := &firstCalls{fabric: f, spec: spec, admin: m, peer: p, packageID: state.PackageID}
	counts := func() launches {
		t.Helper()
		n, err := f.launches(ctx, p.handle, state.PackageID)
		l.must(err)
		return n
	}
	// The peer refuses an ordinary call by itself, without a word from the chaincode.
	refused := new(endorser.RefusedError)
	if err := calls.call(ctx, false); !errors.As(err, &refused) || refused.Answered {
		t.Errorf("a call before the initialising one gives %v", err)
	}
	l.must(calls.answered(ctx))
	if n := counts(); n.succeeded == 0 {
		t.Errorf("the metrics know of %+v launches of %s", n, state.PackageID)
	}

	// A definition without that is another sequence, on the same servers.
	spec.InitRequired = false
	before, err := f.serversOn(ctx, spec.Channel)
	l.must(err)
	state, err = f.ReleaseChaincode(ctx, spec)
	l.must(err)
	after, err := f.serversOn(ctx, spec.Channel)
	l.must(err)
	if state.Committed.Sequence != 2 || len(after) != 2 || before[0].ID != after[0].ID || before[1].ID != after[1].ID {
		t.Errorf("sequence %d, servers %v and then %v", state.Committed.Sequence, before, after)
	}
	calls.spec = spec
	if err := calls.call(ctx, false); !errors.As(err, &refused) || !refused.Answered {
		t.Errorf("the chaincode's own refusal is %v", err)
	}

	// What was launched once is not there for ever: the counter of successes does not say so.
	s := server(spec, p.handle)
	l.must(l.engine.StopNode(ctx, s.Object(), time.Second))
	launched := counts()
	calls.before = nil
	for range 2 {
		if err := calls.answered(ctx); err == nil {
			t.Error("the chaincode counts as reached although its server is stopped")
		}
	}
	if n := counts(); n.succeeded < launched.succeeded || n.failed == launched.failed {
		t.Errorf("the launches were %+v and are %+v, want failures", launched, n)
	}
	read, err := l.fresh(nil).ReadChaincode(ctx, ChaincodeHandle(spec.Channel, spec.Name))
	if err != nil || read.Status != engine.Stopped || read.Committed.Sequence != 2 || read.PackageID != state.PackageID {
		t.Errorf("it reads as %+v, %v", read, err)
	}
	// A release repairs it, and changes nothing on the ledger.
	state, err = f.ReleaseChaincode(ctx, spec)
	l.must(err)
	if state.Committed.Sequence != 2 {
		t.Errorf("the repair took sequence %d", state.Committed.Sequence)
	}

	// A restarted peer counts anew: it connects to its chaincodes by itself, sooner or later.
	l.must(l.engine.StopNode(ctx, p.handle.Object(), grace))
	l.must(l.engine.StartNode(ctx, p.handle.Object()))
	l.must(poll(ctx, func(ctx context.Context) error { return f.peerAnswers(ctx, p.handle) }))
	l.must(poll(ctx, calls.answered))
	if n := counts(); n.succeeded == 0 {
		t.Errorf("the restarted peer knows of %+v launches", n)
	}

	l.must(f.DeleteChaincode(ctx, ChaincodeHandle(spec.Channel, spec.Name)))
	if left, err := f.serversOn(ctx, spec.Channel); err != nil || len(left) > 0 {
		t.Errorf("servers are left: %v %v", left, err)
	}
	l.must(l.remove(f))
}

// endorserFunc answers proposals.
type endorserFunc struct {
	peer.UnimplementedEndorserServer
	answer func(args []string, init bool) *peer.ProposalResponse
}

func (e *endorserFunc) ProcessProposal(_ context.Context, signed *peer.SignedProposal) (*peer.ProposalResponse, error) {
	proposal, payload, call := &peer.Proposal{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if err := errors.Join(
		proto.Unmarshal(signed.GetProposalBytes(), proposal), proto.Unmarshal(proposal.GetPayload(), payload), proto.Unmarshal(payload.GetInput(), call),
	); err != nil {
		return nil, err
	}
	var args []string
	for _, a := range call.GetChaincodeSpec().GetInput().GetArgs() {
		args = append(args, string(a))
	}
	return e.answer(args, call.GetChaincodeSpec().GetInput().GetIsInit()), nil
}

func refusal(payload string) *peer.ProposalResponse {
	return &peer.ProposalResponse{Response: &peer.Response{Status: 500, Message: "no"}, Payload: []byte(payload)}
}

// serveMetrics lets a node answer at its operations endpoint what its metrics are.
func (s *sketch) serveMetrics(h Handle, ca string, content func() (int, string)) {
	s.t.Helper()
	s.serveOperations(h, ca, func(path string) (int, string) {
		if path != "/metrics" {
			s.t.Errorf("asked was %s", path)
		}
		return content()
	})
}

// serveOperations lets a node answer at its operations endpoint.
func (s *sketch) serveOperations(h Handle, ca string, content func(path string) (int, string)) {
	s.t.Helper()
	root := s.operationsRoot(ca)
	pair, err := issuePair(root, certificate.LeafRequest{CommonName: h.Host(), Hosts: []string{h.Host()}, Server: true, Validity: time.Hour})
	s.must(err)
	clients := x509.NewCertPool()
	clients.AddCert(root.Certificate)
	listener := bufconn.Listen(1 << 20)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status, text := content(r.URL.Path)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "") // it ends with the test
	}()
	s.t.Cleanup(func() { _ = server.Close(); <-done })
	s.fake.HandleDial(h.Object(), peerOperationsPort, func(ctx context.Context) (net.Conn, error) { return listener.DialContext(ctx) })
}

// operationsRoot gives the operations root of a CA, which it is given when it has none.
func (s *sketch) operationsRoot(ca string) *certificate.KeyPair {
	s.t.Helper()
	h := s.network.With(KindCA, ca, "")
	keys, err := s.fabric.caKeys(s.t.Context(), h)
	s.must(err)
	if root, err := keys.operations(); err == nil {
		return root
	}
	root := s.root("operations")
	key, err := root.KeyPEM()
	s.must(err)
	s.must(s.fabric.writeKeys(s.t.Context(), h, map[string][]byte{operationsCertificate: root.CertificatePEM(), operationsKey: key}))
	return root
}

// TestFirstCalls: the chaincode is reached when it answered, or when the peer needed no launch in vain
// to be told nothing.
func TestFirstCalls(t *testing.T) {
	const packageID = "kv_1.0:abc"
	metrics := func(succeeded, failed int) string {
		return fmt.Sprintf(`# TYPE chaincode_launch_duration histogram
chaincode_launch_duration_bucket{chaincode="%[1]s",success="true",le="0.1"} 1
chaincode_launch_duration_sum{chaincode="%[1]s",success="true"} 0.25
chaincode_launch_duration_count{chaincode="%[1]s",success="true"} %[2]d
chaincode_launch_duration_count{chaincode="%[1]s",success="false"} %[3]d
chaincode_launch_duration_count{chaincode="kv_1.0:abcd",success="true"} 99
chaincode_launch_duration_count{chaincode="other:abc",success="false"} 99
`, packageID, succeeded, failed)
	}
	for _, c := range []struct {
		name     string
		answer   func(args []string, init bool) *peer.ProposalResponse
		metrics  func(call int) (int, string)
		init     bool
		attempts int // until it counts as reached; 0 for never
	}{
		{
			name: "it answers",
			answer: func([]string, bool) *peer.ProposalResponse {
				return &peer.ProposalResponse{Response: &peer.Response{Status: 200}}
			},
			attempts: 1,
		},
		{name: "it refuses", answer: func([]string, bool) *peer.ProposalResponse { return refusal("simulated") }, attempts: 1},
		{
			name: "it is to be initialised", init: true, attempts: 1,
			answer: func(_ []string, init bool) *peer.ProposalResponse {
				if init {
					return refusal("simulated")
				}
				return refusal("")
			},
		},
		{
			name:    "it cannot be reached",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(call int) (int, string) { return http.StatusOK, metrics(0, call) },
		},
		{
			name:    "it was reached once, and cannot be any more",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(call int) (int, string) { return http.StatusOK, metrics(3, call) },
		},
		{
			name:    "it was never launched",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(int) (int, string) { return http.StatusOK, metrics(0, 2) },
		},
		{
			name:    "it throws",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(int) (int, string) { return http.StatusOK, metrics(1, 2) }, attempts: 2,
		},
		{
			name:    "it says nothing, and there are no metrics",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(int) (int, string) { return http.StatusNotFound, "404 page not found" },
		},
		{
			name:    "it says nothing, and the metrics are of something else",
			answer:  func([]string, bool) *peer.ProposalResponse { return refusal("") },
			metrics: func(int) (int, string) { return http.StatusOK, "<html>" },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSketch(t)
			h := s.peer("peer0.org1", "Org1MSP")
			s.serve(h, peerPort, func(g *grpc.Server) { peer.RegisterEndorserServer(g, &endorserFunc{answer: c.answer}) })
			var mu sync.Mutex
			asked := 0
			s.serveMetrics(h, "ca.org1", func() (int, string) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				if c.metrics == nil {
					return http.StatusNotFound, ""
				}
				return c.metrics(asked)
			})
			record, err := s.fabric.channelRecord(t.Context(), s.channel)
			s.must(err)
			members, err := s.fabric.members(t.Context(), record)
			s.must(err)
			calls := &firstCalls{
				fabric: s.fabric, spec: ChaincodeSpec{Channel: s.channel, Name: "kv", InitRequired: c.init},
				admin: members[0], peer: members[0].peers[0], packageID: packageID,
			}
			if calls.peer.handle != h {
				t.Fatalf("the first peer is %s", calls.peer.handle)
			}
			reached := 0
			for attempt := 1; attempt <= 4 && reached == 0; attempt++ {
				if calls.answered(t.Context()) == nil {
					reached = attempt
				}
			}
			if reached != c.attempts {
				t.Errorf("it counts as reached at attempt %d, want %d", reached, c.attempts)
			}
		})
	}
}

func parameter(t *testing.T, text string) []byte {
	t.Helper()
	parsed, err := policy.ParseApplicationPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := parsed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestCheckPolicies(t *testing.T) {
	h := Handle{Network: "dev", Owner: "o"}
	record := channelRecord{Organizations: map[string]ChannelOrganization{
		"org1":    {Organization: h.With(KindOrganization, "Org1MSP", "Org1MSP"), Peers: map[string]Handle{"a": {}, "b": {}}},
		"org2":    {Organization: h.With(KindOrganization, "Org2MSP", "Org2MSP"), Peers: map[string]Handle{"a": {}}},
		"partner": {Organization: h.With(KindOrganization, "PartnerMSP", "PartnerMSP")},
	}}
	record.Config.ApplicationPolicies = map[string]string{"Special": "ANY Endorsement"}
	for _, c := range []struct {
		policy string
		says   string
	}{
		{"AND('Org1MSP.peer', 'Org2MSP.peer')", ""},
		{"AND('Org1MSP.peer', 'Org1MSP.member')", ""},
		{"AND('PartnerMSP.peer', 'PartnerMSP.peer', 'PartnerMSP.peer')", ""},
		{"AND('Org2MSP.peer', 'Org2MSP.member')", "(1 of Org2MSP, 2 of Org1MSP, those that PartnerMSP runs itself) cannot meet the endorsement policy"},
		{"AND('Org1MSP.admin')", "they sign in the role peer"},
		{"OR('Org1MSP.admin', 'Org2MSP.peer')", ""},
		{"OR('Org9MSP.peer', 'Org1MSP.peer')", "the endorsement policy names Org9MSP, and the organizations of channel trade are Org1MSP, Org2MSP, PartnerMSP"},
		{"/Channel/Application/Endorsement", ""},
		{"/Channel/Application/Special", ""},
		{"/Channel/Application/Org1MSP/Endorsement", ""},
		{"/Channel/Application/Unusual", "channel trade has no such policy; its application has Admins, Endorsement, LifecycleEndorsement, Readers, Special, Writers"},
	} {
		err := record.members().CheckPolicies(ChaincodeSpec{Channel: h.With(KindChannel, "trade", ""), ValidationParameter: parameter(t, c.policy)})
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: the error is %v, want %q", c.policy, err, c.says)
		}
	}
	collections, err := CollectionPackage([]Collection{
		{Name: "a", MemberPolicy: "OR('Org9MSP.member')"}, {Name: "b", MemberPolicy: "OR('Org1MSP.member')", EndorsementPolicy: "AND('Org2MSP.peer', 'Org2MSP.peer')"},
		{Name: "wide", MemberPolicy: "OR('Org1MSP.member', 'Org2MSP.member')", RequiredPeerCount: 3, MaxPeerCount: 3},
		{Name: "fits", MemberPolicy: "OR('Org1MSP.member', 'Org2MSP.member')", RequiredPeerCount: 2, MaxPeerCount: 2},
		{Name: "shared", MemberPolicy: "OR('Org1MSP.member', 'PartnerMSP.member')", RequiredPeerCount: 9, MaxPeerCount: 9},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = record.members().CheckPolicies(ChaincodeSpec{Channel: h.With(KindChannel, "trade", ""), Collections: collections})
	unknown, unmet := new(UnknownMSPError), new(UnsatisfiableError)
	if !errors.As(err, &unknown) || unknown.Whose != (Whose{Collection: "a", Members: true}) || !errors.As(err, &unmet) || unmet.Whose != (Whose{Collection: "b"}) {
		t.Errorf("the errors are %v", err)
	}
	if few := new(TooFewPeersError); !errors.As(err, &few) || *few != (TooFewPeersError{Collection: "wide", Channel: "trade", Required: 3, Others: 2}) || strings.Count(err.Error(), "required_peer_count") != 1 {
		t.Errorf("the errors are %v", err)
	}
}

func TestSameMeaning(t *testing.T) {
	collections := func(list ...Collection) lifecycle.Definition {
		packed, err := CollectionPackage(list)
		if err != nil {
			t.Fatal(err)
		}
		return lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1, Collections: packed}
	}
	endorsed := func(text string) lifecycle.Definition {
		return lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1, ValidationParameter: parameter(t, text)}
	}
	a := Collection{Name: "a", MemberPolicy: "OR('A.member', 'B.member')", EndorsementPolicy: "OR('A.peer')", MaxPeerCount: 1}
	b := Collection{Name: "b", MemberPolicy: "OR('B.member')"}
	respelled := Collection{Name: "a", MemberPolicy: "OutOf(1, 'B.member', 'A.member', 'A.member')", EndorsementPolicy: "AND('A.peer')", MaxPeerCount: 1}
	wider := a
	wider.MaxPeerCount = 2
	unguarded := a
	unguarded.EndorsementPolicy = ""
	for _, c := range []struct {
		name         string
		before, then lifecycle.Definition
		same         bool
	}{
		{"order of a policy", endorsed("AND('A.peer', 'B.peer')"), endorsed("OutOf(2, 'B.peer', 'A.peer')"), true},
		{"another policy", endorsed("AND('A.peer', 'B.peer')"), endorsed("OR('A.peer', 'B.peer')"), false},
		{"the default by name", lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1}, endorsed(policy.DefaultReference), true},
		{"another reference", lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1}, endorsed("/Channel/Application/Writers"), false},
		{"order and spelling of collections", collections(a, b), collections(b, respelled), true},
		{"a collection more", collections(a), collections(a, b), false},
		{"another count", collections(a), collections(wider), false},
		{"no endorsement policy", collections(a), collections(unguarded), false},
	} {
		if sameMeaning(c.before, c.then) != c.same || sameMeaning(c.then, c.before) != c.same {
			t.Errorf("%s: want the same %t", c.name, c.same)
		}
	}
	// And what a person reads of them is what they wrote, in canonical form where it was not.
	if got := Collections(collections(a, b).Collections); !slices.Equal(got, []Collection{a, b}) {
		t.Errorf("they read as %+v", got)
	}
}

func TestCheckCollections(t *testing.T) {
	pack := func(list ...Collection) *peer.CollectionConfigPackage {
		packed, err := CollectionPackage(list)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	a, b := Collection{Name: "a", MemberPolicy: "OR('A.member')", BlockToLive: 5}, Collection{Name: "b", MemberPolicy: "OR('A.member')"}
	longer := a
	longer.BlockToLive, longer.MemberPolicy = 6, "OR('B.member')"
	for _, c := range []struct {
		before, then *peer.CollectionConfigPackage
		says         []string
	}{
		{nil, pack(a), nil},
		{pack(a), pack(b, a), nil},
		{pack(a, b), pack(b), []string{"collection a is on the ledger"}},
		{pack(a, b), nil, []string{"collection a is on the ledger", "collection b is on the ledger"}},
		{pack(a), pack(longer), []string{"block_to_live of collection a is 5 on the ledger"}},
	} {
		err := CheckCollections(c.before, c.then)
		if (err == nil) != (len(c.says) == 0) {
			t.Errorf("the error is %v", err)
		}
		for _, says := range c.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("the error is %v, want %q", err, says)
			}
		}
	}
}

// TestServerSurvivesItsDefinition: what is on the ledger alone is no reason to replace a server.
func TestServerSurvivesItsDefinition(t *testing.T) {
	h := Handle{Kind: KindPeer, Network: "dev", Domain: "example.com", Owner: "o", Name: "peer0.org1", MSPID: "Org1MSP"}
	spec := ChaincodeSpec{
		Channel: h.With(KindChannel, "trade", ""), Name: "kv", Version: "1.0", Label: "kv_1.0",
		Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}, Env: map[string]string{"A": "b"}},
	}
	hash := func(change func(*ChaincodeSpec)) string {
		changed := spec
		change(&changed)
		return serverNode(changed, h, "sha256:1", "kv_1.0:abc").Labels[engine.LabelSpecHash]
	}
	same := hash(func(*ChaincodeSpec) {})
	for name, c := range map[string]struct {
		change func(*ChaincodeSpec)
		same   bool
	}{
		"version":     {func(s *ChaincodeSpec) { s.Version = "2.0" }, true},
		"policy":      {func(s *ChaincodeSpec) { s.ValidationParameter = []byte("p") }, true},
		"init":        {func(s *ChaincodeSpec) { s.InitRequired = true }, true},
		"collections": {func(s *ChaincodeSpec) { s.Collections = &peer.CollectionConfigPackage{} }, true},
		"image":       {func(s *ChaincodeSpec) { s.Server.Image = "kv:2" }, false},
		"environment": {func(s *ChaincodeSpec) { s.Server.Env = map[string]string{"A": "c"} }, false},
		"command":     {func(s *ChaincodeSpec) { s.Server.Command = []string{"kv"} }, false},
		"limits":      {func(s *ChaincodeSpec) { s.Server.Limits.PIDs = 9 }, false},
	} {
		if (hash(c.change) == same) != c.same {
			t.Errorf("%s: want the same server %t", name, c.same)
		}
	}
}

// TestServerPrefix: labels that differ give hosts that differ, and every host is one.
func TestServerPrefix(t *testing.T) {
	seen := map[string]string{}
	for _, label := range []string{"kv", "KV", "kv_1.0", "kv-1-0", "kv.1.0", "kv+1.0", strings.Repeat("long", 40), strings.Repeat("long", 40) + "er"} {
		host := serverPrefix("trade", label)
		if other, ok := seen[host]; ok {
			t.Errorf("%s and %s are both served as %s", label, other, host)
		}
		seen[host] = label
		for _, part := range strings.Split(host, ".") {
			if len(part) > 63 || part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Errorf("%s is served as %s, which is no host name", label, host)
			}
		}
	}
	one, _, err := ChaincodePackage("trade", "kv_1.0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := ChaincodePackage("trade", "kv_1.0", nil, false)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the same input gives other bytes: %v", err)
	}
}

// TestLabelTaken: two chaincodes of one label on a channel would share their servers.
func TestLabelTaken(t *testing.T) {
	s := newSketch(t)
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Version: "1", Label: "shared", Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}}}
	_, packageID, err := ChaincodePackage("trade", "shared", nil, false)
	s.must(err)
	s.must(s.fake.CreateNode(t.Context(), serverNode(spec, s.peer("peer0.org1", "Org1MSP"), "kv:1", packageID)))
	s.must(s.fabric.requireLabel(t.Context(), spec, packageID))
	spec.Name = "other"
	taken := new(LabelTakenError)
	if err := s.fabric.PreflightChaincode(t.Context(), spec); !errors.As(err, &taken) || taken.Chaincode != "kv" {
		t.Errorf("the error is %v, want a LabelTakenError", err)
	}
	spec.Channel = s.network.With(KindChannel, "elsewhere", "")
	s.must(s.fabric.requireLabel(t.Context(), spec, packageID))
}

// TestPreflightChaincodeWantsAPeerOfEachOrganization: a peer that rests is passed over, but an
// organization without any cannot approve.
func TestPreflightChaincodeWantsAPeerOfEachOrganization(t *testing.T) {
	s := newSketch(t)
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Version: "1", Label: "kv_1", Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}}}
	s.must(s.fabric.PreflightChaincode(t.Context(), spec))
	s.fake.SetStatus(s.peer("peer1.org1", "").Object(), engine.Stopped, 0)
	s.must(s.fabric.PreflightChaincode(t.Context(), spec))
	s.fake.SetStatus(s.peer("peer0.org1", "").Object(), engine.Stopped, 0)
	stopped := new(NotRunningError)
	if err := s.fabric.PreflightChaincode(t.Context(), spec); !errors.As(err, &stopped) || stopped.Organization.Name != "Org1MSP" ||
		!slices.Equal(stopped.Peers, []string{"peer0.org1", "peer1.org1"}) {
		t.Errorf("the error is %v, want a NotRunningError of Org1MSP with both its peers", err)
	}
	s.fake.RemoveImage("kv:1")
	if err := s.fabric.PreflightChaincode(t.Context(), spec); !errors.Is(err, engine.ErrNoImage) {
		t.Errorf("the error is %v, want ErrNoImage", err)
	}
}

// TestInstallMissing: a peer that starts gets the packages of the servers beside it, and no others.
func TestInstallMissing(t *testing.T) {
	s := newSketch(t)
	p := s.peer("peer0.org1", "Org1MSP")
	packages := map[string]string{}
	beside := func(label string, peer Handle) {
		t.Helper()
		spec := ChaincodeSpec{Channel: s.channel, Name: label, Version: "1", Label: label, Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}},
			Indexes: map[string][]byte{"statedb/couchdb/indexes/a.json": []byte(`{"index":{"fields":["a"]}}`)}}
		_, id, err := ChaincodePackage("trade", label, spec.Indexes, false)
		s.must(err)
		packages[label] = id
		s.must(s.fake.CreateNode(t.Context(), serverNode(spec, peer, "kv:1", id)))
	}
	var mu sync.Mutex
	asked, installed := 0, []string{}
	s.serve(p, peerPort, func(g *grpc.Server) {
		peer.RegisterEndorserServer(g, &endorserFunc{answer: func(args []string, _ bool) *peer.ProposalResponse {
			mu.Lock()
			defer mu.Unlock()
			var answer proto.Message
			switch args[0] {
			case "QueryInstalledChaincodes":
				asked++
				answer = &lifecycleproto.QueryInstalledChaincodesResult{InstalledChaincodes: []*lifecycleproto.QueryInstalledChaincodesResult_InstalledChaincode{{PackageId: packages["has"], Label: "has"}}}
			case "InstallChaincode":
				request := &lifecycleproto.InstallChaincodeArgs{}
				s.must(proto.Unmarshal([]byte(args[1]), request))
				info, err := lifecycle.ParsePackage(request.GetChaincodeInstallPackage())
				s.must(err)
				installed = append(installed, info.ID)
				answer = &lifecycleproto.InstallChaincodeResult{PackageId: info.ID, Label: info.Label}
			default:
				return refusal("")
			}
			raw, err := proto.Marshal(answer)
			s.must(err)
			return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: raw}}
		}})
	})
	s.must(s.fabric.installMissing(t.Context(), p))
	if asked != 0 {
		t.Error("a peer without servers beside it was asked")
	}
	beside("has", p)
	beside("lacks", p)
	beside("elsewhere", s.peer("peer1.org1", "Org1MSP"))
	s.must(s.fabric.installMissing(t.Context(), p))
	if !slices.Equal(installed, []string{packages["lacks"]}) {
		t.Errorf("installed were %v, want %s", installed, packages["lacks"])
	}
}

func TestServerStatus(t *testing.T) {
	h := Handle{Kind: KindPeer, Name: "a"}
	peers := []Handle{h, h.With(KindPeer, "b", "")}
	at := func(peer string, status engine.Status) engine.Node {
		return engine.Node{Status: status, ImageID: "sha256:" + peer, Labels: map[string]string{labelPeer: peer}}
	}
	for _, c := range []struct {
		servers []engine.Node
		want    engine.Status
	}{
		{nil, engine.Absent},
		{[]engine.Node{at("a", engine.Running)}, engine.Absent},
		{[]engine.Node{at("a", engine.Running), at("b", engine.Running)}, engine.Running},
		{[]engine.Node{at("a", engine.Stopped), at("b", engine.Running)}, engine.Stopped},
		{[]engine.Node{at("a", engine.Created), at("b", engine.Running)}, engine.Stopped},
		{[]engine.Node{at("a", engine.Stopped), at("a", engine.Running), at("b", engine.Running), at("gone", engine.Stopped)}, engine.Running},
	} {
		if got, _ := serverStatus(c.servers, peers); got != c.want {
			t.Errorf("%v: %s, want %s", c.servers, got, c.want)
		}
	}
}
