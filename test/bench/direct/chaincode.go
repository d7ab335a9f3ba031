package direct

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// server names the chaincode server of a version beside a peer.
func server(version, peer string) string {
	return "asset-" + strings.ReplaceAll(version, ".", "-") + "." + channelName + "." + peer
}

// planChaincode makes the package and the definition of a version.
func (n *Network) planChaincode(version string, sequence int64) (err error) {
	label := chaincodeName + "_" + version
	n.packed, err = lifecycle.Package(lifecycle.PackageRequest{
		Label:      label,
		Connection: lifecycle.Connection{Address: fmt.Sprintf("%s:%d", server(version, "{{.peername}}"), chaincodePort)},
	})
	if err != nil {
		return err
	}
	n.packageID = lifecycle.PackageID(label, n.packed)
	endorsement, err := policy.ParseApplicationPolicy("AND('Org1MSP.peer', 'Org2MSP.peer')")
	if err != nil {
		return err
	}
	n.definition = lifecycle.Definition{Name: chaincodeName, Version: version, Sequence: sequence}
	n.definition.ValidationParameter, err = endorsement.Marshal()
	return err
}

// serve runs the chaincode beside a peer. Nobody needs it before the commit, so it starts after
// everything else, and at the latest while the approvals wait for their block.
func (n *Network) serve(ctx context.Context, p *member) error {
	if err := wait(ctx, &n.onApproved); err != nil {
		return err
	}
	return n.clock.phase("chaincode containers", func() error {
		name := server(n.definition.Version, p.name)
		err := n.engine.create(ctx, spec{
			name: name, host: name + "." + domain, image: n.options.Images.Chaincode, network: true,
			env: map[string]string{
				"CHAINCODE_ID": n.packageID, "CORE_CHAINCODE_ID_NAME": n.packageID,
				"CHAINCODE_SERVER_ADDRESS": fmt.Sprintf("0.0.0.0:%d", chaincodePort),
			},
		})
		if err != nil {
			return err
		}
		if err := n.engine.start(ctx, name, startChaincode); err != nil {
			return err
		}
		p.onServed.set()
		return nil
	})
}

// install puts the package on a peer, which needs no channel.
func (n *Network) install(ctx context.Context, p *member) error {
	if err := wait(ctx, &n.onApproved); err != nil {
		return err
	}
	return n.clock.phase("packages", func() error {
		if _, err := lifecycle.Install(ctx, p.endorser(), p.organization.admin, n.packed); err != nil {
			return fmt.Errorf("unable to install the chaincode on %s: %w", p.name, err)
		}
		p.onInstalled.set()
		return nil
	})
}

// release goes the way that only one block after the other can: approvals, commit, transaction.
func (n *Network) release(ctx context.Context) error {
	for _, p := range n.peers() {
		if err := wait(ctx, &p.onJoined); err != nil {
			return err
		}
	}
	if err := n.define(ctx); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return n.clock.phase("transaction", func() error { return n.submit(gctx) })
	})
	group.Go(func() error {
		return n.clock.phase("peers serve", func() error { return n.awaitServed(gctx) })
	})
	return group.Wait()
}

// define has the definition approved and, after the events, committed, and waits until every peer has package
// and server.
func (n *Network) define(ctx context.Context, before ...*event) error {
	if err := n.clock.phase("approvals", func() error { return n.approve(ctx) }); err != nil {
		return err
	}
	if err := wait(ctx, before...); err != nil {
		return err
	}
	if err := n.clock.phase("commit", func() error { return n.commit(ctx) }); err != nil {
		return err
	}
	// All peers must serve the chaincode; the transaction needs one of each organization.
	for _, p := range n.peers() {
		if err := wait(ctx, &p.onServed, &p.onInstalled); err != nil {
			return err
		}
	}
	return nil
}

// approve has both organizations approve, so that one block takes both approvals, and waits until a
// peer of each has seen both.
func (n *Network) approve(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, org := range n.organizations[1:] {
		group.Go(func() error {
			// An approval is private data: peers that endorse it have it.
			var peers []endorser.Peer
			for _, p := range org.members {
				peers = append(peers, p.endorser())
			}
			tx, err := lifecycle.Approve(gctx, org.admin, channelName, n.definition, n.packageID, peers...)
			if err != nil {
				return err
			}
			if err := n.broadcast(gctx, tx); err != nil {
				return err
			}
			n.onApproved.set()
			return n.awaitCommit(gctx, tx.TxID, n.firstPeers())
		})
	}
	return group.Wait()
}

// firstPeers are one peer of each organization.
func (n *Network) firstPeers() []*member {
	var out []*member
	for _, org := range n.organizations[1:] {
		out = append(out, org.members[0])
	}
	return out
}

func (n *Network) firstEndorsers() []endorser.Peer {
	var out []endorser.Peer
	for _, p := range n.firstPeers() {
		out = append(out, p.endorser())
	}
	return out
}

// broadcast hands a transaction to an orderer that knows the leader.
func (n *Network) broadcast(ctx context.Context, tx *endorser.Transaction) error {
	if err := wait(ctx, &n.onLeader); err != nil {
		return err
	}
	return orderer.Broadcast(ctx, n.leader.conn, tx.Envelope)
}

// awaitCommit waits until these peers have committed a transaction.
func (n *Network) awaitCommit(ctx context.Context, txID string, peers []*member) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range peers {
		group.Go(func() error {
			_, err := gateway.CommitStatus(gctx, p.conn, p.organization.admin, channelName, txID)
			return err
		})
	}
	return group.Wait()
}

func (n *Network) commit(ctx context.Context) error {
	tx, err := lifecycle.Commit(ctx, n.organizations[1].admin, channelName, n.definition, n.firstEndorsers()...)
	if err != nil {
		return err
	}
	if err := n.broadcast(ctx, tx); err != nil {
		return err
	}
	return n.awaitCommit(ctx, tx.TxID, n.peers())
}

func (n *Network) submit(ctx context.Context) error {
	first := n.firstPeers()[0]
	admin := first.organization.admin
	proposal, err := endorser.NewProposal(admin, endorser.Invocation{
		Channel: channelName, Chaincode: chaincodeName, Args: [][]byte{[]byte("put"), []byte("greeting"), []byte("hello from org1")},
	})
	if err != nil {
		return err
	}
	endorsements, err := endorser.Endorse(ctx, proposal, n.firstEndorsers()...)
	if err != nil {
		return err
	}
	tx, err := endorser.NewTransaction(proposal, endorsements)
	if err != nil {
		return err
	}
	if err := n.broadcast(ctx, tx); err != nil {
		return err
	}
	if err := n.awaitCommit(ctx, tx.TxID, n.firstPeers()); err != nil {
		return err
	}
	n.txID = tx.TxID
	n.block, err = gateway.CommitStatus(ctx, first.conn, admin, channelName, tx.TxID)
	return err
}

// awaitServed waits until the chaincode answers through every peer.
func (n *Network) awaitServed(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range n.peers() {
		group.Go(func() error {
			return poll(gctx, p.name+" does not serve the chaincode", func(ctx context.Context) error {
				proposal, err := endorser.NewProposal(p.organization.admin, endorser.Invocation{
					Channel: channelName, Chaincode: chaincodeName, Args: [][]byte{[]byte("version")},
				})
				if err != nil {
					return err
				}
				_, err = endorser.Evaluate(ctx, proposal, p.endorser())
				return err
			})
		})
	}
	return group.Wait()
}
