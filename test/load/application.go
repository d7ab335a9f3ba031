package load

import (
	"context"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	gatewaypb "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
)

// application is the Fabric Gateway client at one peer, in the name of its organization's admin. It is
// that of Fabric's own project: what it is told, an application is told.
type application struct {
	*member
	creator  []byte
	sign     identity.Sign
	client   *client.Gateway
	network  *client.Network
	contract *client.Contract
}

func newApplication(m *member, chaincode string) (*application, error) {
	certificate, err := identity.CertificateFromPEM([]byte(m.credentials.Certificate))
	if err != nil {
		return nil, err
	}
	key, err := identity.PrivateKeyFromPEM([]byte(m.credentials.PrivateKey))
	if err != nil {
		return nil, err
	}
	sign, err := identity.NewPrivateKeySign(key)
	if err != nil {
		return nil, err
	}
	who, err := identity.NewX509Identity(m.credentials.MSPID, certificate)
	if err != nil {
		return nil, err
	}
	creator, err := m.admin.Serialized()
	if err != nil {
		return nil, err
	}
	gw, err := client.Connect(who, client.WithSign(sign), client.WithHash(hash.SHA256), client.WithClientConnection(m.conn))
	if err != nil {
		return nil, fmt.Errorf("unable to make a Gateway client of %s: %w", m.handle, err)
	}
	network := gw.GetNetwork(m.channel)
	return &application{member: m, creator: creator, sign: sign, client: gw, network: network, contract: network.GetContract(chaincode)}, nil
}

func (a *application) name() string { return a.handle.Name }

func (a *application) endorse(ctx context.Context, key, value string) (transaction, error) {
	proposal, err := a.contract.NewProposal("put", client.WithArguments(key, value))
	if err != nil {
		return transaction{}, err
	}
	endorsed, err := proposal.EndorseWithContext(ctx)
	if err != nil {
		return transaction{}, err
	}
	bytes, err := endorsed.Bytes()
	if err != nil {
		return transaction{}, err
	}
	// It is signed here and now: a gateway of another organization that submits it has another signer.
	signature, err := a.sign(endorsed.Digest())
	return transaction{id: endorsed.TransactionID(), bytes: bytes, signature: signature}, err
}

func (a *application) submit(ctx context.Context, tx transaction) error {
	signed, err := a.client.NewSignedTransaction(tx.bytes, tx.signature)
	if err != nil {
		return err
	}
	_, err = signed.SubmitWithContext(ctx)
	return err
}

func (a *application) status(ctx context.Context, txID string) (outcome, error) {
	request, err := proto.Marshal(&gatewaypb.CommitStatusRequest{ChannelId: a.channel, TransactionId: txID, Identity: a.creator})
	if err != nil {
		return outcome{}, err
	}
	unsigned, err := proto.Marshal(&gatewaypb.SignedCommitStatusRequest{Request: request})
	if err != nil {
		return outcome{}, err
	}
	commit, err := a.client.NewCommit(unsigned)
	if err != nil {
		return outcome{}, err
	}
	told, err := commit.StatusWithContext(ctx)
	if err != nil {
		return outcome{}, err
	}
	return outcome{block: told.BlockNumber, code: told.Code}, nil
}

func (a *application) tip(ctx context.Context) (tip, error) {
	info, err := endorser.ChainInfo(ctx, endorser.Peer{Name: a.handle.Name, Conn: a.conn}, a.admin, a.channel)
	if err != nil {
		return tip{}, err
	}
	return tip{height: info.GetHeight(), hash: string(info.GetCurrentBlockHash())}, nil
}

var errCutShort = errors.New("the peer ended the stream of blocks")

func (a *application) transactions(ctx context.Context, height uint64, visit func(uint64, string, peer.TxValidationCode)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	blocks, err := a.network.FilteredBlockEvents(ctx, client.WithStartBlock(0))
	if err != nil {
		return err
	}
	for next := uint64(0); next < height; next++ {
		block, more := <-blocks
		switch {
		case !more:
			return errors.Join(fmt.Errorf("block %d of %d: %w", next, height, errCutShort), ctx.Err())
		case block.GetNumber() != next:
			return fmt.Errorf("it sent block %d where block %d was due", block.GetNumber(), next)
		}
		for _, tx := range block.GetFilteredTransactions() {
			visit(next, tx.GetTxid(), tx.GetTxValidationCode())
		}
	}
	return nil
}
