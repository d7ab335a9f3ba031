package network

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// recordedCall gives the envelope of a call of chaincode kv, and its transaction ID.
func (s *sketch) recordedCall(signer *msp.Identity, args ...string) (envelope []byte, txID string) {
	s.t.Helper()
	invocation := endorser.Invocation{Channel: "trade", Chaincode: "kv"}
	for _, arg := range args {
		invocation.Args = append(invocation.Args, []byte(arg))
	}
	proposal, err := endorser.NewProposal(signer, invocation)
	s.must(err)
	action, err := proto.Marshal(&peer.ChaincodeAction{Response: &peer.Response{Status: 200, Payload: []byte("done")}})
	s.must(err)
	payload, err := proto.Marshal(&peer.ProposalResponsePayload{Extension: action})
	s.must(err)
	tx, err := endorser.NewTransaction(proposal, []endorser.Endorsement{{Peer: "peer0.org1", Response: &peer.ProposalResponse{
		Payload: payload, Endorsement: &peer.Endorsement{Endorser: []byte("peer0.org1")},
	}}})
	s.must(err)
	envelope, err = proto.Marshal(tx.Envelope)
	s.must(err)
	return envelope, tx.TxID
}

// serveLedger lets a peer answer with the block of a transaction; with nil it knows of none.
func (s *sketch) serveLedger(h Handle, envelope []byte, code peer.TxValidationCode) {
	s.t.Helper()
	s.serve(h, peerPort, func(g *grpc.Server) {
		peer.RegisterEndorserServer(g, &endorserFunc{answer: func(args []string, _ bool) *peer.ProposalResponse {
			var answer proto.Message
			switch {
			case args[0] == "GetChannels":
				answer = &peer.ChannelQueryResponse{Channels: []*peer.ChannelInfo{{ChannelId: "trade"}}}
			case envelope != nil && args[0] == "GetBlockByTxID":
				metadata := make([][]byte, len(common.BlockMetadataIndex_name))
				metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{byte(code)}
				answer = &common.Block{
					Header: &common.BlockHeader{Number: 5}, Data: &common.BlockData{Data: [][]byte{envelope}},
					Metadata: &common.BlockMetadata{Metadata: metadata},
				}
			default:
				return refusal("")
			}
			raw, err := proto.Marshal(answer)
			s.must(err)
			return &peer.ProposalResponse{Response: &peer.Response{Status: 200, Payload: raw}}
		}})
	})
}

func (s *sketch) client(mspID, name string) *msp.Identity {
	s.t.Helper()
	pair, err := issuePair(s.roots[mspID].enrollment, certificate.LeafRequest{CommonName: name, Client: true, Validity: time.Hour})
	s.must(err)
	return &msp.Identity{ID: mspID, CertificatePEM: pair.CertificatePEM(), Key: pair.Key}
}

func TestFindTransaction(t *testing.T) {
	const valid, conflict = peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT
	for name, c := range map[string]struct {
		signer   func(*sketch) *msp.Identity
		args     []string
		code     peer.TxValidationCode
		identity Handle
		fails    func(error) bool
		says     string
	}{
		"by a client": {
			signer: func(s *sketch) *msp.Identity { return s.client("Org1MSP", "app") }, args: []string{"put", "a", "1"}, code: valid,
			identity: Handle{Kind: KindIdentity, Name: "app", MSPID: "Org1MSP"},
		},
		"by an admin": {
			signer: func(s *sketch) *msp.Identity { return s.client("Org2MSP", "admin") }, args: []string{"count"}, code: valid,
			identity: Handle{Kind: KindOrganization, Name: "Org2MSP", MSPID: "Org2MSP"},
		},
		"by a partner": {
			signer: func(s *sketch) *msp.Identity {
				signer := s.client("Org1MSP", "admin")
				signer.ID = "PartnerMSP"
				return signer
			},
			args: []string{"count"}, code: valid, identity: Handle{Kind: KindIdentity, Name: "admin", MSPID: "PartnerMSP"},
		},
		"invalid": {
			signer: func(s *sketch) *msp.Identity { return s.client("Org1MSP", "app") }, args: []string{"put"}, code: conflict,
			fails: func(err error) bool { return errors.As(err, new(*gateway.InvalidError)) }, says: "MVCC_READ_CONFLICT, in block 5",
		},
		"not text": {
			signer: func(s *sketch) *msp.Identity { return s.client("Org1MSP", "app") }, args: []string{"put", "a", "\xff\xfe"}, code: valid,
			fails: func(err error) bool { return err != nil }, says: "argument 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch(t)
			envelope, id := s.recordedCall(c.signer(s), c.args...)
			// The first one that runs joined late; nobody asks the one that does not run.
			s.serveLedger(s.peer("peer0.org1", "Org1MSP"), nil, 0)
			s.fake.SetStatus(s.peer("peer1.org1", "").Object(), engine.Stopped, 0)
			s.serveLedger(s.peer("peer0.org2", "Org2MSP"), envelope, c.code)
			call, result, err := s.fabric.FindTransaction(t.Context(), "dev", "trade", id)
			if c.fails != nil {
				if !c.fails(err) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("the error is %v, want one that says %q", err, c.says)
				}
				return
			}
			s.must(err)
			if want := s.network.With(c.identity.Kind, c.identity.Name, c.identity.MSPID); call.Identity != want {
				t.Errorf("signed by %+v, want %+v", call.Identity, want)
			}
			if call.Chaincode != ChaincodeHandle(s.channel, "kv") || call.Function != c.args[0] || !slices.Equal(call.Arguments, c.args[1:]) || call.Init {
				t.Errorf("the call is %+v", call)
			}
			if result.TxID != id || result.Block != 5 || string(result.Payload) != "done" {
				t.Errorf("the result is %+v", result)
			}
		})
	}
}

func TestFindTransactionThatIsNotThere(t *testing.T) {
	s := newSketch(t)
	_, id := s.recordedCall(s.client("Org1MSP", "app"), "put")
	for _, p := range []string{"peer0.org1", "peer1.org1"} {
		s.serveLedger(s.peer(p, "Org1MSP"), nil, 0)
	}
	s.serveLedger(s.peer("peer0.org2", "Org2MSP"), nil, 0)
	for name, c := range map[string]struct {
		channel, id string
		want        error
		says        string
	}{
		"unknown":         {"trade", id, ErrNotFound, "no transaction " + id},
		"unknown channel": {"audit", id, ErrNotFound, "no channel audit on network dev"},
		"no ID":           {"trade", "first", nil, "64 hexadecimal digits"},
	} {
		_, _, err := s.fabric.FindTransaction(t.Context(), "dev", c.channel, c.id)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want one that says %q", name, err, c.says)
		}
	}
	for _, p := range []string{"peer0.org1", "peer1.org1", "peer0.org2"} {
		s.fake.SetStatus(s.peer(p, "").Object(), engine.Stopped, 0)
	}
	if _, _, err := s.fabric.FindTransaction(t.Context(), "dev", "trade", id); !errors.As(err, new(*UnansweredError)) {
		t.Errorf("with every peer stopped: %v", err)
	}
}
