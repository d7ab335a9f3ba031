package nodeconfig

import (
	"fmt"
	"strings"
)

// Problem is one reason why a configuration is refused.
type Problem struct {
	// Path is the key in Fabric's own spelling, for example
	// "peer.gossip.useLeaderElection"; for an unknown key, as it was given.
	// Elements of a list have their index: "chaincode.externalBuilders[0].path".
	Path string
	// Message says what is wrong, and names the key.
	Message string
	// Next says what to do about it.
	Next string
}

// String is the message and what to do, on one line.
func (p Problem) String() string {
	if p.Next == "" {
		return p.Message
	}
	return p.Message + "; " + p.Next
}

// InvalidError is why a file was not rendered.
type InvalidError struct {
	Kind     Kind
	Problems []Problem // never empty
}

// Error lists every problem.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return fmt.Sprintf("unable to render %s: %s", e.Kind.File(), strings.Join(lines, "\n"))
}
