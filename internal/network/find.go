package network

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// labelInputs holds what a user asked for, as JSON, so that import reproduces it exactly. It holds
// no secret.
const labelInputs = engine.LabelPrefix + "inputs"

// inputs renders the label. A specification marshals: it is text, numbers and maps of them.
func inputs(spec any) string {
	raw, err := json.Marshal(spec)
	if err != nil {
		return ""
	}
	return string(raw)
}

// memberInputs are those of a peer or an orderer.
type memberInputs struct {
	NodeOptions
	Version string             `json:"version"`
	Config  nodeconfig.Overlay `json:"config,omitempty"`
}

// find finds one engine object by what a person knows of it: the network and the name.
func (f *Fabric) find(ctx context.Context, kind Kind, network, name string) (engine.Node, error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelKind: string(kind), engine.LabelNetwork: network, engine.LabelName: name,
	})
	if err != nil {
		return engine.Node{}, err
	}
	nodes = slices.DeleteFunc(nodes, func(n engine.Node) bool { return n.Labels[labelOnce] != "" || n.Labels[keystore.LabelKeeper] != "" })
	if len(nodes) == 0 {
		return engine.Node{}, fmt.Errorf("no %s named %s on network %s: %w", kind, name, network, ErrNotFound)
	}
	return nodes[0], nil
}

// FindCA finds a CA as it was asked for.
func (f *Fabric) FindCA(ctx context.Context, network, name string) (CASpec, error) {
	n, err := f.find(ctx, KindCA, network, name)
	if err != nil {
		return CASpec{}, err
	}
	spec := CASpec{}
	if err := json.Unmarshal([]byte(n.Labels[labelInputs]), &spec); err != nil {
		return spec, fmt.Errorf("unable to read what was asked for of CA %s: %w", name, err)
	}
	spec.Handle, spec.ImageID = handleOf(n.Labels), n.ImageID
	return spec, nil
}

// FindPeer finds a peer as it was asked for.
func (f *Fabric) FindPeer(ctx context.Context, network, name string) (PeerSpec, error) {
	n, err := f.find(ctx, KindPeer, network, name)
	if err != nil {
		return PeerSpec{}, err
	}
	in, version, err := memberOf(n)
	if err != nil {
		return PeerSpec{}, err
	}
	database, err := f.stateDatabaseOf(ctx, n)
	return PeerSpec{Handle: handleOf(n.Labels), NodeOptions: in.NodeOptions, Version: version, Config: in.Config, StateDatabase: database}, err
}

func memberOf(n engine.Node) (memberInputs, nodeconfig.Version, error) {
	in := memberInputs{}
	if err := json.Unmarshal([]byte(n.Labels[labelInputs]), &in); err != nil {
		return in, nodeconfig.Version{}, fmt.Errorf("unable to read what was asked for of %s: %w", n.Name, err)
	}
	version, err := nodeconfig.ParseVersion(in.Version)
	in.ImageID = n.ImageID
	return in, version, err
}

// FindOrdererCluster finds the nodes of an ordering cluster as they were asked for, by name.
func (f *Fabric) FindOrdererCluster(ctx context.Context, network, name string) (Handle, map[string]OrdererSpec, error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelKind: string(KindOrderer), engine.LabelNetwork: network, labelCluster: name,
	})
	if err != nil {
		return Handle{}, nil, err
	}
	specs, cluster := map[string]OrdererSpec{}, Handle{}
	for _, n := range nodes {
		in, version, err := memberOf(n)
		if err != nil {
			return cluster, nil, err
		}
		h := handleOf(n.Labels)
		cluster = h.With(KindOrdererCluster, name, h.MSPID)
		specs[h.Name] = OrdererSpec{Handle: h, NodeOptions: in.NodeOptions, Version: version, Config: in.Config, Cluster: name}
	}
	if len(specs) == 0 {
		return cluster, nil, fmt.Errorf("no ordering cluster named %s on network %s: %w", name, network, ErrNotFound)
	}
	return cluster, specs, f.addAbsent(ctx, cluster, specs)
}

// addAbsent adds the nodes of a cluster whose containers are gone: their volumes tell of them, and
// what they share with the others is known from these.
func (f *Fabric) addAbsent(ctx context.Context, cluster Handle, specs map[string]OrdererSpec) error {
	orderers, err := f.Orderers(ctx, cluster)
	if err != nil {
		return err
	}
	like := specs[slices.Min(slices.Collect(maps.Keys(specs)))]
	like.AdvertisedAddress, like.Hosts = "", nil
	for _, h := range orderers {
		if _, there := specs[h.Name]; !there {
			like.Handle = h
			specs[h.Name] = like
		}
	}
	return nil
}

// FindOrganization finds an organization by its MSP ID.
func (f *Fabric) FindOrganization(ctx context.Context, network, mspID string) (Handle, OrganizationState, error) {
	h, err := f.findOrganization(ctx, network, mspID)
	if err != nil {
		return Handle{}, OrganizationState{}, err
	}
	state, err := f.ReadOrganization(ctx, h)
	return h, state, err
}

func (f *Fabric) findOrganization(ctx context.Context, network, mspID string) (Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelKind: string(KindOrganization), engine.LabelNetwork: network, engine.LabelName: mspID,
	})
	if err != nil {
		return Handle{}, err
	}
	if len(volumes) == 0 {
		return Handle{}, fmt.Errorf("no organization %s on network %s: %w", mspID, network, ErrNotFound)
	}
	return handleOf(volumes[0].Labels), nil
}

// FindChannel finds a channel as it was asked for. The definitions of its organizations are those
// that the organizations have now.
func (f *Fabric) FindChannel(ctx context.Context, network, name string) (ChannelSpec, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelKind: string(KindChannel), engine.LabelNetwork: network, engine.LabelName: name,
	})
	if err != nil {
		return ChannelSpec{}, err
	}
	if len(volumes) == 0 {
		return ChannelSpec{}, fmt.Errorf("no channel %s on network %s: %w", name, network, ErrNotFound)
	}
	spec := ChannelSpec{Handle: handleOf(volumes[0].Labels)}
	record, err := f.channelRecord(ctx, spec.Handle)
	if err != nil {
		return spec, err
	}
	spec.Orderers, spec.Config, spec.Organizations = record.Orderers, record.Config, maps.Clone(record.Organizations)
	for key, o := range spec.Organizations {
		org, err := f.organizationKeys(ctx, o.Organization)
		if err != nil {
			return spec, err
		}
		o.Definition = org.Definition
		spec.Organizations[key] = o
	}
	return spec, nil
}

// FindChaincode finds a chaincode as it was asked for, by the servers that run it.
func (f *Fabric) FindChaincode(ctx context.Context, network, channel, name string) (ChaincodeSpec, error) {
	servers, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelKind: string(KindChaincode), engine.LabelNetwork: network, labelChannel: channel, labelChaincode: name,
	})
	if err != nil {
		return ChaincodeSpec{}, err
	}
	if len(servers) == 0 {
		return ChaincodeSpec{}, fmt.Errorf("no server of chaincode %s on channel %s of network %s: %w", name, channel, network, ErrNotFound)
	}
	spec := ChaincodeSpec{}
	if err := json.Unmarshal([]byte(servers[0].Labels[labelInputs]), &spec); err != nil {
		return spec, fmt.Errorf("unable to read what was asked for of chaincode %s: %w", name, err)
	}
	spec.Server.ImageID = servers[0].ImageID
	return spec, nil
}
