package configtx

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

// maxBatchBytes is what nodes receive in one message by default (orderer.yaml and core.yaml,
// MaxRecvMsgSize), and so the most that a block can have.
const maxBatchBytes = 100 << 20

// The capabilities that Fabric 2.5 and 3.1 know (common/capabilities). A node that does not know a
// capability of its channel stops.
var (
	channelCapabilities     = []string{"V1_1", "V1_3", "V1_4_2", "V1_4_3", ChannelCapabilityV2_0, ChannelCapabilityV3_0}
	ordererCapabilities     = []string{"V1_1", "V1_4_2", OrdererCapabilityV2_0}
	applicationCapabilities = []string{"V1_1", "V1_2", "V1_3", "V1_4_2", ApplicationCapabilityV2_0, ApplicationCapabilityV2_5}
)

// ValidateUpdate finds everything in the change from one configuration of a channel to another for which
// Fabric would refuse it, and what Fabric accepts although nobody could undo it: policies that nobody
// could meet any more, and the like. What was already wrong before and stays is not reported. The error
// is an *InvalidError.
func ValidateUpdate(from, to *Config) error { return validateUpdateAt(from, to, time.Now()) }

func validateUpdateAt(from, to *Config, now time.Time) error {
	before, err := Summarize(from)
	if err != nil {
		return err
	}
	v := &updateValidation{validation: validation{now: now}, from: from, to: to, before: before}
	after, err := Summarize(to)
	if err != nil {
		v.report("configuration", "%s", err)
		return v.result()
	}
	v.after = after
	v.capabilities()
	v.batch()
	v.organizations()
	v.consensus()
	v.acls()
	v.policies()
	return v.result()
}

type updateValidation struct {
	validation
	from, to      *Config
	before, after Summary
}

func (v *updateValidation) result() error {
	if len(v.problems) == 0 {
		return nil
	}
	return &InvalidError{Name: v.to.Channel, Problems: v.problems, update: true}
}

func (v *updateValidation) capabilities() {
	for _, c := range []struct {
		field                string
		before, after, known []string
	}{
		{"channel_capability", v.before.ChannelCapabilities, v.after.ChannelCapabilities, channelCapabilities},
		{"orderer_capability", v.before.OrdererCapabilities, v.after.OrdererCapabilities, ordererCapabilities},
		{"application_capability", v.before.ApplicationCapabilities, v.after.ApplicationCapabilities, applicationCapabilities},
	} {
		for _, name := range c.after {
			if !slices.Contains(c.before, name) && !slices.Contains(c.known, name) {
				v.report(c.field, "the capability %q is unknown; Fabric 2.5 and 3.1 know %s", name, strings.Join(c.known, ", "))
			}
		}
		if len(c.before) > 0 && len(c.after) == 0 {
			v.report(c.field, "there would be none any more")
		}
	}
	if !slices.Contains(v.after.ChannelCapabilities, ChannelCapabilityV3_0) {
		if v.after.ConsensusType == ConsensusBFT {
			v.report("channel_capability", "SmartBFT needs %s", ChannelCapabilityV3_0)
		}
		return
	}
	if len(v.after.OrdererAddresses) > 0 {
		v.report("channel_capability", "%s allows no global orderer addresses, and the channel has %s; set the endpoints of each orderer organization and remove them first", ChannelCapabilityV3_0, strings.Join(v.after.OrdererAddresses, ", "))
	}
	for _, o := range v.after.OrdererOrganizations {
		if len(o.Endpoints) == 0 {
			v.report("orderer_organizations["+o.Definition.ID+"].endpoints", "there is none, and channel capability %s wants at least one of each orderer organization", ChannelCapabilityV3_0)
		}
	}
}

func (v *updateValidation) batch() {
	b, was := v.after.Batch, v.before.Batch
	if b == was {
		return
	}
	if b.Timeout <= 0 {
		v.report("batch.timeout", "%s is not more than 0", b.Timeout)
	}
	for _, c := range []struct {
		field string
		value uint32
	}{
		{"max_message_count", b.MaxMessageCount}, {"absolute_max_bytes", b.AbsoluteMaxBytes}, {"preferred_max_bytes", b.PreferredMaxBytes},
	} {
		if c.value == 0 {
			v.report("batch."+c.field, "0 is not more than 0")
		}
	}
	v.checkBatchBytes(b)
}

