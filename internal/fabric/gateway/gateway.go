// Package gateway speaks the Gateway service of a peer, which sends transactions on to the ordering
// service, tells when they are committed, and chooses endorsing peers itself.
//
// Source: proto gateway/gateway.proto and internal/pkg/gateway in Fabric. It speaks the protos rather
// than the fabric-gateway client, which has no initialising calls and no transactions endorsed by
// peers of the caller's choice.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// commitPolicy asks for a commit status again every half minute at the latest: the call waits for a
// block, and a peer that vanished without a word would be waited for until keepalive notices.
var commitPolicy = retry.Policy{
	InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second,
	MaxElapsed: 15 * time.Minute, AttemptTimeout: 30 * time.Second,
}

// conflictPolicy repeats a whole transaction that lost a race for a key.
var conflictPolicy = retry.Policy{
	InitialInterval: 100 * time.Millisecond, MaxInterval: time.Second, MaxElapsed: 2 * time.Minute,
	Retryable: func(err error) bool {
		var invalid *InvalidError
		return errors.As(err, &invalid) && invalid.Conflict()
	},
}

// Submit has the peer send the transaction to the ordering service. Success means that an ordering
// node took it. While the peer has no connection to one, or they have no leader, it is sent again;
// sending one transaction twice is safe, the ledger takes it once.
func Submit(ctx context.Context, conn grpc.ClientConnInterface, transaction *endorser.Transaction) error {
	_, err := retry.Do(ctx, retry.Default, func(ctx context.Context) (*gateway.SubmitResponse, error) {
		response, err := gateway.NewGatewayClient(conn).Submit(ctx, &gateway.SubmitRequest{
			TransactionId: transaction.TxID, ChannelId: transaction.Channel, PreparedTransaction: transaction.Envelope,
		})
		return response, explain(err)
	})
	if err != nil {
		return fmt.Errorf("unable to submit transaction %s to channel %s: %w", transaction.TxID, transaction.Channel, err)
	}
	return nil
}

// CommitStatus waits until the peer has committed the transaction and gives the number of its block.
// A transaction that is in a block and was found invalid is an *InvalidError. A transaction that
// never gets into a block is waited for until ctx ends, at most 15 minutes.
func CommitStatus(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel, txID string) (uint64, error) {
	block, err := commitStatus(ctx, conn, identity, channel, txID)
	var invalid *InvalidError
	if errors.As(err, &invalid) && invalid.Code == peer.TxValidationCode_DUPLICATE_TXID {
		// A transaction that was sent twice is in the ledger twice, and the peer may tell of the
		// second time first. Asked once it is committed, it tells of the first.
		block, err = commitStatus(ctx, conn, identity, channel, txID)
	}
	if err != nil && !errors.As(err, &invalid) {
		err = fmt.Errorf("unable to learn whether transaction %s of channel %s was committed: %w", txID, channel, err)
	}
	return block, err
}

func commitStatus(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, channel, txID string) (uint64, error) {
	creator, err := identity.Serialized()
	if err != nil {
		return 0, err
	}
	request, err := proto.Marshal(&gateway.CommitStatusRequest{TransactionId: txID, ChannelId: channel, Identity: creator})
	if err != nil {
		return 0, err
	}
	signature, err := identity.Sign(request)
	if err != nil {
		return 0, err
	}
	response, err := retry.Do(ctx, commitPolicy, func(ctx context.Context) (*gateway.CommitStatusResponse, error) {
		response, err := gateway.NewGatewayClient(conn).CommitStatus(ctx, &gateway.SignedCommitStatusRequest{Request: request, Signature: signature})
		return response, explain(err)
	})
	if err != nil {
		return 0, err
	}
	if response.GetResult() != peer.TxValidationCode_VALID {
		return response.GetBlockNumber(), &InvalidError{Channel: channel, TxID: txID, Block: response.GetBlockNumber(), Code: response.GetResult()}
	}
	return response.GetBlockNumber(), nil
}

// resendAfter is how long a transaction is waited for until it is sent again for the first time.
const resendAfter = 20 * time.Second

// Await waits until the peer has committed a transaction that was submitted, as CommitStatus does. An
// ordering node that took a transaction has it in memory until its block is cut, and loses it when it is
// stopped before, or no longer leads: one that does not come is sent again, less and less often. The ledger
// takes it once.
func Await(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, transaction *endorser.Transaction) (uint64, error) {
	return await(ctx, conn, identity, transaction, resendAfter)
}

