package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/grpcconn"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// ChannelSpec is an application channel.
type ChannelSpec struct {
	// Handle is of kind channel.
	Handle Handle
	// Orderers is the ordering cluster.
	Orderers      Handle
	Organizations map[string]ChannelOrganization
	// Config is the channel configuration but for what the nodes themselves say: consenters,
	// endpoints, definitions, anchor peers.
	Config configtx.Channel
	// AcceptDataLoss makes the channel anew when its ordering nodes have lost it, although peers
	// still hold its blocks.
	AcceptDataLoss bool
	// FromSnapshot has peers that join the running channel begin with a snapshot of one that has it.
	FromSnapshot bool
	// adopted tells that somebody else made the channel.
	adopted bool
}

// ChannelOrganization is a member of a channel.
type ChannelOrganization struct {
	Organization Handle         `json:"organization"`
	Definition   msp.Definition `json:"-"`
	// Peers join the channel, by a name of the user's choice.
	Peers map[string]Handle `json:"peers,omitempty"`
	// AnchorPeers are names of Peers; empty means the first one.
	AnchorPeers []string `json:"anchor_peers,omitempty"`
	// SelfManaged tells that the definition and the anchor peers are set elsewhere once the
	// organization is a member.
	SelfManaged bool `json:"self_managed,omitempty"`
}

// anchors are the peers that other organizations may contact.
func (o ChannelOrganization) anchors() []Handle {
	names := o.AnchorPeers
	if len(names) == 0 && len(o.Peers) > 0 {
		names = slices.Sorted(maps.Keys(o.Peers))[:1]
	}
	var out []Handle
	for _, name := range names {
		out = append(out, o.Peers[name])
	}
	return out
}

// PreflightChannel finds what would fail before anything is made: a volume of somebody else, a
// channel of that name that was made from something else, nodes that do not know a capability.
func (f *Fabric) PreflightChannel(ctx context.Context, spec ChannelSpec) error {
	if err := f.requireNetwork(ctx, spec.Handle); err != nil {
		return err
	}
	volume, err := f.engine.Volume(ctx, spec.Handle.record())
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return err
	default:
		if err := spec.Handle.requireSame("volume", volume.Name, volume.Labels); err != nil {
			return err
		}
		_, _, err := f.resumable(ctx, spec)
		if lost := errors.As(err, new(*LostChannelError)); err != nil && !(lost && spec.AcceptDataLoss) {
			return err
		}
	}
	if err := f.requireCapability(ctx, spec); err != nil {
		return err
	}
	_, err = f.genesis(ctx, spec)
	return err
}

// CapabilityError tells that a node runs a release that does not know a capability of the channel.
// Such a node ends itself when it reads the channel's configuration.
type CapabilityError struct{ Node, Version, Capability string }

func (e *CapabilityError) Error() string {
	return fmt.Sprintf("%s runs Fabric %s, which does not know the channel capability %s and ends when it meets it", e.Node, e.Version, e.Capability)
}

// ChannelCapability gives the channel capability that a new channel on an ordering cluster has unless
// another one is asked for.
func (f *Fabric) ChannelCapability(ctx context.Context, cluster Handle) (string, error) {
	nodes, err := f.Orderers(ctx, cluster)
	if err != nil {
		return "", err
	}
	record, err := f.clusterRecord(ctx, nodes)
	return record.capability(), err
}

// requireCapability asks the labels of the nodes that are to have the channel for their releases.
func (f *Fabric) requireCapability(ctx context.Context, spec ChannelSpec) error {
	if spec.Config.ChannelCapability != configtx.ChannelCapabilityV3_0 {
		return nil
	}
	nodes, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	old, err := f.before3(ctx, slices.Concat(nodes, peersOf(spec.Organizations)))
	if err != nil {
		return err
	}
	if names := slices.Sorted(maps.Keys(old)); len(names) > 0 {
		return &CapabilityError{Node: names[0], Version: old[names[0]], Capability: spec.Config.ChannelCapability}
	}
	return nil
}

// peersOf gives the peers of a channel, in the order of their names.
func peersOf(organizations map[string]ChannelOrganization) []Handle {
	var peers []Handle
	for _, org := range organizations {
		peers = slices.AppendSeq(peers, maps.Values(org.Peers))
	}
	slices.SortStableFunc(peers, compareNames)
	return peers
}

