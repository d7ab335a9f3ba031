package endorser

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// unpacked is a proposal as a peer sees it.
type unpacked struct {
	header    *common.ChannelHeader
	signature *common.SignatureHeader
	extension *peer.ChaincodeHeaderExtension
	payload   *peer.ChaincodeProposalPayload
	spec      *peer.ChaincodeSpec
}

func unpack(t testing.TB, signed *peer.SignedProposal) unpacked {
	t.Helper()
	u := unpacked{
		header: &common.ChannelHeader{}, signature: &common.SignatureHeader{}, extension: &peer.ChaincodeHeaderExtension{},
		payload: &peer.ChaincodeProposalPayload{},
	}
	proposal, header, invocation := &peer.Proposal{}, &common.Header{}, &peer.ChaincodeInvocationSpec{}
	read := func(raw []byte, into proto.Message) {
		if err := proto.Unmarshal(raw, into); err != nil {
			t.Error(err)
		}
	}
	read(signed.GetProposalBytes(), proposal)
	read(proposal.GetHeader(), header)
	read(header.GetChannelHeader(), u.header)
	read(header.GetSignatureHeader(), u.signature)
	read(u.header.GetExtension(), u.extension)
	read(proposal.GetPayload(), u.payload)
	read(u.payload.GetInput(), invocation)
	u.spec = invocation.GetChaincodeSpec()
	return u
}

// fakePeer answers proposals with a function of what they call.
type fakePeer struct {
	peer.UnimplementedEndorserServer
	t      testing.TB
	answer func(unpacked) (*peer.ProposalResponse, error)
}

func (f *fakePeer) ProcessProposal(_ context.Context, in *peer.SignedProposal) (*peer.ProposalResponse, error) {
	return f.answer(unpack(f.t, in))
}

func servePeer(t testing.TB, name string, answer func(unpacked) (*peer.ProposalResponse, error)) Peer {
	t.Helper()
	return Peer{Name: name, Conn: grpctest.Serve(t, func(s *grpc.Server) {
		peer.RegisterEndorserServer(s, &fakePeer{t: t, answer: answer})
	})}
}

func success(payload []byte) (*peer.ProposalResponse, error) {
	return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: payload}}, nil
}

func refusal(code int32, message string) (*peer.ProposalResponse, error) {
	return &peer.ProposalResponse{Response: &peer.Response{Status: code, Message: message}}, nil
}

// endorsed is an endorsement with the given result.
func endorsed(t testing.TB, endorserName, result string) *peer.ProposalResponse {
	t.Helper()
	action, err := proto.Marshal(&peer.ChaincodeAction{Response: &peer.Response{Status: 200, Payload: []byte(result)}})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(&peer.ProposalResponsePayload{ProposalHash: []byte("hash"), Extension: action})
	if err != nil {
		t.Fatal(err)
	}
	return &peer.ProposalResponse{
		Response: &peer.Response{Status: 200, Payload: []byte(result)}, Payload: payload,
		Endorsement: &peer.Endorsement{Endorser: []byte(endorserName), Signature: []byte("signature of " + endorserName)},
	}
}

