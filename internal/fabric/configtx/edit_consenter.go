package configtx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// ErrNoConsenter says that the channel has no consenter at the address.
var ErrNoConsenter = errors.New("the channel has no such consenter")

// AddConsenter adds an ordering node to the consenters of the channel, at the end. One that is there
// already changes nothing: in Raft, one at the same address with the same public keys, even if its
// certificates were renewed, because Fabric tells consenters apart by the bytes on the ledger; in
// SmartBFT, one at the same address with the same certificates. Others at the same address are an error:
// ReplaceConsenter.
//
// In SmartBFT the policy BlockValidation follows, which must be the one that the consenters give. The
// endpoint of the node is an edit of its own (SetEndpoints), which may go into the same update.
//
// Fabric takes one consenter more, less or replaced in one update; ValidateUpdate says so beforehand.
func (c *Config) AddConsenter(consenter Consenter) error {
	err := c.editConsenters(
		func(all []*etcdraft.Consenter) ([]*etcdraft.Consenter, error) {
			stored, err := storedConsenter(consenter)
			if err != nil {
				return nil, err
			}
			return addConsenter(all, stored, sameKeys)
		},
		func(all []*common.Consenter) ([]*common.Consenter, error) {
			stored, err := storedBFTConsenter(consenter)
			if err != nil {
				return nil, err
			}
			if stored.Id == 0 {
				stored.Id = nextID(all)
			}
			return addConsenter(all, stored, sameNode)
		})
	if err != nil {
		return c.cannot("add the consenter "+consenter.address().String(), err)
	}
	return nil
}

// RemoveConsenter takes an ordering node out of the consenters of the channel; one that is not there is
// fine. In SmartBFT the policy BlockValidation follows.
func (c *Config) RemoveConsenter(address Address) error {
	err := c.editConsenters(
		func(all []*etcdraft.Consenter) ([]*etcdraft.Consenter, error) {
			return removeConsenter(all, address), nil
		},
		func(all []*common.Consenter) ([]*common.Consenter, error) { return removeConsenter(all, address), nil })
	if err != nil {
		return c.cannot("remove the consenter "+address.String(), err)
	}
	return nil
}

// ReplaceConsenter puts a consenter in the place of the one at the address: with other keys, another
// address, or both, which Raft takes as one change (a rotation). In Raft a certificate whose public key is
// that of the ledger keeps the ledger's bytes; in SmartBFT, where nodes know each other by the bytes of
// their enrolment certificates, a certificate that was renewed is written, the node keeps its ID, and the
// policy BlockValidation follows. The error wraps ErrNoConsenter.
func (c *Config) ReplaceConsenter(address Address, with Consenter) error {
	return c.replaceConsenter(address, with, true)
}

// RenewConsenter is ReplaceConsenter, but writes the certificates of a Raft node although their keys are
// the same: for a rollover of TLS roots, because each config update verifies every consenter against the
// roots that the channel has. Raft takes it as a rotation, so do one per update.
func (c *Config) RenewConsenter(address Address, with Consenter) error {
	return c.replaceConsenter(address, with, false)
}

func (c *Config) replaceConsenter(address Address, with Consenter, keep bool) error {
	err := c.editConsenters(
		func(all []*etcdraft.Consenter) ([]*etcdraft.Consenter, error) {
			stored, err := storedConsenter(with)
			if err != nil {
				return nil, err
			}
			return replaceConsenter(all, address, stored, sameKeys, func(now *etcdraft.Consenter) {
				if keep && sameKey(now.GetClientTlsCert(), stored.GetClientTlsCert()) {
					stored.ClientTlsCert = now.GetClientTlsCert()
				}
				if keep && sameKey(now.GetServerTlsCert(), stored.GetServerTlsCert()) {
					stored.ServerTlsCert = now.GetServerTlsCert()
				}
			})
		},
		func(all []*common.Consenter) ([]*common.Consenter, error) {
			stored, err := storedBFTConsenter(with)
			if err != nil {
				return nil, err
			}
			return replaceConsenter(all, address, stored, sameNode, func(now *common.Consenter) {
				stored.Id = now.GetId()
				keepBytes(&stored.ClientTlsCert, now.GetClientTlsCert())
				keepBytes(&stored.ServerTlsCert, now.GetServerTlsCert())
				keepBytes(&stored.Identity, now.GetIdentity())
			})
		})
	if err != nil {
		return c.cannot("replace the consenter "+address.String(), err)
	}
	return nil
}

// keepBytes keeps the bytes on the ledger of a certificate that only its layout in PEM tells apart.
func keepBytes(field *[]byte, now []byte) {
	if fingerprint(*field) == fingerprint(now) {
		*field = now
	}
}

