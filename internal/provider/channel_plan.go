package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// basisKey is the private state entry that holds what Read saw of the channel's configuration, for
// the plan of a change.
const basisKey = "basis"

// rememberBasis keeps what the next plan rests on. Without it a change is planned without its words.
func rememberBasis(ctx context.Context, private privateStateWriter, basis network.ChannelBasis, diags *diag.Diagnostics) {
	raw, err := json.Marshal(basis)
	if err != nil {
		addError(diags, "Unable to keep the configuration of the channel", err)
		return
	}
	diags.Append(private.SetKey(ctx, basisKey, raw)...)
}

func basisFrom(ctx context.Context, private privateState, diags *diag.Diagnostics) (basis network.ChannelBasis, ok bool) {
	raw, d := private.GetKey(ctx, basisKey)
	diags.Append(d...)
	if len(raw) == 0 {
		return basis, false
	}
	if err := unmarshal(raw, &basis); err != nil {
		addError(diags, "Unable to read what was kept of the channel", err)
		return basis, false
	}
	return basis, true
}

// planChange says in words what an update changes, and refuses one that nobody here can sign. It
// computes from the state and the configuration alone. Rejoining are peers of before that are made anew:
// destroyed first, they have left the channel by then.
func (m *channelModel) planChange(ctx context.Context, prior *channelModel, rejoining []string, private privateState, diags *diag.Diagnostics) {
	m.LastChange = prior.LastChange
	if m.same(prior) && len(rejoining) == 0 {
		return
	}
	m.LastChange = types.ListUnknown(types.StringType)
	basis, ok := basisFrom(ctx, private, diags)
	if !ok || !m.foreseeable(ctx, prior) || diags.HasError() {
		return
	}
	if m.refuseOldNodes(prior, basis, diags); diags.HasError() {
		return
	}
	spec := m.spec(ctx, diags)
	plan, err := network.PlanChannel(spec, basis)
	if err != nil {
		m.addError(diags, "change", err)
		return
	}
	before := prior.spec(ctx, diags)
	words := append(plan.Changes, network.PeersMoved(before.Organizations, spec.Organizations)...)
	for _, name := range rejoining {
		words = append(words, "peer "+name+", made anew, joins again")
	}
	if len(plan.Missing) > 0 {
		diags.AddAttributeError(path.Root("organizations"), "Signatures are missing for the change of channel "+m.Name.ValueString(),
			strings.Join(plan.Missing, "\n")+"\n\nLet the organizations sign it: make the update with fabric_channel_proposal, have each of them sign it with fabric_channel_signature in its own state, and submit it with fabric_channel_submission.")
	}
	value, d := types.ListValueFrom(ctx, types.StringType, words)
	diags.Append(d...)
	m.LastChange = value
	if len(words) == 0 { // only the spelling changed, or what is no part of the channel
		m.LastChange = prior.LastChange
	}
}

// same tells whether nothing changes that concerns the channel itself.
func (m *channelModel) same(prior *channelModel) bool {
	return !changed(prior.Organizations, m.Organizations, prior.AnchorPeers, m.AnchorPeers, prior.BatchTimeout, m.BatchTimeout,
		prior.MaxMessageCount, m.MaxMessageCount, prior.AbsoluteMaxBytes, m.AbsoluteMaxBytes, prior.PreferredMaxBytes, m.PreferredMaxBytes,
		prior.ChannelCapability, m.ChannelCapability, prior.ApplicationCapability, m.ApplicationCapability, prior.ACLs, m.ACLs,
		prior.ApplicationPolicies, m.ApplicationPolicies, prior.SelfManaged, m.SelfManaged, prior.Status, m.Status)
}

// foreseeable tells whether the words of the change depend on nothing that is unknown yet. The
// definition of an organization that joins is not among them.
func (m *channelModel) foreseeable(ctx context.Context, prior *channelModel) bool {
	if !known(ctx, m.AnchorPeers, m.BatchTimeout, m.MaxMessageCount, m.AbsoluteMaxBytes, m.PreferredMaxBytes, m.ChannelCapability,
		m.ApplicationCapability, m.ACLs, m.ApplicationPolicies, m.SelfManaged) || m.Organizations.IsUnknown() {
		return false
	}
	var diags diag.Diagnostics // validators have told already
	members := map[string]bool{}
	for _, o := range prior.members(ctx, &diags) {
		members[handleMember(o.Organization, "msp_id").ValueString()] = true
	}
	for _, o := range m.members(ctx, &diags) {
		if !known(ctx, o.Organization, o.Peers) {
			return false
		}
		if members[handleMember(o.Organization, "msp_id").ValueString()] && !known(ctx, o.Definition) {
			return false
		}
	}
	return !diags.HasError()
}

