package ca

import (
	"errors"
	"fmt"
	"net/http"
)

// The kinds of refusal that callers decide on, by errors.Is. They are told apart by Fabric CA's
// numeric codes and the HTTP status, never by text.
var (
	// ErrNotFound: there is no such identity, affiliation or certificate.
	ErrNotFound = errors.New("not found at the CA")
	// ErrCANotFound: the server has no CA of that name.
	ErrCANotFound = errors.New("the server has no such CA")
	// ErrAlreadyRegistered: an identity of that id exists.
	ErrAlreadyRegistered = errors.New("already registered at the CA")
	// ErrAffiliationExists: the affiliation exists.
	ErrAffiliationExists = errors.New("affiliation exists at the CA")
	// ErrAuthentication: the secret, the token or its certificate was refused. Fabric CA does not say
	// which: an unknown id, a wrong secret, a spent number of enrolments, a revoked or expired
	// certificate and a token of another CA all look alike. Only ErrPasswordAttempts is told apart.
	ErrAuthentication = errors.New("authentication refused by the CA")
	// ErrPasswordAttempts: the id is locked after too many wrong secrets, until its secret is modified.
	// It is an ErrAuthentication too.
	ErrPasswordAttempts = errors.New("locked at the CA after too many wrong secrets")
	// ErrAuthorization: the caller may not do this. Fabric CA does not say why; for Register it may
	// be an affiliation that does not exist, which Register finds out and reports as ErrNotFound.
	ErrAuthorization = errors.New("not allowed by the CA")
	// ErrAlreadyRevoked: the certificate had been revoked.
	ErrAlreadyRevoked = errors.New("already revoked at the CA")
)

// The codes of fabric-ca, lib/caerrors/servererror.go, that this package decides on.
const (
	codeUnknown              = 0
	codeNoAuthorization      = 2
	codeBadRequestBody       = 5
	codeRevokedCertNotFound  = 8
	codeRevokeIDNotFound     = 10
	codeGettingAffiliation   = 16
	codeCANotFound           = 19
	codeAuthenticationFailed = 20
	codeAddAffiliation       = 60
	codeNotInDatabase        = 63
	codeAlreadyRevoked       = 66
	codeAuthorizationFailed  = 71
	codePasswordAttempts     = 73
	codeDuplicateIdentity    = 74
)

// Error is an answer by which a Fabric CA server refused a request.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is Fabric CA's own code (lib/caerrors); 0 when the server did not classify the failure.
	Code int
	// Message is the server's wording.
	Message string
}

func newError(status, code int, message string) *Error {
	if code == codeBadRequestBody {
		// The server repeats the body that it could not read, and bodies hold enrolment secrets.
		message = "Invalid request body"
	}
	return &Error{Status: status, Code: code, Message: message}
}

func (e *Error) Error() string {
	return fmt.Sprintf("Fabric CA refused it: %s (HTTP status %d, code %d)", e.Message, e.Status, e.Code)
}

// Is says whether the error is of one of the kinds above.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		switch e.Code {
		case codeNotInDatabase, codeRevokeIDNotFound, codeRevokedCertNotFound, codeGettingAffiliation:
			return e.Status == http.StatusNotFound
		}
		return false
	case ErrCANotFound:
		return e.Code == codeCANotFound
	case ErrAlreadyRegistered:
		return e.Code == codeDuplicateIdentity
	case ErrAffiliationExists:
		return e.Code == codeAddAffiliation && e.Status == http.StatusConflict
	case ErrAuthentication:
		return e.Code == codeAuthenticationFailed || e.Code == codeNoAuthorization || e.Code == codePasswordAttempts
	case ErrPasswordAttempts:
		return e.Code == codePasswordAttempts
	case ErrAuthorization:
		return e.Code == codeAuthorizationFailed
	case ErrAlreadyRevoked:
		return e.Code == codeAlreadyRevoked
	}
	return false
}
