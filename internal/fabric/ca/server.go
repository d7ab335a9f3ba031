package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// DefaultPort and DefaultOperationsPort are where a rendered server listens inside its node.
const (
	DefaultPort           = 7054
	DefaultOperationsPort = 9443
)

const (
	// HomeVariable is the environment variable that names the folder of a server's files. The server
	// writes into it (keys, databases), so it must be a folder that its user owns.
	HomeVariable = "FABRIC_CA_HOME"

	// configVersion is that of the file format. The server derives the levels of its database from it
	// and treats a file without one as of version 0, whose registry it would migrate at every start.
	configVersion = "1.5.0"

	tlsDir = "tls"

	// attributesOID is the extension in which certificates hold attributes (fabric-ca, lib/attrmgr).
	attributesOID = "1.2.3.4.5.6.7.8.1"
)

// ServerCommand starts a server from the files of RenderServer. The official image's own command
// must not be used: it would make a registrar with a well-known secret where files are missing.
func ServerCommand() []string { return []string{"fabric-ca-server", "start"} }

// The validities that certificates have unless others are given, those of Fabric CA.
const (
	DefaultValidity   = 8760 * time.Hour
	DefaultCAValidity = 43800 * time.Hour
	DefaultCRLExpiry  = 24 * time.Hour
)

// Registrar is the identity by which everything else is registered. It has every right at its CA.
type Registrar struct {
	Name, Secret string
}

// Material is a certificate with its private key in PEM. More certificates may follow the first
// one, as TLS servers send them.
type Material struct {
	CertificatePEM, KeyPEM []byte
}

// Authority is one CA of a server.
type Authority struct {
	// Name is how requests choose the CA. The two names of a server differ.
	Name string
	// Material is the CA's own key and one certificate, a root or an intermediate.
	Material
	// ChainPEM holds the CAs above an intermediate, the root last; empty for a root.
	ChainPEM []byte
	// Registrar is put into the registry at the first start. Later changes of it are not seen.
	Registrar Registrar
	// Validity, TLSValidity and CAValidity are how long certificates of ProfileEnrolment, ProfileTLS
	// and ProfileCA live, in whole minutes; zero is the default. None outlives the CA.
	Validity, TLSValidity, CAValidity time.Duration
	// CRLExpiry is how long a revocation list is current; zero is the default.
	CRLExpiry time.Duration
}

// ServerConfig is a Fabric CA server with two CAs: one for the members of an organization's MSP and
// one for TLS. Each has a registry of its own. Both keep it in SQLite, which serves one server only.
type ServerConfig struct {
	// Home is the absolute path at which the node has the files.
	Home string
	// Port and OperationsPort are zero for the defaults.
	Port, OperationsPort int
	// Listener is for the REST API, Operations for the operations endpoint.
	Listener, Operations Material
	// OperationsClientRoots are the CAs, in PEM, whose clients may use the operations endpoint.
	OperationsClientRoots []byte
	// Enrolment is the server's first CA, which requests without a CA name reach.
	Enrolment, TLS Authority
	// Affiliations are those of both CAs: the server gives those of the first CA to the second as
	// well. Parents need not be listed. Their names are lower case, because the server makes those of
	// its configuration so; others are for AddAffiliation.
	Affiliations []string
	// Validities are further lifetimes, in whole minutes, that certificates may be asked for, by
	// ProfileFor.
	Validities []time.Duration
}

// ProfileFor gives the name of the profile for a lifetime among ServerConfig.Validities, derived
// from ProfileEnrolment or ProfileTLS. Zero is the profile itself, with the CA's own validity. This
// is the only way to a lifetime: Fabric CA ignores the one of a request.
func ProfileFor(profile string, validity time.Duration) string {
	if validity == 0 {
		return profile
	}
	if profile == ProfileEnrolment {
		profile = "enrolment"
	}
	return fmt.Sprintf("%s-%dm", profile, int64(validity/time.Minute))
}

