package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/engine"
	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// TestImportedChaincodeFits: what an import reads has the shape of the schema, down to what nothing is known of.
func TestImportedChaincodeFits(t *testing.T) {
	channel := network.Handle{Kind: network.KindChannel, Network: "dev", Owner: "o", Name: "trade"}
	spec := network.ChaincodeSpec{Channel: channel, Name: "kv", Label: "kv_1", Server: network.ChaincodeServer{NodeOptions: network.NodeOptions{Image: "kv:1"}}}
	state := network.ChaincodeState{Committed: &lifecycle.Definition{Name: "kv", Version: "1", Sequence: 1}, PackageID: "kv_1:0", Status: engine.Running}
	for name, r := range map[string]resource.Resource{"chaincode": newChaincodeResource(), "approval": newChaincodeApprovalResource()} {
		var described resource.SchemaResponse
		r.Schema(t.Context(), resource.SchemaRequest{}, &described)
		for _, image := range []string{"kv:1", ""} {
			spec.Server.Image = image
			var diags diag.Diagnostics
			m := &chaincodeModel{}
			m.takeImported(t.Context(), network.ChaincodeHandle(channel, "kv"), spec, state, &diags)
			found := tfsdk.State{Schema: described.Schema, Raw: tftypes.NewValue(described.Schema.Type().TerraformType(t.Context()), nil)}
			if diags.Append(found.Set(t.Context(), m)...); diags.HasError() {
				t.Errorf("%s with image %q: %v", name, image, diags)
			}
		}
	}
}

// FuzzImport imports whatever somebody may write: without an engine every ID is an error, and none is more
// than that.
func FuzzImport(f *testing.F) {
	for _, id := range []string{"dev", "dev/ca.org1", "dev/Org1MSP/alice", "dev/trade/asset", "dev/trade/0123abcd", "/", "//", " dev / x ", "dev/../x", "a/b/c/d/e", "\x00/\xff", "dev@x=/a", "dev/x@x=/a/b", "dev/Org1MSP/alice@org1.example.com"} {
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
