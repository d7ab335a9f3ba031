package lifecycle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"
)

const (
	// TypeCCaaS is the package type of chaincode as a service, by which the peer's builder knows it.
	TypeCCaaS = "ccaas"
	// typeExternal is the older name for a chaincode server that builders of other networks use.
	typeExternal = "external"

	// MaxPackageSize is the largest package in bytes that a peer takes: its gRPC message limit, less what
	// goes around a package.
	MaxPackageSize = 100<<20 - 64<<10

	metadataFile   = "metadata.json"
	codeFile       = "code.tar.gz"
	connectionFile = "connection.json"
	metaInf        = "META-INF"

	defaultDialTimeout = 10 * time.Second
)

// limits bound what is unpacked of a package; a compressed archive can hold a thousand times its
// size.
type limits struct {
	// unpacked are bytes of one archive, entries are its files and folders.
	unpacked int64
	entries  int
}

// packageLimits leave room for any chaincode with its dependencies.
var packageLimits = limits{unpacked: 512 << 20, entries: 100_000}

// maxDocument bounds the JSON files that are read.
const maxDocument = 1 << 20

// PackageRequest describes a chaincode-as-a-service package.
type PackageRequest struct {
	// Label is the package label.
	Label string
	// Connection is how a peer reaches its chaincode server.
	Connection Connection
	// Metadata are CouchDB index definitions by their path below META-INF, for example
	// statedb/couchdb/indexes/owner.json or statedb/couchdb/collections/secrets/indexes/owner.json.
	Metadata map[string][]byte
}

// Connection is the content of connection.json. Its texts may hold Go templates, which the peer's
// builder fills in from its configuration: with the address asset.{{.peername}}:9999 one package, and
// so one package ID, serves every peer. What a peer shows its server is not for a package, whose ID
// would depend on it: it is added at each peer.
//
// Source: core/container/externalbuilder/instance.go, ChaincodeServerUserData.
type Connection struct {
	// Address is host:port of the chaincode server.
	Address string
	// DialTimeout is how long a peer tries to connect; zero means 10 s.
	DialTimeout time.Duration
	// TLSRequired makes peers speak TLS; RootCertificate is then needed, unless it is added at each peer
	// with what the peer shows.
	TLSRequired bool
	// RootCertificate verifies the server's certificate, PEM.
	RootCertificate string
	// ClientAuthRequired makes peers show a client certificate.
	ClientAuthRequired bool
	// ClientCertificate and ClientKey are what a peer shows, PEM. A package holds neither.
	ClientCertificate, ClientKey string
}

// connectionDocument is connection.json; the order of fields is part of the package ID.
type connectionDocument struct {
	Address            string `json:"address"`
	DialTimeout        string `json:"dial_timeout"`
	TLSRequired        bool   `json:"tls_required"`
	ClientAuthRequired bool   `json:"client_auth_required,omitempty"`
	RootCertificate    string `json:"root_cert,omitempty"`
	ClientCertificate  string `json:"client_cert,omitempty"`
	ClientKey          string `json:"client_key,omitempty"`
}

// Document gives the connection.json of one peer, which its builder hands over to it.
func (c Connection) Document() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = defaultDialTimeout
	}
	return document(connectionDocument{
		Address: c.Address, DialTimeout: c.DialTimeout.String(), TLSRequired: c.TLSRequired, ClientAuthRequired: c.ClientAuthRequired,
		RootCertificate: c.RootCertificate, ClientCertificate: c.ClientCertificate, ClientKey: c.ClientKey,
	})
}

var notInPath = regexp.MustCompile("[<>:\"/\\\\|\\?\\*&]")

// ReleasedConnection gives where a peer keeps the connection.json of an installed package, relative to
// its data folder (peer.fileSystemPath). It is read whenever the peer connects to the server.
//
// Source: core/container/externalbuilder, Detector.Build and Instance.ChaincodeServerInfo.
func ReleasedConnection(packageID string) string {
	return path.Join("externalbuilder/builds", notInPath.ReplaceAllString(packageID, "-"), "release/chaincode/server", connectionFile)
}

