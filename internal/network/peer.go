package network

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// The ports on which a peer listens. Chaincode that the peer starts itself connects to
// peerChaincodePort, which is not published: chaincode as a service is connected to by the peer.
const (
	peerPort           = 7051
	peerChaincodePort  = 7052
	peerOperationsPort = 9443
)

// PeerPorts are the published ports of a peer by purpose.
func PeerPorts() map[string]int {
	return map[string]int{"grpc": peerPort, "operations": peerOperationsPort}
}

// PeerSpec is a peer.
type PeerSpec struct {
	Handle Handle
	NodeOptions
	Version nodeconfig.Version
	Config  nodeconfig.Overlay
	// StateDatabase is the CouchDB beside the peer; nil is goleveldb.
	StateDatabase *StateDatabase
	// MaxUnavailable is how many peers of the organization may be down at a time while it is changed,
	// this one included; 0 is 1.
	MaxUnavailable int
	// Timeout bounds the change itself, and not the wait for its turn; 0 is no bound.
	Timeout time.Duration
}

// Endpoint is the address by which others reach a node: the advertised one, or its host name and port.
func (o NodeOptions) Endpoint(h Handle, port int) string {
	if o.AdvertisedAddress != "" {
		return o.AdvertisedAddress
	}
	return net.JoinHostPort(h.Host(), strconv.Itoa(port))
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// PreflightPeer finds what would fail before anything is made.
func (f *Fabric) PreflightPeer(ctx context.Context, spec PeerSpec) error {
	n, err := f.peerNode(spec)
	if err != nil {
		return err
	}
	if err := f.CheckMaterial(ctx, spec.Handle, spec.NodeOptions); err != nil {
		return err
	}
	if err := f.preflight(ctx, n); err != nil || spec.StateDatabase == nil {
		return err
	}
	return f.preflightStateDatabase(ctx, spec, n)
}

// EnsurePeer makes the peer as it is wanted and waits until its endorser answers. One that is there
// waits for the ordering nodes of its channels when it is to run a newer release, and for its turn
// among the peers of its organization when it must be stopped for the change.
func (f *Fabric) EnsurePeer(ctx context.Context, spec PeerSpec) (MemberState, error) {
	defer f.lockChange(spec.Handle)()
	reason := ""
	if spec.Stopped {
		reason = restStopped
	}
	if err := f.rest(ctx, spec.Handle, reason); err != nil {
		return MemberState{}, err
	}
	if err := f.acceptRemoved(ctx, spec.Handle, &spec.NodeOptions); err != nil {
		return MemberState{}, err
	}
	if err := f.beginRotation(ctx, spec.Handle, &spec.Renewal); err != nil {
		return MemberState{}, err
	}
	return f.ensurePeer(ctx, spec)
}

func (f *Fabric) ensurePeer(ctx context.Context, spec PeerSpec) (MemberState, error) {
	n, err := f.peerNode(spec)
	if err != nil {
		return MemberState{}, err
	}
	if err := f.requireRelease(ctx, spec.Version, []Handle{spec.Handle}, nil); err != nil {
		return MemberState{}, err
	}
	if err := f.CheckMaterial(ctx, spec.Handle, spec.NodeOptions); err != nil {
		return MemberState{}, err
	}
	if spec.Stopped || !spec.Existing { // neither waits for others
		state, err := f.changePeer(ctx, spec, n, false)
		f.rolls.settle(spec.Handle, err)
		return state, err
	}
	if err := f.awaitOrderers(ctx, spec); err != nil {
		return MemberState{}, err
	}
	turn, err := f.awaitTurn(ctx, spec, n)
	if err != nil {
		return MemberState{}, err
	}
	state, err := f.changePeer(ctx, spec, n, turn.takesDown)
	turn.end(ctx, err)
	return state, err
}

// changePeer makes a peer as it is wanted. One that was taken down for it is waited for until it is
// abreast of the others again.
func (f *Fabric) changePeer(ctx context.Context, spec PeerSpec, n *node, takesDown bool) (MemberState, error) {
	ctx, cancel := spec.bounded(ctx)
	defer cancel()
	state, err := f.makePeer(ctx, spec, n)
	if err == nil && takesDown {
		err = f.awaitAbreast(ctx, spec.Handle)
	}
	return state, err
}

func (s PeerSpec) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.Timeout)
}

func (f *Fabric) makePeer(ctx context.Context, spec PeerSpec, n *node) (MemberState, error) {
	if spec.StateDatabase != nil {
		return f.ensureWithDatabase(ctx, spec, n)
	}
	return f.ensureMember(ctx, n)
}

