package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
)

// chaincodePort is where a chaincode server listens, on the network only.
const chaincodePort = 9999

// ChaincodeSpec is a chaincode on a channel: run as a service beside each peer, or built and run by the
// peers, or served by somebody else.
type ChaincodeSpec struct {
	// Channel is where it is committed, or the membership of our organization in it.
	Channel Handle
	// ApproveOnly leaves the commit to somebody else.
	ApproveOnly bool `json:"-"`
	// Name, Version and Label are those of the definition and of the package.
	Name, Version, Label string
	// ValidationParameter is the endorsement policy, a marshalled peer.ApplicationPolicy.
	ValidationParameter []byte
	InitRequired        bool
	Collections         *peer.CollectionConfigPackage
	// Indexes are CouchDB index definitions by their path below META-INF.
	Indexes map[string][]byte
	Server  ChaincodeServer
	// Package is where the package comes from; nil for the one that we make for servers of ours.
	Package *PackageSource
	// PackageID is that of the plan, which the package must have; empty when it knew none.
	PackageID string
	// Type is that of a package that was given.
	Type string
	// Verification is nil when nothing needs to be signed.
	Verification *Verification
	// Approvals is nil when nobody has to approve.
	Approvals *Approvals
	// Canary is nil when a roll of servers goes on by itself.
	Canary *Canary `json:"-"`
	// Sequence is that of the definition which is planned; zero when the plan did not know.
	Sequence int64 `json:"-"`
	// peers are those of the channel, which servers of whole organizations know by name.
	peers []Handle
}

// ChaincodeServer says how the chaincode's servers run. Only the image of NodeOptions must be given;
// without it there are none.
type ChaincodeServer struct {
	NodeOptions
	Env     map[string]string
	Command []string
	// SecretEnv are further variables whose values are kept nowhere but in the environment of the servers.
	SecretEnv map[string]string `json:"-"`
	// SecretNames are the names of those, and another SecretVersion says that there are other values.
	SecretNames   []string `json:"secret_env,omitempty"`
	SecretVersion string   `json:"secret_env_version,omitempty"`
	// PerOrganization has one server of each organization serve all its peers, and not each its own.
	PerOrganization bool `json:"per_organization,omitempty"`
	// MutualTLS has server and peer reach each other by certificates that only they know.
	MutualTLS bool `json:"mutual_tls,omitempty"`
}

// ChaincodeState is what is known of a chaincode.
type ChaincodeState struct {
	// Committed is the definition in force; nil when the channel has none of that name.
	Committed *lifecycle.Definition
	// Approved is what an organization approved, where only its approval is asked for; nil when that is
	// nothing. Pending is what else it approved since, although nothing here asked for it.
	Approved, Pending *lifecycle.Definition
	// PackageID is the package that every organization approved for it; when they differ, that of one
	// which differs from the first, and empty when an organization's peers know of none.
	PackageID string
	// Status is Running when a server runs beside every peer and every peer that runs has the
	// package, else the worst of them.
	Status  engine.Status
	ImageID string
	// Resting are the peers that a release passed over, because they do not run: beside them the server
	// runs, and the package is installed when they start.
	Resting []Handle
	// RenewalAt is when the first certificate of a server falls due; zero when they have none.
	RenewalAt time.Time
	// RenewalDue are the peers whose servers are to have new certificates.
	RenewalDue []string
}

// ChaincodeHandle names a chaincode: its name is CHANNEL/CHAINCODE. On a membership it has the MSP ID of the
// organization.
func ChaincodeHandle(channel Handle, name string) Handle {
	return channel.With(KindChaincode, channel.Name+"/"+name, channel.MSPID)
}

// chaincodeOf divides the handle of a chaincode.
func chaincodeOf(h Handle) (channel Handle, name string) {
	channelName, name, _ := strings.Cut(h.Name, "/")
	if h.MSPID != "" {
		return h.With(KindChannelMembership, channelName, h.MSPID), name
	}
	return h.With(KindChannel, channelName, ""), name
}

// ChaincodePackage makes the package of a chaincode as a service, the same bytes for the same
// input, and its package ID. One package serves every peer: the address in it holds a template that
// the builder of each peer fills in with the peer's own name.
func ChaincodePackage(channel, label string, indexes map[string][]byte, mutualTLS bool) (packed []byte, id string, err error) {
	packed, err = lifecycle.Package(lifecycle.PackageRequest{
		Label: label,
		Connection: lifecycle.Connection{
			Address:     ServerAddress(channel, label),
			TLSRequired: mutualTLS, ClientAuthRequired: mutualTLS, // the certificates are added at each peer
		},
		Metadata: indexes,
	})
	if err != nil {
		return nil, "", err
	}
	return packed, lifecycle.PackageID(label, packed), nil
}

