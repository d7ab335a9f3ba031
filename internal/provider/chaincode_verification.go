package provider

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/fabricops/terraform-provider-fabric/internal/network"
	"github.com/fabricops/terraform-provider-fabric/internal/signature"
)

// verificationModel is by whom a chaincode must be signed.
type verificationModel struct {
	PublicKeys       types.List   `tfsdk:"public_keys"`
	PackageSignature types.String `tfsdk:"package_signature"`
	ImageSignature   types.String `tfsdk:"image_signature"`
	ImagePayload     types.String `tfsdk:"image_payload"`
}

// verificationPath is where a chaincode says by whom it must be signed.
var verificationPath = path.Root("verification")

func verificationAttribute() schema.SingleNestedAttribute {
	form := "raw in base64, or a bundle in JSON, as cosign writes them"
	isSignature := check{wants: "a signature in base64, or a bundle", summary: "Not a signature", problem: func(text string) error {
		_, err := signature.Parse(text)
		return err
	}}
	return schema.SingleNestedAttribute{
		Optional: true,
		MarkdownDescription: "Whose signatures the chaincode needs: its package and the image of its servers are accepted only with a valid signature of each by one of `public_keys`, in the formats of cosign. " +
			"They are verified before anything is installed, and in the plan as far as it knows what is signed. Nobody is asked for that: no registry, and no transparency log; what a bundle holds of a log, of timestamps and of certificates is not looked at. " +
			"A key that is no longer to be trusted is taken out of `public_keys`.",
		Attributes: map[string]schema.Attribute{
			"public_keys": schema.ListAttribute{
				Required: true, ElementType: types.StringType,
				MarkdownDescription: "Public keys, each in PEM (`cosign.pub`): ECDSA, Ed25519, or RSA from 2048 bits on.",
				Validators: []validator.List{listvalidator.SizeAtLeast(1), listvalidator.ValueStringsAre(check{wants: "a public key in PEM", summary: "Not a public key", problem: func(text string) error {
					_, err := signature.ParseKey(text)
					return err
				}})},
			},
			"package_signature": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Signature of the package, " + form + " (`cosign sign-blob`). The function `chaincode_package` gives the bytes to be signed. Needed.",
				Validators:          []validator.String{isSignature},
			},
			"image_signature": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Signature of the image of `server`, " + form + " (`cosign sign`). It must name the digest under which a registry gave the image to the engine, " +
					"or the image's ID where no registry did. Needed with `server`.",
				Validators: []validator.String{isSignature},
			},
			"image_payload": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "What was signed for the image (`cosign sign --output-payload`), byte for byte. Needed, unless `image_signature` is a bundle that holds it.",
				Validators: []validator.String{check{wants: "a payload of an image's signature", summary: "Not a payload", problem: func(text string) error {
					_, err := signature.ParsePayload(text)
					return err
				}}},
			},
		},
	}
}

// validateVerification refuses signatures that are missing.
func (m *chaincodeModel) validateVerification(ctx context.Context, diags *diag.Diagnostics) {
	if m.Verification.IsNull() || m.Verification.IsUnknown() {
		return
	}
	var v verificationModel
	diags.Append(m.Verification.As(ctx, &v, basetypes.ObjectAsOptions{})...)
	missing := func(name, what string) {
		diags.AddAttributeError(verificationPath.AtName(name), "Missing signature", what+" With verification, nothing is installed that is not signed.")
	}
	if v.PackageSignature.IsNull() {
		missing("package_signature", "The package needs a signature by one of public_keys.")
	}
	if v.ImageSignature.IsNull() && m.Server.IsNull() {
		return // no server runs an image
	}
	if v.ImageSignature.IsNull() {
		missing("image_signature", "The image of the servers needs a signature by one of public_keys.")
		return
	}
	if v.ImageSignature.IsUnknown() {
		return
	}
	image, err := signature.Parse(v.ImageSignature.ValueString())
	switch {
	case err != nil: // the validator has told already
	case image.Payload() && v.ImagePayload.IsNull():
		missing("image_payload", "The signature of the image is one over a payload, which is verified with it.")
	case !image.Payload() && !v.ImagePayload.IsNull():
		diags.AddAttributeError(verificationPath.AtName("image_payload"), "Payload that is not signed", "The signature of the image is a bundle that holds what was signed. Leave image_payload out.")
	}
}

