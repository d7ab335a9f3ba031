package network

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/gateway"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
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
	nodes = slices.DeleteFunc(nodes, func(n engine.Node) bool { return !isNode(n) })
	if len(nodes) == 0 {
		return engine.Node{}, fmt.Errorf("no %s named %s on network %s: %w", kind, name, network, ErrNotFound)
	}
	return nodes[0], nil
}

// isNode tells whether a container is a node, and not one that keeps a volume, ran once for a node or was
// set aside for another one.
func isNode(n engine.Node) bool {
	return n.Labels[labelOnce] == "" && n.Labels[keystore.LabelKeeper] == "" && !isAside(n)
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

// FindOrdererCluster finds an ordering cluster as it was asked for.
func (f *Fabric) FindOrdererCluster(ctx context.Context, network, name string) (ClusterSpec, error) {
	nodes, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelKind: string(KindOrderer), engine.LabelNetwork: network, labelCluster: name,
	})
	if err != nil {
		return ClusterSpec{}, err
	}
	spec := ClusterSpec{Nodes: map[string]OrdererSpec{}}
	for _, n := range nodes {
		in, version, err := memberOf(n)
		if err != nil {
			return spec, err
		}
		h := handleOf(n.Labels)
		spec.Handle = h.With(KindOrdererCluster, name, h.MSPID)
		spec.Nodes[h.Name] = OrdererSpec{Handle: h, NodeOptions: in.NodeOptions, Version: version, Config: in.Config, Cluster: name}
	}
	if len(spec.Nodes) == 0 {
		return spec, fmt.Errorf("no ordering cluster named %s on network %s: %w", name, network, ErrNotFound)
	}
	if err := f.addAbsent(ctx, spec.Handle, spec.Nodes); err != nil {
		return spec, err
	}
	record, err := f.clusterRecord(ctx, spec.handles())
	spec.Ordering, spec.Admins, spec.External, spec.Handle.MSPID = record.Ordering, record.Admins, record.External, cmp.Or(record.MSPID, spec.Handle.MSPID)
	return spec, err
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
	h, err := f.findChannel(ctx, network, name)
	if err != nil {
		return ChannelSpec{}, err
	}
	spec := ChannelSpec{Handle: h}
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

// findChannel finds the handle of a channel by the volume of its record.
func (f *Fabric) findChannel(ctx context.Context, network, name string) (Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelKind: string(KindChannel), engine.LabelNetwork: network, engine.LabelName: name,
	})
	if err != nil {
		return Handle{}, err
	}
	if len(volumes) == 0 {
		return Handle{}, fmt.Errorf("no channel %s on network %s: %w", name, network, ErrNotFound)
	}
	return handleOf(volumes[0].Labels), nil
}

// FindChaincode finds a chaincode as it was asked for, by the servers that run it, or by its record.
func (f *Fabric) FindChaincode(ctx context.Context, network, channel, name string) (ChaincodeSpec, error) {
	servers, err := f.engine.Nodes(ctx, map[string]string{
		engine.LabelKind: string(KindChaincode), engine.LabelNetwork: network, labelChannel: channel, labelChaincode: name,
	})
	if err != nil {
		return ChaincodeSpec{}, err
	}
	if len(servers) == 0 { // on a membership
		servers, err = f.engine.Nodes(ctx, map[string]string{
			engine.LabelKind: string(KindChaincodeApproval), engine.LabelNetwork: network, labelChannel: channel, labelChaincode: name,
		})
		if err != nil {
			return ChaincodeSpec{}, err
		}
	}
	if at := slices.IndexFunc(servers, isNode); at > 0 { // a record beside servers is of a release that did not come to its end
		servers = servers[at:]
	}
	if len(servers) == 0 {
		return ChaincodeSpec{}, fmt.Errorf("no server of chaincode %s on channel %s of network %s: %w", name, channel, network, ErrNotFound)
	}
	return askedOf(servers[0])
}

// askedOf reads from a server what was asked for of its chaincode.
func askedOf(server engine.Node) (ChaincodeSpec, error) {
	spec := ChaincodeSpec{}
	if err := json.Unmarshal([]byte(server.Labels[labelInputs]), &spec); err != nil {
		return spec, fmt.Errorf("unable to read what was asked for of chaincode %s: %w", server.Labels[labelChaincode], err)
	}
	if spec.served() {
		spec.Server.ImageID = server.ImageID
	}
	return spec, nil
}

