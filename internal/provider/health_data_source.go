package provider

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type healthDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &healthDataSource{}

func newHealthDataSource() datasource.DataSource { return &healthDataSource{} }

// healthModel is the data source fabric_health.
type healthModel struct {
	Network             types.Object                  `tfsdk:"network"`
	Healthy             types.Bool                    `tfsdk:"healthy"`
	Problems            types.List                    `tfsdk:"problems"`
	CertificateDaysLeft types.Int64                   `tfsdk:"certificate_days_left"`
	Nodes               map[string]nodeHealthModel    `tfsdk:"nodes"`
	Channels            map[string]channelHealthModel `tfsdk:"channels"`
}

type nodeHealthModel struct {
	Kind                types.String                `tfsdk:"kind"`
	MSPID               types.String                `tfsdk:"msp_id"`
	Status              types.String                `tfsdk:"status"`
	DesiredState        types.String                `tfsdk:"desired_state"`
	Healthy             types.Bool                  `tfsdk:"healthy"`
	Reason              types.String                `tfsdk:"reason"`
	Restarts            types.Int64                 `tfsdk:"restarts"`
	CertificateDaysLeft map[string]types.Int64      `tfsdk:"certificate_days_left"`
	Channels            map[string]nodeChannelModel `tfsdk:"channels"`
}

type nodeChannelModel struct {
	Height types.Int64 `tfsdk:"height"`
	Lag    types.Int64 `tfsdk:"lag"`
	Leader types.Bool  `tfsdk:"leader"`
}

type channelHealthModel struct {
	Healthy types.Bool   `tfsdk:"healthy"`
	Reason  types.String `tfsdk:"reason"`
	Leader  types.String `tfsdk:"leader"`
	Height  types.Int64  `tfsdk:"height"`
	Lag     types.Int64  `tfsdk:"lag"`
}

func (d *healthDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_health"
}

func (d *healthDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	number := func(what string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: what}
	}
	text := func(what string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: what}
	}
	yes := func(what string) schema.BoolAttribute {
		return schema.BoolAttribute{Computed: true, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "How the nodes and the channels of a network are, for `check` blocks and alarms. It never fails: a node that does not answer is a fact with a reason, and so is an engine that does not." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"network":               handleArgument("Handle of the `fabric_network`.", network.KindNetwork),
			"healthy":               yes("Whether every node and every channel is healthy."),
			"problems":              schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "What is wrong, one sentence for each node and each channel that is not healthy, sorted."},
			"certificate_days_left": number("Whole days until the first certificate of any node expires; negative when it has. Null when no certificate could be read."),
			"nodes": schema.MapNestedAttribute{
				Computed:            true,
				MarkdownDescription: "Every node of the network by its name: CAs, ordering nodes, peers, their state databases and chaincode servers, also those that do not run.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"kind":          text("`ca`, `orderer`, `peer`, `state_database` or `chaincode`."),
					"msp_id":        text("MSP ID of its organization; null for a CA."),
					"status":        text("`running`, `unhealthy` when it runs and its health check (`/healthz` of its operations endpoint; of a chaincode server, that it registers as the package that it is to serve) fails or is not answered, `detached` when it was taken off the network, `stopped` (or paused), `absent` when its container is gone."),
					"desired_state": text("`stopped` for a node that is wanted stopped, else `running`."),
					"healthy":       yes("Whether it runs, passes its health check, answers for every channel that it has, and its certificates are valid. A peer that is wanted stopped is healthy."),
					"reason":        text("Why it is not healthy; null when it is."),
					"restarts":      number("How often the engine has started it again since it was started on purpose, because its process ended. A chaincode server that keeps failing is seen by it."),
					"certificate_days_left": schema.MapAttribute{
						Computed: true, ElementType: types.Int64Type,
						MarkdownDescription: "Whole days until its certificates expire, negative when they have: `enrollment`, `tls` and `operations` of a peer and an ordering node, `listener` and `operations` of a CA. One that could not be read is missing.",
					},
					"channels": schema.MapNestedAttribute{
						Computed:            true,
						MarkdownDescription: "The channels that it has joined, by their name, as far as it answered.",
						NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
							"height": number("Number of blocks that it has."),
							"lag":    number("How many blocks it has fewer than the furthest node."),
							"leader": yes("Whether it is the leader: of ordering nodes by their metrics, false when those are switched off. Null for a peer."),
						}},
					},
				}},
			},
			"channels": schema.MapNestedAttribute{
				Computed:            true,
				MarkdownDescription: "Every channel that a node of the network told of, by its name.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"healthy": yes("Whether every ordering node of it that answers knows a leader. A channel whose ordering nodes are on another network is healthy."),
					"reason":  text("Why it is not healthy; null when it is."),
					"leader":  text("Name of the ordering node that leads; null when none of those that answer does, or tells."),
					"height":  number("Number of blocks of the furthest node."),
					"lag":     number("How many blocks the last of the nodes that answer has fewer."),
				}},
			},
		},
	}
}

