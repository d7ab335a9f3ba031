package network

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // CouchDB's own scheme, over a secret of 160 random bits
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// How the official image of CouchDB is laid out: https://github.com/apache/couchdb-docker. Its own
// entry point writes to the root file system and wants the password in the environment, so CouchDB is
// started without it, from configuration files on the volume.
const (
	couchPort    = 5984
	couchUID     = 5984
	couchProgram = "/opt/couchdb/bin/couchdb"
	couchEtc     = "/opt/couchdb/etc/"
)

// couchAdmin is the only user of a state database: the peer.
const couchAdmin = "peer"

// couchPasswordVariable gives the peer the password: a peer logs what core.yaml holds.
const couchPasswordVariable = "CORE_LEDGER_STATE_COUCHDBCONFIG_PASSWORD"

// StateDatabase is a CouchDB that runs beside a peer and holds its state.
type StateDatabase struct {
	// Image is the reference; ImageID, when not empty, the content that it was resolved to before.
	Image   string        `json:"image"`
	ImageID string        `json:"-"`
	Limits  engine.Limits `json:"limits"`
}

// peerInputs are memberInputs of a peer.
type peerInputs struct {
	memberInputs
	StateDatabase *StateDatabase `json:"state_database,omitempty"`
}

// stateDatabase gives the handle of the database beside a peer.
func stateDatabase(peer Handle) Handle {
	return peer.With(KindStateDatabase, "couchdb."+peer.Name, peer.MSPID)
}

// stateDatabaseConfig tells a peer where its state is; nil is goleveldb.
func stateDatabaseConfig(spec PeerSpec) *nodeconfig.CouchDB {
	if spec.StateDatabase == nil {
		return nil
	}
	return &nodeconfig.CouchDB{Address: net.JoinHostPort(stateDatabase(spec.Handle).Host(), strconv.Itoa(couchPort)), Username: couchAdmin}
}

// stateDatabaseNode describes the database beside a peer. Nobody but the peer speaks with it: no port
// of it is published. Fabric knows no TLS to CouchDB, so it is plain HTTP on the network of the nodes.
func (f *Fabric) stateDatabaseNode(spec PeerSpec, password string) *node {
	h := stateDatabase(spec.Handle)
	options := NodeOptions{
		Image: spec.StateDatabase.Image, ImageID: spec.StateDatabase.ImageID, Limits: spec.StateDatabase.Limits,
		Log: spec.Log, Labels: spec.Labels, Stopped: spec.Stopped, Existing: spec.Existing, AcceptDataLoss: spec.AcceptDataLoss,
	}
	return &node{
		handle: h, options: options, endpoint: options.Endpoint(h, couchPort), uid: couchUID,
		labels:     map[string]string{labelPeer: spec.Handle.Name},
		inputs:     inputs(spec.StateDatabase),
		entrypoint: []string{"tini", "--", couchProgram},
		// The image's own files first, as CouchDB would read them; the last file is the one to which
		// it writes what is changed while it runs.
		command: []string{
			"-couch_ini", couchEtc + "default.ini", couchEtc + "default.d", couchEtc + "local.ini", couchEtc + "local.d",
			configFolder + "/couchdb.ini", keysFolder + "/" + couchAdminFile, keysFolder + "/" + couchOwnFile,
		},
		env:    map[string]string{"HOME": "/tmp"},
		config: map[string][]byte{"config/couchdb.ini": couchConfig()},
		material: func(_ context.Context, have map[string][]byte) (map[string][]byte, error) {
			return couchMaterial(password, have)
		},
		ready: func(ctx context.Context) error { return f.stateDatabaseAnswers(ctx, h, password) },
	}
}

// couchConfig is what is no secret: https://docs.couchdb.org/en/stable/config/.
func couchConfig() []byte {
	return fmt.Appendf(nil, `[couchdb]
database_dir = %[1]s
view_index_dir = %[1]s

[smoosh]
state_dir = %[1]s

[chttpd]
bind_address = 0.0.0.0
port = %[2]d
require_valid_user = true
`, dataFolder, couchPort)
}

// Files of a state database below keysFolder.
const (
	couchAdminFile = "couchdb/admin.ini"
	couchOwnFile   = "couchdb/local.ini"
)