// metadataDocument is metadata.json; the order of fields is part of the package ID.
type metadataDocument struct {
	Type  string `json:"type"`
	Path  string `json:"path,omitempty"`
	Label string `json:"label"`
}

// indexPath is what Fabric's peers take for metadata (internal/ccmetadata/validators.go).
var indexPath = regexp.MustCompile(`^statedb/couchdb/(collections/[A-Za-z0-9_-]+/)?indexes/[^/]+\.json$`)

// Package makes a chaincode-as-a-service package. The same request gives the same bytes, in every run
// and on every machine: there are no times, owners or map orders in it, and it is stored, not
// compressed, so that no release of a compressor changes a package ID.
//
// Source: Fabric documentation, "Running Chaincode as an External Service".
func Package(request PackageRequest) ([]byte, error) {
	packed, err := pack(request)
	if err != nil {
		return nil, fmt.Errorf("unable to package chaincode %s: %w", request.Label, err)
	}
	return packed, nil
}

func pack(request PackageRequest) ([]byte, error) {
	if err := ValidateLabel(request.Label); err != nil {
		return nil, err
	}
	if request.Connection.ClientKey != "" || request.Connection.ClientCertificate != "" {
		return nil, errors.New("what a peer shows its chaincode server is not for a package")
	}
	connection, err := request.Connection.Document()
	if err != nil {
		return nil, err
	}
	files := []archived{contentOf(connectionFile, connection)}
	for name, content := range request.Metadata {
		if err := validateMetadata(name, content); err != nil {
			return nil, err
		}
		files = append(files, contentOf(path.Join(metaInf, name), content))
	}
	entries, err := packageOf(metadataDocument{Type: TypeCCaaS, Label: request.Label}, files)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	err = writeArchive(&packed, entries)
	return packed.Bytes(), err
}

// validateMetadata tells why a peer would not take a file below META-INF, or nil.
func validateMetadata(name string, content []byte) error {
	if !indexPath.MatchString(name) {
		return fmt.Errorf("metadata file %s is not allowed: below META-INF there are only statedb/couchdb/indexes/<name>.json and statedb/couchdb/collections/<collection>/indexes/<name>.json", name)
	}
	if _, err := ParseIndex(content); err != nil {
		return fmt.Errorf("metadata file %s is no index: %w", name, err)
	}
	return nil
}

// Validate tells why a peer could not use the connection, or nil.
func (c Connection) Validate() error {
	if c.Address == "" {
		return errors.New("the chaincode server has no address")
	}
	if _, err := template.New("address").Parse(c.Address); err != nil {
		return fmt.Errorf("the address %q of the chaincode server is not a template: %w", c.Address, err)
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil && !strings.Contains(c.Address, "{{") {
		return fmt.Errorf("the address %q of the chaincode server is not host:port: %w", c.Address, err)
	}
	if c.DialTimeout < 0 {
		return fmt.Errorf("the dial timeout %s of the chaincode server is negative", c.DialTimeout)
	}
	if c.TLSRequired && !c.ClientAuthRequired && c.RootCertificate == "" {
		return errors.New("the chaincode server speaks TLS but has no root certificate to verify it by")
	}
	if c.ClientAuthRequired && !c.TLSRequired {
		return errors.New("the chaincode server wants client certificates but does not speak TLS")
	}
	return nil
}

// PackageID gives the ID under which peers know an installed package: its label and its SHA-256.
//
// Source: core/chaincode/persistence/persistence.go, PackageID.
func PackageID(label string, packed []byte) string {
	hash := sha256.New()
	hash.Write(packed)
	return packageID(label, hash)
}

func packageID(label string, content hash.Hash) string {
	return label + ":" + hex.EncodeToString(content.Sum(nil))
}

// archived is a file of an archive, whose content is written when its turn comes: none need be in memory.
type archived struct {
	name  string
	size  int64
	write func(io.Writer) error
}

func contentOf(name string, content []byte) archived {
	return archived{name, int64(len(content)), func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}}
}

