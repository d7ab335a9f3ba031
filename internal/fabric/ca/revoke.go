package ca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// The reasons of a revocation that Fabric CA knows (RFC 5280, 5.3.1). The server takes any other
// word for "unspecified".
const (
	ReasonUnspecified          = "unspecified"
	ReasonKeyCompromise        = "keycompromise"
	ReasonCACompromise         = "cacompromise"
	ReasonAffiliationChanged   = "affiliationchanged"
	ReasonSuperseded           = "superseded"
	ReasonCessationOfOperation = "cessationofoperation"
	ReasonPrivilegeWithdrawn   = "privilegewithdrawn"
)

// Revocation says what to revoke: all certificates of an identity, or one certificate.
type Revocation struct {
	// ID revokes every certificate of the identity and disables it: it can neither enrol nor
	// re-enrol again.
	ID string
	// Certificate revokes this one certificate and leaves its identity alone.
	Certificate *x509.Certificate
	// Reason is one of the constants above; unspecified when empty.
	Reason string
	// GenCRL asks for the CA's new revocation list in the same call. There is none when nothing was
	// left to revoke.
	GenCRL bool
}

// Revoked is what a revocation did.
type Revoked struct {
	// Serials are the serial numbers of the certificates revoked now, in hex.
	Serials []string
	// CRL is the new list in PEM, when asked for.
	CRL []byte
}

// Revoke revokes certificates in the CA's registry (POST /api/v1/revoke). Nodes learn of it only by
// a revocation list in their MSP. Unknown identities and certificates are ErrNotFound; a
// certificate that had been revoked is ErrAlreadyRevoked.
func (c *Client) Revoke(ctx context.Context, by *certificate.KeyPair, r Revocation) (*Revoked, error) {
	if err := checkCaller(by); err != nil {
		return nil, err
	}
	if (r.ID == "") == (r.Certificate == nil) {
		return nil, errors.New("unable to revoke: give either an identity or a certificate")
	}
	if r.Certificate != nil && len(r.Certificate.AuthorityKeyId) == 0 {
		return nil, errors.New("unable to revoke a certificate without an authority key identifier: no Fabric CA issued it")
	}
	in := struct {
		ID     string `json:"id,omitempty"`
		Serial string `json:"serial,omitempty"`
		AKI    string `json:"aki,omitempty"`
		Reason string `json:"reason,omitempty"`
		GenCRL bool   `json:"gencrl,omitempty"`
		CAName string `json:"caname,omitempty"`
	}{ID: r.ID, Reason: r.Reason, GenCRL: r.GenCRL, CAName: c.caName}
	what := r.ID
	if r.Certificate != nil {
		in.Serial = r.Certificate.SerialNumber.Text(16)
		in.AKI = hex.EncodeToString(r.Certificate.AuthorityKeyId)
		what = "certificate " + in.Serial
	}
	var out struct {
		RevokedCerts []struct{ Serial string }
		CRL          []byte
	}
	if err := c.call(ctx, request{method: http.MethodPost, path: "revoke", in: in, out: &out, by: by}); err != nil {
		return nil, fmt.Errorf("unable to revoke %s at %s: %w", what, c, err)
	}
	revoked := &Revoked{}
	if len(out.CRL) > 0 {
		revoked.CRL = out.CRL
	}
	for _, cert := range out.RevokedCerts {
		revoked.Serials = append(revoked.Serials, cert.Serial)
	}
	return revoked, nil
}

// CRLRequest narrows a revocation list down. The zero value is a list of everything revoked.
type CRLRequest struct {
	// ExpireAfter leaves out certificates that expire before the instant.
	ExpireAfter time.Time
}

// GenCRL gives the CA's revocation list in PEM (POST /api/v1/gencrl). How long it is current is the
// server's crl.expiry. The caller needs the attribute hf.GenCRL.
func (c *Client) GenCRL(ctx context.Context, by *certificate.KeyPair, r CRLRequest) ([]byte, error) {
	if err := checkCaller(by); err != nil {
		return nil, err
	}
	in := struct {
		CAName      string    `json:"caname,omitempty"`
		ExpireAfter time.Time `json:"expireafter,omitzero"`
	}{c.caName, r.ExpireAfter}
	var out struct{ CRL []byte }
	if err := c.call(ctx, request{method: http.MethodPost, path: "gencrl", in: in, out: &out, by: by}); err != nil {
		return nil, fmt.Errorf("unable to generate the revocation list of %s: %w", c, err)
	}
	return out.CRL, nil
}

// CertificateFilter chooses certificates. The zero value chooses all.
type CertificateFilter struct {
	ID string
	// NotExpired and NotRevoked leave out those that are.
	NotExpired, NotRevoked bool
}

// Certificates lists certificates that the CA issued (GET /api/v1/certificates).
func (c *Client) Certificates(ctx context.Context, by *certificate.KeyPair, f CertificateFilter) ([]*x509.Certificate, error) {
	if err := checkCaller(by); err != nil {
		return nil, err
	}
	query := url.Values{}
	if f.ID != "" {
		query.Set("id", f.ID)
	}
	if f.NotExpired {
		query.Set("notexpired", "true")
	}
	if f.NotRevoked {
		query.Set("notrevoked", "true")
	}
	var out struct {
		Certs []struct{ PEM string } `json:"certs"`
	}
	if err := c.call(ctx, request{method: http.MethodGet, path: "certificates", query: query, out: &out, by: by}); err != nil {
		return nil, fmt.Errorf("unable to list the certificates of %s: %w", c, err)
	}
	var certs []*x509.Certificate
	for _, held := range out.Certs {
		cert, err := certificate.ParseOne([]byte(held.PEM))
		if err != nil {
			return nil, fmt.Errorf("unable to list the certificates of %s: %w", c, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}
