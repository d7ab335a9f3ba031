package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// handleTypes are the members of a handle. It is an object type rather than nested attributes, so
// that a map of handles can be planned while its elements are unknown.
var handleTypes = map[string]attr.Type{
	"kind":     types.StringType,
	"network":  types.StringType,
	"domain":   types.StringType,
	"owner_id": types.StringType,
	"name":     types.StringType,
	"msp_id":   types.StringType,
}

var handleType = types.ObjectType{AttrTypes: handleTypes}

// handleMembers read a handle in Terraform's terms, where each member may be unknown.
type handleMembers struct {
	Kind    types.String `tfsdk:"kind"`
	Network types.String `tfsdk:"network"`
	Domain  types.String `tfsdk:"domain"`
	OwnerID types.String `tfsdk:"owner_id"`
	Name    types.String `tfsdk:"name"`
	MSPID   types.String `tfsdk:"msp_id"`
}

// handleFrom reads a known handle.
func handleFrom(ctx context.Context, object types.Object, diags *diag.Diagnostics) network.Handle {
	if object.IsNull() || object.IsUnknown() {
		return network.Handle{}
	}
	var m handleMembers
	diags.Append(object.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return network.Handle{
		Kind: network.Kind(m.Kind.ValueString()), Network: m.Network.ValueString(), Domain: m.Domain.ValueString(),
		Owner: m.OwnerID.ValueString(), Name: m.Name.ValueString(), MSPID: m.MSPID.ValueString(),
	}
}

// handleValue writes a known handle.
func handleValue(h network.Handle) types.Object {
	return types.ObjectValueMust(handleTypes, map[string]attr.Value{
		"kind": types.StringValue(string(h.Kind)), "network": types.StringValue(h.Network),
		"domain": types.StringValue(h.Domain), "owner_id": types.StringValue(h.Owner),
		"name": types.StringValue(h.Name), "msp_id": types.StringValue(h.MSPID),
	})
}

// planHandle computes the handle of a thing during plan from the handle of the network, or of
// anything on it. Members that are not known yet stay unknown, the others are known already.
func planHandle(ctx context.Context, of types.Object, kind network.Kind, name, mspID types.String, diags *diag.Diagnostics) types.Object {
	m := handleMembers{Network: types.StringUnknown(), Domain: types.StringUnknown(), OwnerID: types.StringUnknown()}
	if !of.IsNull() && !of.IsUnknown() {
		diags.Append(of.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	if mspID.IsNull() {
		mspID = types.StringValue("")
	}
	value, d := types.ObjectValue(handleTypes, map[string]attr.Value{
		"kind": types.StringValue(string(kind)), "network": m.Network, "domain": m.Domain,
		"owner_id": m.OwnerID, "name": name, "msp_id": mspID,
	})
	diags.Append(d...)
	return value
}

// handleMember gives one member of a handle during plan, unknown when it is not known.
func handleMember(object types.Object, member string) types.String {
	if object.IsUnknown() {
		return types.StringUnknown()
	}
	if object.IsNull() {
		return types.StringNull()
	}
	value, _ := object.Attributes()[member].(types.String)
	return value
}

// handleOutput is the computed attribute that other resources take.
func handleOutput(what string) schema.ObjectAttribute {
	return schema.ObjectAttribute{
		Computed:            true,
		AttributeTypes:      handleTypes,
		MarkdownDescription: "Names this " + what + " to other resources: identifiers only, so that nothing downstream changes when a certificate or an image does.",
	}
}

// handleInput is a required attribute that takes the handle of another resource.
func handleInput(description string, kinds ...network.Kind) schema.ObjectAttribute {
	return schema.ObjectAttribute{
		Required:            true,
		AttributeTypes:      handleTypes,
		MarkdownDescription: description,
		Validators:          []validator.Object{handleKind{kinds}},
	}
}

// handleKind refuses the handle of another kind of thing.
type handleKind struct{ kinds []network.Kind }

func (v handleKind) Description(context.Context) string {
	words := make([]string, len(v.kinds))
	for i, k := range v.kinds {
		words[i] = "fabric_" + string(k)
	}
	return "the handle of " + strings.Join(words, " or ")
}
func (v handleKind) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (v handleKind) ValidateObject(ctx context.Context, req validator.ObjectRequest, resp *validator.ObjectResponse) {
	if err := v.check(ctx, req.ConfigValue); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Wrong kind of handle", sentence(err))
	}
}

func (v handleKind) check(ctx context.Context, object types.Object) error {
	kind := handleMember(object, "kind")
	if kind.IsUnknown() || kind.IsNull() {
		return nil
	}
	if !slices.Contains(v.kinds, network.Kind(kind.ValueString())) {
		return fmt.Errorf("this wants %s, and got the handle of fabric_%s %s", v.Description(ctx),
			kind.ValueString(), handleMember(object, "name").ValueString())
	}
	return nil
}
