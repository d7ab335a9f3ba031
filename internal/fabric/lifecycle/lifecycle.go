// Package lifecycle speaks the chaincode lifecycle of a peer, the system chaincode _lifecycle, and
// makes the packages that it installs: package, install, approve, commit, and the queries of each.
//
// Source: proto peer/lifecycle/lifecycle.proto and core/chaincode/lifecycle in Fabric.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

const (
	systemChaincode = "_lifecycle"

	// wholeApproval is the name by which a peer reports that there is no approval to compare with
	// (core/chaincode/lifecycle/serializer.go, IsSerialized: the type of the record).
	wholeApproval = "ChaincodeParameters"
)

// Approved is what an organization approved.
type Approved struct {
	Definition
	// PackageID is the package that the organization's peers run; empty when they do not endorse.
	PackageID string
}

// Committed is what is in force on a channel.
type Committed struct {
	Definition
	// Approvals tells by MSP ID which organizations have approved exactly this definition; nil in
	// lists.
	Approvals map[string]bool
}

// Readiness is what stands between a definition and its commit.
type Readiness struct {
	// Approvals tells by MSP ID which organizations have approved exactly this definition.
	Approvals map[string]bool
	// Mismatches names by MSP ID the fields in which an organization approved something else. Peers
	// before Fabric 3.1 do not tell.
	Mismatches map[string][]string
}

// Approve has an organization's approval of the definition endorsed and gives the transaction to
// submit. Identity is an admin of the organization. An empty packageID approves without a package:
// the organization's peers will not endorse. Peers are of that organization; it is best to name all
// of them that have joined, because an approval is private data: a peer that endorsed it has it, any
// other must first find one that has. An approval that the ledger already holds is of
// ClassAlreadyDone, another sequence than the channel is at of ClassOutOfStep.
func Approve(ctx context.Context, identity *msp.Identity, channel string, definition Definition, packageID string, peers ...endorser.Peer) (*endorser.Transaction, error) {
	source := &lifecycle.ChaincodeSource{Type: &lifecycle.ChaincodeSource_Unavailable_{Unavailable: &lifecycle.ChaincodeSource_Unavailable{}}}
	if packageID != "" {
		source.Type = &lifecycle.ChaincodeSource_LocalPackage{LocalPackage: &lifecycle.ChaincodeSource_Local{PackageId: packageID}}
	}
	transaction, err := propose(ctx, identity, channel, definition, "ApproveChaincodeDefinitionForMyOrg", &lifecycle.ApproveChaincodeDefinitionForMyOrgArgs{
		Name: definition.Name, Version: definition.Version, Sequence: definition.Sequence,
		EndorsementPlugin: definition.EndorsementPlugin, ValidationPlugin: definition.ValidationPlugin,
		ValidationParameter: definition.ValidationParameter, Collections: definition.Collections,
		InitRequired: definition.InitRequired, Source: source,
	}, peers)
	if err == nil {
		return transaction, nil
	}
	failure := fmt.Errorf("unable to approve chaincode %s as %s: %w", definition.Name, identity.MspID(), err)
	if !refused(err) {
		return nil, failure
	}
	approved, queryErr := QueryApproved(ctx, peers[0], identity, channel, definition.Name, definition.Sequence)
	if queryErr == nil && approved.PackageID == packageID && len(approved.Diff(definition)) == 0 {
		return nil, &Error{ClassAlreadyDone, failure}
	}
	explained := outOfStep(ctx, peers[0], identity, channel, definition, failure)
	if ClassOf(explained) == ClassAlreadyDone {
		// That the channel has committed this very definition does not mean that this organization
		// approved it: it may approve after the fact, and was refused for some other reason.
		return nil, failure
	}
	return nil, explained
}

