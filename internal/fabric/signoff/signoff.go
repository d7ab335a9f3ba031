// Package signoff holds what people decide together before a chaincode is released: a proposal, which one
// of them makes and signs, and approvals, which others sign. All sign the same bytes, which say what is
// released, where, and until when.
//
// None of this is Fabric's own: peers know nothing of it. Whose certificates count is what the channel says.
package signoff

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// Person is who acts, whatever certificates he or she has.
type Person struct {
	MSPID        string `json:"msp_id"`
	EnrollmentID string `json:"enrollment_id"`
}

func (p Person) String() string { return p.EnrollmentID + " of " + p.MSPID }

// Release is what is decided on: a definition of a chaincode with its package and the image of its servers.
type Release struct {
	Channel   string `json:"channel"`
	Chaincode string `json:"chaincode"`
	Version   string `json:"version"`
	Sequence  int64  `json:"sequence"`
	PackageID string `json:"package_id"`
	// ImageID is the content of the servers' image, sha256:…; empty where there are no servers.
	ImageID string `json:"image_id"`
	// EndorsementPolicy is in canonical form; empty for the channel's default.
	EndorsementPolicy string `json:"endorsement_policy"`
	// Collections are the private data collections in the order of their names, each in words.
	Collections  []string  `json:"collections"`
	InitRequired bool      `json:"init_required"`
	Proposer     Person    `json:"proposer"`
	Expires      time.Time `json:"expires"`
}

// Differences says what of two releases differs, but for who proposed them and when they expire: the names
// of the members, with both values.
func (r Release) Differences(other Release) []string {
	var out []string
	differ := func(name string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			out = append(out, fmt.Sprintf("%s is %s and not %s", name, quoted(y), quoted(x)))
		}
	}
	differ("channel", r.Channel, other.Channel)
	differ("chaincode", r.Chaincode, other.Chaincode)
	differ("version", r.Version, other.Version)
	differ("sequence", r.Sequence, other.Sequence)
	differ("package_id", r.PackageID, other.PackageID)
	differ("image_id", r.ImageID, other.ImageID)
	differ("endorsement_policy", r.EndorsementPolicy, other.EndorsementPolicy)
	differ("collections", strings.Join(r.Collections, ", "), strings.Join(other.Collections, ", "))
	differ("init_required", r.InitRequired, other.InitRequired)
	return out
}

// Words says what is released, to be read before it is approved.
func (r Release) Words() []string {
	endorsement := "the channel's default endorsement policy"
	if r.EndorsementPolicy != "" {
		endorsement = "endorsement policy " + r.EndorsementPolicy
	}
	words := []string{
		fmt.Sprintf("chaincode %s %s on channel %s, as sequence %d", r.Chaincode, r.Version, r.Channel, r.Sequence),
		"package " + r.PackageID,
	}
	if r.ImageID != "" {
		words = append(words, "image "+r.ImageID)
	}
	words = append(words, endorsement)
	for _, c := range r.Collections {
		words = append(words, "collection "+c)
	}
	if r.InitRequired {
		words = append(words, "init required")
	}
	return append(words, "proposed by "+r.Proposer.String())
}

func quoted(text string) string {
	if text == "" {
		return "empty"
	}
	return text
}

// Signature is one by a member of an MSP.
type Signature struct {
	MSPID string `json:"msp_id"`
	// Certificate is one PEM block.
	Certificate string `json:"certificate"`
	Signature   []byte `json:"signature"`
}

// Proposal is a release that somebody proposed, as it is handed over.
type Proposal struct {
	Release
	// Digest is the SHA-256 of the signed bytes, in hexadecimal. Two releases never have the same one.
	Digest string

	raw       []byte
	signature Signature
}

// Approval is one by somebody else, as it is handed over.
type Approval struct {
	Digest string `json:"digest"`
	Signature
}

// What is signed begins with what it is signed as: neither is a proposal an approval, nor is any of
// them a message of Fabric's.
const (
	asProposal = "fabricops release proposal v1\n"
	asApproval = "fabricops release approval v1\n"
)

// handed is the text of a proposal.
type handed struct {
	Release   json.RawMessage `json:"release"`
	Signature Signature       `json:"signature"`
}

// Propose has somebody propose a release, and gives the text that is handed over. Who proposes and the
// expiry, to the second, become part of it.
func Propose(r Release, by *msp.Identity, expires time.Time) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("unable to propose the release of chaincode %s: %w", r.Chaincode, err)
	}
	cert, err := certificate.ParseOne(by.CertificatePEM)
	if err != nil {
		return fail(err)
	}
	if r.Proposer, err = personOf(by.ID, cert); err != nil {
		return fail(err)
	}
	r.Expires = expires.UTC().Truncate(time.Second)
	raw, err := json.Marshal(r)
	if err != nil {
		return fail(err)
	}
	signature, err := sign(asProposal, raw, by)
	if err != nil {
		return fail(err)
	}
	text, err := json.Marshal(handed{Release: raw, Signature: signature})
	if err != nil {
		return fail(err)
	}
	return string(text), nil
}

