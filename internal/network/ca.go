package network

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// The ports on which a CA listens, by purpose.
const (
	caPort           = 7054
	caOperationsPort = 9443
)

// CAPorts are the ports of a CA by purpose.
func CAPorts() map[string]int { return map[string]int{"api": caPort, "operations": caOperationsPort} }

// caHome is FABRIC_CA_HOME: configuration, database and keys of the server.
const caHome = keysFolder + "/ca"

// CASpec is a Fabric CA server with two CAs, one for enrolment and one for TLS, each with a root
// and a registry of its own.
type CASpec struct {
	Handle Handle `json:"-"`
	NodeOptions
	// Organization is the subject's O of the roots, CommonName the CN of the enrolment root; the
	// TLS root's has "tls" put before it.
	Organization, CommonName string
	KeyAlgorithm             certificate.KeyAlgorithm
	// RootValidity is that of the two roots, CertificateValidity that of what they issue.
	RootValidity, CertificateValidity time.Duration
	// CRLValidity is how long a revocation list is current.
	CRLValidity time.Duration
	// Validities are further ones, in ascending order, that certificates may be asked for.
	Validities []time.Duration
	// Affiliations are known to both CAs. They are lower case.
	Affiliations []string
	// Former are the affiliations before an update: those that are no longer wanted are removed.
	Former []string `json:"-"`
	// Parent is the CA that certifies the two CAs of this server; nil makes roots.
	Parent *Handle
}

// CAState is what is known of a CA.
type CAState struct {
	NodeState
	// Enrollment and TLS are the certificates of the two CAs, in PEM.
	Enrollment, TLS string
	// Certificates are those of its listeners, in PEM, by CertificateListener and CertificateOperations;
	// ReadCA does not tell them.
	Certificates map[string]string
	// Kept are affiliations that are no longer wanted, and stay because they have members.
	Kept []string
}

// PreflightCA finds what would fail before anything is made.
func (f *Fabric) PreflightCA(ctx context.Context, spec CASpec) error {
	n, err := f.caNode(spec, nil)
	if err != nil {
		return err
	}
	if err := f.preflightKeys(ctx, spec.Handle); err != nil {
		return err
	}
	if spec.Parent != nil {
		parent, err := f.caKeys(ctx, *spec.Parent)
		if err != nil {
			return err
		}
		if len(parent.files[enrollmentCA+caParents]) > 0 {
			return fmt.Errorf("%s is an intermediate itself, and certifies no further CA", *spec.Parent)
		}
	}
	return f.preflight(ctx, n)
}

// EnsureCA makes the CA server as it is wanted and waits until both of its CAs answer and their
// registrars are enrolled.
func (f *Fabric) EnsureCA(ctx context.Context, spec CASpec) (CAState, error) {
	f.conns.forget(spec.Handle)
	if err := f.acceptRemoved(ctx, spec.Handle, &spec.NodeOptions); err != nil {
		return CAState{}, err
	}
	files, err := f.prepareCA(ctx, spec)
	if err != nil {
		return CAState{}, err
	}
	if err := f.beginRotation(ctx, spec.Handle, &spec.Renewal); err != nil {
		return CAState{}, err
	}
	keys := caKeys{handle: spec.Handle, files: files}
	// What it issued is in its database: from here on an empty one is a loss.
	spec.Existing, spec.AcceptDataLoss = len(files[caStarted]) > 0, false
	n, err := f.caNode(spec, &keys)
	if err != nil {
		return CAState{}, err
	}
	state := CAState{
		Enrollment: string(files[enrollmentCA+caCertificate]), TLS: string(files[tlsCA+caCertificate]), Certificates: map[string]string{},
	}
	n.material = recalled(n.material, caCertificates, state.Certificates)
	if state.NodeState, err = f.ensure(ctx, n); err == nil {
		err = f.endRotation(ctx, spec.Handle, spec.Renewal)
	}
	if err != nil || spec.Stopped {
		return state, err
	}
	if err := f.enrollRegistrars(ctx, keys); err != nil {
		return state, err
	}
	state.Kept, err = f.removeAffiliations(ctx, spec)
	return state, err
}

