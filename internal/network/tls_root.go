package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// tlsRollover is a new TLS root that an organization is on its way to.
type tlsRollover struct {
	// Version is the one that the organization will have.
	Version int `json:"version"`
	// Root is the new root, in PEM.
	Root string `json:"root"`
	// Issues tells that the CA issues from it, and that what others issued is to be replaced.
	Issues bool `json:"issues,omitempty"`
}

// RollTLSRoot gives an organization another TLS root while its network runs, in the only order in
// which nobody ever meets a certificate that he does not trust:
//
//	the new root is trusted beside the old ones, on every channel and by every node;
//	the CA issues from it, and every node gets a certificate of it, for the key that it has;
//	the consenters of every channel have these certificates on the ledger, one after the other;
//	the old roots are trusted no more.
//
// Nodes restart three times, peers one after the other, ordering nodes as their cluster is rolled. How
// far it came is kept with the organization: an attempt that was cut short goes on there.
func (f *Fabric) RollTLSRoot(ctx context.Context, org Handle, version int) error {
	keys, from, err := f.issuer(ctx, org)
	if err != nil {
		return err
	}
	if keys.TLSRootVersion == version && keys.TLSRollover == nil {
		return nil
	}
	if err := f.requireFellows(ctx, org); err != nil {
		return err
	}
	if err := f.beginTLSRoot(ctx, keys, from, version); err != nil {
		return err
	}
	root := keys.TLSRollover.Root
	if err := f.updateChannelsOf(ctx, org, func(c *configtx.Config) error { return c.AddTLSRoot(org.MSPID, root) }); err != nil {
		return err
	}
	if err := f.refreshMembers(ctx, org); err != nil {
		return err
	}
	if err := f.issueFromTLSRoot(ctx, keys, from); err != nil {
		return err
	}
	if err := f.refreshMembers(ctx, org); err != nil {
		return err
	}
	if err := f.renewConsenters(ctx, org); err != nil {
		return err
	}
	for _, old := range keys.Definition.TLSRootCertificates {
		if old == root {
			continue
		}
		if err := f.updateChannelsOf(ctx, org, func(c *configtx.Config) error { return c.RemoveTLSRoot(org.MSPID, old) }); err != nil {
			return err
		}
	}
	keys.Definition.TLSRootCertificates, keys.TLSRootVersion, keys.TLSRollover = []string{root}, version, nil
	if err := f.writeOrganization(ctx, keys); err != nil {
		return err
	}
	return f.refreshMembers(ctx, org)
}

// requireFellows fails with *LoneConsenterError when a channel has no consenter but one of the organization.
func (f *Fabric) requireFellows(ctx context.Context, org Handle) error {
	nodes, err := f.membersOf(ctx, org)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.handle.Kind != KindOrderer {
			continue
		}
		own, err := f.consenter(ctx, n.handle)
		if err != nil {
			return err
		}
		views, err := f.survey(ctx, []Handle{n.handle})
		if err != nil {
			return err
		}
		for _, c := range views {
			if c.summary != nil && len(c.summary.Consenters) == 1 && entryOf(*c.summary, own) != nil {
				return &LoneConsenterError{Node: n.handle, Channel: c.channel.Name}
			}
		}
	}
	return nil
}

// beginTLSRoot makes the new root, keeps it with the CA's keys, and makes the organization trust it.
func (f *Fabric) beginTLSRoot(ctx context.Context, keys *organizationKeys, from Handle, version int) error {
	if keys.TLSRollover != nil { // one that was begun is ended, whatever it was for
		keys.TLSRollover.Version = version
		return nil
	}
	spec, err := f.FindCA(ctx, from.Network, from.Name)
	if err != nil {
		return err
	}
	if spec.Parent != nil {
		return fmt.Errorf("%s is an intermediate: its TLS root is that of %s, and is the root of others too", from, *spec.Parent)
	}
	root, err := certificate.NewRoot(certificate.RootRequest{
		CommonName: fmt.Sprintf("tls%s-%d", spec.CommonName, version), Organization: spec.Organization, KeyAlgorithm: spec.KeyAlgorithm, Validity: spec.RootValidity,
	})
	if err != nil {
		return err
	}
	keyPEM, err := root.KeyPEM()
	if err != nil {
		return err
	}
	err = f.writeKeys(ctx, from, map[string][]byte{nextTLSRoot: root.CertificatePEM(), nextTLSRootKey: keyPEM})
	if err != nil {
		return err
	}
	keys.TLSRollover = &tlsRollover{Version: version, Root: string(root.CertificatePEM())}
	keys.Definition.TLSRootCertificates = append(slices.Clone(keys.Definition.TLSRootCertificates), keys.TLSRollover.Root)
	return f.writeOrganization(ctx, keys)
}