func (v *updateValidation) organizations() {
	if len(v.after.ApplicationOrganizations) == 0 && len(v.before.ApplicationOrganizations) > 0 {
		v.report("application_organizations", "the last one would go: nobody could change the channel any more; remove the channel instead")
	}
	if len(v.after.OrdererOrganizations) == 0 && len(v.before.OrdererOrganizations) > 0 {
		v.report("orderer_organizations", "the last one would go: nobody would order the channel any more; remove the channel instead")
	}
	msps := map[string][]byte{}
	for _, part := range []struct{ field, group string }{{"orderer_organizations", groupOrderer}, {"application_organizations", groupApplication}} {
		before, after := v.from.Proto.GetChannelGroup().GetGroups()[part.group], v.to.Proto.GetChannelGroup().GetGroups()[part.group]
		for _, name := range slices.Sorted(maps.Keys(after.GetGroups())) {
			v.organization(part.field, name, before.GetGroups()[name], after.GetGroups()[name], msps)
		}
	}
}

// organization looks at one organization; msps are those of the channel as far as they were seen.
func (v *updateValidation) organization(list, name string, before, after *common.ConfigGroup, msps map[string][]byte) {
	r := &reader{}
	d, nodeOUs := r.definition(after)
	field := list + "[" + d.ID + "]"
	raw := after.GetValues()[keyMSP].GetValue()
	if before != nil {
		if was, _ := r.definition(before); was.ID != d.ID {
			v.report(field, "the MSP ID of the group %s would change from %s to %s, which Fabric refuses; add the organization and remove the other", name, was.ID, d.ID)
		}
	}
	if other, ok := msps[d.ID]; ok && !sameMSP(other, raw) {
		v.report(field+".definition", "the channel would have two definitions of %s, among the orderer and among the application organizations; Fabric wants one", d.ID)
	}
	msps[d.ID] = raw
	if before == nil || !slices.Equal(before.GetValues()[keyMSP].GetValue(), raw) {
		config, inner := &mspproto.MSPConfig{}, &mspproto.FabricMSPConfig{}
		r.unmarshal("the MSP", raw, config)
		if config.GetType() == mspTypeX509 {
			r.unmarshal("the MSP", config.GetConfig(), inner)
			v.check(field+".definition", d.ValidateAt(v.now))
			v.admins(field, nodeOUs, inner)
		}
	}
	endpoints, was := &common.OrdererAddresses{}, &common.OrdererAddresses{}
	r.value(after, keyEndpoints, endpoints)
	r.value(before, keyEndpoints, was)
	for i, endpoint := range endpoints.GetAddresses() {
		if !slices.Contains(was.GetAddresses(), endpoint) {
			v.check(fmt.Sprintf("%s.endpoints[%d]", field, i), validateEndpoint(endpoint))
		}
	}
	v.anchorPeers(field, before, after)
	v.check(field, r.err)
}

func (v *updateValidation) anchorPeers(field string, before, after *common.ConfigGroup) {
	anchors, was := &peer.AnchorPeers{}, &peer.AnchorPeers{}
	r := &reader{}
	r.value(after, keyAnchorPeers, anchors)
	r.value(before, keyAnchorPeers, was)
	for i, a := range anchors.GetAnchorPeers() {
		if !slices.ContainsFunc(was.GetAnchorPeers(), func(b *peer.AnchorPeer) bool { return proto.Equal(a, b) }) {
			v.address(fmt.Sprintf("%s.anchor_peers[%d]", field, i), Address{a.GetHost(), int(a.GetPort())})
		}
	}
}

// sameMSP compares two MSP values as Fabric does (common/channelconfig, ProposeMSP).
func sameMSP(a, b []byte) bool {
	one, two := &mspproto.MSPConfig{}, &mspproto.MSPConfig{}
	return proto.Unmarshal(a, one) == nil && proto.Unmarshal(b, two) == nil && proto.Equal(one, two)
}

