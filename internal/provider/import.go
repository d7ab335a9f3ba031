package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// importer is the common course of an import: what the parts of the import ID name is found on the engine
// as it was asked for, and the read that Terraform does next completes it. How many parts there are is
// known by then (resourceIdentities).
func importer(ctx context.Context, c *configured, req resource.ImportStateRequest, resp *resource.ImportStateResponse, model any,
	find func(f *network.Fabric, parts []string) error) {
	f := c.fabric(&resp.Diagnostics)
	if f == nil {
		return
	}
	if err := find(f, strings.Split(req.ID, "/")); err != nil {
		addError(&resp.Diagnostics, "Unable to import "+req.ID, err)
		return
	}
	if resp.Diagnostics.HasError() {
		return
	}
	rememberEngine(ctx, f, resp.Private, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, model)...)
}

// adopter is the importer of what can be adopted: the import ID may name containers that something else made.
func adopter(ctx context.Context, c *configured, req resource.ImportStateRequest, resp *resource.ImportStateResponse, model any,
	find func(f *network.Fabric, parts []string, containers map[string]string) error) {
	id, containers, err := adoptionID(req.ID)
	if err != nil {
		addError(&resp.Diagnostics, "Unable to import", err)
		return
	}
	req.ID = id
	importer(ctx, c, req, resp, model, func(f *network.Fabric, parts []string) error { return find(f, parts, containers) })
}

// noTimeouts is a timeouts attribute that the configuration does not set.
func noTimeouts() timeouts.Value {
	return timeouts.Value{Object: types.ObjectNull(map[string]attr.Type{
		"create": types.StringType, "update": types.StringType, "delete": types.StringType,
	})}
}

// place gives the handle of the network that a thing is on.
func place(h network.Handle) types.Object {
	return handleValue(h.With(network.KindNetwork, h.Network, ""))
}

func orNull(text string) types.String {
	if text == "" {
		return types.StringNull()
	}
	return types.StringValue(text)
}

// ImportState takes NETWORK/NAME.
func (r *caResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &caModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		spec, err := f.FindCA(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		state, err := f.ReadCA(ctx, spec.Handle)
		if err != nil {
			return err
		}
		m.take(ctx, spec.NodeOptions, &resp.Diagnostics)
		m.Timeouts, m.Handle = noTimeouts(), handleValue(spec.Handle)
		m.Network, m.Name = place(spec.Handle), types.StringValue(spec.Handle.Name)
		m.Organization, m.CommonName = types.StringValue(spec.Organization), types.StringValue(spec.CommonName)
		m.KeyAlgorithm = types.StringValue(string(spec.KeyAlgorithm))
		m.ValidityYears = types.Int64Value(int64(spec.RootValidity / (365 * day)))
		m.CertificateValidity, m.IdentityValidities = types.StringValue(durationText(spec.CertificateValidity)), durationsValue(spec.Validities)
		m.CRLValidity = types.StringValue(durationText(spec.CRLValidity))
		m.KeyVersion, m.RenewBefore = keyVersion(spec.KeyVersion), defaultRenewBefore()
		if state.Certificates, err = f.ReadCertificates(ctx, spec.Handle); err != nil {
			return err
		}
		m.Affiliations, m.SANs = listOf(ctx, spec.Affiliations, &resp.Diagnostics), listOf(ctx, spec.Hosts, &resp.Diagnostics)
		m.AdvertisedAddress, m.Parent = orNull(spec.AdvertisedAddress), types.ObjectNull(handleTypes)
		if spec.Parent != nil {
			m.Parent, m.ValidityYears = handleValue(*spec.Parent), types.Int64Null()
		}
		m.Endpoint = planEndpoint(m.AdvertisedAddress, m.Handle, 7054)
		state.ImageID = spec.ImageID
		m.merge(state)
		takeCertificates(m, state.Certificates, spec.Handle, m.RenewBefore)
		beginProtection(ctx, resp.Private, &resp.Diagnostics)
		return nil
	})
}

// ImportState takes NETWORK/MSP_ID.
func (r *organizationResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &organizationModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		h, state, err := f.FindOrganization(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		m.MSPID, m.Handle, m.Timeouts = types.StringValue(h.MSPID), handleValue(h), noTimeouts()
		m.CA, m.Network, m.Certificates = types.ObjectNull(handleTypes), types.ObjectNull(handleTypes), types.ObjectNull(certificatesTypes)
		if state.CA != "" {
			m.CA = handleValue(h.With(network.KindCA, state.CA, ""))
		} else {
			m.Network = place(h)
			m.Certificates = certificatesValue(ctx, state.Definition, &resp.Diagnostics)
			m.AdminDirectory = orNull(state.AdminDirectory)
		}
		m.KeyVersion, m.RenewBefore = keyVersion(state.KeyVersion), defaultRenewBefore()
		m.merge(ctx, state, &resp.Diagnostics)
		return nil
	})
}

