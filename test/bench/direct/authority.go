package direct

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Where a node finds its files: below the mount of its volume.
const (
	volumeRoot = "/var/hyperledger"
	nodeRoot   = volumeRoot + "/node"
	keysFolder = nodeRoot + "/keys"
	dataFolder = nodeRoot + "/data"
	caHome     = keysFolder + "/ca"
)

// runAuthority makes the CA server of an organization with its key volume, starts it, and enrols the
// registrars of both of its CAs.
func (n *Network) runAuthority(ctx context.Context, org *organization) error {
	name, keys := org.authorityName(), org.authorityName()+"-keys"
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := n.engine.createKeeper(gctx, keys, n.options.Images.CA); err != nil {
			return err
		}
		files, err := org.rootFiles()
		if err != nil {
			return err
		}
		return n.engine.putStore(gctx, keys, files)
	})
	group.Go(func() error {
		return n.clock.phase("CA containers", func() error { return n.startAuthority(gctx, org, name) })
	})
	if err := group.Wait(); err != nil {
		return err
	}
	err := n.clock.phase("CAs answer", func() error {
		for _, a := range []*authority{&org.enrolment, &org.tls} {
			err := poll(ctx, name+" does not answer", func(ctx context.Context) error {
				_, err := a.client.Info(ctx)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.clock.phase("registrars", func() error { return n.enrollRegistrars(ctx, org, keys) })
}

func (n *Network) startAuthority(ctx context.Context, org *organization, name string) error {
	if err := n.engine.createVolume(ctx, name); err != nil {
		return err
	}
	if err := wait(ctx, &n.onNetwork); err != nil {
		return err
	}
	err := n.engine.create(ctx, spec{
		name: name, host: org.authorityHost(), image: n.options.Images.CA, network: true, command: ca.ServerCommand(),
		env: map[string]string{ca.HomeVariable: caHome}, volume: name, target: volumeRoot, ports: org.ports,
	})
	if err != nil {
		return err
	}
	files, err := org.serverFiles()
	if err != nil {
		return err
	}
	if err := n.engine.put(ctx, name, volumeRoot, "node/keys/ca", files); err != nil {
		return err
	}
	if err := n.engine.start(ctx, name, startAuthority); err != nil {
		return err
	}
	org.onServer.set()
	return nil
}

// rootFiles are what the key volume of a CA holds before the server starts.
func (o *organization) rootFiles() (map[string][]byte, error) {
	files := map[string][]byte{"ca/registrar/secret": []byte(o.enrolment.secret), "tls/registrar/secret": []byte(o.tls.secret)}
	for folder, root := range map[string]*certificate.KeyPair{"operations": o.operationsRoot, "ca": o.enrollmentRoot, "tls": o.tlsRoot} {
		if err := putPair(files, folder, root); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// serverFiles are the home of the CA server.
func (o *organization) serverFiles() (map[string][]byte, error) {
	listener, err := o.listener(o.tlsRoot)
	if err != nil {
		return nil, err
	}
	operations, err := o.listener(o.operationsRoot)
	if err != nil {
		return nil, err
	}
	config := ca.ServerConfig{Home: caHome, Listener: listener, Operations: operations, OperationsClientRoots: o.operationsRoot.CertificatePEM()}
	for _, a := range []struct {
		into   *ca.Authority
		name   string
		root   *certificate.KeyPair
		secret string
	}{{&config.Enrolment, "ca", o.enrollmentRoot, o.enrolment.secret}, {&config.TLS, "tls", o.tlsRoot, o.tls.secret}} {
		key, err := a.root.KeyPEM()
		if err != nil {
			return nil, err
		}
		*a.into = ca.Authority{
			Name: a.name, Material: ca.Material{CertificatePEM: a.root.CertificatePEM(), KeyPEM: key},
			Registrar: ca.Registrar{Name: "registrar", Secret: a.secret}, Validity: year, TLSValidity: year,
		}
	}
	return ca.RenderServer(config)
}

func (o *organization) listener(root *certificate.KeyPair) (ca.Material, error) {
	pair, err := issue(root, certificate.LeafRequest{
		CommonName: o.authorityHost(), Organization: o.name, Hosts: hosts(o.authorityHost(), o.authorityName()), Server: true, Validity: year,
	})
	if err != nil {
		return ca.Material{}, err
	}
	key, err := pair.KeyPEM()
	return ca.Material{CertificatePEM: pair.CertificatePEM(), KeyPEM: key}, err
}

// enrollRegistrars enrols both registrars, keeps their certificates and takes the CAs' own keys out
// of the key volume: the server has them.
func (n *Network) enrollRegistrars(ctx context.Context, org *organization, keys string) error {
	group, gctx := errgroup.WithContext(ctx)
	for _, a := range []*authority{&org.enrolment, &org.tls} {
		group.Go(func() error {
			enrolled, err := a.client.Enroll(gctx, "registrar", a.secret, ca.EnrollRequest{})
			if err != nil {
				return fmt.Errorf("unable to enrol the registrar at %s: %w", org.authorityName(), err)
			}
			a.registrar = enrolled.KeyPair
			a.onRegistrar.set()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	files := map[string][]byte{"started": []byte("true"), "ca/key.pem": nil, "tls/key.pem": nil}
	for folder, a := range map[string]*authority{"ca/registrar": &org.enrolment, "tls/registrar": &org.tls} {
		if err := putPair(files, folder, a.registrar); err != nil {
			return err
		}
	}
	return n.engine.putStore(ctx, keys, files)
}

// enroll registers an identity and enrols it.
func (a *authority) enroll(ctx context.Context, registration ca.Registration, request ca.EnrollRequest) (*ca.Enrollment, error) {
	if err := wait(ctx, &a.onRegistrar); err != nil {
		return nil, err
	}
	registration.Secret, registration.MaxEnrollments = newSecret(), ca.Unlimited
	if _, err := a.client.Register(ctx, a.registrar, registration); err != nil {
		return nil, fmt.Errorf("unable to register %s: %w", registration.ID, err)
	}
	enrolled, err := a.client.Enroll(ctx, registration.ID, registration.Secret, request)
	if err != nil {
		return nil, fmt.Errorf("unable to enrol %s: %w", registration.ID, err)
	}
	return enrolled, nil
}

// enrollAdmin enrols the admin of an organization and keeps its key in a key volume. Who waits for
// the admin does not wait for the volume.
func (n *Network) enrollAdmin(ctx context.Context, org *organization) error {
	files := map[string][]byte{"organization.json": []byte(org.mspID)}
	err := n.clock.phase("admins", func() error {
		enrolled, err := org.enrolment.enroll(ctx, ca.Registration{ID: "admin", Type: "admin"}, ca.EnrollRequest{})
		if err != nil {
			return err
		}
		org.admin = &msp.Identity{ID: org.mspID, CertificatePEM: enrolled.CertificatePEM(), Key: enrolled.Key}
		org.onAdmin.set()
		return putPair(files, "admin", enrolled.KeyPair)
	})
	if err != nil {
		return err
	}
	keys := org.mspID + "-keys"
	if err := n.engine.createKeeper(ctx, keys, n.options.Images.CA); err != nil {
		return err
	}
	return n.engine.putStore(ctx, keys, files)
}
