package provider

import (
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestPlannedPorts: planned values count, and only the last ones of each node.
func TestPlannedPorts(t *testing.T) {
	on := network.Handle{Kind: network.KindNetwork, Network: "dev", Owner: "me"}
	peer := func(name string) types.Object { return handleValue(on.With(network.KindPeer, name, "Org1MSP")) }
	wish := func(address string, port int64) []portWish {
		return wantedPorts(types.StringValue(address), plannedAt{types.Int64Value(port), path.Root("port")})
	}
	var p plannedPorts
	clash := func(handle types.Object, wishes []portWish) string {
		var diags diag.Diagnostics
		p.want(handle, wishes, &diags)
		text := ""
		for _, d := range diags {
			text += d.Detail()
		}
		return text
	}
	for i, step := range []struct {
		handle types.Object
		wishes []portWish
		want   string
	}{
		{peer("a"), wish("127.0.0.1", 7051), ""},
		{peer("a"), wish("127.0.0.1", 7051), ""}, // planned again, as at apply
		{peer("b"), wish("127.0.0.1", 7051), "peer b of network dev and peer a of network dev"},
		{peer("b"), wish("127.0.0.2", 7051), ""},
		{peer("c"), wish("0.0.0.0", 7051), "0.0.0.0:7051 (port)"},
		{peer("c"), wish("::", 7052), ""},
		{peer("d"), wish("127.0.0.1", 7052), "peer c"},
		{peer("d"), nil, ""},
		{peer("a"), wish("127.0.0.1", 7060), ""}, // its port is free for another one
		{peer("d"), wish("127.0.0.1", 7051), ""},
		{handleValue(on.With(network.KindCA, "a", "")), wish("127.0.0.1", 7060), "CA a of network dev and peer a of network dev"},
		{types.ObjectUnknown(handleTypes), wish("127.0.0.1", 7060), ""}, // nobody knows which node it is
		{peer("e"), append(wish("127.0.0.1", 7070), wish("127.0.0.1", 7070)...), "two endpoints of the same node"},
		{peer("f"), wantedPorts(types.StringUnknown(), plannedAt{types.Int64Value(7060), path.Root("port")}), ""},
		{peer("f"), wantedPorts(types.StringValue("127.0.0.1"), plannedAt{types.Int64Unknown(), path.Root("port")}), ""},
	} {
		said := clash(step.handle, step.wishes)
		if (step.want == "") != (said == "") || !strings.Contains(said, step.want) {
			t.Errorf("step %d: it says %q, want %q", i, said, step.want)
		}
	}
	p.leave(peer("a"))
	if said := clash(peer("g"), wish("127.0.0.1", 7060)); strings.Contains(said, "peer a") {
		t.Errorf("a node that goes still has its port: %s", said)
	}
}