// ServerAddress is where a package says that its servers are, so that peers reach those of ours.
func ServerAddress(channel, label string) string {
	return fmt.Sprintf("%s.{{.peername}}:%d", serverPrefix(channel, label), chaincodePort)
}

var notHost = regexp.MustCompile(`[^a-z0-9-]+`)

// maxPrefix leaves room for a hash in the 63 characters that a part of a host name may have.
const maxPrefix = 50

// serverPrefix is what the host name of a server begins with, before the name of its peer. Labels
// may hold what host names may not; the hash keeps two such labels apart.
func serverPrefix(channel, label string) string {
	return hostPart(label) + "." + channel
}

// hostPart makes a part of a host name of a text.
func hostPart(text string) string {
	host := strings.Trim(notHost.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if host != text || len(host) > maxPrefix {
		sum := sha256.Sum256([]byte(text))
		host = fmt.Sprintf("%.*s-%s", maxPrefix, host, hex.EncodeToString(sum[:3]))
	}
	return host
}

// serverImage gives the image of the servers; none where there are no servers of ours.
func (f *Fabric) serverImage(ctx context.Context, spec ChaincodeSpec) (engine.Image, error) {
	if !spec.served() {
		return engine.Image{}, nil
	}
	return f.resolveKept(ctx, spec.Server.NodeOptions)
}

// PreflightChaincode finds what would fail before anything is made.
func (f *Fabric) PreflightChaincode(ctx context.Context, spec ChaincodeSpec) error {
	image, err := f.serverImage(ctx, spec)
	if err != nil {
		return err
	}
	packed, packageID, _, err := spec.packed()
	if err != nil {
		return err
	}
	if err := spec.verify(packed, image); err != nil {
		return err
	}
	record, err := f.channelRecord(ctx, spec.Channel)
	if err != nil {
		return err
	}
	policies, _, err := f.ChannelMembers(ctx, spec.Channel)
	if err != nil {
		return err
	}
	if err := policies.CheckPolicies(spec); err != nil {
		return err
	}
	if err := f.requireLabel(ctx, spec, packageID); err != nil {
		return err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return err
	}
	return requireRunning(spec.Channel.Name, members)
}

// LabelTakenError tells that another chaincode of the channel has a package of that label: servers
// and packages of both would be the same.
type LabelTakenError struct{ Label, Chaincode, Channel string }

func (e *LabelTakenError) Error() string {
	return fmt.Sprintf("the label %q is that of chaincode %s on channel %s already", e.Label, e.Chaincode, e.Channel)
}

func (f *Fabric) requireLabel(ctx context.Context, spec ChaincodeSpec, packageID string) error {
	if !spec.served() {
		return nil
	}
	servers, err := f.serversOn(ctx, spec.Channel)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if other := s.Labels[labelChaincode]; isNode(s) && other != spec.Name && s.Labels[labelPackage] == packageID {
			return &LabelTakenError{Label: spec.Label, Chaincode: other, Channel: spec.Channel.Name}
		}
	}
	return nil
}

// ReleaseChaincode brings the definition, the packages and the servers of a chaincode to what is
// wanted: installed on every peer that runs, approved by every organization in one block, committed with the
// next sequence, served. Organizations that run their peers elsewhere approve by themselves: the commit
// waits until the approvals suffice. What is so already is left alone, so that it goes on after failures that
// pass, and can be called again after any other. A release that replaces another one removes the
// other's servers at the end.
func (f *Fabric) ReleaseChaincode(ctx context.Context, spec ChaincodeSpec) (ChaincodeState, error) {
	var state ChaincodeState
	err := persist(ctx, releaseMayPass, func() (err error) {
		state, err = f.releaseChaincode(ctx, spec)
		return err
	})
	return state, spec.Server.withoutSecrets(err)
}

// releaseMayPass tells of a failure to release a chaincode whether another attempt, which reads the
// ledger again, may succeed.
func releaseMayPass(err error) bool {
	if errors.As(err, new(*NodeError)) {
		return false
	}
	if invalid := new(gateway.InvalidError); errors.As(err, &invalid) {
		return invalid.Conflict()
	}
	switch lifecycle.ClassOf(err) {
	case lifecycle.ClassTransient, lifecycle.ClassWaitForOthers, lifecycle.ClassOutOfStep:
		return true
	}
	return false
}

