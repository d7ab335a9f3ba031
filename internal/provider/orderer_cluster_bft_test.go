package provider

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// errorsOf gives the errors with the attributes that they are about.
func errorsOf(diags diag.Diagnostics) []string {
	var out []string
	for _, d := range diags.Errors() {
		text := d.Summary() + ": " + d.Detail()
		if at, ok := d.(diag.DiagnosticWithPath); ok {
			text = at.Path().String() + ": " + text
		}
		out = append(out, text)
	}
	return out
}

func expectErrors(t *testing.T, diags diag.Diagnostics, wanted ...string) {
	t.Helper()
	got := errorsOf(diags)
	same := slices.EqualFunc(got, wanted, strings.HasPrefix)
	if !same {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

// TestSmartBFTConfiguration refuses what cannot be, before anything is known of the network.
func TestSmartBFTConfiguration(t *testing.T) {
	bft := func(m *ordererClusterModel) { m.Consensus = types.StringValue("bft") }
	for name, c := range map[string]struct {
		nodes  int
		change func(*ordererClusterModel)
		errors []string
	}{
		"four":  {4, bft, nil},
		"five":  {5, bft, nil},
		"three": {3, bft, []string{"nodes: Too few ordering nodes for SmartBFT: SmartBFT needs 4 ordering nodes or more, and has 3: of n nodes f = (n-1)/3, rounded down, may fail or lie, which of 3 are none. Add nodes"}},
		"raft beside it": {4, func(m *ordererClusterModel) {
			bft(m)
			m.Raft = raftValue(configtx.DefaultRaftOptions())
		}, []string{"raft: Options of another consensus: The channels of this cluster are ordered by SmartBFT."}},
		"beside Raft": {3, func(m *ordererClusterModel) { m.BFT = bftValue(configtx.DefaultBFTOptions()) }, []string{"bft: Options of another consensus: The channels of this cluster are ordered by Raft."}},
		"nodes of others": {4, func(m *ordererClusterModel) {
			bft(m)
			m.External = types.MapValueMust(externalConsenterType, map[string]attr.Value{})
		}, []string{"external_consenters: SmartBFT with nodes of other states: SmartBFT knows each node by its enrolment certificate"}},
		"a consensus that is not known yet": {3, func(m *ordererClusterModel) { m.Consensus = types.StringUnknown() }, nil},
		"nodes that are not known yet": {3, func(m *ordererClusterModel) {
			bft(m)
			m.Nodes = types.MapUnknown(ordererType)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			diags := validateCluster(t, c.nodes, c.change)
			expectErrors(t, diags, c.errors...)
			if len(diags.Warnings()) > 0 {
				t.Errorf("an even number of nodes warns: %v", diags.Warnings())
			}
		})
	}
}

func TestSmartBFTRelease(t *testing.T) {
	m := &ordererClusterModel{Consensus: types.StringValue("bft"), FabricVersion: types.StringValue("2.5.9"), Config: types.DynamicNull()}
	var diags diag.Diagnostics
	m.validate(t.Context(), &diags)
	expectErrors(t, diags, "consensus: SmartBFT needs Fabric 3: Fabric 2.5.9 orders by Raft only.")
}

// TestSmartBFTOptions: options go to the schema and back, and those that SmartBFT refuses are refused by name.
func TestSmartBFTOptions(t *testing.T) {
	for _, o := range []configtx.BFTOptions{configtx.DefaultBFTOptions(), {RequestForwardTimeout: time.Second, LeaderHeartbeatCount: 3, RequestMaxBytes: 1}} {
		if got := bftOptionsFrom(bftValue(o)); got != o {
			t.Errorf("%+v became %+v", o, got)
		}
	}
	if got := bftOptionsFrom(types.ObjectNull(bftTypes)); got != configtx.DefaultBFTOptions() {
		t.Errorf("no options are %+v", got)
	}
	small := map[string]network.ClusterChannel{"trade": {Batch: configtx.Batch{AbsoluteMaxBytes: 20000}}}
	for name, c := range map[string]struct {
		change func(*configtx.BFTOptions)
		facts  map[string]network.ClusterChannel
		errors []string
	}{
		"defaults": {func(*configtx.BFTOptions) {}, small, nil},
		"timers in another order": {
			func(o *configtx.BFTOptions) { o.RequestForwardTimeout = time.Hour }, small,
			[]string{"bft.request_forward_timeout: Options that cannot work: At bft.request_forward_timeout: 1h0m0s is more than request_complain_timeout, which is 20s."},
		},
		"larger than a block": {
			func(o *configtx.BFTOptions) { o.RequestMaxBytes = 20001 }, small,
			[]string{"bft.request_max_bytes: Options that cannot work: At bft.request_max_bytes: 20001 is more than batch.absolute_max_bytes, which is 20000 on channel trade."},
		},
		"no block yet": {func(o *configtx.BFTOptions) { o.RequestMaxBytes = 20001 }, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			options := configtx.DefaultBFTOptions()
			c.change(&options)
			m := &ordererClusterModel{Consensus: types.StringValue("bft"), BFT: bftValue(options)}
			var diags diag.Diagnostics
			m.refuseOptions(c.facts, &diags)
			expectErrors(t, diags, c.errors...)
		})
	}
}

// TestPlanOrdering: a cluster has the options of its own consensus, with their defaults, and no others.
func TestPlanOrdering(t *testing.T) {
	raft, bft := raftValue(configtx.DefaultRaftOptions()), bftValue(configtx.DefaultBFTOptions())
	for consensus, wanted := range map[string][2]types.Object{
		"raft": {raft, types.ObjectNull(bftTypes)}, "bft": {types.ObjectNull(raftTypes), bft},
	} {
		m := &ordererClusterModel{Consensus: types.StringValue(consensus)}
		m.planOrdering(&ordererClusterModel{Raft: types.ObjectNull(raftTypes), BFT: types.ObjectNull(bftTypes)})
		if !m.Raft.Equal(wanted[0]) || !m.BFT.Equal(wanted[1]) {
			t.Errorf("%s has %s and %s", consensus, m.Raft, m.BFT)
		}
		var diags diag.Diagnostics
		again := &ordererClusterModel{}
		again.setOrdering(m.ordering(t.Context(), &diags))
		if again.Consensus != m.Consensus || !again.Raft.Equal(m.Raft) || !again.BFT.Equal(m.BFT) {
			t.Errorf("%s is written back as %s, %s and %s", consensus, again.Consensus, again.Raft, again.BFT)
		}
	}
}

func TestConsensusStays(t *testing.T) {
	trade := map[string]network.ClusterChannel{"trade": {}}
	raft, bft := &ordererClusterModel{Consensus: types.StringValue("raft")}, &ordererClusterModel{Consensus: types.StringValue("bft")}
	for _, c := range []struct {
		before, now *ordererClusterModel
		facts       map[string]network.ClusterChannel
		errors      []string
	}{
		{raft, raft, trade, nil},
		{raft, bft, nil, nil},
		{raft, bft, trade, []string{`consensus: The consensus of a channel cannot be changed: The cluster orders channels by raft: trade.`}},
	} {
		var diags diag.Diagnostics
		c.now.refuseConversion(c.before, c.facts, &diags)
		expectErrors(t, diags, c.errors...)
	}
}
