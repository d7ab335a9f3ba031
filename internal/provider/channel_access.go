package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/objectvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// remoteOrdererModel is an ordering node that another state runs.
type remoteOrdererModel struct {
	Address    types.String `tfsdk:"address"`
	TLSRoots   types.List   `tfsdk:"tls_root_certificates"`
	ServerName types.String `tfsdk:"tls_server_name"`
}

var remoteOrdererType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"address": types.StringType, "tls_root_certificates": types.ListType{ElemType: types.StringType}, "tls_server_name": types.StringType,
}}

// remoteOrderers is the attribute for the ordering nodes of somebody else, typed by hand.
func remoteOrderers(what string) schema.MapNestedAttribute {
	return schema.MapNestedAttribute{
		Optional: true,
		MarkdownDescription: what + " By a name of your choice; one that answers is enough. They are reached by plain TCP from where the provider runs. " +
			"Nodes that want a client's TLS certificate on this endpoint cannot be reached.",
		Validators: []validator.Map{mapvalidator.SizeAtLeast(1), reachable{}},
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"address": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Address (`host:port`) of the node's gRPC services, as it is reached from where the provider runs. Must be given.",
				Validators:          []validator.String{hostPort},
			},
			"tls_root_certificates": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Roots of the node's TLS certificate, each in PEM. Must be given: they tell the node from whoever else answers there.",
			},
			"tls_server_name": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name in the node's TLS certificate. Defaults to the host of `address`.",
				Validators:          []validator.String{hostName},
			},
		}},
	}
}

// reachable refuses ordering nodes without an address or roots. Neither can be required in the schema,
// because an element of the map may be unknown during plan.
type reachable struct{}

func (reachable) Description(context.Context) string {
	return "ordering nodes with an address and TLS roots"
}
func (v reachable) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (reachable) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for _, name := range slices.Sorted(maps.Keys(req.ConfigValue.Elements())) {
		object, ok := req.ConfigValue.Elements()[name].(types.Object)
		if !ok || object.IsUnknown() {
			continue
		}
		at := req.Path.AtMapKey(name)
		if address, _ := object.Attributes()["address"].(types.String); address.IsNull() {
			addNested(&resp.Diagnostics, at.AtName("address"), "No address", "Give the address of the node as host:port.")
		}
		roots, _ := object.Attributes()["tls_root_certificates"].(types.List)
		if roots.IsUnknown() {
			continue
		}
		if len(roots.Elements()) == 0 {
			addNested(&resp.Diagnostics, at.AtName("tls_root_certificates"), "No TLS roots", "Give the roots of the node's TLS certificate, for example tls_root_certificates of its organization's definition.")
		}
		for i, element := range roots.Elements() {
			text, _ := element.(types.String)
			if text.IsUnknown() {
				continue
			}
			if _, err := certificate.ParseCertificates([]byte(text.ValueString())); err != nil {
				addNested(&resp.Diagnostics, at.AtName("tls_root_certificates").AtListIndex(i), "Not a certificate", sentence(err))
			}
		}
	}
}

// orderersFrom reads ordering nodes that were typed by hand.
func orderersFrom(ctx context.Context, m types.Map, diags *diag.Diagnostics) map[string]network.RemoteOrderer {
	out := map[string]network.RemoteOrderer{}
	for name, element := range m.Elements() {
		var o remoteOrdererModel
		if object, ok := element.(types.Object); ok && !object.IsNull() {
			diags.Append(object.As(ctx, &o, basetypes.ObjectAsOptions{})...)
		}
		out[name] = network.RemoteOrderer{
			Address: o.Address.ValueString(), TLSRoots: stringList(ctx, o.TLSRoots, diags), ServerName: o.ServerName.ValueString(),
		}
	}
	return out
}

// remoteOrderersValue writes them; null for none.
func remoteOrderersValue(ctx context.Context, orderers map[string]network.RemoteOrderer, diags *diag.Diagnostics) types.Map {
	if len(orderers) == 0 {
		return types.MapNull(remoteOrdererType)
	}
	models := map[string]remoteOrdererModel{}
	for name, o := range orderers {
		models[name] = remoteOrdererModel{Address: types.StringValue(o.Address), TLSRoots: listOf(ctx, o.TLSRoots, diags), ServerName: orNull(o.ServerName)}
	}
	value, d := types.MapValueFrom(ctx, remoteOrdererType, models)
	diags.Append(d...)
	return value
}

// accessModel is how a resource reaches a channel whose configuration several organizations change.
type accessModel struct {
	Channel      types.Object `tfsdk:"channel"`
	Orderers     types.Map    `tfsdk:"orderers"`
	Organization types.Object `tfsdk:"organization"`
}

