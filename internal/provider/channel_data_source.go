package provider

import (
	"context"
	"net"
	"strconv"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type channelDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &channelDataSource{}

func newChannelDataSource() datasource.DataSource { return &channelDataSource{} }

// channelFactsModel is the data source fabric_channel.
type channelFactsModel struct {
	Channel              types.Object `tfsdk:"channel"`
	Name                 types.String `tfsdk:"name"`
	Height               types.Int64  `tfsdk:"height"`
	Heights              types.Map    `tfsdk:"heights"`
	Configuration        types.String `tfsdk:"configuration"`
	ConfigurationBlock   types.Int64  `tfsdk:"configuration_block"`
	Sequence             types.Int64  `tfsdk:"sequence"`
	Capabilities         types.Object `tfsdk:"capabilities"`
	Organizations        types.List   `tfsdk:"organizations"`
	OrdererOrganizations types.List   `tfsdk:"orderer_organizations"`
	AnchorPeers          types.Map    `tfsdk:"anchor_peers"`
	ConsensusType        types.String `tfsdk:"consensus_type"`
	Consenters           types.List   `tfsdk:"consenters"`
	Policies             types.Map    `tfsdk:"policies"`
	ACLs                 types.Map    `tfsdk:"acls"`
}

// capabilitiesModel are the capabilities of each group of a channel.
type capabilitiesModel struct {
	Channel     []string `tfsdk:"channel"`
	Orderer     []string `tfsdk:"orderer"`
	Application []string `tfsdk:"application"`
}

var capabilitiesTypes = map[string]attr.Type{
	"channel": types.ListType{ElemType: types.StringType}, "orderer": types.ListType{ElemType: types.StringType},
	"application": types.ListType{ElemType: types.StringType},
}

func (d *channelDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_channel"
}

func (d *channelDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	number := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: what}
	}
	text := func(what string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: what}
	}
	texts := func(what string) schema.ListAttribute {
		return schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What the nodes of a channel say of it: how far each is, and the configuration in force. Every node that runs is asked; one that answers is enough." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"channel": handleArgument("Handle of the `fabric_channel`.", network.KindChannel),
			"name":    text("Name of the channel."),
			"height":  number("Number of blocks of the longest chain."),
			"heights": schema.MapAttribute{
				Computed: true, ElementType: types.Int64Type,
				MarkdownDescription: "Number of blocks of each node that answered, by the node's name. A node that is missing does not run or did not answer.",
			},
			"configuration":       text("The configuration in force as JSON, in the form of `configtxlator proto_decode --type common.Config`; for `jsondecode`."),
			"configuration_block": number("Number of the block that holds the configuration."),
			"sequence":            number("Sequence of the configuration: how often it has been updated since the genesis block."),
			"capabilities": schema.SingleNestedAttribute{
				Computed:            true,
				MarkdownDescription: "Capabilities of the three groups.",
				Attributes: map[string]schema.Attribute{
					"channel":     texts("Capabilities of the channel, for example `V2_0`."),
					"orderer":     texts("Capabilities of the ordering service."),
					"application": texts("Capabilities of the application, for example `V2_5`."),
				},
			},
			"organizations":         texts("MSP IDs of the members, sorted."),
			"orderer_organizations": texts("MSP IDs of the organizations that run ordering nodes, sorted."),
			"anchor_peers": schema.MapAttribute{
				Computed: true, ElementType: types.ListType{ElemType: types.StringType},
				MarkdownDescription: "Addresses (`host:port`) of the anchor peers, by MSP ID.",
			},
			"consensus_type": text("`etcdraft` (Raft) or `BFT` (SmartBFT)."),
			"consenters":     texts("Addresses (`host:port`) of the consenters, in the order of the configuration."),
			"policies": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "Every policy by its path, for example `/Channel/Application/Writers`: an implicit one such as `ANY Writers`, or a signature policy in canonical form.",
			},
			"acls": schema.MapAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "The policy of each resource of a peer that the configuration names.",
			},
		},
	}
}

func (d *channelDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model channelFactsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	h := handleFrom(ctx, model.Channel, &resp.Diagnostics)
	facts, err := f.InspectChannel(ctx, h)
	if err != nil {
		addReadError(&resp.Diagnostics, "channel", "Unable to read channel "+h.Name, err)
		return
	}
	model.take(ctx, facts, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}

// take writes the facts into the model.
func (m *channelFactsModel) take(ctx context.Context, facts network.ChannelFacts, diags *diag.Diagnostics) {
	s := facts.Summary
	heights := map[string]int64{}
	for node, height := range facts.Heights {
		heights[node] = int64(height)
	}
	var members, orderers, consenters []string
	for _, c := range s.Consenters {
		consenters = append(consenters, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	}
	for _, o := range s.OrdererOrganizations {
		orderers = append(orderers, o.Definition.ID)
	}
	anchors := map[string][]string{}
	for _, o := range s.ApplicationOrganizations {
		members = append(members, o.Definition.ID)
		for _, a := range o.AnchorPeers {
			anchors[o.Definition.ID] = append(anchors[o.Definition.ID], net.JoinHostPort(a.Host, strconv.Itoa(a.Port)))
		}
	}
	m.Name, m.ConsensusType = types.StringValue(s.Channel), types.StringValue(s.ConsensusType)
	m.Height, m.ConfigurationBlock = types.Int64Value(int64(facts.Height)), types.Int64Value(int64(s.Block))
	m.Sequence, m.Configuration = types.Int64Value(int64(s.Sequence)), types.StringValue(string(facts.Configuration))
	m.Heights = valuesByName(ctx, types.Int64Type, heights, diags)
	m.Organizations, m.OrdererOrganizations = texts(ctx, members, diags), texts(ctx, orderers, diags)
	m.Consenters = texts(ctx, consenters, diags)
	m.AnchorPeers = valuesByName(ctx, types.ListType{ElemType: types.StringType}, anchors, diags)
	m.Policies, m.ACLs = valuesByName(ctx, types.StringType, s.Policies, diags), valuesByName(ctx, types.StringType, s.ACLs, diags)
	var more diag.Diagnostics
	m.Capabilities, more = types.ObjectValueFrom(ctx, capabilitiesTypes, capabilitiesModel{
		Channel: append([]string{}, s.ChannelCapabilities...), Orderer: append([]string{}, s.OrdererCapabilities...),
		Application: append([]string{}, s.ApplicationCapabilities...),
	})
	diags.Append(more...)
}

// texts writes a list of strings, an empty one as such.
func texts(ctx context.Context, values []string, diags *diag.Diagnostics) types.List {
	list, more := types.ListValueFrom(ctx, types.StringType, append([]string{}, values...))
	diags.Append(more...)
	return list
}

// valuesByName writes a map, an empty one as such.
func valuesByName[V any](ctx context.Context, element attr.Type, values map[string]V, diags *diag.Diagnostics) types.Map {
	if values == nil {
		values = map[string]V{}
	}
	out, more := types.MapValueFrom(ctx, element, values)
	diags.Append(more...)
	return out
}