// RenderServer gives the files of a server by their slash-separated path below Home. Private keys
// and the configuration files, which hold the registrars' secrets, are secrets: the caller writes
// all files with mode 0600.
func RenderServer(c ServerConfig) (map[string][]byte, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("unable to configure the Fabric CA server: %w", err)
	}
	files := map[string][]byte{
		"listener/cert.pem":           c.Listener.CertificatePEM,
		"listener/key.pem":            c.Listener.KeyPEM,
		"operations/cert.pem":         c.Operations.CertificatePEM,
		"operations/key.pem":          c.Operations.KeyPEM,
		"operations/client-roots.pem": c.OperationsClientRoots,
	}
	server := c.serverFile()
	for _, part := range []struct {
		dir  string
		ca   Authority
		file any
	}{
		{"", c.Enrolment, &server},
		{tlsDir, c.TLS, &server.authorityFile},
	} {
		server.authorityFile = c.authorityFile(part.ca)
		text, err := yaml.Marshal(part.file)
		if err != nil {
			return nil, fmt.Errorf("unable to configure the Fabric CA server: %w", err)
		}
		files[path.Join(part.dir, "fabric-ca-server-config.yaml")] = text
		files[path.Join(part.dir, "ca-cert.pem")] = part.ca.CertificatePEM
		files[path.Join(part.dir, "ca-key.pem")] = part.ca.KeyPEM
		if len(part.ca.ChainPEM) > 0 {
			files[path.Join(part.dir, "ca-chain.pem")] = slices.Concat(part.ca.CertificatePEM, part.ca.ChainPEM)
		}
	}
	return files, nil
}

func (c ServerConfig) validate() error {
	if !path.IsAbs(c.Home) {
		return fmt.Errorf("its home %q is not an absolute path", c.Home)
	}
	for _, p := range []int{c.Port, c.OperationsPort} {
		if p < 0 || p > 65535 {
			return fmt.Errorf("%d is not a port", p)
		}
	}
	if c.port() == c.operationsPort() {
		return fmt.Errorf("it cannot listen twice on port %d", c.port())
	}
	for _, part := range []struct {
		what     string
		material Material
	}{{"listener", c.Listener}, {"operations endpoint", c.Operations}} {
		if _, err := part.material.leaf(); err != nil {
			return fmt.Errorf("%s: %w", part.what, err)
		}
	}
	if _, err := certificate.ParseCertificates(c.OperationsClientRoots); err != nil {
		return fmt.Errorf("client roots of the operations endpoint: %w", err)
	}
	enrolment, err := c.Enrolment.validate()
	if err != nil {
		return fmt.Errorf("enrolment CA: %w", err)
	}
	tls, err := c.TLS.validate()
	if err != nil {
		return fmt.Errorf("TLS CA: %w", err)
	}
	if c.Enrolment.Name == c.TLS.Name {
		return fmt.Errorf("both CAs have the name %s", c.TLS.Name)
	}
	if bytes.Equal(enrolment.RawSubject, tls.RawSubject) && bytes.Equal(enrolment.RawIssuer, tls.RawIssuer) {
		return fmt.Errorf("both CAs have the subject %s", tls.Subject)
	}
	for _, name := range c.Affiliations {
		if err := ValidateAffiliation(name); err != nil {
			return err
		}
		if name != strings.ToLower(name) {
			return fmt.Errorf("affiliation %q: the server makes the affiliations of its configuration lower case", name)
		}
	}
	for _, v := range c.Validities {
		if err := checkValidity(v); err != nil {
			return err
		}
	}
	return nil
}