// verification reads by whom a chaincode must be signed; nil when nobody needs to.
func (m *chaincodeModel) verification(ctx context.Context, diags *diag.Diagnostics) *network.Verification {
	if m.Verification.IsNull() {
		return nil
	}
	var v verificationModel
	diags.Append(m.Verification.As(ctx, &v, basetypes.ObjectAsOptions{})...)
	out := &network.Verification{ImagePayload: v.ImagePayload.ValueString()}
	for i, text := range stringList(ctx, v.PublicKeys, diags) {
		key, err := signature.ParseKey(text)
		if err != nil {
			diags.AddAttributeError(verificationPath.AtName("public_keys").AtListIndex(i), "Not a public key", sentence(err))
		}
		out.Keys = append(out.Keys, key)
	}
	read := func(name string, text types.String) signature.Signature {
		s, err := signature.Parse(text.ValueString())
		if err != nil {
			diags.AddAttributeError(verificationPath.AtName(name), "Not a signature", sentence(err))
		}
		return s
	}
	out.Package = read("package_signature", v.PackageSignature)
	if !v.ImageSignature.IsNull() {
		out.Image = read("image_signature", v.ImageSignature)
	}
	return out
}

// planVerification verifies what the plan knows: the package, and the image by the digest that its
// reference names. An image that is named by a tag is verified at apply, when it is known which one it is.
func (m *chaincodeModel) planVerification(ctx context.Context, diags *diag.Diagnostics) {
	if m.Verification.IsNull() || !known(ctx, m.Verification) {
		return
	}
	var unreadable diag.Diagnostics // the validators have told
	v := m.verification(ctx, &unreadable)
	if unreadable.HasError() {
		return
	}
	if !m.PackageID.IsUnknown() {
		mutualTLS, _ := m.mutualTLS()
		spec := network.ChaincodeSpec{
			Channel: network.Handle{Name: handleMember(m.Channel, "name").ValueString()}, Label: m.Label.ValueString(),
			Indexes: m.indexes(ctx, diags), Package: m.packageSource(ctx, diags), Server: network.ChaincodeServer{MutualTLS: mutualTLS},
		}
		if packed, err := spec.Pack(); err == nil {
			addVerificationError(diags, "Package that is not signed", v.VerifyPackage(packed))
		}
	}
	if m.Server.IsNull() {
		return
	}
	signed, err := v.Image.Images(v.Keys, v.ImagePayload)
	reference, ok := m.image().(types.String)
	if err == nil && ok && !reference.IsUnknown() {
		if _, digest, is := strings.Cut("@"+reference.ValueString(), "@sha256:"); is && !slices.Contains(signed, "sha256:"+digest) {
			err = &signature.OtherContentError{Signed: signed, Have: []string{"sha256:" + digest}}
		}
	}
	if err != nil {
		addVerificationError(diags, "Image that is not signed", &network.VerificationError{What: network.SignedImage, Cause: err})
	}
}

// addVerificationError reports a signature that is refused, at its attribute, and tells whether there was one.
func addVerificationError(diags *diag.Diagnostics, summary string, err error) bool {
	refused := new(network.VerificationError)
	if !errors.As(err, &refused) {
		return false
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			addVerificationError(diags, summary, one)
		}
		return true
	}
	name := "package_signature"
	if refused.What == network.SignedImage {
		name = "image_signature"
	}
	diags.AddAttributeError(verificationPath.AtName(name), summary, sentence(err)+"\n\nNothing was installed. Have it signed with a key of public_keys.")
	return true
}
