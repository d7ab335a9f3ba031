package gateway

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// fakeGateway answers from queues; an empty queue is a success.
type fakeGateway struct {
	gateway.UnimplementedGatewayServer
	t        testing.TB
	identity *msp.Identity

	submitErrors, endorseErrors, evaluateErrors, statusErrors []error
	// results are the validation codes that commit statuses give, the last one for ever.
	results []peer.TxValidationCode

	submitted []*gateway.SubmitRequest
	endorsed  []*gateway.EndorseRequest
	evaluated []*gateway.EvaluateRequest
	asked     []*gateway.CommitStatusRequest
}

func next(queue *[]error) error {
	if len(*queue) == 0 {
		return nil
	}
	err := (*queue)[0]
	*queue = (*queue)[1:]
	return err
}

func (f *fakeGateway) Submit(_ context.Context, in *gateway.SubmitRequest) (*gateway.SubmitResponse, error) {
	f.submitted = append(f.submitted, in)
	return &gateway.SubmitResponse{}, next(&f.submitErrors)
}

func (f *fakeGateway) CommitStatus(_ context.Context, in *gateway.SignedCommitStatusRequest) (*gateway.CommitStatusResponse, error) {
	request := &gateway.CommitStatusRequest{}
	if err := proto.Unmarshal(in.GetRequest(), request); err != nil {
		return nil, err
	}
	grpctest.Verify(f.t, f.identity, in.GetRequest(), in.GetSignature())
	f.asked = append(f.asked, request)
	if err := next(&f.statusErrors); err != nil {
		return nil, err
	}
	result := peer.TxValidationCode_VALID
	if len(f.results) > 0 {
		result = f.results[0]
	}
	if len(f.results) > 1 {
		f.results = f.results[1:]
	}
	return &gateway.CommitStatusResponse{Result: result, BlockNumber: 7}, nil
}

func (f *fakeGateway) Evaluate(_ context.Context, in *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	f.evaluated = append(f.evaluated, in)
	if err := next(&f.evaluateErrors); err != nil {
		return nil, err
	}
	return &gateway.EvaluateResponse{Result: &peer.Response{Status: 200, Payload: []byte("value")}}, nil
}

func (f *fakeGateway) Endorse(_ context.Context, in *gateway.EndorseRequest) (*gateway.EndorseResponse, error) {
	f.endorsed = append(f.endorsed, in)
	if err := next(&f.endorseErrors); err != nil {
		return nil, err
	}
	envelope, err := prepared(in.GetProposedTransaction())
	return &gateway.EndorseResponse{PreparedTransaction: envelope}, err
}

// prepared is what a gateway makes of a proposal: a transaction without a signature.
func prepared(signed *peer.SignedProposal) (*common.Envelope, error) {
	proposal, header := &peer.Proposal{}, &common.Header{}
	if err := proto.Unmarshal(signed.GetProposalBytes(), proposal); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(proposal.GetHeader(), header); err != nil {
		return nil, err
	}
	wrap := func(message proto.Message, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return proto.Marshal(message)
	}
	raw, err := wrap(&peer.ChaincodeAction{Response: &peer.Response{Payload: []byte("result")}}, nil)
	raw, err = wrap(&peer.ProposalResponsePayload{Extension: raw}, err)
	raw, err = wrap(&peer.ChaincodeActionPayload{Action: &peer.ChaincodeEndorsedAction{ProposalResponsePayload: raw}}, err)
	raw, err = wrap(&peer.Transaction{Actions: []*peer.TransactionAction{{Payload: raw}}}, err)
	raw, err = wrap(&common.Payload{Header: header, Data: raw}, err)
	return &common.Envelope{Payload: raw}, err
}

func newGateway(t testing.TB) *fakeGateway {
	t.Helper()
	return &fakeGateway{t: t, identity: grpctest.Identity(t)}
}

func (f *fakeGateway) serve() *grpc.ClientConn {
	return grpctest.Serve(f.t, func(s *grpc.Server) { gateway.RegisterGatewayServer(s, f) })
}

