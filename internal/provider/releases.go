package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
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

// planPatience is how long nodes may take to answer a plan, which can do without them.
const planPatience = 5 * time.Second

// refuseRelease refuses a release that a channel keeps nodes from. They are asked right now, since what
// their channels have is in no state of theirs; an apply asks again before it changes one. Nodes that
// cannot be asked hold up no plan.
func (c *configured) refuseRelease(ctx context.Context, before, now types.String, nodes []network.Handle, others map[string]network.RemoteOrderer, diags *diag.Diagnostics) {
	version, err := nodeconfig.ParseVersion(now.ValueString())
	if err != nil || before.IsNull() || before.Equal(now) {
		return
	}
	f, err := c.session.open()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, planPatience)
	defer cancel()
	bars, _ := f.ReleaseBars(ctx, version, nodes, others)
	for _, bar := range bars {
		diags.AddAttributeError(path.Root("fabric_version"), "A channel keeps "+bar.Node.String()+" from this release", explain(bar))
	}
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
	eachPeer(organizations, func(at path.Path, peer string) {
		mine, planned := c.made["release of "+peer]
		if planned && bft && !mine.release.SupportsChannelV3() {
			diags.AddAttributeError(at, "SmartBFT needs Fabric 3", fmt.Sprintf(
				"%s runs Fabric %s, which ends at a channel of SmartBFT. Give it a fabric_version of 3.0 or later.", peer, mine.release))
		}
		if mine.raised && ordering.release.Compare(mine.release) < 0 {
			diags.AddAttributeError(at, "Ordering nodes come first", fmt.Sprintf(
				"This plan has %s run Fabric %s, and leaves %s at %s. Fabric is upgraded orderers first: give the ordering cluster that fabric_version in the same apply, or in one before it.",
				peer, mine.release, cluster, ordering.release))
		}
	})
}

// capabilityServed refuses the channel capability V3_0 when a node of the channel is planned to run a release
// that does not know it. Nodes of other states, and what runs by now, are looked at when it is applied.
func (c *claims) capabilityServed(capability types.String, orderers types.Object, organizations map[string]channelOrganizationModel, diags *diag.Diagnostics) {
	if capability.ValueString() != configtx.ChannelCapabilityV3_0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var old []string
	look := func(node string) {
		if mine, planned := c.made["release of "+node]; planned && !mine.release.SupportsChannelV3() {
			old = append(old, fmt.Sprintf("%s (Fabric %s)", node, mine.release))
		}
	}
	if cluster, known := nodeIdentity(orderers); known {
		look(cluster)
	}
	eachPeer(organizations, func(_ path.Path, peer string) { look(peer) })
	if slices.Sort(old); len(old) > 0 {
		diags.AddAttributeError(path.Root("channel_capability"), "V3_0 needs nodes of Fabric 3.0 or later",
			"This plan has nodes of the channel run a release that ends when it meets it: "+strings.Join(old, ", ")+". Use V2_0, or give them a fabric_version of 3.0 or later first.")
	}
}

// eachPeer gives the peers of a channel that are known, with where they are named.
func eachPeer(organizations map[string]channelOrganizationModel, do func(at path.Path, peer string)) {
	for key, o := range organizations {
		for name, element := range o.Peers.Elements() {
			if handle, ok := element.(types.Object); ok {
				if peer, known := nodeIdentity(handle); known {
					do(path.Root("organizations").AtMapKey(key).AtName("peers").AtMapKey(name), peer)
				}
			}
		}
	}
}
