package provider

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// TestListWithoutEngine: an engine that does not answer is an error of every list, and not an empty one.
func TestListWithoutEngine(t *testing.T) {
	ctx := t.Context()
	p := &fabricProvider{}
	for _, create := range p.ListResources(ctx) {
		r, ok := create().(listed)
		if !ok {
			t.Fatalf("%T is listed in another way", create())
		}
		var done resource.ConfigureResponse
		r.Configure(ctx, resource.ConfigureRequest{ProviderData: newSession(providerModel{DockerHost: types.StringValue("unix:///nonexistent.sock")})}, &done)
		var described list.ListResourceSchemaResponse
		r.ListResourceConfigSchema(ctx, list.ListResourceSchemaRequest{}, &described)
		stream := list.ListResultsStream{}
		r.List(ctx, list.ListRequest{Config: tfsdk.Config{Schema: described.Schema, Raw: empty(ctx, described.Schema.Type())}}, &stream)
		results := slices.Collect(stream.Results)
		if len(results) != 1 || !results[0].Diagnostics.HasError() || !strings.Contains(results[0].Diagnostics.Errors()[0].Detail(), "Start the engine") {
			t.Errorf("%s: %+v", r.kind, results)
		}
	}
}

// TestLeftOut: what cannot be read is told, and withholds nothing else.
func TestLeftOut(t *testing.T) {
	var because diag.Diagnostics
	because.AddWarning("slow", "It took its time.")
	because.AddError("Unable to read peer peer0.org1", "It does not answer.")
	told := leftOut("fabric_peer dev/peer0.org1", because)
	if len(told) != 1 || told.HasError() || told[0].Summary() != "Not listed: fabric_peer dev/peer0.org1" || told[0].Detail() != "Unable to read peer peer0.org1: It does not answer." {
		t.Errorf("told is %v", told)
	}
}
