package endorser

import (
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// Block is what a block says of itself.
type Block struct {
	// Number counts from 0, Hash is that of the header: the next block's PreviousHash.
	Number                       uint64
	Hash, PreviousHash, DataHash []byte
	Transactions                 []Transacted
}

// Transacted is a transaction in a block. Of one that peers could not read, Code alone is known.
type Transacted struct {
	TxID, Channel string
	Type          common.HeaderType
	// Code is what the peer found of it.
	Code peer.TxValidationCode
	// Time is when its creator says that it was made.
	Time time.Time
	// MSPID and CertificatePEM are the creator's.
	MSPID          string
	CertificatePEM []byte
	// Call is the call of a chaincode; nil for a change of the configuration.
	Call *Called
}

// Called is a call of a chaincode as a block holds it.
type Called struct {
	Chaincode string
	// Args are the function name and its arguments.
	Args [][]byte
	Init bool
	// Status and Result are the chaincode's answer, Event the name of the event that it set.
	Status int32
	Result []byte
	Event  string
	// Endorsers are the MSP IDs of those that endorsed, in the order of their signatures.
	Endorsers []string
}

// ReadBlock reads a block as a peer hands it out. A block takes what its creators sent, so that what cannot
// be read of a transaction stays empty.
func ReadBlock(block *common.Block) Block {
	header := block.GetHeader()
	out := Block{Number: header.GetNumber(), Hash: configtx.BlockHash(block), PreviousHash: header.GetPreviousHash(), DataHash: header.GetDataHash()}
	codes := validationCodes(block)
	for i, raw := range block.GetData().GetData() {
		tx := Transacted{Code: peer.TxValidationCode_NOT_VALIDATED}
		if i < len(codes) {
			tx.Code = peer.TxValidationCode(codes[i])
		}
		if payload, header, err := open(raw); err == nil {
			tx.read(payload, header)
		}
		out.Transactions = append(out.Transactions, tx)
	}
	return out
}

// Find gives the transaction of an ID, nil when the block has none. Of one that was sent twice the valid one
// is meant.
func (b Block) Find(txID string) *Transacted {
	var found *Transacted
	for i, tx := range b.Transactions {
		if tx.TxID == txID && (found == nil || found.Code != peer.TxValidationCode_VALID) {
			found = &b.Transactions[i]
		}
	}
	return found
}

func (t *Transacted) read(payload *common.Payload, header *common.ChannelHeader) {
	t.TxID, t.Channel, t.Type = header.GetTxId(), header.GetChannelId(), common.HeaderType(header.GetType())
	if header.GetTimestamp() != nil {
		t.Time = header.GetTimestamp().AsTime()
	}
	signature, creator := &common.SignatureHeader{}, &mspproto.SerializedIdentity{}
	if proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), signature) == nil && proto.Unmarshal(signature.GetCreator(), creator) == nil {
		t.MSPID, t.CertificatePEM = creator.GetMspid(), creator.GetIdBytes()
	}
	if t.Type != common.HeaderType_ENDORSER_TRANSACTION {
		return
	}
	recorded, err := readCall(payload)
	if err != nil {
		return
	}
	t.Call = &Called{Chaincode: recorded.Chaincode, Args: recorded.Args, Init: recorded.Init, Result: recorded.Result}
	action, result, err := readAction(payload)
	if err != nil {
		return
	}
	t.Call.Status = result.GetResponse().GetStatus()
	event := &peer.ChaincodeEvent{}
	if proto.Unmarshal(result.GetEvents(), event) == nil {
		t.Call.Event = event.GetEventName()
	}
	for _, e := range action.GetAction().GetEndorsements() {
		endorser := &mspproto.SerializedIdentity{}
		if proto.Unmarshal(e.GetEndorser(), endorser) == nil {
			t.Call.Endorsers = append(t.Call.Endorsers, endorser.GetMspid())
		}
	}
}