// CreateChannel makes the channel as a whole or not at all: it goes on after failures until its
// deadline, and then takes everything back, so that the same name can be created again at once.
func (f *Fabric) CreateChannel(ctx context.Context, spec ChannelSpec) error {
	defer f.locks.lock(spec.Handle.record())()
	if spec.AcceptDataLoss {
		state, err := f.ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
		if err != nil && !errors.As(err, new(*UnansweredError)) {
			return err
		}
		if state.Lost {
			if err := f.beginAnew(ctx, spec); err != nil {
				return err
			}
		}
	}
	return f.createWhole(ctx, spec)
}

// undoTime is how long taking a channel back may take after its create has failed.
const undoTime = 2 * time.Minute

func (f *Fabric) createWhole(ctx context.Context, spec ChannelSpec) error {
	attempt := &channelAttempt{}
	err := persist(ctx, mayPass, func() error { return f.createChannel(ctx, spec, attempt) })
	if err == nil {
		return nil
	}
	// A channel that was there before is nobody's to take away.
	if attempt.inUse || errors.As(err, new(*RecordedError)) || errors.As(err, new(*LostChannelError)) {
		return &NotMadeError{Channel: spec.Handle, Cause: err, Existed: true}
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if undo := f.removeChannel(back, spec.Handle, spec.Orderers, spec.Organizations, attempt.unanswered); undo != nil {
		return fmt.Errorf("%w\n\nTaking the channel back failed too: %w", err, undo)
	}
	return &NotMadeError{Channel: spec.Handle, Cause: err}
}

// NotMadeError tells that a channel was not made and that nothing of the attempt is left.
type NotMadeError struct {
	Channel Handle
	Cause   error
	// Existed tells that the channel had been made before; it was left as it is.
	Existed bool
}

func (e *NotMadeError) Error() string {
	if e.Existed {
		return e.Cause.Error()
	}
	return e.Cause.Error() + "\n\nEverything that had been made of the channel was taken back: it can be created again at once"
}

func (e *NotMadeError) Unwrap() error { return e.Cause }

// mayPass tells of a failure to make a channel whether it may pass by itself. Work on one node goes
// on until the deadline by itself, so that what it gave up is final; what is left are the engine's
// own failures.
func mayPass(err error) bool {
	for _, final := range []error{engine.ErrForeign, engine.ErrNotFound, engine.ErrNoImage, ErrNotFound, ErrLost} {
		if errors.Is(err, final) {
			return false
		}
	}
	return !errors.As(err, new(*NodeError)) && !errors.As(err, new(*RecordedError))
}

// persist does the work again after failures that may pass, until the context ends. A failure after more
// than one attempt is a *retry.Error.
func persist(ctx context.Context, mayPass func(error) bool, work func() error) error {
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval = 100*time.Millisecond, 2*time.Second
	var last error
	started, attempts := time.Now(), 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = work()
		attempts++
		if last != nil && !mayPass(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return nil
	}
	if last == nil {
		return err
	}
	if attempts == 1 {
		return last
	}
	return &retry.Error{Attempts: attempts, Elapsed: time.Since(started), Err: last, Stopped: context.Cause(ctx)}
}

// channelAttempt is what taking a channel back must know of its making.
type channelAttempt struct {
	// genesis is the block that the channel begins with; recorded tells that it is written down.
	genesis  []byte
	recorded bool
	// inUse: the channel had been made before, and has more than its first block by now.
	inUse bool

	mu sync.Mutex
	// open are the nodes that were asked to join and have not answered: they may have joined all the
	// same, or may do so yet.
	open map[string]bool
}

func (a *channelAttempt) asked(h Handle, open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = map[string]bool{}
	}
	a.open[h.Object()] = open
}

func (a *channelAttempt) unanswered(h Handle) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open[h.Object()]
}

func (f *Fabric) createChannel(ctx context.Context, spec ChannelSpec, attempt *channelAttempt) error {
	genesis, err := f.recordChannel(ctx, spec, attempt)
	if err != nil {
		return err
	}
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	j := channelEntry{channel: spec.Handle, genesis: genesis, orderers: orderers}
	group, gctx := errgroup.WithContext(ctx)
	join := func(h Handle, join func(context.Context, Handle, channelEntry) error) {
		group.Go(func() error {
			attempt.asked(h, true)
			err := join(gctx, h, j)
			attempt.asked(h, err != nil)
			return err
		})
	}
	for _, o := range orderers {
		join(o, f.joinOrderer)
	}
	for _, p := range peersOf(spec.Organizations) { // a peer joins without any ordering node
		join(p, f.joinPeer)
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return f.awaitLeader(ctx, spec.Handle, orderers)
}

// genesis makes the genesis block from the configuration and from what the nodes themselves say.
func (f *Fabric) genesis(ctx context.Context, spec ChannelSpec) ([]byte, error) {
	channel := spec.Config
	channel.Name = spec.Handle.Name
	if err := f.addOrdering(ctx, spec.Orderers, &channel); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Organizations)) {
		member := spec.Organizations[key]
		org := configtx.ApplicationOrganization{Definition: member.Definition}
		if keys, err := f.organizationKeys(ctx, member.Organization); err == nil {
			org.Definition.RevocationLists = keys.revocationLists()
		}
		for _, p := range member.anchors() {
			address, err := f.endpoint(ctx, p)
			if err != nil {
				return nil, err
			}
			org.AnchorPeers = append(org.AnchorPeers, address)
		}
		channel.ApplicationOrganizations = append(channel.ApplicationOrganizations, org)
	}
	block, err := configtx.Genesis(channel)
	if err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(block)
}