// prepareCA makes what must be in the key volume before the server starts: the root of the
// operations endpoints, the certificates of both CAs with their keys, the registrars' secrets.
// What is there already is kept.
func (f *Fabric) prepareCA(ctx context.Context, spec CASpec) (map[string][]byte, error) {
	h := spec.Handle
	files, err := f.takeUpCA(ctx, spec)
	if err != nil || files != nil {
		return files, err
	}
	image, err := f.resolveKept(ctx, spec.NodeOptions)
	if err != nil {
		return nil, err
	}
	if err := f.createKeys(ctx, h, image.ID, nil); err != nil {
		return nil, err
	}
	files = map[string][]byte{}
	operations, err := certificate.NewRoot(certificate.RootRequest{
		CommonName: "operations." + h.Host(), Organization: spec.Organization, Validity: spec.RootValidity,
	})
	if err != nil {
		return nil, err
	}
	files[operationsCertificate] = operations.CertificatePEM()
	if files[operationsKey], err = operations.KeyPEM(); err != nil {
		return nil, err
	}
	for _, name := range []string{enrollmentCA, tlsCA} {
		if err := f.certifyCA(ctx, spec, name, files); err != nil {
			return nil, err
		}
		files[name+registrarSecret] = []byte(newSecret())
	}
	if err := f.writeKeys(ctx, h, files); err != nil {
		return nil, err
	}
	f.stores.seed(h.keys(), files)
	return files, nil
}

// takeUpCA gives the key volume's files of a CA that there is, and nil of one that is to be made. Of
// the two volumes of a CA, the keys without the database are of no use, nor is the database without
// the keys: unless the loss is accepted, one without the other is an error, and if it is, what is
// left of the CA goes.
func (f *Fabric) takeUpCA(ctx context.Context, spec CASpec) (map[string][]byte, error) {
	h := spec.Handle
	files, err := f.readKeys(ctx, h)
	noKeys := errors.Is(err, keystore.ErrLost)
	if err != nil && !noKeys {
		return nil, err
	}
	_, err = f.engine.Volume(ctx, h.Object())
	noDatabase := errors.Is(err, engine.ErrNotFound)
	if err != nil && !noDatabase {
		return nil, err
	}
	started := len(files[caStarted]) > 0
	made := caKeys{handle: h, files: files}.complete(noDatabase && !started)
	var lost string
	switch {
	case made && noDatabase && (started || spec.Existing):
		lost = h.Object()
	case made:
		return files, spec.verifySame(files)
	case noDatabase && !spec.Existing && !started: // none, or half of the keys: nobody has seen these
		return nil, nil
	default:
		lost = h.keys()
	}
	if !spec.AcceptDataLoss {
		return nil, &LostError{Thing: h, Volume: lost}
	}
	return nil, f.DeleteCA(ctx, h, false)
}

// verifySame fails when the volumes that are taken up are those of a CA with another subject.
func (s CASpec) verifySame(files map[string][]byte) error {
	cert, err := certificate.ParseOne(files[enrollmentCA+caCertificate])
	if err != nil {
		return fmt.Errorf("unable to read the certificate of %s: %w", s.Handle, err)
	}
	subject := cert.Subject
	if subject.CommonName != s.CommonName || s.Parent == nil && !slices.Equal(subject.Organization, []string{s.Organization}) {
		return fmt.Errorf("the volumes of %s hold a CA with the common name %q and the organization %q, not %q and %q: give it these, another name, or remove the volumes %s and %s",
			s.Handle, subject.CommonName, strings.Join(subject.Organization, ", "), s.CommonName, s.Organization, s.Handle.Object(), s.Handle.keys())
	}
	return nil
}

