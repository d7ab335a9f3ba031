package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// OrganizationSpec is an organization: one whose certificates come from a CA of this network, or a
// partner's, given by its definition.
type OrganizationSpec struct {
	// Handle is of kind organization; its name is the MSP ID.
	Handle Handle
	// CA issues the organization's certificates; nil for a partner's organization.
	CA *Handle
	// Definition is the partner's, or that of an organization whose CA is not here.
	Definition msp.Definition
	// AdminDirectory is a local directory that holds the admin of an organization whose CA is not here;
	// empty for a partner's, which nobody here acts for. See ReadAdmin.
	AdminDirectory string
	// Image is any image of the engine, for the keeper of a partner's key volume.
	Image string
	// TLSRootVersion counts the organization's TLS roots; 0 is the first, as 1 is.
	TLSRootVersion int
	// Renewal is of the admin's certificate and key.
	Renewal
}

// OrganizationState is what is known of an organization.
type OrganizationState struct {
	Handle Handle
	// CA is the name of its CA; empty for a partner's.
	CA         string
	Definition msp.Definition
	// AdminCertificate is the admin's, in PEM; empty for a partner's. KeyVersion counts its keys.
	AdminCertificate string
	// AdminDirectory is where an admin came from that no CA here enrolled.
	AdminDirectory string
	KeyVersion     int
	// TLSRootVersion counts its TLS roots; -1 while it is on its way to another one.
	TLSRootVersion int
	// Lost tells that the key volume is gone.
	Lost bool
	// Superseded tells that its CA was begun anew since: it has other roots than the definition.
	Superseded bool
}

// PreflightOrganization finds what would fail before anything is made.
func (f *Fabric) PreflightOrganization(ctx context.Context, spec OrganizationSpec) error {
	h := spec.Handle
	if err := f.requireNetwork(ctx, h); err != nil {
		return err
	}
	if err := f.preflightKeys(ctx, h); err != nil {
		return err
	}
	if spec.CA != nil {
		if _, err := f.caKeys(ctx, *spec.CA); err != nil {
			return err
		}
		if err := f.requireUnshared(ctx, h, *spec.CA); err != nil {
			return err
		}
	}
	if spec.AdminDirectory != "" {
		if _, err := ReadAdmin(ctx, spec.AdminDirectory, spec.Definition); err != nil {
			return err
		}
	}
	files, err := f.readKeys(ctx, h)
	switch {
	case errors.Is(err, keystore.ErrLost):
		return nil
	case err != nil:
		return err
	case len(files[organizationRecord]) == 0 || f.adopts(h.Owner):
		return nil
	}
	have, err := f.organizationKeys(ctx, h)
	if err != nil { // an apply that was killed wrote half of it
		return nil //nolint:nilerr // it is written again
	}
	// An apply that was killed may have made it before Terraform heard of it.
	if f.seen.marked(h.keys()) || !spec.describes(have) {
		return &ExistsError{Thing: h}
	}
	return nil
}

// describes tells whether the organization that is there is the one that is asked for.
func (s OrganizationSpec) describes(have *organizationKeys) bool {
	if s.CA != nil {
		return have.CA == s.CA.Name
	}
	return have.CA == "" && inputs(have.Definition) == inputs(s.Definition)
}

// requireUnshared fails when another organization has its certificates from the CA: its members
// would be members of both.
func (f *Fabric) requireUnshared(ctx context.Context, org, from Handle) error {
	served, err := f.organizationsOf(ctx, from)
	if err != nil {
		return err
	}
	for _, other := range served {
		if other.Name != org.Name {
			return fmt.Errorf("%s issues the certificates of %s: whoever it certifies would be a member of both; give each organization a CA of its own", from, other)
		}
	}
	return nil
}

// organizationsOf gives the organizations that have their certificates from a CA.
func (f *Fabric) organizationsOf(ctx context.Context, from Handle) ([]Handle, error) {
	volumes, err := f.engine.Volumes(ctx, map[string]string{
		engine.LabelOwner: from.Owner, engine.LabelKind: string(KindOrganization), engine.LabelNetwork: from.Network, labelCA: from.Name,
	})
	out := make([]Handle, len(volumes))
	for i, v := range volumes {
		out[i] = handleOf(v.Labels)
	}
	return out, err
}

