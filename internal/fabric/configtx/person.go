package configtx

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// VerifyPerson says why a certificate is not one by which a person acts for a member of the channel at the
// instant, or nil: an application organization of that MSP ID must have issued it and not revoked it, it
// must be valid, and it must not be that of a node.
func (c *Config) VerifyPerson(mspID string, cert *x509.Certificate, at time.Time) error {
	fail := func(err error) error {
		return fmt.Errorf("%s of %s does not act on channel %s: %w", cert.Subject.CommonName, mspID, c.Channel, err)
	}
	for _, organization := range c.Proto.GetChannelGroup().GetGroups()[groupApplication].GetGroups() {
		id, m := readMembership(organization)
		if id != mspID {
			continue
		}
		if err := m.verify(cert); err != nil {
			return fail(err)
		}
		switch {
		case at.Before(cert.NotBefore):
			return fail(fmt.Errorf("the certificate is not valid before %s", cert.NotBefore.UTC().Format(time.RFC3339)))
		case at.After(cert.NotAfter):
			return fail(fmt.Errorf("the certificate expired at %s", cert.NotAfter.UTC().Format(time.RFC3339)))
		case m.has(cert, policy.RolePeer) || m.has(cert, policy.RoleOrderer):
			return fail(errors.New("the certificate is that of a node"))
		}
		return nil
	}
	return fail(errors.New("it is no organization of the channel"))
}
