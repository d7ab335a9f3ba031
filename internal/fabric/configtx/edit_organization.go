package configtx

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// ErrNoOrganization says that the channel does not have the organization where it is looked for.
var ErrNoOrganization = errors.New("the channel has no such organization")

// SetApplicationOrganization adds a member to the channel, or makes the definition and the anchor peers
// of an existing one what is given. It is found by its MSP ID; other tools may have named its group
// otherwise. Policies sets those named and leaves the others; a new organization has the defaults of
// ApplicationOrganization for what is not named.
//
// What a definition does not say stays in an existing MSP: whether NodeOUs are on and how units are
// named, admin certificates. If the organization is an orderer organization too, its definition changes
// there as well, because Fabric refuses two definitions of one MSP in a channel.
func (c *Config) SetApplicationOrganization(o ApplicationOrganization) error {
	err := c.setOrganization(groupApplication, o.Definition, memberDefaults(o.Definition.ID), o.Policies, func(group *common.ConfigGroup) error {
		return setAnchorPeers(group, o.AnchorPeers)
	})
	if err != nil {
		return c.cannot("set the organization "+o.Definition.ID, err)
	}
	return nil
}

// RemoveApplicationOrganization takes a member out of the channel; one that is not there is fine.
func (c *Config) RemoveApplicationOrganization(mspID string) error {
	return c.removeOrganization(groupApplication, mspID)
}

// SetOrdererOrganization is as SetApplicationOrganization, for an organization that runs ordering nodes.
// Without any, the endpoints of an existing organization stay.
func (c *Config) SetOrdererOrganization(o OrdererOrganization) error {
	err := c.setOrganization(groupOrderer, o.Definition, ordererMemberDefaults(o.Definition.ID), o.Policies, func(group *common.ConfigGroup) error {
		if len(o.Endpoints) == 0 {
			return nil
		}
		return setEndpoints(group, o.Endpoints)
	})
	if err != nil {
		return c.cannot("set the orderer organization "+o.Definition.ID, err)
	}
	return nil
}

// RemoveOrdererOrganization takes an organization out of the orderer group; one that is not there is
// fine. Its consenters must be gone before: Fabric verifies every consenter against the TLS roots of the
// organizations that are left.
func (c *Config) RemoveOrdererOrganization(mspID string) error {
	return c.removeOrganization(groupOrderer, mspID)
}

// SetEndpoints makes these the orderer endpoints ("host:port") of an orderer organization. The error
// wraps ErrNoOrganization.
func (c *Config) SetEndpoints(mspID string, endpoints []string) error {
	what := "set the orderer endpoints of " + mspID
	group, err := c.group(groupOrderer)
	if err != nil {
		return c.cannot(what, err)
	}
	name := organizationKey(group, mspID)
	if name == "" {
		return c.cannot(what, ErrNoOrganization)
	}
	if err := setEndpoints(group.GetGroups()[name], endpoints); err != nil {
		return c.cannot(what, err)
	}
	return nil
}

// SetRevocationLists makes these (PEM) the revocation lists of an organization, wherever the channel has
// it: among the application and among the orderer organizations. The error wraps ErrNoOrganization.
func (c *Config) SetRevocationLists(mspID string, lists []string) error {
	return c.editMSP("set the revocation lists of "+mspID, mspID, func(config *mspproto.FabricMSPConfig) error {
		for i, list := range lists {
			if _, err := parseRevocationList([]byte(list)); err != nil {
				return fmt.Errorf("revocation list %d: %w", i+1, err)
			}
		}
		config.RevocationList = merge(config.GetRevocationList(), lists)
		return nil
	})
}

// AddTLSRoot adds a TLS root (one PEM block) to an organization, wherever the channel has it: the first
// step of a rollover of TLS roots. One that is there already is fine. The error wraps ErrNoOrganization.
func (c *Config) AddTLSRoot(mspID, root string) error {
	return c.editMSP("add a TLS root to "+mspID, mspID, func(config *mspproto.FabricMSPConfig) error {
		return addCertificate(&config.TlsRootCerts, root)
	})
}

// RemoveTLSRoot takes a TLS root away again: the last step of a rollover. Every consenter must have a
// certificate of another root by then. One that is not there is fine. The error wraps
// ErrNoOrganization.
func (c *Config) RemoveTLSRoot(mspID, root string) error {
	return c.editMSP("remove a TLS root of "+mspID, mspID, func(config *mspproto.FabricMSPConfig) error {
		config.TlsRootCerts = without(config.GetTlsRootCerts(), root)
		return nil
	})
}

// SetDefinition makes the definition of an organization what is given, wherever the channel has it, and
// nothing else; see SetApplicationOrganization for what a definition does not say. The error wraps
// ErrNoOrganization.
func (c *Config) SetDefinition(definition msp.Definition) error {
	return c.editMSP("set the definition of "+definition.ID, definition.ID, func(config *mspproto.FabricMSPConfig) error {
		return setDefinition(config, definition)
	})
}

