package configtx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// ErrNoConsenter says that the channel has no consenter at the address.
var ErrNoConsenter = errors.New("the channel has no such consenter")

// AddConsenter adds an ordering node to a Raft channel, at the end. A consenter at the same address with
// the same public keys is the same one, even if its certificates were renewed: then nothing changes, and
// the bytes on the ledger stay, by which Fabric tells consenters apart. Another key at the same address
// is an error: ReplaceConsenter.
//
// Fabric takes one consenter more, less or replaced in one update; ValidateUpdate says so beforehand.
func (c *Config) AddConsenter(consenter Consenter) error {
	err := c.editConsenters(consenter.address(), func(all []*etcdraft.Consenter, at int) ([]*etcdraft.Consenter, error) {
		stored, err := storedConsenter(consenter)
		if err != nil {
			return nil, err
		}
		if at < 0 {
			if i := slices.IndexFunc(all, func(other *etcdraft.Consenter) bool { return sameKeys(other, stored) }); i >= 0 {
				return nil, fmt.Errorf("the consenter %s has the same keys", addressOf(all[i]))
			}
			return append(all, stored), nil
		}
		if !sameKeys(all[at], stored) {
			return nil, errors.New("a consenter with other keys is there already; it can be replaced")
		}
		return all, nil
	})
	if err != nil {
		return c.cannot("add the consenter "+consenter.address().String(), err)
	}
	return nil
}

// RemoveConsenter takes an ordering node out of a Raft channel; one that is not there is fine.
func (c *Config) RemoveConsenter(address Address) error {
	err := c.editConsenters(address, func(all []*etcdraft.Consenter, at int) ([]*etcdraft.Consenter, error) {
		if at < 0 {
			return all, nil
		}
		return slices.Delete(slices.Clone(all), at, at+1), nil
	})
	if err != nil {
		return c.cannot("remove the consenter "+address.String(), err)
	}
	return nil
}

// ReplaceConsenter puts a consenter in the place of the one at the address: with other keys, another
// address, or both, which Fabric takes as one change (a rotation). A certificate whose public key is that
// of the ledger keeps the ledger's bytes. The error wraps ErrNoConsenter.
func (c *Config) ReplaceConsenter(address Address, with Consenter) error {
	return c.replaceConsenter(address, with, true)
}

// RenewConsenter is ReplaceConsenter, but writes the certificates although their keys are the same: for a
// rollover of TLS roots, because each config update verifies every consenter against the roots that the
// channel has. Fabric takes it as a rotation, so do one per update.
func (c *Config) RenewConsenter(address Address, with Consenter) error {
	return c.replaceConsenter(address, with, false)
}

func (c *Config) replaceConsenter(address Address, with Consenter, keep bool) error {
	err := c.editConsenters(address, func(all []*etcdraft.Consenter, at int) ([]*etcdraft.Consenter, error) {
		if at < 0 {
			return nil, ErrNoConsenter
		}
		stored, err := storedConsenter(with)
		if err != nil {
			return nil, err
		}
		for i, other := range all {
			if i != at && (addressOf(other) == with.address() || sameKeys(other, stored)) {
				return nil, fmt.Errorf("the consenter %s has its address or its keys", addressOf(other))
			}
		}
		now := all[at]
		now.Host, now.Port = stored.GetHost(), stored.GetPort()
		if !keep || !sameKey(now.GetClientTlsCert(), stored.GetClientTlsCert()) {
			now.ClientTlsCert = stored.GetClientTlsCert()
		}
		if !keep || !sameKey(now.GetServerTlsCert(), stored.GetServerTlsCert()) {
			now.ServerTlsCert = stored.GetServerTlsCert()
		}
		return all, nil
	})
	if err != nil {
		return c.cannot("replace the consenter "+address.String(), err)
	}
	return nil
}

// editConsenters gives change the consenters and where among them the one at the address stands, -1 if
// nowhere.
func (c *Config) editConsenters(address Address, change func(all []*etcdraft.Consenter, at int) ([]*etcdraft.Consenter, error)) error {
	return c.raft(func(metadata *etcdraft.ConfigMetadata) error {
		at := slices.IndexFunc(metadata.GetConsenters(), func(other *etcdraft.Consenter) bool { return addressOf(other) == address })
		all, err := change(metadata.GetConsenters(), at)
		if err != nil {
			return err
		}
		metadata.Consenters = all
		return nil
	})
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

// sameKey tells whether two certificates have one public key, as ordering nodes recognise themselves.
func sameKey(a, b []byte) bool {
	one, errOne := certificate.ParseOne(a)
	two, errTwo := certificate.ParseOne(b)
	return errOne == nil && errTwo == nil && certificate.PublicKeyFingerprint(one) == certificate.PublicKeyFingerprint(two)
}

// SameConsenter tells whether two consenters are one: the same address and the same public keys. Their
// certificates may differ, because one was renewed with its key.
func SameConsenter(a, b Consenter) bool {
	return a.address() == b.address() && sameKey([]byte(a.ClientTLSCertPEM), []byte(b.ClientTLSCertPEM)) && sameKey([]byte(a.ServerTLSCertPEM), []byte(b.ServerTLSCertPEM))
}
