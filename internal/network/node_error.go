package network

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
)

// nodeError adds the node's last log lines to an error, once.
func (f *Fabric) nodeError(ctx context.Context, h Handle, action string, cause error) error {
	if known := new(NodeError); errors.As(cause, &known) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	lines, err := f.engine.Logs(ctx, h.Object(), 400)
	if err != nil {
		lines = nil // the cause matters more than why there are no lines
	}
	return &NodeError{Action: action + " " + h.String(), Cause: cause, Logs: lastWords(lines)}
}

// wordLines is how many lines of a node's log an error carries.
const wordLines = 15

var (
	colour = regexp.MustCompile("\x1b\\[[0-9;]*m")
	// Fabric's levels from error on, and how Go programs and the commands of Fabric end.
	complaint = regexp.MustCompile(`\b(ERRO|CRIT|PANI|FATA)\b|^panic: |^fatal error: |^Error: |^\S+ \S+ \[(ERROR|FATAL|CRITICAL)\]`)
)

// lastWords chooses the lines of a log that tell why a node does not work: those around its last
// complaint, which a stack trace or the beginning of another attempt may follow, or else the last ones.
func lastWords(lines []string) []string {
	end := len(lines)
	plain := make([]string, 0, end)
	for i, line := range lines {
		plain = append(plain, strings.TrimRight(colour.ReplaceAllString(line, ""), " \r"))
		if complaint.MatchString(plain[i]) {
			end = min(i+3, len(lines))
		}
	}
	return plain[max(0, end-wordLines):end]
}
