package provider

import (
	"context"
	"maps"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type transactionDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &transactionDataSource{}

func newTransactionDataSource() datasource.DataSource { return &transactionDataSource{} }

// transactionFactsModel is the data source fabric_transaction.
type transactionFactsModel struct {
	Channel types.Object `tfsdk:"channel"`
	Block   types.Int64  `tfsdk:"block"`
	recordedModel
}

func (d *transactionDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_transaction"
}

func (d *transactionDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := map[string]schema.Attribute{
		"channel": handleArgument("Handle of the `fabric_channel`, or of a `fabric_channel_membership` in it.", network.KindChannel, network.KindChannelMembership),
		"block":   schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of the block that holds it."},
	}
	maps.Copy(attributes, recordedAttributes())
	attributes["transaction_id"] = schema.StringAttribute{Required: true, MarkdownDescription: "Transaction ID."}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A transaction on the ledger of a channel, valid or not, as a peer of this state holds it: facts, without the arguments and the result of the chaincode." + readDuringPlan,
		Attributes:          attributes,
	}
}

func (d *transactionDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model transactionFactsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	channel := handleFrom(ctx, model.Channel, &resp.Diagnostics)
	block, tx, err := f.ReadTransaction(ctx, channel, model.TransactionID.ValueString())
	if err != nil {
		addReadError(&resp.Diagnostics, "transaction_id", "Unable to read a transaction of channel "+channel.Name, err)
		return
	}
	model.take(ctx, tx, &resp.Diagnostics)
	model.Block = types.Int64Value(int64(block.Number))
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}
