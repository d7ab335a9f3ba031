package network

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/ca"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// DefaultRenewBefore is how long before its end a certificate is renewed unless something else is said.
const DefaultRenewBefore = 45 * 24 * time.Hour

// The certificates of a thing, by the names under which they are renewed.
const (
	CertificateEnrollment = "enrollment"
	CertificateTLS        = "tls"
	CertificateOperations = "operations"
	CertificateListener   = "listener"
	CertificateAdmin      = "admin"
)

// RenewalRule says when the certificates of one thing fall due. A certificate may be renewed in the
// window before its end: Before long, but never more than a third of its own life. Of the window's
// first half a part passes that the thing's name decides, so that what was issued together does not
// fall due together. What nodes have is renewed together, since each renewal costs a restart.
type RenewalRule struct {
	// Holder names the thing among all others.
	Holder string
	Before time.Duration
}

// Rule gives the rule for the certificates of a thing.
func (h Handle) Rule(before time.Duration) RenewalRule {
	return RenewalRule{Holder: h.Object() + "/" + h.MSPID, Before: before}
}

// Time is when the first of the certificates falls due; zero when there is none. Certificates are in
// PEM, intermediates may follow.
func (r RenewalRule) Time(held map[string]string) time.Time {
	var first time.Time
	for _, text := range held {
		cert, err := certificate.ParseOne(firstBlock([]byte(text)))
		if err != nil {
			continue
		}
		if due := r.moment(cert.NotAfter, lifeOf(cert)); first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}

// Due names the certificates that are to be renewed at an instant: none until the first of them falls
// due, and then with it those whose window has begun.
func (r RenewalRule) Due(held map[string]string, now time.Time) []string {
	first := r.Time(held)
	if first.IsZero() || first.After(now) {
		return nil
	}
	var due []string
	for _, name := range slices.Sorted(maps.Keys(held)) {
		cert, err := certificate.ParseOne(firstBlock([]byte(held[name])))
		if err == nil && !cert.NotAfter.Add(-r.window(lifeOf(cert))).After(now) {
			due = append(due, name)
		}
	}
	return due
}

// moment is when something of that life and that end falls due.
func (r RenewalRule) moment(end time.Time, life time.Duration) time.Time {
	window := r.window(life)
	sum := sha256.Sum256([]byte(r.Holder))
	share := float64(binary.BigEndian.Uint32(sum[:])) / math.MaxUint32
	return end.Add(-window + time.Duration(share*float64(window/2))).Truncate(time.Second)
}

// window is how long before its end something of that life may be renewed.
func (r RenewalRule) window(life time.Duration) time.Duration { return min(r.Before, life/3) }

// lifeOf is how long a certificate lives from its issue on: that it is backdated is no part of it.
func lifeOf(cert *x509.Certificate) time.Duration {
	life := cert.NotAfter.Sub(cert.NotBefore)
	if life > certificate.Backdate {
		life -= certificate.Backdate
	}
	return life
}

// Renewal says which certificates of a thing are made anew. Both lists are of what the thing had when
// the renewal was planned, in PEM: what it has by now decides, so that an attempt which was cut short
// goes on where it stopped.
type Renewal struct {
	// Retire are certificates that are to be replaced by others of the same key.
	Retire []string `json:"-"`
	// Revoke are certificates whose keys nobody may trust any more: they are replaced by others with new
	// keys, and revoked at the CA that issued them.
	Revoke []string `json:"-"`
	// Known keeps the enrolment certificate that the thing has, whatever is wrong with it: SmartBFT knows an
	// ordering node by it, and must be told of another one before the node has it.
	Known bool `json:"-"`
	// KeyVersion counts the keys that the thing has had; 0 is the first, as 1 is.
	KeyVersion int `json:"key_version,omitempty"`
	// KeyVersionBefore counts those that it had when the renewal was planned.
	KeyVersionBefore int `json:"-"`
}

// replaces tells whether a certificate, intermediates may follow, is to be replaced.
func (r Renewal) replaces(certPEM []byte) bool {
	return slices.Contains(r.Retire, string(certPEM)) || r.distrusts(certPEM)
}

// distrusts tells whether the key of a certificate is to be replaced too. Certificates that were
// renewed share their key.
func (r Renewal) distrusts(certPEM []byte) bool {
	cert, err := certificate.ParseOne(firstBlock(certPEM))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(r.Revoke, func(text string) bool {
		revoked, err := certificate.ParseOne(firstBlock([]byte(text)))
		return err == nil && certificate.PublicKeyFingerprint(revoked) == certificate.PublicKeyFingerprint(cert)
	})
}

// keptKey gives the key of a certificate that is issued again; nil for a new one, when there is none,
// when it belongs to another certificate, or when nobody may trust it.
func (r Renewal) keptKey(certPEM, keyPEM []byte) crypto.Signer {
	key, err := certificate.ParseKey(keyPEM)
	if err != nil || r.distrusts(certPEM) {
		return nil
	}
	if cert, err := certificate.ParseOne(firstBlock(certPEM)); err == nil && !certificate.KeyMatches(cert, key) {
		return nil
	}
	return key
}

// expired tells whether one of the certificates to be replaced has expired: a node with it takes part
// in nothing, and waiting for others that are no better would be in vain.
func (r Renewal) expired(now time.Time) bool {
	return slices.ContainsFunc(r.Retire, func(text string) bool {
		cert, err := certificate.ParseOne(firstBlock([]byte(text)))
		return err == nil && now.After(cert.NotAfter)
	})
}

// recalled makes a source of material that also tells the certificates which the node has then, by
// the names of their files.
func recalled(issue func(context.Context, map[string][]byte) (map[string][]byte, error), of, held map[string]string) func(context.Context, map[string][]byte) (map[string][]byte, error) {
	return func(ctx context.Context, have map[string][]byte) (map[string][]byte, error) {
		files, err := issue(ctx, have)
		for name, file := range of {
			if content := files[file]; len(content) > 0 {
				held[name] = string(content)
			} else if content := have[file]; len(content) > 0 {
				held[name] = string(content)
			}
		}
		return files, err
	}
}

// revoke revokes every certificate of the keys of the given ones that the CA of an organization
// issued and that is still valid: those that were renewed since share their key with older ones.
func (f *Fabric) revoke(ctx context.Context, org Handle, certificates []string) error {
	if len(certificates) == 0 {
		return nil
	}
	_, from, err := f.issuer(ctx, org)
	if err != nil {
		return err
	}
	distrusted := Renewal{Revoke: certificates}
	for _, id := range commonNames(certificates) {
		for _, name := range []string{enrollmentCA, tlsCA} {
			if err := f.revokeAt(ctx, from, name, id, distrusted); err != nil {
				return fmt.Errorf("unable to revoke the certificates of %s at %s: %w", id, from, f.unanswered(ctx, from, err))
			}
		}
	}
	return nil
}

func (f *Fabric) revokeAt(ctx context.Context, from Handle, name, id string, distrusted Renewal) error {
	client, registrar, err := f.registrar(ctx, from, name)
	if err != nil {
		return err
	}
	issued, err := client.Certificates(ctx, registrar, ca.CertificateFilter{ID: id, NotExpired: true, NotRevoked: true})
	if err != nil {
		return err
	}
	for _, cert := range issued {
		if !distrusted.distrusts(certificate.EncodeCertificate(cert)) {
			continue
		}
		_, err := client.Revoke(ctx, registrar, ca.Revocation{Certificate: cert, Reason: ca.ReasonKeyCompromise})
		if err != nil && !errors.Is(err, ca.ErrAlreadyRevoked) && !errors.Is(err, ca.ErrNotFound) {
			return err
		}
	}
	return nil
}

// commonNames gives the enrolment IDs of certificates, each once.
func commonNames(certificates []string) []string {
	var ids []string
	for _, text := range certificates {
		if cert, err := certificate.ParseOne(firstBlock([]byte(text))); err == nil && !slices.Contains(ids, cert.Subject.CommonName) {
			ids = append(ids, cert.Subject.CommonName)
		}
	}
	return ids
}
