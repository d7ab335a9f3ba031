package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	lifecycleproto "github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// rolling is a sketch with a chaincode kv that is committed and served beside every peer.
type rolling struct {
	*sketch
	spec      ChaincodeSpec
	packageID string
	peers     []Handle
	// shims connects to a server of the package.
	shims func(context.Context) (net.Conn, error)
}

// shimServer registers as a package, as every chaincode server does.
type shimServer struct {
	peer.UnimplementedChaincodeServer
	id []byte
}

func (s shimServer) Connect(stream grpc.BidiStreamingServer[peer.ChaincodeMessage, peer.ChaincodeMessage]) error {
	if err := stream.Send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_REGISTER, Payload: s.id}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func newRolling(t *testing.T) *rolling {
	t.Helper()
	s := newSketch(t)
	spec := ChaincodeSpec{Channel: s.channel, Name: "kv", Version: "1", Label: "kv_1", Server: ChaincodeServer{NodeOptions: NodeOptions{Image: "kv:1"}}}
	_, packageID, err := ChaincodePackage("trade", "kv_1", nil, false)
	s.must(err)
	r := &rolling{sketch: s, spec: spec, packageID: packageID, peers: []Handle{s.peer("peer0.org1", "Org1MSP"), s.peer("peer1.org1", "Org1MSP"), s.peer("peer0.org2", "Org2MSP")}}
	id, err := proto.Marshal(&peer.ChaincodeID{Name: packageID})
	s.must(err)
	shims := grpc.NewServer()
	peer.RegisterChaincodeServer(shims, shimServer{id: id})
	listener := bufconn.Listen(1 << 20)
	done := make(chan struct{})
	go func() { defer close(done); _ = shims.Serve(listener) }()
	t.Cleanup(func() { shims.Stop(); <-done })
	r.shims = func(ctx context.Context) (net.Conn, error) { return listener.DialContext(ctx) }
	together := spec
	together.Server.PerOrganization = true
	for _, p := range r.peers {
		s.serveOne(spec, p, packageID)
		for _, h := range []Handle{server(spec, p), server(together, p)} {
			s.fake.HandleDial(h.Object(), chaincodePort, r.shims)
		}
		s.serve(p, peerPort, func(g *grpc.Server) { peer.RegisterEndorserServer(g, &endorserFunc{answer: r.answer}) })
	}
	return r
}

// answer is that of a peer, and of the chaincode through it.
func (r *rolling) answer(args []string, _ bool) *peer.ProposalResponse {
	var answer proto.Message
	switch args[0] {
	case "QueryChaincodeDefinition":
		answer = &lifecycleproto.QueryChaincodeDefinitionResult{Sequence: 1, Version: "1"}
	case "QueryApprovedChaincodeDefinition":
		answer = &lifecycleproto.QueryApprovedChaincodeDefinitionResult{Sequence: 1, Version: "1", Source: &lifecycleproto.ChaincodeSource{
			Type: &lifecycleproto.ChaincodeSource_LocalPackage{LocalPackage: &lifecycleproto.ChaincodeSource_Local{PackageId: r.packageID}},
		}}
	default:
		answer = &lifecycleproto.ChaincodeSource{}
	}
	raw, err := proto.Marshal(answer)
	if err != nil {
		return refusal(err.Error())
	}
	return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: raw}}
}

// plan plans the roll to a specification.
func (r *rolling) plan(spec ChaincodeSpec) *roll {
	r.t.Helper()
	record, err := r.fabric.channelRecord(r.t.Context(), r.channel)
	r.must(err)
	members, err := r.fabric.members(r.t.Context(), record)
	r.must(err)
	planned, err := r.fabric.planRoll(r.t.Context(), spec, thatRun(members), resting(members), spec.Server.Image, r.packageID)
	r.must(err)
	return planned
}

// images gives what runs beside each peer, whatever its name.
func (r *rolling) images() map[string][]string {
	r.t.Helper()
	nodes, err := r.fabric.allServersOf(r.t.Context(), r.channel, "kv")
	r.must(err)
	out := map[string][]string{}
	for _, n := range nodes {
		if n.Status == engine.Running {
			spec, _ := r.fake.Spec(n.Name)
			out[n.Labels[labelPeer]] = append(out[n.Labels[labelPeer]], spec.Image)
		}
	}
	return out
}

