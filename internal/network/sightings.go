package network

import (
	"sync"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
)

// sighting is what a look at the engine found before a node is made.
type sighting struct {
	image engine.Image
	// container is nil when there is none.
	container *engine.Node
	volume    bool
	// ports are the published ports, complete.
	ports []engine.Port
}

// sightings are what preflights found, until the node is made: what was asked a moment ago need not
// be asked again, and a name that was found free is taken for everybody else.
type sightings struct {
	mu   sync.Mutex
	seen map[string]sighting
	// made are the names of what this process has made.
	made map[string]bool
}

// mark remembers that this process makes something of that name, unmark that it took it away again.
func (s *sightings) mark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil {
		s.made = map[string]bool{}
	}
	s.made[name] = true
}

func (s *sightings) unmark(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.made, name)
}

func (s *sightings) marked(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[name]
}

// put remembers what was seen of an object; false when somebody else is about to make it.
func (s *sightings) put(object string, seen sighting) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.seen[object]; ok {
		return false
	}
	if s.seen == nil {
		s.seen = map[string]sighting{}
	}
	s.seen[object] = seen
	return true
}

// take gives what was seen, once.
func (s *sightings) take(object string) (sighting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.seen[object]
	delete(s.seen, object)
	return seen, ok
}