func await(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, transaction *endorser.Transaction, patience time.Duration) (uint64, error) {
	for ; ; patience *= 2 {
		wait, cancel := context.WithTimeout(ctx, patience)
		block, err := CommitStatus(wait, conn, identity, transaction.Channel, transaction.TxID)
		late := wait.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil || errors.As(err, new(*InvalidError)) {
			return block, err
		}
		_ = Submit(ctx, conn, transaction) // what fails now may succeed the next time, or is on its way already
	}
}

// SubmitAndWait submits the transaction and waits for its commit on the same peer.
func SubmitAndWait(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, transaction *endorser.Transaction) (uint64, error) {
	if err := Submit(ctx, conn, transaction); err != nil {
		return 0, err
	}
	return Await(ctx, conn, identity, transaction)
}

// Request is a call of a chaincode.
type Request struct {
	// Channel and Chaincode name what is called.
	Channel, Chaincode string
	// Function is the name of the chaincode's function and Args are its arguments.
	Function string
	Args     [][]byte
	// Transient is data that the chaincode sees and the ledger never does.
	Transient map[string][]byte
	// Init marks the call that initialises a chaincode whose definition requires it.
	Init bool
	// Organizations are the MSP IDs whose peers shall execute the call; none leaves it to the peer,
	// which for SubmitTransaction works out who must endorse from the endorsement policy.
	Organizations []string
}

func (r Request) propose(identity *msp.Identity) (*endorser.Proposal, error) {
	return endorser.NewProposal(identity, endorser.Invocation{
		Channel: r.Channel, Chaincode: r.Chaincode, Transient: r.Transient, Init: r.Init,
		Args: append([][]byte{[]byte(r.Function)}, r.Args...),
	})
}

// Evaluate calls a chaincode for its answer only; nothing is written. Failures that pass by
// themselves are tried again, others are an *Error.
func Evaluate(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, request Request) ([]byte, error) {
	proposal, err := request.propose(identity)
	if err != nil {
		return nil, err
	}
	response, err := retry.Do(ctx, retry.Default, func(ctx context.Context) (*gateway.EvaluateResponse, error) {
		response, err := gateway.NewGatewayClient(conn).Evaluate(ctx, &gateway.EvaluateRequest{
			TransactionId: proposal.TxID, ChannelId: request.Channel,
			ProposedTransaction: proposal.Signed, TargetOrganizations: request.Organizations,
		})
		return response, explain(err)
	})
	if err != nil {
		return nil, fmt.Errorf("unable to query chaincode %s on channel %s: %w", request.Chaincode, request.Channel, err)
	}
	return response.GetResult().GetPayload(), nil
}

// Result is a committed transaction.
type Result struct {
	// TxID is the transaction ID and Block the number of its block.
	TxID  string
	Block uint64
	// Payload is what the chaincode returned.
	Payload []byte
}

// SubmitTransaction has the peer collect endorsements, submits the transaction and waits for its
// commit. It needs a peer that has heard of the endorsing peers of the other organizations, by
// gossip between anchor peers. A transaction that lost a race for a key is made anew; every other
// invalid one is an *InvalidError.
func SubmitTransaction(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, request Request) (*Result, error) {
	return retry.Do(ctx, conflictPolicy, func(ctx context.Context) (*Result, error) {
		transaction, err := Endorse(ctx, conn, identity, request)
		if err != nil {
			return nil, fmt.Errorf("unable to have a call of chaincode %s on channel %s endorsed: %w", request.Chaincode, request.Channel, err)
		}
		payload, err := transaction.Result()
		if err != nil {
			return nil, err
		}
		block, err := SubmitAndWait(ctx, conn, identity, transaction)
		if err != nil {
			return nil, err
		}
		return &Result{TxID: transaction.TxID, Block: block, Payload: payload}, nil
	})
}

// Endorse has the peer collect endorsements of a call, as SubmitTransaction does, and gives the
// transaction to submit.
func Endorse(ctx context.Context, conn grpc.ClientConnInterface, identity *msp.Identity, request Request) (*endorser.Transaction, error) {
	proposal, err := request.propose(identity)
	if err != nil {
		return nil, err
	}
	response, err := retry.Do(ctx, retry.Default, func(ctx context.Context) (*gateway.EndorseResponse, error) {
		response, err := gateway.NewGatewayClient(conn).Endorse(ctx, &gateway.EndorseRequest{
			TransactionId: proposal.TxID, ChannelId: request.Channel,
			ProposedTransaction: proposal.Signed, EndorsingOrganizations: request.Organizations,
		})
		return response, explain(err)
	})
	if err != nil {
		return nil, err
	}
	return endorser.SignPrepared(proposal, response.GetPreparedTransaction())
}
