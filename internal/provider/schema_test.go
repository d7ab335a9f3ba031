package provider

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// served is the schema as Terraform is given it: every part of the provider in one form.
func served(t *testing.T) *tfprotov6.GetProviderSchemaResponse {
	t.Helper()
	server, err := factories["fabric"]()
	if err != nil {
		t.Fatal(err)
	}
	all, err := server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all.Diagnostics {
		t.Errorf("%s: %s", d.Summary, d.Detail)
	}
	return all
}

// schemas gives every schema by its name.
func schemas(t *testing.T) map[string]*tfprotov6.Schema {
	t.Helper()
	all := served(t)
	out := map[string]*tfprotov6.Schema{"provider": all.Provider}
	for name, s := range all.ResourceSchemas {
		out["resource "+name] = s
	}
	for name, s := range all.DataSourceSchemas {
		out["data source "+name] = s
	}
	for name, s := range all.EphemeralResourceSchemas {
		out["ephemeral resource "+name] = s
	}
	for name, s := range all.ActionSchemas {
		out["action "+name] = s.Schema
	}
	return out
}

// walk visits every attribute, nested ones too. Inside tells what the attribute is nested in.
func walk(at string, attributes []*tfprotov6.SchemaAttribute, inside tfprotov6.SchemaObjectNestingMode, visit func(at string, a *tfprotov6.SchemaAttribute, inside tfprotov6.SchemaObjectNestingMode)) {
	for _, a := range attributes {
		here := at + "." + a.Name
		visit(here, a, inside)
		if a.NestedType != nil {
			walk(here, a.NestedType.Attributes, a.NestedType.Nesting, visit)
		}
	}
}

// holdsSecret matches names of what nobody may read by accident. Keys here are those that sign.
var holdsSecret = regexp.MustCompile(`(password|secret|token|private_key|transient)(_wo|_pem)?$`)

// reserved are names that Terraform keeps for itself at the root of a resource or a provider.
var reserved = []string{"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioner", "alias", "source", "providers"}

func TestSchemas(t *testing.T) {
	for name, s := range schemas(t) {
		t.Run(name, func(t *testing.T) {
			if s.Block.Description == "" {
				t.Error("it is not described")
			}
			if len(s.Block.BlockTypes) > 0 {
				t.Error("it has blocks: protocol 6 nests attributes")
			}
			for _, a := range s.Block.Attributes {
				if slices.Contains(reserved, a.Name) {
					t.Errorf("%s is reserved", a.Name)
				}
				if a.Name == "id" {
					t.Error("id says nothing that the handle does not")
				}
			}
			walk(name, s.Block.Attributes, 0, func(at string, a *tfprotov6.SchemaAttribute, inside tfprotov6.SchemaObjectNestingMode) {
				switch d := strings.TrimSpace(a.Description); {
				case d == "":
					t.Errorf("%s is not described", at)
				case !strings.HasSuffix(d, ".") && !strings.HasSuffix(d, ")"):
					t.Errorf("the description of %s is no sentence: %q", at, d)
				case a.DescriptionKind != tfprotov6.StringKindMarkdown && !strings.Contains(at, ".timeouts."):
					t.Errorf("the description of %s is not Markdown", at)
				}
				if a.NestedType != nil && a.NestedType.Nesting == tfprotov6.SchemaObjectNestingModeSet {
					t.Errorf("%s is a set of objects, which changes as a whole: make it a map", at)
				}
				if set, ok := a.Type.(tftypes.Set); ok && !set.ElementType.Is(tftypes.String) && !set.ElementType.Is(tftypes.Number) {
					t.Errorf("%s is a set of %s: make it a map", at, set.ElementType)
				}
				secret := holdsSecret.MatchString(a.Name)
				if secret && !a.Sensitive {
					t.Errorf("%s is not sensitive", at)
				}
				// Only what is never stored may hold a secret.
				if secret && strings.HasPrefix(at, "resource ") && !a.WriteOnly {
					t.Errorf("%s goes to the state: make it write-only, with a version beside it", at)
				}
				if a.WriteOnly && !strings.HasSuffix(a.Name, "_wo") {
					t.Errorf("%s is write-only: let its name end with _wo", at)
				}
				// Trap: an unknown element of a nested map or list fails before the first apply when something
				// in it is required.
				if a.Required && (inside == tfprotov6.SchemaObjectNestingModeMap || inside == tfprotov6.SchemaObjectNestingModeList) && !strings.HasPrefix(at, "data source ") {
					t.Errorf("%s is required inside a collection, of which an element may be unknown during plan", at)
				}
			})
		})
	}
}

