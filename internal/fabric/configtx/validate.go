package configtx

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/msp"
)

// maxNameLength bounds channel names and the keys of a configuration (common/configtx, MaxLength).
const maxNameLength = 249

// ValidateChannelName says what is wrong with a channel name, or nil. Fabric's rule is
// [a-z][a-z0-9.-]* with at most 249 characters (common/configtx, ValidateChannelID); "." and ".." are
// out because a name starts with a letter.
func ValidateChannelName(name string) error {
	switch {
	case name == "":
		return errors.New("unable to use an empty channel name")
	case len(name) > maxNameLength:
		return fmt.Errorf("unable to use a channel name of %d characters: Fabric allows %d", len(name), maxNameLength)
	case name[0] < 'a' || name[0] > 'z':
		return fmt.Errorf("unable to use the channel name %q: it must start with a letter from a to z", name)
	}
	for i, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("unable to use the channel name %q: %q at position %d is not allowed; Fabric allows lower-case letters, digits, dots and hyphens", name, c, i+1)
		}
	}
	return nil
}

// ValidateMSPID says what is wrong with an MSP ID, or nil; see msp.ValidateID. In a channel the MSP ID
// is also the key of the organization's group.
func ValidateMSPID(id string) error { return msp.ValidateID(id) }

// validateKey applies Fabric's rule for the keys of a configuration (common/configtx,
// validateConfigID), and says what is wrong as the end of a sentence.
func validateKey(key string) error {
	switch {
	case key == "":
		return errors.New("is empty")
	case len(key) > maxNameLength:
		return fmt.Errorf("is longer than %d characters", maxNameLength)
	case key == "." || key == "..":
		return errors.New("is not allowed")
	}
	for _, c := range key {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("holds %q; Fabric allows letters, digits, dots and hyphens", c)
		}
	}
	return nil
}

// Problem is one thing that is wrong with a Channel, or with an update of one.
type Problem struct {
	// Field is the path of the field, in the manner of an attribute: consenters[0].port,
	// orderer_organizations[OrdererMSP].endpoints[1], application_policies[Admins].
	Field string
	// Reason is a sentence without a full stop.
	Reason string
}

// InvalidError says why a Channel cannot become a channel, or a channel not what an update would make it.
type InvalidError struct {
	// Name is the channel name as given.
	Name string
	// Problems are all that were found, at least one.
	Problems []Problem
	// update is whether a channel would be changed and not made.
	update bool
}

func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + ": " + p.Reason
	}
	verb := "make"
	if e.update {
		verb = "update"
	}
	return fmt.Sprintf("unable to %s the channel %s: %s", verb, e.Name, strings.Join(parts, "; "))
}

// Validate finds everything for which Fabric would refuse the channel, and what Fabric accepts
// although it cannot work: policies that nobody can meet, ACLs that are never looked at, consenters
// whose certificate is not for their host. The error is an *InvalidError.
func (c Channel) Validate() error { return c.validateAt(time.Now()) }

func (c Channel) validateAt(now time.Time) error {
	c = c.withDefaults()
	v := &validation{channel: c, now: now}
	v.name()
	v.capabilities()
	v.organizations()
	v.consenters()
	switch v.channel.Consensus {
	case ConsensusRaft:
		v.raft()
	case ConsensusBFT:
		v.bft()
	default:
		v.report("consensus", "%q is unknown; a channel can have %s or %s", v.channel.Consensus, ConsensusRaft, ConsensusBFT)
	}
	v.batch()
	tree, problems := c.policyTree()
	v.problems = append(v.problems, problems...)
	v.problems = append(v.problems, tree.validate(c.mspIDs())...)
	v.problems = append(v.problems, c.validateACLs(tree)...)
	if len(v.problems) > 0 {
		return &InvalidError{Name: c.Name, Problems: v.problems}
	}
	return nil
}

