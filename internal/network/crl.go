package network

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Revocation names what a CA is to revoke: all certificates of an identity, which then cannot enrol
// again, or the one with a serial number.
type Revocation struct {
	// Identity is an enrolment ID, Serial a number in hex; one of them is given.
	Identity, Serial string
	// Reason is one of the reasons of the package ca; empty is unspecified.
	Reason string
}

// CRLSpec is the revocation list of an organization.
type CRLSpec struct {
	Organization Handle
	// Revoke is what is yet to be revoked, by the names that errors go by.
	Revoke map[string]Revocation
	// Retire is a list, in PEM, that is to be replaced by a newer one even if that says the same.
	Retire string
}

// CRLState is what is known of a revocation list.
type CRLState struct {
	// List is the one that was published last, in PEM; empty before the first one.
	List string
	// Serials are the certificates that it revokes, in hex and in the order of their numbers.
	Serials                []string
	ThisUpdate, NextUpdate time.Time
	// Behind tells that the CA has revoked what is not in the list.
	Behind bool
	// Reaches are the nodes and the channels of the organization, Pending those among them that have
	// another list than the one that was published.
	Reaches, Pending []string
}

// Rule gives the rule by which a revocation list is renewed, and when that is.
func (s CRLState) renewalTime(rule RenewalRule) time.Time {
	return rule.moment(s.NextUpdate, s.NextUpdate.Sub(s.ThisUpdate))
}

// RenewalTime is when a list falls due; zero when there is none.
func (s CRLState) RenewalTime(organization Handle, before time.Duration) time.Time {
	if s.List == "" {
		return time.Time{}
	}
	return s.renewalTime(organization.Rule(before))
}

// EnsureCRL revokes what is to be revoked, publishes the list of what the CA has revoked, and brings it
// to whoever decides by it: the local MSP of each node of the organization, peers one after the other
// and ordering nodes as a cluster is rolled, and the organization's MSP in every channel that it belongs
// to, of ours or by a membership. What has the list already is left alone. An empty list is brought to
// nobody.
func (f *Fabric) EnsureCRL(ctx context.Context, spec CRLSpec) (CRLState, error) {
	keys, from, err := f.issuer(ctx, spec.Organization)
	if err != nil {
		return CRLState{}, err
	}
	if err := f.revokeNamed(ctx, from, spec.Revoke); err != nil {
		return CRLState{}, err
	}
	if err := f.publishCRL(ctx, spec, keys, from); err != nil {
		return CRLState{}, err
	}
	if err := f.bringCRL(ctx, spec.Organization); err != nil {
		return CRLState{}, err
	}
	return f.ReadCRL(ctx, spec.Organization)
}

// revokeNamed revokes at the enrolment CA. What has been revoked is success.
func (f *Fabric) revokeNamed(ctx context.Context, from Handle, named map[string]Revocation) error {
	if len(named) == 0 {
		return nil
	}
	keys, err := f.caKeys(ctx, from)
	if err != nil {
		return err
	}
	issuer, err := certificate.ParseOne(keys.files[enrollmentCA+caCertificate])
	if err != nil {
		return fmt.Errorf("unable to read the certificate of %s: %w", from, err)
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		r := named[name]
		request := ca.Revocation{ID: r.Identity, Reason: r.Reason}
		if r.Serial != "" {
			number, ok := new(big.Int).SetString(r.Serial, 16)
			if !ok {
				return fmt.Errorf("unable to revoke %s: %q is not a serial number in hex", name, r.Serial)
			}
			request.Certificate = &x509.Certificate{SerialNumber: number, AuthorityKeyId: issuer.SubjectKeyId}
		}
		_, err := client.Revoke(ctx, registrar, request)
		if errors.Is(err, ca.ErrNotFound) {
			return fmt.Errorf("unable to revoke %s: %s knows nothing of it: %w", name, from, ErrNotFound)
		}
		if err != nil && !errors.Is(err, ca.ErrAlreadyRevoked) {
			return fmt.Errorf("unable to revoke %s: %w", name, f.unanswered(ctx, from, err))
		}
	}
	return nil
}

