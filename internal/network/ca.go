package network

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
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
	// Affiliations exist from the beginning.
	Affiliations []string
	// Parent is the CA that certifies the two CAs of this server; nil makes roots.
	Parent *Handle
}

// CAState is what is known of a CA.
type CAState struct {
	NodeState
	// Enrollment and TLS are the certificates of the two CAs, in PEM.
	Enrollment, TLS string
}

// PreflightCA finds what would fail before anything is made.
func (f *Fabric) PreflightCA(ctx context.Context, spec CASpec) error {
	n, err := f.caNode(spec, nil)
	if err != nil {
		return err
	}
	if volume, err := f.engine.Volume(ctx, spec.Handle.keys()); err == nil && volume.Labels[engine.LabelOwner] != spec.Handle.Owner {
		return &engine.ForeignError{Kind: "volume", Name: volume.Name, Owner: volume.Labels[engine.LabelOwner]}
	}
	return f.preflight(ctx, n)
}

// EnsureCA makes the CA server as it is wanted and waits until both of its CAs answer and their
// registrars are enrolled.
func (f *Fabric) EnsureCA(ctx context.Context, spec CASpec) (CAState, error) {
	files, err := f.prepareCA(ctx, spec)
	if err != nil {
		return CAState{}, err
	}
	keys := caKeys{handle: spec.Handle, files: files}
	if len(files[caStarted]) > 0 {
		spec.Existing = true // what it issued is in its database: an empty one is a loss
	}
	n, err := f.caNode(spec, &keys)
	if err != nil {
		return CAState{}, err
	}
	node, err := f.ensure(ctx, n)
	state := CAState{NodeState: node, Enrollment: string(files[enrollmentCA+caCertificate]), TLS: string(files[tlsCA+caCertificate])}
	if err != nil || spec.Stopped {
		return state, err
	}
	return state, f.enrollRegistrars(ctx, keys)
}