// The TLS root that a CA is to issue from, in its key volume until it does.
const (
	nextTLSRoot    = "tls/next.pem"
	nextTLSRootKey = "tls/next.key"
)

// issueFromTLSRoot restarts the CA with the new TLS root. Its registry stays; its registrar enrols
// again, because the CA does not know its own former certificates any more.
func (f *Fabric) issueFromTLSRoot(ctx context.Context, keys *organizationKeys, from Handle) error {
	issuer, err := f.caKeys(ctx, from)
	if err != nil {
		return err
	}
	if string(issuer.files[tlsCA+caCertificate]) != keys.TLSRollover.Root {
		if string(issuer.files[nextTLSRoot]) != keys.TLSRollover.Root {
			return fmt.Errorf("unable to go on with the TLS root that %s was on its way to: its key is not in volume %s: %w", keys.handle, from.keys(), ErrNotFound)
		}
		err := f.writeKeys(ctx, from, map[string][]byte{
			tlsCA + caCertificate: issuer.files[nextTLSRoot], tlsCA + caKey: issuer.files[nextTLSRootKey], tlsCA + registrarCertificate: nil,
		})
		if err != nil {
			return err
		}
	}
	spec, err := f.FindCA(ctx, from.Network, from.Name)
	if err != nil {
		return err
	}
	spec.Existing = true
	if _, err := f.EnsureCA(ctx, spec); err != nil {
		return err
	}
	keys.TLSRollover.Issues = true
	if err := f.writeOrganization(ctx, keys); err != nil {
		return err
	}
	return f.eraseKeys(ctx, from, nextTLSRoot, nextTLSRootKey)
}

// renewConsenters writes the TLS certificates that the organization's ordering nodes have by now into
// every channel, one in each update: the keys are the same, but with each update Fabric verifies all
// consenters against the roots that the channel has.
func (f *Fabric) renewConsenters(ctx context.Context, org Handle) error {
	nodes, err := f.membersOf(ctx, org)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.handle.Kind != KindOrderer {
			continue
		}
		own, err := f.consenter(ctx, n.handle)
		if err != nil {
			return err
		}
		err = f.updateChannelsOf(ctx, org, func(c *configtx.Config) error {
			err := c.RenewConsenter(configtx.Address{Host: own.Host, Port: own.Port}, own)
			if errors.Is(err, configtx.ErrNoConsenter) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// updateChannelsOf updates every channel that the organization belongs to, as its own admin may.
func (f *Fabric) updateChannelsOf(ctx context.Context, org Handle, edit func(*configtx.Config) error) error {
	channels, err := f.channelsOf(ctx, org)
	if err != nil {
		return err
	}
	for _, channel := range channels {
		if err := f.updateChannelOf(ctx, channel, org, edit); err != nil {
			return err
		}
	}
	return nil
}

// updateChannelOf updates one channel; one that the organization does not belong to stays as it is.
func (f *Fabric) updateChannelOf(ctx context.Context, of, org Handle, edit func(*configtx.Config) error) error {
	channel, orderers, err := f.orderersOf(ctx, of)
	if err != nil || len(orderers) == 0 {
		return err
	}
	u := configUpdate{
		channel: channel, orderers: orderers, admins: []Handle{org},
		edit: func(config *configtx.Config) error {
			err := edit(config)
			if errors.Is(err, configtx.ErrNoOrganization) {
				return nil
			}
			return err
		},
	}
	if of.Kind != KindChannelMembership {
		return f.updateByLeader(ctx, u)
	}
	if _, err := f.currentConfig(ctx, channel, orderers); outside(err) {
		return nil
	}
	_, err = f.updateChannel(ctx, u)
	return err
}

// writeOrganization writes what is known of an organization.
func (f *Fabric) writeOrganization(ctx context.Context, keys *organizationKeys) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return f.writeKeys(ctx, keys.handle, map[string][]byte{organizationRecord: raw})
}

// issuing gives the definition with the TLS roots that certificates are issued from: one that is on its
// way out is trusted, and what it issued is replaced.
func (k *organizationKeys) issuing() []string {
	if k.TLSRollover != nil && k.TLSRollover.Issues {
		return []string{k.TLSRollover.Root}
	}
	return k.Definition.TLSRootCertificates
}