func TestFunctionsAreDescribed(t *testing.T) {
	for name, f := range served(t).Functions {
		if f.Summary == "" || f.Description == "" {
			t.Errorf("function %s is not described", name)
		}
		parameters := f.Parameters
		if f.VariadicParameter != nil {
			parameters = append(parameters, f.VariadicParameter)
		}
		for _, p := range parameters {
			if p.Description == "" {
				t.Errorf("parameter %s of function %s is not described", p.Name, name)
			}
		}
	}
}

// TestEveryResourceTakesTimeouts: each operation that works on the engine can be bounded, and all in one form.
func TestEveryResourceTakesTimeouts(t *testing.T) {
	for name, s := range served(t).ResourceSchemas {
		if !slices.ContainsFunc(s.Block.Attributes, func(a *tfprotov6.SchemaAttribute) bool { return a.Name == "timeouts" && a.Optional }) {
			t.Errorf("%s takes no timeouts", name)
		}
	}
}

// models are the models of the resources.
var models = map[string]func() any{
	"fabric_network":            func() any { return &networkModel{} },
	"fabric_ca":                 func() any { return &caModel{} },
	"fabric_organization":       func() any { return &organizationModel{} },
	"fabric_identity":           func() any { return &identityModel{} },
	"fabric_orderer":            func() any { return &joinedOrdererModel{} },
	"fabric_orderer_cluster":    func() any { return &ordererClusterModel{} },
	"fabric_peer":               func() any { return &peerModel{} },
	"fabric_channel":            func() any { return &channelModel{} },
	"fabric_channel_membership": func() any { return &channelMembershipModel{} },
	"fabric_channel_proposal":   func() any { return &channelProposalModel{} },
	"fabric_channel_signature":  func() any { return &channelSignatureModel{} },
	"fabric_channel_submission": func() any { return &channelSubmissionModel{} },
	"fabric_chaincode":          func() any { return &chaincodeModel{} },
	"fabric_release_proposal":   func() any { return &releaseProposalModel{} },
	"fabric_release_approval":   func() any { return &releaseApprovalModel{} },
	"fabric_chaincode_approval": func() any { return &chaincodeModel{} },
	"fabric_transaction":        func() any { return &transactionModel{} },
	"fabric_crl":                func() any { return &crlModel{} },
	"fabric_backup":             func() any { return &backupModel{} },
}

// nestedModels are those of nested attributes, whatever resource they are in.
var nestedModels = map[string]func() any{
	"approvals":           func() any { return &approvalsModel{} },
	"audit":               func() any { return &auditModel{} },
	"canary":              func() any { return &canaryModel{} },
	"queries":             func() any { return &canaryQueryModel{} },
	"prometheus":          func() any { return &prometheusModel{} },
	"verification":        func() any { return &verificationModel{} },
	"add_consenter":       func() any { return &consenterModel{} },
	"external_consenters": func() any { return &externalConsenterModel{} },
	"certificates":        func() any { return &certificatesModel{} },
	"change":              func() any { return &channelChangeModel{} },
	"collections":         func() any { return &collectionModel{} },
	"limits":              func() any { return &limitsModel{} },
	"log":                 func() any { return &logModel{} },
	"nodes":               func() any { return &ordererModel{} },
	"package":             func() any { return &packageModel{} },
	"orderers":            func() any { return &remoteOrdererModel{} },
	"raft":                func() any { return &raftModel{} },
	"restore_from":        func() any { return &restoreModel{} },
	"server":              func() any { return &serverModel{} },
	"revoke":              func() any { return &revocationModel{} },
	// These are read member by member.
	"bft":            nil,
	"state_database": nil,
}