// certifyCA makes the key and the certificate of one CA: self-signed, or by the parent's CA.
func (f *Fabric) certifyCA(ctx context.Context, spec CASpec, name string, files map[string][]byte) error {
	commonName := spec.CommonName
	if name == tlsCA {
		commonName = "tls" + commonName
	}
	var pair *certificate.KeyPair
	if spec.Parent == nil {
		var err error
		pair, err = certificate.NewRoot(certificate.RootRequest{
			CommonName: commonName, Organization: spec.Organization, KeyAlgorithm: spec.KeyAlgorithm, Validity: spec.RootValidity,
		})
		if err != nil {
			return err
		}
	} else {
		enrollment, err := f.enrollNew(ctx, *spec.Parent, name, ca.Registration{
			ID: commonName, Type: "client", MaxEnrollments: ca.Unlimited,
			Attributes: []ca.Attribute{{Name: "hf.IntermediateCA", Value: "true"}},
		}, ca.EnrollRequest{Profile: ca.ProfileCA, KeyAlgorithm: spec.KeyAlgorithm})
		if err != nil {
			return err
		}
		parent, err := f.caKeys(ctx, *spec.Parent)
		if err != nil {
			return err
		}
		pair = enrollment.KeyPair
		files[name+caParents] = slices.Concat(parent.files[name+caCertificate], parent.files[name+caParents])
	}
	files[name+caCertificate] = pair.CertificatePEM()
	var err error
	files[name+caKey], err = pair.KeyPEM()
	return err
}

// caKey is the key of a CA in the key volume until the server has started; then it is only where
// the server has it.
const caKey = "/ca.key"

// caNode describes the server.
func (f *Fabric) caNode(spec CASpec, keys *caKeys) (*node, error) {
	h := spec.Handle
	labels := map[string]string{}
	if spec.Parent != nil {
		labels[labelParent] = spec.Parent.Name
	}
	return &node{
		handle: h, options: spec.NodeOptions, endpoint: spec.Endpoint(h, caPort), ports: CAPorts(), labels: labels, inputs: inputs(spec),
		command: []string{"fabric-ca-server", "start"},
		env:     map[string]string{"FABRIC_CA_HOME": caHome},
		material: func(_ context.Context, have map[string][]byte) (map[string][]byte, error) {
			return f.caMaterial(spec, *keys, have)
		},
		ready: func(ctx context.Context) error { return f.caAnswers(ctx, *keys) },
	}, nil
}

// caAnswers asks both CAs of the server.
func (f *Fabric) caAnswers(ctx context.Context, keys caKeys) error {
	for _, name := range []string{enrollmentCA, tlsCA} {
		client, err := f.caClient(keys, name)
		if err != nil {
			return err
		}
		if _, err := client.Info(ctx); err != nil {
			return err
		}
	}
	return nil
}

// caMaterial renders the server's home: configuration of both CAs with the registrars' secrets, the
// CAs' keys, and the certificates of its two listeners, which we issue and keep. Of a home that is
// there, only what differs is given: a listener whose names changed, a validity.
func (f *Fabric) caMaterial(spec CASpec, keys caKeys, have map[string][]byte) (map[string][]byte, error) {
	operations, err := keys.operations()
	if err != nil {
		return nil, err
	}
	enrollment, err := keys.authority(enrollmentCA, have["ca/ca-key.pem"])
	if err != nil {
		return nil, err
	}
	tlsRoot, err := keys.authority(tlsCA, have["ca/tls/ca-key.pem"])
	if err != nil {
		return nil, err
	}
	server := ca.ServerConfig{
		Home: caHome, OperationsClientRoots: operations.CertificatePEM(), Affiliations: spec.Affiliations, Validities: spec.Validities,
	}
	if server.Enrolment, err = spec.authority(keys, enrollmentCA, enrollment); err != nil {
		return nil, err
	}
	if server.TLS, err = spec.authority(keys, tlsCA, tlsRoot); err != nil {
		return nil, err
	}
	var above []byte
	if spec.Parent != nil { // clients know the root only
		above = slices.Concat(keys.files[tlsCA+caCertificate], keys.files[tlsCA+caParents])
	}
	if server.Listener, err = spec.listener(tlsRoot, above, have, "ca/listener"); err != nil {
		return nil, err
	}
	if server.Operations, err = spec.listener(operations, nil, have, "ca/operations"); err != nil {
		return nil, err
	}
	rendered, err := ca.RenderServer(server)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, content := range rendered {
		if name = "ca/" + name; !bytes.Equal(have[name], content) {
			files[name] = content
		}
	}
	return files, nil
}

// authority describes one of the two CAs to the server.
func (s CASpec) authority(keys caKeys, name string, pair *certificate.KeyPair) (ca.Authority, error) {
	keyPEM, err := pair.KeyPEM()
	return ca.Authority{
		Name:        name,
		Material:    ca.Material{CertificatePEM: pair.CertificatePEM(), KeyPEM: keyPEM},
		ChainPEM:    keys.files[name+caParents],
		Registrar:   ca.Registrar{Name: registrarName, Secret: string(keys.files[name+registrarSecret])},
		Validity:    s.CertificateValidity,
		TLSValidity: s.CertificateValidity,
		CAValidity:  s.RootValidity,
		CRLExpiry:   s.CRLValidity,
	}, err
}

