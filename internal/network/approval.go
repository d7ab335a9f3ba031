package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// An organization whose peers another state runs approves a definition by itself. What it approved is
// private to it, but for a hash, by which every peer of the channel can tell whether it approved exactly a
// given definition: that is all that the others know of each other.

// lifecyclePolicy says whose peers must endorse the commit of a definition. A peer endorses only what its
// own organization approved.
const lifecyclePolicy = "/Channel/Application/LifecycleEndorsement"

// CommitReadiness is what stands between a definition and its commit.
type CommitReadiness struct {
	// Sequence is the one that the definition has, or would get.
	Sequence int64
	// Committed tells that the definition is in force already; Ready that it could be committed, or is.
	Committed, Ready bool
	// Approvals tells by MSP ID which organizations of the channel have approved exactly this definition.
	Approvals map[string]bool
	// Mismatches names by MSP ID the fields in which an organization approved something else. Peers
	// before Fabric 3.1 do not tell.
	Mismatches map[string][]string
	// Rule is who must approve, as the channel has it, such as "MAJORITY Endorsement".
	Rule string
}

// Missing gives the organizations that have yet to approve, in the order of their names.
func (r CommitReadiness) Missing() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(r.Approvals)) {
		if !r.Approvals[id] {
			out = append(out, id)
		}
	}
	return out
}

// UnapprovedError tells that too few organizations have approved a definition for its commit.
type UnapprovedError struct {
	Chaincode, Channel string
	CommitReadiness
}

func (e *UnapprovedError) Error() string {
	missing := e.Missing()
	for i, id := range missing {
		if fields := e.Mismatches[id]; len(fields) > 0 {
			missing[i] += " (it approved another " + strings.Join(fields, ", ") + ")"
		}
	}
	return fmt.Sprintf("channel %s commits sequence %d of chaincode %s when %s approved it, and the approval is missing of %s",
		e.Channel, e.Sequence, e.Chaincode, e.Rule, strings.Join(missing, ", "))
}

// CommitReadiness asks peers of ours on the channel who has approved a definition. Without a sequence it is
// the one in force, where that means the same, and the next one otherwise. A sequence that is neither is of
// lifecycle.ClassOutOfStep.
func (f *Fabric) CommitReadiness(ctx context.Context, spec ChaincodeSpec) (CommitReadiness, error) {
	return f.commitReadiness(ctx, spec, false)
}

// AwaitedApprovals gives the readiness of a definition once our own organizations have approved it, which a
// release has them do.
func (f *Fabric) AwaitedApprovals(ctx context.Context, spec ChaincodeSpec) (CommitReadiness, error) {
	return f.commitReadiness(ctx, spec, true)
}

func (f *Fabric) commitReadiness(ctx context.Context, spec ChaincodeSpec, oursApprove bool) (CommitReadiness, error) {
	record, err := f.channelRecord(ctx, spec.Channel)
	if err != nil {
		return CommitReadiness{}, err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return CommitReadiness{}, err
	}
	if members = thatRun(members); len(members) == 0 {
		return CommitReadiness{}, &UnansweredError{Thing: spec.Channel, Cause: errNotRunning}
	}
	// What another organization approved a moment ago may be in a block that our peers do not have yet.
	if _, err := f.awaitPeers(ctx, spec.Channel); err != nil {
		return CommitReadiness{}, err
	}
	definition := spec.definition()
	first := members[0]
	inForce, err := lifecycle.QueryCommitted(ctx, first.peers[0].Peer, first.admin, spec.Channel.Name, spec.Name)
	if err != nil && !errors.Is(err, lifecycle.ErrNotCommitted) {
		return CommitReadiness{}, err
	}
	if err == nil {
		definition.Sequence = inForce.Sequence
		if sameMeaning(definition, inForce.Definition) && (spec.Sequence == 0 || spec.Sequence == inForce.Sequence) {
			return CommitReadiness{Sequence: inForce.Sequence, Committed: true, Ready: true, Approvals: inForce.Approvals}, nil
		}
		definition.Sequence++
	}
	if spec.Sequence != 0 {
		definition.Sequence = spec.Sequence
	}
	var ours []string
	if oursApprove {
		ours = mspIDs(members)
	}
	readiness, _, err := f.readiness(ctx, spec.Channel, definition, members, ours...)
	return readiness, err
}

