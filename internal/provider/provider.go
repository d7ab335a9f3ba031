// Package provider is the Terraform side: schemas, models, validation, and the mapping between
// them and the use cases of package network. It makes no Docker or Fabric call itself.
package provider

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/nodeconfig"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

// New gives the provider, as the plugin server wants it.
func New(version string) func() provider.Provider {
	return func() provider.Provider { return &fabricProvider{version: version} }
}

type fabricProvider struct{ version string }

// providerModel is the provider block.
type providerModel struct {
	DockerHost    types.String   `tfsdk:"docker_host"`
	FabricVersion types.String   `tfsdk:"fabric_version"`
	CAVersion     types.String   `tfsdk:"ca_version"`
	ImageRegistry *registryModel `tfsdk:"image_registry"`
}

type registryModel struct {
	Address  types.String `tfsdk:"address"`
	Username types.String `tfsdk:"username"`
	Password types.String `tfsdk:"password"`
}

// Versions that images are taken from when the provider block names none.
const (
	defaultFabricVersion = "3.1.1"
	defaultCAVersion     = "1.5.13"
	defaultDockerHost    = "unix:///var/run/docker.sock"
)

func (p *fabricProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "fabric"
	resp.Version = p.version
}

func (p *fabricProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Runs Hyperledger Fabric networks on a Docker engine: certificate authorities, peers, ordering clusters, channels and chaincode.",
		Attributes: map[string]schema.Attribute{
			"docker_host": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Address of the Docker engine, for example `unix:///var/run/docker.sock`. " +
					"Defaults to the environment variable `DOCKER_HOST`, then to `" + defaultDockerHost + "`. The engine is contacted only when something on it must be read or changed.",
			},
			"fabric_version": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Fabric release of peers and orderers that name no `image` of their own. Defaults to `" + defaultFabricVersion + "`.",
				Validators:          []validator.String{fabricVersion{}},
			},
			"ca_version": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Fabric CA release of CAs that name no `image` of their own. Defaults to `" + defaultCAVersion + "`.",
				Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
			},
			"image_registry": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: "The registry that images which the engine lacks are pulled from.",
				Attributes: map[string]schema.Attribute{
					"address": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Host of the registry, with port and path where it has them, put before the names of the default images: `registry.example.com/mirror` gives `registry.example.com/mirror/hyperledger/fabric-peer:3.1.1`.",
						Validators:          []validator.String{stringvalidator.LengthAtLeast(1)},
					},
					"username": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "User at the registry.",
					},
					"password": schema.StringAttribute{
						Optional:            true,
						Sensitive:           true,
						MarkdownDescription: "Password or token of the user. It is sent to the engine with a pull, and kept nowhere.",
					},
				},
			},
		},
	}
}

func (p *fabricProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var config providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &config)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if config.DockerHost.IsNull() {
		config.DockerHost = types.StringValue(firstNonEmpty(os.Getenv("DOCKER_HOST"), defaultDockerHost))
	}
	if config.FabricVersion.IsNull() {
		config.FabricVersion = types.StringValue(defaultFabricVersion)
	}
	if config.CAVersion.IsNull() {
		config.CAVersion = types.StringValue(defaultCAVersion)
	}
	data := newSession(config)
	resp.ResourceData, resp.DataSourceData, resp.EphemeralResourceData, resp.ListResourceData, resp.ActionData = data, data, data, data, data
}

func firstNonEmpty(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// fabricVersion accepts the releases that node configuration is known for.
type fabricVersion struct{}

func (fabricVersion) Description(context.Context) string {
	return "a Fabric release whose configuration is known"
}
func (v fabricVersion) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (fabricVersion) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	version, err := nodeconfig.ParseVersion(req.ConfigValue.ValueString())
	if err == nil {
		err = version.Supported()
	}
	if err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Unsupported Fabric version", sentence(err))
	}
}

func (p *fabricProvider) Resources(ctx context.Context) []func() resource.Resource {
	created := []func() resource.Resource{
		newNetworkResource,
		newCAResource,
		newOrganizationResource,
		newIdentityResource,
		newCRLResource,
		newOrdererClusterResource,
		newOrdererResource,
		newPeerResource,
		newChannelResource,
		newChannelMembershipResource,
		newChannelProposalResource,
		newChannelSignatureResource,
		newChannelSubmissionResource,
		newChaincodeResource,
		newReleaseProposalResource,
		newReleaseApprovalResource,
		newChaincodeApprovalResource,
		newTransactionResource,
		newBackupResource,
	}
	for n, create := range created {
		created[n] = withIdentity(ctx, create)
	}
	return created
}

// ListResources are those that the engine can tell by itself. A ledger has too many transactions.
func (p *fabricProvider) ListResources(ctx context.Context) []func() list.ListResource {
	var listResources []func() list.ListResource
	for _, create := range p.Resources(ctx) {
		kind := network.Kind(strings.TrimPrefix(typeName(ctx, create()), "fabric_"))
		if slices.Contains(network.ListedKinds, kind) {
			listResources = append(listResources, func() list.ListResource { return newListed(kind, create) })
		}
	}
	return listResources
}

func (p *fabricProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		newChannelDataSource,
		newQueryDataSource,
		newCommitReadinessDataSource,
		newBlockDataSource,
		newTransactionDataSource,
		newConnectionProfileDataSource,
		newNodeConfigDataSource,
		newHealthDataSource,
	}
}

func (p *fabricProvider) EphemeralResources(context.Context) []func() ephemeral.EphemeralResource {
	return []func() ephemeral.EphemeralResource{newCredentialsEphemeral}
}

// Actions are for Terraform from 1.14 on.
func (p *fabricProvider) Actions(context.Context) []func() action.Action {
	return []func() action.Action{newBackupAction}
}

func (p *fabricProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{
		newPackageIDFunction,
		newChaincodePackageFunction,
		newEndorsementPolicyFunction,
		newCertificateFunction,
		newVerifyChainFunction,
	}
}