// accessAttributes are those of accessModel, but for the organization.
func accessAttributes() map[string]schema.Attribute {
	channel := handleInput("Handle of the channel: of a `fabric_channel` of this configuration, or of the `fabric_channel_membership` of an organization in a channel that another state owns.", network.KindChannel, network.KindChannelMembership)
	channel.Required, channel.Optional = false, true
	channel.Validators = append(channel.Validators, objectvalidator.ExactlyOneOf(path.MatchRoot("channel"), path.MatchRoot("orderers")))
	return map[string]schema.Attribute{
		"channel":  channel,
		"orderers": remoteOrderers("Ordering nodes of the channel, where neither `fabric_channel` nor `fabric_channel_membership` is at hand: for an organization that runs ordering nodes only, for example."),
	}
}

// access gives the way to the channel of that name.
func (m *accessModel) access(ctx context.Context, name string, diags *diag.Diagnostics) network.ChannelAccess {
	return network.ChannelAccess{
		Channel: handleFrom(ctx, m.Channel, diags), Name: name,
		Orderers: orderersFrom(ctx, m.Orderers, diags), Organization: handleFrom(ctx, m.Organization, diags),
	}
}

// readUpdate reads an update as it is handed between states.
func readUpdate(text string) (network.Update, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return network.Update{}, fmt.Errorf("unable to read the config update: it is not base64: %w", err)
	}
	return network.ReadUpdate(raw)
}

// isUpdate holds a text to being an update.
func isUpdate(text string) error {
	_, err := readUpdate(text)
	return err
}

// updateInput is the attribute that takes an update.
func updateInput() schema.StringAttribute {
	return schema.StringAttribute{
		Required:            true,
		MarkdownDescription: "The config update, as `fabric_channel_proposal` gives it: a `common.ConfigUpdate` in base64. Changing it replaces the resource.",
		Validators:          []validator.String{check{wants: "a config update in base64", summary: "Not a config update", problem: isUpdate}},
		PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
	}
}

// factAttributes are the computed attributes that the bytes of an update give.
func factAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"changes": schema.ListAttribute{
			Computed: true, ElementType: types.StringType,
			MarkdownDescription: "What the update writes, in words, as far as its bytes tell: the plan shows it before anything is signed or sent. Values that it replaces are not in its bytes.",
			PlanModifiers:       []planmodifier.List{listplanmodifier.UseStateForUnknown()},
		},
		"digest": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "SHA-256 of the update, in hexadecimal.",
			PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		},
		"base_sequence": schema.Int64Attribute{
			Computed:            true,
			MarkdownDescription: "Sequence of the configuration that the update was made for; null when another tool made it.",
			PlanModifiers:       []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
		},
		"expires_at": schema.StringAttribute{
			Computed:            true,
			MarkdownDescription: "When the update expires (RFC 3339); null when another tool made it.",
			PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
		},
	}
}

// factsModel holds them.
type factsModel struct {
	Changes      types.List   `tfsdk:"changes"`
	Digest       types.String `tfsdk:"digest"`
	BaseSequence types.Int64  `tfsdk:"base_sequence"`
	ExpiresAt    types.String `tfsdk:"expires_at"`
}

func (m *factsModel) take(ctx context.Context, u network.Update, diags *diag.Diagnostics) {
	changes, d := types.ListValueFrom(ctx, types.StringType, u.Writes)
	diags.Append(d...)
	m.Changes, m.Digest, m.BaseSequence, m.ExpiresAt = changes, types.StringValue(u.Digest), types.Int64Null(), types.StringNull()
	if u.Terms != nil {
		m.BaseSequence, m.ExpiresAt = types.Int64Value(int64(u.Terms.Sequence)), types.StringValue(u.Terms.Expires.Format(time.RFC3339))
	}
}

// refuseUpdate reports what speaks against using an update with this channel now.
func refuseUpdate(u network.Update, channel types.Object, diags *diag.Diagnostics) {
	if err := u.RefuseExpired(); err != nil {
		diags.AddAttributeError(path.Root("update"), "Expired update", explain(err))
	}
	name := handleMember(channel, "name")
	if name.IsNull() || name.IsUnknown() || name.ValueString() == u.Channel {
		return
	}
	diags.AddAttributeError(path.Root("update"), "Update of another channel",
		fmt.Sprintf("The update is one of channel %s, and channel names channel %s.", u.Channel, name.ValueString()))
}

// addUpdateError reports why an update was not made, signed or submitted.
func addUpdateError(diags *diag.Diagnostics, summary string, err error) {
	invalid := new(configtx.InvalidError)
	if errors.As(err, &invalid) {
		for _, p := range invalid.Problems {
			diags.AddError(summary+": "+p.Field, sentence(errors.New(p.Reason)))
		}
		return
	}
	addError(diags, summary, err)
}