// QueryApproved gives what the peer's organization approved of the chaincode at the sequence; zero
// means the latest. Identity is an admin of that organization. No approval is ErrNotApproved.
func QueryApproved(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel, name string, sequence int64) (*Approved, error) {
	result := &lifecycle.QueryApprovedChaincodeDefinitionResult{}
	err := invoke(ctx, target, identity, channel, "QueryApprovedChaincodeDefinition",
		&lifecycle.QueryApprovedChaincodeDefinitionArgs{Name: name, Sequence: sequence}, result)
	if err == nil {
		return &Approved{
			Definition: Definition{
				Name: name, Version: result.GetVersion(), Sequence: result.GetSequence(), InitRequired: result.GetInitRequired(),
				EndorsementPlugin: result.GetEndorsementPlugin(), ValidationPlugin: result.GetValidationPlugin(),
				ValidationParameter: result.GetValidationParameter(), Collections: result.GetCollections(),
			},
			PackageID: result.GetSource().GetLocalPackage().GetPackageId(),
		}, nil
	}
	if refused(err) && approvalAbsent(ctx, target, identity, channel, name, sequence) {
		err = fmt.Errorf("%w: %w", ErrNotApproved, err)
	}
	return nil, fmt.Errorf("unable to read the approval of chaincode %s on channel %s at %s: %w", name, channel, target.Name, err)
}

// approvalAbsent tells whether a refused query of an approval means that there is none. Peers from
// Fabric 3.1 on list approvals, which decides it. Older peers have nothing but that query; there, a
// peer that serves the same identity the channel's definitions can have no other reason.
func approvalAbsent(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel, name string, sequence int64) bool {
	list := &lifecycle.QueryApprovedChaincodeDefinitionsResult{}
	err := invoke(ctx, target, identity, channel, "QueryApprovedChaincodeDefinitions", &lifecycle.QueryApprovedChaincodeDefinitionsArgs{}, list)
	if err == nil {
		return !slices.ContainsFunc(list.GetApprovedChaincodeDefinitions(), func(d *lifecycle.QueryApprovedChaincodeDefinitionsResult_ApprovedChaincodeDefinition) bool {
			return d.GetName() == name && (sequence == 0 || d.GetSequence() == sequence)
		})
	}
	if !refused(err) {
		return false
	}
	_, err = QueryAllCommitted(ctx, target, identity, channel)
	return err == nil
}

// CheckCommitReadiness asks the peer which organizations it has seen approve exactly the definition.
// A sequence other than the next one is of ClassOutOfStep, or of ClassAlreadyDone when exactly the
// definition is committed.
func CheckCommitReadiness(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel string, definition Definition) (*Readiness, error) {
	if err := definition.Validate(); err != nil {
		return nil, &Error{ClassUserError, fmt.Errorf("unable to check the approvals of chaincode %s: %w", definition.Name, err)}
	}
	readiness, err := readinessOf(ctx, target, identity, channel, definition)
	if err == nil {
		return readiness, nil
	}
	failure := fmt.Errorf("unable to check the approvals of chaincode %s on channel %s at %s: %w", definition.Name, channel, target.Name, err)
	if !refused(err) {
		return nil, failure
	}
	return nil, outOfStep(ctx, target, identity, channel, definition, failure)
}

func readinessOf(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel string, definition Definition) (*Readiness, error) {
	result := &lifecycle.CheckCommitReadinessResult{}
	err := invoke(ctx, target, identity, channel, "CheckCommitReadiness", &lifecycle.CheckCommitReadinessArgs{
		Name: definition.Name, Version: definition.Version, Sequence: definition.Sequence,
		EndorsementPlugin: definition.EndorsementPlugin, ValidationPlugin: definition.ValidationPlugin,
		ValidationParameter: definition.ValidationParameter, Collections: definition.Collections,
		InitRequired: definition.InitRequired,
	}, result)
	if err != nil {
		return nil, err
	}
	mismatches := map[string][]string{}
	for organization, items := range result.GetMismatches() {
		// An organization that has approved nothing at this sequence differs in the whole.
		if fields := slices.DeleteFunc(slices.Clone(items.GetItems()), func(item string) bool { return item == wholeApproval }); len(fields) > 0 {
			mismatches[organization] = fields
		}
	}
	return &Readiness{Approvals: result.GetApprovals(), Mismatches: mismatches}, nil
}

// Commit has the definition's commit endorsed by the given peers, one of each organization that the
// channel's lifecycle policy wants, and gives the transaction to submit. The organization of every
// such peer must have approved, and the peer must have seen all approvals. A definition that is
// committed already is of ClassAlreadyDone, another sequence than the next of ClassOutOfStep, missing
// approvals of ClassWaitForOthers.
func Commit(ctx context.Context, identity *msp.Identity, channel string, definition Definition, peers ...endorser.Peer) (*endorser.Transaction, error) {
	transaction, err := propose(ctx, identity, channel, definition, commitFunction, commitArgs(definition), peers)
	return transaction, explainCommit(ctx, identity, channel, definition, peers, err)
}

