package nodeconfig

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// config is an effective configuration under examination, with what is known of
// where its values come from. Keys that the provider sets are absent from it
// when no node is given; a rule about an absent key is not applied.
type config struct {
	tree
	set      map[string]bool // paths of the keys that the overlay sets
	problems []Problem
}

func (c *config) refuse(path, next, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Next: next})
}

// blame is the first of the paths that the overlay sets, so that a problem is
// reported where it can be mended.
func (c *config) blame(paths ...string) string {
	for _, path := range paths {
		if c.set[path] {
			return path
		}
	}
	return paths[0]
}

// below refuses unless the first duration is shorter than the second, or, when
// equal is set, as long.
func (c *config) below(shorter, longer string, equal bool, why string) {
	a, okA := c.duration(shorter)
	b, okB := c.duration(longer)
	if !okA || !okB || a < b || equal && a == b {
		return
	}
	relation := "shorter than"
	if equal {
		relation = "at most"
	}
	c.refuse(c.blame(shorter, longer), "", "%s (%s) must be %s %s (%s): %s", shorter, a, relation, longer, b, why)
}

// metrics are the rules about where metrics go, which both files share.
func (c *config) metrics(section, provider, network, address, interval, prefix string) {
	providerKey := section + "." + provider
	statsd := section + ".statsd"
	if section == "Metrics" {
		statsd = section + ".Statsd"
	}
	value, ok := c.text(providerKey)
	if !ok {
		return
	}
	if value == "statsd" {
		if a, _ := c.text(statsd + "." + address); a == "" || !c.set[statsd+"."+address] {
			c.refuse(providerKey, "set "+statsd+"."+address, "%s is statsd, but the address of the statsd server is not set", providerKey)
		}
		return
	}
	for _, name := range []string{network, address, interval, prefix} {
		if path := statsd + "." + name; c.set[path] {
			c.refuse(path, "remove it, or set "+providerKey+" to statsd", "%s would have no effect: %s is %s", path, providerKey, value)
		}
	}
}

// listener is an address that a node listens on.
type listener struct {
	path    string // the key that holds it
	address string // HOST:PORT
}

// listeners refuses two listeners on one port. Two different literal addresses
// can share a port; a name, or an unspecified address, may be any address.
func (c *config) listeners(list []listener) {
	for i, b := range list {
		hostB, portB, ok := splitEndpoint(b.address)
		if !ok {
			continue
		}
		for _, a := range list[:i] {
			hostA, portA, ok := splitEndpoint(a.address)
			if ok && portA == portB && overlap(hostA, hostB) {
				c.refuse(c.blame(b.path, a.path), "choose another port",
					"%s (%s) and %s (%s) listen on the same port", a.path, a.address, b.path, b.address)
				break
			}
		}
	}
}

func overlap(a, b string) bool {
	ipA, ipB := net.ParseIP(a), net.ParseIP(b)
	if ipA == nil || ipB == nil || ipA.IsUnspecified() || ipB.IsUnspecified() {
		return true
	}
	return ipA.Equal(ipB)
}

// What follows checks what the provider itself hands in.

func (c *config) absolutePath(path, value string) {
	if !cleanAbsolute(value) {
		c.refuse(path, "", "%s must be an absolute path, given %q", path, value)
	}
}

func (c *config) absolutePaths(path string, values []string, wanted bool) {
	if wanted && len(values) == 0 {
		c.refuse(path, "", "%s must not be empty", path)
	}
	for i, value := range values {
		c.absolutePath(index(path, i), value)
	}
}

// endpoint wants a host as well: an orderer takes an empty one for 127.0.0.1.
func (c *config) endpoint(path, value string) {
	if host, _, ok := splitEndpoint(value); !ok || host == "" {
		c.refuse(path, "", "%s must be HOST:PORT, given %q", path, value)
	}
}

func (c *config) named(path, value string) {
	if value == "" {
		c.refuse(path, "", "%s must not be empty", path)
	}
}

// sortProblems puts problems in the order of their paths and drops repetitions.
func sortProblems(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(problems)
}
