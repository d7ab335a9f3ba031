package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type nodeConfigDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &nodeConfigDataSource{}

func newNodeConfigDataSource() datasource.DataSource { return &nodeConfigDataSource{} }

// nodeConfigModel is the data source fabric_node_config.
type nodeConfigModel struct {
	Node types.Object `tfsdk:"node"`
	Name types.String `tfsdk:"name"`
	File types.String `tfsdk:"file"`
	YAML types.String `tfsdk:"yaml"`
}

func (d *nodeConfigDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_node_config"
}

func (d *nodeConfigDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "The configuration with which a peer or an ordering node was started: the defaults of its Fabric version, what this provider sets, and the `config` of the resource, all in one. " +
			"It is read from the node's volume; the node need not run. It holds no secret: keys are files that it names." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"node": handleArgument("Handle of a `fabric_peer` or of a `fabric_orderer_cluster`.", network.KindPeer, network.KindOrderer, network.KindOrdererCluster),
			"name": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name of the node in an ordering cluster. It may be left out when the cluster has only one.",
			},
			"file": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Name of the file: `core.yaml` of a peer, `orderer.yaml` of an ordering node.",
			},
			"yaml": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "Content of the file; for `yamldecode`.",
			},
		},
	}
}

func (d *nodeConfigDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model nodeConfigModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	h := handleFrom(ctx, model.Node, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	file, content, err := f.NodeConfig(ctx, h, model.Name.ValueString())
	if err != nil {
		addReadError(&resp.Diagnostics, "node", "Unable to read the configuration of "+h.Name, err)
		return
	}
	model.File, model.YAML = types.StringValue(file), types.StringValue(string(content))
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}
