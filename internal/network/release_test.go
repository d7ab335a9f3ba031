package network

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

func release(t *testing.T, text string) nodeconfig.Version {
	t.Helper()
	v, err := nodeconfig.ParseVersion(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestBarsOf: what of a channel keeps nodes from a release, by configurations as they are on a ledger.
func TestBarsOf(t *testing.T) {
	s := newSketch(t)
	base, err := configtx.Decode(s.genesis)
	s.must(err)
	with := func(change func(*configtx.Config) error) *configtx.Config {
		config := base.Clone()
		s.must(change(config))
		return config
	}
	v3 := with(func(c *configtx.Config) error { return c.SetChannelCapability(configtx.ChannelCapabilityV3_0) })
	legacy := with(func(c *configtx.Config) error { return c.SetApplicationCapability("V1_4_2") })
	older := with(func(c *configtx.Config) error {
		return c.SetApplicationCapability(configtx.ApplicationCapabilityV2_0)
	})
	system := with(func(c *configtx.Config) error {
		groups := c.Proto.GetChannelGroup().GetGroups()
		groups["Consortiums"] = &common.ConfigGroup{Groups: map[string]*common.ConfigGroup{"SampleConsortium": {}}}
		delete(groups, "Application")
		return nil
	})
	for _, c := range []struct {
		name   string
		config *configtx.Config
		kind   Kind
		to     string
		bars   []Bar
	}{
		{"a peer goes to 3", base, KindPeer, "3.1.1", nil},
		{"an orderer goes to 3", base, KindOrderer, "3.1.1", nil},
		{"a peer goes back", base, KindPeer, "2.5.9", nil},
		{"a peer goes back over V3_0", v3, KindPeer, "2.5.9", []Bar{BarCapability}},
		{"an orderer goes back over V3_0", v3, KindOrderer, "2.5.9", []Bar{BarCapability}},
		{"a peer stays in 3 with V3_0", v3, KindPeer, "3.0.0", nil},
		{"a peer of the old lifecycle goes to 3", legacy, KindPeer, "3.1.1", []Bar{BarLegacyLifecycle}},
		{"its orderer may", legacy, KindOrderer, "3.1.1", nil},
		{"it stays in 2", legacy, KindPeer, "2.5.10", nil},
		{"V2_0 has the new lifecycle", older, KindPeer, "3.1.1", nil},
		{"an orderer with a system channel goes to 3", system, KindOrderer, "3.1.1", []Bar{BarSystemChannel}},
		{"it stays in 2", system, KindOrderer, "2.5.10", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			summary, err := configtx.Summarize(c.config)
			if err != nil {
				t.Fatal(err)
			}
			bars := barsOf(c.kind, release(t, c.to), summary)
			if got := slices.Sorted(maps.Keys(bars)); !slices.Equal(got, c.bars) {
				t.Errorf("barred by %v", bars)
			}
		})
	}
}

// TestReleaseBars asks nodes that run, and for those that do not whoever has their channels.
func TestReleaseBars(t *testing.T) {
	s := newSketch(t)
	ledger, _ := s.serveOrdering()
	_, err := s.fabric.updateChannel(t.Context(), configUpdate{
		channel: s.channel, orderers: []Handle{s.orderer("orderer0")},
		admins: []Handle{s.organization("OrdererMSP"), s.organization("Org1MSP"), s.organization("Org2MSP")},
		edit: func(config *configtx.Config) error {
			return config.SetChannelCapability(configtx.ChannelCapabilityV3_0)
		},
	})
	s.must(err)
	p := s.peer("peer0.org1", "Org1MSP")
	s.servePeer(p, &sketchPeer{height: 2, config: ledger.blocks[1]})
	expect := func(when, to string, want int) {
		t.Helper()
		err := s.fabric.requireRelease(t.Context(), release(t, to), []Handle{p, p}, nil)
		barred := new(ReleaseError)
		if errors.As(err, &barred) != (want > 0) || want == 0 && err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if want == 0 {
			return
		}
		const text = "peer peer0.org1 has channel trade and cannot run Fabric 2.5.9: the channel has the channel capability V3_0, which that release does not know, and the node would end when it meets it"
		if barred.Bar != BarCapability || err.Error() != text { // once, although it is asked twice
			t.Errorf("%s: %v", when, err)
		}
	}
	expect("to what it runs", "3.1.1", 0)
	expect("to another one that knows it", "3.1.2", 0)
	expect("back", "2.5.9", 1)
	s.fake.SetStatus(p.Object(), engine.Stopped, 0)
	expect("back while it is stopped", "2.5.9", 1)
	s.removeContainer(p)
	expect("without a container", "2.5.9", 0)
}