// SameDefinition tells whether two definitions say the same: the same certificates and revocation lists,
// in whatever order and layout.
func SameDefinition(a, b msp.Definition) bool {
	same := func(some, others []string) bool {
		return maps.Equal(fingerprints(some), fingerprints(others))
	}
	return a.ID == b.ID && same(a.RootCertificates, b.RootCertificates) && same(a.IntermediateCertificates, b.IntermediateCertificates) &&
		same(a.TLSRootCertificates, b.TLSRootCertificates) && same(a.TLSIntermediateCertificates, b.TLSIntermediateCertificates) &&
		same(a.RevocationLists, b.RevocationLists)
}

func fingerprints(texts []string) map[string]bool {
	out := map[string]bool{}
	for _, text := range texts {
		out[fingerprint([]byte(text))] = true
	}
	return out
}

// organizationKey gives the key of an organization's group, "" when it is not there.
func organizationKey(group *common.ConfigGroup, mspID string) string {
	for _, name := range slices.Sorted(maps.Keys(group.GetGroups())) {
		r := &reader{}
		if d, _ := r.definition(group.GetGroups()[name]); r.err == nil && d.ID == mspID {
			return name
		}
	}
	return ""
}

func (c *Config) removeOrganization(groupKey, mspID string) error {
	group, err := c.group(groupKey)
	if err != nil {
		return c.cannot("remove the organization "+mspID, err)
	}
	if name := organizationKey(group, mspID); name != "" {
		delete(group.Groups, name)
	}
	return nil
}

// setOrganization works on a copy of the channel group, so that an error leaves all as it was.
func (c *Config) setOrganization(groupKey string, definition msp.Definition, defaults, policies map[string]string, change func(*common.ConfigGroup) error) error {
	trial := c.Clone()
	if err := trial.editMSPs(definition.ID, func(config *mspproto.FabricMSPConfig) error { return setDefinition(config, definition) }); err != nil && !errors.Is(err, ErrNoOrganization) {
		return err
	}
	group, err := trial.group(groupKey)
	if err != nil {
		return err
	}
	name := organizationKey(group, definition.ID)
	if name == "" {
		name = definition.ID
		if err := trial.addOrganization(group, definition, defaults); err != nil {
			return err
		}
	}
	organization := group.GetGroups()[name]
	if err := setPolicies(organization, policies); err != nil {
		return err
	}
	if err := change(organization); err != nil {
		return err
	}
	c.Proto = trial.Proto
	return nil
}

// addOrganization adds a group with the policies and the MSP of a new organization.
func (c *Config) addOrganization(group *common.ConfigGroup, definition msp.Definition, defaults map[string]string) error {
	if err := ValidateMSPID(definition.ID); err != nil {
		return err
	}
	if _, ok := group.GetGroups()[definition.ID]; ok {
		return fmt.Errorf("its group %s is that of another MSP", definition.ID)
	}
	b := newGroup(&policyGroup{})
	if err := setPolicies(b.group, defaults); err != nil {
		return err
	}
	// Fabric compares the MSPs of one ID byte by byte, so one that is there already is taken as it is.
	if known := c.mspValue(definition.ID); known != nil {
		b.group.Values[keyMSP] = &common.ConfigValue{ModPolicy: policyAdmins, Value: known}
	} else {
		config, err := definition.FabricMSPConfig()
		if err != nil {
			return err
		}
		b.value(keyMSP, &mspproto.MSPConfig{Config: b.marshal(config)})
	}
	if b.err != nil {
		return b.err
	}
	if group.Groups == nil {
		group.Groups = map[string]*common.ConfigGroup{}
	}
	group.Groups[definition.ID] = b.group
	return nil
}

// mspValue gives the MSP of an organization as the channel has it, nil when it has not.
func (c *Config) mspValue(mspID string) []byte {
	for _, key := range []string{groupOrderer, groupApplication} {
		group := c.Proto.GetChannelGroup().GetGroups()[key]
		if name := organizationKey(group, mspID); name != "" {
			return group.GetGroups()[name].GetValues()[keyMSP].GetValue()
		}
	}
	return nil
}

func (c *Config) editMSP(what, mspID string, change func(*mspproto.FabricMSPConfig) error) error {
	trial := c.Clone()
	if err := trial.editMSPs(mspID, change); err != nil {
		return c.cannot(what, err)
	}
	c.Proto = trial.Proto
	return nil
}

