package gateway

import (
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Detail is what one node contributed to a failure.
type Detail struct {
	// Address is the node as the gateway peer reaches it, MSPID its organization.
	Address, MSPID string
	// Message is the reason that the node gave.
	Message string
}

// Error is a failure that a gateway peer answered with, or a call that did not reach it.
type Error struct {
	// Code is the gRPC code: UNAVAILABLE when peers or ordering nodes cannot be reached, ABORTED when
	// they refused, FAILED_PRECONDITION when the peer knows none that could do it.
	Code codes.Code
	// Message is the peer's own sentence.
	Message string
	// Details are the reasons of the nodes that it asked; ordering nodes that answered without
	// success are not among them.
	Details []Detail
}

func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s", e.Code, e.Message)
	for i, detail := range e.Details {
		if i == 0 {
			text.WriteString(" (")
		} else {
			text.WriteString("; ")
		}
		fmt.Fprintf(&text, "%s of %s: %s", detail.Address, detail.MSPID, detail.Message)
	}
	if len(e.Details) > 0 {
		text.WriteString(")")
	}
	return text.String()
}

// GRPCStatus gives code and message as a gRPC status.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// explain makes an *Error of a gRPC status error. Other errors, among them an untrusted certificate,
// speak for themselves.
func explain(err error) error {
	from, isStatus := err.(interface{ GRPCStatus() *status.Status })
	if !isStatus {
		return err
	}
	if _, decided := err.(interface{ Transient() bool }); decided {
		return err
	}
	answer := from.GRPCStatus()
	explained := &Error{Code: answer.Code(), Message: answer.Message()}
	for _, detail := range answer.Details() {
		if known, ok := detail.(*gateway.ErrorDetail); ok {
			explained.Details = append(explained.Details, Detail{Address: known.GetAddress(), MSPID: known.GetMspId(), Message: known.GetMessage()})
		}
	}
	return explained
}

// InvalidError is a transaction that is in a block and changed nothing, because the peers found it
// invalid.
type InvalidError struct {
	Channel, TxID string
	// Block is the number of the block that holds it.
	Block uint64
	// Code is the reason, for example MVCC_READ_CONFLICT or ENDORSEMENT_POLICY_FAILURE.
	Code peer.TxValidationCode
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("transaction %s of channel %s is invalid: %s, in block %d", e.TxID, e.Channel, e.Code, e.Block)
}

// Conflict tells whether the transaction only lost a race: what it read was changed before it was
// committed. Made anew, it may succeed.
func (e *InvalidError) Conflict() bool {
	return e.Code == peer.TxValidationCode_MVCC_READ_CONFLICT || e.Code == peer.TxValidationCode_PHANTOM_READ_CONFLICT
}

// Transient is false: this very transaction stays invalid.
func (e *InvalidError) Transient() bool { return false }