// packageOf gives the two files of a package with the given files of code. Those are read twice, first for
// the size of code.tar.gz, which stands before it, and then for what is in it.
func packageOf(metadata metadataDocument, code []archived) ([]archived, error) {
	text, err := document(metadata)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(code, func(a, b archived) int { return strings.Compare(a.name, b.name) })
	var size counter
	if err := writeArchive(&size, code); err != nil {
		return nil, err
	}
	if size+counter(len(text)) > MaxPackageSize-packageFrame {
		return nil, fmt.Errorf("it has %d bytes and a peer takes at most %d", size, MaxPackageSize)
	}
	return []archived{contentOf(metadataFile, text), {codeFile, int64(size), func(w io.Writer) error { return writeArchive(w, code) }}}, nil
}

// packageFrame bounds what the formats of a package add to its two files.
const packageFrame = 32 << 10

// counter is a writer that only counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// writeArchive writes a tar in gzip framing. Regular files of mode 0644 only; parents are implied.
func writeArchive(to io.Writer, files []archived) error {
	zip, err := gzip.NewWriterLevel(to, gzip.NoCompression)
	if err != nil {
		return err
	}
	writer := tar.NewWriter(zip)
	for _, file := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: file.name, Mode: 0o644, Size: file.size, ModTime: time.Unix(0, 0).UTC()}
		if err := writer.WriteHeader(header); err != nil {
			return err
		}
		if err := file.write(writer); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return zip.Close()
}

// document is one line of JSON that leaves <, > and & alone: a template or a PEM stays as written.
func document(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return text.Bytes(), err
}

// PackageInfo is what a chaincode package says of itself.
type PackageInfo struct {
	// ID is the package ID.
	ID string
	// Label is the package label.
	Label string
	// Type is what peers choose the builder by: ccaas, golang, node, java, or an own word.
	Type string
	// Path is the module or folder of the chaincode, for types that peers build.
	Path string
	// Address is the address of the chaincode server, for packages of a chaincode server.
	Address string
}

// ParsePackage reads a chaincode package of any type and refuses what a peer would refuse or choke
// on: a malformed archive, entries that are links or devices, paths that leave the archive, a label
// that is not allowed, a chaincode server without connection.json, more content than any chaincode
// has.
//
// It is read to its end, so that its checksums tell what was damaged on the way.
func ParsePackage(packed []byte) (*PackageInfo, error) { return ReadPackage(bytes.NewReader(packed)) }

// ReadPackage is ParsePackage of a package that is not in memory, and never as a whole will be.
func ReadPackage(packed io.Reader) (*PackageInfo, error) {
	info, err := packageLimits.parse(packed)
	if err != nil {
		return nil, fmt.Errorf("unable to read the chaincode package: %w", err)
	}
	return info, nil
}