// prepareCA makes what must be in the key volume before the server starts: the root of the
// operations endpoints, the certificates of both CAs with their keys, the registrars' secrets.
// What an earlier attempt wrote there is kept.
func (f *Fabric) prepareCA(ctx context.Context, spec CASpec) (map[string][]byte, error) {
	h := spec.Handle
	_, err := f.engine.Volume(ctx, h.keys())
	switch {
	case err == nil:
		files, err := f.readStore(ctx, h.keys())
		if err != nil || len(files[enrollmentCA+caCertificate]) > 0 {
			return files, err
		}
	case !errors.Is(err, engine.ErrNotFound):
		return nil, err
	case spec.Existing && !spec.AcceptDataLoss:
		return nil, &LostError{Thing: h, Volume: h.keys()}
	}
	image, err := f.resolveKept(ctx, spec.NodeOptions)
	if err != nil {
		return nil, err
	}
	if err := f.createKeys(ctx, h, image.ID, nil); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
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
	return files, f.writeStore(ctx, h.keys(), files)
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
		ready: func(ctx context.Context) error {
			for _, name := range []string{enrollmentCA, tlsCA} {
				client, err := f.caClient(*keys, name)
				if err != nil {
					return err
				}
				if _, err := client.Info(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

// caMaterial renders the server's home: configuration of both CAs with the registrars' secrets, the
// CAs' keys, and the certificates of its two listeners, which we issue and keep.
func (f *Fabric) caMaterial(spec CASpec, keys caKeys, have map[string][]byte) (map[string][]byte, error) {
	if len(have["ca/fabric-ca-server-config.yaml"]) > 0 {
		return nil, nil
	}
	if len(keys.files[enrollmentCA+caKey]) == 0 {
		return nil, &LostError{Thing: spec.Handle, Volume: spec.Handle.Object()}
	}
	operations, err := keys.operations()
	if err != nil {
		return nil, err
	}
	tlsRoot, err := certificate.ParseKeyPair(keys.files[tlsCA+caCertificate], keys.files[tlsCA+caKey])
	if err != nil {
		return nil, err
	}
	server := ca.ServerConfig{
		Home: caHome, OperationsClientRoots: operations.CertificatePEM(), Affiliations: spec.Affiliations,
		Enrolment: spec.authority(keys, enrollmentCA), TLS: spec.authority(keys, tlsCA),
	}
	if server.Listener, err = spec.listener(tlsRoot); err != nil {
		return nil, err
	}
	if spec.Parent != nil { // clients know the root only
		server.Listener.CertificatePEM = slices.Concat(server.Listener.CertificatePEM, keys.files[tlsCA+caCertificate], keys.files[tlsCA+caParents])
	}
	if server.Operations, err = spec.listener(operations); err != nil {
		return nil, err
	}
	rendered, err := ca.RenderServer(server)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for name, content := range rendered {
		files["ca/"+name] = content
	}
	return files, nil
}

// authority describes one of the two CAs to the server.
func (s CASpec) authority(keys caKeys, name string) ca.Authority {
	return ca.Authority{
		Name:        name,
		Material:    ca.Material{CertificatePEM: keys.files[name+caCertificate], KeyPEM: keys.files[name+caKey]},
		ChainPEM:    keys.files[name+caParents],
		Registrar:   ca.Registrar{Name: registrarName, Secret: string(keys.files[name+registrarSecret])},
		Validity:    s.CertificateValidity,
		TLSValidity: s.CertificateValidity,
		CAValidity:  s.RootValidity,
	}
}

// listener issues the certificate of one of the server's listeners.
func (s CASpec) listener(issuer *certificate.KeyPair) (ca.Material, error) {
	pair, err := issuePair(issuer, certificate.LeafRequest{
		CommonName: s.Handle.Host(), Organization: s.Organization, Hosts: s.hosts(s.Handle), Server: true, Validity: s.CertificateValidity,
	})
	if err != nil {
		return ca.Material{}, err
	}
	keyPEM, err := pair.KeyPEM()
	return ca.Material{CertificatePEM: pair.CertificatePEM(), KeyPEM: keyPEM}, err
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

// enrollRegistrars enrols the registrar of each CA whose certificate the key volume lacks, and then
// takes the CAs' own keys out of the key volume: the server has them.
func (f *Fabric) enrollRegistrars(ctx context.Context, keys caKeys) error {
	if len(keys.files[caStarted]) > 0 {
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
	return f.writeStore(ctx, keys.handle.keys(), files)
}

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
		if f.conns.http == nil {
			f.conns.http = map[string]*http.Client{}
		}
		f.conns.http[cacheKey] = client
	}
	return ca.NewClient(fmt.Sprintf("https://%s:%d", h.Host(), caPort), name, client)
}

// registrar gives a CA's client and the registrar that may register there.
func (f *Fabric) registrar(ctx context.Context, h Handle, name string) (*ca.Client, *certificate.KeyPair, error) {
	keys, err := f.caKeys(ctx, h)
	if err != nil {
		return nil, nil, err
	}
	client, err := f.caClient(keys, name)
	if err != nil {
		return nil, nil, err
	}
	pair, err := certificate.ParseKeyPair(keys.files[name+registrarCertificate], keys.files[name+registrarKey])
	if err != nil {
		return nil, nil, fmt.Errorf("unable to read the registrar of %s: %w", h, err)
	}
	return client, pair, nil
}

// enrollNew registers an identity at one of the two CAs and enrols it. An identity that an earlier
// attempt registered gets a new secret, because the old one is known to nobody.
func (f *Fabric) enrollNew(ctx context.Context, h Handle, name string, registration ca.Registration, request ca.EnrollRequest) (*ca.Enrollment, error) {
	client, registrar, err := f.registrar(ctx, h, name)
	if err != nil {
		return nil, err
	}
	registration.Secret = newSecret()
	_, err = client.Register(ctx, registrar, registration)
	if errors.Is(err, ca.ErrAlreadyRegistered) {
		_, err = client.ModifyIdentity(ctx, registrar, registration.ID, ca.Modification{
			Type: registration.Type, Affiliation: registration.Affiliation, Attributes: registration.Attributes,
			Secret: registration.Secret, MaxEnrollments: registration.MaxEnrollments,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("unable to register %s at %s: %w", registration.ID, h, err)
	}
	return client.Enroll(ctx, registration.ID, registration.Secret, request)
}

// newSecret makes an enrolment secret of 160 bits.
func newSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ReadCA reads the state of a CA.
func (f *Fabric) ReadCA(ctx context.Context, h Handle) (CAState, error) {
	node, err := f.readNode(ctx, h, CAPorts())
	if err != nil {
		return CAState{}, err
	}
	state := CAState{NodeState: node}
	keys, err := f.caKeys(ctx, h)
	if errors.Is(err, ErrLost) {
		state.Lost = true
		return state, nil
	}
	state.Enrollment, state.TLS = string(keys.files[enrollmentCA+caCertificate]), string(keys.files[tlsCA+caCertificate])
	return state, err
}

// DeleteCA removes the server and, unless they are to be kept, its database and its keys.
func (f *Fabric) DeleteCA(ctx context.Context, h Handle, keepVolumes bool) error {
	if err := f.removeNode(ctx, h, keepVolumes); err != nil {
		return err
	}
	if keepVolumes {
		return f.engine.RemoveNode(ctx, h.keys(), h.Owner)
	}
	return f.removeKeys(ctx, h)
}
