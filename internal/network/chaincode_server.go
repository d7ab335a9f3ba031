package network

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/shim"
)

// server gives the handle of the server that serves a peer: one beside it, or one of its organization.
func server(spec ChaincodeSpec, peer Handle) Handle {
	of := peer.Name
	if spec.Server.PerOrganization {
		of = hostPart(peer.MSPID)
	}
	return peer.With(serverKind(spec.Channel), serverPrefix(spec.Channel.Name, spec.Label)+"."+of, peer.MSPID)
}

// address is where a peer finds its server, by the package: the same name whichever server that is, so that
// the package does not depend on it.
func address(spec ChaincodeSpec, peer Handle) string {
	return peer.With("", serverPrefix(spec.Channel.Name, spec.Label)+"."+peer.Name, "").Host()
}

// sites divides peers into those that share a server, in the order of their organizations and names.
func (s *ChaincodeSpec) sites(peers []Handle) [][]Handle {
	peers = slices.Clone(peers)
	slices.SortStableFunc(peers, func(a, b Handle) int {
		return cmp.Or(strings.Compare(a.MSPID, b.MSPID), strings.Compare(a.Name, b.Name))
	})
	var out [][]Handle
	for i, p := range peers {
		if s.Server.PerOrganization && i > 0 && peers[i-1].MSPID == p.MSPID {
			out[len(out)-1] = append(out[len(out)-1], p)
		} else {
			out = append(out, []Handle{p})
		}
	}
	return out
}

// servedWith gives the peers of the channel that are served by the server of one of them, itself included.
func (s *ChaincodeSpec) servedWith(p Handle) []Handle {
	for _, site := range s.sites(s.peers) {
		if slices.Contains(site, p) {
			return site
		}
	}
	return []Handle{p}
}

// servesPeer tells by the labels of a server whether it serves a peer.
func servesPeer(labels map[string]string, peer Handle) bool {
	return slices.Contains(strings.Split(labels[labelPeer], ","), peer.Name)
}

// serverKind is the kind of the servers of a channel's chaincodes. Those of a membership are apart: on one
// network, several organizations may have servers of one chaincode.
func serverKind(channel Handle) Kind {
	if channel.Kind == KindChannelMembership {
		return KindChaincodeApproval
	}
	return KindChaincode
}

// labels of a server, by which it is found when only the chaincode is known.
const (
	labelChannel   = engine.LabelPrefix + "channel"
	labelChaincode = engine.LabelPrefix + "chaincode"
)

// serverInputs is what of a chaincode only its servers know. The rest is on the ledger, and a change
// of it is no reason to replace a server.
type serverInputs struct {
	Channel     Handle
	Name, Label string
	Indexes     map[string][]byte `json:",omitempty"`
	Server      ChaincodeServer
	// Type is that of a package that was given, so that it cannot be made again.
	Type string `json:",omitempty"`
}

// serverNode renders the server beside a peer.
func serverNode(spec ChaincodeSpec, peer Handle, imageID, packageID string) engine.NodeSpec {
	h := server(spec, peer)
	labels := h.labels()
	labels[labelChannel], labels[labelChaincode] = spec.Channel.Name, spec.Name
	served := spec.servedWith(peer)
	labels[labelPeer], labels[labelPackage] = strings.Join(namesOf(served), ","), packageID
	labels[labelInputs] = inputs(serverInputs{spec.Channel, spec.Name, spec.Label, spec.Indexes, spec.Server, spec.Type})
	env := map[string]string{
		"CHAINCODE_ID":             packageID,
		"CORE_CHAINCODE_ID_NAME":   packageID,
		"CHAINCODE_SERVER_ADDRESS": fmt.Sprintf("0.0.0.0:%d", chaincodePort),
	}
	var mounts []engine.Mount
	if spec.Server.MutualTLS {
		maps.Copy(env, serverTLSEnv())
		mounts = []engine.Mount{{Volume: h.Object(), Target: volumeRoot}}
	}
	maps.Copy(env, spec.Server.Env)
	var aliases []string
	if spec.Server.PerOrganization {
		for _, p := range served {
			aliases = append(aliases, address(spec, p))
		}
	}
	node := engine.NodeSpec{
		Name: h.Object(), Hostname: h.Host(), Aliases: aliases, Image: imageID, Network: h.Network, Command: spec.Server.Command, Env: env, Mounts: mounts,
		Tmpfs: []string{"/tmp"}, User: nodeUser, Limits: spec.Server.Limits, Log: spec.Server.Log, Labels: labels, Restart: true,
	}
	node.Labels[engine.LabelSpecHash] = specHash(node, nil) // of which no secret is a part: it could be guessed by it
	maps.Copy(node.Env, spec.Server.SecretEnv)
	return node
}

