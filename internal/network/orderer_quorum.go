package network

import (
	"fmt"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
)

// quorumOf is how many of n consenters must be at work for a channel to order. Source: etcd/raft, and
// Fabric's orderer/consensus/smartbft/util, ComputeBFTQuorum.
func quorumOf(n int, bft bool) int {
	if !bft {
		return n/2 + 1
	}
	faults := (n - 1) / 3
	return (n + faults + 2) / 2 // the ceiling of (n+f+1)/2
}

// LeastBFT is how many nodes SmartBFT needs for one of them to be allowed to fail.
const LeastBFT = 4

// FewNodesError tells that SmartBFT was asked for with so few nodes that none of them might fail.
type FewNodesError struct{ Nodes int }

func (e *FewNodesError) Error() string {
	return fmt.Sprintf("SmartBFT needs %d ordering nodes or more, and has %d: of n nodes f = (n-1)/3, rounded down, may fail or lie, which of %d are none", LeastBFT, e.Nodes, e.Nodes)
}

// QuorumError tells that a step would leave a channel without the consenters that it needs.
type QuorumError struct {
	// Step is what was to be done, for example "taking orderer1 down".
	Step string
	// Channel is the channel's name.
	Channel string
	// Consenters is how many the channel would have, Needed how many of them must be at work, Left the
	// names of those that would be, External how many others would be.
	Consenters, Needed int
	Left               []string
	External           int
	// Down are the nodes that do not serve now, each with the reason.
	Down []string
}

func (e *QuorumError) Error() string {
	if e.Consenters == 0 {
		return fmt.Sprintf("%s would leave channel %s without any consenter", e.Step, e.Channel)
	}
	left := len(e.Left) + e.External
	var b strings.Builder
	fmt.Fprintf(&b, "%s would leave channel %s without a quorum: of its %s %d would be at work", e.Step, e.Channel, counted(e.Consenters, "consenter"), left)
	if names := e.names(); names != "" {
		fmt.Fprintf(&b, " (%s)", names)
	}
	fmt.Fprintf(&b, ", and %d must be", e.Needed)
	if len(e.Down) > 0 {
		fmt.Fprintf(&b, "; not at work now: %s", strings.Join(e.Down, ", "))
	}
	return b.String()
}

func (e *QuorumError) names() string {
	names := strings.Join(e.Left, ", ")
	if e.External == 0 {
		return names
	}
	return strings.TrimPrefix(fmt.Sprintf("%s and %d of others", names, e.External), " and ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// strength is how many of a channel's consenters are at work.
type strength struct {
	consenters int
	bft        bool
	// at are the nodes of the cluster that are, external how many others are.
	at       []Handle
	external int
	// down are the consenters of the cluster that are not, with the reason.
	down []string
}

func (s strength) working() int { return len(s.at) + s.external }

// orders tells whether the channel can order now.
func (s strength) orders() bool { return s.working() >= quorumOf(s.consenters, s.bft) }

// requireIdle fails when all nodes are to be taken down at once although the channel orders, and would go
// on through a roll.
func (s strength) requireIdle(channel, taker, holder string, port int) error {
	needed := quorumOf(s.consenters, s.bft)
	if !s.orders() || s.consenters-1 < needed {
		return nil
	}
	return &QuorumError{
		Step:    fmt.Sprintf("handing host port %d on from %s to %s, for which all nodes are taken down at once,", port, holder, taker),
		Channel: channel, Consenters: s.consenters, Needed: needed, External: s.external,
	}
}

// strength counts the consenters of a channel that are at work. Of those that others run it is known
// only how many the leader hears; where no node tells that, they are taken to be at work.
func (c channelView) strength() strength {
	if c.summary == nil {
		return c.strengthOf(nil)
	}
	s := c.strengthOf(c.summary.Consenters)
	s.bft = c.bft()
	return s
}

// strengthOf counts on the consenters that the ledger lists; nil when they are not known.
func (c channelView) strengthOf(listed []configtx.ConsenterSummary) strength {
	s := strength{consenters: len(listed)}
	addresses := map[string]bool{}
	for _, entry := range listed {
		addresses[addressOf(entry.Consenter)] = true
	}
	ours, active := 0, 0
	for _, v := range c.nodes {
		active = max(active, v.active)
		switch {
		case v.serves():
			s.at = append(s.at, v.node)
		case addresses[v.address] || listed == nil && v.consents():
			s.down = append(s.down, v.node.Name+": "+v.ails())
		default:
			continue
		}
		ours++
	}
	if listed == nil {
		s.consenters = ours
	}
	if s.external = max(0, s.consenters-ours); active > 0 {
		s.external = min(s.external, max(0, active-len(s.at)))
	}
	return s
}

// without fails with *QuorumError when the channel could not order while a node is down, although it
// can now. With one or two consenters that cannot be helped.
func (c channelView) without(o Handle) error {
	s := c.strength()
	e := s.error(c.channel.Name, "taking "+o.Name+" down", s.consenters, o)
	helpless := e.Consenters-1 < e.Needed
	if len(e.Left)+e.External >= e.Needed || !s.orders() || helpless {
		return nil
	}
	return e
}

// bearsMore fails with *QuorumError when a channel cannot order now, or could not with one consenter
// more that does not come up. With the second one of two that cannot be helped, and is taken where the
// node is known to be ready.
func (c channelView) bearsMore(step string, ready bool) error {
	s := c.strength()
	e := s.error(c.channel.Name, step, s.consenters+1, Handle{})
	if err := s.requireOrder(c.channel.Name, step); err != nil {
		return err
	}
	if len(e.Left)+e.External >= e.Needed || ready && e.Consenters == 2 {
		return nil
	}
	return e
}

// bearsLess fails with *QuorumError when a channel cannot order now, or could not with one consenter
// less: the node o, or one of others.
func (c channelView) bearsLess(o Handle, step string) error {
	s := c.strength()
	e := s.error(c.channel.Name, step, s.consenters-1, o)
	if err := s.requireOrder(c.channel.Name, step); err != nil {
		return err
	}
	if e.Consenters > 0 && len(e.Left)+e.External >= e.Needed {
		return nil
	}
	return e
}

// error describes a step after which the channel has so many consenters, and o is not one of them.
func (s strength) error(channel, step string, consenters int, o Handle) *QuorumError {
	e := &QuorumError{Step: step, Channel: channel, Consenters: consenters, Needed: quorumOf(consenters, s.bft), External: s.external, Down: s.down}
	for _, h := range s.at {
		if h != o {
			e.Left = append(e.Left, h.Name)
		}
	}
	return e
}

// requireOrder fails when the channel cannot order, so that its members cannot be changed either.
func (s strength) requireOrder(channel, step string) error {
	if s.orders() {
		return nil
	}
	e := s.error(channel, step, s.consenters, Handle{})
	return &NoQuorumError{*e}
}

// NoQuorumError tells that a channel has too few consenters at work to order anything, a change of
// its members included.
type NoQuorumError struct{ QuorumError }

func (e *NoQuorumError) Error() string {
	text := fmt.Sprintf("%s is not possible: channel %s cannot order, for of its %s %d are at work", e.Step, e.Channel, counted(e.Consenters, "consenter"), len(e.Left)+e.External)
	if names := e.names(); names != "" {
		text += " (" + names + ")"
	}
	text += fmt.Sprintf(", and %d must be", e.Needed)
	if len(e.Down) > 0 {
		text += "; not at work now: " + strings.Join(e.Down, ", ")
	}
	return text
}