// ImportState takes NETWORK/MSP_ID/NAME.
func (r *identityResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &identityModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		org, _, err := f.FindOrganization(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		h := org.With(network.KindIdentity, parts[2], org.MSPID)
		state, err := f.ReadIdentity(ctx, h, "", network.IdentityState{})
		if err != nil {
			return err
		}
		if !state.Registered || state.Certificate == "" {
			return fmt.Errorf("no identity %s of %s with a key on the engine: %w", parts[2], parts[1], network.ErrNotFound)
		}
		m.Organization, m.Name, m.Handle, m.Timeouts = handleValue(org), types.StringValue(parts[2]), handleValue(h), noTimeouts()
		m.Type, m.Affiliation, m.Directory = types.StringValue(state.Type), orNull(state.Affiliation), types.StringNull()
		m.Attributes, m.Validity = mapOf(ctx, state.Attributes, &resp.Diagnostics), durationOrNull(state.Validity)
		m.KeyVersion, m.RenewBefore = keyVersion(state.KeyVersion), defaultRenewBefore()
		m.merge(state, h)
		return nil
	})
}

// ImportState takes NETWORK/NAME, and NETWORK/NAME@NAME=CONTAINER to adopt what something else made.
func (r *peerResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &peerModel{}
	adopter(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string, containers map[string]string) error {
		if containers != nil {
			if err := f.AdoptPeer(ctx, parts[0], parts[1], containers[parts[1]]); err != nil {
				return err
			}
		}
		spec, err := f.FindPeer(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		state, err := f.ReadPeer(ctx, spec.Handle)
		if err != nil {
			return err
		}
		if state.Certificates, err = f.ReadCertificates(ctx, spec.Handle); err != nil {
			return err
		}
		m.take(ctx, spec.NodeOptions, &resp.Diagnostics)
		m.Timeouts, m.Handle = noTimeouts(), handleValue(spec.Handle)
		m.Organization, m.Name, m.Container = handleValue(spec.Handle.Organization()), types.StringValue(spec.Handle.Name), orNull(spec.Container)
		m.MaterialDirectory = orNull(spec.MaterialDirectory)
		m.FabricVersion, m.Config = types.StringValue(spec.Version.String()), overlayValue(ctx, spec.Config)
		m.AdvertisedAddress, m.SANs = orNull(spec.AdvertisedAddress), listOf(ctx, spec.Hosts, &resp.Diagnostics)
		m.Endpoint, m.MaxUnavailable = planEndpoint(m.AdvertisedAddress, m.Handle, 7051), types.Int64Value(defaultMaxUnavailable)
		m.takeStateDatabase(ctx, spec.StateDatabase, &resp.Diagnostics)
		if m.readStateDatabase(ctx, f, spec.Handle, &state, &resp.Diagnostics); resp.Diagnostics.HasError() {
			return nil
		}
		state.ImageID = spec.ImageID
		m.merge(state)
		m.memberCertificates, m.RenewBefore = importedCertificates(spec.KeyVersion), defaultRenewBefore()
		if takeCertificates(m, state.Certificates, spec.Handle, m.RenewBefore); !m.certified() {
			nothingFallsDue(m)
		}
		return nil
	})
}