// editConsenters lets the function for the consensus of the channel work on its consenters.
func (c *Config) editConsenters(raft func([]*etcdraft.Consenter) ([]*etcdraft.Consenter, error), bft func([]*common.Consenter) ([]*common.Consenter, error)) error {
	group, err := c.group(groupOrderer)
	if err != nil {
		return err
	}
	r, consensus := &reader{}, &orderer.ConsensusType{}
	r.value(group, keyConsensusType, consensus)
	switch {
	case r.err != nil:
		return r.err
	case consensus.GetType() == ConsensusBFT:
		return c.editBFTConsenters(bft)
	default:
		return c.raft(func(metadata *etcdraft.ConfigMetadata) error {
			all, err := raft(metadata.GetConsenters())
			if err == nil {
				metadata.Consenters = all
			}
			return err
		})
	}
}

func addConsenter[T tlsConsenter](all []T, consenter T, same func(a, b T) bool) ([]T, error) {
	for _, other := range all {
		switch atAddress := addressOf(other) == addressOf(consenter); {
		case atAddress && same(other, consenter):
			return all, nil
		case atAddress:
			return nil, errors.New("a consenter with other keys is there already; it can be replaced")
		case same(other, consenter):
			return nil, fmt.Errorf("the consenter %s has the same keys", addressOf(other))
		}
	}
	return append(slices.Clone(all), consenter), nil
}

func removeConsenter[T tlsConsenter](all []T, address Address) []T {
	return slices.DeleteFunc(slices.Clone(all), func(c T) bool { return addressOf(c) == address })
}

// replaceConsenter puts a consenter in the place of the one at the address; keep may take over what stays.
func replaceConsenter[T tlsConsenter](all []T, address Address, with T, same func(a, b T) bool, keep func(now T)) ([]T, error) {
	at := slices.IndexFunc(all, func(c T) bool { return addressOf(c) == address })
	if at < 0 {
		return nil, ErrNoConsenter
	}
	for i, other := range all {
		if i != at && (addressOf(other) == addressOf(with) || same(other, with)) {
			return nil, fmt.Errorf("the consenter %s has its address or its keys", addressOf(other))
		}
	}
	keep(all[at])
	out := slices.Clone(all)
	out[at] = with
	return out, nil
}

func (c Consenter) address() Address { return Address{c.Host, c.Port} }

func addressOf(c tlsConsenter) Address { return Address{c.GetHost(), int(c.GetPort())} }

func storedConsenter(c Consenter) (*etcdraft.Consenter, error) {
	client, err := canonicalPEM(c.ClientTLSCertPEM)
	if err != nil {
		return nil, fmt.Errorf("its client certificate: %w", err)
	}
	server, err := canonicalPEM(c.ServerTLSCertPEM)
	if err != nil {
		return nil, fmt.Errorf("its server certificate: %w", err)
	}
	return &etcdraft.Consenter{Host: c.Host, Port: uint32(c.Port), ClientTlsCert: client, ServerTlsCert: server}, nil
}

func sameKeys(a, b *etcdraft.Consenter) bool {
	return sameKey(a.GetClientTlsCert(), b.GetClientTlsCert()) && sameKey(a.GetServerTlsCert(), b.GetServerTlsCert())
}

// sameKey tells whether two certificates have one public key, as Raft nodes recognise themselves.
func sameKey(a, b []byte) bool {
	one, errOne := certificate.ParseOne(a)
	two, errTwo := certificate.ParseOne(b)
	return errOne == nil && errTwo == nil && certificate.PublicKeyFingerprint(one) == certificate.PublicKeyFingerprint(two)
}

// SameConsenter tells whether two consenters are one: the same address and, for Raft, the same public
// keys, although their certificates may differ because one was renewed with its key; for SmartBFT, whose
// consenters all have an identity on the ledger, the same certificates and MSP ID.
func SameConsenter(a, b Consenter) bool {
	if a.address() != b.address() {
		return false
	}
	if a.IdentityPEM != "" && b.IdentityPEM != "" {
		return a.MSPID == b.MSPID && sameText(a.IdentityPEM, b.IdentityPEM) &&
			sameText(a.ClientTLSCertPEM, b.ClientTLSCertPEM) && sameText(a.ServerTLSCertPEM, b.ServerTLSCertPEM)
	}
	return sameKey([]byte(a.ClientTLSCertPEM), []byte(b.ClientTLSCertPEM)) && sameKey([]byte(a.ServerTLSCertPEM), []byte(b.ServerTLSCertPEM))
}

// sameText tells whether two texts are one certificate, however their PEM is laid out.
func sameText(a, b string) bool { return fingerprint([]byte(a)) == fingerprint([]byte(b)) }
