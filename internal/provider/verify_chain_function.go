package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/certificate"
)

type verifyChainFunction struct{}

func newVerifyChainFunction() function.Function { return verifyChainFunction{} }

func (verifyChainFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "verify_chain"
}

// verifyChainResult is what the function gives.
type verifyChainResult struct {
	Valid  bool   `tfsdk:"valid"`
	Reason string `tfsdk:"reason"`
	Detail string `tfsdk:"detail"`
}

func (verifyChainFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "Check of a certificate's chain",
		MarkdownDescription: "Checks that a certificate leads to one of the roots, that every certificate on the way is valid, and, where asked, that it serves a host and a usage. " +
			"A chain that does not verify is a result, not an error, so that `validation`, `precondition` and `check` blocks can say what it means.\n\n" +
			"The result has these members:\n\n" +
			"- `valid`: whether everything holds.\n" +
			"- `reason`: why not, in one word: `unparsable`, `unknown_authority`, `signature`, `not_a_ca`, `path_length`, `expired`, `not_yet_valid`, `host`, `key_usage`, `extended_key_usage` or `other`; empty when valid.\n" +
			"- `detail`: the same for a person, with the certificate named; empty when valid.\n\n" +
			"Validity is checked against the moment of the call unless `at` is given: without it the result changes, and with it a plan may, when a certificate expires. " +
			"Give `at` where that must not happen, for example `at = plantimestamp()` or a fixed instant.",
		Parameters: []function.Parameter{
			function.StringParameter{
				Name:                "leaf",
				MarkdownDescription: "The certificate, in PEM. Further certificates after it count as intermediates, as in the files that TLS servers read.",
			},
			function.ListParameter{
				Name: "intermediates", ElementType: types.StringType,
				MarkdownDescription: "Certificates between the leaf and a root, in PEM, in any order; each text may hold several.",
			},
			function.ListParameter{
				Name: "roots", ElementType: types.StringType,
				MarkdownDescription: "Certificates that are trusted, in PEM; each text may hold several.",
			},
		},
		VariadicParameter: function.MapParameter{
			Name: "options", ElementType: types.StringType,
			MarkdownDescription: "What else to check, at most one map, with any of: `host`, a DNS name or IP address that the certificate must hold; " +
				"`usage`, one of " + usageNames() + "; `at`, the instant at which everything must be valid (RFC 3339). Example: `{ host = \"peer0.org1.example.com\", usage = \"server\" }`.",
		},
		Return: function.ObjectReturn{AttributeTypes: map[string]attr.Type{
			"valid": types.BoolType, "reason": types.StringType, "detail": types.StringType,
		}},
	}
}

func (verifyChainFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var leaf string
	var intermediates, roots []string
	var options []map[string]types.String
	if resp.Error = req.Arguments.Get(ctx, &leaf, &intermediates, &roots, &options); resp.Error != nil {
		return
	}
	request := certificate.VerifyRequest{Leaf: []byte(leaf), Intermediates: pemTexts(intermediates), Roots: pemTexts(roots)}
	if len(options) > 1 {
		resp.Error = function.NewArgumentFuncError(4, "At most one map of options is expected.")
		return
	}
	for _, given := range options {
		if err := takeOptions(given, &request); err != nil {
			resp.Error = function.NewArgumentFuncError(3, sentence(err))
			return
		}
	}
	result := verifyChainResult{Valid: true}
	err := certificate.VerifyChain(request)
	if failure := new(certificate.VerifyError); errors.As(err, &failure) {
		result = verifyChainResult{Reason: string(failure.Reason), Detail: failure.Detail}
	} else if err != nil {
		resp.Error = function.NewFuncError(sentence(err))
		return
	}
	resp.Error = resp.Result.Set(ctx, result)
}

// takeOptions reads the map of options. Null is the same as not there.
func takeOptions(given map[string]types.String, request *certificate.VerifyRequest) error {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name].ValueString()
		if given[name].IsNull() {
			continue
		}
		switch name {
		case "host":
			request.Host = value
		case "usage":
			request.Usage = certificate.Usage(value)
			if !slices.Contains(certificate.Usages(), request.Usage) {
				return fmt.Errorf("the usage %q is not known; it is one of %s", value, usageNames())
			}
		case "at":
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return fmt.Errorf("the instant %q is not of the form 2006-01-02T15:04:05Z", value)
			}
			request.At = at
		default:
			return fmt.Errorf("there is no option %q; the options are host, usage and at", name)
		}
	}
	return nil
}

func usageNames() string {
	var names []string
	for _, u := range certificate.Usages() {
		names = append(names, "`"+string(u)+"`")
	}
	return strings.Join(names, ", ")
}

func pemTexts(texts []string) [][]byte {
	out := make([][]byte, len(texts))
	for i, text := range texts {
		out[i] = []byte(text)
	}
	return out
}