func (f *Fabric) releaseChaincode(ctx context.Context, spec ChaincodeSpec) (ChaincodeState, error) {
	state := ChaincodeState{}
	record, err := f.channelRecord(ctx, spec.Channel)
	if err != nil {
		return state, err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return state, err
	}
	if err := requireRunning(spec.Channel.Name, members); err != nil {
		return state, err
	}
	rest := resting(members)
	members = thatRun(members)
	spec.peers = peersOf(record.Organizations)
	packed, packageID, packageType, err := spec.packed()
	if err != nil {
		return state, err
	}
	spec.Type = packageType
	image, err := f.serverImage(ctx, spec)
	if err != nil {
		return state, err
	}
	if err := spec.verify(packed, image); err != nil {
		return state, err
	}
	if err := f.awaitLevel(ctx, spec.Channel.Name, peersIn(members)); err != nil {
		return state, err
	}
	definition, approved, committed, err := f.nextDefinition(ctx, spec, members, packageID)
	if err != nil {
		return state, err
	}
	if spec.Sequence != 0 && spec.Sequence != definition.Sequence {
		return state, &MovedError{Chaincode: spec.Name, Planned: spec.Sequence, Next: definition.Sequence}
	}
	released := committed
	if committed {
		if released, err = f.released(ctx, spec, definition, approved, packageID, image); err != nil {
			return state, err
		}
		if approved && !released { // that was another release
			definition.Sequence++
			approved, committed = false, false
		}
	}
	if !released {
		if err := f.authorize(ctx, spec, record, definition, packageID, image.ID); err != nil {
			return state, err
		}
	}
	rolling, err := f.planRoll(ctx, spec, members, rest, image.ID, packageID)
	if err != nil {
		return state, err
	}
	watch := f.watchNodes(ctx)
	err = watch.end(func() error {
		approvers := members
		if approved {
			approvers = nil
		}
		serve := func(ctx context.Context, p Handle) error {
			if rolling.concerns(p) {
				return nil
			}
			return f.serveAnew(ctx, watch, spec, p, image.ID, packageID, len(approvers) > 0 || len(rolling.outgoing) > 0)
		}
		if err := f.prepareRelease(watch.ctx, spec, definition, approvers, members, rest, packed, packageID, serve); err != nil {
			return err
		}
		if committed { // a roll begins when all else serves
			if err := f.awaitServed(watch.ctx, spec, rolling.others(), packageID); err != nil {
				return err
			}
		}
		if err := rolling.all(watch.ctx); err != nil || committed || spec.ApproveOnly {
			return err // until somebody commits what is only approved, no peer calls it
		}
		if err := f.commitDefinition(watch.ctx, spec.Channel, definition, members); err != nil {
			return err
		}
		committed = true
		return f.awaitServed(watch.ctx, spec, members, packageID)
	}())
	if err != nil {
		if !committed && !releaseMayPass(err) {
			err = errors.Join(err, f.withdraw(ctx, spec, packageID))
		}
		return state, err
	}
	state = ChaincodeState{Approved: &definition, PackageID: packageID, Status: engine.Running, ImageID: image.ID, Resting: rest}
	if !spec.served() {
		if err := f.recordChaincode(ctx, spec, members[0].peers[0].imageID, packageID); err != nil {
			return state, err
		}
	}
	if committed { // else the definition in force goes on with the servers that it has
		state.Committed = &definition
		if err := f.removeServersThat(ctx, spec.Channel, func(labels map[string]string) bool {
			return labels[labelChaincode] == spec.Name && (labels[labelPackage] != packageID || isNode(engine.Node{Labels: labels}) != spec.served())
		}); err != nil {
			return state, err
		}
	}
	if !spec.Server.MutualTLS {
		return state, nil
	}
	servers, err := f.serversOf(ctx, spec.Channel, spec.Name)
	state.RenewalAt, _ = serversDue(servers, time.Now())
	return state, err
}

