package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// FuzzImport imports whatever somebody may write: without an engine every ID is an error, and none is more
// than that.
func FuzzImport(f *testing.F) {
	for _, id := range []string{"dev", "dev/ca.org1", "dev/Org1MSP/alice", "dev/trade/asset", "dev/trade/0123abcd", "/", "//", " dev / x ", "dev/../x", "a/b/c/d/e", "\x00/\xff"} {
		f.Add(id)
	}
	s := newSession(providerModel{DockerHost: types.StringValue("unix:///nonexistent.sock")})
	imported := map[string]resource.ResourceWithImportState{}
	empty := map[string]tfsdk.State{}
	for _, made := range (&fabricProvider{}).Resources(f.Context()) {
		r, ok := made().(resource.ResourceWithImportState)
		if !ok {
			continue
		}
		var name resource.MetadataResponse
		r.Metadata(f.Context(), resource.MetadataRequest{ProviderTypeName: "fabric"}, &name)
		var done resource.ConfigureResponse
		r.(resource.ResourceWithConfigure).Configure(f.Context(), resource.ConfigureRequest{ProviderData: s}, &done)
		var described resource.SchemaResponse
		r.Schema(f.Context(), resource.SchemaRequest{}, &described)
		imported[name.TypeName] = r
		empty[name.TypeName] = tfsdk.State{Schema: described.Schema, Raw: tftypes.NewValue(described.Schema.Type().TerraformType(f.Context()), nil)}
	}
	f.Fuzz(func(t *testing.T, id string) {
		for name, r := range imported {
			resp := resource.ImportStateResponse{State: empty[name]}
			r.ImportState(t.Context(), resource.ImportStateRequest{ID: id}, &resp)
			if !resp.Diagnostics.HasError() {
				t.Errorf("%s imports %q from nowhere", name, id)
			}
		}
	})
}
