package endorser

import (
	"context"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Recorded is a call of a chaincode as a ledger holds it.
type Recorded struct {
	// Channel and TxID say which transaction it is.
	Channel, TxID string
	// Block is the number of the block that holds it, and Code what the peer found of it.
	Block uint64
	Code  peer.TxValidationCode
	// MSPID and CertificatePEM are the signer's.
	MSPID          string
	CertificatePEM []byte
	// Chaincode is what was called, Args are the function name and its arguments.
	Chaincode string
	Args      [][]byte
	// Init marks the call that initialised the chaincode.
	Init bool
	// Result is what the chaincode returned.
	Result []byte
}

// ErrNoCall says that a transaction calls no chaincode: it changes the channel's configuration.
var ErrNoCall = errors.New("the transaction is no call of a chaincode")

// TransactionByID reads a transaction from the ledger of the peer (qscc GetBlockByTxID). One that the
// peer does not know is a *RefusedError, which is ErrFromSnapshot too when a snapshot may have it; a
// peer that has not joined is ErrChannelNotFound.
func TransactionByID(ctx context.Context, target Peer, identity *msp.Identity, channel, txID string) (*Recorded, error) {
	block, err := BlockByTxID(ctx, target, identity, channel, txID)
	if err != nil {
		return nil, fromSnapshot(ctx, target, identity, channel, err)
	}
	recorded, err := findInBlock(block, txID)
	if err != nil {
		return nil, fmt.Errorf("unable to read transaction %s of channel %s on %s: %w", txID, channel, target.Name, err)
	}
	return recorded, nil
}

// BlockByTxID fetches the block that holds a transaction. One that the peer does not know is a
// *RefusedError, a peer that has not joined ErrChannelNotFound.
func BlockByTxID(ctx context.Context, target Peer, identity *msp.Identity, channel, txID string) (*common.Block, error) {
	block, err := readBlock(callOnChannel(ctx, target, identity, channel, querySystemChaincode, "GetBlockByTxID", txID))
	if err != nil {
		return nil, fmt.Errorf("unable to look for transaction %s of channel %s on %s: %w", txID, channel, target.Name, err)
	}
	return block, nil
}

// findInBlock finds the transaction. One that was sent twice may be in a block twice: the valid one
// is meant.
func findInBlock(block *common.Block, txID string) (*Recorded, error) {
	var found *Recorded
	codes := validationCodes(block)
	for i, raw := range block.GetData().GetData() {
		payload, header, err := open(raw)
		if err != nil {
			return nil, err
		}
		if header.GetTxId() != txID || found != nil && found.Code == peer.TxValidationCode_VALID {
			continue
		}
		if header.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION) {
			return nil, ErrNoCall
		}
		if found, err = readCall(payload); err != nil {
			return nil, err
		}
		found.Channel, found.TxID, found.Block = header.GetChannelId(), txID, block.GetHeader().GetNumber()
		found.Code = peer.TxValidationCode_NOT_VALIDATED
		if i < len(codes) {
			found.Code = peer.TxValidationCode(codes[i])
		}
	}
	if found == nil {
		return nil, fmt.Errorf("block %d does not hold it", block.GetHeader().GetNumber())
	}
	return found, nil
}

// validationCodes are those that the peer wrote into the block when it committed it, one byte each.
func validationCodes(block *common.Block) []byte {
	metadata := block.GetMetadata().GetMetadata()
	if len(metadata) <= int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return nil
	}
	return metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
}

func open(raw []byte) (*common.Payload, *common.ChannelHeader, error) {
	envelope, payload, header := &common.Envelope{}, &common.Payload{}, &common.ChannelHeader{}
	err := proto.Unmarshal(raw, envelope)
	if err == nil {
		err = proto.Unmarshal(envelope.GetPayload(), payload)
	}
	if err == nil {
		err = proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header)
	}
	return payload, header, err
}

func readCall(payload *common.Payload) (*Recorded, error) {
	signature, creator := &common.SignatureHeader{}, &mspproto.SerializedIdentity{}
	if err := proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), signature); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(signature.GetCreator(), creator); err != nil {
		return nil, err
	}
	action, result, err := readAction(payload)
	if err != nil {
		return nil, err
	}
	proposal, invocation := &peer.ChaincodeProposalPayload{}, &peer.ChaincodeInvocationSpec{}
	if err := proto.Unmarshal(action.GetChaincodeProposalPayload(), proposal); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(proposal.GetInput(), invocation); err != nil {
		return nil, err
	}
	called := invocation.GetChaincodeSpec()
	return &Recorded{
		MSPID: creator.GetMspid(), CertificatePEM: creator.GetIdBytes(),
		Chaincode: called.GetChaincodeId().GetName(), Args: called.GetInput().GetArgs(), Init: called.GetInput().GetIsInit(),
		Result: result.GetResponse().GetPayload(),
	}, nil
}

// readAction gives the one action of a transaction, and what the chaincode did by it.
func readAction(payload *common.Payload) (*peer.ChaincodeActionPayload, *peer.ChaincodeAction, error) {
	transaction := &peer.Transaction{}
	err := proto.Unmarshal(payload.GetData(), transaction)
	if err == nil && len(transaction.GetActions()) != 1 {
		err = fmt.Errorf("%d actions where one is expected", len(transaction.GetActions()))
	}
	action, response, result := &peer.ChaincodeActionPayload{}, &peer.ProposalResponsePayload{}, &peer.ChaincodeAction{}
	if err == nil {
		err = proto.Unmarshal(transaction.GetActions()[0].GetPayload(), action)
	}
	if err == nil {
		err = proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), response)
	}
	if err == nil {
		err = proto.Unmarshal(response.GetExtension(), result)
	}
	return action, result, err
}
