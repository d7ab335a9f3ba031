package msp

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// The names of the organizational units by which NodeOUs tell the roles of members apart. They are
// also the identity types under which Fabric CA registers members.
const (
	OUClient  = "client"
	OUPeer    = "peer"
	OUAdmin   = "admin"
	OUOrderer = "orderer"
)

// maxIDLength and idPattern are those of Fabric's configuration keys (common/configtx,
// validateConfigID), because an organization's group in a channel is named by its MSP ID.
const maxIDLength = 249

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9.-]+$`)

// ValidateID says what is wrong with an MSP ID, or nil.
func ValidateID(id string) error {
	switch {
	case id == "":
		return errors.New("unable to use an empty MSP ID")
	case len(id) > maxIDLength:
		return fmt.Errorf("unable to use an MSP ID of %d characters: Fabric allows %d", len(id), maxIDLength)
	case id == "." || id == "..":
		return fmt.Errorf("unable to use the MSP ID %q: Fabric reserves it", id)
	case !idPattern.MatchString(id):
		return fmt.Errorf("unable to use the MSP ID %q: Fabric allows letters, digits, dots and hyphens", id)
	}
	return nil
}

// Validate says why Fabric would refuse the definition now, or nil. See ValidateAt.
func (d Definition) Validate() error { return d.ValidateAt(time.Now()) }

// ValidateAt says why Fabric would refuse the definition at the instant, or nil: the MSP ID, at
// least one root of each kind, every certificate a CA with a subject key identifier that leads to
// exactly one root, nothing expired or revoked, every revocation list signed by one of the CAs. The checks are
// those of Fabric's msp package (mspimplsetup.go), which a peer reports only in its log; expiry is
// added, because a node does not start with an expired CA.
func (d Definition) ValidateAt(at time.Time) error {
	if err := ValidateID(d.ID); err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("unable to use the MSP %s: %w", d.ID, err) }
	enrolment, err := readTree("enrolment", d.RootCertificates, d.IntermediateCertificates)
	if err != nil {
		return fail(err)
	}
	if err := enrolment.validate(at); err != nil {
		return fail(err)
	}
	for _, root := range enrolment.roots {
		if root.CheckSignatureFrom(root) != nil {
			return fail(fmt.Errorf("enrolment CA %s: it is given as a root and is not self-signed; give it as an intermediate, with its root", root.Subject.CommonName))
		}
	}
	tls, err := readTree("TLS", d.TLSRootCertificates, d.TLSIntermediateCertificates)
	if err != nil {
		return fail(err)
	}
	if err := tls.validate(at); err != nil {
		return fail(err)
	}
	lists, err := d.revocationLists()
	if err != nil {
		return fail(err)
	}
	for i, list := range lists {
		if err := checkRevocationList(list, slices.Concat(enrolment.all(), tls.all())); err != nil {
			return fail(fmt.Errorf("revocation list %d: %w", i+1, err))
		}
	}
	for _, t := range []*tree{enrolment, tls} {
		for _, cert := range t.intermediates {
			if chain, err := t.chain(cert); err == nil && isRevoked(lists, chain) {
				return fail(fmt.Errorf("%s CA %s: a revocation list of this MSP revokes it", t.what, cert.Subject.CommonName))
			}
		}
	}
	return nil
}

// ClassifyingCertificate gives the certificate that NodeOUs name, in PEM, or "" when they name
// none. It is the only CA that can issue members. Where several can (two roots during a rollover,
// or two intermediates), NodeOUs must not name one, because Fabric would then refuse the members of
// the others ("certifiersIdentifier does not match"); without one, every member of the MSP is
// classified by its OU alone. A CA with an intermediate below it in the same MSP issues no members:
// Fabric wants the issuer to be a leaf of the tree.
func (d Definition) ClassifyingCertificate() (string, error) {
	tree, err := readTree("enrolment", d.RootCertificates, d.IntermediateCertificates)
	if err != nil {
		return "", fmt.Errorf("unable to use the MSP %s: %w", d.ID, err)
	}
	if issuers := tree.issuers(); len(issuers) == 1 {
		return string(certificate.EncodeCertificate(issuers[0])), nil
	}
	return "", nil
}

// VerifyMember says why the MSP would refuse the certificate (one PEM block) as that of a member, or
// nil: it must be issued by a CA that can issue members, hold exactly one of the four OUs and not be
// revoked.
// Expiry is not looked at: Fabric does not look at it here either.
func (d Definition) VerifyMember(certificatePEM []byte) error {
	cert, err := certificate.ParseOne(certificatePEM)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		return fmt.Errorf("unable to use %s as a member of the MSP %s: %w", cert.Subject.CommonName, d.ID, err)
	}
	tree, err := readTree("enrolment", d.RootCertificates, d.IntermediateCertificates)
	if err != nil {
		return fail(err)
	}
	if cert.IsCA {
		return fail(errors.New("it is the certificate of a CA"))
	}
	chain, err := tree.chain(cert)
	if err != nil {
		return fail(err)
	}
	lists, err := d.revocationLists()
	if err != nil {
		return fail(err)
	}
	if isRevoked(lists, chain) {
		return fail(errors.New("a revocation list of the MSP revokes it"))
	}
	if !slices.ContainsFunc(tree.issuers(), func(ca *x509.Certificate) bool { return cert.CheckSignatureFrom(ca) == nil }) {
		return fail(errors.New("it was issued by a CA that has an intermediate below it in this MSP, and Fabric then accepts members of the intermediate only"))
	}
	roles := 0
	for _, ou := range cert.Subject.OrganizationalUnit {
		if slices.Contains([]string{OUClient, OUPeer, OUAdmin, OUOrderer}, ou) {
			roles++
		}
	}
	if roles != 1 {
		return fail(fmt.Errorf("it holds %d of the organizational units client, peer, admin and orderer and needs exactly one", roles))
	}
	return nil
}

// tree is a set of roots with the intermediates below them.
type tree struct {
	what                 string
	roots, intermediates []*x509.Certificate
}

func readTree(what string, roots, intermediates []string) (*tree, error) {
	t := &tree{what: what}
	read := func(kind string, texts []string) ([]*x509.Certificate, error) {
		var certs []*x509.Certificate
		for i, text := range texts {
			cert, err := certificate.ParseOne([]byte(text))
			if err != nil {
				return nil, fmt.Errorf("%s %s %d: %w", what, kind, i+1, err)
			}
			certs = append(certs, cert)
		}
		return certs, nil
	}
	var err error
	if t.roots, err = read("root", roots); err != nil {
		return nil, err
	}
	if t.intermediates, err = read("intermediate", intermediates); err != nil {
		return nil, err
	}
	if len(t.roots) == 0 {
		return nil, fmt.Errorf("it has no %s root", what)
	}
	return t, nil
}

func (t *tree) all() []*x509.Certificate { return slices.Concat(t.roots, t.intermediates) }

func (t *tree) validate(at time.Time) error {
	for _, cert := range t.all() {
		who := fmt.Sprintf("%s CA %s", t.what, cert.Subject.CommonName)
		switch {
		case !cert.BasicConstraintsValid || !cert.IsCA:
			return fmt.Errorf("%s: it is not a CA certificate", who)
		case len(cert.SubjectKeyId) == 0:
			return fmt.Errorf("%s: it has no subject key identifier", who)
		case at.After(cert.NotAfter):
			return fmt.Errorf("%s: it expired at %s", who, cert.NotAfter.UTC().Format(time.RFC3339))
		case at.Before(cert.NotBefore):
			return fmt.Errorf("%s: it is not valid before %s", who, cert.NotBefore.UTC().Format(time.RFC3339))
		}
		if _, err := t.chain(cert); err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
	}
	return nil
}

// chain gives the one chain from the certificate to a root. Like Fabric it looks at the second
// after the certificate became valid, so that what was sound once stays readable.
func (t *tree) chain(cert *x509.Certificate) ([]*x509.Certificate, error) {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: cert.NotBefore.Add(time.Second),
	}
	for _, c := range t.roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range t.intermediates {
		opts.Intermediates.AddCert(c)
	}
	chains, err := cert.Verify(opts)
	if err != nil {
		var roots, intermediates [][]byte
		for _, c := range t.roots {
			roots = append(roots, certificate.EncodeCertificate(c))
		}
		for _, c := range t.intermediates {
			intermediates = append(intermediates, certificate.EncodeCertificate(c))
		}
		reason := certificate.VerifyChain(certificate.VerifyRequest{
			Leaf: certificate.EncodeCertificate(cert), Intermediates: intermediates, Roots: roots, At: opts.CurrentTime,
		})
		if reason != nil {
			return nil, reason
		}
		return nil, fmt.Errorf("unable to verify the certificate chain: %w", err)
	}
	if len(chains) != 1 {
		return nil, fmt.Errorf("there are %d ways to a root and Fabric accepts one only: remove the certificate that is given twice, as a root and as an intermediate", len(chains))
	}
	return chains[0], nil
}

// issuers gives the CAs that have no other CA of the tree below them.
func (t *tree) issuers() []*x509.Certificate {
	var out []*x509.Certificate
	for _, ca := range t.all() {
		above := slices.ContainsFunc(t.intermediates, func(c *x509.Certificate) bool {
			return !c.Equal(ca) && bytes.Equal(c.RawIssuer, ca.RawSubject) && c.CheckSignatureFrom(ca) == nil
		})
		if !above {
			out = append(out, ca)
		}
	}
	return out
}

func (d Definition) revocationLists() ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for i, text := range d.RevocationLists {
		list, err := parseRevocationList([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("revocation list %d: %w", i+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

func checkRevocationList(list *x509.RevocationList, cas []*x509.Certificate) error {
	if len(list.AuthorityKeyId) == 0 {
		return errors.New("it has no authority key identifier")
	}
	if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return speaksFor(list, ca) }) {
		return fmt.Errorf("it was issued by %s, which is not a CA of this MSP", list.Issuer)
	}
	return nil
}

// isRevoked says whether the issuer of a chain's first certificate has revoked it.
func isRevoked(lists []*x509.RevocationList, chain []*x509.Certificate) bool {
	if len(chain) < 2 {
		return false
	}
	return slices.ContainsFunc(lists, func(list *x509.RevocationList) bool {
		return speaksFor(list, chain[1]) && slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
			return e.SerialNumber.Cmp(chain[0].SerialNumber) == 0
		})
	})
}

func speaksFor(list *x509.RevocationList, ca *x509.Certificate) bool {
	return bytes.Equal(ca.SubjectKeyId, list.AuthorityKeyId) && list.CheckSignatureFrom(ca) == nil
}