// Parse reads a proposal, and verifies that who it names proposed it.
func Parse(text string) (Proposal, error) {
	p, err := parse(text)
	if err != nil {
		return Proposal{}, fmt.Errorf("unable to read the proposal of a release: %w", err)
	}
	return p, nil
}

func parse(text string) (Proposal, error) {
	var h handed
	if err := decode(text, &h); err != nil {
		return Proposal{}, err
	}
	p := Proposal{raw: h.Release, signature: h.Signature}
	if err := decode(string(h.Release), &p.Release); err != nil {
		return Proposal{}, err
	}
	// One release has one form: nobody can sign something that reads in two ways.
	if again, err := json.Marshal(p.Release); err != nil || !bytes.Equal(again, h.Release) {
		return Proposal{}, errors.New("its release is not in the form in which it was proposed: hand on the text as it is")
	}
	sum := sha256.Sum256(p.raw)
	p.Digest = hex.EncodeToString(sum[:])
	by, _, err := h.Signature.verify(asProposal, p.raw)
	if err != nil {
		return Proposal{}, err
	}
	if by != p.Proposer {
		return Proposal{}, fmt.Errorf("it names %s as who proposed it, and %s signed it", p.Proposer, by)
	}
	return p, nil
}

// decode reads JSON and nothing besides: what nobody reads, nobody should sign.
func decode(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

// ExpiredError tells that a proposal is no longer to be approved or released.
type ExpiredError struct{ At time.Time }

func (e *ExpiredError) Error() string {
	return "the proposal of the release expired at " + e.At.UTC().Format(time.RFC3339)
}

// RefuseExpired fails with *ExpiredError for a proposal that has expired at the instant.
func (p Proposal) RefuseExpired(at time.Time) error {
	if at.After(p.Expires) {
		return &ExpiredError{At: p.Expires}
	}
	return nil
}

// OwnError tells that who proposed a release is to approve it too.
type OwnError struct{ Person }

func (e *OwnError) Error() string {
	return fmt.Sprintf("%s proposed the release, and somebody else has to approve it", e.Person)
}

// Approve has somebody approve the release, and gives the text that is handed back.
func (p Proposal) Approve(by *msp.Identity, at time.Time) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("unable to approve the release of chaincode %s: %w", p.Chaincode, err)
	}
	if err := p.RefuseExpired(at); err != nil {
		return fail(err)
	}
	cert, err := certificate.ParseOne(by.CertificatePEM)
	if err != nil {
		return fail(err)
	}
	person, err := personOf(by.ID, cert)
	if err != nil {
		return fail(err)
	}
	if person == p.Proposer {
		return fail(&OwnError{person})
	}
	signature, err := sign(asApproval, p.raw, by)
	if err != nil {
		return fail(err)
	}
	text, err := json.Marshal(Approval{Digest: p.Digest, Signature: signature})
	if err != nil {
		return fail(err)
	}
	return string(text), nil
}

// ParseApproval reads an approval. Proposal.Verify tells whether it counts.
func ParseApproval(text string) (Approval, error) {
	var a Approval
	if err := decode(text, &a); err != nil {
		return Approval{}, fmt.Errorf("unable to read the approval of a release: %w", err)
	}
	if _, err := certificate.ParseOne([]byte(a.Certificate)); err != nil {
		return Approval{}, fmt.Errorf("unable to read the approval of a release: %w", err)
	}
	return a, nil
}

// ApprovalError tells which of several approvals does not count.
type ApprovalError struct {
	Name  string
	Cause error
}

func (e *ApprovalError) Error() string { return fmt.Sprintf("the approval %s: %v", e.Name, e.Cause) }
func (e *ApprovalError) Unwrap() error { return e.Cause }

// ProposerError tells that who proposed a release does not count.
type ProposerError struct{ Cause error }

func (e *ProposerError) Error() string { return fmt.Sprintf("who proposed the release: %v", e.Cause) }
func (e *ProposerError) Unwrap() error { return e.Cause }

// ErrOtherRelease says that an approval is one of another release, or was changed on its way.
var ErrOtherRelease = errors.New("it is not an approval of this release")

// TooFewError tells that fewer people approved than are required.
type TooFewError struct {
	Required int
	Approved []Person
}

func (e *TooFewError) Error() string {
	who := "nobody did"
	if len(e.Approved) > 0 {
		var names []string
		for _, p := range e.Approved {
			names = append(names, p.String())
		}
		who = fmt.Sprintf("%d did: %s (a person with several certificates counts once)", len(names), strings.Join(names, ", "))
	}
	wanted := fmt.Sprintf("%d people have", e.Required)
	if e.Required == 1 {
		wanted = "1 person has"
	}
	return fmt.Sprintf("%s to approve the release, and %s", wanted, who)
}