// ImportState takes NETWORK/NAME, and NETWORK/NAME@NODE=CONTAINER,… to adopt what something else made.
func (r *ordererClusterResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &ordererClusterModel{}
	adopter(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string, containers map[string]string) error {
		if containers != nil {
			if err := f.AdoptOrderers(ctx, parts[0], parts[1], containers); err != nil {
				return err
			}
		}
		found, err := f.FindOrdererCluster(ctx, parts[0], parts[1])
		if err != nil {
			return err
		}
		handles, nodes := map[string]network.Handle{}, map[string]ordererModel{}
		for _, name := range slices.Sorted(maps.Keys(found.Nodes)) {
			spec := found.Nodes[name]
			m.take(ctx, spec.NodeOptions, &resp.Diagnostics)
			m.FabricVersion, m.Config, m.ImageID = types.StringValue(spec.Version.String()), overlayValue(ctx, spec.Config), types.StringValue(spec.ImageID)
			handles[name] = spec.Handle
			advertised := orNull(spec.AdvertisedAddress)
			nodes[name] = ordererModel{
				Organization: types.ObjectNull(handleTypes), Container: orNull(spec.Container), MaterialDirectory: orNull(spec.MaterialDirectory), AdvertisedAddress: advertised, SANs: listOf(ctx, spec.Hosts, &resp.Diagnostics),
				Endpoint:           planEndpoint(advertised, handleValue(spec.Handle), 7050),
				memberCertificates: importedCertificates(spec.KeyVersion),
			}
			if spec.Handle.MSPID != found.Handle.MSPID {
				n := nodes[name]
				n.Organization = handleValue(spec.Handle.Organization())
				nodes[name] = n
			}
		}
		states, err := f.ReadOrdererCluster(ctx, handles)
		if err != nil {
			return err
		}
		for name, state := range states {
			if state.Certificates, err = f.ReadCertificates(ctx, handles[name]); err != nil {
				return err
			}
			states[name] = state
		}
		m.Timeouts, m.Handle = noTimeouts(), handleValue(found.Handle)
		m.Organization, m.Name = handleValue(found.Handle.Organization()), types.StringValue(found.Handle.Name)
		m.RenewBefore = defaultRenewBefore()
		m.takeChannels(ctx, found, &resp.Diagnostics)
		m.setNodes(ctx, nodes, &resp.Diagnostics)
		m.merge(ctx, states, &resp.Diagnostics)
		return nil
	})
}

// ImportState takes NETWORK/NAME.
func (r *channelResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &channelModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		spec, err := f.FindChannel(ctx, parts[0], parts[1])
		if errors.Is(err, network.ErrNotFound) { // something else made it
			if err := f.AdoptChannel(ctx, parts[0], parts[1]); err != nil {
				return err
			}
			spec, err = f.FindChannel(ctx, parts[0], parts[1])
		}
		if err != nil {
			return err
		}
		m.take(ctx, spec, &resp.Diagnostics)
		beginProtection(ctx, resp.Private, &resp.Diagnostics)
		return nil
	})
}

func (m *channelModel) take(ctx context.Context, spec network.ChannelSpec, diags *diag.Diagnostics) {
	m.Name, m.Handle, m.Orderers, m.Timeouts = types.StringValue(spec.Handle.Name), handleValue(spec.Handle), handleValue(spec.Orderers), noTimeouts()
	m.LastChange, m.SelfManaged = types.ListNull(types.StringType), types.SetNull(types.StringType)
	selfManaged := []string{}
	for key, o := range spec.Organizations {
		if o.SelfManaged {
			selfManaged = append(selfManaged, key)
		}
	}
	if len(selfManaged) > 0 {
		value, d := types.SetValueFrom(ctx, types.StringType, selfManaged)
		diags.Append(d...)
		m.SelfManaged = value
	}
	config := spec.Config
	m.BatchTimeout, m.MaxMessageCount = types.StringValue(durationText(config.Batch.Timeout)), types.Int64Value(int64(config.Batch.MaxMessageCount))
	m.AbsoluteMaxBytes, m.PreferredMaxBytes = types.Int64Value(int64(config.Batch.AbsoluteMaxBytes)), types.Int64Value(int64(config.Batch.PreferredMaxBytes))
	m.ChannelCapability, m.ApplicationCapability = types.StringValue(config.ChannelCapability), types.StringValue(config.ApplicationCapability)
	m.ACLs, m.ApplicationPolicies = mapOf(ctx, config.ACLs, diags), mapOf(ctx, config.ApplicationPolicies, diags)
	m.DeletionProtection, m.AcceptDataLoss, m.Status = types.BoolValue(true), types.BoolValue(false), types.StringValue(channelActive)
	organizations, anchors := map[string]channelOrganizationModel{}, map[string][]string{}
	for key, o := range spec.Organizations {
		peers := map[string]attr.Value{}
		for name, p := range o.Peers {
			peers[name] = handleValue(p)
		}
		organizations[key] = channelOrganizationModel{
			Organization: handleValue(o.Organization), Definition: definitionValue(ctx, o.Definition, diags), Peers: types.MapValueMust(handleType, peers),
		}
		if len(o.AnchorPeers) > 0 {
			anchors[key] = o.AnchorPeers
		}
	}
	value, d := types.MapValueFrom(ctx, channelOrganizationType, organizations)
	diags.Append(d...)
	m.Organizations = value
	lists := types.ListType{ElemType: types.StringType}
	m.AnchorPeers = types.MapNull(lists)
	if len(anchors) > 0 {
		value, d := types.MapValueFrom(ctx, lists, anchors)
		diags.Append(d...)
		m.AnchorPeers = value
	}
}

