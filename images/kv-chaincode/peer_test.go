package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/queryresult"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// testPeer is the peer's end of a chaincode stream, over a map in place of a
// ledger. It applies writes at once, which a real peer does at commit.
type testPeer struct {
	t      *testing.T
	stream peer.Chaincode_ConnectClient
	// state and private data: "collection/key" to value, collection "" being
	// the public state.
	state map[string][]byte
	// registered is the chaincode id that the server gave.
	registered string
	calls      int
}

// connectPeer opens the stream over conn and goes through the registration.
func connectPeer(t *testing.T, conn *grpc.ClientConn) *testPeer {
	t.Helper()
	stream, err := peer.NewChaincodeClient(conn).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &testPeer{t: t, stream: stream, state: map[string][]byte{}}
	var id peer.ChaincodeID
	unmarshal(t, p.receive(peer.ChaincodeMessage_REGISTER).GetPayload(), &id)
	p.registered = id.GetName()
	p.send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_REGISTERED})
	p.send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_READY})
	return p
}

func (p *testPeer) send(message *peer.ChaincodeMessage) {
	p.t.Helper()
	if err := p.stream.Send(message); err != nil {
		p.t.Fatal(err)
	}
}

func (p *testPeer) receive(want peer.ChaincodeMessage_Type) *peer.ChaincodeMessage {
	p.t.Helper()
	message, err := p.stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	if message.GetType() != want {
		p.t.Fatalf("received %s: %q, want %s", message.GetType(), message.GetPayload(), want)
	}
	return message
}

// invoke runs a transaction and answers the chaincode's requests until it is
// done.
func (p *testPeer) invoke(transient map[string][]byte, args ...string) *peer.Response {
	p.t.Helper()
	input := &peer.ChaincodeInput{}
	for _, arg := range args {
		input.Args = append(input.Args, []byte(arg))
	}
	header := &common.Header{ChannelHeader: marshal(p.t, &common.ChannelHeader{Type: int32(common.HeaderType_ENDORSER_TRANSACTION)})}
	proposal := &peer.Proposal{
		Header:  marshal(p.t, header),
		Payload: marshal(p.t, &peer.ChaincodeProposalPayload{TransientMap: transient}),
	}
	p.calls++
	txid := fmt.Sprint("tx", p.calls)
	p.send(&peer.ChaincodeMessage{
		Type: peer.ChaincodeMessage_TRANSACTION, Txid: txid, ChannelId: "channel",
		Payload:  marshal(p.t, input),
		Proposal: &peer.SignedProposal{ProposalBytes: marshal(p.t, proposal)},
	})
	for {
		message, err := p.stream.Recv()
		if err != nil {
			p.t.Fatal(err)
		}
		if message.GetType() == peer.ChaincodeMessage_COMPLETED {
			response := &peer.Response{}
			unmarshal(p.t, message.GetPayload(), response)
			return response
		}
		p.send(&peer.ChaincodeMessage{
			Type: peer.ChaincodeMessage_RESPONSE, Txid: txid, ChannelId: "channel", Payload: p.answer(message),
		})
	}
}

// answer does what the chaincode asks of the ledger.
func (p *testPeer) answer(message *peer.ChaincodeMessage) []byte {
	p.t.Helper()
	switch message.GetType() {
	case peer.ChaincodeMessage_GET_STATE:
		var request peer.GetState
		unmarshal(p.t, message.GetPayload(), &request)
		return p.state[request.GetCollection()+"/"+request.GetKey()]
	case peer.ChaincodeMessage_PUT_STATE:
		var request peer.PutState
		unmarshal(p.t, message.GetPayload(), &request)
		p.state[request.GetCollection()+"/"+request.GetKey()] = request.GetValue()
	case peer.ChaincodeMessage_DEL_STATE:
		var request peer.DelState
		unmarshal(p.t, message.GetPayload(), &request)
		delete(p.state, request.GetCollection()+"/"+request.GetKey())
	case peer.ChaincodeMessage_GET_STATE_BY_RANGE:
		var request peer.GetStateByRange
		unmarshal(p.t, message.GetPayload(), &request)
		return marshal(p.t, p.rangeOf(&request))
	case peer.ChaincodeMessage_QUERY_STATE_CLOSE:
		return marshal(p.t, &peer.QueryResponse{})
	default:
		p.t.Fatalf("the chaincode sent %s: %q", message.GetType(), message.GetPayload())
	}
	return nil
}

func (p *testPeer) rangeOf(request *peer.GetStateByRange) *peer.QueryResponse {
	response := &peer.QueryResponse{Id: "range"}
	for _, path := range slices.Sorted(maps.Keys(p.state)) {
		key, public := strings.CutPrefix(path, "/")
		if !public || key < request.GetStartKey() || (request.GetEndKey() != "" && key >= request.GetEndKey()) {
			continue
		}
		response.Results = append(response.Results, &peer.QueryResultBytes{
			ResultBytes: marshal(p.t, &queryresult.KV{Key: key, Value: p.state[path]}),
		})
	}
	return response
}

func marshal(t *testing.T, message proto.Message) []byte {
	t.Helper()
	encoded, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func unmarshal(t *testing.T, encoded []byte, message proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(encoded, message); err != nil {
		t.Fatal(err)
	}
}
