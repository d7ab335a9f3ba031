package provider

import (
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// release remembers which Fabric release a peer or an ordering cluster is planned to run, and which it
// runs; before is null for a new one.
func (c *claims) release(handle types.Object, before, now types.String) {
	key, known := nodeIdentity(handle)
	version, err := nodeconfig.ParseVersion(now.ValueString())
	if !known || now.IsUnknown() || err != nil {
		return
	}
	was, err := nodeconfig.ParseVersion(before.ValueString())
	mine := claim{release: version, raised: err == nil && !before.IsNull() && was.Compare(version) < 0}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put("release of "+key, mine)
}

// consensus remembers how the ordering cluster of a handle orders, consensusOf gives it; empty when the
// cluster is planned elsewhere.
func (c *claims) consensus(handle types.Object, consensus types.String) {
	if key, known := nodeIdentity(handle); known && !consensus.IsUnknown() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.put("consensus of "+key, claim{holder: consensus.ValueString()})
	}
}

func (c *claims) consensusOf(orderers types.Object) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, _ := nodeIdentity(orderers)
	return c.made["consensus of "+key].holder
}

// orderersFirst refuses a plan in which a peer of a channel is raised above the channel's ordering nodes:
// it would wait for them in vain. Nor can a peer before 3.0 follow a channel of SmartBFT. A channel is planned
// after both, because it is given their handles. It is told nothing of nodes of other states.
func (c *claims) orderersFirst(orderers types.Object, organizations map[string]channelOrganizationModel, diags *diag.Diagnostics) {
	cluster, known := nodeIdentity(orderers)
	if !known {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ordering, planned := c.made["release of "+cluster]
	if !planned {
		return
	}
	bft := c.made["consensus of "+cluster].holder == consensusBFT
	for key, o := range organizations {
		for name, element := range o.Peers.Elements() {
			handle, ok := element.(types.Object)
			if !ok {
				continue
			}
			peer, known := nodeIdentity(handle)
			mine, planned := c.made["release of "+peer]
			if known && planned && bft && !mine.release.SupportsChannelV3() {
				diags.AddAttributeError(path.Root("organizations").AtMapKey(key).AtName("peers").AtMapKey(name), "SmartBFT needs Fabric 3", fmt.Sprintf(
					"%s runs Fabric %s, which ends at a channel of SmartBFT. Give it a fabric_version of 3.0 or later.", peer, mine.release))
			}
			if known && mine.raised && ordering.release.Compare(mine.release) < 0 {
				diags.AddAttributeError(path.Root("organizations").AtMapKey(key).AtName("peers").AtMapKey(name), "Ordering nodes come first", fmt.Sprintf(
					"This plan has %s run Fabric %s, and leaves %s at %s. Fabric is upgraded orderers first: give the ordering cluster that fabric_version in the same apply, or in one before it.",
					peer, mine.release, cluster, ordering.release))
			}
		}
	}
}
