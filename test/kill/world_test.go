//go:build unix

package kill

import (
	"context"
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// world is a network of one organization that orders and endorses by itself: every kind of thing
// once.
type world struct{ on network.Handle }

// sweptNetwork is the name of the network of TestAccSweep.
const sweptNetwork = "acc-sweep"

func newWorld() world {
	return world{network.Handle{
		Kind: network.KindNetwork, Network: sweptNetwork, Domain: "example.com", Owner: "0123456789abcdef", Name: sweptNetwork,
	}}
}

// step is a resource: what its Create and its Delete do.
type step struct {
	name         string
	make, remove func(context.Context, *network.Fabric) error
}

const mspID = "Org1MSP"

func (w world) ca() network.Handle   { return w.on.With(network.KindCA, "ca.org1", "") }
func (w world) org() network.Handle  { return w.on.With(network.KindOrganization, mspID, mspID) }
func (w world) app() network.Handle  { return w.on.With(network.KindIdentity, "app", mspID) }
func (w world) peer() network.Handle { return w.on.With(network.KindPeer, "peer0.org1", mspID) }
func (w world) orderers() network.Handle {
	return w.on.With(network.KindOrdererCluster, "orderers", mspID)
}
func (w world) channel() network.Handle { return w.on.With(network.KindChannel, "trade", "") }
func (w world) chaincode() network.Handle {
	return network.ChaincodeHandle(w.channel(), "asset")
}

// objects are all that the engine holds of the whole network but for the chaincode's server, in the
// form of a picture.
func (w world) objects() picture {
	p := picture{objects: map[string]string{"network " + sweptNetwork: ""}}
	for _, name := range []string{"ca.org1", "ca.org1-keys", mspID + "-keys", "orderer0", "peer0.org1", "channel-trade"} {
		p.objects["container "+sweptNetwork+"-"+name] = ""
		p.objects["volume "+sweptNetwork+"-"+name] = ""
	}
	return p
}

// steps are in the order in which Terraform makes the resources.
func (w world) steps() []step {
	return []step{
		{"network", w.makeNetwork, func(ctx context.Context, f *network.Fabric) error { return f.DeleteNetwork(ctx, w.on, false) }},
		{"CA", w.makeCA, func(ctx context.Context, f *network.Fabric) error { return f.DeleteCA(ctx, w.ca(), false) }},
		{"organization", w.makeOrganization, func(ctx context.Context, f *network.Fabric) error { return f.DeleteOrganization(ctx, w.org()) }},
		{"identity", w.makeIdentity, func(ctx context.Context, f *network.Fabric) error { return f.DeleteIdentity(ctx, w.app(), "") }},
		{"orderers", w.makeOrderers, func(ctx context.Context, f *network.Fabric) error {
			return f.DeleteOrdererCluster(ctx, w.orderers(), map[string]network.Handle{"orderer0": w.orderer().Handle}, false)
		}},
		{"peer", w.makePeer, func(ctx context.Context, f *network.Fabric) error {
			return f.DeletePeer(ctx, w.peer(), network.Removal{})
		}},
		{"channel", w.makeChannel, func(ctx context.Context, f *network.Fabric) error {
			return f.DeleteChannel(ctx, w.channel(), w.orderers(), w.members())
		}},
		{"chaincode", w.makeChaincode, func(ctx context.Context, f *network.Fabric) error { return f.DeleteChaincode(ctx, w.chaincode()) }},
		{"changed CA", w.changeCA, nothing},
		{"changed orderers", w.changeOrderers, nothing},
		{"changed peer", w.changePeer, nothing},
	}
}

// nothing is what there is to do about a change when the network goes.
func nothing(context.Context, *network.Fabric) error { return nil }

func (w world) makeNetwork(ctx context.Context, f *network.Fabric) error {
	if err := f.PreflightNetwork(ctx, w.on, false); err != nil {
		return err
	}
	return f.EnsureNetwork(ctx, w.on, false)
}

func options(image string) network.NodeOptions {
	return network.NodeOptions{Image: image, BindAddress: "127.0.0.1", HostPorts: map[string]int{}}
}

func (w world) authority() network.CASpec {
	return network.CASpec{
		Handle: w.ca(), NodeOptions: options("hyperledger/fabric-ca:1.5.13"), Organization: "org1", CommonName: "ca.org1",
		RootValidity: 24 * 365 * time.Hour, CertificateValidity: 24 * 30 * time.Hour,
	}
}

func (w world) makeCA(ctx context.Context, f *network.Fabric) error {
	if err := f.PreflightCA(ctx, w.authority()); err != nil {
		return err
	}
	_, err := f.EnsureCA(ctx, w.authority())
	return err
}

func (w world) makeOrganization(ctx context.Context, f *network.Fabric) error {
	from := w.ca()
	spec := network.OrganizationSpec{Handle: w.org(), CA: &from}
	if err := f.PreflightOrganization(ctx, spec); err != nil {
		return err
	}
	_, err := f.CreateOrganization(ctx, spec)
	return err
}

func (w world) makeIdentity(ctx context.Context, f *network.Fabric) error {
	spec := network.IdentitySpec{Handle: w.app(), Type: "client", Attributes: map[string]string{"role": "tester"}}
	if err := f.PreflightIdentity(ctx, spec); err != nil {
		return err
	}
	_, err := f.CreateIdentity(ctx, spec)
	return err
}

func fabricVersion() nodeconfig.Version {
	version, err := nodeconfig.ParseVersion("3.1.1")
	if err != nil {
		panic(err) // it is written right here
	}
	return version
}

func (w world) orderer() network.OrdererSpec {
	return network.OrdererSpec{
		Handle: w.on.With(network.KindOrderer, "orderer0", mspID), NodeOptions: options("hyperledger/fabric-orderer:3.1.1"),
		Version: fabricVersion(), Cluster: w.orderers().Name,
	}
}

func (w world) cluster(orderer network.OrdererSpec) network.ClusterSpec {
	return network.ClusterSpec{Handle: w.orderers(), Nodes: map[string]network.OrdererSpec{"orderer0": orderer}}
}

func (w world) makeOrderers(ctx context.Context, f *network.Fabric) error {
	spec := w.cluster(w.orderer())
	if err := f.PreflightOrdererCluster(ctx, spec); err != nil {
		return err
	}
	_, err := f.EnsureOrdererCluster(ctx, spec)
	return err
}

func (w world) endorser() network.PeerSpec {
	return network.PeerSpec{Handle: w.peer(), NodeOptions: options("hyperledger/fabric-peer:3.1.1"), Version: fabricVersion()}
}

func (w world) makePeer(ctx context.Context, f *network.Fabric) error {
	if err := f.PreflightPeer(ctx, w.endorser()); err != nil {
		return err
	}
	_, err := f.EnsurePeer(ctx, w.endorser())
	return err
}

// changed has a node made anew on its volume.
func changed(o network.NodeOptions) network.NodeOptions {
	o.Existing, o.Limits.PIDs = true, 2000
	return o
}

func (w world) changeCA(ctx context.Context, f *network.Fabric) error {
	spec := w.authority()
	spec.NodeOptions = changed(spec.NodeOptions)
	_, err := f.EnsureCA(ctx, spec)
	return err
}

func (w world) changeOrderers(ctx context.Context, f *network.Fabric) error {
	spec := w.orderer()
	spec.NodeOptions = changed(spec.NodeOptions)
	_, err := f.EnsureOrdererCluster(ctx, w.cluster(spec))
	return err
}

func (w world) changePeer(ctx context.Context, f *network.Fabric) error {
	spec := w.endorser()
	spec.NodeOptions = changed(spec.NodeOptions)
	_, err := f.EnsurePeer(ctx, spec)
	return err
}

func (w world) members() map[string]network.ChannelOrganization {
	return map[string]network.ChannelOrganization{
		"org1": {Organization: w.org(), Peers: map[string]network.Handle{"peer0": w.peer()}},
	}
}

func (w world) makeChannel(ctx context.Context, f *network.Fabric) error {
	org, err := f.ReadOrganization(ctx, w.org())
	if err != nil {
		return err
	}
	spec := network.ChannelSpec{
		Handle: w.channel(), Orderers: w.orderers(), Organizations: w.members(),
		Config: configtx.Channel{
			ChannelCapability: configtx.ChannelCapabilityV2_0, ApplicationCapability: configtx.ApplicationCapabilityV2_5,
			Batch: configtx.DefaultBatch(),
		},
	}
	spec.Config.Batch.MaxMessageCount = 1
	member := spec.Organizations["org1"]
	member.Definition = org.Definition
	spec.Organizations["org1"] = member
	if err := f.PreflightChannel(ctx, spec); err != nil {
		return err
	}
	return f.CreateChannel(ctx, spec)
}

func (w world) makeChaincode(ctx context.Context, f *network.Fabric) error {
	spec := network.ChaincodeSpec{
		Channel: w.channel(), Name: "asset", Version: "1.0", Label: "asset_1.0",
		Server: network.ChaincodeServer{NodeOptions: options(probeImage)},
	}
	if err := f.PreflightChaincode(ctx, spec); err != nil {
		return err
	}
	_, err := f.ReleaseChaincode(ctx, spec)
	return err
}

// answers writes with the identity and reads back.
func (w world) answers(ctx context.Context, f *network.Fabric) error {
	call := network.Call{Chaincode: w.chaincode(), Identity: w.app(), Function: "put", Arguments: []string{"greeting", "hello"}}
	if _, err := f.SubmitTransaction(ctx, call); err != nil {
		return err
	}
	call.Function, call.Arguments = "get", []string{"greeting"}
	answer, err := f.Query(ctx, call)
	if err == nil && string(answer) != "hello" {
		err = fmt.Errorf("the chaincode answers %q", answer)
	}
	return err
}
