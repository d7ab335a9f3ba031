package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// Fabric is upgraded orderers first (documentation, "Upgrading your components"). Nothing in Terraform
// orders a peer behind the ordering nodes of its channels, so that a network comes up at once; a peer
// that is to run a newer release looks after them itself.

// ordererPatience is how long a peer waits for ordering nodes that do not move: they may be changed
// by the same apply, and then the first of them is within this time.
const ordererPatience = time.Minute

// OlderOrdererError tells that ordering nodes of a peer's channels run an older release than the peer
// is to run.
type OlderOrdererError struct {
	Peer    Handle
	Version string
	// Older are the nodes, in the order of their names, with what they run and the channel.
	Older []OlderOrderer
	// Cause tells what ended the wait; nil when nothing moved.
	Cause error
}

// OlderOrderer is an ordering node that runs an older release.
type OlderOrderer struct {
	Orderer          Handle
	Version, Channel string
}

func (e *OlderOrdererError) Error() string {
	var nodes []string
	for _, o := range e.Older {
		nodes = append(nodes, fmt.Sprintf("%s of channel %s runs %s", o.Orderer, o.Channel, o.Version))
	}
	text := fmt.Sprintf("%s was not changed, and goes on as it is: it is to run Fabric %s, and the ordering nodes of its channels come first: %s",
		e.Peer, e.Version, strings.Join(nodes, ", "))
	if e.Cause != nil {
		text += fmt.Sprintf(" (%v)", e.Cause)
	}
	return text
}

func (e *OlderOrdererError) Unwrap() error { return e.Cause }

// awaitOrderers waits, when a peer is to run a newer release than it does, until every ordering node
// of its channels that is on this engine runs at least that one. It fails with *OlderOrdererError when
// they do not get there in time, or none of them moves.
func (f *Fabric) awaitOrderers(ctx context.Context, spec PeerSpec) error {
	raised, err := f.raises(ctx, spec)
	if err != nil || !raised {
		return err
	}
	ctx, cancel := spec.bounded(ctx)
	defer cancel()
	var last []OlderOrderer
	var moved time.Time
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for {
		older, err := f.olderOrderers(ctx, spec)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && len(older) == 0:
			return nil
		case err == nil && !slices.Equal(older, last):
			last, moved = older, time.Now()
		}
		if time.Since(moved) > f.rolls.ordererPatience {
			return &OlderOrdererError{Peer: spec.Handle, Version: spec.Version.String(), Older: last}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return &OlderOrdererError{Peer: spec.Handle, Version: spec.Version.String(), Older: last, Cause: context.Cause(ctx)}
		}
	}
}

// raises tells whether a peer is to run a newer release than its container was made for.
func (f *Fabric) raises(ctx context.Context, spec PeerSpec) (bool, error) {
	runs, known, err := f.releaseOf(ctx, spec.Handle)
	return known && runs.Compare(spec.Version) < 0, err
}

// olderOrderers gives the ordering nodes of a peer's channels whose containers were made for an older
// release than the peer is to run.
func (f *Fabric) olderOrderers(ctx context.Context, spec PeerSpec) ([]OlderOrderer, error) {
	channels, err := f.channelsWith(ctx, spec.Handle)
	if err != nil {
		return nil, err
	}
	var older []OlderOrderer
	seen := map[Handle]bool{}
	for _, channel := range slices.SortedStableFunc(maps.Keys(channels), compareNames) {
		orderers, err := f.Orderers(ctx, channels[channel].Orderers)
		if err != nil {
			return nil, err
		}
		for _, o := range orderers {
			version, known, err := f.releaseOf(ctx, o)
			if err != nil {
				return nil, err
			}
			if known && !seen[o] && version.Compare(spec.Version) < 0 {
				older = append(older, OlderOrderer{Orderer: o, Version: version.String(), Channel: channel.Name})
			}
			seen[o] = true
		}
	}
	return older, nil
}

// releaseOf gives the release that the container of a peer or an ordering node was made for.
func (f *Fabric) releaseOf(ctx context.Context, h Handle) (version nodeconfig.Version, known bool, err error) {
	n, err := f.engine.Node(ctx, h.Object())
	if errors.Is(err, engine.ErrNotFound) {
		return version, false, nil
	}
	if err != nil {
		return version, false, fmt.Errorf("unable to read %s: %w", h, err)
	}
	_, version, err = memberOf(n)
	return version, err == nil, nil
}

// channelsWith gives the channels of ours whose record has the peer.
func (f *Fabric) channelsWith(ctx context.Context, peer Handle) (map[Handle]channelRecord, error) {
	records, err := f.channelRecords(ctx, peer.Owner)
	maps.DeleteFunc(records, func(_ Handle, record channelRecord) bool {
		return !slices.Contains(peersOf(record.Organizations), peer)
	})
	return records, err
}
