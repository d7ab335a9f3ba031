package configtx

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// membership tells the members of an MSP apart as the MSP of a channel does (msp/mspimpl.go, the rules
// of channel capability V1_4_2 and later).
type membership struct {
	roots, intermediates []*x509.Certificate
	inner                []*x509.Certificate // CAs with an intermediate below them
	revoked              []*x509.RevocationList
	admins               []*x509.Certificate
	// nodeOUs is whether members are told apart by organizational units; ous are those units, by role.
	nodeOUs bool
	ous     map[policy.Role]*mspproto.FabricOUIdentifier
	// wanted are the units of which every member must have one, when there are any.
	wanted []*mspproto.FabricOUIdentifier
	// anyKey is whether Ed25519 keys are accepted beside ECDSA (channel capability V3_0).
	anyKey bool
	// opaque is why nothing can be said of the members: an MSP that is not made of X.509 certificates,
	// or a damaged one.
	opaque error
}

// memberships gives the MSPs of a configuration by their ID.
func memberships(config *common.Config) map[string]*membership {
	out := map[string]*membership{}
	r := &reader{}
	capabilities := r.capabilities(config.GetChannelGroup())
	for _, name := range []string{groupOrderer, groupApplication} {
		for _, organization := range config.GetChannelGroup().GetGroups()[name].GetGroups() {
			id, m := readMembership(organization)
			m.anyKey = slices.Contains(capabilities, ChannelCapabilityV3_0)
			out[id] = m
		}
	}
	return out
}

func readMembership(organization *common.ConfigGroup) (id string, m *membership) {
	config, x509Config := &mspproto.MSPConfig{}, &mspproto.FabricMSPConfig{}
	r := &reader{}
	r.value(organization, keyMSP, config)
	if config.GetType() != mspTypeX509 {
		d, _ := r.definition(organization)
		return d.ID, &membership{opaque: errors.New("the MSP is not one of X.509 certificates")}
	}
	r.unmarshal("an MSP", config.GetConfig(), x509Config)
	m = newMembership(x509Config)
	if m.opaque == nil {
		m.opaque = r.err
	}
	return x509Config.GetName(), m
}

func newMembership(config *mspproto.FabricMSPConfig) *membership {
	m := &membership{ous: map[policy.Role]*mspproto.FabricOUIdentifier{}, wanted: config.GetOrganizationalUnitIdentifiers()}
	read := func(all [][]byte) []*x509.Certificate {
		var certs []*x509.Certificate
		for _, text := range all {
			cert, err := certificate.ParseOne(text)
			if err != nil {
				m.opaque = err
				continue
			}
			certs = append(certs, cert)
		}
		return certs
	}
	m.roots, m.intermediates, m.admins = read(config.GetRootCerts()), read(config.GetIntermediateCerts()), read(config.GetAdmins())
	for _, text := range config.GetRevocationList() {
		list, err := parseRevocationList(text)
		if err != nil {
			m.opaque = err
			continue
		}
		m.revoked = append(m.revoked, list)
	}
	for _, ca := range m.intermediates {
		if chain, err := m.chain(ca); err == nil {
			m.inner = append(m.inner, chain[1:]...)
		}
	}
	ous := config.GetFabricNodeOus()
	for role, unit := range map[policy.Role]*mspproto.FabricOUIdentifier{
		policy.RoleClient: ous.GetClientOuIdentifier(), policy.RolePeer: ous.GetPeerOuIdentifier(),
		policy.RoleAdmin: ous.GetAdminOuIdentifier(), policy.RoleOrderer: ous.GetOrdererOuIdentifier(),
	} {
		if unit != nil {
			m.ous[role] = unit
		}
	}
	m.nodeOUs = ous.GetEnable() && len(m.ous) > 0
	return m
}

// chain gives the one chain of a certificate to a root. Like Fabric it looks at the second after the
// certificate became valid: expiry does not count.
func (m *membership) chain(cert *x509.Certificate) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: cert.NotBefore.Add(time.Second)}
	for _, c := range m.roots {
		options.Roots.AddCert(c)
	}
	for _, c := range m.intermediates {
		options.Intermediates.AddCert(c)
	}
	chains, err := cert.Verify(options)
	if err != nil {
		return nil, fmt.Errorf("no CA of the MSP issued the certificate of %s: %w", cert.Subject.CommonName, err)
	}
	if len(chains) != 1 {
		return nil, fmt.Errorf("there are %d ways from the certificate of %s to a root, and Fabric accepts one only", len(chains), cert.Subject.CommonName)
	}
	return chains[0], nil
}

// verify says why the certificate is not that of a member, or nil.
func (m *membership) verify(cert *x509.Certificate) error {
	if m.opaque != nil {
		return m.opaque
	}
	switch cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
	case ed25519.PublicKey:
		if !m.anyKey {
			return errors.New("the channel accepts no Ed25519 keys")
		}
	default:
		return fmt.Errorf("the channel accepts no keys of the type %s", cert.PublicKeyAlgorithm)
	}
	if cert.IsCA {
		return fmt.Errorf("the certificate of %s is that of a CA", cert.Subject.CommonName)
	}
	chain, err := m.chain(cert)
	if err != nil {
		return err
	}
	if len(chain) < 2 || slices.ContainsFunc(m.inner, chain[1].Equal) {
		return fmt.Errorf("the certificate of %s was issued by a CA that has an intermediate below it", cert.Subject.CommonName)
	}
	if m.isRevoked(chain) {
		return fmt.Errorf("the certificate of %s is revoked", cert.Subject.CommonName)
	}
	return m.verifyUnits(cert, chain)
}

