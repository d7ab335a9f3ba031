package network

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Filter says of what is on the engine what is meant; what is empty excludes nothing.
type Filter struct{ Network, Owner string }

// labels are the labels by which the engine finds what is meant.
func (w Filter) labels(kind Kind) map[string]string {
	labels := map[string]string{engine.LabelKind: string(kind)}
	if w.Network != "" {
		labels[engine.LabelNetwork] = w.Network
	}
	if w.Owner != "" {
		labels[engine.LabelOwner] = w.Owner
	}
	return labels
}

// ListedKinds are the kinds of things that can be listed, what others rest on first.
var ListedKinds = []Kind{
	KindNetwork, KindCA, KindOrganization, KindIdentity, KindCRL, KindOrdererCluster, KindOrderer, KindPeer,
	KindChannel, KindChannelMembership, KindChaincode, KindChaincodeApproval,
}

// List gives everything of a kind that the engine has, whoever made it, in the order of networks and names.
func (f *Fabric) List(ctx context.Context, kind Kind, filter Filter) ([]Handle, error) {
	var found []Handle
	var err error
	switch kind {
	case KindNetwork:
		found, err = f.listNetworks(ctx, filter)
	case KindOrganization, KindChannel:
		found, err = f.listVolumes(ctx, filter.labels(kind))
	case KindIdentity, KindCRL, KindChannelMembership:
		found, err = f.listOfOrganizations(ctx, kind, filter)
	case KindChaincode, KindChaincodeApproval:
		found, err = f.listNodes(ctx, filter.labels(kind), func(n engine.Node) (Handle, bool) {
			h := handleOf(n.Labels)
			if kind == KindChaincode {
				h.MSPID = ""
			}
			return h.With(kind, n.Labels[labelChannel]+"/"+n.Labels[labelChaincode], h.MSPID), true
		})
	case KindOrdererCluster:
		found, err = f.listNodes(ctx, filter.labels(KindOrderer), func(n engine.Node) (Handle, bool) {
			cluster := n.Labels[labelCluster]
			return handleOf(n.Labels).With(KindOrdererCluster, cluster, ""), cluster != ""
		})
	default:
		found, err = f.listNodes(ctx, filter.labels(kind), func(n engine.Node) (Handle, bool) {
			return handleOf(n.Labels), n.Labels[labelCluster] == ""
		})
	}
	slices.SortStableFunc(found, func(a, b Handle) int {
		return cmp.Or(strings.Compare(a.Network, b.Network), strings.Compare(a.MSPID, b.MSPID), strings.Compare(a.Name, b.Name), strings.Compare(a.Owner, b.Owner))
	})
	return slices.Compact(found), err // the nodes of a cluster are one, and so are the servers of a chaincode
}

// ListAll gives everything that can be listed, in the order of ListedKinds.
func (f *Fabric) ListAll(ctx context.Context, filter Filter) ([]Handle, error) {
	var all []Handle
	for _, kind := range ListedKinds {
		found, err := f.List(ctx, kind, filter)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// listNodes gives what the nodes say that they are of; false leaves one out.
func (f *Fabric) listNodes(ctx context.Context, labels map[string]string, of func(engine.Node) (Handle, bool)) ([]Handle, error) {
	nodes, err := f.engine.Nodes(ctx, labels)
	var found []Handle
	for _, n := range nodes {
		if !isNode(n) && !isRecord(n) {
			continue
		}
		if h, ok := of(n); ok {
			found = append(found, h)
		}
	}
	return found, err
}

func (f *Fabric) listVolumes(ctx context.Context, labels map[string]string) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, labels)
	var found []Handle
	for _, v := range volumes {
		found = append(found, handleOf(v.Labels))
	}
	return found, err
}

// listNetworks gives the networks of ours, and a network of somebody else once for each owner whose
// volumes are on it.
func (f *Fabric) listNetworks(ctx context.Context, filter Filter) ([]Handle, error) {
	networks, err := f.engine.Networks(ctx, filter.labels(KindNetwork))
	if err != nil {
		return nil, err
	}
	var found []Handle
	for _, n := range networks {
		found = append(found, handleOf(n.Labels))
	}
	labels := filter.labels("")
	delete(labels, engine.LabelKind)
	volumes, err := f.engine.Volumes(ctx, labels)
	for _, v := range volumes {
		if h := handleOf(v.Labels); h.Owner != "" && h.Network != "" {
			found = append(found, h.With(KindNetwork, h.Network, ""))
		}
	}
	return found, err
}

// listOfOrganizations gives what the key volumes of organizations tell. One that cannot be read says
// nothing: it is its organization's business.
func (f *Fabric) listOfOrganizations(ctx context.Context, kind Kind, filter Filter) ([]Handle, error) {
	organizations, err := f.listVolumes(ctx, filter.labels(KindOrganization))
	if err != nil {
		return nil, err
	}
	var found []Handle
	for _, org := range organizations {
		keys, err := f.organizationKeys(ctx, org)
		switch {
		case errors.Is(err, engine.ErrUnreachable) || ctx.Err() != nil:
			return nil, err
		case err != nil:
			continue
		}
		switch kind {
		case KindIdentity:
			for _, name := range keys.identities() {
				found = append(found, org.With(KindIdentity, name, org.MSPID))
			}
		case KindCRL:
			if len(keys.files[organizationCRL]) > 0 {
				found = append(found, org.With(KindCRL, org.Name, org.MSPID))
			}
		case KindChannelMembership:
			for _, m := range keys.memberships() {
				found = append(found, m.Handle)
			}
		}
	}
	return found, nil
}

// identities gives the names of the identities whose keys are in the volume.
func (k *organizationKeys) identities() []string {
	var names []string
	for file, content := range k.files {
		folder, isCertificate := strings.CutSuffix(file, "/cert.pem")
		if name, ok := strings.CutPrefix(folder, identitiesFolder); ok && isCertificate && len(content) > 0 {
			names = append(names, name)
		}
	}
	return names
}