// couchMaterial gives the files that the database lacks, or has for another password: who may use it,
// and an empty one for CouchDB to write to.
func couchMaterial(password string, have map[string][]byte) (map[string][]byte, error) {
	admin, err := couchAdmins(password)
	if err != nil {
		return nil, err
	}
	if _, own := have[couchOwnFile]; own && bytes.Equal(have[couchAdminFile], admin) {
		return nil, nil
	}
	return map[string][]byte{couchAdminFile: admin, couchOwnFile: {}}, nil
}

// couchAdmins holds the password as CouchDB itself would write it, so that the volume does not have
// it in clear, and what CouchDB would make up and write otherwise. The same password gives the same
// bytes.
func couchAdmins(password string) ([]byte, error) {
	salt := derived(password, "salt")
	hash, err := couchHash(password, salt)
	if err != nil {
		return nil, fmt.Errorf("unable to hash the password of the state database: %w", err)
	}
	return fmt.Appendf(nil, "[couchdb]\nuuid = %s\n\n[admins]\n%s = -pbkdf2-%s,%s,%d\n\n[chttpd_auth]\nsecret = %s\n",
		derived(password, "uuid"), couchAdmin, hash, salt, couchIterations, derived(password, "secret")), nil
}

// couchIterations is CouchDB's own default of many years. It is used for every request; the password
// is random, so that more would protect nothing.
const couchIterations = 10

// couchHash is the derived key of a user of CouchDB, in hexadecimal (password_scheme pbkdf2). Every
// CouchDB since 1.3 knows it.
func couchHash(password, salt string) (string, error) {
	key, err := pbkdf2.Key(sha1.New, password, []byte(salt), couchIterations, sha1.Size)
	return hex.EncodeToString(key), err
}

// derived gives 128 bits, in hexadecimal, that only who knows the password can tell.
func derived(password, purpose string) string {
	mac := hmac.New(sha256.New, []byte(password))
	mac.Write([]byte(purpose))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// couchSecrets is the folder of an organization's key volume with the passwords of its state
// databases, by peer.
const couchSecrets = "state_databases/"

// stateDatabasePassword gives the password of the database beside a peer. It is fixed when it is
// first needed, and in the organization's key volume before it is used.
func (f *Fabric) stateDatabasePassword(ctx context.Context, peer Handle) (string, error) {
	password, err := f.knownStateDatabasePassword(ctx, peer)
	if err != nil || password != "" {
		return password, err
	}
	password = newSecret()
	if err := f.writeKeys(ctx, peer.Organization(), map[string][]byte{couchSecrets + peer.Name: []byte(password)}); err != nil {
		return "", fmt.Errorf("unable to keep the password of %s: %w", stateDatabase(peer), err)
	}
	return password, nil
}

// knownStateDatabasePassword gives the password, empty when there is none.
func (f *Fabric) knownStateDatabasePassword(ctx context.Context, peer Handle) (string, error) {
	org, err := f.organizationKeys(ctx, peer.Organization())
	if err != nil {
		return "", err
	}
	return string(org.files[couchSecrets+peer.Name]), nil
}

// onceEnv is the environment of a node's program that is run once with the node's volume. The one of
// a peer with a state database of its own must reach that.
func (f *Fabric) onceEnv(ctx context.Context, h Handle) (map[string]string, error) {
	env := map[string]string{"FABRIC_CFG_PATH": configFolder}
	if h.Kind != KindPeer {
		return env, nil
	}
	password, err := f.knownStateDatabasePassword(ctx, h)
	if errors.Is(err, ErrLost) {
		return env, nil // a peer with goleveldb does not need it, and another one will say so
	}
	if password != "" {
		env[couchPasswordVariable] = password
	}
	return env, err
}

// stateDatabaseAnswers asks the database whether it is up, as the peer (GET /_up).
func (f *Fabric) stateDatabaseAnswers(ctx context.Context, h Handle, password string) error {
	client := f.httpClient(h, couchPort, nil)
	defer client.CloseIdleConnections()
	url := "http://" + net.JoinHostPort(h.Host(), strconv.Itoa(couchPort)) + "/_up"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return permanent(err)
	}
	request.SetBasicAuth(couchAdmin, password)
	response, err := client.Do(request)
	if errors.Is(err, engine.ErrNotPublished) {
		return nil // the peer cannot start without it, and will tell
	}
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // what it says is in the status
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		return permanent(fmt.Errorf("it refuses the password that the key volume of %s has for it", h.Organization()))
	}
	return fmt.Errorf("it answered %s", response.Status)
}

