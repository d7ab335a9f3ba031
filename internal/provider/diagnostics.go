package provider

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
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
	lost := new(network.LostError)
	switch {
	case errors.Is(err, errUnknownSetting):
		return "Give the provider block values that are known during plan, or apply what they depend on first (terraform apply -target)."
	case errors.Is(err, network.ErrOtherEngine):
		return "Set docker_host in the provider block to the engine that holds this network. If that engine is gone for good, take the resource out of the state: terraform state rm ADDRESS."
	case errors.Is(err, engine.ErrUnreachable):
		return "Start the engine, or set docker_host in the provider block (or DOCKER_HOST) to its address. If the engine is gone for good, take the resource out of the state: terraform state rm ADDRESS."
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
	case network.IsQuorum(err):
		return "Start or repair the nodes that are not at work first, or change fewer nodes in one apply. If the nodes are lost for good, no configuration of the channel can be changed any more."
	case errors.As(err, new(*network.AddressError)):
		return "Give the new node another address, or go in two applies."
	case errors.Is(err, network.ErrExists):
		return "If another resource of this configuration has that name, choose another one. If the state of this resource was lost, import it: terraform import ADDRESS NETWORK/NAME, for an ordering cluster with the name of the cluster."
	}
	return ""
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