// Approvers gives the people who approved the release, each once, in the order of their names. It
// fails with *ApprovalError for each approval that does not count, and with *TooFewError. Whose certificate
// counts is for member to say, of the proposer's too; without it none is looked at.
func (p Proposal) Approvers(required int, given map[string]Approval, member func(mspID string, cert *x509.Certificate) error) ([]Person, error) {
	if member == nil {
		member = func(string, *x509.Certificate) error { return nil }
	}
	var failed []error
	if _, cert, err := p.signature.verify(asProposal, p.raw); err != nil {
		failed = append(failed, err)
	} else if err := member(p.signature.MSPID, cert); err != nil {
		failed = append(failed, &ProposerError{err})
	}
	people := map[Person]bool{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		person, err := p.approver(given[name], member)
		if err != nil {
			failed = append(failed, &ApprovalError{Name: name, Cause: err})
			continue
		}
		people[person] = true
	}
	approved := slices.SortedStableFunc(maps.Keys(people), func(a, b Person) int { return strings.Compare(a.String(), b.String()) })
	if len(failed) == 0 && len(approved) < required {
		failed = append(failed, &TooFewError{Required: required, Approved: approved})
	}
	return approved, errors.Join(failed...)
}

func (p Proposal) approver(a Approval, member func(string, *x509.Certificate) error) (Person, error) {
	if a.Digest != p.Digest {
		return Person{}, fmt.Errorf("%w: it is one of the release with the digest %s, and this is %s", ErrOtherRelease, a.Digest, p.Digest)
	}
	person, cert, err := a.verify(asApproval, p.raw)
	if err != nil {
		return Person{}, err
	}
	if person == p.Proposer {
		return Person{}, &OwnError{person}
	}
	return person, member(a.MSPID, cert)
}

func sign(as string, raw []byte, by *msp.Identity) (Signature, error) {
	signature, err := by.Sign(append([]byte(as), raw...))
	return Signature{MSPID: by.ID, Certificate: string(by.CertificatePEM), Signature: signature}, err
}

// verify gives who signed, if the signature is that of its certificate's key.
func (s Signature) verify(as string, raw []byte) (Person, *x509.Certificate, error) {
	cert, err := certificate.ParseOne([]byte(s.Certificate))
	if err != nil {
		return Person{}, nil, err
	}
	person, err := personOf(s.MSPID, cert)
	if err != nil {
		return Person{}, nil, err
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return Person{}, nil, fmt.Errorf("the key of %s is %T, and not an ECDSA key", person, cert.PublicKey)
	}
	if sum := sha256.Sum256(append([]byte(as), raw...)); !ecdsa.VerifyASN1(key, sum[:], s.Signature) {
		return Person{}, nil, fmt.Errorf("%w: the signature is not one of %s", ErrOtherRelease, person)
	}
	return person, cert, nil
}

// personOf gives whose certificate it is: by the enrolment ID that Fabric CA writes into it, or else by
// its common name.
func personOf(mspID string, cert *x509.Certificate) (Person, error) {
	facts, err := certificate.FactsOf(cert)
	if err != nil {
		return Person{}, err
	}
	p := Person{MSPID: mspID, EnrollmentID: facts.Attributes["hf.EnrollmentID"]}
	if p.EnrollmentID == "" {
		p.EnrollmentID = facts.CommonName
	}
	if p.MSPID == "" || p.EnrollmentID == "" {
		return Person{}, errors.New("the certificate, or its MSP, has no name")
	}
	return p, nil
}

// Record is what remains of a release: who decided what, and when. It holds the signatures, so that anybody
// who has the certificates of the channel can verify it.
type Record struct {
	Digest    string          `json:"digest"`
	Release   json.RawMessage `json:"release"`
	Proposal  Signature       `json:"proposal"`
	Approvals []Approval      `json:"approvals"`
	Approvers []Person        `json:"approvers"`
	At        time.Time       `json:"at"`
}

// Record gives the record of the release.
func (p Proposal) Record(approvals map[string]Approval, approvers []Person, at time.Time) ([]byte, error) {
	r := Record{Digest: p.Digest, Release: p.raw, Proposal: p.signature, Approvers: approvers, At: at.UTC().Truncate(time.Second)}
	for _, name := range slices.Sorted(maps.Keys(approvals)) {
		r.Approvals = append(r.Approvals, approvals[name])
	}
	return json.Marshal(r)
}

// RecordKey is under which the record of the release is kept.
func (p Proposal) RecordKey() string {
	return fmt.Sprintf("release/%s/%s/%d/%s", p.Channel, p.Chaincode, p.Sequence, p.Digest)
}