// ensureWithDatabase makes the database beside a peer and then the peer: a peer stops itself when its
// database does not answer, so it rests while the database does.
func (f *Fabric) ensureWithDatabase(ctx context.Context, spec PeerSpec, peer *node) (MemberState, error) {
	password, err := f.stateDatabasePassword(ctx, spec.Handle)
	if err != nil {
		return MemberState{}, err
	}
	peer.env[couchPasswordVariable] = password
	database := f.stateDatabaseNode(spec, password)
	if err := f.beginTogether(ctx, peer, database); err != nil {
		return MemberState{}, err
	}
	settled, err := f.settled(ctx, database)
	if err != nil {
		return MemberState{}, err
	}
	ctx, end := reprieved(ctx)
	defer end()
	if !settled {
		if err := f.stop(ctx, peer.handle); err != nil {
			return MemberState{}, err
		}
	}
	beside, err := f.ensure(ctx, database)
	if err != nil {
		return MemberState{}, f.downError(ctx, peer.handle, err)
	}
	state, err := f.ensureMember(ctx, peer)
	state.StateDatabase = &beside
	return state, err
}

// beginTogether makes the peer's volume before anything else, so that whatever happens no database is
// there without its peer's ledger. One that is all the same begins anew with the ledger, when that
// loss is accepted.
func (f *Fabric) beginTogether(ctx context.Context, peer, database *node) error {
	defer f.locks.lock(peer.handle.Object())()
	if _, err := f.engine.Volume(ctx, peer.handle.Object()); !errors.Is(err, engine.ErrNotFound) {
		return err
	}
	orphaned, err := f.refuseOrphan(ctx, peer, database)
	if err != nil {
		return err
	}
	if orphaned {
		if err := f.removeNode(ctx, database.handle, false); err != nil {
			return err
		}
	}
	_, err = f.ensureVolume(ctx, peer, false)
	return err
}

// refuseOrphan tells whether there is a database although the ledger of its peer is gone: a state that
// is ahead of the blocks, with which no peer starts. That is a loss to be accepted.
func (f *Fabric) refuseOrphan(ctx context.Context, peer, database *node) (orphaned bool, err error) {
	name := peer.handle.Object()
	if _, err := f.engine.Volume(ctx, name); !errors.Is(err, engine.ErrNotFound) {
		return false, err
	}
	state, err := f.engine.Volume(ctx, database.handle.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		err = database.handle.requireSame("volume", state.Name, state.Labels)
	}
	if err == nil && !peer.options.AcceptDataLoss {
		err = &LostError{Thing: peer.handle, Volume: name}
	}
	return true, err
}

// preflightStateDatabase is preflight of the database beside a peer, whose own has succeeded.
func (f *Fabric) preflightStateDatabase(ctx context.Context, spec PeerSpec, peer *node) error {
	database := f.stateDatabaseNode(spec, "")
	err := f.preflight(ctx, database)
	if err == nil {
		if _, err = f.refuseOrphan(ctx, peer, database); err == nil {
			return nil
		}
		f.seen.take(database.handle.Object())
	}
	f.seen.take(peer.handle.Object()) // nobody is about to make it any more
	return err
}

