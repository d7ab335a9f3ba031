package endorser

import (
	"errors"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/internal/grpctest"
)

// called makes the envelope of an endorsed call, as an ordering node would put it into a block.
func called(t testing.TB, invocation Invocation, result string) (envelope []byte, txID string) {
	t.Helper()
	proposal, err := NewProposal(grpctest.Identity(t), invocation)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := NewTransaction(proposal, []Endorsement{{Peer: "peer0", Response: endorsed(t, "peer0", result)}})
	if err != nil {
		t.Fatal(err)
	}
	return marshal(t, tx.Envelope), tx.TxID
}

// committed makes a block of envelopes with what the peer found of them.
func committed(number uint64, envelopes [][]byte, codes ...peer.TxValidationCode) *common.Block {
	filter := make([]byte, len(codes))
	for i, code := range codes {
		filter[i] = byte(code)
	}
	metadata := make([][]byte, len(common.BlockMetadataIndex_name))
	metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = filter
	return &common.Block{
		Header: &common.BlockHeader{Number: number}, Data: &common.BlockData{Data: envelopes},
		Metadata: &common.BlockMetadata{Metadata: metadata},
	}
}

func TestTransactionByID(t *testing.T) {
	call := Invocation{
		Channel: "trade", Chaincode: "asset", Args: [][]byte{[]byte("put"), []byte("a"), []byte("1")}, Init: true,
		Transient: map[string][]byte{"secret": []byte("hush")},
	}
	wanted, id := called(t, call, "done")
	other, _ := called(t, Invocation{Channel: "trade", Chaincode: "asset", Args: [][]byte{[]byte("get")}}, "1")
	const valid, conflict = peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT
	for name, test := range map[string]struct {
		block *common.Block
		code  peer.TxValidationCode
		fails func(error) bool
	}{
		"among others": {block: committed(7, [][]byte{other, wanted, other}, conflict, valid, conflict), code: valid},
		"invalid":      {block: committed(7, [][]byte{other, wanted}, valid, conflict), code: conflict},
		"twice, then valid": {
			block: committed(7, [][]byte{wanted, wanted}, conflict, valid), code: valid,
		},
		"twice, first valid": {
			block: committed(7, [][]byte{wanted, wanted}, valid, peer.TxValidationCode_DUPLICATE_TXID), code: valid,
		},
		"without codes":    {block: committed(7, [][]byte{wanted}), code: peer.TxValidationCode_NOT_VALIDATED},
		"of another block": {block: committed(7, [][]byte{other}, valid), fails: func(err error) bool { return err != nil }},
		"junk":             {block: committed(7, [][]byte{[]byte("junk")}, valid), fails: func(err error) bool { return err != nil && !isRefusal(err) }},
		"unknown":          {fails: isRefusal},
	} {
		t.Run(name, func(t *testing.T) {
			target := servePeer(t, "peer0", func(u unpacked) (*peer.ProposalResponse, error) {
				args := u.spec.GetInput().GetArgs()
				switch string(args[0]) {
				case "GetChannels":
					return success(marshal(t, &peer.ChannelQueryResponse{Channels: []*peer.ChannelInfo{{ChannelId: "trade"}}}))
				case "GetBlockByTxID":
					if string(args[1]) == "trade" && string(args[2]) == id && test.block != nil {
						return success(marshal(t, test.block))
					}
				}
				return refusal(500, "no such transaction ID")
			})
			found, err := TransactionByID(t.Context(), target, grpctest.Identity(t), "trade", id)
			if test.fails != nil {
				if !test.fails(err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if found.Channel != "trade" || found.TxID != id || found.Block != 7 || found.Code != test.code {
				t.Errorf("found %s of %s in block %d, %s", found.TxID, found.Channel, found.Block, found.Code)
			}
			if found.MSPID != "Org1MSP" || string(found.CertificatePEM) != "a certificate" {
				t.Errorf("signed by %q of %s", found.CertificatePEM, found.MSPID)
			}
			if found.Chaincode != "asset" || !slices.EqualFunc(found.Args, call.Args, slices.Equal[[]byte]) || !found.Init || string(found.Result) != "done" {
				t.Errorf("call of %s with %q, init %t, result %q", found.Chaincode, found.Args, found.Init, found.Result)
			}
		})
	}
}

// A change of the channel's configuration is in the ledger too, and is nobody's call.
func TestConfigurationIsNoCall(t *testing.T) {
	_, err := findInBlock(genesis(t, "trade", 0), "")
	if !errors.Is(err, ErrNoCall) {
		t.Errorf("%v", err)
	}
}

// Ledgers are written by others: whatever is in a block must not bring the reader down.
func FuzzFindInBlock(f *testing.F) {
	envelope, id := called(f, Invocation{Channel: "trade", Chaincode: "asset", Args: [][]byte{[]byte("put")}}, "done")
	raw, err := proto.Marshal(committed(1, [][]byte{envelope}, peer.TxValidationCode_VALID))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, id)
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, raw []byte, id string) {
		block := &common.Block{}
		if proto.Unmarshal(raw, block) != nil {
			return
		}
		if found, err := findInBlock(block, id); err == nil && found.TxID != id {
			t.Errorf("found %q, wanted %q", found.TxID, id)
		}
	})
}