// takeSecrets takes the values of the secrets from a server that has them, for another one where nobody gives
// them.
func (f *Fabric) takeSecrets(ctx context.Context, s *ChaincodeServer, from engine.Node) error {
	if len(s.SecretNames) == 0 {
		return nil
	}
	settings, err := f.engine.Settings(ctx, from.Name)
	if err != nil {
		return fmt.Errorf("unable to read the environment of the server %s, of which another one is to have the secrets: %w", from.Name, err)
	}
	s.SecretEnv = map[string]string{}
	for _, name := range s.SecretNames {
		s.SecretEnv[name] = settings.Env[name]
	}
	return nil
}

// withoutSecrets takes the secrets out of the log lines of an error: a chaincode may have written them down.
func (s *ChaincodeServer) withoutSecrets(err error) error {
	if failed := new(NodeError); errors.As(err, &failed) {
		for i := range failed.Logs {
			for _, secret := range s.SecretEnv {
				if secret != "" {
					failed.Logs[i] = strings.ReplaceAll(failed.Logs[i], secret, "(secret)")
				}
			}
		}
	}
	return err
}

// serve runs the chaincode's server beside a peer, has it watched, and tells whether it is a new one.
// It holds no data: one with another specification, or on a network that is no more, is replaced.
func (f *Fabric) serve(ctx context.Context, watch *watch, spec ChaincodeSpec, peer Handle, imageID, packageID string) (fresh bool, err error) {
	h, node := server(spec, peer), serverNode(spec, peer, imageID, packageID)
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("unable to create the server of chaincode %s beside %s: %w", spec.Name, peer, err)
	}
	keep, err := f.keepServer(ctx, h, node)
	if err != nil {
		return fail(err)
	}
	if !keep {
		if err := f.engine.RemoveNode(ctx, node.Name, h.Owner); err != nil {
			return fail(err)
		}
		if err := f.createServer(ctx, spec, h, peer, node); err != nil {
			return fail(err)
		}
	}
	if err := f.engine.StartNode(ctx, node.Name); err != nil {
		return false, f.nodeError(ctx, h, "start", err)
	}
	watch.over(h)
	return !keep, nil
}

// serveAnew runs the chaincode's server beside a peer and, for a definition that is yet to be approved, waits
// until it answers: one that an earlier attempt made may be as silent as a new one.
func (f *Fabric) serveAnew(ctx context.Context, watch *watch, spec ChaincodeSpec, peer Handle, imageID, packageID string, await bool) error {
	_, err := f.serve(ctx, watch, spec, peer, imageID, packageID)
	if err == nil && await {
		err = f.awaitServer(ctx, spec, peer, packageID)
	}
	return err
}

// createServer makes the server beside a peer, with what it needs to be started.
func (f *Fabric) createServer(ctx context.Context, spec ChaincodeSpec, h, peer Handle, node engine.NodeSpec) error {
	if !spec.Server.MutualTLS {
		return f.engine.CreateNode(ctx, node)
	}
	for _, p := range spec.servedWith(peer) {
		if a, err := f.adoption(ctx, p); err != nil || a != nil {
			return errors.Join(err, fmt.Errorf("%s runs as something else made it, and mutual_tls needs a peer that fabric_peer made", p))
		}
	}
	labels := h.labels()
	labels[labelChannel], labels[labelChaincode], labels[labelPeer] = spec.Channel.Name, spec.Name, node.Labels[labelPeer]
	if err := f.engine.CreateVolume(ctx, engine.VolumeSpec{Name: node.Name, Labels: labels}); err != nil {
		return err
	}
	now := time.Now()
	node.Labels[labelTLSEnds] = now.Add(serverCertificateLife).UTC().Format(time.RFC3339)
	if err := f.engine.CreateNode(ctx, node); err != nil {
		return err
	}
	return f.furnishServer(ctx, spec, peer, now)
}

// keepServer tells whether the server that is there is the one that is wanted.
func (f *Fabric) keepServer(ctx context.Context, h Handle, wanted engine.NodeSpec) (bool, error) {
	have, err := f.reclaim(ctx, h)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := h.requireSame("container", wanted.Name, have.Labels); err != nil {
		return false, err
	}
	if have.Labels[engine.LabelSpecHash] != wanted.Labels[engine.LabelSpecHash] || len(have.Altered) > 0 {
		return false, nil
	}
	if renewal := serverRenewal(h, have.Labels); !renewal.IsZero() && (have.Status == engine.Created || time.Now().After(renewal)) {
		return false, nil // one that never started may lack its files
	}
	network, err := f.engine.Network(ctx, h.Network)
	return err == nil && slices.Contains(have.NetworkIDs, network.ID), err
}