// editMSPs lets change work on the MSP of an organization in both groups.
func (c *Config) editMSPs(mspID string, change func(*mspproto.FabricMSPConfig) error) error {
	found := false
	for _, key := range []string{groupOrderer, groupApplication} {
		group := c.Proto.GetChannelGroup().GetGroups()[key]
		name := organizationKey(group, mspID)
		if name == "" {
			continue
		}
		found = true
		config := &mspproto.MSPConfig{}
		err := edit(group.GetGroups()[name], keyMSP, config, func() error {
			if config.GetType() != mspTypeX509 {
				return errors.New("its MSP is not one of X.509 certificates")
			}
			inner := &mspproto.FabricMSPConfig{}
			if err := proto.Unmarshal(config.GetConfig(), inner); err != nil {
				return fmt.Errorf("its MSP is damaged: %w", err)
			}
			before := proto.Clone(inner)
			if err := change(inner); err != nil {
				return err
			}
			if proto.Equal(before, inner) {
				return nil
			}
			m := &marshaller{}
			config.Config = m.marshal(inner)
			return m.err
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return ErrNoOrganization
	}
	return nil
}

func setDefinition(config *mspproto.FabricMSPConfig, d msp.Definition) error {
	before := slices.Concat(config.GetRootCerts(), config.GetIntermediateCerts())
	config.RootCerts = merge(config.GetRootCerts(), d.RootCertificates)
	config.IntermediateCerts = merge(config.GetIntermediateCerts(), d.IntermediateCertificates)
	config.TlsRootCerts = merge(config.GetTlsRootCerts(), d.TLSRootCertificates)
	config.TlsIntermediateCerts = merge(config.GetTlsIntermediateCerts(), d.TLSIntermediateCertificates)
	config.RevocationList = merge(config.GetRevocationList(), d.RevocationLists)
	if slices.EqualFunc(before, slices.Concat(config.GetRootCerts(), config.GetIntermediateCerts()), bytes.Equal) {
		return nil
	}
	return reclassify(config.GetFabricNodeOus(), d)
}

// reclassify makes the organizational units that name a CA name the one that issues members now, or none
// when several do: Fabric would refuse the members of the others (msp.Definition,
// ClassifyingCertificate).
func reclassify(ous *mspproto.FabricNodeOUs, d msp.Definition) error {
	classifying, err := d.ClassifyingCertificate()
	if err != nil {
		return err
	}
	for _, ou := range []*mspproto.FabricOUIdentifier{ous.GetClientOuIdentifier(), ous.GetPeerOuIdentifier(), ous.GetAdminOuIdentifier(), ous.GetOrdererOuIdentifier()} {
		if len(ou.GetCertificate()) > 0 && fingerprint(ou.GetCertificate()) != fingerprint([]byte(classifying)) {
			ou.Certificate = []byte(classifying)
		}
	}
	return nil
}

// merge makes a list of certificates or revocation lists say what is wanted: what stays keeps its place
// and its bytes, what is new comes last.
func merge(have [][]byte, wanted []string) [][]byte {
	return mergeBy(have, bytesOf(wanted), fingerprint)
}

func mergeBy[T any](have, wanted []T, id func(T) string) []T {
	var out []T
	has := func(all []T, item T) bool {
		return slices.ContainsFunc(all, func(other T) bool { return id(other) == id(item) })
	}
	for _, item := range have {
		if has(wanted, item) {
			out = append(out, item)
		}
	}
	for _, item := range wanted {
		if !has(out, item) {
			out = append(out, item)
		}
	}
	return out
}

func bytesOf(texts []string) [][]byte {
	var out [][]byte
	for _, text := range texts {
		out = append(out, []byte(text))
	}
	return out
}

func addCertificate(list *[][]byte, text string) error {
	encoded, err := canonicalPEM(text)
	if err != nil {
		return err
	}
	*list = mergeBy(*list, append(slices.Clone(*list), encoded), fingerprint)
	return nil
}

func without(list [][]byte, text string) [][]byte {
	return slices.DeleteFunc(slices.Clone(list), func(item []byte) bool { return fingerprint(item) == fingerprint([]byte(text)) })
}

func setEndpoints(organization *common.ConfigGroup, endpoints []string) error {
	addresses := &common.OrdererAddresses{}
	return edit(organization, keyEndpoints, addresses, func() error {
		addresses.Addresses = mergeBy(addresses.GetAddresses(), endpoints, func(s string) string { return s })
		return nil
	})
}

func setAnchorPeers(organization *common.ConfigGroup, wanted []Address) error {
	anchors := &peer.AnchorPeers{}
	return edit(organization, keyAnchorPeers, anchors, func() error {
		var all []*peer.AnchorPeer
		for _, a := range wanted {
			all = append(all, &peer.AnchorPeer{Host: a.Host, Port: int32(a.Port)})
		}
		anchors.AnchorPeers = mergeBy(anchors.GetAnchorPeers(), all, func(a *peer.AnchorPeer) string {
			return Address{a.GetHost(), int(a.GetPort())}.String()
		})
		return nil
	})
}