var transactionID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// FindTransaction reads a committed call of a chaincode back from the ledger of a peer. Who endorsed
// it is known there too, but not who was asked to: Organizations stays empty, and so does the
// transient data, which no ledger holds.
func (f *Fabric) FindTransaction(ctx context.Context, network, channel, txID string) (Call, TransactionResult, error) {
	if !transactionID.MatchString(txID) {
		return Call{}, TransactionResult{}, fmt.Errorf("%q is no transaction ID, which is 64 hexadecimal digits", txID)
	}
	h, err := f.findChannel(ctx, network, channel)
	if err != nil {
		return Call{}, TransactionResult{}, err
	}
	found, err := f.recordedTransaction(ctx, h, txID)
	if err != nil {
		return Call{}, TransactionResult{}, err
	}
	if found.Code != peer.TxValidationCode_VALID {
		return Call{}, TransactionResult{}, &gateway.InvalidError{Channel: channel, TxID: txID, Block: found.Block, Code: found.Code}
	}
	call := Call{Chaincode: ChaincodeHandle(h, found.Chaincode), Init: found.Init}
	for i, arg := range found.Args {
		switch {
		case !utf8.Valid(arg):
			return Call{}, TransactionResult{}, fmt.Errorf("argument %d of transaction %s is no text", i, txID)
		case i == 0:
			call.Function = string(arg)
		default:
			call.Arguments = append(call.Arguments, string(arg))
		}
	}
	call.Identity, err = f.signer(ctx, h, found.MSPID, found.CertificatePEM)
	return call, TransactionResult{TxID: txID, Block: found.Block, Payload: found.Result}, err
}

// recordedTransaction asks the peers of the channel that run, one after the other: one that joined
// late, or by a snapshot, may not have it.
func (f *Fabric) recordedTransaction(ctx context.Context, channel Handle, txID string) (found *endorser.Recorded, err error) {
	err = f.askLedger(ctx, channel, "transaction "+txID, func(p endorser.Peer, admin *msp.Identity) error {
		found, err = endorser.TransactionByID(ctx, p, admin, channel.Name, txID)
		return err
	})
	return found, err
}

// askLedger asks the peers of the channel that run, one after the other, until one has what is looked for.
// It fails with ErrNotFound when all say that they have not, and with *UnansweredError when none answers.
func (f *Fabric) askLedger(ctx context.Context, channel Handle, what string, ask func(endorser.Peer, *msp.Identity) error) error {
	record, err := f.channelRecord(ctx, channel)
	if err != nil {
		return err
	}
	members, err := f.members(ctx, record)
	if err != nil {
		return err
	}
	var failures error
	known := false
	for _, m := range thatRun(members) {
		for _, p := range m.peers {
			err := ask(p.Peer, m.admin)
			if err == nil {
				return nil
			}
			known = known || errors.As(err, new(*endorser.RefusedError)) && !errors.Is(err, endorser.ErrFromSnapshot)
			failures = errors.Join(failures, err)
		}
	}
	if known { // whoever answered does not have it
		return fmt.Errorf("no %s on %s: %w: %w", what, channel, ErrNotFound, failures)
	}
	return &UnansweredError{Thing: channel, Cause: failures}
}

// signer gives the handle of who signed: the organization, whose admin then did, or an identity of it.
func (f *Fabric) signer(ctx context.Context, channel Handle, mspID string, certificatePEM []byte) (Handle, error) {
	cert, err := certificate.ParseOne(certificatePEM)
	if err != nil {
		return Handle{}, fmt.Errorf("unable to read who signed the transaction: %w", err)
	}
	name := cert.Subject.CommonName // the enrolment ID, whatever certificates it had since
	org := channel.With(KindOrganization, mspID, mspID)
	keys, err := f.organizationKeys(ctx, org)
	switch {
	case errors.Is(err, ErrLost) || errors.Is(err, ErrNotFound): // an organization of somebody else
		return org.With(KindIdentity, name, mspID), nil
	case err != nil:
		return Handle{}, err
	}
	if admin, err := certificate.ParseOne(keys.files[adminFolder+"/cert.pem"]); err == nil && admin.Subject.CommonName == name {
		return org, nil
	}
	return org.With(KindIdentity, name, mspID), nil
}
