package lifecycle

import (
	"errors"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/retry"
)

// What a caller decides on; test with errors.Is. Each was established by reading lists and
// definitions, never from the text of a refusal.
var (
	// ErrNotInstalled says that the peer has no package of this ID.
	ErrNotInstalled = errors.New("the chaincode package is not installed on the peer")
	// ErrNotApproved says that the organization has approved no definition of this name and sequence.
	ErrNotApproved = errors.New("the organization has not approved the chaincode definition")
	// ErrNotCommitted says that the channel has no chaincode of this name.
	ErrNotCommitted = errors.New("the chaincode is not committed on the channel")
)

// Class is what a failure of the lifecycle asks of the caller.
type Class string

// The classes of failure.
const (
	// ClassAlreadyDone is a change that the ledger holds exactly so: go on.
	ClassAlreadyDone Class = "already done"
	// ClassOutOfStep is a change made for another state of the ledger: read and plan again.
	ClassOutOfStep Class = "out of step"
	// ClassWaitForOthers is a commit that organizations have yet to approve, or whose approvals the
	// peer has yet to see: wait.
	ClassWaitForOthers Class = "wait for others"
	// ClassUserError is a request that is wrong in itself: correct it.
	ClassUserError Class = "user error"
	// ClassTransient is a failure that passes by itself: try again.
	ClassTransient Class = "transient"
	// ClassNodeFault is a peer that cannot do what peers do: look at its logs.
	ClassNodeFault Class = "node fault"
	// ClassPermanent is everything else.
	ClassPermanent Class = "permanent"
)

// Error is a failure with its class.
type Error struct {
	Class Class
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the failure.
func (e *Error) Unwrap() error { return e.Err }

// Transient tells whether the class is worth an unchanged repetition after a while.
func (e *Error) Transient() bool {
	return e.Class == ClassTransient || e.Class == ClassWaitForOthers
}

// ClassOf gives the class of a failure of this package, ClassPermanent for unknown ones and "" for
// nil.
func ClassOf(err error) Class {
	var classified *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &classified):
		return classified.Class
	case retry.Transient(err):
		return ClassTransient
	default:
		return ClassPermanent
	}
}
