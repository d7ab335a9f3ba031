package msp

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// The files of a local MSP folder, as Fabric's msp package reads them (configbuilder.go). Of
// signcerts and keystore it reads whatever file is there; these are the names that this package
// writes.
const (
	fileConfig         = "config.yaml"
	fileSignCert       = "signcerts/cert.pem"
	fileKey            = "keystore/key.pem"
	dirRoots           = "cacerts"
	dirIntermediates   = "intermediatecerts"
	dirTLSRoots        = "tlscacerts"
	dirTLSIntermediate = "tlsintermediatecerts"
	dirRevocationLists = "crls"
	dirSignCerts       = "signcerts"
	dirKeys            = "keystore"
)

// NodeOUs is the section of the same name in config.yaml: how members are told apart by OU.
type NodeOUs struct {
	Enable  bool          `yaml:"Enable"`
	Client  *OUIdentifier `yaml:"ClientOUIdentifier,omitempty"`
	Peer    *OUIdentifier `yaml:"PeerOUIdentifier,omitempty"`
	Admin   *OUIdentifier `yaml:"AdminOUIdentifier,omitempty"`
	Orderer *OUIdentifier `yaml:"OrdererOUIdentifier,omitempty"`
}

// OUIdentifier names an organizational unit and, optionally, the CA that vouches for it.
type OUIdentifier struct {
	// Certificate is a path relative to the MSP folder, or empty: any CA of the MSP.
	Certificate string `yaml:"Certificate,omitempty"`
	Name        string `yaml:"OrganizationalUnitIdentifier"`
}

type folderConfig struct {
	NodeOUs *NodeOUs `yaml:"NodeOUs,omitempty"`
}

// Folder gives the files of an MSP folder by their slash-separated path inside it. With an identity
// it is a local MSP (signcerts and keystore, the key in PKCS#8), for a node or the peer command;
// without one it holds public material only. Keys are secrets: the caller writes keystore with
// mode 0600.
func Folder(d Definition, id *Identity) (map[string][]byte, error) {
	files := map[string][]byte{}
	add := func(dir string, texts []string, check func([]byte) error) error {
		for i, text := range texts {
			if err := check([]byte(text)); err != nil {
				return fmt.Errorf("unable to write the MSP folder of %s: %s %d: %w", d.ID, dir, i+1, err)
			}
			// Fabric reads the first PEM block of each file only, so each has a file of its own.
			files[fmt.Sprintf("%s/ca-%d.pem", dir, i)] = []byte(text)
		}
		return nil
	}
	one := func(text []byte) error { _, err := certificate.ParseOne(text); return err }
	crl := func(text []byte) error { _, err := parseRevocationList(text); return err }
	for _, part := range []struct {
		dir   string
		texts []string
		check func([]byte) error
	}{
		{dirRoots, d.RootCertificates, one},
		{dirIntermediates, d.IntermediateCertificates, one},
		{dirTLSRoots, d.TLSRootCertificates, one},
		{dirTLSIntermediate, d.TLSIntermediateCertificates, one},
		{dirRevocationLists, d.RevocationLists, crl},
	} {
		if err := add(part.dir, part.texts, part.check); err != nil {
			return nil, err
		}
	}
	config, err := d.folderConfig()
	if err != nil {
		return nil, err
	}
	files[fileConfig] = config
	if id == nil {
		return files, nil
	}
	cert, err := certificate.ParseOne(id.CertificatePEM)
	if err != nil {
		return nil, fmt.Errorf("unable to write the MSP folder of %s: %w", d.ID, err)
	}
	if !certificate.KeyMatches(cert, id.Key) {
		return nil, fmt.Errorf("unable to write the MSP folder of %s: the private key belongs to another certificate than that of %s", d.ID, cert.Subject.CommonName)
	}
	key, err := certificate.EncodeKey(id.Key)
	if err != nil {
		return nil, fmt.Errorf("unable to write the MSP folder of %s: %w", d.ID, err)
	}
	files[fileSignCert] = certificate.EncodeCertificate(cert)
	files[fileKey] = key
	return files, nil
}

func (d Definition) folderConfig() ([]byte, error) {
	classifying, err := d.ClassifyingCertificate()
	if err != nil {
		return nil, err
	}
	file := ""
	if classifying != "" {
		if file, err = d.fileOf(classifying); err != nil {
			return nil, err
		}
	}
	ou := func(name string) *OUIdentifier { return &OUIdentifier{Certificate: file, Name: name} }
	return yaml.Marshal(folderConfig{NodeOUs: &NodeOUs{
		Enable: true, Client: ou(OUClient), Peer: ou(OUPeer), Admin: ou(OUAdmin), Orderer: ou(OUOrderer),
	}})
}

// fileOf gives the path at which Folder writes one of the enrolment CAs.
func (d Definition) fileOf(certificatePEM string) (string, error) {
	wanted, err := certificate.ParseOne([]byte(certificatePEM))
	if err != nil {
		return "", err
	}
	for _, part := range []struct {
		dir   string
		texts []string
	}{{dirRoots, d.RootCertificates}, {dirIntermediates, d.IntermediateCertificates}} {
		for i, text := range part.texts {
			if cert, err := certificate.ParseOne([]byte(text)); err == nil && cert.Equal(wanted) {
				return fmt.Sprintf("%s/ca-%d.pem", part.dir, i), nil
			}
		}
	}
	return "", fmt.Errorf("unable to find the CA %s in the MSP %s", wanted.Subject.CommonName, d.ID)
}