// CreateOrganization records the organization in a key volume of its own and enrols its admin.
// What an earlier attempt did is kept.
func (f *Fabric) CreateOrganization(ctx context.Context, spec OrganizationSpec) (OrganizationState, error) {
	record := organizationKeys{Definition: spec.Definition, TLSRootVersion: spec.TLSRootVersion}
	labels := map[string]string{}
	image := spec.Image
	if spec.CA != nil {
		keys, err := f.caKeys(ctx, *spec.CA)
		if err != nil {
			return OrganizationState{}, err
		}
		if record.Definition, err = keys.definition(spec.Handle.MSPID); err != nil {
			return OrganizationState{}, err
		}
		record.CA, labels[labelCA] = spec.CA.Name, spec.CA.Name
		node, err := f.engine.Node(ctx, spec.CA.Object())
		switch {
		case err == nil:
			image = node.ImageID
		case !errors.Is(err, engine.ErrNotFound):
			return OrganizationState{}, fmt.Errorf("unable to read %s: %w", *spec.CA, err)
		}
	}
	if err := record.Definition.Validate(); err != nil {
		return OrganizationState{}, err
	}
	resolved, err := f.engine.ResolveImage(ctx, image)
	if err != nil {
		return OrganizationState{}, err
	}
	f.seen.mark(spec.Handle.keys())
	if err := f.createKeys(ctx, spec.Handle, resolved.ID, labels); err != nil {
		return OrganizationState{}, err
	}
	return f.recordOrganization(ctx, spec, record)
}

// UpdateOrganization has the organization's admin enrol again as the renewal asks for, and gives the
// organization another TLS root when that has another version. Whoever acts as the admin reads its
// certificate at that time, so nothing restarts for it.
func (f *Fabric) UpdateOrganization(ctx context.Context, spec OrganizationSpec) (OrganizationState, error) {
	record, from, err := f.issuer(ctx, spec.Handle)
	if errors.Is(err, errNoCA) {
		return f.updateGiven(ctx, spec, record)
	}
	if err != nil {
		return OrganizationState{}, err
	}
	spec.CA = &from
	if err := f.beginRotation(ctx, spec.Handle, &spec.Renewal); err != nil {
		return OrganizationState{}, err
	}
	if _, err := f.recordOrganization(ctx, spec, *record); err != nil {
		return OrganizationState{}, err
	}
	if err := f.RollTLSRoot(ctx, spec.Handle, spec.TLSRootVersion); err != nil {
		return OrganizationState{}, err
	}
	return f.ReadOrganization(ctx, spec.Handle)
}

// updateGiven reads the admin of an organization anew that is given by its certificates, or forgets it.
func (f *Fabric) updateGiven(ctx context.Context, spec OrganizationSpec, record *organizationKeys) (OrganizationState, error) {
	spec.Revoke = nil // no CA here knows of the certificate
	if spec.AdminDirectory == "" {
		var admin []string
		for _, folder := range []string{adminFolder, adminTLSFolder} {
			admin = append(admin, folder+"/cert.pem", folder+"/key.pem")
		}
		if err := f.eraseKeys(ctx, spec.Handle, admin...); err != nil {
			return OrganizationState{}, err
		}
	}
	return f.recordOrganization(ctx, spec, *record)
}

// recordOrganization writes the record, and beside it the admin, whom it enrols unless there is one
// that may stay.
func (f *Fabric) recordOrganization(ctx context.Context, spec OrganizationSpec, record organizationKeys) (OrganizationState, error) {
	record.AdminKeyVersion, record.AdminDirectory = spec.KeyVersion, spec.AdminDirectory
	raw, err := json.Marshal(record)
	if err != nil {
		return OrganizationState{}, err
	}
	files := map[string][]byte{organizationRecord: raw}
	switch {
	case spec.CA != nil:
		err = f.enrollAdmin(ctx, spec, files)
	case spec.AdminDirectory != "":
		var admin map[string][]byte
		admin, err = ReadAdmin(ctx, spec.AdminDirectory, record.Definition)
		maps.Copy(files, admin)
		if err == nil {
			err = f.addOperationsRoot(ctx, spec.Handle, files)
		}
	}
	if err != nil {
		return OrganizationState{}, err
	}
	if err := f.writeKeys(ctx, spec.Handle, files); err != nil {
		return OrganizationState{}, err
	}
	if err := f.endRotation(ctx, spec.Handle, spec.Renewal); err != nil {
		return OrganizationState{}, err
	}
	return f.ReadOrganization(ctx, spec.Handle)
}

// operationsRootLife is how long the operations root lives of an organization without a CA here.
const operationsRootLife = 15 * year

// addOperationsRoot adds what issues for the admin and operations endpoints of nodes of an organization
// without a CA here, unless there is one.
func (f *Fabric) addOperationsRoot(ctx context.Context, h Handle, files map[string][]byte) error {
	have, err := f.readKeys(ctx, h)
	if err != nil || paired(have[operationsCertificate], have[operationsKey]) {
		return err
	}
	root, err := certificate.NewRoot(certificate.RootRequest{CommonName: "operations." + h.Name, Organization: h.Name, Validity: operationsRootLife})
	if err != nil {
		return err
	}
	return putPair(files, operationsFolder, root)
}

// adminName is the enrolment ID of an organization's admin.
const adminName = "admin"