// readiness asks a peer of each member of ours: who has approved is who every one of them has seen
// approve, and those who are about to. With it come the other organizations whose endorsements a commit
// takes beside ours.
func (f *Fabric) readiness(ctx context.Context, channel Handle, definition lifecycle.Definition, members []member, approving ...string) (readiness CommitReadiness, partners []string, err error) {
	answers := make([]*lifecycle.Readiness, len(members))
	group, gctx := errgroup.WithContext(ctx)
	for i, m := range members {
		group.Go(func() (err error) {
			answers[i], err = lifecycle.CheckCommitReadiness(gctx, m.peers[0].Peer, m.admin, channel.Name, definition)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return readiness, nil, err
	}
	readiness = CommitReadiness{Sequence: definition.Sequence, Approvals: map[string]bool{}, Mismatches: map[string][]string{}}
	for _, a := range answers {
		for id, approved := range a.Approvals {
			before, known := readiness.Approvals[id]
			readiness.Approvals[id] = approved && (before || !known)
		}
		maps.Copy(readiness.Mismatches, a.Mismatches)
	}
	for _, id := range approving {
		readiness.Approvals[id] = true
		delete(readiness.Mismatches, id)
	}
	config, err := f.latestConfig(ctx, channel, peersIn(members))
	if err != nil {
		return readiness, nil, err
	}
	partners = readiness.suffices(configtx.PolicyOf(config, lifecyclePolicy), mspIDs(members))
	return readiness, partners, nil
}

// suffices completes readiness by the channel's rule, and gives those that approved beside the given ones
// and that the rule needs.
func (r *CommitReadiness) suffices(rule configtx.Requirement, ours []string) (partners []string) {
	r.Rule = rule.Rule
	var signers []configtx.Signer
	approves := func(id string) bool {
		signers = append(signers, configtx.Signer{MSPID: id, Role: policy.RolePeer})
		return rule.Met(signers) != configtx.No // what cannot be told the peers will
	}
	for _, id := range ours {
		if r.Approvals[id] && approves(id) {
			r.Ready = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.Approvals)) {
		if r.Ready {
			break
		}
		if r.Approvals[id] && !slices.Contains(ours, id) {
			r.Ready, partners = approves(id), append(partners, id)
		}
	}
	return partners
}

// awaitApprovals waits until the approvals that a commit takes are there, and gives the organizations that
// must endorse it beside ours. It fails with *UnapprovedError when they do not come.
func (f *Fabric) awaitApprovals(ctx context.Context, channel Handle, definition lifecycle.Definition, members []member) (partners []string, err error) {
	err = poll(ctx, func(ctx context.Context) error {
		var readiness CommitReadiness
		readiness, partners, err = f.readiness(ctx, channel, definition, members)
		switch {
		case err != nil && lifecycle.ClassOf(err) != lifecycle.ClassTransient:
			return permanent(err)
		case err != nil:
			return err
		}
		for _, id := range mspIDs(members) {
			readiness.Ready = readiness.Ready && readiness.Approvals[id]
		}
		if !readiness.Ready {
			return &UnapprovedError{Chaincode: definition.Name, Channel: channel.Name, CommitReadiness: readiness}
		}
		return nil
	})
	return partners, err
}

func mspIDs(members []member) []string {
	var out []string
	for _, m := range members {
		out = append(out, m.handle.MSPID)
	}
	return out
}

// Superseded is the status of an approval beside whose servers those of an earlier package still run,
// although the channel has committed the definition: somebody else did, after the last apply.
const Superseded engine.Status = "superseded"

// ApprovalHandle names the approval of a chaincode by the organization of a membership.
func ApprovalHandle(membership Handle, name string) Handle {
	return membership.With(KindChaincodeApproval, membership.Name+"/"+name, membership.MSPID)
}

// ReadApproval reads what the organization of a membership approved of a chaincode, the definition in force,
// and the state of the organization's servers. One that approved neither the definition in force nor a next
// one has approved nothing. Sequence is that of the approval which is known of, zero for none: while that
// one is in force, it is not what was approved since. It fails with *UnansweredError when no peer answers;
// the state then holds what the engine says.
func (f *Fabric) ReadApproval(ctx context.Context, h Handle, sequence int64) (ChaincodeState, error) {
	membership, name := chaincodeOf(h)
	state := ChaincodeState{Status: engine.Absent}
	record, err := f.channelRecord(ctx, membership)
	if err != nil {
		return state, err
	}
	servers, err := f.allServersOf(ctx, membership, name)
	if err != nil {
		return state, err
	}
	if err := f.lookCloser(ctx, membership, servers); err != nil {
		return state, err
	}
	state.servedBy(servers, peersOf(record.Organizations))
	members, err := f.members(ctx, record)
	if err != nil {
		return state, &UnansweredError{Thing: membership, Cause: err}
	}
	reports, failures := f.reports(ctx, membership.Name, name, members)
	if errors.Is(failures, engine.ErrUnreachable) || ctx.Err() != nil {
		return state, errors.Join(failures, ctx.Err())
	}
	approved, err := f.lastApproval(ctx, membership.Name, name, members[0], 0)
	if err != nil {
		return state, &UnansweredError{Thing: membership, Cause: errors.Join(err, failures)}
	}
	for _, r := range reports {
		if r.committed != nil && (state.Committed == nil || r.committed.Sequence > state.Committed.Sequence) {
			state.Committed = &r.committed.Definition
		}
	}
	if approved != nil && state.Committed != nil && sequence == state.Committed.Sequence && approved.Sequence > sequence {
		state.Pending = &approved.Definition
		if approved, err = f.lastApproval(ctx, membership.Name, name, members[0], sequence); err != nil {
			return state, &UnansweredError{Thing: membership, Cause: err}
		}
	}
	if approved == nil || state.Committed != nil && approved.Sequence < state.Committed.Sequence {
		return state, nil
	}
	state.Approved, state.PackageID = &approved.Definition, approved.PackageID
	current, earlier := divide(servers, approved.PackageID)
	state.servedBy(current, peersOf(record.Organizations))
	for _, p := range members[0].peers {
		has, err := f.hasPackage(ctx, p, reports, approved.PackageID)
		if err != nil {
			return state, err
		}
		if !has {
			state.Status = engine.Absent
		}
	}
	if inForce := state.Committed != nil && state.Committed.Sequence == approved.Sequence; inForce && earlier && state.Status == engine.Running {
		state.Status = Superseded
	}
	return state, nil
}

// divide gives the servers that run a package, and whether there are others.
func divide(servers []engine.Node, packageID string) (of []engine.Node, others bool) {
	for _, s := range servers {
		if s.Labels[labelPackage] == packageID {
			of = append(of, s)
		} else {
			others = true
		}
	}
	return of, others
}

// lastApproval asks the peers of an organization that run, all at once, what it approved with a sequence, or
// last when that is zero; nil when they say that this is nothing. One of them may lack what another was given.
func (f *Fabric) lastApproval(ctx context.Context, channel, name string, m member, sequence int64) (*lifecycle.Approved, error) {
	var mu sync.Mutex
	var last *lifecycle.Approved
	var failures error
	said := false
	var calls sync.WaitGroup
	for _, p := range m.endorsers() {
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerTimeout)
			defer cancel()
			approved, err := lifecycle.QueryApproved(ctx, p, m.admin, channel, name, sequence)
			mu.Lock()
			defer mu.Unlock()
			said = said || err == nil || errors.Is(err, lifecycle.ErrNotApproved)
			if err != nil {
				failures = errors.Join(failures, err)
			} else if last == nil || approved.Sequence > last.Sequence {
				last = approved
			}
		})
	}
	calls.Wait()
	if !said && failures == nil {
		failures = errNotRunning
	}
	if said {
		failures = nil
	}
	return last, failures
}

// FindApproval finds an approval as it was asked for, by the servers that run its package.
func (f *Fabric) FindApproval(ctx context.Context, network, mspID, channel, name string) (ChaincodeSpec, error) {
	spec, err := f.FindMembership(ctx, network, mspID, channel)
	if err != nil {
		return ChaincodeSpec{}, err
	}
	servers, err := f.serversOf(ctx, spec.Handle, name)
	if err != nil {
		return ChaincodeSpec{}, err
	}
	if len(servers) == 0 {
		return ChaincodeSpec{}, fmt.Errorf("no server of chaincode %s on channel %s beside peers of %s in network %s: %w", name, channel, mspID, network, ErrNotFound)
	}
	state, err := f.ReadApproval(ctx, ApprovalHandle(spec.Handle, name), 0)
	if err != nil {
		return ChaincodeSpec{}, err
	}
	if current, _ := divide(servers, state.PackageID); len(current) > 0 {
		servers = current
	}
	return askedOf(servers[0])
}
