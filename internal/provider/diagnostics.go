package provider

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// addError reports an error with what a person can do about it.
func addError(diags *diag.Diagnostics, summary string, err error) {
	diags.AddError(summary, explain(err))
}

// explain turns an error into sentences and adds the way out, where there is a known one.
func explain(err error) string {
	text := sentence(err)
	if next := wayOut(err); next != "" {
		text += "\n\n" + next
	}
	return text
}

func wayOut(err error) string {
	lost, admission, exists := new(network.LostError), new(network.AdmissionError), new(network.ExistsError)
	unavailable, older, barred := new(network.UnavailableError), new(network.OlderOrdererError), new(network.ReleaseError)
	switch {
	case errors.As(err, &barred):
		return wayToRelease(barred.Bar)
	case errors.As(err, &unavailable):
		return "Mend what is down first: a peer that is down may always be changed, and the next apply goes on with the others. To let more peers of the organization be down at a time, raise max_unavailable."
	case errors.As(err, &older):
		return "Give their fabric_orderer_cluster that fabric_version, in this apply or in one before it; an ordering node of another state is raised there. " +
			"Where more peers wait than Terraform works on at a time (-parallelism), the cluster has no turn: name it in depends_on of the peers, or raise it first."
	case errors.As(err, new(*network.LastHolderError)):
		return "Join another peer of an organization in the member_policy to the channel, or start one, and let it have the data first. If the loss is meant: apply accept_data_loss = true, then remove the peer."
	case errors.Is(err, errUnknownSetting):
		return "Give the provider block values that are known during plan, or apply what they depend on first (terraform apply -target)."
	case errors.Is(err, network.ErrOtherEngine):
		return "Set docker_host in the provider block to the engine that holds this network. If that engine is gone for good, take the resource out of the state: terraform state rm ADDRESS."
	case errors.Is(err, engine.ErrUnreachable):
		return "Start the engine, restart one that answers pings and nothing else, or set docker_host in the provider block (or DOCKER_HOST) to its address. If the engine is gone for good, take the resource out of the state: terraform state rm ADDRESS."
	case errors.As(err, &lost) && lost.Thing.Kind == network.KindOrganization:
		return "Restore the volume under its name. If it is gone for good, have new keys made: terraform apply -replace=ADDRESS of the fabric_organization, and a second apply for its identities."
	case errors.Is(err, network.ErrLost):
		return "Restore the volume under its name, or set accept_data_loss = true to begin with an empty one."
	case errors.Is(err, engine.ErrForeign):
		return "Choose another name, or remove that object yourself. If it belongs to this network and the state was lost, import it, or set owner_id of fabric_network to the owner_id named here."
	case errors.Is(err, network.ErrRevoked):
		return "Take it out of the configuration. To have it admitted again, with a new key: take it out of revoke of the fabric_crl, and make it anew with terraform apply -replace=ADDRESS."
	case errors.Is(err, engine.ErrNoImage):
		return "Load or build the image on the engine, or set image (or image_registry in the provider block) to one that can be pulled."
	case errors.Is(err, engine.ErrPortTaken):
		return "Free the port, or choose another one; without a choice a free port is taken."
	case errors.As(err, &admission):
		return howToJoin(admission)
	case errors.As(err, new(*network.ExpiredError)) || errors.Is(err, configtx.ErrOutdated):
		return "Propose it again, by whoever made it: terraform apply -replace=ADDRESS of the fabric_channel_proposal. Everybody signs the new update then."
	case errors.As(err, new(*signoff.ExpiredError)) || errors.As(err, new(*network.OtherReleaseError)):
		return "Propose it again, by whoever made it: terraform apply -replace=ADDRESS of the fabric_release_proposal. Everybody approves the new one then."
	case errors.As(err, new(*signoff.OwnError)) || errors.As(err, new(*signoff.TooFewError)):
		return "Hand the proposal to somebody else, who approves it with a fabric_release_approval."
	case errors.As(err, new(*network.RecordError)):
		return "Mend the audit chaincode or its channel, and apply again: a release that cannot be recorded does not happen."
	case errors.Is(err, configtx.ErrNoChange):
		return "The channel is so already, or the change names what the channel does not have. Correct the change, or take the proposal out of the configuration."
	case errors.As(err, new(*network.UnsignedStepError)):
		return "Let them decide together: set consenter = false in external_consenters for a node of others, and propose add_consenter or remove_consenter with fabric_channel_proposal. " +
			"The organizations sign it with fabric_channel_signature in their own states, and one submits it with fabric_channel_submission. Take a node out here when it is no consenter any more. " +
			"A further node of your own can be brought in the same way, as a fabric_orderer. An admin whose keys are on this engine can be named in admins instead."
	case errors.As(err, new(*network.UnsignedError)):
		return "Let the organizations that are missing sign: fabric_channel_proposal makes the update, fabric_channel_signature signs it in each organization's own state, and fabric_channel_submission submits it with their signatures."
	case network.IsQuorum(err):
		return "Start or repair the nodes that are not at work first, or change fewer nodes in one apply. If the nodes are lost for good, no configuration of the channel can be changed any more."
	case errors.As(err, new(*network.StillConsenterError)):
		return "It has to leave the consenters first: by the owner of the cluster, who takes the node out of external_consenters, or by remove_consenter of a fabric_channel_proposal."
	case errors.As(err, new(*network.UnapprovedError)):
		return "Let them approve the same definition: by fabric_chaincode_approval in their own states, with the same version, sequence, init_required, collections and policies, written alike; or by peer lifecycle chaincode approveformyorg. What is here is approved and waits until create or update of timeouts; apply again to go on. data fabric_commit_readiness tells who has approved."
	case errors.As(err, new(*network.MovedError)):
		return "Plan again: the next plan shows what is there now, and what would become of it."
	case errors.As(err, new(*network.AddressError)):
		return "Give the new node another address, or go in two applies."
	case errors.As(err, &exists):
		return "If another resource of this configuration has that name, choose another one. If the state of this resource was lost, import it, and change it after that:\n\n" + importBlocks(exists.Resource())
	}
	return ""
}