// enrollAdmin enrols the organization's admin unless there is one whose certificate may stay. The
// files are added to files, to be written together with others.
func (f *Fabric) enrollAdmin(ctx context.Context, spec OrganizationSpec, files map[string][]byte) error {
	have, err := f.readKeys(ctx, spec.Handle)
	if err != nil {
		return err
	}
	certPEM, keyPEM := pairIn(have, adminFolder)
	if paired(certPEM, keyPEM) && !spec.replaces(certPEM) {
		return nil
	}
	enrollment, err := f.enrollNew(ctx, *spec.CA, enrollmentCA,
		ca.Registration{ID: adminName, Type: "admin", MaxEnrollments: ca.Unlimited}, ca.EnrollRequest{Key: spec.keptKey(certPEM, keyPEM)})
	if err != nil {
		return err
	}
	return putPair(files, adminFolder, enrollment.KeyPair)
}

// ReadAdmin reads the admin of an organization from a local directory, as the files of the organization's
// key volume. The directory is an MSP folder, or that of a user, as cryptogen makes it: with the MSP folder
// in msp and, for ordering nodes whose admin endpoint wants one, a TLS client certificate in tls.
func ReadAdmin(ctx context.Context, directory string, d msp.Definition) (map[string][]byte, error) {
	folder, err := keystore.Directory{Path: filepath.Join(directory, "msp")}.Read(ctx)
	user := err == nil
	if errors.Is(err, keystore.ErrLost) {
		folder, err = keystore.Directory{Path: directory}.Read(ctx)
	}
	if err != nil {
		return nil, err
	}
	admin, err := msp.IdentityFromFolder(d.ID, folder)
	if err != nil {
		return nil, fmt.Errorf("unable to read an admin from directory %s: %w", directory, err)
	}
	if !certifies(d, string(admin.CertificatePEM)) {
		return nil, fmt.Errorf("the certificate in directory %s is none of %s: it does not lead to a root of it, or has expired", directory, d.ID)
	}
	cert, err := certificate.ParseOne(admin.CertificatePEM)
	if err != nil {
		return nil, fmt.Errorf("unable to read the certificate in directory %s: %w", directory, err)
	}
	files := map[string][]byte{}
	if err := putPair(files, adminFolder, &certificate.KeyPair{Certificate: cert, Key: admin.Key}); err != nil || !user {
		return files, err
	}
	tls, err := keystore.Directory{Path: filepath.Join(directory, "tls")}.Read(ctx)
	if err != nil && !errors.Is(err, keystore.ErrLost) {
		return nil, err
	}
	for _, name := range []string{"client", "server"} { // what cryptogen calls it for users and for nodes
		certPEM, keyPEM := tls[name+".crt"], tls[name+".key"]
		if !paired(certPEM, keyPEM) {
			continue
		}
		files[adminTLSFolder+"/cert.pem"], files[adminTLSFolder+"/key.pem"] = certPEM, keyPEM
		break
	}
	return files, nil
}

// ReadOrganization reads the organization back. One whose create failed reads as empty.
func (f *Fabric) ReadOrganization(ctx context.Context, h Handle) (OrganizationState, error) {
	keys, err := f.organizationKeys(ctx, h)
	switch {
	case errors.Is(err, ErrLost):
		return OrganizationState{Handle: h, Lost: true}, nil
	case errors.Is(err, ErrNotFound):
		return OrganizationState{Handle: h}, nil
	case err != nil:
		return OrganizationState{}, err
	}
	state := OrganizationState{
		Handle: h, CA: keys.CA, Definition: keys.Definition, AdminCertificate: string(keys.files[adminFolder+"/cert.pem"]),
		TLSRootVersion: keys.TLSRootVersion, AdminDirectory: keys.AdminDirectory,
	}
	if state.KeyVersion, err = f.rotated(ctx, h, keys.AdminKeyVersion); err != nil {
		return state, err
	}
	if keys.TLSRollover != nil {
		state.TLSRootVersion = -1
	}
	if keys.CA == "" {
		return state, nil
	}
	from, err := keys.ca()
	if err != nil {
		return state, err
	}
	issuer, err := f.caKeys(ctx, from)
	if errors.Is(err, ErrLost) { // the CA itself tells it
		return state, nil
	}
	if err != nil {
		return state, err
	}
	current, err := issuer.definition(h.MSPID)
	state.Superseded = err == nil && !slices.Equal(current.RootCertificates, keys.Definition.RootCertificates)
	return state, err
}

// DeleteOrganization takes the organization out of its channels, and removes its key volume with every
// key in it, its admin's among them.
func (f *Fabric) DeleteOrganization(ctx context.Context, h Handle) error {
	if err := f.withdrawOrganization(ctx, h); err != nil {
		return err
	}
	f.seen.unmark(h.keys())
	return f.removeKeys(ctx, h)
}

// AdminCertificate gives the certificate among the files that ReadAdmin gave, in PEM.
func AdminCertificate(files map[string][]byte) string { return string(files[adminFolder+"/cert.pem"]) }
