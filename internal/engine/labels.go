package engine

// The labels that every object of ours carries.
const (
	// LabelOwner is the owner_id of the fabric_network that the object belongs to.
	LabelOwner = "io.github.fabricops.owner_id"
	// LabelKind is what the object is for: network, ca, peer, orderer, organization, channel, chaincode, …
	LabelKind = "io.github.fabricops.kind"
	// LabelNetwork is the name of the fabric_network, LabelName the name of the thing in it.
	LabelNetwork = "io.github.fabricops.network"
	LabelName    = "io.github.fabricops.name"
	// LabelSpecHash is the hash of the specification that we rendered.
	LabelSpecHash = "io.github.fabricops.spec_hash"
	// LabelLease marks an object that is a lease, and nothing else.
	LabelLease = "io.github.fabricops.lease"
	// LabelAdopts on a record names the node that it stands for, LabelAdoptedPorts where that listens,
	// as JSON.
	LabelAdopts       = "io.github.fabricops.adopts"
	LabelAdoptedPorts = "io.github.fabricops.adopted_ports"
	// LabelPrefix begins every label of ours.
	LabelPrefix = "io.github.fabricops."
)