// consenter reads from an orderer what the channel must know of it.
func (f *Fabric) consenter(ctx context.Context, o Handle) (configtx.Consenter, error) {
	address, err := f.endpoint(ctx, o)
	if err != nil {
		return configtx.Consenter{}, err
	}
	tls, errTLS := f.certificateOf(ctx, o, tlsFile)
	enrolled, errEnrolled := f.certificateOf(ctx, o, enrollmentFile)
	return consenterAt(address, o.MSPID, tls, enrolled), errors.Join(errTLS, errEnrolled)
}

// consenterAt is an ordering node with these certificates, which intermediates may follow.
func consenterAt(address configtx.Address, mspID string, tls, enrolled []byte) configtx.Consenter {
	certificate := string(firstBlock(tls))
	return configtx.Consenter{
		Host: address.Host, Port: address.Port, ClientTLSCertPEM: certificate, ServerTLSCertPEM: certificate,
		MSPID: mspID, IdentityPEM: string(firstBlock(enrolled)),
	}
}

// certificateOf gives a certificate of a node by its file, with its intermediates: that which the node was
// furnished with a moment ago, or that on its volume.
func (f *Fabric) certificateOf(ctx context.Context, h Handle, file string) ([]byte, error) {
	if known, ok := f.furnished.Load(h.Object()); ok && len(known.(map[string][]byte)[file]) > 0 {
		return known.(map[string][]byte)[file], nil
	}
	content, err := f.certificateFile(ctx, h, file)
	if err != nil {
		return nil, fmt.Errorf("unable to read the certificate %s of %s: %w", file, h, err)
	}
	return content, nil
}

// endpoint reads the address by which others reach a node.
func (f *Fabric) endpoint(ctx context.Context, h Handle) (configtx.Address, error) {
	n, err := f.engine.Node(ctx, h.Object())
	address := n.Labels[labelEndpoint]
	if errors.Is(err, engine.ErrNotFound) {
		if a, _ := f.adoption(ctx, h); a != nil { // its container comes back as it was
			address, err = a.Endpoint, nil
		}
	}
	if err != nil {
		return configtx.Address{}, fmt.Errorf("unable to read %s: %w", h, err)
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return configtx.Address{}, fmt.Errorf("unable to read the endpoint of %s: %w", h, err)
	}
	port, err := strconv.Atoi(text)
	return configtx.Address{Host: host, Port: port}, err
}

// channelEntry is a channel that nodes join.
type channelEntry struct {
	channel Handle
	// genesis is the block that the channel begins with.
	genesis []byte
	// orderers are its ordering nodes, or some of them.
	orderers []Handle
}

// joinOrderer joins an ordering node. One that has the channel already is success when its first
// block is ours. One that has it no more may still have its write-ahead log, over which a channel of
// the same name would stumble: that is cleared away first.
func (f *Fabric) joinOrderer(ctx context.Context, o Handle, j channelEntry) error {
	channel, genesis := j.channel.Name, j.genesis
	fail := func(err error) error { return f.nodeError(ctx, o, "join channel "+channel+" with", err) }
	has := false
	err := f.pollNode(ctx, o, func(ctx context.Context) (err error) {
		has, err = f.orders(ctx, o, channel)
		return err
	})
	if err != nil {
		return fail(err)
	}
	if !has {
		if err := f.clearLeftovers(ctx, o, channel); err != nil {
			return fail(err)
		}
	}
	refused := patience{}
	err = f.pollNode(ctx, o, func(ctx context.Context) error {
		client, err := f.participation(ctx, o)
		if err != nil {
			return err
		}
		_, err = client.Join(ctx, genesis)
		if errors.Is(err, participation.ErrExists) {
			return f.sameGenesis(ctx, o, channel, genesis)
		}
		return refused.bear(err)
	})
	if err != nil {
		return fail(err)
	}
	return nil
}

