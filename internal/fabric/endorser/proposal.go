// Package endorser speaks the Endorser service of a peer: it has proposals executed on peers that
// the caller names, makes transactions of their endorsements, and calls the system chaincodes cscc
// and qscc.
//
// Source: protos peer/peer.proto and peer/proposal.proto, and core/endorser, core/scc/cscc and
// core/scc/qscc in Fabric.
package endorser

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Invocation is what a proposal asks a peer to execute.
type Invocation struct {
	// Channel is the channel name; empty for calls that concern the peer itself.
	Channel string
	// Chaincode is the name of the chaincode, or of a system chaincode.
	Chaincode string
	// Args are the function name and its arguments.
	Args [][]byte
	// Transient is data that the chaincode sees and the ledger never does.
	Transient map[string][]byte
	// Init marks the call that initialises a chaincode whose definition requires it.
	Init bool
	// Type is the header type; zero means ENDORSER_TRANSACTION.
	Type common.HeaderType
	// TLSCertHash is the SHA-256 of the client's TLS certificate (DER), where peers demand it.
	TLSCertHash []byte
}

// Proposal is a signed proposal, and what its transaction will need of it.
type Proposal struct {
	// Channel and Chaincode are those of the invocation.
	Channel, Chaincode string
	// TxID is the transaction ID.
	TxID string
	// Signed is the message for peers.
	Signed *peer.SignedProposal

	identity *msp.Identity
	header   *common.Header
	// payload is the proposal payload without the transient data, as it enters the transaction.
	payload []byte
}

// NewProposal builds and signs a proposal. Each has a fresh nonce and so a transaction ID of its own.
func NewProposal(identity *msp.Identity, invocation Invocation) (*Proposal, error) {
	proposal, err := newProposal(identity, invocation)
	if err != nil {
		return nil, fmt.Errorf("unable to propose a call of chaincode %s: %w", invocation.Chaincode, err)
	}
	return proposal, nil
}

func newProposal(identity *msp.Identity, invocation Invocation) (*Proposal, error) {
	creator, err := identity.Serialized()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	// The peer recomputes the transaction ID, so it has to be exactly this.
	id := sha256.New()
	id.Write(nonce)
	id.Write(creator)
	proposal := &Proposal{
		Channel: invocation.Channel, Chaincode: invocation.Chaincode,
		TxID: hex.EncodeToString(id.Sum(nil)), identity: identity,
	}
	headerType := invocation.Type
	if headerType == 0 {
		headerType = common.HeaderType_ENDORSER_TRANSACTION
	}
	chaincode := &peer.ChaincodeID{Name: invocation.Chaincode}
	extension, err := proto.Marshal(&peer.ChaincodeHeaderExtension{ChaincodeId: chaincode})
	if err != nil {
		return nil, err
	}
	channelHeader, err := proto.Marshal(&common.ChannelHeader{
		Type: int32(headerType), ChannelId: invocation.Channel, TxId: proposal.TxID,
		Timestamp: timestamppb.Now(), Extension: extension, TlsCertHash: invocation.TLSCertHash,
	})
	if err != nil {
		return nil, err
	}
	signatureHeader, err := proto.Marshal(&common.SignatureHeader{Creator: creator, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	proposal.header = &common.Header{ChannelHeader: channelHeader, SignatureHeader: signatureHeader}
	header, err := proto.Marshal(proposal.header)
	if err != nil {
		return nil, err
	}
	input, err := proto.Marshal(&peer.ChaincodeInvocationSpec{ChaincodeSpec: &peer.ChaincodeSpec{
		Type: peer.ChaincodeSpec_GOLANG, ChaincodeId: chaincode,
		Input: &peer.ChaincodeInput{Args: invocation.Args, IsInit: invocation.Init},
	}})
	if err != nil {
		return nil, err
	}
	if proposal.payload, err = proto.Marshal(&peer.ChaincodeProposalPayload{Input: input}); err != nil {
		return nil, err
	}
	full := proposal.payload
	if len(invocation.Transient) > 0 {
		full, err = proto.Marshal(&peer.ChaincodeProposalPayload{Input: input, TransientMap: invocation.Transient})
		if err != nil {
			return nil, err
		}
	}
	raw, err := proto.Marshal(&peer.Proposal{Header: header, Payload: full})
	if err != nil {
		return nil, err
	}
	signature, err := identity.Sign(raw)
	if err != nil {
		return nil, err
	}
	proposal.Signed = &peer.SignedProposal{ProposalBytes: raw, Signature: signature}
	return proposal, nil
}