// settled tells whether a node runs exactly as it is wanted.
func (f *Fabric) settled(ctx context.Context, n *node) (bool, error) {
	current, err := f.engine.Node(ctx, n.handle.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	image, err := f.resolveKept(ctx, n.options)
	if err != nil {
		return false, err
	}
	attached, err := f.attached(ctx, n, current)
	wanted := n.spec(image.ID, nil).Labels[engine.LabelSpecHash]
	return attached && current.Status == engine.Running && len(current.Altered) == 0 && !n.options.Stopped && current.Labels[engine.LabelSpecHash] == wanted, err
}

// ReadStateDatabase reads the state of the database beside a peer into that of the peer, which is as
// well as its database is.
func (f *Fabric) ReadStateDatabase(ctx context.Context, peer Handle, state *MemberState) error {
	beside, err := f.readNode(ctx, stateDatabase(peer), nil)
	if err != nil {
		return err
	}
	state.StateDatabase = &beside
	state.Lost = state.Lost || beside.Lost
	if wellness(beside.Status) < wellness(state.Status) {
		state.Status = beside.Status
	}
	return nil
}

func wellness(status engine.Status) int {
	return map[engine.Status]int{engine.Running: 3, Unhealthy: 2, engine.Stopped: 1, engine.Created: 1}[status]
}

// removeStateDatabase removes the database beside a peer and, unless it is to be kept, its volume
// with its password. A peer that has none is success.
func (f *Fabric) removeStateDatabase(ctx context.Context, peer Handle, keepVolume bool) error {
	h := stateDatabase(peer)
	has, err := f.hasObjects(ctx, h)
	if err != nil {
		return err
	}
	if has {
		if err := f.removeNode(ctx, h, keepVolume); err != nil {
			return err
		}
	}
	if keepVolume {
		return nil
	}
	password, err := f.knownStateDatabasePassword(ctx, peer)
	if err == nil && password != "" {
		err = f.eraseKeys(ctx, peer.Organization(), couchSecrets+peer.Name)
	}
	if errors.Is(err, ErrLost) || errors.Is(err, keystore.ErrLost) {
		return nil // and the password with it
	}
	return err
}

// hasObjects tells whether a container or a volume carries exactly this thing: another node may
// bear the name.
func (f *Fabric) hasObjects(ctx context.Context, h Handle) (bool, error) {
	container, err := f.engine.Node(ctx, h.Object())
	if err == nil && h.requireSame("container", h.Object(), container.Labels) == nil {
		return true, nil
	}
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return false, err
	}
	volume, err := f.engine.Volume(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil && h.requireSame("volume", h.Object(), volume.Labels) == nil, err
}

// wakeStateDatabase starts the database beside a stopped peer for work on the peer's ledgers, and
// gives what lets it rest again. It does nothing for a peer with goleveldb.
func (f *Fabric) wakeStateDatabase(ctx context.Context, peer Handle) (rest func() error, err error) {
	h := stateDatabase(peer)
	awake := func() error { return nil }
	has, err := f.hasObjects(ctx, h)
	if err != nil || !has {
		return awake, err
	}
	running, err := f.running(ctx, h)
	if err != nil || running {
		return awake, err
	}
	password, err := f.knownStateDatabasePassword(ctx, peer)
	if err != nil {
		return awake, err
	}
	err = f.engine.StartNode(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return awake, &NodeError{Action: "start " + h.String(), Cause: err, Next: "apply " + peer.String() + ", which makes it again, and then this"}
	}
	if err != nil {
		return awake, f.nodeError(ctx, h, "start", err)
	}
	rest = func() error { return f.stop(context.WithoutCancel(ctx), h) }
	err = f.awaitReady(ctx, &node{handle: h, ready: func(ctx context.Context) error { return f.stateDatabaseAnswers(ctx, h, password) }})
	return rest, err
}

// stateDatabaseOf finds the database beside a peer as it was asked for; nil is goleveldb.
func (f *Fabric) stateDatabaseOf(ctx context.Context, peer engine.Node) (*StateDatabase, error) {
	in := peerInputs{}
	if err := json.Unmarshal([]byte(peer.Labels[labelInputs]), &in); err != nil {
		return nil, fmt.Errorf("unable to read what was asked for of %s: %w", peer.Name, err)
	}
	if in.StateDatabase == nil {
		return nil, nil
	}
	beside, err := f.engine.Node(ctx, stateDatabase(handleOf(peer.Labels)).Object())
	if errors.Is(err, engine.ErrNotFound) {
		return in.StateDatabase, nil
	}
	in.StateDatabase.ImageID = beside.ImageID
	return in.StateDatabase, err
}

// ValidatePeerConfig finds what is wrong with an overlay for core.yaml of a peer with this kind of
// state database. It needs no peer: what is a node's own plays no part in it.
func ValidatePeerConfig(version nodeconfig.Version, overlay nodeconfig.Overlay, couchDB bool) []nodeconfig.Problem {
	spec := PeerSpec{Handle: Handle{Kind: KindPeer, Name: "peer", MSPID: "MSP"}}
	if couchDB {
		spec.StateDatabase = &StateDatabase{}
	}
	config := peerConfig(spec.Handle, spec.Endpoint(spec.Handle, peerPort))
	config.CouchDB = stateDatabaseConfig(spec)
	return nodeconfig.ValidatePeer(version, config, overlay)
}