// admins checks that an MSP has somebody who may administer it, and that listed ones are members.
func (v *updateValidation) admins(field string, nodeOUs bool, config *mspproto.FabricMSPConfig) {
	if len(config.GetAdmins()) == 0 && (!nodeOUs || config.GetFabricNodeOus().GetAdminOuIdentifier() == nil) {
		v.report(field+".definition", "it has neither admin certificates nor an organizational unit for admins")
	}
	m := newMembership(config)
	for _, admin := range m.admins {
		if _, err := m.chain(admin); err != nil {
			v.report(field+".definition", "its list of admin certificates holds one that it would not accept: %s", err)
		}
	}
}

func (v *updateValidation) consensus() {
	if v.before.ConsensusType != v.after.ConsensusType {
		v.report("consensus_type", "it would change from %s to %s, which is a migration in maintenance mode and no plain update", v.before.ConsensusType, v.after.ConsensusType)
		return
	}
	switch v.after.ConsensusType {
	case ConsensusRaft:
		v.raftConsensus()
	case ConsensusBFT:
		v.bftConsensus()
	}
}

// raftConsensus applies what the ordering nodes check of each config update (orderer/consensus/etcdraft,
// ValidateConsensusMetadata), but for how many nodes are up.
func (v *updateValidation) raftConsensus() {
	before, after := consentersOf(v.before), consentersOf(v.after)
	if len(after) == 0 {
		v.report("consenters", "the last one would go: nobody would order the channel any more; remove the channel instead")
		return
	}
	o := v.after.Raft
	if o.TickInterval <= 0 || o.ElectionTick == 0 || o.HeartbeatTick == 0 || o.MaxInflightBlocks == 0 {
		v.report("raft", "tick_interval, election_tick, heartbeat_tick and max_inflight_blocks must be more than 0")
	}
	if o.ElectionTick <= o.HeartbeatTick {
		v.report("raft.election_tick", "%d must be more than heartbeat_tick, which is %d", o.ElectionTick, o.HeartbeatTick)
	}
	added := lackingClient(after, before)
	removed := lackingClient(before, after)
	if len(added) > 1 || len(removed) > 1 {
		v.report("consenters", "%d would come and %d would go (%s), and Raft takes one more, one less or one replaced in an update; a consenter is the same when its client certificate is, byte by byte",
			len(added), len(removed), strings.Join(addressesOf(slices.Concat(added, removed)), ", "))
	}
	v.tlsCertificates(after, added)
}

// lackingClient gives the consenters of some that others lack, as Raft tells them apart.
func lackingClient(some, others []Consenter) []Consenter {
	return slices.DeleteFunc(slices.Clone(some), func(c Consenter) bool {
		return slices.ContainsFunc(others, func(o Consenter) bool { return o.ClientTLSCertPEM == c.ClientTLSCertPEM })
	})
}

