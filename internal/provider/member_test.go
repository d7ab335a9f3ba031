package provider

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

func number(t *testing.T, text string) attr.Value {
	t.Helper()
	// As Terraform reads a number in a configuration.
	n, _, err := big.ParseFloat(text, 10, 512, big.ToNearestEven)
	if err != nil {
		t.Fatal(err)
	}
	return types.NumberValue(n)
}

// TestOverlayRoundTrip: what import writes is what the configuration says, after the way through the
// label of a container.
func TestOverlayRoundTrip(t *testing.T) {
	object := func(values map[string]attr.Value) attr.Value {
		kinds := map[string]attr.Type{}
		for name, v := range values {
			kinds[name] = v.Type(t.Context())
		}
		return types.ObjectValueMust(kinds, values)
	}
	written := types.DynamicValue(object(map[string]attr.Value{
		"text": types.StringValue("1s"), "yes": types.BoolValue(true), "whole": number(t, "1800"), "large": number(t, "104857600"),
		"negative": number(t, "-3"), "fraction": number(t, "0.1"), "small": number(t, "1e-7"),
		"list": types.TupleValueMust([]attr.Type{types.StringType, types.BoolType}, []attr.Value{types.StringValue("a"), types.BoolValue(false)}),
		"none": types.TupleValueMust([]attr.Type{}, []attr.Value{}), "empty": object(map[string]attr.Value{}),
		"nested": object(map[string]attr.Value{"deeper": object(map[string]attr.Value{"key": types.StringValue("value")})}),
	}))
	overlay, known, err := overlayFrom(t.Context(), written)
	if err != nil || !known {
		t.Fatal(known, err)
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]any
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	if got := overlayValue(t.Context(), read); !got.Equal(written) {
		t.Errorf("it became\n%s\nand was\n%s", got, written)
	}
}

func TestOverlayFrom(t *testing.T) {
	for _, c := range []struct {
		name   string
		value  types.Dynamic
		known  bool
		failed bool
	}{
		{"null", types.DynamicNull(), true, false},
		{"unknown", types.DynamicUnknown(), false, false},
		{"an unknown leaf", types.DynamicValue(types.MapValueMust(types.StringType, map[string]attr.Value{"a": types.StringUnknown()})), false, false},
		{"text", types.DynamicValue(types.StringValue("peer: {}")), true, true},
		{"a list", types.DynamicValue(types.ListValueMust(types.StringType, []attr.Value{types.StringValue("a")})), true, true},
		{"a map", types.DynamicValue(types.MapValueMust(types.BoolType, map[string]attr.Value{"a": types.BoolValue(true)})), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, known, err := overlayFrom(t.Context(), c.value)
			if known != c.known || (err != nil) != c.failed {
				t.Errorf("known %t, error %v", known, err)
			}
		})
	}
}