func (c Channel) mspIDs() []string {
	var ids []string
	for _, o := range c.OrdererOrganizations {
		ids = append(ids, o.Definition.ID)
	}
	for _, o := range c.ApplicationOrganizations {
		ids = append(ids, o.Definition.ID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

type validation struct {
	channel  Channel
	now      time.Time
	problems []Problem
}

func (v *validation) report(field, format string, args ...any) {
	v.problems = append(v.problems, Problem{field, fmt.Sprintf(format, args...)})
}

func (v *validation) check(field string, err error) {
	if err != nil {
		v.report(field, "%s", err)
	}
}

func (v *validation) name() { v.check("name", ValidateChannelName(v.channel.Name)) }

func (v *validation) capabilities() {
	check := func(field, value string, known ...string) {
		if !slices.Contains(known, value) {
			v.report(field, "the capability %q is unknown; a new channel can have %s", value, strings.Join(known, " or "))
		}
	}
	check("channel_capability", v.channel.ChannelCapability, ChannelCapabilityV2_0, ChannelCapabilityV3_0)
	check("orderer_capability", v.channel.OrdererCapability, OrdererCapabilityV2_0)
	check("application_capability", v.channel.ApplicationCapability, ApplicationCapabilityV2_0, ApplicationCapabilityV2_5)
}

func (v *validation) organizations() {
	c := v.channel
	if len(c.OrdererOrganizations) == 0 {
		v.report("orderer_organizations", "there is none; a channel needs at least one")
	}
	if len(c.ApplicationOrganizations) == 0 {
		v.report("application_organizations", "there is none; a channel needs at least one")
	}
	definitions := map[string]msp.Definition{}
	endpoints := map[string]bool{}
	for i, o := range c.OrdererOrganizations {
		field := fmt.Sprintf("orderer_organizations[%s]", orIndex(o.Definition.ID, i))
		if _, ok := definitions[o.Definition.ID]; ok {
			v.report(field, "the organization is there twice")
			continue
		}
		definitions[o.Definition.ID] = o.Definition
		v.check(field+".definition", o.Definition.ValidateAt(v.now))
		if len(o.Endpoints) == 0 {
			v.report(field+".endpoints", "there is none; peers and clients would not find its ordering nodes")
		}
		for j, endpoint := range o.Endpoints {
			at := fmt.Sprintf("%s.endpoints[%d]", field, j)
			if err := validateEndpoint(endpoint); err != nil {
				v.check(at, err)
			} else if endpoints[endpoint] {
				v.report(at, "the endpoint %s is there twice", endpoint)
			}
			endpoints[endpoint] = true
		}
	}
	members := map[string]bool{}
	for i, o := range c.ApplicationOrganizations {
		field := fmt.Sprintf("application_organizations[%s]", orIndex(o.Definition.ID, i))
		if members[o.Definition.ID] {
			v.report(field, "the organization is there twice")
			continue
		}
		members[o.Definition.ID] = true
		if other, ok := definitions[o.Definition.ID]; !ok {
			v.check(field+".definition", o.Definition.ValidateAt(v.now))
		} else if !sameDefinition(other, o.Definition) {
			v.report(field+".definition", "it differs from the definition of %s among the orderer organizations; Fabric wants one definition of an MSP in a channel", o.Definition.ID)
		}
		seen := map[Address]bool{}
		for j, anchor := range o.AnchorPeers {
			at := fmt.Sprintf("%s.anchor_peers[%d]", field, j)
			v.address(at, anchor)
			if seen[anchor] {
				v.report(at, "the anchor peer %s is there twice", anchor)
			}
			seen[anchor] = true
		}
	}
}

// orIndex names an element of a list by its ID, or by its place when it has none.
func orIndex(id string, i int) string {
	if id == "" {
		return strconv.Itoa(i)
	}
	return id
}

func sameDefinition(a, b msp.Definition) bool {
	return a.ID == b.ID &&
		slices.Equal(a.RootCertificates, b.RootCertificates) &&
		slices.Equal(a.IntermediateCertificates, b.IntermediateCertificates) &&
		slices.Equal(a.TLSRootCertificates, b.TLSRootCertificates) &&
		slices.Equal(a.TLSIntermediateCertificates, b.TLSIntermediateCertificates) &&
		slices.Equal(a.RevocationLists, b.RevocationLists)
}

// String gives "host:port", with brackets around an IPv6 host.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

func (v *validation) address(field string, a Address) {
	if a.Host == "" {
		v.report(field+".host", "the host is empty")
	}
	if a.Port < 1 || a.Port > 65535 {
		v.report(field+".port", "the port %d is not between 1 and 65535", a.Port)
	}
}

func validateEndpoint(endpoint string) error {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" {
		return fmt.Errorf("the endpoint %q is not of the form host:port", endpoint)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("the port %q of the endpoint %q is not between 1 and 65535", port, endpoint)
	}
	return nil
}

// consenters applies what an ordering node checks when it joins (orderer/consensus/etcdraft,
// VerifyConfigMetadata), and that the other nodes will accept the certificate at that host.
func (v *validation) consenters() {
	c := v.channel
	if len(c.Consenters) == 0 {
		v.report("consenters", "there is none; a channel needs at least one")
	}
	var roots, intermediates [][]byte
	for _, o := range c.OrdererOrganizations {
		for _, text := range o.Definition.TLSRootCertificates {
			roots = append(roots, []byte(text))
		}
		for _, text := range o.Definition.TLSIntermediateCertificates {
			intermediates = append(intermediates, []byte(text))
		}
	}
	addresses, certificates := map[Address]int{}, map[string]int{}
	for i, consenter := range c.Consenters {
		field := fmt.Sprintf("consenters[%d]", i)
		address := Address{consenter.Host, consenter.Port}
		v.address(field, address)
		if first, ok := addresses[address]; ok {
			v.report(field, "%s is already the address of consenters[%d]", address, first)
		}
		addresses[address] = i
		texts := map[string]string{"client_tls_certificate": consenter.ClientTLSCertPEM, "server_tls_certificate": consenter.ServerTLSCertPEM}
		for _, name := range []string{"client_tls_certificate", "server_tls_certificate"} {
			at := field + "." + name
			cert, err := certificate.ParseOne([]byte(texts[name]))
			if err != nil {
				v.check(at, err)
				continue
			}
			if first, ok := certificates[string(cert.Raw)]; ok && first != i {
				v.report(at, "the certificate is already that of consenters[%d]", first)
				continue
			}
			certificates[string(cert.Raw)] = i
			request := certificate.VerifyRequest{
				Leaf: []byte(texts[name]), Roots: roots, Intermediates: intermediates, At: v.now, Usage: certificate.UsageClient,
			}
			if name == "server_tls_certificate" {
				request.Usage, request.Host = certificate.UsageServer, consenter.Host
			}
			if err := certificate.VerifyChain(request); err != nil {
				v.report(at, "%s (the roots are the TLS roots of the orderer organizations)", err)
			}
		}
	}
}

func (v *validation) raft() {
	o := v.channel.Raft
	if o.TickInterval < 0 {
		v.report("raft.tick_interval", "%s is negative", o.TickInterval)
	}
	if o.ElectionTick <= o.HeartbeatTick {
		v.report("raft.election_tick", "%d must be more than heartbeat_tick, which is %d", o.ElectionTick, o.HeartbeatTick)
	}
}

func (v *validation) batch() {
	b := v.channel.Batch
	if b.Timeout < 0 {
		v.report("batch.timeout", "%s is negative", b.Timeout)
	}
	v.checkBatchBytes(b)
}

func (v *validation) checkBatchBytes(b Batch) {
	if b.AbsoluteMaxBytes > maxBatchBytes {
		v.report("batch.absolute_max_bytes", "%d is more than %d, the most that a node receives in one message", b.AbsoluteMaxBytes, maxBatchBytes)
	}
	if b.PreferredMaxBytes > b.AbsoluteMaxBytes {
		v.report("batch.preferred_max_bytes", "%d is more than absolute_max_bytes, which is %d", b.PreferredMaxBytes, b.AbsoluteMaxBytes)
	}
}
