package provider

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
)

// completeExample holds every argument of everything. The documentation shows its files, and the
// acceptance tests apply them.
const completeExample = "../../examples/complete"

// arguments are the attributes of a schema that a user may set, by name.
func arguments[A interface {
	IsRequired() bool
	IsOptional() bool
}](attributes map[string]A) []string {
	var out []string
	for name, a := range attributes {
		if a.IsRequired() || a.IsOptional() {
			out = append(out, name)
		}
	}
	return out
}

func TestCompleteExampleShowsEveryArgument(t *testing.T) {
	ctx := context.Background()
	p := &fabricProvider{}
	shown := map[string][]string{}

	var own provider.SchemaResponse
	p.Schema(ctx, provider.SchemaRequest{}, &own)
	shown["provider.tf"] = arguments(own.Schema.Attributes)
	for _, make := range p.Resources(ctx) {
		var name resource.MetadataResponse
		var schema resource.SchemaResponse
		make().Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "fabric"}, &name)
		make().Schema(ctx, resource.SchemaRequest{}, &schema)
		shown[name.TypeName+".tf"] = arguments(schema.Schema.Attributes)
	}
	for _, make := range p.DataSources(ctx) {
		var name datasource.MetadataResponse
		var schema datasource.SchemaResponse
		make().Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "fabric"}, &name)
		make().Schema(ctx, datasource.SchemaRequest{}, &schema)
		shown["data_"+name.TypeName+".tf"] = arguments(schema.Schema.Attributes)
	}
	for _, make := range p.EphemeralResources(ctx) {
		var name ephemeral.MetadataResponse
		var schema ephemeral.SchemaResponse
		make().Metadata(ctx, ephemeral.MetadataRequest{ProviderTypeName: "fabric"}, &name)
		make().Schema(ctx, ephemeral.SchemaRequest{}, &schema)
		shown["ephemeral_"+name.TypeName+".tf"] = arguments(schema.Schema.Attributes)
	}
	for file, names := range shown {
		content, err := os.ReadFile(filepath.Join(completeExample, file))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^\s*` + name + `\s*=`).Match(content) {
				t.Errorf("%s does not show the argument %s", file, name)
			}
		}
	}
}
