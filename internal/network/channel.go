package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/participation"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
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
}

// ChannelOrganization is a member of a channel.
type ChannelOrganization struct {
	Organization Handle         `json:"organization"`
	Definition   msp.Definition `json:"-"`
	// Peers join the channel, by a name of the user's choice.
	Peers map[string]Handle `json:"peers,omitempty"`
	// AnchorPeers are names of Peers; empty means the first one.
	AnchorPeers []string `json:"anchor_peers,omitempty"`
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

// ChannelState is what is known of a channel.
type ChannelState struct {
	// Absent tells that every ordering node said that it has no such channel.
	Absent bool
	// Joined are the peers that have joined, by organization and name. Peers that could not be asked
	// are in Unanswered instead.
	Joined, Unanswered map[string][]string
}

// UnansweredError tells that none of the nodes that could say something about a thing answered.
type UnansweredError struct {
	Thing Handle
	Cause error
}

func (e *UnansweredError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("no node that could say something about %s is running", e.Thing)
	}
	return fmt.Sprintf("no node answers about %s: %v", e.Thing, e.Cause)
}

func (e *UnansweredError) Unwrap() error { return e.Cause }

// channelRecord is what others must know of a channel. It lives on a volume of its own together
// with the genesis block, written before the first node joins: nodes that join with blocks which
// were made separately would fork the channel.
type channelRecord struct {
	Orderers      Handle                         `json:"orderers"`
	Organizations map[string]ChannelOrganization `json:"organizations"`
	// Config is what was asked for beside them.
	Config configtx.Channel `json:"config"`
	// Requested is what was asked for when the genesis block was made.
	Requested string `json:"requested"`
}

const (
	recordFile  = "channel.json"
	genesisFile = "genesis.block"
)

func (f *Fabric) channelRecord(ctx context.Context, channel Handle) (channelRecord, error) {
	files, err := f.readStore(ctx, channel.record())
	if errors.Is(err, keystore.ErrLost) {
		return channelRecord{}, &LostError{Thing: channel, Volume: channel.record()}
	}
	if err != nil {
		return channelRecord{}, err
	}
	var record channelRecord
	if err := json.Unmarshal(files[recordFile], &record); err != nil {
		return channelRecord{}, fmt.Errorf("unable to read the record of %s: %w", channel, err)
	}
	return record, nil
}

// PreflightChannel finds what would fail before anything is made: a record of somebody else, or of
// a channel of that name that was made from something else.
func (f *Fabric) PreflightChannel(ctx context.Context, spec ChannelSpec) error {
	if err := f.requireNetwork(ctx, spec.Handle); err != nil {
		return err
	}
	volume, err := f.engine.Volume(ctx, spec.Handle.record())
	switch {
	case errors.Is(err, engine.ErrNotFound):
	case err != nil:
		return err
	case volume.Labels[engine.LabelOwner] != spec.Handle.Owner:
		return &engine.ForeignError{Kind: "volume", Name: volume.Name, Owner: volume.Labels[engine.LabelOwner]}
	default:
		if _, err := f.resumable(ctx, spec); err != nil {
			return err
		}
	}
	_, err = f.genesis(ctx, spec)
	return err
}

// resumable gives the genesis block of an earlier attempt at the same channel; nil when there is none.
func (f *Fabric) resumable(ctx context.Context, spec ChannelSpec) ([]byte, error) {
	files, err := f.readStore(ctx, spec.Handle.record())
	if err != nil || len(files[genesisFile]) == 0 {
		return nil, err
	}
	record, err := f.channelRecord(ctx, spec.Handle)
	if err != nil {
		return nil, err
	}
	if record.Requested != spec.requested() {
		return nil, fmt.Errorf("%s exists already, made from another configuration: import it, or remove it first", spec.Handle)
	}
	return files[genesisFile], nil
}

// requested describes what is asked for, so that two requests can be compared.
func (s ChannelSpec) requested() string {
	raw, err := json.Marshal(struct {
		Orderers      Handle
		Organizations map[string]ChannelOrganization
		Config        configtx.Channel
	}{s.Orderers, s.Organizations, s.Config})
	if err != nil {
		return "" // strings and maps of strings always marshal
	}
	return string(raw)
}

