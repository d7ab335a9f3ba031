package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// Call is a call of a chaincode.
type Call struct {
	Chaincode Handle
	// Identity signs: an identity, or an organization, whose admin it then is.
	Identity  Handle
	Function  string
	Arguments []string
	// Transient is data that the chaincode sees and the ledger never does.
	Transient map[string]string
	// Organizations are the MSP IDs whose peers endorse; none means every organization that has
	// peers on the channel.
	Organizations []string
	// Expected is the validation code that the transaction must get, such as ENDORSEMENT_POLICY_FAILURE;
	// empty for VALID.
	Expected string `json:",omitempty"`
	// Init marks the call that initialises a chaincode whose definition requires it.
	Init bool
	// Occasion tells calls apart that are the same but for why they are made.
	Occasion string
}

// TransactionResult is a committed transaction.
type TransactionResult struct {
	TxID    string
	Block   uint64
	Payload []byte
}

func (c Call) arguments() [][]byte {
	args := [][]byte{[]byte(c.Function)}
	for _, a := range c.Arguments {
		args = append(args, []byte(a))
	}
	return args
}

func (c Call) transient() map[string][]byte {
	out := map[string][]byte{}
	for name, value := range c.Transient {
		out[name] = []byte(value)
	}
	return out
}

// expects tells whether a failure is what the transaction was to end with, and gives it as a result.
func (c Call) expects(err error) (TransactionResult, bool) {
	invalid := new(gateway.InvalidError)
	if !errors.As(err, &invalid) || invalid.Code.String() != c.Expected {
		return TransactionResult{}, false
	}
	return TransactionResult{TxID: invalid.TxID, Block: invalid.Block}, true
}

// UnexpectedError tells that a transaction is valid that was to be found invalid.
type UnexpectedError struct {
	TransactionResult
	Expected string
}

func (e *UnexpectedError) Error() string {
	return fmt.Sprintf("transaction %s is valid, in block %d, and was to end with %s", e.TxID, e.Block, e.Expected)
}

// NoPeerError tells that an organization which is to endorse has no peer of ours on the channel.
type NoPeerError struct {
	MSPID, Channel string
	// Known are the organizations that have.
	Known []string
}

func (e *NoPeerError) Error() string {
	return fmt.Sprintf("%s has no peer on channel %s; there are peers of %s", e.MSPID, e.Channel, strings.Join(e.Known, ", "))
}

// mismatchAttempts is how often a call is made anew whose endorsements differ: the peers may have
// been at different heights. A chaincode that is not deterministic differs for ever.
const mismatchAttempts = 8

// SubmitTransaction has a peer of each organization endorse the call, submits it, and waits until
// these peers have committed it. A transaction that lost a race for a key is made anew, and so is one
// whose endorsements differ because the peers were at different heights. On a network that is taken back or
// restored, a call that is on the ledger already is not made again.
func (f *Fabric) SubmitTransaction(ctx context.Context, call Call) (TransactionResult, error) {
	channel, name := chaincodeOf(call.Chaincode)
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return TransactionResult{}, err
	}
	members, signer, err := f.callers(ctx, record, call)
	if err != nil {
		return TransactionResult{}, err
	}
	through := channel.Kind == KindChannelMembership || record.partners(call.Organizations)
	if !through {
		if members, err = endorsing(members, channel.Name, call.Organizations); err != nil {
			return TransactionResult{}, err
		}
	}
	if f.adopts(channel.Owner) && channel.Kind == KindChannel {
		if result, err := f.submitted(ctx, channel, call); err != nil || result.TxID != "" {
			return result, err
		}
	}
	policy, mismatches := retry.Default, 0
	policy.AttemptTimeout = 0
	policy.Retryable = func(err error) bool {
		if errors.As(err, new(*endorser.MismatchError)) {
			mismatches++
			return mismatches < mismatchAttempts
		}
		invalid := new(gateway.InvalidError)
		return errors.As(err, &invalid) && invalid.Conflict() && invalid.Code.String() != call.Expected
	}
	result, err := retry.Do(ctx, policy, func(ctx context.Context) (TransactionResult, error) {
		if through {
			return submitThrough(ctx, channel.Name, name, call, signer, members)
		}
		return submit(ctx, channel.Name, name, call, signer, members)
	})
	if expected, ok := call.expects(err); ok {
		result, err = expected, nil
	} else if err == nil && call.Expected != "" && call.Expected != peer.TxValidationCode_VALID.String() {
		return result, &UnexpectedError{TransactionResult: result, Expected: call.Expected}
	}
	if err == nil {
		f.answered.Store(result.TxID, true) // the next call of the same is another one
		f.noteSubmitted(ctx, channel, call, result.TxID)
	}
	return result, err
}

// partners tells whether one of these organizations runs its peers elsewhere.
func (r channelRecord) partners(mspIDs []string) bool {
	for _, o := range r.Organizations {
		if len(o.Peers) == 0 && slices.Contains(mspIDs, o.Organization.MSPID) {
			return true
		}
	}
	return false
}

