package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// PlannedOrderer is a node of a cluster, as the state has it or as it is to be.
type PlannedOrderer struct {
	// Address is the one by which others reach it, MSPID its organization.
	Address, MSPID string
	// Status is the engine's word for it, or Lost; of the state only.
	Status engine.Status
	// Restart tells that it will be made anew, Rekeyed that it gets new keys then, Renewed that it has other
	// certificates; of the plan only.
	Restart, Rekeyed, Renewed bool
	// Ports are its host ports, as far as they are known.
	Ports []int
}

// Lost is the state of a node whose volume is gone, Unlisted that of an ordering node which runs and is
// no consenter of one of its cluster's channels.
const (
	Lost     engine.Status = "lost"
	Unlisted engine.Status = "unlisted"
)

// ClusterChange is a change of an ordering cluster, as far as state and configuration tell.
type ClusterChange struct {
	// Before are the nodes of the state, After those that are to be, by name.
	Before, After map[string]PlannedOrderer
	// Channels are what is known of the channels.
	Channels map[string]ClusterChannel
	// Ordering is what is to be.
	Ordering
	// External are nodes of others, by name.
	External map[string]PlannedExternal
	// Admins are the MSP IDs of the organizations whose admins sign here.
	Admins []string
}

// PlannedExternal is a node of others, as it is to be.
type PlannedExternal struct {
	Address, MSPID string
	// Consenter tells that it is to be made one; one that the ledger lists stays in any case.
	Consenter bool
}

// ClusterPlan says what a change comes to.
type ClusterPlan struct {
	// Steps are what happens, in this order, in words.
	Steps []string
	// Refusals are why it cannot be: *QuorumError, *NoQuorumError, *AddressError or *UnsignedStepError.
	Refusals []error
	// Outages are the channels that cannot order for a while, with the reason: they have too few
	// consenters to spare one.
	Outages []string
}

// Plan computes what the change comes to from what it holds alone.
func (c ClusterChange) Plan() ClusterPlan {
	p := &clusterPlanner{ClusterChange: c}
	p.sort()
	p.handOver()
	p.start()
	p.setOptions()
	p.replaceLost()
	p.add()
	p.addExternal()
	p.roll()
	p.remove()
	return p.ClusterPlan
}

// clusterPlanner goes through the steps of a change.
type clusterPlanner struct {
	ClusterChange
	ClusterPlan
	// made, started, lost, added, rolled and removed are the nodes with which something happens.
	made, started, lost, added, rolled, removed []string
	channels                                    []*plannedChannel
}

// plannedChannel is a channel while the steps are gone through.
type plannedChannel struct {
	ClusterChannel
	name string
	// config is the configuration, as far as it matters to who must sign; nil when it is not known.
	config *configtx.Config
	// listed are the consenters by address; the value tells whether it is at work.
	listed map[string]bool
	// refused tells that a step was.
	refused bool
}

