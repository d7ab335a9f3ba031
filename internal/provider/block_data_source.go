package provider

import (
	"context"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type blockDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &blockDataSource{}

func newBlockDataSource() datasource.DataSource { return &blockDataSource{} }

// blockModel is the data source fabric_block.
type blockModel struct {
	Channel      types.Object `tfsdk:"channel"`
	Number       types.Int64  `tfsdk:"number"`
	Hash         types.String `tfsdk:"hash"`
	PreviousHash types.String `tfsdk:"previous_hash"`
	DataHash     types.String `tfsdk:"data_hash"`
	Transactions types.List   `tfsdk:"transactions"`
}

// recordedModel is a transaction as a block holds it.
type recordedModel struct {
	TransactionID  types.String `tfsdk:"transaction_id"`
	Type           types.String `tfsdk:"type"`
	ValidationCode types.String `tfsdk:"validation_code"`
	Time           types.String `tfsdk:"time"`
	Creator        types.Object `tfsdk:"creator"`
	Chaincode      types.String `tfsdk:"chaincode"`
	Function       types.String `tfsdk:"function"`
	ArgumentCount  types.Int64  `tfsdk:"argument_count"`
	Init           types.Bool   `tfsdk:"init"`
	Status         types.Int64  `tfsdk:"status"`
	Event          types.String `tfsdk:"event"`
	Endorsers      types.List   `tfsdk:"endorsers"`
}

// creatorModel is who signed a transaction.
type creatorModel struct {
	MSPID        string `tfsdk:"msp_id"`
	Subject      string `tfsdk:"subject"`
	SerialNumber string `tfsdk:"serial_number"`
	NotAfter     string `tfsdk:"not_after"`
	Fingerprint  string `tfsdk:"fingerprint"`
}

var creatorTypes = map[string]attr.Type{
	"msp_id": types.StringType, "subject": types.StringType, "serial_number": types.StringType, "not_after": types.StringType, "fingerprint": types.StringType,
}

var recordedType = types.ObjectType{AttrTypes: map[string]attr.Type{
	"transaction_id": types.StringType, "type": types.StringType, "validation_code": types.StringType, "time": types.StringType,
	"creator": types.ObjectType{AttrTypes: creatorTypes}, "chaincode": types.StringType, "function": types.StringType,
	"argument_count": types.Int64Type, "init": types.BoolType, "status": types.Int64Type, "event": types.StringType,
	"endorsers": types.ListType{ElemType: types.StringType},
}}

// recordedAttributes describe a transaction as a block holds it.
func recordedAttributes() map[string]schema.Attribute {
	text := func(what string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: what}
	}
	return map[string]schema.Attribute{
		"transaction_id":  text("Transaction ID; empty for a change of the configuration."),
		"type":            text("Type of its header, such as `ENDORSER_TRANSACTION` for a call of a chaincode or `CONFIG` for a change of the configuration."),
		"validation_code": text("What the peers found of it, such as `VALID`, `MVCC_READ_CONFLICT` or `ENDORSEMENT_POLICY_FAILURE`. Only a valid one changed anything."),
		"time":            text("When its creator says that it was made, RFC 3339 in UTC."),
		"creator": schema.SingleNestedAttribute{
			Computed:            true,
			MarkdownDescription: "Who signed it; null where no certificate can be read.",
			Attributes: map[string]schema.Attribute{
				"msp_id":        text("MSP ID of the organization."),
				"subject":       text("Subject of the certificate, as RFC 2253 writes it."),
				"serial_number": text("Serial number of the certificate, in lower-case hexadecimal."),
				"not_after":     text("When the certificate expires, RFC 3339 in UTC."),
				"fingerprint":   text("SHA-256 of the certificate, in lower-case hexadecimal."),
			},
		},
		"chaincode":      text("Chaincode that is called; null for a change of the configuration."),
		"function":       text("Function that is called; null when it is not text."),
		"argument_count": schema.Int64Attribute{Computed: true, MarkdownDescription: "Number of the function's arguments. What they are stays on the ledger."},
		"init":           schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether it is the call that initialises the chaincode."},
		"status":         schema.Int64Attribute{Computed: true, MarkdownDescription: "Status that the chaincode answered with, 200 for success."},
		"event":          text("Name of the event that the chaincode set; null when there is none."),
		"endorsers": schema.ListAttribute{
			Computed: true, ElementType: types.StringType,
			MarkdownDescription: "MSP IDs of the peers that endorsed, in the order of their signatures.",
		},
	}
}

