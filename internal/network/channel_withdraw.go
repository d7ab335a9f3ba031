package network

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// withdrawOrganization takes an organization that is about to go out of every channel of ours that it belongs to.
// Terraform removes what is no longer wanted before it updates what remains: its admin can sign now,
// and is gone when the channel itself is updated, which then finds it done. The last member of a channel
// stays, and so does an organization whose keys are lost: it comes back with new ones.
func (f *Fabric) withdrawOrganization(ctx context.Context, org Handle) error {
	if _, err := f.identity(ctx, org); errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		return nil
	} else if err != nil {
		return err
	}
	channels, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelOwner: org.Owner, engine.LabelKind: string(KindChannel), engine.LabelNetwork: org.Network,
	})
	if err != nil {
		return err
	}
	for _, v := range channels {
		channel := handleOf(v.Labels)
		if err := f.withdrawFrom(ctx, org, channel); err != nil {
			return fmt.Errorf("unable to take %s out of %s: %w", org, channel, err)
		}
	}
	return nil
}

func (f *Fabric) withdrawFrom(ctx context.Context, org, channel Handle) error {
	defer f.locks.lock(channel.record())()
	record, err := f.channelRecord(ctx, channel)
	if err != nil { // without its record nothing is known of the channel; its own apply makes it again
		return nil
	}
	remaining := maps.Clone(record.Organizations)
	maps.DeleteFunc(remaining, func(_ string, o ChannelOrganization) bool { return o.Organization == org })
	if len(remaining) == len(record.Organizations) || len(remaining) == 0 {
		return nil
	}
	orderers, err := f.Orderers(ctx, record.Orderers)
	if err != nil {
		return err
	}
	spec := ChannelSpec{Handle: channel, Orderers: record.Orderers, Organizations: record.Organizations, Config: record.Config}
	_, err = f.updateChannel(ctx, configUpdate{
		channel: channel, orderers: orderers, admins: spec.admins(orderers),
		edit: func(config *configtx.Config) error { return config.RemoveApplicationOrganization(org.MSPID) },
	})
	if err != nil {
		return err
	}
	for key, o := range record.Organizations {
		if _, stays := remaining[key]; stays {
			continue
		}
		for _, p := range o.Peers {
			if err := f.removeServersBeside(ctx, channel, p, peersOf(remaining)); err != nil {
				return err
			}
		}
	}
	spec.Organizations = remaining
	return f.writeRecord(ctx, spec, nil)
}
