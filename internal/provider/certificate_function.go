package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

type certificateFunction struct{}

func newCertificateFunction() function.Function { return certificateFunction{} }

func (certificateFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "certificate"
}

// certificateFacts is what the function gives; certificate.Facts says more of each member.
type certificateFacts struct {
	Subject              string            `tfsdk:"subject"`
	Issuer               string            `tfsdk:"issuer"`
	CommonName           string            `tfsdk:"common_name"`
	Organizations        []string          `tfsdk:"organizations"`
	OrganizationalUnits  []string          `tfsdk:"organizational_units"`
	SerialNumber         string            `tfsdk:"serial_number"`
	NotBefore            string            `tfsdk:"not_before"`
	NotAfter             string            `tfsdk:"not_after"`
	DNSNames             []string          `tfsdk:"dns_names"`
	IPAddresses          []string          `tfsdk:"ip_addresses"`
	KeyAlgorithm         string            `tfsdk:"key_algorithm"`
	KeySize              int64             `tfsdk:"key_size"`
	SignatureAlgorithm   string            `tfsdk:"signature_algorithm"`
	KeyUsages            []string          `tfsdk:"key_usages"`
	ExtendedKeyUsages    []string          `tfsdk:"extended_key_usages"`
	IsCA                 bool              `tfsdk:"is_ca"`
	SubjectKeyID         string            `tfsdk:"subject_key_id"`
	AuthorityKeyID       string            `tfsdk:"authority_key_id"`
	Fingerprint          string            `tfsdk:"fingerprint"`
	PublicKeyFingerprint string            `tfsdk:"public_key_fingerprint"`
	Attributes           map[string]string `tfsdk:"attributes"`
}

func (certificateFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	texts := types.ListType{ElemType: types.StringType}
	resp.Definition = function.Definition{
		Summary: "Facts of a certificate",
		MarkdownDescription: "Reads an X.509 certificate. The result has these members:\n\n" +
			"- `subject`, `issuer`: distinguished names as RFC 2253 writes them.\n" +
			"- `common_name`, `organizations`, `organizational_units`: parts of the subject. The role that Fabric's NodeOUs give is an organizational unit: `client`, `peer`, `orderer` or `admin`.\n" +
			"- `serial_number`: lower-case hexadecimal, as Fabric CA writes it.\n" +
			"- `not_before`, `not_after`: RFC 3339 in UTC.\n" +
			"- `dns_names`, `ip_addresses`: the subject's alternative names.\n" +
			"- `key_algorithm`, for example `ecdsa-p256`, `key_size` in bits, and `signature_algorithm`.\n" +
			"- `key_usages`, `extended_key_usages`: names as RFC 5280 writes them, for example `digitalSignature` and `serverAuth`.\n" +
			"- `is_ca`: whether it may issue certificates.\n" +
			"- `subject_key_id`, `authority_key_id`: lower-case hexadecimal, empty when absent.\n" +
			"- `fingerprint`, `public_key_fingerprint`: SHA-256 of the certificate and of its public key, in lower-case hexadecimal.\n" +
			"- `attributes`: those that Fabric CA wrote into the certificate.",
		Parameters: []function.Parameter{function.StringParameter{
			Name:                "certificate",
			MarkdownDescription: "Exactly one certificate, in PEM.",
		}},
		Return: function.ObjectReturn{AttributeTypes: map[string]attr.Type{
			"subject": types.StringType, "issuer": types.StringType, "common_name": types.StringType,
			"organizations": texts, "organizational_units": texts, "serial_number": types.StringType,
			"not_before": types.StringType, "not_after": types.StringType, "dns_names": texts, "ip_addresses": texts,
			"key_algorithm": types.StringType, "key_size": types.Int64Type, "signature_algorithm": types.StringType,
			"key_usages": texts, "extended_key_usages": texts, "is_ca": types.BoolType,
			"subject_key_id": types.StringType, "authority_key_id": types.StringType,
			"fingerprint": types.StringType, "public_key_fingerprint": types.StringType,
			"attributes": types.MapType{ElemType: types.StringType},
		}},
	}
}

func (certificateFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var text string
	if resp.Error = req.Arguments.Get(ctx, &text); resp.Error != nil {
		return
	}
	f, err := certificate.ReadFacts([]byte(text))
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err))
		return
	}
	resp.Error = resp.Result.Set(ctx, certificateFacts{
		Subject: f.Subject, Issuer: f.Issuer, CommonName: f.CommonName, Organizations: f.Organizations, OrganizationalUnits: f.OrganizationalUnits,
		SerialNumber: f.SerialNumber, NotBefore: f.NotBefore, NotAfter: f.NotAfter, DNSNames: f.DNSNames, IPAddresses: f.IPAddresses,
		KeyAlgorithm: f.KeyAlgorithm, KeySize: int64(f.KeySize), SignatureAlgorithm: f.SignatureAlgorithm,
		KeyUsages: f.KeyUsages, ExtendedKeyUsages: f.ExtendedKeyUsages, IsCA: f.IsCA,
		SubjectKeyID: f.SubjectKeyID, AuthorityKeyID: f.AuthorityKeyID, Fingerprint: f.Fingerprint,
		PublicKeyFingerprint: f.PublicKeyFingerprint, Attributes: f.Attributes,
	})
}