// publishCRL puts the CA's list into the organization's key volume, from where nodes and channels get
// it. The one that is there stays as long as it says the same.
func (f *Fabric) publishCRL(ctx context.Context, spec CRLSpec, keys *organizationKeys, from Handle) error {
	fresh, list, err := f.currentCRL(ctx, from)
	if err != nil {
		return err
	}
	published := string(keys.files[organizationCRL])
	if published != spec.Retire {
		if had, err := parseCRL([]byte(published)); err == nil && slices.Equal(serials(had), serials(list)) && time.Now().Before(had.NextUpdate) {
			return nil
		}
	}
	return f.writeKeys(ctx, spec.Organization, map[string][]byte{organizationCRL: fresh})
}

// currentCRL has the CA make a list of what it has revoked. That changes nothing there.
func (f *Fabric) currentCRL(ctx context.Context, from Handle) ([]byte, *x509.RevocationList, error) {
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return nil, nil, err
	}
	text, err := client.GenCRL(ctx, registrar, ca.CRLRequest{})
	if err != nil {
		return nil, nil, f.unanswered(ctx, from, err)
	}
	list, err := parseCRL(text)
	if err != nil {
		return nil, nil, fmt.Errorf("unable to read the revocation list of %s: %w", from, err)
	}
	return text, list, nil
}

// ReadCRL reads the published list, and whether the CA, the nodes and the channels agree with it. A
// failure to ask one of them comes beside what is known of the others.
func (f *Fabric) ReadCRL(ctx context.Context, org Handle) (CRLState, error) {
	keys, from, err := f.issuer(ctx, org)
	if err != nil {
		return CRLState{}, err
	}
	state := CRLState{List: string(keys.files[organizationCRL])}
	list, err := parseCRL([]byte(state.List))
	if err != nil {
		return CRLState{}, nil //nolint:nilerr // it is made anew
	}
	state.Serials, state.ThisUpdate, state.NextUpdate = serials(list), list.ThisUpdate, list.NextUpdate
	var failures []error
	if _, current, err := f.currentCRL(ctx, from); err == nil {
		state.Behind = !slices.Equal(serials(current), state.Serials)
	} else {
		failures = append(failures, err)
	}
	nodes, err := f.membersOf(ctx, org)
	if err != nil {
		return state, err
	}
	lists := keys.revocationLists()
	for _, n := range nodes {
		state.Reaches = append(state.Reaches, n.handle.String())
		has, err := f.hasCRL(ctx, n.handle, lists)
		if err != nil {
			failures = append(failures, err)
		} else if !has {
			state.Pending = append(state.Pending, n.handle.String())
		}
	}
	channels, err := f.channelsOf(ctx, org)
	if err != nil {
		return state, err
	}
	for _, of := range channels {
		channel, member, has, err := f.channelHasCRL(ctx, of, org.MSPID, lists)
		if err != nil {
			failures = append(failures, err)
		}
		if member {
			state.Reaches = append(state.Reaches, channel.String())
		}
		if member && !has {
			state.Pending = append(state.Pending, channel.String())
		}
	}
	return state, errors.Join(failures...)
}

// bringCRL brings the published list to the nodes and the channels that have another one.
func (f *Fabric) bringCRL(ctx context.Context, org Handle) error {
	keys, err := f.organizationKeys(ctx, org)
	if err != nil {
		return err
	}
	lists := keys.revocationLists()
	if len(lists) == 0 {
		return nil
	}
	if err := f.refreshMembers(ctx, org); err != nil {
		return err
	}
	return f.updateChannelsOf(ctx, org, func(c *configtx.Config) error { return c.SetRevocationLists(org.MSPID, lists) })
}

// hasCRL tells whether the local MSP of a node has these revocation lists. Nothing need be there when
// there are none.
func (f *Fabric) hasCRL(ctx context.Context, h Handle, lists []string) (bool, error) {
	if len(lists) == 0 {
		return true, nil
	}
	files, err := f.engine.GetFiles(ctx, h.Object(), keysFolder+"/msp/crls")
	if err != nil && !errors.Is(err, engine.ErrNotFound) {
		return false, fmt.Errorf("unable to read the revocation lists of %s: %w", h, err)
	}
	var has []string
	for _, file := range files {
		has = append(has, string(file.Content))
	}
	slices.Sort(has)
	return slices.Equal(has, lists), nil
}

