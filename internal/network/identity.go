package network

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
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
	// Validity is that of the certificate, one of those that the CA has; zero is the CA's own.
	Validity time.Duration
	// Directory receives an MSP folder with the key; empty keeps the key in the organization's key
	// volume.
	Directory string
	Renewal
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
	Validity    time.Duration
	KeyVersion  int
}

// Attributes of a registration that go into no certificate, beside registeredFor.
const (
	registeredForIdentity = "identity"
	// registeredValidity is the validity that was asked for, as Go writes durations.
	registeredValidity = engine.LabelPrefix + "validity"
	// registeredKeyVersion counts the keys that the identity has had, from 2 on.
	registeredKeyVersion = engine.LabelPrefix + "key_version"
)

// ReservedAttribute tells whether the CA itself gives the attribute to every identity, or this
// provider does.
func ReservedAttribute(name string) bool {
	switch name {
	case "hf.EnrollmentID", "hf.Type", "hf.Affiliation":
		return true
	}
	return strings.HasPrefix(name, engine.LabelPrefix)
}

// attributes gives the registration form, sorted by name.
func (s IdentitySpec) attributes() []ca.Attribute {
	out := []ca.Attribute{
		{Name: registeredFor, Value: registeredForIdentity},
		{Name: registeredValidity, Value: s.Validity.String()},
	}
	if s.KeyVersion > 0 {
		out = append(out, ca.Attribute{Name: registeredKeyVersion, Value: strconv.Itoa(s.KeyVersion)})
	}
	for name, value := range s.Attributes {
		out = append(out, ca.Attribute{Name: name, Value: value, ECert: true})
	}
	slices.SortStableFunc(out, func(a, b ca.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// store is where the key of the identity lives.
func (f *Fabric) store(h Handle, directory string) keystore.Store {
	if directory != "" {
		return keystore.Directory{Path: directory}
	}
	return f.keyVolume(h.Organization())
}

// issuer gives an organization with the CA that its certificates come from.
func (f *Fabric) issuer(ctx context.Context, org Handle) (*organizationKeys, Handle, error) {
	keys, err := f.organizationKeys(ctx, org)
	if err != nil {
		return nil, Handle{}, err
	}
	from, err := keys.ca()
	return keys, from, err
}

// PreflightIdentity finds what would fail before anything is made: a CA that does not answer, a name
// that is registered for something else, a validity that the CA does not have, a directory with
// another identity in it.
func (f *Fabric) PreflightIdentity(ctx context.Context, spec IdentitySpec) error {
	h := spec.Handle
	_, from, err := f.issuer(ctx, h.Organization())
	if err != nil {
		return err
	}
	if err := f.requireValidity(ctx, from, spec.Validity); err != nil {
		return err
	}
	holds := false
	switch identity, err := f.readIdentity(ctx, h, spec.Directory); {
	case err == nil:
		cert, err := certificate.ParseOne(identity.CertificatePEM)
		if err != nil {
			return fmt.Errorf("unable to read the certificate of %s: %w", h, err)
		}
		if cert.Subject.CommonName != h.Name {
			return fmt.Errorf("directory %s holds another identity, %s, which would be overwritten: choose another directory, or empty it", spec.Directory, cert.Subject.CommonName)
		}
		holds = true
	case !errors.Is(err, ErrNotFound):
		return err
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return err
	}
	found, err := client.Identity(ctx, registrar, h.Name)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return nil
	case err != nil:
		return f.unanswered(ctx, from, err)
	}
	if by := attributeOf(found.Attributes, registeredFor); by != registeredForIdentity {
		return &RegisteredError{ID: h.Name, For: by, CA: from}
	}
	// An apply that was killed may have made it before Terraform heard of it.
	if holds && !f.adopts(h.Owner) && (f.seen.marked(spec.mark()) || !spec.describes(found)) {
		return &ExistsError{Thing: h}
	}
	return nil
}

// mark is the name by which a process remembers that it made the identity.
func (s IdentitySpec) mark() string { return s.Handle.Organization().keys() + "/" + s.Handle.Name }

// describes tells whether a registration is the one that is asked for.
func (s IdentitySpec) describes(found *ca.Identity) bool {
	return found.Type == s.Type && found.Affiliation == s.Affiliation && maps.Equal(ownAttributes(found), s.Attributes) &&
		attributeOf(found.Attributes, registeredValidity) == s.Validity.String()
}

// ownAttributes are the attributes of a registration that a user gave.
func ownAttributes(found *ca.Identity) map[string]string {
	own := map[string]string{}
	for _, a := range found.Attributes {
		if a.ECert && !ReservedAttribute(a.Name) {
			own[a.Name] = a.Value
		}
	}
	return own
}

// requireValidity fails with *ValidityError when the CA has no such lifetime: it would give its own
// without a word.
func (f *Fabric) requireValidity(ctx context.Context, from Handle, validity time.Duration) error {
	if validity == 0 {
		return nil
	}
	spec, err := f.FindCA(ctx, from.Network, from.Name)
	if err != nil {
		return err
	}
	if validity == spec.CertificateValidity || slices.Contains(spec.Validities, validity) {
		return nil
	}
	return &ValidityError{CA: from, Wanted: validity, Known: append([]time.Duration{spec.CertificateValidity}, spec.Validities...)}
}

// enrollment is the request for a certificate of the identity. The CA's own validity has no profile
// of its own.
func (f *Fabric) enrollment(ctx context.Context, from Handle, validity time.Duration) (ca.EnrollRequest, error) {
	if validity == 0 {
		return ca.EnrollRequest{}, nil
	}
	spec, err := f.FindCA(ctx, from.Network, from.Name)
	if err != nil {
		return ca.EnrollRequest{}, err
	}
	if validity == spec.CertificateValidity {
		return ca.EnrollRequest{}, nil
	}
	return ca.EnrollRequest{Profile: ca.ProfileFor(ca.ProfileEnrolment, validity)}, nil
}

// unanswered says of a CA that refused or did not answer which one it is and how it is.
func (f *Fabric) unanswered(ctx context.Context, from Handle, cause error) error {
	if refusal := new(ca.Error); errors.As(cause, &refusal) || errors.Is(cause, engine.ErrUnreachable) {
		return fmt.Errorf("%s: %w", from, cause)
	}
	state, err := f.readNode(ctx, from, CAPorts())
	if err != nil || state.Status == engine.Running {
		return fmt.Errorf("%s does not answer: %w", from, cause)
	}
	return fmt.Errorf("%s does not answer, its container is %s: apply its fabric_ca first: %w", from, state.Status, cause)
}

// CreateIdentity registers and enrols the identity and stores its key.
func (f *Fabric) CreateIdentity(ctx context.Context, spec IdentitySpec) (IdentityState, error) {
	org, from, err := f.issuer(ctx, spec.Handle.Organization())
	if err != nil {
		return IdentityState{}, err
	}
	if err := f.ensureAffiliation(ctx, from, spec.Affiliation); err != nil {
		return IdentityState{}, err
	}
	request, err := f.enrollment(ctx, from, spec.Validity)
	if err != nil {
		return IdentityState{}, err
	}
	if request.Key, err = f.takenBack(ctx, from, spec); err != nil {
		return IdentityState{}, err
	}
	f.seen.mark(spec.mark())
	enrollment, err := f.enrollNew(ctx, from, enrollmentCA, ca.Registration{
		ID: spec.Handle.Name, Type: spec.Type, Affiliation: spec.Affiliation, Attributes: spec.attributes(), MaxEnrollments: ca.Unlimited,
	}, request)
	if err != nil {
		return IdentityState{}, err
	}
	return f.storeIdentity(ctx, spec, org.Definition, enrollment.KeyPair)
}

// takenBack gives the key of an identity that is not made but taken back: the CA knows it still. Of one
// that was removed there, a key that is left is used by nobody any more.
func (f *Fabric) takenBack(ctx context.Context, from Handle, spec IdentitySpec) (crypto.Signer, error) {
	have, err := f.readIdentity(ctx, spec.Handle, spec.Directory)
	if err != nil {
		return nil, nil //nolint:nilerr // what cannot be read is made anew
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return nil, err
	}
	_, err = client.Identity(ctx, registrar, spec.Handle.Name)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, f.unanswered(ctx, from, err)
	}
	return have.Key, nil
}

func (f *Fabric) storeIdentity(ctx context.Context, spec IdentitySpec, definition msp.Definition, pair *certificate.KeyPair) (IdentityState, error) {
	files := map[string][]byte{}
	state := IdentityState{
		Certificate: string(pair.CertificatePEM()), Registered: true,
		Type: spec.Type, Affiliation: spec.Affiliation, Attributes: spec.Attributes, Validity: spec.Validity, KeyVersion: spec.KeyVersion,
	}
	if spec.Directory == "" {
		if err := putPair(files, identitiesFolder+spec.Handle.Name, pair); err != nil {
			return state, err
		}
		return state, f.writeKeys(ctx, spec.Handle.Organization(), files)
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

// UpdateIdentity changes the registration and enrols again, so that the certificate says what the
// registration does. The key is kept unless nobody may trust it any more.
func (f *Fabric) UpdateIdentity(ctx context.Context, spec IdentitySpec, before map[string]string) (IdentityState, error) {
	org, from, err := f.issuer(ctx, spec.Handle.Organization())
	if err != nil {
		return IdentityState{}, err
	}
	if err := f.requireValidity(ctx, from, spec.Validity); err != nil {
		return IdentityState{}, err
	}
	if err := f.ensureAffiliation(ctx, from, spec.Affiliation); err != nil {
		return IdentityState{}, err
	}
	if err := f.beginRotation(ctx, spec.Handle, &spec.Renewal); err != nil {
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
	if spec.KeyVersion == 0 {
		change.Attributes = append(change.Attributes, ca.Attribute{Name: registeredKeyVersion})
	}
	for name := range before {
		if _, stays := spec.Attributes[name]; !stays {
			change.Attributes = append(change.Attributes, ca.Attribute{Name: name}) // an empty value removes it
		}
	}
	if _, err := client.ModifyIdentity(ctx, registrar, spec.Handle.Name, change); err != nil {
		return IdentityState{}, fmt.Errorf("unable to change the registration of %s: %w", spec.Handle, f.unanswered(ctx, from, err))
	}
	request, err := f.enrollment(ctx, from, spec.Validity)
	if err != nil {
		return IdentityState{}, err
	}
	if have, err := f.readIdentity(ctx, spec.Handle, spec.Directory); err == nil && !spec.distrusts(have.CertificatePEM) {
		request.Key = have.Key
	}
	enrollment, err := enroll(ctx, client, from, spec.Handle.Name, change.Secret, request)
	if err != nil {
		return IdentityState{}, err
	}
	state, err := f.storeIdentity(ctx, spec, org.Definition, enrollment.KeyPair)
	if err != nil {
		return state, err
	}
	return state, f.endRotation(ctx, spec.Handle, spec.Renewal)
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
	identity, err := msp.IdentityFromFolder(h.MSPID, files)
	if err != nil { // half of a pair, or none, signs as little as nothing does
		return nil, fmt.Errorf("%w in directory %s: %w", ErrNotFound, directory, err)
	}
	return identity, nil
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
	_, from, err := f.issuer(ctx, h.Organization())
	if err != nil {
		return known, err
	}
	client, registrar, err := f.registrar(ctx, from, enrollmentCA)
	if err != nil {
		return state, err
	}
	ask, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	registered, err := client.Identity(ask, registrar, h.Name)
	if errors.Is(err, ca.ErrNotFound) {
		state.Registered = false
		return state, nil
	}
	if err != nil {
		return state, f.unanswered(ctx, from, err)
	}
	if by := attributeOf(registered.Attributes, registeredFor); by != registeredForIdentity {
		return state, &RegisteredError{ID: h.Name, For: by, CA: from}
	}
	state.Registered, state.Type, state.Affiliation = true, registered.Type, registered.Affiliation
	state.Validity, err = time.ParseDuration(attributeOf(registered.Attributes, registeredValidity))
	if err != nil {
		return state, fmt.Errorf("unable to read the registration of %s at %s: %w", h, from, err)
	}
	state.Attributes, state.KeyVersion = ownAttributes(registered), 0
	if version := attributeOf(registered.Attributes, registeredKeyVersion); version != "" {
		if state.KeyVersion, err = strconv.Atoi(version); err != nil {
			return state, fmt.Errorf("unable to read the registration of %s at %s: %w", h, from, err)
		}
	}
	state.KeyVersion, err = f.rotated(ctx, h, state.KeyVersion)
	return state, err
}

// DeleteIdentity removes the registration, so that the name is free again, and erases the key. An
// identity whose CA is provably gone leaves by its key alone.
func (f *Fabric) DeleteIdentity(ctx context.Context, h Handle, directory string) error {
	f.seen.unmark(IdentitySpec{Handle: h}.mark())
	if err := f.unregister(ctx, h); err != nil && !errors.Is(err, ErrLost) {
		return err
	}
	if directory == "" {
		err := f.eraseKeys(ctx, h.Organization(), identitiesFolder+h.Name+"/cert.pem", identitiesFolder+h.Name+"/key.pem")
		if errors.Is(err, keystore.ErrLost) {
			return nil
		}
		return err
	}
	return f.eraseDirectory(ctx, h, directory)
}

// eraseDirectory takes the MSP folder of an identity away. The directory is the user's: only what the
// folder is made of goes, and nothing when another identity is there by now.
func (f *Fabric) eraseDirectory(ctx context.Context, h Handle, directory string) error {
	store := f.store(h, directory)
	files, err := store.Read(ctx)
	if errors.Is(err, keystore.ErrLost) {
		return nil
	}
	if err != nil {
		return err
	}
	definition, identity, err := msp.ParseFolder(h.MSPID, files)
	if err != nil { // half a folder: what is certainly ours goes
		return store.Erase(ctx, "keystore/key.pem")
	}
	if identity != nil {
		if cert, err := certificate.ParseOne(identity.CertificatePEM); err == nil && cert.Subject.CommonName != h.Name {
			return nil
		}
	}
	folder, err := msp.Folder(definition, identity)
	if err != nil {
		return err
	}
	var names []string
	if identity == nil {
		names = append(names, "keystore/key.pem")
	}
	for name, content := range folder {
		if bytes.Equal(files[name], content) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return store.Erase(ctx, names...)
}

// unregister removes the identity from the CA's registry. ErrLost when the CA's volumes are gone, and
// the registry with them. A registration that is not for this identity stays.
func (f *Fabric) unregister(ctx context.Context, h Handle) error {
	_, from, err := f.issuer(ctx, h.Organization())
	if errors.Is(err, ErrNotFound) { // without an organization there was never an identity
		return nil
	}
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
	return f.removeRegistration(ctx, from, enrollmentCA, h.Name, registeredForIdentity)
}

// removeRegistration removes an identity from the registry of one of the two CAs, which revokes its
// certificates too. One that is registered for something else stays.
func (f *Fabric) removeRegistration(ctx context.Context, from Handle, name, id, purpose string) error {
	client, registrar, err := f.registrar(ctx, from, name)
	if err != nil {
		return err
	}
	found, err := client.Identity(ctx, registrar, id)
	switch {
	case errors.Is(err, ca.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("unable to remove the registration of %s: %w", id, f.unanswered(ctx, from, err))
	case attributeOf(found.Attributes, registeredFor) != purpose:
		return nil
	}
	if err := client.RemoveIdentity(ctx, registrar, id); err != nil && !errors.Is(err, ca.ErrNotFound) {
		return fmt.Errorf("unable to remove the registration of %s: %w", id, f.unanswered(ctx, from, err))
	}
	return nil
}

// Unregister takes what is gone, or about to go, out of the registries of its organization's CA: nodes,
// or for an organization its admin. Their certificates are revoked with that. A CA that is gone has
// nothing to forget.
func (f *Fabric) Unregister(ctx context.Context, things ...Handle) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, h := range things {
		_, from, err := f.issuer(ctx, h.Organization())
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrLost) || errors.Is(err, errNoCA) {
			continue
		}
		if err != nil {
			return err
		}
		registries, id := []string{enrollmentCA, tlsCA}, h.Name
		if h.Kind == KindOrganization {
			registries, id = []string{enrollmentCA}, adminName
		}
		for _, name := range registries {
			group.Go(func() error {
				err := f.removeRegistration(gctx, from, name, id, registeredForNode)
				if errors.Is(err, ErrLost) {
					return nil
				}
				return err
			})
		}
	}
	return group.Wait()
}