// CommitThrough is Commit where some of the peers are known to a gateway peer alone: it collects the
// endorsements of one peer of each organization (MSP ID), and has to know them by gossip.
func CommitThrough(ctx context.Context, identity *msp.Identity, channel string, definition Definition, peer endorser.Peer, organizations []string) (*endorser.Transaction, error) {
	args, err := marshalArgs(commitArgs(definition))
	if err != nil {
		return nil, err
	}
	transaction, err := gateway.Endorse(ctx, peer.Conn, identity, gateway.Request{
		Channel: channel, Chaincode: systemChaincode, Function: commitFunction, Args: [][]byte{args}, Organizations: organizations,
	})
	return transaction, explainCommit(ctx, identity, channel, definition, []endorser.Peer{peer}, err)
}

const commitFunction = "CommitChaincodeDefinition"

func commitArgs(definition Definition) proto.Message {
	return &lifecycle.CommitChaincodeDefinitionArgs{
		Name: definition.Name, Version: definition.Version, Sequence: definition.Sequence,
		EndorsementPlugin: definition.EndorsementPlugin, ValidationPlugin: definition.ValidationPlugin,
		ValidationParameter: definition.ValidationParameter, Collections: definition.Collections,
		InitRequired: definition.InitRequired,
	}
}

// explainCommit gives the class of a failure to have a commit endorsed, by what the peers hold.
func explainCommit(ctx context.Context, identity *msp.Identity, channel string, definition Definition, peers []endorser.Peer, err error) error {
	if err == nil {
		return nil
	}
	failure := fmt.Errorf("unable to commit chaincode %s on channel %s: %w", definition.Name, channel, err)
	if !refused(err) && !abandoned(err) {
		return failure
	}
	explained := outOfStep(ctx, peers[0], identity, channel, definition, failure)
	if ClassOf(explained) != ClassPermanent {
		return explained
	}
	// Each peer speaks for what it has seen; one that lags may miss an approval that others have.
	var missing []string
	for _, target := range peers {
		readiness, readErr := readinessOf(ctx, target, identity, channel, definition)
		if readErr != nil {
			continue
		}
		for _, organization := range slices.Sorted(maps.Keys(readiness.Approvals)) {
			if !readiness.Approvals[organization] {
				note := fmt.Sprintf("%s (seen by %s", organization, target.Name)
				if fields := readiness.Mismatches[organization]; len(fields) > 0 {
					note += ", approved with another " + strings.Join(fields, ", ")
				}
				missing = append(missing, note+")")
			}
		}
	}
	if len(missing) > 0 {
		return &Error{ClassWaitForOthers, fmt.Errorf("%w; the approval is missing of %s", failure, strings.Join(missing, ", "))}
	}
	return failure
}

// QueryCommitted gives the definition in force of one chaincode and who has approved it. A chaincode
// that is not in the channel's list is ErrNotCommitted.
func QueryCommitted(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel, name string) (*Committed, error) {
	result := &lifecycle.QueryChaincodeDefinitionResult{}
	err := invoke(ctx, target, identity, channel, "QueryChaincodeDefinition", &lifecycle.QueryChaincodeDefinitionArgs{Name: name}, result)
	if err == nil {
		return &Committed{
			Definition: Definition{
				Name: name, Version: result.GetVersion(), Sequence: result.GetSequence(), InitRequired: result.GetInitRequired(),
				EndorsementPlugin: result.GetEndorsementPlugin(), ValidationPlugin: result.GetValidationPlugin(),
				ValidationParameter: result.GetValidationParameter(), Collections: result.GetCollections(),
			},
			Approvals: result.GetApprovals(),
		}, nil
	}
	if refused(err) {
		list, listErr := QueryAllCommitted(ctx, target, identity, channel)
		if listErr == nil && !slices.ContainsFunc(list, func(c Committed) bool { return c.Name == name }) {
			err = fmt.Errorf("%w: %w", ErrNotCommitted, err)
		}
	}
	return nil, fmt.Errorf("unable to read the definition of chaincode %s on channel %s at %s: %w", name, channel, target.Name, err)
}