// expect holds the servers to one image beside each peer, in the order of the peers, and to nothing else.
func (r *rolling) expect(when string, images ...string) {
	r.t.Helper()
	now, want := r.images(), map[string][]string{}
	for i, p := range r.peers {
		want[p.Name] = images[i : i+1]
	}
	if !maps.EqualFunc(now, want, slices.Equal) {
		r.t.Errorf("%s: %v, want %v", when, now, want)
	}
	nodes, err := r.fabric.allServersOf(r.t.Context(), r.channel, "kv")
	r.must(err)
	if len(nodes) != len(r.peers) || slices.ContainsFunc(nodes, isAside) {
		r.t.Errorf("%s: %d containers, want %d", when, len(nodes), len(r.peers))
	}
}

func (r *rolling) with(image string, command ...string) ChaincodeSpec {
	spec := r.spec
	spec.Server.Image, spec.Server.Command = image, command
	return spec
}

// TestRoll: servers are replaced in a fixed order, and at every moment one runs beside each peer.
func TestRoll(t *testing.T) {
	r := newRolling(t)
	if none := r.plan(r.spec); len(none.peers) > 0 {
		t.Errorf("without a change %v are replaced", none.peers)
	}
	planned := r.plan(r.with("kv:2"))
	if !slices.Equal(planned.peers, r.peers) || len(planned.others()) > 0 {
		t.Errorf("%v are replaced, want %v", planned.peers, r.peers)
	}
	r.must(planned.replace(t.Context(), planned.peers[0]))
	r.must(planned.settle(t.Context(), planned.peers[0]))
	r.expect("after the first", "kv:2", "kv:1", "kv:1")
	state := ChaincodeState{}
	servers, err := r.fabric.allServersOf(t.Context(), r.channel, "kv")
	r.must(err)
	if state.servedBy(servers, r.peers); state.Status != Altered {
		t.Errorf("servers that differ are %s", state.Status)
	}
	r.must(r.plan(r.with("kv:2")).all(t.Context()))
	r.expect("after all", "kv:2", "kv:2", "kv:2")

	// A server that is lost or stopped is no part of a roll, nor is one of another package.
	r.fake.VanishNode(server(r.spec, r.peers[0]).Object())
	r.fake.SetStatus(server(r.spec, r.peers[1]).Object(), engine.Stopped, 1)
	if planned := r.plan(r.with("kv:3")); !slices.Equal(planned.peers, r.peers[2:]) {
		t.Errorf("%v are replaced, want %v", planned.peers, r.peers[2:])
	}
}

// TestRollStops: what does not come up is put back, and what comes after it is never touched.
func TestRollStops(t *testing.T) {
	r := newRolling(t)
	ids := r.serverIDs
	r.fake.SetProgram([]string{"broken"}, enginetest.Program{ExitCode: 3, Output: []string{"fatal error: no such file"}})
	before := ids()
	planned := r.plan(r.with("kv:2", "broken"))
	err := planned.all(t.Context())
	failed := new(NodeError)
	if !errors.As(err, &failed) || releaseMayPass(err) {
		t.Fatalf("the error is %v", err)
	}
	for _, says := range []string{"unable to replace the server of chaincode kv beside peer peer0.org1: it exited with code 3", "fatal error: no such file", "it was put back as it was; of 3 servers to be replaced, 0 were before it"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("the error does not say %q: %v", says, err)
		}
	}
	if now := ids(); !slices.Equal(now, before) {
		t.Errorf("the servers were %v and are %v", before, now)
	}
	r.expect("after a roll that stopped", "kv:1", "kv:1", "kv:1")

	// Whoever watches what is new may go back too, with what was stopped.
	planned = r.plan(r.with("kv:2"))
	r.must(planned.replace(t.Context(), planned.peers[:2]...))
	r.must(planned.putBack(t.Context(), planned.peers[:2]...))
	if now := ids(); !slices.Equal(now, before) {
		t.Errorf("the servers were %v and are %v", before, now)
	}
	r.expect("after it went back", "kv:1", "kv:1", "kv:1")
}