func (d *healthDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model healthModel
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("network"), &model.Network)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	health, err := d.check(ctx, handleFrom(ctx, model.Network, &resp.Diagnostics))
	model.take(ctx, health, err, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}

func (d *healthDataSource) check(ctx context.Context, h network.Handle) (network.Health, error) {
	f, err := d.session.open()
	if err != nil {
		return network.Health{}, err
	}
	return f.CheckHealth(ctx, h)
}

// take writes the facts into the model; an error is one of them.
func (m *healthModel) take(ctx context.Context, health network.Health, err error, diags *diag.Diagnostics) {
	problems := []string{}
	if err != nil {
		problems = append(problems, sentence(err))
	}
	m.Nodes, m.Channels, m.CertificateDaysLeft = map[string]nodeHealthModel{}, map[string]channelHealthModel{}, types.Int64Null()
	for _, name := range slices.Sorted(maps.Keys(health.Nodes)) {
		n := health.Nodes[name]
		if n.Trouble != nil {
			problems = append(problems, n.Handle.String()+": "+reason(n.Trouble).ValueString())
		}
		m.Nodes[name] = nodeHealth(*n)
		for _, until := range n.Certificates {
			if days := network.DaysLeft(until); m.CertificateDaysLeft.IsNull() || days < m.CertificateDaysLeft.ValueInt64() {
				m.CertificateDaysLeft = types.Int64Value(days)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(health.Channels)) {
		c := health.Channels[name]
		if c.Trouble != nil {
			problems = append(problems, "channel "+name+": "+reason(c.Trouble).ValueString())
		}
		m.Channels[name] = channelHealthModel{
			Healthy: types.BoolValue(c.Trouble == nil), Reason: reason(c.Trouble), Leader: nullable(c.Leader),
			Height: types.Int64Value(int64(c.Height)), Lag: types.Int64Value(int64(c.Lag)),
		}
	}
	m.Problems = texts(ctx, problems, diags)
	m.Healthy = types.BoolValue(len(problems) == 0)
}

func nodeHealth(n network.NodeHealth) nodeHealthModel {
	out := nodeHealthModel{
		Kind: types.StringValue(string(n.Handle.Kind)), MSPID: nullable(n.Handle.MSPID), Status: types.StringValue(string(n.Status)),
		DesiredState: types.StringValue("running"), Healthy: types.BoolValue(n.Trouble == nil), Reason: reason(n.Trouble),
		Restarts: types.Int64Value(int64(n.Restarts)), CertificateDaysLeft: map[string]types.Int64{}, Channels: map[string]nodeChannelModel{},
	}
	if n.Resting {
		out.DesiredState = types.StringValue("stopped")
	}
	for purpose, until := range n.Certificates {
		out.CertificateDaysLeft[purpose] = types.Int64Value(network.DaysLeft(until))
	}
	for name, c := range n.Channels {
		view := nodeChannelModel{Height: types.Int64Value(int64(c.Height)), Lag: types.Int64Value(int64(c.Lag)), Leader: types.BoolNull()}
		if n.Handle.Kind == network.KindOrderer {
			view.Leader = types.BoolValue(c.Leads)
		}
		out.Channels[name] = view
	}
	return out
}

// reason gives a problem on one line, null when there is none.
func reason(problem error) types.String {
	if problem == nil {
		return types.StringNull()
	}
	return types.StringValue(strings.Join(strings.Split(problem.Error(), "\n"), "; "))
}