// watch looks after nodes while work goes on that needs them to run. The first of them that exits
// ends the work.
type watch struct {
	fabric  *Fabric
	ctx     context.Context
	cancel  context.CancelCauseFunc
	watches sync.WaitGroup
}

// watchNodes begins a watch. The work is to be done with its context, and to be ended by end.
func (f *Fabric) watchNodes(ctx context.Context) *watch {
	w := &watch{fabric: f}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w
}

func (w *watch) over(h Handle) {
	w.watches.Go(func() {
		code, err := w.fabric.engine.AwaitExit(w.ctx, h.Object())
		if err == nil {
			w.cancel(w.fabric.nodeError(w.ctx, h, "run", fmt.Errorf("it exited with code %d", code)))
		}
	})
}

// end ends the watch, and gives what became of the work: the exit of a node, where that was the reason.
func (w *watch) end(err error) error {
	cause := context.Cause(w.ctx)
	w.cancel(nil)
	w.watches.Wait()
	if exited := new(NodeError); err != nil && errors.As(cause, &exited) {
		return exited
	}
	return err
}

// serverTime is how long a new chaincode server may take to answer.
const serverTime = 2 * time.Minute

// probation is how long a new server that cannot be asked from here must have run: most that cannot run end
// within it.
const probation = time.Second

// serverProbe gives what asks a server which package it serves, as its peers do. It fails with a permanent
// error when the server cannot be asked from here.
func (f *Fabric) serverProbe(ctx context.Context, h Handle, mutualTLS bool, packageID string) (func(context.Context) error, error) {
	peers := insecure.NewCredentials()
	if mutualTLS {
		var err error
		if peers, err = f.peersCredentials(ctx, h); err != nil {
			return nil, err
		}
	}
	dial := f.dialer(h, chaincodePort)
	return func(ctx context.Context) error {
		if conn, err := dial(ctx); err == nil {
			_ = conn.Close()
		} else if errors.Is(err, engine.ErrNotPublished) {
			return permanent(err)
		}
		serves, err := shim.Registration(ctx, dial, peers)
		if err == nil && serves != packageID {
			err = fmt.Errorf("it serves %q, and CHAINCODE_ID is %q", serves, packageID)
		}
		return err
	}, nil
}

// awaitServer waits until the server beside a peer answers as the chaincode of a package. Before that its
// definition is not committed: the one in force would be lost to it.
func (f *Fabric) awaitServer(ctx context.Context, spec ChaincodeSpec, peer Handle, packageID string) error {
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	h := server(spec, peer)
	probe, err := f.serverProbe(ctx, h, spec.Server.MutualTLS, packageID)
	if err != nil {
		return f.nodeError(ctx, h, "reach", err)
	}
	err = poll(ctx, probe)
	if errors.Is(err, engine.ErrNotPublished) { // the engine's containers have no address here
		return pause(ctx, probation)
	}
	if err != nil {
		return f.nodeError(ctx, h, "reach", err)
	}
	return nil
}

// awaitServed waits until every peer has reached its server.
func (f *Fabric) awaitServed(ctx context.Context, spec ChaincodeSpec, members []member, packageID string) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, m := range members {
		for _, p := range m.peers {
			if !p.running() {
				continue
			}
			group.Go(func() error {
				calls := &firstCalls{fabric: f, spec: spec, admin: m, peer: p, packageID: packageID}
				if err := poll(gctx, calls.answered); err != nil {
					if !spec.served() {
						return f.nodeError(gctx, p.handle, "reach chaincode "+spec.Name+" from", err)
					}
					return f.nodeError(gctx, server(spec, p.handle), "reach, from "+p.handle.String()+",", err)
				}
				return nil
			})
		}
	}
	return group.Wait()
}

// firstCalls make a peer connect to its chaincode server.
type firstCalls struct {
	fabric    *Fabric
	spec      ChaincodeSpec
	admin     member
	peer      memberPeer
	packageID string
	// first and before are the launches that the metrics told of at the first call and at the last one.
	first, before *launches
}

// launchAttempts is how often a peer launches a chaincode that it built before it counts as broken. Nothing
// but the program itself decides on that.
const launchAttempts = 3