// QueryAllCommitted lists the chaincode definitions in force on the channel, sorted by name.
func QueryAllCommitted(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel string) ([]Committed, error) {
	result := &lifecycle.QueryChaincodeDefinitionsResult{}
	err := invoke(ctx, target, identity, channel, "QueryChaincodeDefinitions", &lifecycle.QueryChaincodeDefinitionsArgs{}, result)
	if err != nil {
		return nil, fmt.Errorf("unable to list the chaincode definitions of channel %s at %s: %w", channel, target.Name, err)
	}
	list := make([]Committed, 0, len(result.GetChaincodeDefinitions()))
	for _, d := range result.GetChaincodeDefinitions() {
		list = append(list, Committed{Definition: Definition{
			Name: d.GetName(), Version: d.GetVersion(), Sequence: d.GetSequence(), InitRequired: d.GetInitRequired(),
			EndorsementPlugin: d.GetEndorsementPlugin(), ValidationPlugin: d.GetValidationPlugin(),
			ValidationParameter: d.GetValidationParameter(), Collections: d.GetCollections(),
		}})
	}
	slices.SortStableFunc(list, func(a, b Committed) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// outOfStep explains a refused change by what is committed, where that explains it, and gives the
// failure unchanged otherwise.
func outOfStep(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel string, definition Definition, failure error) error {
	var current int64
	committed, err := QueryCommitted(ctx, target, identity, channel, definition.Name)
	switch {
	case err == nil:
		current = committed.Sequence
	case errors.Is(err, ErrNotCommitted):
	default:
		return failure
	}
	switch {
	case definition.Sequence == current+1:
		return failure
	case definition.Sequence == current:
		changes := committed.Diff(definition)
		if len(changes) == 0 {
			return &Error{ClassAlreadyDone, failure}
		}
		return &Error{ClassOutOfStep, fmt.Errorf("%w; sequence %d is committed with other content (%s), so a change needs sequence %d",
			failure, current, strings.Join(changes, "; "), current+1)}
	default:
		return &Error{ClassOutOfStep, fmt.Errorf("%w; the channel is at sequence %d, so the next is %d, not %d", failure, current, current+1, definition.Sequence)}
	}
}

// propose has a change of a definition endorsed and made into a transaction.
func propose(ctx context.Context, identity *msp.Identity, channel string, definition Definition, function string, args proto.Message, peers []endorser.Peer) (*endorser.Transaction, error) {
	if err := definition.Validate(); err != nil {
		return nil, &Error{ClassUserError, err}
	}
	proposal, err := proposalOf(identity, channel, function, args)
	if err != nil {
		return nil, err
	}
	endorsements, err := endorser.Endorse(ctx, proposal, peers...)
	if err != nil {
		return nil, err
	}
	transaction, err := endorser.NewTransaction(proposal, endorsements)
	var mismatch *endorser.MismatchError
	if errors.As(err, &mismatch) {
		// The lifecycle is deterministic, so such peers are only at different heights.
		return nil, &Error{ClassTransient, err}
	}
	return transaction, err
}

// invoke calls one function of the lifecycle on one peer, for its answer only.
func invoke(ctx context.Context, target endorser.Peer, identity *msp.Identity, channel, function string, args, result proto.Message) error {
	proposal, err := proposalOf(identity, channel, function, args)
	if err != nil {
		return err
	}
	payload, err := endorser.Evaluate(ctx, proposal, target)
	if err != nil {
		return err
	}
	return proto.Unmarshal(payload, result)
}

func proposalOf(identity *msp.Identity, channel, function string, args proto.Message) (*endorser.Proposal, error) {
	marshalled, err := marshalArgs(args)
	if err != nil {
		return nil, err
	}
	return endorser.NewProposal(identity, endorser.Invocation{
		Channel: channel, Chaincode: systemChaincode, Args: [][]byte{[]byte(function), marshalled},
	})
}

// marshalArgs gives the bytes that every peer hashes, and by which every organization's approval is compared.
func marshalArgs(args proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(args)
}

func refused(err error) bool {
	var refusal *endorser.RefusedError
	return errors.As(err, &refusal)
}

// abandoned tells whether a gateway peer was refused by one of those that it asked.
func abandoned(err error) bool {
	var failed *gateway.Error
	return errors.As(err, &failed) && failed.Code == codes.Aborted
}
