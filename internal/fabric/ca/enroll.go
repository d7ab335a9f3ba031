package ca

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// The signing profiles that every server of RenderServer has. See ProfileFor for further ones.
const (
	// ProfileEnrolment certifies members of an MSP.
	ProfileEnrolment = ""
	// ProfileTLS certifies TLS servers and clients.
	ProfileTLS = "tls"
	// ProfileCA certifies an intermediate CA; the caller needs the attribute hf.IntermediateCA.
	ProfileCA = "ca"
)

// AttributeRequest asks for one of the identity's attributes in the certificate. Without any
// request the certificate holds the attributes that were registered with ECert.
type AttributeRequest struct {
	Name string `json:"name"`
	// Optional says that the enrolment goes on when the identity does not have the attribute.
	Optional bool `json:"optional,omitempty"`
}

// EnrollRequest says what certificate is wanted. How long it lives is decided by the profile alone:
// Fabric CA overwrites any wish of the caller (lib/serverenroll.go, handleEnroll).
type EnrollRequest struct {
	// Profile is ProfileEnrolment, ProfileTLS, ProfileCA, or one of ProfileFor.
	Profile string
	// Hosts are DNS names and IP addresses that the certificate is for. They replace those of the
	// former certificate on a re-enrolment.
	Hosts []string
	// Attributes are asked for beside none other; empty: those registered with ECert.
	Attributes []AttributeRequest
	// Key is the key to certify, for a renewal with the same key; nil: a new one of KeyAlgorithm.
	Key          crypto.Signer
	KeyAlgorithm certificate.KeyAlgorithm
}

// Enrollment is an issued certificate with its key.
type Enrollment struct {
	*certificate.KeyPair
	// Info is that of the CA which issued it.
	Info Info
}

// Enroll gets a certificate for the registered id with its secret (POST /api/v1/enroll). It costs
// the server a bcrypt comparison of about 60 ms of one core.
func (c *Client) Enroll(ctx context.Context, id, secret string, r EnrollRequest) (*Enrollment, error) {
	if err := ValidateID(id); err != nil {
		return nil, err
	}
	out, err := c.enroll(ctx, r, request{path: "enroll", user: id, secret: secret}, id)
	if err != nil {
		return nil, fmt.Errorf("unable to enrol %s at %s: %w", id, c, err)
	}
	return out, nil
}

// Reenroll gets a further certificate for the identity that the pair proves (POST
// /api/v1/reenroll). The pair must be of this CA: another one of the same server refuses it. It
// needs no secret and costs the server a few milliseconds.
func (c *Client) Reenroll(ctx context.Context, by *certificate.KeyPair, r EnrollRequest) (*Enrollment, error) {
	if err := checkCaller(by); err != nil {
		return nil, err
	}
	id := by.Certificate.Subject.CommonName
	out, err := c.enroll(ctx, r, request{path: "reenroll", by: by}, id)
	if err != nil {
		return nil, fmt.Errorf("unable to re-enrol %s at %s: %w", id, c, err)
	}
	return out, nil
}

func (c *Client) enroll(ctx context.Context, r EnrollRequest, call request, id string) (*Enrollment, error) {
	key := r.Key
	if key == nil {
		var err error
		if key, err = certificate.GenerateKey(r.KeyAlgorithm); err != nil {
			return nil, err
		}
	}
	csr, err := certificate.SigningRequest(id, r.Hosts, key)
	if err != nil {
		return nil, err
	}
	in := struct {
		Request    string             `json:"certificate_request"`
		Profile    string             `json:"profile,omitempty"`
		Hosts      []string           `json:"hosts,omitempty"`
		Attributes []AttributeRequest `json:"attr_reqs,omitempty"`
		CAName     string             `json:"caname,omitempty"`
		// NotBefore is honoured, unlike NotAfter. Without it the certificate would claim to be valid
		// since its CA is, and its age could not be told.
		NotBefore time.Time
	}{string(csr), r.Profile, r.Hosts, r.Attributes, c.caName, time.Now().UTC().Add(-certificate.Backdate).Truncate(time.Second)}
	var answer struct {
		Cert       []byte
		ServerInfo infoAnswer
	}
	call.method, call.in, call.out = http.MethodPost, in, &answer
	if err := c.call(ctx, call); err != nil {
		return nil, err
	}
	cert, err := certificate.ParseOne(answer.Cert)
	if err != nil {
		return nil, err
	}
	if !certificate.KeyMatches(cert, key) {
		return nil, errors.New("the CA certified another key than the one that was sent")
	}
	return &Enrollment{
		KeyPair: &certificate.KeyPair{Certificate: cert, Key: key},
		Info:    *answer.ServerInfo.info(),
	}, nil
}

func checkCaller(by *certificate.KeyPair) error {
	if by == nil || by.Certificate == nil || by.Key == nil {
		return errors.New("unable to call a Fabric CA: the caller has no certificate or no key")
	}
	return nil
}