// metadataFunction is answered by every chaincode that is written on Fabric's contract API. Any other
// chaincode may refuse it as it likes: what counts is that it is the chaincode that does.
const metadataFunction = "org.hyperledger.fabric:GetMetadata"

// answered has the chaincode called, and fails unless the chaincode itself answered. Nothing is
// written: what a peer simulates and nobody submits is forgotten.
func (c *firstCalls) answered(ctx context.Context) error {
	refused := new(endorser.RefusedError)
	err := c.call(ctx, false)
	if errors.As(err, &refused) && !refused.Answered && c.spec.InitRequired {
		err = c.call(ctx, true) // before it is initialised, no other call reaches it
	}
	if err == nil {
		return nil
	}
	if !errors.As(err, &refused) || ctx.Err() != nil {
		return err
	}
	if refused.Answered {
		return nil
	}
	// A program that throws in place of answering is not told apart, in the peer's answer, from one
	// that cannot be reached. But to reach one that it has no connection to, the peer launches it, and
	// counts that: calls without a failed launch, of a chaincode that was launched, reached it.
	now, unread := c.fabric.launches(ctx, c.peer.handle, c.packageID)
	if unread != nil {
		return err // metrics may be switched off; then only an answer tells
	}
	before := c.before
	c.before = &now
	if c.first == nil {
		c.first = &now
	}
	if lifecycle.IsBuilt(c.spec.Type) && now.failed-c.first.failed >= launchAttempts {
		return permanent(err)
	}
	if before != nil && now.succeeded > 0 && now.failed == before.failed {
		return nil
	}
	return err
}

func (c *firstCalls) call(ctx context.Context, init bool) error {
	proposal, err := endorser.NewProposal(c.admin.admin, endorser.Invocation{
		Channel: c.spec.Channel.Name, Chaincode: c.spec.Name, Args: [][]byte{[]byte(metadataFunction)}, Init: init,
	})
	if err != nil {
		return permanent(err)
	}
	_, err = endorser.Evaluate(ctx, proposal, c.peer.Peer)
	return err
}

// launches are how often a peer connected to a chaincode since the peer started, and how often it
// tried in vain.
type launches struct{ succeeded, failed int }

