package network

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/endorser"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/signoff"
)

// Approvals are what people have to decide before a chaincode is released, and where that is recorded.
type Approvals struct {
	Proposal signoff.Proposal
	// Required is how many people have to approve, beside who proposed.
	Required int
	Given    map[string]signoff.Approval
	Audit    Audit
}

// Audit is a chaincode that keeps the records of releases.
type Audit struct {
	Chaincode Handle
	// Identity writes and reads the records: an identity, or an organization, whose admin it then is.
	Identity Handle
	// Put and Get are the chaincode's functions: Put takes a key and a value, Get a key, and gives the value.
	Put, Get string
}

// releaseOf says what is released of a chaincode.
func releaseOf(spec ChaincodeSpec, sequence int64, packageID, imageID string) (signoff.Release, error) {
	r := signoff.Release{
		Channel: spec.Channel.Name, Chaincode: spec.Name, Version: spec.Version, Sequence: sequence,
		PackageID: packageID, ImageID: imageID, InitRequired: spec.InitRequired,
	}
	endorsement, err := policy.UnmarshalApplicationPolicy(spec.ValidationParameter)
	if err != nil {
		return r, err
	}
	if !SamePolicy(spec.ValidationParameter, nil) {
		r.EndorsementPolicy = endorsement.String()
	}
	for _, c := range Collections(canonicalCollections(spec.Collections)) {
		words, err := json.Marshal(c)
		if err != nil {
			return r, err
		}
		r.Collections = append(r.Collections, string(words))
	}
	return r, nil
}

// ProposeRelease has somebody propose to release a chaincode as the next sequence of the channel, with the
// image as the engine has it, and gives the text to be handed to those who approve.
func (f *Fabric) ProposeRelease(ctx context.Context, spec ChaincodeSpec, packageID string, proposer Handle, expires time.Time) (string, error) {
	image, err := f.serverImage(ctx, spec)
	if err != nil {
		return "", err
	}
	sequence, err := f.nextSequence(ctx, ChaincodeHandle(spec.Channel, spec.Name))
	if err != nil {
		return "", err
	}
	r, err := releaseOf(spec, sequence, packageID, image.ID)
	if err != nil {
		return "", err
	}
	by, err := f.identity(ctx, proposer)
	if err != nil {
		return "", err
	}
	return signoff.Propose(r, by, expires)
}

// nextSequence gives the sequence that a new definition of a chaincode would have. Peers that have just
// joined a channel are waited for.
func (f *Fabric) nextSequence(ctx context.Context, chaincode Handle) (sequence int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error {
		state, err := f.ReadChaincode(ctx, chaincode)
		if err != nil && !errors.As(err, new(*UnansweredError)) {
			return permanent(err)
		}
		sequence = 1
		if state.Committed != nil {
			sequence = state.Committed.Sequence + 1
		}
		return err
	})
	return sequence, err
}

// ApproveRelease has somebody approve a release, and gives the text to be handed back.
func (f *Fabric) ApproveRelease(ctx context.Context, p signoff.Proposal, approver Handle) (string, error) {
	by, err := f.identity(ctx, approver)
	if err != nil {
		return "", err
	}
	return p.Approve(by, time.Now())
}

// OtherReleaseError tells that a proposal is one of another release than the one that is to be made.
type OtherReleaseError struct{ Differences []string }

func (e *OtherReleaseError) Error() string {
	return "the proposal is one of another release: " + strings.Join(e.Differences, "; ")
}

// RequireProposed fails with *OtherReleaseError when the proposal is not one of this release.
func (a *Approvals) RequireProposed(wanted signoff.Release) error {
	if differs := wanted.Differences(a.Proposal.Release); len(differs) > 0 {
		return &OtherReleaseError{Differences: differs}
	}
	return nil
}

// RequireProposedDefinition is RequireProposed as long as neither the sequence nor the image is known.
func (a *Approvals) RequireProposedDefinition(spec ChaincodeSpec, packageID string) error {
	wanted, err := releaseOf(spec, a.Proposal.Sequence, packageID, a.Proposal.ImageID)
	if err != nil {
		return err
	}
	return a.RequireProposed(wanted)
}