func propose(t testing.TB, identity *msp.Identity) *Proposal {
	t.Helper()
	proposal, err := NewProposal(identity, Invocation{
		Channel: "trade", Chaincode: "asset", Args: [][]byte{[]byte("put"), []byte("a")}, Transient: map[string][]byte{"secret": []byte("hush")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return proposal
}

func TestProposal(t *testing.T) {
	identity := grpctest.Identity(t)
	proposal := propose(t, identity)
	u := unpack(t, proposal.Signed)
	grpctest.Verify(t, identity, proposal.Signed.GetProposalBytes(), proposal.Signed.GetSignature())
	creator, err := identity.Serialized()
	if err != nil || !bytes.Equal(u.signature.GetCreator(), creator) {
		t.Errorf("creator %q, %v", u.signature.GetCreator(), err)
	}
	id := sha256.Sum256(append(slices.Clone(u.signature.GetNonce()), creator...))
	if want := hex.EncodeToString(id[:]); u.header.GetTxId() != want || proposal.TxID != want {
		t.Errorf("transaction ID %s in the header, %s in the proposal, want %s", u.header.GetTxId(), proposal.TxID, want)
	}
	if u.header.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION) || u.header.GetChannelId() != "trade" || u.extension.GetChaincodeId().GetName() != "asset" {
		t.Errorf("header %v, %v", u.header, u.extension)
	}
	if u.spec.GetChaincodeId().GetName() != "asset" || string(u.spec.GetInput().GetArgs()[1]) != "a" || u.spec.GetInput().GetIsInit() {
		t.Errorf("call %v", u.spec)
	}
	if string(u.payload.GetTransientMap()["secret"]) != "hush" {
		t.Error("the transient data does not reach the peer")
	}
	if other := propose(t, identity); other.TxID == proposal.TxID {
		t.Error("two proposals have one transaction ID")
	}
	initial, err := NewProposal(identity, Invocation{Chaincode: "asset", Init: true, Type: common.HeaderType_CONFIG, TLSCertHash: []byte("hash")})
	if err != nil {
		t.Fatal(err)
	}
	if u := unpack(t, initial.Signed); !u.spec.GetInput().GetIsInit() || u.header.GetType() != int32(common.HeaderType_CONFIG) || string(u.header.GetTlsCertHash()) != "hash" {
		t.Errorf("%v, %v", u.spec, u.header)
	}
}

func TestProposalNeedsAKey(t *testing.T) {
	if _, err := NewProposal(&msp.Identity{ID: "Org1MSP"}, Invocation{Chaincode: "asset"}); err == nil {
		t.Error("an identity without a key proposed")
	}
}

func TestEndorseAsksAllAtOnce(t *testing.T) {
	var waiting atomic.Int32
	all := make(chan struct{})
	answer := func(name string) func(unpacked) (*peer.ProposalResponse, error) {
		return func(unpacked) (*peer.ProposalResponse, error) {
			if waiting.Add(1) == 3 {
				close(all)
			}
			select {
			case <-all:
				return endorsed(t, name, "done"), nil
			case <-time.After(10 * time.Second):
				return nil, status.Error(codes.Internal, "the others were not asked meanwhile")
			}
		}
	}
	peers := []Peer{servePeer(t, "c", answer("c")), servePeer(t, "a", answer("a")), servePeer(t, "b", answer("b"))}
	got, err := Endorse(t.Context(), propose(t, grpctest.Identity(t)), peers...)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"c", "a", "b"} {
		if got[i].Peer != name || string(got[i].Response.GetEndorsement().GetEndorser()) != name {
			t.Errorf("endorsement %d is of %s", i, got[i].Peer)
		}
	}
}

func TestEndorseNamesThoseThatDoNot(t *testing.T) {
	good := servePeer(t, "good", func(unpacked) (*peer.ProposalResponse, error) { return endorsed(t, "good", "x"), nil })
	unwilling := servePeer(t, "unwilling", func(unpacked) (*peer.ProposalResponse, error) { return refusal(403, "not yours") })
	away := servePeer(t, "away", func(unpacked) (*peer.ProposalResponse, error) {
		return nil, status.Error(codes.Unavailable, "gone fishing")
	})
	proposal := propose(t, grpctest.Identity(t))

	_, err := Endorse(t.Context(), proposal, good, unwilling, away)
	var refused *RefusedError
	var failed *CallError
	if !errors.As(err, &refused) || refused.Peer != "unwilling" || refused.Status != 403 || refused.Message != "not yours" || refused.Chaincode != "asset" {
		t.Errorf("refusal: %v", err)
	}
	if !errors.As(err, &failed) || failed.Peer != "away" || status.Code(failed.Err) != codes.Unavailable {
		t.Errorf("failure: %v", err)
	}
	if strings.Contains(err.Error(), "good") {
		t.Errorf("the peer that endorsed is blamed: %v", err)
	}
	if retry.Transient(err) {
		t.Error("with a refusal among them, another attempt is of no use")
	}
	if _, err := Endorse(t.Context(), proposal, good, away); !retry.Transient(err) {
		t.Errorf("an absent peer may come back: %v", err)
	}
	if _, err := Endorse(t.Context(), proposal); err == nil {
		t.Error("no peers endorsed")
	}
}

func TestEvaluate(t *testing.T) {
	for code, ok := range map[int32]bool{199: false, 200: true, 399: true, 400: false, 500: false} {
		target := servePeer(t, "peer0", func(unpacked) (*peer.ProposalResponse, error) {
			return &peer.ProposalResponse{Response: &peer.Response{Status: code, Payload: []byte("value")}}, nil
		})
		value, err := Evaluate(t.Context(), propose(t, grpctest.Identity(t)), target)
		if ok != (err == nil) || ok != (string(value) == "value") {
			t.Errorf("status %d: %q, %v", code, value, err)
		}
	}
}

func TestTransaction(t *testing.T) {
	identity := grpctest.Identity(t)
	proposal := propose(t, identity)
	transaction, err := NewTransaction(proposal, []Endorsement{
		{"peer0", endorsed(t, "peer0", "done")}, {"peer1", endorsed(t, "peer1", "done")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if transaction.TxID != proposal.TxID || transaction.Channel != "trade" {
		t.Errorf("%+v", transaction)
	}
	if result, err := transaction.Result(); err != nil || string(result) != "done" {
		t.Errorf("result %q, %v", result, err)
	}
	grpctest.Verify(t, identity, transaction.Envelope.GetPayload(), transaction.Envelope.GetSignature())
	if bytes.Contains(transaction.Envelope.GetPayload(), []byte("hush")) {
		t.Error("the transaction holds the transient data")
	}
	payload, body, action := &common.Payload{}, &peer.Transaction{}, &peer.ChaincodeActionPayload{}
	for _, err := range []error{
		proto.Unmarshal(transaction.Envelope.GetPayload(), payload), proto.Unmarshal(payload.GetData(), body),
		proto.Unmarshal(body.GetActions()[0].GetPayload(), action),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(body.GetActions()[0].GetHeader(), payload.GetHeader().GetSignatureHeader()) {
		t.Error("the action's header is not the transaction's")
	}
	if got := action.GetAction().GetEndorsements(); len(got) != 2 || string(got[1].GetEndorser()) != "peer1" {
		t.Errorf("endorsements %v", got)
	}
	// The peers hash the proposal payload without transient data, and compare.
	proposed := unpack(t, proposal.Signed).payload
	proposed.TransientMap = nil
	if inside := (&peer.ChaincodeProposalPayload{}); proto.Unmarshal(action.GetChaincodeProposalPayload(), inside) != nil || !proto.Equal(inside, proposed) {
		t.Error("the transaction is of another proposal")
	}
}

func TestTransactionNeedsAgreement(t *testing.T) {
	proposal := propose(t, grpctest.Identity(t))
	_, err := NewTransaction(proposal, []Endorsement{
		{"peer0", endorsed(t, "peer0", "one")}, {"peer1", endorsed(t, "peer1", "two")}, {"peer2", endorsed(t, "peer2", "one")},
	})
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || !slices.Equal(mismatch.Groups[0], []string{"peer0", "peer2"}) || !slices.Equal(mismatch.Groups[1], []string{"peer1"}) {
		t.Errorf("%v", err)
	}
	if _, err := NewTransaction(proposal, nil); err == nil {
		t.Error("a transaction without endorsements was made")
	}
	if _, err := NewTransaction(proposal, []Endorsement{{"peer0", &peer.ProposalResponse{}}}); err == nil {
		t.Error("an answer without an endorsement endorsed")
	}
}

func TestResultOfJunk(t *testing.T) {
	for _, payload := range [][]byte{nil, []byte("junk")} {
		if _, err := (&Transaction{TxID: "x", Envelope: &common.Envelope{Payload: payload}}).Result(); err == nil {
			t.Errorf("%q has a result", payload)
		}
	}
}