// prepareRelease does what the commit needs, and what it does not need but the first call will. The
// approvals of those who have yet to approve are sent before anything else, because their block takes
// the longest: servers and packages are made while they wait for it. But a package that peers have to build
// comes first, because nobody knows whether they can. Peers that rest get their server only; installMissing
// does the rest when they start.
func (f *Fabric) prepareRelease(ctx context.Context, spec ChaincodeSpec, definition lifecycle.Definition, approvers, members []member, rest []Handle,
	packed []byte, packageID string, serve func(context.Context, Handle) error) error {
	built := lifecycle.IsBuilt(spec.Type)
	if built {
		if err := f.installAll(ctx, members, packed); err != nil {
			return err
		}
	}
	approvals, err := f.approveAll(ctx, spec.Channel.Name, definition, packageID, approvers)
	if err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, tx := range approvals {
		group.Go(func() error { return awaitCommit(gctx, tx, members) })
	}
	install := map[Handle]func(context.Context) error{} // of those that run
	for _, m := range members {
		for _, p := range m.peers {
			install[p.handle] = func(ctx context.Context) error {
				if built {
					return nil
				}
				return f.install(ctx, m, p, packed)
			}
		}
	}
	for _, served := range spec.sites(append(peersIn(members), rest...)) {
		group.Go(func() error {
			both, bctx := errgroup.WithContext(gctx)
			if spec.served() {
				both.Go(func() error { return serve(bctx, served[0]) })
			}
			for _, p := range served {
				if install[p] != nil {
					both.Go(func() error { return install[p](bctx) })
				}
			}
			if err := both.Wait(); err != nil || !spec.Server.MutualTLS {
				return err
			}
			running := slices.DeleteFunc(slices.Clone(served), func(p Handle) bool { return install[p] == nil })
			return f.introduceTo(gctx, spec, server(spec, served[0]), running, packageID)
		})
	}
	return group.Wait()
}

// withdraw removes the servers of a release that was not committed, unless the definition in force
// runs on the same package.
func (f *Fabric) withdraw(ctx context.Context, spec ChaincodeSpec, packageID string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	state, err := f.ReadChaincode(ctx, ChaincodeHandle(spec.Channel, spec.Name))
	if err != nil || state.PackageID == packageID {
		return nil // what cannot be told is left alone; the next release tells
	}
	return f.removeServers(ctx, spec.Channel, spec.Name, func(id string) bool { return id == packageID })
}

// definition is that of the spec, as the first of the chaincode.
func (s ChaincodeSpec) definition() lifecycle.Definition {
	return lifecycle.Definition{
		Name: s.Name, Version: s.Version, Sequence: 1, InitRequired: s.InitRequired,
		ValidationParameter: s.ValidationParameter, Collections: s.Collections,
	}
}

// approvalTime is how long an organization's peers may take to know what it approved: a peer that
// joined late has to be given it by another one.
const approvalTime = 5 * time.Second

// besideInForce gives the definition of a spec, and the one in force; nil when the channel has none. Its
// sequence is that of the one in force where both mean the same, and the next one otherwise.
func besideInForce(ctx context.Context, spec ChaincodeSpec, of member) (definition lifecycle.Definition, inForce *lifecycle.Committed, err error) {
	definition = spec.definition()
	committed, err := lifecycle.QueryCommitted(ctx, of.peers[0].Peer, of.admin, spec.Channel.Name, spec.Name)
	if errors.Is(err, lifecycle.ErrNotCommitted) {
		return definition, nil, nil
	}
	if err != nil {
		return definition, nil, err
	}
	definition.Sequence = committed.Sequence
	if !sameMeaning(definition, committed.Definition) {
		definition.Sequence++
	}
	return definition, committed, nil
}

// nextDefinition gives the definition to be committed. It is approved and committed already when the
// channel has one with the same meaning and every organization runs this package for it; otherwise its
// sequence is the next one. Who only approves may do so after the fact, and with another package: that
// takes no other sequence.
func (f *Fabric) nextDefinition(ctx context.Context, spec ChaincodeSpec, members []member, packageID string) (definition lifecycle.Definition, approved, committed bool, err error) {
	if err := spec.definition().Validate(); err != nil {
		return definition, false, false, err
	}
	definition, inForce, err := besideInForce(ctx, spec, members[0])
	if err != nil || inForce == nil {
		return definition, false, false, err
	}
	if err := CheckCollections(inForce.Collections, definition.Collections); err != nil {
		return definition, false, false, err
	}
	if definition.Sequence != inForce.Sequence {
		return definition, false, false, nil
	}
	for _, m := range members {
		has, err := f.awaitApproval(ctx, spec, m, inForce.Sequence)
		switch {
		case err != nil:
			return definition, false, false, err
		case has == packageID:
		case spec.ApproveOnly:
			return inForce.Definition, false, true, nil
		default:
			definition.Sequence++
			return definition, false, false, nil
		}
	}
	return inForce.Definition, true, true, nil
}

// MovedError tells that a definition would get another sequence than the plan said: somebody else has
// changed the chaincode since.
type MovedError struct {
	Chaincode     string
	Planned, Next int64
}

func (e *MovedError) Error() string {
	return fmt.Sprintf("the plan gave chaincode %s the sequence %d, and by now it would be %d, because the definition was changed in the meantime", e.Chaincode, e.Planned, e.Next)
}