func (d *blockDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_block"
}

func (d *blockDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(what string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "A block of a channel and what its transactions are, as a peer of this state holds it: facts, without arguments and results of chaincodes." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"channel": handleArgument("Handle of the `fabric_channel`, or of a `fabric_channel_membership` in it.", network.KindChannel, network.KindChannelMembership),
			"number": schema.Int64Attribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Number of the block, counted from 0. Without it the newest block is read, which is another one after each.",
				Validators:          []validator.Int64{int64validator.AtLeast(0)},
			},
			"hash":          text("Hash of the block's header, in lower-case hexadecimal. Two peers are on one chain when it is equal."),
			"previous_hash": text("Hash of the header of the block before; empty for the first one."),
			"data_hash":     text("Hash of the block's data, in lower-case hexadecimal."),
			"transactions": schema.ListNestedAttribute{
				Computed:            true,
				MarkdownDescription: "Its transactions in their order, valid or not.",
				NestedObject:        schema.NestedAttributeObject{Attributes: recordedAttributes()},
			},
		},
	}
}

func (d *blockDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model blockModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	channel := handleFrom(ctx, model.Channel, &resp.Diagnostics)
	argument, number := "channel", (*uint64)(nil)
	if !model.Number.IsNull() {
		wanted := uint64(model.Number.ValueInt64())
		argument, number = "number", &wanted
	}
	block, err := f.ReadBlock(ctx, channel, number)
	if err != nil {
		addReadError(&resp.Diagnostics, argument, "Unable to read a block of channel "+channel.Name, err)
		return
	}
	model.Number, model.Hash = types.Int64Value(int64(block.Number)), types.StringValue(hex.EncodeToString(block.Hash))
	model.PreviousHash, model.DataHash = types.StringValue(hex.EncodeToString(block.PreviousHash)), types.StringValue(hex.EncodeToString(block.DataHash))
	transactions := make([]recordedModel, len(block.Transactions))
	for i, tx := range block.Transactions {
		transactions[i].take(ctx, tx, &resp.Diagnostics)
	}
	list, more := types.ListValueFrom(ctx, recordedType, transactions)
	resp.Diagnostics.Append(more...)
	model.Transactions = list
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}

// take writes the facts of a transaction.
func (m *recordedModel) take(ctx context.Context, tx network.Transaction, diags *diag.Diagnostics) {
	*m = recordedModel{
		TransactionID: types.StringValue(tx.TxID), Type: types.StringValue(tx.Type.String()), ValidationCode: types.StringValue(tx.Code.String()),
		Creator: types.ObjectNull(creatorTypes), Endorsers: texts(ctx, nil, diags),
	}
	if !tx.Time.IsZero() {
		m.Time = types.StringValue(tx.Time.UTC().Format(time.RFC3339Nano))
	}
	if facts, err := certificate.ReadFacts(tx.CertificatePEM); err == nil {
		value, more := types.ObjectValueFrom(ctx, creatorTypes, creatorModel{
			MSPID: tx.MSPID, Subject: facts.Subject, SerialNumber: facts.SerialNumber, NotAfter: facts.NotAfter, Fingerprint: facts.Fingerprint,
		})
		diags.Append(more...)
		m.Creator = value
	}
	if tx.Call == nil {
		return
	}
	m.Chaincode, m.Init, m.Status = types.StringValue(tx.Call.Chaincode), types.BoolValue(tx.Call.Init), types.Int64Value(int64(tx.Call.Status))
	m.ArgumentCount, m.Event = types.Int64Value(int64(max(len(tx.Call.Args)-1, 0))), nullable(tx.Call.Event)
	if len(tx.Call.Args) > 0 && utf8.Valid(tx.Call.Args[0]) {
		m.Function = types.StringValue(string(tx.Call.Args[0]))
	}
	m.Endorsers = texts(ctx, tx.Call.Endorsers, diags)
}
