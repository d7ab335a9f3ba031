package direct

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Phase is a part of the work that several strands may do at once.
type Phase struct {
	Name string
	// Begin and End are when the first one began and the last one ended, from the start of everything.
	Begin, End time.Duration
	// Times is how often it was done.
	Times int
}

// clock takes the times of phases.
type clock struct {
	start time.Time
	mu    sync.Mutex
	known map[string]*Phase
}

func newClock() *clock { return &clock{start: time.Now(), known: map[string]*Phase{}} }

func (c *clock) now() time.Duration { return time.Since(c.start) }

// phase times one doing of a phase.
func (c *clock) phase(name string, do func() error) error {
	begin := c.now()
	err := do()
	end := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.known[name]
	if p == nil {
		p = &Phase{Name: name, Begin: begin}
		c.known[name] = p
	}
	p.Begin, p.End, p.Times = min(p.Begin, begin), max(p.End, end), p.Times+1
	return err
}

func (c *clock) phases() []Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Phase
	for _, p := range c.known {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Phase) int { return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End)) })
	return out
}
