package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/test/bufconn"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/engine/enginetest"
)

// couchRig is a peer with a state database on an engine in memory. The database answers as long as
// its container runs, and only to who knows the password of which its volume has the hash.
type couchRig struct {
	*sketch
	peer, database Handle
}

func newCouchRig(t *testing.T) *couchRig {
	t.Helper()
	s := newSketch(t)
	r := &couchRig{sketch: s, peer: s.sketchPeerHandle("peer9.org1")}
	r.database = stateDatabase(r.peer)
	r.answer(func(request *http.Request) int {
		user, password, _ := request.BasicAuth()
		switch {
		case request.URL.Path != "/_up":
			return http.StatusNotFound
		case user != couchAdmin || !strings.Contains(r.admins(), r.hash(password)):
			return http.StatusUnauthorized
		}
		return http.StatusOK
	})
	return r
}

func (s *sketch) sketchPeerHandle(name string) Handle {
	return s.network.With(KindPeer, name, "Org1MSP")
}

// answer serves the port of the database.
func (r *couchRig) answer(status func(*http.Request) int) {
	listener := bufconn.Listen(1 << 16)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.WriteHeader(status(request))
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.t.Error(err)
		}
	}()
	r.t.Cleanup(func() { _ = server.Close(); <-done })
	r.fake.HandleDial(r.database.Object(), couchPort, func(ctx context.Context) (net.Conn, error) { return listener.DialContext(ctx) })
}

// hash is how the database's configuration has a password.
func (r *couchRig) hash(password string) string {
	hash, err := couchHash(password, derived(password, "salt"))
	r.must(err)
	return fmt.Sprintf("\n[admins]\npeer = -pbkdf2-%s,%s,10\n", hash, derived(password, "salt"))
}

func (r *couchRig) admins() string {
	return string(r.fake.Files(r.database.Object())["node/keys/couchdb/admin.ini"].Content)
}

func (r *couchRig) password() string {
	r.t.Helper()
	password, err := r.fabric.knownStateDatabasePassword(r.t.Context(), r.peer)
	r.must(err)
	return password
}

func (r *couchRig) spec(changes ...func(*PeerSpec)) PeerSpec {
	spec := PeerSpec{
		Handle: r.peer, NodeOptions: sketchOptions("peer:3.1.1"), Version: sketchVersion(r.t),
		StateDatabase: &StateDatabase{Image: "couchdb:3.4.2", Limits: engine.Limits{MemoryBytes: 256 << 20}},
	}
	spec.Labels = map[string]string{"team": "platform"}
	for _, change := range changes {
		change(&spec)
	}
	return spec
}

func existingPeer(s *PeerSpec) { s.Existing = true }
func stoppedPeer(s *PeerSpec)  { s.Stopped = true }
func acceptLoss(s *PeerSpec)   { s.AcceptDataLoss = true }

// ensure is EnsurePeer but for the peer's certificates and for its answer.
func (r *couchRig) ensure(spec PeerSpec) (MemberState, error) {
	r.t.Helper()
	n, err := r.fabric.peerNode(spec)
	r.must(err)
	n.material = func(context.Context, map[string][]byte) (map[string][]byte, error) {
		return map[string][]byte{"tls/key.pem": []byte("key")}, nil
	}
	n.ready = func(ctx context.Context) error {
		beside, err := r.fake.Node(ctx, r.database.Object())
		if err == nil && beside.Status != engine.Running {
			err = fmt.Errorf("its database is %s", beside.Status)
		}
		return err
	}
	return r.fabric.ensureWithDatabase(r.t.Context(), spec, n)
}

func (r *couchRig) make(changes ...func(*PeerSpec)) MemberState {
	r.t.Helper()
	state, err := r.ensure(r.spec(changes...))
	r.must(err)
	return state
}

func (r *couchRig) read() MemberState {
	r.t.Helper()
	node, err := r.fabric.readNode(r.t.Context(), r.peer, PeerPorts())
	r.must(err)
	state := MemberState{NodeState: node}
	r.must(r.fabric.ReadStateDatabase(r.t.Context(), r.peer, &state))
	return state
}

