package network

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// What can be wrong beyond what the engine says, to be found with errors.Is.
var (
	// ErrLost: a volume that held a ledger, a CA or keys is gone.
	ErrLost = errors.New("its volume is gone, and what it held with it")
	// ErrOtherEngine: another engine answers at the address.
	ErrOtherEngine = errors.New("another engine answers at this address")
	// ErrNotFound: what was asked for exists nowhere.
	ErrNotFound = errors.New("not found")
	// ErrExists: what was to be made is there already.
	ErrExists = errors.New("exists already")
)

// NodeError is a failure of work on a node, with what a person needs to go on.
type NodeError struct {
	// Action is what was being done, for example "start peer peer0.org1".
	Action string
	Cause  error
	// Logs are the last lines of the node.
	Logs []string
	// Next says what to do; empty when the cause says it.
	Next string
}

func (e *NodeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "unable to %s: %v", e.Action, e.Cause)
	if len(e.Logs) > 0 {
		fmt.Fprintf(&b, "\nlast log lines:\n  %s", strings.Join(e.Logs, "\n  "))
	}
	if e.Next != "" {
		fmt.Fprintf(&b, "\nnext: %s", e.Next)
	}
	return b.String()
}

func (e *NodeError) Unwrap() error { return e.Cause }

// LostError tells what was lost. It is ErrLost.
type LostError struct {
	Thing  Handle
	Volume string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("volume %s of %s is gone, and what it held with it", e.Volume, e.Thing)
}

// Is makes a LostError be ErrLost.
func (e *LostError) Is(target error) bool { return target == ErrLost }

// ExistsError names what is there already, with our owner's label. It is ErrExists.
type ExistsError struct {
	Thing Handle
	// Cluster is the ordering cluster that the node there belongs to; empty for everything else.
	Cluster string
}

// Resource is what is imported to go on with what is there: of an ordering node its cluster.
func (e *ExistsError) Resource() Handle {
	if e.Cluster != "" {
		return e.Thing.With(KindOrdererCluster, e.Cluster, e.Thing.MSPID)
	}
	return e.Thing
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("container %s, with owner_id %s, exists already", e.Thing.Object(), e.Thing.Owner)
}

// Is makes an ExistsError be ErrExists.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// TakenError tells that another thing of the same network has a name on the engine. It is
// engine.ErrForeign.
type TakenError struct {
	// Kind is volume or container, Name the engine's name of it.
	Kind, Name string
	// By is what it carries.
	By Handle
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("a %s named %q exists that carries %s of this network", e.Kind, e.Name, e.By)
}

// Is makes a TakenError be engine.ErrForeign.
func (e *TakenError) Is(target error) bool { return target == engine.ErrForeign }

// RegisteredError tells that a name is registered at a CA for something else. It is engine.ErrForeign.
type RegisteredError struct {
	// ID is the enrolment ID, For what it was registered; empty when not by this provider.
	ID, For string
	CA      Handle
}

func (e *RegisteredError) Error() string {
	if e.For == "" {
		return fmt.Sprintf("%s is registered at %s already, and not by this provider", e.ID, e.CA)
	}
	return fmt.Sprintf("%s is registered at %s already, for its %s", e.ID, e.CA, e.For)
}

// Is makes a RegisteredError be engine.ErrForeign.
func (e *RegisteredError) Is(target error) bool { return target == engine.ErrForeign }

// RevokedError tells that an identity was revoked as a whole: it cannot enrol again. It is ErrRevoked.
type RevokedError struct {
	ID string
	CA Handle
}

func (e *RevokedError) Error() string {
	return fmt.Sprintf("%s was revoked at %s, and cannot enrol again", e.ID, e.CA)
}

// Is makes a RevokedError be ErrRevoked.
func (e *RevokedError) Is(target error) bool { return target == ErrRevoked }

// ErrRevoked: an identity was revoked.
var ErrRevoked = errors.New("the identity was revoked")

// ErrNoValidity: a CA issues no certificates of that lifetime.
var ErrNoValidity = errors.New("the CA does not issue certificates of this validity")

// ValidityError tells which lifetimes there are. It is ErrNoValidity.
type ValidityError struct {
	CA     Handle
	Wanted time.Duration
	// Known are the ones that the CA issues.
	Known []time.Duration
}

func (e *ValidityError) Error() string {
	known := make([]string, len(e.Known))
	for i, v := range e.Known {
		known[i] = DurationText(v)
	}
	return fmt.Sprintf("%s issues no certificates of %s, but of %s", e.CA, DurationText(e.Wanted), strings.Join(known, ", "))
}

// Is makes a ValidityError be ErrNoValidity.
func (e *ValidityError) Is(target error) bool { return target == ErrNoValidity }

// DurationText writes a duration as people do: 2s, not 2s000ms; 1m30s, not 90s; 8760h, not 8760h0m0s.
func DurationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