func (a Authority) validate() (*x509.Certificate, error) {
	if a.Name == "" || strings.ContainsFunc(a.Name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\&?#%/`, r) }) {
		return nil, fmt.Errorf("its name %q must be printable characters without spaces, quotes and those of URLs", a.Name)
	}
	if err := ValidateID(a.Registrar.Name); err != nil {
		return nil, fmt.Errorf("registrar: %w", err)
	}
	if a.Registrar.Secret == "" {
		return nil, errors.New("its registrar has no secret")
	}
	pair, err := certificate.ParseKeyPair(a.CertificatePEM, a.KeyPEM)
	if err != nil {
		return nil, err
	}
	cert := pair.Certificate
	chain := certificate.VerifyRequest{Leaf: a.CertificatePEM, At: cert.NotBefore.Add(time.Second), Usage: certificate.UsageCA}
	if len(a.ChainPEM) == 0 {
		chain.Roots = [][]byte{a.CertificatePEM}
	} else {
		chain.Intermediates, chain.Roots = [][]byte{a.ChainPEM}, nil
		above, err := certificate.ParseCertificates(a.ChainPEM)
		if err != nil {
			return nil, fmt.Errorf("chain: %w", err)
		}
		root := above[len(above)-1]
		// The server tells a root from an intermediate by the authority key identifier, and would
		// trust no certificate of a chain whose root it does not recognise.
		if len(root.AuthorityKeyId) > 0 && !bytes.Equal(root.AuthorityKeyId, root.SubjectKeyId) {
			return nil, fmt.Errorf("chain: its last certificate, %s, is not a root", root.Subject)
		}
		chain.Roots = [][]byte{certificate.EncodeCertificate(root)}
	}
	if err := certificate.VerifyChain(chain); err != nil {
		return nil, err
	}
	if len(a.ChainPEM) == 0 && !bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return nil, fmt.Errorf("%s is an intermediate and its chain is not given", cert.Subject)
	}
	for _, v := range []time.Duration{a.Validity, a.TLSValidity, a.CAValidity, a.CRLExpiry} {
		if v != 0 {
			if err := checkValidity(v); err != nil {
				return nil, err
			}
		}
	}
	return cert, nil
}

func checkValidity(v time.Duration) error {
	if v < time.Minute || v%time.Minute != 0 {
		return fmt.Errorf("a validity of %s is not a number of whole minutes, at least one", v)
	}
	return nil
}

func (m Material) leaf() (*x509.Certificate, error) {
	certs, err := certificate.ParseCertificates(m.CertificatePEM)
	if err != nil {
		return nil, err
	}
	pair, err := certificate.ParseKeyPair(certificate.EncodeCertificate(certs[0]), m.KeyPEM)
	if err != nil {
		return nil, err
	}
	return pair.Certificate, nil
}

func (c ServerConfig) port() int {
	if c.Port == 0 {
		return DefaultPort
	}
	return c.Port
}

func (c ServerConfig) operationsPort() int {
	if c.OperationsPort == 0 {
		return DefaultOperationsPort
	}
	return c.OperationsPort
}

