package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// reading is embedded by every data source.
type reading struct{ configured }

// Configure takes the session.
func (r *reading) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	r.configure(req.ProviderData, &resp.Diagnostics)
}

// readTimeout bounds the reading of a data source.
const readTimeout = time.Minute

// handleArgument is an attribute of a data source that takes the handle of a resource.
func handleArgument(description string, kinds ...network.Kind) schema.ObjectAttribute {
	return schema.ObjectAttribute{
		Required:            true,
		AttributeTypes:      handleTypes,
		MarkdownDescription: description,
		Validators:          []validator.Object{handleKind{kinds}},
	}
}

// addReadError reports why something could not be read, at the argument that names it.
func addReadError(diags *diag.Diagnostics, argument, summary string, err error) {
	text := explain(err)
	if network.Absent(err) {
		text = sentence(err) + "\n\n" + afterwards
	}
	diags.AddAttributeError(path.Root(argument), summary, text)
}

// afterwards is the way out when what is to be read is started or repaired by the same apply.
const afterwards = "If this same apply makes, starts or repairs it, let Terraform read afterwards: name that resource itself in depends_on of the data source."

// readDuringPlan is what the description of every data source ends with. Terraform defers the
// reading by itself only for changes of the very resources that the arguments refer to.
const readDuringPlan = " It is read during plan, or during apply when a resource that it refers to is about to change. Where the same apply may also start or repair nodes behind that resource, name them in `depends_on`."
