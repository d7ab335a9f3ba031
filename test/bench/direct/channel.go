package direct

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/orderer"
)

// makeGenesis makes the genesis block as soon as the consenters' certificates are there, long before
// the nodes are, and keeps it on a volume of its own before anyone joins.
func (n *Network) makeGenesis(ctx context.Context) error {
	channel := configtx.Channel{Name: channelName, Batch: n.options.Batch}
	ordering := configtx.OrdererOrganization{Definition: n.organizations[0].definition}
	for _, o := range n.orderers() {
		if err := wait(ctx, &o.onCertificate); err != nil {
			return err
		}
		cert := string(o.certificate)
		channel.Consenters = append(channel.Consenters, configtx.Consenter{Host: o.host(), Port: ordererPort, ClientTLSCertPEM: cert, ServerTLSCertPEM: cert})
		ordering.Endpoints = append(ordering.Endpoints, net.JoinHostPort(o.host(), strconv.Itoa(ordererPort)))
	}
	channel.OrdererOrganizations = []configtx.OrdererOrganization{ordering}
	for _, org := range n.organizations[1:] {
		channel.ApplicationOrganizations = append(channel.ApplicationOrganizations, configtx.ApplicationOrganization{
			Definition: org.definition, AnchorPeers: []configtx.Address{{Host: org.members[0].host(), Port: peerPort}},
		})
	}
	return n.clock.phase("genesis block", func() error {
		block, err := configtx.Genesis(channel)
		if err != nil {
			return err
		}
		if n.genesis, err = (proto.MarshalOptions{Deterministic: true}).Marshal(block); err != nil {
			return err
		}
		record := "channel-" + channelName
		if err := n.engine.createKeeper(ctx, record, n.options.Images.Orderer); err != nil {
			return err
		}
		if err := n.engine.putStore(ctx, record, map[string][]byte{"genesis.block": n.genesis}); err != nil {
			return err
		}
		n.onGenesis.set()
		return nil
	})
}

// joinOrderer joins an orderer and waits until it knows the leader. The first one that does is where
// transactions go.
func (n *Network) joinOrderer(ctx context.Context, o *member) error {
	if err := wait(ctx, &n.onGenesis, &o.onReady, &o.organization.onAdmin); err != nil {
		return err
	}
	err := n.clock.phase("orderers join", func() error {
		admin, err := o.adminEndpoint()
		if err != nil {
			return err
		}
		if _, err = admin.Join(ctx, n.genesis); err != nil {
			return fmt.Errorf("unable to join %s: %w", o.name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.clock.phase("leader", func() error {
		err := poll(ctx, o.name+" knows no leader", func(ctx context.Context) error {
			has, err := orderer.HasLeader(ctx, o.conn, o.organization.admin, channelName)
			if err == nil && !has {
				err = errors.New("it said so")
			}
			return err
		})
		if err != nil {
			return err
		}
		n.foundLeader(o)
		return nil
	})
}

func (n *Network) foundLeader(o *member) {
	n.leaderOnce.Do(func() {
		n.leader = o
		n.onLeader.set()
	})
}

// joinPeer joins a peer, which needs no orderer.
func (n *Network) joinPeer(ctx context.Context, p *member) error {
	if err := wait(ctx, &n.onGenesis, &p.onReady); err != nil {
		return err
	}
	return n.clock.phase("peers join", func() error {
		if err := endorser.JoinChannel(ctx, p.endorser(), p.organization.admin, n.genesis); err != nil {
			return fmt.Errorf("unable to join %s: %w", p.name, err)
		}
		p.onJoined.set()
		return nil
	})
}
