package certificate

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reason says in one word why a chain does not verify.
type Reason string

// The reasons of VerifyError.
const (
	ReasonUnparsable       Reason = "unparsable"         // a given certificate cannot be read, or none was given
	ReasonUnknownAuthority Reason = "unknown_authority"  // the chain does not lead to a given root
	ReasonSignature        Reason = "signature"          // a certificate names an issuer that did not sign it
	ReasonNotCA            Reason = "not_a_ca"           // a certificate above the leaf is not a CA
	ReasonPathLength       Reason = "path_length"        // a CA has more CAs below it than it allows
	ReasonExpired          Reason = "expired"            // a certificate of the chain has expired
	ReasonNotYetValid      Reason = "not_yet_valid"      // a certificate of the chain is not valid yet
	ReasonHost             Reason = "host"               // the leaf is not for the host
	ReasonKeyUsage         Reason = "key_usage"          // a key may not be used for what it is used for
	ReasonExtendedKeyUsage Reason = "extended_key_usage" // the leaf may not be used as a server, or as a client
	ReasonOther            Reason = "other"              // anything else, for example a name constraint
)

// VerifyError is the failure of VerifyChain. Detail is a clause for a person.
type VerifyError struct {
	Reason Reason
	Detail string
}

func (e *VerifyError) Error() string { return "unable to verify the certificate chain: " + e.Detail }

// Usage is what a leaf is meant for.
type Usage string

// The usages of VerifyRequest.
const (
	UsageAny     Usage = ""        // key usages of the leaf are not looked at
	UsageServer  Usage = "server"  // TLS server
	UsageClient  Usage = "client"  // TLS client
	UsageSigning Usage = "signing" // member of an MSP: signs proposals, blocks and transactions
	UsageCA      Usage = "ca"      // CA that issues certificates
)

// Usages lists the names of all usages but the empty one.
func Usages() []Usage { return []Usage{UsageServer, UsageClient, UsageSigning, UsageCA} }

// VerifyRequest is a chain to check.
type VerifyRequest struct {
	// Leaf is one certificate in PEM. Further certificates after it count as intermediates, as in
	// the files that TLS servers read.
	Leaf []byte
	// Intermediates and Roots are PEM, each with one or more certificates.
	Intermediates, Roots [][]byte
	// At is the instant at which everything must be valid; now when zero.
	At time.Time
	// Host is a DNS name or an IP address that the leaf must hold; not looked at when empty.
	Host string
	// Usage is what the leaf is meant for.
	Usage Usage
}

// VerifyChain checks that the leaf leads to one of the roots, that everything is valid at the
// instant, and that the leaf serves the host and the usage. Every failure is a *VerifyError.
func VerifyChain(r VerifyRequest) error {
	if r.Usage != UsageAny && !slices.Contains(Usages(), r.Usage) {
		return reject(ReasonOther, "the usage %q is not known", r.Usage)
	}
	leaf, intermediates, err := readLeaf(r.Leaf)
	if err != nil {
		return reject(ReasonUnparsable, "leaf: %v", err)
	}
	more, err := readAll(r.Intermediates)
	if err != nil {
		return reject(ReasonUnparsable, "intermediates: %v", err)
	}
	intermediates = append(intermediates, more...)
	roots, err := readAll(r.Roots)
	if err != nil {
		return reject(ReasonUnparsable, "roots: %v", err)
	}
	if len(roots) == 0 {
		return reject(ReasonUnparsable, "roots: there is none")
	}
	at := instant(r.At)

	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range roots {
		opts.Roots.AddCert(c)
	}
	for _, c := range intermediates {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return explain(err, leaf, intermediates, roots, at)
	}
	if r.Host != "" {
		if err := leaf.VerifyHostname(r.Host); err != nil {
			return reject(ReasonHost, "%s is not for %s; it is for %s", name(leaf), r.Host, hostsOf(leaf))
		}
	}
	return verifyUsage(leaf, r.Usage, opts)
}

func verifyUsage(leaf *x509.Certificate, usage Usage, opts x509.VerifyOptions) error {
	needs := func(names string, bits x509.KeyUsage) error {
		// A certificate without the extension may be used for anything (RFC 5280, 4.2.1.3).
		if leaf.KeyUsage == 0 || leaf.KeyUsage&bits != 0 {
			return nil
		}
		return reject(ReasonKeyUsage, "%s has the key usages %s and needs %s", name(leaf), list(keyUsageNames(leaf.KeyUsage)), names)
	}
	extended := func(usage x509.ExtKeyUsage) error {
		opts.KeyUsages = []x509.ExtKeyUsage{usage}
		if _, err := leaf.Verify(opts); err != nil {
			return reject(ReasonExtendedKeyUsage, "%s or a CA above it has extended key usages without %s; %s has %s",
				name(leaf), extendedKeyUsages[usage], name(leaf), list(extendedKeyUsageNames(leaf)))
		}
		return nil
	}
	switch usage {
	case UsageServer:
		err := needs("digitalSignature, keyEncipherment or keyAgreement",
			x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement)
		if err != nil {
			return err
		}
		return extended(x509.ExtKeyUsageServerAuth)
	case UsageClient:
		if err := needs("digitalSignature", x509.KeyUsageDigitalSignature); err != nil {
			return err
		}
		return extended(x509.ExtKeyUsageClientAuth)
	case UsageSigning:
		if leaf.BasicConstraintsValid && leaf.IsCA {
			return reject(ReasonKeyUsage, "%s is a CA, and a CA cannot be a member of an MSP", name(leaf))
		}
		return needs("digitalSignature", x509.KeyUsageDigitalSignature)
	case UsageCA:
		if !leaf.BasicConstraintsValid || !leaf.IsCA {
			return reject(ReasonNotCA, "%s is not a CA", name(leaf))
		}
		return needs("keyCertSign", x509.KeyUsageCertSign)
	}
	return nil
}

