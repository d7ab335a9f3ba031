package provider

import (
	"context"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/list"
	listschema "github.com/hashicorp/terraform-plugin-framework/list/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// listed is a resource of which terraform query (Terraform 1.14 and later) finds what is on the engine.
// What it tells of each is what an import and the read after it would put into the state.
type listed struct {
	identified
	kind network.Kind
}

var _ list.ListResourceWithConfigure = listed{}

func newListed(kind network.Kind, create func() resource.Resource) list.ListResource {
	r, _ := create().(identified) // what is listed can be imported, and a test holds it to that
	return listed{identified: r, kind: kind}
}

func (r listed) ListResourceConfigSchema(_ context.Context, _ list.ListResourceSchemaRequest, resp *list.ListResourceSchemaResponse) {
	what := strings.ReplaceAll(string(r.kind), "_", " ")
	resp.Schema = listschema.Schema{
		MarkdownDescription: "Lists every " + what + " that this provider made on the engine, whoever has the state of it. The configuration that `terraform query` writes of it plans empty. " +
			"Handles stand in it as objects, not as references to the resources that they are of, and what is never stored, such as write-only arguments, is not in it.",
		Attributes: map[string]listschema.Attribute{
			"network": listschema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name of the network; without it, those of all networks on the engine are listed.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
		},
	}
}

// List finds what is there, and reads one after the other as they are asked for. One that cannot be read
// is left out with a warning: the others are there all the same.
func (r listed) List(ctx context.Context, req list.ListRequest, stream *list.ListResultsStream) {
	var diags diag.Diagnostics
	var on types.String
	diags.Append(req.Config.GetAttribute(ctx, path.Root("network"), &on)...)
	f := r.fabric(&diags)
	if diags.HasError() {
		stream.Results = list.ListResultsStreamDiagnostics(diags)
		return
	}
	found, err := f.List(ctx, r.kind, network.Filter{Network: on.ValueString()})
	if err != nil {
		addError(&diags, "Unable to list "+typeName(ctx, r), err)
		stream.Results = list.ListResultsStreamDiagnostics(diags)
		return
	}
	stream.Results = func(push func(list.ListResult) bool) {
		for _, h := range found {
			if !push(r.result(ctx, req, h)) {
				return
			}
		}
	}
}

func (r listed) result(ctx context.Context, req list.ListRequest, h network.Handle) list.ListResult {
	result := req.NewListResult(ctx)
	result.DisplayName = r.identity.importID(h)
	r.identity.give(ctx, h, result.Identity, &result.Diagnostics)
	if req.IncludeResource {
		state := r.imported(ctx, req, result.DisplayName, &result.Diagnostics)
		if result.Diagnostics.HasError() {
			return list.ListResult{Diagnostics: leftOut(typeName(ctx, r)+" "+result.DisplayName, result.Diagnostics)}
		}
		result.Resource.Raw = state.Raw
	}
	return result
}

// imported gives the state that an import of a thing comes to.
func (r listed) imported(ctx context.Context, req list.ListRequest, id string, diags *diag.Diagnostics) tfsdk.State {
	nothing := tfsdk.State{Schema: req.ResourceSchema, Raw: tftypes.NewValue(req.ResourceSchema.Type().TerraformType(ctx), nil)}
	in := resource.ImportStateResponse{State: nothing}
	in.Private = emptyLike(in.Private)
	r.ImportState(ctx, resource.ImportStateRequest{ID: id}, &in)
	diags.Append(in.Diagnostics.Errors()...)
	if diags.HasError() {
		return nothing
	}
	out := resource.ReadResponse{State: in.State, Private: in.Private}
	r.Read(ctx, resource.ReadRequest{State: in.State, Private: in.Private}, &out)
	diags.Append(out.Diagnostics.Errors()...)
	return out.State
}

// emptyLike gives an empty value of what a pointer is to: the framework's private state has no
// constructor that we could call.
func emptyLike[T any](*T) *T { return new(T) }

// leftOut says in a warning why something is not listed.
func leftOut(what string, because diag.Diagnostics) diag.Diagnostics {
	var out diag.Diagnostics
	for _, d := range because.Errors() {
		out.AddWarning("Not listed: "+what, d.Summary()+": "+d.Detail())
	}
	return out
}
