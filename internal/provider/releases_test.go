package provider

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestCapabilityServed: a plan in which a node runs a release that does not know the channel's capability.
func TestCapabilityServed(t *testing.T) {
	peer := handleValue(readHandle.With(network.KindPeer, "peer0.org1", "Org1MSP"))
	cluster := handleValue(readHandle.With(network.KindOrdererCluster, "raft", "OrdererMSP"))
	for _, test := range []struct{ name, capability, peer, cluster, old string }{
		{"all know it", "V3_0", "3.1.1", "3.0.0", ""},
		{"none has to", "V2_0", "2.5.9", "2.5.9", ""},
		{"of another state", "V3_0", "", "", ""},
		{"the peer does not", "V3_0", "2.5.9", "3.1.1", "peer peer0.org1 of network dev (Fabric 2.5.9)"},
		{"nobody does", "V3_0", "2.5.9", "2.5.10", "ordering cluster raft of network dev (Fabric 2.5.10), peer peer0.org1 of network dev (Fabric 2.5.9)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &claims{}
			for handle, release := range map[*types.Object]string{&peer: test.peer, &cluster: test.cluster} {
				if release != "" {
					c.release(*handle, types.StringNull(), types.StringValue(release))
				}
			}
			var diags diag.Diagnostics
			c.capabilityServed(types.StringValue(test.capability), cluster, map[string]channelOrganizationModel{
				"org1": {Peers: types.MapValueMust(handleType, map[string]attr.Value{"peer0": peer})},
			}, &diags)
			if diags.HasError() != (test.old != "") || diags.HasError() && !strings.Contains(diags[0].Detail(), test.old) {
				t.Errorf("the diagnostics are %v", diags)
			}
		})
	}
}

// TestOrderersFirst: a plan that raises a peer above its ordering nodes.
func TestOrderersFirst(t *testing.T) {
	peer := handleValue(readHandle.With(network.KindPeer, "peer0.org1", "Org1MSP"))
	cluster := handleValue(readHandle.With(network.KindOrdererCluster, "raft", "OrdererMSP"))
	text := func(s string) types.String {
		switch s {
		case "":
			return types.StringNull()
		case "unknown":
			return types.StringUnknown()
		}
		return types.StringValue(s)
	}
	for _, test := range []struct {
		name            string
		was, is         string
		before, ordered string
		refused         bool
	}{
		{"both", "2.5.9", "3.1.1", "2.5.9", "3.1.1", false},
		{"the peer alone", "2.5.9", "3.1.1", "2.5.9", "2.5.9", true},
		{"the cluster alone", "2.5.9", "2.5.9", "2.5.9", "3.1.1", false},
		{"the peer was ahead before", "3.1.1", "3.1.1", "2.5.9", "2.5.9", false},
		{"a new peer", "", "3.1.1", "2.5.9", "2.5.9", false},
		{"a cluster of another state", "2.5.9", "3.1.1", "", "", false},
		{"not known yet", "2.5.9", "unknown", "2.5.9", "2.5.9", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &claims{}
			c.release(peer, text(test.was), text(test.is))
			if test.ordered != "" {
				c.release(cluster, text(test.before), text(test.ordered))
			}
			var diags diag.Diagnostics
			c.orderersFirst(cluster, map[string]channelOrganizationModel{
				"org1": {Peers: types.MapValueMust(handleType, map[string]attr.Value{"peer0": peer})}, "org2": {Peers: types.MapNull(handleType)},
			}, &diags)
			if diags.HasError() != test.refused {
				t.Fatalf("the diagnostics are %v", diags)
			}
			if test.refused && !strings.Contains(diags[0].Detail(), "has peer peer0.org1 of network dev run Fabric 3.1.1, and leaves ordering cluster raft of network dev at 2.5.9") {
				t.Errorf("it says %s", diags[0].Detail())
			}
		})
	}
}

// TestSmartBFTPeers: a peer before 3.0 in a channel of SmartBFT.
func TestSmartBFTPeers(t *testing.T) {
	peer := handleValue(readHandle.With(network.KindPeer, "peer0.org1", "Org1MSP"))
	cluster := handleValue(readHandle.With(network.KindOrdererCluster, "orderers", "OrdererMSP"))
	for _, test := range []struct {
		consensus, release string
		refused            bool
	}{{"bft", "3.1.1", false}, {"bft", "2.5.9", true}, {"raft", "2.5.9", false}} {
		c := &claims{}
		c.release(peer, types.StringNull(), types.StringValue(test.release))
		c.release(cluster, types.StringNull(), types.StringValue("3.1.1"))
		c.consensus(cluster, types.StringValue(test.consensus))
		var diags diag.Diagnostics
		c.orderersFirst(cluster, map[string]channelOrganizationModel{"org1": {Peers: types.MapValueMust(handleType, map[string]attr.Value{"peer0": peer})}}, &diags)
		var wanted []string
		if test.refused {
			wanted = []string{`organizations["org1"].peers["peer0"]: SmartBFT needs Fabric 3: peer peer0.org1 of network dev runs Fabric 2.5.9`}
		}
		expectErrors(t, diags, wanted...)
	}
}