// orders asks an ordering node whether it has a channel.
func (f *Fabric) orders(ctx context.Context, o Handle, channel string) (bool, error) {
	client, err := f.participation(ctx, o)
	if err != nil {
		return false, err
	}
	_, err = client.Get(ctx, channel)
	if errors.Is(err, participation.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// patience bears refusals for a while. A node that is still at work on an earlier attempt refuses,
// and so does one that always will: only time tells.
type patience struct{ since time.Time }

const patienceTime = 30 * time.Second

// bear gives the failure back, as a permanent one when nothing but refusals came for long enough.
func (p *patience) bear(err error) error {
	refused := errors.As(err, new(*endorser.RefusedError)) || errors.As(err, new(*participation.Error)) || errors.As(err, new(*grpcconn.CertificateError))
	switch {
	case !refused:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = time.Now()
	case time.Since(p.since) > patienceTime:
		return permanent(err)
	}
	return err
}

// errOtherGenesis: the node has a channel of that name that began with another block.
var errOtherGenesis = errors.New("it has another channel of this name, which began with another block")

// sameGenesis compares the first block of a channel that an ordering node has with ours.
func (f *Fabric) sameGenesis(ctx context.Context, o Handle, channel string, genesis []byte) error {
	has, err := f.firstBlock(ctx, o, channel)
	if err != nil {
		return err
	}
	ours := &common.Block{}
	if err := proto.Unmarshal(genesis, ours); err != nil {
		return permanent(err)
	}
	if !bytes.Equal(configtx.BlockHash(has), configtx.BlockHash(ours)) {
		return permanent(errOtherGenesis)
	}
	return nil
}

// firstBlock fetches the block that a channel began with from a node.
func (f *Fabric) firstBlock(ctx context.Context, h Handle, channel string) (*common.Block, error) {
	return f.blockOf(ctx, h, channel, 0)
}

// blockOf fetches a block from a node, an ordering node without a leader too.
func (f *Fabric) blockOf(ctx context.Context, h Handle, channel string, number uint64) (*common.Block, error) {
	admin, err := f.identity(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	if h.Kind == KindOrderer {
		conn, err := f.grpcConn(ctx, h, ordererPort)
		if err != nil {
			return nil, err
		}
		return orderer.Block(ctx, conn, admin, channel, orderer.At(number), orderer.BestEffort())
	}
	conn, err := f.grpcConn(ctx, h, peerPort)
	if err != nil {
		return nil, err
	}
	return endorser.BlockByNumber(ctx, endorser.Peer{Name: h.Name, Conn: conn}, admin, channel, number)
}

func (f *Fabric) joinPeer(ctx context.Context, p Handle, j channelEntry) error {
	refused := patience{}
	err := f.pollNode(ctx, p, func(ctx context.Context) error {
		peer, admin, err := f.peerAsAdmin(ctx, p)
		if err != nil {
			return err
		}
		err = endorser.JoinChannel(ctx, peer, admin, j.genesis)
		switch {
		case errors.Is(err, endorser.ErrOtherGenesis):
			return permanent(err)
		case errors.Is(err, endorser.ErrFromSnapshot): // it has joined
			return f.sameChain(ctx, p, j)
		case err != nil:
			if folder, _ := endorser.SnapshotJoin(ctx, peer, admin); folder != "" {
				return fmt.Errorf("it is joining another channel, from the snapshot in %s", folder)
			}
		}
		return refused.bear(err)
	})
	if err != nil {
		return f.nodeError(ctx, p, "join channel "+j.channel.Name+" with", err)
	}
	return nil
}

// sameChain compares the last block of a peer that has no first one with that of the ordering nodes.
func (f *Fabric) sameChain(ctx context.Context, p Handle, j channelEntry) error {
	peer, admin, err := f.peerAsAdmin(ctx, p)
	if err != nil {
		return err
	}
	info, err := endorser.ChainInfo(ctx, peer, admin, j.channel.Name)
	if err != nil {
		return err
	}
	var failures error
	for _, o := range j.orderers {
		block, err := f.blockOf(ctx, o, j.channel.Name, info.GetHeight()-1)
		if err != nil {
			failures = errors.Join(failures, err)
			continue
		}
		if !bytes.Equal(configtx.BlockHash(block), info.GetCurrentBlockHash()) {
			return permanent(errOtherGenesis)
		}
		return nil
	}
	return failures
}

// peerAsAdmin gives what a peer is called with as the admin of its organization.
func (f *Fabric) peerAsAdmin(ctx context.Context, p Handle) (endorser.Peer, *msp.Identity, error) {
	conn, err := f.grpcConn(ctx, p, peerPort)
	if err != nil {
		return endorser.Peer{}, nil, err
	}
	admin, err := f.identity(ctx, p.Organization())
	return endorser.Peer{Name: p.Name, Conn: conn}, admin, err
}

// awaitLeader waits until every ordering node of the channel knows a leader.
func (f *Fabric) awaitLeader(ctx context.Context, channel Handle, orderers []Handle) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range orderers {
		group.Go(func() error {
			err := f.pollNode(gctx, o, func(ctx context.Context) error {
				conn, err := f.grpcConn(ctx, o, ordererPort)
				if err != nil {
					return err
				}
				admin, err := f.identity(ctx, o.Organization())
				if err != nil {
					return err
				}
				leader, err := orderer.HasLeader(ctx, conn, admin, channel.Name)
				if err == nil && !leader {
					err = fmt.Errorf("channel %s has no leader", channel.Name)
				}
				return err
			})
			if err != nil {
				return f.nodeError(gctx, o, "await the leader of channel "+channel.Name+" at", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// UpdateChannel brings a running channel to what the spec says: peers that are no longer wanted leave;
// the configuration is updated; peers join, with the chaincodes that run on the channel. It records
// who belongs to the channel. A record that is gone is made again. A channel that its ordering nodes
// have lost is made anew, if the spec accepts that loss.
func (f *Fabric) UpdateChannel(ctx context.Context, spec ChannelSpec) error {
	defer f.locks.lock(spec.Handle.record())()
	state, err := f.ReadChannel(ctx, spec.Handle, spec.Orderers, spec.Organizations)
	if err != nil && !errors.As(err, new(*UnansweredError)) {
		return err
	}
	if state.Lost {
		if err := f.beginAnew(ctx, spec); err != nil {
			return err
		}
		return f.createWhole(ctx, spec)
	}
	before, genesis, err := f.channelRecordWithGenesis(ctx, spec.Handle)
	if errors.Is(err, ErrLost) {
		genesis, err = f.restoreRecord(ctx, spec)
	}
	if err != nil {
		return err
	}
	if err := f.requireCapability(ctx, spec); err != nil {
		return err
	}
	if err := f.leave(ctx, spec, before); err != nil {
		return err
	}
	if err := f.reconfigure(ctx, spec, before); err != nil {
		return err
	}
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	j := channelEntry{channel: spec.Handle, genesis: genesis, orderers: orderers}
	if err := f.join(ctx, j, peersOf(spec.Organizations), missing(spec, before, state), spec.FromSnapshot); err != nil {
		return err
	}
	if err := f.writeRecord(ctx, spec, nil); err != nil {
		return err
	}
	return f.extendChaincodes(ctx, spec.Handle)
}

// missing gives the peers that have yet to join. One that belonged to the channel before and does not
// answer, because it is stopped, has joined.
func missing(spec ChannelSpec, before channelRecord, state ChannelState) []Handle {
	belonged := peersOf(before.Organizations)
	var out []Handle
	for key, org := range spec.Organizations {
		for name, p := range org.Peers {
			silent := slices.Contains(state.Unanswered[key], name)
			if !slices.Contains(state.Joined[key], name) && !(silent && slices.Contains(belonged, p)) {
				out = append(out, p)
			}
		}
	}
	return out
}

// leave takes the peers out of the channel that belonged to it and no longer do, with the chaincode
// servers beside them. Peers that were removed meanwhile have nothing left to leave.
func (f *Fabric) leave(ctx context.Context, spec ChannelSpec, before channelRecord) error {
	stays := peersOf(spec.Organizations)
	var jobs together
	for _, p := range peersOf(before.Organizations) {
		if slices.Contains(stays, p) {
			continue
		}
		jobs.do(func() error {
			return errors.Join(
				f.removeServersBeside(ctx, spec.Handle, p, stays),
				f.unjoin(ctx, p, spec.Handle.Name, unjoinOptions{inTurn: true}),
			)
		})
	}
	return jobs.wait()
}

// together does things at once, each to its end whatever becomes of the others.
type together struct {
	group  sync.WaitGroup
	mu     sync.Mutex
	failed []error
}

func (t *together) do(job func() error) {
	t.group.Go(func() {
		if err := job(); err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.failed = append(t.failed, err)
		}
	})
}

func (t *together) wait() error {
	t.group.Wait()
	return errors.Join(t.failed...)
}