// The shape of fabric-ca-server-config.yaml. Everything that the server would otherwise take for
// the second CA from the first one (fabric-ca, lib/server.go, loadCA) is in both files.
type (
	serverFile struct {
		Address       string         `yaml:"address"`
		Port          int            `yaml:"port"`
		Debug         bool           `yaml:"debug"`
		CORS          fileEnabled    `yaml:"cors"`
		CRLSizeLimit  int            `yaml:"crlsizelimit"`
		TLS           fileTLS        `yaml:"tls"`
		CAFiles       []string       `yaml:"cafiles"`
		Operations    fileOperations `yaml:"operations"`
		Metrics       fileMetrics    `yaml:"metrics"`
		authorityFile `yaml:",inline"`
	}
	fileEnabled struct {
		Enabled bool `yaml:"enabled"`
	}
	fileTLS struct {
		Enabled  bool   `yaml:"enabled"`
		CertFile string `yaml:"certfile"`
		KeyFile  string `yaml:"keyfile"`
	}
	fileMetrics struct {
		Provider string `yaml:"provider"`
	}
	fileOperations struct {
		ListenAddress string            `yaml:"listenAddress"`
		TLS           fileOperationsTLS `yaml:"tls"`
	}
	fileOperationsTLS struct {
		Enabled bool     `yaml:"enabled"`
		Cert    fileName `yaml:"cert"`
		Key     fileName `yaml:"key"`
		// ClientCertRequired and ClientCACertFiles are what the server obeys. Its documentation names
		// clientAuthRequired and clientRootCAs.files, which it ignores silently up to 1.5.13 at least;
		// they are written as well, should a later server come to obey them.
		ClientCertRequired bool      `yaml:"clientCertRequired"`
		ClientCACertFiles  []string  `yaml:"clientCACertFiles"`
		ClientAuthRequired bool      `yaml:"clientAuthRequired"`
		ClientRootCAs      fileNames `yaml:"clientRootCAs"`
	}
	fileName struct {
		File string `yaml:"file"`
	}
	fileNames struct {
		Files []string `yaml:"files"`
	}

	authorityFile struct {
		Version      string         `yaml:"version"`
		CA           fileCA         `yaml:"ca"`
		CRL          fileCRL        `yaml:"crl"`
		Registry     fileRegistry   `yaml:"registry"`
		DB           fileDB         `yaml:"db"`
		LDAP         fileEnabled    `yaml:"ldap"`
		Affiliations map[string]any `yaml:"affiliations"`
		Signing      fileSigning    `yaml:"signing"`
		CSR          fileCSR        `yaml:"csr"`
		BCCSP        fileBCCSP      `yaml:"bccsp"`
		Cfg          fileCfg        `yaml:"cfg"`
	}
	fileCA struct {
		Name      string `yaml:"name"`
		KeyFile   string `yaml:"keyfile"`
		CertFile  string `yaml:"certfile"`
		ChainFile string `yaml:"chainfile"`
	}
	fileCRL struct {
		Expiry string `yaml:"expiry"`
	}
	fileRegistry struct {
		MaxEnrollments int            `yaml:"maxenrollments"`
		Identities     []fileIdentity `yaml:"identities"`
	}
	fileIdentity struct {
		Name           string            `yaml:"name"`
		Pass           string            `yaml:"pass"`
		Type           string            `yaml:"type"`
		Affiliation    string            `yaml:"affiliation"`
		MaxEnrollments int               `yaml:"maxenrollments"`
		Attrs          map[string]string `yaml:"attrs"`
	}
	fileDB struct {
		Type       string `yaml:"type"`
		Datasource string `yaml:"datasource"`
	}
	fileSigning struct {
		Default  fileProfile            `yaml:"default"`
		Profiles map[string]fileProfile `yaml:"profiles"`
	}
	fileProfile struct {
		Usage        []string          `yaml:"usage"`
		Expiry       string            `yaml:"expiry"`
		CAConstraint *fileCAConstraint `yaml:"caconstraint,omitempty"`
		// ExtensionWhitelist lets a profile certify Fabric CA's attributes, which the server itself
		// allows in its own three profiles only. It is a list of maps because the server's reader of
		// configuration splits the keys of a map at their dots, though not of one inside a list.
		ExtensionWhitelist []map[string]bool `yaml:"extensionwhitelist,omitempty"`
	}
	fileCAConstraint struct {
		IsCA       bool `yaml:"isca"`
		MaxPathLen int  `yaml:"maxpathlen"`
	}
	fileCSR struct {
		CN string `yaml:"cn"`
	}
	fileBCCSP struct {
		Default string      `yaml:"default"`
		SW      fileBCCSPSW `yaml:"sw"`
	}
	fileBCCSPSW struct {
		Hash         string       `yaml:"hash"`
		Security     int          `yaml:"security"`
		FileKeystore fileKeystore `yaml:"filekeystore"`
	}
	fileKeystore struct {
		Keystore string `yaml:"keystore"`
	}
	fileCfg struct {
		Identities   fileCfgIdentities `yaml:"identities"`
		Affiliations fileAllowRemove   `yaml:"affiliations"`
	}
	fileCfgIdentities struct {
		PasswordAttempts int  `yaml:"passwordattempts"`
		AllowRemove      bool `yaml:"allowremove"`
	}
	fileAllowRemove struct {
		AllowRemove bool `yaml:"allowremove"`
	}
)

func (c ServerConfig) serverFile() serverFile {
	roots := path.Join(c.Home, "operations/client-roots.pem")
	return serverFile{
		Address:      "0.0.0.0",
		Port:         c.port(),
		CRLSizeLimit: 512000,
		TLS:          fileTLS{Enabled: true, CertFile: "listener/cert.pem", KeyFile: "listener/key.pem"},
		CAFiles:      []string{path.Join(tlsDir, "fabric-ca-server-config.yaml")},
		Operations: fileOperations{
			ListenAddress: fmt.Sprintf("0.0.0.0:%d", c.operationsPort()),
			TLS: fileOperationsTLS{
				Enabled:            true,
				Cert:               fileName{"operations/cert.pem"},
				Key:                fileName{"operations/key.pem"},
				ClientCertRequired: true,
				// Unlike every other path this one is not taken relative to the server's home.
				ClientCACertFiles:  []string{roots},
				ClientAuthRequired: true,
				ClientRootCAs:      fileNames{[]string{roots}},
			},
		},
		Metrics: fileMetrics{Provider: "prometheus"},
	}
}

