package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

type endorsementPolicyFunction struct{}

func newEndorsementPolicyFunction() function.Function { return endorsementPolicyFunction{} }

func (endorsementPolicyFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "endorsement_policy"
}

// endorsementPolicyResult is what the function gives.
type endorsementPolicyResult struct {
	Canonical   string   `tfsdk:"canonical"`
	IsReference bool     `tfsdk:"is_reference"`
	Principals  []string `tfsdk:"principals"`
	MSPIDs      []string `tfsdk:"msp_ids"`
	Satisfiable bool     `tfsdk:"satisfiable"`
}

func (endorsementPolicyFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "An endorsement policy, parsed",
		MarkdownDescription: "Parses the endorsement policy of a chaincode. A text that Fabric would refuse is an error that says where it stops being a policy, and why.\n\n" +
			"The result has these members:\n\n" +
			"- `canonical`: the policy in canonical form. Two policies that differ only by the order of arguments, or by gates written another way, have the same one. " +
			"It is for reading and comparing: organizations that approve a chaincode must all send the same text.\n" +
			"- `principals`: who may sign, such as `Org1MSP.peer`, each once.\n" +
			"- `msp_ids`: the MSPs that are named, each once, sorted.\n" +
			"- `satisfiable`: `false` when nobody could ever meet the policy, as with `OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer')`, which Fabric accepts.\n" +
			"- `is_reference`: whether the text names a policy of the channel. `principals` and `msp_ids` are then empty and `satisfiable` is `true`, because only the channel knows them.",
		Parameters: []function.Parameter{function.StringParameter{
			Name: "policy",
			MarkdownDescription: "A signature policy, such as `AND('Org1MSP.peer', OR('Org2MSP.peer', 'Org3MSP.peer'))` or `OutOf(2, …)`, " +
				"or a reference to a policy of the channel, such as `/Channel/Application/Endorsement`.",
		}},
		Return: function.ObjectReturn{AttributeTypes: map[string]attr.Type{
			"canonical": types.StringType, "is_reference": types.BoolType, "satisfiable": types.BoolType,
			"principals": types.ListType{ElemType: types.StringType}, "msp_ids": types.ListType{ElemType: types.StringType},
		}},
	}
}

func (endorsementPolicyFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var text string
	if resp.Error = req.Arguments.Get(ctx, &text); resp.Error != nil {
		return
	}
	parsed, err := policy.ParseApplicationPolicy(text)
	if err != nil {
		resp.Error = function.NewArgumentFuncError(0, sentence(err))
		return
	}
	result := endorsementPolicyResult{
		Canonical: parsed.String(), IsReference: parsed.Reference != "", Principals: []string{}, MSPIDs: []string{}, Satisfiable: true,
	}
	if !result.IsReference {
		for _, p := range parsed.Signature.Principals() {
			result.Principals = append(result.Principals, p.String())
		}
		result.MSPIDs = append(result.MSPIDs, parsed.Signature.MSPIDs()...)
		result.Satisfiable = parsed.Signature.Satisfiable()
	}
	resp.Error = resp.Result.Set(ctx, result)
}
