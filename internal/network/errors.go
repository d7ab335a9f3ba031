package network

import (
	"errors"
	"fmt"
	"strings"
)

// What can be wrong beyond what the engine says, to be found with errors.Is.
var (
	// ErrLost: a volume that held a ledger, a CA or keys is gone.
	ErrLost = errors.New("its volume is gone, and what it held with it")
	// ErrOtherEngine: another engine answers at the address.
	ErrOtherEngine = errors.New("another engine answers at this address")
	// ErrNotFound: what was asked for exists nowhere.
	ErrNotFound = errors.New("not found")
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