func (c ServerConfig) authorityFile(a Authority) authorityFile {
	certs, _ := certificate.ParseCertificates(a.CertificatePEM) // validate has read them
	f := authorityFile{
		Version: configVersion,
		CA: fileCA{
			Name: a.Name, KeyFile: "ca-key.pem", CertFile: "ca-cert.pem", ChainFile: "ca-chain.pem",
		},
		CRL: fileCRL{Expiry: or(a.CRLExpiry, DefaultCRLExpiry)},
		Registry: fileRegistry{MaxEnrollments: Unlimited, Identities: []fileIdentity{{
			Name: a.Registrar.Name, Pass: a.Registrar.Secret, Type: "client", MaxEnrollments: Unlimited,
			Attrs: map[string]string{
				"hf.Registrar.Roles":         "*",
				"hf.Registrar.DelegateRoles": "*",
				"hf.Registrar.Attributes":    "*",
				"hf.Revoker":                 "true",
				"hf.IntermediateCA":          "true",
				"hf.GenCRL":                  "true",
				"hf.AffiliationMgr":          "true",
			},
		}}},
		DB:           fileDB{Type: "sqlite3", Datasource: "fabric-ca-server.db"},
		Affiliations: affiliationTree(c.Affiliations),
		Signing: fileSigning{
			Default: memberProfile(or(a.Validity, DefaultValidity)),
			Profiles: map[string]fileProfile{
				ProfileTLS: tlsProfile(or(a.TLSValidity, DefaultValidity)),
				ProfileCA: {
					Usage: []string{"cert sign", "crl sign"}, Expiry: or(a.CAValidity, DefaultCAValidity),
					CAConstraint: &fileCAConstraint{IsCA: true}, // no further CA below an intermediate
				},
			},
		},
		CSR: fileCSR{CN: certs[0].Subject.CommonName},
		BCCSP: fileBCCSP{Default: "SW", SW: fileBCCSPSW{
			Hash: "SHA2", Security: 256, FileKeystore: fileKeystore{"msp/keystore"},
		}},
		Cfg: fileCfg{
			Identities:   fileCfgIdentities{PasswordAttempts: 10, AllowRemove: true},
			Affiliations: fileAllowRemove{AllowRemove: true},
		},
	}
	for _, v := range c.Validities {
		for name, profile := range map[string]fileProfile{
			ProfileEnrolment: memberProfile(v.String()),
			ProfileTLS:       tlsProfile(v.String()),
		} {
			profile.ExtensionWhitelist = []map[string]bool{{attributesOID: true}}
			f.Signing.Profiles[ProfileFor(name, v)] = profile
		}
	}
	return f
}

func memberProfile(expiry string) fileProfile {
	return fileProfile{Usage: []string{"digital signature"}, Expiry: expiry}
}

func tlsProfile(expiry string) fileProfile {
	return fileProfile{
		Usage:  []string{"signing", "key encipherment", "server auth", "client auth", "key agreement"},
		Expiry: expiry,
	}
}

// affiliationTree nests "a.b" as a: {b: []}. The server takes names from the keys of maps (those in
// lists could have nothing below them), and loses a key whose map is empty, but not one whose list is.
func affiliationTree(names []string) map[string]any {
	tree := map[string]any{}
	for _, name := range names {
		first, below, more := strings.Cut(name, ".")
		if !more {
			if _, ok := tree[first]; !ok {
				tree[first] = []string{}
			}
			continue
		}
		children, _ := tree[first].([]string)
		tree[first] = append(children, below)
	}
	for first, value := range tree {
		if children := value.([]string); len(children) > 0 {
			tree[first] = affiliationTree(children)
		}
	}
	return tree
}

func or(v, fallback time.Duration) string {
	if v == 0 {
		v = fallback
	}
	return v.String()
}