// durationText writes a duration as people do.
func durationText(d time.Duration) string { return network.DurationText(d) }

// ImportState takes NETWORK/CHANNEL/NAME, and NETWORK/CHANNEL/NAME@PEER=CONTAINER,… to adopt the servers
// that something else made.
func (r *chaincodeResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &chaincodeModel{}
	adopter(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string, containers map[string]string) error {
		if containers != nil {
			if err := f.AdoptChaincode(ctx, parts[0], parts[1], parts[2], containers); err != nil {
				return err
			}
			resp.Diagnostics.Append(resp.Private.SetKey(ctx, adoptedKey, []byte("true"))...)
		}
		spec, err := f.FindChaincode(ctx, parts[0], parts[1], parts[2])
		if err != nil {
			return err
		}
		h := network.ChaincodeHandle(spec.Channel, spec.Name)
		state, err := f.ReadChaincode(ctx, h)
		if err != nil {
			return err
		}
		if state.Committed == nil {
			return fmt.Errorf("channel %s has no chaincode %s: %w", parts[1], parts[2], network.ErrNotFound)
		}
		m.takeImported(ctx, h, spec, state, &resp.Diagnostics)
		return nil
	})
}

// takeImported writes what was asked for of a chaincode, and its definition.
func (m *chaincodeModel) takeImported(ctx context.Context, h network.Handle, spec network.ChaincodeSpec, state network.ChaincodeState, diags *diag.Diagnostics) {
	run := &runModel{}
	run.take(ctx, spec.Server.NodeOptions, diags)
	m.Channel, m.Name, m.Label = handleValue(spec.Channel), types.StringValue(spec.Name), types.StringValue(spec.Label)
	m.Version, m.InitRequired = types.StringValue(state.Committed.Version), types.BoolValue(state.Committed.InitRequired)
	m.Handle, m.Timeouts = handleValue(h), noTimeouts()
	m.Server, m.Package = types.ObjectNull(serverTypes), types.ObjectNull(packageTypes) // where a package came from, nobody keeps
	if spec.Server.Image != "" {
		per := perPeer
		if spec.Server.PerOrganization {
			per = perOrganization
		}
		m.Server = types.ObjectValueMust(serverTypes, map[string]attr.Value{
			"image": types.StringValue(spec.Server.Image), "env": mapOf(ctx, spec.Server.Env, diags),
			"command": listOf(ctx, spec.Server.Command, diags), "limits": run.Limits,
			"mutual_tls": types.BoolValue(spec.Server.MutualTLS), "per": types.StringValue(per),
			"secret_env_wo": types.MapNull(types.StringType), "secret_env_wo_version": nullable(spec.Server.SecretVersion),
		})
	}
	m.Verification, m.Approvals, m.Canary = nullObject(verificationAttribute()), nullObject(approvalsAttribute()), nullObject(canaryAttribute()) // the user's own rules
	m.takePolicy(state.Committed.ValidationParameter)
	m.takeCollections(ctx, network.Collections(state.Committed.Collections), diags)
	m.takeIndexes(ctx, spec.Indexes, diags)
	state.ImageID = spec.Server.ImageID
	m.merge(state)
}

// ImportState takes NETWORK/CHANNEL/TRANSACTION_ID.
func (r *transactionResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	m := &transactionModel{}
	importer(ctx, &r.configured, req, resp, m, func(f *network.Fabric, parts []string) error {
		call, result, err := f.FindTransaction(ctx, parts[0], parts[1], parts[2])
		if err != nil {
			return err
		}
		m.Chaincode, m.Identity, m.Function = handleValue(call.Chaincode), handleValue(call.Identity), types.StringValue(call.Function)
		m.Arguments, m.Init = listOf(ctx, call.Arguments, &resp.Diagnostics), types.BoolValue(call.Init)
		m.TransientWO, m.TransientWOVersion = types.MapNull(types.StringType), types.StringNull()
		m.EndorsingOrganizations, m.Triggers = types.ListNull(types.StringType), types.MapNull(types.StringType)
		m.ExpectedStatus = types.StringNull()
		m.Timeouts = noTimeouts()
		m.take(result)
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, []byte("true"))...)
		return nil
	})
}

// nullObject is the null value of an attribute that is an object.
func nullObject(a schema.SingleNestedAttribute) types.Object {
	object, _ := a.GetType().(types.ObjectType)
	return types.ObjectNull(object.AttrTypes)
}