func (p *clusterPlanner) sort() {
	for _, name := range slices.Sorted(maps.Keys(p.After)) {
		before, existed := p.Before[name]
		switch {
		case !existed && len(p.Channels) == 0:
			p.made = append(p.made, name)
		case !existed:
			p.added = append(p.added, name)
		case before.Status == Lost:
			p.lost = append(p.lost, name)
		case before.Status != engine.Running && before.Status != Unlisted:
			p.started = append(p.started, name)
		case p.After[name].Restart || p.rekeyed(name):
			p.rolled = append(p.rolled, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Before)) {
		if _, stays := p.After[name]; !stays {
			p.removed = append(p.removed, name)
		}
	}
	for _, added := range p.added {
		for _, removed := range p.removed {
			if address := p.After[added].Address; address == p.Before[removed].Address {
				p.Refusals = append(p.Refusals, &AddressError{What: "address " + address, Leaving: removed, Coming: added})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Channels)) {
		k := &plannedChannel{ClusterChannel: p.Channels[name], name: name, listed: map[string]bool{}}
		for _, address := range k.Consenters {
			k.listed[address] = p.works(address)
		}
		k.config, _ = configFrom(name, 0, k.Config) // what cannot be read says nothing of signatures
		p.channels = append(p.channels, k)
	}
}

// rekeyed tells whether a channel waits for a node to restart with another key.
func (p *clusterPlanner) rekeyed(name string) bool {
	for _, c := range p.Channels {
		if slices.Contains(c.Rekeyed, name) {
			return true
		}
	}
	return false
}

// handOver refuses host ports that another node has: one that leaves has it to the end, and nodes that
// hand ports on to each other cannot be made one after the other.
func (p *clusterPlanner) handOver() {
	for _, taker := range slices.Sorted(maps.Keys(p.After)) {
		for _, port := range p.After[taker].Ports {
			holder := p.holder(port)
			if _, stays := p.After[holder]; holder == "" || holder == taker {
				continue
			} else if !stays {
				p.Refusals = append(p.Refusals, &AddressError{What: fmt.Sprintf("host port %d", port), Leaving: holder, Coming: taker})
				continue
			}
			for _, k := range p.channels {
				if err := p.strength(k).requireIdle(k.name, taker, holder, port); err != nil {
					p.refuse(k, err)
				}
			}
		}
	}
}

// holder gives the node whose container has a host port now.
func (p *clusterPlanner) holder(port int) string {
	for _, name := range slices.Sorted(maps.Keys(p.Before)) {
		if n := p.Before[name]; n.Status != Lost && n.Status != engine.Absent && slices.Contains(n.Ports, port) {
			return name
		}
	}
	return ""
}

// strength counts the consenters of a channel that are at work before anything is done. Those of others
// are taken to be.
func (p *clusterPlanner) strength(k *plannedChannel) strength {
	s := strength{consenters: len(k.listed), bft: k.bft(), external: len(k.listed)}
	for name, node := range p.Before {
		if _, listed := k.listed[node.Address]; !listed {
			continue
		}
		if s.external--; node.Status == engine.Running {
			s.at = append(s.at, Handle{Kind: KindOrderer, Name: name})
		}
	}
	return s
}

// works tells whether the consenter at an address is at work once the wanted nodes have been started.
// Those of others are taken to be.
func (p *clusterPlanner) works(address string) bool {
	for name, node := range p.Before {
		if node.Address != address {
			continue
		}
		_, stays := p.After[name]
		return node.Status == engine.Running || stays && node.Status != Lost
	}
	return true
}

func (p *clusterPlanner) say(format string, args ...any) {
	p.Steps = append(p.Steps, fmt.Sprintf(format, args...))
}

func (p *clusterPlanner) start() {
	if len(p.made) > 0 {
		p.say("%s: made, all at once", strings.Join(p.made, ", "))
	}
	if len(p.started) > 0 {
		p.say("%s: started, all at once", strings.Join(p.started, ", "))
	}
}

func (p *clusterPlanner) setOptions() {
	for _, k := range p.channels {
		if k.Raft == p.Raft && k.BFT == p.BFT {
			continue
		}
		words := ""
		if p.bft() {
			if words = ", in force at once"; k.BFT.RequestPoolSize != p.BFT.RequestPoolSize {
				words += " but for request_pool_size, which nodes read when they start"
			}
		}
		p.say("channel %s: %s options set by a config update%s", k.name, p.word(), words)
		p.require(k, "setting the "+p.word()+" options", k.at(""), len(k.listed), 0)
	}
}

// replaceLost evicts what has lost its volume, and adds it again.
func (p *clusterPlanner) replaceLost() {
	for _, name := range p.lost {
		var on []string
		for _, k := range p.channels {
			address := p.Before[name].Address
			if _, listed := k.listed[address]; !listed {
				continue
			}
			on = append(on, k.name)
			p.evict(k, address, "evicting "+name+", which has lost its volume,")
			p.enlist(k, p.After[name].Address, name)
		}
		p.say("%s: made anew with an empty volume and another key%s", name, onChannels(on, "; evicted from %s, joined as a follower, caught up, added as a consenter"))
	}
}

func (p *clusterPlanner) add() {
	for _, name := range p.added {
		for _, k := range p.channels {
			p.introduce(k, p.After[name].MSPID, "making the organization of "+name+" known")
			p.enlist(k, p.After[name].Address, name)
		}
		p.say("%s: added%s", name, onChannels(p.names(), " to %s: joined as a follower, caught up, added as a consenter, then as an endpoint"))
	}
	for _, k := range p.channels {
		for _, name := range k.Unlisted {
			if _, stays := p.After[name]; stays && !slices.Contains(p.lost, name) {
				p.relist(k, name)
			}
		}
	}
}

// addExternal adds the nodes of others.
func (p *clusterPlanner) addExternal() {
	for _, name := range slices.Sorted(maps.Keys(p.External)) {
		e := p.External[name]
		var known, on []string
		for _, k := range p.channels {
			if p.introduce(k, e.MSPID, "making the organization of "+name+" known") {
				known = append(known, k.name)
			}
			if _, listed := k.listed[e.Address]; listed || !e.Consenter {
				continue
			}
			on = append(on, k.name)
			p.require(k, "adding "+name+" before it is known to work", k.at(""), len(k.listed)+1, 0)
			k.listed[e.Address] = true
		}
		if len(known) > 0 {
			p.say("%s: its organization %s made known%s, with its endpoint", name, e.MSPID, onChannels(known, " to %s"))
		}
		if len(on) > 0 {
			p.say("%s: added as a consenter%s; it must have joined", name, onChannels(on, " of %s"))
		}
	}
}

// introduce goes through the addition of an ordering organization. It tells whether that is none yet.
func (p *clusterPlanner) introduce(k *plannedChannel, mspID, step string) bool {
	if slices.Contains(k.Organizations, mspID) {
		return false
	}
	k.Organizations = append(k.Organizations, mspID)
	p.sign(k, step, configtx.OrdererOrganizationChange)
	k.edit(func(config *configtx.Config, summary configtx.Summary) error {
		if len(summary.OrdererOrganizations) == 0 {
			return configtx.ErrNoOrganization
		}
		definition := summary.OrdererOrganizations[0].Definition // its roots do not matter to who must sign
		definition.ID = mspID
		return config.SetOrdererOrganization(configtx.OrdererOrganization{Definition: definition})
	})
	return true
}

// edit changes the configuration, as far as it is known, into what later steps find.
func (k *plannedChannel) edit(change func(*configtx.Config, configtx.Summary) error) {
	if k.config == nil {
		return
	}
	summary, err := configtx.Summarize(k.config)
	if err == nil {
		err = change(k.config, summary)
	}
	if err != nil {
		k.config = nil // who must sign is seen when it is sent
	}
}

// relist makes a node that runs a consenter again. One that the ledger lists all the same has lost the
// channel, or its key.
func (p *clusterPlanner) relist(k *plannedChannel, name string) {
	address := p.After[name].Address
	if _, listed := k.listed[address]; !listed {
		p.enlist(k, address, name)
		p.say("%s: added to channel %s, of which it is no consenter", name, k.name)
		return
	}
	k.listed[address] = false
	p.evict(k, address, "evicting "+name+", which has lost the channel,")
	p.enlist(k, address, name)
	p.say("%s: evicted from channel %s, which it has lost, and added again", name, k.name)
}

// roll tells in which order nodes are made anew: the leader of the most channels comes last.
func (p *clusterPlanner) roll() {
	if len(p.rolled) == 0 {
		return
	}
	leads := map[string][]string{}
	for _, k := range p.channels {
		leads[k.Leader] = append(leads[k.Leader], k.name)
	}
	slices.SortStableFunc(p.rolled, func(a, b string) int { return cmp.Compare(len(leads[a]), len(leads[b])) })
	words := make([]string, len(p.rolled))
	for i, name := range p.rolled {
		if words[i] = name; len(leads[name]) > 0 {
			words[i] += ", which leads " + strings.Join(leads[name], " and ")
		}
	}
	told := p.told()
	if len(words) == 1 {
		p.say("%s: made anew on its volume%s", words[0], told)
	} else {
		p.say("%s: made anew on their volumes, one after the other%s", strings.Join(words, "; then "), told)
	}
	for _, k := range p.channels {
		n, needed := len(k.listed), quorumOf(len(k.listed), k.bft())
		for _, name := range p.rolled {
			address := p.Before[name].Address
			if !k.listed[address] {
				continue
			}
			if p.After[name].Rekeyed {
				p.sign(k, "making the new key of "+name+" known", configtx.ConsenterChange)
			}
			if n-1 < needed {
				p.Outages = append(p.Outages, fmt.Sprintf("channel %s cannot order while one of its %s is made anew", k.name, counted(n, "consenter")))
				break
			}
			if left := k.at(address); len(left) < needed && len(k.at("")) >= needed && !k.refused {
				p.refuse(k, &QuorumError{Step: "taking " + name + " down", Channel: k.name, Consenters: n, Needed: needed, Left: p.named(left), Down: p.down(k)})
			}
		}
	}
}

// told says what channels must know of nodes with other certificates before they restart. Raft knows nodes
// by their keys, which seldom change.
func (p *clusterPlanner) told() string {
	if !p.bft() || len(p.Channels) == 0 || !slices.ContainsFunc(p.rolled, func(name string) bool { return p.After[name].Renewed }) {
		return ""
	}
	return onChannels(p.names(), "; before each restart a config update tells %s the certificates that the node will have")
}

// remove takes nodes and strangers out, those first that are not at work.
func (p *clusterPlanner) remove() {
	wanted := map[string]bool{}
	for _, node := range p.After {
		wanted[node.Address] = true
	}
	for _, e := range p.External {
		wanted[e.Address] = true
	}
	for _, k := range p.channels {
		var leaving []string
		for _, address := range slices.Sorted(maps.Keys(k.listed)) {
			if !wanted[address] {
				leaving = append(leaving, address)
			}
		}
		slices.SortStableFunc(leaving, func(a, b string) int { return cmp.Compare(p.rank(k, a), p.rank(k, b)) })
		for _, address := range leaving {
			if name := p.nodeAt(address); name == address {
				p.say("channel %s: the consenter %s is taken off, which is no node of this cluster", k.name, address)
			}
			p.evict(k, address, "removing "+p.nodeAt(address))
		}
		p.bidFarewell(k)
	}
	for _, name := range p.removed {
		p.say("%s: removed%s", name, onChannels(p.names(), " from %s: endpoint, consenter, channel, and at last the node with its volume"))
	}
}

// bidFarewell takes out ordering organizations that have neither a node here nor a consenter any more.
func (p *clusterPlanner) bidFarewell(k *plannedChannel) {
	stays := map[string]bool{}
	for _, node := range p.After {
		stays[node.MSPID] = true
	}
	for _, e := range p.External {
		stays[e.MSPID] = true
	}
	k.edit(func(config *configtx.Config, summary configtx.Summary) error {
		for _, org := range gone(summary, stays, func(address string) bool { _, listed := k.listed[address]; return listed }) {
			p.say("channel %s: the organization %s is taken off, which orders no longer", k.name, org)
			p.sign(k, "taking the organization "+org+" off", configtx.OrdererOrganizationChange)
			if err := config.RemoveOrdererOrganization(org); err != nil {
				return err
			}
		}
		return nil
	})
}

// rank is the order in which consenters go: those that are not at work first, the leader last.
func (p *clusterPlanner) rank(k *plannedChannel, address string) int {
	switch {
	case !k.listed[address]:
		return 0
	case p.nodeAt(address) == k.Leader:
		return 2
	}
	return 1
}

// evict goes through the removal of a consenter.
func (p *clusterPlanner) evict(k *plannedChannel, address, step string) {
	p.require(k, step, k.at(address), len(k.listed)-1, 0)
	delete(k.listed, address)
}

// enlist goes through the addition of a consenter.
func (p *clusterPlanner) enlist(k *plannedChannel, address, name string) {
	if _, listed := k.listed[address]; listed {
		return
	}
	p.require(k, "adding "+name, k.at(""), len(k.listed)+1, 2)
	k.listed[address] = true
}

// require refuses a step when the channel cannot order now, or could not with so many consenters, of
// which those left are at work. Of exactly helpless ones that cannot be helped.
func (p *clusterPlanner) require(k *plannedChannel, step string, left []string, consenters, helpless int) {
	now := k.at("")
	e := QuorumError{Step: step, Channel: k.name, Consenters: len(k.listed), Needed: quorumOf(len(k.listed), k.bft()), Left: p.named(now), Down: p.down(k)}
	if len(now) < e.Needed {
		p.refuse(k, &NoQuorumError{e})
		return
	}
	e.Consenters, e.Needed, e.Left = consenters, quorumOf(consenters, k.bft()), p.named(left)
	if consenters == 0 || len(left) < e.Needed && consenters != helpless {
		p.refuse(k, &e)
	}
	p.sign(k, step, configtx.ConsenterChange)
}

// sign refuses a step for which the admins here do not suffice. Of tells what it falls under.
func (p *clusterPlanner) sign(k *plannedChannel, step string, of func(*configtx.Config) configtx.Requirement) {
	if k.config == nil {
		return
	}
	var signers []configtx.Signer
	for _, id := range p.Admins {
		signers = append(signers, configtx.Signer{MSPID: id, Role: policy.RoleAdmin})
	}
	duty := obligation{of(k.config), step}
	if duty.Met(signers) == configtx.No {
		p.refuse(k, &UnsignedStepError{UnsignedError{Channel: Handle{Kind: KindChannel, Name: k.name}, Changes: []string{duty.missing(signers)}}})
	}
}

// refuse keeps the first refusal of each channel: the others follow from it.
func (p *clusterPlanner) refuse(k *plannedChannel, err error) {
	if !k.refused {
		p.Refusals = append(p.Refusals, err)
	}
	k.refused = true
}

// at gives the consenters at work but one, by address.
func (k *plannedChannel) at(but string) []string {
	var out []string
	for _, address := range slices.Sorted(maps.Keys(k.listed)) {
		if k.listed[address] && address != but {
			out = append(out, address)
		}
	}
	return out
}

func (p *clusterPlanner) down(k *plannedChannel) []string {
	var out []string
	for _, address := range slices.Sorted(maps.Keys(k.listed)) {
		if !k.listed[address] {
			name := p.nodeAt(address)
			out = append(out, fmt.Sprintf("%s: its status is %s", name, p.Before[name].Status))
		}
	}
	return out
}

// nodeAt gives the name of the node that has an address, the address itself when none has.
func (p *clusterPlanner) nodeAt(address string) string {
	for _, nodes := range []map[string]PlannedOrderer{p.Before, p.After} {
		for _, name := range slices.Sorted(maps.Keys(nodes)) {
			if nodes[name].Address == address {
				return name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.External)) {
		if p.External[name].Address == address {
			return name
		}
	}
	return address
}

func (p *clusterPlanner) named(addresses []string) []string {
	out := make([]string, len(addresses))
	for i, address := range addresses {
		out[i] = p.nodeAt(address)
	}
	return out
}

func (p *clusterPlanner) names() []string { return slices.Sorted(maps.Keys(p.Channels)) }

// onChannels puts the names of channels into words, where there are any.
func onChannels(names []string, format string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(format, "channel "+names[0])
	}
	return fmt.Sprintf(format, "the channels "+strings.Join(names[:len(names)-1], ", ")+" and "+names[len(names)-1])
}

// AddressError tells that a node is to come where another one has yet to go.
type AddressError struct {
	// What is the address, or the host port.
	What            string
	Leaving, Coming string
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("%s is to have the %s, which %s has until it is taken out after that", e.Coming, e.What, e.Leaving)
}

// UnsignedStepError tells that the admins whose keys are here do not suffice for a change of who orders.
type UnsignedStepError struct{ UnsignedError }

// IsQuorum tells whether an error is about the quorum of a channel.
func IsQuorum(err error) bool {
	return errors.As(err, new(*QuorumError)) || errors.As(err, new(*NoQuorumError))
}