// explain finds the reason behind a refusal of crypto/x509, which reports only the last path that
// it tried, and that as an unknown authority.
func explain(cause error, leaf *x509.Certificate, intermediates, roots []*x509.Certificate, at time.Time) error {
	walk := &walker{intermediates: intermediates, roots: roots}
	path := walk.climb([]*x509.Certificate{leaf})
	if path == nil {
		return walk.failure
	}
	for _, c := range path {
		switch {
		case at.After(c.NotAfter):
			return reject(ReasonExpired, "%s expired at %s", name(c), stamp(c.NotAfter))
		case at.Before(c.NotBefore):
			return reject(ReasonNotYetValid, "%s is not valid before %s", name(c), stamp(c.NotBefore))
		}
	}
	var invalid x509.CertificateInvalidError
	if errors.As(cause, &invalid) && invalid.Reason == x509.IncompatibleUsage {
		return reject(ReasonExtendedKeyUsage, "%v", cause)
	}
	return reject(ReasonOther, "%v", cause)
}

// walker climbs from a leaf to a root and remembers the failure that it met farthest up.
type walker struct {
	intermediates, roots []*x509.Certificate
	failure              *VerifyError
	depth                int
	tried                int
}

// maxTries bounds the signatures that are checked to explain one refusal: certificates that all
// sign each other would otherwise give a factorial number of paths.
const maxTries = 100

// climb gives the path from the leaf to a root, or nil.
func (w *walker) climb(path []*x509.Certificate) []*x509.Certificate {
	last := path[len(path)-1]
	if slices.ContainsFunc(w.roots, last.Equal) {
		return path
	}
	found := false
	for _, parent := range slices.Concat(w.roots, w.intermediates) {
		if !bytes.Equal(last.RawIssuer, parent.RawSubject) || slices.ContainsFunc(path, parent.Equal) {
			continue
		}
		found = true
		if w.tried++; w.tried > maxTries {
			w.note(len(path), reject(ReasonOther, "there are too many ways from %s to a root", name(last)))
			return nil
		}
		if failure := mayIssue(parent, path); failure != nil {
			w.note(len(path)+1, failure)
			continue
		}
		if full := w.climb(append(slices.Clone(path), parent)); full != nil {
			return full
		}
	}
	if !found {
		who := name(last) + " was issued by " + orUnnamed(last.Issuer.String())
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			who = name(last) + " is self-signed"
		}
		w.note(len(path), reject(ReasonUnknownAuthority, "%s, which is not among the given certificates", who))
	}
	return nil
}

func (w *walker) note(depth int, failure *VerifyError) {
	if w.failure == nil || depth > w.depth {
		w.failure, w.depth = failure, depth
	}
}

// mayIssue says why the parent cannot stand above the path, or nil.
func mayIssue(parent *x509.Certificate, path []*x509.Certificate) *VerifyError {
	child := path[len(path)-1]
	if err := parent.CheckSignature(child.SignatureAlgorithm, child.RawTBSCertificate, child.Signature); err != nil {
		return reject(ReasonSignature, "%s was not signed by the key of %s: %v", name(child), name(parent), err)
	}
	if !parent.BasicConstraintsValid || !parent.IsCA {
		return reject(ReasonNotCA, "%s was issued by %s, which is not a CA", name(child), name(parent))
	}
	if parent.KeyUsage != 0 && parent.KeyUsage&x509.KeyUsageCertSign == 0 {
		return reject(ReasonKeyUsage, "%s was issued by %s, whose key usages %s lack keyCertSign", name(child), name(parent), list(keyUsageNames(parent.KeyUsage)))
	}
	if limit := parent.MaxPathLen; limit >= 0 && (limit > 0 || parent.MaxPathLenZero) && len(path)-1 > limit {
		return reject(ReasonPathLength, "%s allows %d CAs below it and has %d", name(parent), limit, len(path)-1)
	}
	return nil
}

func readLeaf(pemBytes []byte) (leaf *x509.Certificate, rest []*x509.Certificate, err error) {
	certs, err := ParseCertificates(pemBytes)
	if err != nil {
		return nil, nil, err
	}
	return certs[0], certs[1:], nil
}

func readAll(bundles [][]byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, b := range bundles {
		certs, err := ParseCertificates(b)
		if err != nil {
			return nil, err
		}
		all = append(all, certs...)
	}
	return all, nil
}

func hostsOf(cert *x509.Certificate) string {
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	if len(hosts) == 0 {
		return "no host at all"
	}
	return strings.Join(hosts, ", ")
}

func list(names []string) string {
	if len(names) == 0 {
		return "(none)"
	}
	return strings.Join(names, ", ")
}

func orUnnamed(s string) string {
	if s == "" {
		return "a CA without a name"
	}
	return s
}

func reject(reason Reason, format string, args ...any) *VerifyError {
	return &VerifyError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