func addressesOf(all []Consenter) []string {
	var out []string
	for _, c := range all {
		out = append(out, c.address().String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tlsCertificates checks that every consenter has certificates of its own that the TLS roots of the
// orderer organizations vouch for. Only those of new consenters must not have expired, and be for their
// host.
func (v *updateValidation) tlsCertificates(all, added []Consenter) {
	roots, intermediates := v.after.tlsAuthorities()
	seen := map[string]Address{}
	for i, c := range all {
		for _, part := range []struct {
			name, text string
			usage      certificate.Usage
		}{{"client_tls_certificate", c.ClientTLSCertPEM, certificate.UsageClient}, {"server_tls_certificate", c.ServerTLSCertPEM, certificate.UsageServer}} {
			field := fmt.Sprintf("consenters[%d].%s", i, part.name)
			cert, err := certificate.ParseOne([]byte(part.text))
			if err != nil {
				v.check(field, err)
				continue
			}
			if other, ok := seen[part.text]; ok && other != c.address() {
				v.report(field, "the certificate is already that of %s", other)
			}
			seen[part.text] = c.address()
			request := certificate.VerifyRequest{Leaf: []byte(part.text), Roots: roots, Intermediates: intermediates, At: cert.NotBefore.Add(time.Second), Usage: part.usage}
			if slices.Contains(added, c) {
				request.At = v.now
				if part.usage == certificate.UsageServer {
					request.Host = c.Host
				}
			}
			if err := certificate.VerifyChain(request); err != nil {
				v.report(field, "%s: %s (the roots are the TLS roots of the orderer organizations)", c.address(), err)
			}
		}
	}
}

// tlsAuthorities gives the TLS roots and intermediates of the orderer organizations.
func (s Summary) tlsAuthorities() (roots, intermediates [][]byte) {
	for _, o := range s.OrdererOrganizations {
		roots = append(roots, bytesOf(o.Definition.TLSRootCertificates)...)
		intermediates = append(intermediates, bytesOf(o.Definition.TLSIntermediateCertificates)...)
	}
	return roots, intermediates
}

// acls looks at ACLs that are new, or whose policy the update takes away.
func (v *updateValidation) acls() {
	for _, resource := range slices.Sorted(maps.Keys(v.after.ACLs)) {
		reference := v.after.ACLs[resource]
		field := "acls[" + resource + "]"
		if _, ok := v.before.ACLs[resource]; !ok && !slices.Contains(aclResources, resource) {
			v.report(field, "peers know no such resource of a channel and would ignore it; they know %s", strings.Join(aclResources, ", "))
			continue
		}
		path := reference
		if !strings.HasPrefix(path, "/") {
			path = rootPath + "/" + groupApplication + "/" + path
		}
		if !hasPolicy(v.to, path) && (hasPolicy(v.from, path) || v.before.ACLs[resource] != reference) {
			v.report(field, "the channel would have no policy %q", path)
		}
	}
}

func hasPolicy(c *Config, path string) bool {
	text, _ := ruleAt(c.Proto.GetChannelGroup(), path)
	return text != ""
}

// policies finds policies that could be met before and by nobody after, new ones that nobody could meet,
// and elements that nobody could change any more because the policy that guards them is gone.
func (v *updateValidation) policies() {
	before, after := crowdOf(v.from), crowdOf(v.to)
	for _, path := range slices.Sorted(maps.Keys(v.after.Policies)) {
		_, was := v.before.Policies[path]
		if after.could(path) || was && !before.could(path) {
			continue
		}
		v.report("policies["+path+"]", "no member of the channel could meet it (%s)", v.after.Policies[path])
	}
	existing, err := elements(v.from.Proto.GetChannelGroup())
	if err != nil {
		return
	}
	all, err := elements(v.to.Proto.GetChannelGroup())
	if err != nil {
		v.report("configuration", "%s", err)
		return
	}
	for _, key := range sortedKeys(all) {
		e := all[key]
		was, ok := existing[key]
		if lost := ok && hasPolicy(v.from, was.governedBy()); (!ok || lost) && !hasPolicy(v.to, e.governedBy()) {
			v.report(e.path, "its mod_policy would be %q, which the channel would not have: nobody could change it any more", e.governedBy())
		}
	}
}

// crowd is as many members of every MSP of a channel as one likes, each with whatever role is asked for.
type crowd struct {
	config *Config
	msps   map[string]*membership
}

func crowdOf(c *Config) crowd { return crowd{c, memberships(c.Proto)} }

// maxLeaves bounds the policies that could judges: nobody writes longer ones, and a hostile one would take
// long.
const maxLeaves = 256

// could tells whether the crowd could meet the policy at the path.
func (c crowd) could(path string) bool {
	_, rule := ruleAt(c.config.Proto.GetChannelGroup(), path)
	if rule.leaves() > maxLeaves {
		return true
	}
	var all []*identity
	for _, id := range slices.Sorted(maps.Keys(c.msps)) {
		for range rule.leaves() {
			all = append(all, &identity{Signer: Signer{MSPID: id}, msp: c.msps[id]})
		}
	}
	return rule.met(all, true)
}
