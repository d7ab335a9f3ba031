package network

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// chaincodePort is where a chaincode server listens, on the network only.
const chaincodePort = 9999

// ChaincodeSpec is a chaincode on a channel, run as a service beside each peer.
type ChaincodeSpec struct {
	// Channel is where it is committed.
	Channel Handle
	// Name, Version and Label are those of the definition and of the package.
	Name, Version, Label string
	// ValidationParameter is the endorsement policy, a marshalled peer.ApplicationPolicy.
	ValidationParameter []byte
	// PolicyMembers are the MSP IDs that the policy names.
	PolicyMembers []string
	InitRequired  bool
	Collections   *peer.CollectionConfigPackage
	// Indexes are CouchDB index definitions by their path below META-INF.
	Indexes map[string][]byte
	Server  ChaincodeServer
}

// ChaincodeServer says how the chaincode's servers run. Only the image of NodeOptions must be given.
type ChaincodeServer struct {
	NodeOptions
	Env     map[string]string
	Command []string
}

// ChaincodeState is what is known of a chaincode.
type ChaincodeState struct {
	// Committed is the definition in force; nil when the channel has none of that name.
	Committed *lifecycle.Definition
	// PackageID is the package that the first organization approved for it.
	PackageID string
	// Status is Running when every server runs, else the worst of them.
	Status  engine.Status
	ImageID string
}

// ChaincodeHandle names a chaincode: its name is CHANNEL/CHAINCODE.
func ChaincodeHandle(channel Handle, name string) Handle {
	return channel.With(KindChaincode, channel.Name+"/"+name, "")
}

// chaincodeOf divides the handle of a chaincode.
func chaincodeOf(h Handle) (channel Handle, name string) {
	channelName, name, _ := strings.Cut(h.Name, "/")
	return h.With(KindChannel, channelName, ""), name
}

// ChaincodePackage makes the package of a chaincode as a service, the same bytes for the same
// input, and its package ID. One package serves every peer: the address in it holds a template that
// the builder of each peer fills in with the peer's own name.
func ChaincodePackage(channel, label string, indexes map[string][]byte) (packed []byte, id string, err error) {
	packed, err = lifecycle.Package(lifecycle.PackageRequest{
		Label:      label,
		Connection: lifecycle.Connection{Address: fmt.Sprintf("%s.{{.peername}}:%d", serverPrefix(channel, label), chaincodePort)},
		Metadata:   indexes,
	})
	if err != nil {
		return nil, "", err
	}
	return packed, lifecycle.PackageID(label, packed), nil
}

var notHost = regexp.MustCompile(`[^a-z0-9-]+`)

// serverPrefix is what the host name of a server begins with, before the name of its peer. Labels
// may hold what host names may not; the hash keeps two such labels apart.
func serverPrefix(channel, label string) string {
	host := strings.Trim(notHost.ReplaceAllString(strings.ToLower(label), "-"), "-")
	if host != label {
		sum := sha256.Sum256([]byte(label))
		host = fmt.Sprintf("%.50s-%s", host, hex.EncodeToString(sum[:3]))
	}
	return host + "." + channel
}

// PreflightChaincode finds what would fail before anything is made.
func (f *Fabric) PreflightChaincode(ctx context.Context, spec ChaincodeSpec) error {
	if _, err := f.engine.ResolveImage(ctx, spec.Server.Image); err != nil {
		return err
	}
	record, err := f.channelRecord(ctx, spec.Channel)
	if err != nil {
		return err
	}
	var known []string
	for _, o := range record.Organizations {
		known = append(known, o.Organization.MSPID)
	}
	slices.Sort(known)
	for _, id := range spec.PolicyMembers {
		if !slices.Contains(known, id) {
			return &UnknownMSPError{MSPID: id, Channel: spec.Channel.Name, Known: known}
		}
	}
	return nil
}

// UnknownMSPError tells that a policy names an organization that the channel does not have.
type UnknownMSPError struct {
	MSPID, Channel string
	Known          []string
}

func (e *UnknownMSPError) Error() string {
	return fmt.Sprintf("the policy names %s, and the organizations of channel %s are %s", e.MSPID, e.Channel, strings.Join(e.Known, ", "))
}

