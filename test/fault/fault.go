//go:build linux

// Package fault stands between a provider and a Docker engine, and between the provider and the nodes
// on that engine, and has one call of its choice go wrong.
//
// The provider is told the proxy's socket as docker_host (or DOCKER_HOST). Calls of the Engine API pass
// as they are, streams and upgraded connections too, and are counted. Nodes are reached through ports
// that the engine publishes on the loopback address, and the provider learns of them by inspecting
// containers: there the proxy names another loopback address, of its own, with the same port, and
// forwards what comes to it. It never sees what TLS hides; what it counts there are connections, and
// writes to a node.
//
// A process that is to die or to be interrupted is the one that made the call: the kernel tells who it
// is, and its parent is Terraform.
package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Side is whom the provider speaks with.
type Side string

// The sides. Engine are the calls that change something, Reading those that only read.
const (
	Engine        Side = "engine"
	Reading       Side = "engine, reading"
	CA            Side = "CA"
	Participation Side = "participation"
	Orderer       Side = "orderer"
	Peer          Side = "peer"
	Operations    Side = "operations"
)

// Sides are all of them.
var Sides = []Side{Engine, Reading, CA, Participation, Orderer, Peer, Operations}

// sideOf tells by the container's port what a node speaks there: broadcast and deliver are at an
// orderer's, endorsement, lifecycle and gateway at a peer's.
func sideOf(port string) Side {
	switch port {
	case "7054/tcp":
		return CA
	case "7053/tcp":
		return Participation
	case "7050/tcp":
		return Orderer
	case "7051/tcp":
		return Peer
	}
	return Operations
}

// Kind is how a call goes wrong.
type Kind string

// The kinds. At the engine a call is a request; at a node it is a write, and for Refuse a connection.
const (
	// DropRequest breaks the connection, and the other side never gets the call.
	DropRequest Kind = "drop the request"
	// DropReply breaks the connection when the other side has done its work.
	DropReply Kind = "drop the reply"
	// Delay lets the call pass a while later.
	Delay Kind = "delay"
	// Refuse answers 500 in the engine's place, and breaks a new connection to a node at once.
	Refuse Kind = "refuse"
	// CutReply breaks the connection in the middle of the reply.
	CutReply Kind = "cut the reply"
	// CutUpload breaks the connection in the middle of what is sent: of an archive, of a write to a node.
	CutUpload Kind = "cut the upload"
	// Silence is a side that accepts, and neither answers nor hangs up.
	Silence Kind = "silence"
	// Hang is one call that is never answered, while others are.
	Hang Kind = "hang"
	// KillBefore and KillAfter kill the caller before the call is made, or when the work is done.
	KillBefore Kind = "kill before"
	KillAfter  Kind = "kill after"
	// Interrupt is Ctrl-C for Terraform, while the call is made.
	Interrupt Kind = "interrupt"
)

// Kinds are those that a side knows; those that not every call of it knows come last.
func Kinds(side Side) []Kind {
	switch side {
	case Engine:
		return []Kind{DropRequest, DropReply, Delay, Refuse, Silence, Hang, KillBefore, KillAfter, Interrupt, CutReply, CutUpload}
	case Reading:
		return []Kind{DropRequest, DropReply, Delay, Refuse, CutReply, Silence, Hang, KillBefore, Interrupt}
	}
	return []Kind{DropRequest, DropReply, Delay, Refuse, CutUpload, Silence, Hang, KillBefore, Interrupt}
}

// Fault is what goes wrong: the call of that number, from 1, among those of its side to which the kind
// applies. The zero Fault is none.
type Fault struct {
	Side Side
	Kind Kind
	Call int
	// For is how long a delay, a silence or a hang lasts; the latter two of zero until the next Arm.
	For time.Duration
}

func (f Fault) String() string {
	return fmt.Sprintf("%s, call %d: %s", f.Side, f.Call, f.Kind)
}

// family is what is counted together: calls to which the same kinds apply.
type family struct {
	side Side
	kind Kind
}

// familyOf gives the family by which a fault's calls are counted. Its kind is empty where every call of
// the side counts.
func familyOf(side Side, kind Kind) family {
	switch {
	case side == Engine && (kind == CutUpload || kind == CutReply):
		return family{side, kind} // archives, and calls whose reply has a body
	case side != Engine && side != Reading && kind == Refuse:
		return family{side, kind} // connections
	}
	return family{side: side}
}

// Report is what passed since the proxy was armed.
type Report struct {
	counts map[family]int
	// Struck is the call that went wrong; empty when none was reached.
	Struck string
	// At is when it did.
	At time.Time
}

// Calls is how many calls there were to which a kind applies.
func (r Report) Calls(side Side, kind Kind) int { return r.counts[familyOf(side, kind)] }

// String tells how many calls each side had.
func (r Report) String() string {
	var words []string
	for _, side := range Sides {
		words = append(words, fmt.Sprintf("%s %d", side, r.Calls(side, DropRequest)))
	}
	return strings.Join(words, ", ")
}

// parent gives the parent of a process.
func parent(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field, in brackets, may hold anything; state and parent come after it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0, fmt.Errorf("unable to read the parent of process %d", pid)
	}
	return strconv.Atoi(fields[1])
}

// end kills the caller.
func end(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// interrupt interrupts the caller's parent.
func interrupt(pid int) error {
	above, err := parent(pid)
	if err != nil {
		return err
	}
	if above <= 1 {
		return fmt.Errorf("process %d has no parent to interrupt", pid)
	}
	return syscall.Kill(above, syscall.SIGINT)
}
