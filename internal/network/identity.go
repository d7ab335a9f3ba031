package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// IdentitySpec is a registered and enrolled identity of an organization.
type IdentitySpec struct {
	// Handle is of kind identity; its name is the enrolment ID.
	Handle Handle
	// Type is client, admin, peer or orderer.
	Type string
	// Affiliation is made at the CA when it is not there.
	Affiliation string
	// Attributes go into the certificate.
	Attributes map[string]string
	// Directory receives an MSP folder with the key; empty keeps the key in the organization's key
	// volume.
	Directory string
}

// IdentityState is what is known of an identity.
type IdentityState struct {
	// Certificate is in PEM; empty when the key is gone.
	Certificate string
	// Registered tells that the CA knows the identity, with the facts that it has.
	Registered  bool
	Type        string
	Affiliation string
	Attributes  map[string]string
}

// attributes gives the registration form, sorted by name.
func (s IdentitySpec) attributes() []ca.Attribute {
	var out []ca.Attribute
	for name, value := range s.Attributes {
		out = append(out, ca.Attribute{Name: name, Value: value, ECert: true})
	}
	slices.SortFunc(out, func(a, b ca.Attribute) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// store is where the key of the identity lives.
func (f *Fabric) store(h Handle, directory string) keystore.Store {
	if directory != "" {
		return keystore.Directory{Path: directory}
	}
	return keystore.OpenVolume(f.engine, h.Organization().keys())
}

// CreateIdentity registers and enrols the identity and stores its key.
func (f *Fabric) CreateIdentity(ctx context.Context, spec IdentitySpec) (IdentityState, error) {
	org, err := f.organizationKeys(ctx, spec.Handle.Organization())
	if err != nil {
		return IdentityState{}, err
	}
	from, err := org.ca()
	if err != nil {
		return IdentityState{}, err
	}
	if err := f.ensureAffiliation(ctx, from, spec.Affiliation); err != nil {
		return IdentityState{}, err
	}
	enrollment, err := f.enrollNew(ctx, from, enrollmentCA, ca.Registration{
		ID: spec.Handle.Name, Type: spec.Type, Affiliation: spec.Affiliation, Attributes: spec.attributes(), MaxEnrollments: ca.Unlimited,
	}, ca.EnrollRequest{})
	if err != nil {
		return IdentityState{}, err
	}
	return f.storeIdentity(ctx, spec, org.Definition, enrollment.KeyPair)
}

func (f *Fabric) storeIdentity(ctx context.Context, spec IdentitySpec, definition msp.Definition, pair *certificate.KeyPair) (IdentityState, error) {
	files := map[string][]byte{}
	state := IdentityState{
		Certificate: string(pair.CertificatePEM()), Registered: true,
		Type: spec.Type, Affiliation: spec.Affiliation, Attributes: spec.Attributes,
	}
	if spec.Directory == "" {
		if err := putPair(files, identitiesFolder+spec.Handle.Name, pair); err != nil {
			return state, err
		}
		return state, f.writeStore(ctx, spec.Handle.Organization().keys(), files)
	}
	files, err := msp.Folder(definition, &msp.Identity{ID: spec.Handle.MSPID, CertificatePEM: pair.CertificatePEM(), Key: pair.Key})
	if err != nil {
		return state, err
	}
	return state, f.store(spec.Handle, spec.Directory).Write(ctx, files)
}

// ensureAffiliation makes an affiliation that the CA lacks. An empty one is the root of all.
func (f *Fabric) ensureAffiliation(ctx context.Context, from Handle, affiliation string) error {
	if affiliation == "" {
		return nil
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return err
	}
	if err := client.AddAffiliation(ctx, registrar, affiliation); err != nil && !errors.Is(err, ca.ErrAffiliationExists) {
		return fmt.Errorf("unable to add affiliation %s at %s: %w", affiliation, from, err)
	}
	return nil
}

// UpdateIdentity changes the registration and enrols again, with the key kept, so that the
// certificate says what the registration does.
func (f *Fabric) UpdateIdentity(ctx context.Context, spec IdentitySpec, before map[string]string) (IdentityState, error) {
	org, err := f.organizationKeys(ctx, spec.Handle.Organization())
	if err != nil {
		return IdentityState{}, err
	}
	from, err := org.ca()
	if err != nil {
		return IdentityState{}, err
	}
	if err := f.ensureAffiliation(ctx, from, spec.Affiliation); err != nil {
		return IdentityState{}, err
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return IdentityState{}, err
	}
	change := ca.Modification{
		Type: spec.Type, Affiliation: spec.Affiliation, Secret: newSecret(), MaxEnrollments: ca.Unlimited, Attributes: spec.attributes(),
	}
	if change.Affiliation == "" {
		change.Affiliation = "."
	}
	for name := range before {
		if _, stays := spec.Attributes[name]; !stays {
			change.Attributes = append(change.Attributes, ca.Attribute{Name: name}) // an empty value removes it
		}
	}
	if _, err := client.ModifyIdentity(ctx, registrar, spec.Handle.Name, change); err != nil {
		return IdentityState{}, fmt.Errorf("unable to change the registration of %s: %w", spec.Handle, err)
	}
	request := ca.EnrollRequest{}
	if have, err := f.readIdentity(ctx, spec.Handle, spec.Directory); err == nil {
		request.Key = have.Key
	}
	enrollment, err := client.Enroll(ctx, spec.Handle.Name, change.Secret, request)
	if err != nil {
		return IdentityState{}, err
	}
	return f.storeIdentity(ctx, spec, org.Definition, enrollment.KeyPair)
}

// readIdentity gives the signing identity, wherever its key lives. ErrNotFound when it is gone.
func (f *Fabric) readIdentity(ctx context.Context, h Handle, directory string) (*msp.Identity, error) {
	if directory == "" {
		return f.identity(ctx, h)
	}
	files, err := f.store(h, directory).Read(ctx)
	if errors.Is(err, keystore.ErrLost) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return msp.IdentityFromFolder(h.MSPID, files)
}

// ReadIdentity reads the certificate from the key store and the registration from the CA. While the
// CA does not run, known says what it was.
func (f *Fabric) ReadIdentity(ctx context.Context, h Handle, directory string, known IdentityState) (IdentityState, error) {
	state := known
	identity, err := f.readIdentity(ctx, h, directory)
	switch {
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost):
		state.Certificate = ""
	case err != nil:
		return known, err
	default:
		state.Certificate = string(identity.CertificatePEM)
	}
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return known, err
	}
	from, err := org.ca()
	if err != nil {
		return known, err
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return known, err
	}
	registered, err := client.Identity(ctx, registrar, h.Name)
	if errors.Is(err, ca.ErrNotFound) {
		state.Registered = false
		return state, nil
	}
	if err != nil {
		return known, err
	}
	state.Registered, state.Type, state.Affiliation = true, registered.Type, registered.Affiliation
	state.Attributes = map[string]string{}
	for _, a := range registered.Attributes {
		if a.ECert {
			state.Attributes[a.Name] = a.Value
		}
	}
	return state, nil
}