// awaitApproval gives the package that an organization approved, as soon as one of its peers tells;
// empty when none does.
func (f *Fabric) awaitApproval(ctx context.Context, spec ChaincodeSpec, m member, sequence int64) (packageID string, err error) {
	patient, cancel := context.WithTimeout(ctx, approvalTime)
	defer cancel()
	err = poll(patient, func(ctx context.Context) (err error) {
		packageID, err = approvedPackage(ctx, spec.Channel.Name, spec.Name, m, sequence)
		return err
	})
	if err != nil && ctx.Err() == nil {
		return "", nil
	}
	return packageID, err
}

// approvedPackage asks the peers of an organization that run, one after the other, which package it
// approved. Only its own peers know, and of them only those that were given that private data.
func approvedPackage(ctx context.Context, channel, chaincode string, m member, sequence int64) (string, error) {
	var failures error
	for _, p := range m.peers {
		if !p.running() {
			continue
		}
		approved, err := lifecycle.QueryApproved(ctx, p.Peer, m.admin, channel, chaincode, sequence)
		if err == nil {
			return approved.PackageID, nil
		}
		failures = errors.Join(failures, err)
	}
	return "", failures
}

// approveAll has the organizations approve at once, so that one block takes all approvals, and gives
// the transactions of those that had not approved before. They are not awaited.
func (f *Fabric) approveAll(ctx context.Context, channel string, definition lifecycle.Definition, packageID string, members []member) ([]*endorser.Transaction, error) {
	sent := make([]*endorser.Transaction, len(members))
	group, gctx := errgroup.WithContext(ctx)
	for i, m := range members {
		group.Go(func() error {
			tx, err := lifecycle.Approve(gctx, m.admin, channel, definition, packageID, m.endorsers()...)
			if lifecycle.ClassOf(err) == lifecycle.ClassAlreadyDone {
				return nil
			}
			if err != nil {
				return fmt.Errorf("unable to approve chaincode %s for %s: %w", definition.Name, m.handle.MSPID, err)
			}
			sent[i] = tx
			if err := gateway.Submit(gctx, m.peers[0].Conn, tx); err != nil {
				return fmt.Errorf("unable to submit the approval of chaincode %s by %s: %w", definition.Name, m.handle.MSPID, err)
			}
			return nil
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(sent, func(tx *endorser.Transaction) bool { return tx == nil }), err
}

// awaitCommit waits until the first peer of every organization has committed a transaction. The first of
// them sends it again when it does not come.
func awaitCommit(ctx context.Context, tx *endorser.Transaction, members []member) error {
	group, gctx := errgroup.WithContext(ctx)
	for i, m := range members {
		group.Go(func() (err error) {
			if i == 0 {
				_, err = gateway.Await(gctx, m.peers[0].Conn, m.admin, tx)
			} else {
				_, err = gateway.CommitStatus(gctx, m.peers[0].Conn, m.admin, tx.Channel, tx.TxID)
			}
			if err != nil {
				return fmt.Errorf("transaction %s on peer %s: %w", tx.TxID, m.peers[0].Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// commitDefinition commits what everybody approved who has to, endorsed by a peer of every organization of
// ours and, where the channel's policy wants more, of those that run theirs elsewhere.
func (f *Fabric) commitDefinition(ctx context.Context, channel Handle, definition lifecycle.Definition, members []member) error {
	partners, err := f.awaitApprovals(ctx, channel, definition, members)
	if lifecycle.ClassOf(err) == lifecycle.ClassAlreadyDone {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unable to commit chaincode %s: %w", definition.Name, err)
	}
	var endorsers []endorser.Peer
	for _, m := range members {
		endorsers = append(endorsers, m.peers[0].Peer)
	}
	first := members[0]
	commit := func() (*endorser.Transaction, error) {
		if len(partners) == 0 {
			return lifecycle.Commit(ctx, first.admin, channel.Name, definition, endorsers...)
		}
		return lifecycle.CommitThrough(ctx, first.admin, channel.Name, definition, first.peers[0].Peer, append(partners, mspIDs(members)...))
	}
	tx, err := commit()
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
			group.Go(func() (err error) {
				if p.handle == first.peers[0].handle { // one of them sends it again when it does not come
					_, err = gateway.Await(gctx, p.Conn, m.admin, tx)
				} else {
					_, err = gateway.CommitStatus(gctx, p.Conn, m.admin, channel.Name, tx.TxID)
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("unable to commit chaincode %s: %w", definition.Name, err)
	}
	return nil
}