// ParseFolder reads an MSP folder back: its files by slash-separated path inside it. The MSP ID is
// in no file of the folder, so it is given. The identity is nil when the folder holds no signcerts.
// Files of an unknown kind (admincerts, README) are left aside, as Fabric leaves them aside.
func ParseFolder(id string, files map[string][]byte) (Definition, *Identity, error) {
	d := Definition{ID: id}
	fail := func(file string, err error) (Definition, *Identity, error) {
		return Definition{}, nil, fmt.Errorf("unable to read the MSP folder of %s: %s: %w", id, file, err)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.SortStableFunc(names, compareNames)
	for _, name := range names {
		var to *[]string
		switch path.Dir(name) {
		case dirRoots:
			to = &d.RootCertificates
		case dirIntermediates:
			to = &d.IntermediateCertificates
		case dirTLSRoots:
			to = &d.TLSRootCertificates
		case dirTLSIntermediate:
			to = &d.TLSIntermediateCertificates
		case dirRevocationLists:
			list, err := parseRevocationList(files[name])
			if err != nil {
				return fail(name, err)
			}
			d.RevocationLists = append(d.RevocationLists, string(encodeRevocationList(list)))
			continue
		default:
			continue
		}
		cert, err := certificate.ParseOne(files[name])
		if err != nil {
			return fail(name, err)
		}
		*to = append(*to, string(certificate.EncodeCertificate(cert)))
	}
	if len(d.RootCertificates) == 0 {
		return fail(dirRoots, errors.New("there is no certificate"))
	}
	identity, err := IdentityFromFolder(id, files)
	if errors.Is(err, ErrNoIdentity) {
		return d, nil, nil
	}
	if err != nil {
		return Definition{}, nil, err
	}
	return d, identity, nil
}

// ErrNoIdentity says that an MSP folder holds no signing certificate.
var ErrNoIdentity = errors.New("there is no certificate in signcerts")

// IdentityFromFolder reads the signing identity of a local MSP folder: the one certificate of
// signcerts and the key of keystore that belongs to it, whatever their names are.
func IdentityFromFolder(id string, files map[string][]byte) (*Identity, error) {
	fail := func(err error) (*Identity, error) {
		return nil, fmt.Errorf("unable to read the identity in the MSP folder of %s: %w", id, err)
	}
	certs := filesIn(files, dirSignCerts)
	if len(certs) == 0 {
		return fail(ErrNoIdentity)
	}
	if len(certs) > 1 {
		return fail(fmt.Errorf("there are %d certificates in signcerts where Fabric expects one", len(certs)))
	}
	cert, err := certificate.ParseOne(files[certs[0]])
	if err != nil {
		return fail(err)
	}
	for _, name := range filesIn(files, dirKeys) {
		key, err := certificate.ParseKey(files[name])
		if err == nil && certificate.KeyMatches(cert, key) {
			return &Identity{ID: id, CertificatePEM: certificate.EncodeCertificate(cert), Key: key}, nil
		}
	}
	return fail(fmt.Errorf("keystore holds no key of the certificate of %s", cert.Subject.CommonName))
}

// FabricMSPConfig gives the definition as channels carry it (msp/msp_config.proto, FabricMSPConfig).
func (d Definition) FabricMSPConfig() (*mspproto.FabricMSPConfig, error) {
	classifying, err := d.ClassifyingCertificate()
	if err != nil {
		return nil, err
	}
	ou := func(name string) *mspproto.FabricOUIdentifier {
		out := &mspproto.FabricOUIdentifier{OrganizationalUnitIdentifier: name}
		if classifying != "" {
			out.Certificate = []byte(classifying)
		}
		return out
	}
	all := func(texts []string) [][]byte {
		var out [][]byte
		for _, t := range texts {
			out = append(out, []byte(t))
		}
		return out
	}
	return &mspproto.FabricMSPConfig{
		Name:                 d.ID,
		RootCerts:            all(d.RootCertificates),
		IntermediateCerts:    all(d.IntermediateCertificates),
		TlsRootCerts:         all(d.TLSRootCertificates),
		TlsIntermediateCerts: all(d.TLSIntermediateCertificates),
		RevocationList:       all(d.RevocationLists),
		CryptoConfig: &mspproto.FabricCryptoConfig{
			SignatureHashFamily: "SHA2", IdentityIdentifierHashFunction: "SHA256",
		},
		FabricNodeOus: &mspproto.FabricNodeOUs{
			Enable:             true,
			ClientOuIdentifier: ou(OUClient), PeerOuIdentifier: ou(OUPeer),
			AdminOuIdentifier: ou(OUAdmin), OrdererOuIdentifier: ou(OUOrderer),
		},
	}, nil
}

const pemRevocationList = "X509 CRL"

func parseRevocationList(text []byte) (*x509.RevocationList, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemRevocationList || bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, errors.New("unable to read the revocation list: it is not exactly one PEM block of an X509 CRL")
	}
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("unable to read the revocation list: %w", err)
	}
	return list, nil
}

func encodeRevocationList(list *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemRevocationList, Bytes: list.Raw})
}

func filesIn(files map[string][]byte, dir string) []string {
	var names []string
	for name := range files {
		if path.Dir(name) == dir {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(names, compareNames)
	return names
}

// compareNames puts ca-2 before ca-10, so that a definition survives its folder in its order.
func compareNames(a, b string) int {
	return cmp.Or(
		strings.Compare(path.Dir(a), path.Dir(b)),
		cmp.Compare(len(a), len(b)),
		strings.Compare(a, b),
	)
}