// CreateChannel makes the channel as a whole or not at all: it goes on after failures until its
// deadline, and then takes everything back, so that the same name can be created again at once.
func (f *Fabric) CreateChannel(ctx context.Context, spec ChannelSpec) error {
	defer f.locks.lock(spec.Handle.record())()
	err := f.createChannel(ctx, spec)
	if err == nil {
		return nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if undo := f.removeChannel(back, spec.Handle, spec.Orderers, spec.Organizations); undo != nil {
		return fmt.Errorf("%w\n\nTaking the channel back failed too: %w", err, undo)
	}
	return fmt.Errorf("%w\n\nEverything that had been made of the channel was taken back", err)
}

func (f *Fabric) createChannel(ctx context.Context, spec ChannelSpec) error {
	genesis, err := f.recordChannel(ctx, spec)
	if err != nil {
		return err
	}
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range orderers {
		group.Go(func() error { return f.joinOrderer(gctx, o, spec.Handle.Name, genesis) })
	}
	for _, org := range spec.Organizations {
		for _, p := range org.Peers { // a peer joins without any ordering node
			group.Go(func() error { return f.joinPeer(gctx, p, spec.Handle.Name, genesis) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return f.awaitLeader(ctx, spec.Handle, orderers)
}

// recordChannel writes the exact genesis block, and who belongs to the channel, where the next
// attempt finds them.
func (f *Fabric) recordChannel(ctx context.Context, spec ChannelSpec) ([]byte, error) {
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return nil, err
	}
	if len(orderers) == 0 {
		return nil, fmt.Errorf("%s has no nodes", spec.Orderers)
	}
	node, err := f.engine.Node(ctx, orderers[0].Object())
	if err != nil {
		return nil, fmt.Errorf("unable to read %s: %w", orderers[0], err)
	}
	labels := spec.Handle.labels()
	labels[labelCluster] = spec.Orderers.Name
	if _, err := keystore.CreateVolume(ctx, f.engine, spec.Handle.record(), node.ImageID, labels); err != nil {
		return nil, err
	}
	if genesis, err := f.resumable(ctx, spec); err != nil || genesis != nil {
		return genesis, err
	}
	genesis, err := f.genesis(ctx, spec)
	if err != nil {
		return nil, err
	}
	return genesis, f.writeRecord(ctx, spec, genesis)
}

func (f *Fabric) writeRecord(ctx context.Context, spec ChannelSpec, genesis []byte) error {
	raw, err := json.Marshal(channelRecord{Orderers: spec.Orderers, Organizations: spec.Organizations, Config: spec.Config, Requested: spec.requested()})
	if err != nil {
		return err
	}
	files := map[string][]byte{recordFile: raw}
	if genesis != nil {
		files[genesisFile] = genesis
	}
	f.stores.set(spec.Handle.record(), nil)
	return f.writeStore(ctx, spec.Handle.record(), files)
}

// genesis makes the genesis block from the configuration and from what the nodes themselves say.
func (f *Fabric) genesis(ctx context.Context, spec ChannelSpec) ([]byte, error) {
	channel := spec.Config
	channel.Name = spec.Handle.Name
	orderers, err := f.Orderers(ctx, spec.Orderers)
	if err != nil {
		return nil, err
	}
	ordering, err := f.organizationKeys(ctx, spec.Orderers.Organization())
	if err != nil {
		return nil, err
	}
	organization := configtx.OrdererOrganization{Definition: ordering.Definition}
	for _, o := range orderers {
		consenter, err := f.consenter(ctx, o)
		if err != nil {
			return nil, err
		}
		channel.Consenters = append(channel.Consenters, consenter)
		organization.Endpoints = append(organization.Endpoints, net.JoinHostPort(consenter.Host, strconv.Itoa(consenter.Port)))
	}
	channel.OrdererOrganizations = []configtx.OrdererOrganization{organization}
	for _, key := range slices.Sorted(maps.Keys(spec.Organizations)) {
		member := spec.Organizations[key]
		org := configtx.ApplicationOrganization{Definition: member.Definition}
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
	files, err := f.engine.GetFiles(ctx, o.Object(), keysFolder+"/tls/cert.pem")
	if err != nil {
		return configtx.Consenter{}, fmt.Errorf("unable to read the TLS certificate of %s: %w", o, err)
	}
	certificate := string(firstBlock(files[0].Content))
	return configtx.Consenter{Host: address.Host, Port: address.Port, ClientTLSCertPEM: certificate, ServerTLSCertPEM: certificate}, nil
}

// endpoint reads the address by which others reach a node.
func (f *Fabric) endpoint(ctx context.Context, h Handle) (configtx.Address, error) {
	n, err := f.engine.Node(ctx, h.Object())
	if err != nil {
		return configtx.Address{}, fmt.Errorf("unable to read %s: %w", h, err)
	}
	host, text, err := net.SplitHostPort(n.Labels[labelEndpoint])
	if err != nil {
		return configtx.Address{}, fmt.Errorf("unable to read the endpoint of %s: %w", h, err)
	}
	port, err := strconv.Atoi(text)
	return configtx.Address{Host: host, Port: port}, err
}

// joinOrderer joins an ordering node. One that has the channel already is success when its first
// block is ours.
func (f *Fabric) joinOrderer(ctx context.Context, o Handle, channel string, genesis []byte) error {
	err := poll(ctx, func(ctx context.Context) error {
		client, err := f.participation(ctx, o)
		if err != nil {
			return err
		}
		_, err = client.Join(ctx, genesis)
		if errors.Is(err, participation.ErrExists) {
			return f.sameGenesis(ctx, o, channel, genesis)
		}
		return err
	})
	if err != nil {
		return f.nodeError(ctx, o, "join channel "+channel+" with", err)
	}
	return nil
}

// errOtherGenesis: the node has a channel of that name that began with another block.
var errOtherGenesis = errors.New("it has another channel of this name")

// sameGenesis compares the first block of a channel that an ordering node has with ours.
func (f *Fabric) sameGenesis(ctx context.Context, o Handle, channel string, genesis []byte) error {
	conn, err := f.grpcConn(ctx, o, ordererPort)
	if err != nil {
		return err
	}
	admin, err := f.identity(ctx, o.Organization())
	if err != nil {
		return err
	}
	has, err := orderer.Block(ctx, conn, admin, channel, orderer.At(0), orderer.BestEffort())
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

func (f *Fabric) joinPeer(ctx context.Context, p Handle, channel string, genesis []byte) error {
	err := poll(ctx, func(ctx context.Context) error {
		conn, err := f.grpcConn(ctx, p, peerPort)
		if err != nil {
			return err
		}
		admin, err := f.identity(ctx, p.Organization())
		if err != nil {
			return err
		}
		err = endorser.JoinChannel(ctx, endorser.Peer{Name: p.Name, Conn: conn}, admin, genesis)
		if errors.Is(err, endorser.ErrOtherGenesis) {
			return permanent(err)
		}
		return err
	})
	if err != nil {
		return f.nodeError(ctx, p, "join channel "+channel+" with", err)
	}
	return nil
}

// awaitLeader waits until every ordering node of the channel knows a leader.
func (f *Fabric) awaitLeader(ctx context.Context, channel Handle, orderers []Handle) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range orderers {
		group.Go(func() error {
			err := poll(gctx, func(ctx context.Context) error {
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

// UpdateChannel joins the peers that are wanted and have not joined, takes those out that are no
// longer wanted, and records who belongs to the channel.
func (f *Fabric) UpdateChannel(ctx context.Context, spec ChannelSpec) error {
	defer f.locks.lock(spec.Handle.record())()
	before, err := f.channelRecord(ctx, spec.Handle)
	if err != nil {
		return err
	}
	files, err := f.readStore(ctx, spec.Handle.record())
	if err != nil {
		return err
	}
	genesis := files[genesisFile]
	group, gctx := errgroup.WithContext(ctx)
	for _, org := range spec.Organizations {
		for _, p := range org.Peers {
			group.Go(func() error { return f.joinPeer(gctx, p, spec.Handle.Name, genesis) })
		}
	}
	for key, org := range before.Organizations {
		for name, p := range org.Peers {
			if _, stays := spec.Organizations[key].Peers[name]; !stays {
				group.Go(func() error { return f.unjoin(gctx, p, spec.Handle.Name) })
			}
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return f.writeRecord(ctx, spec, nil)
}

// ReadChannel asks the nodes of the channel. It is absent only when every ordering node has said so.
func (f *Fabric) ReadChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization) (ChannelState, error) {
	state := ChannelState{Joined: map[string][]string{}, Unanswered: map[string][]string{}}
	orderers, err := f.Orderers(ctx, cluster)
	if err != nil {
		return state, err
	}
	var said, has int
	var last error
	for _, o := range orderers {
		if running, err := f.running(ctx, o); err != nil || !running {
			last = errors.Join(last, err)
			continue
		}
		client, err := f.participation(ctx, o)
		if err != nil {
			return state, err
		}
		_, err = client.Get(ctx, channel.Name)
		switch {
		case err == nil:
			said, has = said+1, has+1
		case errors.Is(err, participation.ErrNotFound):
			said++
		default:
			last = errors.Join(last, err)
		}
	}
	if said == len(orderers) && has == 0 && said > 0 {
		state.Absent = true
		return state, nil
	}
	for key, org := range organizations {
		for name, p := range org.Peers {
			joined, err := f.joined(ctx, p, channel.Name)
			switch {
			case err != nil:
				last = errors.Join(last, err)
				state.Unanswered[key] = append(state.Unanswered[key], name)
			case joined:
				state.Joined[key] = append(state.Joined[key], name)
			}
		}
	}
	if has == 0 || len(state.Unanswered) > 0 {
		return state, &UnansweredError{Thing: channel, Cause: last}
	}
	return state, nil
}

// joined asks a peer whether it has the channel. A peer that does not run is an error.
func (f *Fabric) joined(ctx context.Context, p Handle, channel string) (bool, error) {
	if running, err := f.running(ctx, p); err != nil {
		return false, err
	} else if !running {
		return false, fmt.Errorf("%s is not running", p)
	}
	channels, err := f.peerChannels(ctx, p)
	return slices.Contains(channels, channel), err
}

// DeleteChannel removes the channel from its ordering nodes and its peers.
func (f *Fabric) DeleteChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization) error {
	defer f.locks.lock(channel.record())()
	return f.removeChannel(ctx, channel, cluster, organizations)
}

func (f *Fabric) removeChannel(ctx context.Context, channel, cluster Handle, organizations map[string]ChannelOrganization) error {
	orderers, err := f.Orderers(ctx, cluster)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range orderers {
		group.Go(func() error { return f.leaveOrderer(gctx, o, channel.Name) })
	}
	for _, org := range organizations {
		for _, p := range org.Peers {
			group.Go(func() error { return f.unjoin(gctx, p, channel.Name) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	f.stores.set(channel.record(), nil)
	return keystore.OpenVolume(f.engine, channel.record()).Remove(ctx, channel.Owner)
}

// leaveOrderer removes the channel from an ordering node, together with the write-ahead log and the
// snapshots that Fabric leaves behind: a channel made anew under that name would stumble over them.
func (f *Fabric) leaveOrderer(ctx context.Context, o Handle, channel string) error {
	node, err := f.engine.Node(ctx, o.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if node.Status == engine.Running {
		client, err := f.participation(ctx, o)
		if err != nil {
			return err
		}
		if err := client.Remove(ctx, channel); err != nil && !errors.Is(err, participation.ErrNotFound) && !errors.Is(err, participation.ErrPendingRemoval) {
			return f.nodeError(ctx, o, "remove channel "+channel+" from", err)
		}
		if err := client.AwaitRemoved(ctx, channel); err != nil {
			return f.nodeError(ctx, o, "remove channel "+channel+" from", err)
		}
	}
	config := ordererConfig(o)
	return f.runBeside(ctx, o, node.ImageID, []string{"rm"}, "-rf", config.WALDir+"/"+channel, config.SnapDir+"/"+channel)
}

// unjoin takes a peer out of a channel, ledger and all. It runs with the peer stopped, because the
// peer locks its ledgers.
func (f *Fabric) unjoin(ctx context.Context, p Handle, channel string) error {
	defer f.locks.lock(p.Object())()
	current, err := f.engine.Node(ctx, p.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	running := current.Status == engine.Running
	if running {
		if joined, err := f.joined(ctx, p, channel); err != nil || !joined {
			return err
		}
		if err := f.stop(ctx, p); err != nil {
			return err
		}
	}
	if err := f.runBeside(ctx, p, current.ImageID, nil, "peer", "node", "unjoin", "-c", channel); err != nil {
		return err
	}
	if !running {
		return nil
	}
	if err := f.engine.StartNode(ctx, p.Object()); err != nil {
		return f.nodeError(ctx, p, "start", err)
	}
	return f.awaitReady(ctx, &node{handle: p, ready: func(ctx context.Context) error { return f.peerAnswers(ctx, p) }})
}

// runBeside runs a command once with the volume of a node.
func (f *Fabric) runBeside(ctx context.Context, h Handle, imageID string, entrypoint []string, command ...string) error {
	labels := h.labels()
	labels[engine.LabelSpecHash] = "once"
	labels[labelOnce] = "true"
	result, err := f.engine.RunOnce(ctx, engine.NodeSpec{
		Name: h.Object() + "-once", Image: imageID, Network: h.Network, Entrypoint: entrypoint, Command: command,
		Env:    map[string]string{"FABRIC_CFG_PATH": nodeRoot + "/config"},
		Mounts: []engine.Mount{{Volume: h.Object(), Target: volumeRoot}},
		Tmpfs:  []string{"/tmp"}, User: nodeUser, Labels: labels,
	})
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("it exited with code %d", result.ExitCode)
	}
	if err != nil {
		return &NodeError{Action: "run " + strings.Join(command, " ") + " for " + h.String(), Cause: err, Logs: result.Output}
	}
	return nil
}

// member is an organization of a channel whose admin we have, with its peers there.
type member struct {
	handle Handle
	admin  *msp.Identity
	// peers are those that run first, the others behind; never empty.
	peers []memberPeer
}

type memberPeer struct {
	endorser.Peer
	handle Handle
	status engine.Status
}

// endorsers are the peers that run.
func (m member) endorsers() []endorser.Peer {
	var out []endorser.Peer
	for _, p := range m.peers {
		if p.status == engine.Running {
			out = append(out, p.Peer)
		}
	}
	return out
}

// members gives the organizations of a channel that have peers of ours there, in the order of their names.
func (f *Fabric) members(ctx context.Context, record channelRecord) ([]member, error) {
	var out []member
	for _, key := range slices.Sorted(maps.Keys(record.Organizations)) {
		org := record.Organizations[key]
		if len(org.Peers) == 0 {
			continue
		}
		admin, err := f.identity(ctx, org.Organization)
		if err != nil {
			return nil, err
		}
		m := member{handle: org.Organization, admin: admin}
		for _, name := range slices.Sorted(maps.Keys(org.Peers)) {
			p := org.Peers[name]
			conn, err := f.grpcConn(ctx, p, peerPort)
			if err != nil {
				return nil, err
			}
			status := engine.Absent
			if n, err := f.engine.Node(ctx, p.Object()); err == nil {
				status = n.Status
			} else if !errors.Is(err, engine.ErrNotFound) {
				return nil, err
			}
			m.peers = append(m.peers, memberPeer{Peer: endorser.Peer{Name: p.Name, Conn: conn}, handle: p, status: status})
		}
		slices.SortStableFunc(m.peers, func(a, b memberPeer) int {
			return rank(a.status) - rank(b.status)
		})
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("no organization of the channel has a peer there")
	}
	return out, nil
}

func rank(status engine.Status) int {
	if status == engine.Running {
		return 0
	}
	return 1
}
