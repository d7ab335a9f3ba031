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
		MarkdownDescription: "Ordering nodes of the cluster that other states run, by a name of your choice: each a `fabric_orderer` of a partner, described by what the partner hands over. " +
			"First the partner's organization is made known to the channels (`consenter = false`), so that its node may join them as a follower; when the partner says that it has, `consenter = true` makes it a consenter. " +
			"Such a node becomes a consenter only where the others have a quorum without it, because nobody here can ask how far it is. Its endpoint is written together with its organization; changes of it later fall under the partner's own admins. " +
			"With the partner's organization among the ordering ones, a majority of all of them signs further changes: where the partner's admin is not among `admins`, bring the consenter in by `fabric_channel_proposal` and list it here as well. What is on the ledger already is not written again.",
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
				MarkdownDescription: "Whether the node is to be a consenter by now. Defaults to `true`; `false` makes its organization known and nothing more.",
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
