package network

import (
	"context"
	"errors"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// lockChange has changes of one peer, or of one ordering cluster, wait for each other: their own
// resource asks for them, and so do a revocation list and a TLS root of their organization.
func (f *Fabric) lockChange(h Handle) (unlock func()) {
	return f.locks.lock("change of " + h.String() + " on " + h.Network)
}

// memberNode is a container of a peer or an ordering node of an organization.
type memberNode struct {
	handle  Handle
	cluster string
}

// membersOf finds the nodes of an organization, in the order of their names. One without a container
// gets what it lacks when it is made again.
func (f *Fabric) membersOf(ctx context.Context, org Handle) ([]memberNode, error) {
	var out []memberNode
	for _, kind := range []Kind{KindPeer, KindOrderer} {
		nodes, err := f.engine.Nodes(ctx, map[string]string{
			engine.LabelOwner: org.Owner, engine.LabelNetwork: org.Network, engine.LabelKind: string(kind), labelMSPID: org.MSPID,
		})
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			if n.Labels[labelOnce] == "" {
				out = append(out, memberNode{handleOf(n.Labels), n.Labels[labelCluster]})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b memberNode) int { return compareNames(a.handle, b.handle) })
	return out, nil
}

// refreshMembers brings what the organization is made of to each of its nodes, which restart for it
// unless they have it already.
func (f *Fabric) refreshMembers(ctx context.Context, org Handle) error {
	nodes, err := f.membersOf(ctx, org)
	if err != nil {
		return err
	}
	var clusters []string
	for _, n := range nodes {
		switch {
		case n.handle.Kind != KindOrderer:
			if err := f.refreshPeer(ctx, n.handle); err != nil {
				return err
			}
		case !slices.Contains(clusters, n.cluster):
			clusters = append(clusters, n.cluster)
		}
	}
	for _, cluster := range clusters {
		if err := f.refreshCluster(ctx, org.With(KindOrdererCluster, cluster, org.MSPID)); err != nil {
			return err
		}
	}
	return nil
}

// refreshPeer writes what the peer's volume lacks and restarts it. It is made as it was asked for last; one
// that does not run stays stopped.
func (f *Fabric) refreshPeer(ctx context.Context, h Handle) error {
	defer f.lockChange(h)()
	spec, err := f.FindPeer(ctx, h.Network, h.Name)
	if errors.Is(err, ErrNotFound) { // it was removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	running, err := f.running(ctx, h)
	if err != nil {
		return err
	}
	spec.Existing, spec.Stopped = true, !running
	_, err = f.ensurePeer(ctx, spec)
	return err
}

// refreshCluster does so with the nodes of an ordering cluster, one after the other. A cluster none of
// whose nodes runs stays stopped.
func (f *Fabric) refreshCluster(ctx context.Context, cluster Handle) error {
	defer f.lockChange(cluster)()
	spec, err := f.FindOrdererCluster(ctx, cluster.Network, cluster.Name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	runs := false
	for _, node := range spec.Nodes {
		running, err := f.running(ctx, node.Handle)
		if err != nil {
			return err
		}
		runs = runs || running
	}
	for key, node := range spec.Nodes {
		node.Existing, node.Stopped = true, !runs
		spec.Nodes[key] = node
	}
	_, err = f.ensureOrdererCluster(ctx, spec)
	return err
}
