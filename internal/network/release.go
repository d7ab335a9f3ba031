package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// A channel binds its nodes to releases. A node ends itself when it meets a capability that it does not
// know, which rules out a way back; and Fabric 3 has given up what channels of Fabric 1 rest on
// (release notes of 3.0.0). Both are found out before a container is taken down.

// Bar is why a channel keeps its nodes from a release.
type Bar int

// The bars.
const (
	// BarCapability: the channel has a capability that the release does not know.
	BarCapability Bar = iota
	// BarSystemChannel: it is a system channel, and the release has none.
	BarSystemChannel
	// BarLegacyLifecycle: its chaincodes have the lifecycle of Fabric 1, which the release has not.
	BarLegacyLifecycle
)

// ReleaseError tells that a node cannot run a release because of a channel that it has.
type ReleaseError struct {
	Node    Handle
	Version string
	Channel string
	Bar     Bar
	// Has is what of the channel it is, in words.
	Has string
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("%s has channel %s and cannot run Fabric %s: %s", e.Node, e.Channel, e.Version, e.Has)
}

// barsOf gives why a channel keeps nodes of a kind from a release.
func barsOf(kind Kind, to nodeconfig.Version, channel configtx.Summary) map[Bar]string {
	bars := map[Bar]string{}
	if slices.Contains(channel.ChannelCapabilities, configtx.ChannelCapabilityV3_0) && !to.SupportsChannelV3() {
		bars[BarCapability] = fmt.Sprintf("the channel has the channel capability %s, which that release does not know, and the node would end when it meets it", configtx.ChannelCapabilityV3_0)
	}
	if to.Major() < 3 {
		return bars
	}
	if kind == KindOrderer && channel.System {
		bars[BarSystemChannel] = "it is a system channel, which that release no longer has, and the node would end when it starts"
	}
	if kind == KindPeer && !channel.System && !channel.NewLifecycle() {
		bars[BarLegacyLifecycle] = fmt.Sprintf("the channel has the application capability %s, and with it the chaincode lifecycle of Fabric 1, which that release no longer has", strings.Join(channel.ApplicationCapabilities, ", "))
	}
	return bars
}

// ReleaseBars gives why nodes that are there cannot change to a release, as far as they can be asked. Each
// channel is named once. Others are ordering nodes elsewhere that hand out what a follower does not.
func (f *Fabric) ReleaseBars(ctx context.Context, to nodeconfig.Version, nodes []Handle, others map[string]RemoteOrderer) ([]*ReleaseError, error) {
	var out []*ReleaseError
	seen := map[string]bool{}
	for _, h := range nodes {
		runs, known, err := f.releaseOf(ctx, h)
		if err != nil {
			return nil, err
		}
		if !known || runs.Compare(to) == 0 {
			continue
		}
		held, err := f.held(ctx, h, remoteOrderers(h.Organization(), others))
		if err != nil {
			return nil, err
		}
		for _, channel := range held {
			if seen[channel.Channel] {
				continue
			}
			bars := barsOf(h.Kind, to, channel)
			for _, bar := range slices.Sorted(maps.Keys(bars)) {
				seen[channel.Channel] = true
				out = append(out, &ReleaseError{Node: h, Version: to.String(), Channel: channel.Channel, Bar: bar, Has: bars[bar]})
			}
		}
	}
	return out, nil
}

// requireRelease fails with *ReleaseError when a channel keeps nodes that are there from a release.
func (f *Fabric) requireRelease(ctx context.Context, to nodeconfig.Version, nodes []Handle, others map[string]RemoteOrderer) error {
	bars, err := f.ReleaseBars(ctx, to, nodes, others)
	failed := []error{err}
	for _, bar := range bars {
		failed = append(failed, bar)
	}
	return errors.Join(failed...)
}

// held gives what a node's channels are, in the order of their names, as far as anybody tells. A peer that
// does not answer has those of the records.
func (f *Fabric) held(ctx context.Context, h Handle, others []Handle) ([]configtx.Summary, error) {
	channels := map[string]configtx.Summary{} // with nothing but a name while no more is known
	askable := map[string][]Handle{}
	if h.Kind == KindPeer {
		records, err := f.channelsWith(ctx, h)
		if err != nil {
			return nil, err
		}
		for channel, record := range records {
			if askable[channel.Name], err = f.Orderers(ctx, record.Orderers); err != nil {
				return nil, err
			}
			channels[channel.Name] = configtx.Summary{}
		}
	}
	running, err := f.running(ctx, h)
	if err != nil {
		return nil, err
	}
	if running {
		f.addJoined(ctx, h, channels)
	}
	var out []configtx.Summary
	for _, name := range slices.Sorted(maps.Keys(channels)) {
		nodes := slices.Concat(others, askable[name])
		if running {
			nodes = slices.Insert(nodes, 0, h)
		}
		config, err := f.latestConfig(ctx, h.With(KindChannel, name, ""), nodes)
		if err == nil {
			var summary configtx.Summary
			if summary, err = configtx.Summarize(config); err == nil {
				out = append(out, summary)
				continue
			}
		}
		if s := channels[name]; s.System { // that is known without its configuration
			s.Channel = name
			out = append(out, s)
		}
	}
	return out, nil
}

// addJoined adds the channels that a node says it has; one that does not answer adds none.
func (f *Fabric) addJoined(ctx context.Context, h Handle, to map[string]configtx.Summary) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if h.Kind == KindPeer {
		names, _ := f.peerChannels(ctx, h)
		for _, name := range names {
			to[name] = configtx.Summary{}
		}
		return
	}
	client, err := f.participation(ctx, h)
	if err != nil {
		return
	}
	list, _ := client.List(ctx)
	for _, channel := range list {
		to[channel.Name] = configtx.Summary{System: channel.System}
	}
}