// DeleteIdentity removes the registration, so that the name is free again, and erases the key. An
// identity whose CA is provably gone leaves by its key alone.
func (f *Fabric) DeleteIdentity(ctx context.Context, h Handle, directory string) error {
	if err := f.unregister(ctx, h); err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	names := []string{identitiesFolder + h.Name + "/cert.pem", identitiesFolder + h.Name + "/key.pem"}
	if directory == "" {
		err := f.eraseStore(ctx, h.Organization().keys(), names...)
		if errors.Is(err, keystore.ErrLost) {
			return nil
		}
		return err
	}
	// The directory is the user's: only what an MSP folder of ours holds goes.
	names = []string{"signcerts/cert.pem", "keystore/key.pem"}
	if org, err := f.organizationKeys(ctx, h.Organization()); err == nil {
		folder, err := msp.Folder(org.Definition, nil)
		if err != nil {
			return err
		}
		names = slices.AppendSeq(names, maps.Keys(folder))
	}
	return f.store(h, directory).Erase(ctx, names...)
}

// unregister removes the identity from the CA's registry. ErrLost when the CA's database is gone.
func (f *Fabric) unregister(ctx context.Context, h Handle) error {
	org, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return err
	}
	from, err := org.ca()
	if err != nil {
		return err
	}
	state, err := f.ReadCA(ctx, from)
	if err != nil {
		return err
	}
	if state.Lost {
		return &LostError{Thing: from, Volume: from.Object()}
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return err
	}
	if err := client.RemoveIdentity(ctx, registrar, h.Name); err != nil && !errors.Is(err, ca.ErrNotFound) {
		return fmt.Errorf("unable to remove the registration of %s: %w", h, err)
	}
	return nil
}