// channelsOf gives the channels of ours on the network of an organization, and its memberships in those
// of others.
func (f *Fabric) channelsOf(ctx context.Context, org Handle) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelOwner: org.Owner, engine.LabelNetwork: org.Network, engine.LabelKind: string(KindChannel),
	})
	if err != nil {
		return nil, err
	}
	channels := make([]Handle, 0, len(volumes))
	for _, v := range volumes {
		channels = append(channels, handleOf(v.Labels))
	}
	keys, err := f.organizationKeys(ctx, org)
	if err != nil {
		return nil, err
	}
	for _, m := range keys.memberships() {
		if !slices.ContainsFunc(channels, func(c Handle) bool { return c.Name == m.Handle.Name }) {
			channels = append(channels, m.Handle)
		}
	}
	slices.SortStableFunc(channels, compareNames)
	return channels, nil
}

// channelHasCRL tells whether the organization belongs to a channel, and whether it has these lists there.
func (f *Fabric) channelHasCRL(ctx context.Context, of Handle, mspID string, lists []string) (channel Handle, member, has bool, err error) {
	channel, orderers, err := f.orderersOf(ctx, of)
	if err != nil || len(orderers) == 0 {
		return channel, false, false, err
	}
	config, err := f.latestConfig(ctx, channel, orderers)
	if err != nil {
		if refused := f.admission(ctx, channel.Name, of.Organization(), err); of.Kind == KindChannelMembership && refused != nil && outside(refused) {
			err = nil
		}
		return channel, false, false, err
	}
	wanted := config.Clone()
	switch err := wanted.SetRevocationLists(mspID, lists); {
	case errors.Is(err, configtx.ErrNoOrganization):
		return channel, false, false, nil
	case err != nil:
		return channel, false, false, err
	case len(lists) == 0:
		return channel, true, true, nil
	}
	_, err = configtx.ComputeUpdate(channel.Name, config.Proto, wanted.Proto)
	if errors.Is(err, configtx.ErrNoChange) {
		return channel, true, true, nil
	}
	return channel, true, false, err
}

// orderersOf gives a channel and the ordering nodes that can be asked for it, when whoever is making or
// changing it right now has done so; none of a channel without a record, which its own apply makes again.
func (f *Fabric) orderersOf(ctx context.Context, of Handle) (channel Handle, orderers []Handle, err error) {
	if of.Kind == KindChannel {
		defer f.locks.lock(of.record())()
	}
	channel, orderers, err = f.reach(ctx, ChannelAccess{Channel: of})
	if errors.Is(err, ErrLost) || errors.Is(err, ErrNotFound) { // a membership may have ended meanwhile
		return channel, nil, nil
	}
	return channel, orderers, err
}

// member gives the definition as channels and local MSPs have it, with the revocation lists.
func (k *organizationKeys) member() msp.Definition {
	d := k.Definition
	d.RevocationLists = k.revocationLists()
	return d
}

// revocationLists are those that the organization's MSP has wherever it is: none as long as nothing
// has been revoked, so that a node need not be restarted for a list without entries.
func (k *organizationKeys) revocationLists() []string {
	list, err := parseCRL(k.files[organizationCRL])
	if err != nil || len(list.RevokedCertificateEntries) == 0 {
		return nil
	}
	return []string{string(k.files[organizationCRL])}
}

func parseCRL(text []byte) (*x509.RevocationList, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not in PEM")
	}
	return x509.ParseRevocationList(block.Bytes)
}

// serials gives the numbers of what a list revokes, in hex and in their order.
func serials(list *x509.RevocationList) []string {
	numbers := make([]string, 0, len(list.RevokedCertificateEntries))
	for _, e := range list.RevokedCertificateEntries {
		numbers = append(numbers, e.SerialNumber.Text(16))
	}
	slices.SortStableFunc(numbers, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(numbers)
}