// TestEveryModelMatchesItsSchema: every attribute has a field and every field an attribute, of fitting types.
func TestEveryModelMatchesItsSchema(t *testing.T) {
	ctx := t.Context()
	p := New("test")()
	for _, make := range p.Resources(ctx) {
		r := make()
		metadata, s := resource.MetadataResponse{}, resource.SchemaResponse{}
		r.Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "fabric"}, &metadata)
		r.Schema(ctx, resource.SchemaRequest{}, &s)
		t.Run(metadata.TypeName, func(t *testing.T) {
			model, ok := models[metadata.TypeName]
			if !ok {
				t.Fatal("give the model of this resource in models")
			}
			state := tfsdk.State{Schema: s.Schema, Raw: empty(ctx, s.Schema.Type())}
			fields := model()
			if diags := state.Get(ctx, fields); diags.HasError() {
				t.Fatalf("reading: %v", diags)
			}
			if diags := state.Set(ctx, fields); diags.HasError() {
				t.Errorf("writing: %v", diags)
			}
			for _, name := range slices.Sorted(maps.Keys(s.Schema.Attributes)) {
				matchNested(t, name, s.Schema.Attributes[name])
			}
		})
	}
}

func matchNested(t *testing.T, name string, a schema.Attribute) {
	t.Helper()
	if name == "timeouts" {
		return
	}
	var attributes map[string]schema.Attribute
	switch nested := a.(type) {
	case schema.SingleNestedAttribute:
		attributes = nested.Attributes
	case schema.MapNestedAttribute:
		attributes = nested.NestedObject.Attributes
	case schema.ListNestedAttribute:
		attributes = nested.NestedObject.Attributes
	default:
		return
	}
	kinds, values := map[string]attr.Type{}, map[string]attr.Value{}
	for member, inner := range attributes {
		matchNested(t, member, inner)
		kinds[member] = inner.GetType()
		value, err := inner.GetType().ValueFromTerraform(t.Context(), tftypes.NewValue(inner.GetType().TerraformType(t.Context()), nil))
		if err != nil {
			t.Fatal(err)
		}
		values[member] = value
	}
	model, ok := nestedModels[name]
	if !ok {
		t.Errorf("give the model of %s in nestedModels", name)
		return
	}
	if model == nil {
		return
	}
	object := types.ObjectValueMust(kinds, values)
	if diags := object.As(t.Context(), model(), basetypes.ObjectAsOptions{}); diags.HasError() {
		t.Errorf("%s: %v", name, diags)
	}
}

// empty gives an object whose attributes are all null.
func empty(ctx context.Context, of attr.Type) tftypes.Value {
	object, ok := of.TerraformType(ctx).(tftypes.Object)
	if !ok {
		panic(fmt.Sprintf("%s is no object", of))
	}
	values := map[string]tftypes.Value{}
	for name, kind := range object.AttributeTypes {
		values[name] = tftypes.NewValue(kind, nil)
	}
	return tftypes.NewValue(object, values)
}

// TestEverythingIsServed: what the provider lists is what Terraform sees, and nothing twice.
func TestEverythingIsServed(t *testing.T) {
	ctx := t.Context()
	p := New("test")()
	all := served(t)
	dataSources, functions, ephemerals := len(p.DataSources(ctx)), 0, 0
	if withFunctions, ok := p.(provider.ProviderWithFunctions); ok {
		functions = len(withFunctions.Functions(ctx))
	}
	if withEphemerals, ok := p.(provider.ProviderWithEphemeralResources); ok {
		ephemerals = len(withEphemerals.EphemeralResources(ctx))
	}
	if len(all.ResourceSchemas) != len(p.Resources(ctx)) || len(all.DataSourceSchemas) != dataSources ||
		len(all.Functions) != functions || len(all.EphemeralResourceSchemas) != ephemerals {
		t.Errorf("served are %d resources, %d data sources, %d functions, %d ephemeral resources", len(all.ResourceSchemas), len(all.DataSourceSchemas), len(all.Functions), len(all.EphemeralResourceSchemas))
	}
}

// TestActionPages: the pages of actions are written by hand, because the Terraform that the documentation is
// made with may know of none. They say what the schema says.
func TestActionPages(t *testing.T) {
	for name, s := range served(t).ActionSchemas {
		content, err := os.ReadFile("../../templates/actions/" + strings.TrimPrefix(name, "fabric_") + ".md")
		if err != nil {
			t.Error(err)
			continue
		}
		walk(name, s.Schema.Block.Attributes, tfprotov6.SchemaObjectNestingModeInvalid, func(at string, a *tfprotov6.SchemaAttribute, _ tfprotov6.SchemaObjectNestingMode) {
			line := regexp.MustCompile("(?m)^- `" + a.Name + "` .*" + regexp.QuoteMeta(a.Description))
			if !line.Match(content) {
				t.Errorf("%s is not described as %q", at, a.Description)
			}
		})
	}
}
