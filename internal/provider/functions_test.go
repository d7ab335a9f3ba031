package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// callFunction calls a function as Terraform does: with one value per parameter and, where there is
// a variadic one, a tuple of its values at the end.
func callFunction(t *testing.T, f function.Function, arguments ...attr.Value) (attr.Value, *function.FuncError) {
	t.Helper()
	definition := function.DefinitionResponse{}
	f.Definition(t.Context(), function.DefinitionRequest{}, &definition)
	result, failure := definition.Definition.Return.NewResultData(t.Context())
	if failure != nil {
		t.Fatal(failure)
	}
	resp := function.RunResponse{Result: result}
	f.Run(t.Context(), function.RunRequest{Arguments: function.NewArgumentsData(arguments)}, &resp)
	return resp.Result.Value(), resp.Error
}

// refusedAt fails the test unless an argument was refused, and gives what was said.
func refusedAt(t *testing.T, failure *function.FuncError, argument int64) string {
	t.Helper()
	if failure == nil {
		t.Fatal("there is no error")
	}
	if failure.FunctionArgument == nil || *failure.FunctionArgument != argument {
		t.Fatalf("the error %q is not about argument %d", failure.Text, argument)
	}
	return failure.Text
}

// resultMember gives a member of an object that a function returned.
func resultMember[T attr.Value](t *testing.T, object attr.Value, name string) T {
	t.Helper()
	value, ok := object.(types.Object).Attributes()[name].(T)
	if !ok {
		t.Fatalf("member %s is %T", name, object.(types.Object).Attributes()[name])
	}
	return value
}

func stringsOf(t *testing.T, list types.List) []string {
	t.Helper()
	out := []string{}
	if diags := list.ElementsAs(t.Context(), &out, false); diags.HasError() {
		t.Fatal(diags)
	}
	return out
}

func stringValues(texts ...string) types.List {
	elements := make([]attr.Value, len(texts))
	for i, text := range texts {
		elements[i] = types.StringValue(text)
	}
	return types.ListValueMust(types.StringType, elements)
}

// TestFunctionDefinitions holds every function to what Terraform and its documentation need.
func TestFunctionDefinitions(t *testing.T) {
	for name, f := range map[string]function.Function{
		"package_id": newPackageIDFunction(), "chaincode_package": newChaincodePackageFunction(), "endorsement_policy": newEndorsementPolicyFunction(),
		"certificate": newCertificateFunction(), "verify_chain": newVerifyChainFunction(),
	} {
		t.Run(name, func(t *testing.T) {
			metadata, definition := function.MetadataResponse{}, function.DefinitionResponse{}
			f.Metadata(t.Context(), function.MetadataRequest{}, &metadata)
			f.Definition(t.Context(), function.DefinitionRequest{}, &definition)
			if metadata.Name != name {
				t.Errorf("it is called %q", metadata.Name)
			}
			validation := function.DefinitionValidateResponse{}
			definition.Definition.ValidateImplementation(t.Context(), function.DefinitionValidateRequest{FuncName: name}, &validation)
			if validation.Diagnostics.HasError() {
				t.Error(validation.Diagnostics)
			}
			if definition.Definition.Summary == "" || definition.Definition.MarkdownDescription == "" {
				t.Error("it is not described")
			}
			parameters := definition.Definition.Parameters
			if last := definition.Definition.VariadicParameter; last != nil {
				parameters = append(parameters, last)
			}
			for _, p := range parameters {
				if p.GetName() == "" || p.GetMarkdownDescription() == "" {
					t.Errorf("parameter %q is not described", p.GetName())
				}
			}
		})
	}
}
