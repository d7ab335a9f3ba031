package provider

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/configtx"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// externalConsenterModel is an ordering node of the cluster that another state runs.
type externalConsenterModel struct {
	Address        types.String `tfsdk:"address"`
	TLSCertificate types.String `tfsdk:"tls_certificate"`
	Definition     types.Object `tfsdk:"definition"`
	Consenter      types.Bool   `tfsdk:"consenter"`
}

var externalConsenterType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"address": types.StringType, "tls_certificate": types.StringType,
	"definition": types.ObjectType{AttrTypes: definitionTypes}, "consenter": types.BoolType,
}}

func externalConsentersAttribute() schema.Attribute {
	return schema.MapNestedAttribute{
		Optional: true,
		MarkdownDescription: "Ordering nodes of the cluster that other states run, by a name of your choice: each a `fabric_orderer`, described by what its state hands over. " +
			"With an entry, the organization of the node is made known to the channels together with its endpoint, so that the node may join them as a follower; a node that is listed here is no stranger, and stays a consenter where it is one. " +
			"From then on a majority of all ordering organizations decides who orders. Where not all of their admins are among `admins`, leave it to them (`consenter = false`): when the node has joined, `fabric_channel_proposal` proposes `add_consenter`, the organizations sign it in their own states, and nothing changes here. " +
			"In the same way it goes: `remove_consenter`, together with `remove_orderer_organizations`; once that is in force, take the entry out. Only then: the cluster takes consenters that it does not know off its channels.",
		Validators: []validator.Map{mapvalidator.SizeAtLeast(1), mapvalidator.KeysAre(nodeName), externalConsenters{}},
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"address": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Address (`host:port`) by which the other ordering nodes and the peers reach the node. Must be given.",
				Validators:          []validator.String{hostPort},
			},
			"tls_certificate": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "TLS certificate of the node, in PEM: `tls_certificate` of the `fabric_orderer`. Must be given. One that was renewed with its key changes nothing on the channels.",
				Validators:          []validator.String{check{wants: "a certificate in PEM", summary: "Not a certificate", problem: isCertificate}},
			},
			"definition": schema.ObjectAttribute{
				Optional: true, AttributeTypes: definitionTypes,
				MarkdownDescription: "Definition of the node's organization: `definition` of the partner's `fabric_organization`. Must be given.",
			},
			"consenter": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(true),
				MarkdownDescription: "Whether the cluster makes the node a consenter. Defaults to `true`, which wants the admins of a majority of the ordering organizations in `admins`, a node that has joined, and a quorum without it, because nobody here can ask how far it is. With `false` its organization is made known, and whether it is a consenter is up to `fabric_channel_proposal`.",
			},
		}},
	}
}

func isCertificate(text string) error {
	_, err := certificate.ParseCertificates([]byte(text))
	return err
}

// externalConsenters refuses nodes of which something is missing. Nothing can be required in the schema,
// because an element of the map may be unknown during plan.
type externalConsenters struct{}

func (externalConsenters) Description(context.Context) string {
	return "ordering nodes with an address, a TLS certificate and a definition"
}
func (v externalConsenters) MarkdownDescription(ctx context.Context) string {
	return v.Description(ctx)
}

func (externalConsenters) ValidateMap(_ context.Context, req validator.MapRequest, resp *validator.MapResponse) {
	for _, name := range slices.Sorted(maps.Keys(req.ConfigValue.Elements())) {
		object, ok := req.ConfigValue.Elements()[name].(types.Object)
		if !ok || object.IsUnknown() {
			continue
		}
		for _, member := range []string{"address", "tls_certificate", "definition"} {
			if object.IsNull() || object.Attributes()[member].IsNull() {
				addNested(&resp.Diagnostics, req.Path.AtMapKey(name).AtName(member), "Incomplete consenter", "Give "+member+", as the partner hands it over.")
			}
		}
	}
}

// refuseExternal refuses entries that are new, or say something new, and that no channel would take: a
// definition that makes no MSP, a certificate that its TLS roots do not vouch for.
func (m *ordererClusterModel) refuseExternal(ctx context.Context, prior *ordererClusterModel, diags *diag.Diagnostics) {
	all := m.external(ctx, diags)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		element, at, e := m.External.Elements()[name], path.Root("external_consenters").AtMapKey(name), all[name]
		if was, ok := prior.External.Elements()[name]; ok && was.Equal(element) || !known(ctx, element) {
			continue
		}
		if err := e.Definition.Validate(); err != nil {
			diags.AddAttributeError(at.AtName("definition"), "Definition that makes no MSP", sentence(err))
			continue
		}
		if err := e.VerifyCertificate(); err != nil {
			diags.AddAttributeError(at.AtName("tls_certificate"), "Not a certificate of this node", sentence(err)+
				" It must be for the host of address, and come from the TLS roots in definition.")
		}
	}
}

// external gives the ordering nodes that others run.
func (m *ordererClusterModel) external(ctx context.Context, diags *diag.Diagnostics) map[string]network.ExternalConsenter {
	out := map[string]network.ExternalConsenter{}
	for name, element := range m.External.Elements() {
		var e externalConsenterModel
		if object, ok := element.(types.Object); ok && !object.IsUnknown() {
			diags.Append(object.As(ctx, &e, basetypes.ObjectAsOptions{})...)
		}
		host, text, _ := net.SplitHostPort(e.Address.ValueString()) // the attribute's own validator says what is wrong
		port, _ := strconv.Atoi(text)
		out[name] = network.ExternalConsenter{
			Address: configtx.Address{Host: host, Port: port}, TLSCertificate: e.TLSCertificate.ValueString(),
			Definition: definitionFrom(ctx, e.Definition, diags), Consenter: e.Consenter.ValueBool(),
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// externalValue writes back what import found.
func externalValue(ctx context.Context, external map[string]network.ExternalConsenter, diags *diag.Diagnostics) types.Map {
	if len(external) == 0 {
		return types.MapNull(externalConsenterType)
	}
	values := map[string]attr.Value{}
	for name, e := range external {
		values[name] = types.ObjectValueMust(externalConsenterType.AttrTypes, map[string]attr.Value{
			"address": types.StringValue(net.JoinHostPort(e.Address.Host, strconv.Itoa(e.Address.Port))), "tls_certificate": types.StringValue(e.TLSCertificate),
			"definition": definitionValue(ctx, e.Definition, diags), "consenter": types.BoolValue(e.Consenter),
		})
	}
	return types.MapValueMust(externalConsenterType, values)
}
