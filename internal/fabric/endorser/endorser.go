package endorser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Peer is a peer to call and the name by which errors call it.
type Peer struct {
	Name string
	Conn grpc.ClientConnInterface
}

// Endorsement is a peer's agreement to a proposal.
type Endorsement struct {
	// Peer is the name of the peer that endorsed.
	Peer string
	// Response is its answer, with a status of success.
	Response *peer.ProposalResponse
}

// RefusedError is the answer of a peer, or of a chaincode on it, that it will not do as proposed.
type RefusedError struct {
	// Peer is the name of the peer.
	Peer string
	// Chaincode is what was called.
	Chaincode string
	// Status is 400 or above; 500 is what Fabric itself uses for nearly everything.
	Status int32
	// Message is the reason given.
	Message string
	// Answered tells that the chaincode itself gave this answer: the peer then sends along what it
	// simulated. Otherwise the peer refused to call it, could not reach it, or got no answer from it.
	Answered bool
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: %s refused with status %d: %s", e.Peer, e.Chaincode, e.Status, e.Message)
}

// Transient is false: a refusal was decided on, with the state that the peer has now.
func (e *RefusedError) Transient() bool { return false }

// CallError is a call that brought no answer: the peer cannot be reached, or it rejected the message
// before executing anything (a signature, an identity or a permission that it does not accept).
type CallError struct {
	// Peer is the name of the peer.
	Peer string
	// Err is the gRPC status error.
	Err error
}

func (e *CallError) Error() string { return fmt.Sprintf("%s: %v", e.Peer, e.Err) }

// Unwrap gives the gRPC status error.
func (e *CallError) Unwrap() error { return e.Err }

// MismatchError says that peers executed the same proposal with different results: their ledgers are
// at different heights, or the chaincode is not deterministic.
type MismatchError struct {
	// Chaincode is what was called.
	Chaincode string
	// Groups are the names of the peers, those that agree together.
	Groups [][]string
}

func (e *MismatchError) Error() string {
	sides := make([]string, 0, len(e.Groups))
	for _, group := range e.Groups {
		sides = append(sides, strings.Join(group, ", "))
	}
	return fmt.Sprintf("the endorsements of %s differ between %s", e.Chaincode, strings.Join(sides, " and "))
}

// Transient is false: the same proposal would differ again on peers that have caught up only if it
// is proposed anew.
func (e *MismatchError) Transient() bool { return false }

// Endorse has the proposal executed by all the given peers at once and gives their endorsements in
// the order of peers. Unless all of them endorse, it fails with the joined errors of those that did
// not: *RefusedError and *CallError.
func Endorse(ctx context.Context, proposal *Proposal, peers ...Peer) ([]Endorsement, error) {
	if len(peers) == 0 {
		return nil, fmt.Errorf("unable to endorse a call of chaincode %s: no peers given", proposal.Chaincode)
	}
	endorsements, failures := make([]Endorsement, len(peers)), make([]error, len(peers))
	var calls sync.WaitGroup
	for i, target := range peers {
		calls.Go(func() {
			response, err := process(ctx, proposal, target)
			endorsements[i], failures[i] = Endorsement{Peer: target.Name, Response: response}, err
		})
	}
	calls.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("unable to endorse a call of chaincode %s: %w", proposal.Chaincode, err)
	}
	return endorsements, nil
}

// Evaluate has the proposal executed by one peer and gives what the chaincode returned. Nothing is
// written. It fails with *RefusedError or *CallError.
func Evaluate(ctx context.Context, proposal *Proposal, target Peer) ([]byte, error) {
	response, err := process(ctx, proposal, target)
	if err != nil {
		return nil, fmt.Errorf("unable to call chaincode %s: %w", proposal.Chaincode, err)
	}
	return response.GetResponse().GetPayload(), nil
}

func process(ctx context.Context, proposal *Proposal, target Peer) (*peer.ProposalResponse, error) {
	response, err := peer.NewEndorserClient(target.Conn).ProcessProposal(ctx, proposal.Signed)
	if err != nil {
		return nil, &CallError{Peer: target.Name, Err: err}
	}
	// Fabric counts 200 up to 399 as success (core/endorser, shim.ERRORTHRESHOLD).
	if status := response.GetResponse().GetStatus(); status < 200 || status >= 400 {
		return nil, &RefusedError{
			Peer: target.Name, Chaincode: proposal.Chaincode,
			Status: status, Message: response.GetResponse().GetMessage(), Answered: len(response.GetPayload()) > 0,
		}
	}
	return response, nil
}