// ReleaseChaincode brings the definition, the packages and the servers of a chaincode to what is
// wanted: installed on every peer, approved by every organization in one block, committed with the
// next sequence, served. What is so already is left alone, so that it can be called again after any
// failure. A release that replaces another one removes the other's servers at the end.
func (f *Fabric) ReleaseChaincode(ctx context.Context, spec ChaincodeSpec) (ChaincodeState, error) {
	state := ChaincodeState{}
	record, err := f.channelRecord(ctx, spec.Channel)
	if err != nil {
		return state, err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return state, err
	}
	packed, packageID, err := ChaincodePackage(spec.Channel.Name, spec.Label, spec.Indexes)
	if err != nil {
		return state, err
	}
	image, err := f.resolveKept(ctx, spec.Server.NodeOptions)
	if err != nil {
		return state, err
	}
	definition, done, err := f.nextDefinition(ctx, spec, members, packageID)
	if err != nil {
		return state, err
	}
	state = ChaincodeState{Committed: &definition, PackageID: packageID, Status: engine.Running, ImageID: image.ID}

	// Servers and packages are not needed before the first call: they are made while the approvals
	// wait for their block.
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		for _, p := range m.peers {
			group.Go(func() error { return f.serve(gctx, spec, p.handle, image.ID, packageID) })
			group.Go(func() error {
				_, err := lifecycle.Install(gctx, p.Peer, m.admin, packed)
				return err
			})
		}
	}
	if !done {
		group.Go(func() error { return f.approveAll(gctx, spec.Channel.Name, definition, packageID, members) })
	}
	if err := group.Wait(); err != nil {
		return state, err
	}
	if !done {
		if err := f.commitDefinition(ctx, spec.Channel.Name, definition, members); err != nil {
			return state, err
		}
	}
	if err := f.awaitServed(ctx, spec, members, packageID); err != nil {
		return state, err
	}
	return state, f.removeServers(ctx, spec.Channel, spec.Name, func(id string) bool { return id != packageID })
}

// nextDefinition gives the definition to be committed. It is done when the channel has exactly that
// one and every organization runs this package for it; otherwise its sequence is the next one.
func (f *Fabric) nextDefinition(ctx context.Context, spec ChaincodeSpec, members []member, packageID string) (lifecycle.Definition, bool, error) {
	definition := lifecycle.Definition{
		Name: spec.Name, Version: spec.Version, Sequence: 1, InitRequired: spec.InitRequired,
		ValidationParameter: spec.ValidationParameter, Collections: spec.Collections,
	}
	if err := definition.Validate(); err != nil {
		return definition, false, err
	}
	first := members[0]
	committed, err := lifecycle.QueryCommitted(ctx, first.peers[0].Peer, first.admin, spec.Channel.Name, spec.Name)
	if errors.Is(err, lifecycle.ErrNotCommitted) {
		return definition, false, nil
	}
	if err != nil {
		return definition, false, err
	}
	definition.Sequence = committed.Sequence
	same := len(definition.Diff(committed.Definition)) == 0
	for _, m := range members {
		if !same {
			break
		}
		approved, err := lifecycle.QueryApproved(ctx, m.peers[0].Peer, m.admin, spec.Channel.Name, spec.Name, committed.Sequence)
		if err != nil && !errors.Is(err, lifecycle.ErrNotApproved) {
			return definition, false, err
		}
		same = err == nil && approved.PackageID == packageID
	}
	if !same {
		definition.Sequence++
	}
	return definition, same, nil
}

// approveAll has every organization approve at once, so that one block takes all approvals, and
// waits until a peer of each organization has seen them all.
func (f *Fabric) approveAll(ctx context.Context, channel string, definition lifecycle.Definition, packageID string, members []member) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		group.Go(func() error {
			tx, err := lifecycle.Approve(gctx, m.admin, channel, definition, packageID, m.endorsers()...)
			if lifecycle.ClassOf(err) == lifecycle.ClassAlreadyDone {
				return nil
			}
			if err != nil {
				return fmt.Errorf("unable to approve chaincode %s for %s: %w", definition.Name, m.handle.MSPID, err)
			}
			if err := gateway.Submit(gctx, m.peers[0].Conn, tx); err != nil {
				return fmt.Errorf("unable to submit the approval of chaincode %s by %s: %w", definition.Name, m.handle.MSPID, err)
			}
			return awaitCommit(gctx, channel, tx.TxID, members)
		})
	}
	return group.Wait()
}