// done gives the calls, from a number of calls on, that changed the peer, its database or the keys.
func (r *couchRig) done(from int) []string {
	short := map[string]string{r.peer.Object(): "peer", r.database.Object(): "database", r.organization("Org1MSP").keys(): "keys"}
	var out []string
	for _, call := range r.fake.Calls()[from:] {
		if name := short[call.Name]; call.Mutating && name != "" {
			out = append(out, call.Method+" "+name)
		}
	}
	return out
}

func (r *couchRig) calls() int { return len(r.fake.Calls()) }

// before checks that calls came in this order, each for the first time.
func before(t *testing.T, calls []string, order ...string) {
	t.Helper()
	last := -1
	for _, call := range order {
		at := slices.Index(calls, call)
		if at <= last {
			t.Fatalf("%q is at %d, want it after %q:\n%s", call, at, order, strings.Join(calls, "\n"))
		}
		last = at
	}
}

func TestCouchHash(t *testing.T) {
	// The document of the user jan, password apple, in CouchDB's documentation (intro/security).
	hash, err := couchHash("apple", "1112283cf988a34f124200a050d308a1")
	if want := "e579375db0e0c6a6fc79cd9e36a36859f71575c3"; err != nil || hash != want {
		t.Errorf("the hash is %s (%v), want %s", hash, err, want)
	}
}

func TestStateDatabaseIsMadeBeforeItsPeer(t *testing.T) {
	r := newCouchRig(t)
	from := r.calls()
	state := r.make()
	before(t, r.done(from), "PutFiles keys", "CreateVolume peer", "CreateVolume database", "CreateNode database",
		"PutFiles database", "StartNode database", "CreateNode peer", "StartNode peer")
	if state.Status != engine.Running || state.StateDatabase.Status != engine.Running || state.StateDatabase.ImageID == "" {
		t.Errorf("the state is %+v and %+v", state, state.StateDatabase)
	}

	from = r.calls()
	r.make(existingPeer)
	for _, call := range r.done(from) {
		if call != "StartNode database" && call != "StartNode peer" && call != "PutFiles peer" && call != "StopNode peer" {
			t.Errorf("what is as it was asked for is changed: %s", call)
		}
	}
	if slices.Contains(r.done(from), "StopNode database") {
		t.Error("a database that runs as it is wanted is stopped")
	}
}

func TestStateDatabaseIsHardened(t *testing.T) {
	r := newCouchRig(t)
	r.make()
	spec, _ := r.fake.Spec(r.database.Object())
	if spec.User != "5984:5984" || len(spec.Ports) != 0 || spec.Hostname != "couchdb.peer9.org1.example.com" || !spec.Restart {
		t.Errorf("the container is %+v", spec)
	}
	if len(spec.Mounts) != 1 || spec.Mounts[0].Volume != r.database.Object() || spec.Limits.MemoryBytes != 256<<20 || spec.Labels["team"] != "platform" {
		t.Errorf("the container is %+v", spec)
	}
	for name, file := range r.fake.Files(r.database.Object()) {
		if file.UID != couchUID || file.GID != couchUID || file.Mode != 0o600 {
			t.Errorf("%s belongs to %d:%d with mode %o", name, file.UID, file.GID, file.Mode)
		}
	}
	files := r.fake.Files(r.database.Object())
	for _, name := range spec.Command[5:] { // CouchDB does not start when one of them is missing
		if _, ok := files[strings.TrimPrefix(name, volumeRoot+"/")]; !ok {
			t.Errorf("the command names %s, and the volume has no such file", name)
		}
	}
	if _, ok := files["node/data/.keep"]; !ok {
		t.Error("the folder of the databases does not belong to CouchDB")
	}
	if config := string(files["node/config/couchdb.ini"].Content); !strings.Contains(config, "require_valid_user = true") || !strings.Contains(config, "database_dir = "+dataFolder+"\n") {
		t.Errorf("the configuration is %s", config)
	}
}