// caCertificates are the certificates of the server's listeners below keysFolder.
var caCertificates = map[string]string{CertificateListener: "ca/listener/cert.pem", CertificateOperations: "ca/operations/cert.pem"}

// listener gives the certificate of one of the server's listeners: the one that it has, as long as
// that serves and is not to be replaced, or a new one. Above are the certificates between the issuer
// and the root.
func (s CASpec) listener(issuer *certificate.KeyPair, above []byte, have map[string][]byte, folder string) (ca.Material, error) {
	hosts := s.hosts(s.Handle)
	kept := ca.Material{CertificatePEM: have[folder+"/cert.pem"], KeyPEM: have[folder+"/key.pem"]}
	if serves(kept.CertificatePEM, kept.KeyPEM, hosts) && !servesMore(kept.CertificatePEM, hosts) && !s.replaces(kept.CertificatePEM) && issued(issuer, kept.CertificatePEM) {
		return kept, nil
	}
	pair, err := issueFor(s.keptKey(kept.CertificatePEM, kept.KeyPEM), issuer, certificate.LeafRequest{
		CommonName: s.Handle.Host(), Organization: s.Organization, Hosts: hosts, Server: true, Validity: s.CertificateValidity,
	})
	if err != nil {
		return ca.Material{}, err
	}
	keyPEM, err := pair.KeyPEM()
	return ca.Material{CertificatePEM: slices.Concat(pair.CertificatePEM(), above), KeyPEM: keyPEM}, err
}

// issued tells whether a certificate is of this issuer: a CA may have another root than before.
func issued(issuer *certificate.KeyPair, certPEM []byte) bool {
	cert, err := certificate.ParseOne(firstBlock(certPEM))
	return err == nil && cert.CheckSignatureFrom(issuer.Certificate) == nil
}

// servesMore tells whether a certificate holds names beyond the hosts: names that were taken out of
// the configuration.
func servesMore(certPEM []byte, hosts []string) bool {
	cert, err := certificate.ParseOne(firstBlock(certPEM))
	return err == nil && len(cert.DNSNames)+len(cert.IPAddresses) > len(hosts)
}

// hosts are the names that a node's server certificates hold.
func (o NodeOptions) hosts(h Handle) []string {
	hosts := []string{h.Host()}
	add := func(host string) {
		for _, known := range hosts {
			if known == host {
				return
			}
		}
		hosts = append(hosts, host)
	}
	add(h.Name)
	add("localhost")
	add("127.0.0.1")
	if o.AdvertisedAddress != "" {
		add(hostOf(o.AdvertisedAddress))
	}
	for _, host := range o.Hosts {
		add(host)
	}
	return hosts
}

// putPair adds a certificate and its key as DIR/cert.pem and DIR/key.pem.
func putPair(files map[string][]byte, folder string, pair *certificate.KeyPair) error {
	keyPEM, err := pair.KeyPEM()
	files[folder+"/cert.pem"], files[folder+"/key.pem"] = pair.CertificatePEM(), keyPEM
	return err
}

