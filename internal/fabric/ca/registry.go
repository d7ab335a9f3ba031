package ca

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// Unlimited is the number of enrolments of an identity that may enrol any number of times.
const Unlimited = -1

// maxIDLength is that of a certificate's common name, which the id becomes.
const maxIDLength = 64

// ValidateID says why the id cannot be that of an identity, or nil. Fabric CA itself registers any
// id, but can certify none longer than 64 characters and cannot address one with a slash.
func ValidateID(id string) error {
	switch {
	case id == "":
		return errors.New("unable to use an empty identity id")
	case len(id) > maxIDLength:
		return fmt.Errorf("unable to use the identity id %q: it has %d characters and a certificate's common name at most %d", id, len(id), maxIDLength)
	case strings.ContainsAny(id, "/:\x00") || id == "." || id == "..":
		// A colon would end the user name of the basic authentication by which the identity enrols.
		return fmt.Errorf("unable to use the identity id %q: it must not be a dot or two, nor hold a slash, a colon or a NUL", id)
	}
	return nil
}

// Attribute is a fact about an identity that its registrar vouches for.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// ECert says that the attribute goes into every certificate that does not ask for others.
	ECert bool `json:"ecert,omitempty"`
}

// Registration is a new identity.
type Registration struct {
	ID string
	// Type is client, peer, orderer, admin or a word of your own; it becomes an OU of certificates.
	Type string
	// Secret is the enrolment secret; the server makes one up when empty. Callers that must survive
	// a lost answer give one that they have stored before.
	Secret string
	// Affiliation must exist; each part becomes an OU. Empty is the registrar's own.
	Affiliation string
	// MaxEnrollments is how often the secret may be used; Unlimited, or 0 for the CA's own limit.
	MaxEnrollments int
	Attributes     []Attribute
}

// Register adds an identity and gives its secret (POST /api/v1/register). An id that exists, also
// one that a parallel call has just added, is ErrAlreadyRegistered; an affiliation that does not
// exist is ErrNotFound.
func (c *Client) Register(ctx context.Context, by *certificate.KeyPair, r Registration) (secret string, err error) {
	if err := errors.Join(checkCaller(by), ValidateID(r.ID)); err != nil {
		return "", err
	}
	in := struct {
		ID             string      `json:"id"`
		Type           string      `json:"type,omitempty"`
		Secret         string      `json:"secret,omitempty"`
		Affiliation    string      `json:"affiliation"`
		MaxEnrollments int         `json:"max_enrollments,omitempty"`
		Attributes     []Attribute `json:"attrs,omitempty"`
		CAName         string      `json:"caname,omitempty"`
	}{r.ID, r.Type, r.Secret, r.Affiliation, r.MaxEnrollments, r.Attributes, c.caName}
	var out struct {
		Secret string `json:"secret"`
	}
	err = c.call(ctx, request{method: http.MethodPost, path: "register", in: in, out: &out, by: by})
	if err != nil {
		return "", fmt.Errorf("unable to register %s at %s: %w", r.ID, c, c.explainRegister(ctx, by, r, err))
	}
	return out.Secret, nil
}

// explainRegister asks once more where the server's code does not tell the cause.
func (c *Client) explainRegister(ctx context.Context, by *certificate.KeyPair, r Registration, cause error) error {
	var refusal *Error
	if !errors.As(cause, &refusal) {
		return cause
	}
	switch {
	case refusal.Code == codeUnknown && refusal.Status == http.StatusInternalServerError:
		// Of two parallel registrations of one id, both find it free, and the database refuses the
		// second one; the server passes that on as a failure of its own.
		if _, err := c.Identity(ctx, by, r.ID); err == nil {
			return fmt.Errorf("%w: %w", ErrAlreadyRegistered, cause)
		}
	case errors.Is(refusal, ErrAuthorization) && r.Affiliation != "" && r.Affiliation != ".":
		if _, err := c.Affiliation(ctx, by, r.Affiliation); errors.Is(err, ErrNotFound) {
			return fmt.Errorf("affiliation %s: %w: %w", r.Affiliation, ErrNotFound, cause)
		}
	}
	return cause
}

// Identity is a registered identity.
type Identity struct {
	ID             string      `json:"id"`
	Type           string      `json:"type"`
	Affiliation    string      `json:"affiliation"`
	MaxEnrollments int         `json:"max_enrollments"`
	Attributes     []Attribute `json:"attrs"`
}

// Identity reads a registered identity (GET /api/v1/identities/{id}). One that does not exist is
// ErrNotFound. Beside the attributes that were registered the server lists its own hf.EnrollmentID,
// hf.Type and hf.Affiliation.
func (c *Client) Identity(ctx context.Context, by *certificate.KeyPair, id string) (*Identity, error) {
	if err := errors.Join(checkCaller(by), ValidateID(id)); err != nil {
		return nil, err
	}
	var out Identity
	err := c.call(ctx, request{method: http.MethodGet, path: "identities/" + url.PathEscape(id), out: &out, by: by})
	if err != nil {
		return nil, fmt.Errorf("unable to read the identity %s at %s: %w", id, c, err)
	}
	return &out, nil
}

// Modification changes an identity. Fields left empty stay as they are.
type Modification struct {
	Type string
	// Affiliation "." is the root of all affiliations.
	Affiliation string
	// Secret replaces the enrolment secret and unlocks an identity that was locked after wrong ones.
	Secret string
	// MaxEnrollments is Unlimited or a positive number.
	MaxEnrollments int
	// Attributes are added or replaced by name; one with an empty value is removed.
	Attributes []Attribute
}

