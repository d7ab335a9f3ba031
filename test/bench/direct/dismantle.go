package direct

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Dismantle takes the network down as resources must be destroyed that know nothing of each other's
// fate: each is gone, and what it was made on is as if it had never been, before the next one goes. The
// channel leaves its nodes, peers start again without it, and only then the nodes go.
// That is what terraform destroy asks of any provider; Down is the shortcut that nobody but a
// program for this one purpose can take.
func (n *Network) Dismantle(ctx context.Context) (Result, error) {
	n.clock = newClock()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"chaincode servers", func(ctx context.Context) error { return n.removeServers(ctx, n.definition.Version) }},
		{"channel leaves its nodes", n.removeChannel},
		{"nodes", n.removeMembers},
		{"organizations", n.removeOrganizations},
		{"CAs", n.removeAuthorities},
		{"network", func(ctx context.Context) error { return removeNetwork(ctx, n.engine.api, n.options.Name) }},
	} {
		if err := n.clock.phase(step.name, func() error { return step.do(ctx) }); err != nil {
			return Result{}, fmt.Errorf("unable to take down: %s: %w", step.name, err)
		}
	}
	return Result{Took: n.clock.now(), Phases: n.clock.phases()}, nil
}

func (n *Network) removeServers(ctx context.Context, version string) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range n.peers() {
		group.Go(func() error { return n.engine.remove(gctx, server(version, p.name)) })
	}
	return group.Wait()
}

func (n *Network) removeChannel(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, o := range n.orderers() {
		group.Go(func() error { return n.leaveOrderer(gctx, o) })
	}
	for _, p := range n.peers() {
		group.Go(func() error { return n.unjoin(gctx, p) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	record := "channel-" + channelName
	return n.engine.remove(ctx, record, record)
}

// leaveOrderer removes the channel, with the write-ahead log and the snapshots that Fabric leaves.
func (n *Network) leaveOrderer(ctx context.Context, o *member) error {
	admin, err := o.adminEndpoint()
	if err != nil {
		return err
	}
	if err := admin.Remove(ctx, channelName); err != nil {
		return err
	}
	if err := admin.AwaitRemoved(ctx, channelName); err != nil {
		return err
	}
	return n.engine.runOnce(ctx, spec{
		name: o.name + "-once", image: n.options.Images.Orderer, volume: o.name, target: volumeRoot, entrypoint: []string{"rm"},
		command: []string{"-rf", dataFolder + "/etcdraft/wal/" + channelName, dataFolder + "/etcdraft/snapshot/" + channelName},
	}, startPeer)
}

// unjoin takes a peer out of the channel, which it must be stopped for, and starts it again.
func (n *Network) unjoin(ctx context.Context, p *member) error {
	if err := n.engine.stop(ctx, p.name); err != nil {
		return err
	}
	err := n.engine.runOnce(ctx, spec{
		name: p.name + "-once", image: n.options.Images.Peer, volume: p.name, target: volumeRoot,
		command: []string{"peer", "node", "unjoin", "-c", channelName}, env: map[string]string{"FABRIC_CFG_PATH": nodeRoot + "/config"},
	}, startOrderer)
	if err != nil {
		return err
	}
	return n.engine.start(ctx, p.name, startAuthority)
}

func (n *Network) removeMembers(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, org := range n.organizations {
		for _, m := range org.members {
			group.Go(func() error { return n.engine.remove(gctx, m.name, m.name) })
		}
	}
	return group.Wait()
}

func (n *Network) removeOrganizations(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, org := range n.organizations {
		group.Go(func() error { return n.engine.remove(gctx, org.mspID+"-keys", org.mspID+"-keys") })
	}
	return group.Wait()
}

func (n *Network) removeAuthorities(ctx context.Context) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, org := range n.organizations {
		name := org.authorityName()
		group.Go(func() error { return n.engine.remove(gctx, name, name) })
		group.Go(func() error { return n.engine.remove(gctx, name+"-keys", name+"-keys") })
	}
	return group.Wait()
}