// TestRollCutShort: whenever an apply is killed, a server runs beside each peer, and the next one ends its
// work, or goes back.
func TestRollCutShort(t *testing.T) {
	r := newRolling(t)
	killed := errors.New("killed")
	image := "kv:1"
	for k := 1; ; k++ {
		for _, goesOn := range []bool{true, false} {
			last := image
			next := fmt.Sprintf("kv:%d-%t", k, goesOn)
			planned := r.plan(r.with(next))
			mutations, dead := 0, false
			ctx, die := context.WithCancelCause(t.Context())
			r.fake.Intercept(func(c enginetest.Call) error {
				if dead {
					return killed
				}
				if c.Mutating {
					if mutations++; mutations == k {
						dead = true
						die(killed)
					}
				}
				return nil
			})
			err := planned.all(ctx)
			die(nil)
			r.fake.Intercept(nil)
			if !dead {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			for peer, running := range r.images() {
				if len(running) == 0 {
					t.Errorf("killed at call %d: no server runs beside %s", k, peer)
				}
			}
			if len(r.images()) != len(r.peers) {
				t.Errorf("killed at call %d: only %v run", k, r.images())
			}
			if image = last; goesOn {
				image = next
			}
			again := r.with(image)
			w := r.fabric.watchNodes(t.Context())
			planned = r.plan(again)
			for _, p := range r.peers {
				if !planned.concerns(p) {
					_, err := r.fabric.serve(w.ctx, w, again, p, image, r.packageID)
					r.must(err)
				}
			}
			r.must(w.end(nil))
			r.must(planned.all(t.Context()))
			r.expect(fmt.Sprintf("killed at call %d, goes on %t", k, goesOn), image, image, image)
		}
	}
}

// TestServersOfOrganizations: servers of peers and servers of organizations take each other's place without a
// new package, and one that serves several peers is there as long as one of them is.
func TestServersOfOrganizations(t *testing.T) {
	r := newRolling(t)
	release := func(spec ChaincodeSpec) {
		t.Helper()
		spec.peers = r.peers
		planned := r.plan(spec)
		w := r.fabric.watchNodes(t.Context())
		for _, site := range spec.sites(r.peers) {
			if !planned.concerns(site[0]) {
				r.must(r.fabric.serveAnew(w.ctx, w, spec, site[0], spec.Server.Image, r.packageID, true))
			}
		}
		r.must(w.end(nil))
		r.must(planned.all(t.Context()))
		if again := r.plan(spec); len(again.peers)+len(again.outgoing) > 0 {
			t.Errorf("afterwards %v and %v are to change", again.peers, again.outgoing)
		}
		servers, err := r.fabric.serversOf(t.Context(), r.channel, "kv")
		r.must(err)
		state := ChaincodeState{}
		if state.servedBy(servers, r.peers); state.Status != engine.Running {
			t.Errorf("the servers are %s", state.Status)
		}
	}
	together := r.spec
	together.Server.PerOrganization = true
	release(together)
	if got, want := r.images(), (map[string][]string{"peer0.org1,peer1.org1": {"kv:1"}, "peer0.org2": {"kv:1"}}); !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the servers are %v, want %v", got, want)
	}
	of, _ := r.fake.Spec(server(together, r.peers[0]).Object())
	for _, p := range r.peers[:2] {
		if host := server(r.spec, p).Host(); !slices.Contains(of.Aliases, host) {
			t.Errorf("the names of the server of Org1MSP are %v, and %s is reached at %s", of.Aliases, p, host)
		}
	}

	// Another image of it is a roll, too.
	newer := together
	newer.Server.Image = "kv:2"
	newer.peers = r.peers
	if planned := r.plan(newer); !slices.Equal(planned.peers, []Handle{r.peers[0], r.peers[2]}) {
		t.Errorf("%v are replaced", planned.peers)
	}
	release(newer)

	// Peers leave one after the other; the server goes with the last.
	r.must(r.fabric.removeServersBeside(t.Context(), r.channel, r.peers[0], r.peers[1:]))
	if len(r.images()) != 2 {
		t.Errorf("after one of two peers left there are %v", r.images())
	}
	r.must(r.fabric.removeServersBeside(t.Context(), r.channel, r.peers[1], r.peers[2:]))
	if len(r.images()) != 1 {
		t.Errorf("after both peers left there are %v", r.images())
	}
	release(newer)
	release(r.spec)
	r.expect("one for each peer again", "kv:1", "kv:1", "kv:1")
}

