package provider

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// takeConfiguration puts into the state what the channel's configuration says, field by field, where
// that is not what the state says in other words. What others own is left out: consenters and
// endpoints (the ordering cluster), revocation lists (fabric_crl), and what organizations manage themselves.
func (m *channelModel) takeConfiguration(ctx context.Context, summary configtx.Summary, basis network.ChannelBasis, diags *diag.Diagnostics) {
	if now, err := time.ParseDuration(m.BatchTimeout.ValueString()); err != nil || now != summary.Batch.Timeout {
		m.BatchTimeout = types.StringValue(summary.Batch.Timeout.String())
	}
	m.MaxMessageCount = types.Int64Value(int64(summary.Batch.MaxMessageCount))
	m.AbsoluteMaxBytes = types.Int64Value(int64(summary.Batch.AbsoluteMaxBytes))
	m.PreferredMaxBytes = types.Int64Value(int64(summary.Batch.PreferredMaxBytes))
	m.ChannelCapability = highest(summary.ChannelCapabilities, m.ChannelCapability)
	m.ApplicationCapability = highest(summary.ApplicationCapabilities, m.ApplicationCapability)
	m.ACLs = m.foundACLs(ctx, summary, diags)
	m.ApplicationPolicies = m.foundPolicies(ctx, summary, diags)
	m.takeOrganizations(ctx, summary, basis, diags)
}

// highest gives the highest of the capabilities of a group: that is the one in force.
func highest(found []string, before types.String) types.String {
	if len(found) == 0 {
		return before
	}
	return types.StringValue(slices.Max(found))
}

// foundACLs keeps the user's spelling of what is so.
func (m *channelModel) foundACLs(ctx context.Context, summary configtx.Summary, diags *diag.Diagnostics) types.Map {
	before, found := stringMap(ctx, m.ACLs, diags), map[string]string{}
	for resource, reference := range summary.ACLs {
		found[resource] = reference
		if text := before[resource]; text != "" && fullReference(text) == fullReference(reference) {
			found[resource] = text
		}
	}
	return foundMap(ctx, m.ACLs, found, diags)
}

// fullReference is the path of a policy: a bare name is one of the application's.
func fullReference(reference string) string {
	if strings.HasPrefix(reference, "/") {
		return reference
	}
	return "/Channel/Application/" + reference
}

// foundPolicies gives those of the application that are not Fabric's defaults, in the user's spelling
// where the meaning is the same.
func (m *channelModel) foundPolicies(ctx context.Context, summary configtx.Summary, diags *diag.Diagnostics) types.Map {
	before, found := stringMap(ctx, m.ApplicationPolicies, diags), map[string]string{}
	maps.Copy(found, summary.ApplicationPolicies)
	for name, wanted := range before {
		text, ok := summary.Policies[fullReference(name)]
		switch {
		case ok && samePolicy(wanted, text):
			found[name] = wanted
		case ok:
			found[name] = text
		}
	}
	return foundMap(ctx, m.ApplicationPolicies, found, diags)
}

func samePolicy(a, b string) bool {
	first, err := policy.ParseConfigPolicy(a)
	second, secondErr := policy.ParseConfigPolicy(b)
	if err != nil || secondErr != nil {
		return a == b
	}
	return first.String() == second.String()
}

// foundMap is null where the state had null and nothing was found.
func foundMap(ctx context.Context, before types.Map, found map[string]string, diags *diag.Diagnostics) types.Map {
	if len(found) == 0 && before.IsNull() {
		return before
	}
	value, d := types.MapValueFrom(ctx, types.StringType, found)
	diags.Append(d...)
	return value
}

// takeOrganizations takes organizations out of the state that are no members, adds those that
// somebody else added, and takes definitions and anchor peers that are not as the state says.
func (m *channelModel) takeOrganizations(ctx context.Context, summary configtx.Summary, basis network.ChannelBasis, diags *diag.Diagnostics) {
	found := map[string]configtx.OrganizationSummary{}
	for _, o := range summary.ApplicationOrganizations {
		found[o.Definition.ID] = o
	}
	spec, selfManaged := m.spec(ctx, diags), m.selfManaged()
	organizations := m.members(ctx, diags)
	anchors := map[string]attr.Value{}
	maps.Copy(anchors, m.AnchorPeers.Elements())
	for key, member := range spec.Organizations {
		has, ok := found[member.Organization.MSPID]
		delete(found, member.Organization.MSPID)
		if !ok {
			delete(organizations, key)
			continue
		}
		if selfManaged[key] {
			continue
		}
		has.Definition.RevocationLists = member.Definition.RevocationLists // they are fabric_crl's
		if !configtx.SameDefinition(member.Definition, has.Definition) {
			o := organizations[key]
			o.Definition = definitionValue(ctx, has.Definition, diags)
			organizations[key] = o
		}
		if names := basis.NamesOf(member, has.AnchorPeers); names != nil {
			value, d := types.ListValueFrom(ctx, types.StringType, names)
			diags.Append(d...)
			anchors[key] = value
		}
	}
	place := spec.Orderers
	for id, has := range found {
		peers, d := types.MapValue(handleType, map[string]attr.Value{})
		diags.Append(d...)
		organizations[id] = channelOrganizationModel{
			Organization: handleValue(place.With(network.KindOrganization, id, id)), Definition: definitionValue(ctx, has.Definition, diags), Peers: peers,
		}
	}
	value, d := types.MapValueFrom(ctx, channelOrganizationType, organizations)
	diags.Append(d...)
	m.Organizations = value
	if len(anchors) > 0 || !m.AnchorPeers.IsNull() {
		value, d := types.MapValue(types.ListType{ElemType: types.StringType}, anchors)
		diags.Append(d...)
		m.AnchorPeers = value
	}
}