func TestStateDatabasePasswordIsASecret(t *testing.T) {
	r := newCouchRig(t)
	state := r.make()
	password := r.password()
	if len(password) < 27 {
		t.Fatalf("the password has %d characters", len(password))
	}
	spec, _ := r.fake.Spec(r.peer.Object())
	if spec.Env["CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD"] != password {
		t.Error("the peer does not have the password")
	}
	spec.Env = nil // which only who reaches the engine can see
	beside, _ := r.fake.Spec(r.database.Object())
	seen := []any{spec, beside, state, r.spec()}
	for _, volume := range []string{r.peer.Object(), r.database.Object()} {
		for name, file := range r.fake.Files(volume) {
			seen = append(seen, name, string(file.Content))
		}
	}
	raw, err := json.Marshal(seen)
	r.must(err)
	if strings.Contains(string(raw), password) {
		t.Error("the password is in a container's specification, on a volume or in the state")
	}

	var core struct {
		Ledger struct {
			State struct {
				StateDatabase string         `yaml:"stateDatabase"`
				CouchDBConfig map[string]any `yaml:"couchDBConfig"`
			}
		}
	}
	r.must(yaml.Unmarshal(r.fake.Files(r.peer.Object())["node/config/core.yaml"].Content, &core))
	config := core.Ledger.State.CouchDBConfig
	if core.Ledger.State.StateDatabase != "CouchDB" || config["couchDBAddress"] != "couchdb.peer9.org1.example.com:5984" || config["username"] != "peer" {
		t.Errorf("core.yaml has %+v", core.Ledger.State)
	}
	if _, ok := config["password"]; ok { // the peer would log it
		t.Error("core.yaml has the key password")
	}
}

func TestStateDatabaseRefusesThePassword(t *testing.T) {
	r := newCouchRig(t)
	r.answer(func(*http.Request) int { return http.StatusUnauthorized })
	began := time.Now()
	_, err := r.ensure(r.spec())
	if err == nil || !strings.Contains(err.Error(), "refuses the password that the key volume of organization Org1MSP has for it") {
		t.Fatalf("the error is %v", err)
	}
	if strings.Contains(err.Error(), r.password()) || time.Since(began) > 20*time.Second {
		t.Errorf("after %s the error is %v", time.Since(began), err)
	}
	if node, err := r.fake.Node(t.Context(), r.peer.Object()); err == nil && node.Status == engine.Running {
		t.Error("the peer runs without its database")
	}
}

func TestStateDatabaseThatCannotBeDialled(t *testing.T) {
	r := newCouchRig(t)
	r.fake.HandleDial(r.database.Object(), couchPort, func(context.Context) (net.Conn, error) {
		return nil, fmt.Errorf("unable to connect: %w", engine.ErrNotPublished)
	})
	r.make() // the peer tells whether its database answers
}

func TestStateDatabaseDrift(t *testing.T) {
	for _, tc := range []struct {
		name   string
		happen func(r *couchRig)
		want   engine.Status
	}{
		{"stopped", func(r *couchRig) { r.fake.SetStatus(r.database.Object(), engine.Stopped, 137) }, engine.Stopped},
		{"container gone", func(r *couchRig) { r.fake.VanishNode(r.database.Object()) }, engine.Absent},
		{"never started", func(r *couchRig) { r.fake.SetStatus(r.database.Object(), engine.Created, 0) }, engine.Stopped},
		{"the peer's container gone", func(r *couchRig) { r.fake.VanishNode(r.peer.Object()) }, engine.Absent},
		{"both stopped", func(r *couchRig) {
			r.fake.SetStatus(r.peer.Object(), engine.Stopped, 0)
			r.fake.SetStatus(r.database.Object(), engine.Stopped, 0)
		}, engine.Stopped},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newCouchRig(t)
			r.make()
			password := r.password()
			r.fake.WriteVolume(r.database.Object(), engine.File{Name: "node/data/shards", Content: []byte("state")})
			tc.happen(r)
			if state := r.read(); state.Status != tc.want || state.Lost {
				t.Errorf("the status is %s (lost: %v), want %s", state.Status, state.Lost, tc.want)
			}
			from := r.calls()
			r.make(existingPeer)
			if calls := r.done(from); tc.name != "the peer's container gone" {
				before(t, calls, "StopNode peer", "StartNode database", "StartNode peer")
			}
			if state := r.read(); state.Status != engine.Running || r.password() != password {
				t.Errorf("after one repair the status is %s", state.Status)
			}
			if string(r.fake.Files(r.database.Object())["node/data/shards"].Content) != "state" {
				t.Error("the state is gone")
			}
		})
	}
}

