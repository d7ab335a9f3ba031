package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type connectionProfileDataSource struct{ reading }

var _ datasource.DataSourceWithConfigure = &connectionProfileDataSource{}

func newConnectionProfileDataSource() datasource.DataSource { return &connectionProfileDataSource{} }

// connectionProfileModel is the data source fabric_connection_profile.
type connectionProfileModel struct {
	Organization types.Object `tfsdk:"organization"`
	Channel      types.Object `tfsdk:"channel"`
	From         types.String `tfsdk:"from"`
	JSON         types.String `tfsdk:"json"`
	YAML         types.String `tfsdk:"yaml"`
}

// Where an application runs that uses a profile.
const (
	fromHost    = "host"
	fromNetwork = "network"
)

func (d *connectionProfileDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_connection_profile"
}

func (d *connectionProfileDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	on := handleArgument("Handle of a `fabric_channel`: the profile then holds its ordering nodes and the peers of every member. Without it, the profile holds what the organization has itself.", network.KindChannel)
	on.Required, on.Optional = false, true
	resp.Schema = schema.Schema{
		MarkdownDescription: "A connection profile: addresses and TLS roots of what an application of an organization talks to, in the form that Fabric's samples use for Gateway clients and that the Fabric SDKs read. " +
			"It holds no secret. Peers and ordering nodes need not run, but their containers must be there." + readDuringPlan,
		Attributes: map[string]schema.Attribute{
			"organization": handleArgument("Handle of the `fabric_organization` whose applications use the profile.", network.KindOrganization),
			"channel":      on,
			"from": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Where the application runs: `host` (default), where the ports are reached that nodes publish on the engine's host; " +
					"or `network`, on the network itself or wherever the nodes' advertised addresses lead.",
				Validators: []validator.String{stringvalidator.OneOf(fromHost, fromNetwork)},
			},
			"json": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The profile as JSON.",
			},
			"yaml": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The same profile as YAML.",
			},
		},
	}
}

func (d *connectionProfileDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var model connectionProfileModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := d.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	spec := network.ProfileSpec{
		Organization: handleFrom(ctx, model.Organization, &resp.Diagnostics), Inside: model.From.ValueString() == fromNetwork,
	}
	argument := "organization"
	if !model.Channel.IsNull() {
		channel := handleFrom(ctx, model.Channel, &resp.Diagnostics)
		spec.Channel, argument = &channel, "channel"
	}
	if resp.Diagnostics.HasError() {
		return
	}
	profile, err := f.ConnectionProfile(ctx, spec)
	if err != nil {
		addReadError(&resp.Diagnostics, argument, "Unable to make the connection profile of "+spec.Organization.MSPID, err)
		return
	}
	asJSON, err := profile.JSON()
	if err != nil {
		addError(&resp.Diagnostics, "Unable to write the connection profile", err)
		return
	}
	asYAML, err := profile.YAML()
	if err != nil {
		addError(&resp.Diagnostics, "Unable to write the connection profile", err)
		return
	}
	model.JSON, model.YAML = types.StringValue(string(asJSON)), types.StringValue(string(asYAML))
	resp.Diagnostics.Append(resp.State.Set(ctx, &model)...)
}