func (m *membership) isRevoked(chain []*x509.Certificate) bool {
	return slices.ContainsFunc(m.revoked, func(list *x509.RevocationList) bool {
		return bytes.Equal(list.AuthorityKeyId, chain[1].SubjectKeyId) && list.CheckSignatureFrom(chain[1]) == nil &&
			slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(chain[0].SerialNumber) == 0
			})
	})
}

// verifyUnits applies the rules about organizational units (msp/mspimplvalidate.go,
// validateIdentityOUsV142).
func (m *membership) verifyUnits(cert *x509.Certificate, chain []*x509.Certificate) error {
	units := cert.Subject.OrganizationalUnit
	if len(m.wanted) > 0 && !slices.ContainsFunc(m.wanted, func(w *mspproto.FabricOUIdentifier) bool {
		return slices.Contains(units, w.GetOrganizationalUnitIdentifier()) && m.certifies(w.GetCertificate(), chain)
	}) {
		return fmt.Errorf("the certificate of %s has none of the organizational units that the MSP asks for", cert.Subject.CommonName)
	}
	if !m.nodeOUs {
		return nil
	}
	roles := 0
	for _, unit := range units {
		for _, ou := range m.ous {
			if ou.GetOrganizationalUnitIdentifier() != unit {
				continue
			}
			if len(ou.GetCertificate()) > 0 && !m.certifies(ou.GetCertificate(), chain) {
				return fmt.Errorf("the certificate of %s was issued by another CA than the one that its organizational unit %s names", cert.Subject.CommonName, unit)
			}
			roles++
		}
	}
	if roles != 1 {
		return fmt.Errorf("the certificate of %s has %d of the organizational units that tell roles apart and needs exactly one", cert.Subject.CommonName, roles)
	}
	return nil
}

// certifies tells whether a CA, given in PEM, is the one right above the certificate. Fabric compares
// the hashes of the whole chains, which are equal when the CA is.
func (m *membership) certifies(ca []byte, chain []*x509.Certificate) bool {
	cert, err := certificate.ParseOne(ca)
	return err == nil && len(chain) > 1 && chain[1].Equal(cert)
}

// certifiersID is how a principal names the chain of CAs above a member.
func certifiersID(chain []*x509.Certificate) []byte {
	hash := sha256.New()
	for _, cert := range chain[1:] {
		hash.Write(cert.Raw)
	}
	return hash.Sum(nil)
}

// has tells whether the member with the certificate has the role.
func (m *membership) has(cert *x509.Certificate, role policy.Role) bool {
	if role == policy.RoleAdmin && slices.ContainsFunc(m.admins, cert.Equal) {
		return true
	}
	if m.verify(cert) != nil {
		return false
	}
	if role == policy.RoleMember {
		return true
	}
	ou := m.ous[role]
	return m.nodeOUs && ou != nil && slices.Contains(cert.Subject.OrganizationalUnit, ou.GetOrganizationalUnitIdentifier())
}

// satisfies tells whether the member with the certificate is one that the principal means
// (msp/mspimpl.go, SatisfiesPrincipal).
func (m *membership) satisfies(id string, cert *x509.Certificate, principal *mspproto.MSPPrincipal) bool {
	switch principal.GetPrincipalClassification() {
	case mspproto.MSPPrincipal_ROLE:
		role := &mspproto.MSPRole{}
		return proto.Unmarshal(principal.GetPrincipal(), role) == nil && role.GetMspIdentifier() == id && m.has(cert, policy.RoleOf(role.GetRole()))
	case mspproto.MSPPrincipal_IDENTITY:
		identity := &mspproto.SerializedIdentity{}
		if proto.Unmarshal(principal.GetPrincipal(), identity) != nil || identity.GetMspid() != id {
			return false
		}
		wanted, err := certificate.ParseOne(identity.GetIdBytes())
		return err == nil && wanted.Equal(cert) && m.verify(cert) == nil
	case mspproto.MSPPrincipal_ORGANIZATION_UNIT:
		unit := &mspproto.OrganizationUnit{}
		if proto.Unmarshal(principal.GetPrincipal(), unit) != nil || unit.GetMspIdentifier() != id || m.verify(cert) != nil {
			return false
		}
		chain, err := m.chain(cert)
		return err == nil && slices.Contains(cert.Subject.OrganizationalUnit, unit.GetOrganizationalUnitIdentifier()) && bytes.Equal(certifiersID(chain), unit.GetCertifiersIdentifier())
	case mspproto.MSPPrincipal_ANONYMITY:
		anonymity := &mspproto.MSPIdentityAnonymity{}
		return proto.Unmarshal(principal.GetPrincipal(), anonymity) == nil && anonymity.GetAnonymityType() == mspproto.MSPIdentityAnonymity_NOMINAL
	case mspproto.MSPPrincipal_COMBINED:
		combined := &mspproto.CombinedPrincipal{}
		if proto.Unmarshal(principal.GetPrincipal(), combined) != nil || len(combined.GetPrincipals()) == 0 {
			return false
		}
		return !slices.ContainsFunc(combined.GetPrincipals(), func(p *mspproto.MSPPrincipal) bool { return !m.satisfies(id, cert, p) })
	default:
		return false
	}
}

// parseRevocationList reads a CRL in PEM or, as Fabric also takes it, in DER.
func parseRevocationList(text []byte) (*x509.RevocationList, error) {
	der := text
	if block, _ := pem.Decode(text); block != nil {
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("unable to read the revocation list: %w", err)
	}
	return list, nil
}