func TestStateDatabaseLost(t *testing.T) {
	r := newCouchRig(t)
	r.make()
	r.fake.WriteVolume(r.peer.Object(), engine.File{Name: "node/data/ledger", Content: []byte("blocks")})
	r.fake.VanishNode(r.database.Object())
	r.fake.VanishVolume(r.database.Object())
	if !r.read().Lost {
		t.Error("the loss does not show")
	}
	_, err := r.ensure(r.spec(existingPeer))
	if lost := new(LostError); !errors.As(err, &lost) || lost.Volume != r.database.Object() {
		t.Fatalf("the error is %v", err)
	}
	r.make(existingPeer, acceptLoss)
	if state := r.read(); state.Lost || state.Status != engine.Running {
		t.Errorf("the state is %+v", state)
	}
	if string(r.fake.Files(r.peer.Object())["node/data/ledger"].Content) != "blocks" {
		t.Error("the ledger went with the state, which the peer makes again from it")
	}
}

func TestStateDatabaseWithoutItsLedger(t *testing.T) {
	lose := func(r *couchRig) {
		r.make()
		r.fake.WriteVolume(r.database.Object(), engine.File{Name: "node/data/shards", Content: []byte("ahead of the blocks")})
		r.fake.VanishNode(r.peer.Object())
		r.fake.VanishVolume(r.peer.Object())
	}
	t.Run("refused", func(t *testing.T) {
		for _, change := range []func(*PeerSpec){existingPeer, func(*PeerSpec) {}} {
			r := newCouchRig(t)
			lose(r)
			_, err := r.ensure(r.spec(change))
			if lost := new(LostError); !errors.As(err, &lost) || lost.Volume != r.peer.Object() {
				t.Errorf("the error is %v", err)
			}
		}
	})
	t.Run("refused before anything is made", func(t *testing.T) {
		r := newCouchRig(t)
		lose(r)
		r.fake.VanishNode(r.database.Object())
		from := r.fake.Mutations()
		for range 2 {
			if err := r.fabric.PreflightPeer(t.Context(), r.spec()); !errors.Is(err, ErrLost) {
				t.Errorf("the error is %v", err)
			}
		}
		if r.fake.Mutations() != from {
			t.Error("something was made")
		}
	})
	t.Run("accepted", func(t *testing.T) {
		r := newCouchRig(t)
		lose(r)
		r.make(existingPeer, acceptLoss)
		if _, ok := r.fake.Files(r.database.Object())["node/data/shards"]; ok {
			t.Error("a state that is ahead of its blocks is still there: the peer would not start")
		}
		if state := r.read(); state.Lost || state.Status != engine.Running {
			t.Errorf("the state is %+v", state)
		}
	})
	t.Run("of a creation that did not get far", func(t *testing.T) {
		for _, method := range []string{"CreateVolume", "CreateNode", "PutFiles", "StartNode"} {
			r := newCouchRig(t)
			r.fake.FailAt(r.mutationsUntil(method, r.database.Object()), enginetest.Before, errors.New("no more of that"))
			if _, err := r.ensure(r.spec()); err == nil {
				t.Fatalf("%s fails and nobody says so", method)
			}
			if _, err := r.ensure(r.spec()); err != nil {
				t.Errorf("after a failure of %s: %v", method, err)
			}
		}
	})
}

// mutationsUntil counts the changes of a creation up to one of them, on an engine of its own.
func (r *couchRig) mutationsUntil(method, name string) int {
	r.t.Helper()
	twin := newCouchRig(r.t)
	from, count := twin.calls(), 0
	twin.make()
	for _, call := range twin.fake.Calls()[from:] {
		if call.Mutating {
			count++
		}
		if call.Method == method && call.Name == name {
			return count
		}
	}
	r.t.Fatalf("a creation has no %s %s", method, name)
	return 0
}