// submitThrough has a peer of ours collect the endorsements, also of organizations whose peers nobody here
// knows: those that were named, or whom the endorsement policy asks for.
func submitThrough(ctx context.Context, channel, chaincode string, call Call, signer *msp.Identity, members []member) (TransactionResult, error) {
	own := members[0]
	if i := slices.IndexFunc(members, func(m member) bool { return m.handle.MSPID == call.Identity.MSPID }); i >= 0 {
		own = members[i]
	}
	tx, err := gateway.Endorse(ctx, own.turn(0).Conn, signer, gateway.Request{
		Channel: channel, Chaincode: chaincode, Function: call.Function, Args: call.arguments()[1:], Transient: call.transient(),
		Init: call.Init, Organizations: call.Organizations,
	})
	if err != nil {
		return TransactionResult{}, err
	}
	result := TransactionResult{TxID: tx.TxID}
	if result.Payload, err = tx.Result(); err != nil {
		return result, err
	}
	result.Block, err = gateway.SubmitAndWait(ctx, own.turn(0).Conn, signer, tx)
	return result, err
}

// endorsing chooses the members that endorse: all, or those that were named.
func endorsing(members []member, channel string, organizations []string) ([]member, error) {
	if len(organizations) == 0 {
		return members, nil
	}
	var known []string
	for _, m := range members {
		known = append(known, m.handle.MSPID)
	}
	for _, id := range organizations {
		if !slices.Contains(known, id) {
			return nil, &NoPeerError{MSPID: id, Channel: channel, Known: known}
		}
	}
	return slices.DeleteFunc(members, func(m member) bool { return !slices.Contains(organizations, m.handle.MSPID) }), nil
}

func submit(ctx context.Context, channel, chaincode string, call Call, signer *msp.Identity, members []member) (TransactionResult, error) {
	result := TransactionResult{}
	tx, peers, err := endorse(ctx, channel, chaincode, call, signer, members)
	if err != nil {
		return result, err
	}
	if result.Payload, err = tx.Result(); err != nil {
		return result, err
	}
	result.TxID = tx.TxID
	if err := gateway.Submit(ctx, peers[0].Conn, tx); err != nil {
		return result, err
	}
	if result.Block, err = gateway.Await(ctx, peers[0].Conn, signer, tx); err != nil {
		return result, err
	}
	return result, awaitCommit(ctx, tx, members[1:])
}

// endorse has the call endorsed by a peer of each member. While one cannot be reached, it goes on
// with the next peer of its organization that runs: nothing is submitted yet.
func endorse(ctx context.Context, channel, chaincode string, call Call, signer *msp.Identity, members []member) (*endorser.Transaction, []endorser.Peer, error) {
	turn := 0
	peers, policy := make([]endorser.Peer, len(members)), retry.Default
	policy.AttemptTimeout = 0 // how long a chaincode may take is the peer's to say
	tx, err := retry.Do(ctx, policy, func(ctx context.Context) (*endorser.Transaction, error) {
		for i, m := range members {
			peers[i] = m.turn(turn)
		}
		turn++
		proposal, err := endorser.NewProposal(signer, endorser.Invocation{
			Channel: channel, Chaincode: chaincode, Args: call.arguments(), Transient: call.transient(), Init: call.Init,
		})
		if err != nil {
			return nil, err
		}
		endorsements, err := endorser.Endorse(ctx, proposal, peers...)
		if err != nil {
			return nil, err
		}
		return endorser.NewTransaction(proposal, endorsements)
	})
	return tx, peers, err
}

// Query calls a chaincode on a peer of the signer's organization, for its answer only.
func (f *Fabric) Query(ctx context.Context, call Call) ([]byte, error) {
	channel, name := chaincodeOf(call.Chaincode)
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return nil, err
	}
	members, signer, err := f.callers(ctx, record, call)
	if err != nil {
		return nil, err
	}
	index := slices.IndexFunc(members, func(m member) bool { return m.handle.MSPID == call.Identity.MSPID })
	if index < 0 {
		return nil, fmt.Errorf("unable to query chaincode %s: %s has no peer on channel %s", name, call.Identity.MSPID, channel.Name)
	}
	var last error
	for _, p := range members[index].peers {
		proposal, err := endorser.NewProposal(signer, endorser.Invocation{
			Channel: channel.Name, Chaincode: name, Args: call.arguments(), Transient: call.transient(),
		})
		if err != nil {
			return nil, err
		}
		answer, err := endorser.Evaluate(ctx, proposal, p.Peer)
		if err == nil {
			return answer, nil
		}
		last = err
		if unanswered := new(endorser.CallError); !errors.As(err, &unanswered) {
			return nil, err // the chaincode's own answer: another peer would say the same
		}
	}
	return nil, last
}

func (f *Fabric) callers(ctx context.Context, record channelRecord, call Call) ([]member, *msp.Identity, error) {
	members, err := f.members(ctx, record)
	if err != nil {
		return nil, nil, err
	}
	signer, err := f.identity(ctx, call.Identity)
	return members, signer, err
}