// peerConfig says where a peer listens and finds its files, for nodeconfig.
func peerConfig(h Handle, endpoint string) nodeconfig.Peer {
	return nodeconfig.Peer{
		ID: h.Host(), MSPID: h.MSPID,
		ListenAddress:          listen(peerPort),
		Address:                net.JoinHostPort(h.Host(), strconv.Itoa(peerPort)),
		ExternalEndpoint:       endpoint,
		GossipBootstrap:        []string{net.JoinHostPort(h.Host(), strconv.Itoa(peerPort))},
		ChaincodeListenAddress: listen(peerChaincodePort),
		ChaincodeAddress:       net.JoinHostPort(h.Host(), strconv.Itoa(peerChaincodePort)),
		MSPDir:                 keysFolder + "/msp",
		DataDir:                dataFolder,
		SnapshotDir:            snapshotsFolder,
		TLS:                    nodeconfig.ServerTLS{CertFile: keysFolder + "/tls/cert.pem", KeyFile: keysFolder + "/tls/key.pem", RootFiles: []string{keysFolder + "/tls/root.pem"}},
		Operations:             operationsEndpoint(peerOperationsPort),
	}
}

func operationsEndpoint(port int) nodeconfig.Endpoint {
	return nodeconfig.Endpoint{
		ListenAddress: listen(port),
		CertFile:      keysFolder + "/operations/cert.pem", KeyFile: keysFolder + "/operations/key.pem",
		ClientRootFiles: []string{keysFolder + "/operations/root.pem"},
	}
}

func listen(port int) string { return net.JoinHostPort("0.0.0.0", strconv.Itoa(port)) }

// RenderPeer gives the core.yaml of a peer as it will run.
func RenderPeer(spec PeerSpec) ([]byte, error) {
	config := peerConfig(spec.Handle, spec.Endpoint(spec.Handle, peerPort))
	config.CouchDB = stateDatabaseConfig(spec)
	return nodeconfig.RenderPeer(spec.Version, config, spec.Config)
}

func (f *Fabric) peerNode(spec PeerSpec) (*node, error) {
	h := spec.Handle
	config, err := RenderPeer(spec)
	if err != nil {
		return nil, fmt.Errorf("unable to render core.yaml of %s: %w", h, err)
	}
	return &node{
		handle: h, options: spec.NodeOptions, endpoint: spec.Endpoint(h, peerPort), ports: PeerPorts(),
		inputs:  inputs(peerInputs{memberInputs{spec.NodeOptions, spec.Version.String(), spec.Config}, spec.StateDatabase}),
		command: []string{"peer", "node", "start"},
		env: map[string]string{
			"FABRIC_CFG_PATH": nodeRoot + "/config",
			// One package serves every peer: its connection.json names the peer by this value.
			"CHAINCODE_AS_A_SERVICE_BUILDER_CONFIG": fmt.Sprintf("{\"peername\":%q}", h.Host()),
		},
		config:   map[string][]byte{"config/core.yaml": config},
		material: f.memberMaterial(h, "peer", spec.NodeOptions),
		ready:    func(ctx context.Context) error { return f.peerReady(ctx, spec) },
	}, nil
}

// peerReady fails until the peer answers, and has the chaincodes that were released while it rested.
func (f *Fabric) peerReady(ctx context.Context, spec PeerSpec) error {
	if err := f.peerAnswers(ctx, spec.Handle); err != nil || !spec.Existing {
		return err
	}
	return f.installMissing(ctx, spec.Handle)
}

// peerAnswers asks the peer for its channels, as the organization's admin: its listener, its local
// MSP and its endorser work.
func (f *Fabric) peerAnswers(ctx context.Context, h Handle) error {
	_, err := f.peerChannels(ctx, h)
	return err
}

// peerChannels asks a peer for the channels that it has joined.
func (f *Fabric) peerChannels(ctx context.Context, h Handle) ([]string, error) {
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return nil, err
	}
	admin, err := f.identity(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	return endorser.Channels(ctx, endorser.Peer{Name: h.Name, Conn: conn}, admin)
}

// ReadPeer reads the state of a peer.
func (f *Fabric) ReadPeer(ctx context.Context, h Handle) (MemberState, error) {
	node, err := f.readNode(ctx, h, PeerPorts())
	state := MemberState{NodeState: node}
	if err != nil {
		return state, err
	}
	state.Ledger, err = f.peerLedger(ctx, h, node)
	return state, err
}

// peerLedger asks a peer whether it has joined a channel. One that cannot be asked has when a
// channel of ours says so, or its organization's membership in one of somebody else.
func (f *Fabric) peerLedger(ctx context.Context, h Handle, node NodeState) (Ledger, error) {
	if node.Lost || node.Removed {
		return LedgerUnknown, nil
	}
	if node.Status == engine.Running {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		if channels, err := f.peerChannels(ctx, h); err == nil {
			return ledgerOf(len(channels)), nil
		}
	}
	if f.pledged(ctx, h) {
		return LedgerHeld, nil
	}
	return f.recorded(ctx, h, func(record channelRecord) bool { return slices.Contains(peersOf(record.Organizations), h) })
}
