package network

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
	"github.com/fabricops/terraform-provider-fabric/internal/keystore"
)

// storeCache remembers the stores that were read, because many things need the same ones.
type storeCache struct {
	locks keyedMutex
	mu    sync.Mutex
	files map[string]map[string][]byte
}

// readKeys gives the files of a thing's key volume. engine.ErrForeign when the name is somebody
// else's by now.
func (f *Fabric) readKeys(ctx context.Context, h Handle) (map[string][]byte, error) {
	return f.readStore(ctx, h.keys(), h.Owner)
}

func (f *Fabric) keyVolume(h Handle) *keystore.Volume {
	return keystore.OpenVolume(f.engine, h.keys()).OwnedBy(h.Owner)
}

// readStore gives the files of a store: a key volume, or the record of a channel. engine.ErrForeign
// when its volume is another owner's.
func (f *Fabric) readStore(ctx context.Context, volume, owner string) (map[string][]byte, error) {
	defer f.stores.locks.lock(volume)()
	f.stores.mu.Lock()
	files, ok := f.stores.files[volume]
	f.stores.mu.Unlock()
	if ok {
		return files, nil
	}
	files, err := keystore.OpenVolume(f.engine, volume).OwnedBy(owner).Read(ctx)
	if err != nil {
		return nil, err
	}
	f.stores.set(volume, files)
	return files, nil
}

// writeKeys adds files to the key volume of a thing.
func (f *Fabric) writeKeys(ctx context.Context, h Handle, files map[string][]byte) error {
	return f.writeStore(ctx, h.keys(), h.Owner, files)
}

// writeStore adds files to a store.
func (f *Fabric) writeStore(ctx context.Context, volume, owner string, files map[string][]byte) error {
	defer f.stores.locks.lock(volume)()
	if err := keystore.OpenVolume(f.engine, volume).OwnedBy(owner).Write(ctx, files); err != nil {
		return err
	}
	f.stores.merge(volume, files)
	return nil
}

// recordKeeper is whose key volume has what must be known of a thing beside its keys: that of its organization.
func recordKeeper(h Handle) Handle {
	if h.Kind == KindCA || h.Kind == KindOrganization {
		return h
	}
	return h.Organization()
}

// eraseKeys removes files from the key volume of a thing.
func (f *Fabric) eraseKeys(ctx context.Context, h Handle, names ...string) error {
	defer f.stores.locks.lock(h.keys())()
	f.stores.set(h.keys(), nil)
	return f.keyVolume(h).Erase(ctx, names...)
}

// preflightKeys finds what else has the name of a thing's key volume or of its keeper.
func (f *Fabric) preflightKeys(ctx context.Context, h Handle) error {
	volume, err := f.engine.Volume(ctx, h.keys())
	switch {
	case err == nil:
		if err := h.requireSame("volume", h.keys(), volume.Labels); err != nil {
			return err
		}
	case !errors.Is(err, engine.ErrNotFound):
		return err
	}
	keeper, err := f.engine.Node(ctx, h.keys())
	switch {
	case err == nil:
		return h.requireSame("container", h.keys(), keeper.Labels)
	case !errors.Is(err, engine.ErrNotFound):
		return err
	}
	return nil
}

func (c *storeCache) set(volume string, files map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil {
		c.files = map[string]map[string][]byte{}
	}
	if files == nil {
		delete(c.files, volume)
		return
	}
	c.files[volume] = files
}

func (c *storeCache) merge(volume string, added map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.files[volume]; ok {
		merged := maps.Clone(known) // readers may hold the old one
		maps.Copy(merged, added)
		c.files[volume] = merged
	}
}

// seed remembers the whole content of a store that was just made, unless it is known already.
func (c *storeCache) seed(volume string, files map[string][]byte) {
	c.mu.Lock()
	_, known := c.files[volume]
	c.mu.Unlock()
	if !known {
		c.set(volume, maps.Clone(files))
	}
}

// createKeys makes the key volume of a thing.
func (f *Fabric) createKeys(ctx context.Context, h Handle, imageID string, labels map[string]string) error {
	merged := h.labels()
	maps.Copy(merged, labels)
	_, err := keystore.CreateVolume(ctx, f.engine, h.keys(), imageID, merged)
	return err
}

// removeKeys removes the key volume of a thing with every key in it.
func (f *Fabric) removeKeys(ctx context.Context, h Handle) error {
	return f.removeStore(ctx, h.keys(), h.Owner)
}

// removeStore removes a store with everything in it. Who reads it meanwhile waits and finds it gone: a reader
// gives a store its keeper back.
func (f *Fabric) removeStore(ctx context.Context, volume, owner string) error {
	defer f.stores.locks.lock(volume)()
	f.stores.set(volume, nil)
	return keystore.OpenVolume(f.engine, volume).Remove(ctx, owner)
}