func TestStateDatabaseRests(t *testing.T) {
	r := newCouchRig(t)
	r.make()
	from := r.calls()
	state := r.make(existingPeer, stoppedPeer)
	before(t, r.done(from), "StopNode peer", "StopNode database")
	if state.Status != engine.Stopped || r.read().Status != engine.Stopped {
		t.Errorf("the state is %+v", state)
	}

	// A stopped peer is taken out of a channel with its database awake.
	r.fake.SetProgram([]string{"peer", "node", "unjoin", "-c", "trade"}, enginetest.Program{})
	from = r.calls()
	r.must(r.fabric.unjoin(t.Context(), r.peer, "trade", unjoinOptions{}))
	var seen []string
	for _, call := range r.fake.Calls()[from:] {
		if call.Mutating {
			seen = append(seen, call.Method+" "+strings.TrimPrefix(call.Name, "dev-"))
		}
	}
	before(t, seen, "StartNode couchdb.peer9.org1", "RunOnce peer9.org1-once", "StopNode couchdb.peer9.org1")
	runs := r.fake.Runs()
	if run := runs[len(runs)-1]; run.Env[couchPasswordVariable] != r.password() || run.Env["FABRIC_CFG_PATH"] != configFolder || run.Network != "dev" {
		t.Errorf("it runs with %+v", run)
	}
	if r.read().Status != engine.Stopped {
		t.Error("what rested is awake")
	}

	// Without a container there is nothing to wake.
	r.fake.VanishNode(r.database.Object())
	err := r.fabric.unjoin(t.Context(), r.peer, "trade", unjoinOptions{})
	if failed := new(NodeError); !errors.As(err, &failed) || !errors.Is(err, engine.ErrNotFound) || !strings.Contains(failed.Next, "apply peer peer9.org1") {
		t.Errorf("the error is %v", err)
	}
}

func TestStateDatabaseIsRemovedWithItsPeer(t *testing.T) {
	r := newCouchRig(t)
	r.make()
	ctx := t.Context()
	password := r.password()
	r.must(r.fabric.DeletePeer(ctx, r.peer, Removal{KeepVolumes: true}))
	for _, volume := range []string{r.peer.Object(), r.database.Object()} {
		if r.fake.Files(volume) == nil {
			t.Errorf("volume %s was to be kept", volume)
		}
		if _, err := r.fake.Node(ctx, volume); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("container %s is left: %v", volume, err)
		}
	}
	if r.make(); r.password() != password {
		t.Error("the volume was kept and its password was not")
	}
	r.must(r.fabric.DeletePeer(ctx, r.peer, Removal{}))
	for _, volume := range []string{r.peer.Object(), r.database.Object()} {
		if r.fake.Files(volume) != nil {
			t.Errorf("volume %s is left", volume)
		}
	}
	if r.password() != "" {
		t.Error("the password is left")
	}
	r.must(r.fabric.DeletePeer(ctx, r.peer, Removal{})) // what is gone may be removed again
	r.make()
	if r.password() == password {
		t.Error("a new database has the password of an old one")
	}
}

func TestPeerWithTheNameOfAStateDatabase(t *testing.T) {
	r := newCouchRig(t)
	other := r.sketchPeerHandle("couchdb.peer9.org1")
	n, err := r.fabric.peerNode(PeerSpec{Handle: other, NodeOptions: sketchOptions("peer:3.1.1"), Version: sketchVersion(t)})
	r.must(err)
	r.run(n, "Org1MSP")
	if err := r.fabric.PreflightPeer(t.Context(), r.spec()); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("the error is %v", err)
	}
	if _, err := r.ensure(r.spec(acceptLoss)); !errors.Is(err, engine.ErrForeign) {
		t.Errorf("the error is %v", err)
	}
	r.must(r.fabric.DeletePeer(t.Context(), r.peer, Removal{}))
	if node, err := r.fake.Node(t.Context(), other.Object()); err != nil || node.Status != engine.Running || r.fake.Files(other.Object()) == nil {
		t.Errorf("the peer of that name went with a peer that has no database: %v", err)
	}
}

func TestFindPeerWithStateDatabase(t *testing.T) {
	r := newCouchRig(t)
	made := r.make()
	found, err := r.fabric.FindPeer(t.Context(), "dev", "peer9.org1")
	r.must(err)
	want := *r.spec().StateDatabase
	want.ImageID = made.StateDatabase.ImageID
	if found.StateDatabase == nil || *found.StateDatabase != want || found.Version != sketchVersion(t) {
		t.Errorf("found %+v, want %+v", found.StateDatabase, want)
	}
	plain, err := r.fabric.FindPeer(t.Context(), "dev", "peer0.org1")
	r.must(err)
	if plain.StateDatabase != nil {
		t.Errorf("a peer with goleveldb is found with %+v", plain.StateDatabase)
	}
	node, err := r.fake.Node(t.Context(), plain.Handle.Object())
	r.must(err)
	if strings.Contains(node.Labels[labelInputs], "state_database") {
		t.Errorf("the label of a peer with goleveldb is %s", node.Labels[labelInputs])
	}
}