var (
	unavailable = status.Error(codes.Unavailable, "no orderers could successfully process transaction")
	late        = status.Error(codes.DeadlineExceeded, "submit timeout expired while broadcasting to ordering service")
	transaction = &endorser.Transaction{Channel: "trade", TxID: "tx", Envelope: &common.Envelope{Payload: []byte("payload"), Signature: []byte("signature")}}
	request     = Request{
		Channel: "trade", Chaincode: "asset", Function: "put", Args: [][]byte{[]byte("a"), {0xff}},
		Transient: map[string][]byte{"secret": []byte("hush")}, Organizations: []string{"Org1MSP", "Org2MSP"},
	}
)

func aborted(t testing.TB) error {
	t.Helper()
	failure, err := status.New(codes.Aborted, "failed to endorse").WithDetails(
		protoadapt.MessageV1Of(&gateway.ErrorDetail{Address: "peer0.org1:7051", MspId: "Org1MSP", Message: "chaincode response 500"}),
		protoadapt.MessageV1Of(&gateway.ErrorDetail{Address: "peer0.org2:7051", MspId: "Org2MSP", Message: "no such key"}))
	if err != nil {
		t.Fatal(err)
	}
	return failure.Err()
}

func TestSubmit(t *testing.T) {
	f := newGateway(t)
	f.submitErrors = []error{unavailable, late, unavailable}
	if err := Submit(t.Context(), f.serve(), transaction); err != nil {
		t.Fatal(err)
	}
	if len(f.submitted) != 4 {
		t.Errorf("%d attempts", len(f.submitted))
	}
	if got := f.submitted[3]; got.GetChannelId() != "trade" || got.GetTransactionId() != "tx" || !proto.Equal(got.GetPreparedTransaction(), transaction.Envelope) {
		t.Errorf("submitted %v", got)
	}
}

