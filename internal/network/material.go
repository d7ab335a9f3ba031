package network

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// A node of an organization whose CA is not here cannot be given certificates here: it runs with crypto
// material that a person has, in a local directory, which is copied to the node's volume.

// Material is what a node gets from its directory.
type Material struct {
	enrollment, tls *certificate.KeyPair
	// chain is the TLS certificate in PEM with the intermediates that follow it.
	chain []byte
}

// Certificates gives the certificates of the material, in PEM.
func (m *Material) Certificates() map[string]string {
	return map[string]string{CertificateEnrollment: string(m.enrollment.CertificatePEM()), CertificateTLS: string(m.chain)}
}

// ReadMaterial reads the crypto material of a node from a local directory, as cryptogen lays it out: an
// MSP folder in msp; in tls the TLS certificate, which intermediates may follow, and its key, as server.crt
// and server.key. It looks at what the material alone can tell: that keys and certificates go together and
// have not expired, and that the TLS certificate is for the hosts. ErrNotFound when there is no such directory.
func ReadMaterial(ctx context.Context, directory string, hosts []string) (*Material, error) {
	folder, err := keystore.Directory{Path: filepath.Join(directory, "msp")}.Read(ctx)
	if errors.Is(err, keystore.ErrLost) {
		return nil, fmt.Errorf("no MSP folder msp in directory %q: %w", directory, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	enrolled, err := msp.IdentityFromFolder("directory "+directory, folder)
	if err != nil {
		return nil, err
	}
	cert, err := certificate.ParseOne(enrolled.CertificatePEM)
	if err != nil {
		return nil, err
	}
	m := &Material{enrollment: &certificate.KeyPair{Certificate: cert, Key: enrolled.Key}}
	folder, err = keystore.Directory{Path: filepath.Join(directory, "tls")}.Read(ctx)
	if err != nil {
		return nil, err
	}
	if m.tls, err = certificate.ParseKeyPair(firstBlock(folder["server.crt"]), folder["server.key"]); err != nil {
		return nil, fmt.Errorf("tls in directory %s holds no server.crt with its server.key: %w", directory, err)
	}
	shown, err := certificate.ParseCertificates(folder["server.crt"])
	if err != nil {
		return nil, fmt.Errorf("unable to read server.crt in directory %s: %w", directory, err)
	}
	for _, cert := range shown {
		m.chain = append(m.chain, certificate.EncodeCertificate(cert)...)
	}
	for name, pair := range map[string]*certificate.KeyPair{"enrolment": m.enrollment, "TLS": m.tls} {
		if end := pair.Certificate.NotAfter; time.Now().After(end) {
			return nil, fmt.Errorf("the %s certificate in directory %s has expired, at %s", name, directory, end.UTC().Format(time.RFC3339))
		}
	}
	for _, host := range hosts {
		if err := m.tls.Certificate.VerifyHostname(host); err != nil {
			return nil, fmt.Errorf("the TLS certificate in directory %s is not for %s: %w", directory, host, err)
		}
	}
	return m, nil
}

// MaterialHosts are the names that the TLS certificate of given material must hold: not all that a
// certificate of ours has.
func (o NodeOptions) MaterialHosts(h Handle) []string {
	hosts := append([]string{h.Host()}, o.Hosts...)
	if o.AdvertisedAddress != "" {
		hosts = append(hosts, hostOf(o.AdvertisedAddress))
	}
	return hosts
}

// CheckMaterial fails when a node could not run with what it is given, or is given nothing and has no CA
// here either. While its organization is not there, that cannot be told.
func (f *Fabric) CheckMaterial(ctx context.Context, h Handle, options NodeOptions) error {
	if options.Container != "" { // it has its own
		return nil
	}
	org, err := f.organizationKeys(ctx, h.Organization())
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) {
		return nil
	}
	if err == nil {
		_, err = f.given(ctx, h, org, options, nil)
	}
	if options.Existing && errors.Is(err, ErrNotFound) { // it was read once
		return nil
	}
	return err
}

// given gives the material of a node that no CA here certifies; nil where one does, and where the node
// goes on with what it has: that stays when the directory is not at hand.
func (f *Fabric) given(ctx context.Context, h Handle, org *organizationKeys, options NodeOptions, have map[string][]byte) (*Material, error) {
	fail := func(err error) (*Material, error) {
		return nil, fmt.Errorf("unable to run %s with the material of directory %q: %w", h, options.MaterialDirectory, err)
	}
	switch {
	case org.CA != "" && options.MaterialDirectory == "":
		return nil, nil
	case org.CA != "":
		return fail(fmt.Errorf("%s has CA %s, which certifies its nodes; next: leave material_directory out", h.Organization(), org.CA))
	case options.MaterialDirectory == "":
		return nil, fmt.Errorf("unable to certify %s: %w; next: set material_directory to a directory with its crypto material", h, errNoCA)
	}
	m, err := ReadMaterial(ctx, options.MaterialDirectory, options.MaterialHosts(h))
	if errors.Is(err, ErrNotFound) && paired(have[enrollmentFile], have[enrollmentKeyFile]) && paired(have[tlsFile], have[tlsKeyFile]) {
		return nil, nil
	}
	if err != nil {
		return fail(err)
	}
	if err := org.Definition.VerifyMember(m.enrollment.CertificatePEM()); err != nil {
		return fail(err)
	}
	if role := string(h.Kind); !slices.Contains(m.enrollment.Certificate.Subject.OrganizationalUnit, role) {
		return fail(fmt.Errorf("its enrolment certificate, of %s, does not hold the organizational unit %s", m.enrollment.Certificate.Subject.CommonName, role))
	}
	if !chains(string(m.chain), nil, org.Definition.TLSRootCertificates) {
		return fail(fmt.Errorf("its TLS certificate does not lead to a TLS root of %s; next: let server.crt hold the intermediates behind it, if there are any", h.Organization()))
	}
	return m, nil
}