// Files of a CA's key volume. The two CAs of a server have one folder each.
const (
	operationsCertificate = "operations/cert.pem"
	operationsKey         = "operations/key.pem"
	caCertificate         = "/ca.pem"
	caParents             = "/parents.pem"
	registrarSecret       = "/registrar/secret"
	registrarCertificate  = "/registrar/cert.pem"
	registrarKey          = "/registrar/key.pem"
	caStarted             = "started"
)

// The names of the two CAs in one server: each has its own root, registry and registrar.
const (
	enrollmentCA = "ca"
	tlsCA        = "tls"
)

// registrarName is the identity with which we register others at a CA.
const registrarName = "registrar"

// caKeys is what the key volume of a CA holds.
type caKeys struct {
	handle Handle
	files  map[string][]byte
}

func (f *Fabric) caKeys(ctx context.Context, ca Handle) (caKeys, error) {
	files, err := f.readKeys(ctx, ca)
	if errors.Is(err, keystore.ErrLost) {
		return caKeys{}, &LostError{Thing: ca, Volume: ca.keys()}
	}
	return caKeys{handle: ca, files: files}, err
}

// operations gives the root that issues for admin and operations endpoints only. It is in no MSP.
func (k caKeys) operations() (*certificate.KeyPair, error) {
	pair, err := certificate.ParseKeyPair(k.files[operationsCertificate], k.files[operationsKey])
	if err != nil {
		return nil, fmt.Errorf("unable to read the operations root of %s: %w", k.handle, err)
	}
	return pair, nil
}

// authority gives one of the two CAs of the server with its key: before the first start that is in the
// key volume, later only where the server has it. What the server has may have been cut short until then.
func (k caKeys) authority(ca string, serversKey []byte) (*certificate.KeyPair, error) {
	keyPEM := k.files[ca+caKey]
	if len(keyPEM) == 0 {
		keyPEM = serversKey
	}
	if len(keyPEM) == 0 {
		return nil, &LostError{Thing: k.handle, Volume: k.handle.Object()}
	}
	pair, err := certificate.ParseKeyPair(k.files[ca+caCertificate], keyPEM)
	if err != nil {
		return nil, fmt.Errorf("unable to read the key of %s: %w", k.handle, err)
	}
	return pair, nil
}

// complete tells whether everything is there that is written before the server is made: an apply may
// have been killed while it wrote. The CAs' own keys are there only until a server has them.
func (k caKeys) complete(noServer bool) bool {
	_, err := k.operations()
	for _, name := range []string{enrollmentCA, tlsCA} {
		_, unreadable := certificate.ParseOne(k.files[name+caCertificate])
		if unreadable == nil && noServer {
			_, unreadable = k.authority(name, nil)
		}
		err = errors.Join(err, unreadable)
		if len(k.files[name+registrarSecret]) != secretLength {
			return false
		}
	}
	return err == nil
}

// registrars tells whether both registrars have been enrolled, and that was written down as a whole.
func (k caKeys) registrars() bool {
	for _, name := range []string{enrollmentCA, tlsCA} {
		if !paired(k.files[name+registrarCertificate], k.files[name+registrarKey]) {
			return false
		}
	}
	return len(k.files[caStarted]) > 0
}

// definition gives the public part of an organization whose certificates come from this CA.
func (k caKeys) definition(mspID string) (msp.Definition, error) {
	d := msp.Definition{ID: mspID}
	var err error
	if d.RootCertificates, d.IntermediateCertificates, err = k.chain(enrollmentCA); err != nil {
		return d, err
	}
	d.TLSRootCertificates, d.TLSIntermediateCertificates, err = k.chain(tlsCA)
	return d, err
}

// chain divides the certificate of a CA and those above it into roots and intermediates.
func (k caKeys) chain(ca string) (roots, intermediates []string, err error) {
	certs, err := certificate.ParseCertificates(slices.Concat(k.files[ca+caCertificate], k.files[ca+caParents]))
	if err != nil {
		return nil, nil, fmt.Errorf("unable to read the chain of %s: %w", k.handle, err)
	}
	for _, cert := range certs {
		text := string(certificate.EncodeCertificate(cert))
		if cert.CheckSignatureFrom(cert) == nil {
			roots = append(roots, text)
		} else {
			intermediates = append(intermediates, text)
		}
	}
	return roots, intermediates, nil
}

// Files of an organization's key volume.
const (
	// An organization without a CA here has an operations root of its own, in the files of the same names.
	organizationRecord = "organization.json"
	organizationCRL    = "crl.pem"
	adminFolder        = "admin"
	adminTLSFolder     = "admin/tls"
	identitiesFolder   = "identities/"
)

