package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/lifecycle"
	"github.com/fabricops/terraform-provider-fabric/internal/network"
)

type packageIDFunction struct{}

func newPackageIDFunction() function.Function { return packageIDFunction{} }

func (packageIDFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "package_id"
}

func (packageIDFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Package ID of a chaincode",
		MarkdownDescription: "Gives the ID under which peers know a chaincode package, `LABEL:HASH`: of a package file, as `peer lifecycle chaincode calculatepackageid` does, " +
			"or of the package that `fabric_chaincode` makes, before there is one. A chaincode server that is run by other means needs it as `CHAINCODE_ID`. " +
			"A package that a peer would refuse is an error.",
		Parameters: []function.Parameter{function.DynamicParameter{
			Name: "package",
			MarkdownDescription: "Either the content of a package file in base64, `filebase64(\"asset.tar.gz\")`; or an object that describes the package of a `fabric_chaincode`: " +
				"`{ channel = \"trade\", label = \"asset_1.0\" }`, with `indexes` where it has any, and `mutual_tls = true` where its server has.",
		}},
		Return: function.StringReturn{},
	}
}

func (packageIDFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var given types.Dynamic
	if resp.Error = req.Arguments.Get(ctx, &given); resp.Error != nil {
		return
	}
	id, err := packageID(ctx, given.UnderlyingValue())
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err))
		return
	}
	resp.Error = resp.Result.Set(ctx, id)
}

func packageID(ctx context.Context, given attr.Value) (string, error) {
	switch value := given.(type) {
	case types.String:
		packed, err := base64.StdEncoding.DecodeString(value.ValueString())
		if err != nil {
			return "", fmt.Errorf("unable to read the chaincode package: it is not base64; write filebase64(\"asset.tar.gz\"), not file: %w", err)
		}
		info, err := lifecycle.ParsePackage(packed)
		if err != nil {
			return "", err
		}
		return info.ID, nil
	case types.Object:
		_, id, err := describedPackage(value.Attributes())
		return id, err
	case types.Map:
		_, id, err := describedPackage(value.Elements())
		return id, err
	default:
		return "", fmt.Errorf("it is neither the base64 of a package file nor an object with channel and label but of type %s", given.Type(ctx))
	}
}

// describedPackage is the package that fabric_chaincode makes, with its ID.
func describedPackage(members map[string]attr.Value) (packed []byte, id string, err error) {
	known := []string{"channel", "indexes", "label", "mutual_tls"}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(known, name) {
			return nil, "", fmt.Errorf("the description of a package has no member %s; its members are %s", name, strings.Join(known, ", "))
		}
	}
	channel, err := requiredText(members, "channel")
	if err != nil {
		return nil, "", err
	}
	label, err := requiredText(members, "label")
	if err != nil {
		return nil, "", err
	}
	indexes, err := describedIndexes(members["indexes"])
	if err != nil {
		return nil, "", err
	}
	mutualTLS, ok := members["mutual_tls"].(types.Bool)
	if !ok && members["mutual_tls"] != nil {
		return nil, "", errors.New("mutual_tls is not true or false")
	}
	return network.ChaincodePackage(channel, label, indexes, mutualTLS.ValueBool())
}

// describedIndexes are the CouchDB indexes as fabric_chaincode takes them, a map or an object of texts.
func describedIndexes(given attr.Value) (map[string][]byte, error) {
	members := map[string]attr.Value{}
	switch value := given.(type) {
	case types.Object:
		members = value.Attributes()
	case types.Map:
		members = value.Elements()
	case nil:
	default:
		if !given.IsNull() {
			return nil, errors.New("indexes must be a map of JSON by file name")
		}
	}
	out := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		text, err := requiredText(members, name)
		if err != nil {
			return nil, err
		}
		at, err := lifecycle.IndexPath(name)
		if err != nil {
			return nil, err
		}
		if out[at], err = lifecycle.ParseIndex([]byte(text)); err != nil {
			return nil, fmt.Errorf("index %s: %w", name, err)
		}
	}
	return out, nil
}

func requiredText(members map[string]attr.Value, name string) (string, error) {
	value, ok := members[name].(types.String)
	if !ok || value.ValueString() == "" {
		return "", fmt.Errorf("the description of a package needs %s, a string", name)
	}
	return value.ValueString(), nil
}