// enrollRegistrars enrols the registrars of both CAs unless the key volume has them, and then takes
// the CAs' own keys out of the key volume: the server has them.
func (f *Fabric) enrollRegistrars(ctx context.Context, keys caKeys) error {
	if keys.registrars() {
		return nil
	}
	added := make([]map[string][]byte, 2)
	group, gctx := errgroup.WithContext(ctx)
	for i, name := range []string{enrollmentCA, tlsCA} {
		group.Go(func() error {
			client, err := f.caClient(keys, name)
			if err != nil {
				return err
			}
			enrollment, err := client.Enroll(gctx, registrarName, string(keys.files[name+registrarSecret]), ca.EnrollRequest{})
			if err != nil {
				return err
			}
			keyPEM, err := enrollment.KeyPEM()
			added[i] = map[string][]byte{
				name + registrarCertificate: enrollment.CertificatePEM(),
				name + registrarKey:         keyPEM,
				name + caKey:                nil,
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return f.nodeError(ctx, keys.handle, "enrol the registrars of", err)
	}
	files := map[string][]byte{caStarted: []byte("true")}
	for _, m := range added {
		for name, content := range m {
			files[name] = content
		}
	}
	return f.writeKeys(ctx, keys.handle, files)
}

// caTimeout bounds a request to a CA: one that hangs is to be named, not waited for.
const caTimeout = 30 * time.Second

// caClient gives the client of one of the two CAs in a server.
func (f *Fabric) caClient(keys caKeys, name string) (*ca.Client, error) {
	h := keys.handle
	cacheKey := fmt.Sprintf("%s:%d", h.Object(), caPort)
	f.conns.mu.Lock()
	defer f.conns.mu.Unlock()
	client := f.conns.http[cacheKey]
	if client == nil {
		roots, _, err := keys.chain(tlsCA)
		if err != nil {
			return nil, err
		}
		pool, err := certPool(roots)
		if err != nil {
			return nil, err
		}
		client = f.httpClient(h, caPort, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: h.Host()})
		client.Timeout = caTimeout
		if f.conns.http == nil {
			f.conns.http = map[string]*http.Client{}
		}
		f.conns.http[cacheKey] = client
	}
	return ca.NewClient(fmt.Sprintf("https://%s:%d", h.Host(), caPort), name, client)
}

// registrar gives a CA's client and the registrar that may register there. A registrar whose
// certificate is about to expire enrols again with its secret.
func (f *Fabric) registrar(ctx context.Context, h Handle, name string) (*ca.Client, *certificate.KeyPair, error) {
	keys, err := f.caKeys(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	client, err := f.caClient(keys, name)
	if err != nil {
		return nil, nil, err
	}
	if len(keys.files[caStarted]) == 0 {
		return nil, nil, fmt.Errorf("%s has not been started yet, and so has no registrar", h)
	}
	pair, err := certificate.ParseKeyPair(keys.files[name+registrarCertificate], keys.files[name+registrarKey])
	if err != nil {
		return nil, nil, fmt.Errorf("unable to read the registrar of %s: %w", h, err)
	}
	if margin := (RenewalRule{Before: registrarMargin}).window(lifeOf(pair.Certificate)); time.Until(pair.Certificate.NotAfter) > margin {
		return client, pair, nil
	}
	enrollment, err := client.Enroll(ctx, registrarName, string(keys.files[name+registrarSecret]), ca.EnrollRequest{Key: pair.Key})
	if err != nil {
		return nil, nil, fmt.Errorf("unable to enrol the registrar of %s again: %w", h, err)
	}
	return client, enrollment.KeyPair, f.writeKeys(ctx, h, map[string][]byte{name + registrarCertificate: enrollment.CertificatePEM()})
}

// registrarMargin is how long before its certificate expires a registrar enrols again: longer than
// an apply takes. It needs no plan, because nothing else changes with it.
const registrarMargin = time.Hour

// registeredFor is the attribute of a registration that tells for what it was made. It goes into no
// certificate.
const registeredFor = engine.LabelKind

// registeredForNode is what it says for nodes, admins and intermediates; identities say theirs.
const registeredForNode = "network"

// attributeOf gives the value of an attribute, empty when there is none.
func attributeOf(attributes []ca.Attribute, name string) string {
	for _, a := range attributes {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// enrollNew registers an identity at one of the two CAs and enrols it. An identity that an earlier
// attempt registered gets a new secret, because the old one is known to nobody. One that was
// registered for something else, or by somebody else, is left alone: *RegisteredError.
func (f *Fabric) enrollNew(ctx context.Context, h Handle, name string, registration ca.Registration, request ca.EnrollRequest) (*ca.Enrollment, error) {
	client, registrar, err := f.registrar(ctx, h, name)
	if err != nil {
		return nil, err
	}
	if attributeOf(registration.Attributes, registeredFor) == "" {
		registration.Attributes = append(slices.Clone(registration.Attributes), ca.Attribute{Name: registeredFor, Value: registeredForNode})
	}
	registration.Secret = newSecret()
	_, err = client.Register(ctx, registrar, registration)
	if errors.Is(err, ca.ErrAlreadyRegistered) {
		err = takeOver(ctx, client, registrar, h, registration)
	}
	if err != nil {
		return nil, fmt.Errorf("unable to register %s at %s: %w", registration.ID, h, err)
	}
	return enroll(ctx, client, h, registration.ID, registration.Secret, request)
}

// enroll enrols with a secret that was set a moment ago: who is refused then was revoked.
func enroll(ctx context.Context, client *ca.Client, h Handle, id, secret string, request ca.EnrollRequest) (*ca.Enrollment, error) {
	enrollment, err := client.Enroll(ctx, id, secret, request)
	if errors.Is(err, ca.ErrAuthentication) {
		return nil, &RevokedError{ID: id, CA: h}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to enrol %s at %s: %w", id, h, err)
	}
	return enrollment, nil
}

// takeOver changes a registration that was made for the same purpose before.
func takeOver(ctx context.Context, client *ca.Client, registrar *certificate.KeyPair, h Handle, registration ca.Registration) error {
	found, err := client.Identity(ctx, registrar, registration.ID)
	if err != nil {
		return err
	}
	if by := attributeOf(found.Attributes, registeredFor); by != attributeOf(registration.Attributes, registeredFor) {
		return &RegisteredError{ID: registration.ID, For: by, CA: h}
	}
	_, err = client.ModifyIdentity(ctx, registrar, registration.ID, ca.Modification{
		Type: registration.Type, Affiliation: registration.Affiliation, Attributes: registration.Attributes,
		Secret: registration.Secret, MaxEnrollments: registration.MaxEnrollments,
	})
	return err
}

// removeAffiliations takes away what was an affiliation before and is none any more. One that still
// has members is kept: they may be about to leave it, but only after the CA.
func (f *Fabric) removeAffiliations(ctx context.Context, spec CASpec) (kept []string, err error) {
	var gone []string
	for _, name := range spec.Former {
		within := func(wanted string) bool { return wanted == name || strings.HasPrefix(wanted, name+".") }
		if !slices.ContainsFunc(spec.Affiliations, within) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	slices.Reverse(gone) // what is below goes before what is above
	for _, name := range gone {
		for _, part := range []string{enrollmentCA, tlsCA} {
			client, registrar, err := f.registrar(ctx, spec.Handle, part)
			if err != nil {
				return kept, err
			}
			err = client.RemoveAffiliation(ctx, registrar, name, false)
			switch {
			case err == nil || errors.Is(err, ca.ErrNotFound):
			case errors.Is(err, ca.ErrAuthorization): // so the CA says that it has members
				kept = append(kept, name)
			default:
				return kept, fmt.Errorf("unable to remove affiliation %s at %s: %w", name, spec.Handle, err)
			}
		}
	}
	return slices.Compact(kept), nil
}

// secretLength is how many characters a secret has.
const secretLength = 27

// newSecret makes an enrolment secret of 160 bits.
func newSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ReadCA reads the state of a CA.
// One of which nothing is left and that no organization has its certificates from is ErrNotFound.
func (f *Fabric) ReadCA(ctx context.Context, h Handle) (CAState, error) {
	node, err := f.readNode(ctx, h, CAPorts())
	if err != nil {
		return CAState{}, err
	}
	state := CAState{NodeState: node}
	keys, err := f.caKeys(ctx, h)
	if errors.Is(err, ErrLost) {
		if state.Lost && state.Status == engine.Absent {
			served, err := f.organizationsOf(ctx, h)
			if err == nil && len(served) == 0 { // it was removed, or is not missed
				err = fmt.Errorf("nothing is left of %s: %w", h, ErrNotFound)
			}
			if err != nil {
				return state, err
			}
		}
		state.Lost, state.Removed = true, false
		return state, nil
	}
	state.Enrollment, state.TLS = string(keys.files[enrollmentCA+caCertificate]), string(keys.files[tlsCA+caCertificate])
	return state, err
}

// DeleteCA removes the server and, unless they are to be kept, its database and its keys. The keeper
// of keys that are kept stays too, so that no prune takes them.
func (f *Fabric) DeleteCA(ctx context.Context, h Handle, keepVolumes bool) error {
	if err := f.removeNode(ctx, h, keepVolumes); err != nil || keepVolumes {
		return err
	}
	return f.removeKeys(ctx, h)
}