// authorize fails unless people approved the release, and its record is on the ledger of the audit
// chaincode. Nothing of the release has been done before.
func (f *Fabric) authorize(ctx context.Context, spec ChaincodeSpec, record channelRecord, definition lifecycle.Definition, packageID, imageID string) error {
	a := spec.Approvals
	if a == nil {
		return nil
	}
	wanted, err := releaseOf(spec, definition.Sequence, packageID, imageID)
	if err != nil {
		return err
	}
	if err := errors.Join(a.RequireProposed(wanted), a.Proposal.RefuseExpired(time.Now())); err != nil {
		return err
	}
	orderers, err := f.channelOrderers(ctx, record)
	if err != nil {
		return err
	}
	config, err := f.currentConfig(ctx, spec.Channel, orderers)
	if err != nil {
		return err
	}
	now := time.Now()
	approvers, err := a.Proposal.Approvers(a.Required, a.Given, func(mspID string, cert *x509.Certificate) error {
		return config.VerifyPerson(mspID, cert, now)
	})
	if err != nil {
		return err
	}
	content, err := a.Proposal.Record(a.Given, approvers, now)
	if err != nil {
		return err
	}
	return f.recordRelease(ctx, a.Audit, a.Proposal.RecordKey(), content)
}

// RecordError tells that the record of a release could not be written, or not be read back.
type RecordError struct {
	Chaincode Handle
	Key       string
	Cause     error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("the record %s of the release is not kept by chaincode %s: %v", e.Key, e.Chaincode.Name, e.Cause)
}

func (e *RecordError) Unwrap() error { return e.Cause }

// recordTime is how long a record that is committed may take to be read.
const recordTime = 30 * time.Second

// errOtherRecord: the audit chaincode keeps something else than it was given.
var errOtherRecord = errors.New("it gives another content than was written")

// recordRelease writes the record of a release, and reads it back.
func (f *Fabric) recordRelease(ctx context.Context, audit Audit, key string, content []byte) error {
	call := Call{Chaincode: audit.Chaincode, Identity: audit.Identity, Function: audit.Put, Arguments: []string{key, string(content)}}
	if _, err := f.SubmitTransaction(ctx, call); err != nil {
		return &RecordError{audit.Chaincode, key, err}
	}
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	err := poll(ctx, func(ctx context.Context) error {
		kept, err := f.releaseRecord(ctx, audit, key)
		if err == nil && !bytes.Equal(kept, content) {
			return errOtherRecord // another peer may be behind
		}
		return err
	})
	if err != nil {
		return &RecordError{audit.Chaincode, key, err}
	}
	return nil
}

// releaseRecord reads the record of a release; a chaincode that has none may refuse.
func (f *Fabric) releaseRecord(ctx context.Context, audit Audit, key string) ([]byte, error) {
	return f.Query(ctx, Call{Chaincode: audit.Chaincode, Identity: audit.Identity, Function: audit.Get, Arguments: []string{key}})
}

// released tells whether the definition in force was released with the image: it is approved with this package,
// and the image is the one that the servers are known to run; or the proposal is that of this very release,
// which is on record. Only a chaincode that people have to approve is asked for that: a definition does not
// name an image, and who approves after the fact has released nothing before.
func (f *Fabric) released(ctx context.Context, spec ChaincodeSpec, inForce lifecycle.Definition, approved bool, packageID string, image engine.Image) (bool, error) {
	a := spec.Approvals
	if a == nil || approved && spec.Server.ImageID == image.ID {
		return true, nil
	}
	wanted, err := releaseOf(spec, inForce.Sequence, packageID, image.ID)
	if err != nil {
		return false, err
	}
	if len(wanted.Differences(a.Proposal.Release)) > 0 {
		return false, nil
	}
	kept, err := f.releaseRecord(ctx, a.Audit, a.Proposal.RecordKey())
	if refused := new(endorser.RefusedError); errors.As(err, &refused) && refused.Answered {
		return false, nil // it has no such record
	}
	if err != nil {
		return false, &RecordError{a.Audit.Chaincode, a.Proposal.RecordKey(), err}
	}
	var record signoff.Record
	return json.Unmarshal(kept, &record) == nil && record.Digest == a.Proposal.Digest, nil
}
