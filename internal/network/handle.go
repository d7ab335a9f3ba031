package network

import (
	"fmt"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// Kind says what a handle or an engine object is for.
type Kind string

// The kinds.
const (
	KindNetwork        Kind = "network"
	KindCA             Kind = "ca"
	KindOrganization   Kind = "organization"
	KindIdentity       Kind = "identity"
	KindPeer           Kind = "peer"
	KindOrderer        Kind = "orderer"
	KindOrdererCluster Kind = "orderer_cluster"
	KindStateDatabase  Kind = "state_database"
	KindChannel        Kind = "channel"
	KindChaincode      Kind = "chaincode"
	// KindChannelMembership is an organization's own part of a channel that another state owns.
	KindChannelMembership Kind = "channel_membership"
	// KindChaincodeApproval is an organization's own part of a chaincode that another state commits: its
	// approval, and the servers beside its peers.
	KindChaincodeApproval Kind = "chaincode_approval"
	KindLease             Kind = "lease"
	// KindCRL is the revocation list of an organization, whose MSP ID is its name.
	KindCRL Kind = "crl"
	// KindRestore marks a restore that has not come to its end.
	KindRestore Kind = "restore"
)

// Handle names a thing. It holds identifiers only, so that nothing which uses the thing changes
// when a certificate or an image of it does; with the deterministic names below it is all that is
// needed to find everything else on the engine.
type Handle struct {
	Kind Kind `json:"kind"`
	// Network is the name of the fabric_network.
	Network string `json:"network"`
	// Domain is the naming domain of its nodes; it may be empty.
	Domain string `json:"domain,omitempty"`
	// Owner is its owner_id.
	Owner string `json:"owner_id"`
	// Name is the thing's name in the network, for example peer0.org1.
	Name string `json:"name"`
	// MSPID is the organization that it belongs to; empty where there is none. Of a remote node it is the
	// organization of ours that speaks with the node.
	MSPID string `json:"msp_id,omitempty"`
	// Remote is where a node is found that our engine does not run; zero for everything else.
	Remote Remote `json:"remote,omitzero"`
}

// With gives the handle of another thing of the same network.
func (h Handle) With(kind Kind, name, mspID string) Handle {
	h.Kind, h.Name, h.MSPID = kind, name, mspID
	return h
}

// Organization gives the handle of the organization that the thing belongs to.
func (h Handle) Organization() Handle { return h.With(KindOrganization, h.MSPID, h.MSPID) }

// Host is the fully qualified name by which other nodes reach a node.
func (h Handle) Host() string {
	if h.Domain == "" {
		return h.Name
	}
	return h.Name + "." + h.Domain
}

// Object is the name of the engine object that carries the thing: a node and its volume bear it both.
func (h Handle) Object() string { return h.Network + "-" + h.Name }

// keys is the name of the key volume of a CA or an organization.
func (h Handle) keys() string { return h.Object() + "-keys" }

// record is the name of the volume that holds what must be known of a channel.
func (h Handle) record() string { return h.Network + "-channel-" + h.Name }

// labels are the labels of an engine object that carries the thing.
func (h Handle) labels() map[string]string {
	labels := map[string]string{
		engine.LabelOwner:   h.Owner,
		engine.LabelKind:    string(h.Kind),
		engine.LabelNetwork: h.Network,
		engine.LabelName:    h.Name,
		labelDomain:         h.Domain,
	}
	if h.MSPID != "" {
		labels[labelMSPID] = h.MSPID
	}
	return labels
}

// requireSame fails when the engine object that has a name of this thing, of the given labels, is
// somebody else's or carries another thing of the same network: the CA "ca" has a volume "dev-ca-keys",
// and so would have a peer "ca-keys".
func (h Handle) requireSame(kind, name string, labels map[string]string) error {
	if owner := labels[engine.LabelOwner]; owner != h.Owner {
		return &engine.ForeignError{Kind: kind, Name: name, Owner: owner}
	}
	if other := handleOf(labels); other.Kind != h.Kind || other.Name != h.Name {
		return &TakenError{Kind: kind, Name: name, By: other}
	}
	return nil
}

// Labels beyond those that every object carries.
const (
	labelDomain   = engine.LabelPrefix + "domain"
	labelMSPID    = engine.LabelPrefix + "msp_id"
	labelCA       = engine.LabelPrefix + "ca"
	labelCluster  = engine.LabelPrefix + "cluster"
	labelPeer     = engine.LabelPrefix + "peer"
	labelPackage  = engine.LabelPrefix + "package_id"
	labelParent   = engine.LabelPrefix + "parent"
	labelEndpoint = engine.LabelPrefix + "endpoint"
	labelOnce     = engine.LabelPrefix + "once"
	labelSnapshot = engine.LabelPrefix + "snapshot"
	labelFolder   = engine.LabelPrefix + "folder"
)

// handleOf reads a handle back from the labels of an engine object.
func handleOf(labels map[string]string) Handle {
	return Handle{
		Kind:    Kind(labels[engine.LabelKind]),
		Network: labels[engine.LabelNetwork],
		Domain:  labels[labelDomain],
		Owner:   labels[engine.LabelOwner],
		Name:    labels[engine.LabelName],
		MSPID:   labels[labelMSPID],
	}
}

// String names the thing for messages: "peer peer0.org1".
func (h Handle) String() string {
	word := map[Kind]string{KindCA: "CA", KindOrdererCluster: "ordering cluster", KindStateDatabase: "state database", KindChannelMembership: "membership in channel", KindChaincodeApproval: "approval of chaincode"}[h.Kind]
	if word == "" {
		word = string(h.Kind)
	}
	return fmt.Sprintf("%s %s", word, h.Name)
}
