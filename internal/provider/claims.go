package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// claims remember what the resources of one plan ask for, so that two which want the same are told so
// before anything is made. Terraform plans every resource of a configuration once in the same
// session, those that do not change too. The protocol gives no resource addresses: a resource is
// known by what it claims.
type claims struct {
	mu   sync.Mutex
	made map[string]claim
}

type claim struct {
	// fresh tells that the resource is to be created; config is its configuration, as text.
	fresh  bool
	config string
	// anew tells that it exists, and is to be replaced.
	anew bool
	// holder is for whom an exclusive thing is claimed.
	holder     string
	validities []time.Duration
	// release is what a node is planned to run, raised that it is newer than what it runs.
	release nodeconfig.Version
	raised  bool
	// members are those that a channel is planned to have; nil while they are not known.
	members *network.ChannelMembers
}

// name claims the name of a thing on a network, given the handle of the network or of anything on it.
// A resource that Terraform is asked to replace is planned twice: as it is, and then anew from the
// same configuration and with the private state of before, by which it is told from another resource
// of that name. One that replaces itself claims its name only then.
func (c *claims) name(ctx context.Context, kind network.Kind, of types.Object, name types.String, at path.Path, req resource.ModifyPlanRequest, diags *diag.Diagnostics) {
	on := handleMember(of, "network")
	if on.IsUnknown() || on.IsNull() || name.IsUnknown() || name.IsNull() {
		return
	}
	key := fmt.Sprintf("%s %s/%s", kind, on.ValueString(), name.ValueString())
	switch kind {
	case network.KindCA, network.KindPeer, network.KindOrderer: // nodes share one space of names
		key = nodeKey(on, name)
	case network.KindIdentity, network.KindChannelMembership: // each organization has its own
		key += " of " + handleMember(of, "msp_id").ValueString()
	}
	private, d := req.Private.GetKey(ctx, engineKey)
	diags.Append(d...)
	mine := claim{fresh: req.State.Raw.IsNull(), config: req.Config.Raw.String()}
	again := mine.fresh && len(private) > 0
	c.mu.Lock()
	defer c.mu.Unlock()
	other, taken := c.made[key]
	if !taken {
		c.put(key, mine)
		return
	}
	what := fmt.Sprintf("%s on network %s", network.Handle{Kind: kind, Name: name.ValueString()}, on.ValueString())
	if again && !other.fresh && mine.config == other.config {
		other.anew = true
		c.put(key, other)
		return
	}
	diags.AddAttributeError(at, "Name used twice",
		fmt.Sprintf("Two resources of this configuration are %s. Give one of them another name.", what))
}

func nodeKey(on, name types.String) string {
	return fmt.Sprintf("node %s/%s", on.ValueString(), name.ValueString())
}

// nodesMade gives the names of the nodes, of those whose handles are given, that are about to be made.
func (c *claims) nodesMade(handles []types.Object) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, h := range handles {
		name := handleMember(h, "name")
		if node := c.made[nodeKey(handleMember(h, "network"), name)]; node.fresh || node.anew {
			names = append(names, name.ValueString())
		}
	}
	return names
}

// exclusive claims something that only one holder may have. It gives the other one, or nothing.
func (c *claims) exclusive(thing, holder string) (other string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if had, taken := c.made[thing]; taken && had.holder != holder {
		return had.holder
	}
	c.put(thing, claim{holder: holder})
	return ""
}

func (c *claims) put(key string, mine claim) {
	if c.made == nil {
		c.made = map[string]claim{}
	}
	c.made[key] = mine
}

// validities remembers which lifetimes a CA issues, caOf which organization it serves, so that an
// identity can be told at plan what it may choose from. It is told nothing of a CA of another state.
func (c *claims) validities(ca types.Object, standard types.String, further types.Set) {
	on, name := handleMember(ca, "network"), handleMember(ca, "name")
	if on.IsUnknown() || name.IsUnknown() || standard.IsUnknown() || further.IsUnknown() || slices.ContainsFunc(further.Elements(), attr.Value.IsUnknown) {
		return
	}
	issued := append([]time.Duration{durationOf(standard)}, durationsOf(further)...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put("validities "+on.ValueString()+"/"+name.ValueString(), claim{validities: issued})
}

// validity refuses a lifetime that the CA of the organization does not issue, as far as it is planned here.
func (c *claims) validity(organization types.Object, wanted types.String, diags *diag.Diagnostics) {
	on, mspID := handleMember(organization, "network"), handleMember(organization, "msp_id")
	if wanted.IsNull() || wanted.IsUnknown() || on.IsUnknown() || mspID.IsUnknown() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	serves, known := c.made["issuer "+on.ValueString()+"/"+mspID.ValueString()]
	issues, planned := c.made["validities "+serves.holder]
	if !known || !planned || slices.Contains(issues.validities, durationOf(wanted)) {
		return
	}
	_, name, _ := strings.Cut(serves.holder, "/")
	h := network.Handle{Kind: network.KindCA, Network: on.ValueString(), Name: name}
	diags.AddAttributeError(path.Root("validity"), "Validity that the CA does not issue", explain(&network.ValidityError{
		CA: h, Wanted: durationOf(wanted), Known: issues.validities,
	}))
}

// caOf claims a CA for an organization: whoever a CA certifies would be a member of every
// organization that it serves.
func (c *claims) caOf(ca types.Object, mspID types.String, diags *diag.Diagnostics) {
	on, name := handleMember(ca, "network"), handleMember(ca, "name")
	if on.IsUnknown() || name.IsUnknown() || name.IsNull() || mspID.IsUnknown() {
		return
	}
	c.exclusive("issuer "+on.ValueString()+"/"+mspID.ValueString(), on.ValueString()+"/"+name.ValueString())
	if other := c.exclusive("organization of "+on.ValueString()+"/"+name.ValueString(), mspID.ValueString()); other != "" {
		diags.AddAttributeError(path.Root("ca"), "CA used twice",
			fmt.Sprintf("CA %s issues the certificates of organization %s too: whoever it certifies would be a member of both. Give each organization a CA of its own.", name.ValueString(), other))
	}
}

// members remembers whom a channel is planned to have as members, for the policies of its chaincodes.
// They are nil when they are not known yet.
func (c *claims) members(channel types.Object, members *network.ChannelMembers) {
	if key, known := nodeIdentity(channel); known {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.put("members of "+key, claim{members: members})
	}
}

// membersOf gives the members that a channel is planned to have, nil when they are not known yet. It is
// told nothing of a channel of another state.
func (c *claims) membersOf(channel types.Object) (members *network.ChannelMembers, planned bool) {
	key, known := nodeIdentity(channel)
	c.mu.Lock()
	defer c.mu.Unlock()
	claimed, planned := c.made["members of "+key]
	return claimed.members, known && planned
}
