package network

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
)

// transactionsFolder of a channel's record names the transactions that were submitted, by their calls:
// a state that is lost takes nothing along that the ledger would not tell, but which of its transactions
// were whose.
const transactionsFolder = "transactions/"

// record is the file that names the transactions of a call, one in each line.
func (c Call) record() string {
	c.Transient = nil         // it is secret; Occasion has its version
	raw, _ := json.Marshal(c) // texts and lists of them always marshal
	return transactionsFolder + hashOf(raw)
}

// noteSubmitted remembers a transaction. It is on the ledger, so nothing that fails here makes it undone: it
// would only be submitted again on a network that is restored.
func (f *Fabric) noteSubmitted(ctx context.Context, channel Handle, call Call, txID string) {
	file := call.record()
	defer f.locks.lock(channel.record() + " " + file)()
	files, err := f.readStore(ctx, channel.record(), channel.Owner)
	if err != nil {
		return
	}
	_ = f.writeStore(ctx, channel.record(), channel.Owner, map[string][]byte{file: []byte(string(files[file]) + txID + "\n")})
}

// submitted gives the first transaction of a call that is on the ledger and that this process has not given
// yet, so that resources which are the same find each its own; none has no ID. A record may be newer than a ledger that was restored.
func (f *Fabric) submitted(ctx context.Context, channel Handle, call Call) (TransactionResult, error) {
	file := call.record()
	defer f.locks.lock(channel.record() + " " + file)()
	files, err := f.readStore(ctx, channel.record(), channel.Owner)
	if err != nil {
		return TransactionResult{}, err
	}
	for _, id := range strings.Fields(string(files[file])) {
		if _, given := f.answered.Load(id); given {
			continue
		}
		found, err := f.recordedTransaction(ctx, channel, id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return TransactionResult{}, err
		}
		f.answered.Store(id, true)
		return TransactionResult{TxID: id, Block: found.Block, Payload: found.Result}, nil
	}
	return TransactionResult{}, nil
}
