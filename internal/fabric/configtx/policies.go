package configtx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// The keys of policies that Fabric itself asks for.
const (
	policyReaders              = "Readers"
	policyWriters              = "Writers"
	policyAdmins               = "Admins"
	policyEndorsement          = "Endorsement"
	policyLifecycleEndorsement = "LifecycleEndorsement"
	policyBlockValidation      = "BlockValidation"
)

// policyGroup is the policies of one group, with those of the groups right below it.
type policyGroup struct {
	path string // for example /Channel/Application
	// field is how a Problem names the overrides, for example application_policies.
	field    string
	policies map[string]policy.ConfigPolicy
	below    []*policyGroup
	// organization is whether the group is that of an organization, which has no groups below.
	organization bool
}

// policyTree gives the policies of the whole channel: defaults, overridden. A rule that does not
// parse becomes a problem, and the policy keeps its default in the tree.
func (c Channel) policyTree() (*policyGroup, []Problem) {
	var problems []Problem
	group := func(path, field string, defaults, overrides map[string]string) *policyGroup {
		g := &policyGroup{path: path, field: field, policies: map[string]policy.ConfigPolicy{}}
		for name, rule := range defaults {
			// A default parses unless the MSP ID in it is wrong, which is reported once, for the
			// definition. The policy then stays here without a rule, so that others may refer to it.
			g.policies[name], _ = policy.ParseConfigPolicy(rule)
		}
		for _, name := range slices.Sorted(maps.Keys(overrides)) {
			at := fmt.Sprintf("%s[%s]", field, name)
			if err := validateKey(name); err != nil {
				problems = append(problems, Problem{at, "the policy name " + err.Error()})
				continue
			}
			parsed, err := policy.ParseConfigPolicy(overrides[name])
			if err != nil {
				problems = append(problems, Problem{at, err.Error()})
				continue
			}
			g.policies[name] = parsed
		}
		return g
	}
	root := group("/Channel", "policies", metaDefaults(), c.Policies)
	orderer := group("/Channel/Orderer", "orderer_policies", metaDefaults(policyBlockValidation, "ANY Writers"), c.OrdererPolicies)
	application := group("/Channel/Application", "application_policies", defaultApplicationPolicies(), c.ApplicationPolicies)
	root.below = []*policyGroup{orderer, application}
	for _, organization := range c.OrdererOrganizations {
		id := organization.Definition.ID
		g := group("/Channel/Orderer/"+id, "orderer_organizations["+id+"].policies", ordererMemberDefaults(id), organization.Policies)
		g.organization = true
		orderer.below = append(orderer.below, g)
	}
	for _, organization := range c.ApplicationOrganizations {
		id := organization.Definition.ID
		g := group("/Channel/Application/"+id, "application_organizations["+id+"].policies", memberDefaults(id), organization.Policies)
		g.organization = true
		application.below = append(application.below, g)
	}
	return root, problems
}

// metaDefaults are the policies of the channel group and of the two groups below it, with more of them as
// name and rule in turn.
func metaDefaults(more ...string) map[string]string {
	out := map[string]string{policyReaders: "ANY Readers", policyWriters: "ANY Writers", policyAdmins: "MAJORITY Admins"}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// ordererMemberDefaults are the policies of an orderer organization, memberDefaults those of an
// application organization.
func ordererMemberDefaults(id string) map[string]string {
	return map[string]string{policyReaders: "OR('" + id + ".member')", policyWriters: "OR('" + id + ".member')", policyAdmins: "OR('" + id + ".admin')"}
}

func memberDefaults(id string) map[string]string {
	defaults := ordererMemberDefaults(id)
	defaults[policyEndorsement] = "OR('" + id + ".peer')"
	return defaults
}

// validate finds policies that Fabric would accept and nobody could ever meet, or everybody could.
func (g *policyGroup) validate(mspIDs []string) []Problem {
	var problems []Problem
	for _, name := range slices.Sorted(maps.Keys(g.policies)) {
		p := g.policies[name]
		report := func(format string, args ...any) {
			problems = append(problems, Problem{fmt.Sprintf("%s[%s]", g.field, name), fmt.Sprintf(format, args...)})
		}
		for _, id := range p.Signature.MSPIDs() {
			if !slices.Contains(mspIDs, id) {
				report("%s names the MSP %s, which is not in the channel; its MSPs are %s", p, id, strings.Join(mspIDs, ", "))
			}
		}
		if p.Meta.IsZero() {
			continue
		}
		if g.organization {
			report("%q would let everybody through: an organization has no groups below it to ask; write a signature policy", p)
			continue
		}
		have := 0
		for _, below := range g.below {
			if _, ok := below.policies[p.Meta.SubPolicy]; ok {
				have++
			}
		}
		if wanted := p.Meta.Threshold(len(g.below)); have < wanted {
			report("%q can never be met: it wants the policy %s of %d of the %d groups below %s, and %d have one", p, p.Meta.SubPolicy, wanted, len(g.below), g.path, have)
		}
	}
	for _, below := range g.below {
		problems = append(problems, below.validate(mspIDs)...)
	}
	return problems
}

// has tells whether the policy with this path is in the group or below it.
func (g *policyGroup) has(path string) bool {
	if name, ok := strings.CutPrefix(path, g.path+"/"); ok {
		if _, ok := g.policies[name]; ok {
			return true
		}
	}
	return slices.ContainsFunc(g.below, func(below *policyGroup) bool { return below.has(path) })
}

// aclResources are the resources whose policy a channel can set, in Fabric 2.5 and 3.1 (core/aclmgmt,
// the channel part of the default provider). Fabric ignores any other name without a word.
var aclResources = []string{
	"_lifecycle/CheckCommitReadiness", "_lifecycle/CommitChaincodeDefinition",
	"_lifecycle/QueryChaincodeDefinition", "_lifecycle/QueryChaincodeDefinitions",
	"cscc/GetChannelConfig", "cscc/GetConfigBlock",
	"event/Block", "event/FilteredBlock",
	"gateway/ChaincodeEvents", "gateway/CommitStatus",
	"lscc/ChaincodeExists", "lscc/Deploy", "lscc/GetChaincodeData", "lscc/GetCollectionsConfig",
	"lscc/GetDeploymentSpec", "lscc/GetInstantiatedChaincodes", "lscc/Upgrade",
	"peer/ChaincodeToChaincode", "peer/Propose",
	"qscc/GetBlockByHash", "qscc/GetBlockByNumber", "qscc/GetBlockByTxID", "qscc/GetChainInfo", "qscc/GetTransactionByID",
}

// ACLResources gives the resources that Channel.ACLs can name, sorted.
func ACLResources() []string { return slices.Clone(aclResources) }

func (c Channel) validateACLs(tree *policyGroup) []Problem {
	var problems []Problem
	for _, resource := range slices.Sorted(maps.Keys(c.ACLs)) {
		report := func(format string, args ...any) {
			problems = append(problems, Problem{fmt.Sprintf("acls[%s]", resource), fmt.Sprintf(format, args...)})
		}
		if !slices.Contains(aclResources, resource) {
			report("peers know no such resource of a channel and would ignore it; they know %s", strings.Join(aclResources, ", "))
			continue
		}
		path := c.ACLs[resource]
		if !strings.HasPrefix(path, "/") {
			path = "/Channel/Application/" + path
		}
		if !tree.has(path) {
			report("the channel has no policy %q", path)
		}
	}
	return problems
}
