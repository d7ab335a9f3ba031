package load

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// ledger is a node with a copy of the channel.
type ledger interface {
	name() string
	// tip is the number of blocks, and the hash of the last one, which holds that of the one before.
	tip(ctx context.Context) (tip, error)
}

// peerLedger is a peer's copy, with what the peer thinks of every transaction.
type peerLedger interface {
	ledger
	// transactions visits those of the blocks below a height, in their order.
	transactions(ctx context.Context, height uint64, visit func(block uint64, txID string, code peer.TxValidationCode)) error
}

type tip struct {
	height uint64
	hash   string
}

// LostError tells that a peer does not have what was acknowledged.
type LostError struct {
	Peer string
	// Wrong says of each transaction what is wrong with it, by its ID.
	Wrong map[string]string
	// Of is how many were acknowledged.
	Of int
}

func (e *LostError) Error() string {
	var examples []string
	for id, what := range e.Wrong {
		if len(examples) == shown {
			examples = append(examples, "…")
			break
		}
		examples = append(examples, id+" "+what)
	}
	return fmt.Sprintf("%s does not have %d of %d acknowledged transactions as it should: %s", e.Peer, len(e.Wrong), e.Of, strings.Join(examples, "; "))
}

// UnevenError tells that nodes did not come to the same height.
type UnevenError struct {
	// Nodes say where each is, "peer0.org1: 17 blocks", or why it does not answer.
	Nodes []string
}

func (e *UnevenError) Error() string {
	return "the nodes did not come to one height: " + strings.Join(e.Nodes, ", ")
}

// ForkError tells that two nodes have different blocks of one number.
type ForkError struct {
	One, Other string
	// Height is the number of blocks of both.
	Height uint64
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("%s and %s have different blocks %d", e.One, e.Other, e.Height-1)
}

// verify holds ledgers to what was acknowledged.
func verify(ctx context.Context, peers []peerLedger, orderers []ledger, acks []acknowledged) error {
	switch {
	case len(peers) == 0:
		return errors.New("there is no peer")
	case len(acks) == 0:
		return errors.New("no transaction was acknowledged")
	}
	all := orderers
	for _, p := range peers {
		all = append(all, p)
	}
	height, err := even(ctx, all)
	if err != nil {
		return err
	}
	failures := make([]error, len(peers))
	var walks sync.WaitGroup
	for i, p := range peers {
		walks.Go(func() { failures[i] = holds(ctx, p, height, acks) })
	}
	walks.Wait()
	return errors.Join(failures...)
}

// evenPolicy waits for as long as the context lets it.
var evenPolicy = retry.Policy{
	InitialInterval: 100 * time.Millisecond, MaxInterval: time.Second, MaxElapsed: time.Hour, AttemptTimeout: 15 * time.Second,
	Retryable: func(err error) bool { return !errors.As(err, new(*ForkError)) },
}

// even waits until all nodes have one height, and gives it.
func even(ctx context.Context, nodes []ledger) (uint64, error) {
	return retry.Do(ctx, evenPolicy, func(ctx context.Context) (uint64, error) {
		tips, failures := make([]tip, len(nodes)), make([]error, len(nodes))
		var questions sync.WaitGroup
		for i, n := range nodes {
			questions.Go(func() { tips[i], failures[i] = n.tip(ctx) })
		}
		questions.Wait()
		uneven := &UnevenError{}
		same := true
		for i, n := range nodes {
			same = same && failures[i] == nil && tips[i].height == tips[0].height
			if failures[i] != nil {
				uneven.Nodes = append(uneven.Nodes, fmt.Sprintf("%s: %v", n.name(), failures[i]))
				continue
			}
			uneven.Nodes = append(uneven.Nodes, fmt.Sprintf("%s: %d blocks", n.name(), tips[i].height))
		}
		if !same {
			return 0, uneven
		}
		for i, n := range nodes {
			if tips[i].hash != tips[0].hash {
				return 0, &ForkError{One: nodes[0].name(), Other: n.name(), Height: tips[i].height}
			}
		}
		return tips[0].height, nil
	})
}

// holds looks for every acknowledged transaction on a peer.
func holds(ctx context.Context, p peerLedger, height uint64, acks []acknowledged) error {
	valid := make(map[string][]uint64, len(acks))
	codes := make(map[string]peer.TxValidationCode, len(acks))
	err := p.transactions(ctx, height, func(block uint64, txID string, code peer.TxValidationCode) {
		switch code {
		case peer.TxValidationCode_VALID:
			valid[txID] = append(valid[txID], block)
		case peer.TxValidationCode_DUPLICATE_TXID: // it was sent again; the first time counts
		default:
			codes[txID] = code
		}
	})
	if err != nil {
		return fmt.Errorf("unable to read the blocks of %s: %w", p.name(), err)
	}
	wrong := map[string]string{}
	for _, a := range acks {
		code, refused := codes[a.txID]
		switch blocks := valid[a.txID]; {
		case refused:
			wrong[a.txID] = "is " + code.String()
		case len(blocks) == 0:
			wrong[a.txID] = "is in no block"
		case len(blocks) > 1:
			wrong[a.txID] = fmt.Sprintf("is valid in blocks %d", blocks)
		case blocks[0] != a.block:
			wrong[a.txID] = fmt.Sprintf("is in block %d and not in block %d, as was told", blocks[0], a.block)
		}
	}
	if len(wrong) > 0 {
		return &LostError{Peer: p.name(), Wrong: wrong, Of: len(acks)}
	}
	return nil
}
