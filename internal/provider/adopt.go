package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// containerAttribute names the container of an adopted node.
func containerAttribute(what, id string) schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true,
		MarkdownDescription: "Container of a " + what + " that something else made, and that was adopted by an import of `" + id + "`. Such a " + what + " keeps its mounts, environment, command, user, aliases, ports and labels: " +
			"`image`, `fabric_version`, `limits` and `desired_state` can be changed, and a change of the first three replaces the container by one of the same name that differs in nothing else. Destroying it takes it out of Terraform's hands and leaves it as it is, whatever `on_destroy` says.",
	}
}

// adoptionID gives the names of containers that an import ID gives behind an @, by the names of the nodes that
// they are to be: NODE=CONTAINER, divided by commas. Before it, the ID is what it is for nodes of ours.
func adoptionID(id string) (rest string, containers map[string]string, err error) {
	rest, text, found := strings.Cut(strings.TrimSpace(id), "@")
	if !found {
		return rest, nil, nil
	}
	containers = map[string]string{}
	for _, part := range strings.Split(text, ",") {
		node, container, ok := strings.Cut(part, "=")
		if !ok || node == "" || container == "" || containers[node] != "" {
			return rest, nil, fmt.Errorf("the import ID %q must name containers as NODE=CONTAINER behind the @, divided by commas", id)
		}
		containers[node] = container
	}
	return rest, containers, nil
}

// adoptedKey is the private state entry that tells that a chaincode runs as something else released it.
const adoptedKey = "adopted"

func isAdopted(ctx context.Context, private privateState, diags *diag.Diagnostics) bool {
	raw, d := private.GetKey(ctx, adoptedKey)
	diags.Append(d...)
	return len(raw) > 0
}

// planAdopted plans the certificates of an adopted node, which are as they are: no CA here issued them.
func planAdopted(plan, prior certificateHolder) {
	for name, value := range plan.held() {
		*value = *prior.held()[name]
	}
	nothingFallsDue(plan)
}

// nothingFallsDue: no CA here renews the certificates of the node.
func nothingFallsDue(m certificateHolder) {
	r := m.renewal()
	r.RenewalDue, r.RenewalAt, r.LastRenewal = nothingDue(), types.StringNull(), types.StringNull()
}

// kept is an attribute that an adopted node has as it was made, with its prior and its planned value.
type kept struct {
	name       string
	prior, now attr.Value
}

// refuseAdopted refuses what cannot be done to an adopted node, and to adopt one without an import. At is
// where the node is in the schema.
func refuseAdopted(at path.Path, exists bool, attributes []kept, diags *diag.Diagnostics) {
	within := func(name string) path.Path {
		if at.Equal(path.Empty()) {
			return path.Root(name)
		}
		return at.AtName(name)
	}
	if !exists {
		diags.AddAttributeError(within("container"), "Not imported yet", "container names what was adopted by an import. Import it, by an import block or terraform import, with the container in the ID.")
		return
	}
	for _, a := range attributes {
		if !a.now.IsUnknown() && changed(a.prior, a.now) {
			diags.AddAttributeError(within(a.name), "An adopted node keeps its own",
				fmt.Sprintf("The node was made by something else, and keeps %s as it was made. Take the change back, or make it where the container is made.", a.name))
		}
	}
}

// refuseAdopted of what peers and clusters have in common.
func (m *runModel) refuseAdopted(prior *runModel, exists bool, more []kept, diags *diag.Diagnostics) {
	refuseAdopted(path.Empty(), exists, append(more,
		kept{"log", prior.Log, m.Log}, kept{"labels", prior.Labels, m.Labels}, kept{"bind_address", prior.BindAddress, m.BindAddress}), diags)
}