// refuseRaise refuses V3_0 on a running channel without the word that every member's nodes can serve it.
func (m *channelModel) refuseRaise(prior *channelModel, diags *diag.Diagnostics) {
	if m.ChannelCapability.ValueString() != configtx.ChannelCapabilityV3_0 || prior.ChannelCapability.Equal(m.ChannelCapability) ||
		m.CapabilityAttestation.IsUnknown() || m.CapabilityAttestation.ValueString() == configtx.ChannelCapabilityV3_0 {
		return
	}
	diags.AddAttributeError(path.Root("capability_attestation"), "V3_0 wants an attestation",
		"A node older than Fabric 3.0 ends itself when it meets the channel capability V3_0, and there is no way back to V2_0. Nodes of this network are looked at; those of other organizations cannot be. When every node of every member runs Fabric 3.0 or later, set capability_attestation = \"V3_0\".")
}

// refuseOldNodes refuses V3_0 while a node of the channel that runs here does not know it. Raising the
// nodes and the capability are two applies: the first can be taken back.
func (m *channelModel) refuseOldNodes(prior *channelModel, basis network.ChannelBasis, diags *diag.Diagnostics) {
	if m.ChannelCapability.ValueString() != configtx.ChannelCapabilityV3_0 || prior.ChannelCapability.Equal(m.ChannelCapability) || len(basis.Before3) == 0 {
		return
	}
	var nodes []string
	for _, name := range slices.Sorted(maps.Keys(basis.Before3)) {
		nodes = append(nodes, name+" (Fabric "+basis.Before3[name]+")")
	}
	diags.AddAttributeError(path.Root("channel_capability"), "V3_0 needs nodes of Fabric 3.0 or later",
		"These nodes of the channel end themselves when they meet it: "+strings.Join(nodes, ", ")+". Raise their fabric_version and apply that first; then set channel_capability.")
}

// refuseLowering refuses to take a capability back: blocks that were made under it cannot be read without it.
func (m *channelModel) refuseLowering(prior *channelModel, diags *diag.Diagnostics) {
	for _, a := range []struct {
		name        string
		before, now types.String
	}{{"channel_capability", prior.ChannelCapability, m.ChannelCapability}, {"application_capability", prior.ApplicationCapability, m.ApplicationCapability}} {
		if !a.now.IsUnknown() && a.now.ValueString() < a.before.ValueString() {
			diags.AddAttributeError(path.Root(a.name), "A capability cannot be taken back",
				fmt.Sprintf("The channel has %s. Keep it: blocks that were made under a capability cannot be validated without it.", a.before.ValueString()))
		}
	}
}

// refuseStrangers refuses self-managed organizations that are not in the channel.
func (m *channelModel) refuseStrangers(ctx context.Context, diags *diag.Diagnostics) {
	if m.Organizations.IsUnknown() || !known(ctx, m.SelfManaged) {
		return
	}
	for _, element := range m.SelfManaged.Elements() {
		key, _ := element.(types.String)
		if _, ok := m.Organizations.Elements()[key.ValueString()]; !ok {
			diags.AddAttributeError(path.Root("self_managed_organizations"), "Unknown organization",
				fmt.Sprintf("There is no organization %q in organizations, which are: %s.", key.ValueString(), strings.Join(slices.Sorted(maps.Keys(m.Organizations.Elements())), ", ")))
		}
	}
}

// selfManaged gives the keys of the organizations that manage themselves.
func (m *channelModel) selfManaged() map[string]bool {
	out := map[string]bool{}
	for _, element := range m.SelfManaged.Elements() {
		if key, ok := element.(types.String); ok {
			out[key.ValueString()] = true
		}
	}
	return out
}