// awaitCommit waits until the first peer of every organization has committed a transaction.
func awaitCommit(ctx context.Context, channel, txID string, members []member) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		group.Go(func() error {
			_, err := gateway.CommitStatus(gctx, m.peers[0].Conn, m.admin, channel, txID)
			if err != nil {
				return fmt.Errorf("transaction %s on peer %s: %w", txID, m.peers[0].Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// commitDefinition commits what everybody approved, endorsed by a peer of every organization.
func (f *Fabric) commitDefinition(ctx context.Context, channel string, definition lifecycle.Definition, members []member) error {
	var endorsers []endorser.Peer
	for _, m := range members {
		endorsers = append(endorsers, m.peers[0].Peer)
	}
	first := members[0]
	tx, err := lifecycle.Commit(ctx, first.admin, channel, definition, endorsers...)
	if lifecycle.ClassOf(err) == lifecycle.ClassAlreadyDone {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unable to commit chaincode %s: %w", definition.Name, err)
	}
	if err := gateway.Submit(ctx, first.peers[0].Conn, tx); err != nil {
		return fmt.Errorf("unable to submit the commit of chaincode %s: %w", definition.Name, err)
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		for _, p := range m.peers {
			group.Go(func() error {
				_, err := gateway.CommitStatus(gctx, p.Conn, m.admin, channel, tx.TxID)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("unable to commit chaincode %s: %w", definition.Name, err)
	}
	return nil
}

// server gives the handle of the server beside a peer.
func server(spec ChaincodeSpec, peer Handle) Handle {
	return peer.With(KindChaincode, serverPrefix(spec.Channel.Name, spec.Label)+"."+peer.Name, peer.MSPID)
}

// labels of a server, by which it is found when only the chaincode is known.
const (
	labelChannel   = engine.LabelPrefix + "channel"
	labelChaincode = engine.LabelPrefix + "chaincode"
)

// serve runs the chaincode's server beside a peer. It holds no data: one with another
// specification is replaced.
func (f *Fabric) serve(ctx context.Context, spec ChaincodeSpec, peer Handle, imageID, packageID string) error {
	h := server(spec, peer)
	labels := h.labels()
	labels[labelChannel], labels[labelChaincode] = spec.Channel.Name, spec.Name
	labels[labelPeer], labels[labelPackage] = peer.Name, packageID
	labels[labelInputs] = inputs(spec)
	env := map[string]string{
		"CHAINCODE_ID":             packageID,
		"CORE_CHAINCODE_ID_NAME":   packageID,
		"CHAINCODE_SERVER_ADDRESS": fmt.Sprintf("0.0.0.0:%d", chaincodePort),
	}
	maps.Copy(env, spec.Server.Env)
	node := engine.NodeSpec{
		Name: h.Object(), Hostname: h.Host(), Image: imageID, Network: h.Network, Command: spec.Server.Command, Env: env,
		Tmpfs: []string{"/tmp"}, User: nodeUser, Limits: spec.Server.Limits, Log: spec.Server.Log, Labels: labels, Restart: true,
	}
	node.Labels[engine.LabelSpecHash] = specHash(node, nil)
	err := f.engine.CreateNode(ctx, node)
	if errors.Is(err, engine.ErrConflict) {
		if err := f.engine.RemoveNode(ctx, h.Object(), h.Owner); err != nil {
			return err
		}
		err = f.engine.CreateNode(ctx, node)
	}
	if err != nil {
		return fmt.Errorf("unable to create the server of chaincode %s beside %s: %w", spec.Name, peer, err)
	}
	if err := f.engine.StartNode(ctx, h.Object()); err != nil {
		return f.nodeError(ctx, h, "start", err)
	}
	return nil
}

// awaitServed waits until every peer has reached its server. A server that exits fails at once.
func (f *Fabric) awaitServed(ctx context.Context, spec ChaincodeSpec, members []member, packageID string) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		for _, p := range m.peers {
			group.Go(func() error {
				h := server(spec, p.handle)
				return f.awaitReady(gctx, &node{handle: h, ready: func(ctx context.Context) error {
					return f.served(ctx, spec, m, p, packageID)
				}})
			})
		}
	}
	return group.Wait()
}

// served makes the peer connect to its server by a call that the chaincode may refuse as it likes,
// and then asks the peer itself whether it launched the chaincode.
func (f *Fabric) served(ctx context.Context, spec ChaincodeSpec, m member, p memberPeer, packageID string) error {
	proposal, err := endorser.NewProposal(m.admin, endorser.Invocation{
		Channel: spec.Channel.Name, Chaincode: spec.Name, Args: [][]byte{[]byte("ping")},
	})
	if err != nil {
		return permanent(err)
	}
	_, refusal := endorser.Evaluate(ctx, proposal, p.Peer)
	if refusal == nil {
		return nil
	}
	launched, err := f.launched(ctx, p.handle, packageID)
	if err != nil {
		return err
	}
	if !launched {
		return refusal
	}
	return nil
}

// launched reads from a peer's metrics whether it has connected to a chaincode with that package ID
// (chaincode_launch_duration, label success).
func (f *Fabric) launched(ctx context.Context, peer Handle, packageID string) (bool, error) {
	client, err := f.operationsClient(ctx, peer, peerOperationsPort)
	if err != nil {
		return false, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:%d/metrics", peer.Host(), peerOperationsPort), nil)
	if err != nil {
		return false, err
	}
	response, err := client.Do(request)
	if err != nil {
		return false, fmt.Errorf("unable to read the metrics of %s: %w", peer, err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "chaincode_launch_duration_count{") &&
			strings.Contains(line, fmt.Sprintf("chaincode=%q", packageID)) && strings.Contains(line, `success="true"`) {
			return true, nil
		}
	}
	return false, lines.Err()
}

// ReadChaincode reads the definition in force from the ledger and the state of the servers from the
// engine.
func (f *Fabric) ReadChaincode(ctx context.Context, h Handle) (ChaincodeState, error) {
	channel, name := chaincodeOf(h)
	state := ChaincodeState{Status: engine.Absent}
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return state, err
	}
	if state.Status, state.ImageID, err = f.serverStatus(ctx, channel, name, record); err != nil {
		return state, err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return state, err
	}
	var last error
	for _, m := range members {
		for _, p := range m.peers {
			if running, err := f.running(ctx, p.handle); err != nil || !running {
				last = errors.Join(last, err)
				continue
			}
			committed, err := lifecycle.QueryCommitted(ctx, p.Peer, m.admin, channel.Name, name)
			if errors.Is(err, lifecycle.ErrNotCommitted) {
				return state, nil
			}
			if err != nil {
				last = errors.Join(last, err)
				continue
			}
			state.Committed = &committed.Definition
			approved, err := lifecycle.QueryApproved(ctx, p.Peer, m.admin, channel.Name, name, committed.Sequence)
			if err == nil {
				state.PackageID = approved.PackageID
			} else if !errors.Is(err, lifecycle.ErrNotApproved) {
				last = errors.Join(last, err)
				continue
			}
			return state, nil
		}
	}
	return state, &UnansweredError{Thing: channel, Cause: last}
}

// serverStatus gives Running when a server runs beside every peer.
func (f *Fabric) serverStatus(ctx context.Context, channel Handle, name string, record channelRecord) (engine.Status, string, error) {
	servers, err := f.servers(ctx, channel, name)
	if err != nil {
		return engine.Absent, "", err
	}
	status, image := engine.Running, ""
	for _, m := range record.Organizations {
		for _, p := range m.Peers {
			found := engine.Absent
			for _, s := range servers {
				if s.Labels[labelPeer] == p.Name && (found == engine.Absent || s.Status == engine.Running) {
					found, image = s.Status, s.ImageID
				}
			}
			if found == engine.Created {
				found = engine.Stopped
			}
			if found != engine.Running && status != engine.Absent {
				status = found
			}
		}
	}
	return status, image, nil
}

func (f *Fabric) servers(ctx context.Context, channel Handle, name string) ([]engine.Node, error) {
	return f.engine.Nodes(ctx, map[string]string{
		engine.LabelOwner: channel.Owner, engine.LabelKind: string(KindChaincode),
		labelChannel: channel.Name, labelChaincode: name,
	})
}

// DeleteChaincode removes the servers. A definition cannot be taken from a ledger, and a package
// not from a peer: Fabric knows neither. They stay, unused, as long as the channel.
func (f *Fabric) DeleteChaincode(ctx context.Context, h Handle) error {
	channel, name := chaincodeOf(h)
	return f.removeServers(ctx, channel, name, func(string) bool { return true })
}

func (f *Fabric) removeServers(ctx context.Context, channel Handle, name string, which func(packageID string) bool) error {
	servers, err := f.servers(ctx, channel, name)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		if which(s.Labels[labelPackage]) {
			group.Go(func() error { return f.engine.RemoveNode(gctx, s.Name, channel.Owner) })
		}
	}
	return group.Wait()
}

// running tells whether a node's container runs.
func (f *Fabric) running(ctx context.Context, h Handle) (bool, error) {
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil && n.Status == engine.Running, err
}