// ModifyIdentity changes a registered identity and gives it as it is then (PUT
// /api/v1/identities/{id}). Certificates that it has are not touched.
func (c *Client) ModifyIdentity(ctx context.Context, by *certificate.KeyPair, id string, m Modification) (*Identity, error) {
	if err := errors.Join(checkCaller(by), ValidateID(id)); err != nil {
		return nil, err
	}
	in := struct {
		Type           string      `json:"type,omitempty"`
		Affiliation    string      `json:"affiliation,omitempty"`
		Secret         string      `json:"secret,omitempty"`
		MaxEnrollments int         `json:"max_enrollments,omitempty"`
		Attributes     []Attribute `json:"attrs,omitempty"`
		CAName         string      `json:"caname,omitempty"`
	}{m.Type, m.Affiliation, m.Secret, m.MaxEnrollments, m.Attributes, c.caName}
	var out Identity
	err := c.call(ctx, request{method: http.MethodPut, path: "identities/" + url.PathEscape(id), in: in, out: &out, by: by})
	if err != nil {
		return nil, fmt.Errorf("unable to modify the identity %s at %s: %w", id, c, err)
	}
	return &out, nil
}

// RemoveIdentity removes an identity and revokes its certificates (DELETE
// /api/v1/identities/{id}). One that does not exist is ErrNotFound. The caller's own identity can
// be removed too.
func (c *Client) RemoveIdentity(ctx context.Context, by *certificate.KeyPair, id string) error {
	if err := errors.Join(checkCaller(by), ValidateID(id)); err != nil {
		return err
	}
	err := c.call(ctx, request{
		method: http.MethodDelete, path: "identities/" + url.PathEscape(id), by: by,
		query: url.Values{"force": {"true"}},
	})
	if err != nil {
		return fmt.Errorf("unable to remove the identity %s at %s: %w", id, c, err)
	}
	return nil
}

type affiliationAnswer struct {
	Name         string              `json:"name"`
	Affiliations []affiliationAnswer `json:"affiliations"`
}

func (a affiliationAnswer) names() []string {
	var names []string
	if a.Name != "" {
		names = append(names, a.Name)
	}
	for _, child := range a.Affiliations {
		names = append(names, child.names()...)
	}
	return names
}

// Affiliations lists all affiliations that the caller may see by their full names, for example
// "org1" and "org1.sales", parents first (GET /api/v1/affiliations).
func (c *Client) Affiliations(ctx context.Context, by *certificate.KeyPair) ([]string, error) {
	if err := checkCaller(by); err != nil {
		return nil, err
	}
	var out affiliationAnswer
	err := c.call(ctx, request{method: http.MethodGet, path: "affiliations", out: &out, by: by})
	if errors.Is(err, ErrNotFound) {
		return nil, nil // "No affiliations are configured on the CA"
	}
	if err != nil {
		return nil, fmt.Errorf("unable to list the affiliations of %s: %w", c, err)
	}
	return out.names(), nil
}

// Affiliation lists an affiliation and those below it by their full names, parents first (GET
// /api/v1/affiliations/{name}). One that does not exist is ErrNotFound.
func (c *Client) Affiliation(ctx context.Context, by *certificate.KeyPair, name string) ([]string, error) {
	if err := errors.Join(checkCaller(by), ValidateAffiliation(name)); err != nil {
		return nil, err
	}
	var out affiliationAnswer
	err := c.call(ctx, request{method: http.MethodGet, path: "affiliations/" + url.PathEscape(name), out: &out, by: by})
	if err != nil {
		return nil, fmt.Errorf("unable to read the affiliation %s at %s: %w", name, c, err)
	}
	return out.names(), nil
}

// AddAffiliation adds an affiliation with the parents that it lacks (POST /api/v1/affiliations).
// One that exists is ErrAffiliationExists.
func (c *Client) AddAffiliation(ctx context.Context, by *certificate.KeyPair, name string) error {
	if err := errors.Join(checkCaller(by), ValidateAffiliation(name)); err != nil {
		return err
	}
	in := struct {
		Name   string `json:"name"`
		CAName string `json:"caname,omitempty"`
	}{name, c.caName}
	err := c.call(ctx, request{method: http.MethodPost, path: "affiliations", query: url.Values{"force": {"true"}}, in: in, by: by})
	if err != nil {
		return fmt.Errorf("unable to add the affiliation %s at %s: %w", name, c, err)
	}
	return nil
}

// RemoveAffiliation removes an affiliation (DELETE /api/v1/affiliations/{name}). One that has
// identities or affiliations below it is refused (ErrAuthorization) unless force is set; then they
// go too, and the identities' certificates are revoked.
func (c *Client) RemoveAffiliation(ctx context.Context, by *certificate.KeyPair, name string, force bool) error {
	if err := errors.Join(checkCaller(by), ValidateAffiliation(name)); err != nil {
		return err
	}
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	err := c.call(ctx, request{method: http.MethodDelete, path: "affiliations/" + url.PathEscape(name), query: query, by: by})
	if err != nil {
		return fmt.Errorf("unable to remove the affiliation %s at %s: %w", name, c, err)
	}
	return nil
}

// ValidateAffiliation says why the name cannot be that of an affiliation, or nil: parts of letters,
// digits, hyphens and underscores, joined by dots, for example "org1.sales".
func ValidateAffiliation(name string) error {
	for part := range strings.SplitSeq(name, ".") {
		odd := func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}
		if part == "" || len(part) > maxIDLength || strings.ContainsFunc(part, odd) {
			return fmt.Errorf("unable to use the affiliation %q: it must be parts of at most %d letters, digits, hyphens and underscores, joined by dots", name, maxIDLength)
		}
	}
	return nil
}