func (l limits) parse(packed io.Reader) (*PackageInfo, error) {
	hash := sha256.New()
	// The byte beyond what is allowed is the one that fails.
	packed = io.TeeReader(&boundedReader{from: packed, left: MaxPackageSize + 1, err: fmt.Errorf("it has more bytes than a peer takes, which is at most %d", MaxPackageSize)}, hash)
	var metadata *struct {
		Type  string `json:"type"`
		Path  string `json:"path"`
		Label string `json:"label"`
	}
	var code *codeSummary
	err := l.walk(packed, func(header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg {
			return fmt.Errorf("%s is not a regular file", header.Name)
		}
		switch header.Name {
		case metadataFile:
			if metadata != nil {
				return fmt.Errorf("%s is in it twice", metadataFile)
			}
			text, err := readDocument(header, content)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(text, &metadata); err != nil {
				return fmt.Errorf("%s is malformed: %w", metadataFile, err)
			}
			if metadata == nil {
				return fmt.Errorf("%s holds no object", metadataFile)
			}
		case codeFile:
			if code != nil {
				return fmt.Errorf("%s is in it twice", codeFile)
			}
			summary, err := l.summarize(content)
			if err != nil {
				return fmt.Errorf("%s: %w", codeFile, err)
			}
			code = summary
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case metadata == nil:
		return nil, fmt.Errorf("%s is not in it", metadataFile)
	case code == nil:
		return nil, fmt.Errorf("%s is not in it", codeFile)
	}
	if err := ValidateLabel(metadata.Label); err != nil {
		return nil, err
	}
	if metadata.Type == "" {
		return nil, fmt.Errorf("%s names no type", metadataFile)
	}
	info := &PackageInfo{ID: packageID(metadata.Label, hash), Label: metadata.Label, Type: metadata.Type, Path: metadata.Path}
	switch {
	case IsBuilt(info.Type) && !code.source:
		return nil, fmt.Errorf("it is of type %s and has nothing below src/ to build", metadata.Type)
	case IsServed(metadata.Type):
		if code.address == "" {
			return nil, fmt.Errorf("it is of type %s and has no %s with an address", metadata.Type, connectionFile)
		}
		info.Address = code.address
	}
	return info, nil
}

// IsBuilt tells whether peers build chaincode of a type from its source, and run it themselves.
func IsBuilt(packageType string) bool {
	return slices.Contains(SourceTypes, strings.ToLower(packageType))
}

// IsServed tells whether chaincode of a type is served by a program of its own that peers connect to.
func IsServed(packageType string) bool {
	return packageType == TypeCCaaS || packageType == typeExternal
}

// codeSummary is the address of a chaincode server, and whether there is source.
type codeSummary struct {
	address string
	source  bool
}

// summarize walks through the inner archive.
func (l limits) summarize(code io.Reader) (*codeSummary, error) {
	summary := &codeSummary{}
	err := l.walk(code, func(header *tar.Header, content io.Reader) error {
		name := path.Clean(header.Name)
		if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
			return fmt.Errorf("the path %s leaves the archive", header.Name)
		}
		switch header.Typeflag {
		case tar.TypeDir:
			return nil
		case tar.TypeReg:
		default:
			return fmt.Errorf("%s is neither a regular file nor a folder", header.Name)
		}
		summary.source = summary.source || strings.HasPrefix(name, sourceFolder)
		if name != connectionFile {
			return nil
		}
		text, err := readDocument(header, content)
		if err != nil {
			return err
		}
		// Other packages may hold a file of this name with another meaning, so only what reads as a
		// connection counts.
		var connection struct {
			Address string `json:"address"`
		}
		if json.Unmarshal(text, &connection) == nil {
			summary.address = connection.Address
		}
		return nil
	})
	return summary, err
}

// walk calls visit with every entry of a gzipped tar, to its end, within the limits.
func (l limits) walk(packed io.Reader, visit func(*tar.Header, io.Reader) error) error {
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return fmt.Errorf("it is not in gzip format: %w", err)
	}
	bounded := &boundedReader{from: unzipped, left: l.unpacked, err: errTooLarge}
	reader := tar.NewReader(bounded)
	for entries := 0; ; entries++ {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			// The checksum is at the very end.
			if _, err := io.Copy(io.Discard, bounded); err != nil {
				return fmt.Errorf("it is damaged: %w", err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("it is not a tar archive: %w", err)
		}
		// A sparse entry is larger than what it takes up in the archive.
		if header.Size > l.unpacked {
			return errTooLarge
		}
		if entries == l.entries {
			return fmt.Errorf("it has more than %d entries", l.entries)
		}
		if err := visit(header, reader); err != nil {
			return err
		}
	}
}

func readDocument(header *tar.Header, content io.Reader) ([]byte, error) {
	if header.Size > maxDocument {
		return nil, fmt.Errorf("%s has more than %d bytes", header.Name, maxDocument)
	}
	text, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("unable to read %s: %w", header.Name, err)
	}
	return text, nil
}

var errTooLarge = errors.New("it unpacks to more than any chaincode has")

// boundedReader fails, where io.LimitReader would end quietly.
type boundedReader struct {
	from io.Reader
	left int64
	err  error
}

func (r *boundedReader) Read(into []byte) (int, error) {
	if r.left <= 0 {
		return 0, r.err
	}
	if int64(len(into)) > r.left {
		into = into[:r.left]
	}
	n, err := r.from.Read(into)
	r.left -= int64(n)
	return n, err
}
