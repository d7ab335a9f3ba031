package canary

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Step says how many servers are new ones at its end: a number, or a share of all that are to be replaced.
type Step struct {
	Servers, Percent int
}

var stepPattern = regexp.MustCompile(`^[1-9][0-9]{0,5}%?$`)

// ParseStep reads a number of servers, such as 2, or a share of them, such as 50%.
func ParseStep(text string) (Step, error) {
	if !stepPattern.MatchString(text) {
		return Step{}, fmt.Errorf("a step is a number of servers, such as 2, or a share of them, such as 50%%, and not %q", text)
	}
	digits, share := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return Step{}, err
	}
	if !share {
		return Step{Servers: n}, nil
	}
	if n > 100 {
		return Step{}, fmt.Errorf("there are no %s of the servers", text)
	}
	return Step{Percent: n}, nil
}

// of gives how many servers of a total it means: a share is rounded up.
func (s Step) of(total int) int {
	if s.Percent > 0 {
		return (total*s.Percent + 99) / 100
	}
	return min(s.Servers, total)
}

// Sizes gives how many of a total are new ones after each step. Steps that add none are left out.
func Sizes(steps []Step, total int) []int {
	var out []int
	last := 0
	for _, s := range steps {
		if n := s.of(total); n > last {
			out, last = append(out, n), n
		}
	}
	return out
}
