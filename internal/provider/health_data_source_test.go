package provider

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestHealthNeverFails: an engine that does not answer is a fact like any other.
func TestHealthNeverFails(t *testing.T) {
	arguments := map[string]attr.Value{"network": handleValue(readHandle.With(network.KindNetwork, "dev", ""))}
	gone, fake := fakeSession(t)
	fake.SetUnreachable(true)
	empty, _ := fakeSession(t)
	for name, c := range map[string]struct {
		session *session
		healthy bool
		says    string
	}{
		"no engine":      {gone, false, "switched off"},
		"no setting yet": {newSession(providerModel{DockerHost: types.StringUnknown()}), false, "not known yet"},
		"no nodes":       {empty, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			state, diags := readSource(t, newHealthDataSource(), c.session, arguments)
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			var model healthModel
			if diags := state.Get(t.Context(), &model); diags.HasError() {
				t.Fatal(diags)
			}
			if model.Healthy.ValueBool() != c.healthy || !strings.Contains(model.Problems.String(), c.says) || len(model.Nodes) > 0 || !model.CertificateDaysLeft.IsNull() {
				t.Errorf("it is %+v", model)
			}
		})
	}
}

func TestHealthModel(t *testing.T) {
	h := network.Handle{Kind: network.KindPeer, Network: "dev", Name: "peer0.org1", MSPID: "Org1MSP"}
	orderer, resting := h.With(network.KindOrderer, "orderer0", "OrdererMSP"), h.With(network.KindPeer, "peer1.org1", "Org1MSP")
	soon, late := time.Now().Add(50*time.Hour), time.Now().Add(1000*time.Hour)
	health := network.Health{
		Nodes: map[string]*network.NodeHealth{
			h.Name: {Handle: h, Status: network.Unhealthy, Trouble: errors.New("one\ntwo"), Certificates: map[string]time.Time{"tls": soon, "operations": late}},
			orderer.Name: {
				Handle: orderer, Status: "running", Certificates: map[string]time.Time{"tls": late},
				Channels: map[string]network.NodeChannel{"trade": {Height: 7, Lag: 1, Leads: true}},
			},
			resting.Name: {Handle: resting, Status: "stopped", Resting: true},
		},
		Channels: map[string]*network.ChannelHealth{"trade": {Leader: "orderer0", Height: 8, Lag: 1}, "other": {Trouble: errors.New("no leader")}},
	}
	model := healthModel{Network: handleValue(h.With(network.KindNetwork, "dev", ""))}
	var diags diag.Diagnostics
	model.take(t.Context(), health, nil, &diags)
	state := emptyState(t, dataSchema(t, newHealthDataSource()))
	diags.Append(state.Set(t.Context(), &model)...)
	if diags.HasError() {
		t.Fatal(diags)
	}
	node := func(name string) path.Path { return path.Root("nodes").AtMapKey(name) }
	channel := func(name string) path.Path { return path.Root("channels").AtMapKey(name) }
	for _, c := range []struct {
		at   path.Path
		want string
	}{
		{path.Root("healthy"), "false"}, {path.Root("certificate_days_left"), "2"},
		{path.Root("problems"), `["peer peer0.org1: one; two","channel other: no leader"]`},
		{node("peer0.org1").AtName("status"), `"unhealthy"`}, {node("peer0.org1").AtName("healthy"), "false"},
		{node("peer0.org1").AtName("reason"), `"one; two"`}, {node("peer0.org1").AtName("certificate_days_left"), `{"operations":41,"tls":2}`},
		{node("peer0.org1").AtName("msp_id"), `"Org1MSP"`}, {node("orderer0").AtName("reason"), "<null>"},
		{node("orderer0").AtName("channels").AtMapKey("trade"), `{"height":7,"lag":1,"leader":true}`},
		{node("peer1.org1").AtName("desired_state"), `"stopped"`}, {node("peer1.org1").AtName("healthy"), "true"},
		{channel("trade"), `{"healthy":true,"height":8,"lag":1,"leader":"orderer0","reason":<null>}`},
		{channel("other").AtName("healthy"), "false"},
	} {
		var got attr.Value
		if diags := state.GetAttribute(t.Context(), c.at, &got); diags.HasError() {
			t.Fatal(diags)
		}
		if got.String() != c.want {
			t.Errorf("%s is %s, want %s", c.at, got, c.want)
		}
	}
}
