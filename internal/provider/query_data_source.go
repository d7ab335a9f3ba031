package provider

import (
	"context"
	"encoding/base64"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type queryDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &queryDataSource{}

func newQueryDataSource() datasource.DataSource { return &queryDataSource{} }

// queryModel is the data source fabric_query.
type queryModel struct {
	Chaincode    types.Object `tfsdk:"chaincode"`
	Identity     types.Object `tfsdk:"identity"`
	Function     types.String `tfsdk:"function"`
	Arguments    types.List   `tfsdk:"arguments"`
	Result       types.String `tfsdk:"result"`
	ResultBase64 types.String `tfsdk:"result_base64"`
}

func (d *queryDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_query"
}

func (d *queryDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The answer of a chaincode to a query. A peer of the identity's organization executes the call; nothing is written to the ledger." + readDuringPlan +
			" Whoever reads the state reads the answer.",
		Attributes: map[string]schema.Attribute{
			"chaincode": handleArgument("Handle of the `fabric_chaincode` or `fabric_chaincode_approval` to call.", network.KindChaincode, network.KindChaincodeApproval),
			"identity":  handleArgument("Handle of the `fabric_identity` that signs, or of a `fabric_organization`, whose admin then does.", network.KindIdentity, network.KindOrganization),
			"function": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Function of the chaincode.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"arguments": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Arguments of the function.",
			},
			"result": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "What the chaincode returned; null when it is not text in UTF-8.",
			},
			"result_base64": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "What the chaincode returned, in base64.",
			},
		},
	}
}

func (d *queryDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model queryModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	answer, err := f.Query(ctx, network.Call{
		Chaincode: handleFrom(ctx, model.Chaincode, &resp.Diagnostics), Identity: handleFrom(ctx, model.Identity, &resp.Diagnostics),
		Function: model.Function.ValueString(), Arguments: stringList(ctx, model.Arguments, &resp.Diagnostics),
	})
	if resp.Diagnostics.HasError() {
		return
	}
	if err != nil {
		addReadError(&resp.Diagnostics, "chaincode", "Unable to query "+model.Function.ValueString(), err)
		return
	}
	model.take(answer)
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}

func (m *queryModel) take(answer []byte) {
	m.Result, m.ResultBase64 = types.StringNull(), types.StringValue(base64.StdEncoding.EncodeToString(answer))
	if utf8.Valid(answer) {
		m.Result = types.StringValue(string(answer))
	}
}