// TestServerSecrets: what is secret is in the environment of a server alone, and nothing else tells of it but
// its name and its version.
func TestServerSecrets(t *testing.T) {
	r := newRolling(t)
	secret := func(value, version string) ChaincodeSpec {
		spec := r.spec
		spec.Server.SecretEnv, spec.Server.SecretNames, spec.Server.SecretVersion = map[string]string{"API_SECRET": value}, []string{"API_SECRET"}, version
		return spec
	}
	one := serverNode(secret("first", "1"), r.peers[0], "kv:1", r.packageID)
	other := serverNode(secret("other", "1"), r.peers[0], "kv:1", r.packageID)
	if one.Env["API_SECRET"] != "first" || !maps.Equal(one.Labels, other.Labels) {
		t.Errorf("the labels are %v with one value and %v with another", one.Labels, other.Labels)
	}
	for _, value := range one.Labels {
		if strings.Contains(value, "first") {
			t.Errorf("a label tells: %s", value)
		}
	}
	if again := serverNode(secret("first", "2"), r.peers[0], "kv:1", r.packageID); again.Labels[engine.LabelSpecHash] == one.Labels[engine.LabelSpecHash] {
		t.Error("another version of the secrets is no other server")
	}

	r.must(r.plan(secret("first", "1")).all(t.Context()))
	servers, err := r.fabric.serversOf(t.Context(), r.channel, "kv")
	r.must(err)
	asked, err := askedOf(servers[0])
	r.must(err)
	r.must(r.fabric.takeSecrets(t.Context(), &asked.Server, servers[0]))
	if !maps.Equal(asked.Server.SecretEnv, map[string]string{"API_SECRET": "first"}) || asked.Server.SecretVersion != "1" {
		t.Errorf("what is there is %v", asked.Server)
	}

	// Not even what a chaincode says of it gets into an error, and what is put back has what it had.
	r.fake.SetProgram([]string{"broken"}, enginetest.Program{ExitCode: 3, Output: []string{"fatal error: no access with token second"}})
	broken := secret("second", "2")
	broken.Server.Command = []string{"broken"}
	err = broken.Server.withoutSecrets(r.plan(broken).all(t.Context()))
	if err == nil || strings.Contains(err.Error(), "second") || !strings.Contains(err.Error(), "with token (secret)") {
		t.Errorf("the error is %v", err)
	}
	if back, _ := r.fake.Spec(server(r.spec, r.peers[0]).Object()); back.Env["API_SECRET"] != "first" {
		t.Errorf("what was put back has %q", back.Env["API_SECRET"])
	}
}

// TestServerHealth: a server is healthy when it runs and says that it serves its package.
func TestServerHealth(t *testing.T) {
	r := newRolling(t)
	of := func(i int) *NodeHealth {
		t.Helper()
		health, err := r.fabric.CheckHealth(t.Context(), r.network)
		r.must(err)
		return health.Nodes[server(r.spec, r.peers[i]).Name]
	}
	for i := range r.peers {
		if n := of(i); n == nil || n.Status != engine.Running || n.Trouble != nil {
			t.Errorf("the server of %s is %+v", r.peers[i], n)
		}
	}
	r.fake.HandleDial(server(r.spec, r.peers[0]).Object(), chaincodePort, nil)
	r.fake.SetStatus(server(r.spec, r.peers[1]).Object(), engine.Stopped, 2)
	if n := of(0); n.Status != Unhealthy || n.Trouble == nil {
		t.Errorf("one that does not answer is %+v", n)
	}
	if n := of(1); n.Status != engine.Stopped || n.Trouble == nil {
		t.Errorf("one that stopped is %+v", n)
	}
	other := r.spec
	other.Label = "kv_2"
	r.serveOne(other, r.peers[2], "kv_2:abc")
	r.fake.HandleDial(server(other, r.peers[2]).Object(), chaincodePort, r.shims)
	health, err := r.fabric.CheckHealth(t.Context(), r.network)
	r.must(err)
	if n := health.Nodes[server(other, r.peers[2]).Name]; n.Status != Unhealthy || !strings.Contains(n.Trouble.Error(), r.packageID) {
		t.Errorf("one that serves something else is %+v", n)
	}
}
