package provider

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

func packageObject(members map[string]string) types.Dynamic {
	attrTypes, values := map[string]attr.Type{}, map[string]attr.Value{}
	for name, value := range members {
		attrTypes[name], values[name] = types.StringType, types.StringValue(value)
	}
	return types.DynamicValue(types.ObjectValueMust(attrTypes, values))
}

func TestPackageID(t *testing.T) {
	packed, err := lifecycle.Package(lifecycle.PackageRequest{Label: "asset_1.0", Connection: lifecycle.Connection{Address: "asset:9999"}})
	if err != nil {
		t.Fatal(err)
	}
	_, ours, err := network.ChaincodePackage("trade", "asset_1.0", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	_, indexed, err := network.ChaincodePackage("trade", "asset_1.0", map[string][]byte{"statedb/couchdb/indexes/owner.json": []byte(`{"index":{"fields":["owner"]}}`)}, false)
	if err != nil || indexed == ours {
		t.Fatal(indexed, err)
	}
	indexes := map[string]attr.Value{"owner.json": types.StringValue(`{ "index": { "fields": [ "owner" ] } }`)}
	asMap := types.DynamicValue(types.MapValueMust(types.StringType, map[string]attr.Value{
		"channel": types.StringValue("trade"), "label": types.StringValue("asset_1.0"),
	}))
	for _, c := range []struct {
		name  string
		given types.Dynamic
		want  string
	}{
		{"a package file", types.DynamicValue(types.StringValue(base64.StdEncoding.EncodeToString(packed))), lifecycle.PackageID("asset_1.0", packed)},
		{"a described package", packageObject(map[string]string{"channel": "trade", "label": "asset_1.0"}), ours},
		{"a described package as a map", asMap, ours},
		{"a described package with an index", indexedPackage(types.MapValueMust(types.StringType, indexes)), indexed},
		{"a described package with an index in an object", indexedPackage(types.ObjectValueMust(map[string]attr.Type{"owner.json": types.StringType}, indexes)), indexed},
		{"a described package without indexes", indexedPackage(types.MapNull(types.StringType)), ours},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, failure := callFunction(t, newPackageIDFunction(), c.given)
			if failure != nil {
				t.Fatal(failure)
			}
			if !got.Equal(types.StringValue(c.want)) || !strings.HasPrefix(c.want, "asset_1.0:") {
				t.Errorf("it is %s, want %s", got, c.want)
			}
		})
	}
}

// indexedPackage describes a package with indexes.
func indexedPackage(indexes attr.Value) types.Dynamic {
	return types.DynamicValue(types.ObjectValueMust(
		map[string]attr.Type{"channel": types.StringType, "label": types.StringType, "indexes": indexes.Type(context.Background())},
		map[string]attr.Value{"channel": types.StringValue("trade"), "label": types.StringValue("asset_1.0"), "indexes": indexes},
	))
}

func TestPackageIDRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		given types.Dynamic
		says  string
	}{
		{"no base64", types.DynamicValue(types.StringValue("\x1f\x8b")), "filebase64"},
		{"no package", types.DynamicValue(types.StringValue(base64.StdEncoding.EncodeToString([]byte("text")))), "gzip"},
		{"a label that Fabric refuses", packageObject(map[string]string{"channel": "trade", "label": "asset 1.0"}), "label"},
		{"no label", packageObject(map[string]string{"channel": "trade"}), "needs label"},
		{"no channel", packageObject(map[string]string{"label": "asset_1.0"}), "needs channel"},
		{"an unknown member", packageObject(map[string]string{"channel": "trade", "label": "asset_1.0", "name": "asset"}), "no member name"},
		{"indexes of another kind", indexedPackage(types.StringValue("owner.json")), "must be a map"},
		{"the name of no index", indexedPackage(types.MapValueMust(types.StringType, map[string]attr.Value{"owner": types.StringValue("{}")})), "FILE.json"},
		{"no index", indexedPackage(types.MapValueMust(types.StringType, map[string]attr.Value{"owner.json": types.StringValue("{}")})), "Index owner.json"},
		{"a number", types.DynamicValue(types.Int64Value(1)), "neither"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, failure := callFunction(t, newPackageIDFunction(), c.given)
			if text := refusedAt(t, failure, 0); !strings.Contains(text, c.says) {
				t.Errorf("the error is %q, want one that says %q", text, c.says)
			}
		})
	}
}
