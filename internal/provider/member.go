package provider

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
)

// versionAttribute is the Fabric release that a node's configuration is rendered for.
func versionAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true, Computed: true,
		MarkdownDescription: "Fabric release, which decides the default `image` and the configuration that is rendered. Defaults to `fabric_version` of the provider block.",
		Validators:          []validator.String{fabricVersion{}},
	}
}

// overlayAttribute is the user's part of core.yaml or orderer.yaml.
func overlayAttribute(file string) schema.DynamicAttribute {
	return schema.DynamicAttribute{
		Optional: true,
		MarkdownDescription: "Overlay on the `" + file + "` of the release, as nested objects with Fabric's own keys. " +
			"Unknown keys, wrong types, combinations that cannot work and keys that belong to other attributes are refused at plan.",
	}
}

// overlayFrom reads an overlay. It is not known while any value in it is not.
func overlayFrom(ctx context.Context, value types.Dynamic) (overlay nodeconfig.Overlay, known bool, err error) {
	if value.IsNull() || value.IsUnderlyingValueNull() {
		return nil, true, nil
	}
	if value.IsUnknown() || value.IsUnderlyingValueUnknown() {
		return nil, false, nil
	}
	plain, known, err := plainValue(ctx, value.UnderlyingValue())
	if err != nil || !known {
		return nil, known, err
	}
	overlay, ok := plain.(map[string]any)
	if !ok {
		return nil, true, errors.New("this is one single value")
	}
	return overlay, true, nil
}

// plainValue turns a Terraform value into plain Go: string, bool, int64, float64, []any, map[string]any.
func plainValue(ctx context.Context, value attr.Value) (plain any, known bool, err error) {
	if value.IsUnknown() {
		return nil, false, nil
	}
	if value.IsNull() {
		return nil, true, nil
	}
	switch v := value.(type) {
	case types.String:
		return v.ValueString(), true, nil
	case types.Bool:
		return v.ValueBool(), true, nil
	case types.Number:
		if whole, accuracy := v.ValueBigFloat().Int64(); accuracy == big.Exact {
			return whole, true, nil
		}
		f, _ := v.ValueBigFloat().Float64()
		return f, true, nil
	case types.Dynamic:
		return plainValue(ctx, v.UnderlyingValue())
	case types.Object:
		return plainMap(ctx, v.Attributes())
	case types.Map:
		return plainMap(ctx, v.Elements())
	case types.List:
		return plainList(ctx, v.Elements())
	case types.Set:
		return plainList(ctx, v.Elements())
	case types.Tuple:
		return plainList(ctx, v.Elements())
	}
	return nil, true, fmt.Errorf("a value of type %s has no place in it", value.Type(ctx))
}

func plainMap(ctx context.Context, elements map[string]attr.Value) (any, bool, error) {
	out := map[string]any{}
	for name, element := range elements {
		plain, known, err := plainValue(ctx, element)
		if err != nil || !known {
			return nil, known, err
		}
		out[name] = plain
	}
	return out, true, nil
}

func plainList(ctx context.Context, elements []attr.Value) (any, bool, error) {
	out := []any{}
	for _, element := range elements {
		plain, known, err := plainValue(ctx, element)
		if err != nil || !known {
			return nil, known, err
		}
		out = append(out, plain)
	}
	return out, true, nil
}

// overlayValue turns plain Go, as JSON decodes it, into the value that a configuration would give.
func overlayValue(ctx context.Context, plain any) types.Dynamic {
	if overlay, ok := plain.(map[string]any); ok && len(overlay) == 0 || plain == nil {
		return types.DynamicNull()
	}
	return types.DynamicValue(terraformValue(ctx, plain))
}

func terraformValue(ctx context.Context, plain any) attr.Value {
	switch v := plain.(type) {
	case string:
		return types.StringValue(v)
	case bool:
		return types.BoolValue(v)
	case int64:
		return types.NumberValue(new(big.Float).SetPrec(numberPrecision).SetInt64(v))
	case float64:
		return types.NumberValue(decimal(v))
	case []any:
		values, kinds := make([]attr.Value, len(v)), make([]attr.Type, len(v))
		for i, element := range v {
			values[i] = terraformValue(ctx, element)
			kinds[i] = values[i].Type(ctx)
		}
		return types.TupleValueMust(kinds, values)
	case map[string]any:
		values, kinds := map[string]attr.Value{}, map[string]attr.Type{}
		for name, element := range v {
			values[name] = terraformValue(ctx, element)
			kinds[name] = values[name].Type(ctx)
		}
		return types.ObjectValueMust(kinds, values)
	}
	return types.DynamicNull()
}

// numberPrecision is that of the numbers in a configuration, in bits.
const numberPrecision = 512

// decimal gives the number that a person wrote, 0.1, and not the nearest binary fraction to it: the
// two differ when Terraform compares them.
func decimal(v float64) *big.Float {
	number, _, err := big.ParseFloat(strconv.FormatFloat(v, 'g', -1, 64), 10, numberPrecision, big.ToNearestEven)
	if err != nil { // infinities are no JSON
		return big.NewFloat(v)
	}
	return number
}

// refuse reports the problems of an overlay on the attribute that holds it.
func refuse(problems []nodeconfig.Problem, diags *diag.Diagnostics) {
	for _, p := range problems {
		detail := p.Message + "."
		if !strings.HasPrefix(p.Message, p.Path) { // a key is spelled as Fabric does
			detail = sentence(errors.New(p.Message))
		}
		switch next := strings.TrimSpace(p.Next); {
		case strings.HasPrefix(next, "did you mean"):
			detail += "\n\n" + strings.TrimSuffix(sentence(errors.New(next)), ".") + "?"
		case next != "":
			detail += "\n\n" + sentence(errors.New(next))
		}
		diags.AddAttributeError(path.Root("config"), "Configuration refused: "+p.Path, detail)
	}
}

// refuseOverlay reports that a value is no overlay at all.
func refuseOverlay(file string, err error, diags *diag.Diagnostics) {
	diags.AddAttributeError(path.Root("config"), "Configuration refused",
		fmt.Sprintf("Config must be an object with the keys of %s: %v.", file, err))
}