// organizationKeys is what the key volume of an organization holds.
type organizationKeys struct {
	handle Handle
	files  map[string][]byte
	// CA is the name of the CA that the organization's certificates come from; empty for a partner.
	CA string `json:"ca,omitempty"`
	// Definition is the public part.
	Definition msp.Definition `json:"definition"`
	// AdminKeyVersion counts the keys of the organization's admin.
	AdminKeyVersion int `json:"admin_key_version,omitempty"`
	// AdminDirectory is where the admin came from, when no CA of this network enrolled it.
	AdminDirectory string `json:"admin_directory,omitempty"`
	// TLSRootVersion counts the TLS roots that the organization has had; 0 is the first, as 1 is.
	TLSRootVersion int `json:"tls_root_version,omitempty"`
	// TLSRollover is the TLS root that it is on its way to, nil for none.
	TLSRollover *tlsRollover `json:"tls_rollover,omitempty"`
}

func (f *Fabric) organizationKeys(ctx context.Context, org Handle) (*organizationKeys, error) {
	files, err := f.readKeys(ctx, org)
	if errors.Is(err, keystore.ErrLost) {
		return nil, &LostError{Thing: org, Volume: org.keys()}
	}
	if err != nil {
		return nil, err
	}
	k := &organizationKeys{handle: org, files: files}
	if len(files[organizationRecord]) == 0 { // its create came no further than the volume
		return nil, fmt.Errorf("%s was never completed: %w", org, ErrNotFound)
	}
	if err := json.Unmarshal(files[organizationRecord], k); err != nil {
		return nil, fmt.Errorf("unable to read %s: %w", org, err)
	}
	return k, nil
}

// errNoCA: no CA of this network issues certificates for an organization.
var errNoCA = errors.New("no CA of this network issues certificates for it")

// ca gives the handle of the organization's CA; an error for a partner's organization.
func (k *organizationKeys) ca() (Handle, error) {
	if k.CA == "" {
		return Handle{}, fmt.Errorf("%s is given by its certificates, as a partner's is: %w", k.handle, errNoCA)
	}
	return k.handle.With(KindCA, k.CA, ""), nil
}

// identity gives a signing identity by its folder in the key volume.
func (k *organizationKeys) identity(folder string) (*msp.Identity, error) {
	certPEM, keyPEM := k.files[folder+"/cert.pem"], k.files[folder+"/key.pem"]
	if len(certPEM) == 0 || len(keyPEM) == 0 {
		return nil, fmt.Errorf("no key of %s in the key volume of %s: %w", folder, k.handle, ErrNotFound)
	}
	pair, err := certificate.ParseKeyPair(certPEM, keyPEM)
	if err != nil { // half of a pair signs as little as none
		return nil, fmt.Errorf("no whole key of %s in the key volume of %s: %w: %w", folder, k.handle, ErrNotFound, err)
	}
	return &msp.Identity{ID: k.Definition.ID, CertificatePEM: certPEM, Key: pair.Key}, nil
}

func (k *organizationKeys) admin() (*msp.Identity, error) { return k.identity(adminFolder) }

// Identity gives the signing identity that a handle names: an identity's own, an organization's admin.
func (f *Fabric) identity(ctx context.Context, h Handle) (*msp.Identity, error) {
	keys, err := f.organizationKeys(ctx, h.Organization())
	if err != nil {
		return nil, err
	}
	if h.Kind == KindOrganization {
		return keys.admin()
	}
	return keys.identity(identitiesFolder + h.Name)
}

// operationsRoot gives the operations root of the CA behind a node, or that of an organization without one
// here. Adopted nodes have none: errNoCA.
func (f *Fabric) operationsRoot(ctx context.Context, h Handle) (*certificate.KeyPair, error) {
	ca := h
	if h.Kind != KindCA {
		org, err := f.organizationKeys(ctx, h.Organization())
		if err != nil {
			return nil, err
		}
		if ca, err = org.ca(); err != nil {
			adopted, failed := f.adoption(ctx, h)
			if failed != nil {
				return nil, failed
			}
			if adopted != nil || len(org.files[operationsCertificate]) == 0 {
				return nil, err
			}
			return caKeys{handle: org.handle, files: org.files}.operations()
		}
	}
	keys, err := f.caKeys(ctx, ca)
	if err != nil {
		return nil, err
	}
	return keys.operations()
}

// year is what validities are given in.
const year = 365 * 24 * time.Hour

// firstBlock gives the first PEM block of a file: a certificate without its chain.
func firstBlock(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	return pem.EncodeToMemory(block)
}