// Transaction is an endorsed and signed transaction, ready for ordering.
type Transaction struct {
	// Channel is the channel name.
	Channel string
	// TxID is the transaction ID.
	TxID string
	// Envelope is the signed message for the ordering service.
	Envelope *common.Envelope
}

// NewTransaction makes a transaction of the proposal and its endorsements and signs it with the
// proposal's identity. Endorsements that differ are a *MismatchError.
func NewTransaction(proposal *Proposal, endorsements []Endorsement) (*Transaction, error) {
	envelope, err := assemble(proposal, endorsements)
	if err != nil {
		return nil, fmt.Errorf("unable to make a transaction of a call of chaincode %s: %w", proposal.Chaincode, err)
	}
	return &Transaction{Channel: proposal.Channel, TxID: proposal.TxID, Envelope: envelope}, nil
}

func assemble(proposal *Proposal, endorsements []Endorsement) (*common.Envelope, error) {
	if len(endorsements) == 0 {
		return nil, errors.New("no endorsements")
	}
	agreed := endorsements[0].Response.GetPayload()
	action := &peer.ChaincodeEndorsedAction{ProposalResponsePayload: agreed}
	for _, endorsement := range endorsements {
		if !bytes.Equal(endorsement.Response.GetPayload(), agreed) {
			return nil, &MismatchError{Chaincode: proposal.Chaincode, Groups: groupByPayload(endorsements)}
		}
		if endorsement.Response.GetEndorsement() == nil {
			return nil, fmt.Errorf("%s answered without an endorsement", endorsement.Peer)
		}
		action.Endorsements = append(action.Endorsements, endorsement.Response.GetEndorsement())
	}
	actionPayload, err := proto.Marshal(&peer.ChaincodeActionPayload{ChaincodeProposalPayload: proposal.payload, Action: action})
	if err != nil {
		return nil, err
	}
	transaction, err := proto.Marshal(&peer.Transaction{Actions: []*peer.TransactionAction{
		{Header: proposal.header.GetSignatureHeader(), Payload: actionPayload},
	}})
	if err != nil {
		return nil, err
	}
	payload, err := proto.Marshal(&common.Payload{Header: proposal.header, Data: transaction})
	if err != nil {
		return nil, err
	}
	return sign(proposal.identity, payload)
}

// SignPrepared signs the envelope that a gateway prepared from the proposal's endorsements.
func SignPrepared(proposal *Proposal, prepared *common.Envelope) (*Transaction, error) {
	envelope, err := sign(proposal.identity, prepared.GetPayload())
	if err != nil {
		return nil, fmt.Errorf("unable to make a transaction of a call of chaincode %s: %w", proposal.Chaincode, err)
	}
	return &Transaction{Channel: proposal.Channel, TxID: proposal.TxID, Envelope: envelope}, nil
}

func sign(identity *msp.Identity, payload []byte) (*common.Envelope, error) {
	signature, err := identity.Sign(payload)
	if err != nil {
		return nil, err
	}
	return &common.Envelope{Payload: payload, Signature: signature}, nil
}

// Result reads what the chaincode returned from an assembled transaction.
func (t *Transaction) Result() ([]byte, error) {
	payload := &common.Payload{}
	err := proto.Unmarshal(t.Envelope.GetPayload(), payload)
	if err == nil {
		var result *peer.ChaincodeAction
		if _, result, err = readAction(payload); err == nil {
			return result.GetResponse().GetPayload(), nil
		}
	}
	return nil, fmt.Errorf("unable to read the result of transaction %s: %w", t.TxID, err)
}

func groupByPayload(endorsements []Endorsement) [][]string {
	var order []string
	groups := map[string][]string{}
	for _, endorsement := range endorsements {
		key := string(endorsement.Response.GetPayload())
		if _, seen := groups[key]; !seen {
			order = append(order, key)
		}
		groups[key] = append(groups[key], endorsement.Peer)
	}
	sides := make([][]string, 0, len(order))
	for _, key := range order {
		sides = append(sides, groups[key])
	}
	return sides
}