// wayToRelease says what comes before a release that a channel keeps its nodes from.
func wayToRelease(bar network.Bar) string {
	switch bar {
	case network.BarSystemChannel:
		return "Leave the system channel with Fabric 2.5 first: put it into maintenance mode, and remove it from each ordering node (osnadmin channel remove), as Fabric's documentation says under \"Create a channel without a system channel\". Then set fabric_version."
	case network.BarLegacyLifecycle:
		return "Set application_capability of the channel to V2_5 and release its chaincodes anew with fabric_chaincode, in an apply before this one; where other organizations must sign, by application_capability of a fabric_channel_proposal. Then set fabric_version."
	}
	return "Keep fabric_version at a release that knows it. A channel does not give a capability back: with V3_0 there is no way to Fabric 2."
}

// howToJoin says who must do what before an organization is a member of a channel.
func howToJoin(e *network.AdmissionError) string {
	switch {
	case e.Unknown:
		return "Check the name of the channel and the addresses in orderers. If its owner has yet to make it, apply again after that."
	case !e.Expired.IsZero():
		return "Renew the certificate of the organization's admin first: apply its fabric_organization."
	}
	return "Give the definition of " + e.MSPID + " (definition of its fabric_organization) to the owner of the channel. The owner adds it to organizations and self_managed_organizations of fabric_channel; " +
		"where the owner's admins do not suffice, somebody proposes it with add_organizations of fabric_channel_proposal, and the members sign. Apply here after that: nothing was made."
}

// sentence begins with a capital and ends with a full stop, as Terraform prints details.
func sentence(err error) string {
	text := strings.TrimSpace(err.Error())
	first, size := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[size:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

func unmarshal(raw []byte, into any) error { return json.Unmarshal(raw, into) }
