package network

import (
	"context"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Block and Transaction are what a ledger tells, plain facts.
type (
	Block       = endorser.Block
	Transaction = endorser.Transacted
)

// ReadBlock reads a block of a channel, or of a membership's, from the first peer that has it; without a
// number the newest one of the peer that is furthest. It fails with ErrNotFound when no peer has it.
func (f *Fabric) ReadBlock(ctx context.Context, channel Handle, number *uint64) (Block, error) {
	if number == nil {
		record, err := f.channelRecord(ctx, channel)
		if err != nil {
			return Block{}, err
		}
		answers, failures := f.askAll(ctx, peersOf(record.Organizations), channel.Name)
		if len(answers) == 0 {
			return Block{}, &UnansweredError{Thing: channel, Cause: failures}
		}
		newest := uint64(0)
		for _, a := range answers {
			newest = max(newest, a.height-1)
		}
		number = &newest
	}
	var block *common.Block
	err := f.askLedger(ctx, channel, fmt.Sprintf("block %d", *number), func(p endorser.Peer, admin *msp.Identity) (err error) {
		block, err = endorser.BlockByNumber(ctx, p, admin, channel.Name, *number)
		return err
	})
	if err != nil {
		return Block{}, err
	}
	return endorser.ReadBlock(block), nil
}

// ReadTransaction reads a transaction, valid or not, and the block that holds it. It fails with ErrNotFound
// when no peer has it.
func (f *Fabric) ReadTransaction(ctx context.Context, channel Handle, txID string) (Block, Transaction, error) {
	if !transactionID.MatchString(txID) {
		return Block{}, Transaction{}, fmt.Errorf("%q is no transaction ID, which is 64 hexadecimal digits", txID)
	}
	var holder *common.Block
	err := f.askLedger(ctx, channel, "transaction "+txID, func(p endorser.Peer, admin *msp.Identity) (err error) {
		holder, err = endorser.BlockByTxID(ctx, p, admin, channel.Name, txID)
		return err
	})
	if err != nil {
		return Block{}, Transaction{}, err
	}
	block := endorser.ReadBlock(holder)
	tx := block.Find(txID)
	if tx == nil {
		return block, Transaction{}, fmt.Errorf("block %d does not hold transaction %s, although a peer says so", block.Number, txID)
	}
	return block, *tx, nil
}