// launches reads them from the peer's metrics (chaincode_launch_duration, by package ID and success).
func (f *Fabric) launches(ctx context.Context, peer Handle, packageID string) (launches, error) {
	var out launches
	client, err := f.operationsClient(ctx, peer, peerOperationsPort)
	if err != nil {
		return out, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s:%d/metrics", peer.Host(), peerOperationsPort), nil)
	if err != nil {
		return out, err
	}
	response, err := client.Do(request)
	if err != nil {
		return out, fmt.Errorf("unable to read the metrics of %s: %w", peer, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return out, fmt.Errorf("unable to read the metrics of %s: it answered %s", peer, response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(series, "chaincode_launch_duration_count{") || !strings.Contains(series, fmt.Sprintf("chaincode=%q", packageID)) {
			continue
		}
		count, err := strconv.Atoi(value)
		if err != nil {
			return out, fmt.Errorf("unable to read the metrics of %s: %w", peer, err)
		}
		if strings.Contains(series, `success="true"`) {
			out.succeeded += count
		} else {
			out.failed += count
		}
	}
	return out, lines.Err()
}

// serversOn gives the chaincode servers of a channel, and the records of chaincodes that have none. Those
// that are set aside are not among them.
func (f *Fabric) serversOn(ctx context.Context, channel Handle) ([]engine.Node, error) {
	servers, err := f.engine.Nodes(ctx, serverLabels(channel))
	return slices.DeleteFunc(servers, isAside), err
}

// allServersOf gives the servers of a chaincode, with those that are set aside.
func (f *Fabric) allServersOf(ctx context.Context, channel Handle, name string) ([]engine.Node, error) {
	labels := serverLabels(channel)
	labels[labelChaincode] = name
	return f.engine.Nodes(ctx, labels)
}

// serverLabels are those that every server of a channel has, and its volume too.
func serverLabels(channel Handle) map[string]string {
	labels := map[string]string{engine.LabelOwner: channel.Owner, engine.LabelKind: string(serverKind(channel)), labelChannel: channel.Name}
	if channel.Kind == KindChannelMembership {
		labels[labelMSPID] = channel.MSPID
	}
	return labels
}

// serversOf gives the servers of a chaincode.
func (f *Fabric) serversOf(ctx context.Context, channel Handle, name string) ([]engine.Node, error) {
	servers, err := f.allServersOf(ctx, channel, name)
	return slices.DeleteFunc(servers, isAside), err
}

// removeServers removes the servers of a chaincode that run certain packages.
func (f *Fabric) removeServers(ctx context.Context, channel Handle, name string, which func(packageID string) bool) error {
	return f.removeServersThat(ctx, channel, func(labels map[string]string) bool {
		return labels[labelChaincode] == name && which(labels[labelPackage])
	})
}

// removeServersBeside removes the servers of every chaincode of the channel that serve a peer, and none of
// those that stay on it.
func (f *Fabric) removeServersBeside(ctx context.Context, channel, peer Handle, stay []Handle) error {
	return f.removeServersThat(ctx, channel, func(labels map[string]string) bool {
		return servesPeer(labels, peer) && !slices.ContainsFunc(stay, func(p Handle) bool { return servesPeer(labels, p) })
	})
}

// removeAllServers removes the servers of every chaincode of the channel.
func (f *Fabric) removeAllServers(ctx context.Context, channel Handle) error {
	return f.removeServersThat(ctx, channel, func(map[string]string) bool { return true })
}

// removeServersThat removes servers of a channel by their labels, and the volumes of theirs: also one
// whose server was never made.
func (f *Fabric) removeServersThat(ctx context.Context, channel Handle, which func(labels map[string]string) bool) error {
	servers, err := f.engine.Nodes(ctx, serverLabels(channel))
	if err != nil {
		return err
	}
	var jobs together
	stays := map[string]bool{}
	for _, s := range servers {
		if stays[s.Name] = !which(s.Labels); !stays[s.Name] {
			jobs.do(func() error { return f.engine.RemoveNode(ctx, s.Name, channel.Owner) })
		}
	}
	if err := jobs.wait(); err != nil {
		return err
	}
	volumes, err := f.engine.Volumes(ctx, serverLabels(channel))
	for _, v := range volumes {
		server, known := stays[v.Name]
		if server || !known && !which(v.Labels) {
			continue
		}
		err = errors.Join(err, f.engine.RemoveVolume(ctx, v.Name, channel.Owner))
	}
	return err
}

// approvals gives the package that the organizations run which approved the definition in force, and
// those that have yet to approve it: an organization that joins finds a definition without its approval.
func (f *Fabric) approvals(ctx context.Context, channel string, inForce lifecycle.Definition, members []member) (packageID string, newcomers []member) {
	for _, m := range members {
		approved, err := approvedPackage(ctx, channel, inForce.Name, m, inForce.Sequence)
		switch {
		case err == nil && packageID == "":
			packageID = approved
		case errors.As(err, new(*endorser.RefusedError)):
			newcomers = append(newcomers, m)
		}
	}
	return packageID, newcomers
}

// extendChaincodes brings the chaincodes in force on a channel to the peers that lack them: those
// that joined later, and those that joined again with an empty ledger.
func (f *Fabric) extendChaincodes(ctx context.Context, channel Handle) error {
	servers, err := f.serversOn(ctx, channel)
	if err != nil {
		return err
	}
	if len(servers) == 0 {
		return nil
	}
	// Who lags far behind has no say yet; the chaincode's own next apply brings it there.
	if abreast, err := f.awaitPeers(ctx, channel); err != nil || !abreast {
		return err
	}
	byName := map[string][]engine.Node{}
	for _, s := range servers {
		byName[s.Labels[labelChaincode]] = append(byName[s.Labels[labelChaincode]], s)
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		group.Go(func() error { return f.extendChaincode(gctx, channel, name, byName[name]) })
	}
	return group.Wait()
}

func (f *Fabric) extendChaincode(ctx context.Context, channel Handle, name string, servers []engine.Node) error {
	state, err := f.ReadChaincode(ctx, ChaincodeHandle(channel, name))
	if errors.Is(err, errBehind) { // the chaincode's own next apply brings it
		return nil
	}
	if err != nil || state.Committed == nil {
		return err
	}
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return err
	}
	members = thatRun(members) // a stopped peer keeps what it has
	if err := f.awaitLevel(ctx, channel.Name, peersIn(members)); err != nil {
		return err
	}
	approved, newcomers := f.approvals(ctx, channel.Name, *state.Committed, members)
	inForce := slices.IndexFunc(servers, func(s engine.Node) bool { return s.Labels[labelPackage] == approved })
	if inForce < 0 { // the chaincode's own next apply brings it
		return nil
	}
	in := serverInputs{}
	if err := json.Unmarshal([]byte(servers[inForce].Labels[labelInputs]), &in); err != nil {
		return fmt.Errorf("unable to read what was asked for of chaincode %s: %w", name, err)
	}
	spec := ChaincodeSpec{
		Channel: channel, Name: name, Label: in.Label, Indexes: in.Indexes, Server: in.Server, Type: in.Type,
		Version: state.Committed.Version, InitRequired: state.Committed.InitRequired, peers: peersOf(record.Organizations),
	}
	packed, packageID, err := ChaincodePackage(channel.Name, spec.Label, spec.Indexes, spec.Server.MutualTLS)
	if spec.Type != "" {
		packageID = approved
		packed, err = heldPackage(ctx, members, packageID)
	}
	if err != nil || packed == nil { // without it, the chaincode's own next apply brings it
		return err
	}
	if mixed(servers) { // whom somebody else serves has another package
		if members = unserved(members, servers); len(members) == 0 {
			return nil
		}
	}
	// A server that is there stays as it was asked for: to change it is the chaincode's business. One of an
	// organization learns of the peer that has come.
	var rolls []*roll
	own := map[Handle]*roll{}
	if err := f.takeSecrets(ctx, &spec.Server, servers[inForce]); err != nil {
		return err
	}
	for _, site := range spec.sites(peersIn(members)) {
		r := &roll{fabric: f, spec: spec, imageID: servers[inForce].ImageID, packageID: packageID, members: members}
		own[site[0]] = r
		there := slices.IndexFunc(servers, func(s engine.Node) bool {
			return s.Labels[engine.LabelName] == server(spec, site[0]).Name && s.Labels[labelPackage] == packageID
		})
		if there < 0 {
			continue
		}
		asked, err := askedOf(servers[there])
		if err != nil {
			return err
		}
		r.spec.Server, r.imageID = asked.Server, servers[there].ImageID
		if err := f.takeSecrets(ctx, &r.spec.Server, servers[there]); err != nil {
			return err
		}
		replaced, err := r.resume(ctx, site[0])
		if err != nil {
			return err
		}
		if replaced {
			r.peers, rolls = site[:1], append(rolls, r)
		}
	}
	watch := f.watchNodes(ctx)
	return watch.end(func() error {
		serve := func(ctx context.Context, p Handle) error {
			r := own[p]
			if r.concerns(p) {
				return nil
			}
			return f.serveAnew(ctx, watch, r.spec, p, r.imageID, packageID, len(newcomers) > 0)
		}
		if err := f.prepareRelease(watch.ctx, spec, *state.Committed, newcomers, members, nil, packed, packageID, serve); err != nil {
			return err
		}
		for _, r := range rolls {
			if err := r.all(watch.ctx); err != nil {
				return err
			}
		}
		return f.awaitServed(watch.ctx, spec, members, packageID)
	}())
}

// installMissing installs on a peer the packages that it lacks: a release that came while it did not run
// made the server beside it, or the record of a chaincode without servers, and left the rest to its next
// start.
func (f *Fabric) installMissing(ctx context.Context, p Handle) error {
	servers, err := f.engine.Nodes(ctx, map[string]string{engine.LabelOwner: p.Owner, engine.LabelNetwork: p.Network})
	servers = slices.DeleteFunc(servers, func(s engine.Node) bool {
		return s.Labels[labelChaincode] == "" || isAside(s) || isNode(s) && !servesPeer(s.Labels, p)
	})
	if err != nil || len(servers) == 0 {
		return err
	}
	conn, err := f.grpcConn(ctx, p, peerPort)
	if err != nil {
		return err
	}
	admin, err := f.identity(ctx, p.Organization())
	if err != nil {
		return err
	}
	target := endorser.Peer{Name: p.Name, Conn: conn}
	installed, err := lifecycle.QueryInstalled(ctx, target, admin)
	if err != nil {
		return err
	}
	report := chaincodeReport{installed: installed}
	for _, s := range servers {
		in := serverInputs{}
		if err := json.Unmarshal([]byte(s.Labels[labelInputs]), &in); err != nil {
			return fmt.Errorf("unable to read what was asked for of chaincode %s: %w", s.Labels[labelChaincode], err)
		}
		packageID := s.Labels[labelPackage]
		switch {
		case report.has(packageID):
		case in.Type != "":
			if err := f.installHeld(ctx, p, in.Channel, packageID); err != nil {
				return err
			}
		default:
			packed, id, err := ChaincodePackage(in.Channel.Name, in.Label, in.Indexes, in.Server.MutualTLS)
			if err != nil || id != packageID { // the chaincode's own next apply brings it
				continue
			}
			if _, err := lifecycle.Install(ctx, target, admin, packed); err != nil {
				return err
			}
		}
		if in.Server.MutualTLS { // the server may have other certificates by now
			at := address(ChaincodeSpec{Channel: in.Channel, Label: in.Label}, p)
			if err := f.introduce(ctx, handleOf(s.Labels), p, at, packageID); err != nil {
				return err
			}
		}
	}
	return nil
}

// DeleteChaincode removes the servers. A definition cannot be taken from a ledger, and a package
// not from a peer: Fabric knows neither. They stay, unused, as long as the channel.
func (f *Fabric) DeleteChaincode(ctx context.Context, h Handle) error {
	channel, name := chaincodeOf(h)
	return f.removeServers(ctx, channel, name, func(string) bool { return true })
}

// lookCloser finds out which servers run otherwise than they were made, or where no peer reaches them.
func (f *Fabric) lookCloser(ctx context.Context, channel Handle, servers []engine.Node) error {
	group, gctx := errgroup.WithContext(ctx)
	for i, s := range servers {
		if s.Status != engine.Running {
			continue
		}
		group.Go(func() error {
			closer, err := f.engine.Node(gctx, s.Name)
			if errors.Is(err, engine.ErrNotFound) {
				servers[i].Status = engine.Stopped // on its way out
				return nil
			}
			if err != nil {
				return err
			}
			if closer.Status == engine.Running && len(closer.Altered) > 0 {
				closer.Status = Altered
			}
			if closer.Status == engine.Running {
				closer.Status, err = f.onNetwork(gctx, channel, closer)
			}
			servers[i] = closer
			return err
		})
	}
	return group.Wait()
}

// alike tells whether servers of the same package run the same content, as they were asked to.
func alike(servers []engine.Node) bool {
	first := map[string]engine.Node{}
	for _, s := range servers {
		other, seen := first[s.Labels[labelPackage]]
		if seen && (s.ImageID != other.ImageID || s.Labels[labelInputs] != other.Labels[labelInputs]) {
			return false
		}
		first[s.Labels[labelPackage]] = s
	}
	return true
}

// servedBy says what is known of the servers of a chaincode, or of the record in place of them. A roll that
// did not come to its end has left servers that differ, or one that is set aside.
func (s *ChaincodeState) servedBy(servers []engine.Node, peers []Handle) {
	if slices.ContainsFunc(servers, isRecord) && !slices.ContainsFunc(servers, isNode) {
		s.Status = engine.Running // as far as the engine knows
		return
	}
	now := slices.DeleteFunc(slices.Clone(servers), isAside)
	s.Status, s.ImageID = serverStatus(now, peers)
	if s.Status == engine.Running && !mixed(now) && (len(now) < len(servers) || !alike(now)) {
		s.Status = Altered
	}
	servers = now
	s.RenewalAt, s.RenewalDue = serversDue(servers, time.Now())
}

// serverStatus gives Running when a server runs beside every peer, else the worst of them.
func serverStatus(servers []engine.Node, peers []Handle) (engine.Status, string) {
	status, image := engine.Running, ""
	for _, p := range peers {
		found := engine.Absent
		for _, s := range servers {
			if servesPeer(s.Labels, p) && (found == engine.Absent || s.Status == engine.Running) {
				found, image = s.Status, s.ImageID
			}
		}
		status = worse(status, found)
	}
	return status, image
}

// worse gives the worse of two states.
func worse(a, b engine.Status) engine.Status {
	for _, s := range []engine.Status{engine.Absent, engine.Stopped, engine.Created, Detached, Altered} {
		if a == s || b == s {
			if s == engine.Created {
				return engine.Stopped
			}
			return s
		}
	}
	return engine.Running
}

// chaincodeReport is what a peer says of a chaincode.
type chaincodeReport struct {
	// committed is nil when the channel has no such chaincode.
	committed *lifecycle.Committed
	installed []lifecycle.Installed
	err       error
}

// ReadChaincode reads the definition in force from the ledger and the state of the servers from the
// engine. It fails with *UnansweredError when no peer answers; the state then holds what the engine
// says.
func (f *Fabric) ReadChaincode(ctx context.Context, h Handle) (ChaincodeState, error) {
	channel, name := chaincodeOf(h)
	state := ChaincodeState{Status: engine.Absent}
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return state, err
	}
	servers, err := f.allServersOf(ctx, channel, name)
	if err != nil {
		return state, err
	}
	if err := f.lookCloser(ctx, channel, servers); err != nil {
		return state, err
	}
	peers := peersOf(record.Organizations)
	wait := waiting(peers, servers)
	peers = slices.DeleteFunc(peers, func(p Handle) bool { return wait[p] })
	state.servedBy(servers, peers)
	servers = slices.DeleteFunc(servers, isAside)
	members, err := f.members(ctx, record)
	if err != nil {
		return state, &UnansweredError{Thing: channel, Cause: err}
	}
	reports, failures := f.reports(ctx, channel.Name, name, members)
	if errors.Is(failures, engine.ErrUnreachable) || ctx.Err() != nil {
		return state, errors.Join(failures, ctx.Err())
	}
	said := false
	for _, r := range reports {
		said = said || r.err == nil
		if r.committed != nil && (state.Committed == nil || r.committed.Sequence > state.Committed.Sequence) {
			state.Committed = &r.committed.Definition
		}
	}
	if state.Committed == nil {
		if failures != nil || !said {
			return state, &UnansweredError{Thing: channel, Cause: failures}
		}
		if err := f.behind(ctx, channel, record); err != nil {
			return state, &UnansweredError{Thing: channel, Cause: err}
		}
		return state, nil
	}
	if mixed(servers) {
		return state, f.readMixed(ctx, channel.Name, name, &state, members, servers, reports)
	}
	state.PackageID = f.approvedByAll(ctx, channel.Name, *state.Committed, members)
	for _, m := range members {
		for _, p := range m.peers {
			has, err := f.hasPackage(ctx, p, reports, state.PackageID)
			if err != nil {
				return state, err
			}
			if !has {
				state.Status = engine.Absent
			}
		}
	}
	return state, nil
}

// reports asks every peer that runs, all at once. Failures of peers that did not answer are joined.
func (f *Fabric) reports(ctx context.Context, channel, name string, members []member) (map[Handle]chaincodeReport, error) {
	reports := map[Handle]chaincodeReport{}
	var mu sync.Mutex
	var jobs together
	for _, m := range members {
		for _, p := range m.peers {
			if !p.running() {
				continue
			}
			jobs.do(func() error {
				ctx, cancel := context.WithTimeout(ctx, answerTimeout)
				defer cancel()
				r := chaincodeReport{}
				r.committed, r.err = lifecycle.QueryCommitted(ctx, p.Peer, m.admin, channel, name)
				if errors.Is(r.err, lifecycle.ErrNotCommitted) {
					r.committed, r.err = nil, nil
				}
				if r.err == nil {
					r.installed, r.err = lifecycle.QueryInstalled(ctx, p.Peer, m.admin)
				}
				mu.Lock()
				defer mu.Unlock()
				reports[p.handle] = r
				return r.err
			})
		}
	}
	err := jobs.wait()
	return reports, err
}

// approvedByAll gives the package that every organization approved whose peers answer; when they
// differ, that of one which differs from the first. One that knows of none has approved "".
func (f *Fabric) approvedByAll(ctx context.Context, channel string, definition lifecycle.Definition, members []member) string {
	approved, said := make([]string, len(members)), make([]bool, len(members))
	var calls sync.WaitGroup
	for i, m := range members {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			id, err := approvedPackage(ctx, channel, definition.Name, m, definition.Sequence)
			approved[i], said[i] = id, err == nil && id != "" || errors.As(err, new(*endorser.RefusedError))
		})
	}
	calls.Wait()
	first := slices.Index(said, true)
	if first < 0 {
		return ""
	}
	for i, id := range approved {
		if said[i] && id != approved[first] {
			return id
		}
	}
	return approved[first]
}

// has tells whether the peer has the package installed. One that does not answer keeps what it has.
func (r chaincodeReport) has(packageID string) bool {
	return r.err != nil || slices.ContainsFunc(r.installed, func(i lifecycle.Installed) bool { return i.PackageID == packageID })
}

// hasPackage tells whether a peer has the package installed. One that does not answer keeps what its
// volume holds.
func (f *Fabric) hasPackage(ctx context.Context, p memberPeer, reports map[Handle]chaincodeReport, packageID string) (bool, error) {
	if r, ok := reports[p.handle]; ok {
		return r.has(packageID), nil
	}
	if _, err := f.engine.Volume(ctx, p.handle.Object()); errors.Is(err, engine.ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}

// running tells whether a node's container runs.
func (f *Fabric) running(ctx context.Context, h Handle) (bool, error) {
	if h.remote() { // asking it is the only way to know
		return true, nil
	}
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil && n.Status == engine.Running, err
}