func TestSubmitRefused(t *testing.T) {
	f := newGateway(t)
	f.submitErrors = []error{unavailable, aborted(t), unavailable}
	err := Submit(t.Context(), f.serve(), transaction)
	var failed *Error
	if !errors.As(err, &failed) || failed.Code != codes.Aborted || len(f.submitted) != 2 {
		t.Fatalf("after %d attempts: %v", len(f.submitted), err)
	}
	want := []Detail{{"peer0.org1:7051", "Org1MSP", "chaincode response 500"}, {"peer0.org2:7051", "Org2MSP", "no such key"}}
	if !slices.Equal(failed.Details, want) {
		t.Errorf("details %v", failed.Details)
	}
	for _, part := range []string{"tx", "trade", "Aborted: failed to endorse", "peer0.org1:7051 of Org1MSP: chaincode response 500", "peer0.org2:7051 of Org2MSP: no such key", "2 attempts"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
	if status.Code(err) != codes.Aborted || retry.Transient(err) {
		t.Errorf("code %s, transient %t", status.Code(err), retry.Transient(err))
	}
}

func TestSubmitUntilTheContextEnds(t *testing.T) {
	f := newGateway(t)
	f.submitErrors = slices.Repeat([]error{unavailable}, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := Submit(ctx, f.serve(), transaction)
	var final *retry.Error
	var last *Error
	if !errors.As(err, &final) || final.Attempts < 2 || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &last) {
		t.Errorf("%v", err)
	}
}

func TestCommitStatus(t *testing.T) {
	f := newGateway(t)
	f.statusErrors = []error{status.Error(codes.Unavailable, "restarting")}
	block, err := CommitStatus(t.Context(), f.serve(), f.identity, "trade", "tx")
	if err != nil || block != 7 || len(f.asked) != 2 {
		t.Errorf("block %d after %d questions, %v", block, len(f.asked), err)
	}
	creator, _ := f.identity.Serialized()
	if got := f.asked[0]; got.GetChannelId() != "trade" || got.GetTransactionId() != "tx" || !slices.Equal(got.GetIdentity(), creator) {
		t.Errorf("asked %v", got)
	}
	f.statusErrors = []error{status.Error(codes.PermissionDenied, "no")}
	var failed *Error
	if _, err := CommitStatus(t.Context(), f.serve(), f.identity, "trade", "tx"); !errors.As(err, &failed) || failed.Code != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
}

func TestCommitStatusOfAnInvalidTransaction(t *testing.T) {
	f := newGateway(t)
	f.results = []peer.TxValidationCode{peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE}
	_, err := SubmitAndWait(t.Context(), f.serve(), f.identity, transaction)
	var invalid *InvalidError
	if !errors.As(err, &invalid) || *invalid != (InvalidError{"trade", "tx", 7, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE}) || invalid.Conflict() || retry.Transient(err) {
		t.Errorf("%#v", err)
	}
	if !strings.Contains(err.Error(), "ENDORSEMENT_POLICY_FAILURE") {
		t.Errorf("%v", err)
	}
}

func TestCommitStatusOfATransactionSentTwice(t *testing.T) {
	f := newGateway(t)
	f.results = []peer.TxValidationCode{peer.TxValidationCode_DUPLICATE_TXID, peer.TxValidationCode_VALID}
	if _, err := CommitStatus(t.Context(), f.serve(), f.identity, "trade", "tx"); err != nil || len(f.asked) != 2 {
		t.Errorf("%v after %d questions", err, len(f.asked))
	}
	f.results = []peer.TxValidationCode{peer.TxValidationCode_DUPLICATE_TXID}
	var invalid *InvalidError
	if _, err := CommitStatus(t.Context(), f.serve(), f.identity, "trade", "tx"); !errors.As(err, &invalid) {
		t.Errorf("a true duplicate: %v", err)
	}
}

// losingGateway belongs to an ordering node that loses what it takes first.
type losingGateway struct {
	*fakeGateway
	resent chan struct{}
}

func (l *losingGateway) Submit(ctx context.Context, in *gateway.SubmitRequest) (*gateway.SubmitResponse, error) {
	response, err := l.fakeGateway.Submit(ctx, in)
	if len(l.submitted) == 2 {
		close(l.resent)
	}
	return response, err
}

func (l *losingGateway) CommitStatus(ctx context.Context, in *gateway.SignedCommitStatusRequest) (*gateway.CommitStatusResponse, error) {
	select {
	case <-l.resent:
		return l.fakeGateway.CommitStatus(ctx, in)
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func TestAwaitSendsWhatWasLostAgain(t *testing.T) {
	f := &losingGateway{fakeGateway: newGateway(t), resent: make(chan struct{})}
	conn := grpctest.Serve(t, func(s *grpc.Server) { gateway.RegisterGatewayServer(s, f) })
	if err := Submit(t.Context(), conn, transaction); err != nil {
		t.Fatal(err)
	}
	block, err := await(t.Context(), conn, f.identity, transaction, 50*time.Millisecond)
	if err != nil || block != 7 || len(f.submitted) != 2 || f.submitted[0].GetTransactionId() != f.submitted[1].GetTransactionId() {
		t.Errorf("block %d after it was sent %d times, %v", block, len(f.submitted), err)
	}
}

// TestAwaitEnds: what never comes is waited for until the context ends, and what is invalid is not sent again.
func TestAwaitEnds(t *testing.T) {
	f := &losingGateway{fakeGateway: newGateway(t), resent: make(chan struct{})}
	conn := grpctest.Serve(t, func(s *grpc.Server) { gateway.RegisterGatewayServer(s, f) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := await(ctx, conn, f.identity, transaction, time.Minute); err == nil || len(f.submitted) != 0 {
		t.Errorf("sent %d times, %v", len(f.submitted), err)
	}
	f = &losingGateway{fakeGateway: newGateway(t), resent: make(chan struct{})}
	close(f.resent)
	f.results = []peer.TxValidationCode{peer.TxValidationCode_MVCC_READ_CONFLICT}
	conn = grpctest.Serve(t, func(s *grpc.Server) { gateway.RegisterGatewayServer(s, f) })
	var invalid *InvalidError
	if _, err := await(t.Context(), conn, f.identity, transaction, time.Minute); !errors.As(err, &invalid) || len(f.submitted) != 0 {
		t.Errorf("sent %d times, %v", len(f.submitted), err)
	}
}

// called reads what a proposal calls.
func called(t testing.TB, signed *peer.SignedProposal) (args [][]byte, transient map[string][]byte, init bool) {
	t.Helper()
	proposal, payload, invocation := &peer.Proposal{}, &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	for _, step := range []func() error{
		func() error { return proto.Unmarshal(signed.GetProposalBytes(), proposal) },
		func() error { return proto.Unmarshal(proposal.GetPayload(), payload) },
		func() error { return proto.Unmarshal(payload.GetInput(), invocation) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	input := invocation.GetChaincodeSpec().GetInput()
	return input.GetArgs(), payload.GetTransientMap(), input.GetIsInit()
}

func TestEvaluate(t *testing.T) {
	f := newGateway(t)
	f.evaluateErrors = []error{unavailable}
	value, err := Evaluate(t.Context(), f.serve(), f.identity, request)
	if err != nil || string(value) != "value" || len(f.evaluated) != 2 {
		t.Fatalf("%q after %d questions, %v", value, len(f.evaluated), err)
	}
	got := f.evaluated[1]
	args, transient, init := called(t, got.GetProposedTransaction())
	if got.GetChannelId() != "trade" || got.GetTransactionId() == "" || !slices.Equal(got.GetTargetOrganizations(), request.Organizations) ||
		len(args) != 3 || string(args[0]) != "put" || args[2][0] != 0xff || string(transient["secret"]) != "hush" || init {
		t.Errorf("asked %v: %q", got, args)
	}
	f.evaluateErrors = []error{aborted(t)}
	var failed *Error
	if _, err := Evaluate(t.Context(), f.serve(), f.identity, request); !errors.As(err, &failed) || len(failed.Details) != 2 || !strings.Contains(err.Error(), "asset") {
		t.Errorf("%v", err)
	}
}

func TestSubmitTransaction(t *testing.T) {
	f := newGateway(t)
	f.endorseErrors = []error{unavailable}
	initial := request
	initial.Init = true
	result, err := SubmitTransaction(t.Context(), f.serve(), f.identity, initial)
	if err != nil || result.Block != 7 || string(result.Payload) != "result" {
		t.Fatalf("%+v, %v", result, err)
	}
	if len(f.endorsed) != 2 || len(f.submitted) != 1 || len(f.asked) != 1 {
		t.Errorf("%d endorsements, %d submissions, %d questions", len(f.endorsed), len(f.submitted), len(f.asked))
	}
	if got := f.endorsed[1]; !slices.Equal(got.GetEndorsingOrganizations(), request.Organizations) || got.GetTransactionId() != result.TxID {
		t.Errorf("endorsed %v", got)
	}
	if _, _, init := called(t, f.endorsed[1].GetProposedTransaction()); !init {
		t.Error("the call does not initialise")
	}
	envelope := f.submitted[0].GetPreparedTransaction()
	grpctest.Verify(t, f.identity, envelope.GetPayload(), envelope.GetSignature())
	if f.submitted[0].GetTransactionId() != result.TxID || f.asked[0].GetTransactionId() != result.TxID {
		t.Error("one transaction goes by several IDs")
	}
}

func TestSubmitTransactionMakesLostOnesAnew(t *testing.T) {
	f := newGateway(t)
	f.results = []peer.TxValidationCode{peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_PHANTOM_READ_CONFLICT, peer.TxValidationCode_VALID}
	result, err := SubmitTransaction(t.Context(), f.serve(), f.identity, request)
	if err != nil || len(f.endorsed) != 3 {
		t.Fatalf("%v after %d endorsements", err, len(f.endorsed))
	}
	if f.endorsed[0].GetTransactionId() == result.TxID || f.endorsed[2].GetTransactionId() != result.TxID {
		t.Error("a lost transaction was sent again instead of made anew")
	}
	f.results = []peer.TxValidationCode{peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE}
	var invalid *InvalidError
	if _, err := SubmitTransaction(t.Context(), f.serve(), f.identity, request); !errors.As(err, &invalid) || len(f.endorsed) != 4 {
		t.Errorf("%v after %d endorsements", err, len(f.endorsed))
	}
}

// A transaction that may be on its way must not be made a second time.
func TestSubmitTransactionDoesNotRepeatWhatMayBeOrdered(t *testing.T) {
	f := newGateway(t)
	f.submitErrors = slices.Repeat([]error{late}, 1000)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := SubmitTransaction(ctx, f.serve(), f.identity, request); err == nil || len(f.endorsed) != 1 || len(f.submitted) < 2 {
		t.Errorf("%v after %d endorsements and %d submissions", err, len(f.endorsed), len(f.submitted))
	}
	for _, submission := range f.submitted {
		if submission.GetTransactionId() != f.endorsed[0].GetTransactionId() {
			t.Error("another transaction was submitted")
		}
	}
}
