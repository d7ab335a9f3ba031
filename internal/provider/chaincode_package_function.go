package provider

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type chaincodePackageFunction struct{}

func newChaincodePackageFunction() function.Function { return chaincodePackageFunction{} }

func (chaincodePackageFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "chaincode_package"
}

func (chaincodePackageFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Package of a chaincode",
		MarkdownDescription: "Gives the package that `fabric_chaincode` makes, before there is one, in base64: the same bytes for the same description. " +
			"They are what `package_signature` in the `verification` of a `fabric_chaincode` signs: written to a file with `content_base64` of a `local_file`, for example, they are signed by `cosign sign-blob`.",
		Parameters: []function.Parameter{function.DynamicParameter{
			Name:                "package",
			MarkdownDescription: "An object that describes the package: `{ channel = \"trade\", label = \"asset_1.0\" }`, with `indexes` where it has any.",
		}},
		Return: function.StringReturn{},
	}
}

func (chaincodePackageFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var given types.Dynamic
	if resp.Error = req.Arguments.Get(ctx, &given); resp.Error != nil {
		return
	}
	var members map[string]attr.Value
	switch value := given.UnderlyingValue().(type) {
	case types.Object:
		members = value.Attributes()
	case types.Map:
		members = value.Elements()
	default:
		resp.Error = function.NewArgumentFuncError(0, fmt.Sprintf("It is not an object with channel and label but of type %s.", value.Type(ctx)))
		return
	}
	packed, _, err := describedPackage(members)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err))
		return
	}
	resp.Error = resp.Result.Set(ctx, base64.StdEncoding.EncodeToString(packed))
}
