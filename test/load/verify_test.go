package load

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// copyOf is a node's copy of a channel.
type copyOf struct {
	node string
	// heights are told one after the other; the last one goes on. 0 does not answer.
	heights []uint64
	fork    string
	// content is what each block holds: "ID", or "ID CODE".
	content [][]string
	broken  error
}

func (c *copyOf) name() string { return c.node }

var errSilent = errors.New("no answer")

func (c *copyOf) tip(context.Context) (tip, error) {
	height := c.heights[0]
	if len(c.heights) > 1 {
		c.heights = c.heights[1:]
	}
	if height == 0 {
		return tip{}, errSilent
	}
	return tip{height: height, hash: fmt.Sprint(height, c.fork)}, nil
}

func (c *copyOf) transactions(_ context.Context, height uint64, visit func(uint64, string, peer.TxValidationCode)) error {
	if c.broken != nil {
		return c.broken
	}
	for block := range height {
		for _, tx := range c.content[block] {
			id, word, _ := strings.Cut(tx, " ")
			visit(block, id, peer.TxValidationCode(peer.TxValidationCode_value[word]))
		}
	}
	return nil
}

func content(blocks ...string) [][]string {
	var out [][]string
	for _, b := range blocks {
		var txs []string
		for tx := range strings.SplitSeq(b, ",") {
			txs = append(txs, strings.TrimSpace(tx))
		}
		out = append(out, txs)
	}
	return out
}

func TestVerify(t *testing.T) {
	whole := content("", "a, b", "c")
	acks := []acknowledged{{txID: "a", block: 1}, {txID: "b", block: 1}, {txID: "c", block: 2}}
	for _, c := range []struct {
		name string
		peer *copyOf
		// second is another orderer, if there is one.
		second *copyOf
		acks   []acknowledged
		says   string // empty: it is verified
		wrong  map[string]string
	}{
		{name: "all is there", peer: &copyOf{heights: []uint64{3}, content: whole}, acks: acks},
		{name: "a peer that comes later", peer: &copyOf{heights: []uint64{0, 2, 3}, content: whole}, acks: acks},
		{name: "others' transactions do not matter", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b, x MVCC_READ_CONFLICT", "c, y")}, acks: acks},
		{name: "the second time does not matter", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b", "c, a DUPLICATE_TXID")}, acks: acks},
		{name: "one is missing", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b", "")}, acks: acks, wrong: map[string]string{"c": "is in no block"}},
		{name: "one is there as the second time only", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b", "c DUPLICATE_TXID")}, acks: acks, wrong: map[string]string{"c": "is in no block"}},
		{name: "one is invalid", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b MVCC_READ_CONFLICT", "c")}, acks: acks, wrong: map[string]string{"b": "is MVCC_READ_CONFLICT"}},
		{name: "one is there twice", peer: &copyOf{heights: []uint64{3}, content: content("", "a, b", "c, a")}, acks: acks, wrong: map[string]string{"a": "is valid in blocks [1 2]"}},
		{name: "one is elsewhere", peer: &copyOf{heights: []uint64{3}, content: content("", "b", "a, c")}, acks: acks, wrong: map[string]string{"a": "is in block 2 and not in block 1, as was told"}},
		{name: "the peer stays behind", peer: &copyOf{heights: []uint64{2}, content: whole}, acks: acks, says: "did not come to one height: orderer0: 3 blocks, peer0: 2 blocks"},
		{name: "the peer does not answer", peer: &copyOf{heights: []uint64{0}, content: whole}, acks: acks, says: "peer0: no answer"},
		{name: "the peer has another chain", peer: &copyOf{heights: []uint64{3}, fork: "other", content: whole}, acks: acks, says: "orderer0 and peer0 have different blocks 2"},
		{name: "two orderers that agree", peer: &copyOf{heights: []uint64{3}, content: whole}, second: &copyOf{node: "orderer1", heights: []uint64{2, 3}}, acks: acks},
		{name: "an orderer has another chain", peer: &copyOf{heights: []uint64{3}, content: whole}, second: &copyOf{node: "orderer1", heights: []uint64{3}, fork: "other"}, acks: acks, says: "orderer0 and orderer1 have different blocks 2"},
		{name: "an orderer stays behind", peer: &copyOf{heights: []uint64{3}, content: whole}, second: &copyOf{node: "orderer1", heights: []uint64{2}}, acks: acks, says: "did not come to one height: orderer0: 3 blocks, orderer1: 2 blocks"},
		{name: "the peer does not give its blocks", peer: &copyOf{heights: []uint64{3}, broken: errSilent}, acks: acks, says: "unable to read the blocks of peer0: no answer"},
		{name: "nothing was acknowledged", peer: &copyOf{heights: []uint64{3}, content: whole}, says: "no transaction was acknowledged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.peer.node = "peer0"
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				orderers := []ledger{&copyOf{node: "orderer0", heights: []uint64{3}}}
				if c.second != nil {
					orderers = append(orderers, c.second)
				}
				err := verify(ctx, []peerLedger{c.peer}, orderers, c.acks)
				lost := new(LostError)
				switch {
				case c.wrong != nil:
					if !errors.As(err, &lost) || fmt.Sprint(lost.Wrong) != fmt.Sprint(c.wrong) || lost.Peer != "peer0" || lost.Of != 3 {
						t.Errorf("the error is %v, want one of %v", err, c.wrong)
					}
				case c.says == "" && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
					t.Errorf("the error is %v, want %q", err, c.says)
				}
			})
		})
	}
}
