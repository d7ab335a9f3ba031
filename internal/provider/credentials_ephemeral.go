package provider

import (
	"context"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/ephemeral"
	"github.com/hashicorp/terraform-plugin-framework/ephemeral/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type credentialsEphemeral struct{ configured }

var _ ephemeral.EphemeralResourceWithConfigure = &credentialsEphemeral{}

func newCredentialsEphemeral() ephemeral.EphemeralResource { return &credentialsEphemeral{} }

// credentialsModel is the ephemeral resource fabric_credentials.
type credentialsModel struct {
	Identity                 types.Object `tfsdk:"identity"`
	MSPID                    types.String `tfsdk:"msp_id"`
	Certificate              types.String `tfsdk:"certificate"`
	PrivateKey               types.String `tfsdk:"private_key"`
	RootCertificates         types.List   `tfsdk:"root_certificates"`
	IntermediateCertificates types.List   `tfsdk:"intermediate_certificates"`
	TLSRootCertificates      types.List   `tfsdk:"tls_root_certificates"`
}

// Configure takes the session.
func (e *credentialsEphemeral) Configure(_ context.Context, req ephemeral.ConfigureRequest, resp *ephemeral.ConfigureResponse) {
	e.configure(req.ProviderData, &resp.Diagnostics)
}

func (e *credentialsEphemeral) Metadata(_ context.Context, req ephemeral.MetadataRequest, resp *ephemeral.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_credentials"
}

func (e *credentialsEphemeral) Schema(_ context.Context, _ ephemeral.SchemaRequest, resp *ephemeral.SchemaResponse) {
	list := func(what string) schema.ListAttribute {
		return schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: what}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "The credentials of an identity, for whoever acts as it: another provider, a secret store. They are read from the organization's key volume when they are needed and stored nowhere, neither in a plan nor in the state. " +
			"An identity that has a `directory` keeps its key there, and not here. " +
			"They are read during the plan already, when everything that is given here is known, and Terraform does not wait for what `depends_on` names: give `certificate` for an identity that the same apply may make.",
		Attributes: map[string]schema.Attribute{
			"identity": schema.ObjectAttribute{
				Required: true, AttributeTypes: handleTypes,
				MarkdownDescription: "Handle of the `fabric_identity`, or of a `fabric_organization`, whose admin is then meant.",
				Validators:          []validator.Object{handleKind{[]network.Kind{network.KindIdentity, network.KindOrganization}}},
			},
			"msp_id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "MSP ID of the organization.",
			},
			"certificate": schema.StringAttribute{
				Optional: true, Computed: true,
				MarkdownDescription: "Enrolment certificate, in PEM. As an argument, `certificate` of the `fabric_identity` (or `admin_certificate` of the `fabric_organization`): it is not known before the identity is enrolled, so the credentials are read only then; and it must be the one that the key belongs to.",
			},
			"private_key": schema.StringAttribute{
				Computed: true, Sensitive: true,
				MarkdownDescription: "Private key of the certificate, in PEM (PKCS#8).",
			},
			"root_certificates":         list("Roots of the organization's enrolment certificates, each in PEM."),
			"intermediate_certificates": list("Intermediates of the organization's enrolment certificates, each in PEM."),
			"tls_root_certificates":     list("Roots of the TLS certificates of the organization's nodes, each in PEM."),
		},
	}
}

func (e *credentialsEphemeral) Open(ctx context.Context, req ephemeral.OpenRequest, resp *ephemeral.OpenResponse) {
	var model credentialsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &model)...)
	f := e.fabric(&resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	h := handleFrom(ctx, model.Identity, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	found, err := f.Credentials(ctx, h)
	if err != nil {
		text := explain(err)
		if network.Absent(err) {
			text = sentence(err) + "\n\nAn identity that has a directory keeps its key there and nowhere else. " +
				"An identity that this same apply makes has credentials only afterwards: set certificate to that of the fabric_identity (or to admin_certificate of the fabric_organization), which is not known until then, so that they are read afterwards."
		}
		resp.Diagnostics.AddAttributeError(path.Root("identity"), "Unable to read the credentials of "+h.Name, text)
		return
	}
	if wanted := model.Certificate.ValueString(); wanted != "" && strings.TrimSpace(wanted) != strings.TrimSpace(found.Certificate) {
		resp.Diagnostics.AddAttributeError(path.Root("certificate"), "Unable to read the credentials of "+h.Name,
			"The engine holds the key of another certificate of it, which was issued since or by somebody else. Plan again, without -refresh=false, so that the identity is read first.")
		return
	}
	if model.Certificate.IsNull() {
		model.Certificate = types.StringValue(found.Certificate)
	}
	model.MSPID, model.PrivateKey = types.StringValue(found.MSPID), types.StringValue(found.PrivateKey)
	model.RootCertificates = texts(ctx, found.Definition.RootCertificates, &resp.Diagnostics)
	model.IntermediateCertificates = texts(ctx, found.Definition.IntermediateCertificates, &resp.Diagnostics)
	model.TLSRootCertificates = texts(ctx, found.Definition.TLSRootCertificates, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Result.Set(ctx, &model)...)
}
